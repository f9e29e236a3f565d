//! A server that shares a schema with others: it renews its lease, looks who is there, and places what is free.
//!
//! | what it finds when it renews its lease | what it does |
//! |---|---|
//! | nothing new | |
//! | the version has grown | reads the picture anew |
//! | another's lease has run out | removes that one, if its own renewals have not been late for a whole lease |
//! | a single shard has been committed to | reads which, and tells the numbers of their last commits |
//! | a shard is free | places it, by the newest picture only; so each free shard gets one node, whoever is first |
//! | its own row is gone | stops: its commits are refused since that moment |
//! | it is to go itself, as most others do not reach it | answers nothing from memory any more, takes its row away, and stops |
//! | one does not reach another | looks whether somebody is to go for that ([`super::votes`]), and says so |
//! | no answer | tries again on a new connection |
//!
//! After a time without the database all leases have run out. Who comes back first must not take the others for dead: it
//! waits for as long as a lease lasts. A node that is to go is not removed before that either: it is told, and goes by itself.
//! What it must not do is to say who owns what from memory for longer than its lease
//! ([`Membership::is_current`]).
#![expect(clippy::disallowed_methods, reason = "how long a lease lasts is a matter of the wall clock")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use super::{
    connections::Connection,
    limits::{AWAIT_PAUSE, BEGIN_TRIES_MAX, LOOK_PAUSE, PLACE_TRIES_MAX, RENEWALS},
    nodes::{self, Renewal},
    picture::Picture,
    placement::NodeId,
    trouble::Trouble,
    votes,
    writer::Shared,
};
use crate::StoreError;

/// A node that is to share a schema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeOptions {
    /// What people call it.
    pub name: String,
    /// Where the others reach it.
    pub address: String,
    /// By what they know that it is this one: the hash of its key, in a form that they understand.
    pub key: String,
    /// By what they find it who have something for its process, such as an answer that it waits for.
    pub process: u64,
    /// How many shards are spread over the nodes, with the ids from 0, unless a node before has said another number.
    pub shards: u32,
    /// Single shards, from [`super::placement::SINGLE_FIRST`] on.
    pub singles: Vec<u32>,
}

/// What a node knows of those that it shares the schema with. Clones are the same.
#[derive(Clone)]
pub struct Membership(Arc<Inner>);

struct Inner {
    id: NodeId,
    lease: Duration,
    /// The nodes that this one does not reach; said by whoever calls them.
    unreached: Mutex<BTreeSet<NodeId>>,
    picture: watch::Sender<Arc<Picture>>,
    singles: watch::Sender<BTreeMap<u32, i64>>,
    begun: Instant,
    /// Until when nobody can have removed this node, in nanoseconds from the begin; 0: it has gone. Asked by whoever answers.
    current_until: AtomicU64,
    look: Notify,
}

impl Membership {
    pub(super) fn new(id: NodeId, lease: Duration) -> Self {
        let (begun, current_until) = (Instant::now(), AtomicU64::new(1));
        let (picture, singles) = (watch::Sender::default(), watch::Sender::default());
        Self(Arc::new(Inner { id, lease, unreached: Mutex::default(), picture, singles, begun, current_until, look: Notify::new() }))
    }

    /// This node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.0.id
    }

    /// How long a node that is silent is waited for.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.0.lease
    }

    /// These other nodes are not reached by this one: the others are told at once, and with each renewal of the lease until something else is
    /// said. One that most do not reach gives its place up.
    pub fn set_unreached(&self, nodes: BTreeSet<NodeId>) {
        let before = std::mem::replace(&mut *self.0.unreached.lock().unwrap_or_else(PoisonError::into_inner), nodes.clone());
        if before != nodes {
            self.look();
        }
    }

    fn unreached(&self) -> BTreeSet<NodeId> {
        self.0.unreached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who is there and what is whose, as far as this node knows.
    #[must_use]
    pub fn picture(&self) -> Arc<Picture> {
        self.0.picture.borrow().clone()
    }

    /// Tells each new picture.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Picture>> {
        self.0.picture.subscribe()
    }

    /// Tells, by single shard, the number of its last commit: whoever keeps copies of what is there reads them anew when it has grown.
    #[must_use]
    pub fn watch_singles(&self) -> watch::Receiver<BTreeMap<u32, i64>> {
        self.0.singles.subscribe()
    }

    /// Whether the lease lasts: nobody else can have this node's shards, so what it knows of them is the newest there is. Commits
    /// need not ask. What is answered without one must, after it has been read.
    #[must_use]
    pub fn is_current(&self) -> bool {
        nanos(self.0.begun.elapsed()) < self.0.current_until.load(Ordering::Acquire)
    }

    /// Looks at once whether something has changed: somebody says so.
    pub fn look(&self) {
        self.0.look.notify_one();
    }

    fn set_current(&self, until: Instant) {
        let until = nanos(until.saturating_duration_since(self.0.begun)).max(1);
        let unless_gone = |current: u64| (current != 0).then_some(until);
        // Refused: it has gone, and stays so.
        let _ = self.0.current_until.fetch_update(Ordering::AcqRel, Ordering::Acquire, unless_gone);
    }

    /// Its place is gone, or is given up now.
    pub(super) fn end(&self) {
        self.0.current_until.store(0, Ordering::Release);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The task of a node.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    membership: Membership,
    lease: Duration,
    connection: Option<Connection>,
    punctuality: Punctuality,
    /// What the last renewal told of single shards.
    written: i64,
    /// Another is to go, and has not gone yet.
    awaits_end: bool,
}

/// What a node finds of its place.
enum Place {
    Kept,
    /// Others have removed it.
    Removed,
    /// It is to go: these others do not reach it.
    Unreached(Vec<NodeId>),
}

/// Whether a node's own renewals have come in time: only then is the silence of another its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Punctuality {
    lease: Duration,
    /// When the last renewal that was answered began.
    renewed: Instant,
    /// When it came.
    came: Instant,
    /// When the last renewal came that was late.
    late: Option<Instant>,
}

impl Punctuality {
    /// A node that comes now has not been in time before.
    pub(super) fn new(lease: Duration, now: Instant) -> Self {
        Self { lease, renewed: now, came: now, late: None }
    }

    /// A renewal that began then was answered. One that comes late, though in time, comes when others may have been late as well.
    pub(super) fn renew(&mut self, begun: Instant) {
        if begun > self.renewed + self.lease / 2 {
            self.late = Some(begun);
        }
        self.renewed = begun;
    }

    /// Whether it may take others for dead, after this renewal.
    pub(super) fn may_reap(&self) -> bool {
        self.renewed >= self.late.unwrap_or(self.came) + self.lease
    }

    /// Whether what it has heard of others counts with a renewal that begins then: none has been late for a lease, this one included. Who is
    /// without the database may have been without the others, and they have to be heard anew.
    pub(super) fn hears(&self, begun: Instant) -> bool {
        begun <= self.renewed + self.lease / 2 && self.late.is_none_or(|late| begun >= late + self.lease)
    }

    /// Until when nobody can have removed it. A clock that runs a little slower than the database's must not make it longer.
    pub(super) fn current_until(&self) -> Instant {
        self.renewed + self.lease * 9 / 10
    }
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, membership: Membership) -> Self {
        let (lease, now) = (shared.connections.options().lease_of_node(), Instant::now());
        Self { shared, membership, lease, connection: None, punctuality: Punctuality::new(lease, now), written: -1, awaits_end: false }
    }

    /// The first picture.
    pub(super) async fn begin(&mut self) -> Result<(), StoreError> {
        let place = self.shared.connections.options().place().to_owned();
        let failed = |reason| StoreError::Database { action: "take a place in", place, reason };
        let mut tries = 0;
        loop {
            tries += 1;
            return match self.step().await {
                Ok(Place::Kept) => Ok(()),
                Ok(Place::Removed) => Err(failed("it was silent for too long".into())),
                Ok(Place::Unreached(_)) => Err(failed("others have said that it is to go".into())),
                // Others were in between.
                Err(Trouble::Again(_)) if tries < BEGIN_TRIES_MAX => {
                    sleep(AWAIT_PAUSE).await;
                    continue;
                }
                Err(trouble) => Err(failed(trouble.into_reason())),
            };
        }
    }

    /// Goes on until the store is dropped; a lost place is its end.
    pub(super) async fn run(mut self) {
        let (mut told, mut looked) = (false, Instant::now());
        loop {
            let is_awaiting = self.awaits_end || self.membership.picture().awaits(self.membership.id());
            let pause = if is_awaiting { AWAIT_PAUSE.min(self.lease / RENEWALS) } else { self.lease / RENEWALS };
            // Either way it is time to look; who is told to look by all his calls does not do so without a pause.
            let _ = timeout(pause, self.membership.0.look.notified()).await;
            sleep(LOOK_PAUSE.saturating_sub(looked.elapsed())).await;
            looked = Instant::now();
            match self.step().await {
                Ok(Place::Kept) => told = false,
                Ok(Place::Removed) => {
                    self.membership.end();
                    let place = self.shared.connections.options().place();
                    return self.shared.fail(&format!("other servers have taken what this one had in {place}; it was silent for too long"));
                }
                Ok(Place::Unreached(by)) => {
                    // First it says nothing more from memory: with the row goes what it has.
                    self.membership.end();
                    if let Some(connection) = &self.connection {
                        // If it does not come to that, others take it when the lease has run out.
                        let _ =
                            timeout(self.lease / 3, nodes::go(self.shared.connections.options(), connection, &self.shared.holder)).await;
                    }
                    return self.shared.fail(&self.unreached_by(&by));
                }
                Err(trouble) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(reason = trouble.reason(), "the database cannot be asked to renew the lease");
                    }
                    // One that refuses at once is not asked without a pause.
                    sleep(AWAIT_PAUSE).await;
                }
            }
        }
    }

    /// Why it ends that most others do not reach.
    fn unreached_by(&self, voters: &[NodeId]) -> String {
        let (place, picture) = (self.shared.connections.options().place(), self.membership.picture());
        let own = picture.nodes().find(|node| node.id == self.membership.id()).map_or("", |node| node.address.as_str());
        let by = voters.iter().map(|voter| match picture.nodes().find(|node| node.id == *voter) {
            Some(node) => format!("{} at {}", node.name, node.address),
            None => voter.to_string(),
        });
        format!(
            "other servers do not reach this one at {own} ({}), so they have taken what it had in {place}. Check that this address leads from \
             them to here, and that no firewall is between; started again, it waits until they reach it",
            by.collect::<Vec<_>>().join(", ")
        )
    }

    /// Renews the lease and sees to what is new. After an error the connection is gone. Neither a host nor a connection that does not
    /// answer must cost the lease.
    async fn step(&mut self) -> Result<Place, Trouble> {
        let (options, runtime) = (self.shared.connections.options(), self.shared.connections.runtime());
        let connection = match self.connection.take().filter(Connection::is_usable) {
            Some(connection) => connection,
            None => Connection::open_within(options, runtime, self.lease / 3 / options.hosts()).await?,
        };
        let stepped = timeout(self.lease / 3, self.step_on(&connection)).await;
        let place = stepped.unwrap_or_else(|_| Err(Trouble::Lost("no answer".into())))?;
        self.connection = Some(connection);
        Ok(place)
    }

    async fn step_on(&mut self, connection: &Connection) -> Result<Place, Trouble> {
        let shared = self.shared.clone();
        let options = shared.connections.options();
        let begun = Instant::now();
        let hears = self.punctuality.hears(begun);
        let unreached = if hears { self.membership.unreached() } else { BTreeSet::new() };
        let told = match nodes::renew(options, connection, &self.shared.holder, &unreached).await? {
            Renewal::Renewed(told) => told,
            Renewal::Removed => return Ok(Place::Removed),
            Renewal::Ousted(by) => return Ok(Place::Unreached(by)),
        };
        self.punctuality.renew(begun);
        self.membership.set_current(self.punctuality.current_until());
        let silent = told.silent_at.filter(|_| self.punctuality.may_reap());
        if let Some(at) = &silent {
            nodes::reap(options, connection, &self.shared.holder, at).await?;
        }
        if silent.is_some() || told.version != self.membership.picture().version() {
            self.refresh(connection).await?;
        }
        if told.written != self.written {
            let singles = nodes::singles(options, connection).await?;
            self.membership.0.singles.send_replace(singles);
            self.written = told.written;
        }
        self.awaits_end = hears && (told.is_one_unreached || !unreached.is_empty()) && self.judge(connection).await?;
        Ok(Place::Kept)
    }

    /// Looks who does not reach whom, and says so if somebody is to go for that. Whether one is to go, and has not gone yet.
    async fn judge(&self, connection: &Connection) -> Result<bool, Trouble> {
        let options = self.shared.connections.options();
        let standings = nodes::standings(options, connection).await?;
        let Some((victim, voters)) = votes::to_go(&standings) else {
            return Ok(standings.values().any(|standing| standing.is_ousted && standing.lasts()));
        };
        let is_to_go = nodes::oust(options, connection, &self.shared.holder, victim, &voters).await?;
        if is_to_go {
            let picture = self.membership.picture();
            let address = picture.nodes().find(|node| node.id == victim).map_or("", |node| node.address.as_str());
            tracing::warn!(node = %victim, address, unreached_by = ?voters, "a node is to go: most of the others do not reach it");
        }
        Ok(is_to_go)
    }

    /// Reads the picture, and places what is free in it.
    async fn refresh(&self, connection: &Connection) -> Result<(), Trouble> {
        let options = self.shared.connections.options();
        for _ in 0..PLACE_TRIES_MAX {
            let picture = nodes::picture(options, connection).await?;
            let free = picture.free();
            if free.is_empty() {
                self.membership.0.picture.send_replace(Arc::new(picture));
                return Ok(());
            }
            nodes::place(options, connection, picture.version(), &free).await?;
        }
        Err(Trouble::Again("others change who has what all the time".into()))
    }
}
