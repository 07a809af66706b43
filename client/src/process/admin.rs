//! A process manager by its name: the list of what it parked, and the requests to replay or to drop that.

use std::collections::HashSet;

use quorate_proto::{EventId, Expectation, Position, Problem, Selection};

use super::parking::{self, ParkedTrigger, ParkedTriggers, ParkingEvent};
use crate::append::AppendError;
use crate::client::Client;
use crate::event_stream::Events;

/// The largest number of events in one append.
const EVENTS_PER_APPEND: usize = 1_000;

/// A process manager, by its name; no node is asked before one of its methods is called.
///
/// A process manager of `quorate-app` that is set to do so parks a trigger from which nothing can follow, and goes on.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
/// use quorate_client::Selection;
/// let shop = client.process_manager("shop");
/// for parked in shop.parked().await? {
///     println!("{}: {} of {}: {}", parked.position, parked.cause, parked.instance, parked.reason);
/// }
/// shop.replay(Selection::positions([118])).await?;
/// shop.drop_parked(Selection::All).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is asked before one of its methods is called"]
pub struct ProcessManagerRef {
    client: Client,
    name: String,
}

impl Client {
    /// Returns a handle to a process manager.
    pub fn process_manager(&self, name: impl Into<String>) -> ProcessManagerRef {
        ProcessManagerRef { client: self.clone(), name: name.into() }
    }
}

impl ProcessManagerRef {
    /// Returns all parked triggers with their reasons, by the position at which they were parked. A manager that is not
    /// known has none.
    ///
    /// A trigger that a setting of the stream `NAME$parked` removed is not parked any more.
    pub async fn parked(&self) -> Result<Vec<ParkedTrigger>, Problem> {
        self.parked_as_of().await.map(|(parked, _)| parked)
    }

    /// Requests that the manager decides on parked triggers again, and returns those that it was requested for; a
    /// trigger that is not parked is passed over. The manager does so while it runs, or once it runs again: each
    /// trigger has its effect once, however often it is requested. [`ProcessManagerRef::parked`] shows the reason of
    /// what failed again.
    ///
    /// # Errors
    /// The problem of the read or of the append. With another outcome than `NotAppended` a part may be requested.
    pub async fn replay(&self, selection: Selection) -> Result<Vec<ParkedTrigger>, Problem> {
        let (parked, _) = self.parked_as_of().await?;
        let selected = select(parked, &selection);
        for some in selected.chunks(EVENTS_PER_APPEND) {
            let request = |one: &ParkedTrigger| {
                let instance = one.instance.clone();
                ParkingEvent::ReplayRequested { instance }.about(one.id)
            };
            let append =
                self.client.append(self.stream(), Expectation::Any, some.iter().map(request));
            append.await.map_err(|error| error.problem())?;
        }
        Ok(selected)
    }

    /// Gives parked triggers up for good, and returns those; a trigger that is not parked is passed over, as is one
    /// that was dropped before. A trigger that is dropped was not replayed, and will not be. Safe to repeat.
    ///
    /// # Errors
    /// The problem of the read or of the append. With another outcome than `NotAppended` a part may be dropped.
    pub async fn drop_parked(&self, selection: Selection) -> Result<Vec<ParkedTrigger>, Problem> {
        let (parked, mut as_of) = self.parked_as_of().await?;
        let mut left = select(parked, &selection);
        let mut dropped = Vec::new();
        while !left.is_empty() {
            let some = &left[..left.len().min(EVENTS_PER_APPEND)];
            let drops = some.iter().map(|one| ParkingEvent::TriggerDropped {}.about(one.id));
            let append = self.client.transaction().write(self.stream(), Expectation::Any, drops);
            // A trigger that was replayed since the list was read must not be dropped, too.
            match append.unless(parking::ends(&self.name), as_of).commit().await {
                Ok(done) => {
                    as_of = done.position;
                    dropped.extend(left.drain(..some.len()));
                }
                Err(AppendError::Conflict(_)) => {
                    let (parked, now) = self.parked_as_of().await?;
                    let still: HashSet<EventId> = parked.iter().map(|one| one.id).collect();
                    left.retain(|one| still.contains(&one.id));
                    as_of = now;
                }
                Err(error) => return Err(error.problem()),
            }
        }
        Ok(dropped)
    }

    /// Returns all parked triggers, and the position up to which the read saw everything.
    async fn parked_as_of(&self) -> Result<(Vec<ParkedTrigger>, Position), Problem> {
        let Events { events, as_of, .. } = self.client.read(self.stream()).collect().await?;
        let mut parked = ParkedTriggers::default();
        events.iter().for_each(|event| parked.take_in(event));
        Ok((parked.into_list(), as_of))
    }

    fn stream(&self) -> String {
        parking::stream_of(&self.name)
    }
}

fn select(mut parked: Vec<ParkedTrigger>, selection: &Selection) -> Vec<ParkedTrigger> {
    if let Selection::Positions(positions) = selection {
        parked.retain(|one| positions.contains(&one.position));
    }
    parked
}
