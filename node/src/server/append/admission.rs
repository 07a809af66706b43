//! The bound on the bytes of appends that a node holds at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quorate_proto::{ErrorKind, Outcome, Problem};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::super::problem;

/// The maximum bytes of appends that are admitted and not yet answered.
const IN_FLIGHT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The maximum bytes of single appends that wait for admission.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The bytes that an append counts in addition to its own.
const OVERHEAD_BYTES: usize = 512;

/// Admits appends in the order in which they arrived.
///
/// Invariants:
/// * The appends that were admitted and not dropped have at most [`IN_FLIGHT_BYTES_MAX`] bytes.
/// * The appends that wait in [`Admission::admit_or_refuse`] have at most [`WAITING_BYTES_MAX`] bytes.
#[derive(Debug)]
pub(crate) struct Admission {
    in_flight: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// The room that an append takes; dropping this gives the room back.
#[derive(Debug)]
pub(crate) struct Admitted(#[allow(dead_code, reason = "held, never read")] OwnedSemaphorePermit);

impl Admission {
    pub(crate) fn new() -> Admission {
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_BYTES_MAX));
        Admission { in_flight, waiting: AtomicUsize::new(0) }
    }

    /// Admits an append of a session: such an append must keep its place, so it waits for room and holds back
    /// those after it. Returns an error if its deadline passed.
    pub(crate) async fn admit(&self, bytes: usize, deadline: Instant) -> Result<Admitted, Problem> {
        let room = room_of(bytes);
        if let Ok(permit) = self.in_flight.clone().try_acquire_many_owned(room) {
            return Ok(Admitted(permit));
        }
        let permit = timeout_at(deadline, self.in_flight.clone().acquire_many_owned(room))
            .await
            .map_err(|_| problem::expired())?
            .expect("the semaphore is never closed");
        Ok(Admitted(permit))
    }

    /// Admits a single append, or refuses it at once if too many wait already.
    pub(crate) async fn admit_or_refuse(
        &self,
        bytes: usize,
        deadline: Instant,
    ) -> Result<Admitted, Problem> {
        let before = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        let _leaving = Leaving { waiting: &self.waiting, bytes };
        if before.saturating_add(bytes) > WAITING_BYTES_MAX {
            let message = format!(
                "{before} bytes of appends wait on this node already; nothing was appended, try again"
            );
            return Err(Problem::new(ErrorKind::Overloaded, Outcome::NotAppended, message));
        }
        self.admit(bytes, deadline).await
    }
}

fn room_of(bytes: usize) -> u32 {
    // An append that is larger than the whole room takes all of it.
    u32::try_from((bytes + OVERHEAD_BYTES).min(IN_FLIGHT_BYTES_MAX)).expect("64 MiB fit 32 bits")
}

/// Subtracts bytes from the waiting ones, however the waiting ends.
struct Leaving<'a> {
    waiting: &'a AtomicUsize,
    bytes: usize,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_no_room_waits_until_something_is_answered() {
        let admission = Admission::new();
        let held = admission.admit(IN_FLIGHT_BYTES_MAX, soon()).await.expect("room");
        let waiting = admission.admit_or_refuse(1000, soon());
        tokio::pin!(waiting);
        let early = tokio::time::timeout(Duration::from_secs(60), &mut waiting).await;
        assert!(early.is_err(), "it was let in beyond the bound");
        drop(held);
        waiting.await.expect("room again");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_with_the_deadline_and_nothing_is_appended() {
        let admission = Admission::new();
        let _held = admission.admit(IN_FLIGHT_BYTES_MAX, soon()).await.expect("room");
        let deadline = Instant::now() + Duration::from_secs(1);
        let refused = admission.admit(1, deadline).await.expect_err("no room");
        assert_eq!((refused.kind, refused.outcome), (ErrorKind::Deadline, Outcome::NotAppended));
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_bytes_waiting_are_refused_at_once() {
        let admission = Arc::new(Admission::new());
        let held = admission.admit(IN_FLIGHT_BYTES_MAX, soon()).await.expect("room");
        let first = admission.admit_or_refuse(WAITING_BYTES_MAX, soon());
        tokio::pin!(first);
        assert!(futures_util::poll!(&mut first).is_pending());
        let refused = admission.admit_or_refuse(1, soon()).await.expect_err("too many");
        assert_eq!((refused.kind, refused.outcome), (ErrorKind::Overloaded, Outcome::NotAppended));
        drop(held);
        drop(first.await.expect("room again"));
        admission.admit_or_refuse(1, soon()).await.expect("nobody waits any more");
    }
}
