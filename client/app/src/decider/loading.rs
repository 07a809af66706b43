//! The state of an aggregate from its stream: from its beginning or a snapshot, or from where it was left.

use quorate_client::{
    Client, ErrorKind, EventStream, Outcome, Position, Problem, Query, ReadRequest, RecordedEvent,
    StreamName, Timestamp, Version,
};

use super::aggregate::Aggregate;
use super::decide::Decider;
use super::error::LoadError;
use super::snapshots::Snapshots;
use crate::evolution::OnUnknown;

/// The type of a change that leaves the events of a stream as they are, but for those that were only truncated.
const SETTINGS: &str = "$settings";

/// The stream of an aggregate, and the way in which it is read.
pub(crate) struct Loading<'a, S> {
    pub(crate) client: &'a Client,
    pub(crate) stream: &'a StreamName,
    pub(crate) snapshots: Option<&'a Snapshots<S>>,
    pub(crate) on_unknown: OnUnknown,
}

/// A moment up to which events count.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moment {
    Version(Version),
    Time(Timestamp),
}

/// Returns the name of the control stream, which holds the changes of a stream itself. `None` if the stream's name is so
/// long that it can have no changes.
pub(crate) fn control_of(stream: &StreamName) -> Option<StreamName> {
    StreamName::new(format!("$${stream}")).ok()
}

impl<S: Clone + Default + Send + Sync + 'static> Loading<'_, S> {
    /// Returns the newest state; `at_least` = 0 means linearizable.
    pub(crate) async fn newest<D: Decider<State = S>>(
        &self,
        at_least: Position,
    ) -> Result<Aggregate<S>, LoadError> {
        if let Some(snapshots) = self.snapshots {
            let read = fresh(self.client.read(self.stream.clone()), at_least);
            let read = read.with_snapshot().snapshot_schema_max(snapshots.schema());
            let events = read.stream().await?;
            match events.snapshot().map(|kept| snapshots.restore(self.stream, kept)) {
                Some(None) => {}
                Some(Some(restored)) => return self.follow::<D>(events, restored).await,
                None => return self.follow::<D>(events, Aggregate::new()).await,
            }
        }
        let events = fresh(self.client.read(self.stream.clone()), at_least).stream().await?;
        self.follow::<D>(events, Aggregate::new()).await
    }

    /// Returns the state at a moment.
    pub(crate) async fn at<D: Decider<State = S>>(
        &self,
        moment: Moment,
        at_least: Position,
    ) -> Result<Aggregate<S>, LoadError> {
        let start = self.snapshot_before(moment, at_least).await?.unwrap_or_else(Aggregate::new);
        let read = fresh(self.client.read(self.stream.clone()), at_least).after(start.version);
        let events = match moment {
            Moment::Version(version) => read.before(version.next()),
            Moment::Time(time) => read.until(time),
        };
        let (mut events, mut aggregate) = (events.stream().await?, start);
        aggregate.as_of = events.as_of();
        let began_at = aggregate.version;
        while let Some(event) = events.try_next().await? {
            self.take_next::<D>(&mut aggregate, &event).await?;
        }
        if aggregate.version == began_at {
            aggregate.version = self.check_no_events(began_at, moment, events.version()).await?;
        }
        Ok(aggregate)
    }

    /// Brings a state up to date, as of now; another one is loaded if it cannot be.
    pub(crate) async fn refresh<D: Decider<State = S>>(
        &self,
        mut aggregate: Aggregate<S>,
    ) -> Result<Aggregate<S>, LoadError> {
        let query = Query::stream(self.stream.as_str());
        // One read sees the events that came, and the changes of the stream itself.
        let query = match control_of(self.stream) {
            Some(control) => query.or(Query::stream(control.as_str())),
            None => query,
        };
        let mut events = self.client.read(query).after(aggregate.as_of).stream().await?;
        while let Some(event) = events.try_next().await? {
            if event.stream != *self.stream && event.kind.as_str() == SETTINGS {
                aggregate.control = event.version;
            } else if event.stream == *self.stream && event.version == aggregate.version.next() {
                aggregate.take::<D>(&event, self.on_unknown)?;
            } else {
                // The stream was deleted, or events are missing.
                let control =
                    if event.stream == *self.stream { aggregate.control } else { event.version };
                let newest = self.newest::<D>(Position::ZERO).await?;
                return Ok(Aggregate { control, ..newest });
            }
        }
        aggregate.as_of = events.as_of();
        Ok(aggregate)
    }

    /// Takes in the events of a stream that is read whole, or from the state's version on.
    async fn follow<D: Decider<State = S>>(
        &self,
        mut events: EventStream,
        mut aggregate: Aggregate<S>,
    ) -> Result<Aggregate<S>, LoadError> {
        while let Some(event) = events.try_next().await? {
            self.take_next::<D>(&mut aggregate, &event).await?;
        }
        if aggregate.version != events.version() {
            self.check_beginning(aggregate.version, events.version().next()).await?;
            aggregate.version = events.version();
        }
        aggregate.as_of = events.as_of();
        Ok(aggregate)
    }

    /// Takes in an event of a stream that is read from its beginning, or from the state's version on.
    pub(crate) async fn take_next<D: Decider<State = S>>(
        &self,
        aggregate: &mut Aggregate<S>,
        event: &RecordedEvent,
    ) -> Result<(), LoadError> {
        if event.version != aggregate.version.next() {
            self.check_beginning(aggregate.version, event.version).await?;
        }
        Ok(aggregate.take::<D>(event, self.on_unknown)?)
    }

    /// Checks that the events between a version and the next one that is there were deleted, which begins a new life of
    /// the stream; those that were only truncated are missing in the state.
    async fn check_beginning(&self, known: Version, next: Version) -> Result<(), LoadError> {
        let shown = self.client.stream(self.stream.as_str()).show().await?;
        if known == Version::ZERO && shown.deleted_at.next() == next {
            return Ok(());
        }
        Err(self.forgotten(known, next))
    }

    /// Checks that no events between a version and a moment were removed, where none were read. Returns the version at
    /// that moment.
    async fn check_no_events(
        &self,
        known: Version,
        moment: Moment,
        newest: Version,
    ) -> Result<Version, LoadError> {
        match moment {
            Moment::Version(version) if version.min(newest) > known => {
                let version = version.min(newest);
                self.check_beginning(known, version.next()).await.map(|()| version)
            }
            Moment::Time(_) if known == Version::ZERO && newest > known => {
                let shown = self.client.stream(self.stream.as_str()).show().await?;
                match shown.first_version {
                    Version(0 | 1) => Ok(known),
                    first => Err(self.forgotten(known, first)),
                }
            }
            _ => Ok(known),
        }
    }

    fn forgotten(&self, known: Version, next: Version) -> LoadError {
        let message = format!(
            "events of `{}` between version {known} and {next} were removed, and no snapshot holds their result",
            self.stream
        );
        Problem::new(ErrorKind::Forgotten, Outcome::NotAppended, message).into()
    }

    /// Returns the state of the kept snapshot, if it is not newer than a moment.
    async fn snapshot_before(
        &self,
        moment: Moment,
        at_least: Position,
    ) -> Result<Option<Aggregate<S>>, LoadError> {
        let Some(snapshots) = self.snapshots else { return Ok(None) };
        let read = fresh(self.client.read(self.stream.clone()), at_least);
        let read = read.with_snapshot().limit(0).stream().await?;
        let kept = read.snapshot().filter(|kept| match moment {
            Moment::Version(version) => kept.version <= version,
            Moment::Time(time) => kept.recorded_at <= time,
        });
        Ok(kept.and_then(|kept| snapshots.restore(self.stream, kept)))
    }
}

fn fresh(read: ReadRequest, at_least: Position) -> ReadRequest {
    match at_least {
        Position::ZERO => read,
        position => read.at_least(position),
    }
}
