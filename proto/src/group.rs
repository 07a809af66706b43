//! Consumer groups: the events that their consumers share, the rules of sharing, and the progress that is kept.

use std::fmt;

use crate::error::Invalid;
use crate::limits::{
    GROUP_ATTEMPTS_MAX, GROUP_CHANGE_POSITIONS_MAX, GROUP_TIMEOUT_MS_MAX, GROUP_TIMEOUT_MS_MIN,
    GROUP_WINDOW_MAX, IDENTIFIER_BYTES_MAX, REASON_BYTES_MAX,
};
use crate::name::check_bounded;
use crate::{GroupName, LogIndex, Position, Query, Timestamp};

/// The way in which the events of a group are shared among its consumers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// Each event goes to the next consumer that has room for it; consumers see no order.
    #[default]
    RoundRobin,
    /// The events of one stream go to one consumer at a time, in order, each after the one before was settled: a lease.
    /// Leases can overlap where a consumer goes on after its message timeout, or after the leader changed.
    ByStream,
    /// One consumer gets everything in order; the others wait until it leaves. A failed event holds up every
    /// event after it that was not handed out before, until it is settled or parked.
    Single,
}

impl Strategy {
    /// All strategies.
    pub const ALL: [Strategy; 3] = [Strategy::RoundRobin, Strategy::ByStream, Strategy::Single];

    /// Returns the strategy's name on the wire, on the command line and in JSON; stable.
    pub fn as_str(self) -> &'static str {
        match self {
            Strategy::RoundRobin => "round-robin",
            Strategy::ByStream => "by-stream",
            Strategy::Single => "single",
        }
    }

    /// Returns the strategy of that name.
    pub fn parse(name: &str) -> Option<Strategy> {
        Strategy::ALL.into_iter().find(|strategy| strategy.as_str() == name)
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The settings of a group: the rules for its consumers and its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupSettings {
    /// The way in which events are shared: round robin by default.
    pub strategy: Strategy,
    /// The time that a consumer may take over an event before another gets the event, in milliseconds: 30 s by
    /// default, from 10 ms to a week.
    pub timeout_ms: u64,
    /// The number of times that an event is tried before it is parked: 10 by default, at least 1.
    pub attempts_max: u32,
    /// The time that a failed event waits before it is tried again, unless its consumer sets another, in
    /// milliseconds: 1 s by default; doubled with every further attempt, up to a minute.
    pub retry_delay_ms: u64,
    /// The most events that all consumers of the group hold together at once: 4,096 by default, at most 65,536.
    pub window: u32,
}

impl Default for GroupSettings {
    fn default() -> GroupSettings {
        GroupSettings {
            strategy: Strategy::default(),
            timeout_ms: 30_000,
            attempts_max: 10,
            retry_delay_ms: 1_000,
            window: 4_096,
        }
    }
}

impl GroupSettings {
    /// Checks the limits.
    pub fn check(&self) -> Result<(), Invalid> {
        if !(GROUP_TIMEOUT_MS_MIN..=GROUP_TIMEOUT_MS_MAX).contains(&self.timeout_ms) {
            let why = format!(
                "is {} ms; it must be from {GROUP_TIMEOUT_MS_MIN} to {GROUP_TIMEOUT_MS_MAX}",
                self.timeout_ms
            );
            return Err(Invalid::limit("timeout", why, GROUP_TIMEOUT_MS_MAX));
        }
        if !(1..=GROUP_ATTEMPTS_MAX).contains(&self.attempts_max) {
            let why =
                format!("are {}; they must be from 1 to {GROUP_ATTEMPTS_MAX}", self.attempts_max);
            return Err(Invalid::limit("attempts", why, GROUP_ATTEMPTS_MAX.into()));
        }
        if self.retry_delay_ms > GROUP_TIMEOUT_MS_MAX {
            let why = format!(
                "is {} ms; at most {GROUP_TIMEOUT_MS_MAX} are allowed",
                self.retry_delay_ms
            );
            return Err(Invalid::limit("retry_delay", why, GROUP_TIMEOUT_MS_MAX));
        }
        check_window(self.window)
    }
}

fn check_window(window: u32) -> Result<(), Invalid> {
    if (1..=GROUP_WINDOW_MAX).contains(&window) {
        return Ok(());
    }
    let why = format!("is {window}; it must be from 1 to {GROUP_WINDOW_MAX}");
    Err(Invalid::limit("window", why, GROUP_WINDOW_MAX.into()))
}

/// The definition of a group, as it was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDefinition {
    /// The query of the events that the consumers share.
    pub query: Query,
    /// The position after which the group begins.
    pub after: Position,
    /// The settings of the group.
    pub settings: GroupSettings,
}

/// An event that failed and is to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The position of the event.
    pub position: Position,
    /// The number of times that the event was tried.
    pub attempts: u32,
    /// The time before which the event is not tried again, by the clock of the leader.
    pub due: Timestamp,
}

/// An event that is not tried again until somebody replays it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// The position of the event.
    pub position: Position,
    /// The number of times that the event was tried.
    pub attempts: u32,
    /// The reason that the last consumer gave, or its fate; at most [`REASON_BYTES_MAX`] bytes.
    pub reason: String,
    /// The log time of the parking; the log sets it, whatever a request contains.
    pub parked_at: Timestamp,
}

/// A report of the node that hands events out: the fates of events since its last report.
///
/// Every matching event at or below `floor` is settled, except those that this report or an earlier one puts
/// into `failed` or `parked`. A position is in at most one of the lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupProgress {
    /// The group's incarnation (see [`GroupRequest`]); a report about another incarnation is refused.
    pub incarnation: LogIndex,
    /// The floor, which never goes down: a lower one than the known one changes nothing.
    pub floor: Position,
    /// The events settled for good, acknowledged or skipped; they are then neither failed nor parked.
    pub settled: Vec<Position>,
    /// The events to be tried again.
    pub failed: Vec<Failed>,
    /// The events not to be tried again.
    pub parked: Vec<Parked>,
}

/// A selection of a group's parked events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All parked events.
    All,
    /// The parked events at these positions; other positions are passed over.
    Positions(Vec<Position>),
}

impl Selection {
    /// Selects the parked events at these positions.
    pub fn positions(positions: impl IntoIterator<Item = u64>) -> Selection {
        Selection::Positions(positions.into_iter().map(Position).collect())
    }
}

/// The id of a request to a group: sent again under the same id, it is made once, and gets the first answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub [u8; 16]);

impl RequestId {
    /// Returns the id in these bytes; `None` if there are no bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Option<RequestId>, Invalid> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let id = <[u8; 16]>::try_from(bytes).map(RequestId);
        id.map(Some).map_err(|_| {
            Invalid::new("request_id", format!("has {} bytes; it must have 16", bytes.len()))
        })
    }
}

/// A request to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRequest {
    /// Creates the group. An equal group that exists already stays as it is; one that differs is a conflict.
    /// A group's *incarnation* is the log index of the entry that created it or reset it last.
    Create(GroupDefinition),
    /// Changes the settings with which the group goes on.
    Configure(GroupSettings),
    /// Removes the group with all its progress, parked events included.
    Delete,
    /// Begins again after this position: settled, failed and parked events are forgotten.
    Reset(Position),
    /// Tries parked events again, from the first attempt on.
    Replay(Selection),
    /// Gives parked events up for good.
    Drop(Selection),
    /// Reports the fates of events; only the system sends this, not consumers.
    Progress(GroupProgress),
}

impl GroupRequest {
    /// Checks everything that can be checked without the log.
    pub fn check(&self) -> Result<(), Invalid> {
        match self {
            GroupRequest::Create(definition) => {
                definition.query.check()?;
                definition.settings.check()
            }
            GroupRequest::Configure(settings) => settings.check(),
            GroupRequest::Delete | GroupRequest::Reset(_) => Ok(()),
            GroupRequest::Replay(selection) | GroupRequest::Drop(selection) => match selection {
                Selection::All => Ok(()),
                Selection::Positions(positions) => check_count(positions.len()),
            },
            GroupRequest::Progress(progress) => {
                let GroupProgress { settled, failed, parked, .. } = progress;
                check_count(settled.len() + failed.len() + parked.len())?;
                match parked.iter().find(|parked| parked.reason.len() > REASON_BYTES_MAX) {
                    None => Ok(()),
                    Some(parked) => {
                        let length = parked.reason.len();
                        let why =
                            format!("has {length} bytes; at most {REASON_BYTES_MAX} are allowed");
                        Err(Invalid::limit("reason", why, REASON_BYTES_MAX as u64))
                    }
                }
            }
        }
    }
}

fn check_count(count: usize) -> Result<(), Invalid> {
    if count <= GROUP_CHANGE_POSITIONS_MAX {
        return Ok(());
    }
    let why = format!("are {count}; at most {GROUP_CHANGE_POSITIONS_MAX} are allowed");
    Err(Invalid::limit("positions", why, GROUP_CHANGE_POSITIONS_MAX as u64))
}

/// The data with which a consumer joins a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The group.
    pub group: GroupName,
    /// The consumer's name, for people; need not be unique. Empty = it has no name.
    pub consumer: String,
    /// The most unsettled events that the consumer holds at once, from 1 to [`GROUP_WINDOW_MAX`].
    pub window: u32,
    /// True if the consumer tells when it begins an event; else an event begins when it is handed out.
    pub tells_begun: bool,
}

impl Join {
    /// Checks the limits.
    pub fn check(&self) -> Result<(), Invalid> {
        if !self.consumer.is_empty() {
            check_bounded("consumer", &self.consumer, IDENTIFIER_BYTES_MAX)?;
        }
        check_window(self.window)
    }
}

/// The fate that a consumer gives an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The event is handled.
    Acknowledged,
    /// The event is to be tried again, or parked after the last attempt.
    Failed {
        /// The reason of the failure.
        reason: String,
        /// The milliseconds to wait before the next attempt; if not given, the group's settings decide.
        delay_ms: Option<u64>,
    },
    /// The event is not to be tried again until somebody replays it, for this reason.
    Parked(String),
    /// The event is given up for good.
    Skipped,
}

/// The fate of one of a consumer's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The number of the delivery.
    pub number: u64,
    /// The fate of the event.
    pub fate: Fate,
}

/// Returns a reason within its limit: it is cut off at the last character's end within [`REASON_BYTES_MAX`].
pub fn bounded_reason(mut reason: String) -> String {
    if reason.len() > REASON_BYTES_MAX {
        let end = (0..=REASON_BYTES_MAX).rev().find(|at| reason.is_char_boundary(*at));
        reason.truncate(end.unwrap_or_default());
        reason.shrink_to_fit();
    }
    reason
}

/// The outcome of a request to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupOutcome {
    /// The request is done. The number counts the events that it changed, if it is about events; else it is
    /// 1, or 0 if the group already was as requested.
    Done(u64),
    /// The group does not exist, or no longer in that incarnation.
    NotFound,
    /// A group of that name exists, and differs from the requested one.
    Differs,
    /// A limit on groups, or on the data of one group, does not allow the request. Nothing was changed.
    Full,
    /// Progress without effect: it came from a node that led in another term than that of its entry, or names
    /// positions that no event has.
    Stale,
}

/// The progress of a group according to the log. Only the leader knows what consumers hold at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSummary {
    /// The group's name.
    pub name: GroupName,
    /// The group's definition.
    pub definition: GroupDefinition,
    /// The log index of the entry that created the group or reset it last.
    pub incarnation: LogIndex,
    /// The position up to which every event is settled, except those that failed or are parked.
    pub floor: Position,
    /// The number of settled events above the floor.
    pub settled: u64,
    /// The number of failed events that wait to be tried again.
    pub failed: u64,
    /// The number of parked events.
    pub parked: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_off_at_the_end_of_a_character() {
        assert_eq!(bounded_reason("short".to_owned()), "short");
        let long = format!("x{}", "ä".repeat(REASON_BYTES_MAX));
        let cut = bounded_reason(long.clone());
        assert_eq!(cut.len(), REASON_BYTES_MAX - 1);
        assert!(long.starts_with(&cut));
    }

    #[test]
    fn a_consumer_needs_no_name_but_a_window() {
        let group = GroupName::new("billing").expect("a name");
        let join = |consumer: &str, window| Join {
            group: group.clone(),
            consumer: consumer.to_owned(),
            window,
            tells_begun: false,
        };
        assert_eq!(join("", 1).check(), Ok(()));
        for (wrong, field) in [
            (join("", 0), "window"),
            (join("", GROUP_WINDOW_MAX + 1), "window"),
            (join("a\nb", 1), "consumer"),
            (join(&"x".repeat(IDENTIFIER_BYTES_MAX + 1), 1), "consumer"),
        ] {
            assert_eq!(wrong.check().expect_err("wrong").field, field);
        }
    }
}
