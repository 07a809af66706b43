//! Applying a command: its requests are applied one after the other, each seeing the effect of those before it.

use bytes::Bytes;
use quorate_proto::{
    Appended, Expectation, Failure, LogId, RecordedSnapshot, Snapshot, StreamName,
};

use super::Store;
use super::groups::GroupsLock;
use crate::defect::{Defect, is_present, take};
use crate::fault::Fault;
use crate::format::StoredEvent;
use crate::format::command::{self, ParsedAppend, ParsedRequest};
use crate::judge::{Demand, Judgement, Log, conditions, judge, reject};
use crate::verdict::{Rejection, Verdict};
use crate::view::StreamHead;

impl Store {
    /// Applies the requests of a command, in order.
    pub(crate) fn apply_command(
        &mut self,
        log_id: LogId,
        bytes: Bytes,
    ) -> Result<Vec<Verdict>, Fault> {
        let command = command::decode(bytes).map_err(|malformed| Fault::Command {
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
        let requests = command.requests.into_iter();
        requests.map(|request| self.apply_request(request, &mut groups)).collect()
    }

    fn apply_request(
        &mut self,
        request: ParsedRequest,
        groups: &mut GroupsLock<'_>,
    ) -> Result<Verdict, Fault> {
        match request {
            ParsedRequest::Group(request) => Ok(Verdict::Group(groups.apply(request, self.point))),
            ParsedRequest::Append(append) => self.apply_append(append),
            ParsedRequest::Snapshot(snapshot) => self.put_snapshot(snapshot),
        }
    }

    fn apply_append(&mut self, mut append: ParsedAppend) -> Result<Verdict, Fault> {
        let demand = Demand::of(&append.append);
        let heads = demand.streams().map(|(stream, _)| self.head(stream));
        let heads = heads.collect::<Result<Vec<_>, _>>()?;
        let mut log = Log::new(&self.view, &self.shared.window, self.point);
        let failures = match judge(&mut log, &demand, &heads)? {
            Judgement::Repeated(first) => return Ok(Verdict::Repeated(first)),
            Judgement::Rejected(rejection) => return Ok(Verdict::Rejected(rejection)),
            Judgement::Closed(stream) => {
                let closed = Rejection::StreamClosed(stream);
                return Ok(reject(&log, &demand, &heads, closed));
            }
            Judgement::New(failures) => failures,
        };
        if let Some(rejection) = self.refuse(&append, failures)? {
            let demand = Demand::of(&append.append);
            let log = Log::new(&self.view, &self.shared.window, self.point);
            return Ok(reject(&log, &demand, &heads, rejection));
        }
        let change = append.change.take();
        if let Some(change) = &change
            && let Some(rejection) = self.refuse_change(change)?
        {
            return Ok(Verdict::Rejected(rejection));
        }
        let appended = self.append(append, &heads);
        if let Some(change) = change {
            self.change(change)?;
        }
        Ok(Verdict::Appended(appended))
    }

    /// Returns the rejection of a new append, if it must be rejected. Expectations that are not met are
    /// certain, so they are reported even where conditions cannot be judged.
    fn refuse(
        &self,
        append: &ParsedAppend,
        failures: Vec<Failure>,
    ) -> Result<Option<Rejection>, Fault> {
        let conditions = &append.append.conditions;
        let checked = conditions::check(&self.view, self.point, conditions, append.checked)?;
        let violations = checked.violations;
        if failures.is_empty() && checked.is_too_old {
            return Ok(Some(Rejection::CheckTooOld));
        }
        let is_flipped = take(Defect::FlippedOutcome);
        let is_met = failures.is_empty() && violations.is_empty() && !is_flipped;
        Ok((!is_met).then_some(Rejection::Conflict { failures, violations }))
    }

    /// Returns the head of a stream, by which its expectations are judged.
    pub(super) fn head(&mut self, stream: &StreamName) -> Result<StreamHead, Fault> {
        if let Some(head) = self.heads.get(stream) {
            return Ok(*head);
        }
        let head = self.view.head(stream, self.point.position)?;
        self.heads.put(stream.clone(), head);
        Ok(head)
    }

    /// Puts the events at the end of the log. `heads` are the heads of the written streams before the append.
    fn append(&mut self, append: ParsedAppend, heads: &[StreamHead]) -> Appended {
        let recorded_at = self.point.recorded_at;
        let first_position = self.point.position.next();
        let mut window = self.shared.window.write().expect("nobody panics while holding the lock");
        let ParsedAppend { append, bodies, .. } = append;
        let mut stored = Vec::with_capacity(bodies.len());
        let mut bodies = bodies.into_iter();
        let mut lasts = Vec::with_capacity(append.writes.len());
        for (write, head) in append.writes.into_iter().zip(heads) {
            let mut version = head.version;
            for (event, body) in write.events.into_iter().zip(bodies.by_ref()) {
                version = version.next();
                self.point.position = self.point.position.next();
                let id = event.id;
                window.push(id);
                let (position, stream) = (self.point.position, write.stream.clone());
                let begins = position == first_position;
                stored.push(StoredEvent {
                    position,
                    stream,
                    version,
                    recorded_at,
                    id,
                    begins,
                    body,
                });
            }
            self.heads.put(write.stream, StreamHead { version, ..*head });
            lasts.push(version);
        }
        drop(window);
        self.view.active.append(stored);
        let last_position = self.point.position;
        Appended { versions: lasts, first_position, last_position, recorded_at }
    }

    fn put_snapshot(&mut self, snapshot: Snapshot) -> Result<Verdict, Fault> {
        let head = self.head(&snapshot.stream)?;
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
