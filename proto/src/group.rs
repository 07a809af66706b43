//! Consumer groups: what is shared by their consumers, how, and what is kept of its progress.

use std::fmt;

use crate::error::Invalid;
use crate::limits::{
    GROUP_ATTEMPTS_MAX, GROUP_CHANGE_POSITIONS_MAX, GROUP_TIMEOUT_MS_MAX, GROUP_TIMEOUT_MS_MIN,
    GROUP_WINDOW_MAX, IDENTIFIER_BYTES_MAX, REASON_BYTES_MAX,
};
use crate::name::check_bounded;
use crate::{GroupName, LogIndex, Position, Query, Timestamp};

/// How the events of a group are shared among its consumers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// Each event goes to the next consumer that has room for it; in no order that consumers could see.
    #[default]
    RoundRobin,
    /// The events of one stream go to one consumer at a time, in order, one after the other was settled: a
    /// lease. It can overlap where a consumer goes on after its message timeout, or after the leader changed.
    ByStream,
    /// One consumer gets everything in order; the others wait until it leaves. What failed holds up everything after
    /// it that was not handed out before, until it is settled or parked.
    Single,
}

impl Strategy {
    /// All strategies.
    pub const ALL: [Strategy; 3] = [Strategy::RoundRobin, Strategy::ByStream, Strategy::Single];

    /// The word for it on the wire, on the command line and in JSON; stable.
    pub fn as_str(self) -> &'static str {
        match self {
            Strategy::RoundRobin => "round-robin",
            Strategy::ByStream => "by-stream",
            Strategy::Single => "single",
        }
    }

    /// The strategy of that name.
    pub fn parse(name: &str) -> Option<Strategy> {
        Strategy::ALL.into_iter().find(|strategy| strategy.as_str() == name)
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a group treats its consumers and its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupSettings {
    /// Who gets what.
    pub strategy: Strategy,
    /// How long a consumer may take over an event before it is given to another, in milliseconds.
    pub timeout_ms: u64,
    /// How often an event is tried before it is parked; at least 1.
    pub attempts_max: u32,
    /// How long an event that failed waits before it is tried again, unless its consumer says otherwise, in
    /// milliseconds; doubled with every further attempt, up to a minute.
    pub retry_delay_ms: u64,
    /// Most events that are with all consumers of the group at once.
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

/// What a group is, as it was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDefinition {
    /// What its consumers share.
    pub query: Query,
    /// Where it begins: only what comes after this position.
    pub after: Position,
    /// How.
    pub settings: GroupSettings,
}

/// An event that failed and is to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The event.
    pub position: Position,
    /// How often it was tried.
    pub attempts: u32,
    /// Not before this, by the clock of the node that leads.
    pub due: Timestamp,
}

/// An event that is not tried any more until somebody says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// The event.
    pub position: Position,
    /// How often it was tried.
    pub attempts: u32,
    /// What the last consumer said, or what became of it; at most [`REASON_BYTES_MAX`] bytes.
    pub reason: String,
    /// When, by log time; given by the log, whatever a request says.
    pub parked_at: Timestamp,
}

/// What became of events since the last that was told, by the node that hands them out.
///
/// Everything that matches at or below `floor` is settled but for what is in `failed` or `parked`, here or told
/// before. A position is in at most one of the lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupProgress {
    /// Which life of the group it speaks of (see [`GroupRequest`]); of another it is refused.
    pub incarnation: LogIndex,
    /// Never goes down: a lower one than is known changes nothing.
    pub floor: Position,
    /// Settled for good: acknowledged or skipped. Takes a position out of what failed or is parked.
    pub settled: Vec<Position>,
    /// To be tried again.
    pub failed: Vec<Failed>,
    /// Not to be tried again.
    pub parked: Vec<Parked>,
}

/// Which of a group's parked events are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All.
    All,
    /// Those at these positions; what is not parked is passed over.
    Positions(Vec<Position>),
}

impl Selection {
    /// Those at these positions.
    pub fn positions(positions: impl IntoIterator<Item = u64>) -> Selection {
        Selection::Positions(positions.into_iter().map(Position).collect())
    }
}

/// The id of a request to a group: asked again under the same id, it is made once, and gets the first answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub [u8; 16]);

impl RequestId {
    /// The id in these bytes; none in no bytes.
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

/// What is asked of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRequest {
    /// Creates the group. One that is there already and the same stays as it is; one that differs is a conflict.
    /// A group's *incarnation* is the log index of the entry that created it or reset it last.
    Create(GroupDefinition),
    /// Changes how the group goes on.
    Configure(GroupSettings),
    /// Removes the group with all that is known of its progress, what is parked included.
    Delete,
    /// Begins again after this position: what was settled, failed or parked is forgotten.
    Reset(Position),
    /// Tries parked events again, from the first attempt on.
    Replay(Selection),
    /// Gives parked events up for good.
    Drop(Selection),
    /// What became of events; of the system only: consumers do not ask for this.
    Progress(GroupProgress),
}

impl GroupRequest {
    /// Checks everything that can be said without looking at the log.
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

/// What a consumer joins as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The group.
    pub group: GroupName,
    /// For people; need not be unique. Empty = it has no name.
    pub consumer: String,
    /// Most unsettled events that it holds at once, from 1 to [`GROUP_WINDOW_MAX`].
    pub window: u32,
    /// Whether it tells when the work on an event begins; else that is when the event is handed out.
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

/// What a consumer made of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is handled.
    Acknowledged,
    /// It is to be tried again, or parked after the last attempt.
    Failed {
        /// Why.
        reason: String,
        /// After how many milliseconds; as the group's settings say if not told.
        delay_ms: Option<u64>,
    },
    /// It is not to be tried again until somebody replays it; why.
    Parked(String),
    /// It is given up for good.
    Skipped,
}

/// What a consumer made of one of its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The number of the delivery.
    pub number: u64,
    /// What became of the event.
    pub fate: Fate,
}

/// A reason within its limit: what is beyond [`REASON_BYTES_MAX`] is cut off, at a character's end.
pub fn bounded_reason(mut reason: String) -> String {
    if reason.len() > REASON_BYTES_MAX {
        let end = (0..=REASON_BYTES_MAX).rev().find(|at| reason.is_char_boundary(*at));
        reason.truncate(end.unwrap_or_default());
        reason.shrink_to_fit();
    }
    reason
}

/// What a request to a group came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupOutcome {
    /// It is done; how many events it changed, where it speaks of events. Else 1, or 0 if the group was as it
    /// was asked for already.
    Done(u64),
    /// There is no such group (any more, or in that life of it).
    NotFound,
    /// A group of that name is there, and not as it was asked for.
    Differs,
    /// A limit does not allow it: of groups, or of what is kept of one. Nothing was changed.
    Full,
    /// Progress that counts for nothing: told by a node that led in another term than that of its entry, or of
    /// positions that no event has.
    Stale,
}

/// How far a group is, as the log knows it. What consumers hold at the moment is known to the leader alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSummary {
    /// Its name.
    pub name: GroupName,
    /// What it is.
    pub definition: GroupDefinition,
    /// The log index of the entry that created it or reset it last.
    pub incarnation: LogIndex,
    /// Everything up to here is settled, but for what failed or is parked.
    pub floor: Position,
    /// How many events above the floor are settled.
    pub settled: u64,
    /// How many failed and wait to be tried again.
    pub failed: u64,
    /// How many are parked.
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
