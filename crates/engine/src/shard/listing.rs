//! What lists show of the shard's runs: with the commit into the store, then to the index.
//!
//! | a run's row in Visibility | when |
//! |---|---|
//! | put | in the commit of a change that lists show |
//! | shown | when that commit is durable, before any answer leaves |
//! | deleted | in a later commit, after the index has that version durably |
//!
//! A row that is left (the process died, or nothing was committed since) is shown again at the next start: the index
//! ignores what it has.

use std::{collections::HashMap, sync::Arc};

use prost::Message as _;
use sempre_api::sempre::v1::NoticeKind;
use sempre_core::{RunId, RunKey, SlotId, WorkflowKey, keys, visibility};
use sempre_store::{CommitBatch, Rows, Store, StoreError, Table};

use super::{
    batch::OpenBatch,
    runner::{Runner, is_open},
};
use crate::{
    namespaces::Namespaces,
    notices::rows::NoticeRecord,
    shared::Shared,
    visibility::{Taken, Update},
};

/// Rows read at once.
const ROWS: usize = 1000;

/// Versions of the rows that the shard has in the store or on the way to it.
pub(crate) type Listed = HashMap<RunId, u64>;

impl Runner {
    /// Lists show a change of the run: its picture goes with the open batch.
    pub(crate) fn list(&mut self, place: usize, run: RunId) {
        let number = self.batch_number;
        if let Some(run) = self.cache.at(place).run(run)
            && run.listed_batch != number
        {
            run.listed_batch = number;
            self.open.listed.push((place, run.id));
        }
    }

    /// The run is deleted by the open batch.
    pub(crate) fn unlist(&mut self, workflow: &WorkflowKey, run: RunId) {
        let key = RunKey { workflow: workflow.clone(), run };
        let row = visibility::Row::deleted(workflow);
        self.open.commit.put(Table::Visibility, &keys::run(workflow.slot(), run), &row.encode_to_vec());
        self.listed.insert(run, row.version);
        self.open.updates.push(Update { key, version: row.version, record: None });
        if self.shared.notices.are_on() {
            let now = self.now();
            NoticeRecord::write_deleted(&mut self.open.notices, now, workflow, run);
            self.open.notice_count += 1;
            self.open.notice_of.insert(workflow.namespace);
        }
    }

    /// Pictures of the runs that are to be listed; rows that the index does not need any more go along.
    pub(crate) fn write_listed(&mut self, open: &mut OpenBatch) {
        let now = self.now();
        let notices_on = self.shared.notices.are_on();
        for (place, id) in open.listed.drain(..) {
            let workflow = self.cache.at(place);
            let slot = workflow.key.slot();
            let Some(execution) = workflow.run(id).and_then(|run| run.execution.as_deref()) else { continue };
            let key = execution.key().clone();
            let mut row = visibility::Row::of(execution);
            if let Some(record) = &mut row.record {
                add_types(record, &self.shared.namespaces);
            }
            open.commit.put(Table::Visibility, &keys::run(slot, id), &row.encode_to_vec());
            self.listed.insert(id, row.version);
            if notices_on && let (Some(record), Some(run)) = (&mut row.record, self.cache.at(place).run(id)) {
                let before = run.noticed.replace(record.status);
                for kind in kinds(before, record.status) {
                    NoticeRecord::write(&mut open.notices, now, kind, record);
                    open.notice_count += 1;
                    open.notice_of.insert(key.workflow.namespace);
                }
            }
            open.updates.push(Update { key, version: row.version, record: row.record.map(Arc::new) });
        }
        if std::mem::take(&mut self.taken) || !open.commit.is_empty() {
            self.forget_taken(&mut open.commit);
        }
    }

    fn forget_taken(&mut self, commit: &mut CommitBatch) {
        for Taken { key, version } in self.shared.listing.taken(self.shard as usize) {
            if self.listed.get(&key.run) == Some(&version) {
                self.listed.remove(&key.run);
                commit.delete(Table::Visibility, &keys::run(key.workflow.slot(), key.run));
            }
        }
    }
}

/// After a failed commit: what the store has is shown. No commit of the shard is under way.
pub(super) async fn relist(shared: &Shared, shard: u32) -> Result<Listed, StoreError> {
    let mut listed = Listed::new();
    for slot in super::runner::slots(shard, shared.shards.count()) {
        let (mut from, to) = (keys::slot(slot), keys::slot(slot + 1));
        while let Some(rows) = page(&*shared.store, &mut from, &to).await? {
            listed.extend(rows.iter().map(|(_, update)| (update.key.run, update.version)));
            shared.listing.show(rows.into_iter().map(|(_, update)| update).collect());
        }
    }
    Ok(listed)
}

/// What notices tell of a run whose status was `before`, in their order. A run may begin and close in one commit.
fn kinds(before: Option<i32>, now: i32) -> impl Iterator<Item = NoticeKind> {
    let closes = before.is_none_or(is_open) && !is_open(now);
    let changes = before.is_some() && !closes;
    [(before.is_none(), NoticeKind::Started), (closes, NoticeKind::Closed), (changes, NoticeKind::Changed)]
        .into_iter()
        .filter_map(|(is_so, kind)| is_so.then_some(kind))
}

/// The next rows of a range as they are stored, and `from` behind them; `None` at the end.
pub(crate) async fn rows(store: &dyn Store, from: &mut Vec<u8>, to: &[u8]) -> Result<Option<Rows>, StoreError> {
    let rows = store.scan(Table::Visibility, from, to, ROWS).await?;
    let Some((last, _)) = rows.last() else { return Ok(None) };
    *from = [last.as_ref(), &[0]].concat();
    Ok(Some(rows))
}

/// The next rows of a range, and `from` behind them; `None` at the end.
pub(crate) async fn page(store: &dyn Store, from: &mut Vec<u8>, to: &[u8]) -> Result<Option<Vec<(SlotId, Update)>>, StoreError> {
    let Some(rows) = rows(store, from, to).await? else { return Ok(None) };
    let read = |(key, value): (bytes::Bytes, bytes::Bytes)| {
        let found = parse(&key, value);
        if found.is_none() {
            tracing::error!(key = ?key, "a row of what lists show is damaged");
        }
        found
    };
    Ok(Some(rows.into_iter().filter_map(read).collect()))
}

/// A row as news for the index.
pub(crate) fn parse(key: &[u8], value: bytes::Bytes) -> Option<(SlotId, Update)> {
    let run = keys::parse_run(key).filter(|_| key.len() == 18)?;
    let row = visibility::Row::decode(value).ok()?;
    let workflow = row.workflow()?;
    let slot = workflow.slot();
    Some((slot, Update { key: RunKey { workflow, run }, version: row.version, record: row.record.map(Arc::new) }))
}

/// Search attributes that came without their type get that of the namespace.
pub(crate) fn add_types(record: &mut visibility::Record, namespaces: &Namespaces) {
    let untyped = |payload: &sempre_api::v1::common::Payload| !payload.metadata.contains_key("type");
    if !record.search_attributes.values().any(untyped) {
        return;
    }
    let namespace = record.run_key().and_then(|key| namespaces.by_id(key.workflow.namespace));
    for (name, payload) in record.search_attributes.iter_mut().filter(|(_, payload)| untyped(payload)) {
        let custom = || namespace.as_ref()?.field_type(name);
        let kind = visibility::predefined(name).map(|(kind, _)| kind).or_else(custom);
        if let Some(kind) = kind {
            payload.metadata.insert("type".into(), bytes::Bytes::from_static(kind.name().as_bytes()));
        }
    }
}
