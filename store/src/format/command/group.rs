//! A request to a consumer group within a command.

use quorate_proto::limits::GROUP_CHANGE_POSITIONS_MAX;
use quorate_proto::{
    Failed, GroupName, GroupProgress, GroupRequest, LogIndex, Parked, Position, Selection, Term,
    Timestamp,
};

use super::{Input, Malformed, Output, ParsedGroup, malformed};
use crate::format::bytes::text;
use crate::format::group::{put_definition, put_settings, take_definition, take_settings};

const CREATE: u8 = 1;
const CONFIGURE: u8 = 2;
const DELETE: u8 = 3;
const RESET: u8 = 4;
const REPLAY: u8 = 5;
const DROP: u8 = 6;
const PROGRESS: u8 = 7;

const ALL: u8 = 0;
const POSITIONS: u8 = 1;

pub(super) fn encode(name: &GroupName, request: &GroupRequest, out: &mut Vec<u8>) {
    out.put_short(name.as_str().as_bytes());
    match request {
        GroupRequest::Create(definition) => {
            out.put_u8(CREATE);
            put_definition(definition, out);
        }
        GroupRequest::Configure(settings) => {
            out.put_u8(CONFIGURE);
            put_settings(settings, out);
        }
        GroupRequest::Delete => out.put_u8(DELETE),
        GroupRequest::Reset(after) => {
            out.put_u8(RESET);
            out.put_u64(after.0);
        }
        GroupRequest::Replay(selection) => {
            out.put_u8(REPLAY);
            put_selection(selection, out);
        }
        GroupRequest::Drop(selection) => {
            out.put_u8(DROP);
            put_selection(selection, out);
        }
        GroupRequest::Progress(progress) => {
            out.put_u8(PROGRESS);
            put_progress(Term::ZERO, progress, out);
        }
    }
}

/// `term` is that in which the sender leads.
pub(super) fn encode_progress(
    name: &GroupName,
    term: Term,
    progress: &GroupProgress,
    out: &mut Vec<u8>,
) {
    out.put_short(name.as_str().as_bytes());
    out.put_u8(PROGRESS);
    put_progress(term, progress, out);
}

pub(super) fn parse(mut input: Input) -> Result<ParsedGroup, Malformed> {
    let name = GroupName::new(input.short_text()?).map_err(malformed)?;
    let mut term = Term::default();
    let request = match input.u8()? {
        CREATE => GroupRequest::Create(take_definition(&mut input)?),
        CONFIGURE => GroupRequest::Configure(take_settings(&mut input)?),
        DELETE => GroupRequest::Delete,
        RESET => GroupRequest::Reset(Position(input.u64()?)),
        REPLAY => GroupRequest::Replay(take_selection(&mut input)?),
        DROP => GroupRequest::Drop(take_selection(&mut input)?),
        PROGRESS => {
            term = Term(input.u64()?);
            GroupRequest::Progress(take_progress(&mut input)?)
        }
        other => return Err(Malformed::new(format!("a group is asked for the unknown {other}"))),
    };
    input.end()?;
    request.check().map_err(malformed)?;
    Ok(ParsedGroup { name, term, request })
}

fn put_selection(selection: &Selection, out: &mut Vec<u8>) {
    match selection {
        Selection::All => out.put_u8(ALL),
        Selection::Positions(positions) => {
            out.put_u8(POSITIONS);
            put_positions(positions, out);
        }
    }
}

fn take_selection(input: &mut Input) -> Result<Selection, Malformed> {
    match input.u8()? {
        ALL => Ok(Selection::All),
        POSITIONS => take_list(input, take_position).map(Selection::Positions),
        other => Err(Malformed::new(format!("the selection {other} is unknown"))),
    }
}

fn put_progress(term: Term, progress: &GroupProgress, out: &mut Vec<u8>) {
    out.put_u64(term.0);
    let GroupProgress { incarnation, floor, settled, failed, parked } = progress;
    out.put_u64(incarnation.0);
    out.put_u64(floor.0);
    put_positions(settled, out);
    out.put_varint(failed.len() as u64);
    for Failed { position, attempts, due } in failed {
        out.put_varint(position.0);
        out.put_u32(*attempts);
        out.put_i64(due.0);
    }
    out.put_varint(parked.len() as u64);
    for Parked { position, attempts, reason, .. } in parked {
        out.put_varint(position.0);
        out.put_u32(*attempts);
        out.put_varint(reason.len() as u64);
        out.put(reason.as_bytes());
    }
}

fn take_progress(input: &mut Input) -> Result<GroupProgress, Malformed> {
    Ok(GroupProgress {
        incarnation: LogIndex(input.u64()?),
        floor: Position(input.u64()?),
        settled: take_list(input, take_position)?,
        failed: take_list(input, |input| {
            let (position, attempts) = (take_position(input)?, input.u32()?);
            Ok(Failed { position, attempts, due: Timestamp(input.i64()?) })
        })?,
        parked: take_list(input, take_parked)?,
    })
}

/// Without the time: apply gives it.
fn take_parked(input: &mut Input) -> Result<Parked, Malformed> {
    let (position, attempts) = (take_position(input)?, input.u32()?);
    let length = usize::try_from(input.varint()?).unwrap_or(usize::MAX);
    let reason = text(&input.take(length)?)?;
    Ok(Parked { position, attempts, reason, parked_at: Timestamp::default() })
}

fn put_positions(positions: &[Position], out: &mut Vec<u8>) {
    out.put_varint(positions.len() as u64);
    positions.iter().for_each(|position| out.put_varint(position.0));
}

fn take_position(input: &mut Input) -> Result<Position, Malformed> {
    input.varint().map(Position)
}

fn take_list<T>(
    input: &mut Input,
    mut take: impl FnMut(&mut Input) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = input.varint()?;
    if count > GROUP_CHANGE_POSITIONS_MAX as u64 {
        return Err(Malformed::new(format!("a change of a group speaks of {count} positions")));
    }
    let mut list = Vec::new();
    for _ in 0..count {
        list.push(take(input)?);
    }
    Ok(list)
}
