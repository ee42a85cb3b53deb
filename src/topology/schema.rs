//! The JSON schema of topology files, for editors and for [`super::parse`].

use std::sync::OnceLock;

use serde_json::Value;

use super::ast;

/// The schema as a value.
pub fn value() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let mut schema = schemars::schema_for!(ast::File).to_value();
        without_null(&mut schema);
        schema["title"] = "netbench topology".into();
        schema
    })
}

/// The schema as text, as checked in under `topologies/netbench.schema.json`.
pub fn json() -> String {
    let mut text = serde_json::to_string_pretty(value()).expect("a JSON value prints");
    text.push('\n');
    text
}

/// TOML has no null: an optional key is one that may be left out.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = &types[..] {
                    let only = only.clone();
                    object.insert("type".into(), only);
                }
            }
            if let Some(Value::Array(any)) = object.get_mut("anyOf") {
                any.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
                if let [Value::Object(only)] = &any[..] {
                    let only = only.clone();
                    object.remove("anyOf");
                    for (key, item) in only {
                        object.entry(key).or_insert(item);
                    }
                }
            }
            for key in ["default", "format"] {
                object.remove(key);
            }
            object.values_mut().for_each(without_null);
        }
        _ => {}
    }
}
