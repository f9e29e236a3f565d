//! A stand-in for a server: takes the shards that are its node's, gives those that are to be another's, and commits to each a line of numbers
//! that shows who wrote what, and whether anything acknowledged is lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::executor::block_on;
use sempre_store::{
    CommitBatch, CommitError, Fence, Store, StoreError, Table,
    postgres::{
        PostgresOptions, PostgresStore,
        member::{Membership, NodeOptions},
        picture::Picture,
        placement::{NodeId, SINGLE_FIRST},
    },
    stream_key,
};

use crate::support::{get, postgres::runtime};

pub const SHARDS: u32 = 16;
pub const SINGLES: [u32; 3] = [SINGLE_FIRST, SINGLE_FIRST + 7, u32::MAX];

/// All shards there are.
pub fn all_shards() -> impl Iterator<Item = u32> {
    (0..SHARDS).chain(SINGLES)
}

/// What was acknowledged: the writer, by shard and number.
#[derive(Clone, Default)]
pub struct Book(Arc<Mutex<BTreeMap<(u32, u64), Writer>>>);

/// Who wrote a number: the epoch and the node.
pub type Writer = (u64, NodeId);

impl Book {
    fn note(&self, shard: u32, number: u64, writer: Writer) {
        let before = self.0.lock().unwrap().insert((shard, number), writer);
        assert_eq!(before, None, "shard {shard}: number {number} was acknowledged twice");
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// How many owners have written, over all shards.
    pub fn writers(&self) -> usize {
        let owners: BTreeSet<_> = self.0.lock().unwrap().iter().map(|((shard, _), (_, node))| (*shard, *node)).collect();
        owners.len()
    }

    /// What is in the store is what was acknowledged and perhaps what was under way; epochs grow, and each is one node's.
    pub fn check(&self, store: &dyn Store) {
        let acknowledged = self.0.lock().unwrap();
        for shard in all_shards() {
            let rows = block_on(store.stream(&shard.to_be_bytes(), 0, usize::MAX)).unwrap();
            let mut before: Writer = (0, NodeId(0));
            for (expected, (number, value)) in (1..).zip(&rows) {
                assert_eq!(*number, expected, "shard {shard}: no gap");
                let writer = decode(value);
                assert!(writer.0 > before.0 || writer == before, "shard {shard}: {writer:?} after {before:?} at {number}");
                before = writer;
                if let Some(noted) = acknowledged.get(&(shard, *number)) {
                    assert_eq!(*noted, writer, "shard {shard}: number {number} is as it was acknowledged");
                }
            }
            let last = acknowledged.keys().filter(|(of, _)| *of == shard).map(|(_, number)| *number).max().unwrap_or(0);
            assert!(rows.len() as u64 >= last, "shard {shard}: {last} was acknowledged, {} are there", rows.len());
        }
    }
}

fn encode((epoch, node): Writer) -> Vec<u8> {
    [&epoch.to_be_bytes()[..], &node.0.to_be_bytes()].concat()
}

fn decode(value: &[u8]) -> Writer {
    let (epoch, node) = value.split_at(8);
    (u64::from_be_bytes(epoch.try_into().unwrap()), NodeId(u128::from_be_bytes(node.try_into().unwrap())))
}

/// See the module.
pub struct Host {
    pub store: PostgresStore,
    book: Book,
    /// Epoch and the next number of each shard that it has.
    lines: BTreeMap<u32, (u64, u64)>,
}

impl Host {
    pub fn join(address: &str, name: &str, book: &Book) -> Result<Host, StoreError> {
        let node = NodeOptions {
            name: name.into(),
            address: format!("{name}:7233"),
            key: format!("key of {name}"),
            process: u64::MAX,
            shards: SHARDS,
            singles: SINGLES.to_vec(),
        };
        let options = PostgresOptions::parse(address, None)?;
        let store = runtime().block_on(PostgresStore::join(options, node, runtime().handle().clone()))?;
        runtime().block_on(store.ready())?;
        Ok(Host { store, book: book.clone(), lines: BTreeMap::new() })
    }

    pub fn membership(&self) -> &Membership {
        self.store.membership().unwrap()
    }

    pub fn id(&self) -> NodeId {
        self.membership().id()
    }

    pub fn picture(&self) -> Arc<Picture> {
        self.membership().picture()
    }

    /// The shards that it can commit to, and their epochs.
    pub fn epochs(&self) -> BTreeMap<u32, u64> {
        self.lines.iter().map(|(shard, (epoch, _))| (*shard, *epoch)).collect()
    }

    /// Takes what is its own and gives what is to be another's.
    pub fn serve(&mut self) -> Result<(), StoreError> {
        let picture = self.picture();
        let to_give: BTreeMap<u32, NodeId> = picture.to_give(self.id()).into_iter().collect();
        for (shard, to) in &to_give {
            self.lines.remove(shard);
            match block_on(self.store.give(*shard, *to)) {
                // It has been given since the picture.
                Ok(()) | Err(StoreError::Elsewhere { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        for shard in picture.of(self.id()).filter(|shard| !to_give.contains_key(shard)) {
            if !self.lines.contains_key(&shard) {
                self.open_line(shard)?;
            }
        }
        Ok(())
    }

    fn open_line(&mut self, shard: u32) -> Result<(), StoreError> {
        let epoch = match block_on(self.store.acquire(shard)) {
            Ok(epoch) => epoch,
            // It has been given away since the picture.
            Err(StoreError::Elsewhere { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let last = block_on(self.store.get(Table::State, &shard.to_be_bytes()))?;
        let last = last.map_or(0, |value| u64::from_be_bytes(value.as_ref().try_into().unwrap()));
        self.lines.insert(shard, (epoch, last + 1));
        Ok(())
    }

    /// Commits the next number of each of its shards. A shard whose commit fails is let go.
    pub fn commit(&mut self) -> Result<(), CommitError> {
        let id = self.id();
        let pending: Vec<_> = self
            .lines
            .iter()
            .map(|(shard, (epoch, number))| {
                let mut batch = CommitBatch::new(Fence { shard: *shard, epoch: *epoch });
                batch.put(Table::State, &shard.to_be_bytes(), &number.to_be_bytes());
                batch.put(Table::History, &stream_key(&shard.to_be_bytes(), *number), &encode((*epoch, id)));
                (*shard, *epoch, *number, self.store.commit(batch))
            })
            .collect();
        let mut result = Ok(());
        for (shard, epoch, number, pending) in pending {
            match block_on(pending) {
                Ok(()) => {
                    self.book.note(shard, number, (epoch, id));
                    self.lines.insert(shard, (epoch, number + 1));
                }
                Err(error) => {
                    self.lines.remove(&shard);
                    result = Err(error);
                }
            }
        }
        result
    }

    /// Goes as a server that is told to stop: gives all it has, one by one, then ends.
    pub fn drain(mut self) {
        let id = self.id();
        runtime().block_on(self.store.leave()).unwrap();
        self.until(|picture| picture.nodes().any(|node| node.id == id && node.is_leaving));
        self.serve().unwrap();
        assert!(self.lines.is_empty(), "everything is given: {:?}", self.lines);
        self.end();
    }

    /// The same where anything may go wrong: what it could not give is free when it has ended, or when its lease has.
    pub fn try_drain(mut self) {
        if runtime().block_on(self.store.leave()).is_ok() {
            self.membership().look();
            wait_a_little(&self);
            let _ = self.serve();
        }
        self.end();
    }

    /// Ends, with all it has.
    pub fn end(self) {
        block_on(self.store.close()).unwrap();
    }

    /// Waits for a picture.
    pub fn until(&self, is_wanted: impl FnMut(&Picture) -> bool) -> Arc<Picture> {
        let (mut watch, mut is_wanted) = (self.membership().watch(), is_wanted);
        let waited = runtime().block_on(async {
            let wanted = watch.wait_for(|picture| is_wanted(picture));
            tokio::time::timeout(Duration::from_secs(20), wanted).await.map(|wanted| wanted.unwrap().clone())
        });
        waited.unwrap_or_else(|_| panic!("never so: {:?}", self.picture()))
    }

    /// What was last committed to a shard.
    pub fn last(&self, shard: u32) -> u64 {
        get(&self.store, Table::State, &shard.to_be_bytes()).map_or(0, |value| u64::from_be_bytes(value.try_into().unwrap()))
    }
}

/// Lets all serve until each shard is where it belongs and can be committed to; gives who has which.
pub fn settle(hosts: &mut [Host]) -> BTreeMap<u32, NodeId> {
    let ids: BTreeSet<NodeId> = hosts.iter().map(Host::id).collect();
    for _ in 0..400 {
        for host in hosts.iter_mut() {
            host.serve().unwrap();
        }
        let has: BTreeMap<u32, NodeId> = hosts.iter().flat_map(|host| host.epochs().into_keys().map(|shard| (shard, host.id()))).collect();
        let agree = hosts.iter().all(|host| {
            let picture = host.picture();
            picture.nodes().map(|node| node.id).eq(ids.iter().copied()) && hosts.iter().all(|other| picture.to_give(other.id()).is_empty())
        });
        if agree && has.len() == all_shards().count() {
            return has;
        }
        for host in hosts.iter() {
            host.membership().look();
        }
        wait_a_little(&hosts[0]);
    }
    panic!("never settled: {:?}", hosts.iter().map(|host| (host.id(), host.epochs())).collect::<Vec<_>>());
}

/// Until the next picture, or for a moment.
fn wait_a_little(host: &Host) {
    let mut watch = host.membership().watch();
    // Either way it is time to look.
    let _ = runtime().block_on(async { tokio::time::timeout(Duration::from_millis(30), watch.changed()).await });
}
