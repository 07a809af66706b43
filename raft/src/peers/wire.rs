//! The conversions between the peer protocol's messages and openraft's types; incoming messages are checked.

use openraft::AsyncRuntime;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderRequest,
    VoteRequest, VoteResponse,
};
use quorate_proto::LogId;
use quorate_proto::wire::peer::v1;
use quorate_proto::wire::peer::v1::append_response::Answer;
use tonic::Status;

use crate::adapter::entry;
use crate::adapter::types::{self, Entry, RaftLogId, TypeConfig, Vote};
use crate::disk_space::Room;
use crate::log::{EntryKind, LogEntry, PeerMemory, TruncationRecord, VoteRecord};
use crate::peers::guard::{Origin, Refused, Shown};

pub(crate) fn malformed(what: &str) -> Status {
    Status::invalid_argument(format!("the {what} is missing or malformed"))
}

/// Returns the status of a refusal: its code shows if a retry is in vain, or works after a greeting.
pub(crate) fn refusal(refused: Refused) -> Status {
    match refused {
        Refused::Stranger(why) => Status::permission_denied(why),
        Refused::NotGreeted => Status::unauthenticated(refused.to_string()),
    }
}

/// Returns the status of a node that takes no entries and no checkpoints now.
pub(crate) fn no_room() -> Status {
    Status::resource_exhausted("there is no room on its disk")
}

pub(crate) fn log_id(id: LogId) -> v1::LogId {
    v1::LogId { term: id.term.0, index: id.index.0 }
}

fn from_log_id(id: v1::LogId) -> LogId {
    LogId::new(id.term, id.index)
}

pub(crate) fn raft_log_id(id: RaftLogId) -> v1::LogId {
    v1::LogId { term: id.leader_id.term, index: id.index }
}

pub(crate) fn from_raft_log_id(id: v1::LogId) -> RaftLogId {
    types::log_id(id.term, id.index)
}

fn vote_record(vote: VoteRecord) -> v1::Vote {
    v1::Vote { term: vote.term, node: vote.node, committed: vote.committed }
}

fn from_vote_record(vote: v1::Vote) -> VoteRecord {
    VoteRecord { term: vote.term, node: vote.node, committed: vote.committed }
}

pub(crate) fn vote(vote: &Vote) -> v1::Vote {
    vote_record(types::vote_record(vote))
}

pub(crate) fn from_vote(vote: Option<v1::Vote>) -> Result<Vote, Status> {
    let vote = vote.ok_or_else(|| malformed("vote"))?;
    Ok(types::vote(from_vote_record(vote)))
}

pub(crate) fn origin(origin: &Origin) -> v1::Origin {
    v1::Origin {
        cluster: origin.cluster.to_vec().into(),
        log: origin.log,
        from: origin.from,
        from_boot: origin.from_boot,
        to: origin.to,
        to_boot: origin.to_boot,
    }
}

pub(crate) fn from_origin(origin: Option<v1::Origin>) -> Result<Origin, Status> {
    let origin = origin.ok_or_else(|| malformed("origin"))?;
    Ok(Origin {
        cluster: cluster(&origin.cluster)?,
        log: origin.log,
        from: origin.from,
        from_boot: origin.from_boot,
        to: origin.to,
        to_boot: origin.to_boot,
    })
}

pub(crate) fn cluster(bytes: &[u8]) -> Result<[u8; 16], Status> {
    bytes.try_into().map_err(|_| malformed("cluster id"))
}

pub(crate) fn secret(bytes: &[u8]) -> Result<[u8; 16], Status> {
    bytes.try_into().map_err(|_| malformed("secret"))
}

pub(crate) fn digest(digest: u128) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(&digest.to_be_bytes())
}

/// Decodes a digest; returns none if the message has none.
pub(crate) fn from_digest(bytes: &[u8]) -> Option<u128> {
    bytes.try_into().ok().map(u128::from_be_bytes)
}

pub(crate) fn shown(shown: &Shown) -> v1::Shown {
    let truncation = shown.truncation.map(|truncation| v1::Truncation {
        end: truncation.end.map(log_id),
        vote: Some(vote_record(truncation.vote)),
    });
    v1::Shown {
        boot: shown.boot,
        vote: Some(vote_record(shown.vote)),
        end: shown.end.map(log_id),
        truncation,
    }
}

pub(crate) fn from_shown(shown: Option<v1::Shown>) -> Result<Shown, Status> {
    let shown = shown.ok_or_else(|| malformed("greeting"))?;
    let truncation = match shown.truncation {
        None => None,
        Some(truncation) => Some(TruncationRecord {
            end: truncation.end.map(from_log_id),
            vote: from_vote_record(truncation.vote.ok_or_else(|| malformed("truncation"))?),
        }),
    };
    Ok(Shown {
        boot: shown.boot,
        vote: from_vote_record(shown.vote.ok_or_else(|| malformed("vote"))?),
        end: shown.end.map(from_log_id),
        truncation,
    })
}

pub(crate) fn memory(memory: &PeerMemory) -> v1::Memory {
    v1::Memory {
        node: memory.node,
        boot: memory.boot,
        acknowledged: memory.acknowledged.map(log_id),
        vote: Some(vote_record(memory.vote)),
    }
}

pub(crate) fn from_memory(memory: v1::Memory) -> Result<PeerMemory, Status> {
    Ok(PeerMemory {
        node: memory.node,
        boot: memory.boot,
        acknowledged: memory.acknowledged.map(from_log_id),
        vote: from_vote_record(memory.vote.ok_or_else(|| malformed("vote"))?),
    })
}

fn entry(entry: Entry) -> v1::Entry {
    let LogEntry { id, kind, payload } = entry::to_log(entry);
    let kind = match kind {
        EntryKind::Blank => v1::EntryKind::Blank,
        EntryKind::Normal => v1::EntryKind::Normal,
        EntryKind::Membership => v1::EntryKind::Membership,
    };
    v1::Entry { id: Some(log_id(id)), kind: kind.into(), payload }
}

fn from_entry(entry: v1::Entry) -> Result<Entry, Status> {
    let kind = match v1::EntryKind::try_from(entry.kind) {
        Ok(v1::EntryKind::Blank) => EntryKind::Blank,
        Ok(v1::EntryKind::Normal) => EntryKind::Normal,
        Ok(v1::EntryKind::Membership) => EntryKind::Membership,
        Err(_) => return Err(malformed("kind of an entry")),
    };
    let id = from_log_id(entry.id.ok_or_else(|| malformed("id of an entry"))?);
    entry::from_log(LogEntry { id, kind, payload: entry.payload })
        .map_err(|why| Status::invalid_argument(why.to_string()))
}

/// Converts a request to append to its message; the commands' bytes are shared with the log.
pub(crate) fn append_request<R: AsyncRuntime>(
    request: AppendEntriesRequest<TypeConfig<R>>,
) -> v1::AppendRequest {
    v1::AppendRequest {
        origin: None,
        vote: Some(vote(&request.vote)),
        previous: request.prev_log_id.map(raft_log_id),
        committed: request.leader_commit.map(raft_log_id),
        entries: request.entries.into_iter().map(entry).collect(),
    }
}

/// Refuses entries that do not follow each other: openraft takes their order for granted.
pub(crate) fn from_append_request<R: AsyncRuntime>(
    request: v1::AppendRequest,
) -> Result<AppendEntriesRequest<TypeConfig<R>>, Status> {
    let prev_log_id = request.previous.map(from_raft_log_id);
    let entries: Vec<Entry> =
        request.entries.into_iter().map(from_entry).collect::<Result<_, _>>()?;
    let first = prev_log_id.map_or(0, |id| id.index + 1);
    if (first..).zip(&entries).any(|(index, entry)| entry.log_id.index != index) {
        return Err(malformed("order of the entries"));
    }
    Ok(AppendEntriesRequest {
        vote: from_vote(request.vote)?,
        prev_log_id,
        entries,
        leader_commit: request.committed.map(from_raft_log_id),
    })
}

fn room(room: Room) -> v1::Room {
    match room {
        Room::Plenty => v1::Room::Plenty,
        Room::Low => v1::Room::Low,
        Room::Full => v1::Room::Full,
    }
}

fn from_room(room: i32) -> Result<Room, Status> {
    Ok(match v1::Room::try_from(room).map_err(|_| malformed("room"))? {
        v1::Room::Plenty => Room::Plenty,
        v1::Room::Low => Room::Low,
        v1::Room::Full => Room::Full,
    })
}

/// Converts a result to the answer of a node with the given room.
pub(crate) fn append_response<R: AsyncRuntime>(
    result: StreamAppendResult<TypeConfig<R>>,
    of_room: Room,
) -> v1::AppendResponse {
    let answer = match result {
        Ok(last) => Answer::Matched(v1::Matched { last: last.map(raft_log_id) }),
        Err(StreamAppendError::Conflict(id)) => Answer::Conflict(raft_log_id(id)),
        Err(StreamAppendError::HigherVote(higher)) => Answer::Higher(vote(&higher)),
    };
    v1::AppendResponse { answer: Some(answer), room: room(of_room).into() }
}

/// Returns the result of an append, and the room that the peer has.
pub(crate) fn from_append_response<R: AsyncRuntime>(
    response: v1::AppendResponse,
) -> Result<(StreamAppendResult<TypeConfig<R>>, Room), Status> {
    let room = from_room(response.room)?;
    let result = match response.answer.ok_or_else(|| malformed("answer"))? {
        Answer::Matched(matched) => Ok(matched.last.map(from_raft_log_id)),
        Answer::Conflict(id) => Err(StreamAppendError::Conflict(from_raft_log_id(id))),
        Answer::Higher(vote) => Err(StreamAppendError::HigherVote(from_vote(Some(vote))?)),
    };
    Ok((result, room))
}

pub(crate) fn vote_request<R: AsyncRuntime>(
    request: &VoteRequest<TypeConfig<R>>,
    pre_vote: bool,
    origin: v1::Origin,
) -> v1::VoteRequest {
    v1::VoteRequest {
        origin: Some(origin),
        vote: Some(vote(&request.vote)),
        last: request.last_log_id.map(raft_log_id),
        pre_vote,
        leadership_transfer: request.leadership_transfer,
    }
}

pub(crate) fn from_vote_request<R: AsyncRuntime>(
    request: &v1::VoteRequest,
) -> Result<VoteRequest<TypeConfig<R>>, Status> {
    let last = request.last.map(from_raft_log_id);
    let mut vote_request = VoteRequest::new(from_vote(request.vote)?, last);
    vote_request.leadership_transfer = request.leadership_transfer;
    Ok(vote_request)
}

pub(crate) fn vote_response<R: AsyncRuntime>(
    response: &VoteResponse<TypeConfig<R>>,
) -> v1::VoteResponse {
    v1::VoteResponse {
        vote: Some(vote(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.map(raft_log_id),
    }
}

pub(crate) fn from_vote_response<R: AsyncRuntime>(
    response: v1::VoteResponse,
) -> Result<VoteResponse<TypeConfig<R>>, Status> {
    let last = response.last.map(from_raft_log_id);
    Ok(VoteResponse::new(from_vote(response.vote)?, last, response.granted))
}

pub(crate) fn transfer_request<R: AsyncRuntime>(
    request: &TransferLeaderRequest<TypeConfig<R>>,
    origin: v1::Origin,
) -> v1::TransferLeaderRequest {
    v1::TransferLeaderRequest {
        origin: Some(origin),
        vote: Some(vote(request.from_leader())),
        to: *request.to_node_id(),
        last: request.last_log_id().copied().map(raft_log_id),
    }
}

pub(crate) fn from_transfer_request<R: AsyncRuntime>(
    request: &v1::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<TypeConfig<R>>, Status> {
    let last = request.last.map(from_raft_log_id);
    Ok(TransferLeaderRequest::new(from_vote(request.vote)?, request.to, last))
}
