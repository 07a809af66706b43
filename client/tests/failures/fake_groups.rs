//! A node that lets consumers in, whose deliveries the test makes by hand.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use quorate_client::Client;
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::groups_server::{Groups, GroupsServer};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

/// The number of parked events in every group.
pub(crate) const PARKED_MAX: u64 = 1_234;

/// The number of listed groups, each in a message of its own …
pub(crate) const GROUPS: usize = 8;
/// … and the time between two of these messages.
pub(crate) const LISTED_EVERY: Duration = Duration::from_millis(100);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A consumer that asks to join.
pub(crate) struct Joining {
    pub(crate) join: v1::JoinGroup,
    requests: Streaming<v1::ConsumeRequest>,
    answers: mpsc::Sender<Result<v1::ConsumeResponse, Status>>,
}

impl Joining {
    /// Lets the consumer in, and sends it the address of the leader.
    pub(crate) async fn let_in(self, leader: &str) -> JoinedConsumer {
        let Joining { requests, answers, .. } = self;
        let consumer = JoinedConsumer { requests, answers };
        let joined = v1::Joined { term: 1, leader: leader.to_owned(), settings: None };
        let message = v1::ConsumeResponse { joined: Some(joined), ..Default::default() };
        consumer.send(message).await;
        consumer
    }

    /// Refuses the consumer.
    pub(crate) async fn refuse(self, status: impl Into<Status>) {
        let _ = self.answers.send(Err(status.into())).await;
    }
}

/// A consumer that was let in.
pub(crate) struct JoinedConsumer {
    requests: Streaming<v1::ConsumeRequest>,
    answers: mpsc::Sender<Result<v1::ConsumeResponse, Status>>,
}

impl JoinedConsumer {
    async fn send(&self, message: v1::ConsumeResponse) {
        self.answers.send(Ok(message)).await.expect("the consumer listens");
    }

    /// Delivers an event.
    pub(crate) async fn deliver(&self, number: u64, position: u64) {
        let event = v1::NewEvent {
            id: vec![position as u8; 16].into(),
            r#type: "Made".into(),
            schema: 1,
            ..v1::NewEvent::default()
        };
        let (stream, version) = ("order-1".to_owned(), position);
        let event =
            v1::RecordedEvent { position, stream, version, recorded_at: 0, event: Some(event) };
        let delivery = v1::Delivery { number, event: Some(event), attempt: 1, timeout_ms: 600 };
        self.send(v1::ConsumeResponse { deliveries: vec![delivery], ..Default::default() }).await;
    }

    pub(crate) async fn confirm(&self, settled: &[u64], lapsed: &[u64]) {
        let (settled, lapsed) = (settled.to_vec(), lapsed.to_vec());
        self.send(v1::ConsumeResponse { settled, lapsed, ..Default::default() }).await;
    }

    /// Sends another timeout of the group.
    pub(crate) async fn set_timeout(&self, timeout_ms: u64) {
        let timeout_ms = Some(timeout_ms);
        self.send(v1::ConsumeResponse { timeout_ms, ..Default::default() }).await;
    }

    /// Returns the next settlements; `None` when the consumer has left in order.
    pub(crate) async fn settled(&mut self) -> Option<Vec<v1::Settlement>> {
        loop {
            let message = self.requests.message().await.expect("it is not lost")?;
            if !message.settlements.is_empty() {
                return Some(message.settlements);
            }
        }
    }

    /// Returns the numbers of the next deliveries that the consumer reports to work on.
    pub(crate) async fn begun(&mut self) -> Vec<u64> {
        loop {
            let message = self.requests.message().await.expect("it is not lost");
            let message = message.expect("it does not leave");
            if !message.begun.is_empty() {
                return message.begun;
            }
        }
    }

    /// Ends the stream as a node that dies does.
    pub(crate) async fn lose(self) {
        let _ = self.answers.send(Err(Status::unavailable("gone"))).await;
    }

    /// Ends the stream in order.
    pub(crate) fn end(self) {}
}

struct Service {
    joining: mpsc::UnboundedSender<Joining>,
    settled: Arc<Mutex<v1::FindSettledResponse>>,
    list_hangs: Arc<Mutex<bool>>,
    /// The id of the change that was made: the answer to its first attempt was lost.
    made: Mutex<Bytes>,
}

/// A fake node, as the test uses it.
pub(crate) struct GroupNode {
    pub(crate) address: String,
    joining: mpsc::UnboundedReceiver<Joining>,
    /// The events that the group has settled and parked by now; empty until the test sets them.
    pub(crate) settled: Arc<Mutex<v1::FindSettledResponse>>,
    /// True if a list of groups never ends.
    pub(crate) list_hangs: Arc<Mutex<bool>>,
}

impl GroupNode {
    pub(crate) async fn start() -> GroupNode {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (sender, joining) = mpsc::unbounded_channel();
        let settled = Arc::<Mutex<v1::FindSettledResponse>>::default();
        let (list_hangs, made) = (Arc::<Mutex<bool>>::default(), Mutex::default());
        let (found, hangs) = (settled.clone(), list_hangs.clone());
        let service = Service { joining: sender, settled: found, list_hangs: hangs, made };
        let service = GroupsServer::new(service);
        let incoming = TcpListenerStream::new(listener);
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        GroupNode { address, joining, settled, list_hangs }
    }

    /// Waits for the next consumer that asks to join here.
    pub(crate) async fn joining(&mut self) -> Joining {
        self.joining.recv().await.expect("the node lives")
    }
}

/// Returns a client of these nodes.
pub(crate) fn client(nodes: &[&GroupNode]) -> Client {
    let endpoints = nodes.iter().map(|node| node.address.clone());
    Client::builder()
        .endpoints(endpoints)
        .in_order(true)
        .build()
        .expect("the addresses are well formed")
}

impl Service {
    /// Makes the first change, and loses its answer; a repetition gets that answer. Any other change finds nothing to
    /// change.
    fn change(&self, id: &Bytes, count: u64) -> Result<Response<v1::ChangeGroupResponse>, Status> {
        let mut made = self.made.lock().expect("no panic");
        if made.is_empty() {
            *made = id.clone();
            return Err(Status::unavailable("gone"));
        }
        let count = if *made == *id { count } else { 0 };
        Ok(Response::new(v1::ChangeGroupResponse { count }))
    }
}

fn no_use<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("no test asks for it"))
}

#[tonic::async_trait]
impl Groups for Service {
    type ListGroupsStream = Answers<v1::ListGroupsResponse>;
    type ListParkedStream = Answers<v1::ListParkedResponse>;
    type ConsumeStream = Answers<v1::ConsumeResponse>;

    /// Takes a creation and a reset, and never answers them.
    async fn change_group(
        &self,
        request: Request<v1::ChangeGroupRequest>,
    ) -> Result<Response<v1::ChangeGroupResponse>, Status> {
        use v1::change_group_request::Change;
        let request = request.into_inner();
        match request.change {
            Some(Change::Create(_) | Change::Reset(_)) => std::future::pending().await,
            Some(Change::Delete(_)) => self.change(&request.request_id, 1),
            Some(Change::Replay(_)) => self.change(&request.request_id, 3),
            _ => no_use(),
        }
    }

    /// Lists the groups slowly; a node whose list hangs never ends it.
    async fn list_groups(
        &self,
        _: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<Self::ListGroupsStream>, Status> {
        let hangs = *self.list_hangs.lock().expect("no panic");
        let listed = stream::unfold(0, move |number| async move {
            tokio::time::sleep(LISTED_EVERY).await;
            if number == GROUPS {
                return if hangs { std::future::pending().await } else { None };
            }
            let group = v1::Group {
                name: format!("group-{number}"),
                settings: Some(v1::GroupSettings::default()),
                ..v1::Group::default()
            };
            Some((Ok(v1::ListGroupsResponse { groups: vec![group] }), number + 1))
        });
        Ok(Response::new(Box::pin(listed)))
    }

    async fn show_group(
        &self,
        _: Request<v1::ShowGroupRequest>,
    ) -> Result<Response<v1::Group>, Status> {
        no_use()
    }

    async fn list_parked(
        &self,
        request: Request<v1::ListParkedRequest>,
    ) -> Result<Response<Self::ListParkedStream>, Status> {
        let v1::ListParkedRequest { after, limit, .. } = request.into_inner();
        if limit == 0 || limit > PARKED_MAX / 2 {
            return Err(Status::unavailable("that would take longer than the deadline"));
        }
        let parked = (after + 1..=PARKED_MAX).take(limit as usize).map(|position| {
            let parked = v1::ParkedEvent { position, ..Default::default() };
            Ok(v1::ListParkedResponse { parked: vec![parked] })
        });
        Ok(Response::new(Box::pin(tokio_stream::iter(parked.collect::<Vec<_>>()))))
    }

    async fn find_settled(
        &self,
        request: Request<v1::FindSettledRequest>,
    ) -> Result<Response<v1::FindSettledResponse>, Status> {
        let asked = request.into_inner().positions;
        let mut found = self.settled.lock().expect("no panic").clone();
        found.settled.retain(|position| asked.contains(position));
        found.parked.retain(|position| asked.contains(position));
        Ok(Response::new(found))
    }

    async fn consume(
        &self,
        request: Request<Streaming<v1::ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let mut requests = request.into_inner();
        let first = requests.message().await?.expect("a first message");
        let join = first.join.expect("it joins");
        let (answers, queue) = mpsc::channel(64);
        let _ = self.joining.send(Joining { join, requests, answers });
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }
}
