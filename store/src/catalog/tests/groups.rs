//! Consumer groups in the catalog.

use std::collections::BTreeSet;

use quorate_proto::{GroupDefinition, GroupName, GroupSettings, LogIndex, Parked, Query};

use super::*;
use crate::catalog::database::GROUPS;
use crate::format::catalog::{Table, seal};
use crate::format::group::GroupHead;
use crate::format::group::{encode_head, encode_parked, head_key, parked_key};
use crate::group::Row;

fn group(checkpoint: u64) -> GroupName {
    GroupName::new(format!("group-{checkpoint}")).expect("a name")
}

/// Each checkpoint adds a group with two parked events, and removes the group of the one before.
pub(super) fn group_rows(checkpoint: u64) -> Vec<Row> {
    let (query, settings) = (Query::everything(), GroupSettings::default());
    let definition = GroupDefinition { query, after: Position(0), settings };
    let head = GroupHead {
        definition: Arc::new(definition),
        incarnation: LogIndex(checkpoint),
        revision: LogIndex(checkpoint),
        floor: Position(checkpoint * 10),
        settled: BTreeSet::new(),
        failed: BTreeMap::new(),
    };
    let mut rows = vec![(head_key(&group(checkpoint)), Some(encode_head(&head)))];
    rows.push((head_key(&group(checkpoint - 1)), None));
    for position in [1, 2].map(Position) {
        let parked = Parked { position, ..parked_event(checkpoint) };
        rows.push((parked_key(&group(checkpoint), position), Some(encode_parked(&parked))));
        rows.push((parked_key(&group(checkpoint - 1), position), None));
    }
    rows
}

fn parked_event(checkpoint: u64) -> Parked {
    let reason = format!("parked at {checkpoint}");
    Parked { position: Position(1), attempts: 3, reason, parked_at: Timestamp(7) }
}

pub(super) fn check_groups(catalog: &CatalogExport, checkpoint: u64) {
    let groups = catalog.groups().expect("readable");
    let state = groups.state(&group(checkpoint)).expect("there");
    assert_eq!(state.floor, Position(checkpoint * 10));
    let parked = groups.parked(&group(checkpoint), Position(1), 9).expect("there");
    assert_eq!(parked.len(), 1);
    assert_eq!(parked[0].reason, format!("parked at {checkpoint}"));
    assert_eq!((groups.summaries_after(None).count(), catalog.contents().groups.rows), (1, 3));
}

/// Replaces a row of the table of groups by another row, under a good checksum, or removes it.
fn replace(catalog: &Catalog, key: &[u8], value: Option<Vec<u8>>) {
    let transaction = begin(&catalog.database, path()).expect("begun");
    {
        let mut table = transaction.open_table(GROUPS).expect("opened");
        match value {
            Some(value) => table.insert(key, value.as_slice()).expect("inserted"),
            None => table.remove(key).expect("removed"),
        };
    }
    transaction.commit().expect("committed");
}

#[test]
fn a_row_of_a_group_that_was_changed_is_found() {
    let (head, parked) = (head_key(&group(1)), parked_key(&group(1), Position(1)));
    let sealed = |key: &[u8], value: &[u8]| seal(Table::Groups, key, value.to_vec());
    for (key, value, is_loaded) in [
        (&head, Some(b"no checksum".to_vec()), false),
        (&head, Some(sealed(&head, b"no head")), false),
        (&parked, Some(sealed(&parked, b"")), false),
        (&parked, Some(sealed(&head, &encode_parked(&parked_event(1)))), false),
        (&head, None, false),
        (&parked, None, true),
    ] {
        let vfs = with_checkpoints(1, 10);
        let catalog = Catalog::open(&shared(&vfs), path(), CACHE).expect("opened");
        replace(&catalog, key, value);
        drop(catalog);
        let catalog = Catalog::open(&shared(&vfs), path(), CACHE).expect("opened");
        assert_eq!(catalog.newest().groups().is_ok(), is_loaded);
        drop(catalog);
        assert!(matches!(verified(&vfs), Err(Fault::Damaged { .. })), "a sum or a row is wrong");
    }
}
