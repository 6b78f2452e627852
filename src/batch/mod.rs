//! From the rows of a file to rows of its table: columns by name, types widened, ids in front, cut by rows and bytes.
//! Pure; the caller runs it off the I/O threads.
//!
//! Files are decoded with text and binary as views into their pages, so that the true size of rows is known before
//! anything of that size exists. A batch is first cut by that size and only then given its final types.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, StructArray, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Fields, SchemaRef};
use arrow::error::ArrowError;
use cq_plugin::extension::Extension;

use crate::identity::RowIds;

mod json;
mod measure;
#[cfg(test)]
mod tests;

pub use measure::{Cut, cut};

/// Why rows cannot become rows of their table.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// One row alone is over the limit of a message.
    #[error("row {row} takes {bytes} bytes, more than the {limit} that one message can carry")]
    RowTooLarge {
        /// Number of the row in its object, from 0.
        row: u64,
        /// Its size in the table's types.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A value that the column's type cannot hold.
    #[error(
        "column {column:?}, rows {first_row} and on: a value does not fit the table's type {data_type}"
    )]
    Value {
        /// Name of the column.
        column: String,
        /// First row of the batch that holds the value.
        first_row: u64,
        /// Type of the table's column.
        data_type: String,
        /// What Arrow says.
        source: ArrowError,
    },
    /// A value of a JSON column that is not JSON.
    #[error("column {column:?}, row {row}: the value is not JSON")]
    Json {
        /// Name of the column.
        column: String,
        /// Number of the row in its object, from 0.
        row: u64,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// The columns do not make a batch.
    #[error("the rows do not fit the table")]
    Arrow(#[from] ArrowError),
}

/// `_cq_id` and `_cq_parent_id`, which stand in front.
const OWN_COLUMNS: usize = 2;

/// Gives an object's rows the shape of their table.
#[derive(Debug, Clone)]
pub struct Shaper {
    table: SchemaRef,
    /// For each data column of the table, its position in the file's batches.
    positions: Vec<Option<usize>>,
    ids: RowIds,
}

impl Shaper {
    /// For rows of the object that `ids` names, in batches with the columns `file`; `table` is the table's schema with
    /// CloudQuery's two columns in front.
    #[must_use]
    pub fn new(table: SchemaRef, file: &Fields, ids: RowIds) -> Self {
        let named: HashMap<&str, usize> = (0..)
            .zip(file)
            .map(|(i, field)| (field.name().as_str(), i))
            .collect();
        let data = table.fields().iter().skip(OWN_COLUMNS);
        let positions = data
            .map(|field| named.get(field.name().as_str()).copied())
            .collect();
        Self {
            table,
            positions,
            ids,
        }
    }

    /// `batch` in the table's columns and types; `first_row` is the number of its first row in the object.
    pub fn shape(&self, batch: &RecordBatch, first_row: u64) -> Result<RecordBatch, BatchError> {
        let rows = batch.num_rows();
        let parent = new_null_array(&Extension::Uuid.storage(), rows);
        let mut columns = vec![self.ids.column(first_row, rows)?, parent];
        for (field, position) in self
            .table
            .fields()
            .iter()
            .skip(OWN_COLUMNS)
            .zip(&self.positions)
        {
            columns.push(match position.and_then(|at| batch.columns().get(at)) {
                Some(column) => {
                    json::check(column, field, first_row)?;
                    conform(column, field).map_err(|source| BatchError::Value {
                        column: field.name().clone(),
                        first_row,
                        data_type: field.data_type().to_string(),
                        source,
                    })?
                }
                None => new_null_array(field.data_type(), rows),
            });
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.table), columns)?)
    }
}

/// An array in the type of `field`: nested types part by part, plain ones by a cast that refuses what does not fit.
fn conform(array: &ArrayRef, field: &Field) -> Result<ArrayRef, ArrowError> {
    Ok(match (array.data_type(), field.data_type()) {
        (from, to) if from == to => Arc::clone(array),
        (DataType::Null, to) => new_null_array(to, array.len()),
        (DataType::Struct(_), DataType::Struct(fields)) => {
            Arc::new(conform_struct(array.as_struct(), fields)?)
        }
        (DataType::List(_), DataType::List(item)) => {
            let list = array.as_list::<i32>();
            let (offsets, values) = window(list.offsets(), list.values());
            Arc::new(ListArray::try_new(
                Arc::clone(item),
                offsets,
                conform(&values, item)?,
                list.nulls().cloned(),
            )?)
        }
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            let map = array.as_map();
            let pairs: ArrayRef = Arc::new(map.entries().clone());
            let (offsets, pairs) = window(map.offsets(), &pairs);
            let pairs = conform_pairs(pairs.as_struct(), entries)?;
            Arc::new(MapArray::try_new(
                Arc::clone(entries),
                offsets,
                pairs,
                map.nulls().cloned(),
                *sorted,
            )?)
        }
        (DataType::List(item), DataType::Binary) => json::text(array, item)?,
        // There is no direct way from a text view to bytes.
        (DataType::Utf8View, DataType::Binary) => {
            cast(&cast(array, &DataType::Utf8)?, &DataType::Binary)?
        }
        (_, to) => cast(array, to)?,
    })
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(
        array,
        to,
        &CastOptions {
            safe: false,
            ..CastOptions::default()
        },
    )
}

fn conform_struct(array: &StructArray, fields: &Fields) -> Result<StructArray, ArrowError> {
    let columns = fields
        .iter()
        .map(|field| match array.column_by_name(field.name()) {
            Some(column) => conform(column, field),
            None => Ok(new_null_array(field.data_type(), array.len())),
        });
    StructArray::try_new(
        fields.clone(),
        columns.collect::<Result<_, _>>()?,
        array.nulls().cloned(),
    )
}

/// Key and value go by position: files name them as they like.
fn conform_pairs(pairs: &StructArray, entries: &Field) -> Result<StructArray, ArrowError> {
    let DataType::Struct(fields) = entries.data_type() else {
        return Err(ArrowError::SchemaError(
            "map entries must be a struct".to_owned(),
        ));
    };
    let columns = pairs
        .columns()
        .iter()
        .zip(fields)
        .map(|(column, field)| conform(column, field));
    StructArray::try_new(
        fields.clone(),
        columns.collect::<Result<_, _>>()?,
        pairs.nulls().cloned(),
    )
}

/// The part of a list's values that its offsets speak of, and offsets that start at zero: a slice of a list keeps all
/// values of the whole.
fn window(offsets: &OffsetBuffer<i32>, values: &ArrayRef) -> (OffsetBuffer<i32>, ArrayRef) {
    let (first, last) = measure::bounds(offsets);
    let lengths = offsets.lengths();
    (
        OffsetBuffer::from_lengths(lengths),
        values.slice(first, last - first),
    )
}
