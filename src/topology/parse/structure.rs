//! Walks a TOML tree along the JSON schema: types, words, ranges, unknown and missing keys, each with its place.

use std::ops::Range;

use serde_json::Value;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::topology::{
    diagnostic::{Code, Diagnostic},
    suggest::nearest,
};

/// What a walk found.
pub struct Structure {
    /// Mistakes, in order of the walk.
    pub diagnostics: Vec<Diagnostic>,
    /// Was something removed that the rest of the file may refer to?
    pub holes: bool,
}

/// Checks a document and removes from it what is wrong.
pub fn check(root: &mut DeTable<'_>, schema: &Value) -> Structure {
    let mut walk = Walk { schema, diagnostics: Vec::new(), holes: false };
    let whole = 0..0;
    if !walk.table(root, &whole, schema, "the file") {
        walk.holes = true;
    }
    Structure { diagnostics: walk.diagnostics, holes: walk.holes }
}

struct Walk<'s> {
    schema: &'s Value,
    diagnostics: Vec<Diagnostic>,
    holes: bool,
}

impl<'s> Walk<'s> {
    /// Follows `$ref`s into the definitions.
    fn target(&self, mut schema: &'s Value) -> &'s Value {
        while let Some(path) = schema.get("$ref").and_then(Value::as_str) {
            match self.schema.pointer(path.trim_start_matches('#')) {
                Some(found) => schema = found,
                None => break,
            }
        }
        schema
    }

    /// Checks a value; false when it must be taken out.
    fn value(&mut self, value: &mut Spanned<DeValue<'_>>, schema: &'s Value, at: &str) -> bool {
        let span = value.span();
        let resolved = self.target(schema);
        let choices: Vec<&'s Value> = match resolved.get("anyOf").and_then(Value::as_array) {
            Some(any) => any.iter().map(|choice| self.target(choice)).collect(),
            None => vec![resolved],
        };
        let found = type_of(value.get_ref());
        let Some(chosen) = choices.iter().copied().find(|choice| expected_type(choice) == found) else {
            self.wrong_type(span, at, found, &choices, schema, resolved);
            return false;
        };
        // Ranges and lengths stand beside a `$ref` or in its target.
        match value.get_mut() {
            DeValue::Table(table) => self.table(table, &span, chosen, at),
            DeValue::Array(array) => {
                if let Some(items) = chosen.get("items") {
                    for (index, item) in array.iter_mut().enumerate() {
                        let sound = self.value(item, items, &format!("item {} of {at}", index + 1));
                        self.holes |= !sound;
                    }
                    return self.length(array.len(), span, chosen, at);
                }
                true
            }
            DeValue::String(text) => self.word(text, span, chosen, at),
            DeValue::Integer(number) => {
                let digits = number.as_str().replace('_', "");
                let number = i128::from_str_radix(&digits, number.radix()).unwrap_or(i128::MAX);
                self.range(number, span, chosen, at)
            }
            _ => true,
        }
    }

    /// Checks a table; false when a required key is missing or was wrong.
    fn table(&mut self, table: &mut DeTable<'_>, span: &Range<usize>, schema: &'s Value, at: &str) -> bool {
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|others| !others.is_boolean());
        let mut keep_whole = true;
        let mut removed: Vec<String> = Vec::new();
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        for (key, value) in table.iter_mut() {
            let name = key.get_ref().as_ref();
            let shown = name.escape_debug().to_string();
            if let Some(property) = properties.and_then(|properties| properties.get(name)) {
                if !self.value(value, property, &format!("`{shown}`")) {
                    keep_whole &= !required.contains(&name);
                    removed.push(name.to_owned());
                }
            } else if let Some(others) = others {
                if !self.value(value, others, &format!("`{shown}`")) {
                    self.holes = true;
                    removed.push(name.to_owned());
                }
            } else {
                let known = properties.into_iter().flat_map(|properties| properties.keys()).map(String::as_str);
                self.unknown_key(key.span(), &shown, at, known.collect());
                removed.push(name.to_owned());
            }
        }
        for name in &removed {
            table.remove(name.as_str());
        }
        for name in required {
            // A required key that was there and wrong has been reported already.
            if table.get(name).is_none() && !removed.iter().any(|gone| gone == name) {
                let message = format!("{at} has no `{name}`");
                let description = properties
                    .and_then(|properties| properties.get(name))
                    .and_then(|property| self.description(property));
                let mut diagnostic = Diagnostic::error(Code::MissingKey, span.clone(), message);
                if let Some(description) = description {
                    diagnostic = diagnostic.help(format!("`{name}`: {description}"));
                }
                self.diagnostics.push(diagnostic);
                self.holes = true;
            }
        }
        keep_whole
    }

    fn unknown_key(&mut self, span: Range<usize>, key: &str, at: &str, known: Vec<&str>) {
        let mut diagnostic = Diagnostic::error(Code::UnknownKey, span, format!("unknown key `{key}` in {at}"));
        diagnostic = match nearest(key, known.iter().copied()) {
            Some(near) => diagnostic.note(format!("did you mean `{near}`?")),
            None => diagnostic.help(format!("the keys of {at} are {}", list(&known))),
        };
        self.diagnostics.push(diagnostic);
    }

    fn wrong_type(
        &mut self,
        span: Range<usize>,
        at: &str,
        found: &str,
        choices: &[&Value],
        schema: &'s Value,
        resolved: &'s Value,
    ) {
        let wanted: Vec<&str> = choices.iter().map(|choice| plain_type(expected_type(choice))).collect();
        let message = format!("{at} wants {}, this is {}", wanted.join(" or "), plain_type(found));
        let mut diagnostic = Diagnostic::error(Code::WrongType, span, message);
        if let Some(text) = self.description(schema).or_else(|| self.description(resolved)) {
            diagnostic = diagnostic.help(format!("{at}: {text}"));
        }
        self.diagnostics.push(diagnostic);
    }

    fn word(&mut self, text: &str, span: Range<usize>, schema: &'s Value, at: &str) -> bool {
        let words = words(schema);
        if words.is_empty() || words.contains(&text) {
            return true;
        }
        let message = format!("{at} cannot be `{}`", text.escape_debug());
        let mut diagnostic = Diagnostic::error(Code::UnknownWord, span, message);
        if let Some(near) = nearest(text, words.iter().copied()) {
            diagnostic = diagnostic.note(format!("did you mean `{near}`?"));
        }
        self.diagnostics.push(diagnostic.help(format!("the words are {}", list(&words))));
        false
    }

    fn range(&mut self, number: i128, span: Range<usize>, schema: &'s Value, at: &str) -> bool {
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64).map(|bound| bound as i128);
        let (low, high) = (bound("minimum").unwrap_or(0), bound("maximum").unwrap_or(i128::from(u32::MAX)));
        if (low..=high).contains(&number) {
            return true;
        }
        let message = format!("{at} is from {low} to {high}");
        self.diagnostics.push(Diagnostic::error(Code::OutOfRange, span, message));
        false
    }

    fn length(&mut self, length: usize, span: Range<usize>, schema: &'s Value, at: &str) -> bool {
        let bound = |key: &str| schema.get(key).and_then(Value::as_u64).map(|bound| bound as usize);
        match (bound("minItems"), bound("maxItems")) {
            (Some(low), Some(high)) if !(low..=high).contains(&length) => {
                let message = format!("{at} has {length} items, it takes {low}");
                self.diagnostics.push(Diagnostic::error(Code::OutOfRange, span, message));
                false
            }
            _ => true,
        }
    }

    /// The first sentence-like line of a schema's description.
    fn description(&self, schema: &'s Value) -> Option<&'s str> {
        schema.get("description").and_then(Value::as_str).and_then(|text| text.lines().next())
    }
}

fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "string",
        DeValue::Integer(_) => "integer",
        DeValue::Float(_) => "number",
        DeValue::Boolean(_) => "boolean",
        DeValue::Datetime(_) => "date",
        DeValue::Array(_) => "array",
        DeValue::Table(_) => "object",
    }
}

/// The JSON type a schema wants; enumerations are strings.
fn expected_type(schema: &Value) -> &str {
    match schema.get("type").and_then(Value::as_str) {
        Some(name) => name,
        None if schema.get("oneOf").is_some() || schema.get("enum").is_some() => "string",
        None => "object",
    }
}

fn plain_type(name: &str) -> &'static str {
    match name {
        "string" => "a string",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "date" => "a date",
        "array" => "a list",
        _ => "a table",
    }
}

/// The words of an enumeration, written as `enum` or as `oneOf` of `const`s.
fn words(schema: &Value) -> Vec<&str> {
    let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let one_of = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten().flat_map(|choice| {
        let listed = choice.get("enum").and_then(Value::as_array).into_iter().flatten();
        choice.get("const").into_iter().chain(listed).filter_map(Value::as_str)
    });
    listed.chain(one_of).collect()
}

fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
