//! All decoders of bytes that come from files, peers and clients.

use prost::Message;
use quorate_proto::wire::{peer, read_append, v1};
use quorate_proto::{Append, Read};

use crate::fuzz::Target;

/// Returns all targets.
pub fn all() -> Vec<Target> {
    let own = quorate_store::fuzz::targets().into_iter().chain(quorate_raft::fuzz::targets());
    let own = own.map(|(name, decode, seeds)| Target { name, decode, seeds });
    own.chain(WIRE).collect()
}

const WIRE: [Target; 4] = [
    Target { name: "an append on the wire", decode: decode_append, seeds: appends },
    Target { name: "an append in place", decode: read_in_place, seeds: plain_appends },
    Target { name: "a read on the wire", decode: decode_read, seeds: reads },
    Target { name: "a message between peers", decode: decode_peer, seeds: peers },
];

fn decode_append(bytes: &[u8]) {
    if let Ok(request) = v1::AppendRequest::decode(bytes) {
        let _ = Append::try_from(request.append);
    }
}

/// An append that is read in place is one that the generated code and the conversion accept, too.
fn read_in_place(bytes: &[u8]) {
    if let Some(read) = read_append(bytes) {
        let message = v1::Append::decode(bytes).expect("the generated code decodes it");
        let append = Append::try_from(Some(message)).expect("it passes the check");
        assert_eq!(append.size(), read.size());
    }
}

fn plain_appends() -> Vec<Vec<u8>> {
    vec![v1::Append { conditions: Vec::new(), ..append() }.encode_to_vec()]
}

fn appends() -> Vec<Vec<u8>> {
    vec![v1::AppendRequest { append: Some(append()), time_left_ms: 9 }.encode_to_vec()]
}

fn append() -> v1::Append {
    let event = v1::NewEvent {
        id: vec![7; 16].into(),
        r#type: "Paid".into(),
        data: b"{}".as_slice().into(),
        tags: vec!["customer:7".into()],
        ..v1::NewEvent::default()
    };
    let demand = v1::expectation::Demand::Exactly(3);
    let expectation = Some(v1::Expectation { demand: Some(demand) });
    let write = v1::Write { stream: "order-42".into(), expectation, events: vec![event] };
    let item = v1::QueryItem {
        types: vec!["Paid".into()],
        tags: vec!["customer:7".into()],
        ..v1::QueryItem::default()
    };
    let query = Some(v1::Query { items: vec![item] });
    let conditions = vec![v1::Condition { query, after: 9 }];
    v1::Append { writes: vec![write], conditions, ..v1::Append::default() }
}

fn decode_read(bytes: &[u8]) {
    if let Ok(request) = v1::ReadRequest::decode(bytes) {
        let _ = Read::try_from(request);
    }
}

fn reads() -> Vec<Vec<u8>> {
    let query = v1::Query { items: vec![v1::QueryItem::default(); 2] };
    let source = Some(v1::read_request::Source::Query(query));
    vec![
        v1::ReadRequest { source, after: 7, limit: Some(3), ..v1::ReadRequest::default() }
            .encode_to_vec(),
    ]
}

fn decode_peer(bytes: &[u8]) {
    let _ = peer::v1::AppendRequest::decode(bytes);
    let _ = peer::v1::SnapshotRequest::decode(bytes);
    let _ = peer::v1::ForwardRequest::decode(bytes);
}

fn peers() -> Vec<Vec<u8>> {
    let forwarded = peer::v1::ForwardedAppend {
        number: 1,
        request: b"an append".as_slice().into(),
        deadline_ms: 9,
        expires_alone: true,
    };
    vec![
        peer::v1::ForwardRequest { appends: vec![forwarded], ..Default::default() }.encode_to_vec(),
        peer::v1::GreetRequest::default().encode_to_vec(),
    ]
}
