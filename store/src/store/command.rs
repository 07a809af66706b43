//! Applying a command: its requests are applied one after the other, each seeing the effect of those before it.

use std::sync::RwLockWriteGuard;

use bytes::Bytes;
use quorate_proto::{
    Appended, Expectation, Failure, LogId, RecordedSnapshot, Snapshot, StreamName,
};

use super::groups::GroupsLock;
use super::{Named, Store};
use crate::defect::{Defect, is_present, take};
use crate::fault::Fault;
use crate::format::command::{self, Aim, Command, ParsedAppend, ParsedRequest, Parts};
use crate::judge::{Demand, Judgement, Log, conditions, judge, reject};
use crate::verdict::{Rejection, Verdict};
use crate::view::{Remembered, StreamHead, StreamSlot, Window};

impl Store {
    /// Applies the requests of a command, in order.
    pub(crate) fn apply_command(
        &mut self,
        log_id: LogId,
        bytes: Bytes,
    ) -> Result<Vec<Verdict>, Fault> {
        let command = command::decode(&bytes).map_err(|malformed| Fault::Command {
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
        let Command { requests, parts, .. } = command;
        let shared = self.shared.clone();
        let mut groups = GroupsLock::new(&shared);
        let apply = |request| match request {
            ParsedRequest::Group(request) => Ok(Verdict::Group(groups.apply(request, self.point))),
            ParsedRequest::Append(append) => self.apply_append(&bytes, append, &parts),
            ParsedRequest::Snapshot(snapshot) => self.put_snapshot(snapshot),
        };
        requests.into_iter().map(apply).collect()
    }

    fn apply_append(
        &mut self,
        command: &Bytes,
        append: ParsedAppend,
        parts: &Parts<'_>,
    ) -> Result<Verdict, Fault> {
        let mut named = std::mem::take(&mut self.named);
        named.heads.clear();
        named.slots.clear();
        for aim in parts.aims_of(&append) {
            let (slot, head) = self.head(aim.stream)?;
            named.slots.push(slot);
            named.heads.push(head);
        }
        let verdict = match self.append_if_plain(command, &append, parts, &named) {
            Some(appended) => Ok(Verdict::Appended(appended)),
            None => self.judge(command, append, parts, &named),
        };
        self.named = named;
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
        named: &Named,
    ) -> Option<Appended> {
        let is_met =
            |(aim, head): (&Aim<'_>, &StreamHead)| head.meets(aim.expectation) && !head.closed;
        let is_plain = append.conditions.is_empty()
            && append.change.is_none()
            && parts.aims_of(append).iter().zip(&named.heads).all(is_met)
            && !is_present(Defect::NoRetryCheck)
            && !is_present(Defect::RetryByVersion)
            && !is_present(Defect::FlippedOutcome);
        if !is_plain || !self.window().push_new(parts.ids_of(append)) {
            return None;
        }
        Some(self.append(command, append, parts, named))
    }

    /// Judges an append, and puts it at the end of the log if nothing speaks against it.
    fn judge(
        &mut self,
        command: &Bytes,
        mut append: ParsedAppend,
        parts: &Parts<'_>,
        named: &Named,
    ) -> Result<Verdict, Fault> {
        let (demand, heads) = (Demand::of_parsed(&append, parts), &named.heads);
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
        let appended = self.append(command, &append, parts, named);
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
        let (name, head) = match sealing {
            Some(known) => known,
            None => {
                let name = StreamName::new(stream).expect("checked before");
                let head = match self.heads.find(hash, stream) {
                    Remembered::Head(head) => head,
                    Remembered::New => self.view.new_head(&name, self.point.position)?,
                    Remembered::Nothing => self.view.sealed_head(&name, self.point.position)?,
                };
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
        named: &Named,
    ) -> Appended {
        let recorded_at = self.point.recorded_at;
        let (ids, events) = (parts.ids_of(append), parts.events_of(append));
        let written = || parts.aims_of(append).iter().take_while(|aim| aim.is_written());
        let streams = named.slots.iter().zip(written()).map(|(slot, aim)| (*slot, aim.events));
        self.view.active.append((command, recorded_at), streams, (ids, events));
        let first_position = self.point.position.next();
        let last_position = self.point.position.plus(ids.len() as u64);
        self.point.position = last_position;
        let version = |(head, aim): (&StreamHead, &Aim<'_>)| head.version.plus(aim.events as u64);
        let versions = named.heads.iter().zip(written()).map(version).collect();
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
