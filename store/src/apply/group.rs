//! Applying requests to consumer groups: readers see the groups as they are between two entries.

use std::sync::{Arc, RwLockWriteGuard};

use quorate_proto::GroupOutcome;

use crate::format::command::ParsedGroup;
use crate::group::Groups;
use crate::read::Point;
use crate::view::Shared;

/// The groups, kept from readers from the first request of an entry that is about one to the entry's end.
pub(super) struct Hold<'a> {
    shared: &'a Shared,
    groups: Option<RwLockWriteGuard<'a, Groups>>,
}

impl<'a> Hold<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>) -> Hold<'a> {
        Hold { shared, groups: None }
    }

    pub(super) fn apply(&mut self, parsed: ParsedGroup, point: Point) -> GroupOutcome {
        let groups = self.groups.get_or_insert_with(|| self.shared.groups_mut());
        groups.apply(parsed, point)
    }
}
