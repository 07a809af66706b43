//! Threads of low priority, for work that nobody waits for: it takes the processor time that serving leaves.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;

use rustix::process::{getpriority_process, setpriority_process};

/// The difference of niceness between these threads and those that serve. Beside a thread of serving that is always busy, one of these
/// gets a quarter of a core: little, but enough that a seal is never starved while the tail behind it fills.
const NICER_BY: i32 = 5;

/// A piece of work.
type Job = Box<dyn FnOnce() + Send>;
/// The threads that have nothing to do.
type Idle = Mutex<Vec<Sender<Job>>>;

/// The threads. Each new piece of work takes an idle one, or else a new one, so no work waits for other work.
#[derive(Clone, Debug, Default)]
pub(super) struct Behind {
    idle: Arc<Idle>,
}

impl Behind {
    /// Runs work on one of the threads. The work does not panic.
    pub(super) fn run(&self, job: Job) {
        let idle = locked(&self.idle).pop();
        match idle {
            None => self.start(job),
            Some(thread) => {
                if let Err(unsent) = thread.send(job) {
                    self.start(unsent.0);
                }
            }
        }
    }

    fn start(&self, job: Job) {
        let idle = Arc::downgrade(&self.idle);
        let work = move || {
            // A thread begins with the niceness of the thread that started it. The work is done all the same at the
            // priority that the thread has.
            let nicer =
                getpriority_process(None).and_then(|own| setpriority_process(None, own + NICER_BY));
            if let Err(error) = nicer {
                tracing::debug!("background work keeps its priority: {error}");
            }
            work_on(job, &idle);
        };
        let thread = thread::Builder::new().name("behind".to_owned());
        #[allow(clippy::disallowed_methods, reason = "the Host is what starts threads")]
        let started = thread.spawn(work);
        started.expect("the system has room for another thread");
    }
}

/// Does one piece of work after the other, until all that could give another are gone.
fn work_on(mut job: Job, idle: &Weak<Idle>) {
    loop {
        job();
        let Some(idle) = idle.upgrade() else { return };
        let (sender, jobs) = channel();
        locked(&idle).push(sender);
        drop(idle);
        match jobs.recv() {
            Ok(next) => job = next,
            Err(_) => return,
        }
    }
}

fn locked(idle: &Idle) -> MutexGuard<'_, Vec<Sender<Job>>> {
    // A push or a pop is never left half done, so a poisoned lock does no harm.
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs work and returns its result.
    fn result<T: Send + 'static>(
        behind: &Behind,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::sync::mpsc::Receiver<T> {
        let (sender, receiver) = channel();
        behind.run(Box::new(move || sender.send(work()).expect("somebody waits")));
        receiver
    }

    #[test]
    fn work_has_a_low_priority_and_does_not_wait_for_other_work() {
        let behind = Behind::default();
        let own = getpriority_process(None).expect("a niceness");
        let (release, held) = channel::<()>();
        let first = result(&behind, move || held.recv().is_ok());
        let niceness = result(&behind, || getpriority_process(None)).recv().expect("done");
        let nicer = (own + NICER_BY).min(19);
        assert_eq!(niceness, Ok(nicer), "while the first is still at work");
        release.send(()).expect("held");
        assert!(first.recv().expect("done"));
        assert_eq!(getpriority_process(None), Ok(own), "this thread keeps its own");
    }

    #[test]
    fn threads_are_used_again() {
        let behind = Behind::default();
        let mut threads = std::collections::HashSet::new();
        for _ in 0..5 {
            threads.insert(result(&behind, || thread::current().id()).recv().expect("done"));
            // The thread is idle a moment after its work is done.
            while locked(&behind.idle).is_empty() {
                thread::yield_now();
            }
        }
        assert_eq!(threads.len(), 1);
    }
}
