//! What every test does that cannot run on this machine.

use std::io::Write;

/// Says that a test cannot run here, and why; counts it for `scripts/test`; fails it under `NETBENCH_STRICT=1`.
pub fn skip(why: &str) {
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    eprintln!("SKIP {test}: {why}");
    if let Ok(path) = std::env::var("NETBENCH_SKIPS")
        && let Ok(mut file) = std::fs::OpenOptions::new().append(true).create(true).open(path)
    {
        writeln!(file, "{test}: {why}").ok();
    }
    assert!(std::env::var("NETBENCH_STRICT").as_deref() != Ok("1"), "NETBENCH_STRICT=1: {why}");
}
