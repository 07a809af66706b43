//! Reading over chunks and tail at one consistent point, beside the writer.
//!
//! The room uses the view, the settings that hide events, and apply's judgement of appends; it changes nothing.

mod batch;
mod conditions;
mod found;
mod matching;
mod names;
mod past;
mod plan;
mod prejudge;
mod recent;
mod scan;
mod state;
#[cfg(test)]
mod tests;
mod walk;

use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::{
    Append, GroupName, GroupSummary, LogIndex, Parked, Position, Read, RecordedSnapshot, Scope,
    StreamName, Version,
};

pub use names::NamePage;
pub use prejudge::Prejudged;
pub use scan::Scan;
pub use state::{Settings, StreamState};

use crate::fault::Fault;
use crate::group::GroupState;
use crate::point::Point;
use crate::verdict::Verdict;
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

    /// Judges an append before it is proposed, by memory alone. Returns none if that does not suffice: then
    /// [`Reader::prejudge`] judges it.
    pub fn prejudge_in_memory(&self, append: &Append) -> Option<Prejudged> {
        prejudge::prejudge_in_memory(&self.shared, append)
    }

    /// Does the same for the append in an encoded request.
    pub fn prejudge_request_in_memory(&self, request: &Bytes) -> Option<Prejudged> {
        prejudge::prejudge_request_in_memory(&self.shared, request)
    }

    /// Judges an append before it is proposed, without holding up the writer, by all rules in their order: a
    /// repetition gets its first answer; then the conditions are checked, and refusals come last.
    ///
    /// Reads from disk if need be: for a condition backwards from the newest event to the condition's `after`, and
    /// from disk only the part before the tail. The append should have passed [`Append::check`].
    pub fn prejudge(&self, append: &Append) -> Result<Prejudged, Fault> {
        prejudge::prejudge(&self.shared, append)
    }

    /// Returns the answer to an append by the verdict of apply, which leaves two open. An append repeated by its ids
    /// ([`Verdict::Repeated`]) gets its first answer, or that an id is reused if type, data or metadata differ from
    /// the stored ones; removed events are not compared. One that may be older than the retry window
    /// ([`Verdict::Unsettled`]) gets its first answer or the rejection.
    ///
    /// Reads from disk if need be; for a stream that is in many chunks, from a few of them.
    pub fn settle(&self, append: &Append, verdict: Verdict) -> Result<Verdict, Fault> {
        prejudge::settle(&self.shared, append, verdict)
    }
}
