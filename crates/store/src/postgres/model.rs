//! The protocol of nodes as a model: what each function of the schema does, as one step, and nodes that do their steps in any order, late,
//! or never again. The decisions are those of the program: [`Picture`], [`Punctuality`], [`to_go`].

#![expect(clippy::disallowed_methods, reason = "the model's time begins at some time")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::{
    member::Punctuality,
    picture::{Node, Picture},
    placement::{Holders, NodeId, SINGLE_FIRST},
    votes::{Standing, to_go},
};

const LEASE: Duration = Duration::from_secs(3);
const SHARDS: u32 = 7;
const SINGLES: [u32; 2] = [SINGLE_FIRST, u32::MAX];

/// A row of a node.
struct Row {
    until: Instant,
    is_ready: bool,
    is_leaving: bool,
    is_ousted: bool,
    unreached: BTreeSet<NodeId>,
}

/// What a renewal finds.
enum Renewal {
    /// Whether one is silent.
    Renewed(bool),
    /// It is not there any more.
    Removed,
    /// It is to go.
    Ousted,
}

#[derive(Default)]
struct Shard {
    node: Option<NodeId>,
    epoch: u64,
}

/// The tables, and who was given which epoch.
struct Tables {
    now: Instant,
    version: i64,
    nodes: BTreeMap<NodeId, Row>,
    shards: BTreeMap<u32, Shard>,
    given: BTreeMap<(u32, u64), NodeId>,
}

impl Tables {
    fn join(&mut self, id: NodeId) {
        let is_one_ready = self.nodes.values().any(|node| node.is_ready && !node.is_leaving && node.until >= self.now);
        let (until, is_ready, unreached) = (self.now + LEASE, !is_one_ready, BTreeSet::new());
        self.nodes.insert(id, Row { until, is_ready, is_leaving: false, is_ousted: false, unreached });
        self.version += 1;
    }

    fn ready(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id).filter(|node| !node.is_ready) {
            node.is_ready = true;
            self.version += 1;
        }
    }

    fn renew(&mut self, id: NodeId, unreached: BTreeSet<NodeId>) -> Renewal {
        match self.nodes.get_mut(&id) {
            None => return Renewal::Removed,
            Some(row) if row.is_ousted => return Renewal::Ousted,
            Some(row) => (row.until, row.unreached) = (self.now + LEASE, unreached),
        }
        Renewal::Renewed(self.nodes.values().any(|node| node.until < self.now))
    }

    fn standings(&self) -> BTreeMap<NodeId, Standing> {
        let left_ms = |until: Instant| match until.checked_duration_since(self.now) {
            Some(left) => left.as_millis() as i64,
            None => -1,
        };
        let standing = |row: &Row| Standing {
            left_ms: left_ms(row.until),
            is_ready: row.is_ready,
            is_leaving: row.is_leaving,
            is_ousted: row.is_ousted,
            unreached: Some(row.unreached.clone()),
        };
        self.nodes.iter().map(|(id, row)| (*id, standing(row))).collect()
    }

    fn oust(&mut self, id: NodeId, victim: NodeId, voters: &BTreeSet<NodeId>) {
        let lasts = |row: &Row| row.until > self.now;
        let is_busy = self.nodes.values().any(|row| row.is_ousted && lasts(row));
        if !self.nodes.get(&id).is_some_and(lasts) || is_busy {
            return;
        }
        let counting = || self.nodes.iter().filter(|(other, row)| **other != victim && row.is_ready && !row.is_leaving && lasts(row));
        let (others, say_so) =
            (counting().count(), counting().filter(|(voter, row)| voters.contains(voter) && row.unreached.contains(&victim)).count());
        if say_so != voters.len() || say_so * 2 <= others {
            return;
        }
        let now = self.now;
        if let Some(row) = self.nodes.get_mut(&victim).filter(|row| row.is_ready && !row.is_leaving && row.until > now) {
            (row.is_ousted, row.is_leaving) = (true, true);
            self.version += 1;
        }
    }

    fn reap(&mut self, id: NodeId, at: Instant) {
        if self.nodes.get(&id).is_some_and(|node| node.until > self.now) {
            self.remove(|_, until| until < at);
        }
    }

    fn remove(&mut self, goes: impl Fn(NodeId, Instant) -> bool) {
        let before = self.nodes.len();
        self.nodes.retain(|id, node| !goes(*id, node.until));
        if self.nodes.len() == before {
            return;
        }
        for shard in self.shards.values_mut() {
            if shard.node.is_some_and(|node| !self.nodes.contains_key(&node)) {
                *shard = Shard { node: None, epoch: shard.epoch + 1 };
            }
        }
        self.version += 1;
    }

    fn picture(&self) -> Picture {
        let node = |(id, row): (&NodeId, &Row)| Node {
            id: *id,
            name: String::new(),
            address: String::new(),
            key: String::new(),
            process: 0,
            is_ready: row.is_ready,
            is_leaving: row.is_leaving,
        };
        let holders: Holders = self.shards.iter().map(|(id, shard)| (*id, shard.node)).collect();
        Picture::new(self.version, self.nodes.iter().map(node).collect(), holders)
    }

    fn place(&mut self, version: i64, free: &[(u32, NodeId)]) {
        if version != self.version {
            return;
        }
        for (id, node) in free {
            let shard = self.shards.get_mut(id).unwrap();
            if shard.node.is_none() && self.nodes.contains_key(node) {
                shard.node = Some(*node);
            }
        }
        self.version += 1;
    }

    fn acquire(&mut self, id: NodeId, shard_id: u32) -> Option<u64> {
        let shard = self.shards.get_mut(&shard_id)?;
        if !self.nodes.contains_key(&id) || shard.node != Some(id) {
            return None;
        }
        shard.epoch += 1;
        assert_eq!(self.given.insert((shard_id, shard.epoch), id), None, "an epoch is given once");
        Some(shard.epoch)
    }

    fn give(&mut self, id: NodeId, shard: u32, epoch: u64, to: NodeId) {
        let to = self.nodes.get(&to).is_some_and(|node| node.is_ready && !node.is_leaving).then_some(to);
        let shard = self.shards.get_mut(&shard).unwrap();
        if shard.node == Some(id) && shard.epoch == epoch {
            *shard = Shard { node: to, epoch: shard.epoch + 1 };
            self.version += 1;
        }
    }

    /// As the statement of a commit: it asks for the epoch and nothing else.
    fn commit(&self, by: NodeId, shard_id: u32, epoch: u64) {
        let shard = &self.shards[&shard_id];
        if shard.epoch != epoch {
            return;
        }
        assert_eq!(self.given.get(&(shard_id, epoch)), Some(&by), "who commits was given the epoch");
        assert_eq!(shard.node, Some(by), "and has the shard");
        assert!(self.nodes.contains_key(&by), "and is there");
    }
}

#[derive(Clone)]
enum Late {
    Commit(u32, u64),
    Give(u32, u64, NodeId),
    Reap(Instant),
    Oust(NodeId, BTreeSet<NodeId>),
    Go,
}

impl Late {
    fn arrive(self, by: NodeId, tables: &mut Tables) {
        match self {
            Late::Commit(shard, epoch) => tables.commit(by, shard, epoch),
            Late::Reap(at) => tables.reap(by, at),
            Late::Oust(victim, voters) => tables.oust(by, victim, &voters),
            Late::Go => tables.remove(|node, _| node == by),
            Late::Give(shard, epoch, to) => {
                let owner = tables.shards[&shard].node;
                tables.give(by, shard, epoch, to);
                assert!(tables.shards[&shard].node == owner || owner == Some(by), "nobody else's is given");
            }
        }
    }
}

/// A node as it sees things.
struct Member {
    id: NodeId,
    picture: Picture,
    punctuality: Punctuality,
    epochs: BTreeMap<u32, u64>,
    /// Statements that are on their way, or arrive once more.
    late: Vec<Late>,
    stands_still: bool,
    is_leaving: bool,
}

impl Member {
    /// What [`super::member::Keeper`] does. False: it ends.
    fn step(&mut self, tables: &mut Tables, cuts: &BTreeSet<(NodeId, NodeId)>) -> bool {
        let hears = self.punctuality.hears(tables.now);
        let unreached = cuts.iter().filter(|(from, _)| *from == self.id && hears).map(|(_, to)| *to).collect();
        let is_one_silent = match tables.renew(self.id, unreached) {
            Renewal::Renewed(is_one_silent) => is_one_silent,
            Renewal::Removed => return false,
            Renewal::Ousted => {
                // It answers nothing from here on. That it goes may come late, or never.
                self.late.push(Late::Go);
                return false;
            }
        };
        self.punctuality.renew(tables.now);
        if hears && let Some((victim, voters)) = to_go(&tables.standings()) {
            tables.oust(self.id, victim, &voters);
            self.late.push(Late::Oust(victim, voters));
        }
        if is_one_silent && self.punctuality.may_reap() {
            tables.reap(self.id, tables.now);
            self.late.push(Late::Reap(tables.now));
        }
        loop {
            self.picture = tables.picture();
            let free = self.picture.free();
            if free.is_empty() {
                return true;
            }
            tables.place(self.picture.version(), &free);
        }
    }

    /// What the engine does: takes what is its own, gives what is to be another's.
    fn serve(&mut self, tables: &mut Tables) {
        let to_give: BTreeMap<u32, NodeId> = self.picture.to_give(self.id).into_iter().collect();
        for shard in self.picture.of(self.id).collect::<Vec<_>>() {
            if let Some(to) = to_give.get(&shard) {
                let epoch = self.epochs.remove(&shard).or_else(|| tables.acquire(self.id, shard));
                self.late.extend(epoch.map(|epoch| Late::Give(shard, epoch, *to)));
                epoch.into_iter().for_each(|epoch| tables.give(self.id, shard, epoch, *to));
            } else if !self.epochs.contains_key(&shard) {
                self.epochs.extend(tables.acquire(self.id, shard).map(|epoch| (shard, epoch)));
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    Pass(u64),
    Step(prop::sample::Index),
    Serve(prop::sample::Index),
    Send(prop::sample::Index),
    /// What was sent arrives.
    Arrive(prop::sample::Index),
    Stand(prop::sample::Index),
    Wake(prop::sample::Index),
    Join,
    Ready(prop::sample::Index),
    Leave(prop::sample::Index),
    Go(prop::sample::Index),
    /// The first does not reach the second any more.
    Cut(prop::sample::Index, prop::sample::Index),
    /// Nobody reaches this one any more.
    CutOff(prop::sample::Index),
    /// It does again.
    Mend(prop::sample::Index, prop::sample::Index),
}

fn act() -> impl Strategy<Value = Act> {
    let any = any::<prop::sample::Index>;
    prop_oneof![
        4 => (0..1500_u64).prop_map(Act::Pass),
        10 => any().prop_map(Act::Step),
        8 => any().prop_map(Act::Serve),
        6 => any().prop_map(Act::Send),
        4 => any().prop_map(Act::Arrive),
        2 => any().prop_map(Act::Stand),
        2 => any().prop_map(Act::Wake),
        2 => Just(Act::Join),
        4 => any().prop_map(Act::Ready),
        1 => any().prop_map(Act::Leave),
        1 => any().prop_map(Act::Go),
        3 => (any(), any()).prop_map(|(from, to)| Act::Cut(from, to)),
        1 => any().prop_map(Act::CutOff),
        2 => (any(), any()).prop_map(|(from, to)| Act::Mend(from, to)),
    ]
}

/// Tables, nodes that live, and statements of nodes that do not.
struct World {
    tables: Tables,
    members: Vec<Member>,
    next: u128,
    orphans: Vec<(NodeId, Late)>,
    /// Who does not reach whom.
    cuts: BTreeSet<(NodeId, NodeId)>,
}

impl World {
    fn new(now: Instant) -> Self {
        let shards = (0..SHARDS).chain(SINGLES).map(|id| (id, Shard::default())).collect();
        let tables = Tables { now, version: 0, nodes: BTreeMap::new(), shards, given: BTreeMap::new() };
        Self { tables, members: Vec::new(), next: 1, orphans: Vec::new(), cuts: BTreeSet::new() }
    }

    fn join(&mut self) {
        let id = NodeId(self.next);
        self.next += 1;
        self.tables.join(id);
        let punctuality = Punctuality::new(LEASE, self.tables.now);
        let (picture, epochs, late) = (Picture::default(), BTreeMap::new(), Vec::new());
        self.members.push(Member { id, picture, punctuality, epochs, late, stands_still: false, is_leaving: false });
    }

    /// It is gone; what it has sent may still arrive.
    fn end(&mut self, at: usize) {
        let member = self.members.swap_remove(at);
        self.orphans.extend(member.late.into_iter().map(|late| (member.id, late)));
    }

    fn step(&mut self, at: usize) {
        if !self.members[at].step(&mut self.tables, &self.cuts) {
            self.end(at);
        }
    }

    fn act(&mut self, act: &Act) {
        let at = |index: &prop::sample::Index| (!self.members.is_empty()).then(|| index.index(self.members.len()));
        match act {
            Act::Pass(millis) => self.tables.now += Duration::from_millis(*millis),
            Act::Join if self.members.len() < 7 => self.join(),
            Act::Join => {}
            Act::Cut(from, to) | Act::Mend(from, to) => {
                let (Some(from), Some(to)) = (at(from), at(to)) else { return };
                let link = (self.members[from].id, self.members[to].id);
                if matches!(act, Act::Mend(..)) {
                    self.cuts.remove(&link);
                } else if link.0 != link.1 {
                    self.cuts.insert(link);
                }
            }
            Act::CutOff(index) => {
                let Some(at) = at(index) else { return };
                let to = self.members[at].id;
                self.cuts.extend(self.members.iter().map(|from| (from.id, to)).filter(|(from, to)| from != to));
            }
            Act::Stand(index) => {
                let Some(at) = at(index) else { return };
                self.members[at].stands_still = true;
            }
            Act::Wake(index) => {
                let Some(at) = at(index) else { return };
                self.members[at].stands_still = false;
            }
            Act::Arrive(index) => {
                let Some(at) = at(index) else { return };
                let member = &mut self.members[at];
                member.late.drain(..).for_each(|late| late.arrive(member.id, &mut self.tables));
                self.orphans.drain(..).for_each(|(by, late)| late.arrive(by, &mut self.tables));
            }
            Act::Step(index) | Act::Serve(index) | Act::Send(index) | Act::Ready(index) | Act::Leave(index) | Act::Go(index) => {
                let Some(at) = at(index).filter(|at| !self.members[*at].stands_still) else { return };
                let member = &mut self.members[at];
                match act {
                    Act::Step(_) => self.step(at),
                    Act::Serve(_) => member.serve(&mut self.tables),
                    Act::Send(_) => member.late.extend(member.epochs.iter().map(|(shard, epoch)| Late::Commit(*shard, *epoch))),
                    Act::Ready(_) => self.tables.ready(member.id),
                    Act::Leave(_) => {
                        member.is_leaving = true;
                        self.tables.nodes.entry(member.id).and_modify(|node| node.is_leaving = true);
                        self.tables.version += 1;
                    }
                    _ => {
                        let id = member.id;
                        self.tables.remove(|node, _| node == id);
                        self.end(at);
                    }
                }
            }
        }
        let ousted = self.tables.nodes.values().filter(|row| row.is_ousted && row.until > self.tables.now).count();
        assert!(ousted <= 1, "one at a time is to go");
        // Who may believe that its shards are its own is right.
        for member in &self.members {
            assert!(self.tables.now >= member.punctuality.current_until() || self.tables.nodes.contains_key(&member.id));
        }
    }

    /// Nobody stands still any more, one more comes (the others may all be about to go), all get ready, and everybody does what he has to every
    /// 500 ms. Links that are cut stay so; all reach the one that comes.
    fn heal(&mut self) {
        self.members.iter_mut().for_each(|member| member.stands_still = false);
        self.join();
        // Three leases after the last of those who are told to go has ended: one until a late one may take others for dead, one for theirs to
        // run out, one to hand over.
        let mut left = 18;
        while left > 0 {
            left -= 1;
            let before = self.members.len();
            self.tables.now += Duration::from_millis(500);
            for at in (0..self.members.len()).rev() {
                self.step(at);
            }
            if self.members.len() < before {
                left = 18;
            }
            self.members.iter().for_each(|member| self.tables.ready(member.id));
            self.members.iter_mut().for_each(|member| member.serve(&mut self.tables));
        }
    }
}

/// An outage of nearly a lease: some have just renewed before it, some have not, and nobody may be taken for dead.
#[test]
fn who_was_late_himself_takes_nobody_for_dead_for_a_whole_lease() {
    for tenths in 6..14 {
        let (begin, outage) = (Instant::now(), LEASE * tenths / 10);
        let mut punctuality = Punctuality::new(LEASE, begin);
        let mut now = begin;
        for _ in 0..12 {
            now += LEASE / 6;
            punctuality.renew(now);
        }
        assert!(punctuality.may_reap());
        let back = now + outage;
        punctuality.renew(back);
        assert!(!punctuality.may_reap(), "after {outage:?}");
        for sixths in 1..6 {
            punctuality.renew(back + LEASE * sixths / 6);
            assert!(!punctuality.may_reap());
        }
        punctuality.renew(back + LEASE);
        assert!(punctuality.may_reap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]
    #[test]
    fn only_the_owner_commits_and_in_the_end_every_shard_is_served(acts in prop::collection::vec(act(), 0..150)) {
        let mut world = World::new(Instant::now());
        world.join();
        acts.iter().for_each(|act| world.act(act));
        world.heal();
        let serving: BTreeSet<NodeId> = world.members.iter().filter(|member| !member.is_leaving).map(|member| member.id).collect();
        for (id, shard) in &world.tables.shards {
            let member = world.members.iter().find(|member| Some(member.id) == shard.node);
            let member = member.expect("somebody who lives has it");
            prop_assert!(serving.contains(&member.id));
            prop_assert_eq!(member.epochs.get(id), Some(&shard.epoch), "and may commit");
        }
        prop_assert_eq!(to_go(&world.tables.standings()), None, "nobody is left whom most of the others do not reach");
        let counts: Vec<_> = serving.iter().map(|id| world.tables.shards.values().filter(|shard| shard.node == Some(*id)).count()).collect();
        prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 2, "{:?}", counts);
    }
}
