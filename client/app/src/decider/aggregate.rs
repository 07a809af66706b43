//! The state of one aggregate as far as its stream was seen.

use std::sync::Arc;

use quorate_client::{DecodeError, Position, RecordedEvent, Version};

use super::commands::{Answer, CommandId, RecentCommands};
use super::decide::Decider;
use crate::evolution::{OnUnknown, decode_known};

/// The state of one aggregate as far as its stream was seen.
///
/// Invariants:
/// - `state` is made of exactly the events of the stream up to `version`, and there were no others in it at `as_of`.
/// - Every change of the stream itself, a deletion for example, up to the version `control` of its control stream is in
///   `state`. So a decision is appended only where both streams are at exactly these versions.
#[derive(Clone, Debug)]
pub(crate) struct Aggregate<S> {
    pub(crate) state: Arc<S>,
    pub(crate) version: Version,
    pub(crate) as_of: Position,
    /// The version that the control stream has, as far as is known; the store finds out if it has another one.
    pub(crate) control: Version,
    pub(crate) recent: RecentCommands,
    /// The version of the newest snapshot that was read or begun to write; 0 = none.
    pub(crate) snapshot_at: Version,
}

impl<S: Clone + Default> Aggregate<S> {
    /// Returns the state of a stream in which nothing has happened.
    pub(crate) fn new() -> Aggregate<S> {
        Aggregate {
            state: Arc::default(),
            version: Version::ZERO,
            as_of: Position::ZERO,
            control: Version::ZERO,
            recent: RecentCommands::default(),
            snapshot_at: Version::ZERO,
        }
    }

    /// Returns the state that a snapshot holds.
    pub(crate) fn of_snapshot(state: S, version: Version) -> Aggregate<S> {
        Aggregate {
            state: Arc::new(state),
            version,
            as_of: Position::ZERO,
            control: Version::ZERO,
            recent: RecentCommands::after(version),
            snapshot_at: version,
        }
    }

    /// Takes in the next event of the stream.
    pub(crate) fn take<D: Decider<State = S>>(
        &mut self,
        event: &RecordedEvent,
        on_unknown: OnUnknown,
    ) -> Result<(), DecodeError> {
        if let Some(decoded) = decode_known::<D::Event>(event, on_unknown)? {
            D::evolve(Arc::make_mut(&mut self.state), decoded);
        }
        self.version = event.version;
        self.recent.note(event);
        Ok(())
    }

    /// Takes in a decision that was appended.
    pub(crate) fn take_decided<D: Decider<State = S>>(
        &mut self,
        events: Vec<D::Event>,
        answer: Answer,
        command: Option<&CommandId>,
    ) {
        let state = Arc::make_mut(&mut self.state);
        events.into_iter().for_each(|event| D::evolve(state, event));
        (self.version, self.as_of) = (answer.version, answer.position);
        if let Some(command) = command {
            self.recent.remember(command.as_str().to_owned(), answer);
        }
    }
}
