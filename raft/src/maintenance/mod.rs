//! The maintenance of a node's chunks: scrubbing, repair, scavenging, and the state that they report.

use crate::status::{Damage, Scavenging, Scrub};

pub(crate) mod digests;
pub(crate) mod repair;
pub(crate) mod scavenge;
pub(crate) mod scrub;

/// The state of a node's health, as the node knows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Health {
    pub(crate) damaged: Vec<Damage>,
    pub(crate) scrub: Scrub,
    pub(crate) scavenged: Option<Scavenging>,
    pub(crate) disagreement: Option<String>,
}
