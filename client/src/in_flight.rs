//! The appends that are under way: the order in which they may be sent, and their verdicts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_proto::wire::deadline_ms;
use quorate_proto::wire::v1::SessionAppend;
use quorate_proto::wire::v1::session_append::Request;
use quorate_proto::{Append, Appended, ErrorKind, Expectation, Outcome, Problem, StreamName};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use crate::append::{AppendError, Done};
use crate::outcome::{Attempts, Step, Verdict};
use crate::stored::request_of;

/// The time after which a session that owes an overdue answer, and is silent, is given up.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// One append under way. Its caller is always answered: at the latest when this is dropped.
pub(crate) struct InFlightAppend {
    append: Append,
    bytes: usize,
    attempts: Attempts,
    not_before: Option<Instant>,
    caller: Option<oneshot::Sender<Result<Done, AppendError>>>,
    /// The append's share of the appends and bytes that may be under way at once.
    _share: Option<[OwnedSemaphorePermit; 2]>,
}

impl InFlightAppend {
    pub(crate) fn new(
        append: Append,
        attempts: Attempts,
        caller: oneshot::Sender<Result<Done, AppendError>>,
        share: Option<[OwnedSemaphorePermit; 2]>,
    ) -> InFlightAppend {
        let bytes = append.size();
        InFlightAppend {
            append,
            bytes,
            attempts,
            not_before: None,
            caller: Some(caller),
            _share: share,
        }
    }

    /// Returns the streams whose order the append keeps: those that it writes, and those that it checks, as a change of
    /// settings checks the stream that it changes.
    fn streams(&self) -> impl Iterator<Item = &StreamName> {
        let written = self.append.writes.iter().map(|write| &write.stream);
        written.chain(self.append.requirements.iter().map(|one| &one.stream))
    }

    fn to_wire(&self) -> Request {
        request_of(&self.append)
    }

    /// Returns true if a rejection may not be final, so that the append may have to be sent once more: no append
    /// behind it may be judged before.
    fn is_uncertain(&self, now: Instant) -> bool {
        let demands = self.append.writes.iter().map(|write| write.expectation);
        let demanding = demands.into_iter().any(|demand| demand != Expectation::Any)
            || !self.append.requirements.is_empty()
            || !self.append.conditions.is_empty();
        demanding && self.attempts.is_unsettled(now)
    }

    fn answer(mut self, verdict: Verdict) {
        self.send_verdict(verdict);
    }

    fn send_verdict(&mut self, verdict: Verdict) {
        if let Some(caller) = self.caller.take() {
            // The caller may have stopped waiting; then the verdict is dropped.
            let _ = caller.send(verdict.into_result(&mut self.append));
        }
    }
}

impl Drop for InFlightAppend {
    fn drop(&mut self) {
        if self.caller.is_some() {
            let verdict = self.attempts.abandoned();
            self.send_verdict(verdict);
        }
    }
}

/// All appends under way, in the order in which they were submitted.
///
/// Invariants:
/// - `unsent` is a part of the keys of `in_flight`; an append that is not in it was sent in this session.
/// - An append is never sent before an earlier one to one of its streams that is in `unsent`, or that was sent
///   again and may have to be sent once more.
/// - `uncertain` holds the keys of those appends that had an attempt without a verdict.
/// - A session sends each append at most once.
#[derive(Default)]
pub(crate) struct InFlightAppends {
    next: u64,
    in_flight: BTreeMap<u64, InFlightAppend>,
    unsent: BTreeSet<u64>,
    uncertain: BTreeSet<u64>,
    /// True if no append of `unsent` could be sent when it was last looked at.
    stuck: bool,
    /// The instant since which the session, which owes an answer, has been silent.
    silent_since: Option<Instant>,
    /// True if an answer became overdue in that time.
    misses_answer: bool,
    /// The reason why there was no session lately.
    trouble: Option<Problem>,
}

impl InFlightAppends {
    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Returns true if the session still owes an answer.
    pub(crate) fn has_sent(&self) -> bool {
        self.in_flight.len() > self.unsent.len()
    }

    /// Takes in a new append, behind all others.
    pub(crate) fn push(&mut self, append: InFlightAppend) {
        self.next += 1;
        self.unsent.insert(self.next);
        self.in_flight.insert(self.next, append);
        self.stuck = false;
    }

    /// Returns true if [`InFlightAppends::take`] is worth a try.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty() && !self.stuck
    }

    /// Takes the next appends to send, about `bytes_max` bytes of them, and begins an attempt of each. `since` is
    /// the time at which the session's first message came.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        since: Instant,
        bytes_max: usize,
    ) -> Vec<SessionAppend> {
        let chosen = self.choose(now, bytes_max);
        self.stuck = chosen.is_empty();
        if !chosen.is_empty() {
            self.silent_since.get_or_insert(now);
        }
        let mut appends = Vec::with_capacity(chosen.len());
        for number in chosen {
            self.unsent.remove(&number);
            let Some(append) = self.in_flight.get_mut(&number) else { continue };
            let (deadline, expires_alone) = append.attempts.begin(now);
            appends.push(SessionAppend {
                number,
                request: Some(append.to_wire()),
                deadline_ms: deadline_ms(deadline.saturating_duration_since(since)),
                expires_alone,
            });
        }
        appends
    }

    fn choose(&self, now: Instant, bytes_max: usize) -> Vec<u64> {
        let mut chosen = Vec::new();
        let mut bytes = 0;
        let sent =
            self.uncertain.difference(&self.unsent).filter_map(|number| self.in_flight.get(number));
        let mut held: BTreeSet<&StreamName> = sent
            .filter(|append| append.is_uncertain(now))
            .flat_map(InFlightAppend::streams)
            .collect();
        for number in &self.unsent {
            let Some(append) = self.in_flight.get(number) else { continue };
            let rests = append.not_before.is_some_and(|not_before| now < not_before);
            if rests || (!held.is_empty() && append.streams().any(|stream| held.contains(stream))) {
                held.extend(append.streams());
                continue;
            }
            chosen.push(*number);
            if append.is_uncertain(now) {
                held.extend(append.streams());
            }
            bytes += append.bytes;
            if bytes >= bytes_max {
                break;
            }
        }
        chosen
    }

    /// Takes in an answer. Returns an error if the session must end: an answer that is no verdict means that the
    /// append has to be sent again, and so have all appends behind it, in order.
    pub(crate) fn answered(
        &mut self,
        now: Instant,
        number: u64,
        answer: Result<Appended, Problem>,
    ) -> Result<(), Problem> {
        let mut ends = Ok(());
        // An append that is not under way any more is not sent again.
        if let Some(append) = self.in_flight.get_mut(&number) {
            ends = match &answer {
                _ if append.attempts.has_expired_alone(&answer) => Ok(()),
                Err(problem) if !problem.is_verdict() => Err(problem.clone()),
                _ => Ok(()),
            };
            let step = append.attempts.answered(now, answer);
            self.follow(number, step);
        }
        self.silent_since = self.has_sent().then_some(now);
        self.misses_answer = false;
        ends
    }

    /// Notes that the session ended: all unanswered appends are sent again, in order, before new ones.
    pub(crate) fn lost(&mut self, now: Instant, problem: &Problem) {
        self.silent_since = None;
        self.misses_answer = false;
        let numbers: Vec<u64> = self.in_flight.keys().copied().collect();
        for number in numbers {
            let Some(append) = self.in_flight.get_mut(&number) else { continue };
            let step = append.attempts.lost(now, problem);
            self.follow(number, step);
        }
    }

    /// Answers the appends whose time is up. Returns an error if the session must end: it left an append without an
    /// answer for longer than the append may take, and was silent about all others for long. While it answers others,
    /// an overdue attempt concerns only its own append: the append keeps its place, and the answer may still come.
    pub(crate) fn tick(&mut self, now: Instant) -> Result<(), Problem> {
        self.stuck = false;
        let mut expired = Vec::new();
        for (number, append) in &mut self.in_flight {
            let is_running = append.attempts.is_running();
            self.misses_answer |= append.attempts.is_overdue(now);
            if let Some(verdict) = append.attempts.expired(now, self.trouble.as_ref()) {
                self.misses_answer |= is_running;
                expired.push((*number, verdict));
            }
        }
        for (number, verdict) in expired {
            self.finish(number, verdict);
        }
        let is_silent = self.silent_since.is_some_and(|since| since + SILENCE_MAX <= now);
        if is_silent && self.misses_answer {
            let message = "the node did not answer within the deadline of an attempt";
            return Err(Problem::new(ErrorKind::Deadline, Outcome::Unknown, message));
        }
        Ok(())
    }

    /// Keeps the reason why no session could be opened, for appends that get no better answer.
    pub(crate) fn set_trouble(&mut self, trouble: Problem) {
        self.trouble = Some(trouble);
    }

    /// Notes that a session was opened. Answers that an earlier session owed do not count against the new one.
    pub(crate) fn opened(&mut self) {
        self.trouble = None;
        self.silent_since = None;
        self.misses_answer = false;
    }

    fn follow(&mut self, number: u64, step: Option<Step>) {
        match step {
            Some(Step::Verdict(verdict)) => self.finish(number, verdict),
            Some(Step::Again { not_before }) => {
                if let Some(append) = self.in_flight.get_mut(&number) {
                    append.not_before = Some(not_before);
                    self.uncertain.insert(number);
                    self.unsent.insert(number);
                    self.stuck = false;
                }
            }
            None => {}
        }
    }

    fn finish(&mut self, number: u64, verdict: Verdict) {
        self.unsent.remove(&number);
        self.uncertain.remove(&number);
        // Appends that this one held back may go now.
        self.stuck = false;
        if let Some(append) = self.in_flight.remove(&number) {
            append.answer(verdict);
        }
    }
}

#[cfg(test)]
mod tests;
