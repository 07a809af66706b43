//! Defects that the simulation puts back on purpose, to see that it finds them.
//!
//! They belong to a thread, are absent unless a test of that thread asks for one, and a build without debug
//! assertions cannot have them. No setting reaches them.

use std::cell::Cell;

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// A repeated append is not recognized.
    NoRetryCheck,
    /// The ids of an append with `exactly N` are not looked up, so that one which is there already is written again.
    RetryByVersion,
    /// A vote is reported as durable and never written to the Raft log.
    LostVote,
    /// One append that should be in the log is rejected instead: by one replica, the next to apply one.
    FlippedOutcome,
    /// Apply takes the leader's word for it that no condition is violated, whatever came since.
    NoConditionCheck,
    /// Who follows does not look at what was applied while it went from the store to what is live.
    NoSecondLook,
    /// The floor of a consumer group passes events that consumers still hold.
    FloorAhead,
    /// A consumer that asks for more time for an event does not get it.
    IgnoredExtension,
    /// A follower's answer to one request passes for its answer to later ones without entries.
    OneAnswerForAll,
    /// A leader stamps with its own clock, whatever the others show.
    RawClock,
    /// A start does not compare how far the log reaches with what `boot` says of it.
    NoReach,
    /// The keys of events count nothing towards the end of a chunk.
    FreeKeys,
}

thread_local! {
    static PRESENT: Cell<Option<Defect>> = const { Cell::new(None) };
}

/// From now on this thread has this defect and no other.
pub fn put_back(defect: Option<Defect>) {
    PRESENT.set(defect);
}

/// Whether this thread has it.
pub fn is_present(defect: Defect) -> bool {
    cfg!(debug_assertions) && PRESENT.get() == Some(defect)
}

/// Whether this thread has it, for the last time.
pub(crate) fn take(defect: Defect) -> bool {
    let is_present = is_present(defect);
    if is_present {
        PRESENT.set(None);
    }
    is_present
}
