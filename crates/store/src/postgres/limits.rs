//! Every bound of the store in PostgreSQL that nobody will tune; `docs/postgresql.md` says what happens at each.

use std::time::Duration;

/// The newest format this program reads and the one it writes.
pub(super) const FORMAT: u32 = 3;

/// The oldest version of PostgreSQL that is taken, as `server_version_num`.
pub(super) const VERSION_MIN: u32 = 130_000;

/// The longest key: entries of PostgreSQL's indexes have at most a third of a page.
pub(super) const KEY_MAX: usize = 2600;

/// How much of a shard's queue goes into one statement.
pub(super) const GROUP_BYTES_MAX: usize = 4 << 20;

/// How much may wait to be committed.
pub(super) const QUEUE_BYTES_MAX: usize = 64 << 20;

/// Connections that reads share; on each several reads are under way at once.
pub(super) const READERS: usize = 2;

/// Single rows that are read in one statement.
pub(super) const GETS_MAX: usize = 256;

/// How long a statement may take before its connection is given up.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(15);

/// How long a commit is tried before it is answered as it stands: unknown, or surely not committed.
pub(super) const SETTLE_MAX: Duration = Duration::from_secs(30);

/// How long a read is tried.
pub(super) const READ_MAX: Duration = Duration::from_secs(10);

/// How long a connection may take to come about.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Idle time after which the other side is asked whether it is still there, and how long it may be silent then.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(5);

/// First and longest pause between two tries.
pub(super) const PAUSE_FIRST: Duration = Duration::from_millis(10);
/// See [`PAUSE_FIRST`].
pub(super) const PAUSE_MAX: Duration = Duration::from_millis(500);

/// How often a node renews its lease while it lasts: another is missed at most a lease and a part of it later.
pub(super) const RENEWALS: u32 = 6;

/// How long a node that is to be given a shard waits between two looks whether it is.
pub(super) const AWAIT_PAUSE: Duration = Duration::from_millis(50);

/// The shortest time between two looks of a node, however often it is told to look.
pub(super) const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// How long a step of a schema to its next format waits for a lock that others hold, and they behind it for what they need of the same: less
/// than a lease lasts.
pub(super) const LOCK_MAX: Duration = Duration::from_secs(1);

/// How often it is tried.
pub(super) const LOCK_TRIES_MAX: usize = 60;

/// How often a shard is tried to be given under the epoch that it has by then.
pub(super) const GIVE_TRIES_MAX: usize = 5;

/// How often a node that comes looks at the others, if what they do is in between.
pub(super) const BEGIN_TRIES_MAX: usize = 20;

/// How often a node tries to place what is free while others change what is whose.
pub(super) const PLACE_TRIES_MAX: usize = 20;
