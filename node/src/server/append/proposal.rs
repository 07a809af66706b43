//! A request on its way to the log.

use bytes::Bytes;
use quorate_proto::wire::v1::session_append::Request as WireRequest;
use quorate_proto::wire::{message_of, read_append};
use quorate_proto::{
    Append, AppendRef, Change, GroupName, GroupRequest, Invalid, Position, RequestId, Snapshot,
    StreamName,
};
use quorate_store::command::{
    Request, checked, decode_request, encode_append, encode_append_ref, encode_group,
    encode_snapshot,
};
use tokio::sync::oneshot;

use super::answer::Answer;
use super::deadline::Due;
use super::reply::Reply;

/// A request that is encoded, to be proposed, and may be decoded, to be judged.
#[derive(Clone)]
pub(crate) struct EncodedRequest {
    decoded: Decoded,
    encoded: Bytes,
    /// The bytes that the request counts towards the chunk size beside its length.
    key_bytes: u64,
}

/// The decoded form of a request.
#[derive(Clone)]
pub(crate) enum Decoded {
    Request(Box<Request>),
    /// The request is an append of a user without conditions. It is judged by what is encoded, and decoded only if it
    /// has to wait or memory does not suffice.
    LeftEncoded,
}

/// An encoded request that was admitted, on its way to the log here or at the leader. A decoded request goes beside
/// it until it is judged, and no further: it may be several times as large.
pub(crate) struct Proposal {
    /// The request in the encoding of `store::command`.
    pub(crate) encoded: Bytes,
    /// The bytes that the request counts towards the chunk size beside its length.
    pub(crate) key_bytes: u64,
    /// True if the request is taken although the disks are full.
    pub(crate) makes_room: bool,
    pub(crate) due: Due,
    pub(crate) reply: Reply,
}

impl EncodedRequest {
    /// Returns the bytes that the request counts for admission.
    pub(crate) fn size(&self) -> usize {
        self.encoded.len()
    }

    /// Decodes a request that another node encoded.
    pub(crate) fn decode(encoded: Bytes) -> Result<EncodedRequest, Invalid> {
        Ok(EncodedRequest::new(decode_request(&encoded)?, encoded))
    }

    /// Makes a proposal of the request, and returns its decoded form beside it.
    pub(crate) fn propose(self, due: Due, reply: Reply) -> (Decoded, Proposal) {
        let EncodedRequest { decoded, encoded, key_bytes } = self;
        let makes_room = match &decoded {
            Decoded::Request(request) => makes_room(request),
            Decoded::LeftEncoded => false,
        };
        (decoded, Proposal { encoded, key_bytes, makes_room, due, reply })
    }

    fn new(request: Request, encoded: Bytes) -> EncodedRequest {
        let key_bytes = request.key_bytes();
        EncodedRequest { decoded: Decoded::Request(Box::new(request)), encoded, key_bytes }
    }
}

impl Proposal {
    /// Returns a proposal of the same request with conditions that hold through a position, and the receiver of its
    /// answer. The room that it takes is held by this proposal.
    pub(crate) fn checked(&self, through: Position) -> (Proposal, oneshot::Receiver<Answer>) {
        let (reply, answer) = Reply::channel(None);
        (Proposal { encoded: checked(&self.encoded, through), reply, ..*self }, answer)
    }
}

/// Returns true if the request is taken although the disks are full: settings and removals make room.
fn makes_room(request: &Request) -> bool {
    match request {
        Request::Append(append) => append.writes.iter().all(|write| write.stream.is_system()),
        Request::Snapshot(_) => false,
        Request::Group { request, .. } => !matches!(request, GroupRequest::Create(_)),
    }
}

impl Decoded {
    /// Returns the request, which is that of this proposal.
    pub(crate) fn of(self, proposal: &Proposal) -> Request {
        match self {
            Decoded::Request(request) => *request,
            Decoded::LeftEncoded => {
                decode_request(&proposal.encoded).expect("encoded by this node")
            }
        }
    }

    /// Returns true if the request is an append with conditions.
    pub(crate) fn has_conditions(&self) -> bool {
        matches!(self, Decoded::Request(request) if has_conditions(request))
    }
}

/// Returns true if the request is an append with conditions.
pub(crate) fn has_conditions(request: &Request) -> bool {
    matches!(request, Request::Append(append) if !append.conditions.is_empty())
}

/// Returns the streams in whose order the request keeps its place: those that it writes or checks.
pub(crate) fn streams(request: &Request) -> Vec<StreamName> {
    match request {
        Request::Snapshot(snapshot) => vec![snapshot.stream.clone()],
        Request::Group { .. } => Vec::new(),
        Request::Append(append) => {
            let written = append.writes.iter().map(|write| &write.stream);
            let required = append.requirements.iter().map(|one| &one.stream);
            written.chain(required).cloned().collect()
        }
    }
}

impl From<Append> for EncodedRequest {
    fn from(append: Append) -> EncodedRequest {
        let encoded = encode_append(&append);
        EncodedRequest::new(Request::Append(append), encoded)
    }
}

impl From<&AppendRef<'_>> for EncodedRequest {
    /// Encodes an append out of its message: its parts are copied once, and it is not decoded.
    fn from(append: &AppendRef<'_>) -> EncodedRequest {
        let (encoded, key_bytes) = encode_append_ref(append);
        EncodedRequest { decoded: Decoded::LeftEncoded, encoded, key_bytes }
    }
}

impl From<(GroupName, Option<RequestId>, GroupRequest)> for EncodedRequest {
    /// Encodes a request that passed its check.
    fn from((name, id, request): (GroupName, Option<RequestId>, GroupRequest)) -> EncodedRequest {
        let encoded = encode_group(&name, id, &request);
        EncodedRequest::new(Request::Group { name, id, request }, encoded)
    }
}

impl From<Snapshot> for EncodedRequest {
    fn from(snapshot: Snapshot) -> EncodedRequest {
        let encoded = encode_snapshot(&snapshot);
        EncodedRequest::new(Request::Snapshot(snapshot), encoded)
    }
}

impl TryFrom<Option<WireRequest>> for EncodedRequest {
    type Error = Invalid;

    fn try_from(request: Option<WireRequest>) -> Result<EncodedRequest, Invalid> {
        let append = match request {
            Some(WireRequest::Append(message)) => match read_append(&message) {
                Some(append) => return Ok((&append).into()),
                None => Append::try_from(Some(message_of(&message)?))?,
            },
            Some(WireRequest::Change(change)) => Change::try_from(Some(change))?.to_append()?,
            None => return Err(Invalid::new("append", "is missing")),
        };
        Ok(append.into())
    }
}
