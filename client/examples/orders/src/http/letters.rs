//! The dead letters of the notifications: events whose mail was not sent, of all tenants, for operators.

use axum::Json;
use axum::extract::State;
use quorate_client::{ParkedEvent, Selection};
use serde::{Deserialize, Serialize};

use super::Api;
use super::body::Body;
use super::problem::Problem;

/// An event whose mail was not sent.
#[derive(Serialize)]
pub(super) struct DeadLetter {
    position: u64,
    stream: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    attempts: u32,
    reason: String,
    parked_at: String,
}

impl From<ParkedEvent> for DeadLetter {
    fn from(parked: ParkedEvent) -> DeadLetter {
        let ParkedEvent { position, attempts, reason, parked_at, event } = parked;
        DeadLetter {
            position: position.0,
            stream: event.as_ref().map(|event| event.stream.to_string()),
            kind: event.as_ref().map(|event| event.kind.to_string()),
            attempts,
            reason,
            parked_at: parked_at.to_string(),
        }
    }
}

/// The letters to send again.
#[derive(Deserialize)]
pub(super) struct Replay {
    /// The positions of their events; all letters without it.
    positions: Option<Vec<u64>>,
}

#[derive(Serialize)]
pub(super) struct Replayed {
    replayed: u64,
}

pub(super) async fn list(State(api): State<Api>) -> Result<Json<Vec<DeadLetter>>, Problem> {
    let parked = api.mails.parked().await?;
    Ok(Json(parked.into_iter().map(DeadLetter::from).collect()))
}

pub(super) async fn replay(
    State(api): State<Api>,
    Body(Replay { positions }): Body<Replay>,
) -> Result<Json<Replayed>, Problem> {
    let selection = match positions {
        Some(positions) => Selection::positions(positions),
        None => Selection::All,
    };
    Ok(Json(Replayed { replayed: api.mails.replay(selection).await? }))
}
