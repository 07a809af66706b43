//! How far a manager is in the log: kept rarely, so that a restart need not begin at the beginning.

use quorate_client::{Event, Expect, RecordedEvent};
use serde::{Deserialize, Serialize};

use crate::process::error::ProcessError;
use crate::process::log::{Commit, Log, Newest, Refusal};
use crate::process::reaction::Write;

/// The type of the events that are bookmarks.
const BOOKMARKED: &str = "ProcessBookmarked";
/// The end of the name of every stream of bookmarks.
const SUFFIX: &str = "$bookmark";
/// How far the log may run on without anything of interest before that is noted, in positions.
const POSITIONS_MAX: u64 = 100_000;

/// Where to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Bookmark {
    /// Everything up to here is handled.
    pub(crate) handled: u64,
    /// The records after this position tell of all due times that were outstanding then.
    pub(crate) due_after: u64,
}

/// The stream that a manager's bookmarks are in.
pub(crate) fn stream_of(manager: &str) -> String {
    format!("{manager}{SUFFIX}")
}

/// Returns true for the bookmark of any manager. A bookmark is nothing that happened: were it handled like an
/// event, two managers that look at everything would each note the other's bookmark with one of their own, for ever.
pub(crate) fn is_one(event: &RecordedEvent) -> bool {
    event.kind.as_str() == BOOKMARKED && event.stream.as_str().ends_with(SUFFIX)
}

/// A manager's bookmarks.
///
/// Invariant: one is written only if there was something to handle since the last, or the log has run on far:
/// so a manager that has nothing to do writes nothing, its own bookmarks included.
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

    /// Something of interest was handled.
    pub(crate) fn count(&mut self) {
        self.since += 1;
    }

    /// Whether so much was handled that it should be noted even while there is more to do.
    pub(crate) fn is_due(&self) -> bool {
        self.since >= self.every
    }

    /// Whether there is anything to note once there is nothing to do.
    pub(crate) fn is_behind(&self, handled: u64) -> bool {
        self.since > 0 || handled.saturating_sub(self.written) >= POSITIONS_MAX
    }

    /// Notes how far the manager is.
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
        let commit = Commit { writes: vec![write], requirements: Vec::new() };
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
