//! A fake node whose answers the test gives by hand.

use std::pin::Pin;

use crate::fake_cluster::Members;
use futures_util::Stream;
use quorate_client::{Builder, Client};
use quorate_proto::wire::v1::cluster_server::ClusterServer;
use quorate_proto::wire::v1::events_server::{Events, EventsServer};
use quorate_proto::wire::v1::session_answer::Outcome;
use quorate_proto::wire::v1::session_append::Request;
use quorate_proto::wire::{message_of, v1};
use quorate_proto::{Append, Change, Problem};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Response, Status, Streaming};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A session that the client opened.
pub(crate) struct Session {
    requests: Streaming<v1::AppendSessionRequest>,
    answers: mpsc::Sender<Result<v1::AppendSessionResponse, Status>>,
    waiting: std::collections::VecDeque<v1::SessionAppend>,
}

impl Session {
    /// Waits for the next append; returns its number and its contents.
    pub(crate) async fn next(&mut self) -> (u64, Append) {
        while self.waiting.is_empty() {
            match self.requests.message().await {
                Ok(Some(message)) => self.waiting.extend(message.appends),
                // The client gave the session up: no append will come any more.
                Ok(None) | Err(_) => std::future::pending().await,
            }
        }
        let v1::SessionAppend { number, request, deadline_ms, expires_alone: _ } =
            self.waiting.pop_front().expect("not empty");
        assert!(deadline_ms > 0, "the deadline is sent");
        let append = match request.expect("a request") {
            Request::Append(append) => {
                let append = message_of(&append).expect("a message");
                Append::try_from(Some(append)).expect("a valid append")
            }
            Request::Change(change) => {
                let change = Change::try_from(Some(change)).expect("a valid change");
                change.to_append().expect("an append")
            }
        };
        (number, append)
    }

    /// Answers that the next append is in the log, at that position.
    pub(crate) async fn append_next(&mut self, position: u64) -> Append {
        let (number, append) = self.next().await;
        self.answer(number, Ok(position)).await;
        append
    }

    /// Answers an append: with its version, which is also its position, or with a problem.
    pub(crate) async fn answer(&self, number: u64, answer: Result<u64, Problem>) {
        let outcome = match answer {
            Ok(position) => Outcome::Appended(v1::AppendResponse {
                versions: vec![position],
                first_position: position,
                last_position: position,
                ..v1::AppendResponse::default()
            }),
            Err(problem) => Outcome::Problem(problem.into()),
        };
        let answers = vec![v1::SessionAnswer { number, outcome: Some(outcome) }];
        let message = v1::AppendSessionResponse { answers, leader: String::new() };
        self.answers.send(Ok(message)).await.expect("the client listens");
    }

    /// Sends the client the leader's address, which opens a session.
    pub(crate) async fn send_leader(&self, leader: &str) {
        let message = v1::AppendSessionResponse { answers: Vec::new(), leader: leader.to_owned() };
        self.answers.send(Ok(message)).await.expect("the client listens");
    }

    /// Ends the session like a node that dies: without a typed detail.
    pub(crate) async fn lose(self) {
        let _ = self.answers.send(Err(Status::unavailable("gone"))).await;
    }
}

/// A read that the client requested.
pub(crate) struct Read {
    pub(crate) request: v1::ReadRequest,
    pub(crate) answers: mpsc::Sender<Result<v1::ReadResponse, Status>>,
}

impl Read {
    pub(crate) async fn send(&self, message: v1::read_response::Message) {
        let message = v1::ReadResponse { message: Some(message) };
        self.answers.send(Ok(message)).await.expect("the client listens");
    }
}

/// A list that the client requested.
pub(crate) struct List {
    pub(crate) request: v1::ListNamesRequest,
    pub(crate) answers: mpsc::Sender<Result<v1::ListNamesResponse, Status>>,
}

/// A snapshot that the client puts.
pub(crate) struct Put {
    pub(crate) request: v1::PutSnapshotRequest,
    /// Takes the version of the snapshot that is stored then.
    pub(crate) answer: oneshot::Sender<Result<u64, Status>>,
}

struct Service {
    sessions: mpsc::UnboundedSender<Session>,
    reads: mpsc::UnboundedSender<Read>,
    lists: mpsc::UnboundedSender<List>,
    snapshots: mpsc::UnboundedSender<Put>,
}

/// A fake node, as the test uses it.
pub(crate) struct Node {
    pub(crate) address: String,
    pub(crate) members: Members,
    sessions: mpsc::UnboundedReceiver<Session>,
    reads: mpsc::UnboundedReceiver<Read>,
    lists: mpsc::UnboundedReceiver<List>,
    snapshots: mpsc::UnboundedReceiver<Put>,
}

impl Node {
    pub(crate) async fn start() -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (sessions, opened) = mpsc::unbounded_channel();
        let (reads, asked) = mpsc::unbounded_channel();
        let (lists, listed) = mpsc::unbounded_channel();
        let (snapshots, put) = mpsc::unbounded_channel();
        let service = EventsServer::new(Service { sessions, reads, lists, snapshots });
        let incoming = TcpListenerStream::new(listener);
        let members = Members::default();
        let cluster = ClusterServer::new(members.clone());
        let server = Server::builder().add_service(service).add_service(cluster);
        tokio::spawn(server.serve_with_incoming(incoming));
        Node { address, members, sessions: opened, reads: asked, lists: listed, snapshots: put }
    }

    /// Waits for the next session that is opened here, and sends it the address of the leader.
    pub(crate) async fn session(&mut self, leader: &str) -> Session {
        let session = self.sessions.recv().await.expect("the node lives");
        session.send_leader(leader).await;
        session
    }

    /// Waits for the next read that is requested here.
    pub(crate) async fn read(&mut self) -> Read {
        self.reads.recv().await.expect("the node lives")
    }

    /// Waits for the next list that is requested here.
    pub(crate) async fn list(&mut self) -> List {
        self.lists.recv().await.expect("the node lives")
    }

    /// Waits for the next snapshot that is put here.
    pub(crate) async fn snapshot(&mut self) -> Put {
        self.snapshots.recv().await.expect("the node lives")
    }

    /// Returns true if a session was opened that the test has not taken yet.
    pub(crate) fn has_session(&mut self) -> bool {
        self.sessions.try_recv().is_ok()
    }
}

/// Returns a client of these nodes.
pub(crate) fn client(nodes: &[&Node], with: impl FnOnce(Builder) -> Builder) -> Client {
    let endpoints = nodes.iter().map(|node| node.address.clone());
    with(Client::builder().endpoints(endpoints).in_order(true))
        .build()
        .expect("the addresses are well formed")
}

#[tonic::async_trait]
impl Events for Service {
    type AppendSessionStream = Answers<v1::AppendSessionResponse>;
    type ReadStream = Answers<v1::ReadResponse>;
    type ListNamesStream = Answers<v1::ListNamesResponse>;

    async fn change_stream(
        &self,
        _: tonic::Request<v1::ChangeStreamRequest>,
    ) -> Result<Response<v1::AppendResponse>, Status> {
        Err(Status::unimplemented("the client has no use for it"))
    }

    async fn show_stream(
        &self,
        _: tonic::Request<v1::ShowStreamRequest>,
    ) -> Result<Response<v1::ShowStreamResponse>, Status> {
        Err(Status::unavailable("no test asks for it"))
    }

    async fn put_snapshot(
        &self,
        request: tonic::Request<v1::PutSnapshotRequest>,
    ) -> Result<Response<v1::PutSnapshotResponse>, Status> {
        let (answer, answered) = oneshot::channel();
        let _ = self.snapshots.send(Put { request: request.into_inner(), answer });
        let version = answered.await.unwrap_or_else(|_| Err(Status::unavailable("gone")))?;
        Ok(Response::new(v1::PutSnapshotResponse { version }))
    }

    async fn append(
        &self,
        _: tonic::Request<v1::AppendRequest>,
    ) -> Result<Response<v1::AppendResponse>, Status> {
        Err(Status::unimplemented("the client has no use for it"))
    }

    async fn append_session(
        &self,
        request: tonic::Request<Streaming<v1::AppendSessionRequest>>,
    ) -> Result<Response<Self::AppendSessionStream>, Status> {
        let (answers, queue) = mpsc::channel(64);
        let requests = request.into_inner();
        let _ = self.sessions.send(Session { requests, answers, waiting: Default::default() });
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }

    async fn read(
        &self,
        request: tonic::Request<v1::ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let (answers, queue) = mpsc::channel(64);
        let _ = self.reads.send(Read { request: request.into_inner(), answers });
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }

    async fn list_names(
        &self,
        request: tonic::Request<v1::ListNamesRequest>,
    ) -> Result<Response<Self::ListNamesStream>, Status> {
        let (answers, queue) = mpsc::channel(64);
        let _ = self.lists.send(List { request: request.into_inner(), answers });
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }
}
