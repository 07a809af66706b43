//! The state of one group according to the log, without its parked events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_proto::{Failed, GroupDefinition, LogIndex, Position};

/// The state of a group without its parked events. Invariant: settled events are above the floor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupHead {
    pub(crate) definition: Arc<GroupDefinition>,
    pub(crate) incarnation: LogIndex,
    pub(crate) revision: LogIndex,
    pub(crate) floor: Position,
    pub(crate) settled: BTreeSet<Position>,
    pub(crate) failed: BTreeMap<Position, Failed>,
}
