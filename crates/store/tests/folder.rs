//! Which folders are opened and which are refused, with the words an operator reads; what is refused is not touched.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests may unwrap and measure")]

mod support;

use std::{collections::BTreeMap, fs, path::Path, process::Command, time::Instant};

use futures::executor::block_on;
use sempre_store::{
    CommitError, Store, StoreError, Table,
    embedded::{EmbeddedOptions, EmbeddedStore},
};
use support::{TestFolder, acquire, get, put, small_options};

fn refusal(path: &Path) -> String {
    EmbeddedStore::open(path, small_options()).unwrap_err().to_string()
}

/// Every file below a folder, with its bytes.
fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.insert(path.display().to_string(), Vec::new());
            found.extend(files(&path));
        } else {
            found.insert(path.display().to_string(), fs::read(&path).unwrap());
        }
    }
    found
}

fn used_folder() -> TestFolder {
    let folder = TestFolder::new();
    let store = support::open(folder.path());
    let fence = acquire(&store, 1);
    put(&store, fence, Table::State, b"k", b"v").unwrap();
    block_on(store.close()).unwrap();
    folder
}

#[test]
fn an_empty_folder_opens_fast_and_small() {
    let folder = TestFolder::new();
    let begin = Instant::now();
    let store = EmbeddedStore::open(&folder.path().join("a/b"), EmbeddedOptions::default()).unwrap();
    let elapsed = begin.elapsed();
    let fence = acquire(&store, 1);
    put(&store, fence, Table::State, b"k", b"v").unwrap();
    let size: usize = files(folder.path()).values().map(Vec::len).sum();
    println!("opened in {elapsed:?}, {size} bytes");
    assert!(size < 6 << 20, "{size} bytes");
    assert!(elapsed.as_millis() < 1000, "{elapsed:?}");
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let folder = used_folder();
    let store = support::open(folder.path());
    acquire(&store, 1);
    for (name, _) in files(folder.path()) {
        let mode = fs::metadata(&name).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }
}

#[test]
fn a_newer_format_is_refused_and_untouched() {
    let folder = used_folder();
    let format = folder.path().join("FORMAT");
    let text = fs::read_to_string(&format).unwrap().replacen("sempre-store 2", "sempre-store 3", 1);
    fs::write(&format, text).unwrap();
    let before = files(folder.path());
    let expected = format!(
        "the data in {} has format 3, this program supports formats up to 2. Nothing was changed. Use a newer version of the program.",
        folder.path().display()
    );
    assert_eq!(refusal(folder.path()), expected);
    assert_eq!(files(folder.path()), before);
}

/// A folder with one row in its cold store, and the file's bytes.
fn folder_with_a_cold_row(value: &[u8]) -> (TestFolder, Vec<u8>) {
    let folder = TestFolder::new();
    let store = support::open(folder.path());
    let fence = acquire(&store, 1);
    put(&store, fence, Table::State, b"key-of-the-row", value).unwrap();
    block_on(store.checkpoint()).unwrap();
    block_on(store.close()).unwrap();
    drop(store);
    let bytes = fs::read(folder.path().join("cold.sqlite")).unwrap();
    (folder, bytes)
}

#[test]
fn any_changed_byte_of_a_row_in_the_cold_store_is_found_when_it_is_read() {
    let value: Vec<u8> = (0..40).map(|n| b'A' + n).collect();
    let (folder, whole) = folder_with_a_cold_row(&value);
    let at = whole.windows(value.len()).position(|window| window == value).unwrap();
    for place in 0..value.len() {
        let mut bytes = whole.clone();
        bytes[at + place] ^= 0x10;
        fs::write(folder.path().join("cold.sqlite"), bytes).unwrap();
        let store = support::open(folder.path());
        let damaged = |error: StoreError| {
            let text = error.to_string();
            assert!(text.contains("is damaged") && text.contains("of table state") && text.contains("Nothing was changed"), "{text}");
        };
        damaged(block_on(store.get(Table::State, b"key-of-the-row")).unwrap_err());
        let rows = block_on(store.scan(Table::State, b"k", b"l", 9)).unwrap();
        assert_eq!(rows, [(b"key-of-the-row".to_vec().into(), vec![0xFF].into())], "it keeps nobody from the others");
        damaged(block_on(store.snapshot()).unwrap().next(1 << 20).unwrap_err());
        let found = store.cold_findings(5).unwrap();
        assert!(found.len() == 1 && found[0].contains("its checksum is another"), "{found:?}");
        block_on(store.close()).unwrap();
    }
    fs::write(folder.path().join("cold.sqlite"), &whole).unwrap();
    let store = support::open(folder.path());
    assert_eq!(get(&store, Table::State, b"key-of-the-row"), Some(value));
    assert_eq!(store.cold_findings(5).unwrap(), [""; 0]);
}

#[test]
fn a_folder_of_format_1_is_brought_up_wherever_that_stops() {
    // As if the program had stopped before anything, and between the two files.
    for format_file in ["sempre-store 1", "sempre-store 2"] {
        let (folder, _) = folder_with_a_cold_row(b"old");
        let connection = rusqlite::Connection::open(folder.path().join("cold.sqlite")).unwrap();
        for table in Table::ALL {
            connection.execute_batch(&format!("ALTER TABLE {} DROP COLUMN c;", format!("{table:?}").to_lowercase())).unwrap();
        }
        // One that this version of the program did not know yet.
        connection.execute_batch("DROP TABLE flow; PRAGMA user_version=1;").unwrap();
        connection.close().unwrap();
        let format = folder.path().join("FORMAT");
        let text = fs::read_to_string(&format).unwrap().replacen("sempre-store 2", format_file, 1);
        fs::write(&format, text).unwrap();
        for _ in 0..2 {
            if fs::read_to_string(&format).unwrap().starts_with("sempre-store 1") {
                // Who only looks changes nothing, and so does a refusal.
                let looks = EmbeddedOptions { brings_up: false, ..small_options() };
                let text = EmbeddedStore::open(folder.path(), looks).unwrap_err().to_string();
                assert!(text.contains("has format 1; a server of this version brings it up to format 2"), "{text}");
                let cold = folder.path().join("cold.sqlite");
                let (own, other) = (fs::read(&cold).unwrap(), used_folder());
                fs::copy(other.path().join("cold.sqlite"), &cold).unwrap();
                assert!(refusal(folder.path()).contains("two different folders"));
                assert!(fs::read_to_string(&format).unwrap().starts_with("sempre-store 1"), "refused, and changed");
                fs::write(&cold, own).unwrap();
            }
            let store = support::open(folder.path());
            assert_eq!(get(&store, Table::State, b"key-of-the-row"), Some(b"old".to_vec()));
            let fence = acquire(&store, 1);
            for table in [Table::State, Table::Flow] {
                put(&store, fence, table, b"new", b"row").unwrap();
            }
            block_on(store.checkpoint()).unwrap();
            assert_eq!(get(&store, Table::Flow, b"new"), Some(b"row".to_vec()));
            assert_eq!(store.cold_findings(5).unwrap(), [""; 0]);
            block_on(store.close()).unwrap();
            assert!(fs::read_to_string(&format).unwrap().starts_with("sempre-store 2\n"));
        }
    }
}

#[test]
fn a_foreign_folder_is_refused_and_untouched() {
    let folder = TestFolder::new();
    fs::write(folder.path().join("letter.txt"), "dear").unwrap();
    let before = files(folder.path());
    let text = refusal(folder.path());
    assert!(text.contains("cannot be used as a data folder") && text.contains("letter.txt"), "{text}");
    assert_eq!(files(folder.path()), before);
    let text = refusal(&folder.path().join("letter.txt"));
    assert!(text.contains("it is not a folder"), "{text}");
    assert!(refusal(&folder.path().join("letter.txt/below")).contains("letter.txt/below"));
}

#[test]
fn missing_or_mixed_files_are_refused() {
    for name in ["FORMAT", "cold.sqlite", "log/00000001.seg"] {
        let folder = used_folder();
        fs::remove_file(folder.path().join(name)).unwrap();
        let text = refusal(folder.path());
        assert!(text.contains("Nothing was changed"), "without {name}: {text}");
    }
    let (folder, other) = (used_folder(), used_folder());
    fs::copy(other.path().join("cold.sqlite"), folder.path().join("cold.sqlite")).unwrap();
    assert!(refusal(folder.path()).contains("two different folders"));
    let folder = used_folder();
    let format = folder.path().join("FORMAT");
    let whole = fs::read_to_string(&format).unwrap();
    // It has no checksum: it is what was written, or it is damaged.
    let changed = [
        "sempre-store one".to_owned(),
        whole.replacen("store 2", "store2", 1),
        whole.replacen("store 2", "store +2", 1),
        whole.replacen("store 2", "store 0", 1),
        format!("sempre-store 2\nid +{}\n", &whole.trim_end()[whole.trim_end().len() - 15..]),
        whole.to_uppercase(),
        whole.trim_end().to_owned(),
        format!("{whole}\n"),
    ];
    for text in changed {
        fs::write(&format, &text).unwrap();
        assert!(refusal(folder.path()).contains("is damaged"), "{text:?}");
    }
    fs::write(&format, &whole).unwrap();
    drop(support::open(folder.path()));
    let folder = used_folder();
    fs::write(folder.path().join("cold.sqlite"), vec![7; 20_000]).unwrap();
    assert!(refusal(folder.path()).contains("is damaged"), "{}", refusal(folder.path()));
}

#[test]
fn an_interrupted_creation_is_begun_anew() {
    let folder = TestFolder::new();
    for (name, bytes) in [("LOCK", "12\n"), ("FORMAT.tmp", "semp"), ("cold.sqlite", ""), ("cold.sqlite-wal", "")] {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let store = support::open(folder.path());
    acquire(&store, 1);
}

#[test]
fn a_second_opening_is_locked_out() {
    let folder = used_folder();
    let first = support::open(folder.path());
    let expected = format!(
        "the data folder {} is in use by another process (process {}). Stop it first, or give another folder.",
        folder.path().display(),
        std::process::id()
    );
    assert_eq!(refusal(folder.path()), expected);
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_opens_a_folder", "--nocapture"])
        .env("SEMPRE_STORE_FOLDER", folder.path())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&child.stdout).contains(&expected), "{child:?}");
    block_on(first.close()).unwrap();
    let second = support::open(folder.path());
    assert_eq!(get(&second, Table::State, b"k"), Some(b"v".to_vec()), "a closed store holds no lock");
}

#[test]
fn child_that_opens_a_folder() {
    if let Ok(path) = std::env::var("SEMPRE_STORE_FOLDER") {
        println!("{}", refusal(Path::new(&path)));
    }
}

/// A file system that is mounted for a test; permission bits would not bind a test that runs as root.
struct Mount(TestFolder);

impl Mount {
    fn new(options: &str) -> Option<Mount> {
        let folder = TestFolder::new();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder.path()).output();
        if mount.is_ok_and(|mount| mount.status.success()) {
            return Some(Mount(folder));
        }
        println!("not tested here: tmpfs cannot be mounted (needs root)");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[test]
fn a_read_only_folder_is_refused_in_plain_words() {
    let Some(mount) = Mount::new("ro,size=1m") else { return };
    let text = refusal(mount.path());
    assert!(text.starts_with("cannot lock ") && text.contains("Read-only file system"), "{text}");
    let text = refusal(&mount.path().join("new"));
    assert!(text.starts_with("cannot create ") && text.contains("Read-only file system"), "{text}");
}

#[test]
fn too_small_a_disk_is_refused_in_plain_words() {
    let Some(mount) = Mount::new("size=16k") else { return };
    let text = refusal(mount.path());
    assert!(text.contains("disk") || text.contains("space"), "{text}");
}

/// The log and the cold store on a disk that fills up, for real.
#[test]
fn a_full_disk_rejects_and_recovers() {
    let Some(mount) = Mount::new("size=6m") else { return };
    let data = mount.path().join("data");
    let ballast = mount.path().join("ballast");
    fs::write(&ballast, vec![1; 3 << 20]).unwrap();
    let options = EmbeddedOptions { overlay_bytes: 256 << 10, ..small_options() };
    let store = EmbeddedStore::open(&data, options.clone()).unwrap();
    let mut acknowledged = Vec::new();
    let mut write = |store: &EmbeddedStore, keys: std::ops::Range<u32>| {
        let fence = acquire(store, 1);
        for key in keys {
            match put(store, fence, Table::State, &key.to_be_bytes(), &[key as u8; 4000]) {
                Ok(()) => acknowledged.push(key),
                Err(CommitError::Rejected { reason }) => return Some((reason, acknowledged.clone())),
                Err(other) => panic!("{other}"),
            }
        }
        println!("{} acknowledged", acknowledged.len());
        None
    };
    let (reason, known) = write(&store, 0..10_000).expect("the disk gets full");
    assert!(reason.contains("full"), "{reason}");
    let check = |store: &EmbeddedStore, keys: &[u32]| {
        for key in keys {
            assert_eq!(get(store, Table::State, &key.to_be_bytes()), Some(vec![*key as u8; 4000]), "key {key}");
        }
    };
    check(&store, &known);
    assert!(matches!(block_on(store.acquire(1)), Err(StoreError::Rejected { .. }) | Ok(_)));

    fs::remove_file(&ballast).unwrap();
    block_on(store.checkpoint()).or_else(|_| block_on(store.checkpoint())).unwrap();
    assert!(write(&store, 20_000..20_050).is_none(), "with room again the same process goes on");
    drop(store);
    let store = EmbeddedStore::open(&data, options).unwrap();
    check(&store, &known);
    check(&store, &(20_000..20_050).collect::<Vec<_>>());
    block_on(store.close()).unwrap();
}

#[test]
fn a_folder_of_a_version_that_knew_fewer_tables_is_opened() {
    let folder = used_folder();
    {
        let cold = rusqlite::Connection::open(folder.path().join("cold.sqlite")).unwrap();
        cold.execute_batch("DROP TABLE visibility").unwrap();
    }
    let store = support::open(folder.path());
    assert_eq!(get(&store, Table::State, b"k"), Some(b"v".to_vec()));
    let fence = acquire(&store, 1);
    put(&store, fence, Table::Visibility, b"k", b"v").unwrap();
    block_on(store.close()).unwrap();
    let store = support::open(folder.path());
    assert_eq!(get(&store, Table::Visibility, b"k"), Some(b"v".to_vec()));
}

/// A server that was killed leaves its writes in SQLite's log: looking at its folder must not write them back.
#[test]
fn who_only_looks_at_a_folder_leaves_the_cold_store_as_it_is() {
    let folder = TestFolder::new();
    let copy = TestFolder::new();
    let store = support::open(folder.path());
    let fence = acquire(&store, 1);
    put(&store, fence, Table::State, b"k", b"v").unwrap();
    block_on(store.checkpoint()).unwrap();
    let copied = Command::new("cp").arg("-a").arg(folder.path().join(".")).arg(copy.path()).status().unwrap();
    assert!(copied.success());
    let cold = copy.path().join("cold.sqlite");
    let before = fs::read(&cold).unwrap();
    let looking = support::open(copy.path());
    assert_eq!(looking.cold_findings(1).unwrap(), Vec::<String>::new());
    assert_eq!(get(&looking, Table::State, b"k"), Some(b"v".to_vec()));
    drop(looking);
    assert!(fs::read(&cold).unwrap() == before, "it was written to");

    let closing = support::open(copy.path());
    block_on(closing.close()).unwrap();
    assert!(fs::read(&cold).unwrap() != before, "an end in order writes the log back");
    assert!(!copy.path().join("cold.sqlite-wal").exists());
}
