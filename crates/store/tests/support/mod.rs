//! What several tests need: folders that vanish, seeded chance, stores to run a test on.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test binary uses a part; tests may unwrap")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::executor::block_on;
use sempre_store::{
    CommitBatch, CommitError, Fence, Rows, Store, Table,
    embedded::{EmbeddedOptions, EmbeddedStore},
    memory::MemoryStore,
};

pub mod disk;
pub mod postgres;

/// A new folder that is removed at the end of the test.
pub struct TestFolder(PathBuf);

impl TestFolder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sempre-store-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        TestFolder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// SplitMix64: a seed, a stream.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// Small bounds, so that segments turn over and checkpoints happen within a test.
pub fn small_options() -> EmbeddedOptions {
    EmbeddedOptions {
        segment_bytes: 128 << 10,
        overlay_bytes: 64 << 10,
        log_bytes: 256 << 10,
        idle_checkpoint: Duration::from_secs(3600),
        slice_rows: 5,
        cold_cache_bytes: 1 << 20,
        snapshot_log_bytes: 1 << 30,
        brings_up: true,
    }
}

pub fn open(path: &Path) -> EmbeddedStore {
    EmbeddedStore::open(path, small_options()).unwrap()
}

pub fn acquire(store: &dyn Store, shard: u32) -> Fence {
    Fence { shard, epoch: block_on(store.acquire(shard)).unwrap() }
}

pub fn put(store: &dyn Store, fence: Fence, table: Table, key: &[u8], value: &[u8]) -> Result<(), CommitError> {
    let mut batch = CommitBatch::new(fence);
    batch.put(table, key, value);
    block_on(store.commit(batch))
}

pub fn get(store: &dyn Store, table: Table, key: &[u8]) -> Option<Vec<u8>> {
    block_on(store.get(table, key)).unwrap().map(|value| value.to_vec())
}

pub fn scan_all(store: &dyn Store, table: Table) -> Rows {
    block_on(store.scan(table, &[], &[0xff; 64], usize::MAX)).unwrap()
}

/// All history rows joined by stream, so that merging does not show: prefix and bytes. Rows of a stream need not be neighbours in
/// a scan, as a longer prefix may lie between.
pub fn streams(store: &dyn Store) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut streams: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (key, value) in scan_all(store, Table::History) {
        streams.entry(key[..key.len() - 8].to_vec()).or_default().extend_from_slice(&value);
    }
    streams.into_iter().collect()
}

/// Rows by table.
pub type Contents = Vec<(Table, Vec<(Vec<u8>, Vec<u8>)>)>;

/// Everything in a store in a form that is equal for all stores with the same contents.
pub fn contents(store: &dyn Store) -> Contents {
    let rows = |table| match table {
        Table::History => streams(store),
        _ => scan_all(store, table).into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect(),
    };
    Table::ALL.into_iter().map(|table| (table, rows(table))).collect()
}

/// A store under test, with what the suite may do to it between two steps.
pub struct Subject {
    pub store: Arc<dyn Store>,
    place: Place,
}

/// Where its data is.
enum Place {
    Memory,
    /// The flag: whether [`Subject::settle`] moves everything to the cold store.
    Folder(TestFolder, Option<Arc<EmbeddedStore>>, bool),
    Postgres(postgres::Database),
}

impl Subject {
    pub fn memory() -> Self {
        Subject { store: Arc::new(MemoryStore::new()), place: Place::Memory }
    }

    /// `checkpoints`: whether [`Subject::settle`] moves everything to the cold store.
    pub fn embedded(checkpoints: bool) -> Self {
        let folder = TestFolder::new();
        let store = Arc::new(open(folder.path()));
        Subject { store: store.clone(), place: Place::Folder(folder, Some(store), checkpoints) }
    }

    /// `None` where PostgreSQL is not installed.
    pub fn postgres() -> Option<Self> {
        let database = postgres::Database::new()?;
        Some(Subject { store: Arc::new(database.open()), place: Place::Postgres(database) })
    }

    /// Whether the store ends with its process; numbers about restarts mean nothing then.
    pub fn is_volatile(&self) -> bool {
        matches!(self.place, Place::Memory)
    }

    /// Lets the store do in the background what it may do at any time.
    pub fn settle(&self) {
        if let Place::Folder(_, Some(store), true) = &self.place {
            block_on(store.checkpoint()).unwrap();
        }
    }

    /// Ends the store without closing it and opens it again; nothing for a store that does not outlive its process.
    pub fn reopen(&mut self) {
        if matches!(self.place, Place::Memory) {
            return;
        }
        self.store = Arc::new(MemoryStore::new());
        match &mut self.place {
            Place::Memory => {}
            Place::Folder(folder, store, _) => {
                // Two cannot be open at once.
                drop(store.take());
                let opened = Arc::new(open(folder.path()));
                self.store = opened.clone();
                *store = Some(opened);
            }
            Place::Postgres(database) => self.store = Arc::new(database.open()),
        }
    }
}
