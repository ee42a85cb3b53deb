//! Plain output: data to stdout, talk to stderr, a reader that has gone is no error.

use std::io::{self, Write};

use serde::Serialize;

/// Says something to the person: stderr.
pub fn talk(line: &str) {
    let mut stderr = anstream::stderr().lock();
    let _ = writeln!(stderr, "{line}"); // nobody is left to tell
}

/// Prints data: stdout.
pub fn print(text: &str) -> io::Result<()> {
    quiet_when_closed(|out| out.write_all(text.as_bytes()))
}

/// Prints data as JSON with a final newline: stdout.
pub fn data(value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    quiet_when_closed(|out| writeln!(out, "{text}"))
}

/// Writes to stdout; a broken pipe ends the output quietly.
pub fn quiet_when_closed(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut stdout = anstream::stdout().lock();
    match write(&mut stdout).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Columns as wide as their widest cell, two spaces between them, no trailing blanks.
pub fn table<const N: usize>(header: &[String; N], rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in std::iter::once(header).chain(rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(header).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_line_up_and_end_without_blanks() {
        let cells = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        let text = table(&cells("name", "x"), &[cells("a", "1"), cells("longer", "")]);
        assert_eq!(text, "name    x\na       1\nlonger\n");
    }
}
