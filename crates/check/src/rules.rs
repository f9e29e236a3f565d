//! What workflow code may not use, why, and what to use instead. One table, for the walk over source and for clippy.

use std::fmt;

/// Why something is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Reads a clock.
    Clock,
    /// Draws chance.
    Random,
    /// Starts or waits for threads.
    Thread,
    /// Opens sockets, or a client that does.
    Socket,
    /// Reads or writes files.
    File,
    /// Depends on the process it runs in: its environment, arguments, children.
    Process,
    /// State that other runs, and earlier workers, have changed.
    Global,
    /// A map or set without an order.
    Unordered,
    /// Wakes and polls that the SDK does not order.
    Async,
    /// An allow comment that cannot be understood.
    Allow,
}

impl Kind {
    /// All that an allow comment can name.
    pub const ALL: [Self; 9] =
        [Self::Clock, Self::Random, Self::Thread, Self::Socket, Self::File, Self::Process, Self::Global, Self::Unordered, Self::Async];

    /// As it is written in output and in allow comments.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Random => "random",
            Self::Thread => "thread",
            Self::Socket => "socket",
            Self::File => "file",
            Self::Process => "process",
            Self::Global => "global",
            Self::Unordered => "unordered",
            Self::Async => "async",
            Self::Allow => "allow",
        }
    }

    pub(crate) fn why(self) -> &'static str {
        match self {
            Self::Clock => "reads a clock: a replay sees another time",
            Self::Random => "draws chance: a replay draws something else",
            Self::Thread => "leaves the workflow's own thread: a replay knows neither the order nor the result",
            Self::Socket => "talks to the world: a replay would do so again",
            Self::File => "reads or writes files: a replay sees others, maybe on another machine",
            Self::Process => "depends on the process: a replay runs in another one",
            Self::Global => "is shared by all runs of the worker and lost with it: a replay sees another state",
            Self::Unordered => "has no order: a replay may see its entries in another one",
            Self::Async => "polls or wakes in an order that the SDK does not know: a replay may take another",
            Self::Allow => "is not an allow comment that can be understood",
        }
    }

    pub(crate) fn instead(self) -> &'static str {
        match self {
            Self::Clock => "`ctx.workflow_time()`",
            Self::Random => "`ctx.random()`, `ctx.random_stream(name)` or `ctx.uuid4()`",
            Self::Thread | Self::Socket | Self::File => "an activity",
            Self::Process => "an argument of the workflow, or an activity",
            Self::Global => "the workflow's own fields by `ctx.state` and `ctx.state_mut`, or an argument",
            Self::Unordered => "`BTreeMap`, `BTreeSet` or a `Vec`",
            Self::Async => "`temporalio_sdk::workflows::{select, join, join_all}`, `ctx.state_mut` and `ctx.wait_condition`",
            Self::Allow => "`// sempre: allow(KIND) REASON`",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One line of the table. A path that ends in `::*` is all below it, one that ends in `!` a macro.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) path: &'static str,
    pub(crate) kind: Kind,
    /// Better than what the kind says.
    pub(crate) instead: Option<&'static str>,
}

impl Rule {
    pub(crate) fn instead(&self) -> &'static str {
        self.instead.unwrap_or(self.kind.instead())
    }
}

const fn rule(path: &'static str, kind: Kind) -> Rule {
    Rule { path, kind, instead: None }
}

const fn with(path: &'static str, kind: Kind, instead: &'static str) -> Rule {
    Rule { path, kind, instead: Some(instead) }
}

const TIMER: &str = "`ctx.timer(duration)`";
const AN_ACTIVITY: &str = "an activity";

/// The longest path that fits decides, and a `None` there allows.
pub(crate) const RULES: &[Rule] = &[
    // Clocks.
    rule("std::time::SystemTime::now", Kind::Clock),
    rule("std::time::SystemTime::elapsed", Kind::Clock),
    rule("std::time::Instant::now", Kind::Clock),
    rule("std::time::Instant::elapsed", Kind::Clock),
    rule("chrono::Utc::now", Kind::Clock),
    rule("chrono::Utc::today", Kind::Clock),
    with("chrono::Local", Kind::Clock, "`ctx.workflow_time()` and a time zone that is an argument"),
    with("chrono::Local::*", Kind::Clock, "`ctx.workflow_time()` and a time zone that is an argument"),
    rule("time::OffsetDateTime::now_utc", Kind::Clock),
    rule("time::OffsetDateTime::now_local", Kind::Clock),
    rule("time::UtcDateTime::now", Kind::Clock),
    rule("time::Instant::now", Kind::Clock),
    rule("jiff::Timestamp::now", Kind::Clock),
    rule("jiff::Zoned::now", Kind::Clock),
    rule("web_time::*", Kind::Clock),
    rule("quanta::*", Kind::Clock),
    rule("minstant::*", Kind::Clock),
    rule("coarsetime::*", Kind::Clock),
    rule("uuid::Timestamp::now", Kind::Clock),
    rule("uuid::Timestamp::now_128", Kind::Clock),
    // Chance.
    rule("rand::random", Kind::Random),
    rule("rand::random_bool", Kind::Random),
    rule("rand::random_iter", Kind::Random),
    rule("rand::random_range", Kind::Random),
    rule("rand::random_ratio", Kind::Random),
    rule("rand::fill", Kind::Random),
    rule("rand::rng", Kind::Random),
    rule("rand::thread_rng", Kind::Random),
    rule("rand::make_rng", Kind::Random),
    rule("rand::rngs::ThreadRng", Kind::Random),
    rule("rand::rngs::OsRng", Kind::Random),
    rule("rand::rngs::SysRng", Kind::Random),
    rule("fastrand::*", Kind::Random),
    rule("getrandom::*", Kind::Random),
    rule("nanoid::*", Kind::Random),
    rule("nanoid::nanoid!", Kind::Random),
    rule("ulid::Ulid::new", Kind::Random),
    rule("ulid::Ulid::generate", Kind::Random),
    with("uuid::Uuid::new_v4", Kind::Random, "`ctx.uuid4()`"),
    with("uuid::Uuid::now_v1", Kind::Random, "`ctx.uuid4()`"),
    with("uuid::Uuid::now_v6", Kind::Random, "`ctx.uuid4()`"),
    with("uuid::Uuid::now_v7", Kind::Random, "`ctx.uuid4()`"),
    rule("std::hash::RandomState", Kind::Random),
    rule("std::hash::RandomState::*", Kind::Random),
    rule("std::collections::hash_map::RandomState", Kind::Random),
    rule("std::collections::hash_map::RandomState::*", Kind::Random),
    rule("ahash::RandomState", Kind::Random),
    rule("ahash::RandomState::*", Kind::Random),
    // Threads.
    with("std::thread::sleep", Kind::Thread, TIMER),
    with("std::thread::sleep_ms", Kind::Thread, TIMER),
    with("std::thread::sleep_until", Kind::Thread, TIMER),
    with("std::thread::spawn", Kind::Thread, AN_ACTIVITY),
    rule("std::thread::*", Kind::Thread),
    rule("std::sync::mpsc::*", Kind::Thread),
    rule("std::sync::Condvar", Kind::Thread),
    rule("std::sync::Condvar::*", Kind::Thread),
    rule("std::sync::Barrier", Kind::Thread),
    rule("std::sync::Barrier::*", Kind::Thread),
    rule("rayon::*", Kind::Thread),
    rule("rayon::prelude::*", Kind::Thread),
    rule("crossbeam::*", Kind::Thread),
    rule("crossbeam_channel::*", Kind::Thread),
    rule("threadpool::*", Kind::Thread),
    rule("futures::executor::*", Kind::Thread),
    with("futures_timer::*", Kind::Async, TIMER),
    rule("pollster::*", Kind::Thread),
    rule("async_std::*", Kind::Thread),
    rule("smol::*", Kind::Thread),
    // Sockets, and libraries whose use is one.
    rule("std::net::TcpStream", Kind::Socket),
    rule("std::net::TcpStream::*", Kind::Socket),
    rule("std::net::TcpListener", Kind::Socket),
    rule("std::net::TcpListener::*", Kind::Socket),
    rule("std::net::UdpSocket", Kind::Socket),
    rule("std::net::UdpSocket::*", Kind::Socket),
    rule("std::net::ToSocketAddrs", Kind::Socket),
    rule("std::net::ToSocketAddrs::*", Kind::Socket),
    rule("std::os::unix::net::*", Kind::Socket),
    rule("reqwest::*", Kind::Socket),
    rule("hyper::*", Kind::Socket),
    rule("hyper_util::*", Kind::Socket),
    rule("ureq::*", Kind::Socket),
    rule("isahc::*", Kind::Socket),
    rule("surf::*", Kind::Socket),
    rule("awc::*", Kind::Socket),
    rule("curl::*", Kind::Socket),
    rule("lettre::*", Kind::Socket),
    rule("sqlx::*", Kind::Socket),
    rule("diesel::*", Kind::Socket),
    rule("postgres::*", Kind::Socket),
    rule("tokio_postgres::*", Kind::Socket),
    rule("mysql::*", Kind::Socket),
    rule("mysql_async::*", Kind::Socket),
    rule("mongodb::*", Kind::Socket),
    rule("redis::*", Kind::Socket),
    rule("rdkafka::*", Kind::Socket),
    rule("lapin::*", Kind::Socket),
    rule("async_nats::*", Kind::Socket),
    rule("tonic::transport::*", Kind::Socket),
    rule("temporalio_client::Connection::*", Kind::Socket),
    rule("temporalio_client::Client::*", Kind::Socket),
    // Files.
    rule("std::fs::*", Kind::File),
    rule("rusqlite::*", Kind::File),
    rule("sled::*", Kind::File),
    rule("redb::*", Kind::File),
    rule("tempfile::*", Kind::File),
    rule("fs_err::*", Kind::File),
    rule("walkdir::*", Kind::File),
    rule("glob::*", Kind::File),
    rule("memmap2::*", Kind::File),
    rule("async_fs::*", Kind::File),
    rule("std::path::Path::exists", Kind::File),
    rule("std::path::Path::try_exists", Kind::File),
    rule("std::path::Path::is_file", Kind::File),
    rule("std::path::Path::is_dir", Kind::File),
    rule("std::path::Path::is_symlink", Kind::File),
    rule("std::path::Path::metadata", Kind::File),
    rule("std::path::Path::symlink_metadata", Kind::File),
    rule("std::path::Path::canonicalize", Kind::File),
    rule("std::path::Path::read_dir", Kind::File),
    rule("std::path::Path::read_link", Kind::File),
    // The process.
    rule("std::env::*", Kind::Process),
    rule("std::process::*", Kind::Process),
    rule("std::io::stdin", Kind::Process),
    rule("std::io::Stdin", Kind::Process),
    rule("dotenvy::*", Kind::Process),
    rule("sysinfo::*", Kind::Process),
    rule("num_cpus::*", Kind::Process),
    rule("hostname::*", Kind::Process),
    rule("libc::*", Kind::Process),
    rule("rustix::*", Kind::Process),
    rule("nix::*", Kind::Process),
    // Maps without an order.
    rule("std::collections::HashMap", Kind::Unordered),
    rule("std::collections::HashMap::*", Kind::Unordered),
    rule("std::collections::HashSet", Kind::Unordered),
    rule("std::collections::HashSet::*", Kind::Unordered),
    rule("std::collections::hash_map::HashMap", Kind::Unordered),
    rule("std::collections::hash_map::HashMap::*", Kind::Unordered),
    rule("std::collections::hash_set::HashSet", Kind::Unordered),
    rule("std::collections::hash_set::HashSet::*", Kind::Unordered),
    rule("hashbrown::HashMap", Kind::Unordered),
    rule("hashbrown::HashMap::*", Kind::Unordered),
    rule("hashbrown::HashSet", Kind::Unordered),
    rule("hashbrown::HashSet::*", Kind::Unordered),
    rule("ahash::AHashMap", Kind::Unordered),
    rule("ahash::AHashMap::*", Kind::Unordered),
    rule("ahash::AHashSet", Kind::Unordered),
    rule("ahash::AHashSet::*", Kind::Unordered),
    rule("rustc_hash::FxHashMap", Kind::Unordered),
    rule("rustc_hash::FxHashMap::*", Kind::Unordered),
    rule("rustc_hash::FxHashSet", Kind::Unordered),
    rule("rustc_hash::FxHashSet::*", Kind::Unordered),
    rule("dashmap::*", Kind::Unordered),
    // What wakes or polls by its own order.
    with("tokio::time::*", Kind::Async, TIMER),
    with("tokio::spawn", Kind::Async, "`temporalio_sdk::workflows::{join, join_all}`"),
    with("tokio::task::*", Kind::Async, "`temporalio_sdk::workflows::{join, join_all}`, or an activity for what blocks"),
    with("tokio::fs::*", Kind::File, AN_ACTIVITY),
    with("tokio::net::*", Kind::Socket, AN_ACTIVITY),
    with("tokio::io::*", Kind::File, AN_ACTIVITY),
    with("tokio::process::*", Kind::Process, AN_ACTIVITY),
    with("tokio::signal::*", Kind::Process, "a `#[signal]` method"),
    with("tokio::runtime::*", Kind::Thread, AN_ACTIVITY),
    with("tokio::sync::*", Kind::Async, "`ctx.state_mut` and `ctx.wait_condition`"),
    with("tokio::select!", Kind::Async, "`temporalio_sdk::workflows::select!`"),
    with("tokio::join!", Kind::Async, "`temporalio_sdk::workflows::join!`"),
    with("tokio::try_join!", Kind::Async, "`temporalio_sdk::workflows::join!`"),
    with("futures::select!", Kind::Async, "`temporalio_sdk::workflows::select!`"),
    with("futures::future::join_all", Kind::Async, "`temporalio_sdk::workflows::join_all`"),
    with("futures::stream::FuturesUnordered", Kind::Async, "`temporalio_sdk::workflows::join_all`"),
    with("futures::stream::FuturesUnordered::*", Kind::Async, "`temporalio_sdk::workflows::join_all`"),
    with("futures::stream::futures_unordered::*", Kind::Async, "`temporalio_sdk::workflows::join_all`"),
    with("tokio_stream::*", Kind::Async, "`temporalio_sdk::workflows::join_all`"),
    with("tokio_util::*", Kind::Async, "`ctx.cancellation_token()` and `ctx.wait_condition`"),
    with("async_channel::*", Kind::Async, "`ctx.state_mut` and `ctx.wait_condition`"),
    with("flume::*", Kind::Async, "`ctx.state_mut` and `ctx.wait_condition`"),
];

/// Methods whose name alone says enough where the type of what they are called on is not known, by the number of arguments.
pub(crate) const TELLING_METHODS: &[(&str, usize, &str)] = &[
    ("elapsed", 0, "std::time::Instant::elapsed"),
    ("buffer_unordered", 1, "futures::stream::futures_unordered::buffer_unordered"),
    ("for_each_concurrent", 2, "futures::stream::futures_unordered::for_each_concurrent"),
    ("par_iter", 0, "rayon::prelude::par_iter"),
    ("into_par_iter", 0, "rayon::prelude::into_par_iter"),
    ("to_socket_addrs", 0, "std::net::ToSocketAddrs::to_socket_addrs"),
];

/// Methods that go through a map or set in its order.
pub(crate) const ITERATIONS: &[&str] = &[
    "iter",
    "iter_mut",
    "keys",
    "values",
    "values_mut",
    "into_iter",
    "into_keys",
    "into_values",
    "drain",
    "retain",
    "extract_if",
    "difference",
    "intersection",
    "symmetric_difference",
    "union",
];

/// Types whose content changes behind a shared reference.
pub(crate) const INTERIOR: &[&str] = &[
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::OnceLock",
    "std::sync::ReentrantLock",
    "std::cell::Cell",
    "std::cell::RefCell",
    "std::cell::UnsafeCell",
    "std::cell::OnceCell",
    "std::sync::atomic::*",
    "parking_lot::*",
    "tokio::sync::*",
    "dashmap::*",
    "arc_swap::*",
    "once_cell::sync::OnceCell",
    "once_cell::unsync::OnceCell",
    "crossbeam::atomic::AtomicCell",
    "crossbeam_utils::atomic::AtomicCell",
];

/// One name for what several crates hand on.
pub(crate) fn canonical(path: &str) -> String {
    let path = path.trim_start_matches("r#");
    let renamed = |from: &str, to: &str| path.strip_prefix(from).map(|rest| format!("{to}{rest}"));
    renamed("core::", "std::")
        .or_else(|| renamed("alloc::", "std::"))
        .or_else(|| renamed("futures_util::", "futures::"))
        .or_else(|| renamed("temporalio_workflow::", "temporalio_sdk::"))
        .or_else(|| renamed("chrono::offset::Utc", "chrono::Utc"))
        .or_else(|| renamed("chrono::offset::Local", "chrono::Local"))
        .or_else(|| renamed("chrono::prelude::Utc", "chrono::Utc"))
        .or_else(|| renamed("chrono::prelude::Local", "chrono::Local"))
        .or_else(|| renamed("rand::prelude::", "rand::"))
        .or_else(|| renamed("tokio::time::Duration", "std::time::Duration"))
        .or_else(|| renamed("rand::rngs::ThreadRng", "rand::rngs::ThreadRng"))
        .or_else(|| renamed("std::path::PathBuf::", "std::path::Path::"))
        .or_else(|| renamed("futures::stream::futures_unordered::FuturesUnordered", "futures::stream::FuturesUnordered"))
        .unwrap_or_else(|| path.to_owned())
}

/// The rule for a canonical path.
pub(crate) fn rule_of(path: &str) -> Option<&'static Rule> {
    let exact = RULES.iter().find(|rule| rule.path == path);
    let macros = path.ends_with('!');
    exact.or_else(|| {
        let below = |rule: &&Rule| rule.path.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix));
        // Of a macro of a crate, its own line alone speaks.
        RULES.iter().filter(|_| !macros).filter(below).max_by_key(|rule| rule.path.len())
    })
}

/// The rule for a name that a glob import of `prefix` may have brought: only of what the table has by name.
pub(crate) fn rule_by_glob(prefix: &str, rest: &str) -> Option<&'static Rule> {
    let path = canonical(&format!("{prefix}::{rest}"));
    let exact = RULES.iter().find(|rule| rule.path == path);
    exact.or_else(|| {
        let (first, more) = rest.split_once("::")?;
        let family = canonical(&format!("{prefix}::{first}"));
        (!more.is_empty() && RULES.iter().any(|rule| rule.path == family)).then(|| rule_of(&path)).flatten()
    })
}

pub(crate) fn is_interior(path: &str) -> bool {
    INTERIOR.iter().any(|known| match known.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => *known == path,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_path_has_one_line() {
        let paths: BTreeSet<_> = RULES.iter().map(|rule| rule.path).collect();
        assert_eq!(paths.len(), RULES.len());
    }

    #[test]
    fn the_longest_line_that_fits_decides() {
        let instead = |path: &str| rule_of(&canonical(path)).map(|rule| (rule.kind, rule.instead()));
        assert_eq!(instead("std::thread::sleep"), Some((Kind::Thread, TIMER)));
        assert_eq!(instead("std::thread::Builder::new"), Some((Kind::Thread, AN_ACTIVITY)));
        assert_eq!(instead("tokio::fs::read"), Some((Kind::File, AN_ACTIVITY)));
        assert_eq!(instead("core::time::Duration::from_secs"), None);
        assert_eq!(instead("tokio::time::Duration::from_secs"), None);
        assert_eq!(instead("tokio::pin!"), None);
        assert_eq!(instead("tokio::select!").map(|found| found.0), Some(Kind::Async));
    }

    #[test]
    fn a_glob_brings_only_what_is_known_by_name() {
        assert!(rule_by_glob("std::collections", "HashMap").is_some());
        assert!(rule_by_glob("std::collections", "HashMap::new").is_some());
        assert!(rule_by_glob("std::time", "Instant::now").is_some());
        assert!(rule_by_glob("std::thread", "ActivityOptions").is_none());
        assert!(rule_by_glob("tokio", "anything").is_none());
    }
}
