//! What the store keeps of a run for the index of runs, until the index has it.

use bytes::Bytes;
use prost::Message;

use super::Record;
use crate::{Execution, NamespaceId, WorkflowKey, ids::Uuid, keys::RunRecord};

/// Version of the news that a run is deleted: nothing comes after it.
pub const DELETED: u64 = u64::MAX;

/// Value of a row of table Visibility; its key is that of the run ([`crate::keys::run`]).
#[derive(Clone, PartialEq, Message)]
pub struct Row {
    /// Grows with each change of the run ([`Execution::version`]).
    #[prost(uint64, tag = "1")]
    pub version: u64,
    /// What lists show of the run; unset when it is deleted.
    #[prost(message, optional, tag = "2")]
    pub record: Option<Record>,
    /// Of a deleted run: its workflow.
    #[prost(message, optional, tag = "3")]
    pub deleted: Option<RunRecord>,
}

/// So much of a [`Row`] as says whose it is.
#[derive(Clone, PartialEq, Message)]
struct Whose {
    #[prost(message, optional, tag = "2")]
    record: Option<OfNamespace>,
    #[prost(message, optional, tag = "3")]
    deleted: Option<OfNamespace>,
}

/// What a [`Record`] and a [`RunRecord`] have in common.
#[derive(Clone, PartialEq, Message)]
struct OfNamespace {
    #[prost(bytes = "bytes", tag = "1")]
    namespace_id: Bytes,
}

impl Row {
    /// The namespace of an encoded row, of which no more is decoded; `None` when damaged.
    pub fn namespace(row: Bytes) -> Option<NamespaceId> {
        let whose = Whose::decode(row).ok()?;
        let of = whose.record.or(whose.deleted)?;
        of.namespace_id.as_ref().try_into().ok().map(|id| NamespaceId(Uuid(id)))
    }

    /// Of a run as it is.
    pub fn of(run: &Execution) -> Self {
        Self { version: run.version(), record: Some(run.record()), deleted: None }
    }

    /// Of a run that is deleted.
    pub fn deleted(workflow: &WorkflowKey) -> Self {
        Self { version: DELETED, record: None, deleted: Some(RunRecord::new(workflow)) }
    }

    /// The workflow that the run is of; `None` when damaged.
    pub fn workflow(&self) -> Option<WorkflowKey> {
        match &self.record {
            Some(record) => record.run_key().map(|key| key.workflow),
            None => self.deleted.as_ref()?.workflow(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_of_a_row_is_read_without_the_rest() {
        let id = [7; 16];
        let record = Record { namespace_id: Bytes::copy_from_slice(&id), ..Record::default() };
        let listed = Row { version: 3, record: Some(record), deleted: None };
        let deleted = Row::deleted(&WorkflowKey { namespace: NamespaceId(Uuid(id)), ..WorkflowKey::default() });
        for row in [listed, deleted] {
            assert_eq!(Row::namespace(row.encode_to_vec().into()), Some(NamespaceId(Uuid(id))));
        }
        assert_eq!(Row::namespace(Row::default().encode_to_vec().into()), None);
        assert_eq!(Row::namespace(Bytes::from_static(b"no row")), None);
    }
}
