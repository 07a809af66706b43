//! The event store that a process manager runs on: a cluster, through the client library.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use quorate_client::{
    AppendError, Client, Done, ErrorKind, Events, Message, Problem, Query, Settings,
    Subscription as ClientSubscription,
};
use tokio::time::sleep;

use crate::process::log::{Commit, Log, LogMessage, Newest, Page, Refusal, Stretch, Subscription};
use crate::process::reaction::Condition;
use crate::status::Board;

/// The rest after trouble that may pass by itself; it doubles each time …
const REST_MIN: Duration = Duration::from_millis(100);
/// … up to this.
const REST_MAX: Duration = Duration::from_secs(5);

/// The cluster as a manager's log. The manager's board shows that something is tried again.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) board: Arc<Board>,
}

impl Log for Cluster {
    type Subscription = ClientSubscription;

    async fn newest(&self, stream: &str, types: &[&str], seen: u64) -> Result<Newest, Problem> {
        let read = || {
            let newest = self.client.read(stream).types(types).backwards().limit(1);
            match seen {
                0 => newest.collect(),
                seen => newest.at_least(seen).collect(),
            }
        };
        let Events { mut events, version, .. } = self.patiently("read", read).await?;
        Ok(Newest { version: version.0, event: events.pop() })
    }

    async fn page(&self, query: &Query, stretch: Stretch) -> Result<Page, Problem> {
        let Stretch { after, before, limit } = stretch;
        let read = || {
            let page = self.client.read(query.clone()).after(after).limit(limit);
            match before {
                None => page.collect(),
                Some(before) => page.before(before).collect(),
            }
        };
        let Events { events, as_of, .. } = self.patiently("read", read).await?;
        Ok(Page { events, as_of: as_of.0 })
    }

    fn follow(&self, query: &Query, after: u64) -> ClientSubscription {
        self.client.read(query.clone()).after(after).follow()
    }

    async fn commit(&self, commit: Commit) -> Result<Done, Refusal> {
        let mut rest = REST_MIN;
        let mut outcome = send(&self.client, &commit).await;
        let mut trouble = Trouble::of(&self.board);
        loop {
            let problem = match outcome {
                Ok(done) => return Ok(done),
                Err(error) => passing(error)?,
            };
            tracing::warn!(%problem, "an append is tried again");
            trouble.show(problem.to_string());
            sleep(rest).await;
            rest = (rest * 2).min(REST_MAX);
            outcome = match problem {
                AppendError::Unknown(unknown) => self.client.repeat(unknown).await,
                _ => send(&self.client, &commit).await,
            };
        }
    }

    async fn is_closed(&self, stream: &str) -> Result<bool, Problem> {
        let stream = self.client.stream(stream);
        Ok(self.patiently("show", || stream.show()).await?.closed)
    }

    async fn keep_newest(&self, stream: &str) -> Result<(), Problem> {
        let stream = self.client.stream(stream);
        let set = async || match stream.set(Settings::new().max_count(1)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.problem()),
        };
        self.patiently("set", set).await
    }
}

/// Sends a commit.
async fn send(client: &Client, commit: &Commit) -> Result<Done, AppendError> {
    let mut transaction = client.transaction();
    for write in &commit.writes {
        transaction = transaction.write(&write.stream, write.expect, write.events.clone());
    }
    for (stream, expect) in &commit.requirements {
        transaction = transaction.require(stream, *expect);
    }
    for Condition { query, after } in &commit.conditions {
        transaction = transaction.unless(query.clone(), *after);
    }
    transaction.commit().await
}

/// Returns the trouble after which an append may still succeed, or the reason why it cannot. An append that was refused
/// can be sent again as it is: its events have ids.
fn passing(error: AppendError) -> Result<AppendError, Refusal> {
    match error {
        AppendError::Conflict(conflict) => Err(Refusal::Conflict(conflict)),
        AppendError::Rejected(problem) if !may_pass(problem.kind) => {
            Err(Refusal::Rejected(problem))
        }
        AppendError::Unknown(unknown) if unknown.problem().kind == ErrorKind::Forgotten => {
            Err(Refusal::Forgotten)
        }
        error => Ok(error),
    }
}

impl Cluster {
    /// Tries a call again until it succeeds, or fails in a way that does not pass by itself.
    async fn patiently<T, F: Future<Output = Result<T, Problem>>>(
        &self,
        what: &str,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, Problem> {
        let mut rest = REST_MIN;
        let mut trouble = Trouble::of(&self.board);
        loop {
            match attempt().await {
                Err(problem) if may_pass(problem.kind) => {
                    tracing::warn!(%problem, "cannot {what} now");
                    trouble.show(problem.to_string());
                    sleep(rest).await;
                    rest = (rest * 2).min(REST_MAX);
                }
                done => return done,
            }
        }
    }
}

/// Trouble that a board shows until the call that is tried again has ended.
struct Trouble<'a> {
    board: &'a Board,
    is_shown: bool,
}

impl Trouble<'_> {
    fn of(board: &Board) -> Trouble<'_> {
        Trouble { board, is_shown: false }
    }

    fn show(&mut self, why: String) {
        self.is_shown = true;
        self.board.tries_again(why);
    }
}

impl Drop for Trouble<'_> {
    fn drop(&mut self) {
        if self.is_shown {
            self.board.succeeded();
        }
    }
}

/// Returns true if a call that failed with this kind, and may be made twice, may succeed later.
fn may_pass(kind: ErrorKind) -> bool {
    kind.is_transient()
        || matches!(kind, ErrorKind::Internal | ErrorKind::Damaged | ErrorKind::NotReady)
}

impl Subscription for ClientSubscription {
    async fn next(&mut self) -> Result<LogMessage, Problem> {
        Ok(match self.try_next().await? {
            Some(Message::Event(event)) => LogMessage::Event(Box::new(event)),
            Some(Message::CaughtUp(at)) => LogMessage::CaughtUp(at.position.0),
            Some(Message::Progress(at)) => LogMessage::Through(at.position.0),
            Some(Message::FellBehind(_)) => LogMessage::FellBehind,
            // A subscription without a limit does not end.
            None => std::future::pending().await,
        })
    }
}

#[cfg(test)]
mod tests {
    use quorate_client::Outcome;

    use super::*;

    fn rejected(kind: ErrorKind) -> AppendError {
        AppendError::Rejected(Problem::new(kind, Outcome::NotAppended, "a test says so"))
    }

    #[test]
    fn trouble_that_passes_is_not_final_for_an_append() {
        for kind in [
            ErrorKind::Unavailable,
            ErrorKind::Overloaded,
            ErrorKind::Internal,
            ErrorKind::NotReady,
            ErrorKind::Damaged,
        ] {
            assert!(passing(rejected(kind)).is_ok(), "{kind:?}");
        }
        for kind in [ErrorKind::StreamClosed, ErrorKind::Invalid] {
            let refused = passing(rejected(kind)).expect_err("it would be refused again");
            assert!(matches!(refused, Refusal::Rejected(_)), "{refused:?}");
        }
    }
}
