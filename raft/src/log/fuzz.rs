//! The decoders of the Raft log for a fuzzer: behind their checksums, which a fuzzer could not guess.

use bytes::Bytes;
use quorate_proto::LogId;

use super::format::{
    BatchBuilder, Identity, Place, Record, decode_batch, decode_batch_header, decode_body,
    decode_segment_header, encode_body, encode_segment_header, is_whole,
};
use super::image::Image;
use super::{EntryKind, LogEntry, PeerMemory, TruncationRecord, VoteRecord};

/// The name of a decoder's input, the decoder, and a function that returns valid inputs to start from.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

const IDENTITY: Identity = Identity { cluster: [7; 16], log: 1, node: 3 };

pub(crate) const TARGETS: [Target; 3] = [
    ("a segment of the Raft log", segment, segments),
    ("a batch of the Raft log", batch, batches),
    ("a record of the Raft log", record, bodies),
];

fn segment(bytes: &[u8]) {
    let _ = decode_segment_header(bytes);
}

fn segments() -> Vec<Vec<u8>> {
    vec![encode_segment_header(&IDENTITY, 9, 1 << 16)]
}

fn batch(bytes: &[u8]) {
    let seed = IDENTITY.seed(4);
    let Some(header) = decode_batch_header(bytes, seed) else { return };
    if is_whole(bytes, &header, seed) {
        let _ = decode_batch(&Bytes::copy_from_slice(bytes), &header, seed);
    }
}

fn batches() -> Vec<Vec<u8>> {
    let mut batch = BatchBuilder::new(Vec::new(), IDENTITY.seed(4));
    for record in records() {
        batch.push(&record);
    }
    vec![batch.finish(17, Place { number: 3, offset: 8192 }, Some(LogId::new(1, 4)))]
}

fn record(bytes: &[u8]) {
    let _ = decode_body(Bytes::copy_from_slice(bytes));
}

fn bodies() -> Vec<Vec<u8>> {
    let body = |record: &Record| {
        let mut body = Vec::new();
        encode_body(record, &mut body);
        body
    };
    records().iter().map(body).collect()
}

fn records() -> Vec<Record> {
    let vote = VoteRecord { term: 3, node: 2, committed: true };
    let peer = PeerMemory { node: 2, boot: 5, acknowledged: Some(LogId::new(2, 9)), vote };
    let truncation = TruncationRecord { end: Some(LogId::new(2, 5)), vote };
    let image = Image {
        vote: Some(vote),
        committed: Some(LogId::new(1, 3)),
        purged: None,
        end: Some(LogId::new(1, 4)),
        install: Some(LogId::new(1, 9)),
        truncation: Some(truncation),
        peers: [(2, peer)].into(),
    };
    let payload = Bytes::from_static(b"a command");
    let entry = LogEntry { id: LogId::new(1, 5), kind: EntryKind::Normal, payload };
    vec![
        Record::Image(Box::new(image)),
        Record::Entry(entry),
        Record::Vote(vote),
        Record::Committed(LogId::new(1, 6)),
        Record::Truncated(truncation),
        Record::Purged(LogId::new(1, 5)),
        Record::Peer(peer),
        Record::Install(LogId::new(4, 40)),
    ]
}
