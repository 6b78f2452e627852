//! Replaces the value of `:authority` in a compressed header block (HPACK, RFC 7541) without decompressing it and without
//! a table.
//!
//! A block is a sequence of representations, each of which says where it ends. All are copied byte for byte but one:
//! a literal named `:authority` keeps its name and its kind and gets another value. That literal may enter the
//! dynamic table, and then the tables of the two ends differ, which is why it matters *what* the value becomes:
//!
//! **The replaced entry is never larger than the original.** Call the encoder's table E and the decoder's D, newest entry
//! first, each holding the newest entries whose sizes sum up to at most the same maximum. Then E is always a prefix of D,
//! but for the replaced values:
//!
//! - If E takes a new entry, its size is within the maximum, so is the size of D's version of it, and D takes it
//!   too. Both drop their oldest entries until the rest fits. The first k entries of D are at most as large as those of E,
//!   so D keeps at least as many.
//! - If the entry is larger than the maximum, E becomes empty, and that is a prefix of whatever D becomes.
//! - A change of the maximum is in the block, is copied, and shortens E at least as much as D.
//!
//! An index counts from the newest entry, and the encoder only uses indices within E, so each means the same in D.

/// The position of `:authority` in the static table (RFC 7541 appendix A).
const AUTHORITY_INDEX: usize = 1;
const AUTHORITY: &[u8] = b":authority";
/// The same in the Huffman code of RFC 7541 appendix B.
const AUTHORITY_HUFFMAN: [u8; 8] = [0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f];

/// A one-byte string without Huffman coding. One byte is the least that a value which was not empty can have had.
const REPLACEMENT: [u8; 2] = [1, b'x'];

/// The block with each non-empty `:authority` replaced; `None` when it is malformed.
///
/// A literal that takes the *name* from the dynamic table is not recognised. Encoders look a name up in the static table
/// first, where this one is; should one do otherwise, its request fails as it would without this module.
pub(super) fn rewrite(block: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(block.len());
    let mut rest = block;
    while let Some(&first) = rest.first() {
        let start = rest;
        // The kinds of RFC 7541 section 6, told apart by their leading bits.
        let name_bits = match first.leading_zeros() {
            // Indexed field: an index in 7 bits, and the table size update: a size in 5.
            0 => 7,
            2 => 5,
            // Literals: with incremental indexing, then without and never indexed.
            1 => 6,
            _ => 4,
        };
        let number;
        (number, rest) = integer(rest, name_bits)?;
        if matches!(name_bits, 6 | 4) {
            let mut is_authority = number == AUTHORITY_INDEX;
            if number == 0 {
                let name;
                (name, rest) = string(rest)?;
                is_authority = name.is_authority();
            }
            let head = start.get(..start.len() - rest.len())?;
            let value;
            (value, rest) = string(rest)?;
            if is_authority && !value.bytes.is_empty() {
                out.extend_from_slice(head);
                out.extend_from_slice(&REPLACEMENT);
                continue;
            }
        }
        out.extend_from_slice(start.get(..start.len() - rest.len())?);
    }
    Some(out)
}

struct Text<'a> {
    huffman: bool,
    bytes: &'a [u8],
}

impl Text<'_> {
    fn is_authority(&self) -> bool {
        let want = if self.huffman {
            &AUTHORITY_HUFFMAN
        } else {
            AUTHORITY
        };
        self.bytes == want
    }
}

/// A string and what follows it (RFC 7541 section 5.2).
fn string(bytes: &[u8]) -> Option<(Text<'_>, &[u8])> {
    let huffman = bytes.first()? & 0x80 != 0;
    let (len, rest) = integer(bytes, 7)?;
    let (bytes, rest) = rest.split_at_checked(len)?;
    Some((Text { huffman, bytes }, rest))
}

/// An integer that starts in the low `bits` of the first byte, and what follows it (RFC 7541 section 5.1).
fn integer(bytes: &[u8], bits: u32) -> Option<(usize, &[u8])> {
    let (&first, mut rest) = bytes.split_first()?;
    let mask = (1_usize << bits) - 1;
    let mut value = usize::from(first) & mask;
    if value < mask {
        return Some((value, rest));
    }
    // Four groups of seven bits: no length or index in a block of 64 KiB needs more.
    for shift in [0, 7, 14, 21] {
        let byte;
        (byte, rest) = rest
            .split_first()
            .map(|(&byte, rest)| (usize::from(byte), rest))?;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, rest));
        }
    }
    None
}

#[cfg(test)]
mod tests;
