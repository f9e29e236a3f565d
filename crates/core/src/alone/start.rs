//! How both kinds of runs without workflow begin: what a start finds under its id, and the first event.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec::Vec,
};

use bytes::Bytes;
use sempre_api::v1::{
    common::Link,
    enums::WorkflowExecutionStatus,
    history::{HistoryEvent, WorkflowExecutionStartedEventAttributes, history_event::Attributes},
    sdk::UserMetadata,
};

use crate::{
    Context, Execution, Refusal, RunId, RunKey, Transition,
    attach::{self, Attached},
    state::{State, progress::ProgressMain},
    step::Step,
    transition::{CurrentRecord, Reply},
};

/// A checked request for a run without workflow.
pub(crate) trait StartRequest: Sized {
    /// Its idempotency key.
    fn request_id(&self) -> &str;
    /// A run of the id that is open is what is wanted.
    fn shares_open(&self) -> bool;
    /// Whether an id may be used whose run has ended.
    fn reuse(&self) -> Reuse;
    /// What a run gets that is open already. `None`: nothing.
    fn attached(self) -> Option<Attached>;
    /// What is said when the id is taken by this run.
    fn taken_by(current: &CurrentRecord) -> Refusal;
}

/// Whether an id may be used whose run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// It may.
    Always,
    /// If the run has not completed.
    AfterFailure,
    /// It may not.
    Never,
}

/// What a start comes to.
pub(crate) enum Found<R> {
    /// That run, and what was attached to it.
    Run(RunId, Option<Box<Transition>>),
    /// A new run.
    Nothing(R),
}

/// What there is for a request. `current` is the record of the id's last run, `open` that run if it has not ended.
pub(crate) fn find<R: StartRequest>(
    current: Option<&CurrentRecord>,
    open: Option<&mut Execution>,
    request: R,
    cx: &mut Context<'_>,
) -> Result<Found<R>, Refusal> {
    if let Some(current) = current {
        let request_id = request.request_id();
        if current.start_request_id == request_id || current.attached_request_ids.iter().any(|attached| attached == request_id) {
            return Ok(Found::Run(current.run(), None));
        }
        if let Some(run) = open {
            if !request.shares_open() {
                return Err(R::taken_by(current));
            }
            let existing = request.attached().map(|attached| attach::attach(run, attached, cx)).transpose()?;
            return Ok(Found::Run(current.run(), existing.map(Box::new)));
        }
        let is_free = match request.reuse() {
            Reuse::Always => true,
            Reuse::AfterFailure => has_failed(current.status),
            Reuse::Never => false,
        };
        if !is_free {
            return Err(R::taken_by(current));
        }
    }
    cx.gate.room(cx.namespace, cx.limits, false)?;
    Ok(Found::Nothing(request))
}

fn has_failed(status: i32) -> bool {
    use WorkflowExecutionStatus::{Canceled, Failed, Terminated, TimedOut};
    [Failed, Canceled, Terminated, TimedOut].iter().any(|failed| *failed as i32 == status)
}

/// What the first event of a run says.
pub(crate) struct First {
    /// Idempotency key of the start.
    pub(crate) request_id: String,
    /// Links of the event.
    pub(crate) links: Vec<Link>,
    /// `user_metadata` of the event.
    pub(crate) user_metadata: Option<UserMetadata>,
    /// The event, but for what follows from the run's key.
    pub(crate) started: WorkflowExecutionStartedEventAttributes,
}

/// Makes a run. `own` sets what only runs of its kind have; `schedule` writes the second event.
pub(crate) fn create(
    key: RunKey,
    first: First,
    own: impl FnOnce(&mut ProgressMain),
    schedule: impl FnOnce(&mut Step<'_, '_>),
    cx: &mut Context<'_>,
) -> (Execution, Transition) {
    let run_id = format!("{}", key.run);
    let workflow_id = key.workflow.workflow_id.clone();
    let mut execution = Execution {
        key,
        state: State { derived: Default::default(), progress: Default::default(), dirty: Default::default() },
        signal_ids: BTreeSet::new(),
        queries: BTreeMap::new(),
        updates: Vec::new(),
        pages: None,
    };
    let mut step = Step::new(&mut execution, cx);
    let now = step.now();
    let main = &mut step.run.state.progress.main;
    main.attempt = 1;
    main.start_request_id = first.request_id;
    main.namespace_id = Bytes::copy_from_slice(&step.run.key.workflow.namespace.0.0);
    // There is no workflow to give a task to.
    main.held = true;
    own(main);
    let started = WorkflowExecutionStartedEventAttributes {
        original_execution_run_id: run_id.clone(),
        first_execution_run_id: run_id,
        attempt: 1,
        workflow_id,
        ..first.started
    };
    step.write(HistoryEvent {
        event_time: Some(now.to_api()),
        links: first.links,
        user_metadata: first.user_metadata,
        attributes: Some(Attributes::WorkflowExecutionStartedEventAttributes(Box::new(started))),
        ..Default::default()
    });
    schedule(&mut step);
    step.out.current = Some(step.current_record());
    step.listed();
    let transition = step.finish(Ok(Reply::Done));
    (execution, transition)
}
