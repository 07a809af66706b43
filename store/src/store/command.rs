//! Applying a command: its requests are applied one after the other, each seeing the effect of those before it.

use std::sync::RwLockWriteGuard;

use bytes::Bytes;
use quorate_proto::{
    Appended, Expectation, Failure, LogId, RecordedSnapshot, Snapshot, StreamName,
};

use super::Store;
use super::groups::GroupsLock;
use crate::defect::{Defect, is_present, take};
use crate::fault::Fault;
use crate::format::command::{self, Aim, ParsedAppend, ParsedRequest, Parts};
use crate::judge::{Demand, Judgement, Log, conditions, judge, reject};
use crate::verdict::{Rejection, Verdict};
use crate::view::{StreamHead, StreamSlot, Window};

/// The streams that an append names, in its order, as they were before it.
#[derive(Debug, Default)]
pub(super) struct Room {
    slots: Vec<StreamSlot>,
    heads: Vec<StreamHead>,
}

impl Store {
    /// Applies the requests of a command, in order.
    pub(crate) fn apply_command(
        &mut self,
        log_id: LogId,
        bytes: Bytes,
    ) -> Result<Vec<Verdict>, Fault> {
        let mut command = command::decode(&bytes).map_err(|malformed| Fault::Command {
            index: log_id.index.0,
            why: malformed.to_string(),
        })?;
        self.point.log_id = Some(log_id);
        // A leader's clock may go back; log time does not.
        self.point.recorded_at = self.point.recorded_at.max(command.recorded_at);
        if command.is_boundary {
            self.fill_stretch();
        } else if !is_present(Defect::FreeKeys) {
            self.count(command.key_bytes());
        }
        let shared = self.shared.clone();
        let mut groups = GroupsLock::new(&shared);
        let requests = std::mem::take(&mut command.requests).into_iter();
        let apply = |request| match request {
            ParsedRequest::Group(request) => Ok(Verdict::Group(groups.apply(request, self.point))),
            ParsedRequest::Append(append) => self.apply_append(&bytes, append, &command.parts),
            ParsedRequest::Snapshot(snapshot) => self.put_snapshot(snapshot),
        };
        requests.map(apply).collect()
    }

    fn apply_append(
        &mut self,
        command: &Bytes,
        append: ParsedAppend,
        parts: &Parts<'_>,
    ) -> Result<Verdict, Fault> {
        let mut room = std::mem::take(&mut self.room);
        room.heads.clear();
        room.slots.clear();
        for aim in parts.aims_of(&append) {
            let (slot, head) = self.head(aim.stream)?;
            room.slots.push(slot);
            room.heads.push(head);
        }
        let verdict = match self.append_if_plain(command, &append, parts, &room) {
            Some(appended) => Ok(Verdict::Appended(appended)),
            None => self.judge(command, append, parts, &room),
        };
        self.room = room;
        verdict
    }

    /// Puts an append at the end of the log, if it is certain at one look that this is its answer: it has no more than
    /// expectations, all are met, and the window knows none of its ids. Else [`Store::judge`] finds the same answer, or
    /// another one; this way is only the shorter one.
    fn append_if_plain(
        &mut self,
        command: &Bytes,
        append: &ParsedAppend,
        parts: &Parts<'_>,
        room: &Room,
    ) -> Option<Appended> {
        let is_met =
            |(aim, head): (&Aim<'_>, &StreamHead)| head.meets(aim.expectation) && !head.closed;
        let is_plain = append.conditions.is_empty()
            && append.change.is_none()
            && parts.aims_of(append).iter().zip(&room.heads).all(is_met)
            && !is_present(Defect::NoRetryCheck)
            && !is_present(Defect::RetryByVersion)
            && !is_present(Defect::FlippedOutcome);
        if !is_plain || !self.window().push_new(parts.ids_of(append)) {
            return None;
        }
        Some(self.append(command, append, parts, room))
    }

    /// Judges an append, and puts it at the end of the log if nothing speaks against it.
    fn judge(
        &mut self,
        command: &Bytes,
        mut append: ParsedAppend,
        parts: &Parts<'_>,
        room: &Room,
    ) -> Result<Verdict, Fault> {
        let (demand, heads) = (Demand::of_parsed(&append, parts), &room.heads);
        let mut log = Log::new(&self.view, &self.shared.window, self.point);
        let failures = match judge(&mut log, &demand, heads)? {
            Judgement::Repeated(first) => return Ok(Verdict::Repeated(first)),
            Judgement::Rejected(rejection) => return Ok(Verdict::Rejected(rejection)),
            Judgement::Closed(stream) => {
                let closed = Rejection::StreamClosed(stream);
                return Ok(reject(&log, &demand, heads, closed));
            }
            Judgement::New(failures) => failures,
        };
        if let Some(rejection) = self.refuse(&append, failures)? {
            return Ok(reject(&log, &demand, heads, rejection));
        }
        let change = append.change.take();
        if let Some(change) = &change
            && let Some(rejection) = self.refuse_change(change)?
        {
            return Ok(Verdict::Rejected(rejection));
        }
        parts.ids_of(&append).iter().for_each(|id| self.window().push(*id));
        let appended = self.append(command, &append, parts, room);
        if let Some(change) = change {
            self.change(change)?;
        }
        Ok(Verdict::Appended(appended))
    }

    fn window(&self) -> RwLockWriteGuard<'_, Window> {
        self.shared.window.write().expect("nobody panics while holding the lock")
    }

    /// Returns the rejection of a new append, if it must be rejected. Expectations that are not met are
    /// certain, so they are reported even where conditions cannot be judged.
    fn refuse(
        &self,
        append: &ParsedAppend,
        failures: Vec<Failure>,
    ) -> Result<Option<Rejection>, Fault> {
        let conditions = &append.conditions;
        let checked = conditions::check(&self.view, self.point, conditions, append.checked)?;
        let violations = checked.violations;
        if failures.is_empty() && checked.is_too_old {
            return Ok(Some(Rejection::CheckTooOld));
        }
        let is_flipped = take(Defect::FlippedOutcome);
        let is_met = failures.is_empty() && violations.is_empty() && !is_flipped;
        Ok((!is_met).then_some(Rejection::Conflict { failures, violations }))
    }

    /// Returns the head of a stream, by which its expectations are judged, and its slot in the active tail. The tail
    /// knows the stream from now on.
    pub(super) fn head(&mut self, stream: &str) -> Result<(StreamSlot, StreamHead), Fault> {
        let hash = self.hasher.hash_stream(stream);
        let active = &self.view.active;
        if let Some(known) = active.head(hash, stream) {
            return Ok(known);
        }
        let sealing = self.view.sealing.as_ref().and_then(|tail| tail.named_head(hash, stream));
        let known = sealing.or_else(|| self.heads.find(hash, stream).cloned());
        let (name, head) = match known {
            Some(known) => known,
            None => {
                let name = StreamName::new(stream).expect("checked before");
                let head = self.view.head(&name, self.point.position)?;
                (name, head)
            }
        };
        Ok((active.put_head(hash, name, head), head))
    }

    /// Sets the head of a stream after a change.
    pub(super) fn put_head(&mut self, stream: StreamName, head: StreamHead) {
        self.view.active.put_head(self.hasher.hash_stream(stream.as_str()), stream, head);
    }

    /// Puts the events at the end of the log; the window knows their ids already.
    fn append(
        &mut self,
        command: &Bytes,
        append: &ParsedAppend,
        parts: &Parts<'_>,
        room: &Room,
    ) -> Appended {
        let recorded_at = self.point.recorded_at;
        let (ids, events) = (parts.ids_of(append), parts.events_of(append));
        let written = || parts.aims_of(append).iter().take_while(|aim| aim.is_written());
        let streams = room.slots.iter().zip(written()).map(|(slot, aim)| (*slot, aim.events));
        self.view.active.append((command, recorded_at), streams, (ids, events));
        let first_position = self.point.position.next();
        let last_position = self.point.position.plus(ids.len() as u64);
        self.point.position = last_position;
        let version = |(head, aim): (&StreamHead, &Aim<'_>)| head.version.plus(aim.events as u64);
        let versions = room.heads.iter().zip(written()).map(version).collect();
        Appended { versions, first_position, last_position, recorded_at }
    }

    fn put_snapshot(&mut self, snapshot: Snapshot) -> Result<Verdict, Fault> {
        let (_, head) = self.head(snapshot.stream.as_str())?;
        if head.closed {
            return Ok(Verdict::Rejected(Rejection::StreamClosed(snapshot.stream)));
        }
        if snapshot.version > head.version || snapshot.version <= head.deleted {
            let is_there = head.meets(Expectation::Exists);
            let at_version = Expectation::Exactly(snapshot.version);
            let expected = if is_there { at_version } else { Expectation::Exists };
            let failure = Failure { stream: snapshot.stream, expected, actual: head.version };
            let (failures, violations) = (vec![failure], Vec::new());
            return Ok(Verdict::Rejected(Rejection::Conflict { failures, violations }));
        }
        let stored = self.view.snapshot(&snapshot.stream, self.point)?;
        // A program can read schemas older than its own. Of two snapshots at one version it uses the newer schema; an
        // older program reads the events instead. In a rolling upgrade both programs put snapshots.
        let rank = |snapshot: &Snapshot| (snapshot.version, snapshot.schema);
        if let Some(stored) = stored.filter(|stored| rank(&stored.snapshot) > rank(&snapshot)) {
            return Ok(Verdict::SnapshotStored(stored.snapshot.version));
        }
        let (stream, version, index) = (snapshot.stream.clone(), snapshot.version, self.index());
        let recorded = RecordedSnapshot { snapshot, recorded_at: self.point.recorded_at };
        self.view.active.change(|changes| changes.put_snapshot(stream, index, Some(recorded)));
        Ok(Verdict::SnapshotStored(version))
    }
}
