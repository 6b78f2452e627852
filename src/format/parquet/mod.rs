//! Parquet: the footer (`Footer`), then the rows, row group by row group (`Rows`).
//!
//! Both say which byte ranges they need and never read. What a file claims is checked (`guard`) before the library
//! allocates for it. Format: parquet-format, "File Format" and `parquet.thrift`.

mod columns;
mod guard;
mod rows;
#[cfg(test)]
mod tests;
mod thrift;

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::Fields;
use parquet::file::metadata::ParquetMetaDataReader;

use super::FormatError;
use crate::types::Unmappable;
pub use rows::{Limits, Rows, Step};

/// Length and magic number at the end of a file.
const TRAILER: u64 = 8;
/// The tail asked for first is a thousandth of the file, as footers tend to be, but within these bounds: one request
/// costs tens of milliseconds whether it brings 1 KiB or 500.
const TAIL_MIN: u64 = 64 << 10;
const TAIL_MAX: u64 = 512 << 10;
/// A parsed footer takes several times its encoded size; one may take this share of the memory budget, encoded.
const FOOTER_SHARE: u64 = 16;

/// What opens a Parquet file.
#[derive(Debug, Clone)]
pub struct Footer {
    file: columns::Opened,
}

/// Progress of reading a footer.
#[derive(Debug)]
pub enum FooterStep {
    /// The tail must begin here: it was too short.
    Need(Range<u64>),
    /// The footer.
    Done(Box<Footer>),
}

/// The range to read first of a file of `size` bytes.
#[must_use]
pub fn tail(size: u64) -> Range<u64> {
    size.saturating_sub((size / 1000).clamp(TAIL_MIN, TAIL_MAX))..size
}

impl Footer {
    /// Reads the footer of a file of `size` bytes from its last bytes. `max_memory` is the budget of the whole sync.
    pub fn parse(size: u64, tail: &[u8], max_memory: u64) -> Result<FooterStep, FormatError> {
        let (rest, trailer) = tail
            .split_last_chunk::<8>()
            .ok_or_else(|| not_parquet(size))?;
        let [length @ .., b'P', b'A', b'R', last] = trailer else {
            return Err(not_parquet(size));
        };
        match last {
            b'1' => {}
            b'E' => {
                return Err(FormatError::unsupported(
                    "it is encrypted (Parquet modular encryption)",
                ));
            }
            _ => return Err(not_parquet(size)),
        }
        let length = u64::from(u32::from_le_bytes(*length));
        let Some(start) = size.checked_sub(TRAILER + length) else {
            return Err(FormatError::malformed(format!(
                "its footer claims {length} bytes, more than the file has"
            )));
        };
        if length > max_memory / FOOTER_SHARE {
            return Err(FormatError::too_large(format!(
                "its footer of {length} bytes needs a larger max_memory (at least {})",
                length * FOOTER_SHARE
            )));
        }
        let Some(footer) = usize::try_from(length)
            .ok()
            .and_then(|len| rest.len().checked_sub(len))
            .and_then(|at| rest.get(at..))
        else {
            return Ok(FooterStep::Need(start..size));
        };
        Self::decode(size, footer).map(|footer| FooterStep::Done(Box::new(footer)))
    }

    fn decode(size: u64, footer: &[u8]) -> Result<Self, FormatError> {
        guard::check_footer(footer)?;
        let metadata = guard::library("the footer", || {
            ParquetMetaDataReader::decode_metadata(footer)
        })?;
        for (index, group) in metadata.row_groups().iter().enumerate() {
            guard::check_row_group(index, group, size)?;
        }
        let file = columns::open(&Arc::new(metadata))?;
        Ok(Self { file })
    }

    /// The file's columns as fields of a table; a column that cannot be one is an error.
    pub fn fields(&self) -> Result<Fields, Unmappable> {
        self.file
            .columns
            .iter()
            .map(|column| column.table_field.clone())
            .collect()
    }

    /// Names of the file's columns that are left out because CloudQuery owns them.
    pub fn reserved(&self) -> impl Iterator<Item = &str> {
        self.file
            .reader
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .filter(|name| columns::is_reserved(name))
    }
}

fn not_parquet(size: u64) -> FormatError {
    FormatError::malformed(format!(
        "it is not a Parquet file: its {size} bytes do not end in PAR1"
    ))
}
