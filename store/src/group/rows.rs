//! Groups as rows of the catalog: the changes since a boundary, and all groups at a checkpoint.

use bytes::Bytes;
use quorate_proto::LogIndex;

use super::{Group, Groups};
use crate::format::Malformed;
use crate::format::group::{
    REMEMBERED_KEY, RowKey, decode_head, decode_parked, decode_remembered, decode_row_key,
    encode_head, encode_parked, encode_remembered, head_key, parked_key,
};

/// A row of the catalog's table of groups; `None` removes it.
pub(crate) type Row = (Vec<u8>, Option<Vec<u8>>);

impl Groups {
    /// Begins the groups of a checkpoint that ends with this entry; [`Groups::put_row`] adds them.
    pub(crate) fn at(checkpoint: LogIndex) -> Groups {
        Groups { revision: checkpoint, ..Groups::default() }
    }

    /// Puts a row of a checkpoint; rows come in the order of their keys.
    pub(crate) fn put_row(&mut self, key: &Bytes, value: Bytes) -> Result<(), Malformed> {
        match decode_row_key(key)? {
            RowKey::Remembered => self.remembered = decode_remembered(value)?,
            RowKey::Head(name) => {
                let head = decode_head(value)?;
                self.groups.insert(name, Group { head, parked: Default::default() });
            }
            RowKey::Parked(name, position) => {
                let group = self.groups.get_mut(&name);
                let group = group.ok_or_else(|| Malformed::new("is of no group"))?;
                let Group { head, parked } = group;
                if head.settled.contains(&position) || head.failed.contains_key(&position) {
                    return Err(Malformed::new("is of an event that is not parked"));
                }
                parked.insert(position, decode_parked(position, value)?);
            }
        }
        Ok(())
    }

    /// Returns the rows that turn the groups of the last boundary into those of now, sorted by key; later
    /// changes are counted from here.
    pub(crate) fn take_changed(&mut self) -> Vec<Row> {
        let mut rows = Vec::new();
        if self.remembered.take_changed() {
            let row = encode_remembered(&self.remembered);
            rows.push((REMEMBERED_KEY.to_vec(), Some(row)));
        }
        for (name, positions) in std::mem::take(&mut self.changed) {
            let group = self.groups.get(&name);
            rows.push((head_key(&name), group.map(|group| encode_head(&group.head))));
            rows.extend(positions.into_iter().map(|position| {
                let parked = group.and_then(|group| group.parked.get(&position));
                (parked_key(&name, position), parked.map(encode_parked))
            }));
        }
        rows.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        rows
    }
}

/// Checks that a row decodes.
pub(crate) fn check_row(key: &Bytes, value: Bytes) -> Result<(), Malformed> {
    match decode_row_key(key)? {
        RowKey::Remembered => decode_remembered(value).map(|_| ()),
        RowKey::Head(_) => decode_head(value).map(|_| ()),
        RowKey::Parked(_, position) => decode_parked(position, value).map(|_| ()),
    }
}
