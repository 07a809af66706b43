//! The task behind a client's appends: it keeps one session open and carries every append to its verdict.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use quorate_proto::Problem;
use quorate_proto::wire::SESSION_LIFE;
use quorate_proto::wire::v1::{AppendSessionRequest, AppendSessionResponse, SessionAnswer};
use tokio::sync::mpsc;
use tokio::sync::mpsc::Permit;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use crate::in_flight::{InFlightAppend, InFlightAppends};
use crate::nodes::Nodes;
use crate::patience::Backoff;
use crate::session::{Session, outcome_of};

/// The interval at which deadlines are checked.
const TICK: Duration = Duration::from_millis(20);
/// The approximate number of bytes of appends in one message.
const MESSAGE_BYTES: usize = 256 * 1024;
/// The times to wait after sessions failed.
const RESTS: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));

/// Runs until the client is gone and every append has its verdict.
pub(crate) async fn run(nodes: Arc<Nodes>, submissions: mpsc::UnboundedReceiver<InFlightAppend>) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let open = true;
    let in_flight = InFlightAppends::default();
    let mut driver = Driver { nodes, submissions, open, in_flight, tick, rests: RESTS };
    while driver.has_work().await {
        let nodes = Arc::clone(&driver.nodes);
        let opened = driver.meanwhile(Session::open(&nodes)).await;
        let ended = match opened {
            Ok(session) => {
                driver.in_flight.opened();
                let address = session.address.clone();
                driver.serve(session).await.inspect_err(|problem| {
                    tracing::debug!(address, %problem, "the session ended");
                    nodes.failed(&address);
                })
            }
            Err(problem) => Err(problem),
        };
        if let Err(problem) = ended {
            driver.in_flight.lost(Instant::now(), &problem);
            driver.in_flight.set_trouble(problem);
            let rest = driver.rests.failed();
            driver.meanwhile(tokio::time::sleep(rest)).await;
        }
    }
}

struct Driver {
    nodes: Arc<Nodes>,
    submissions: mpsc::UnboundedReceiver<InFlightAppend>,
    /// True while somebody can still submit appends.
    open: bool,
    in_flight: InFlightAppends,
    tick: Interval,
    /// The times to wait when sessions fail; every answer resets them.
    rests: Backoff,
}

impl Driver {
    /// Waits until an append is under way; returns false when no more can come.
    async fn has_work(&mut self) -> bool {
        while self.in_flight.is_empty() && self.open {
            let append = self.submissions.recv().await;
            self.take_in(append);
        }
        !self.in_flight.is_empty()
    }

    /// Waits for a future while appends come in and run out of time.
    async fn meanwhile<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                biased;
                output = &mut future => return output,
                append = self.submissions.recv(), if self.open => self.take_in(append),
                _ = self.tick.tick(), if !self.in_flight.is_empty() => {
                    // Between sessions no attempt runs, so none can be overdue.
                    let _ = self.in_flight.tick(Instant::now());
                }
            }
        }
    }

    /// Sends and receives until the session ends, and returns the reason; or until there is nothing to do and
    /// the client is gone, or the leader is elsewhere; or until the session is old and owes no answer.
    async fn serve(&mut self, session: Session) -> Result<(), Problem> {
        let Session { address, requests, mut answers, since } = session;
        let mut writable = true;
        let mut moved = false;
        let mut old = false;
        let mut life = pin!(sleep_until(since + SESSION_LIFE));
        while self.in_flight.has_sent()
            || (!old && (!self.in_flight.is_empty() || (self.open && !moved)))
        {
            tokio::select! {
                biased;
                () = &mut life, if !old => old = true,
                response = answers.next() => {
                    let AppendSessionResponse { answers, leader } = response?;
                    moved |= leader != address && self.nodes.learn_leader(&leader);
                    self.receive(answers)?;
                }
                append = self.submissions.recv(), if self.open => self.take_in(append),
                permit = requests.reserve(), if writable && !old && self.in_flight.has_unsent() => {
                    match permit {
                        Ok(permit) => self.send(permit, since),
                        // The stream has ended; the answers will give the reason.
                        Err(_) => writable = false,
                    }
                }
                _ = self.tick.tick(), if !self.in_flight.is_empty() => {
                    self.in_flight.tick(Instant::now())?;
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, permit: Permit<'_, AppendSessionRequest>, since: Instant) {
        let appends = self.in_flight.take(Instant::now(), since, MESSAGE_BYTES);
        if !appends.is_empty() {
            permit.send(AppendSessionRequest { appends });
        }
    }

    fn receive(&mut self, answers: Vec<SessionAnswer>) -> Result<(), Problem> {
        let now = Instant::now();
        let mut ending = Ok(());
        for answer in answers {
            self.rests.worked();
            let number = answer.number;
            let result = self.in_flight.answered(now, number, outcome_of(answer));
            // A failed answer does not spoil the answers behind it.
            ending = ending.and(result);
        }
        ending
    }

    /// Takes in an append, and all others that wait: together they make one message.
    fn take_in(&mut self, append: Option<InFlightAppend>) {
        let Some(append) = append else {
            self.open = false;
            return;
        };
        self.in_flight.push(append);
        while let Ok(append) = self.submissions.try_recv() {
            self.in_flight.push(append);
        }
    }
}
