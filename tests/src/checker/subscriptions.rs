//! Judging subscriptions: each hands out the events of the log, in order, each once and without a gap, and it has
//! handed out all events before a position that it reports.

use quorate_proto::{Consistency, Position, Read, RecordedEvent, Source};

use super::Anomaly;
use super::canonical::Canonical;
use crate::history::{AppendAnswer, History, Moment, Received, Subscription};

/// The sums over all subscriptions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fed {
    /// The number of events that were handed out.
    pub(super) events: u64,
    /// The number of positions that subscriptions reported.
    pub(super) marks: u64,
    /// The number of times that a subscription fell behind.
    pub(super) fell_behind: u64,
}

/// Judges all subscriptions.
pub(super) fn judge(history: &History, canonical: &Canonical<'_>) -> (Fed, Vec<Anomaly>) {
    let (mut fed, mut anomalies) = (Fed::default(), Vec::new());
    for (number, subscription) in history.subscriptions.iter().enumerate() {
        let mut judge = Judge {
            history,
            canonical,
            read: &subscription.read,
            passed: subscription.read.bounds.after,
        };
        if let Err(what) = judge.subscription(subscription, &mut fed) {
            anomalies.push(Anomaly::WrongSubscription { subscription: number, what });
        }
    }
    (fed, anomalies)
}

struct Judge<'a> {
    history: &'a History,
    canonical: &'a Canonical<'a>,
    read: &'a Read,
    /// The version or the position up to which all events were handed out.
    passed: u64,
}

impl Judge<'_> {
    fn subscription(&mut self, subscription: &Subscription, fed: &mut Fed) -> Result<(), String> {
        let mut is_first = true;
        for (moment, message) in &subscription.received {
            match message {
                Received::Event(event) => {
                    fed.events += 1;
                    self.event(event, *moment)?;
                }
                Received::CaughtUp(position, version) => {
                    fed.marks += 1;
                    self.mark(*position, *version)?;
                    if std::mem::take(&mut is_first) {
                        self.is_fresh(subscription.began, *position)?;
                    }
                }
                Received::Progress(position, version) => {
                    fed.marks += 1;
                    self.mark(*position, *version)?;
                }
                Received::FellBehind(position, version) => {
                    fed.fell_behind += 1;
                    self.mark(*position, *version)?;
                }
            }
        }
        Ok(())
    }

    fn event(&mut self, event: &RecordedEvent, received_at: Moment) -> Result<(), String> {
        let position = event.position;
        if self.canonical.event(position) != Some(event) {
            return Err(format!("what it handed out for position {position} is not in the log"));
        }
        if !self.read.source.to_query().matches_event(event) {
            return Err(format!("nobody asked for the event at {position}"));
        }
        let appended = self.history.appends.iter().filter(|append| append.invoked < received_at);
        let mut ids = appended
            .flat_map(|append| &append.request.writes)
            .flat_map(|write| write.events.iter().map(|event| event.id));
        if !ids.any(|id| id == event.event.id) {
            return Err(format!("the event at {position} came before anybody appended it"));
        }
        let number = self.number(event);
        if number <= self.passed {
            return Err(format!("{number} came after {}", self.passed));
        }
        self.nothing_is_missing(number - 1)?;
        self.passed = number;
        Ok(())
    }

    /// Checks that all requested events up to a position were handed out, except removed ones.
    fn mark(&mut self, position: Position, version: Option<u64>) -> Result<(), String> {
        let number = match (&self.read.source, version) {
            (Source::Query(_), _) => position.0,
            (Source::Stream { .. }, Some(version)) => version,
            (Source::Stream { .. }, None) => return Err("a mark has no version".to_owned()),
        };
        if position > self.canonical.end() {
            return Err(format!("it is at {position}, the log ends at {}", self.canonical.end()));
        }
        if number < self.passed {
            return Err(format!("it stands at {number} and was at {} before", self.passed));
        }
        self.nothing_is_missing(number)?;
        self.passed = number;
        Ok(())
    }

    fn nothing_is_missing(&self, through: u64) -> Result<(), String> {
        let query = self.read.source.to_query();
        let missing = self.canonical.from(Position(1)).iter().find(|event| {
            let number = self.number(event);
            number > self.passed
                && number <= through
                && query.matches_event(event)
                && self.canonical.is_there(event.position, self.canonical.end())
        });
        match missing {
            None => Ok(()),
            Some(event) => Err(format!(
                "it passed over the event at {} between {} and {through}",
                event.position, self.passed
            )),
        }
    }

    /// Checks that a linearizable subscription that reports that it has caught up has passed every event whose append
    /// was acknowledged before the subscription began.
    fn is_fresh(&self, began: Moment, position: Position) -> Result<(), String> {
        if self.read.consistency != Consistency::Linearizable {
            return Ok(());
        }
        let before = self.history.appends.iter().filter_map(|append| match &append.answer {
            Some((moment, AppendAnswer::Appended { position, .. })) if *moment < began => {
                Some(*position)
            }
            _ => None,
        });
        match before.max() {
            Some(known) if known > position => {
                Err(format!("it has caught up at {position}, and {known} was known before"))
            }
            _ => Ok(()),
        }
    }

    /// Returns the version or the position that the subscription's bounds count; 0 for events of other streams.
    fn number(&self, event: &RecordedEvent) -> u64 {
        match &self.read.source {
            Source::Query(_) => event.position.0,
            Source::Stream { stream, .. } if *stream == event.stream => event.version.0,
            Source::Stream { .. } => 0,
        }
    }
}
