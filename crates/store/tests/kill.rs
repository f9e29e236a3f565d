//! `kill -9` of a process in mid-write: every key it was told about is there, each batch is there wholly or not at all.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests may unwrap and measure")]

mod support;

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use futures::executor::block_on;
use sempre_store::{
    CommitBatch, Store, Table,
    embedded::{EmbeddedOptions, EmbeddedStore},
    stream_key,
};
use support::{Random, TestFolder, acquire, get};

const ROWS: u64 = 64;
const ROUNDS: u64 = 4;
const BATCHES_PER_ROUND: u64 = 300;

fn open(path: &Path) -> EmbeddedStore {
    let options = EmbeddedOptions { segment_bytes: 4 << 20, overlay_bytes: 2 << 20, log_bytes: 8 << 20, ..EmbeddedOptions::default() };
    EmbeddedStore::open(path, options).unwrap()
}

fn value(batch: u64, row: u64) -> Vec<u8> {
    Random::new(batch * ROWS + row).bytes(200)
}

/// The process that is killed: commits without end, and says which batches were acknowledged.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Ok(path) = std::env::var("SEMPRE_STORE_FOLDER") else { return };
    let store = open(Path::new(&path));
    let fence = acquire(&store, 1);
    let first = get(&store, Table::Meta, b"last").map_or(0, |value| u64::from_be_bytes(value.try_into().unwrap()));
    for number in first + 1.. {
        let mut batch = CommitBatch::new(fence);
        batch.put(Table::Meta, b"last", &number.to_be_bytes());
        for row in 0..ROWS {
            batch.put(Table::State, &[0, row as u8], &value(number, row));
            batch.put(Table::History, &stream_key(&[0, row as u8], number), &value(number, row)[..20]);
        }
        block_on(store.commit(batch)).unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "acknowledged {number}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn kill_in_mid_write_loses_nothing_acknowledged() {
    let folder = TestFolder::new();
    for round in 1..=ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_writes_until_it_is_killed", "--nocapture"])
            .env("SEMPRE_STORE_FOLDER", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledged = 0;
        let mut told = 0;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while let Some(Ok(line)) = lines.next() {
            let Some(number) = line.strip_prefix("acknowledged ") else { continue };
            acknowledged = number.parse().unwrap();
            told += 1;
            if told == BATCHES_PER_ROUND {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();

        let begin = Instant::now();
        let store = open(folder.path());
        println!("round {round}: {acknowledged} acknowledged, reopened in {:?}", begin.elapsed());
        let last = u64::from_be_bytes(get(&store, Table::Meta, b"last").unwrap().try_into().unwrap());
        assert!(last >= acknowledged && last <= acknowledged + 1, "{last} of {acknowledged}");
        for row in 0..ROWS {
            assert_eq!(get(&store, Table::State, &[0, row as u8]), Some(value(last, row)));
            let rows = block_on(store.stream(&[0, row as u8], 0, usize::MAX)).unwrap();
            let found: Vec<u8> = rows.iter().flat_map(|(_, value)| value.to_vec()).collect();
            let expected: Vec<u8> = (1..=last).flat_map(|number| value(number, row)[..20].to_vec()).collect();
            assert!(found == expected, "history of row {row} after batch {last}");
        }
    }
}
