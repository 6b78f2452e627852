//! The schema of a table from the schemas of its files: the union of their columns, each of the least type that holds
//! every file's values. Pure.
//!
//! Where types have a common wider type without loss the order of files does not matter; where they have none, the
//! files that came first keep theirs and the later one is refused alone.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, Fields, Schema, TimeUnit};
use cq_plugin::extension::Extension;
use cq_plugin::{Column, Table, id_column, parent_id_column};

use crate::types::{map, settled};

/// A file whose column has no common type with the table's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column:?} is {found} here and {expected} in the table's other files")]
pub struct Conflict {
    column: String,
    expected: String,
    found: String,
}

/// Merges file schemas (fields as [`crate::types::table_field`] gives them) into a table's.
#[derive(Debug, Default, Clone)]
pub struct Merger {
    fields: Option<Fields>,
    /// What is merged already: files of a table have few different schemas, however many there are.
    merged: HashSet<Fields>,
}

impl Merger {
    /// Adds a file's fields; on a conflict the table stays as it was.
    pub fn add(&mut self, file: &Fields) -> Result<(), Conflict> {
        if self.merged.contains(file) {
            return Ok(());
        }
        let merged = match &self.fields {
            Some(fields) => union(fields, file, "")?,
            None => file.clone(),
        };
        self.fields = Some(merged);
        self.merged.insert(file.clone());
        Ok(())
    }

    /// The table, with CloudQuery's own columns in front; `None` if no file was added.
    #[must_use]
    pub fn finish(self, name: &str) -> Option<Table> {
        let own = [id_column(), parent_id_column()];
        let data = self.fields?;
        let columns = own
            .into_iter()
            .chain(data.iter().map(|field| Column::new(settled(field))));
        Some(Table::new(name, columns.collect()))
    }
}

/// Whether a file's rows fit a table that is announced already (`table` is its schema, CloudQuery's two columns first).
pub fn admits(table: &Schema, file: &Fields) -> Result<(), Conflict> {
    let announced: Fields = table
        .fields()
        .iter()
        .skip(2)
        .map(|field| Arc::new(plain(field)))
        .collect();
    for (field, joined) in union(&announced, file, "")?
        .iter()
        .zip(announced.iter().map(Some).chain(std::iter::repeat(None)))
    {
        let fits = joined.is_some_and(|known| {
            known.data_type() == field.data_type() && known.is_nullable() == field.is_nullable()
        });
        if !fits {
            let expected = joined.map_or_else(|| "absent".to_owned(), |known| describe(known));
            return Err(Conflict {
                column: field.name().clone(),
                expected,
                found: describe(field),
            });
        }
    }
    Ok(())
}

/// A table's field without the metadata that is CloudQuery's, but with its extension type.
fn plain(field: &Field) -> Field {
    match Extension::of(field) {
        Some(extension) => extension.field(field.name(), field.is_nullable()),
        None => field
            .clone()
            .with_metadata(std::collections::HashMap::new()),
    }
}

/// Columns of both, in the order of first appearance; one that a side lacks is nullable.
fn union(table: &Fields, file: &Fields, path: &str) -> Result<Fields, Conflict> {
    let nullable = |field: &Field| Arc::new(field.clone().with_nullable(true));
    let mut merged = Vec::with_capacity(table.len().max(file.len()));
    for field in table {
        merged.push(match file.find(field.name()) {
            Some((_, other)) => Arc::new(join(field, other, path)?),
            None => nullable(field),
        });
    }
    merged.extend(
        file.iter()
            .filter(|field| table.find(field.name()).is_none())
            .map(|field| nullable(field)),
    );
    Ok(merged.into())
}

fn join(table: &Field, file: &Field, path: &str) -> Result<Field, Conflict> {
    let column = if path.is_empty() {
        table.name().clone()
    } else {
        format!("{path}.{}", table.name())
    };
    let nullable = table.is_nullable() || file.is_nullable();
    let conflict = || Conflict {
        column: column.clone(),
        expected: describe(table),
        found: describe(file),
    };
    let (left, right) = (table.data_type(), file.data_type());
    if *right == DataType::Null {
        return Ok(table.clone().with_nullable(true));
    }
    if *left == DataType::Null {
        return Ok(file.clone().with_nullable(true));
    }
    if Extension::of(table) != Extension::of(file) {
        return Err(conflict());
    }
    let data_type = match (left, right) {
        (a, b) if a == b => a.clone(),
        (DataType::Struct(a), DataType::Struct(b)) => DataType::Struct(union(a, b, &column)?),
        (DataType::List(a), DataType::List(b)) => DataType::List(Arc::new(join(a, b, &column)?)),
        (DataType::Map(a, _), DataType::Map(b, _)) => match (a.data_type(), b.data_type()) {
            (DataType::Struct(a), DataType::Struct(b)) => {
                let pair = union(a, b, &column)?;
                let [key, value] = pair.as_ref() else {
                    return Err(conflict());
                };
                map(key, Arc::clone(value))
            }
            _ => return Err(conflict()),
        },
        (a, b) => wider(a, b).ok_or_else(conflict)?,
    };
    Ok(table
        .clone()
        .with_data_type(data_type)
        .with_nullable(nullable))
}

/// The least type that holds both without loss, within one family: signed and unsigned integers, floats, timestamps,
/// times, durations, decimals, dates.
fn wider(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::{
        Date32, Date64, Decimal128, Duration, Float32, Float64, Time32, Time64, Timestamp,
    };
    Some(match (a, b) {
        (Float32, Float64) | (Float64, Float32) => Float64,
        (Date32, Date64) | (Date64, Date32) => Date64,
        (Timestamp(x, zone), Timestamp(y, other)) if zone == other => {
            Timestamp(finer(*x, *y), zone.clone())
        }
        (Duration(x), Duration(y)) => Duration(finer(*x, *y)),
        (Time32(x) | Time64(x), Time32(y) | Time64(y)) => match finer(*x, *y) {
            unit @ (TimeUnit::Second | TimeUnit::Millisecond) => Time32(unit),
            unit => Time64(unit),
        },
        (Decimal128(p, s), Decimal128(q, t)) => {
            let scale = *s.max(t);
            let whole = (i16::from(*p) - i16::from(*s)).max(i16::from(*q) - i16::from(*t));
            let precision = u8::try_from(whole + i16::from(scale)).ok()?;
            (precision <= DECIMAL128_MAX_PRECISION).then_some(Decimal128(precision, scale))?
        }
        _ => {
            let ((signed_a, bits_a), (signed_b, bits_b)) = (integer(a)?, integer(b)?);
            let signed = signed_a || signed_b;
            // A signed type needs one bit more than the unsigned it holds, which means the next size.
            let room =
                |is_signed: bool, bits: u32| if signed && !is_signed { bits * 2 } else { bits };
            integer_type(signed, room(signed_a, bits_a).max(room(signed_b, bits_b)))?
        }
    })
}

fn finer(a: TimeUnit, b: TimeUnit) -> TimeUnit {
    let rank = |unit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    };
    if rank(a) >= rank(b) { a } else { b }
}

fn integer(data_type: &DataType) -> Option<(bool, u32)> {
    Some(match data_type {
        DataType::Int8 => (true, 8),
        DataType::Int16 => (true, 16),
        DataType::Int32 => (true, 32),
        DataType::Int64 => (true, 64),
        DataType::UInt8 => (false, 8),
        DataType::UInt16 => (false, 16),
        DataType::UInt32 => (false, 32),
        DataType::UInt64 => (false, 64),
        _ => return None,
    })
}

fn integer_type(signed: bool, bits: u32) -> Option<DataType> {
    Some(match (signed, bits) {
        (true, 8) => DataType::Int8,
        (true, 16) => DataType::Int16,
        (true, 32) => DataType::Int32,
        (true, 64) => DataType::Int64,
        (false, 8) => DataType::UInt8,
        (false, 16) => DataType::UInt16,
        (false, 32) => DataType::UInt32,
        (false, 64) => DataType::UInt64,
        _ => return None,
    })
}

fn describe(field: &Field) -> String {
    Extension::of(field).map_or_else(|| field.data_type().to_string(), |e| e.name().to_owned())
}

#[cfg(test)]
mod tests;
