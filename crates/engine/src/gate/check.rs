//! One check of a version, from the list of types to the result.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{StreamExt, stream};
use sempre_api::{
    History,
    sempre::v1::{
        CheckDeploymentVersionResponse, CheckProgress, CheckVerdict, DeploymentCheck, ReplayOutcome, ReplayProblem, TaskQueueCheck,
        WorkflowTypeCheck,
    },
    v1::{
        common::WorkflowType,
        enums::TaskQueueKind,
        history::{HistoryEvent, history_event::Attributes},
        query::WorkflowQuery,
        taskqueue::TaskQueue,
        workflowservice::PollWorkflowTaskQueueResponse,
    },
};
use sempre_core::{
    Refusal, RunKey, Version,
    transition::{HistoryWindow, QueryRoute},
    versioning::attributes::BEHAVIOR,
    visibility::{Comparison, Field, Filter, ParseOptions, Record, SystemField, Value, decode, parse},
};
use tokio::sync::mpsc::Sender;

use super::{
    ASKS_AT_ONCE, Bounds, EVENTS_MAX, PROBLEMS_MAX, Queue, SEEN_MAX, TYPES_MAX,
    outline::{Outline, described, name},
    sample::Sampler,
    verdict::{self, QUERY, Verdict},
};
use crate::{
    Engine,
    calls::{lists::refused, query::Waited},
    history::{read::PAGE_BYTES, slice::PageLimit},
    matching::queries::Outcome,
    namespaces::Namespace,
    rebuild::Rebuild,
    shard::message::ViewRequest,
    shared::{STOPPING, give_way, internal},
};

/// Records of a page of the list.
const PAGE_RECORDS: usize = 1000;
/// Events read at once.
const PAGE: PageLimit = PageLimit { events: 1000, bytes: PAGE_BYTES };

/// A run to replay.
#[derive(Clone, Debug)]
struct Candidate {
    key: RunKey,
    queue: String,
    started: i64,
    end: i64,
}

/// Runs of one shape.
#[derive(Debug, Default)]
struct Alike {
    runs: i64,
    /// The first of them, as many as are replayed.
    candidates: Vec<Candidate>,
}

/// See the module.
pub(super) struct Check {
    engine: Engine,
    namespace: Arc<Namespace>,
    version: Arc<Version>,
    queues: Vec<Queue>,
    bounds: Bounds,
    include_pinned: bool,
    /// Empty: all.
    types: BTreeSet<String>,
    sender: Sender<Result<CheckDeploymentVersionResponse, Refusal>>,
    progress: CheckProgress,
    events_left: i64,
    truncated: bool,
}

/// Nobody reads the messages any more, or it cannot go on.
enum Ended {
    Left,
    Refused(Refusal),
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn system(field: SystemField) -> Field {
    Field::System(field)
}

impl Check {
    #[allow(clippy::too_many_arguments, reason = "called once, where each has its name")]
    pub(super) fn new(
        engine: Engine,
        namespace: Arc<Namespace>,
        version: Arc<Version>,
        queues: Vec<Queue>,
        bounds: Bounds,
        include_pinned: bool,
        types: BTreeSet<String>,
        sender: Sender<Result<CheckDeploymentVersionResponse, Refusal>>,
    ) -> Self {
        let progress = CheckProgress::default();
        let (events_left, truncated) = (EVENTS_MAX, false);
        Self { engine, namespace, version, queues, bounds, include_pinned, types, sender, progress, events_left, truncated }
    }

    /// Sends progress and the result, until the reader leaves.
    pub(super) async fn run(mut self) {
        let message = match self.result().await {
            Ok(result) => Ok(CheckDeploymentVersionResponse { progress: Some(self.progress), result: Some(result) }),
            Err(Ended::Left) => return,
            Err(Ended::Refused(refusal)) => Err(refusal),
        };
        // The reader may leave at the last moment.
        let _ = self.sender.send(message).await;
    }

    async fn tell(&self) -> Result<(), Ended> {
        let message = CheckDeploymentVersionResponse { progress: Some(self.progress.clone()), result: None };
        self.sender.send(Ok(message)).await.map_err(|_| Ended::Left)
    }

    /// Open runs of users' workflows on these queues.
    fn open_on<'q>(&self, queues: impl Iterator<Item = &'q Queue>) -> Result<Filter, Refusal> {
        let values = queues.map(|queue| Value::Keyword(queue.name.name.clone())).collect();
        let users = parse("", &*self.namespace, ParseOptions::default())?.filter;
        let open = Filter::IsNull { field: system(SystemField::CloseTime), negated: false };
        let there = Filter::In { field: system(SystemField::TaskQueue), values, negated: false };
        Ok(Filter::And(users.into_iter().chain([open, there]).collect()))
    }

    async fn result(&mut self) -> Result<DeploymentCheck, Ended> {
        Rebuild::ready(&self.engine.shared).await?;
        let shared = self.engine.shared.clone();
        let visibility = &shared.listing.visibility;
        let id = self.namespace.id();
        let mut task_queues = Vec::new();
        for queue in &self.queues {
            let filter = self.open_on([queue].into_iter())?;
            let open_runs = visibility.count(id, Some(&filter)).await.map_err(refused)? as i64;
            let (name, polled, known) = (queue.name.name.clone(), queue.polled, queue.known);
            task_queues.push(TaskQueueCheck { name, polled, known, open_runs });
        }
        let own = self.open_on(self.queues.iter().filter(|queue| queue.known))?;
        let groups = visibility.count_by(id, Some(&own), &system(SystemField::WorkflowType)).await.map_err(refused)?;
        let mut types: Vec<(String, i64)> = Vec::new();
        for (value, runs) in groups {
            if let Some(Value::Keyword(name)) = value
                && (self.types.is_empty() || self.types.contains(&name))
            {
                types.push((name, runs as i64));
            }
        }
        self.truncated |= types.len() > TYPES_MAX;
        types.truncate(TYPES_MAX);
        self.progress.types_total = types.len() as i64;
        let mut checks = Vec::new();
        for (name, open_runs) in types {
            self.progress.workflow_type.clone_from(&name);
            self.tell().await?;
            checks.push(self.of_type(name, open_runs, &own).await?);
            self.progress.types_done += 1;
        }
        let unknown = task_queues.iter().any(|queue| queue.open_runs > 0 && !queue.polled);
        let verdict = match checks.iter().map(WorkflowTypeCheck::verdict).max_by_key(|verdict| gravity(*verdict)) {
            Some(CheckVerdict::Passed) | None if unknown => CheckVerdict::Undecided,
            Some(worst) => worst,
            None => CheckVerdict::Passed,
        };
        Ok(DeploymentCheck { verdict: verdict as i32, types: checks, task_queues, truncated: self.truncated })
    }

    async fn of_type(&mut self, workflow_type: String, open_runs: i64, own: &Filter) -> Result<WorkflowTypeCheck, Ended> {
        let mut check = WorkflowTypeCheck { workflow_type, open_runs, ..WorkflowTypeCheck::default() };
        let kind = Filter::Compare(system(SystemField::WorkflowType), Comparison::Equal, Value::Keyword(check.workflow_type.clone()));
        let filter = Filter::And(vec![own.clone(), kind]);
        let shapes = self.shapes(&mut check, &filter).await?;
        check.shapes = shapes.len() as i64;
        let mut shapes: Vec<Alike> = shapes.into_values().collect();
        shapes.sort_by_key(|alike| std::cmp::Reverse(alike.runs));
        shapes.truncate(self.bounds.shapes);
        let unanswered = self.replay_all(&mut check, shapes).await?;
        let verdict = match (check.problems_total, unanswered) {
            (0, 0) => CheckVerdict::Passed,
            (problems, unanswered) if problems == unanswered => CheckVerdict::Undecided,
            _ => CheckVerdict::Failed,
        };
        check.verdict = verdict as i32;
        Ok(check)
    }

    /// Reads histories of a type.
    async fn shapes(&mut self, check: &mut WorkflowTypeCheck, filter: &Filter) -> Result<BTreeMap<u64, Alike>, Ended> {
        let open = usize::try_from(check.open_runs).unwrap_or_default();
        let mut sampler = Sampler::new(open.min(SEEN_MAX), self.bounds.read);
        let (mut shapes, mut after, mut seen): (BTreeMap<u64, Alike>, _, _) = (BTreeMap::new(), None, 0);
        loop {
            let page = self.engine.runs(self.namespace.id(), Some(filter), after, PAGE_RECORDS).await?;
            for record in &page.records {
                seen += 1;
                if !self.include_pinned && is_pinned(record) {
                    check.pinned += 1;
                    continue;
                }
                // Kinds of their own may come on top, but not without end.
                if !sampler.takes(record) || check.runs_read >= 2 * self.bounds.read as i64 {
                    continue;
                }
                if self.events_left <= 0 {
                    self.truncated = true;
                    return Ok(shapes);
                }
                self.read(check, record, &mut shapes).await?;
            }
            if page.next.is_none() {
                return Ok(shapes);
            }
            if seen >= SEEN_MAX {
                self.truncated = true;
                return Ok(shapes);
            }
            after = page.next;
        }
    }

    async fn read(&mut self, check: &mut WorkflowTypeCheck, record: &Record, shapes: &mut BTreeMap<u64, Alike>) -> Result<(), Ended> {
        let Some(key) = record.run_key() else { return Ok(()) };
        let mut outline = Outline::default();
        match self.history(&key, i64::MAX, |event| outline.event(event)).await {
            Ok(events) => self.events_left -= events,
            // Deleted since the list was read.
            Err(Refusal::NotFound(_)) => return Ok(()),
            Err(refusal) => return Err(refusal.into()),
        }
        check.runs_read += 1;
        self.progress.runs_read += 1;
        if self.progress.runs_read % 50 == 0 {
            self.tell().await?;
        }
        if outline.end == 0 {
            check.not_begun += 1;
            return Ok(());
        }
        let alike = shapes.entry(outline.shape()).or_default();
        alike.runs += 1;
        if alike.candidates.len() < self.bounds.alike {
            let queue = record.task_queue.clone();
            alike.candidates.push(Candidate { key, queue, started: outline.started, end: outline.end });
        }
        Ok(())
    }

    /// Tells the events of a run before `end`, and how many there were.
    async fn history(&self, key: &RunKey, end: i64, mut tell: impl FnMut(&HistoryEvent)) -> Result<i64, Refusal> {
        let shared = &self.engine.shared;
        let (_, view) = shared.view(&key.workflow, Some(key.run), ViewRequest::default()).await?;
        let (mut next, end) = (1, view.next_event_id.min(end));
        while next < end {
            let page = shared.read_page(key, next, end, PAGE).await?;
            next = page.next;
            let events = History { chunks: page.chunks }.events().map_err(|_| internal("history that can be read"))?;
            events.iter().for_each(&mut tell);
            give_way().await;
        }
        Ok(end - 1)
    }

    /// Replays runs of each shape until one of it has a problem. How many were not answered comes back.
    async fn replay_all(&mut self, check: &mut WorkflowTypeCheck, shapes: Vec<Alike>) -> Result<i64, Ended> {
        let mut unanswered = 0;
        let this = &*self;
        let kind = check.workflow_type.clone();
        let mut results = Vec::new();
        {
            let asks = stream::iter(shapes.into_iter().map(|alike| this.replay_alike(&kind, alike)));
            let mut asks = std::pin::pin!(asks.buffer_unordered(ASKS_AT_ONCE));
            while let Some(result) = asks.next().await {
                results.push(result?);
                let mut progress = this.progress.clone();
                progress.runs_replayed += results.iter().map(|(replayed, _)| *replayed).sum::<i64>();
                progress.problems += results.iter().filter(|(_, problem)| problem.is_some()).count() as i64;
                let message = CheckDeploymentVersionResponse { progress: Some(progress), result: None };
                this.sender.send(Ok(message)).await.map_err(|_| Ended::Left)?;
            }
        }
        for (replayed, problem) in results {
            self.progress.runs_replayed += replayed;
            check.runs_replayed += replayed;
            check.shapes_replayed += i64::from(replayed > 0);
            let Some(problem) = problem else { continue };
            self.progress.problems += 1;
            check.problems_total += 1;
            unanswered += i64::from(problem.outcome() == ReplayOutcome::Unanswered);
            check.problems.push(problem);
        }
        // The gravest first, then what most runs have.
        check.problems.sort_by_key(|problem| (problem.outcome, std::cmp::Reverse(problem.runs_alike)));
        check.problems.truncate(PROBLEMS_MAX);
        Ok(unanswered)
    }

    async fn replay_alike(&self, kind: &str, alike: Alike) -> Result<(i64, Option<ReplayProblem>), Ended> {
        let mut replayed = 0;
        for candidate in &alike.candidates {
            let verdict = self.replay(kind, candidate).await?;
            let Verdict::Problem { outcome, message } = verdict else {
                replayed += 1;
                continue;
            };
            replayed += i64::from(outcome != ReplayOutcome::Unanswered);
            let mut problem = ReplayProblem {
                outcome: outcome as i32,
                workflow_id: candidate.key.workflow.workflow_id.clone(),
                run_id: candidate.key.run.to_string(),
                runs_alike: alike.runs,
                ..ReplayProblem::default()
            };
            if outcome == ReplayOutcome::NonDeterministic {
                self.locate(candidate, &message, &mut problem).await?;
            }
            problem.message = message;
            return Ok((replayed, Some(problem)));
        }
        Ok((replayed, None))
    }

    /// Has a worker of the version replay a run.
    async fn replay(&self, kind: &str, candidate: &Candidate) -> Result<Verdict, Ended> {
        let shared = &self.engine.shared;
        if shared.stopping.load(std::sync::atomic::Ordering::Acquire) {
            return Err(Refusal::Unavailable(STOPPING.into()).into());
        }
        let Some(queue) = self.queues.iter().find(|queue| queue.name.name == candidate.queue) else {
            return Err(internal("a queue of the version").into());
        };
        if !queue.polled {
            let message = format!("no worker of the version polls task queue '{}' now", candidate.queue);
            return Ok(Verdict::Problem { outcome: ReplayOutcome::Unanswered, message });
        }
        let line = queue.name.line(Some(&self.version));
        let route = Arc::new(route(kind, candidate, line.clone()));
        let _hold = shared.hold();
        let mut asker = shared.queries.ask(self.namespace.id());
        shared.matching.query(&line, asker.task(candidate.key.clone(), route, false));
        let until = self.engine.wall_now() + self.bounds.timeout;
        Ok(match self.engine.wait_for(&mut asker, until).await {
            Waited::Outcome(Outcome::Answer(answer, cause)) => verdict::of_answer(answer, cause),
            Waited::Outcome(Outcome::Direct(_)) => return Err(internal("an answer").into()),
            Waited::TimedOut | Waited::NoWorker => {
                let message = "no worker of the version answered in time".to_owned();
                Verdict::Problem { outcome: ReplayOutcome::Unanswered, message }
            }
        })
    }

    /// The event that a worker's message is about.
    async fn locate(&self, candidate: &Candidate, message: &str, problem: &mut ReplayProblem) -> Result<(), Ended> {
        let told = verdict::told(message);
        problem.command = told.command;
        let mut found: Option<(i64, String)> = None;
        let mut fits = 0;
        let look = |event: &HistoryEvent| {
            let is = match (&told.event_id, &told.named) {
                (Some(id), _) => event.event_id == *id,
                (None, Some(named)) => names(event, named),
                (None, None) => false,
            };
            if is {
                fits += 1;
                found.get_or_insert_with(|| (event.event_id, described(event)));
            }
        };
        match self.history(&candidate.key, candidate.end, look).await {
            Ok(_) | Err(Refusal::NotFound(_)) => {}
            Err(refusal) => return Err(refusal.into()),
        }
        if let Some((event_id, event)) = found {
            (problem.event_id, problem.event) = (event_id, event);
            problem.event_is_guessed = fits > 1;
        }
        Ok(())
    }
}

fn gravity(verdict: CheckVerdict) -> u8 {
    match verdict {
        CheckVerdict::Unspecified | CheckVerdict::Passed => 0,
        CheckVerdict::Undecided => 1,
        CheckVerdict::Failed => 2,
    }
}

fn is_pinned(record: &Record) -> bool {
    record.search_attributes.get(BEHAVIOR).and_then(decode) == Some(Value::Keyword("Pinned".into()))
}

/// The event is of something that a worker calls so.
fn names(event: &HistoryEvent, named: &str) -> bool {
    let own = match event.attributes.as_ref() {
        Some(Attributes::ActivityTaskScheduledEventAttributes(a)) => a.activity_id == named,
        Some(Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(a)) => a.workflow_id == named,
        Some(Attributes::MarkerRecordedEventAttributes(_)) => return name(event).split_once(' ').is_some_and(|(_, id)| id == named),
        _ => return false,
    };
    own || name(event) == named
}

fn route(kind: &str, candidate: &Candidate, line: sempre_core::transition::QueueName) -> QueryRoute {
    let query = WorkflowQuery { query_type: QUERY.into(), ..WorkflowQuery::default() };
    let task = PollWorkflowTaskQueueResponse {
        workflow_execution: Some(candidate.key.to_api()),
        workflow_type: Some(WorkflowType { name: kind.into() }),
        previous_started_event_id: candidate.started,
        attempt: 1,
        query: Some(query.clone()),
        workflow_execution_task_queue: Some(TaskQueue {
            name: candidate.queue.clone(),
            kind: TaskQueueKind::Normal as i32,
            normal_name: String::new(),
        }),
        ..PollWorkflowTaskQueueResponse::default()
    };
    let window = HistoryWindow { from: 1, next: candidate.end, virtual_events: Vec::new() };
    QueryRoute { sticky: None, normal: line, query, task: Box::new(task), window }
}
