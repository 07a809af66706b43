//! A consumer's stream, to the leader or through another node.

use std::time::Duration;

use quorate_proto::wire::v1::{ConsumeRequest, ConsumeResponse, Joined};
use quorate_proto::{Join, Problem};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use crate::incoming::Incoming;
use crate::nodes::{Nodes, problem};
use crate::trouble::{late, not_understood};

/// The time that a node may take to let a consumer in: the leader may have to look at earlier failures.
const JOINED_WITHIN: Duration = Duration::from_secs(10);
/// The time that a stream may take to end when the consumer leaves.
const LEFT_WITHIN: Duration = Duration::from_secs(5);
/// The number of messages that wait for the network; later settlements wait outside and make larger messages.
const QUEUE_MESSAGES: usize = 2;

/// A stream on which the consumer was let in.
pub(super) struct Stream {
    pub(super) requests: mpsc::Sender<ConsumeRequest>,
    pub(super) incoming: Incoming<ConsumeResponse>,
}

impl Stream {
    /// Joins at a node, and moves to the leader if that is another node and can be reached.
    pub(super) async fn open(nodes: &Nodes, address: &str, join: &Join) -> Result<Stream, Problem> {
        let (stream, joined) = Stream::open_at(nodes, address, join).await?;
        let leader = joined.leader;
        if leader == stream.incoming.address || !nodes.learn_leader(&leader) {
            return Ok(stream);
        }
        // This order matters: otherwise events handed out through this node would come again, behind the leader's next.
        stream.leave().await;
        match Stream::open_at(nodes, &leader, join).await {
            Ok((direct, _)) => Ok(direct),
            Err(problem) => {
                tracing::debug!(leader, %problem, "events come through {address}");
                nodes.is_out_of_reach(&leader);
                Stream::open_at(nodes, address, join).await.map(|(stream, _)| stream)
            }
        }
    }

    async fn open_at(
        nodes: &Nodes,
        address: &str,
        join: &Join,
    ) -> Result<(Stream, Joined), Problem> {
        let to_problem = |status| problem(address, &status);
        let opening = async {
            let (requests, queue) = mpsc::channel(QUEUE_MESSAGES);
            let join = Some(join.clone().into());
            let first = ConsumeRequest { join, ..ConsumeRequest::default() };
            requests.send(first).await.map_err(|_| late(address))?;
            let mut client = nodes.groups(address)?;
            let opened = client.consume(ReceiverStream::new(queue)).await;
            let mut messages = opened.map_err(to_problem)?.into_inner();
            let first = messages.message().await.map_err(to_problem)?;
            let joined = first.and_then(|message| message.joined);
            let joined =
                joined.ok_or_else(|| not_understood("the first message lets nobody in"))?;
            let incoming = Incoming::new(address.to_owned(), messages);
            Ok((Stream { requests, incoming }, joined))
        };
        timeout(JOINED_WITHIN, opening).await.map_err(|_| late(address))?
    }

    /// Leaves in order: delivered events go to other consumers, and the delivery does not count as an attempt.
    pub(super) async fn leave(self) {
        let Stream { requests, mut incoming } = self;
        drop(requests);
        let ending = async { while incoming.next(LEFT_WITHIN).await.is_ok() {} };
        let _ = timeout(LEFT_WITHIN, ending).await;
    }
}
