//! What a writer knows of the names in its tables, and which of them a record has.

use std::collections::BTreeMap;

use sempre_core::{
    NamespaceId,
    visibility::{NAMESPACE_DIVISION, Record, Value},
};

use super::{Dialect, PARENT, ROOT, SYSTEM_KIND, Sql, elements, kind_of, roots};

/// Names that are remembered of each sort; with more they are all forgotten.
const KEPT_MAX: usize = 10_000;

/// The numbers that names have, from one transaction to the next.
#[derive(Default)]
pub(in crate::visibility) struct Names {
    /// Parts by namespace and division.
    pub(in crate::visibility) parts: Numbers<(NamespaceId, Option<String>)>,
    /// Fields by part, name and kind.
    pub(in crate::visibility) fields: Numbers<(i64, String, i64)>,
}

impl Names {
    /// What was given in a transaction that failed does not exist.
    pub(in crate::visibility) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// Numbers of names of one sort.
pub(in crate::visibility) struct Numbers<K>(BTreeMap<K, i64>);

impl<K> Default for Numbers<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Numbers<K> {
    pub(in crate::visibility) fn get(&self, name: &K) -> Option<i64> {
        self.0.get(name).copied()
    }

    pub(in crate::visibility) fn remember(&mut self, name: K, number: i64) {
        if self.0.len() >= KEPT_MAX {
            self.0.clear();
        }
        self.0.insert(name, number);
    }
}

/// A field of a record, and the values that its rows have.
pub(in crate::visibility) struct Named<'a> {
    pub(in crate::visibility) name: &'a str,
    pub(in crate::visibility) kind: i64,
    pub(in crate::visibility) values: Vec<Sql>,
}

/// The division of a record, and the fields that its attributes make. The division is none of them: it is the part.
pub(in crate::visibility) fn of_record<'a>(record: &'a Record, dialect: &Dialect) -> (Option<String>, Vec<Named<'a>>) {
    let system = [(PARENT, record.parent_workflow_id.as_str()), (ROOT, roots(record).0)].into_iter().filter(|(_, id)| !id.is_empty());
    let mut named: Vec<Named<'a>> = system
        .map(|(name, id)| Named { name, kind: SYSTEM_KIND, values: vec![(dialect.attribute)(&Value::Keyword(id.to_owned()))] })
        .collect();
    let mut division = None;
    for (name, value) in record.values() {
        match value {
            Value::Keyword(of) if name == NAMESPACE_DIVISION => division = Some(of),
            value => named.push(Named { name, kind: kind_of(&value), values: elements(&value, dialect) }),
        }
    }
    (division, named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_names_are_remembered_than_may_be() {
        let mut names = Numbers::default();
        for number in 0..KEPT_MAX as i64 {
            names.remember(number, number);
        }
        assert_eq!((names.get(&0), names.get(&(KEPT_MAX as i64 - 1))), (Some(0), Some(KEPT_MAX as i64 - 1)));
        names.remember(-1, 7);
        assert_eq!((names.get(&0), names.get(&-1)), (None, Some(7)));
    }
}
