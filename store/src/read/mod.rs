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
    Append, Appended, GroupName, GroupSummary, LogId, LogIndex, Parked, Position, Read,
    RecordedSnapshot, Scope, StreamName, Timestamp, Version, Violation,
};

pub use conditions::Checked;
pub use names::NamePage;
pub use scan::Scan;
pub use state::{Settings, StreamState};

use crate::apply::{self, Early};
use crate::fault::Fault;
use crate::group::GroupState;
use crate::verdict::{Unsettled, Verdict};
use crate::view::{Published, Shared};

/// How far the store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// The last entry applied.
    pub log_id: Option<LogId>,
    /// The position of the last event.
    pub position: Position,
    /// The newest stamp of a command: log time.
    pub recorded_at: Timestamp,
    /// The chained digest of the outcomes of all entries up to that one: alike on every replica that is there.
    pub digest: u128,
}

/// A handle for reading, cheap to clone, for any thread. Never holds up the writer for longer than a page
/// of the tail takes to copy.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Reader {
        Reader { shared }
    }

    /// How far the store is now.
    pub fn point(&self) -> Point {
        self.shared.point()
    }

    /// Begins a read of what is there now; `consistency` is the caller's affair. The read should have
    /// passed [`Read::check`]. Of a stream, this may read a block of the catalog.
    pub fn scan(&self, read: &Read) -> Result<Scan, Fault> {
        Scan::begin(&self.shared, &self.shared.get(), read)
    }

    /// The version a stream is at; 0 if it is not there.
    pub fn version(&self, stream: &StreamName) -> Result<Version, Fault> {
        let Published { view, point } = self.shared.get();
        view.version(stream, point.position)
    }

    /// What there is to say of a stream now; one that is not there is at version 0.
    pub fn stream(&self, stream: &StreamName) -> Result<StreamState, Fault> {
        state::of(&self.shared.get(), stream)
    }

    /// What was set for a stream, a category or a path itself.
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

    /// How far all consumer groups are, by name.
    pub fn groups(&self) -> Vec<GroupSummary> {
        self.groups_after(None, usize::MAX)
    }

    /// How far the first `limit` of the consumer groups after a name are, or of all.
    pub fn groups_after(&self, name: Option<&GroupName>, limit: usize) -> Vec<GroupSummary> {
        let summaries: Vec<_> = self.shared.groups().summaries_after(name).take(limit).collect();
        summaries.into_iter().map(GroupSummary::from).collect()
    }

    /// How far a consumer group is; `None` if there is none of that name.
    pub fn group_summary(&self, name: &GroupName) -> Option<GroupSummary> {
        self.shared.groups().summary(name).map(GroupSummary::from)
    }

    /// The log index of the last entry that changed any group otherwise than by progress, be it that it
    /// deleted it; or that of the checkpoint that this store began with. As long as it stays the same, no group
    /// came, went, was reset, replayed or set otherwise.
    pub fn groups_revision(&self) -> LogIndex {
        self.shared.groups().revision()
    }

    /// What is known of a consumer group; `None` if there is none of that name. It copies all positions that
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

    /// Judges the conditions of an append by what is applied here, without holding up the writer. It reads
    /// backwards from the newest event to where the writer's knowledge ends, and from disk only what lies
    /// there before the tail.
    ///
    /// A retry comes first: ask [`Reader::judge_violated`] before refusing what this finds violated.
    pub fn check_conditions(&self, append: &Append) -> Result<Checked, Fault> {
        conditions::check(&self.shared, append)
    }

    /// What can be said of an append by what is in memory, before it is proposed. It never reads from disk.
    pub fn judge_in_memory(&self, append: &Append) -> Early {
        apply::judge_in_memory(&self.shared, append)
    }

    /// What a leader may answer to an append without proposing it, by what is applied here: a conflict with
    /// an `exactly N` whose stream has passed N, which can never become true again; or, as that comes first,
    /// the first answer to a repetition. `None`: propose it, apply will tell.
    ///
    /// Looks at streams with events in memory only; where one of them makes the append fail, it may have to read
    /// from disk. The append should have passed [`Append::check`].
    pub fn judge_early(&self, append: &Append) -> Result<Option<Verdict>, Fault> {
        apply::judge_early(&self.shared, append)
    }

    /// What to answer to an append that apply found to be a repetition by its ids, [`Verdict::Repeated`]: that, or
    /// that an id is reused where type, data or metadata differ from what is stored. What was removed is not
    /// compared.
    ///
    /// Reads from disk if need be.
    pub fn judge_repeated(&self, append: &Append, first: Appended) -> Result<Verdict, Fault> {
        apply::judge_repeated(&self.shared, append, first)
    }

    /// What to answer to an append that apply left open, [`Verdict::Unsettled`]: its first answer, or the rejection.
    ///
    /// Reads from disk if need be, of a stream in many chunks from a few of them.
    pub fn judge_unsettled(&self, append: &Append, unsettled: Unsettled) -> Result<Verdict, Fault> {
        apply::judge_unsettled(&self.shared, append, unsettled)
    }

    /// What to answer to an append whose conditions [`Reader::check_conditions`] found violated: its first
    /// answer if it is a repetition, which is true for good; else what it is refused for, all that failed
    /// included. The refusal counts only where all that was committed when the append came is applied here.
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
