//! The first pass over a spec, before its types: which keys exist, and numbers as CloudQuery delivers them.
//!
//! The known keys are read from the JSON Schema, so that there is one list of options.

use serde_json::{Map, Value};

use super::{SpecError, json_schema};

/// How different a misspelt key may be from the one it is taken for (Jaro-Winkler, 1 is equal).
const NEAR: f64 = 0.75;

/// Refuses unknown keys, drops `null` values (they mean "left out") and turns whole floats into integers:
/// the CLI passes a spec through 64-bit floats on its way.
pub(super) fn prepare(value: Value) -> Result<Value, SpecError> {
    let schema: Value =
        serde_json::from_str(&json_schema()).map_err(|e| SpecError::Json(e.to_string()))?;
    match value {
        Value::Null => Ok(Value::Object(Map::new())),
        Value::Object(_) => walk(value, &schema, &schema, ""),
        other => Err(SpecError::Json(format!(
            "it must be an object with options, not {}",
            kind(&other)
        ))),
    }
}

fn walk(value: Value, schema: &Value, root: &Value, path: &str) -> Result<Value, SpecError> {
    match value {
        Value::Object(map) => {
            let properties = properties(schema, root);
            let mut out = Map::new();
            for (key, value) in map.into_iter().filter(|(_, value)| !value.is_null()) {
                let here = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                let Some(inner) = properties.and_then(|known| known.get(&key)) else {
                    return Err(SpecError::UnknownKey {
                        hint: nearest(&key, properties),
                        key: here,
                    });
                };
                out.insert(key, walk(value, inner, root, &here)?);
            }
            Ok(Value::Object(out))
        }
        Value::Array(items) => {
            let inner = schema.get("items").unwrap_or(&Value::Null);
            let items = items
                .into_iter()
                .enumerate()
                .map(|(i, item)| walk(item, inner, root, &format!("{path}[{i}]")));
            items.collect::<Result<_, _>>().map(Value::Array)
        }
        Value::Number(number) => Ok(whole(&number).map_or(Value::Number(number), Value::from)),
        other => Ok(other),
    }
}

/// The integer that a float such as `5.0` stands for.
fn whole(number: &serde_json::Number) -> Option<i64> {
    /// Floats up to here hold every integer exactly.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let float = number.as_f64().filter(|_| number.is_f64())?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole and within the exact range"
    )]
    (float.fract() == 0.0 && float.abs() <= EXACT).then_some(float as i64)
}

/// The `properties` of a schema node, through `$ref` and the `anyOf` that stands for an optional value.
fn properties<'a>(schema: &'a Value, root: &'a Value) -> Option<&'a Map<String, Value>> {
    if let Some(found) = schema.get("properties") {
        return found.as_object();
    }
    if let Some(name) = schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|r| r.strip_prefix("#/$defs/"))
    {
        return properties(root.get("$defs")?.get(name)?, root);
    }
    schema
        .get("anyOf")?
        .as_array()?
        .iter()
        .find_map(|option| properties(option, root))
}

fn nearest(key: &str, known: Option<&Map<String, Value>>) -> Option<String> {
    let scored = known?
        .keys()
        .map(|name| (strsim::jaro_winkler(&key.to_lowercase(), name), name));
    let (score, name) = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (score >= NEAR).then(|| name.clone())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
