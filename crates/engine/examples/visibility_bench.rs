//! Fills an index of runs and measures what writing costs and how long lists and counts take.
//!
//! `visibility_bench [FOLDER] [CLOSED] [OPEN]`; by default a folder of its own that goes at the end, 1,000,000 closed and 100,000 open runs of
//! 10 types, each with three attributes. Fails if an answer is wrong, if an indexed list or count has a p99 above
//! 20 ms, or if the last pages of a list take more than twice as long as the first ones.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use fastrand::Rng;
use futures::executor::block_on;
use sempre_api::v1::common::Payload;
use sempre_core::{
    NamespaceId, RunId, Timestamp,
    ids::Uuid,
    visibility::{AttributeType, Comparison, Field, Filter, Record, SystemField, Value},
};
use sempre_engine::visibility::{
    Change, Index, Position,
    sqlite::{FILE_NAME, SqliteIndex},
};

const NAMESPACE: NamespaceId = NamespaceId(Uuid([1; 16]));
const TYPES: usize = 10;
const CUSTOMERS: usize = 10_000;
const REGIONS: [&str; 5] = ["eu-west", "eu-north", "us-east", "us-west", "ap-south"];
/// 2026-01-01.
const FIRST: i64 = 1_767_225_600_000_000_000;
const SECOND: i64 = 1_000_000_000;
const BATCH: usize = 1024;
const PAGE: usize = 100;
const P99_MAX: Duration = Duration::from_millis(20);

fn attribute(name: &str, kind: &str, data: String) -> (String, Payload) {
    let metadata = [("encoding", "json/plain"), ("type", kind)].map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec().into()));
    (name.to_owned(), Payload { metadata: metadata.into_iter().collect(), data: data.into_bytes().into(), ..Payload::default() })
}

/// Run number `n`; one starts every second.
fn record(rng: &mut Rng, n: usize, open: bool) -> Record {
    let start = FIRST + n as i64 * SECOND + rng.i64(0..SECOND);
    let mut random = [0; 10];
    random.fill_with(|| rng.u8(..));
    let run = RunId(Uuid::v7(start.unsigned_abs() / 1_000_000, random));
    // Most runs take some seconds, some take days.
    let took = if rng.u8(..50) == 0 { rng.i64(0..200_000) * SECOND } else { rng.i64(0..10 * SECOND) };
    let status = if open { 1 } else { [2, 2, 2, 2, 2, 2, 2, 3, 4, 5, 6, 7][rng.usize(..12)] };
    Record {
        namespace_id: NAMESPACE.0.0.to_vec().into(),
        workflow_id: format!("order-{n:08}"),
        run_id: run.0.0.to_vec().into(),
        workflow_type: format!("OrderWorkflow{}", rng.usize(..TYPES)),
        task_queue: "orders".to_owned(),
        status,
        start_time: start,
        execution_time: start,
        close_time: if open { 0 } else { start + took },
        history_length: rng.i64(5..200),
        history_size_bytes: rng.i64(1000..50_000),
        state_transition_count: rng.i64(4..100),
        first_run_id: run.to_string(),
        search_attributes: BTreeMap::from([
            attribute("Region", "Keyword", format!("\"{}\"", REGIONS[rng.usize(..REGIONS.len())])),
            attribute("Customer", "Keyword", format!("\"customer-{}\"", rng.usize(..CUSTOMERS))),
            attribute("Amount", "Int", rng.u32(..1_000_000).to_string()),
        ]),
        ..Record::default()
    }
}

/// CPU time of the process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<u64> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().filter_map(|n| n.parse().ok()).collect();
    // Behind the state: utime and stime are the 11th and 12th, in hundredths of a second.
    Duration::from_millis(fields.get(10..12).map_or(0, |times| times.iter().sum::<u64>() * 10))
}

fn write(index: &SqliteIndex, what: &str, changes: Vec<Change>) -> Result<(), Box<dyn Error>> {
    let (runs, start, cpu_before) = (changes.len(), Instant::now(), cpu());
    let mut slowest = Duration::ZERO;
    for batch in changes.chunks(BATCH) {
        let began = Instant::now();
        block_on(index.apply(batch.to_vec()))?;
        slowest = slowest.max(began.elapsed());
    }
    let (wall, cpu) = (start.elapsed(), cpu() - cpu_before);
    println!(
        "{what}: {runs} in {:.1} s, {:.0}/s, {:.1} us CPU each, slowest batch of {BATCH} {:.0} ms",
        wall.as_secs_f64(),
        runs as f64 / wall.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / runs as f64,
        slowest.as_secs_f64() * 1e3
    );
    Ok(())
}

fn system(field: SystemField, comparison: Comparison, value: Value) -> Filter {
    Filter::Compare(Field::System(field), comparison, value)
}

/// A filter as every query of a client carries it: of users' workflows only.
fn real(filter: Option<Filter>) -> Option<Filter> {
    let workflows = Filter::IsNull { field: Field::namespace_division(), negated: false };
    Some(Filter::And(std::iter::once(workflows).chain(filter).collect()))
}

fn keyword(text: impl Into<String>) -> Value {
    Value::Keyword(text.into())
}

fn field(name: &str, kind: AttributeType) -> Field {
    Field::Attribute { name: name.to_owned(), kind }
}

type Ask<'a> = Box<dyn Fn(&mut Rng) -> Result<usize, Box<dyn Error>> + 'a>;

/// CPU time that the process has used, in fine steps.
fn used() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Median, 99th percentile and slowest, in milliseconds.
fn quantiles(times: &mut [Duration]) -> [f64; 3] {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    [at(50), at(99), at(100)]
}

/// Asks many times; false if it takes too long.
fn measure(name: &str, indexed: bool, ask: &Ask<'_>) -> Result<bool, Box<dyn Error>> {
    let mut rng = Rng::with_seed(99);
    let rounds = if indexed { 500 } else { 10 };
    let (mut times, mut cpus) = (Vec::new(), Vec::new());
    let mut found = 0;
    for _ in 0..rounds {
        let (began, cpu) = (Instant::now(), used());
        found = ask(&mut rng)?;
        times.push(began.elapsed());
        cpus.push(used() - cpu);
    }
    let ([p50, p99, slowest], [cpu50, cpu99, _]) = (quantiles(&mut times), quantiles(&mut cpus));
    let ok = !indexed || p99 <= P99_MAX.as_secs_f64() * 1e3;
    let note = if ok { "" } else { " TOO SLOW" };
    println!("| {name} | {found} | {p50:.3} | {p99:.3} | {slowest:.3} | {cpu50:.3} | {cpu99:.3} |{note}");
    Ok(ok)
}

fn questions(index: &SqliteIndex, runs: usize) -> Vec<(&'static str, bool, Ask<'_>)> {
    let none: &'static BTreeSet<RunId> = Box::leak(Box::default());
    let list = move |filter: Option<Filter>| -> Result<usize, Box<dyn Error>> {
        Ok(block_on(index.list(NAMESPACE, real(filter).as_ref(), None, PAGE, none))?.len())
    };
    let count = move |filter: Option<Filter>| -> Result<usize, Box<dyn Error>> {
        Ok(block_on(index.count(NAMESPACE, real(filter).as_ref(), none))? as usize)
    };
    let of_type =
        |rng: &mut Rng| system(SystemField::WorkflowType, Comparison::Equal, keyword(format!("OrderWorkflow{}", rng.usize(..TYPES))));
    let of_status = |status: i64| system(SystemField::ExecutionStatus, Comparison::Equal, Value::Int(status));
    let customer = |rng: &mut Rng| {
        Filter::Compare(
            field("Customer", AttributeType::Keyword),
            Comparison::Equal,
            keyword(format!("customer-{}", rng.usize(..CUSTOMERS))),
        )
    };
    let region = |rng: &mut Rng| {
        Filter::Compare(field("Region", AttributeType::Keyword), Comparison::Equal, keyword(REGIONS[rng.usize(..REGIONS.len())]))
    };
    let started = move |rng: &mut Rng, seconds: i64| {
        let from = FIRST + rng.i64(0..runs as i64) * SECOND;
        let (low, high) = (Value::Datetime(Timestamp(from)), Value::Datetime(Timestamp(from + seconds * SECOND)));
        Filter::Between { field: Field::System(SystemField::StartTime), low, high, negated: false }
    };
    let prefix = move |rng: &mut Rng, digits: usize| {
        let id = format!("order-{:08}", rng.usize(..runs));
        let prefix = id[..id.len() - digits].to_owned();
        Filter::StartsWith { field: Field::System(SystemField::WorkflowId), prefix, negated: false }
    };
    let amount = |width: i64| {
        move |rng: &mut Rng| {
            let low = rng.i64(0..1_000_000 - width);
            Filter::Between {
                field: field("Amount", AttributeType::Int),
                low: Value::Int(low),
                high: Value::Int(low + width),
                negated: false,
            }
        }
    };
    vec![
        ("list: first page", true, Box::new(move |_| list(None))),
        ("list: WorkflowType =", true, Box::new(move |rng| list(Some(of_type(rng))))),
        ("list: ExecutionStatus = 'Running'", true, Box::new(move |_| list(Some(of_status(1))))),
        ("list: ExecutionStatus = 'Failed'", true, Box::new(move |_| list(Some(of_status(3))))),
        (
            "list: ExecutionStatus != 'Running'",
            true,
            Box::new(move |_| list(Some(system(SystemField::ExecutionStatus, Comparison::NotEqual, Value::Int(1))))),
        ),
        (
            "list: WorkflowType = AND ExecutionStatus =",
            true,
            Box::new(move |rng| list(Some(Filter::And(vec![of_type(rng), of_status(3)])))),
        ),
        ("list: Customer = (110 runs)", true, Box::new(move |rng| list(Some(customer(rng))))),
        ("list: Region = (220,000 runs)", true, Box::new(move |rng| list(Some(region(rng))))),
        ("list: Customer = AND Region =", true, Box::new(move |rng| list(Some(Filter::And(vec![customer(rng), region(rng)]))))),
        (
            "list: Region = AND WorkflowType = AND status =",
            true,
            Box::new(move |rng| list(Some(Filter::And(vec![region(rng), of_type(rng), of_status(4)])))),
        ),
        ("list: Amount BETWEEN (1,100 runs)", true, Box::new(move |rng| list(Some(amount(1000)(rng))))),
        ("list: Amount BETWEEN (110,000 runs)", true, Box::new(move |rng| list(Some(amount(100_000)(rng))))),
        ("list: StartTime BETWEEN, one hour anywhere", true, Box::new(move |rng| list(Some(started(rng, 3600))))),
        (
            "list: StartTime > the last day",
            true,
            Box::new(move |_| {
                let at = Value::Datetime(Timestamp(FIRST + (runs as i64 - 86_400) * SECOND));
                list(Some(system(SystemField::StartTime, Comparison::Greater, at)))
            }),
        ),
        (
            "list: CloseTime BETWEEN, one hour anywhere",
            true,
            Box::new(move |rng| {
                let Filter::Between { low, high, .. } = started(rng, 3600) else { return Ok(0) };
                list(Some(Filter::Between { field: Field::System(SystemField::CloseTime), low, high, negated: false }))
            }),
        ),
        (
            "list: WorkflowId =",
            true,
            Box::new(move |rng| {
                list(Some(system(SystemField::WorkflowId, Comparison::Equal, keyword(format!("order-{:08}", rng.usize(..runs))))))
            }),
        ),
        ("list: WorkflowId STARTS_WITH (1,000 runs)", true, Box::new(move |rng| list(Some(prefix(rng, 3))))),
        ("list: WorkflowId STARTS_WITH (100,000 runs)", true, Box::new(move |rng| list(Some(prefix(rng, 5))))),
        ("count: all", true, Box::new(move |_| count(None))),
        ("count: ExecutionStatus =", true, Box::new(move |_| count(Some(of_status(3))))),
        ("count: WorkflowType =", true, Box::new(move |rng| count(Some(of_type(rng))))),
        (
            "count: all GROUP BY ExecutionStatus",
            true,
            Box::new(move |_| {
                Ok(block_on(index.count_by(NAMESPACE, real(None).as_ref(), &Field::System(SystemField::ExecutionStatus), none))?.len())
            }),
        ),
        (
            "count: WorkflowType = GROUP BY ExecutionStatus",
            true,
            Box::new(move |rng| {
                Ok(block_on(index.count_by(
                    NAMESPACE,
                    real(Some(of_type(rng))).as_ref(),
                    &Field::System(SystemField::ExecutionStatus),
                    none,
                ))?
                .len())
            }),
        ),
        ("count: Customer =", true, Box::new(move |rng| count(Some(customer(rng))))),
        ("count: StartTime BETWEEN, one hour", true, Box::new(move |rng| count(Some(started(rng, 3600))))),
        (
            "list: WorkflowId STARTS_WITH (100,000 runs) AND status =",
            true,
            Box::new(move |rng| list(Some(Filter::And(vec![prefix(rng, 5), of_status(3)])))),
        ),
        (
            "list: StartTime BETWEEN, 3 days after the first",
            true,
            Box::new(move |_| {
                let (low, high) = (FIRST, FIRST + 3 * 86_400 * SECOND);
                let (low, high) = (Value::Datetime(Timestamp(low)), Value::Datetime(Timestamp(high)));
                list(Some(Filter::Between { field: Field::System(SystemField::StartTime), low, high, negated: false }))
            }),
        ),
        (
            "not indexed, list: HistoryLength > 1000 (none)",
            false,
            Box::new(move |_| list(Some(system(SystemField::HistoryLength, Comparison::Greater, Value::Int(1000))))),
        ),
        (
            "not indexed, count: HistoryLength > 100",
            false,
            Box::new(move |_| count(Some(system(SystemField::HistoryLength, Comparison::Greater, Value::Int(100))))),
        ),
        ("not counted, count: Region =", false, Box::new(move |rng| count(Some(region(rng))))),
    ]
}

/// Pages from the first to the last; false if the last ones take much longer.
fn page_through(index: &SqliteIndex, name: &str, filter: Option<&Filter>, page: usize, expected: usize) -> Result<bool, Box<dyn Error>> {
    let mut after: Option<Position> = None;
    let mut times = Vec::new();
    let mut seen = 0;
    let began = Instant::now();
    loop {
        let start = Instant::now();
        let records = block_on(index.list(NAMESPACE, filter, after.as_ref(), page, &BTreeSet::new()))?;
        times.push(start.elapsed());
        seen += records.len();
        let Some(last) = records.last() else { break };
        after = Some(Position::of(last));
    }
    let tenth = (times.len() / 10).max(1);
    let mean = |times: &[Duration]| times.iter().sum::<Duration>().as_secs_f64() * 1e3 / times.len() as f64;
    let (first, last) = (mean(&times[..tenth]), mean(&times[times.len() - tenth..]));
    println!(
        "paging, {name}: {seen} runs in {} pages in {:.1} s; a page of the first tenth {first:.3} ms, of the last {last:.3} ms",
        times.len(),
        began.elapsed().as_secs_f64()
    );
    Ok(seen == expected && last < 2.0 * first + 1.0)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let given = arguments.next().map(PathBuf::from);
    let own = given.is_none();
    let folder = given.unwrap_or_else(|| std::env::temp_dir().join(format!("visibility-bench-{}", std::process::id())));
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |n| n.parse());
    let (closed, open) = (number(1_000_000)?, number(100_000)?);
    let runs = closed + open;
    std::fs::create_dir_all(&folder)?;
    let path = folder.join(FILE_NAME);
    let fresh = !path.exists();
    let index = SqliteIndex::open(&path, Uuid::default())?;
    let mut rng = Rng::with_seed(1);
    if fresh {
        block_on(index.begin_rebuild())?;
        block_on(index.finish_rebuild())?;
        // Every eleventh run stays open. A closed one is written once, as a short run is.
        let every = runs / open.max(1);
        let changes = (0..runs).map(|n| Change::Put { version: 1, record: Arc::new(record(&mut rng, n, n % every == 0)) }).collect();
        write(&index, "runs written once", changes)?;
        let bytes = block_on(index.stats())?.bytes;
        println!("{} MB, {} bytes per run", bytes / 1_000_000, bytes / runs as u64);
        // What an update costs that changes no index, and one that closes.
        let running = system(SystemField::ExecutionStatus, Comparison::Equal, Value::Int(1));
        let some = block_on(index.list(NAMESPACE, Some(&running), None, 20_000, &BTreeSet::new()))?;
        let touched: Vec<Record> =
            some.iter().map(|record| Record { history_length: record.history_length + 1, ..(**record).clone() }).collect();
        let put = |version, record: Record| Change::Put { version, record: Arc::new(record) };
        write(&index, "open runs changed", touched.iter().cloned().map(|record| put(2, record)).collect())?;
        let close = |record: &Record| Record { status: 2, close_time: record.start_time + SECOND, ..record.clone() };
        write(&index, "open runs closed", touched.iter().map(|record| put(3, close(record))).collect())?;
        write(&index, "and opened again", touched.into_iter().map(|record| put(4, record)).collect())?;
    }
    println!("load {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    println!("| query | runs | p50 ms | p99 ms | slowest ms | CPU p50 ms | CPU p99 ms |\n|---|---|---|---|---|---|---|");
    let mut ok = true;
    for (name, indexed, ask) in questions(&index, runs) {
        ok &= measure(name, indexed, &ask)?;
    }
    let all = block_on(index.count(NAMESPACE, real(None).as_ref(), &BTreeSet::new()))? as usize;
    ok &= all == runs;
    ok &= page_through(&index, "all", real(None).as_ref(), 1000, runs)?;
    let not_open = real(Some(system(SystemField::ExecutionStatus, Comparison::NotEqual, Value::Int(1))));
    let closed_now = block_on(index.count(NAMESPACE, not_open.as_ref(), &BTreeSet::new()))? as usize;
    ok &= page_through(&index, "closed", not_open.as_ref(), 1000, closed_now)?;
    block_on(index.close());
    if own {
        std::fs::remove_dir_all(&folder)?;
    }
    println!("{}", if ok { "OK" } else { "NOT OK" });
    if ok { Ok(()) } else { Err("see above".into()) }
}
