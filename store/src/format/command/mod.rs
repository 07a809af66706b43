//! Commands of log entries to the store: to apply requests, or to end a chunk here.
//!
//! ```text
//! command      kind 2 (1 = requests, 2 = checkpoint), version 2 (1), recorded_at 8; requests: count 4, requests
//! request      length 4, kind 1 (1 append, 2 snapshot, 3 group), and what follows for that kind
//! append       flags 1 (1 system, 2 conditions), checked through 8 and conditions if flag 2, writes, requirements
//! writes       count (varint); each: stream 1 + n, expectation, events (varint); each: 4 + n, of which 16 the id, then the body
//! requirements count (varint); each: stream 1 + n, expectation
//! expectation  1 (0 any, 1 none, 2 exists, 3 exactly, and then 8 more: the version)
//! conditions   count (varint); each: after 8, items (varint); an item: scope, types (varint) 1 + n each,
//!              tags (varint) 1 + n each, correlation id 1 + n (nothing: any)
//! scope        1 (0 everywhere, 1 stream, 2 category, 3 path, and then 1 + n: the name)
//! snapshot     stream 1 + n, version 8, schema 4, data: the rest
//! group        name 1 + n, kind 1 (1 create, 2 configure, 3 delete, 4 reset, 5 replay, 6 drop, 7 progress; all but
//!              progress with 128 added if 16 follow: the id of the request), and then
//!              create: definition; configure: settings (both: see `format::group`); reset: after 8;
//!              replay, drop: 1 (0 all, 1 these: count (varint), positions varint each);
//!              progress: term 8, incarnation 8, floor 8, settled (varint): positions varint each,
//!              failed (varint), each: position varint, attempts 4, due 8;
//!              parked (varint), each: position varint, attempts 4, reason varint + n
//! ```
//!
//! "Checked through" stands at a fixed place, so that the leader can write it into bytes that were encoded
//! before. Flag 1 marks a change of the system's streams as [`quorate_proto::Change::to_append`] makes it; without
//! the flag they are not written to. A kind, a version, a flag or an expectation that this build does not know is
//! malformed: skipping it would make replicas differ. A body is encoded as by `format::event`, so that the
//! tail keeps slices.
//!
//! A group's progress comes from the leader alone: it carries the term in which the leader sent it, and is
//! refused from elsewhere.

mod append;
mod condition;
mod group;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use quorate_proto::limits::KEY_BYTES;
use quorate_proto::{
    Append, AppendRef, GroupName, GroupProgress, GroupRequest, Invalid, Position, RequestId,
    Snapshot, StreamName, Term, Timestamp, Version,
};

use super::{Input, Malformed, Output};
use crate::format::Key;
use append::{CHECKED_AT, CONDITIONS, FLAGS_AT};

pub(crate) use append::{Aim, ParsedAppend, ParsedEvent, Parts};
pub(in crate::format) use condition::{put_query, take_query};
pub(crate) use group::ParsedGroup;

const KIND_REQUESTS: u16 = 1;
const KIND_CHECKPOINT: u16 = 2;
const VERSION: u16 = 1;
const COUNT_AT: usize = 2 + 2 + 8;

const APPEND: u8 = 1;
const SNAPSHOT: u8 = 2;
const GROUP: u8 = 3;

/// A request in a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// An append of events, or a change as [`quorate_proto::Change::to_append`] makes it.
    Append(Append),
    /// An aggregate snapshot.
    Snapshot(Snapshot),
    /// A request to a consumer group; not its progress.
    Group {
        /// The group's name.
        name: GroupName,
        /// The request's id, if it has one: sent again under the same id, the request is made once.
        id: Option<RequestId>,
        /// The request itself.
        request: GroupRequest,
    },
}

impl Request {
    /// Returns the bytes that the request counts towards the chunk size beside its length.
    pub fn key_bytes(&self) -> u64 {
        match self {
            Request::Append(append) => key_bytes(append),
            Request::Snapshot(_) => KEY_BYTES,
            Request::Group { .. } => 0,
        }
    }
}

/// Encodes an append that passed [`Append::check`], or that [`quorate_proto::Change::to_append`] made; done once per
/// request, as the bytes are only copied later. Its conditions are checked through nothing yet; see [`checked`].
pub fn encode_append(append: &Append) -> Bytes {
    let mut out = Vec::with_capacity(append.size() + 24);
    out.put_u8(APPEND);
    append::encode(append, &mut out);
    Bytes::from(out)
}

/// Encodes an append as [`encode_append`] encodes the same one; returns its [`key_bytes`] beside it.
pub fn encode_append_ref(append: &AppendRef<'_>) -> (Bytes, u64) {
    let mut out = Vec::with_capacity(append.size() + 24);
    out.put_u8(APPEND);
    append::encode_ref(append, &mut out);
    let keys = append
        .writes()
        .iter()
        .flat_map(|write| write.events.iter().map(|event| Key::count_ref(write.stream, event)));
    (Bytes::from(out), keys.sum::<u64>() * KEY_BYTES)
}

/// Returns true if the request, which is encoded, is an append with conditions.
pub fn has_conditions(request: &[u8]) -> bool {
    let flags = request.get(FLAGS_AT).copied().unwrap_or_default();
    request.first() == Some(&APPEND) && flags & CONDITIONS != 0
}

/// Encodes a snapshot that passed [`Snapshot::check`].
pub fn encode_snapshot(snapshot: &Snapshot) -> Bytes {
    let Snapshot { stream, version, schema, data } = snapshot;
    let mut out = Vec::with_capacity(stream.as_str().len() + data.len() + 16);
    out.put_u8(SNAPSHOT);
    out.put_short(stream.as_str().as_bytes());
    out.put_u64(version.0);
    out.put_u32(*schema);
    out.put(data);
    Bytes::from(out)
}

/// Encodes a request to a consumer group that passed [`GroupRequest::check`]. Progress is encoded by
/// [`encode_group_progress`]: encoded here it has no term, and is refused.
pub fn encode_group(name: &GroupName, id: Option<RequestId>, request: &GroupRequest) -> Bytes {
    let mut out = vec![GROUP];
    group::encode(name, id, request, &mut out);
    Bytes::from(out)
}

/// Encodes a consumer group's progress, which passed [`GroupRequest::check`] and which the leader of `term`
/// sends: in an entry of another term it has no effect.
pub fn encode_group_progress(name: &GroupName, term: Term, progress: &GroupProgress) -> Bytes {
    let mut out = vec![GROUP];
    group::encode_progress(name, term, progress, &mut out);
    Bytes::from(out)
}

/// Returns the same request, with a note that its conditions hold through that position: none of the events
/// up to there violates one. Costs nothing for a request without conditions, and a copy for one that has any.
pub fn checked(request: &Bytes, through: Position) -> Bytes {
    if !has_conditions(request) {
        return request.clone();
    }
    let mut bytes = request.to_vec();
    if let Some(place) = bytes.get_mut(CHECKED_AT..CHECKED_AT + 8) {
        place.copy_from_slice(&through.0.to_le_bytes());
    }
    Bytes::from(bytes)
}

/// Decodes a request that came from elsewhere. It passes [`Append::check`], is made by
/// [`quorate_proto::Change::to_append`], or passes [`Snapshot::check`] or [`GroupRequest::check`]; a group's progress is refused. Payloads are
/// slices of `bytes`.
pub fn decode_request(bytes: &Bytes) -> Result<Request, Invalid> {
    let malformed = |why| Invalid::new("request", format!("does not decode: {why}"));
    let mut parts = Parts::default();
    match parse(bytes, bytes, &mut parts).map_err(malformed)? {
        ParsedRequest::Append(parsed) => {
            let append = parts.to_append(&parsed, bytes).map_err(malformed)?;
            if parsed.change.is_none() {
                append.check()?;
            }
            Ok(Request::Append(append))
        }
        ParsedRequest::Snapshot(snapshot) => Ok(Request::Snapshot(snapshot)),
        ParsedRequest::Group(ParsedGroup { request: GroupRequest::Progress(_), .. }) => Err(
            Invalid::new("request", "is the progress of a group, which its leader alone reports"),
        ),
        ParsedRequest::Group(ParsedGroup { name, id, request, .. }) => {
            Ok(Request::Group { name, id, request })
        }
    }
}

/// Decodes an append that came from elsewhere, if it is a user's.
pub fn decode_append(bytes: &Bytes) -> Result<Append, Invalid> {
    match decode_request(bytes)? {
        Request::Append(append) => {
            append.check()?;
            Ok(append)
        }
        Request::Snapshot(_) | Request::Group { .. } => {
            Err(Invalid::new("request", "is no append"))
        }
    }
}

/// Returns a command that ends the chunk under way here, on every replica, however short it is: changes made
/// before the command are then part of a checkpoint, and events that they hide can be scavenged.
pub fn checkpoint(recorded_at: Timestamp) -> Bytes {
    let mut bytes = Vec::new();
    bytes.put_u16(KIND_CHECKPOINT);
    bytes.put_u16(VERSION);
    bytes.put_i64(recorded_at.0);
    Bytes::from(bytes)
}

/// Joins encoded requests to one command.
#[derive(Debug)]
pub struct Builder {
    bytes: Vec<u8>,
    count: u32,
}

impl Builder {
    /// The number of bytes that a request takes beside its own.
    pub const BYTES_PER_REQUEST: usize = 4;

    /// Begins an empty command, stamped with the time of the leader.
    pub fn new(recorded_at: Timestamp) -> Builder {
        let mut bytes = Vec::new();
        bytes.put_u16(KIND_REQUESTS);
        bytes.put_u16(VERSION);
        bytes.put_i64(recorded_at.0);
        bytes.put_u32(0);
        Builder { bytes, count: 0 }
    }

    /// Adds a request that [`encode_append`], [`encode_snapshot`], [`encode_group`],
    /// [`encode_group_progress`] or [`checked`] returned.
    pub fn push(&mut self, request: &Bytes) {
        self.bytes.put_long(request);
        self.count += 1;
    }

    /// Returns the number of bytes of the command so far.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the number of requests.
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// Returns the command, for [`crate::Payload::Command`].
    pub fn finish(mut self) -> Bytes {
        let count = self.bytes.get_mut(COUNT_AT..COUNT_AT + 4).expect("put by `new`");
        count.copy_from_slice(&self.count.to_le_bytes());
        Bytes::from(self.bytes)
    }
}

/// A command as apply takes it.
#[derive(Debug)]
pub(crate) struct Command<'a> {
    pub(crate) recorded_at: Timestamp,
    pub(crate) requests: Vec<ParsedRequest>,
    /// The streams and events of the appends.
    pub(crate) parts: Parts<'a>,
    /// True if a chunk ends with the command.
    pub(crate) is_boundary: bool,
}

impl Command<'_> {
    /// Returns the bytes that the command counts towards the chunk size beside its length, also for rejected requests.
    pub(crate) fn key_bytes(&self) -> u64 {
        let is_snapshot = |request: &&_| matches!(request, ParsedRequest::Snapshot(_));
        let snapshots = self.requests.iter().filter(is_snapshot).count();
        (self.parts.keys + snapshots as u64) * KEY_BYTES
    }
}

/// Returns the bytes that an append counts towards the chunk size beside its length: [`KEY_BYTES`] per event and key, and
/// per stream that it requires.
pub fn key_bytes(append: &Append) -> u64 {
    let writes = append.writes.iter();
    let keys = writes
        .flat_map(|write| write.events.iter().map(|event| Key::count(&write.stream, event)))
        .sum::<u64>();
    (keys + append.requirements.len() as u64) * KEY_BYTES
}

/// A request as apply takes it.
#[derive(Debug)]
pub(crate) enum ParsedRequest {
    Append(ParsedAppend),
    Snapshot(Snapshot),
    Group(ParsedGroup),
}

/// Decodes a command from the log.
pub(crate) fn decode(bytes: &Bytes) -> Result<Command<'_>, Malformed> {
    let mut input = Input::new(&**bytes);
    let (kind, version) = (input.u16()?, input.u16()?);
    let is_boundary = match (kind, version) {
        (KIND_REQUESTS, VERSION) => false,
        (KIND_CHECKPOINT, VERSION) => true,
        _ => return Err(Malformed::new(format!("kind {kind}, version {version} is unknown"))),
    };
    let recorded_at = Timestamp(input.i64()?);
    let count = if is_boundary { 0 } else { input.u32()? };
    let capacity = input.capacity(u64::from(count));
    let (mut requests, mut parts) = (Vec::with_capacity(capacity), Parts::with_capacity(capacity));
    for _ in 0..count {
        requests.push(parse(input.long_bytes()?, bytes, &mut parts)?);
    }
    input.end()?;
    Ok(Command { recorded_at, requests, parts, is_boundary })
}

/// Takes a request, which is a part of `whole`; the parts of an append are added.
pub(crate) fn parse<'a>(
    request: &'a [u8],
    whole: &Bytes,
    parts: &mut Parts<'a>,
) -> Result<ParsedRequest, Malformed> {
    let mut input = Input::new(request);
    let kind = input.u8()?;
    let rest = || Input::new(whole.slice_ref(request.get(1..).unwrap_or_default()));
    match kind {
        APPEND => append::parse(input, whole, parts).map(ParsedRequest::Append),
        SNAPSHOT => parse_snapshot(rest()).map(ParsedRequest::Snapshot),
        GROUP => group::parse(rest()).map(ParsedRequest::Group),
        kind => Err(Malformed::new(format!("a request has the unknown kind {kind}"))),
    }
}

fn parse_snapshot(mut input: Input) -> Result<Snapshot, Malformed> {
    let stream = StreamName::new(input.short_text()?).map_err(Malformed::invalid)?;
    let (version, schema) = (Version(input.u64()?), input.u32()?);
    let snapshot = Snapshot { stream, version, schema, data: input.rest() };
    snapshot.check().map_err(Malformed::invalid)?;
    Ok(snapshot)
}
