//! A cluster of replicas, each on its own runtime, so that stopping one ends all its tasks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::limits::CHUNK_BYTES_DEFAULT;
use quorate_proto::{
    Append, Event, EventId, EventType, Expectation, LogIndex, Position, Query, Read, StreamName,
    Timestamp,
};
use quorate_raft::host::{Host, Listening, TokioHost};
use quorate_raft::log::{LogOptions, RaftLog, Reach};
use quorate_raft::{
    CatchUp, ChangeError, Identity, JoinToken, MemberChange, ProposeError, Replica, ReplicaOptions,
    Role, StartError, Status, Timing, transport,
};
use quorate_store::command::{Builder, encode_append};
use quorate_store::defect::{Defect, put_back};
use quorate_store::vfs::MemVfs;
use quorate_store::{Fault, Verdict};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The longest time to wait: far longer than anything takes on a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// Returns the options of the replicas of these tests.
pub(crate) fn options(directory: &Path, address: &str) -> ReplicaOptions {
    ReplicaOptions {
        directory: directory.to_owned(),
        client_address: format!("client-of-{address}"),
        peer_address: address.to_owned(),
        timing: Timing::default(),
        segment_bytes: 256 * 1024,
        kept_log_bytes: None,
        reserve_bytes: None,
        scrub_bytes_per_second: ReplicaOptions::SCRUB_BYTES_PER_SECOND_DEFAULT,
        block_cache_bytes: ReplicaOptions::BLOCK_CACHE_BYTES_DEFAULT,
        accept_clock: false,
        join_token: None,
    }
}

/// A replica and its server.
pub(crate) struct Node {
    pub(crate) replica: Replica<TokioHost>,
    pub(crate) address: String,
    pub(crate) directory: PathBuf,
    runtime: Option<Runtime>,
}

impl Node {
    /// Starts a replica on a folder; on any free port, or on the one it had before.
    pub(crate) fn start(host: TokioHost, directory: &Path, address: &str) -> Node {
        Node::try_start(host, directory, address).expect("a replica")
    }

    /// Does the same, but returns an error if the replica refuses.
    pub(crate) fn try_start(
        host: TokioHost,
        directory: &Path,
        address: &str,
    ) -> Result<Node, StartError> {
        Node::try_start_with(host, directory, address, None)
    }

    /// Does the same with the join token of a cluster.
    pub(crate) fn try_start_with(
        host: TokioHost,
        directory: &Path,
        address: &str,
        join_token: Option<JoinToken>,
    ) -> Result<Node, StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        // The replica starts on its own runtime, because the test itself runs on one, too.
        let started = async {
            let listening = host.listen(address).await.expect("a free port");
            let Listening { address, incoming } = listening;
            let options = ReplicaOptions { join_token, ..options(directory, &address) };
            let replica = Replica::start(host, options).await?;
            let server = transport::server().add_routes(replica.routes());
            tokio::spawn(server.serve_with_incoming(incoming));
            Ok::<_, StartError>((replica, address))
        };
        let started = tokio::task::block_in_place(|| runtime.block_on(started));
        let (replica, address) = match started {
            Ok(started) => started,
            Err(error) => {
                tokio::task::block_in_place(|| drop(runtime));
                return Err(error);
            }
        };
        let directory = directory.to_owned();
        Ok(Node { replica, address, directory, runtime: Some(runtime) })
    }

    pub(crate) fn status(&self) -> Status {
        self.replica.status().borrow().clone()
    }

    /// Waits until the status passes a test.
    pub(crate) async fn until(&self, what: &str, test: impl FnMut(&Status) -> bool) -> Status {
        let mut status = self.replica.status();
        let reached = tokio::time::timeout(PATIENCE, status.wait_for(test)).await;
        match reached {
            Ok(Ok(status)) => status.clone(),
            _ => panic!("{what}: {:#?}", self.status()),
        }
    }

    /// Ends the replica, and with it every connection.
    pub(crate) async fn stop(mut self) {
        self.replica.shutdown().await;
        self.end_tasks();
    }

    /// Waits until the tasks have ended: the port must be free.
    fn end_tasks(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            tokio::task::block_in_place(|| runtime.shutdown_timeout(PATIENCE));
        }
    }

    /// Puts a defect into the replica: it applies commands on this one thread.
    pub(crate) async fn put_back(&self, defect: Defect) {
        self.runtime().spawn(async move { put_back(Some(defect)) }).await.expect("done");
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it runs")
    }

    /// Waits until the replica has applied this number of events.
    pub(crate) async fn has(&self, events: u64) {
        let reached = self.replica.applied_position(Position(events), deadline()).await;
        assert_eq!(reached, Ok(()), "{events} events: {:#?}", self.status());
    }

    /// Returns the ids of all events of the replica, in order.
    pub(crate) fn events(&self) -> Vec<EventId> {
        self.try_events().expect("readable")
    }

    /// Does the same, but returns the fault if they cannot be read.
    pub(crate) fn try_events(&self) -> Result<Vec<EventId>, Fault> {
        let reader = self.replica.reader().expect("it belongs to a cluster");
        let all = Read::query(Query::everything());
        let mut scan = reader.scan(&all)?;
        let mut ids = Vec::new();
        while let Some(page) = scan.next_page(1 << 20)? {
            ids.extend(page.into_iter().map(|event| event.id));
        }
        Ok(ids)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end_tasks();
    }
}

/// A cluster; a node that is stopped leaves its place empty.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Option<Node>>,
    places: Vec<(PathBuf, String)>,
    hosts: Vec<TokioHost>,
    pub(crate) folder: TempDir,
    next: u128,
}

impl Cluster {
    /// Three nodes that were founded and have a leader.
    pub(crate) async fn found(chunk_bytes: u64) -> Cluster {
        Cluster::found_on(TokioHost::new(), chunk_bytes).await
    }

    /// Does the same on another machine.
    pub(crate) async fn found_on(host: TokioHost, chunk_bytes: u64) -> Cluster {
        Cluster::found_on_each(vec![host; 3], chunk_bytes).await
    }

    /// Does the same with each node on its own disk.
    pub(crate) async fn found_on_disks(disks: &[MemVfs; 3], chunk_bytes: u64) -> Cluster {
        let hosts = disks.iter().map(|disk| TokioHost::with_vfs(Arc::new(disk.clone())));
        Cluster::found_on_each(hosts.collect(), chunk_bytes).await
    }

    async fn found_on_each(hosts: Vec<TokioHost>, chunk_bytes: u64) -> Cluster {
        let cluster = Cluster::start_on(hosts);
        let peers = cluster.places.iter().map(|(_, address)| address.clone()).collect();
        let first = cluster.node(0);
        let founder = first.replica.clone();
        // Founding starts Raft, so it runs on the founder's own runtime.
        let founding = async move { founder.bootstrap(peers, chunk_bytes).await };
        let founded = first.runtime().spawn(founding).await.expect("no panic");
        founded.expect("a new cluster");
        cluster.leader().await;
        cluster
    }

    /// One node that was founded and leads.
    pub(crate) async fn found_alone(chunk_bytes: u64) -> Cluster {
        Cluster::found_on_each(vec![TokioHost::new()], chunk_bytes).await
    }

    pub(crate) async fn new() -> Cluster {
        Cluster::found(CHUNK_BYTES_DEFAULT).await
    }

    /// Starts nodes that belong to no cluster yet.
    pub(crate) fn start(count: usize) -> Cluster {
        Cluster::start_on(vec![TokioHost::new(); count])
    }

    fn start_on(hosts: Vec<TokioHost>) -> Cluster {
        // Logging is off unless RUST_LOG turns it on; another test may have set it already.
        let _set = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let folder = tempfile::tempdir().expect("a folder");
        let start = |(number, host): (usize, &TokioHost)| {
            let directory = folder.path().join(format!("node-{number}"));
            Node::start(host.clone(), &directory, "127.0.0.1:0")
        };
        let nodes: Vec<Node> = (1..).zip(&hosts).map(start).collect();
        let place = |node: &Node| (node.directory.clone(), node.address.clone());
        let places = nodes.iter().map(place).collect();
        Cluster { nodes: nodes.into_iter().map(Some).collect(), places, hosts, folder, next: 1 }
    }

    pub(crate) fn node(&self, place: usize) -> &Node {
        self.nodes.get(place).and_then(Option::as_ref).expect("a running node")
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }

    pub(crate) fn place(&self, place: usize) -> &(PathBuf, String) {
        self.places.get(place).expect("a place")
    }

    pub(crate) async fn stop(&mut self, place: usize) {
        let node = self.nodes.get_mut(place).and_then(Option::take).expect("a running node");
        node.stop().await;
    }

    pub(crate) fn start_again(&mut self, place: usize) {
        let (directory, address) = self.place(place).clone();
        let host = self.hosts.get(place).expect("a place").clone();
        let node = Node::start(host, &directory, &address);
        *self.nodes.get_mut(place).expect("a place") = Some(node);
    }

    /// Returns the place of the node that leads and that the other running nodes follow.
    pub(crate) async fn leader(&self) -> usize {
        let end = deadline();
        loop {
            for (place, node) in self.nodes.iter().enumerate() {
                let Some(status) = node.as_ref().map(Node::status) else { continue };
                if status.role == Role::Leader {
                    return place;
                }
            }
            let changed = self.running().map(|node| {
                let mut status = node.replica.status();
                Box::pin(async move { status.changed().await.is_ok() })
            });
            let changed = futures_util::future::select_all(changed);
            tokio::time::timeout_at(end, changed).await.expect("a leader in time");
        }
    }

    /// Starts a node on an empty folder that waits for this cluster to take it in; returns its place.
    pub(crate) fn wait_outside(&mut self) -> usize {
        let token = self.running().find_map(|node| node.replica.join_token());
        self.start_outside(token.expect("a member"))
    }

    /// Does the same with another token.
    pub(crate) fn start_outside(&mut self, token: JoinToken) -> usize {
        let place = self.nodes.len();
        let directory = self.folder.path().join(format!("node-{}", place + 1));
        let host = TokioHost::new();
        let started = Node::try_start_with(host.clone(), &directory, "127.0.0.1:0", Some(token));
        let node = started.expect("a replica");
        self.places.push((node.directory.clone(), node.address.clone()));
        self.hosts.push(host);
        self.nodes.push(Some(node));
        place
    }

    /// Asks whichever node leads for a change of the members, until it is made or refused.
    pub(crate) async fn change(&self, change: MemberChange) -> Result<u64, ChangeError> {
        let end = deadline();
        loop {
            let leader = self.node(self.leader().await);
            let (replica, asked) = (leader.replica.clone(), change.clone());
            let changed = leader
                .runtime()
                .spawn(async move { replica.change_members(asked, |_: &CatchUp| {}).await });
            match changed.await.expect("no panic") {
                Err(ChangeError::NotLeader | ChangeError::Later(_)) if Instant::now() < end => {
                    tokio::task::yield_now().await;
                }
                done => return done,
            }
        }
    }

    /// Takes in a node that waits elsewhere.
    pub(crate) async fn change_elsewhere(&self, peer_address: String) -> Result<u64, ChangeError> {
        self.change(MemberChange::Add { peer_address, as_learner: false }).await
    }

    /// Begins a change at the node at a place, which may end before it is made.
    pub(crate) fn begin_change(&self, place: usize, change: MemberChange) -> JoinHandle<()> {
        let node = self.node(place);
        let replica = node.replica.clone();
        node.runtime().spawn(async move {
            let _cut_off = replica.change_members(change, |_: &CatchUp| {}).await;
        })
    }

    /// Starts a stopped node on its folder at another address; returns the address that it had.
    pub(crate) fn move_elsewhere(&mut self, place: usize) -> String {
        let (directory, before) = self.place(place).clone();
        let host = self.hosts.get(place).expect("a place").clone();
        // The port that it had stays taken for the moment, so that it gets another.
        let _taken = std::net::TcpListener::bind(&before);
        let node = Node::start(host, &directory, "127.0.0.1:0");
        self.places.get_mut(place).expect("a place").1 = node.address.clone();
        *self.nodes.get_mut(place).expect("a place") = Some(node);
        before
    }

    /// Takes in the node at a place.
    pub(crate) async fn add(&self, place: usize, as_learner: bool) -> u64 {
        let peer_address = self.place(place).1.clone();
        let added = self.change(MemberChange::Add { peer_address, as_learner }).await;
        added.expect("it is taken in")
    }

    /// Returns the place of a follower.
    pub(crate) async fn follower(&self) -> usize {
        let leader = self.leader().await;
        let running = self.nodes.iter().enumerate().filter(|(_, node)| node.is_some());
        running.map(|(place, _)| place).find(|place| *place != leader).expect("a follower")
    }

    /// Appends one event with `bytes` bytes of data, through any leader, until it is acknowledged.
    pub(crate) async fn append(&mut self, bytes: usize) -> Position {
        let id = EventId::from_bytes(self.next.to_be_bytes()).expect("an id");
        self.next += 1;
        let end = deadline();
        while Instant::now() < end {
            let leader = self.leader().await;
            let node = self.node(leader);
            let term = node.status().term;
            match propose(node, term, command(id, bytes)).await {
                Ok(verdicts) => match verdicts.as_slice() {
                    [Verdict::Appended(done) | Verdict::Repeated(done)] => {
                        return done.last_position;
                    }
                    other => panic!("{other:?}"),
                },
                Err(ProposeError::Stopped) => panic!("the leader stopped"),
                // The next try uses the same id: the event may be there.
                Err(_) => tokio::task::yield_now().await,
            }
        }
        panic!("nothing was acknowledged in time");
    }

    /// Appends one event; `None` when the cluster cannot append any more, or the outcome is unknown: a leader
    /// whose followers are gone never learns it.
    pub(crate) async fn try_append(&mut self, bytes: usize) -> Option<Position> {
        tokio::task::yield_now().await;
        let id = EventId::from_bytes(self.next.to_be_bytes()).expect("an id");
        self.next += 1;
        let leader = self.running().find(|node| node.status().role == Role::Leader)?;
        let proposed = propose(leader, leader.status().term, command(id, bytes));
        let verdicts = tokio::time::timeout(Duration::from_secs(2), proposed).await.ok()?.ok()?;
        verdicts.into_iter().find_map(|verdict| match verdict {
            Verdict::Appended(done) | Verdict::Repeated(done) => Some(done.last_position),
            Verdict::Rejected(_)
            | Verdict::Unsettled(_)
            | Verdict::SnapshotStored(_)
            | Verdict::Group(_) => None,
        })
    }

    /// Appends `count` events; returns the position of the last.
    pub(crate) async fn append_many(&mut self, count: usize, bytes: usize) -> Position {
        let mut last = Position::ZERO;
        for _ in 0..count {
            last = self.append(bytes).await;
        }
        last
    }

    /// Checks that every running node has the same events, `events` of them.
    pub(crate) async fn agree(&self, events: u64) {
        let mut all = Vec::new();
        for node in self.running() {
            node.has(events).await;
            all.push(node.events());
        }
        let first = all.first().expect("a node");
        assert_eq!(first.len() as u64, events);
        assert!(all.iter().all(|events| events == first), "the nodes differ");
    }
}

/// Proposes a command and waits for its verdicts.
pub(crate) async fn propose(
    node: &Node,
    term: quorate_proto::Term,
    command: Bytes,
) -> Result<Vec<Verdict>, ProposeError> {
    let (sender, answer) = oneshot::channel();
    let done = Box::new(move |verdicts| {
        let _nobody_waits = sender.send(verdicts);
    });
    node.replica.propose(term, command, done).await?;
    let answer = tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time");
    answer.expect("done is called in any case")
}

/// Returns a command with one append of one event, to one of a few streams.
pub(crate) fn command(id: EventId, bytes: usize) -> Bytes {
    let stream = format!("order-{}", id.as_bytes().last().map_or(0, |byte| byte % 8));
    let stream = StreamName::new(stream).expect("a name");
    // The data does not repeat itself for long, because chunks are compressed.
    let mut state = u64::from_be_bytes(*id.as_bytes().last_chunk().expect("16 bytes"));
    let data = (0..bytes).map(|_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    let kind = EventType::new("Tested").expect("a type");
    let event = Event::new(id, kind, Bytes::from_iter(data));
    let append = Append::to(stream, Expectation::Any, vec![event]);
    let mut builder = Builder::new(Timestamp(1));
    builder.push(&encode_append(&append));
    builder.finish()
}

/// Returns the log index at which a linearizable read on a node would be evaluated.
pub(crate) async fn read_index(node: &Node) -> LogIndex {
    node.replica.read_index(deadline()).await.expect("a read index")
}

/// Opens the log of a stopped node.
pub(crate) fn stopped_log(directory: &Path) -> RaftLog {
    let vfs = TokioHost::new().vfs();
    let identity = Identity::read(&*vfs, directory).expect("readable").expect("an identity");
    let options = LogOptions {
        cluster: identity.cluster,
        log: identity.log,
        node: identity.node,
        segment_bytes: 256 * 1024,
        cache_bytes: 0,
        covered: None,
        reach: Reach::default(),
        boot: 0,
    };
    RaftLog::open(vfs, &directory.join("log"), options).expect("a log").0
}
