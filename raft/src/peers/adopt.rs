//! Gives a node on an empty folder its identity, for the founder of a cluster and for a member that takes in a new node.

use std::time::Duration;

use quorate_proto::wire::peer::v1;
use tonic::Status;

use super::link::{client, within};
use super::wire;
use crate::host::Host;
use crate::identity::Identity;

/// The time after which a node that did not answer is taken to be absent.
const DEADLINE: Duration = Duration::from_secs(5);

/// Asks a node whether it would take an identity from the founder of its cluster, or gives it; returns the node's
/// address for clients.
pub(crate) async fn found<H: Host>(
    host: &H,
    address: &str,
    identity: &Identity,
    check_only: bool,
) -> Result<String, Status> {
    let secret = identity.secret.0.to_vec().into();
    let request = v1::AdoptRequest { check_only, secret, ..request(identity) };
    Ok(ask(host, address, request).await?.client_address)
}

/// A node that waits to be taken in.
pub(crate) struct Waiting {
    pub(crate) client_address: String,
    drawn: [u8; 16],
}

/// Asks a node whether it would take an identity from a member of the cluster.
pub(crate) async fn find<H: Host>(
    host: &H,
    address: &str,
    identity: &Identity,
) -> Result<Waiting, Status> {
    let request = v1::AdoptRequest { check_only: true, ..request(identity) };
    let v1::AdoptResponse { client_address, drawn } = ask(host, address, request).await?;
    let drawn = drawn.as_ref().try_into().map_err(|_| wire::malformed("number that it drew"))?;
    Ok(Waiting { client_address, drawn })
}

/// Gives a node that was found its identity. A node that has this identity already agrees.
pub(crate) async fn take_in<H: Host>(
    host: &H,
    address: &str,
    waiting: &Waiting,
    identity: &Identity,
) -> Result<(), Status> {
    let proof = identity.join_token().proof(&waiting.drawn, identity);
    let request = v1::AdoptRequest { proof: proof.to_vec().into(), ..request(identity) };
    ask(host, address, request).await.map(drop)
}

fn request(identity: &Identity) -> v1::AdoptRequest {
    v1::AdoptRequest {
        cluster: identity.cluster.to_vec().into(),
        log: identity.log,
        node: identity.node,
        chunk_bytes: identity.chunk_bytes,
        ..v1::AdoptRequest::default()
    }
}

async fn ask<H: Host>(
    host: &H,
    address: &str,
    request: v1::AdoptRequest,
) -> Result<v1::AdoptResponse, Status> {
    let client = client(host, address);
    let mut client = client.map_err(|_| Status::invalid_argument("that is no address"))?;
    Ok(within(DEADLINE, client.adopt(request)).await?.into_inner())
}
