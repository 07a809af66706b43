//! The progress of a manager in the log, written rarely, so that a restart need not begin at the beginning.

use quorate_client::{Event, Expect, RecordedEvent};
use serde::{Deserialize, Serialize};

use crate::process::error::ProcessError;
use crate::process::log::{Commit, Log, Newest, Refusal};
use crate::process::reaction::Write;

/// The type of bookmark events.
const BOOKMARKED: &str = "ProcessBookmarked";
/// The end of the names of all streams of bookmarks.
const SUFFIX: &str = "$bookmark";
/// The number of positions without anything of interest after which a bookmark is written.
const POSITIONS_MAX: u64 = 100_000;

/// The place in the log where a restart resumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Bookmark {
    /// Everything up to here is handled.
    pub(crate) handled: u64,
    /// The records after this position contain all due times that were outstanding at that moment.
    pub(crate) due_after: u64,
}

/// Returns the name of the stream of a manager's bookmarks.
pub(crate) fn stream_of(manager: &str) -> String {
    format!("{manager}{SUFFIX}")
}

/// Returns true for the bookmark of any manager. A bookmark is nothing that happened: if it were handled like an
/// event, two managers of all events would write a bookmark for each other's bookmarks for ever.
pub(crate) fn is_one(event: &RecordedEvent) -> bool {
    event.kind.as_str() == BOOKMARKED && event.stream.as_str().ends_with(SUFFIX)
}

/// A manager's bookmarks.
///
/// Invariant: a bookmark is written only if something was handled since the last one, or the log has grown much:
/// so a manager that has nothing to do writes nothing, bookmarks included.
#[derive(Debug)]
pub(crate) struct Bookmarks {
    manager: String,
    every: u64,
    written: u64,
    is_limited: bool,
    since: u64,
}

impl Bookmarks {
    /// Reads the newest bookmark, if there is one; otherwise the manager begins after `first`.
    pub(crate) async fn open<L: Log>(
        log: &L,
        manager: &str,
        every: u64,
        first: u64,
    ) -> Result<(Bookmarks, Bookmark), ProcessError> {
        let stream = stream_of(manager);
        let Newest { version, event } = log.newest(&stream, &[BOOKMARKED], 0).await?;
        let bookmark = match event {
            None => Bookmark { handled: first, due_after: 0 },
            Some(event) => event.json()?,
        };
        let bookmarks = Bookmarks {
            manager: manager.to_owned(),
            every,
            written: bookmark.handled,
            is_limited: version > 0,
            since: 0,
        };
        Ok((bookmarks, bookmark))
    }

    /// Counts something of interest that was handled.
    pub(crate) fn count(&mut self) {
        self.since += 1;
    }

    /// Returns true if so much was handled that a bookmark should be written although there is more to do.
    pub(crate) fn is_due(&self) -> bool {
        self.since >= self.every
    }

    /// Returns true if a bookmark is worth writing now that there is nothing more to do.
    pub(crate) fn is_behind(&self, handled: u64) -> bool {
        self.since > 0 || handled.saturating_sub(self.written) >= POSITIONS_MAX
    }

    /// Writes the manager's progress.
    pub(crate) async fn write<L: Log>(
        &mut self,
        log: &L,
        bookmark: Bookmark,
    ) -> Result<(), ProcessError> {
        let stream = stream_of(&self.manager);
        if !self.is_limited {
            log.keep_newest(&stream).await?;
            self.is_limited = true;
        }
        let content = serde_json::to_vec(&bookmark).expect("two numbers can be written as JSON");
        let event = Event::new(BOOKMARKED, content).map_err(quorate_client::Problem::from)?;
        let write = Write { stream, expect: Expect::Any, events: vec![event] };
        let commit = Commit { writes: vec![write], ..Commit::default() };
        match log.commit(commit).await {
            Ok(_) | Err(Refusal::Forgotten) => {}
            Err(Refusal::Rejected(problem)) => return Err(problem.into()),
            Err(Refusal::Conflict(conflict)) => {
                tracing::warn!(manager = self.manager, %conflict, "a bookmark met a conflict");
            }
        }
        self.written = bookmark.handled;
        self.since = 0;
        Ok(())
    }
}
