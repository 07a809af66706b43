//! Applying a command: its appends one after the other, each seeing those before it.

use bytes::Bytes;
use quorate_proto::{Appended, LogId, StreamName, Version};

use super::{Demand, Judgement, Log, judge};
use crate::event::StoredEvent;
use crate::fault::Fault;
use crate::format::command::{self, ParsedAppend, ParsedRequest};
use crate::store::Store;
use crate::verdict::{Rejection, Verdict};

impl Store {
    /// Applies the appends of a command, in order.
    pub(crate) fn apply_command(
        &mut self,
        log_id: LogId,
        bytes: Bytes,
    ) -> Result<Vec<Verdict>, Fault> {
        let command = command::decode(bytes).map_err(|malformed| Fault::Command {
            index: log_id.index.0,
            why: malformed.to_string(),
        })?;
        // A leader's clock may go back; log time does not.
        self.point.recorded_at = self.point.recorded_at.max(command.recorded_at);
        command.requests.into_iter().map(|request| self.apply_request(request)).collect()
    }

    fn apply_request(&mut self, request: ParsedRequest) -> Result<Verdict, Fault> {
        match request {
            ParsedRequest::Append(append) => self.apply_append(append),
            ParsedRequest::Snapshot(snapshot) => Ok(Verdict::Kept(snapshot.version)),
        }
    }

    fn apply_append(&mut self, append: ParsedAppend) -> Result<Verdict, Fault> {
        let demand = Demand::of(&append.append);
        let versions =
            demand.streams().map(|(stream, _)| self.head(stream)).collect::<Result<Vec<_>, _>>()?;
        let (view, window, as_of) = (&*self.view, &self.shared.window, self.point.position);
        match judge(&Log { view, window, as_of }, &demand, &versions)? {
            Judgement::Append => Ok(Verdict::Appended(self.append(append, &versions))),
            Judgement::Repeated(first) => Ok(Verdict::Appended(first)),
            Judgement::Conflict(failures) => {
                let violations = Vec::new();
                Ok(Verdict::Rejected(Rejection::Conflict { failures, violations }))
            }
            Judgement::Reused(id) => Ok(Verdict::Rejected(Rejection::IdReused(id))),
        }
    }

    /// The newest version of a stream.
    fn head(&mut self, stream: &StreamName) -> Result<Version, Fault> {
        if let Some(version) = self.heads.get(stream) {
            return Ok(*version);
        }
        let version = self.view.version(stream, self.point.position)?;
        self.heads.put(stream.clone(), version);
        Ok(version)
    }

    /// Puts the events at the end of the log. `versions` are those of the written streams before.
    fn append(&mut self, append: ParsedAppend, versions: &[Version]) -> Appended {
        let recorded_at = self.point.recorded_at;
        let first_position = self.point.position.next();
        let mut window = self.shared.window.write().expect("nobody panics while holding the lock");
        let ParsedAppend { append, bodies, .. } = append;
        let mut stored = Vec::with_capacity(bodies.len());
        let mut bodies = bodies.into_iter();
        let mut lasts = Vec::with_capacity(append.writes.len());
        for (write, version) in append.writes.into_iter().zip(versions) {
            let mut version = *version;
            for (event, body) in write.events.into_iter().zip(bodies.by_ref()) {
                version = version.next();
                self.point.position = self.point.position.next();
                let id = event.id;
                window.push(id);
                let (position, stream) = (self.point.position, write.stream.clone());
                stored.push(StoredEvent { position, stream, version, recorded_at, id, body });
            }
            self.heads.put(write.stream, version);
            lasts.push(version);
        }
        drop(window);
        self.view.active.append(stored);
        let last_position = self.point.position;
        Appended { versions: lasts, first_position, last_position, recorded_at }
    }
}
