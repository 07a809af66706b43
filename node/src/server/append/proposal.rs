//! A request on its way to the log.

use bytes::Bytes;
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::session_append::Request as WireRequest;
use quorate_proto::{
    Append, Change, GroupName, GroupRequest, Invalid, Position, RequestId, Snapshot, StreamName,
};
use quorate_store::command::{
    Request, checked, decode_request, encode_append, encode_group, encode_snapshot,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::answer::Answer;
use super::reply::Reply;

/// A request in both its forms: decoded, to be judged, and encoded, to be proposed.
#[derive(Clone)]
pub(crate) struct EncodedRequest {
    request: Request,
    encoded: Bytes,
}

/// An encoded request that was admitted, on its way to the log here or at the leader. The decoded request goes beside
/// it until it is judged, and no further: it may be several times as large.
pub(crate) struct Proposal {
    /// The request in the encoding of `store::command`.
    pub(crate) encoded: Bytes,
    /// The bytes that the request counts towards the chunk size beside its length.
    pub(crate) key_bytes: u64,
    /// True if the request is taken although the disks are full.
    pub(crate) makes_room: bool,
    /// The time after which the request is not proposed any more.
    pub(crate) deadline: Instant,
    /// True if later requests need not wait until this one is sent again after its deadline passed.
    pub(crate) expires_alone: bool,
    pub(crate) reply: Reply,
}

impl EncodedRequest {
    /// Returns the bytes that the request counts for admission.
    pub(crate) fn size(&self) -> usize {
        self.encoded.len()
    }

    /// Decodes a request that another node encoded.
    pub(crate) fn decode(encoded: Bytes) -> Result<EncodedRequest, Invalid> {
        Ok(EncodedRequest { request: decode_request(&encoded)?, encoded })
    }

    /// Makes a proposal of the request, and returns the decoded request beside it.
    pub(crate) fn propose(
        self,
        deadline: Instant,
        expires_alone: bool,
        reply: Reply,
    ) -> (Request, Proposal) {
        let EncodedRequest { request, encoded } = self;
        let (key_bytes, makes_room) = (request.key_bytes(), makes_room(&request));
        (request, Proposal { encoded, key_bytes, makes_room, deadline, expires_alone, reply })
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
        EncodedRequest { request: Request::Append(append), encoded }
    }
}

impl From<(GroupName, Option<RequestId>, GroupRequest)> for EncodedRequest {
    /// Encodes a request that passed its check.
    fn from((name, id, request): (GroupName, Option<RequestId>, GroupRequest)) -> EncodedRequest {
        let encoded = encode_group(&name, id, &request);
        EncodedRequest { request: Request::Group { name, id, request }, encoded }
    }
}

impl TryFrom<Option<v1::Append>> for EncodedRequest {
    type Error = Invalid;

    fn try_from(append: Option<v1::Append>) -> Result<EncodedRequest, Invalid> {
        Append::try_from(append).map(EncodedRequest::from)
    }
}

impl TryFrom<Option<v1::Change>> for EncodedRequest {
    type Error = Invalid;

    fn try_from(change: Option<v1::Change>) -> Result<EncodedRequest, Invalid> {
        Change::try_from(change)?.to_append().map(EncodedRequest::from)
    }
}

impl TryFrom<Option<v1::Snapshot>> for EncodedRequest {
    type Error = Invalid;

    fn try_from(snapshot: Option<v1::Snapshot>) -> Result<EncodedRequest, Invalid> {
        let snapshot = Snapshot::try_from(snapshot)?;
        let encoded = encode_snapshot(&snapshot);
        Ok(EncodedRequest { request: Request::Snapshot(snapshot), encoded })
    }
}

impl TryFrom<Option<WireRequest>> for EncodedRequest {
    type Error = Invalid;

    fn try_from(request: Option<WireRequest>) -> Result<EncodedRequest, Invalid> {
        match request {
            Some(WireRequest::Append(append)) => EncodedRequest::try_from(Some(append)),
            Some(WireRequest::Change(change)) => EncodedRequest::try_from(Some(change)),
            None => Err(Invalid::new("append", "is missing")),
        }
    }
}
