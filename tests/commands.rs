//! Commands that need no kernel, with all that they print: `tests/cmd/*.trycmd`.
//!
//! `TRYCMD=overwrite` writes the outputs anew; read the difference before you commit it.

#[test]
fn what_needs_no_kernel_prints_what_is_shown() {
    trycmd::TestCases::new()
        .env("NO_COLOR", "1")
        .env("LC_ALL", "C")
        .env("NETBENCH_STORE", "")
        .case("tests/cmd/*.trycmd");
}
