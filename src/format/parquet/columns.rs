//! Which columns of a file are read, as which Arrow types they are decoded, and which table fields they become.
//!
//! Text and binary are decoded as views into the pages: nothing is copied until a batch has been cut to size.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, TimeUnit};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::Type as Physical;
use parquet::file::metadata::ParquetMetaData;

use super::guard::library;
use crate::format::FormatError;
use crate::types::{Unmappable, table_field};

/// Columns that CloudQuery fills itself start with this.
const RESERVED: &str = "_cq_";

/// One column that is read.
#[derive(Debug)]
pub(super) struct FileColumn {
    /// Position among the file's top-level columns.
    pub(super) root: usize,
    /// The field it becomes in the table.
    pub(super) table_field: Result<FieldRef, Unmappable>,
}

/// Whether a file's column would shadow one of CloudQuery's.
pub(super) fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED)
}

/// Opens a file with the types to decode to, and lists the columns to read.
pub(super) fn open(
    metadata: &Arc<ParquetMetaData>,
) -> Result<(ArrowReaderMetadata, Vec<FileColumn>), FormatError> {
    let load = |options| {
        library("the schema", || {
            ArrowReaderMetadata::try_new(Arc::clone(metadata), options)
        })
    };
    // The Arrow schema that some writers embed is a hint: a broken one costs its types, not the file.
    let natural = load(ArrowReaderOptions::new())
        .or_else(|_| load(ArrowReaderOptions::new().with_skip_arrow_metadata(true)))?;
    check_names(natural.schema().fields())?;
    let leaves = metadata.file_metadata().schema_descr();
    let mut int96 = leaves
        .columns()
        .iter()
        .map(|leaf| leaf.physical_type() == Physical::INT96);
    let decoded: Vec<Field> = natural
        .schema()
        .fields()
        .iter()
        .map(|field| decode_as(field, &mut int96))
        .collect();
    let columns = decoded
        .iter()
        .enumerate()
        .filter(|(_, field)| !is_reserved(field.name()));
    let columns = columns
        .map(|(root, field)| FileColumn {
            root,
            table_field: table_field(field).map(Arc::new),
        })
        .collect();
    let schema = Schema::new_with_metadata(decoded, natural.schema().metadata().clone());
    let reader = load(ArrowReaderOptions::new().with_schema(Arc::new(schema)))?;
    Ok((reader, columns))
}

/// Columns and struct members go by name from here on: each must have one of its own.
fn check_names(fields: &Fields) -> Result<(), FormatError> {
    let mut names = HashSet::new();
    for (i, field) in fields.iter().enumerate() {
        if field.name().is_empty() {
            return Err(FormatError::unsupported(format!(
                "its column {i} has no name"
            )));
        }
        if !names.insert(field.name()) {
            return Err(FormatError::unsupported(format!(
                "it has two columns named {:?}",
                field.name()
            )));
        }
        check_members(field)?;
    }
    Ok(())
}

fn check_members(field: &Field) -> Result<(), FormatError> {
    match field.data_type() {
        DataType::Struct(members) => check_names(members),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => check_members(item),
        DataType::Map(entries, _) => match entries.data_type() {
            // Key and value go by position.
            DataType::Struct(pair) => pair.iter().try_for_each(|field| check_members(field)),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// The type to decode a column to. `int96` says of each leaf, in the file's order, whether it is an INT96 timestamp,
/// which is UTC by convention though nothing in the file says so.
fn decode_as(field: &Field, int96: &mut impl Iterator<Item = bool>) -> Field {
    let mut inner = |f: &FieldRef| Arc::new(decode_as(f, int96));
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => DataType::List(inner(item)),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        leaf => leaf_as(leaf, int96.next().unwrap_or(false)),
    };
    field.clone().with_data_type(data_type)
}

fn leaf_as(leaf: &DataType, int96: bool) -> DataType {
    match leaf {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::Dictionary(_, values) => leaf_as(values, int96),
        DataType::RunEndEncoded(_, values) => leaf_as(values.data_type(), int96),
        DataType::Timestamp(TimeUnit::Nanosecond, None) if int96 => {
            DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
        }
        other => other.clone(),
    }
}
