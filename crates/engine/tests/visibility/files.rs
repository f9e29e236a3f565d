//! The file: what a crash leaves, what is damaged, what another program wrote.

use std::{
    fs,
    path::{Path, PathBuf},
};

use fastrand::Rng;
use futures::executor::block_on;
use sempre_core::ids::Uuid;
use sempre_engine::visibility::{
    Change, Index, IndexError,
    memory::MemoryIndex,
    sqlite::{FILE_NAME, SqliteIndex},
};

use crate::{
    answers::compare,
    data::{change, filter, namespace, ready, record, run},
};

const OWNER: Uuid = Uuid([3; 16]);

/// A folder that is gone when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sempre-visibility-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join(FILE_NAME)
    }

    fn wal(&self) -> PathBuf {
        self.0.join(format!("{FILE_NAME}-wal"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path) -> SqliteIndex {
    SqliteIndex::open(path, OWNER).unwrap()
}

fn put(n: u8) -> Change {
    Change::Put { version: 1, record: record(&mut Rng::with_seed(n.into()), namespace(1), run(n)).into() }
}

fn count(index: &SqliteIndex) -> Result<u64, IndexError> {
    block_on(index.count(namespace(1), None, &Default::default()))
}

/// An index with five runs, closed.
fn filled(folder: &Folder) {
    let index = open(&folder.file());
    ready(&index);
    block_on(index.apply((0..5).map(put).collect())).unwrap();
    assert_eq!(count(&index), Ok(5));
    block_on(index.close());
    assert_eq!(count(&index), Err(IndexError::Closed));
}

fn assert_needs_rebuild(index: &SqliteIndex, why: &str) {
    let reason = index.needs_rebuild().expect("a rebuild is needed");
    assert!(reason.contains(why), "{reason}");
    assert_eq!(count(index), Err(IndexError::NeedsRebuild { reason: reason.clone() }), "not silently empty");
    assert_eq!(block_on(index.list(namespace(1), None, None, 1, &Default::default())), Err(IndexError::NeedsRebuild { reason }));
    ready(index);
    block_on(index.apply(vec![put(1)])).unwrap();
    assert_eq!(count(index), Ok(1), "nothing old is left");
}

#[test]
fn a_file_is_there_again_after_a_restart() {
    let folder = Folder::new("restart");
    filled(&folder);
    let index = open(&folder.file());
    assert_eq!((index.needs_rebuild(), count(&index)), (None, Ok(5)));
}

/// Cuts the log of the last transactions at random places: what is there is what was there after one of the batches.
#[test]
fn a_crash_leaves_whole_batches_only() {
    let folder = Folder::new("crash");
    let mut rng = Rng::with_seed(11);
    let index = open(&folder.file());
    ready(&index);
    let mut states = vec![MemoryIndex::new()];
    ready(&states[0]);
    let mut batches: Vec<Vec<Change>> = Vec::new();
    for n in 0..10 {
        batches.push((0..20).map(|at| change(&mut rng, n * 100 + at, 40)).collect());
        block_on(index.apply(batches[n as usize].clone())).unwrap();
        let state = MemoryIndex::new();
        ready(&state);
        batches.iter().for_each(|batch| block_on(state.apply(batch.clone())).unwrap());
        states.push(state);
    }
    let log = fs::read(folder.wal()).unwrap();
    let mut found = std::collections::BTreeSet::new();
    for cut in 0..40 {
        let after = Folder::new(&format!("crash-{cut}"));
        fs::copy(folder.file(), after.file()).unwrap();
        let kept = if cut == 0 { log.len() } else { rng.usize(..log.len()) };
        fs::write(after.wal(), &log[..kept]).unwrap();
        let index = open(&after.file());
        if let Some(reason) = index.needs_rebuild() {
            assert!(reason.contains("not finished"), "the cut was before the first rebuild had ended: {reason}");
            continue;
        }
        let here = |plain: &MemoryIndex| {
            (1..3).all(|n| {
                let list = |index: &dyn Index| block_on(index.list(namespace(n), None, None, 1000, &Default::default())).unwrap();
                list(&index) == list(plain)
            })
        };
        let at = states.iter().rposition(here).expect("the state after one of the batches");
        assert!(cut > 0 || at == 10, "nothing that was answered is lost");
        found.insert(at);
        for _ in 0..20 {
            let filter = filter(&mut rng, 2);
            compare(&mut rng, &index, &states[at], Some(&filter), "after a crash");
        }
    }
    assert!(found.len() > 4, "the cuts were at different batches: {found:?}");
}

#[test]
fn a_new_file_says_that_it_holds_nothing_yet() {
    let folder = Folder::new("new");
    let index = open(&folder.file());
    for file in [folder.file(), folder.wal()] {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_needs_rebuild(&index, "it is new");
}

#[test]
fn an_unfinished_rebuild_begins_again() {
    let folder = Folder::new("unfinished");
    let index = open(&folder.file());
    block_on(index.begin_rebuild()).unwrap();
    block_on(index.apply((0..5).map(put).collect())).unwrap();
    block_on(index.close());
    assert_needs_rebuild(&open(&folder.file()), "the last rebuild was not finished");
}

#[test]
fn a_rebuild_of_a_whole_index_can_be_read_meanwhile() {
    let folder = Folder::new("online");
    filled(&folder);
    let index = open(&folder.file());
    block_on(index.begin_rebuild()).unwrap();
    assert_eq!(count(&index), Ok(5));
    block_on(index.apply(vec![put(1), put(7)])).unwrap();
    assert_eq!(count(&index), Ok(6));
    block_on(index.finish_rebuild()).unwrap();
    assert_eq!(count(&index), Ok(2));
}

#[test]
fn a_file_of_another_store_is_not_believed() {
    let folder = Folder::new("other");
    filled(&folder);
    assert_needs_rebuild(&SqliteIndex::open(&folder.file(), Uuid([4; 16])).unwrap(), "of another store");
}

#[test]
fn an_older_format_is_put_aside_and_made_anew() {
    let folder = Folder::new("older");
    filled(&folder);
    let mut bytes = fs::read(folder.file()).unwrap();
    bytes[60..64].copy_from_slice(&1u32.to_be_bytes());
    fs::write(folder.file(), &bytes).unwrap();
    let index = SqliteIndex::open(&folder.file(), OWNER).unwrap();
    assert_needs_rebuild(&index, "its file had the old format 1");
}

#[test]
fn a_newer_format_is_refused_and_not_touched() {
    let folder = Folder::new("newer");
    filled(&folder);
    let mut bytes = fs::read(folder.file()).unwrap();
    bytes[60..64].copy_from_slice(&7u32.to_be_bytes());
    fs::write(folder.file(), &bytes).unwrap();
    let error = SqliteIndex::open(&folder.file(), OWNER).err().expect("refused");
    assert!(matches!(error, IndexError::NewerFormat { found: 7, supported: 2, .. }), "{error}");
    assert!(error.to_string().ends_with("has format 7, this program supports formats up to 2. Use a newer version of the program."));
    assert_eq!(fs::read(folder.file()).unwrap(), bytes);
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
}

#[test]
fn a_file_that_does_not_begin_as_it_should_is_put_aside() {
    for bytes in [b"".to_vec(), b"not an index".to_vec(), vec![0; 100_000]] {
        let folder = Folder::new("foreign");
        fs::write(folder.file(), &bytes).unwrap();
        assert_needs_rebuild(&open(&folder.file()), "damaged");
        assert_eq!(fs::read(folder.0.join(format!("{FILE_NAME}.damaged"))).unwrap(), bytes);
    }
}

#[test]
fn damage_is_found_by_what_reads_it_and_healed_by_a_rebuild() {
    for seed in 0..20 {
        let folder = Folder::new("damage");
        filled(&folder);
        let mut bytes = fs::read(folder.file()).unwrap();
        let mut rng = Rng::with_seed(seed);
        // All pages but the first, which has the header.
        for at in (8192..bytes.len()).step_by(8192) {
            bytes[at..at + 64].fill_with(|| rng.u8(..));
        }
        fs::write(folder.file(), &bytes).unwrap();
        let index = open(&folder.file());
        let list = block_on(index.list(namespace(1), None, None, 10, &Default::default()));
        assert!(matches!(list, Err(IndexError::NeedsRebuild { .. })), "{list:?}, seed {seed}");
        assert!(index.needs_rebuild().is_some());
        ready(&index);
        block_on(index.apply(vec![put(2)])).unwrap();
        assert_eq!(count(&index), Ok(1));
        block_on(index.close());
        assert_eq!(open(&folder.file()).needs_rebuild(), None);
    }
}
