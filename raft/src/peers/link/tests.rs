//! A link to a peer that stops and starts again.

use std::path::Path;

use futures_util::FutureExt;
use openraft::raft::VoteRequest;
use openraft_rt_tokio::TokioRuntime;
use quorate_proto::limits::CHUNK_BYTES_MIN;
use quorate_store::vfs::MemVfs;
use tokio::runtime::Runtime;

use super::*;
use crate::adapter::types::Addresses;
use crate::host::{Listening, TokioHost};
use crate::identity::Identity;
use crate::log::{LogOptions, LogWriter, RaftLog, Reach};
use crate::options::{ReplicaOptions, Timing};
use crate::peers::Peers;
use crate::peers::heartbeats::Heartbeats;
use crate::replica::Replica;

const PATIENCE: Duration = Duration::from_secs(60);
/// The node at which the link begins. Its peer is the only member of its cluster, and does not know the node.
const HERE: u64 = 9;

/// A replica that serves its peers on its own runtime: when the runtime ends, so do all its connections.
struct Peer {
    replica: Replica<TokioHost>,
    address: String,
    runtime: Runtime,
}

impl Peer {
    fn start(vfs: &MemVfs, address: &str) -> Peer {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime");
        let host = TokioHost::with_vfs(Arc::new(vfs.clone()));
        let starting = async {
            let Listening { address, incoming } = host.listen(address).await.expect("a free port");
            let replica = Replica::start(host.clone(), options(&address)).await.expect("a replica");
            let server = transport::server().add_routes(replica.routes());
            tokio::spawn(server.serve_with_incoming(incoming));
            (replica, address)
        };
        let (replica, address) = tokio::task::block_in_place(|| runtime.block_on(starting));
        Peer { replica, address, runtime }
    }

    /// Founds a cluster of this peer alone.
    fn found(&self) -> Identity {
        let founding = self.replica.bootstrap(vec![self.address.clone()], CHUNK_BYTES_MIN);
        tokio::task::block_in_place(|| self.runtime.block_on(founding)).expect("a new cluster");
        self.replica.identity().expect("it belongs to a cluster")
    }

    async fn stop(self) {
        self.replica.shutdown().await;
        tokio::task::block_in_place(|| self.runtime.shutdown_timeout(PATIENCE));
    }
}

fn options(address: &str) -> ReplicaOptions {
    ReplicaOptions {
        directory: "/peer".into(),
        client_address: format!("client-of-{address}"),
        peer_address: address.to_owned(),
        timing: Timing::default(),
        segment_bytes: LogOptions::SEGMENT_BYTES_MIN,
        kept_log_bytes: None,
        reserve_bytes: None,
        scrub_bytes_per_second: ReplicaOptions::SCRUB_BYTES_PER_SECOND_DEFAULT,
        block_cache_bytes: ReplicaOptions::BLOCK_CACHE_BYTES_DEFAULT,
        accept_clock: false,
        join_token: None,
    }
}

/// The link from another node of the cluster to its founder.
fn link_to(peer: &Identity, address: &str) -> (Arc<Link<TokioHost>>, LogWriter) {
    let vfs = Arc::new(MemVfs::new());
    let identity = Identity { node: HERE, ..*peer };
    let segment_bytes = LogOptions::SEGMENT_BYTES_MIN;
    let options = LogOptions { segment_bytes, ..identity.log_options(Reach::default(), 1) };
    let opened = RaftLog::open(vfs.clone(), Path::new("/here/log"), options);
    let (log, writer) = opened.expect("an empty log");
    let (_, ledger) = tokio::sync::watch::channel(Arc::default());
    let guard = Arc::new(Guard::new(identity, 1, log, ledger));
    let local = LocalNode {
        host: TokioHost::with_vfs(vfs),
        guard,
        transfers: Transfers::default(),
        rooms: Arc::default(),
        round_trips: Arc::default(),
        deadline: PATIENCE,
        peer_address: String::new(),
    };
    let (client_address, peer_address) = (String::new(), address.to_owned());
    let addresses = Addresses { client_address, peer_address };
    (Peers::new(local).link(peer.node, &addresses), writer)
}

/// Asks for a vote, once.
async fn ask(link: &Link<TokioHost>) -> Result<v1::VoteResponse, Status> {
    let vote = Vote::new(1, HERE);
    let request = VoteRequest::<TypeConfig<TokioRuntime>>::new(vote, None);
    let asked = link.unary(PATIENCE, |origin, mut client| {
        let request = wire::vote_request(&request, true, origin);
        async move { client.vote(request).await }
    });
    asked.await
}

/// An idle cluster lost one election round to a follower that had been restarted since it was greeted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_was_started_again_since_the_last_vote_answers_the_next_one_within_one_call() {
    let vfs = MemVfs::new();
    let peer = Peer::start(&vfs, "127.0.0.1:0");
    let (identity, address) = (peer.found(), peer.address.clone());
    let (link, _writer) = link_to(&identity, &address);
    ask(&link).await.expect("an answer");
    let greeted = link.guard().origin(identity.node).expect("it is let in");
    peer.stop().await;
    assert!(ask(&link).await.is_err(), "nobody is there");
    assert_eq!(link.guard().origin(identity.node), Some(greeted), "it takes it for what it was");
    let peer = Peer::start(&vfs, &address);
    ask(&link).await.expect("an answer to the first call");
    let greeted_again = link.guard().origin(identity.node).expect("it is let in");
    assert!(greeted_again.to_boot > greeted.to_boot);
    peer.stop().await;
}

/// An answer to a heartbeat that was given up would pass for the answer to the next one, and confirm a leader that was
/// deposed in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_that_is_given_up_takes_its_stream_with_it() {
    let peer = Peer::start(&MemVfs::new(), "127.0.0.1:0");
    let (link, _writer) = link_to(&peer.found(), &peer.address);
    let heartbeat = || AppendEntriesRequest::<TypeConfig<TokioRuntime>> {
        vote: Vote::new_committed(9, HERE),
        prev_log_id: None,
        leader_commit: None,
        entries: Vec::new(),
    };
    let mut heartbeats = Heartbeats::new();
    for _ in 0..2 {
        let answer = heartbeats.send(&link, heartbeat()).await.expect("an answer");
        assert!(answer.is_ok(), "{answer:?}");
        assert!(heartbeats.is_open());
    }
    assert!(heartbeats.send(&link, heartbeat()).now_or_never().is_none());
    assert!(!heartbeats.is_open());
    heartbeats.send(&link, heartbeat()).await.expect("an answer on a new stream").expect("ok");
    peer.stop().await;
}
