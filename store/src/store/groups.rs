//! Applying requests to consumer groups: readers see only the state of the groups between two entries.

use std::sync::{Arc, RwLockWriteGuard};

use quorate_proto::GroupOutcome;

use crate::format::command::ParsedGroup;
use crate::group::Groups;
use crate::point::Point;
use crate::view::Shared;

/// A hold on the groups that keeps readers out, from an entry's first group request to the end of the entry.
pub(super) struct GroupsLock<'a> {
    shared: &'a Shared,
    groups: Option<RwLockWriteGuard<'a, Groups>>,
}

impl<'a> GroupsLock<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>) -> GroupsLock<'a> {
        GroupsLock { shared, groups: None }
    }

    pub(super) fn apply(&mut self, parsed: ParsedGroup, point: Point) -> GroupOutcome {
        let groups = self.groups.get_or_insert_with(|| self.shared.groups_mut());
        groups.apply(parsed, point)
    }
}
