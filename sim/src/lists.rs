//! What lists and counts say of a world at rest, to be held against its runs.

use std::{collections::BTreeMap, sync::Arc};

use sempre_api::v1::{
    workflow::WorkflowExecutionInfo,
    workflowservice::{CountWorkflowExecutionsRequest, ListWorkflowExecutionsRequest},
};
use sempre_core::Span;

use crate::{
    acts::ask,
    network::{Answer, Call},
    random::Random,
    world::{CALLERS, NAMESPACE, World},
};

/// Runs of a page: small, so that there are several.
const PAGE: i32 = 7;
/// An index that is made anew may take this many tries.
const TRIES: u64 = 200;

/// What queries look at.
pub struct Seen<'r> {
    /// `WorkflowExecutionStatus`.
    pub status: i32,
    /// Its type.
    pub kind: &'r str,
    /// Its workflow id.
    pub workflow: &'r str,
    /// Its stage, if it says one.
    pub stage: Option<String>,
    /// Its tasks, if it says them.
    pub tasks: Option<i64>,
}

/// Queries, each with what it picks.
pub type Picks = fn(&Seen<'_>) -> bool;

/// See [`Picks`].
pub const QUERIES: &[(&str, Picks)] = &[
    ("", |_| true),
    ("ExecutionStatus = 'Running'", |run| run.status == 1),
    ("ExecutionStatus = 'Completed' AND WorkflowType = 'Simulated'", |run| run.status == 2 && run.kind == "Simulated"),
    ("WorkflowType != 'Simulated'", |run| run.kind != "Simulated"),
    ("WorkflowId STARTS_WITH 'c-' OR ExecutionStatus = 'Terminated'", |run| run.workflow.starts_with("c-") || run.status == 5),
    ("WorkflowId = 'w0' AND CloseTime IS NOT NULL", |run| run.workflow == "w0" && run.status != 1),
    ("Stage = 'second' OR Tasks >= 3", |run| run.stage.as_deref() == Some("second") || run.tasks.is_some_and(|tasks| tasks >= 3)),
    ("Stage IS NULL AND WorkflowType = 'Simulated'", |run| run.stage.is_none() && run.kind == "Simulated"),
];

/// The answers.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Runs by query, in the order they came.
    pub listed: BTreeMap<&'static str, Vec<WorkflowExecutionInfo>>,
    /// Counts by query.
    pub counted: BTreeMap<&'static str, i64>,
}

/// Asks a healed world; `None` if there was no answer.
pub async fn read(world: Arc<World>) -> Option<Lists> {
    let mut random = Random::new(world.plan.seed, CALLERS + 950);
    let mut lists = Lists::default();
    for (query, _) in QUERIES {
        let mut token = bytes::Bytes::new();
        let mut runs = Vec::new();
        loop {
            let request = ListWorkflowExecutionsRequest {
                namespace: NAMESPACE.into(),
                page_size: PAGE,
                next_page_token: token.clone(),
                query: (*query).to_owned(),
            };
            let page = patiently(&world, &mut random, || {
                let request = request.clone();
                Call::new("list", move |engine| {
                    let request = request.clone();
                    async move { engine.list_workflows(request).await }
                })
            })
            .await?;
            runs.extend(page.executions);
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        lists.listed.insert(query, runs);
        let request = CountWorkflowExecutionsRequest { namespace: NAMESPACE.into(), query: (*query).to_owned() };
        let count = patiently(&world, &mut random, || {
            let request = request.clone();
            Call::new("count", move |engine| {
                let request = request.clone();
                async move { engine.count_workflows(request).await }
            })
        })
        .await?;
        lists.counted.insert(query, count.count);
    }
    Some(lists)
}

async fn patiently<T: Send + 'static>(world: &Arc<World>, random: &mut Random, make: impl Fn() -> Call<T>) -> Option<T> {
    for _ in 0..TRIES {
        match ask(world, random, &make).await {
            Answer::Done(done) => return Some(done),
            Answer::Refused(refusal) => world.tell(format_args!("lists refuse: {refusal:?}")),
            Answer::Unknown => {}
        }
        world.time.sleep(Span::seconds(1)).await;
    }
    None
}
