//! The state of groups as it is shown.

use std::time::Duration;

use quorate_proto::wire::v1;
use quorate_proto::{self as proto, GroupSettings, Position, Problem, RecordedEvent, Timestamp};
use serde::Serialize;

use crate::trouble::not_understood;

pub(super) fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A group and its progress.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
/// let mails = client.group("mails").show().await?;
/// println!("{}: at most {} to do, {} parked", mails.name, mails.lag, mails.parked);
/// for consumer in mails.consumers {
///     println!("  {} holds {} of {}", consumer.name, consumer.in_flight, consumer.window);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The group's name.
    pub name: String,
    /// The query whose events the group's consumers share.
    pub query: proto::Query,
    /// The position after which the group begins.
    pub after: Position,
    /// The group's settings.
    pub settings: GroupSettings,
    /// The position up to which all matching events are settled, except those that failed or are parked.
    pub floor: Position,
    /// The positions of the log after the floor, less the events settled there: at least the events still to do.
    pub lag: u64,
    /// The number of events that are settled above the floor.
    pub settled: u64,
    /// The number of events that failed, and are to be tried again.
    pub failed: u64,
    /// The number of parked events.
    pub parked: u64,
    /// The number of events with consumers; known to the leader, and 0 where it could not be asked, and in lists.
    pub in_flight: u64,
    /// The group's consumers; known to the leader, and empty where it could not be asked, and in lists.
    pub consumers: Vec<GroupConsumer>,
}

/// A consumer of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupConsumer {
    /// The consumer's own name; `consumer-` and a number if it has none.
    pub name: String,
    /// The number of unsettled events that the consumer holds.
    pub in_flight: u32,
    /// The number of events that the consumer may hold.
    pub window: u32,
    /// The number of events that the consumer settled since it joined.
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
        let settings = GroupSettings::try_from(group.settings).map_err(wrong)?;
        Ok(Group {
            name: group.name,
            query,
            after: Position(group.after),
            settings,
            floor: Position(group.floor),
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
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
/// use quorate_client::Selection;
/// let mails = client.group("mails");
/// for parked in mails.parked().await? {
///     println!("{} after {} attempts: {}", parked.position, parked.attempts, parked.reason);
/// }
/// mails.replay(Selection::All).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedEvent {
    /// The event's place in the log.
    pub position: Position,
    /// The number of times that the event was tried.
    pub attempts: u32,
    /// The reason that its last consumer gave, or the way in which its last attempt ended.
    pub reason: String,
    /// The time at which the event was parked, by log time.
    pub parked_at: Timestamp,
    /// The event; none if it was removed since.
    pub event: Option<RecordedEvent>,
}

impl TryFrom<v1::ParkedEvent> for ParkedEvent {
    type Error = Problem;

    fn try_from(parked: v1::ParkedEvent) -> Result<ParkedEvent, Problem> {
        let v1::ParkedEvent { position, attempts, reason, parked_at, event } = parked;
        let event = event.map(event_of).transpose()?;
        let (position, parked_at) = (Position(position), Timestamp(parked_at));
        Ok(ParkedEvent { position, attempts, reason, parked_at, event })
    }
}

/// Converts an event from its message.
pub(super) fn event_of(event: v1::RecordedEvent) -> Result<RecordedEvent, Problem> {
    RecordedEvent::try_from(event).map_err(|invalid| not_understood(&invalid.to_string()))
}
