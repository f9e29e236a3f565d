//! Many batches of a shard as the arrays of one statement.

use tokio_postgres::types::{ToSql, Type};

use crate::{CommitBatch, OpRef, Table};

const TABLES: usize = Table::ALL.len();

/// What batches, one after the other, leave behind: the last operation of each row, by table, in the order of keys. Two
/// statements that take rows in the same order cannot wait for each other.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Group<'a> {
    tables: [Columns<'a>; TABLES],
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Columns<'a> {
    keys: Vec<&'a [u8]>,
    values: Vec<&'a [u8]>,
    deleted: Vec<&'a [u8]>,
}

/// A key, and its value unless it is deleted.
type Op<'a> = (&'a [u8], Option<&'a [u8]>);

impl<'a> Group<'a> {
    pub(super) fn of(batches: impl IntoIterator<Item = &'a CommitBatch>) -> Self {
        let mut ops: [Vec<Op<'_>>; TABLES] = Default::default();
        for op in batches.into_iter().flat_map(CommitBatch::ops) {
            match op {
                OpRef::Put { table, key, value } => ops[usize::from(table.id())].push((key, Some(value))),
                OpRef::Delete { table, key } => ops[usize::from(table.id())].push((key, None)),
            }
        }
        Self { tables: ops.map(Columns::of) }
    }

    /// Values of keys, as parameters of the statement in the order of tables.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (&(dyn ToSql + Sync), Type)> {
        let arrays = self.tables.iter().flat_map(|table| [&table.keys, &table.values, &table.deleted]);
        arrays.map(|array| (array as &(dyn ToSql + Sync), Type::BYTEA_ARRAY))
    }
}

impl<'a> Columns<'a> {
    fn of(mut ops: Vec<Op<'a>>) -> Self {
        // Stable: operations of one key stay in their order.
        ops.sort_by_key(|(key, _)| *key);
        let mut columns = Self::default();
        for (index, (key, value)) in ops.iter().enumerate() {
            if ops.get(index + 1).is_some_and(|(next, _)| next == key) {
                continue;
            }
            match value {
                Some(value) => {
                    columns.keys.push(key);
                    columns.values.push(value);
                }
                None => columns.deleted.push(key),
            }
        }
        columns
    }
}

/// How many parameters [`Group::parameters`] gives.
pub(super) const PARAMETERS: usize = TABLES * 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fence;

    #[test]
    fn the_last_operation_of_each_row_is_left_in_the_order_of_keys() {
        let fence = Fence { shard: 1, epoch: 1 };
        let (mut first, mut second) = (CommitBatch::new(fence), CommitBatch::new(fence));
        first.put(Table::State, b"b", b"1");
        first.put(Table::State, b"c", b"1");
        first.delete(Table::State, b"d");
        first.put(Table::Offer, b"o", b"1");
        second.put(Table::State, b"a", b"2");
        second.put(Table::State, b"b", b"2");
        second.delete(Table::State, b"c");
        second.put(Table::State, b"d", b"2");
        second.delete(Table::Offer, b"o");
        let group = Group::of([&first, &second]);
        let state = &group.tables[usize::from(Table::State.id())];
        assert_eq!(state.keys, [b"a", b"b", b"d"]);
        assert_eq!(state.values, [b"2", b"2", b"2"]);
        assert_eq!(state.deleted, [b"c"]);
        let offer = &group.tables[usize::from(Table::Offer.id())];
        assert_eq!((offer.keys.len(), &offer.deleted[..]), (0, &[&b"o"[..]][..]));
        assert_eq!(group.parameters().count(), PARAMETERS);
    }
}
