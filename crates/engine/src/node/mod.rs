//! A node among several over one PostgreSQL: an engine, and a task that has it follow the picture of who is there and what is whose
//! (`docs/cluster.md`).
//!
//! | what the picture says | what the task does |
//! |---|---|
//! | a shard is this node's, and absent | has the engine take it up |
//! | a shard is this node's, and is to be another's | has the engine give it up, then has the store give it |
//! | a shard that serves here is not this node's | has the engine let it go: its commits are refused by now |
//! | the node has been removed | nothing: the store has failed, and the engine ends with the reason |
//!
//! A node is given its share when it says that it is ready ([`Node::ready`]): until then nobody gives up for it what it could not serve yet.
//!
//! What fails is tried again after a pause, or by the next picture. So many shards move at once and no more ([`TAKES_AT_ONCE`],
//! [`GIVES_AT_ONCE`]); those that nobody serves come first.

mod copies;
mod plan;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use sempre_core::{Span, Timestamp};
use sempre_store::{
    Store, StoreError,
    postgres::{
        PostgresStore,
        member::Membership,
        picture::Picture,
        placement::{NodeId, SINGLE_FIRST},
        votes::Standing,
    },
};
use tokio::sync::watch;

use self::plan::{Move, plan};
use crate::{Clock, Components, Engine, Lease, OpenError, Settings, Spawner, engine::WeakEngine};

/// Shards that are taken up at once: nobody serves them, so there are many.
const TAKES_AT_ONCE: usize = 16;
/// Shards that are given at once: who calls one of them waits meanwhile, so there are few.
const GIVES_AT_ONCE: usize = 4;
/// First and longest pause after a move that failed.
const PAUSE_FIRST: Span = Span::millis(50);
const PAUSE_MAX: Span = Span::seconds(2);
/// How long a node that is to stop waits until it has nothing any more, with the time to say so; the rest others take when it has gone.
const DRAIN_MAX: Span = Span::seconds(30);
/// How long its engine may then take to finish what is in flight. What was answered is in the store, and everything else is unanswered.
const SHUTDOWN_MAX: Span = Span::seconds(30);

/// See the module. Dropped without [`Node::drain`], or without its engine being shut down, it is dead for the others: its lease runs out.
pub struct Node {
    engine: Engine,
    store: Arc<PostgresStore>,
    membership: Membership,
    /// Its drop is the end of the task.
    _alive: watch::Sender<()>,
}

/// Whether answers may leave without a commit.
struct OfMembership(Membership);

impl Lease for OfMembership {
    fn is_current(&self) -> bool {
        self.0.is_current()
    }
}

impl Node {
    /// Opens an engine over a store that shares its schema ([`PostgresStore::join`], with the single shards [`Engine::singles`]), and
    /// has it follow the picture from now on. It is given nothing before it is [ready](Node::ready), unless nobody is.
    ///
    /// The index that `components` open has to be that of all nodes ([`PostgresStore::beside_node`]).
    ///
    /// How many shards there are is what the schema says. No notices are written: their numbers have one writer. `takes_shards` and
    /// `lease` of `components` are the node's matter.
    pub async fn open(
        store: PostgresStore,
        clock: Arc<dyn Clock>,
        spawner: Arc<dyn Spawner>,
        seed: u64,
        settings: Settings,
        components: Components,
    ) -> Result<Node, OpenError> {
        let membership = store.membership().cloned().ok_or(OpenError::Settings("a node shares its schema with others"))?;
        let store = Arc::new(store);
        let spread = membership.picture().holders().keys().filter(|shard| **shard < SINGLE_FIRST).count();
        let settings = Settings { shards: u32::try_from(spread).unwrap_or(u32::MAX), notices_kept: 0, ..settings };
        let lease: Arc<dyn Lease> = Arc::new(OfMembership(membership.clone()));
        let components = Components { takes_shards: false, lease: Some(lease), ..components };
        // What is committed from here on is not in the copies that it begins with.
        let read = membership.watch_singles().borrow().clone();
        let opened = Engine::open_with(store.clone(), clock, spawner.clone(), seed, settings, components).await;
        let engine = match opened {
            Ok(engine) => engine,
            Err(error) => {
                // Others need not wait until the lease has run out; why it did not open says more than why this fails.
                let _ = store.close().await;
                return Err(error);
            }
        };
        let (alive, dropped) = watch::channel(());
        let copies = copies::follow(engine.downgrade(), membership.clone(), read, dropped.clone());
        spawner.spawn("sempre copies of what there is once", copies.boxed());
        let follower = Follower {
            engine: engine.downgrade(),
            store: store.clone(),
            membership: membership.clone(),
            jobs: FuturesUnordered::new(),
            busy: BTreeMap::new(),
            shown: BTreeSet::new(),
            given: BTreeMap::new(),
            pauses: BTreeMap::new(),
        };
        spawner.spawn("sempre node", follower.run(dropped).boxed());
        Ok(Node { engine, store, membership, _alive: alive })
    }

    /// Says that it can serve: it is given its share from now on. One that came when nobody else was ready has been given it already. After an
    /// error the engine is shut down.
    pub async fn ready(&self) -> Result<(), OpenError> {
        if let Err(error) = self.store.ready().await {
            self.engine.shutdown().await;
            return Err(error.into());
        }
        tracing::info!(node = %self.membership.id(), "the node is one of those that share the schema");
        Ok(())
    }

    /// The engine: what it has, it serves.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The store, which the engine closes when it is shut down.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// What the node knows of the others.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// By node, what is left of its lease, and which others it does not reach, as the database says now.
    pub async fn standings(&self) -> Result<BTreeMap<NodeId, Standing>, StoreError> {
        self.store.standings().await
    }

    /// Why the node has ended by itself: others have taken what it had, or the store or the engine has failed. The process should
    /// exit.
    pub async fn ended(&self) -> String {
        self.engine.fatal().await
    }

    /// Stops: gives all it has to the others, finishes what is in flight, and goes. What it could not give, others take at once when
    /// it has gone. Calls are refused with `Elsewhere` from the time on at which their shard is given up.
    pub async fn drain(&self) {
        let (shared, me) = (&self.engine.shared, self.membership.id());
        self.hand_over().await;
        tokio::select! {
            () = self.engine.shutdown() => tracing::info!(node = %me, "the node has gone"),
            () = shared.wall.sleep_until(shared.wall_now() + SHUTDOWN_MAX) => {
                tracing::warn!(node = %me, "the node goes though something is in flight; what it has others take when its lease has run out");
            }
        }
    }

    /// The first half of [`Node::drain`]: gives all it has to the others, and goes on answering. The other half is
    /// [`Engine::shutdown`].
    pub async fn hand_over(&self) {
        let shared = &self.engine.shared;
        let me = self.membership.id();
        tracing::info!(node = %me, "the node is about to go");
        let gives_all = async {
            self.store.leave().await?;
            let mut pictures = self.membership.watch();
            // The sender lives as long as the store.
            let _ = pictures.wait_for(|picture| is_drained(picture, me)).await;
            Ok::<_, StoreError>(())
        };
        tokio::select! {
            given = gives_all => if let Err(error) = given {
                tracing::warn!(%error, "the node goes without having said so");
            },
            reason = self.engine.fatal() => tracing::warn!(reason, "the node goes without having given what it had"),
            // A database that is silent does not make it longer.
            () = shared.wall.sleep_until(shared.wall_now() + DRAIN_MAX) => {
                tracing::warn!("the node goes though it has not given everything yet");
            }
        }
    }
}

/// There is nothing more to give, or nobody to give it to.
fn is_drained(picture: &Picture, me: NodeId) -> bool {
    picture.of(me).next().is_none() || !picture.nodes().any(|node| node.id != me && !node.is_leaving)
}

/// A move that has ended, and the version of the picture by which it began.
type Ended = (u32, Move, i64, Result<(), StoreError>);

/// The task.
struct Follower {
    engine: WeakEngine,
    store: Arc<PostgresStore>,
    membership: Membership,
    jobs: FuturesUnordered<BoxFuture<'static, Ended>>,
    /// Shards under way.
    busy: BTreeMap<u32, Move>,
    /// Shards that a picture has shown to be this node's. What the engine acquired as it opened may be newer than the picture.
    shown: BTreeSet<u32>,
    /// Shards that were given, and the version of the picture by which that began: no picture of that version shows it, and every newer one may
    /// show it, or even that the shard is back.
    given: BTreeMap<u32, i64>,
    /// Shards whose last move failed: the pause, and when it ends, if it has not.
    pauses: BTreeMap<u32, (Span, Option<Timestamp>)>,
}

impl Follower {
    async fn run(mut self, mut dropped: watch::Receiver<()>) {
        let shared = self.engine.shared.clone();
        let mut pictures = self.membership.watch();
        let mut fatal = shared.fatal.subscribe();
        loop {
            let picture = pictures.borrow_and_update().clone();
            if shared.stopping.load(Ordering::Acquire) {
                return;
            }
            // A node that has been dropped has none.
            let Some(engine) = self.engine.get() else { return };
            self.begin(&engine, &picture);
            drop(engine);
            let again = self.pauses.values().filter_map(|(_, until)| *until).min();
            let pause = async {
                match again {
                    Some(until) => shared.wall.sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(ended) = self.jobs.next(), if !self.jobs.is_empty() => self.ended(ended),
                changed = pictures.changed() => match changed {
                    Ok(()) => {}
                    Err(_) => return,
                },
                _ = fatal.wait_for(Option::is_some) => return,
                _ = dropped.changed() => return,
                () = pause => {}
            }
        }
    }

    /// Begins the moves that the picture wants, as many as may be under way.
    fn begin(&mut self, engine: &Engine, picture: &Picture) {
        let now = engine.wall_now();
        let here: BTreeSet<u32> = engine.shards().into_iter().chain(engine.singles_here()).collect();
        self.shown.extend(picture.of(self.membership.id()));
        self.given.retain(|_, by| *by == picture.version());
        let moves = plan(picture, self.membership.id(), &here, &self.given);
        let wanted: BTreeSet<u32> = moves.iter().map(|(shard, _)| *shard).collect();
        self.pauses.retain(|shard, _| wanted.contains(shard));
        self.pauses.values_mut().for_each(|(_, until)| *until = until.filter(|until| *until > now));
        let under_way = |kind: fn(&Move) -> bool| self.busy.values().filter(|one| kind(one)).count();
        let mut takes = TAKES_AT_ONCE.saturating_sub(under_way(|one| matches!(one, Move::TakeUp)));
        let mut gives = GIVES_AT_ONCE.saturating_sub(under_way(|one| matches!(one, Move::Give(_))));
        for (shard, what) in moves {
            let waits = self.pauses.get(&shard).is_some_and(|(_, until)| until.is_some());
            let is_newer = what == Move::LetGo && !self.shown.contains(&shard);
            if waits || is_newer || self.busy.contains_key(&shard) {
                continue;
            }
            let room = match what {
                Move::TakeUp => &mut takes,
                Move::Give(_) => &mut gives,
                Move::LetGo => &mut 1,
            };
            if *room == 0 {
                continue;
            }
            *room -= 1;
            self.busy.insert(shard, what);
            let job = carry_out(self.engine.clone(), self.store.clone(), shard, what);
            let version = picture.version();
            self.jobs.push(job.map(move |result| (shard, what, version, result)).boxed());
        }
    }

    fn ended(&mut self, (shard, what, version, result): Ended) {
        self.busy.remove(&shard);
        let Err(error) = result else {
            self.pauses.remove(&shard);
            if what != Move::TakeUp {
                self.shown.remove(&shard);
            }
            if let Move::Give(to) = what {
                self.given.insert(shard, version);
                tracing::info!(shard, %to, "the shard is given to another node");
                self.membership.look();
            }
            return;
        };
        if self.engine.shared.stopping.load(Ordering::Acquire) {
            return;
        }
        let before = self.pauses.get(&shard).map(|(pause, _)| *pause);
        // Somebody has it whom the picture does not show yet: that is no trouble.
        if before.is_none() && !matches!(error, StoreError::Elsewhere { .. }) {
            tracing::warn!(shard, ?what, %error, "a shard cannot be moved yet");
        }
        let pause = before.map_or(PAUSE_FIRST, |before| Span((before.0 * 2).min(PAUSE_MAX.0)));
        self.pauses.insert(shard, (pause, Some(self.engine.shared.wall_now() + pause)));
        self.membership.look();
    }
}

/// Does one move to its end.
async fn carry_out(engine: WeakEngine, store: Arc<PostgresStore>, shard: u32, what: Move) -> Result<(), StoreError> {
    let engine = engine.get().ok_or(StoreError::Closed)?;
    match what {
        Move::TakeUp => engine.take_up(shard).await,
        Move::LetGo => {
            tracing::warn!(shard, "the shard is another node's by now");
            engine.give_up(shard).await
        }
        Move::Give(to) => {
            engine.give_up(shard).await?;
            store.give(shard, to).await
        }
    }
}
