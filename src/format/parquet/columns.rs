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

/// A file with the types to decode to.
#[derive(Debug, Clone)]
pub(super) struct Opened {
    pub(super) reader: ArrowReaderMetadata,
    pub(super) columns: Arc<[FileColumn]>,
    pub(super) wide: Option<Arc<Wide>>,
}

/// A second reading of the columns with INT96 timestamps, in microseconds. The library lets nanoseconds wrap silently
/// outside the years 1677 to 2262, and 9999-12-31 is what many writers mean by "never".
#[derive(Debug)]
pub(super) struct Wide {
    pub(super) reader: ArrowReaderMetadata,
    /// Positions of those columns among the file's top-level columns.
    pub(super) roots: Vec<usize>,
}

/// Opens a file with the types to decode to, and lists the columns to read.
pub(super) fn open(metadata: &Arc<ParquetMetaData>) -> Result<Opened, FormatError> {
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
    let decoded = |unit| {
        let mut int96 = leaves
            .columns()
            .iter()
            .map(|leaf| leaf.physical_type() == Physical::INT96);
        let fields = natural.schema().fields().iter();
        fields
            .map(|field| decode_as(field, &mut int96, unit))
            .collect::<Vec<_>>()
    };
    let read_as = |fields: Vec<Field>| {
        let schema = Schema::new_with_metadata(fields, natural.schema().metadata().clone());
        load(ArrowReaderOptions::new().with_schema(Arc::new(schema)))
    };
    let (fields, wide) = (
        decoded(TimeUnit::Nanosecond),
        decoded(TimeUnit::Microsecond),
    );
    let read = |(_, field): &(usize, &Field)| !is_reserved(field.name());
    let columns = (0..)
        .zip(&fields)
        .filter(read)
        .map(|(root, field)| FileColumn {
            root,
            table_field: table_field(field).map(Arc::new),
        });
    let columns = columns.collect();
    let changed = (0..)
        .zip(&fields)
        .filter(read)
        .filter(|(i, field)| wide.get(*i) != Some(field));
    let roots: Vec<usize> = changed.map(|(root, _)| root).collect();
    let wide = if roots.is_empty() {
        None
    } else {
        Some(Arc::new(Wide {
            reader: read_as(wide)?,
            roots,
        }))
    };
    Ok(Opened {
        reader: read_as(fields)?,
        columns,
        wide,
    })
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
/// which becomes one of `unit`, in UTC by convention though nothing in the file says so.
fn decode_as(field: &Field, int96: &mut impl Iterator<Item = bool>, unit: TimeUnit) -> Field {
    let mut inner = |f: &FieldRef| Arc::new(decode_as(f, int96, unit));
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => DataType::List(inner(item)),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        leaf => leaf_as(leaf, int96.next().unwrap_or(false).then_some(unit)),
    };
    field.clone().with_data_type(data_type)
}

fn leaf_as(leaf: &DataType, int96: Option<TimeUnit>) -> DataType {
    match (leaf, int96) {
        (DataType::Utf8 | DataType::LargeUtf8, _) => DataType::Utf8View,
        (DataType::Binary | DataType::LargeBinary, _) => DataType::BinaryView,
        (DataType::Dictionary(_, values), _) => leaf_as(values, int96),
        (DataType::RunEndEncoded(_, values), _) => leaf_as(values.data_type(), int96),
        (DataType::Timestamp(TimeUnit::Nanosecond, _), Some(unit)) => {
            DataType::Timestamp(unit, Some("UTC".into()))
        }
        (other, _) => other.clone(),
    }
}
