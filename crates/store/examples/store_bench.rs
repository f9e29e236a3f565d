//! Measures the embedded store: `cargo run --release -p sempre-store --example store_bench [transitions] [batch] [writers] [overlay MiB] [folder]`.
//!
//! One transition puts a history row (26-byte key, 300 to 500 bytes) and a state row (18-byte key, 800 to 1200 bytes), and on
//! average 0.83 offers and 0.5 deadlines (40-byte keys, 20 bytes) that a later transition deletes. A run closes after six
//! transitions and leaves one deadline. Every writer has 8192 open runs and waits for each commit before the next.

#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::executor::block_on;
use sempre_store::{
    CommitBatch, Fence, Store, Table,
    embedded::{EmbeddedOptions, EmbeddedStore},
    stream_key,
};

const OPEN_RUNS: usize = 8192;
const STEPS: u64 = 6;

struct Writer {
    fence: Fence,
    runs: Vec<(u64, u64)>,
    next_run: u64,
    cursor: usize,
    chance: u64,
    bytes: Vec<u8>,
}

impl Writer {
    fn new(fence: Fence) -> Self {
        let mut writer =
            Writer { fence, runs: Vec::new(), next_run: 0, cursor: 0, chance: 88 + u64::from(fence.shard), bytes: vec![b'{'; 4096] };
        for at in 0..2048 {
            writer.bytes[at * 2] = writer.random() as u8;
        }
        for slot in 0..OPEN_RUNS {
            let run = writer.new_run();
            writer.runs.push((run, slot as u64 % STEPS));
        }
        writer
    }

    fn random(&mut self) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance
    }

    fn new_run(&mut self) -> u64 {
        self.next_run += 1;
        self.next_run
    }

    fn key(&self, run: u64, tail: &[u8]) -> Vec<u8> {
        let slot = (run.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54) as u16;
        [&slot.to_be_bytes()[..], &run.to_be_bytes(), &u64::from(self.fence.shard).to_be_bytes(), tail].concat()
    }

    fn transition(&mut self, batch: &mut CommitBatch) {
        self.cursor = (self.cursor + 1) % self.runs.len();
        let (run, step) = self.runs[self.cursor];
        let chance = self.random();
        let (at, len) = ((chance % 2000) as usize, 300 + (chance >> 20) as usize % 200);
        batch.put(Table::History, &stream_key(&self.key(run, b""), step + 1), &self.bytes[at..at + len]);
        batch.put(Table::State, &self.key(run, b""), &self.bytes[at..at + 800 + (chance >> 40) as usize % 400]);
        let index_key = |writer: &Self, step: u64| writer.key(run, &[&step.to_be_bytes()[..], &[7; 14]].concat());
        if step > 0 {
            batch.delete(Table::Offer, &index_key(self, step - 1));
        }
        if step + 1 < STEPS {
            batch.put(Table::Offer, &index_key(self, step), &self.bytes[..20]);
        }
        if step % 2 == 0 {
            batch.put(Table::Deadline, &index_key(self, step), &self.bytes[..20]);
        } else {
            batch.delete(Table::Deadline, &index_key(self, step - 1));
        }
        self.runs[self.cursor].1 += 1;
        if step + 1 == STEPS {
            batch.put(Table::Deadline, &index_key(self, 99), &self.bytes[..20]);
            self.runs[self.cursor] = (self.new_run(), 0);
        }
    }
}

fn run_writer(store: &dyn Store, shard: u32, transitions: u64, size: u64) -> Vec<Duration> {
    let epoch = block_on(store.acquire(shard)).expect("the shard can be acquired");
    let mut writer = Writer::new(Fence { shard, epoch });
    let mut latencies = Vec::new();
    for _ in 0..transitions / size {
        let mut batch = CommitBatch::new(writer.fence);
        (0..size).for_each(|_| writer.transition(&mut batch));
        let begin = Instant::now();
        block_on(store.commit(batch)).expect("the batch is committed");
        latencies.push(begin.elapsed());
    }
    latencies
}

/// CPU time of this process, from the scheduler's ticks of 10 ms.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn peak_memory_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn generator_cost(transitions: u64) -> f64 {
    let begin = cpu();
    let mut writer = Writer::new(Fence { shard: 1, epoch: 1 });
    let mut batch = CommitBatch::new(writer.fence);
    for count in 0..transitions.min(300_000) {
        writer.transition(&mut batch);
        if count % 256 == 0 {
            batch = CommitBatch::new(writer.fence);
        }
    }
    (cpu() - begin) / transitions.min(300_000) as f64
}

fn measure(folder: &std::path::Path, options: &EmbeddedOptions, transitions: u64, size: u64, writers: u32) {
    // A folder of an earlier measurement.
    let _ = std::fs::remove_dir_all(folder);
    let generator = generator_cost(transitions);
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(folder, options.clone()).expect("the folder can be opened"));
    let (begin, cpu_begin) = (Instant::now(), cpu());
    let mut latencies: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=writers)
            .map(|shard| {
                let store = &*store;
                scope.spawn(move || run_writer(store, shard, transitions / u64::from(writers), size))
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a writer ends")).collect()
    });
    let elapsed = begin.elapsed().as_secs_f64();
    let commits = latencies.len() as f64;
    let done = commits * size as f64;
    latencies.sort_unstable();
    let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize].as_micros();
    let stats = store.stats();
    block_on(store.close()).expect("the store can be closed");
    let cpu_each = ((cpu() - cpu_begin) / done - generator) * 1e6;
    println!(
        "batch {size:5} x {writers}: {:8.0} transitions/s {:7.0} commits/s | p50 {:6} p99 {:7} p99.9 {:7} max {:8} us | {cpu_each:5.1} CPU us | {} checkpoints, held back {} ms, log {} MB, {:.1} cold rows each | peak {} MB",
        done / elapsed,
        commits / elapsed,
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        stats.checkpoints,
        stats.delay_us / 1000,
        stats.log_bytes >> 20,
        stats.cold_rows as f64 / done,
        peak_memory_mb(),
    );
    drop(store);
    let begin = Instant::now();
    let store = EmbeddedStore::open(folder, options.clone()).expect("the folder opens again");
    println!("             reopened in {:?}", begin.elapsed());
    drop(store);
    let _ = std::fs::remove_dir_all(folder);
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = || arguments.next().and_then(|argument| argument.parse::<u64>().ok());
    let (transitions, size, writers, overlay) = (number(), number(), number(), number());
    let mut options = EmbeddedOptions::default();
    if let Some(overlay) = overlay {
        options.overlay_bytes = (overlay as usize) << 20;
        options.log_bytes = overlay << 21;
    }
    let folder = std::env::args().nth(5).map_or_else(|| std::env::temp_dir().join("sempre-store-bench"), PathBuf::from);
    match (transitions, size) {
        (Some(transitions), Some(size)) => measure(&folder, &options, transitions, size, writers.unwrap_or(1) as u32),
        _ => {
            for (size, transitions) in [(1, 20_000), (64, 300_000), (256, 600_000)] {
                measure(&folder, &options, transitions, size, 1);
            }
            measure(&folder, &options, 60_000, 1, 4);
            measure(&folder, &options, 400_000, 64, 4);
        }
    }
}
