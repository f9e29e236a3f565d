//! Carries acts out in a world, and heals it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sempre_api::FieldMask;
use sempre_api::v1::{
    command::{
        Command, FailWorkflowExecutionCommandAttributes, ModifyWorkflowPropertiesCommandAttributes,
        UpsertWorkflowSearchAttributesCommandAttributes, command::Attributes,
    },
    common::{FastForwardConfig, Memo, Payload, Priority, RetryPolicy, SearchAttributes, TimeSkippingConfig},
    enums::{CommandType, EventType, ParentClosePolicy, QueryResultType, WorkflowTaskFailedCause},
    protocol::Message,
    query::{WorkflowQuery, WorkflowQueryResult},
    taskqueue::TaskQueue,
    workflow::{OnConflictOptions, WorkflowExecutionOptions},
    workflowservice::StartWorkflowExecutionRequest,
};
use sempre_core::{
    Input, Refusal, Reply, RunId, Span, StartInput,
    input::{ActivitySelector, ActivityTarget, Poller, ResetActivity, SignalRequest, UnpauseActivity, UpdateRequest},
    options::OptionsRequest,
    transition::{Offer, QueueKind},
};

use crate::{
    acts::{Act, Fate, Flavor, Manner, Named, Operation, Order, Said, Verdict, Work},
    harness::{commands::*, history, reset::reset_request, updates, *},
    invariants,
};

/// Workflow ids of clients are the first three; children use them all.
const IDS: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Steps of the clock in which a healed world must come to its end.
const HEALING_ROUNDS: usize = 1000;
/// Such a step: shorter than all timeouts of runs, so that a worker gets to each in time.
const HEALING_STEP: Span = secs(5);

/// All that a case leaves behind: rows, history frames and deadline of each run, and what was said on the way.
pub(crate) type Remains = (Vec<(RunId, BTreeMap<(u8, u64), Bytes>, Vec<Bytes>, Option<i64>)>, Vec<String>);

/// None, on, off, fast forward.
fn skipping(how: u8) -> Option<TimeSkippingConfig> {
    let ahead = FastForwardConfig { id: "ahead".into(), duration: duration(20) };
    let config = TimeSkippingConfig { enabled: how != 2, fast_forward_config: (how == 3).then_some(ahead), ..Default::default() };
    (how != 0).then_some(config)
}

/// Plays the acts, heals the world, and says what is left.
pub(crate) fn play(acts: &[Act]) -> Remains {
    let mut driver = Driver::new();
    for act in acts {
        driver.act(act);
    }
    driver.heal();
    driver.remains()
}

/// A world, and what its workers hold.
pub(crate) struct Driver {
    pub world: World,
    /// Workflow tasks that were handed out, oldest first, whether still good or not, and the offer and poll each came by.
    tasks: Vec<(WorkflowTask, Option<(Offer, Poller)>)>,
    activities: Vec<ActivityTask>,
    /// Every offer there was.
    offers: Vec<Offer>,
    /// Buffered queries that nobody has heard of again.
    asked: BTreeSet<u64>,
    queries: u64,
    said: Vec<String>,
    watch: invariants::Watch,
}

impl Driver {
    pub(crate) fn new() -> Self {
        let mut world = World::new();
        world.namespace.retention = secs(10 * 365 * 86_400);
        world.limits.buffered_events_max = 6;
        world.limits.time_skipping = true;
        world.limits.skips_max = 4;
        world.limits.buffered_queries_max = 3;
        Self {
            world,
            tasks: Vec::new(),
            activities: Vec::new(),
            offers: Vec::new(),
            asked: BTreeSet::new(),
            queries: 0,
            said: Vec::new(),
            watch: invariants::Watch::default(),
        }
    }

    /// Does one thing and checks everything.
    pub(crate) fn act(&mut self, act: &Act) {
        self.carry_out(act);
        self.look();
    }

    fn look(&mut self) {
        for offer in &self.world.offers {
            if !self.offers.contains(offer) {
                self.offers.push(offer.clone());
            }
        }
        self.hear_answers();
        self.watch.check(&self.world);
    }

    fn hear_answers(&mut self) {
        let answered = self.world.query_answers.drain(..).map(|(id, _)| id);
        let released = self.world.queries_released.drain(..).map(|(id, _)| id);
        for id in answered.chain(released).collect::<Vec<_>>() {
            assert!(self.asked.remove(&id), "query {id} is answered once");
        }
    }

    /// Names of all events in all histories.
    pub(crate) fn event_types(&self) -> BTreeSet<&'static str> {
        let events = self.world.runs.values().flat_map(|run| run.events());
        events.map(|event| event.event_type().as_str_name()).collect()
    }

    fn remains(self) -> Remains {
        let stored = |(id, run): (&RunId, &Run)| {
            let (rows, frames) = run.stored();
            (*id, rows.clone(), frames.to_vec(), run.deadline.map(|t| t.0))
        };
        (self.world.runs.iter().map(stored).collect(), self.said)
    }

    fn say<T: std::fmt::Debug>(&mut self, what: &T) {
        self.said.push(format!("{what:?}"));
    }

    fn carry_out(&mut self, act: &Act) {
        match act {
            Act::Start { id, flavor, reuse, conflict, request } => {
                let request = with(self.start_request(*id, *flavor, *request), |r| {
                    r.workflow_id_reuse_policy = i32::from(*reuse);
                    r.workflow_id_conflict_policy = i32::from(*conflict);
                    let attach_request_id = request.is_some();
                    r.on_conflict_options = Some(OnConflictOptions { attach_request_id, ..Default::default() });
                });
                self.start(request, None);
            }
            Act::SignalWithStart { id, flavor, conflict, request, signal } => {
                let request = with(self.start_request(*id, *flavor, *request), |r| {
                    r.workflow_id_conflict_policy = i32::from(*conflict);
                    // The API's signal-with-start cannot ask for it.
                    r.request_eager_execution = false;
                });
                let signal = self.signal_request(*signal);
                self.start(request, Some(Box::new(signal)));
            }
            Act::Signal { id, request } => {
                let request = self.signal_request(*request);
                self.ask(*id, Input::Signal(Box::new(request)));
            }
            Act::RequestCancel { id } => self.ask(*id, Input::RequestCancel(Box::default())),
            Act::Terminate { id } => self.ask(*id, Input::Terminate(Box::default())),
            Act::PollWorkflow(n) => self.poll_workflow(*n),
            Act::PollObsolete(n) => self.poll_obsolete(*n),
            Act::PollAgain(n) => self.poll_again(*n),
            Act::Complete { task, orders, close, manner } => {
                let Some(task) = latest(&self.tasks, *task).map(|(task, _)| task.clone()) else { return };
                let commands: Vec<_> = orders.iter().chain(close).map(|order| self.command(&task, order)).collect();
                self.complete(&task, commands, *manner);
            }
            Act::Serve { offer, orders, close, manner } => {
                let before = self.tasks.len();
                self.poll_workflow(*offer);
                if self.tasks.len() > before {
                    self.carry_out(&Act::Complete { task: 0, orders: orders.clone(), close: close.clone(), manner: *manner });
                }
            }
            Act::FailTask(n) => {
                let Some(task) = latest(&self.tasks, *n).map(|(task, _)| task.clone()) else { return };
                let good = self.is_good(&task);
                let answer = self.world.fail_task(&task, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure);
                assert_eq!(good, answer.is_ok(), "a stale task is refused, a good one is not: {answer:?}");
                self.say(&answer);
            }
            Act::PollActivity(n) => {
                let Some(offer) = self.offer(QueueKind::Activity, *n) else { return };
                let poller = self.world.poller();
                let task = self.world.start_activity_task(&offer, poller).expect("offers on the table are wanted");
                self.say(&task.response);
                self.activities.push(task);
            }
            Act::Activity { named, said } => self.activity(*named, *said),
            Act::Deliver { message, fate } => self.deliver(*message, *fate),
            Act::Query { id, reject } => {
                self.queries += 1;
                let query = Box::new(WorkflowQuery { query_type: "state".into(), ..Default::default() });
                let input =
                    Input::Query { id: self.queries, query, reject_condition: i32::from(*reject), until: self.world.now + secs(10) };
                if let Some(run) = self.current(*id) {
                    let answer = self.world.apply_to(run, input);
                    if matches!(answer, Ok(Reply::QueryBuffered)) {
                        self.asked.insert(self.queries);
                    }
                    self.say(&answer);
                }
            }
            Act::DropQuery(n) => {
                let Some(id) = nth(&self.asked.iter().copied().collect::<Vec<_>>(), *n).copied() else { return };
                for run in self.world.runs.keys().copied().collect::<Vec<_>>() {
                    let answer = self.world.apply_to(run, Input::DropQuery { id });
                    assert!(answer.is_ok());
                }
                self.asked.remove(&id);
            }
            Act::Update { id, update } => {
                let request = Box::new(updates::update_request(&format!("update-{update}")));
                let delayed = |run: &RunId| self.world.runs[run].execution.state().progress.main.first_task_at != 0;
                self.watch.hastened.extend(self.current(*id).filter(delayed));
                self.ask(*id, Input::Update(Box::new(UpdateRequest { request, first_run_id: String::new() })));
            }
            Act::Skip { id, how } => {
                let options = WorkflowExecutionOptions { time_skipping_config: skipping(*how), ..Default::default() };
                self.set_options(*id, "time_skipping_config", options);
            }
            Act::Prioritize { id, level } => {
                let priority = (*level > 0).then(|| Priority { priority_key: i32::from(*level), ..Default::default() });
                self.set_options(*id, "priority", WorkflowExecutionOptions { priority, ..Default::default() });
            }
            Act::Pause { id } => self.ask(*id, Input::Pause(operator(""))),
            Act::Unpause { id } => self.ask(*id, Input::Unpause(operator(""))),
            Act::Operate { id, which, how } => {
                let which = which.map_or(ActivitySelector::All, |n| ActivitySelector::Id(format!("activity-{n}")));
                self.ask(*id, operation(which, *how));
            }
            Act::Reset { id, run, back } => self.reset(*id, *run, *back),
            Act::ResetSticky { id } => self.ask(*id, Input::ResetSticky),
            Act::Advance { millis } => self.world.advance(Span::millis(i64::from(*millis))),
            Act::Sleep { millis } => self.world.sleep(Span::millis(i64::from(*millis))),
            Act::WakeEarly(n) => {
                let Some(run) = nth(&self.world.runs.keys().copied().collect::<Vec<_>>(), *n).copied() else { return };
                let due = self.world.runs[&run].deadline.into_iter().chain(self.world.runs[&run].execution.memory_deadline()).min();
                let early = due.is_none_or(|at| at > self.world.now);
                let before = self.world.runs[&run].execution.state().clone();
                self.world.apply_to(run, Input::Wake).expect("waking is never refused");
                if early {
                    assert_eq!(&before, self.world.runs[&run].execution.state(), "an early wake-up does nothing");
                }
            }
            Act::Restart => {
                self.world.restart();
                self.asked.clear();
            }
        }
    }

    // --- clients ---

    fn current(&self, id: u8) -> Option<RunId> {
        self.world.current.get(IDS[usize::from(id)]).map(|record| record.run())
    }

    fn ask(&mut self, id: u8, input: Input) {
        if let Some(run) = self.current(id) {
            let answer = self.world.apply_to(run, input);
            self.say(&answer);
        }
    }

    fn set_options(&mut self, id: u8, path: &str, options: WorkflowExecutionOptions) {
        let mask = Some(FieldMask { paths: vec![path.into()] });
        let request = OptionsRequest { options: Some(options), mask, identity: "operator".into() };
        self.ask(id, Input::UpdateOptions(Box::new(request)));
    }

    /// Resets a run of the workflow to the end of a task, or to an event that may be none that a run can be reset to.
    fn reset(&mut self, id: u8, run: u8, back: u8) {
        let id = IDS[usize::from(id)];
        let Some(run) = self.world.chains.get(id).and_then(|chain| latest(chain, run)).copied() else { return };
        let events = self.world.runs[&run].events();
        let ends: Vec<_> = events.iter().filter(|e| e.event_type() == EventType::WorkflowTaskCompleted).map(|e| e.event_id).collect();
        let end = if back.is_multiple_of(2) { latest(&ends, back / 2).copied() } else { None };
        let finish = end.unwrap_or(events.len() as i64 - i64::from(back));
        let mut request = reset_request(&mut self.world, id, finish);
        request.workflow_execution.as_mut().expect("set").run_id = run.to_string();
        let answer = self.world.reset_with(request);
        self.say(&answer);
        // It has the events of its base, an early first task as well.
        if let (Ok(made), true) = (&answer, self.watch.hastened.contains(&run)) {
            self.watch.hastened.insert(*made);
        }
    }

    fn start_request(&self, id: u8, flavor: Flavor, request: Option<u8>) -> StartWorkflowExecutionRequest {
        with(start_request(IDS[usize::from(id)]), |r| {
            r.request_id = request.map_or_else(String::new, |n| format!("request-{n}"));
            match flavor {
                Flavor::Plain => {}
                Flavor::Cron => r.cron_schedule = "* * * * *".into(),
                Flavor::Retry => r.retry_policy = retry(3),
                Flavor::Delay => r.workflow_start_delay = duration(15),
                Flavor::RunTimeout => r.workflow_run_timeout = duration(10),
                Flavor::ExecutionTimeout => {
                    r.workflow_execution_timeout = duration(60);
                    r.cron_schedule = "* * * * *".into();
                }
                Flavor::RetryAndRunTimeout => {
                    r.workflow_run_timeout = duration(10);
                    r.retry_policy = retry(4);
                }
                Flavor::Eager => r.request_eager_execution = true,
                Flavor::Skips => r.time_skipping_config = skipping(1),
                Flavor::FastForward => r.time_skipping_config = skipping(3),
                Flavor::Bad => r.cron_schedule = "bad".into(),
            }
        })
    }

    fn signal_request(&mut self, request: Option<u8>) -> SignalRequest {
        let request_id = request.map_or_else(String::new, |n| format!("signal-{n}"));
        SignalRequest { name: "go".into(), request_id, input: payloads("signal"), ..Default::default() }
    }

    fn start(&mut self, request: StartWorkflowExecutionRequest, signal: Option<Box<SignalRequest>>) {
        let answer = self.world.start_input(StartInput { request: Box::new(request), signal, child_of: None, watcher: None });
        self.say(&answer);
        if let Ok((_, Some(task))) = answer {
            self.tasks.push((task, None));
        }
    }

    // --- workers ---

    fn offer(&self, kind: QueueKind, n: u8) -> Option<Offer> {
        let offers: Vec<_> = self.world.offers.iter().filter(|o| o.queue.kind == kind).collect();
        nth(&offers, n).map(|offer| (*offer).clone())
    }

    fn poll_workflow(&mut self, n: u8) {
        let Some(offer) = self.offer(QueueKind::Workflow, n) else { return };
        let poller = self.world.poller();
        let Some(task) = self.world.start_workflow_task(&offer, poller.clone()) else {
            assert!(offer.volatile, "offers on the table are wanted");
            self.world.offers.retain(|o| *o != offer);
            return;
        };
        self.say(&task);
        self.tasks.push((task, Some((offer, poller))));
    }

    /// An offer of a task that is not offered any more changes nothing.
    fn poll_obsolete(&mut self, n: u8) {
        // A task that has moved in its line, or from one without rows to one with them, is the same one: who was given its former
        // place may have it.
        let same = |a: &Offer, b: &Offer| {
            a.key.run == b.key.run
                && a.queue.kind == b.queue.kind
                && a.key.scheduled_event_id == b.key.scheduled_event_id
                && a.stamp == b.stamp
        };
        let offered = |gone: &Offer| self.world.offers.iter().any(|o| same(o, gone));
        let gone: Vec<_> = self.offers.iter().filter(|gone| !offered(gone)).cloned().collect();
        let Some(offer) = nth(&gone, n) else { return };
        let before = self.world.runs[&offer.run.run].execution.state().clone();
        let poller = self.world.poller();
        let nothing = match offer.queue.kind {
            QueueKind::Workflow => self.world.start_workflow_task(offer, poller).is_none(),
            QueueKind::Activity => self.world.start_activity_task(offer, poller).is_none(),
            QueueKind::Nexus => unreachable!("Nexus tasks are never offered"),
        };
        assert!(nothing, "an obsolete offer gives no task");
        assert_eq!(&before, self.world.runs[&offer.run.run].execution.state(), "an obsolete offer changes nothing");
    }

    /// A poll that is repeated, because its answer was lost, gets the same task.
    fn poll_again(&mut self, n: u8) {
        let Some((task, Some((offer, poller)))) = latest(&self.tasks, n).cloned() else { return };
        // A retry that became a task of its own has other ids than its offer: the repeated poll does not find it.
        if !self.is_good(&task) || task.token.scheduled_event_id != offer.key.scheduled_event_id {
            return;
        }
        let again = self.world.start_workflow_task(&offer, poller).expect("the poll that has it gets it again");
        assert_eq!(again.token, task.token);
    }

    fn is_good(&self, task: &WorkflowTask) -> bool {
        let run = &self.world.runs[&task.token.run_key().expect("a token of ours").run];
        run.execution.is_open()
            && run.execution.state().progress.main.task.as_ref().is_some_and(|pending| {
                pending.started_event_id == task.token.started_event_id
                    && pending.scheduled_event_id == task.token.scheduled_event_id
                    && pending.attempt == task.token.attempt
                    && pending.started_time == task.token.started_time
            })
    }

    fn complete(&mut self, task: &WorkflowTask, commands: Vec<Command>, manner: Manner) {
        let good = self.is_good(task);
        let queries = task.response.queries.keys().cloned().collect::<Vec<_>>();
        let messages = self.messages(task, manner.updates);
        let commands: Vec<_> = messages.iter().map(updates::place).chain(commands).collect();
        let answer = self.world.complete_with(task, commands, |r| {
            if manner.sticky {
                r.sticky_attributes = sticky("sticky");
            }
            r.force_create_new_workflow_task = manner.more;
            r.return_new_workflow_task = manner.inline;
            r.messages = messages;
            if manner.answers {
                let result = WorkflowQueryResult { result_type: QueryResultType::Answered as i32, ..Default::default() };
                r.query_results = queries.into_iter().map(|key| (key, result.clone())).collect();
            }
        });
        if !good {
            assert!(matches!(answer, Err(Refusal::NotFound(_))), "a stale task is refused: {answer:?}");
        }
        self.say(&answer);
        if let Ok(completed) = answer {
            self.activities.extend(completed.activities);
            self.tasks.extend(completed.inline.map(|task| (task, None)));
        }
    }

    /// What the worker says of updates.
    fn messages(&self, task: &WorkflowTask, verdict: Verdict) -> Vec<Message> {
        let run = &self.world.runs[&task.token.run_key().expect("a token of ours").run];
        let mut messages = Vec::new();
        if matches!(verdict, Verdict::Completed) {
            let updates = &run.execution.state().derived.updates;
            let running = updates.iter().filter(|update| update.is_running());
            messages.extend(running.map(|update| updates::respond(&update.update_id, "done")));
        }
        for request in &task.response.messages {
            match verdict {
                Verdict::Silence => {}
                Verdict::Rejected => messages.push(updates::reject(request, "no")),
                Verdict::Accepted => messages.push(updates::accept(request)),
                Verdict::Completed => {
                    messages.extend([updates::accept(request), updates::respond(&request.protocol_instance_id, "done")]);
                }
                Verdict::Confused => messages.push(updates::respond(&request.protocol_instance_id, "done")),
            }
        }
        messages
    }

    fn activity(&mut self, named: Named, said: Said) {
        let (run, target) = match named {
            Named::Token(n) => {
                let Some(task) = latest(&self.activities, n) else { return };
                (task.token.run_key().expect("a token of ours").run, task.target())
            }
            Named::Id { workflow, id } => {
                let Some(run) = self.current(workflow) else { return };
                (run, ActivityTarget::Id(format!("activity-{id}")))
            }
        };
        let input = match said {
            Said::Done => Input::CompleteActivity { target, result: payloads("done"), identity: WORKER.into() },
            Said::Failed { retryable } => Input::FailActivity {
                target,
                failure: Some(Box::new(failure_with("failed", |f| f.non_retryable = !retryable))),
                last_heartbeat_details: None,
                identity: WORKER.into(),
            },
            Said::Canceled => Input::CancelActivity { target, details: None, identity: WORKER.into() },
            Said::Alive => Input::Heartbeat { target, details: payloads("alive"), identity: WORKER.into() },
        };
        let answer = self.world.apply_to(run, input);
        self.say(&answer);
    }

    // --- mail ---

    /// One of the senders' oldest messages goes out.
    fn deliver(&mut self, n: u8, fate: Fate) {
        let outbox = &self.world.outbox;
        let first = |at: &usize| outbox[..*at].iter().all(|(from, _)| *from != outbox[*at].0);
        let Some(at) = nth(&(0..outbox.len()).filter(first).collect::<Vec<_>>(), n).copied() else { return };
        match fate {
            Fate::Heard => {
                self.world.deliver_nth(at);
            }
            Fate::Unheard => self.world.deliver_nth_unheard(at),
            Fate::Twice => self.world.deliver_nth_told_twice(at),
        }
    }

    // --- commands ---

    fn command(&self, task: &WorkflowTask, order: &Order) -> Command {
        let run = task.token.run_key().expect("a token of ours").run;
        match order {
            Order::Activity { id, work } => with(activity(&format!("activity-{id}")), |a| shape(a, *work)).command(),
            Order::CancelActivity(n) => {
                let pending: Vec<_> = self.world.runs[&run].execution.state().derived.activities.keys().copied().collect();
                cancel_activity(n.and_then(|n| nth(&pending, n).copied()).unwrap_or(999))
            }
            Order::Timer { id, seconds } => timer(&format!("timer-{id}"), secs(i64::from(*seconds))),
            Order::CancelTimer(id) => cancel_timer(&format!("timer-{id}")),
            Order::Child { id, policy, reuse, flavor } => self.child(*id, *policy, *reuse, *flavor),
            Order::SignalExternal { id, child_only, known_run } => with(signal_external(IDS[usize::from(*id)], "external"), |s| {
                s.child_workflow_only = *child_only;
                if let (Some(execution), Some(run)) = (&mut s.execution, self.current(*id).filter(|_| *known_run)) {
                    execution.run_id = run.to_string();
                }
            })
            .command(),
            Order::CancelExternal { id, child_only } => {
                with(cancel_external(IDS[usize::from(*id)]), |c| c.child_workflow_only = *child_only).command()
            }
            Order::Marker => marker("marker"),
            Order::Memo => {
                let upserted_memo = Some(Memo { fields: fields() });
                let attributes = ModifyWorkflowPropertiesCommandAttributes { upserted_memo };
                raw(CommandType::ModifyWorkflowProperties, Attributes::ModifyWorkflowPropertiesCommandAttributes(attributes))
            }
            Order::Search => {
                let search_attributes = Some(SearchAttributes { indexed_fields: [("Word".to_string(), payload("\"value\""))].into() });
                let attributes = UpsertWorkflowSearchAttributesCommandAttributes { search_attributes };
                let kind = CommandType::UpsertWorkflowSearchAttributes;
                raw(kind, Attributes::UpsertWorkflowSearchAttributesCommandAttributes(attributes))
            }
            Order::Broken => Command { command_type: CommandType::StartTimer as i32, ..Default::default() },
            Order::Complete => complete(),
            Order::Fail { retryable } => {
                let failure = failure_with("failed", |f| f.non_retryable = !retryable);
                FailWorkflowExecutionCommandAttributes { failure: Some(failure) }.command()
            }
            Order::Cancel => cancel(),
            Order::ContinueAsNew { flavor } => with(continue_as_new(), |c| {
                let request = self.start_request(0, *flavor, None);
                c.cron_schedule = request.cron_schedule;
                c.retry_policy = request.retry_policy;
                c.workflow_run_timeout = request.workflow_run_timeout;
                c.backoff_start_interval = request.workflow_start_delay;
            })
            .command(),
        }
    }

    fn child(&self, id: u8, policy: u8, reuse: u8, flavor: Flavor) -> Command {
        let policy = ParentClosePolicy::try_from(i32::from(policy)).unwrap_or_default();
        with(child(IDS[usize::from(id)], policy), |c| {
            let request = self.start_request(id, flavor, None);
            c.workflow_id_reuse_policy = i32::from(reuse);
            c.cron_schedule = request.cron_schedule;
            c.retry_policy = request.retry_policy;
            c.workflow_run_timeout = request.workflow_run_timeout;
            c.workflow_execution_timeout = request.workflow_execution_timeout;
        })
        .command()
    }

    // --- the end ---

    /// From now on everything works: messages arrive, workers answer, time passes. Every run must end.
    pub(crate) fn heal(&mut self) {
        self.release();
        for _ in 0..HEALING_ROUNDS {
            self.heal_at_once();
            if self.world.runs.values().all(|run| !run.execution.is_open()) {
                break;
            }
            self.world.advance(HEALING_STEP);
            self.look();
            self.wake_idle_runs();
        }
        for run in self.world.runs.values() {
            let text = || history::history_text(&self.world, run.execution.key().run);
            assert!(!run.execution.is_open(), "a run cannot end: {:?}\n{}", run.execution.key(), text());
        }
        assert!(self.world.outbox.is_empty(), "messages stay: {:?}", self.world.outbox);
        assert!(self.world.offers.is_empty(), "offers stay: {:?}", self.world.offers);
        assert!(self.asked.is_empty(), "queries stay: {:?}", self.asked);
    }

    /// Operators let go of what they hold.
    fn release(&mut self) {
        for id in self.world.runs.keys().copied().collect::<Vec<_>>() {
            let run = &self.world.runs[&id].execution;
            let (open, paused, holds) = (run.is_open(), run.is_paused(), !run.state().progress.activities.is_empty());
            if paused {
                self.world.apply_to(id, Input::Unpause(operator(""))).expect("a paused run goes on");
                self.look();
            }
            if open && holds {
                let all = operation(ActivitySelector::All, Operation::Unpause { reset: false });
                // None is left if the ends of all wait in the buffer.
                let answer = self.world.apply_to(id, all);
                assert!(matches!(answer, Ok(_) | Err(Refusal::NotFound(_))), "activities go on: {answer:?}");
                self.look();
            }
        }
    }

    /// A workflow that has done its part waits for news: here is some.
    fn wake_idle_runs(&mut self) {
        for id in self.world.runs.keys().copied().collect::<Vec<_>>() {
            let run = &self.world.runs[&id].execution;
            if run.is_open() && run.state().progress.main.task.is_none() {
                let signal = self.signal_request(None);
                self.world.apply_to(id, Input::Signal(Box::new(signal))).expect("an open run takes a signal");
                self.look();
            }
        }
    }

    /// How a well-behaved workflow ends its chain: a cron chain outlives everything but a cancellation.
    fn last_command(&self, run: RunId) -> Command {
        let execution = &self.world.runs[&run].execution;
        let (derived, id) = (&execution.state().derived, &execution.key().workflow.workflow_id);
        if derived.main.cancel_requested || id == IDS[3] || !derived.start.event().cron_schedule.is_empty() {
            cancel()
        } else if id == IDS[4] {
            let failure = failure_with("healed", |f| f.non_retryable = true);
            FailWorkflowExecutionCommandAttributes { failure: Some(failure) }.command()
        } else {
            complete()
        }
    }

    /// Does all that can be done without waiting. A workflow ends by its first task.
    fn heal_at_once(&mut self) {
        for _ in 0..200 {
            if !self.world.outbox.is_empty() {
                let delivered = (0..self.world.outbox.len()).any(|n| self.world.deliver_nth(n));
                if delivered {
                    self.look();
                    continue;
                }
            }
            let Some(offer) = self.world.offers.first().cloned() else { return };
            let poller = self.world.poller();
            match offer.queue.kind {
                QueueKind::Workflow => {
                    let Some(task) = self.world.start_workflow_task(&offer, poller) else {
                        assert!(offer.volatile, "offers on the table are wanted");
                        self.world.offers.retain(|o| *o != offer);
                        continue;
                    };
                    let command = self.last_command(offer.run.run);
                    self.complete(&task, vec![command], Manner { answers: true, ..Manner::default() });
                }
                QueueKind::Activity => {
                    let task = self.world.start_activity_task(&offer, poller).expect("offers on the table are wanted");
                    self.world.complete_activity(&task, "done").expect("a good attempt is taken");
                }
                QueueKind::Nexus => unreachable!("Nexus tasks are never offered"),
            }
            self.look();
        }
        panic!("the world does not come to rest");
    }
}

fn fields() -> BTreeMap<String, Payload> {
    [("key".to_string(), payload("value"))].into()
}

fn raw(kind: CommandType, attributes: Attributes) -> Command {
    Command { command_type: kind as i32, attributes: Some(attributes), ..Default::default() }
}

fn shape(a: &mut sempre_api::v1::command::ScheduleActivityTaskCommandAttributes, work: Work) {
    let once = Some(RetryPolicy { maximum_attempts: 1, ..Default::default() });
    match work {
        Work::Plain => a.retry_policy = once,
        Work::Retried => a.retry_policy = retry(0),
        Work::RetriedTwice => {
            a.retry_policy = retry(3);
            a.schedule_to_close_timeout = duration(30);
        }
        Work::Heartbeats => a.heartbeat_timeout = duration(3),
        Work::Queued => a.schedule_to_start_timeout = duration(8),
        Work::Hurried => {
            a.start_to_close_timeout = None;
            a.schedule_to_close_timeout = duration(7);
        }
        Work::Eager => a.request_eager_execution = true,
        Work::Bad => a.task_queue = Some(TaskQueue { name: "/_sys/no".into(), ..Default::default() }),
    }
}

fn operation(which: ActivitySelector, how: Operation) -> Input {
    match how {
        Operation::Pause => Input::PauseActivity(which, operator("")),
        Operation::Unpause { reset } => {
            Input::UnpauseActivity(which, Box::new(UnpauseActivity { reset_attempts: reset, ..Default::default() }))
        }
        Operation::Reset { keep_paused } => Input::ResetActivity(which, Box::new(ResetActivity { keep_paused, ..Default::default() })),
    }
}

/// The `n`th, going round.
fn nth<T>(list: &[T], n: u8) -> Option<&T> {
    if list.is_empty() { None } else { list.get(usize::from(n) % list.len()) }
}

/// The `n`th from the end, if there are that many.
fn latest<T>(list: &[T], n: u8) -> Option<&T> {
    list.iter().rev().nth(usize::from(n))
}
