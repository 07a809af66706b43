//! Groups as they are set and shown.

use std::time::Duration;

use quorate_proto::wire::v1;
use quorate_proto::{self as proto, Problem, Strategy, Timestamp};

use crate::event::RecordedEvent;
use crate::read::not_understood;

/// How a group treats its consumers and its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// Who gets what; round robin unless told.
    pub strategy: Strategy,
    /// How long a consumer may take over an event before it is given to another; 30 s unless told, from 10 ms to a
    /// week.
    pub timeout: Duration,
    /// How often an event is tried before it is parked; 10 times unless told.
    pub attempts: u32,
    /// How long an event that failed waits before it is tried again; 1 s unless told. Doubled with every further
    /// attempt, up to a minute.
    pub retry_delay: Duration,
    /// Most events that are with all consumers of the group at once; 4,096 unless told, at most 65,536.
    pub window: u32,
}

impl Default for GroupSettings {
    fn default() -> GroupSettings {
        proto::GroupSettings::default().into()
    }
}

impl From<proto::GroupSettings> for GroupSettings {
    fn from(settings: proto::GroupSettings) -> GroupSettings {
        let proto::GroupSettings { strategy, timeout_ms, attempts_max, retry_delay_ms, window } =
            settings;
        GroupSettings {
            strategy,
            timeout: Duration::from_millis(timeout_ms),
            attempts: attempts_max,
            retry_delay: Duration::from_millis(retry_delay_ms),
            window,
        }
    }
}

impl From<GroupSettings> for proto::GroupSettings {
    fn from(settings: GroupSettings) -> proto::GroupSettings {
        proto::GroupSettings {
            strategy: settings.strategy,
            timeout_ms: milliseconds(settings.timeout),
            attempts_max: settings.attempts,
            retry_delay_ms: milliseconds(settings.retry_delay),
            window: settings.window,
        }
    }
}

pub(super) fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A group and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// What its consumers share.
    pub query: proto::Query,
    /// Where it began: only what comes after this position.
    pub after: u64,
    /// How.
    pub settings: GroupSettings,
    /// Everything that matches up to here is settled, but for what failed or is parked.
    pub floor: u64,
    /// Positions of the log behind the floor, less what is settled above it: no fewer than what is still to be done.
    pub lag: u64,
    /// How many events are settled above the floor.
    pub settled: u64,
    /// How many failed, and are to be tried again.
    pub failed: u64,
    /// How many are parked.
    pub parked: u64,
    /// How many are with consumers; known to the leader, and 0 where it could not be asked, and in lists.
    pub in_flight: u64,
    /// Its consumers, likewise.
    pub consumers: Vec<GroupConsumer>,
}

/// A consumer of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConsumer {
    /// As it calls itself; `consumer-` and a number if it does not.
    pub name: String,
    /// Unsettled events that it holds.
    pub in_flight: u32,
    /// How many it may hold.
    pub window: u32,
    /// Events that it settled since it joined.
    pub settled: u64,
}

impl From<v1::GroupConsumer> for GroupConsumer {
    fn from(consumer: v1::GroupConsumer) -> GroupConsumer {
        let v1::GroupConsumer { name, in_flight, window, settled } = consumer;
        GroupConsumer { name, in_flight, window, settled }
    }
}

impl TryFrom<v1::Group> for Group {
    type Error = Problem;

    fn try_from(group: v1::Group) -> Result<Group, Problem> {
        let wrong = |invalid: proto::Invalid| not_understood(&invalid.to_string());
        let query = proto::Query::try_from(group.query.unwrap_or_default()).map_err(wrong)?;
        let settings = proto::GroupSettings::try_from(group.settings).map_err(wrong)?;
        Ok(Group {
            name: group.name,
            query,
            after: group.after,
            settings: settings.into(),
            floor: group.floor,
            lag: group.lag,
            settled: group.settled,
            failed: group.failed,
            parked: group.parked,
            in_flight: group.in_flight,
            consumers: group.consumers.into_iter().map(GroupConsumer::from).collect(),
        })
    }
}

/// An event that is not tried any more until somebody replays it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedEvent {
    /// Its place in the log.
    pub position: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// What its last consumer said, or what became of it.
    pub reason: String,
    /// When it was parked, by log time.
    pub parked_at: Timestamp,
    /// The event; none if it was removed since.
    pub event: Option<RecordedEvent>,
}

impl TryFrom<v1::ParkedEvent> for ParkedEvent {
    type Error = Problem;

    fn try_from(parked: v1::ParkedEvent) -> Result<ParkedEvent, Problem> {
        let v1::ParkedEvent { position, attempts, reason, parked_at, event } = parked;
        let event = event.map(event_of).transpose()?;
        let parked_at = Timestamp(parked_at);
        Ok(ParkedEvent { position, attempts, reason, parked_at, event })
    }
}

/// An event as it came over the wire.
pub(super) fn event_of(event: v1::RecordedEvent) -> Result<RecordedEvent, Problem> {
    let event = proto::RecordedEvent::try_from(event);
    let event = event.map_err(|invalid| not_understood(&invalid.to_string()))?;
    Ok(RecordedEvent::from(event))
}
