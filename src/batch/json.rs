//! JSON columns: checking those that a file has, writing those that stand for lists of lists.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::error::ArrowError;
use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};
use cq_plugin::extension::Extension;

use super::{BatchError, conform};
use crate::types::table_field;

/// CloudQuery's JSON columns must hold JSON, which destinations parse; a file only claims that they do.
pub(super) fn check(array: &ArrayRef, field: &Field, first_row: u64) -> Result<(), BatchError> {
    if Extension::of(field) != Some(Extension::Json) {
        return Ok(());
    }
    let text: Box<dyn Iterator<Item = Option<&[u8]>>> = match array.data_type() {
        DataType::Utf8View => Box::new(
            array
                .as_string_view()
                .iter()
                .map(|value| value.map(str::as_bytes)),
        ),
        DataType::BinaryView => Box::new(array.as_binary_view().iter()),
        _ => return Ok(()),
    };
    for (row, value) in (first_row..).zip(text) {
        let Some(value) = value else { continue };
        serde_json::from_slice::<serde::de::IgnoredAny>(value).map_err(|source| {
            BatchError::Json {
                column: field.name().clone(),
                row,
                source,
            }
        })?;
    }
    Ok(())
}

/// Lists of lists as JSON text; `item` is the inner list as the file has it.
pub(super) fn text(array: &ArrayRef, item: &Field) -> Result<ArrayRef, ArrowError> {
    let unmappable = |e| ArrowError::ExternalError(Box::new(e));
    let item = Arc::new(table_field(item).map_err(unmappable)?);
    let list = Arc::new(Field::new("list", DataType::List(item), true));
    let array = conform(array, &list)?;
    let options = EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(RawJson));
    let mut encoder = make_encoder(&list, &array, &options)?;
    let mut texts = BinaryBuilder::with_capacity(array.len(), 0);
    let mut text = Vec::new();
    for row in 0..array.len() {
        if encoder.is_null(row) {
            texts.append_null();
            continue;
        }
        text.clear();
        encoder.encode(row, &mut text);
        texts.append_value(&text);
    }
    Ok(Arc::new(texts.finish()))
}

/// JSON within JSON is written as it is, not as the bytes of a text.
#[derive(Debug)]
struct RawJson;

impl EncoderFactory for RawJson {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        struct Raw<'a>(&'a BinaryArray);
        impl Encoder for Raw<'_> {
            fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
                out.extend_from_slice(self.0.value(row));
            }
        }
        Ok((Extension::of(field) == Some(Extension::Json)).then(|| {
            let raw = Raw(array.as_binary());
            NullableEncoder::new(Box::new(raw), array.nulls().cloned())
        }))
    }
}
