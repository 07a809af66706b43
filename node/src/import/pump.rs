//! Sends lines ahead, each expecting exactly the version before it, and keeps at it until all are there.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::FutureExt;
use quorate_client::{AppendError, Client, Done, Expect, Submitted};
use tokio::time::{Instant, sleep, sleep_until};

use super::WINDOW_LINES;
use super::source::Line;

/// How long to go on without any progress.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// How long to wait before lines that found no leader are sent again.
pub(crate) const REST: Duration = Duration::from_millis(200);

/// A line that was refused for good, and why.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) number: u64,
    pub(crate) error: AppendError,
}

/// Sends lines and follows them to their verdicts.
///
/// Invariants:
/// - `sent` holds lines in the order of the file, less than [`WINDOW_LINES`] lines apart; all before them are
///   in the log.
/// - Lines of one stream are sent in their order, and again in their order.
pub(crate) struct Pump {
    client: Client,
    sent: VecDeque<(Line, Submitted)>,
    pace: Option<Pace>,
    /// What lies up to here was in the log before the first line was sent.
    began_after: u64,
    confirmed: u64,
    found: u64,
    position: u64,
    progress_at: Instant,
    /// Called when the cluster is waited for, with the reason.
    on_wait: Box<dyn Fn(&AppendError)>,
}

impl Pump {
    /// Sends at most `rate` lines a second, if told. `began_after` is the last position of the log now: a line
    /// that is answered with an earlier one was there already.
    pub(crate) fn new(
        client: Client,
        rate: Option<u32>,
        began_after: u64,
        on_wait: impl Fn(&AppendError) + 'static,
    ) -> Pump {
        let pace =
            rate.map(|rate| Pace { next: Instant::now(), step: Duration::from_secs(1) / rate });
        Pump {
            client,
            sent: VecDeque::new(),
            pace,
            began_after,
            confirmed: 0,
            found: 0,
            position: 0,
            progress_at: Instant::now(),
            on_wait: Box::new(on_wait),
        }
    }

    /// How many lines are known to be in the log.
    pub(crate) fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// How many of them were in the log before.
    pub(crate) fn found(&self) -> u64 {
        self.found
    }

    /// The highest position of a confirmed line.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Sends a line, behind all others.
    pub(crate) async fn send(&mut self, line: Line) -> Result<(), Stop> {
        // By their distance in the file, not by their number: what is there already is found by looking at
        // one line of each window.
        while let Some((first, _)) = self.sent.front()
            && line.index - first.index >= WINDOW_LINES
        {
            self.settle_first().await?;
        }
        if let Some(pace) = &mut self.pace {
            pace.wait().await;
        }
        if self.sent.is_empty() {
            // Nothing was waited for until now: a pipe may have rested.
            self.progress_at = Instant::now();
        }
        self.launch(line).await;
        // Verdicts that are there already cost nothing to look at, and make room.
        while let Some((_, verdict)) = self.sent.front_mut() {
            let Some(verdict) = verdict.now_or_never() else { break };
            self.settle(verdict).await?;
        }
        Ok(())
    }

    /// Waits until every line that was sent is in the log.
    pub(crate) async fn finish(&mut self) -> Result<(), Stop> {
        while !self.sent.is_empty() {
            self.settle_first().await?;
        }
        Ok(())
    }

    /// Waits for the verdict on the first line that was sent, for ever if there is none; [`Pump::settle`] takes it.
    /// Nothing is lost if it is not waited for to the end.
    pub(crate) async fn first_verdict(&mut self) -> Result<Done, AppendError> {
        match self.sent.front_mut() {
            Some((_, verdict)) => verdict.await,
            None => std::future::pending().await,
        }
    }

    /// Takes the verdict on the first line that was sent.
    pub(crate) async fn settle(&mut self, verdict: Result<Done, AppendError>) -> Result<(), Stop> {
        let Some((line, _)) = self.sent.pop_front() else { return Ok(()) };
        self.judge(line, verdict).await
    }

    async fn launch(&mut self, line: Line) {
        let expect = Expect::Version(line.ordinal - 1);
        let transaction = self.client.transaction();
        let append = transaction.write(line.stream.as_str(), expect, [line.event.clone()]);
        let verdict = append.submit().await;
        self.sent.push_back((line, verdict));
    }

    async fn settle_first(&mut self) -> Result<(), Stop> {
        let verdict = self.first_verdict().await;
        self.settle(verdict).await
    }

    async fn judge(&mut self, line: Line, verdict: Result<Done, AppendError>) -> Result<(), Stop> {
        match verdict {
            Ok(done) => {
                self.confirm(&done);
                Ok(())
            }
            Err(error) if passes(&error) && self.progress_at.elapsed() < PATIENCE => {
                self.send_again(line, &error).await
            }
            Err(error) => {
                let number = line.number;
                // What was sent with it is followed to its end, so that the totals are true.
                for (_, verdict) in std::mem::take(&mut self.sent) {
                    if let Ok(done) = verdict.await {
                        self.confirm(&done);
                    }
                }
                Err(Stop { number, error })
            }
        }
    }

    /// A line did not get through, and with it those behind it in its stream did not: sends again what
    /// is not there, in order, before anything new.
    async fn send_again(&mut self, first: Line, error: &AppendError) -> Result<(), Stop> {
        (self.on_wait)(error);
        let mut again = vec![first];
        let mut stop: Option<Stop> = None;
        for (line, verdict) in std::mem::take(&mut self.sent) {
            match verdict.await {
                Ok(done) => self.confirm(&done),
                Err(error) if passes(&error) => again.push(line),
                Err(error) => {
                    stop = stop.or(Some(Stop { number: line.number, error }));
                }
            }
        }
        if let Some(stop) = stop {
            return Err(stop);
        }
        sleep(REST).await;
        for line in again {
            self.launch(line).await;
        }
        Ok(())
    }

    fn confirm(&mut self, done: &Done) {
        self.confirmed += 1;
        self.found += u64::from(done.position <= self.began_after);
        self.position = self.position.max(done.position);
        self.progress_at = Instant::now();
    }
}

/// Whether sending the line again may help: it was not refused, or only because a line before it in its
/// stream is not there yet.
fn passes(error: &AppendError) -> bool {
    match error {
        AppendError::Unknown(_) => true,
        AppendError::Conflict(conflict) => {
            matches!((conflict.expected, conflict.actual), (Expect::Version(version), Some(actual)) if actual < version)
        }
        AppendError::Rejected(problem) => problem.kind.is_transient(),
    }
}

/// Spreads lines evenly over time.
struct Pace {
    next: Instant,
    step: Duration,
}

impl Pace {
    /// How much is made up for: timers are too coarse for a pause after each line, and what a longer
    /// pause cost is lost.
    const SLACK: Duration = Duration::from_millis(50);

    async fn wait(&mut self) {
        let now = Instant::now();
        if self.next > now {
            sleep_until(self.next).await;
        }
        let earliest = now.checked_sub(Pace::SLACK).unwrap_or(now);
        self.next = self.next.max(earliest) + self.step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn time_of(lines: u32, pace: &mut Pace) -> Duration {
        let began_at = Instant::now();
        for _ in 0..lines {
            pace.wait().await;
        }
        began_at.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_beyond_the_grain_of_timers_is_kept_and_a_pause_is_not_made_up_for() {
        let mut pace = Pace { next: Instant::now(), step: Duration::from_secs(1) / 20_000 };
        let expected = Duration::from_secs(2);
        assert!(time_of(40_000, &mut pace).await.abs_diff(expected) < Duration::from_millis(100));
        sleep(Duration::from_secs(60)).await;
        assert!(time_of(40_000, &mut pace).await.abs_diff(expected) < Duration::from_millis(100));
    }
}
