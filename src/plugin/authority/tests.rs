//! Frames: every way to cut them, every flag, and that everything else goes through as it is.

use tokio::io::{AsyncWriteExt as _, duplex};

use super::*;
use crate::connection::testing::{FIRST_BLOCK, SECOND_BLOCK, bytes, frame};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What comes out when at most `step` bytes can be read at a time.
async fn through(input: &[u8], step: usize) -> io::Result<Vec<u8>> {
    let (mut near, far) = duplex(step);
    let input = input.to_vec();
    let writer = tokio::spawn(async move { near.write_all(&input).await });
    let mut out = Vec::new();
    let read = PlainAuthority::new(far).read_to_end(&mut out).await;
    // The writer fails when the reader gave up early.
    let _ = writer.await.unwrap();
    read.map(|_| out)
}

fn plain_first_block() -> Vec<u8> {
    let first = bytes(FIRST_BLOCK);
    let at = first.windows(2).position(|w| w == [0x41, 0x99]).unwrap();
    let mut plain = first[..at].to_vec();
    plain.extend([0x41, 0x01, b'x']);
    plain.extend(&first[at + 2 + 0x19..]);
    plain
}

#[tokio::test]
async fn what_grpc_go_sends() {
    let other = [
        frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]),
        frame(8, 0, 0, &[0, 0, 1, 0]),
    ]
    .concat();
    let data = frame(0, 1, 1, &[0; 5]);
    let (first, second) = (bytes(FIRST_BLOCK), bytes(SECOND_BLOCK));
    let input = [
        PREFACE.to_vec(),
        other.clone(),
        frame(1, 4, 1, &first),
        data.clone(),
        frame(1, 4, 3, &second),
        data.clone(),
    ]
    .concat();
    let want = [
        PREFACE.to_vec(),
        other,
        frame(1, 4, 1, &plain_first_block()),
        data.clone(),
        frame(1, 4, 3, &second),
        data,
    ]
    .concat();
    for step in [1, 2, 3, 7, 9, 10, 64, 4096] {
        assert_eq!(
            through(&input, step).await.unwrap(),
            want,
            "{step} bytes at a time"
        );
    }
}

#[tokio::test]
async fn padding_priority_and_continuation() {
    let block = bytes(FIRST_BLOCK);
    let plain = plain_first_block();
    let priority = [0x80, 0, 0, 0, 16];
    let mut dressed = vec![3];
    dressed.extend(priority);
    dressed.extend(&block);
    dressed.extend([0; 3]);
    let first_part = [&priority[..], &block[..40]].concat();
    for (name, frames) in [
        (
            "padded, with priority",
            frame(1, 0x01 | 0x04 | 0x08 | 0x20, 1, &dressed),
        ),
        (
            "continued",
            [
                frame(1, 0x01 | 0x20, 1, &first_part),
                frame(9, 0, 1, &[]),
                frame(9, 0, 1, &block[40..41]),
                frame(9, 4, 1, &block[41..]),
            ]
            .concat(),
        ),
    ] {
        for step in [1, 5, 1000] {
            let input = [PREFACE, &frames].concat();
            let want = [PREFACE, &frame(1, 0x05, 1, &plain)].concat();
            assert_eq!(through(&input, step).await.unwrap(), want, "{name}");
        }
    }
}

#[tokio::test]
async fn long_blocks_are_split_again_and_too_long_ones_refused() {
    // A literal that no table keeps, as long as a frame.
    let mut literal = vec![0x00, 1, b'a'];
    literal.extend([0x7f, 0x81, 0x7c]);
    literal.extend(vec![b'v'; 16_000]);
    let fits = [literal.clone(), literal.clone()].concat();
    let input = [
        PREFACE.to_vec(),
        frame(1, 0, 1, &fits[..16_384]),
        frame(9, 4, 1, &fits[16_384..]),
    ]
    .concat();
    assert_eq!(through(&input, 4096).await.unwrap(), input);

    let mut endless = [PREFACE.to_vec(), frame(1, 0, 1, &literal)].concat();
    for _ in 0..5 {
        endless.extend(frame(9, 0, 1, &literal));
    }
    let error = through(&endless, 4096).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn malformed_frames_are_errors() {
    let block = bytes(FIRST_BLOCK);
    for (name, frames, kind) in [
        (
            "padding longer than the frame",
            frame(1, 0x0c, 1, &[9, 0, 0]),
            io::ErrorKind::InvalidData,
        ),
        (
            "no room for the priority",
            frame(1, 0x24, 1, &[0; 4]),
            io::ErrorKind::InvalidData,
        ),
        (
            "a block that is none",
            frame(1, 4, 1, &[0x41]),
            io::ErrorKind::InvalidData,
        ),
        (
            "another stream's continuation",
            [frame(1, 0, 1, &block[..4]), frame(9, 4, 3, &block[4..])].concat(),
            io::ErrorKind::InvalidData,
        ),
        (
            "data inside a block",
            [frame(1, 0, 1, &block[..4]), frame(0, 0, 1, &[])].concat(),
            io::ErrorKind::InvalidData,
        ),
        (
            "the end inside a frame",
            frame(1, 4, 1, &block)[..20].to_vec(),
            io::ErrorKind::UnexpectedEof,
        ),
        (
            "the end inside a head",
            vec![0, 0, 5],
            io::ErrorKind::UnexpectedEof,
        ),
        (
            "the end before a payload",
            frame(1, 4, 1, &block)[..9].to_vec(),
            io::ErrorKind::UnexpectedEof,
        ),
    ] {
        let error = through(&[PREFACE, &frames].concat(), 16).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{name}");
    }
    assert!(through(&[], 16).await.unwrap().is_empty());
    assert_eq!(through(PREFACE, 16).await.unwrap(), PREFACE);
}

#[tokio::test]
async fn the_way_back_is_untouched() {
    let (near, mut far) = duplex(64);
    let mut adapter = PlainAuthority::new(near);
    let frames = frame(1, 4, 1, &bytes(FIRST_BLOCK)[..40]);
    adapter.write_all(&frames).await.unwrap();
    adapter.shutdown().await.unwrap();
    let mut out = Vec::new();
    far.read_to_end(&mut out).await.unwrap();
    assert_eq!(out, frames);
}
