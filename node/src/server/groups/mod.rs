//! Consumer groups: the leader hands events out to the consumers of a group, wherever they are connected.
//!
//! ```text
//! consumer → service (any node) ───── on the leader ───────────────┬→ connection → owner (one task per group and term)
//!                └→ forward_consumer → accept_forwarded (leader) ──┘
//! read → subscription → owner → dispatcher → outbox → consumer
//!                            └→ outcomes of events → the log, one proposal at a time → confirmations
//! ```

mod accept_forwarded;
mod clock;
mod connection;
mod dispatcher;
mod events;
mod forward_consumer;
mod leadership;
mod outbox;
mod owner;
mod service;
mod show;
mod subscription;
mod takeover;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_proto::{ErrorKind, GroupName, Join, Outcome, Problem, Term};
use quorate_raft::host::Host;
use quorate_raft::{Member, Role};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::append::Appends;
use super::problem;
use super::read::Live;
use leadership::LeadershipWatch;
use owner::{Input, JoinedConsumer, Watched};

pub(crate) use accept_forwarded::ForwardedConsumers;
pub(crate) use service::GroupsService;

/// The maximum number of inputs that wait for an owner; senders of more inputs wait too.
const INPUTS_WAITING_MAX: usize = 256;

/// The consumer groups of a node. Each node has one.
pub(crate) struct Groups<H: Host> {
    appends: Arc<Appends<H>>,
    live: Arc<Live<H>>,
    stopping: CancellationToken,
    leadership: watch::Receiver<LeadershipWatch>,
    owners: Mutex<HashMap<GroupName, Handle>>,
    /// The connection to the newest leader other than this node, with the leader's address.
    connection: Mutex<Option<(String, Channel)>>,
}

/// The handle of an owner.
#[derive(Clone)]
struct Handle {
    term: Term,
    inbox: mpsc::Sender<Input>,
    /// Cancelled when the owner has ended.
    ended: CancellationToken,
}

/// The leader, which owns all groups.
enum Leader {
    /// This node, in this term.
    Local(Term),
    /// Another node, in this term.
    Remote(Member, Term),
}

impl<H: Host> Groups<H> {
    pub(crate) fn start(
        appends: Arc<Appends<H>>,
        live: Arc<Live<H>>,
        stopping: CancellationToken,
    ) -> Arc<Groups<H>> {
        let leadership = leadership::watch(appends.replica.clone());
        let (owners, connection) = (Mutex::default(), Mutex::default());
        Arc::new(Groups { appends, live, stopping, leadership, owners, connection })
    }

    /// Waits until a leader is known, and returns it.
    async fn find_leader(&self, deadline: Instant) -> Result<Leader, Problem> {
        let mut status = self.appends.replica.status();
        let known = status.wait_for(|now| now.id.is_none() || leader_of(now).is_some());
        match timeout_at(deadline, known).await {
            Ok(Ok(now)) => leader_of(&now).ok_or_else(problem::not_ready),
            Ok(Err(_)) => Err(problem::stopping(Outcome::NotAppended)),
            Err(_) => Err(unavailable("no leader was found in time")),
        }
    }

    /// Lets a consumer join, in a term in which this node leads.
    async fn join(
        self: &Arc<Self>,
        join: Join,
        term: Term,
        deadline: Instant,
    ) -> Result<(JoinedConsumer, mpsc::Sender<Input>), Problem> {
        loop {
            let inbox = self.owner(&join.group, term)?;
            let (reply, answer) = oneshot::channel();
            let input = Input::Join { join: join.clone(), reply };
            let joining = async {
                inbox.send(input).await.ok()?;
                answer.await.ok()
            };
            match timeout_at(deadline, joining).await {
                Ok(Some(joined)) => return Ok((joined?, inbox)),
                // This owner has ended; the next one waits until it is gone.
                Ok(None) => {}
                Err(_) => return Err(unavailable("the group did not let the consumer in in time")),
            }
        }
    }

    /// Returns the inbox of a group's owner, which is started if there is none.
    fn owner(
        self: &Arc<Self>,
        name: &GroupName,
        term: Term,
    ) -> Result<mpsc::Sender<Input>, Problem> {
        if self.stopping.is_cancelled() {
            return Err(problem::stopping(Outcome::NotAppended));
        }
        let mut owners = self.owners();
        let before = owners.get(name).cloned();
        match &before {
            Some(handle) if handle.term > term => return Err(unavailable("the leader changed")),
            Some(handle) if handle.term == term && !handle.inbox.is_closed() => {
                return Ok(handle.inbox.clone());
            }
            _ => {}
        }
        let (inbox, inputs) = mpsc::channel(INPUTS_WAITING_MAX);
        let ended = CancellationToken::new();
        let handle = Handle { term, inbox: inbox.clone(), ended: ended.clone() };
        owners.insert(name.clone(), handle);
        drop(owners);
        let (groups, name) = (self.clone(), name.clone());
        tokio::spawn(async move {
            let _ended = ended.clone().drop_guard();
            if let Some(before) = before {
                before.ended.cancelled().await;
            }
            owner::run(groups.clone(), name.clone(), term, inputs).await;
            groups.forget(&name);
        });
        Ok(inbox)
    }

    /// Removes an owner that has ended from the list, unless another one took its place.
    fn forget(&self, name: &GroupName) {
        let mut owners = self.owners();
        if owners.get(name).is_some_and(|handle| handle.inbox.is_closed()) {
            owners.remove(name);
        }
    }

    /// Returns the state that only the owner of a group knows, if the owner is on this node and answers.
    async fn watched(&self, name: &GroupName) -> Option<Watched> {
        let inbox = self.owners().get(name)?.inbox.clone();
        let (reply, answer) = oneshot::channel();
        inbox.send(Input::Watch { reply }).await.ok()?;
        answer.await.ok()
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<GroupName, Handle>> {
        // No code that holds the lock can leave the list half changed.
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn leader_of(now: &quorate_raft::Status) -> Option<Leader> {
    let id = now.id?;
    if now.role == Role::Leader {
        return Some(Leader::Local(now.term));
    }
    let leader = now.leader.as_ref().filter(|leader| leader.id != id)?;
    Some(Leader::Remote(leader.clone(), now.term))
}

fn not_found(name: &GroupName) -> Problem {
    let message = format!("there is no consumer group `{name}`");
    Problem::new(ErrorKind::NotFound, Outcome::NotAppended, message)
}

fn unavailable(message: impl Into<String>) -> Problem {
    Problem::new(ErrorKind::Unavailable, Outcome::NotAppended, message)
}
