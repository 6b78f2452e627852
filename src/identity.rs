//! `_cq_id`: which row of which object a row is. Pure.
//!
//! A version 8 UUID (RFC 9562, section 5.8) of 74 bits that name the object and 48 bits that count its rows, so
//! that reading an object again gives the same ids, and ids of one object follow each other, which suits the B-tree
//! behind a primary key. Two of ten million objects share their 74 bits with a probability of 3 in a thousand million.

use arrow::array::{ArrayRef, FixedSizeBinaryArray};
use arrow::error::ArrowError;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Rows of one object that the layout can count.
const MAX_ROWS: u64 = 1 << 48;

/// Identity of an object's rows: bucket and key, not the generation, so that a rewritten object's rows replace the old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowIds([u8; 10]);

impl RowIds {
    /// For the object `key` in `bucket`. Bucket names hold no `/`, which makes the joined text unambiguous.
    #[must_use]
    pub fn new(bucket: &str, key: &str) -> Self {
        let digest = Sha256::new()
            .chain_update(bucket)
            .chain_update("/")
            .chain_update(key)
            .finalize();
        let mut head = [0; 10];
        head.iter_mut()
            .zip(digest)
            .for_each(|(to, from)| *to = from);
        let [_, _, _, _, _, _, version, _, variant, _] = &mut head;
        *version = *version & 0x0f | 0x80;
        *variant = *variant & 0x3f | 0x80;
        Self(head)
    }

    /// Id of the row at `row`, counted from 0.
    #[must_use]
    pub fn id(self, row: u64) -> [u8; 16] {
        debug_assert!(row < MAX_ROWS, "row numbers have 48 bits");
        let [_, _, count @ ..] = row.to_be_bytes();
        let mut id = [0; 16];
        let (head, tail) = id.split_at_mut(self.0.len());
        head.copy_from_slice(&self.0);
        tail.copy_from_slice(&count);
        id
    }

    /// Ids of `count` rows from `first` on.
    pub fn column(self, first: u64, count: usize) -> Result<ArrayRef, ArrowError> {
        let ids = (first..MAX_ROWS).take(count).map(|row| self.id(row));
        Ok(Arc::new(FixedSizeBinaryArray::try_from_iter(ids)?))
    }
}

/// Whether an object belongs to shard `num` (from 1) of `total`: by a hash of bucket and key, so that the shards
/// together read everything and each object once, whatever else the bucket holds.
#[must_use]
pub fn in_shard(bucket: &str, key: &str, num: u32, total: u32) -> bool {
    let [a, b, c, d, e, f, _, h, ..] = RowIds::new(bucket, key).0;
    let hash = u64::from_be_bytes([0, a, b, c, d, e, f, h]);
    hash % u64::from(total.max(1)) == u64::from(num.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(id: [u8; 16]) -> String {
        format!("{:032x}", u128::from_be_bytes(id))
    }

    /// "`_cq_id` is always filled: a UUID determined by bucket, key and row number" (semantics 9). The literal pins
    /// the layout: changing it would duplicate every row of every existing destination.
    #[test]
    fn ids_are_pinned() {
        assert_eq!(
            text(RowIds::new("bucket", "a/b.parquet").id(0)),
            "0bbe7d44b0a58f9088a7000000000000"
        );
        assert_eq!(
            text(RowIds::new("bucket", "a/b.parquet").id(258)),
            "0bbe7d44b0a58f9088a7000000000102"
        );
    }

    #[test]
    fn ids_differ_by_bucket_key_and_row() {
        let all = [("b", "k", 0), ("b", "k", 1), ("b", "l", 0), ("c", "k", 0)]
            .map(|(bucket, key, row)| RowIds::new(bucket, key).id(row));
        for (i, id) in all.iter().enumerate() {
            assert_eq!(id[6] >> 4, 8, "version");
            assert_eq!(id[8] >> 6, 0b10, "variant");
            assert!(!all[..i].contains(id));
        }
    }
}
