pub fn text(_: &crate::record::RunRecord, _: &mut impl std::io::Write) -> std::io::Result<()> { Ok(()) }
