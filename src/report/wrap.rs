//! Lines of at most 80 columns.

use std::io::{self, Write};

const WIDTH: usize = 80;

/// Writes a text behind a prefix, broken between words; further lines are indented as deep as the prefix.
pub fn wrapped(out: &mut impl Write, prefix: &str, text: &str) -> io::Result<()> {
    let indent = prefix.chars().count();
    let mut line = prefix.to_owned();
    let mut width = indent;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if width > indent && width + 1 + length > WIDTH {
            writeln!(out, "{}", line.trim_end())?;
            (line, width) = (" ".repeat(indent), indent);
        }
        if width > indent {
            line.push(' ');
            width += 1;
        }
        line.push_str(word);
        width += length;
    }
    writeln!(out, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_broken_between_words() {
        let mut out = Vec::new();
        wrapped(&mut out, "  ✓ ", &"word ".repeat(40)).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 80));
        assert!(text.starts_with("  ✓ word word") && text.lines().nth(1).unwrap().starts_with("    word"));
        assert_eq!(text.split_whitespace().count(), 41);
    }
}
