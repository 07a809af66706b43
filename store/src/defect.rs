//! Defects that the simulation puts back on purpose, to see that it finds them.
//!
//! They belong to a thread, are absent unless a test of that thread asks for one, and a build without debug
//! assertions cannot have them. No setting reaches them.

use std::cell::Cell;

/// A defect that can be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// A repeated append is not recognized.
    NoRetryCheck,
    /// The ids of an append with `exactly N` are not looked up, so that an append already there is written again.
    RetryByVersion,
    /// A vote is reported as durable and never written to the Raft log.
    LostVote,
    /// One append that should be in the log is rejected instead, by the next replica that applies an append.
    FlippedOutcome,
    /// Apply trusts the leader's check that no condition is violated, whatever was appended since.
    NoConditionCheck,
    /// A subscription does not look at what was applied while it went from the store to the live events.
    NoSecondLook,
    /// The floor of a consumer group passes events that consumers still hold.
    FloorAhead,
    /// A consumer that asks for more time for an event does not get it.
    IgnoredExtension,
    /// A follower's answer to one request passes for its answer to later ones without entries.
    OneAnswerForAll,
    /// A leader stamps with its own clock, whatever the clocks of the others show.
    RawClock,
    /// A start does not compare how far the log reaches with what `boot` records.
    NoReach,
    /// The keys of events count nothing towards the end of a chunk.
    FreeKeys,
}

thread_local! {
    static PRESENT: Cell<Option<Defect>> = const { Cell::new(None) };
}

/// Gives this thread this defect and no other.
pub fn put_back(defect: Option<Defect>) {
    PRESENT.set(defect);
}

/// Returns true if this thread has the defect.
pub fn is_present(defect: Defect) -> bool {
    cfg!(debug_assertions) && PRESENT.get() == Some(defect)
}

/// Returns true if this thread has the defect, and removes it.
pub(crate) fn take(defect: Defect) -> bool {
    let is_present = is_present(defect);
    if is_present {
        PRESENT.set(None);
    }
    is_present
}
