//! What a world is like: drawn from its seed once, and made smaller by the shrinker.

use sempre_core::Span;

use crate::{disk::Fate, random::Random};

/// Stream of the draws that make a plan.
const PLAN_STREAM: u64 = 1;
/// Stream of the draws about flow rules: worlds without them stay as they were.
const FLOW_STREAM: u64 = 2;
/// Stream of the draws about who follows the feed.
const FEED_STREAM: u64 = 3;
/// Stream of the draws about shards that leave and come back.
const MOVE_STREAM: u64 = 4;
/// Stream of the draws about nodes.
const NODE_STREAM: u64 = 5;

/// What goes wrong with a disk; so many times in a thousand where nothing else is said.
#[derive(Clone, Debug, Default)]
pub struct DiskFaults {
    /// Reads see what was enqueued, or only what is durable.
    pub reads_early: bool,
    /// Longest write in ms, as a rule.
    pub latency_ms: u64,
    /// Writes that take seconds.
    pub slow: u32,
    /// Groups of batches that surely fail.
    pub refused: u32,
    /// Batches that are refused at once.
    pub refused_at_once: u32,
    /// Groups of batches of which nobody knows.
    pub unknown: u32,
    /// Groups with which the store fails for good.
    pub broken: u32,
    /// Batches from which on the disk is full for a while.
    pub full: u32,
    /// Reads that fail.
    pub read_error: u32,
    /// Reads take turns.
    pub slow_reads: bool,
    /// Acknowledgements come late.
    pub late_ack: u32,
}

impl DiskFaults {
    /// Without what goes wrong.
    #[must_use]
    pub fn healed(&self) -> Self {
        Self { reads_early: self.reads_early, latency_ms: self.latency_ms.min(5), ..Self::default() }
    }

    pub(crate) fn latency(&self, random: &mut Random) -> Span {
        if random.permille(self.slow) {
            return Span::millis(random.between(500, 8000) as i64);
        }
        Span(random.between(50, 1000 * self.latency_ms.max(1)) as i64 * 1000)
    }

    pub(crate) fn ack_delay(&self, random: &mut Random) -> Span {
        if random.permille(self.late_ack) { Span::millis(random.between(1, 300) as i64) } else { Span::ZERO }
    }

    pub(crate) fn fate(&self, random: &mut Random) -> Fate {
        if random.permille(self.unknown) {
            Fate::Unknown { applied: random.permille(500) }
        } else if random.permille(self.refused) {
            Fate::Refused
        } else if random.permille(self.broken) {
            Fate::Broken
        } else {
            Fate::Done
        }
    }

    pub(crate) fn full(&self, random: &mut Random) -> Option<Span> {
        random.permille(self.full).then(|| Span::millis(random.between(100, 20_000) as i64))
    }

    pub(crate) fn read_turns(&self, random: &mut Random) -> u64 {
        if self.slow_reads { random.below(4) } else { 0 }
    }
}

/// What goes wrong between clients and server; so many times in a thousand.
#[derive(Clone, Debug, Default)]
pub struct NetFaults {
    /// Requests that never arrive.
    pub request_lost: u32,
    /// Answers that never arrive.
    pub answer_lost: u32,
    /// Requests that arrive twice.
    pub doubled: u32,
    /// Callers that hang up before the answer.
    pub hangs_up: u32,
    /// Messages that take up to seconds.
    pub late: u32,
}

/// A world.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where it comes from.
    pub seed: u64,
    /// Workflows that clients start.
    pub workflows: u64,
    /// Calls that clients make about them, each.
    pub calls: u64,
    /// Most workflow tasks of one run.
    pub steps: u64,
    /// Workers.
    pub workers: u64,
    /// Shards of the server.
    pub shards: u32,
    /// Crashes of the server.
    pub crashes: u64,
    /// Servers over the disk; no seed has more than one by itself.
    pub nodes: u64,
    /// Times one of several nodes stands still, mostly for longer than others wait for it.
    pub stills: u64,
    /// Times a shard is given up and taken up again, of several nodes by another.
    pub moves: u64,
    /// Times the server's clock is set.
    pub clock_jumps: u64,
    /// Times a worker dies with what it has.
    pub worker_deaths: u64,
    /// Bytes of executions that the server may keep in memory.
    pub cache_bytes: usize,
    /// Commits under way at once.
    pub commits_in_flight: usize,
    /// Disk.
    pub disk: DiskFaults,
    /// Network.
    pub net: NetFaults,
    /// Schedules.
    pub schedules: u64,
    /// Clients whose starts flow rules are about.
    pub flows: u64,
    /// Followers of the feed of notices; with any, there is an alert rule too.
    pub feed: u64,
    /// Activities that a worker had forgotten and answers after all, so many times in a thousand.
    pub late_answers: u32,
    /// Not 0: clients make calls of every kind, and start workflows in every way.
    pub wide: u64,
    /// The index of runs is lost at so many crashes in a thousand.
    pub index_lost: u32,
    /// Answers of workers that are not what a worker should say, so many times in a thousand.
    pub worker_faults: u32,
}

impl Plan {
    /// The plan of a seed. Some worlds are calm, some have one kind of trouble, some all.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut r = Random::new(seed, PLAN_STREAM);
        let mut often = |max: u64| if r.permille(450) { 0 } else { r.between(1, max) as u32 };
        let disk = DiskFaults {
            slow: often(40),
            refused: often(30),
            refused_at_once: often(20),
            unknown: often(40),
            broken: often(8),
            full: often(4),
            read_error: often(6),
            late_ack: often(200),
            ..DiskFaults::default()
        };
        let net = NetFaults { request_lost: often(60), answer_lost: often(80), doubled: often(100), hangs_up: often(60), late: often(150) };
        let worker_faults = often(120);
        let mut plan = Self {
            seed,
            workflows: r.between(1, 10),
            calls: r.between(0, 8),
            steps: r.between(1, 7),
            workers: r.between(1, 4),
            shards: *r.pick(&[1, 2, 3, 5]).unwrap_or(&1),
            crashes: if r.permille(300) { 0 } else { r.between(1, 8) },
            clock_jumps: if r.permille(600) { 0 } else { r.between(1, 4) },
            worker_deaths: if r.permille(500) { 0 } else { r.between(1, 6) },
            cache_bytes: *r.pick(&[0, 2_000, 20_000, 32 << 20]).unwrap_or(&0),
            commits_in_flight: *r.pick(&[1, 2, 4, 8]).unwrap_or(&1),
            disk,
            net,
            worker_faults,
            schedules: 0,
            flows: 0,
            feed: 0,
            nodes: 1,
            stills: 0,
            moves: 0,
            late_answers: 0,
            wide: 0,
            index_lost: 0,
        };
        plan.disk.reads_early = r.permille(500);
        plan.disk.latency_ms = *r.pick(&[1, 5, 30]).unwrap_or(&1);
        plan.disk.slow_reads = r.permille(400);
        plan.wide = u64::from(r.permille(750));
        plan.schedules = if plan.wide == 0 || r.permille(600) { 0 } else { r.between(1, 2) };
        let mut f = Random::new(seed, FLOW_STREAM);
        plan.flows = if plan.wide == 0 || f.permille(750) { 0 } else { f.between(2, 6) };
        let mut feed = Random::new(seed, FEED_STREAM);
        plan.feed = if feed.permille(700) { 0 } else { feed.between(1, 2) };
        plan.late_answers = if feed.permille(600) { 0 } else { feed.between(300, 1000) as u32 };
        let mut moves = Random::new(seed, MOVE_STREAM);
        plan.moves = if moves.permille(800) { 0 } else { moves.between(1, 6) };
        plan.stills = Random::new(seed, NODE_STREAM).between(0, 4);
        plan.index_lost = if r.permille(500) { 0 } else { r.between(100, 600) as u32 };
        plan
    }

    /// Without what several nodes cannot do yet: what there is once (schedules, the feed, flow rules) has no way from node to node, and a
    /// rebuild of the index is one engine's.
    #[must_use]
    pub fn possible(&self) -> Self {
        if self.nodes < 2 {
            return self.clone();
        }
        Self { schedules: 0, flows: 0, feed: 0, index_lost: 0, ..self.clone() }
    }
}

macro_rules! fields {
    ($($name:literal: $($field:ident).+ as $kind:ty,)+) => {
        impl Plan {
            /// Numbers of a plan that may be set by hand, with their values.
            #[must_use]
            pub fn numbers(&self) -> Vec<(&'static str, u64)> {
                vec![$(($name, self.$($field).+ as u64),)+]
            }

            /// Sets one of them; false if there is none of this name.
            pub fn set(&mut self, name: &str, value: u64) -> bool {
                match name {
                    $($name => self.$($field).+ = value as $kind,)+
                    _ => return false,
                }
                true
            }
        }
    };
}

fields! {
    "workflows": workflows as u64,
    "calls": calls as u64,
    "steps": steps as u64,
    "workers": workers as u64,
    "shards": shards as u32,
    "crashes": crashes as u64,
    "moves": moves as u64,
    "nodes": nodes as u64,
    "stills": stills as u64,
    "clock-jumps": clock_jumps as u64,
    "worker-deaths": worker_deaths as u64,
    "worker-faults": worker_faults as u32,
    "commits-in-flight": commits_in_flight as usize,
    "schedules": schedules as u64,
    "flows": flows as u64,
    "feed": feed as u64,
    "late-answers": late_answers as u32,
    "wide": wide as u64,
    "index-lost": index_lost as u32,
    "disk-latency-ms": disk.latency_ms as u64,
    "disk-slow": disk.slow as u32,
    "disk-refused": disk.refused as u32,
    "disk-refused-at-once": disk.refused_at_once as u32,
    "disk-unknown": disk.unknown as u32,
    "disk-broken": disk.broken as u32,
    "disk-full": disk.full as u32,
    "disk-read-error": disk.read_error as u32,
    "disk-late-ack": disk.late_ack as u32,
    "net-request-lost": net.request_lost as u32,
    "net-answer-lost": net.answer_lost as u32,
    "net-doubled": net.doubled as u32,
    "net-hangs-up": net.hangs_up as u32,
    "net-late": net.late as u32,
}
