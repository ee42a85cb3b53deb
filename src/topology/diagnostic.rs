//! A mistake with its place, printed as rustc prints them or as JSON.

use std::{fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet, renderer::DecorStyle};
use serde::Serialize;

pub use super::code::Code;
use super::source::Source;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The topology cannot be built.
    Error,
    /// It can, and the reader should know.
    Warning,
}

/// A mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Which.
    pub code: Code,
    /// How bad.
    pub severity: Severity,
    /// What is wrong, in one line; names from the file are escaped.
    pub message: String,
    /// Where, in bytes of the source; `None` when there is no text to point at.
    pub span: Option<Range<usize>>,
    /// What is said right at the place.
    pub note: Option<String>,
    /// Other places that belong to it.
    pub labels: Vec<(Range<usize>, String)>,
    /// What to do.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(code: Code, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span: Some(span), ..Self::without_place(code, message) }
    }

    /// A warning at a place.
    pub fn warning(code: Code, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    /// An error about the file as a whole.
    pub fn without_place(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            span: None,
            note: None,
            labels: Vec::new(),
            help: Vec::new(),
        }
    }

    /// Says something right at the place.
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.note = Some(text.into());
        self
    }

    /// Points at another place.
    pub fn label(mut self, span: Range<usize>, text: impl Into<String>) -> Self {
        self.labels.push((span, text.into()));
        self
    }

    /// Says what to do.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    /// Is it an error (and not a warning)?
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// All that is to be said of one source.
#[derive(Debug, Clone)]
pub struct Report {
    /// The source.
    pub source: Source,
    /// Mistakes and warnings, in order of place.
    pub diagnostics: Vec<Diagnostic>,
}

/// At most this many are printed; a file with more is broken in a way that the first ones show.
const SHOWN: usize = 50;

impl Report {
    /// Sorts by place; those without a place come first.
    pub fn new(source: Source, mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by_key(|d| (d.span.as_ref().map(|span| (span.start, span.end)), d.code));
        diagnostics.dedup();
        Self { source, diagnostics }
    }

    /// Are there errors among them?
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// The rustc-like text, with colours or without, and a last line that counts.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(120);
        let mut text = String::new();
        for diagnostic in self.diagnostics.iter().take(SHOWN) {
            text.push_str(&self.render_one(&renderer, diagnostic));
            text.push_str("\n\n");
        }
        text.push_str(&self.count());
        text
    }

    fn count(&self) -> String {
        let errors = self.diagnostics.iter().filter(|d| d.is_error()).count();
        let warnings = self.diagnostics.len() - errors;
        let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        let mut line = match (errors, warnings) {
            (0, 0) => return String::new(),
            (errors, 0) => plural(errors, "error"),
            (0, warnings) => plural(warnings, "warning"),
            (errors, warnings) => format!("{}, {}", plural(errors, "error"), plural(warnings, "warning")),
        };
        line.push_str(&format!(" in {}", self.source.name.escape_debug()));
        if self.diagnostics.len() > SHOWN {
            line.push_str(&format!(" (the first {SHOWN} are shown)"));
        }
        if let Some(first) = self.diagnostics.iter().find(|d| d.is_error()) {
            line.push_str(&format!("; `netbench explain {}` says more", first.code));
        }
        line.push('\n');
        line
    }

    fn render_one(&self, renderer: &Renderer, diagnostic: &Diagnostic) -> String {
        let level = if diagnostic.is_error() { Level::ERROR } else { Level::WARNING };
        let title = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code.to_string());
        let mut group = match &diagnostic.span {
            None => annotate_snippets::Group::with_title(title),
            Some(span) => {
                let mut snippet =
                    Snippet::source(self.source.text.as_str()).path(self.source.name.as_str()).annotation(
                        AnnotationKind::Primary.span(self.source.clamp(span)).label(diagnostic.note.as_deref()),
                    );
                for (span, text) in &diagnostic.labels {
                    snippet = snippet
                        .annotation(AnnotationKind::Context.span(self.source.clamp(span)).label(Some(text.as_str())));
                }
                title.element(snippet)
            }
        };
        for help in &diagnostic.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }

    /// One object a diagnostic, as `--json` prints them.
    pub fn to_json(&self) -> Vec<JsonDiagnostic> {
        let convert = |diagnostic: &Diagnostic| {
            let place = diagnostic.span.as_ref().map(|span| self.source.line_column(span.start));
            JsonDiagnostic {
                code: diagnostic.code.to_string(),
                severity: diagnostic.severity,
                message: diagnostic.message.clone(),
                file: self.source.name.clone(),
                line: place.map(|(line, _)| line),
                column: place.map(|(_, column)| column),
                help: diagnostic.help.clone(),
            }
        };
        self.diagnostics.iter().map(convert).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}

/// A diagnostic for machines.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct JsonDiagnostic {
    /// Stable code, `NB012`.
    pub code: String,
    /// `error` or `warning`.
    #[schemars(with = "String")]
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// The file, as it was named.
    pub file: String,
    /// Line from 1.
    pub line: Option<usize>,
    /// Column from 1, in characters.
    pub column: Option<usize>,
    /// What to do, one line each.
    pub help: Vec<String>,
}
