//! The lines of flow rules under random starts, ends, crashes and changes of rules, against a model that only counts.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use sempre_api::sempre::v1::{FlowDebounce, FlowMatch, FlowRule, FlowSingleton};
use sempre_core::{
    NamespaceId, RunId, RunKey, Span, Timestamp, WorkflowKey,
    flow::{Admission, Admitted, FlowProgress, Member, Order, Rule, lines::Lines},
    ids::Uuid,
};

/// What happens.
#[derive(Clone, Debug)]
enum Act {
    /// A start with this value of the key; of the second rule too.
    Start(u8, bool),
    /// The nth open run ends.
    End(usize),
    /// The nth waiting run ends.
    Leave(usize),
    /// The limits are these from now on.
    Limits(u8, u8),
    /// The process dies, and the lines are made out of what is on disk.
    Crash,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (0..3u8, any::<bool>()).prop_map(|(key, both)| Act::Start(key, both)),
        4 => any::<prop::sample::Index>().prop_map(|n| Act::End(n.index(1000))),
        1 => any::<prop::sample::Index>().prop_map(|n| Act::Leave(n.index(1000))),
        1 => (1..4u8, 1..6u8).prop_map(|(each, all)| Act::Limits(each, all)),
        1 => Just(Act::Crash),
    ];
    prop::collection::vec(act, 1..120)
}

const EACH: Uuid = Uuid([1; 16]);
const ALL: Uuid = Uuid([2; 16]);

fn rules(each: u8, all: u8) -> [Arc<Rule>; 2] {
    [(EACH, "each", each), (ALL, "all", all)].map(|(uid, name, max)| {
        let conditions = FlowMatch { all: true, ..Default::default() };
        Arc::new(Rule { uid, says: FlowRule { name: name.into(), r#match: Some(conditions), max_open: max.into(), ..Default::default() } })
    })
}

struct World {
    lines: Lines,
    /// On disk: runs in the order of their starts.
    runs: BTreeMap<RunId, (RunKey, FlowProgress)>,
    now: Timestamp,
    limits: (u8, u8),
    next: u64,
}

impl World {
    fn new() -> Self {
        let mut lines = Lines::default();
        lines.set_rules(Timestamp(1), NamespaceId::default(), &rules(2, 3), false);
        Self { lines, runs: BTreeMap::new(), now: Timestamp(1), limits: (2, 3), next: 0 }
    }

    fn act(&mut self, act: &Act) {
        self.now = self.now + Span(1);
        match act {
            Act::Start(key, both) => self.start(*key, *both),
            Act::End(n) => self.end(*n, false),
            Act::Leave(n) => self.end(*n, true),
            Act::Limits(each, all) => {
                self.limits = (*each, *all);
                self.lines.set_rules(self.now, NamespaceId::default(), &rules(*each, *all), false);
            }
            Act::Crash => {
                self.lines = Lines::default();
                self.lines.begin_loading();
                self.lines.set_rules(self.now, NamespaceId::default(), &rules(self.limits.0, self.limits.1), true);
                for (run, progress) in self.runs.values() {
                    self.lines.load(run.clone(), progress);
                }
                self.lines.finish_loading();
            }
        }
        self.pump();
    }

    fn start(&mut self, key: u8, both: bool) {
        self.next += 1;
        let mut id = [0; 16];
        id[8..].copy_from_slice(&self.next.to_be_bytes());
        let workflow = WorkflowKey { namespace: NamespaceId::default(), workflow_id: format!("w{}", self.next) };
        let run = RunKey { workflow, run: RunId(Uuid(id)) };
        let member = |uid: Uuid, key: String| Member { uid: uid.0.to_vec().into(), rule: "r".into(), key };
        let mut members = vec![member(EACH, format!("k{key}"))];
        members.extend(both.then(|| member(ALL, String::new())));
        let admission = Admission { now: self.now, run: &run, members: &members, delayed: false };
        let held = match self.lines.admit(&admission).unwrap() {
            Admitted::Goes(counted) => {
                assert_eq!(counted, members);
                false
            }
            Admitted::Waits { .. } => true,
        };
        let progress = FlowProgress { members, held, since: self.now.0, ..Default::default() };
        self.lines.note(run.clone(), &progress);
        self.lines.settled(run.run);
        self.runs.insert(run.run, (run, progress));
    }

    fn end(&mut self, n: usize, waiting: bool) {
        let of: Vec<RunId> = self.runs.iter().filter(|(_, (_, progress))| progress.held == waiting).map(|(run, _)| *run).collect();
        if let Some(run) = of.get(n % of.len().max(1)) {
            self.runs.remove(run);
            self.lines.gone(*run);
        }
    }

    fn pump(&mut self) {
        loop {
            let orders = self.lines.pump(self.now, 3);
            if orders.is_empty() {
                break;
            }
            for order in orders {
                let Order::Release { run, permit } = order else { panic!("nobody is replaced here") };
                assert!(self.lines.permits(run.run, permit));
                let (key, progress) = self.runs.get_mut(&run.run).expect("who goes is there");
                assert!(progress.held, "who went does not go again");
                progress.held = false;
                self.lines.note(key.clone(), progress);
                self.lines.settled(run.run);
            }
        }
        assert!(!self.lines.has_work());
    }

    /// Open runs and waiting ones of a line.
    fn count(&self, uid: Uuid, key: &str) -> (usize, usize) {
        let of_line = |progress: &&FlowProgress| progress.members.iter().any(|member| member.uid() == uid && member.key == key);
        let (held, open): (Vec<_>, Vec<_>) =
            self.runs.values().map(|(_, progress)| progress).filter(of_line).partition(|progress| progress.held);
        (open.len(), held.len())
    }

    fn check(&self, lowered: bool) {
        let max = |uid: Uuid| usize::from(if uid == EACH { self.limits.0 } else { self.limits.1 });
        let lines: Vec<(Uuid, String)> = (0..3).map(|n| (EACH, format!("k{n}"))).chain([(ALL, String::new())]).collect();
        let (mut each_open, mut each_waiting) = (0, 0);
        for (uid, key) in &lines {
            let (open, waiting) = self.count(*uid, key);
            // A lowered limit holds for those who come.
            assert!(lowered || open <= max(*uid), "{open} runs are open in {key:?}");
            if *uid == EACH {
                each_open += open;
                each_waiting += waiting;
            }
        }
        let counts = self.lines.counts(EACH);
        assert_eq!((counts.open, counts.waiting), (each_open, each_waiting));
        for (run, (key, progress)) in &self.runs {
            let standing = self.lines.standing(self.now, *run);
            assert_eq!(standing.is_some(), progress.held, "{}", key.workflow.workflow_id);
            if progress.held {
                let full = progress.members.iter().any(|member| self.count(member.uid(), &member.key).0 >= max(member.uid()));
                assert!(full, "{} waits while there is room", key.workflow.workflow_id);
            }
        }
        // Nobody of a line's own goes before somebody who came earlier and waits for nothing else.
        for n in 0..3 {
            let alone =
                self.runs.values().filter(|(_, progress)| progress.members.len() == 1 && progress.members[0].key == format!("k{n}"));
            let held: Vec<bool> = alone.map(|(_, progress)| progress.held).collect();
            assert!(held.is_sorted(), "out of turn in k{n}: {held:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn never_too_many_are_open_and_nobody_waits_while_there_is_room(acts in acts()) {
        let mut world = World::new();
        let mut lowered = false;
        for act in &acts {
            lowered |= matches!(act, Act::Limits(..));
            world.act(act);
            world.check(lowered);
        }
    }
}

/// The lines of a rule of one key, and a clock.
struct OneRule {
    lines: Lines,
    now: Timestamp,
    next: u64,
}

impl OneRule {
    fn new(says: FlowRule) -> Self {
        let mut world = Self { lines: Lines::default(), now: Timestamp(1), next: 0 };
        world.set(Some(says));
        world
    }

    fn set(&mut self, says: Option<FlowRule>) {
        let rules: Vec<Arc<Rule>> = says.into_iter().map(|says| Arc::new(Rule { uid: ALL, says })).collect();
        self.lines.set_rules(self.now, NamespaceId::default(), &rules, false);
    }

    /// A start, on disk at once.
    fn start(&mut self) -> RunId {
        self.next += 1;
        self.now = self.now + Span(1);
        let mut id = [0; 16];
        id[8..].copy_from_slice(&self.next.to_be_bytes());
        let workflow = WorkflowKey { namespace: NamespaceId::default(), workflow_id: format!("w{}", self.next) };
        let run = RunKey { workflow, run: RunId(Uuid(id)) };
        let members = vec![Member { uid: ALL.0.to_vec().into(), rule: "r".into(), key: String::new() }];
        let admitted = self.lines.admit(&Admission { now: self.now, run: &run, members: &members, delayed: false }).unwrap();
        let held = matches!(admitted, Admitted::Waits { .. });
        self.lines.note(run.clone(), &FlowProgress { members, held, since: self.now.0, ..Default::default() });
        self.lines.settled(run.run);
        run.run
    }

    fn orders(&mut self) -> Vec<Order> {
        self.lines.pump(self.now, usize::MAX)
    }
}

fn replacing(singleton: FlowSingleton) -> FlowRule {
    FlowRule { name: "r".into(), singleton: singleton as i32, ..Default::default() }
}

#[test]
fn an_end_that_was_ordered_does_not_count_once_the_rule_says_otherwise() {
    let mut world = OneRule::new(replacing(FlowSingleton::Replace));
    let (a, b) = (world.start(), world.start());
    let [Order::Replace { run, permit, .. }] = &world.orders()[..] else { panic!("the newer start takes the place") };
    let first = *permit;
    assert_eq!((run.run, world.lines.permits(a, first)), (a, true));
    world.set(Some(replacing(FlowSingleton::Wait)));
    assert!(!world.lines.permits(a, first));
    assert_eq!(world.orders(), []);
    world.set(Some(replacing(FlowSingleton::Replace)));
    let [Order::Replace { permit, .. }] = &world.orders()[..] else { panic!("told again") };
    assert!(world.lines.permits(a, *permit) && !world.lines.permits(a, first));
    world.set(None);
    assert!(!world.lines.permits(a, *permit));
    assert!(matches!(&world.orders()[..], [Order::Release { run, .. }] if run.run == b), "nobody is in its way any more");
}

/// Every start is told to end once, however many wait for their end. Looking at all of them for each that comes took minutes.
#[test]
#[expect(clippy::disallowed_methods, reason = "what is asked is whether it ends soon, by the wall clock")]
fn many_starts_of_a_debounce_are_told_once_each() {
    let quiet = Some(Span::seconds(60).to_api());
    let mut world = OneRule::new(FlowRule {
        debounce: Some(FlowDebounce { quiet, max_wait: None }),
        waiting_max: 100_000,
        ..replacing(FlowSingleton::Unspecified)
    });
    let begun = std::time::Instant::now();
    let mut told = 0;
    for _ in 0..20_000 {
        world.start();
        told += world.orders().iter().filter(|order| matches!(order, Order::Replace { .. })).count();
    }
    assert_eq!(told, 19_999);
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
}
