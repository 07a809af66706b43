//! A node on an empty folder takes its identity, from the founder of its cluster or from a member.

use std::sync::Arc;

use tonic::Status;
use uuid::Uuid;

use super::Replica;
use super::running::Running;
use crate::host::Host;
use crate::identity::{Identity, JoinSecret};

/// The advice for a user who would give a node to a cluster although it has one.
const HAS_ONE: &str = "start it on an empty folder to make it a new node of another cluster";

/// The node that gives an identity.
pub(super) enum Giver {
    /// The founder of the cluster, which sends the secret that its members share.
    Founder(JoinSecret),
    /// A member, with its proof that it knows the secret.
    Member(Vec<u8>),
}

impl<H: Host> Replica<H> {
    /// Takes an identity, or, with `check_only`, checks that it would.
    pub(super) async fn adopt(
        &self,
        identity: Identity,
        giver: Giver,
        check_only: bool,
    ) -> Result<(), Status> {
        let _changing = self.shared.changing.lock().await;
        if let Some(running) = self.running() {
            return self.agree_again(&running, identity, &giver).await;
        }
        if self.is_released() {
            return Err(Status::unavailable("it is stopping"));
        }
        let secret = self.trusted(&identity, &giver, check_only)?;
        if check_only {
            return Ok(());
        }
        let taken = self.take_identity(Identity { secret, ..identity }).await;
        taken.map(|_| ()).map_err(|error| Status::internal(error.to_string()))
    }

    /// Returns the secret of the cluster, if the giver may give the identity.
    fn trusted(
        &self,
        identity: &Identity,
        giver: &Giver,
        check_only: bool,
    ) -> Result<JoinSecret, Status> {
        match (giver, &self.shared.options.join_token) {
            (Giver::Founder(secret), None) => Ok(*secret),
            (Giver::Member(proof), Some(token)) if token.cluster == identity.cluster => {
                if !check_only && !token.is_proof(proof, &self.shared.drawn, identity) {
                    let why = "it was not proved that its giver is a member of the cluster";
                    return Err(Status::permission_denied(why));
                }
                Ok(token.secret)
            }
            (_, Some(token)) => {
                let cluster = Uuid::from_bytes(token.cluster);
                Err(Status::failed_precondition(format!(
                    "it was started with a join token of the cluster {cluster}, which alone may take it in"
                )))
            }
            (Giver::Member(_), None) => Err(Status::failed_precondition(
                "it was started without a join token: start it with --join-token and what `quorate cluster token` prints",
            )),
        }
    }

    /// Agrees once more to the identity that this node has.
    async fn agree_again(
        &self,
        running: &Arc<Running<H>>,
        identity: Identity,
        giver: &Giver,
    ) -> Result<(), Status> {
        let own = running.identity;
        if (Identity { secret: own.secret, ..identity }) != own {
            let cluster = Uuid::from_bytes(own.cluster);
            let why = format!("it is node {} of the cluster {cluster}; {HAS_ONE}", own.node);
            return Err(Status::already_exists(why));
        }
        match giver {
            Giver::Founder(_) => self.refuse_if_founded(running).await,
            Giver::Member(_) => Ok(()),
        }
    }

    /// Returns an error if this node has a log. The founder is the first to have one, so a founder that asks
    /// a node with a log to take part has forgotten that the cluster was founded.
    async fn refuse_if_founded(&self, running: &Arc<Running<H>>) -> Result<(), Status> {
        let is_founded = running.raft.call(|raft| raft.is_initialized()).await;
        match is_founded.map_err(|fatal| Status::unavailable(fatal.to_string()))? {
            true => {
                let why = format!("its cluster is founded already; {HAS_ONE}");
                Err(Status::already_exists(why))
            }
            false => Ok(()),
        }
    }
}
