//! A node of the simulated cluster: the server itself, started again after every crash.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;

use openraft_rt::deterministic_rng::DeterministicRng;
use openraft_rt_tokio::TokioRuntime;
use quorate_node::server::{Server, ServerOptions};
use quorate_raft::{ReplicaOptions, Timing};
use quorate_store::defect::put_back;
use turmoil::Sim;

use super::disk::Disk;
use super::host::{Machine, SimulatedHost, Skew};
use super::trace::Trace;
use super::{CLIENT_PORT, Defect, PEER_PORT};
use crate::random::Random;

/// A log file: small, so that a run uses several and uses them again.
const SEGMENT_BYTES: u64 = 256 * 1024;

/// How far the clock of a node is off that is as it should be.
pub(super) const HONEST_US: u64 = 2_000_000;

/// Nodes that stopped by themselves, and why.
#[derive(Clone, Debug, Default)]
pub(super) struct Deaths(Rc<RefCell<Vec<(usize, String)>>>);

impl Deaths {
    fn note(&self, node: usize, why: String) {
        self.0.borrow_mut().push((node, why));
    }

    /// The deaths since the last call.
    pub(super) fn take(&self) -> Vec<(usize, String)> {
        std::mem::take(&mut *self.0.borrow_mut())
    }
}

/// A machine with the server on it. It is there before the first step, and again after each bounce.
pub(super) fn add(
    sim: &mut Sim<'_>,
    number: usize,
    name: &str,
    (disk, skew, trace): (Disk, Skew, Trace),
    seed: u64,
    deaths: Deaths,
) {
    let mut random = Random::new(seed);
    let machine = draw_machine(&mut random, skew);
    // Little, so that who was away often needs a snapshot.
    let kept = *random.pick(&[0, 8 * 1024, 64 * 1024]);
    let starts = Cell::new(0);
    let owned = name.to_owned();
    sim.host(name, move || {
        starts.set(starts.get() + 1);
        let seed = Random::part(seed, starts.get()).next();
        let host = SimulatedHost::new(&owned, machine.clone(), disk.clone(), trace.clone(), seed);
        let (options, deaths, trace) = (options(&owned, kept), deaths.clone(), trace.clone());
        let name = owned.clone();
        let serving = async move {
            let why = serve(host, options).await;
            trace.note(&name, format_args!("stops: {why}"));
            deaths.note(number, why);
            // What is left of the program is dropped when the machine is switched off.
            std::future::pending().await
        };
        DeterministicRng::<TokioRuntime>::scope(seed, serving)
    });
}

/// Serves until the node cannot go on; returns why.
async fn serve(host: SimulatedHost, options: ServerOptions) -> String {
    match Server::start(host, options).await {
        Ok(server) => format!("{:?}", server.stopped().await),
        Err(error) => error.to_string(),
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
        moved: false,
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

/// The defect that is put back in this thread, for as long as this lives.
pub(super) struct PutBack;

impl PutBack {
    pub(super) fn new(defect: Option<Defect>) -> PutBack {
        put_back(match defect {
            Some(Defect::NoRetryCheck) => Some(quorate_store::defect::Defect::NoRetryCheck),
            Some(Defect::LostVote) => Some(quorate_store::defect::Defect::LostVote),
            Some(Defect::FlippedOutcome) => Some(quorate_store::defect::Defect::FlippedOutcome),
            Some(Defect::NoConditionCheck) => Some(quorate_store::defect::Defect::NoConditionCheck),
            Some(Defect::FloorAhead) => Some(quorate_store::defect::Defect::FloorAhead),
            Some(Defect::RetryByVersion) => Some(quorate_store::defect::Defect::RetryByVersion),
            Some(Defect::NoSecondLook) => Some(quorate_store::defect::Defect::NoSecondLook),
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
