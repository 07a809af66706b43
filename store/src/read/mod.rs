//! Reading over chunks and tail at one consistent point, beside the writer.

mod batch;
mod conditions;
mod found;
mod matching;
mod names;
mod plan;
mod recent;
mod scan;
mod state;
#[cfg(test)]
mod tests;
mod walk;

use std::sync::Arc;

use quorate_proto::{
    Append, Appended, GroupName, GroupSummary, LogIndex, Parked, Position, Read, RecordedSnapshot,
    Scope, StreamName, Version, Violation,
};

pub use conditions::Checked;
pub use names::NamePage;
pub use scan::Scan;
pub use state::{Settings, StreamState};

use crate::apply::{self, Early};
use crate::fault::Fault;
use crate::group::GroupState;
use crate::point::Point;
use crate::verdict::{Unsettled, Verdict};
use crate::view::{Published, Shared};

/// A handle for reading, cheap to clone, for any thread. It holds up the writer for no longer than copying a
/// page of the tail takes.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Reader {
        Reader { shared }
    }

    /// The point that the store has reached now.
    pub fn point(&self) -> Point {
        self.shared.point()
    }

    /// Begins a read as of now; the caller sees to `consistency`. The read should have passed
    /// [`Read::check`]. If the source is a stream, this may read a block of the catalog.
    pub fn scan(&self, read: &Read) -> Result<Scan, Fault> {
        Scan::begin(&self.shared, &self.shared.get(), read)
    }

    /// Returns the version of a stream; 0 if it does not exist.
    pub fn version(&self, stream: &StreamName) -> Result<Version, Fault> {
        let Published { view, point } = self.shared.get();
        view.version(stream, point.position)
    }

    /// Returns the state of a stream now; one that does not exist is at version 0.
    pub fn stream(&self, stream: &StreamName) -> Result<StreamState, Fault> {
        state::of(&self.shared.get(), stream)
    }

    /// Returns the settings of a stream, a category or a path itself, without those that it is under.
    pub fn settings(&self, scope: &Scope) -> Result<Settings, Fault> {
        let Published { view, point } = self.shared.get();
        let record = view.record(scope, point.position)?;
        Ok(record.map(|record| record.settings()).unwrap_or_default())
    }

    /// The newest aggregate snapshot of a stream.
    pub fn snapshot(&self, stream: &StreamName) -> Result<Option<RecordedSnapshot>, Fault> {
        let Published { view, point } = self.shared.get();
        let snapshot = view.snapshot(stream, point)?;
        Ok(snapshot.map(|snapshot| RecordedSnapshot::clone(&snapshot)))
    }

    /// Returns a summary of each consumer group, in the order of their names.
    pub fn groups(&self) -> Vec<GroupSummary> {
        self.groups_after(None, usize::MAX)
    }

    /// Returns summaries of the first `limit` consumer groups after a name, or of the first of all.
    pub fn groups_after(&self, name: Option<&GroupName>, limit: usize) -> Vec<GroupSummary> {
        let summaries: Vec<_> = self.shared.groups().summaries_after(name).take(limit).collect();
        summaries.into_iter().map(GroupSummary::from).collect()
    }

    /// Returns the summary of a consumer group; `None` if there is none of that name.
    pub fn group_summary(&self, name: &GroupName) -> Option<GroupSummary> {
        self.shared.groups().summary(name).map(GroupSummary::from)
    }

    /// The log index of the last entry that changed any group otherwise than by progress, a deletion
    /// included; or, if there is none, that of the checkpoint that this store began with. While it stays the
    /// same, no group was created, deleted, reset, replayed or configured.
    pub fn groups_revision(&self) -> LogIndex {
        self.shared.groups().revision()
    }

    /// Returns the state of a consumer group; `None` if there is none of that name. Copies all positions that
    /// are settled, failed or parked: at most some 230,000.
    pub fn group(&self, name: &GroupName) -> Option<GroupState> {
        self.shared.groups().state(name)
    }

    /// [`GroupState::revision`] alone.
    pub fn group_revision(&self, name: &GroupName) -> Option<LogIndex> {
        self.shared.groups().revision_of(name)
    }

    /// At most `limit` parked events of a group after a position, ascending; `None` if there is no such group.
    /// Each takes up to 600 bytes.
    pub fn parked(&self, name: &GroupName, after: Position, limit: usize) -> Option<Vec<Parked>> {
        self.shared.groups().parked(name, after, limit)
    }

    /// Judges the conditions of an append by the events applied here, without holding up the writer. It reads
    /// backwards from the newest event to each condition's `after`; from disk only the part before the tail.
    ///
    /// A retry comes first: call [`Reader::judge_violated`] before refusing an append for a violation found
    /// here.
    pub fn check_conditions(&self, append: &Append) -> Result<Checked, Fault> {
        conditions::check(&self.shared, append)
    }

    /// Judges an append before it is proposed, by the state in memory alone. It never reads from disk.
    pub fn judge_in_memory(&self, append: &Append) -> Early {
        apply::judge_in_memory(&self.shared, append)
    }

    /// Returns the answer that a leader may give to an append without proposing it, by the entries applied
    /// here: a conflict with an `exactly N` whose stream has passed N, which is final; or, as a repetition
    /// comes first, its first answer. `None`: the append must be proposed, and apply decides.
    ///
    /// Looks at streams with events in memory only; where one of them makes the append fail, it may have to
    /// read from disk. The append should have passed [`Append::check`].
    pub fn judge_early(&self, append: &Append) -> Result<Option<Verdict>, Fault> {
        apply::judge_early(&self.shared, append)
    }

    /// Returns the answer to an append that apply found repeated by its ids ([`Verdict::Repeated`]): the
    /// first answer, or that an id is reused, if type, data or metadata differ from the stored ones. Removed
    /// events are not compared.
    ///
    /// Reads from disk if need be.
    pub fn judge_repeated(&self, append: &Append, first: Appended) -> Result<Verdict, Fault> {
        apply::judge_repeated(&self.shared, append, first)
    }

    /// Returns the answer to an append left open by [`Verdict::Unsettled`]: its first, or the rejection.
    ///
    /// Reads from disk if need be; for a stream that is in many chunks, from a few of them.
    pub fn judge_unsettled(&self, append: &Append, unsettled: Unsettled) -> Result<Verdict, Fault> {
        apply::judge_unsettled(&self.shared, append, unsettled)
    }

    /// Returns the answer to an append that [`Reader::check_conditions`] found to violate conditions: its
    /// first answer if it is a repetition, which is true for good; else the refusal with everything that
    /// failed. The refusal counts only if all entries committed when the append came are applied here.
    ///
    /// Reads from disk if need be. The append should have passed [`Append::check`].
    pub fn judge_violated(
        &self,
        append: &Append,
        violations: Vec<Violation>,
    ) -> Result<Verdict, Fault> {
        apply::judge_violated(&self.shared, append, violations)
    }
}
