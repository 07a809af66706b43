//! The effect of a change of settings or of a stream's life, beside the event that records it.

use quorate_proto::{Change, ChangeKind, LogIndex, Scope, StreamName};

use super::Store;
use crate::fault::Fault;
use crate::format::retention::Record;
use crate::retention::Moment;
use crate::verdict::Rejection;
use crate::view::StreamHead;

impl Store {
    /// Puts the record that the change leaves behind; the event of the change stands at the end of the log.
    pub(super) fn change(&mut self, change: Change) -> Result<(), Fault> {
        let Change { scope, kind, .. } = change;
        let position = self.point.position;
        let record = self.view.record(&scope, position)?;
        let mut record = record.map_or_else(Record::default, |record| Record::clone(&record));
        let mut at = Moment { position, time: self.point.recorded_at, ..Moment::default() };
        if let Scope::Stream(stream) = &scope {
            let (_, head) = self.head(stream.as_str())?;
            at.version = head.version;
            record.change_stream(&kind, at);
            let (deleted, closed) = (record.deleted, record.closed);
            self.put_head(stream.clone(), StreamHead { deleted, closed, ..head });
            if !matches!(kind, ChangeKind::Settings(_)) {
                self.drop_snapshot(stream.clone());
            }
        } else if let ChangeKind::Settings(settings) = &kind {
            record.change_scope(settings, at);
        }
        self.view.active.change(|changes| changes.put_record(scope, position, record));
        Ok(())
    }

    /// Returns the reason to reject a change although all its expectations are met, if there is one.
    pub(super) fn refuse_change(&self, change: &Change) -> Result<Option<Rejection>, Fault> {
        let ChangeKind::Settings(settings) = &change.kind else { return Ok(None) };
        let record = self.view.record(&change.scope, self.point.position)?;
        let is_full = record.is_some_and(|record| record.is_full_for(settings));
        Ok(is_full.then(|| Rejection::LimitsFull(change.scope.clone())))
    }

    fn drop_snapshot(&mut self, stream: StreamName) {
        let index = self.index();
        self.view.active.change(|changes| changes.put_snapshot(stream, index, None));
    }

    /// Returns the log index of the entry that is being applied.
    pub(super) fn index(&self) -> LogIndex {
        self.point.log_id.map(|id| id.index).unwrap_or_default()
    }
}
