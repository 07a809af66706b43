//! The checker of all histories: does everything that clients saw fit one log, in one order, in real time?
//!
//! To decide whether a history is linearizable is NP-complete in general and easy once the order of the
//! writes is known (Gibbons, Korach: "Testing Shared Memories", SIAM J. Comput. 1997). A log gives it:
//!
//! 1. A full read of every replica gives the canonical log. Its holes are events that were removed by the
//!    settings and ends of life in it; the answers to their appends give their positions.
//! 2. It resolves unknown outcomes: an append without an answer took effect if it is in the log.
//! 3. Every operation is bound to the stretch of the log at which its whole answer was true. An append is
//!    bound to its own place, a linearizable read to the position it names, a weaker read to that
//!    position or any later one, a conflict to the stretch at which the streams had the reported versions.
//! 4. One sweep in the order of real time gives each operation the earliest point in its stretch that is
//!    not before the point of any operation that had returned when it began. If that leaves the stretch,
//!    no order exists. Otherwise the points are an order: the least solution of monotone constraints
//!    satisfies every upper bound that any solution does.
//!
//! The points lie in the whole log, not in one stream, so this is strict serializability of all streams
//! at once, and the order of each stream follows from it. Time: sorting, and the events that reads cover.

use std::collections::BTreeMap;

use quorate_proto::{
    Append, Consistency, DELETED, EventId, Expectation, Failure, Position, Read, RecordedEvent,
    SETTINGS, StreamName, TOMBSTONED, Version, Violation,
};

use crate::history::{AppendAnswer, History, Moment, ReadAnswer};
use canonical::Canonical;

mod anomaly;
#[cfg(test)]
mod brute_force;
mod canonical;
mod filled;
mod groups;
mod removed;
mod snapshots;
mod subscriptions;
#[cfg(test)]
mod tests;
mod verdict;

pub use anomaly::{Anomaly, Subject};
pub use verdict::Verdict;

/// Judges a history against full reads of every replica (all events, those of the system too, oldest first),
/// made after the last operation ended and the replicas had caught up.
///
/// # Panics
/// If the harness broke a rule of [`History`], or gives no replica.
pub fn check(history: &History, replicas: &[Vec<RecordedEvent>]) -> Result<Verdict, Vec<Anomaly>> {
    let shown = filled::agreed(replicas)?;
    let whole = filled::fill(shown, history)?;
    let canonical = Canonical::of(&whole)?;
    let mut check = Check::new(&canonical);
    check.verdict.removed = filled::compare(shown, &canonical)?;
    let attempts: Vec<Vec<usize>> = attempts(history).into_values().collect();
    let places: Vec<_> = attempts
        .iter()
        .map(|attempts| check.place(attempts[0], &history.appends[attempts[0]].request))
        .collect();
    check.phantoms();
    for (attempts, place) in attempts.iter().zip(places) {
        if let Ok(place) = place {
            check.append(history, attempts, place);
        }
    }
    for (number, operation) in history.reads.iter().enumerate() {
        if let Some((returned, answer)) = &operation.answer {
            check.read(number, &operation.request, answer, (operation.invoked, *returned));
        }
    }
    check.anomalies.extend(snapshots::judge(history, &canonical));
    let (fed, wrong) = subscriptions::judge(history, &canonical);
    check.anomalies.extend(wrong);
    let subscriptions::Fed { events, marks, fell_behind } = fed;
    let verdict = Verdict { followed: events, marks, fell_behind, ..check.verdict };
    let (shared, wrong) = groups::judge(history, &canonical);
    check.anomalies.extend(wrong);
    let groups::Shared { deliveries, redeliveries, parked } = shared;
    check.verdict = Verdict { deliveries, redeliveries, parked, ..verdict };
    check.verdict.snapshots =
        history.snapshots.iter().filter(|put| put.answer.is_some()).count() as u64;
    check.sweep();
    if check.anomalies.is_empty() { Ok(check.verdict) } else { Err(check.anomalies) }
}

/// Returns the operations that sent each append, by its first event, which is the same in all of them.
fn attempts(history: &History) -> BTreeMap<EventId, Vec<usize>> {
    let mut attempts: BTreeMap<EventId, Vec<usize>> = BTreeMap::new();
    for (number, operation) in history.appends.iter().enumerate() {
        let id = operation.request.writes[0].events[0].id;
        let attempts = attempts.entry(id).or_default();
        if let Some(first) = attempts.first() {
            let first = &history.appends[*first].request;
            assert_eq!(first, &operation.request, "an append was repeated as another one");
        }
        attempts.push(number);
    }
    attempts
}

/// An operation and the points of the log at which its answer was true. The events up to position
/// `p` come at point `2p`; the time between them and the next events is point `2p + 1`.
struct Constraint {
    subject: Subject,
    invoked: Moment,
    returned: Option<Moment>,
    low: u64,
    high: u64,
}

struct Check<'a> {
    canonical: &'a Canonical<'a>,
    /// For each position, the first and the last position of the append that put an event there.
    spans: Vec<Option<Span>>,
    constraints: Vec<Constraint>,
    anomalies: Vec<Anomaly>,
    verdict: Verdict,
}

/// The consecutive positions of one append; nothing is ever seen between them.
#[derive(Clone, Copy)]
struct Span {
    first: Position,
    last: Position,
}

/// The fault of an append's place is noted already.
struct Noted;

impl<'a> Check<'a> {
    fn new(canonical: &'a Canonical<'a>) -> Check<'a> {
        let events = canonical.end().0;
        Check {
            canonical,
            spans: vec![None; events as usize],
            constraints: Vec::new(),
            anomalies: Vec::new(),
            verdict: Verdict { events, ..Verdict::default() },
        }
    }

    /// Judges all attempts of one append together: they can only have one effect.
    fn append(&mut self, history: &History, attempts: &[usize], span: Option<Span>) {
        let operations = || attempts.iter().map(|number| (*number, &history.appends[*number]));
        let number = attempts[0];
        let append = &history.appends[number].request;
        let mut returned = None;
        for (number, operation) in operations() {
            match &operation.answer {
                None if span.is_some() => self.verdict.resolved_present += 1,
                None => self.verdict.resolved_absent += 1,
                Some((moment, AppendAnswer::Rejected { failures, violations })) => {
                    let times = (operation.invoked, *moment);
                    self.rejected(number, append, span, (failures, violations), times);
                }
                Some((moment, answer)) => {
                    self.count(append);
                    returned = returned.into_iter().chain([*moment]).min();
                    self.acknowledged(number, append, span, answer);
                }
            }
        }
        if let Some(Span { first, last }) = span {
            self.demands(number, append, first);
            self.constraints.push(Constraint {
                subject: Subject::Append(number, last),
                invoked: operations().map(|(_, one)| one.invoked).min().expect("an attempt"),
                returned,
                low: 2 * last.0,
                high: 2 * last.0,
            });
        }
    }

    /// Returns the place of the append; `None` if none of its events is in the log.
    fn place(&mut self, number: usize, append: &Append) -> Result<Option<Span>, Noted> {
        let span = self.span(append).map_err(|what| {
            self.anomalies.push(Anomaly::Torn { append: number, what });
            Noted
        })?;
        if let Some(Span { first, last }) = span {
            self.spans[first.0 as usize - 1..last.0 as usize].fill(span);
        }
        Ok(span)
    }

    fn span(&self, append: &Append) -> Result<Option<Span>, String> {
        let events = || {
            append
                .writes
                .iter()
                .flat_map(|write| write.events.iter().map(move |event| (&write.stream, event)))
        };
        let count = append.event_count();
        let found: Vec<Position> =
            events().filter_map(|(_, event)| self.canonical.position(event.id)).collect();
        let Some(&first) = found.first() else { return Ok(None) };
        if found.len() < count {
            return Err(format!("{} of {count} events are in the log", found.len()));
        }
        let last = Position(first.0 + count as u64 - 1);
        if last > self.canonical.end() {
            return Err(format!("its first event stands at {first}, too near the end"));
        }
        for ((stream, event), recorded) in events().zip(self.canonical.from(first)) {
            if recorded.event.id != event.id {
                return Err(format!("another event stands inside, at {}", recorded.position));
            }
            if (&recorded.stream, &recorded.event) != (stream, event) {
                return Err(format!("what stands at {} is not what was sent", recorded.position));
            }
        }
        Ok(Some(Span { first, last }))
    }

    fn count(&mut self, append: &Append) {
        self.verdict.acknowledged += 1;
        self.verdict.conditional += u64::from(!append.conditions.is_empty());
        match append.writes[0].events[0].kind.as_str() {
            DELETED | TOMBSTONED => self.verdict.ends += 1,
            SETTINGS => self.verdict.settings += 1,
            _ => {}
        }
    }

    fn acknowledged(
        &mut self,
        number: usize,
        append: &Append,
        span: Option<Span>,
        answer: &AppendAnswer,
    ) {
        let Some(Span { last, .. }) = span else {
            return self.anomalies.push(Anomaly::LostAppend { append: number });
        };
        let versions =
            append.writes.iter().map(|write| self.canonical.version(&write.stream, last)).collect();
        let recorded_at = self.canonical.from(last)[0].recorded_at;
        let due = AppendAnswer::Appended { versions, position: last, recorded_at };
        if *answer != due {
            let what = format!("it is {answer:?}, by the log it is {due:?}");
            self.anomalies.push(Anomaly::WrongAnswer { append: number, what });
        }
    }

    /// Judges a rejection: the append must not be in the log, and the reported versions must have been true.
    fn rejected(
        &mut self,
        number: usize,
        append: &Append,
        span: Option<Span>,
        (failures, violations): (&[Failure], &[Violation]),
        (invoked, returned): (Moment, Moment),
    ) {
        if let Some(Span { first: position, .. }) = span {
            return self.anomalies.push(Anomaly::RejectedYetPresent { append: number, position });
        }
        if failures.is_empty() && violations.is_empty() {
            return;
        }
        self.verdict.conflicts += u64::from(!failures.is_empty());
        self.verdict.violations += u64::from(!violations.is_empty());
        let seen = self.violations(append, violations);
        // Without a failure, the rejection does not report versions.
        let stretch = match failures {
            [] => Ok((1, u64::MAX)),
            _ => self.stretch(append, failures),
        };
        match seen.and_then(|seen| stretch.map(|(low, high)| (low.max(seen), high))) {
            Ok((low, high)) => self.constraints.push(Constraint {
                subject: Subject::Rejection(
                    number,
                    Position(low / 2),
                    (high != u64::MAX).then_some(Position(high / 2)),
                ),
                invoked,
                returned: Some(returned),
                low,
                high,
            }),
            Err(what) => self.anomalies.push(Anomaly::WrongAnswer { append: number, what }),
        }
    }

    /// Returns the point from which on all events are there that the answer reports as violations.
    fn violations(&self, append: &Append, violations: &[Violation]) -> Result<u64, String> {
        let mut low = 0;
        for Violation { condition, position } in violations {
            let broken = append.conditions.get(*condition);
            let broken = broken.ok_or_else(|| format!("it has no condition {condition}"))?;
            let event = self.canonical.event(*position);
            let forbidden = |event: &&RecordedEvent| broken.query.matches_event(event);
            if *position <= broken.after || event.filter(forbidden).is_none() {
                return Err(format!("condition {condition} allows the event at {position}"));
            }
            low = low.max(2 * self.span_at(*position).last.0 + 1);
        }
        Ok(low)
    }

    /// Returns the points at which exactly these expectations failed, at these versions. A stream never goes
    /// back, so `exactly N` above N stays refused: such an answer may be given later as well.
    fn stretch(&self, append: &Append, failures: &[Failure]) -> Result<(u64, u64), String> {
        let (mut low, mut high) = (1, u64::MAX);
        let mut due = failures.iter().peekable();
        let mut lasting = false;
        for (stream, expected) in demands(append) {
            let failure = due.next_if(|one| (&one.stream, one.expected) == (stream, expected));
            // A stream that ends is empty more than once, which is more than one stretch.
            let ends = self.canonical.end_of(stream, self.canonical.end()).is_some();
            let (from, until) = match failure {
                Some(Failure { actual, .. }) if !ends && expected.is_met_at(*actual) => {
                    return Err(format!("`{stream}` at {actual} is what was expected"));
                }
                Some(Failure { actual, .. }) => {
                    lasting |= matches!(expected, Expectation::Exactly(n) if *actual > n);
                    self.while_at(stream, *actual, Some(*actual))?
                }
                None => match expected {
                    Expectation::Any => (1, u64::MAX),
                    Expectation::None | Expectation::Exists if ends => (1, u64::MAX),
                    Expectation::None => self.while_at(stream, Version(0), Some(Version(0)))?,
                    Expectation::Exists => self.while_at(stream, Version(1), None)?,
                    Expectation::Exactly(n) => self.while_at(stream, n, Some(n))?,
                },
            };
            low = low.max(from);
            high = high.min(until);
        }
        if let Some(left) = due.next() {
            return Err(format!("it names a demand that was not made: {left}"));
        }
        if low > high {
            return Err("what it says was never true at one moment".to_owned());
        }
        Ok((low, if lasting { u64::MAX } else { high }))
    }

    /// Returns the points at which a stream is seen at one of these versions.
    fn while_at(
        &self,
        stream: &StreamName,
        from: Version,
        to: Option<Version>,
    ) -> Result<(u64, u64), String> {
        let low = self.canonical.position_of(stream, from);
        let low = low.ok_or_else(|| format!("`{stream}` never was at version {from}"))?;
        let low = self.span_at(low).last;
        let end = to.and_then(|to| self.canonical.position_of(stream, to.next()));
        let high = end.map_or(u64::MAX, |end| 2 * self.span_at(end).first.0 - 1);
        if 2 * low.0 + 1 > high {
            return Err(format!("`{stream}` was at version {from} only within an append"));
        }
        Ok((2 * low.0 + 1, high))
    }

    fn span_at(&self, position: Position) -> Span {
        let place = position.0.checked_sub(1);
        let span = place.and_then(|place| self.spans[place as usize]);
        span.unwrap_or(Span { first: position, last: position })
    }

    /// Checks that an append in the log was allowed at its place.
    fn demands(&mut self, number: usize, append: &Append, first: Position) {
        let before = Position(first.0 - 1);
        for (stream, expected) in demands(append) {
            if !self.canonical.meets(stream, expected, before) {
                let (append, stream) = (number, stream.clone());
                let actual = self.canonical.version(&stream, before);
                self.anomalies.push(Anomaly::DemandNotMet { append, stream, expected, actual });
            }
        }
        for stream in written(append) {
            if self.canonical.end_of(stream, before).is_some_and(|end| end.closed) {
                let (append, stream) = (number, stream.clone());
                self.anomalies.push(Anomaly::StreamWasClosed { append, stream });
            }
        }
        for condition in &append.conditions {
            let positions = (condition.after.0 + 1..=before.0).map(Position);
            let mut there = positions.filter(|at| self.canonical.is_there(*at, before));
            let forbids = |at: &Position| {
                self.canonical.event(*at).is_some_and(|event| condition.query.matches_event(event))
            };
            if let Some(position) = there.find(forbids) {
                self.anomalies.push(Anomaly::ConditionViolated { append: number, position });
            }
        }
    }

    fn phantoms(&mut self) {
        let phantoms = self.spans.iter().enumerate().filter(|(_, span)| span.is_none());
        let phantoms =
            phantoms.map(|(at, _)| Anomaly::Phantom { position: Position(at as u64 + 1) });
        self.anomalies.extend(phantoms);
    }

    fn read(
        &mut self,
        number: usize,
        read: &Read,
        answer: &ReadAnswer,
        (invoked, returned): (Moment, Moment),
    ) {
        self.verdict.reads += 1;
        self.verdict.snapshot_reads += u64::from(answer.snapshot.is_some());
        if let Err(what) = self.content(read, answer) {
            return self.anomalies.push(Anomaly::WrongRead { read: number, what });
        }
        let low = 2 * answer.as_of.0 + 1;
        let high = if read.consistency == Consistency::Linearizable { low } else { u64::MAX };
        let subject = Subject::Read(number, answer.as_of);
        self.constraints.push(Constraint { subject, invoked, returned: Some(returned), low, high });
    }

    fn content(&self, read: &Read, answer: &ReadAnswer) -> Result<(), String> {
        let as_of = answer.as_of;
        if as_of > self.canonical.end() {
            return Err(format!(
                "it saw position {as_of}, the log ends at {}",
                self.canonical.end()
            ));
        }
        if self.span_at(as_of).last != as_of {
            return Err(format!("position {as_of} is in the middle of an append"));
        }
        if let Consistency::AtLeast(least) = read.consistency
            && as_of < least
        {
            return Err(format!("it was asked for position {least} and answered as of {as_of}"));
        }
        let snapshot = answer.snapshot.as_ref().map(|snapshot| snapshot.version);
        let (version, events) = self.canonical.read(read, as_of, snapshot);
        if version != answer.version {
            let (due, returned) = (version, answer.version);
            return Err(format!(
                "it names version {returned:?}, the log has {due:?} as of {as_of}"
            ));
        }
        if events != answer.events {
            let (due, returned) = (events, &answer.events);
            let same = due.iter().zip(returned).take_while(|(one, two)| one == two).count();
            return Err(format!(
                "as of {as_of} it returned {} events, the log has {}; they differ from number {}",
                returned.len(),
                due.len(),
                same + 1
            ));
        }
        Ok(())
    }

    /// Gives every operation its point, in the order of real time.
    fn sweep(&mut self) {
        const INVOKED: u8 = 0; // what begins and ends at one moment is concurrent: beginnings go first
        const RETURNED: u8 = 1;
        let mut moments = Vec::with_capacity(2 * self.constraints.len());
        for (at, constraint) in self.constraints.iter().enumerate() {
            moments.push((constraint.invoked, INVOKED, at));
            moments.extend(constraint.returned.map(|returned| (returned, RETURNED, at)));
        }
        moments.sort_unstable();
        let mut points = vec![0; self.constraints.len()];
        let mut reached: (u64, Option<Subject>) = (0, None);
        for (_, what, at) in moments {
            let Constraint { subject, low, high, .. } = self.constraints[at];
            if what == RETURNED {
                if points[at] > reached.0 {
                    reached = (points[at], Some(subject));
                }
                continue;
            }
            points[at] = low.max(reached.0).min(high);
            if let (true, Some(before)) = (reached.0 > high, reached.1) {
                self.anomalies.push(Anomaly::Stale { operation: subject, before });
            }
        }
    }
}

/// Returns all expectations of an append, in the order of the request.
fn demands(append: &Append) -> impl Iterator<Item = (&StreamName, Expectation)> {
    let writes = append.writes.iter().map(|write| (&write.stream, write.expectation));
    writes.chain(append.requirements.iter().map(|one| (&one.stream, one.expectation)))
}

/// Returns the streams that must not be closed: the written ones, or the one that a change is about.
fn written(append: &Append) -> impl Iterator<Item = &StreamName> {
    let is_change = append.writes[0].stream.is_system();
    let required = append.requirements.iter().filter(move |_| is_change);
    append.writes.iter().map(|write| &write.stream).chain(required.map(|one| &one.stream))
}
