//! The whole log: the events that the replicas show, and the removed ones as their appends were acknowledged.

use std::collections::{BTreeMap, HashSet};

use quorate_proto::{Append, EventId, Position, RecordedEvent, Timestamp, Version};

use super::Anomaly;
use super::canonical::Canonical;
use crate::history::{AppendAnswer, History};

/// Returns the events that all replicas show.
pub(super) fn agreed(replicas: &[Vec<RecordedEvent>]) -> Result<&[RecordedEvent], Vec<Anomaly>> {
    let (first, others) = replicas.split_first().expect("there is a replica");
    let mut anomalies = Vec::new();
    for (at, other) in others.iter().enumerate() {
        if first != other {
            let same = first.iter().zip(other).take_while(|(one, two)| one == two).count();
            let differing = [first, other].map(|log| log.get(same).map(|event| event.position));
            let position = differing.into_iter().flatten().min().expect("they differ somewhere");
            anomalies.push(Anomaly::Divergence { replica: at + 1, position });
        }
    }
    if anomalies.is_empty() { Ok(first) } else { Err(anomalies) }
}

/// Puts acknowledged events into the holes between the events that are shown.
pub(super) fn fill(
    shown: &[RecordedEvent],
    history: &History,
) -> Result<Vec<RecordedEvent>, Vec<Anomaly>> {
    let ids: HashSet<EventId> = shown.iter().map(|event| event.event.id).collect();
    let mut acknowledged = BTreeMap::new();
    for operation in &history.appends {
        if let Some((_, AppendAnswer::Appended { versions, position, recorded_at })) =
            &operation.answer
        {
            let events = place(&operation.request, versions, *position, *recorded_at);
            let hidden = events.filter(|event| !ids.contains(&event.event.id));
            acknowledged.extend(hidden.map(|event| (event.position, event)));
        }
    }
    let mut whole: Vec<RecordedEvent> = Vec::new();
    for event in shown {
        while whole.len() as u64 + 1 < event.position.0 {
            let position = Position(whole.len() as u64 + 1);
            let Some(missing) = acknowledged.remove(&position) else {
                let what = format!("the log goes on with position {}", event.position);
                return Err(vec![Anomaly::Hole { position, what }]);
            };
            whole.push(missing);
        }
        whole.push(event.clone());
    }
    Ok(whole)
}

/// Returns the events of an append, with the positions and versions of its answer.
fn place<'a>(
    append: &'a Append,
    versions: &'a [Version],
    last: Position,
    recorded_at: Timestamp,
) -> impl Iterator<Item = RecordedEvent> + 'a {
    let count = append.event_count() as u64;
    let writes = append.writes.iter().zip(versions);
    let events = writes.flat_map(|(write, last)| {
        let first = last.0.saturating_sub(write.events.len() as u64);
        write.events.iter().zip(first + 1..).map(move |(event, version)| (write, event, version))
    });
    let first = last.0.saturating_sub(count);
    events.zip(first + 1..).map(move |((write, event, version), position)| RecordedEvent {
        position: Position(position),
        stream: write.stream.clone(),
        version: Version(version),
        recorded_at,
        event: event.clone(),
    })
}

/// Checks that exactly the removed events are not shown; returns their number.
pub(super) fn compare(
    shown: &[RecordedEvent],
    canonical: &Canonical<'_>,
) -> Result<u64, Vec<Anomaly>> {
    let mut shown = shown.iter().map(|event| event.position).peekable();
    let (mut anomalies, mut removed) = (Vec::new(), 0);
    for position in (1..=canonical.end().0).map(Position) {
        let is_shown = shown.next_if_eq(&position).is_some();
        match (is_shown, canonical.is_there(position, canonical.end())) {
            (true, false) => anomalies.push(Anomaly::Undead { position }),
            (false, true) => anomalies.push(Anomaly::Vanished { position }),
            (true, true) => {}
            (false, false) => removed += 1,
        }
    }
    if anomalies.is_empty() { Ok(removed) } else { Err(anomalies) }
}
