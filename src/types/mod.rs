//! Which column types reach a destination, and what every other type of a file becomes. Pure.
//!
//! The target types are those that CloudQuery's own destination test suite covers (plugin-sdk, `schema/testdata.go`):
//! booleans, integers, floats, text, binary, dates, times, timestamps, durations, intervals, `Decimal128`, lists,
//! structs, maps and CloudQuery's extension types. Conversions lose nothing.

use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, FieldRef, Fields};
use cq_plugin::extension::Extension;

/// Names of Arrow's canonical extension types (Arrow columnar format, "Canonical Extension Types").
const ARROW_UUID: &str = "arrow.uuid";
const ARROW_JSON: &str = "arrow.json";
const EXTENSION_NAME: &str = "ARROW:extension:name";

/// A column type that no destination can be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column:?} has the type {data_type}, which no CloudQuery destination takes")]
pub struct Unmappable {
    column: String,
    data_type: String,
}

/// The field of the table for a field of a file.
///
/// `Null` columns stay `Null` here: their type is known only when all files of the table are ([`settled`]). Metadata of
/// the file is dropped but for extension types, so that a file cannot declare keys.
pub fn table_field(field: &Field) -> Result<Field, Unmappable> {
    at_path(field, field.name())
}

fn at_path(field: &Field, path: &str) -> Result<Field, Unmappable> {
    let refuse = || Unmappable {
        column: path.to_owned(),
        data_type: field.data_type().to_string(),
    };
    if let Some(extension) = extension(field) {
        return Ok(extension.field(field.name(), field.is_nullable()));
    }
    let child = |inner: &Field, name: &str| {
        at_path(inner, &format!("{path}.{}", inner.name())).map(|f| Arc::new(f.with_name(name)))
    };
    let data_type = match field.data_type() {
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Float16 => DataType::Float32,
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, Some("UTC".into())),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        DataType::Decimal256(p, s) if *p <= DECIMAL128_MAX_PRECISION => {
            DataType::Decimal128(*p, *s)
        }
        // A decimal of more digits than any safe number type has: text keeps them all.
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Decimal256(..) => {
            DataType::Utf8
        }
        DataType::List(inner)
        | DataType::LargeList(inner)
        | DataType::ListView(inner)
        | DataType::LargeListView(inner)
        | DataType::FixedSizeList(inner, _) => {
            let item = child(inner, "item")?;
            if matches!(item.data_type(), DataType::List(_)) {
                // A list of lists: CloudQuery's PostgreSQL destination fails on one, BigQuery has none. All take JSON.
                return Ok(Extension::Json.field(field.name(), field.is_nullable()));
            }
            DataType::List(item)
        }
        DataType::Struct(fields) if !fields.is_empty() => {
            let fields = fields.iter().map(|inner| child(inner, inner.name()));
            DataType::Struct(fields.collect::<Result<Fields, _>>()?)
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(pair) = entries.data_type() else {
                return Err(refuse());
            };
            let [key, value] = pair.as_ref() else {
                return Err(refuse());
            };
            let (key, value) = (child(key, "key")?, child(value, "value")?);
            map(&key, value)
        }
        DataType::Dictionary(_, values) => {
            let plain = Field::new(field.name(), values.as_ref().clone(), field.is_nullable());
            return at_path(&plain, path);
        }
        DataType::RunEndEncoded(_, values) => {
            return at_path(
                &values
                    .as_ref()
                    .clone()
                    .with_name(field.name())
                    .with_nullable(field.is_nullable()),
                path,
            );
        }
        DataType::Struct(_) | DataType::Union(..) => return Err(refuse()),
        plain => plain.clone(),
    };
    Ok(Field::new(field.name(), data_type, field.is_nullable()))
}

/// The CloudQuery extension type that a field of a file stands for.
fn extension(field: &Field) -> Option<Extension> {
    let name = field.metadata().get(EXTENSION_NAME).map(String::as_str);
    match (name, field.data_type()) {
        (Some(ARROW_UUID), DataType::FixedSizeBinary(16)) => Some(Extension::Uuid),
        (
            Some(ARROW_JSON),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Binary,
        ) => Some(Extension::Json),
        _ => Extension::of(field),
    }
}

/// A map type with the field names that CloudQuery's Arrow implementation uses.
pub(crate) fn map(key: &Field, value: FieldRef) -> DataType {
    let pair = Fields::from(vec![Arc::new(key.clone().with_nullable(false)), value]);
    DataType::Map(
        Arc::new(Field::new("entries", DataType::Struct(pair), false)),
        false,
    )
}

/// A field in which `Null`, a column without a value in any file, has become nullable text.
#[must_use]
pub fn settled(field: &Field) -> Field {
    let inner = |f: &FieldRef| Arc::new(settled(f));
    let data_type = match field.data_type() {
        DataType::Null => return Field::new(field.name(), DataType::Utf8, true),
        DataType::List(item) => DataType::List(inner(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        _ => return field.clone(),
    };
    field.clone().with_data_type(data_type)
}

#[cfg(test)]
mod tests;
