//! What must hold of a file before the Parquet library may allocate for it: bounded nesting, honest counts,
//! pages that stay within what the footer promised.
//!
//! The library trusts page headers and, for some codecs, unpacks until the input ends. A file from a bucket is not
//! trusted here: a page whose true size is larger than declared is refused before anything of that size exists.
//! Layout of the structures: parquet-format, `parquet.thrift` (numbers below are its field numbers).

use std::io::Read;
use std::panic::AssertUnwindSafe;

use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};

use super::thrift::{Reader, Type};
use crate::format::FormatError;

/// Nested groups a schema may have; analytic tables have fewer than ten.
const MAX_SCHEMA_DEPTH: usize = 32;
/// Columns (leaves and groups) a schema may have; Arrow schemas of more make every message huge.
const MAX_SCHEMA_NODES: usize = 20_000;
/// `PLAIN_DICTIONARY` and `RLE_DICTIONARY` of the enumeration `Encoding`.
const DICTIONARY_ENCODINGS: [i64; 2] = [2, 8];

/// Calls the Parquet library, which panics on some damaged pages (a run length of too many bytes, for one): that is an
/// error of the file. What the call touched must not be used again after an error.
pub(super) fn library<T>(
    what: &str,
    call: impl FnOnce() -> Result<T, ParquetError>,
) -> Result<T, FormatError> {
    match std::panic::catch_unwind(AssertUnwindSafe(call)) {
        Ok(outcome) => outcome.map_err(|e| FormatError::from_library(what, e)),
        Err(_) => Err(FormatError::malformed(format!(
            "{what} is damaged: the Parquet decoder gave up on it"
        ))),
    }
}

/// Checks the tree of schema elements in an encoded `FileMetaData`, which the library walks by recursion.
pub(super) fn check_footer(footer: &[u8]) -> Result<(), FormatError> {
    let mut children = Vec::new();
    Reader::new(footer).fields(|reader, field| {
        if (field.id, field.kind) != (2, Type::List) {
            return Ok(false);
        }
        let (_, count) = reader.list()?;
        if count > MAX_SCHEMA_NODES {
            return Err(FormatError::unsupported(format!(
                "its schema has {count} nodes, more than {MAX_SCHEMA_NODES}"
            )));
        }
        for _ in 0..count {
            let mut own = 0;
            reader.fields(|reader, field| {
                if (field.id, field.kind) != (5, Type::Int) {
                    return Ok(false);
                }
                own = reader.int()?;
                Ok(true)
            })?;
            children.push(own);
        }
        Ok(true)
    })?;
    check_tree(&children)
}

/// `children` holds the number of children of each node, in depth-first order.
fn check_tree(children: &[i64]) -> Result<(), FormatError> {
    let mut open: Vec<i64> = Vec::new();
    for (i, &count) in children.iter().enumerate() {
        if count < 0 || usize::try_from(count).unwrap_or(usize::MAX) > children.len() - i - 1 {
            return Err(FormatError::malformed(
                "its schema promises columns that are not there",
            ));
        }
        if let Some(left) = open.last_mut() {
            *left -= 1;
        }
        if count > 0 {
            open.push(count);
        }
        if open.len() > MAX_SCHEMA_DEPTH {
            return Err(FormatError::unsupported(format!(
                "its schema is nested deeper than {MAX_SCHEMA_DEPTH} levels"
            )));
        }
        while open.last() == Some(&0) {
            open.pop();
        }
    }
    Ok(())
}

/// Checks that every column chunk of a row group lies inside the file and counts nothing below zero.
pub(super) fn check_row_group(
    index: usize,
    group: &RowGroupMetaData,
    file_size: u64,
) -> Result<(), FormatError> {
    let bad = |what: &str| FormatError::malformed(format!("row group {index}: {what}"));
    if group.num_rows() < 0 {
        return Err(bad("a negative number of rows"));
    }
    for chunk in group.columns() {
        if chunk.file_path().is_some_and(|path| !path.is_empty()) {
            return Err(FormatError::unsupported(
                "its columns are in other files: it is the summary of a data set",
            ));
        }
        let (start, len) =
            chunk_range(chunk).ok_or_else(|| bad("a column with a negative offset or size"))?;
        if start.checked_add(len).is_none_or(|end| end > file_size) {
            return Err(bad("a column that ends behind the end of the file"));
        }
        if chunk.num_values() < 0 || chunk.uncompressed_size() < 0 {
            return Err(bad("a column with a negative count"));
        }
    }
    Ok(())
}

/// Offset and compressed length of a column chunk; `None` if the footer holds a negative number.
fn chunk_range(chunk: &ColumnChunkMetaData) -> Option<(u64, u64)> {
    let start = chunk
        .dictionary_page_offset()
        .unwrap_or(chunk.data_page_offset());
    Some((
        u64::try_from(start).ok()?,
        u64::try_from(chunk.compressed_size()).ok()?,
    ))
}

/// Walks the pages of one fetched column chunk and checks each against its own header. Returns the bytes that decoding
/// keeps at a time: the dictionary and the largest page, unpacked. (The footer's sum is not relied on: `DuckDB` 0.5 wrote 0.)
pub(super) fn check_pages(chunk: &ColumnChunkMetaData, bytes: &[u8]) -> Result<u64, FormatError> {
    let column = chunk.column_path().string();
    let bad = |what: &str| FormatError::malformed(format!("column {column:?}: {what}"));
    let mut values_left = u64::try_from(chunk.num_values()).unwrap_or(0);
    let (mut dictionary, mut largest) = (0, 0);
    let mut has_dictionary = false;
    let mut rest = bytes;
    while values_left > 0 && !rest.is_empty() {
        let page = page_header(rest).map_err(|_| bad("a page header that is not valid"))?;
        let body = rest
            .get(page.header_len..)
            .and_then(|body| body.get(..page.compressed))
            .ok_or_else(|| bad("a page that is longer than its column"))?;
        if page.dictionary {
            // The library reserves room for each value of a dictionary, whose values take at least a byte.
            has_dictionary = true;
            dictionary = page.uncompressed as u64;
            if page.values > dictionary {
                return Err(bad("a dictionary with more values than bytes"));
            }
        } else {
            largest = largest.max(page.uncompressed as u64);
            values_left = values_left
                .checked_sub(page.values)
                .ok_or_else(|| bad("more values than the footer declares"))?;
            if DICTIONARY_ENCODINGS.contains(&page.encoding) && !has_dictionary {
                return Err(bad(
                    "a page that refers to a dictionary before there is one",
                ));
            }
        }
        let packed = body
            .get(page.unpacked_levels..)
            .ok_or_else(|| bad("levels longer than their page"))?;
        if page.is_compressed
            && longer_than(
                chunk.compression(),
                packed,
                page.uncompressed.saturating_sub(page.unpacked_levels),
            )
        {
            return Err(bad("a page that unpacks to more than its header declares"));
        }
        rest = rest
            .get(page.header_len + page.compressed..)
            .unwrap_or_default();
    }
    Ok(dictionary + largest)
}

/// Whether unpacking gives more than `limit` bytes, for the codecs whose decoder in the library does not stop there.
/// What does not unpack at all is left to the library's own error.
fn longer_than(codec: Compression, packed: &[u8], limit: usize) -> bool {
    match codec {
        Compression::GZIP(_) => exceeds(flate2::read::MultiGzDecoder::new(packed), limit),
        Compression::BROTLI(_) => {
            exceeds(brotli_decompressor::Decompressor::new(packed, 4096), limit)
        }
        // Hadoop's own framing, which this does not unpack, is bounded in the library.
        Compression::LZ4 => exceeds(lz4_flex::frame::FrameDecoder::new(packed), limit),
        _ => false,
    }
}

fn exceeds(unpacker: impl Read, limit: usize) -> bool {
    let counted = std::io::copy(&mut unpacker.take(limit as u64 + 1), &mut std::io::sink());
    counted.is_ok_and(|count| count > limit as u64)
}

struct Page {
    header_len: usize,
    compressed: usize,
    uncompressed: usize,
    values: u64,
    dictionary: bool,
    encoding: i64,
    /// Bytes of levels that version 2 pages keep outside the compression.
    unpacked_levels: usize,
    is_compressed: bool,
}

/// Parses a `PageHeader`: 2 uncompressed and 3 compressed size, 5 data page, 7 dictionary page, 8 data page version 2.
fn page_header(bytes: &[u8]) -> Result<Page, FormatError> {
    let negative = |_| FormatError::malformed("a negative size");
    let mut page = Page {
        header_len: 0,
        compressed: 0,
        uncompressed: 0,
        values: 0,
        dictionary: false,
        encoding: 0,
        unpacked_levels: 0,
        is_compressed: true,
    };
    let mut reader = Reader::new(bytes);
    reader.fields(|reader, field| {
        match (field.id, field.kind) {
            (2, Type::Int) => {
                page.uncompressed = usize::try_from(reader.int()?).map_err(negative)?;
            }
            (3, Type::Int) => page.compressed = usize::try_from(reader.int()?).map_err(negative)?,
            (5 | 7 | 8, Type::Struct) => {
                page.dictionary = field.id == 7;
                let second_version = field.id == 8;
                reader.fields(|reader, inner| {
                    match (inner.id, inner.kind) {
                        (1, Type::Int) => {
                            page.values = u64::try_from(reader.int()?).map_err(negative)?;
                        }
                        (2, Type::Int) if field.id == 5 => page.encoding = reader.int()?,
                        (4, Type::Int) if second_version => page.encoding = reader.int()?,
                        (5 | 6, Type::Int) if second_version => {
                            page.unpacked_levels +=
                                usize::try_from(reader.int()?).map_err(negative)?;
                        }
                        (7, Type::Bool) if second_version => {
                            page.is_compressed = inner.flag;
                            return Ok(false);
                        }
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    page.header_len = reader.position();
    Ok(page)
}
