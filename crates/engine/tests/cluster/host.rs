//! A node with a runtime of its own, and those of them that share a schema.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, LazyLock, Mutex, Weak,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use sempre_engine::{
    Components, Engine, Peers, Sent, Settings,
    node::Node,
    real::{SystemClock, TokioSpawner},
    visibility::{Index, postgres::PostgresIndex},
};
use sempre_postgres_cluster::Cluster;
use sempre_store::postgres::{
    PostgresOptions, PostgresStore,
    member::{Membership, NodeOptions},
    picture::Picture,
    placement::NodeId,
};
use tokio::runtime::{Builder, Handle, Runtime};

/// Shards that are spread.
pub(crate) const SHARDS: u32 = 12;

/// How long anything may take.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);

static CLUSTER: Mutex<Option<Option<Cluster>>> = Mutex::new(None);

/// What clients and those who wait run on.
pub(crate) static OUTSIDE: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());

/// The PostgreSQL that all tests share, if it is installed.
fn cluster() -> Option<Cluster> {
    let mut cluster = CLUSTER.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    cluster.get_or_insert_with(|| Cluster::start().map(|started| started.unwrap())).clone()
}

/// A node, as those know it who call it.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) engine: Engine,
    pub(crate) membership: Membership,
    /// What it runs on.
    runtime: Handle,
}

impl Member {
    pub(crate) fn id(&self) -> NodeId {
        self.membership.id()
    }

    /// The shards that serve there, single ones too.
    pub(crate) fn serves(&self) -> BTreeSet<u32> {
        self.engine.shards().into_iter().chain(self.engine.singles_here()).collect()
    }
}

/// How a node's engine reaches the others, by the node's own picture: as calls do.
struct Post {
    town: Weak<Town>,
    membership: Membership,
}

/// How long an answer between nodes is waited for: a node that stands still gives none.
const TOLD_MAX: Duration = Duration::from_secs(1);
/// After a connection that did not come about.
const NOBODY: Duration = Duration::from_millis(20);
/// Of so many answers one is lost.
const ONE_LOST_OF: u64 = 50;

impl Peers for Post {
    fn deliver(&self, shard: u32, message: Bytes) -> BoxFuture<'static, Sent> {
        let town = self.town.upgrade();
        let holder = self.membership.picture().holders().get(&shard).copied().flatten();
        async move {
            let member = town.as_ref().and_then(|town| town.members.lock().unwrap().get(&holder?).cloned());
            let Some(member) = member else {
                tokio::time::sleep(NOBODY).await;
                return Sent::Elsewhere;
            };
            let engine = member.engine.clone();
            // It is carried out there: it ends with that node.
            let told = member.runtime.spawn(async move { engine.receive(shard, message).await });
            let told = tokio::time::timeout(TOLD_MAX, told).await;
            let messages = town.map_or(0, |town| town.messages.fetch_add(1, Ordering::Relaxed));
            match told {
                Ok(Ok(None)) => Sent::Elsewhere,
                Ok(Ok(Some(answer))) if messages % ONE_LOST_OF != ONE_LOST_OF - 1 => Sent::Answered(answer),
                _ => Sent::Lost,
            }
        }
        .boxed()
    }
}

/// Nodes that share a schema of their own.
pub(crate) struct Town {
    address: String,
    members: Mutex<BTreeMap<NodeId, Member>>,
    /// What nodes have had each other do.
    pub(crate) messages: AtomicU64,
}

/// All shards there are.
pub(crate) fn all_shards() -> BTreeSet<u32> {
    (0..SHARDS).chain(Engine::singles()).collect()
}

impl Town {
    /// `None`: PostgreSQL is not installed.
    pub(crate) fn new(lease: Duration) -> Option<Arc<Town>> {
        let address = format!("{}&lease_ms={}", cluster()?.address(), lease.as_millis());
        Some(Arc::new(Town { address, members: Mutex::default(), messages: AtomicU64::new(0) }))
    }

    /// Statements of somebody who may do everything; `{s}` is the schema.
    pub(crate) fn sql(&self, statements: &str) -> String {
        let schema = self.address.split("schema=").nth(1).and_then(|rest| rest.split('&').next()).unwrap();
        cluster().unwrap().sql(&statements.replace("{s}", schema)).unwrap()
    }

    pub(crate) fn members(&self) -> Vec<Member> {
        self.members.lock().unwrap().values().cloned().collect()
    }

    pub(crate) fn has(&self, id: NodeId) -> bool {
        self.members.lock().unwrap().contains_key(&id)
    }

    /// The newest picture that somebody has whose lease lasts.
    pub(crate) fn picture(&self) -> Option<Arc<Picture>> {
        let pictures = self.members().into_iter().filter(|member| member.membership.is_current()).map(|member| member.membership.picture());
        pictures.max_by_key(|picture| picture.version())
    }

    /// Who has a shard.
    pub(crate) fn owner(&self, shard: u32) -> Option<Engine> {
        let id = self.picture()?.holders().get(&shard).copied()??;
        self.members.lock().unwrap().get(&id).map(|member| member.engine.clone())
    }

    /// Until something may have changed.
    pub(crate) async fn wait_a_little(&self) {
        let changed = async {
            match self.members().first() {
                // Either way it is time to look.
                Some(member) => drop(member.membership.watch().changed().await),
                None => std::future::pending().await,
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(20), changed).await;
    }

    /// Waits until it is so; how long that took.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, mut is_so: impl FnMut(&Town) -> bool) -> Duration {
        let begun = Instant::now();
        while !is_so(self) {
            if begun.elapsed() > LONGEST {
                let all: Vec<_> = self.members().iter().map(|member| (member.id(), member.serves(), member.membership.picture())).collect();
                panic!("never so: {what}\n{all:#?}");
            }
            OUTSIDE.block_on(self.wait_a_little());
        }
        begun.elapsed()
    }

    /// All who are here have said that they are ready, every shard is served by who has it, and everybody has a fair share.
    pub(crate) fn is_settled(&self) -> bool {
        let members = self.members();
        let Some(picture) = self.picture() else { return false };
        let served: Vec<u32> = members.iter().flat_map(Member::serves).collect();
        picture.nodes().filter(|node| node.is_ready).map(|node| node.id).eq(members.iter().map(Member::id))
            && members.iter().all(|member| {
                picture.to_give(member.id()).is_empty() && picture.of(member.id()).collect::<BTreeSet<_>>() == member.serves()
            })
            && served.len() == all_shards().len()
    }

    /// Every shard is served by somebody who lives.
    pub(crate) fn is_served(&self) -> bool {
        let served: BTreeSet<u32> = self.members().iter().flat_map(Member::serves).collect();
        served == all_shards()
    }

    /// Nobody serves what somebody else serves. What both do is seen at one before and after the other; leases may have run out since.
    pub(crate) fn check_owners(&self) {
        let members = self.members();
        for (a, b) in members.iter().flat_map(|a| members.iter().map(move |b| (a, b))).filter(|(a, b)| a.id() != b.id()) {
            let before = a.serves();
            let (of_b, is_b) = (b.serves(), b.membership.is_current());
            let both: BTreeSet<u32> = before.intersection(&a.serves()).copied().collect();
            let is_a = a.membership.is_current();
            let twice: Vec<&u32> = both.intersection(&of_b).collect();
            assert!(twice.is_empty() || !is_a || !is_b, "served twice: {twice:?}");
        }
    }
}

/// A node's process that stands still.
pub(crate) struct Asleep {
    pub(crate) host: Host,
    _go_on: mpsc::Sender<()>,
}

impl Asleep {
    /// Goes on. Those who call nodes do not know it yet: it may have been taken for dead.
    pub(crate) fn wake(self) -> Host {
        self.host
    }
}

/// A node's process.
pub(crate) struct Host {
    pub(crate) member: Member,
    node: Node,
    runtime: Runtime,
    town: Arc<Town>,
}

impl Host {
    pub(crate) fn join(town: &Arc<Town>, name: &str) -> Host {
        Host::join_when(town, name, std::future::ready(()))
    }

    /// It has its place at once, and opens the rest when that is done.
    pub(crate) fn join_when(town: &Arc<Town>, name: &str, opens: impl Future<Output = ()> + Send + 'static) -> Host {
        static SEED: AtomicU64 = AtomicU64::new(1);
        // One thread: who holds it holds the process.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let options = PostgresOptions::parse(&town.address, None).unwrap();
        let (handle, weak) = (runtime.handle().clone(), Arc::downgrade(town));
        let seed = SEED.fetch_add(1, Ordering::Relaxed);
        let as_node = NodeOptions {
            name: name.into(),
            address: format!("{name}:7233"),
            key: String::new(),
            process: Engine::process_of(seed),
            shards: SHARDS,
            singles: Engine::singles(),
        };
        let opening = runtime.spawn(async move {
            let store = PostgresStore::join(options, as_node, handle).await.unwrap();
            let (clock, spawner) = (Arc::new(SystemClock::new()), Arc::new(TokioSpawner::current()));
            let settings = Settings { poll_wait: sempre_core::Span::seconds(5), ..Settings::default() };
            let beside = store.beside_node();
            let index = move |owner| {
                let opened = async move {
                    opens.await;
                    Ok(Arc::new(PostgresIndex::open(beside, owner).await?) as Arc<dyn Index>)
                };
                opened.boxed()
            };
            let membership = store.membership().cloned().unwrap();
            let peers: Arc<dyn Peers> = Arc::new(Post { town: weak, membership });
            let components = Components { index: Box::new(index), peers: Some(peers), ..Components::default() };
            let node = Node::open(store, clock, spawner, seed, settings, components).await.unwrap();
            node.ready().await.unwrap();
            node
        });
        let node = OUTSIDE.block_on(opening).unwrap();
        let member = Member { engine: node.engine().clone(), membership: node.membership().clone(), runtime: runtime.handle().clone() };
        town.members.lock().unwrap().insert(member.id(), member.clone());
        Host { member, node, runtime, town: town.clone() }
    }

    /// Stops as a server that is told to.
    pub(crate) fn drain(self) {
        let Host { member, node, runtime, town } = self;
        OUTSIDE.block_on(async {
            let drained = runtime.spawn(async move {
                node.drain().await;
                node
            });
            tokio::time::timeout(LONGEST, drained).await.expect("it goes").unwrap()
        });
        town.members.lock().unwrap().remove(&member.id());
        runtime.shutdown_background();
    }

    /// Dies: nothing of it goes on, and nobody is told.
    pub(crate) fn kill(self) {
        let Host { member, node, runtime, town } = self;
        town.members.lock().unwrap().remove(&member.id());
        runtime.shutdown_background();
        // Nothing of it is tidied up: that would wait for the runtime.
        std::mem::forget((member, node));
    }

    /// Stands still; it goes on when the answer is dropped.
    pub(crate) fn stand_still(self) -> Asleep {
        let (go_on, goes_on) = mpsc::channel::<()>();
        let (told, stands) = mpsc::channel();
        self.runtime.spawn(async move {
            told.send(()).unwrap();
            // An error: it is to go on.
            let _ = goes_on.recv();
        });
        stands.recv_timeout(LONGEST).unwrap();
        self.town.members.lock().unwrap().remove(&self.member.id());
        Asleep { host: self, _go_on: go_on }
    }

    /// Why it has ended by itself.
    pub(crate) fn ended(self) -> String {
        let Host { member, node, runtime, town } = self;
        let reason = OUTSIDE.block_on(async { tokio::time::timeout(LONGEST, node.ended()).await.expect("it ends") });
        town.members.lock().unwrap().remove(&member.id());
        runtime.shutdown_background();
        // As a process that exits.
        std::mem::forget((member, node));
        reason
    }

    /// After it has stood still: whether it was not taken for dead. Then it is known again.
    pub(crate) fn lives_on(&self) -> bool {
        let mut lives = None;
        self.town.until("a node that goes on knows how it stands", |_| {
            let has_ended = self.node.ended().now_or_never().is_some();
            lives = if has_ended { Some(false) } else { self.member.membership.is_current().then_some(true) };
            lives.is_some()
        });
        let lives = lives == Some(true);
        if lives {
            self.town.members.lock().unwrap().insert(self.member.id(), self.member.clone());
        }
        lives
    }
}
