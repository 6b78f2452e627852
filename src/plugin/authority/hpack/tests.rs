//! Against a model of an encoder and of a decoder, each with a dynamic table that evicts: what the decoder reads from the
//! rewritten blocks is what the encoder wrote, but for the authority.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

type Header = (Vec<u8>, Vec<u8>);

/// The number of entries of the static table.
const STATIC: usize = 61;
const AUTHORITY_VALUE: &[u8] = b"%2Ftmp%2Fcq-CVMkLhbszpwbsjoi.sock";

/// The dynamic table, newest first (RFC 7541 sections 2.3.2 and 4).
#[derive(Default)]
struct Table {
    entries: VecDeque<Header>,
    max: usize,
}

impl Table {
    fn shrink(&mut self, room: usize) {
        let size = |entries: &VecDeque<Header>| -> usize {
            entries
                .iter()
                .map(|(name, value)| name.len() + value.len() + 32)
                .sum()
        };
        while !self.entries.is_empty() && size(&self.entries) + room > self.max {
            self.entries.pop_back();
        }
    }

    fn resize(&mut self, max: usize) {
        self.max = max;
        self.shrink(0);
    }

    fn insert(&mut self, header: Header) {
        let size = header.0.len() + header.1.len() + 32;
        self.shrink(size);
        if size <= self.max {
            self.entries.push_front(header);
        }
    }
}

/// The names of the static table that the model uses; any other index has no meaning here.
fn static_name(index: usize) -> Vec<u8> {
    match index {
        1 => AUTHORITY.to_vec(),
        n => format!("static-{n}").into_bytes(),
    }
}

fn put_integer(out: &mut Vec<u8>, kind: u8, bits: u32, mut value: usize) {
    let mask = (1 << bits) - 1;
    if value < mask {
        out.push(kind | u8::try_from(value).unwrap());
        return;
    }
    out.push(kind | u8::try_from(mask).unwrap());
    value -= mask;
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
}

fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    put_integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

/// One choice of the encoder's.
#[derive(Debug, Clone)]
enum Op {
    Resize(usize),
    /// Indexed if the table has it, otherwise a literal of kind 0 (indexing), 1 (without) or 2 (never).
    Header {
        name: Name,
        value: Vec<u8>,
        kind: usize,
        avoid_index: bool,
    },
}

#[derive(Debug, Clone)]
enum Name {
    Static(usize),
    Raw(Vec<u8>),
    HuffmanAuthority,
}

fn encode(table: &mut Table, ops: &[Op]) -> (Vec<u8>, Vec<Header>) {
    let (mut out, mut headers) = (Vec::new(), Vec::new());
    for op in ops {
        let (name, value, kind, avoid_index) = match op {
            Op::Resize(max) => {
                table.resize(*max);
                put_integer(&mut out, 0x20, 5, *max);
                continue;
            }
            Op::Header {
                name,
                value,
                kind,
                avoid_index,
            } => (name, value, *kind, *avoid_index),
        };
        let text = match name {
            Name::Static(index) => static_name(*index),
            Name::Raw(text) => text.clone(),
            Name::HuffmanAuthority => AUTHORITY.to_vec(),
        };
        let header = (text.clone(), value.clone());
        headers.push(header.clone());
        if let Some(at) = table
            .entries
            .iter()
            .position(|have| *have == header)
            .filter(|_| !avoid_index)
        {
            put_integer(&mut out, 0x80, 7, STATIC + 1 + at);
            continue;
        }
        let (first, bits) = [(0x40, 6), (0x00, 4), (0x10, 4)][kind];
        let known = table.entries.iter().position(|(have, _)| *have == text);
        match (name, known) {
            (Name::Static(index), _) => put_integer(&mut out, first, bits, *index),
            (Name::HuffmanAuthority, _) => {
                put_integer(&mut out, first, bits, 0);
                out.push(0x80 | 8);
                out.extend(AUTHORITY_HUFFMAN);
            }
            // Encoders take this name from the static table.
            (Name::Raw(text), Some(at)) if text != AUTHORITY => {
                put_integer(&mut out, first, bits, STATIC + 1 + at);
            }
            (Name::Raw(text), _) => {
                put_integer(&mut out, first, bits, 0);
                put_string(&mut out, text);
            }
        }
        put_string(&mut out, value);
        if kind == 0 {
            table.insert(header);
        }
    }
    (out, headers)
}

fn decode(table: &mut Table, mut block: &[u8]) -> Vec<Header> {
    let mut headers = Vec::new();
    let plain = |text: Text<'_>| {
        if text.huffman {
            assert_eq!(text.bytes, AUTHORITY_HUFFMAN);
            AUTHORITY.to_vec()
        } else {
            text.bytes.to_vec()
        }
    };
    while let Some(&first) = block.first() {
        let number;
        if first & 0x80 != 0 {
            (number, block) = integer(block, 7).unwrap();
            headers.push(table.entries[number - STATIC - 1].clone());
            continue;
        }
        if first & 0xe0 == 0x20 {
            (number, block) = integer(block, 5).unwrap();
            table.resize(number);
            continue;
        }
        let indexing = first & 0x40 != 0;
        (number, block) = integer(block, if indexing { 6 } else { 4 }).unwrap();
        let name = match number {
            0 => {
                let name;
                (name, block) = string(block).unwrap();
                plain(name)
            }
            1..=STATIC => static_name(number),
            _ => table.entries[number - STATIC - 1].0.clone(),
        };
        let value;
        (value, block) = string(block).unwrap();
        let header = (name, plain(value));
        headers.push(header.clone());
        if indexing {
            table.insert(header);
        }
    }
    headers
}

fn op() -> impl Strategy<Value = Op> {
    let name = prop_oneof![
        3 => Just(Name::Static(1)),
        1 => Just(Name::HuffmanAuthority),
        1 => Just(Name::Raw(AUTHORITY.to_vec())),
        2 => (2_usize..=STATIC).prop_map(Name::Static),
        3 => "[a-c]{1,2}".prop_map(|text| Name::Raw(text.into_bytes())),
    ];
    let value = prop_oneof![
        2 => Just(AUTHORITY_VALUE.to_vec()),
        1 => Just(vec![b'v'; 300]),
        3 => "[a-b]{0,3}".prop_map(String::into_bytes),
    ];
    prop_oneof![
        1 => (0_usize..400).prop_map(Op::Resize),
        12 => (name, value, 0_usize..3, any::<bool>()).prop_map(|(name, value, kind, avoid_index)| {
            Op::Header { name, value, kind: kind * usize::from(avoid_index), avoid_index }
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_decoder_reads_what_the_encoder_wrote(
        blocks in proptest::collection::vec(proptest::collection::vec(op(), 0..12), 1..8),
        max in 0_usize..500,
    ) {
        let mut encoder = Table { max, ..Table::default() };
        let mut decoder = Table { max, ..Table::default() };
        for ops in &blocks {
            let (block, mut want) = encode(&mut encoder, ops);
            for (name, value) in &mut want {
                if name == AUTHORITY && !value.is_empty() {
                    *value = b"x".to_vec();
                }
            }
            let rewritten = rewrite(&block).unwrap();
            prop_assert!(rewritten.len() <= block.len());
            prop_assert_eq!(decode(&mut decoder, &rewritten), want);
            prop_assert!(encoder.entries.len() <= decoder.entries.len());
        }
    }

    #[test]
    fn no_input_panics(block in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Some(rewritten) = rewrite(&block) {
            prop_assert!(rewritten.len() <= block.len());
        }
    }
}

#[test]
fn malformed_blocks_are_refused() {
    for block in [
        &[0x41][..],
        &[0x41, 0x05, b'a'],
        &[0x40, 0x85],
        &[0x7f],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0x41, 0x7f, 0x80],
    ] {
        assert_eq!(rewrite(block), None, "{block:x?}");
    }
    assert_eq!(rewrite(&[]), Some(vec![]));
    assert_eq!(
        rewrite(&[0x41, 0]),
        Some(vec![0x41, 0]),
        "empty stays empty"
    );
}
