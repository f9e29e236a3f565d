//! What each shard has of each namespace, in table Meta.
//!
//! | key | value |
//! |---|---|
//! | `u` | what the rows below mean, as text: [`MEANING`]; without it they are not kept and are made anew |
//! | `u`, shard (4), namespace id (16) | [`UsageRecord`] |
//!
//! The sum over all shards is what counts: one shard may have a run that another has counted, when there were more or fewer of
//! them before. A row of zeros is none. If one cannot be read, all are made anew when an engine opens: a sum without it would let more
//! in than the limits say.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use sempre_core::{
    NamespaceId, RunId, SlotId,
    audit::Audit,
    ids::{SLOT_COUNT, Uuid},
    keys,
};
use sempre_store::{CommitBatch, CommitError, Fence, Store, StoreError, Table};

use super::Counted;
use crate::shard::load::prefix_end;

const PREFIX: u8 = b'u';
const MARK: &[u8] = &[PREFIX];
/// Open runs, of all kinds; and the bytes of all histories, as their runs say.
const MEANING: &[u8] = b"1";
/// Rows that one commit may write when all are made anew.
const ROWS_MAX: usize = 1000;

/// What a shard has of a namespace.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct UsageRecord {
    #[prost(sint64, tag = "1")]
    open_runs: i64,
    #[prost(sint64, tag = "2")]
    history_bytes: i64,
}

/// By namespace.
pub(crate) type Tallies = BTreeMap<NamespaceId, Counted>;

fn of_shard(shard: u32) -> Vec<u8> {
    [MARK, &shard.to_be_bytes()].concat()
}

fn key(shard: u32, namespace: NamespaceId) -> [u8; 21] {
    let mut key = [PREFIX; 21];
    key[1..5].copy_from_slice(&shard.to_be_bytes());
    key[5..].copy_from_slice(&namespace.0.0);
    key
}

fn parse(key: &[u8]) -> Option<(u32, NamespaceId)> {
    let (shard, namespace) = key.strip_prefix(MARK)?.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*shard), NamespaceId(Uuid(namespace.try_into().ok()?))))
}

/// Puts what a shard has of a namespace into its commit.
pub(crate) fn write(commit: &mut CommitBatch, shard: u32, namespace: NamespaceId, counted: Counted) {
    let key = key(shard, namespace);
    if counted == Counted::default() {
        return commit.delete(Table::Meta, &key);
    }
    let record = UsageRecord { open_runs: counted.open_runs, history_bytes: counted.history_bytes };
    commit.put(Table::Meta, &key, &record.encode_to_vec());
}

/// `None`: it cannot be read.
fn read(key: &Bytes, value: Bytes) -> Option<(u32, NamespaceId, Counted)> {
    let (shard, namespace) = parse(key)?;
    let record = UsageRecord::decode(value).ok()?;
    Some((shard, namespace, Counted { open_runs: record.open_runs, history_bytes: record.history_bytes }))
}

/// What a shard has, of all namespaces.
pub(crate) async fn read_shard(store: &dyn Store, shard: u32) -> Result<Tallies, StoreError> {
    let from = of_shard(shard);
    let rows = store.scan(Table::Meta, &from, &prefix_end(&from), usize::MAX).await?;
    let read = |(key, value)| match read(&key, value) {
        Some((_, namespace, counted)) => Ok((namespace, counted)),
        None => Err(StoreError::Unreadable { what: format!("the number of open runs of shard {shard}") }),
    };
    rows.into_iter().map(read).collect()
}

/// What the rows say.
#[derive(Debug, PartialEq)]
pub(crate) enum Sum {
    /// They are not kept: the data is of an older version.
    None,
    /// The sum over all shards.
    Of(Tallies),
    /// So many of them cannot be read.
    Unreadable(usize),
}

/// The sum over all shards.
pub(crate) async fn sum(store: &dyn Store) -> Result<Sum, StoreError> {
    if store.get(Table::Meta, MARK).await?.is_none_or(|meaning| meaning != MEANING) {
        return Ok(Sum::None);
    }
    let All { rows, unreadable } = all(store).await?;
    if !unreadable.is_empty() {
        return Ok(Sum::Unreadable(unreadable.len()));
    }
    let mut sum = Tallies::new();
    for (_, namespace, counted) in rows {
        let total = sum.entry(namespace).or_default();
        *total = total.plus(counted);
    }
    sum.retain(|_, counted| *counted != Counted::default());
    Ok(Sum::Of(sum))
}

/// The rows of all shards.
#[derive(Default)]
struct All {
    rows: Vec<(u32, NamespaceId, Counted)>,
    /// The keys of those that cannot be read.
    unreadable: Vec<Bytes>,
}

async fn all(store: &dyn Store) -> Result<All, StoreError> {
    let mut all = All::default();
    for (key, value) in store.scan(Table::Meta, &[PREFIX, 0], &[PREFIX + 1], usize::MAX).await? {
        match read(&key, value) {
            Some(row) => all.rows.push(row),
            None => all.unreadable.push(key),
        }
    }
    Ok(all)
}

/// Brings the rows in order, before the shards begin: made anew from the runs where they are not kept (the data is of an older
/// version) or cannot be read, and those of shards that there are no more given to others.
pub(crate) async fn open(store: &dyn Store, fences: &[Fence]) -> Result<(), StoreError> {
    let Some(first) = fences.first() else { return Ok(()) };
    let All { rows: all, unreadable } = all(store).await?;
    let kept = store.get(Table::Meta, MARK).await?.is_some_and(|meaning| meaning == MEANING);
    if !kept || !unreadable.is_empty() {
        // Not kept until all are made anew: what is there is no sum meanwhile, should this end half-way.
        let mut batch = CommitBatch::new(*first);
        batch.delete(Table::Meta, MARK);
        unreadable.iter().for_each(|key| batch.delete(Table::Meta, key));
        commit(store, batch).await?;
        let counted = count(store, fences.len()).await?;
        let runs: i64 = counted.iter().flat_map(|tallies| tallies.values()).map(|counted| counted.open_runs).sum();
        if !unreadable.is_empty() {
            tracing::warn!(
                runs,
                rows = unreadable.len(),
                "counted the open runs of all namespaces anew, as rows with their number cannot be read"
            );
        } else if runs > 0 {
            tracing::info!(runs, "counted the open runs of all namespaces, once, as this version keeps their number");
        }
        for (fence, tallies) in fences.iter().zip(counted) {
            let old = read_shard(store, fence.shard).await?;
            let gone = old.into_keys().filter(|namespace| !tallies.contains_key(namespace)).map(|gone| (gone, Counted::default()));
            let rows: Vec<_> = gone.collect::<Vec<_>>().into_iter().chain(tallies).collect();
            for rows in rows.chunks(ROWS_MAX) {
                let mut batch = CommitBatch::new(*fence);
                rows.iter().for_each(|(namespace, counted)| write(&mut batch, fence.shard, *namespace, *counted));
                commit(store, batch).await?;
            }
        }
        let mut batch = CommitBatch::new(*first);
        for (shard, namespace, _) in all.into_iter().filter(|(shard, ..)| *shard as usize >= fences.len()) {
            batch.delete(Table::Meta, &key(shard, namespace));
        }
        batch.put(Table::Meta, MARK, MEANING);
        return commit(store, batch).await;
    }
    let left: Vec<_> = all.into_iter().filter(|(shard, ..)| *shard as usize >= fences.len()).collect();
    if left.is_empty() {
        return Ok(());
    }
    let mut own = read_shard(store, first.shard).await?;
    let mut batch = CommitBatch::new(*first);
    for (shard, namespace, counted) in left {
        let total = own.entry(namespace).or_default();
        *total = total.plus(counted);
        write(&mut batch, first.shard, namespace, *total);
        batch.delete(Table::Meta, &key(shard, namespace));
    }
    commit(store, batch).await
}

/// Before a shard is taken up over a store that its engine found without runs: the rows that it writes are kept.
pub(crate) async fn begin(store: &dyn Store, fence: Fence) -> Result<(), StoreError> {
    if store.get(Table::Meta, MARK).await?.is_some_and(|meaning| meaning == MEANING) {
        return Ok(());
    }
    let mut batch = CommitBatch::new(fence);
    batch.put(Table::Meta, MARK, MEANING);
    commit(store, batch).await
}

async fn commit(store: &dyn Store, batch: CommitBatch) -> Result<(), StoreError> {
    store.commit(batch).await.map_err(|error| match error {
        CommitError::Rejected { reason } => StoreError::Rejected { reason },
        other => StoreError::Failed { reason: other.to_string() },
    })
}

/// Counts all runs, by the shard that has them.
async fn count(store: &dyn Store, shards: usize) -> Result<Vec<Tallies>, StoreError> {
    let mut counted = vec![Tallies::new(); shards];
    for slot in 0..SLOT_COUNT {
        let (mut from, to) = (keys::slot(slot), keys::slot(slot + 1));
        while let Some((key, _)) = store.scan(Table::State, &from, &to, 1).await?.into_iter().next() {
            let Some(run) = keys::parse_run(&key) else {
                from = [key.as_ref(), &[0]].concat();
                continue;
            };
            from = prefix_end(&keys::run(SlotId(slot), run));
            if let Some((namespace, run)) = load(store, SlotId(slot), run).await? {
                let total = counted[usize::from(slot) % shards].entry(namespace).or_default();
                *total = total.plus(run);
            }
        }
    }
    Ok(counted)
}

/// What a run counts for. One that is damaged counts for nothing, and is told where it is used.
async fn load(store: &dyn Store, slot: SlotId, run: RunId) -> Result<Option<(NamespaceId, Counted)>, StoreError> {
    let rows = store.scan(Table::State, &keys::run(slot, run), &keys::state_end(slot, run), usize::MAX).await?;
    let parsed: Option<Vec<_>> =
        rows.into_iter().map(|(key, value)| keys::parse_state(&key).map(|(kind, number)| (kind, number, value))).collect();
    let audit = parsed.and_then(|rows| Audit::new(run, rows).ok());
    Ok(audit.map(|audit| (audit.key().workflow.namespace, Counted::of(Some(audit.execution())))))
}
