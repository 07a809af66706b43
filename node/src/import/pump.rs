//! Sends lines ahead, each expecting exactly the version before it, and repeats them until all are in the log.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::FutureExt;
use quorate_client::{AppendError, Client, Done, Expect, Submitted};
use tokio::time::{Instant, sleep, sleep_until};

use super::WINDOW_LINES;
use super::source::Line;

/// The time after which an import without any progress gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// The time before lines that found no leader are sent again.
pub(crate) const REST: Duration = Duration::from_millis(200);

/// A line that was refused for good, with the error.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) number: u64,
    pub(crate) error: AppendError,
}

/// Sends lines and waits for their verdicts.
///
/// Invariants:
/// - `sent` holds lines in the order of the file, less than [`WINDOW_LINES`] lines apart; all before them are
///   in the log.
/// - Lines of one stream are sent in their order, and repeated in their order.
pub(crate) struct Pump {
    client: Client,
    sent: VecDeque<(Line, Submitted)>,
    pace: Option<Pace>,
    /// The last position of the log before the first line was sent.
    began_after: u64,
    confirmed: u64,
    found: u64,
    position: u64,
    progress_at: Instant,
    /// A function that is called with the reason when the pump waits for the cluster.
    on_wait: Box<dyn Fn(&AppendError)>,
}

impl Pump {
    /// Makes a pump that sends at most `rate` lines per second, if given. `began_after` is the last position of the
    /// log now: a line that is answered with an earlier position was there already.
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

    /// Returns the number of lines that are known to be in the log.
    pub(crate) fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// Returns the number of confirmed lines that were in the log before.
    pub(crate) fn found(&self) -> u64 {
        self.found
    }

    /// Returns the highest position of a confirmed line.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Sends a line, after all others.
    pub(crate) async fn send(&mut self, line: Line) -> Result<(), Stop> {
        // The window counts lines of the file and not lines that were sent: the search for lines that are there
        // already looks up one line of each window.
        while let Some((first, _)) = self.sent.front()
            && line.index - first.index >= WINDOW_LINES
        {
            self.settle_first().await?;
        }
        if let Some(pace) = &mut self.pace {
            pace.wait().await;
        }
        if self.sent.is_empty() {
            // No line was waiting for a verdict until now: a pipe may have paused.
            self.progress_at = Instant::now();
        }
        self.launch(line).await;
        // Looking at verdicts that are there already costs nothing, and makes room.
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

    /// Waits for the verdict on the first line that was sent, for ever if there is none; [`Pump::settle`] takes the
    /// verdict. Nothing is lost if the future is dropped early.
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
        let expect = Expect::version(line.ordinal - 1);
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
                // The other lines that were sent are followed to their verdicts, so that the totals are true.
                for (_, verdict) in std::mem::take(&mut self.sent) {
                    if let Ok(done) = verdict.await {
                        self.confirm(&done);
                    }
                }
                Err(Stop { number, error })
            }
        }
    }

    /// Sends a line again that did not get through, and with it the lines after it that are not in the log,
    /// in order and before any new line.
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
        self.found += u64::from(done.position.0 <= self.began_after);
        self.position = self.position.max(done.position.0);
        self.progress_at = Instant::now();
    }
}

/// Returns true if sending the line again may help: the cluster did not refuse the line, or refused it only
/// because a line before it in its stream is not there yet.
fn passes(error: &AppendError) -> bool {
    match error {
        AppendError::Unknown(_) => true,
        AppendError::Conflict(conflict) => {
            matches!((conflict.expected, conflict.actual), (Expect::Exactly(version), Some(actual)) if actual < version)
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
    /// The longest delay that is made up for: timers are too coarse for a pause after each line, and the
    /// time lost in a longer pause stays lost.
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
    async fn a_rate_beyond_the_grain_of_timers_is_met_and_a_pause_is_not_made_up_for() {
        let mut pace = Pace { next: Instant::now(), step: Duration::from_secs(1) / 20_000 };
        let expected = Duration::from_secs(2);
        assert!(time_of(40_000, &mut pace).await.abs_diff(expected) < Duration::from_millis(100));
        sleep(Duration::from_secs(60)).await;
        assert!(time_of(40_000, &mut pace).await.abs_diff(expected) < Duration::from_millis(100));
    }
}
