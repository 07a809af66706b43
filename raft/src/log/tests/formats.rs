//! The format: encoded values decode to the same values, and no bytes make a decoder panic.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::log::format::*;
use crate::log::image::Image;

const IDENTITY: Identity = Identity { cluster: [7; 16], log: 1, node: 3 };

fn records() -> Vec<Record> {
    let truncation = TruncationRecord { end: Some(LogId::new(2, 5)), vote: vote(3) };
    let image = Image {
        vote: Some(vote(2)),
        committed: Some(LogId::new(1, 3)),
        purged: None,
        end: Some(LogId::new(1, 4)),
        install: Some(LogId::new(1, 9)),
        truncation: Some(truncation),
        peers: [(1, peer(1, 4)), (2, peer(2, 6))].into(),
    };
    vec![
        Record::Image(Box::new(image)),
        Record::Entry(entry(1, 5, 0)),
        Record::Entry(entry(1, 6, 300)),
        Record::Entry(entry(1, 7, 40)),
        Record::Vote(vote(9)),
        Record::Committed(LogId::new(1, 6)),
        Record::Truncated(truncation),
        Record::Purged(LogId::new(1, 5)),
        Record::Peer(peer(3, 8)),
        Record::Install(LogId::new(4, 40)),
    ]
}

fn batch(seed: Seed) -> Bytes {
    let mut batch = BatchBuilder::new(Vec::new(), seed);
    for record in records() {
        batch.push(&record);
    }
    let previous = Place { number: 3, offset: 8192 };
    Bytes::from(batch.finish(17, previous, Some(LogId::new(1, 4))))
}

/// Decodes a batch as a start does.
fn decode(bytes: &Bytes, seed: Seed) -> Option<Vec<Record>> {
    let header = decode_batch_header(bytes, seed).filter(|header| is_whole(bytes, header, seed))?;
    let records = decode_batch(&bytes.slice(..header.length as usize), &header, seed);
    Some(records.expect("a whole batch").into_iter().map(|(_, record)| record).collect())
}

#[test]
fn a_batch_is_decoded_to_what_was_encoded() {
    let bytes = batch(IDENTITY.seed(4));
    assert_eq!(bytes.len() as u64 % BLOCK, 0);
    assert_eq!(decode(&bytes, IDENTITY.seed(4)).expect("a batch"), records());
    let header = decode_batch_header(&bytes, IDENTITY.seed(4)).expect("a header");
    assert_eq!((header.sequence, header.previous.offset), (17, 8192));
    assert_eq!(header.flushed, Some(LogId::new(1, 4)));
}

#[test]
fn a_batch_reads_as_nothing_in_another_use_or_another_log() {
    let bytes = batch(IDENTITY.seed(4));
    let others = [
        IDENTITY.seed(5),
        Identity { node: 4, ..IDENTITY }.seed(4),
        Identity { log: 0, ..IDENTITY }.seed(4),
        Identity { cluster: [0; 16], ..IDENTITY }.seed(4),
    ];
    for other in others {
        assert_eq!(decode_batch_header(&bytes, other), None);
    }
}

#[test]
fn no_record_is_longer_than_its_bound() {
    for record in records() {
        let mut batch = BatchBuilder::new(Vec::new(), IDENTITY.seed(1));
        let start = batch.push(&record);
        let end = batch.push(&Record::Vote(vote(1)));
        assert!(end - start <= record.size_bound(), "{record:?}");
    }
}

#[test]
fn a_flipped_bit_anywhere_in_a_batch_is_noticed() {
    let seed = IDENTITY.seed(4);
    let bytes = batch(seed);
    let length = decode_batch_header(&bytes, seed).expect("a header").length as usize;
    for bit in 0..length * 8 {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode(&flipped.into(), seed), None, "bit {bit}");
    }
}

#[test]
fn a_batch_put_together_of_two_attempts_is_none() {
    let seed = IDENTITY.seed(4);
    let of = |index: u64| {
        let mut batch = BatchBuilder::new(Vec::new(), seed);
        for nth in 0..20 {
            batch.push(&Record::Entry(entry(1, index + nth, 487)));
        }
        batch.finish(9, Place::default(), None)
    };
    // The records of both batches have 512 bytes and the same offsets: the cut is between two records.
    let (one, other) = (of(100), of(200));
    let cut = BATCH_HEADER_BYTES + 512 * 7;
    let mixed: Vec<u8> = one[..cut].iter().chain(&other[cut..]).copied().collect();
    assert!(decode(&one.into(), seed).is_some() && decode(&other.into(), seed).is_some());
    assert_eq!(decode(&mixed.into(), seed), None);
}

#[test]
fn a_segment_header_says_whose_it_is() {
    let bytes = encode_segment_header(&IDENTITY, 12, 1 << 16);
    assert_eq!(decode_segment_header(&bytes), Ok((IDENTITY, 12, 1 << 16)));
    for byte in 0..50 {
        let mut flipped = bytes.clone();
        flipped[byte] ^= 4;
        assert!(decode_segment_header(&flipped).is_err(), "byte {byte}");
    }
    assert!(decode_segment_header(&bytes[..40]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let seed = IDENTITY.seed(4);
        prop_assert!(decode_segment_header(&bytes).is_err());
        let bytes = Bytes::from(bytes);
        prop_assert_eq!(decode(&bytes, seed), None);
        prop_assert!(decode_record(&bytes, seed).is_err());
    }

    #[test]
    fn no_body_under_a_good_checksum_makes_a_decoder_panic(
        kind in 0..14_u8,
        body in prop::collection::vec(prop_oneof![0..3_u8, any::<u8>()], 0..300),
    ) {
        let seed = IDENTITY.seed(4);
        let body_length = body.len();
        let mut record = Vec::from((body_length as u32).to_le_bytes());
        let rest: Vec<u8> = std::iter::once(kind).chain(body).collect();
        let length = (body_length as u32).to_le_bytes();
        record.extend(record_crc(seed, length, &rest).to_le_bytes());
        record.extend(rest);
        drop(decode_record(&record.into(), seed));
    }
}
