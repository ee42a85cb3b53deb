//! The text of a topology file, and where in it a byte stands.

use std::{fs, io::Read, ops::Range, path::Path};

use super::diagnostic::{Code, Diagnostic};

/// Largest file that is read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// A text with the name under which it is known to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Path as typed, or `NAME (shipped)`; control characters are escaped.
    pub name: String,
    /// The text.
    pub text: String,
}

impl Source {
    /// A text that is already here.
    pub fn new(name: impl AsRef<str>, text: impl Into<String>) -> Self {
        Self { name: name.as_ref().escape_debug().to_string(), text: text.into() }
    }

    /// Reads a file of at most [`MAX_BYTES`]; never more than that is read, whatever the file's size.
    ///
    /// # Errors
    /// NB001 when it cannot be read as UTF-8 text, NB003 when it is too large.
    pub fn read(path: &Path) -> Result<Self, Box<Diagnostic>> {
        let name = path.display().to_string();
        let shown = name.escape_debug();
        let unreadable =
            |why: String| Diagnostic::without_place(Code::Unreadable, format!("cannot read {shown}: {why}"));
        let file = fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
        let mut bytes = Vec::new();
        let limit = MAX_BYTES as u64 + 1;
        file.take(limit).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
        if bytes.len() > MAX_BYTES {
            return Err(Box::new(Self::too_large(&name)));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let line = 1 + error.as_bytes()[..at].iter().filter(|&&b| b == b'\n').count();
            unreadable(format!("not UTF-8 text (line {line}, byte {at} of the file)"))
        })?;
        Ok(Self::new(name, text))
    }

    pub(super) fn too_large(name: &str) -> Diagnostic {
        let message = format!("{} is larger than 1 MiB", name.escape_debug());
        Diagnostic::without_place(Code::TooLarge, message)
            .help("`count` on a node and a pattern in `ports` declare any number of nodes in two lines")
    }

    /// Line and column (in characters) of a byte, both from 1.
    pub fn line_column(&self, byte: usize) -> (usize, usize) {
        let before = &self.text[..self.floor(byte)];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (1 + before.bytes().filter(|&b| b == b'\n').count(), 1 + before[line_start..].chars().count())
    }

    /// The range, made to lie within the text and on character boundaries.
    pub fn clamp(&self, span: &Range<usize>) -> Range<usize> {
        let start = self.floor(span.start);
        start..self.floor(span.end).max(start)
    }

    fn floor(&self, byte: usize) -> usize {
        let mut at = byte.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        let source = Source::new("x", "ab\nçd\n");
        assert_eq!(source.line_column(0), (1, 1));
        assert_eq!(source.line_column(3), (2, 1));
        assert_eq!(source.line_column(5), (2, 2));
        assert_eq!(source.line_column(4), (2, 1), "inside a character");
        assert_eq!(source.line_column(999), (3, 1));
        assert_eq!(source.clamp(&(4..99)), 3..7);
    }
}
