//! Rows of table Notice that hold notices: key `n` and the last number of a batch, value [`NoticeRow`].

use bytes::Bytes;
use prost::Message;
use sempre_api::{
    sempre::v1::{Notice, NoticeKind},
    v1::{common::WorkflowExecution, workflow::WorkflowExecutionInfo},
};
use sempre_core::{NamespaceId, RunId, Timestamp, WorkflowKey, alone::Alone, ids::Uuid, keys::RunRecord, visibility::Record};
use sempre_store::{Store, StoreError, Table};

/// First byte of keys of notices; but for [`GONE`], other letters are of alerts ([`crate::alerts`]).
const NOTICES: u8 = b'n';

/// Key of the row that says up to which number notices were taken away (8 bytes): a gap before the first that is left does not tell.
pub(crate) const GONE: &[u8] = b"g";

/// The greatest number: cursors of the API are signed.
pub(crate) const NUMBER_MAX: u64 = i64::MAX as u64;

/// The notices of one batch. Their numbers are consecutive and end with that of the key.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct NoticeRow {
    #[prost(message, repeated, tag = "1")]
    pub(crate) notices: Vec<NoticeRecord>,
}

/// One notice. Without record and deleted workflow it was taken away, with its namespace.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct NoticeRecord {
    /// ns.
    #[prost(int64, tag = "1")]
    pub(crate) time: i64,
    #[prost(enumeration = "NoticeKind", tag = "2")]
    pub(crate) kind: i32,
    /// What lists show, without the memo.
    #[prost(message, optional, tag = "3")]
    pub(crate) record: Option<Record>,
    /// Of a deleted run.
    #[prost(message, optional, tag = "4")]
    pub(crate) deleted: Option<RunRecord>,
    /// Its run id.
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) deleted_run: Bytes,
}

/// A row that was read.
pub(crate) struct Read {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) row: NoticeRow,
}

/// The key of the batch that ends with this number.
pub(crate) fn key(last: u64) -> [u8; 9] {
    let mut key = [NOTICES; 9];
    key[1..].copy_from_slice(&last.to_be_bytes());
    key
}

/// Behind all of them.
pub(crate) fn end() -> [u8; 1] {
    [NOTICES + 1]
}

/// Adds a notice to the value of a row that is being made. The memo of the record is not written.
pub(crate) fn append(row: &mut Vec<u8>, notice: &NoticeRecord) {
    prost::encoding::message::encode(1, notice, row);
}

impl NoticeRecord {
    /// Of a change of a run, which it borrows for as long as it is written.
    pub(crate) fn write(row: &mut Vec<u8>, time: Timestamp, kind: NoticeKind, record: &mut Record) {
        let memo = std::mem::take(&mut record.memo);
        let notice = Self { time: time.0, kind: kind as i32, record: Some(std::mem::take(record)), ..Self::default() };
        append(row, &notice);
        *record = notice.record.unwrap_or_default();
        record.memo = memo;
    }

    /// Of a run that is deleted.
    pub(crate) fn write_deleted(row: &mut Vec<u8>, time: Timestamp, workflow: &WorkflowKey, run: RunId) {
        let notice = Self {
            time: time.0,
            kind: NoticeKind::Deleted as i32,
            record: None,
            deleted: Some(RunRecord::new(workflow)),
            deleted_run: Bytes::copy_from_slice(&run.0.0),
        };
        append(row, &notice);
    }

    /// Whose run it is about; `None`: it was taken away.
    pub(crate) fn namespace(&self) -> Option<NamespaceId> {
        match &self.record {
            Some(record) => Some(NamespaceId(Uuid(record.namespace_id.as_ref().try_into().ok()?))),
            None => self.deleted.as_ref()?.workflow().map(|workflow| workflow.namespace),
        }
    }

    /// As clients see it; search attributes by field.
    pub(crate) fn to_api(&self, number: u64) -> Option<Notice> {
        let (run, activity, operation) = match &self.record {
            Some(record) => (record.to_api(), record.activity, record.operation),
            None => {
                let workflow = self.deleted.as_ref()?.workflow()?;
                let run = RunId(Uuid(self.deleted_run.as_ref().try_into().ok()?));
                let execution = WorkflowExecution { workflow_id: sempre_core::alone::id(&workflow).into(), run_id: run.to_string() };
                let alone = Alone::of(&workflow);
                let info = WorkflowExecutionInfo { execution: Some(execution), ..Default::default() };
                (info, alone == Some(Alone::Activity), alone == Some(Alone::Operation))
            }
        };
        Some(Notice {
            number: number as i64,
            time: Some(Timestamp(self.time).to_api()),
            kind: self.kind,
            run: Some(run),
            activity,
            operation,
        })
    }
}

/// Rows that have numbers above `after` and none above `to`, in order, at most so many.
pub(crate) async fn page(store: &dyn Store, after: u64, to: u64, limit: usize) -> Result<Vec<Read>, StoreError> {
    let from = key(after.saturating_add(1));
    let found = match to.checked_add(1) {
        Some(to) => store.scan(Table::Notice, &from, &key(to), limit).await?,
        None => store.scan(Table::Notice, &from, &end(), limit).await?,
    };
    found.into_iter().map(|(key, value)| parse(&key, value)).collect()
}

/// Up to which number notices were taken away; `None`: it was never written down.
pub(crate) async fn gone(store: &dyn Store) -> Result<Option<u64>, StoreError> {
    let Some(row) = store.get(Table::Notice, GONE).await? else { return Ok(None) };
    Ok(Some(u64::from_be_bytes(row.as_ref().try_into().map_err(|_| damaged())?)))
}

/// A row is not what this program writes.
pub(crate) fn damaged() -> StoreError {
    StoreError::Failed { reason: "a row of notices is damaged; `sempre doctor` looks at the whole folder".into() }
}

pub(crate) fn parse(key: &[u8], value: Bytes) -> Result<Read, StoreError> {
    let last = u64::from_be_bytes(key.get(1..).and_then(|last| last.try_into().ok()).ok_or_else(damaged)?);
    if last > NUMBER_MAX {
        return Err(damaged());
    }
    let row = NoticeRow::decode(value).map_err(|_| damaged())?;
    let first = (last + 1).checked_sub(row.notices.len() as u64).filter(|first| *first > 0).ok_or_else(damaged)?;
    Ok(Read { first, last, row })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_cannot_be_are_damage() {
        let row = NoticeRow { notices: vec![NoticeRecord::default(); 2] }.encode_to_vec();
        let parsed = |last: u64| parse(&key(last), row.clone().into()).ok().map(|read| (read.first, read.last));
        assert_eq!(parsed(7), Some((6, 7)));
        assert_eq!(parsed(2), Some((1, 2)));
        for last in [0, 1, NUMBER_MAX + 1, u64::MAX] {
            assert_eq!(parsed(last), None, "{last}");
        }
        assert!(parse(b"n", Bytes::new()).is_err());
    }
}
