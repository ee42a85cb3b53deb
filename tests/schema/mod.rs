//! A structural check of JSON against the checked-in schemas: types, required fields, enumerations, references. It knows
//! the keywords that schemars writes for our types and refuses fields that the schema does not name, which is stricter
//! than JSON Schema asks.

use std::path::Path;

use serde_json::Value;

/// Does this value conform to `docs/json/NAME.schema.json`? The error says where it does not.
pub fn conforms(name: &str, value: &Value) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/json/{name}.schema.json"));
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let schema = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    fits(value, &schema, &schema, name)
}

fn fits(value: &Value, schema: &Value, root: &Value, at: &str) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        return fits(value, &root["$defs"][reference.trim_start_matches("#/$defs/")], root, at);
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[key].as_array() {
            let fits = choices.iter().filter(|choice| fits(value, choice, root, at).is_ok()).count();
            let right = if key == "oneOf" { fits == 1 } else { fits > 0 };
            return if right { Ok(()) } else { Err(format!("{at}: {fits} of {key} fit {value}")) };
        }
    }
    if let Some(wanted) = schema.get("const")
        && wanted != value
    {
        return Err(format!("{at}: {value} is not {wanted}"));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return Err(format!("{at}: {value} is not one of {allowed:?}"));
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_u64() || n.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is = |wanted: &Value| wanted == kind || (wanted == "number" && kind == "integer");
    match &schema["type"] {
        Value::Array(kinds) if !kinds.iter().any(is) => return Err(format!("{at}: {kind} is not one of {kinds:?}")),
        wanted @ Value::String(_) if !is(wanted) => return Err(format!("{at}: {kind} is not {wanted}")),
        _ => {}
    }
    if let Value::Array(items) = value
        && schema.get("items").is_some()
    {
        for (i, item) in items.iter().enumerate() {
            fits(item, &schema["items"], root, &format!("{at}[{i}]"))?;
        }
    }
    if let (Value::Object(fields), Some(properties)) = (value, schema["properties"].as_object()) {
        for required in schema["required"].as_array().into_iter().flatten() {
            let name = required.as_str().unwrap_or_default();
            if !fields.contains_key(name) {
                return Err(format!("{at}: {name} is missing"));
            }
        }
        for (name, field) in fields {
            let property = properties.get(name).ok_or_else(|| format!("{at}: {name} is not in the schema"))?;
            fits(field, property, root, &format!("{at}.{name}"))?;
        }
    }
    Ok(())
}
