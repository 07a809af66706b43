//! The health of the store, as maintenance finds it and the status shows it.

use crate::status::{Damage, Scavenging, Scrub};

/// The health of the store.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Health {
    pub(crate) damaged: Vec<Damage>,
    pub(crate) scrub: Scrub,
    pub(crate) scavenged: Option<Scavenging>,
    pub(crate) disagreement: Option<String>,
}
