//! TOML text to [`ast::File`], with every syntactic and structural mistake reported in one run.

mod structure;

use serde::Deserialize;
use toml::de::{DeTable, Deserializer};

use super::{
    ast,
    diagnostic::{Code, Diagnostic},
    schema,
    source::{MAX_BYTES, Source},
};

/// What became of a text.
pub struct Parsed {
    /// The file, unless a mistake left a hole in it that later checks would stumble over.
    pub file: Option<ast::File>,
    /// Mistakes found.
    pub diagnostics: Vec<Diagnostic>,
}

/// Parses a text. A key that is unknown or holds a wrong value is reported and left out, so that the rest is still checked.
pub fn parse(source: &Source) -> Parsed {
    if source.text.len() > MAX_BYTES {
        return Parsed { file: None, diagnostics: vec![Source::too_large(&source.name)] };
    }
    let (mut root, errors) = DeTable::parse_recoverable(&source.text);
    let mut diagnostics: Vec<Diagnostic> = errors.iter().map(|error| syntax(error, &source.text)).collect();
    let broken = !diagnostics.is_empty();

    let structure = structure::check(root.get_mut(), schema::value());
    // After a syntax error parts are missing from the tree; what else seems to be missing says nothing.
    diagnostics.extend(structure.diagnostics.into_iter().filter(|d| !(broken && d.code == Code::MissingKey)));
    if broken || structure.holes {
        return Parsed { file: None, diagnostics };
    }
    match ast::File::deserialize(Deserializer::from(root)) {
        Ok(file) => Parsed { file: Some(file), diagnostics },
        Err(error) => {
            let message = error.message().escape_debug().to_string();
            let diagnostic = Diagnostic::error(Code::WrongType, error.span().unwrap_or(0..0), message);
            diagnostics.push(diagnostic);
            Parsed { file: None, diagnostics }
        }
    }
}

fn syntax(error: &toml::de::Error, text: &str) -> Diagnostic {
    let span = error.span().unwrap_or(text.len()..text.len());
    let message = error.message().lines().collect::<Vec<_>>().join("; ");
    let message = match message.as_str() {
        "recursion limit" | "cannot recurse further; max recursion depth met" => {
            "tables are nested more than 80 deep".to_owned()
        }
        other => other.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\""),
    };
    Diagnostic::error(Code::Syntax, span, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> Vec<Code> {
        parse(&Source::new("t.toml", text)).diagnostics.iter().map(|d| d.code).collect()
    }

    #[test]
    fn all_mistakes_come_in_one_run() {
        let text = "name = \"x\"\nmtu = 12\ncolour = 1\n[node.a]\ncout = 3\nhost = 4\n[switch.s]\nports = [3]\nkind = \"brigde\"\n";
        let mut found = codes(text);
        found.sort();
        assert_eq!(
            found,
            [Code::UnknownKey, Code::UnknownKey, Code::WrongType, Code::WrongType, Code::UnknownWord, Code::OutOfRange]
        );
    }

    #[test]
    fn hostile_texts_are_errors_and_fast() {
        for text in [
            "[".repeat(MAX_BYTES),
            format!("a = {}", "[".repeat(500_000)),
            format!("{}x = 1", "a.".repeat(400_000)),
            format!("[{}x]", "a.".repeat(400_000)),
            "a = {".repeat(100_000),
            "\u{0}".repeat(1000),
            "a=1\n".repeat(200_000),
            "x".repeat(MAX_BYTES + 1),
        ] {
            let start = std::time::Instant::now();
            assert!(!codes(&text).is_empty());
            assert!(start.elapsed().as_secs() < 20, "{:?} for {:.20}", start.elapsed(), text);
        }
    }
}
