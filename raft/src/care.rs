//! What a node does for the chunks it has: scrubbing, repair, scavenging. And what it found.

use crate::status::{Damage, Scavenging, Scrub};

pub(crate) mod repair;
pub(crate) mod scavenge;
pub(crate) mod scrub;

/// What a node knows of its own health.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Health {
    pub(crate) damaged: Vec<Damage>,
    pub(crate) scrub: Scrub,
    pub(crate) scavenged: Option<Scavenging>,
    pub(crate) disagreement: Option<String>,
}
