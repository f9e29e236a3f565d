//! State that runs share.

use std::{
    cell::RefCell,
    sync::{
        LazyLock, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowResult};

static COUNT: AtomicU64 = AtomicU64::new(0);
static TABLE: Mutex<Vec<u64>> = Mutex::new(Vec::new());
static ONCE: OnceLock<u64> = OnceLock::new();
static CACHE: LazyLock<Cache> = LazyLock::new(Cache::default);
static NAMES: [&str; 2] = ["one", "two"];
static WORDS: LazyLock<Vec<String>> = LazyLock::new(|| vec!["innocent".to_owned()]);
static BEGUN: LazyLock<SystemTime> = LazyLock::new(|| SystemTime::now()); //~ clock [walk] a clock that begins a lazy static
static mut LAST: u64 = 0;

thread_local! {
    static MINE: RefCell<u64> = const { RefCell::new(0) };
}

#[derive(Default)]
struct Cache {
    entries: Mutex<Vec<u64>>,
}

#[workflow]
#[derive(Default)]
pub struct Globals;

#[workflow_methods]
impl Globals {
    #[run]
    pub async fn run(_ctx: &mut WorkflowContext<Self>) -> WorkflowResult<u64> {
        let count = COUNT.fetch_add(1, Ordering::Relaxed); //~ global [walk] a counter
        TABLE.lock().unwrap().push(count); //~ global [walk] a list behind a lock
        let once = *ONCE.get_or_init(|| count); //~ global [walk] a value that is set once
        CACHE.entries.lock().unwrap().push(once); //~ global [walk] a lock within a lazy struct
        let last = unsafe { LAST }; //~ global [walk] a mutable static
        MINE.with(|mine| *mine.borrow_mut() += 1); //~ global [walk] a thread's own variable
        let begun = BEGUN.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Ok(count + last + NAMES.len() as u64 + WORDS.len() as u64 + begun.as_secs())
    }
}
