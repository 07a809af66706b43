//! A node of the simulated cluster: the server itself, started again after every crash.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;

use openraft_rt::deterministic_rng::DeterministicRng;
use openraft_rt_tokio::TokioRuntime;
use quorate_node::server::{Server, ServerOptions};
use quorate_raft::{ReplicaOptions, Role, Timing};
use quorate_store::defect::put_back;
use turmoil::Sim;

use super::disk::Disk;
use super::host::{Machine, SimulatedHost, Skew};
use super::operator::Joining;
use super::trace::Trace;
use super::{CLIENT_PORT, Defect, NODES, PEER_PORT};
use crate::random::Random;

/// The size of a log file: small, so that a run uses several and reuses them.
const SEGMENT_BYTES: u64 = 256 * 1024;

/// The largest error of an honest clock, in either direction.
pub(super) const HONEST_US: u64 = 2_000_000;

/// The starts, the leaders, and the deaths of the nodes, with their reasons.
#[derive(Clone, Debug, Default)]
pub(super) struct Lives {
    died: Rc<RefCell<Vec<(usize, String)>>>,
    started: Rc<RefCell<Vec<usize>>>,
    /// The leaders of each term.
    leaders: Rc<RefCell<BTreeMap<u64, BTreeSet<usize>>>>,
}

impl Lives {
    fn note(&self, node: usize, why: String) {
        self.died.borrow_mut().push((node, why));
    }

    /// Returns the deaths since the last call.
    pub(super) fn take(&self) -> Vec<(usize, String)> {
        std::mem::take(&mut *self.died.borrow_mut())
    }

    /// Returns a term with two leaders, if there is one, and the numbers of those nodes.
    pub(super) fn led_twice(&self) -> Option<(u64, Vec<usize>)> {
        let leaders = self.leaders.borrow();
        let (term, nodes) = leaders.iter().find(|(_, nodes)| nodes.len() > 1)?;
        Some((*term, nodes.iter().copied().collect()))
    }

    /// Returns the nodes that started since the last call.
    pub(super) fn take_started(&self) -> Vec<usize> {
        std::mem::take(&mut *self.started.borrow_mut())
    }
}

/// Adds a machine with the server on it, which starts before the first step, and again after each bounce.
pub(super) fn add(
    sim: &mut Sim<'_>,
    number: usize,
    name: &str,
    (disk, skew, trace): (Disk, Skew, Trace),
    seed: u64,
    lives: Lives,
    joining: Option<Joining>,
) {
    let mut random = Random::new(seed);
    let machine = draw_machine(&mut random, skew);
    // Little is kept, so that a node that was away often needs a snapshot.
    let kept = *random.pick(&[0, 8 * 1024, 64 * 1024]);
    let starts = Cell::new(0);
    let owned = name.to_owned();
    sim.host(name, move || {
        starts.set(starts.get() + 1);
        let seed = Random::part(seed, starts.get()).next();
        let host = SimulatedHost::new(&owned, machine.clone(), disk.clone(), trace.clone(), seed);
        let (options, lives, trace) = (options(&owned, kept), lives.clone(), trace.clone());
        let (name, joining) = (owned.clone(), joining.clone());
        let serving = async move {
            let join_token = match joining {
                // A machine that is no founder's waits for a cluster that is there.
                Some(joining) if number >= NODES => Some(joining.wait_for_token().await),
                joining => joining.and_then(|joining| joining.token()),
            };
            let options = ServerOptions { join_token, ..options };
            let why = serve(host, options, number, &lives).await;
            trace.note(&name, format_args!("stops: {why}"));
            lives.note(number, why);
            // The remains of the program are dropped when the machine is switched off.
            std::future::pending().await
        };
        DeterministicRng::<TokioRuntime>::scope(seed, serving)
    });
}

/// Serves until the node cannot go on; returns the reason.
async fn serve(host: SimulatedHost, options: ServerOptions, node: usize, lives: &Lives) -> String {
    let server = match Server::start(host, options).await {
        Ok(server) => server,
        Err(error) => return error.to_string(),
    };
    lives.started.borrow_mut().push(node);
    let mut status = server.replica().status();
    loop {
        let (role, term) = {
            let status = status.borrow_and_update();
            (status.role, status.term)
        };
        if role == Role::Leader {
            lives.leaders.borrow_mut().entry(term.0).or_default().insert(node);
        }
        tokio::select! {
            biased;
            stopped = server.stopped() => return format!("{stopped:?}"),
            // The server keeps the other end, so this never fails.
            _ = status.changed() => {}
        }
    }
}

fn options(name: &str, kept_log_bytes: u64) -> ServerOptions {
    let (listen, peer_listen) = (format!("{name}:{CLIENT_PORT}"), format!("{name}:{PEER_PORT}"));
    ServerOptions {
        directory: PathBuf::from("/node"),
        metrics_listen: None,
        advertise: listen.clone(),
        peer_advertise: peer_listen.clone(),
        listen,
        peer_listen,
        insecure: false,
        timing: Timing::default(),
        segment_bytes: SEGMENT_BYTES,
        kept_log_bytes: Some(kept_log_bytes),
        reserve_bytes: None,
        scrub_bytes_per_second: ReplicaOptions::SCRUB_BYTES_PER_SECOND_DEFAULT,
        block_cache_bytes: ReplicaOptions::BLOCK_CACHE_BYTES_DEFAULT,
        accept_clock: false,
        join_token: None,
    }
}

fn draw_machine(random: &mut Random, skew: Skew) -> Machine {
    skew.set(random.below(2 * HONEST_US) as i64 - HONEST_US as i64);
    Machine {
        skew,
        sync_ms_max: *random.pick(&[0, 2, 2, 10, 40]),
        work_ms_max: *random.pick(&[0, 5, 50]),
    }
}

/// Puts a defect back in this thread, until it is dropped.
pub(super) struct PutBack;

impl PutBack {
    pub(super) fn new(defect: Option<Defect>) -> PutBack {
        put_back(match defect {
            Some(Defect::NoRetryCheck) => Some(quorate_store::defect::Defect::NoRetryCheck),
            Some(Defect::LostVote) => Some(quorate_store::defect::Defect::LostVote),
            Some(Defect::FlippedOutcome) => Some(quorate_store::defect::Defect::FlippedOutcome),
            Some(Defect::NoConditionCheck) => Some(quorate_store::defect::Defect::NoConditionCheck),
            Some(Defect::FloorAhead) => Some(quorate_store::defect::Defect::FloorAhead),
            Some(Defect::IgnoredExtension) => Some(quorate_store::defect::Defect::IgnoredExtension),
            Some(Defect::RetryByVersion) => Some(quorate_store::defect::Defect::RetryByVersion),
            Some(Defect::NoSecondLook) => Some(quorate_store::defect::Defect::NoSecondLook),
            Some(Defect::NoReach) => Some(quorate_store::defect::Defect::NoReach),
            Some(Defect::RawClock) => Some(quorate_store::defect::Defect::RawClock),
            Some(Defect::AnswerBeforeSync) | None => None,
        });
        PutBack
    }
}

impl Drop for PutBack {
    fn drop(&mut self) {
        put_back(None);
    }
}
