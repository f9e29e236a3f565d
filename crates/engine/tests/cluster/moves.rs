//! Nodes that come, drain, die and stand still, one at a time.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use sempre_api::{
    sempre::v1::{FlowMatch, FlowRule, ListFlowRulesRequest, SetFlowRuleRequest},
    v1::workflowservice::{
        CountWorkflowExecutionsRequest, DescribeNamespaceRequest, DescribeWorkflowExecutionResponse, RegisterNamespaceRequest,
    },
};
use sempre_core::{Refusal, Span};
use sempre_engine::Engine;

use super::{
    clients::{Clients, NAMESPACE, describe},
    host::{Host, OUTSIDE, SHARDS, Town},
};

/// A second shorter than by default: other tests may hold the processor.
const LEASE: Duration = Duration::from_secs(2);

/// So many nodes that have shared the shards, with workers.
pub(crate) fn begin(names: &[&str], lease: Duration) -> Option<(Arc<Town>, Arc<Clients>, Vec<Host>)> {
    let town = Town::new(lease)?;
    let first = Host::join(&town, names[0]);
    town.until("the first has everything", Town::is_settled);
    let clients = Clients::new(&town, &first.member);
    let mut hosts = vec![first];
    hosts.extend(names[1..].iter().map(|name| Host::join(&town, name)));
    hosts.iter().for_each(|host| clients.serve(&host.member));
    town.until("the shards are shared", Town::is_settled);
    Some((town, clients, hosts))
}

/// Work goes on: so many more workflows have been started.
pub(crate) fn some_more(town: &Town, clients: &Clients, more: usize) {
    let begun = clients.started();
    town.until("work goes on", |town| {
        town.check_owners();
        clients.started() >= begun + more
    });
}

#[test]
fn shards_go_to_who_comes_and_from_who_drains_while_work_goes_on() {
    let Some((town, clients, mut hosts)) = begin(&["a"], LEASE) else { return };
    let load = clients.go(4);
    some_more(&town, &clients, 4);
    for name in ["b", "c"] {
        let host = Host::join(&town, name);
        clients.serve(&host.member);
        hosts.push(host);
        let took = town.until("the shards are shared", |town| {
            town.check_owners();
            town.is_settled()
        });
        println!("{name} has its share after {took:?}");
        some_more(&town, &clients, 4);
    }
    let shards: Vec<usize> = hosts.iter().map(|host| host.member.engine.shards().len()).collect();
    assert_eq!(shards, [SHARDS as usize / 3; 3]);
    let stats = |host: &Host| {
        let stats = host.member.engine.stats();
        (stats.shards_taken_up.get(), stats.shards_given_up.get(), stats.shards_lost.get())
    };
    assert_eq!(stats(&hosts[0]), (u64::from(SHARDS), u64::from(SHARDS) * 2 / 3, 0), "nothing moved that need not");
    hosts.remove(0).drain();
    assert_eq!(town.members().len(), 2);
    let took = town.until("all is served", Town::is_settled);
    println!("and the last of it is served {took:?} after it has gone");
    some_more(&town, &clients, 4);
    assert!(hosts.iter().all(|host| stats(host).2 == 0), "nobody has lost anything");
    println!("{}", clients.stop(load));
    hosts.into_iter().for_each(Host::drain);
}

#[test]
fn who_comes_is_given_nothing_before_it_can_serve() {
    let Some((town, clients, mut hosts)) = begin(&["a"], LEASE) else { return };
    let load = clients.go(4);
    let (open, opens) = tokio::sync::oneshot::channel::<()>();
    let joining = {
        let town = town.clone();
        std::thread::spawn(move || Host::join_when(&town, "b", async move { opens.await.unwrap() }))
    };
    let first = hosts[0].member.clone();
    town.until("the other has its place", |_| first.membership.picture().nodes().count() == 2);
    assert_eq!(first.membership.picture().to_give(first.id()), []);
    some_more(&town, &clients, 8);
    assert!(town.is_served(), "all is served while the other opens");
    assert_eq!(first.engine.stats().shards_given_up.get(), 0);
    open.send(()).unwrap();
    let second = joining.join().unwrap();
    clients.serve(&second.member);
    hosts.push(second);
    town.until("the shards are shared", Town::is_settled);
    some_more(&town, &clients, 4);
    println!("{}", clients.stop(load));
    hosts.into_iter().for_each(Host::drain);
}

#[test]
fn what_a_dead_node_had_is_served_again_within_five_seconds() {
    let Some((town, clients, mut hosts)) = begin(&["a", "b", "c"], LEASE) else { return };
    let load = clients.go(4);
    some_more(&town, &clients, 4);
    for _ in 0..2 {
        hosts.remove(0).kill();
        let took = town.until("all is served", |town| {
            town.check_owners();
            town.is_served()
        });
        println!("taken over after {took:?}, with a lease of {LEASE:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
        town.until("and shared", Town::is_settled);
        some_more(&town, &clients, 4);
    }
    println!("{}", clients.stop(load));
    hosts.into_iter().for_each(Host::drain);
}

#[test]
fn who_wakes_after_his_lease_says_nothing_of_what_others_have_by_now() {
    let Some((town, clients, mut hosts)) = begin(&["a", "b"], LEASE) else { return };
    let id = clients.id_of(*hosts[0].member.engine.shards().first().unwrap(), "asleep");
    OUTSIDE.block_on(clients.start_idle(&id));
    // It is in memory, and nothing of its shard is to be committed when the node wakes: only the lease says that this is old.
    let before = OUTSIDE.block_on(describe(&hosts[0].member.engine, &id)).unwrap();
    let asleep = hosts.remove(0).stand_still();
    let stale = asleep.host.member.engine.clone();
    town.until("the other has everything", Town::is_settled);
    OUTSIDE.block_on(clients.signal(&id, "go"));
    let after = OUTSIDE.block_on(describe(&hosts[0].member.engine, &id)).unwrap();
    let events = |described: DescribeWorkflowExecutionResponse| described.workflow_execution_info.unwrap().history_length;
    assert_eq!(events(after), events(before) + 1, "it has changed at the other");
    // It is asked before it has heard of anything.
    let mut asked = Box::pin(describe(&stale, &id));
    assert!(asked.as_mut().now_or_never().is_none(), "it stands still");
    let woken = asleep.wake();
    let answer = OUTSIDE.block_on(asked);
    assert!(matches!(answer, Err(Refusal::Unavailable(_) | Refusal::Elsewhere { .. })), "{answer:?}");
    let reason = woken.ended();
    // What it hears of that first: that it has been removed, or that a commit is refused.
    assert!(reason.contains("taken"), "{reason}");
    let answer = OUTSIDE.block_on(describe(&stale, &id));
    assert!(matches!(answer, Err(Refusal::Unavailable(_) | Refusal::Elsewhere { .. })), "{answer:?}");
    hosts.into_iter().for_each(Host::drain);
}

/// Lists may be refused meanwhile, but what they show is whole (`Clients::check_listed`).
#[test]
fn an_index_that_is_damaged_is_made_whole_by_the_node_whose_task_that_is() {
    let Some((town, clients, hosts)) = begin(&["a", "b"], LEASE) else { return };
    let makes_whole = u32::MAX - 70;
    let (owner, other) = if hosts[0].member.serves().contains(&makes_whole) { (0, 1) } else { (1, 0) };
    let (owner, other) = (&hosts[owner].member.engine, &hosts[other].member.engine);
    assert_eq!(other.rebuild_visibility(), Err(Refusal::Elsewhere { shard: makes_whole }));
    let load = clients.go(4);
    some_more(&town, &clients, 4);
    town.sql("DROP TABLE {s}.counter");
    town.until("it is made whole", |_| owner.visibility_progress().finished > 0);
    let is_whole = |engine: &Engine| OUTSIDE.block_on(engine.visibility_status()).needs_rebuild.is_none();
    town.until("both know it", |_| is_whole(owner) && is_whole(other));
    some_more(&town, &clients, 4);
    println!("{}", clients.stop(load));
    assert_eq!(other.visibility_progress().finished, 0);
    for engine in [owner, other] {
        let request = CountWorkflowExecutionsRequest { namespace: NAMESPACE.into(), ..Default::default() };
        // Each has a child.
        assert_eq!(OUTSIDE.block_on(engine.count_workflows(request)).unwrap().count, 2 * clients.started() as i64);
    }
    hosts.into_iter().for_each(Host::drain);
}

#[test]
fn what_there_is_once_is_changed_by_who_has_it_and_by_the_next_who_has_read_it() {
    let Some((town, _, mut hosts)) = begin(&["a", "b"], LEASE) else { return };
    let namespaces = u32::MAX;
    let register = |engine: &Engine, name: &str| {
        let request = RegisterNamespaceRequest {
            namespace: name.into(),
            workflow_execution_retention_period: Some(Span::seconds(86_400).to_api()),
            ..Default::default()
        };
        OUTSIDE.block_on(engine.register_namespace(request)).map(drop)
    };
    let at = hosts.iter().position(|host| host.member.serves().contains(&namespaces)).unwrap();
    let owner = hosts.remove(at);
    let other = hosts.remove(0);
    assert_eq!(register(&other.member.engine, "x"), Err(Refusal::Elsewhere { shard: namespaces }));
    register(&owner.member.engine, "x").unwrap();
    let request = DescribeNamespaceRequest { namespace: "x".into(), ..Default::default() };
    let knows = |_: &Town| OUTSIDE.block_on(other.member.engine.describe_namespace(request.clone())).is_ok();
    println!("the other knows it after {:?}", town.until("the other knows it", knows));
    let rules = |engine: &Engine| engine.list_flow_rules(&ListFlowRulesRequest { namespace: "x".into() }).map(|listed| listed.rules.len());
    let both = [&owner, &other];
    let set = both.iter().position(|host| {
        let rule = FlowRule {
            name: "one".into(),
            r#match: Some(FlowMatch { all: true, ..Default::default() }),
            max_open: 1,
            ..Default::default()
        };
        let request = SetFlowRuleRequest { namespace: "x".into(), rule: Some(rule), version: 0 };
        let set = OUTSIDE.block_on(host.member.engine.set_flow_rule(request));
        assert!(matches!(set, Ok(_) | Err(Refusal::Elsewhere { .. })), "{set:?}");
        set.is_ok()
    });
    let to = &both[1 - set.unwrap()].member.engine;
    town.until("the rule is in force at the other", |_| rules(to) == Ok(1));
    owner.drain();
    town.until("the other has everything", Town::is_settled);
    assert_eq!(rules(&other.member.engine), Ok(1));
    assert!(matches!(register(&other.member.engine, "x"), Err(Refusal::NamespaceAlreadyExists(_))));
    register(&other.member.engine, "y").unwrap();
    other.drain();
}
