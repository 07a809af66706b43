//! Frames are good only where they were written, and names sort as numbers.

use std::path::Path;

use proptest::prelude::*;

use super::block::{Block, decode_index};
use super::dictionary::{DictionaryIndex, decode_ordinals};
use super::page::PageReader;
use super::*;
use crate::format::codec::{self, Packer};

const IDENTITY: ChunkIdentity = ChunkIdentity { cluster: [1; 16], log: 2, number: 3 };

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn decoders_take_whatever_bytes_there_are(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decode_everything(&Bytes::from(bytes));
    }

    /// Small numbers are likelier to pass the first checks.
    #[test]
    fn decoders_take_small_numbers(bytes in prop::collection::vec(0..6_u8, 0..200)) {
        decode_everything(&Bytes::from(bytes));
    }
}

fn decode_everything(bytes: &Bytes) {
    let _ = decode_header(bytes);
    let _ = decode_trailer(&IDENTITY, 7, bytes);
    let _ = Footer::decode(bytes.clone());
    let _ = frame::length(bytes);
    let _ = frame::decode(&IDENTITY, 7, 1, bytes);
    let _ = decode_index(bytes.clone(), u64::MAX - 100, 7);
    let _ = DictionaryIndex::decode(bytes.clone(), u64::MAX - 100);
    let _ = decode_ordinals(bytes.clone(), u32::MAX);
    if let Ok(mut page) = PageReader::new(bytes.clone()) {
        while let Ok(Some(_)) = page.next() {}
    }
    for key in [&b""[..], b"\x01", b"\x01order-42", b"\xff"] {
        let _ = PageReader::new(bytes.clone()).and_then(|page| page.find(key));
    }
    for ids in 0..5 {
        let ids = Bytes::from(vec![7; ids * 16]);
        let Ok(block) = Block::decode(bytes.clone(), ids) else { continue };
        for at in 0..block.len() + 1 {
            let _ = block.event_or_stub(at, Position(u64::MAX - 1));
        }
    }
    for codec in 0..3 {
        let _ = codec::unpack(codec, bytes.clone(), 100);
    }
}

#[test]
fn a_frame_is_good_only_where_it_was_written() {
    let mut bytes = Vec::new();
    frame::encode(&IDENTITY, 44, 1, b"payload", &mut Packer::new(), &mut bytes);
    let bytes = Bytes::from(bytes);
    let decode = |identity: &ChunkIdentity, offset, section| {
        frame::decode(identity, offset, section, &bytes).map(|payload| payload.to_vec())
    };
    assert_eq!(decode(&IDENTITY, 44, 1).expect("good"), b"payload");
    assert!(decode(&IDENTITY, 45, 1).is_err(), "another place");
    assert!(decode(&IDENTITY, 44, 2).is_err(), "another section");
    assert!(decode(&ChunkIdentity { number: 4, ..IDENTITY }, 44, 1).is_err(), "another chunk");
}

#[test]
fn the_names_of_chunks_sort_as_their_numbers() {
    let name = |number| crate::files::chunk_path(Path::new("chunks"), number);
    assert_eq!(name(1), Path::new("chunks/chunk-0000000001"));
    assert!(name(9) < name(10));
}
