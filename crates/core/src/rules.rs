//! Workflow rules (`CreateWorkflowRule`): an activity that a rule's predicate fits is paused before its next attempt.
//!
//! | moment | what is looked at | a rule fits |
//! |---|---|---|
//! | a worker is about to get the first attempt | the activity as scheduled | paused, the worker gets nothing |
//! | an attempt has failed and another would follow | as of the failed attempt | paused, with the next attempt's number |
//! | the back-off of a retry is over | the attempt to come | paused instead of offered |
//!
//! A predicate is a list query over the fields of [`FIELDS`] and `TaskQueue`; which runs a rule is about, one over what lists
//! know of runs. Of several rules that fit the first by id counts. Activities without workflow have no rules.

use alloc::{
    borrow::ToOwned,
    collections::BTreeMap,
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};

use sempre_api::v1::{
    common::Payload,
    rules::{self, workflow_rule_action, workflow_rule_spec},
};

use crate::{
    Timestamp,
    activity::{self, Options},
    state::{ActivityInfo, ActivityPause, ActivityProgress},
    step::Step,
    visibility::{self, AttributeType, Attributes, Division, Filter, ParseOptions, QueryError, Record, json_string},
};

/// Fields of predicates beside `TaskQueue`, by the names of the API's description and by those of Temporal's server.
const FIELDS: [(&str, AttributeType); 8] = [
    ("ActivityType", AttributeType::Keyword),
    ("ActivityId", AttributeType::Keyword),
    ("ActivityState", AttributeType::Keyword),
    ("ActivityStatus", AttributeType::Keyword),
    ("Attempts", AttributeType::Int),
    ("ActivityAttempt", AttributeType::Int),
    ("BackoffInterval", AttributeType::Int),
    ("StartedTime", AttributeType::Datetime),
];

struct Fields;

impl Attributes for Fields {
    fn attribute(&self, name: &str) -> Option<AttributeType> {
        FIELDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }
}

/// A rule in force.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkflowRule {
    id: String,
    /// It does nothing any more from then on.
    expires: Option<Timestamp>,
    /// Which runs; `None`: all.
    runs: Option<Filter>,
    /// Which of their activities; `None`: it has no trigger and does nothing.
    activities: Option<Filter>,
    /// It has an action, of which there is one.
    pauses: bool,
    created_by: String,
    description: String,
}

/// The rules of a namespace that has none.
pub fn no_rules() -> Arc<[WorkflowRule]> {
    Arc::from(Vec::new())
}

impl WorkflowRule {
    /// Reads what a rule says.
    pub fn of(rule: &rules::WorkflowRule, attributes: &dyn Attributes) -> Result<Self, QueryError> {
        let spec = rule.spec.clone().unwrap_or_default();
        let options = ParseOptions { division: Division::Any, ..ParseOptions::default() };
        let filter = |text: &str, attributes: &dyn Attributes| visibility::parse(text, attributes, options).map(|query| query.filter);
        let activities = match &spec.trigger {
            None => None,
            // A rule about every activity says so: Temporal's server takes an empty predicate for a mistake.
            Some(workflow_rule_spec::Trigger::ActivityStart(trigger)) => match filter(&trigger.predicate, &Fields)? {
                Some(filter) => Some(filter),
                None => return Err(QueryError::Invalid("the predicate of the trigger is empty".into())),
            },
        };
        let pauses = |action: &rules::WorkflowRuleAction| matches!(action.variant, Some(workflow_rule_action::Variant::ActivityPause(_)));
        Ok(Self {
            id: spec.id,
            expires: spec.expiration_time.as_ref().map(Timestamp::from_api),
            runs: filter(&spec.visibility_query, attributes)?,
            activities,
            pauses: spec.actions.iter().any(pauses),
            created_by: rule.created_by_identity.clone(),
            description: rule.description.clone(),
        })
    }

    fn fits(&self, now: Timestamp, run: &Record, activity: &Record) -> bool {
        let Some(activities) = self.activities.as_ref().filter(|_| self.pauses) else { return false };
        self.expires.is_none_or(|at| at >= now) && self.runs.as_ref().is_none_or(|runs| runs.matches(run)) && activities.matches(activity)
    }
}

/// What predicates see of an activity.
fn picture(info: &ActivityInfo, progress: &ActivityProgress, task_queue: &str) -> Record {
    let scheduled = info.scheduled();
    let state = match (progress.pause.is_some(), info.cancel_requested_event_id != 0, progress.is_started()) {
        (true, ..) => "Paused",
        (_, _, true) => "Started",
        (_, true, false) => "CancelRequested",
        _ => "Scheduled",
    };
    let mut fields: BTreeMap<String, Payload> = BTreeMap::new();
    let mut set = |names: &[&str], kind: AttributeType, json: String| {
        for name in names {
            fields.insert((*name).to_owned(), visibility::health::payload(kind, json.clone()));
        }
    };
    let kind = scheduled.activity_type.as_ref().map_or("", |kind| kind.name.as_str());
    set(&["ActivityType"], AttributeType::Keyword, json_string(kind));
    set(&["ActivityId"], AttributeType::Keyword, json_string(&scheduled.activity_id));
    set(&["ActivityState", "ActivityStatus"], AttributeType::Keyword, json_string(state));
    set(&["Attempts", "ActivityAttempt"], AttributeType::Int, progress.attempt.to_string());
    if progress.attempt > 1 {
        let interval = progress.due().since(Timestamp(progress.last_attempt_complete_time));
        set(&["BackoffInterval"], AttributeType::Int, (interval.0 / 1_000_000_000).to_string());
    }
    if progress.is_started() {
        let started = visibility::format_datetime(Timestamp(progress.started_time));
        set(&["StartedTime"], AttributeType::Datetime, json_string(&started));
    }
    Record { task_queue: task_queue.into(), search_attributes: fields, ..Record::default() }
}

/// Pauses a pending activity that is not paused if a rule says so. Whoever has the attempt goes on.
pub(crate) fn pauses(step: &mut Step<'_, '_>, scheduled_event_id: i64) -> bool {
    if step.cx.namespace.rules.is_empty() || step.run.is_standalone() {
        return false;
    }
    let rules = step.cx.namespace.rules.clone();
    let now = step.now();
    let state = &step.run.state;
    let (Some(info), Some(progress)) =
        (state.derived.activities.get(&scheduled_event_id), state.progress.activities.get(&scheduled_event_id))
    else {
        return false;
    };
    if progress.pause.is_some() {
        return false;
    }
    let options = Options::of(info, progress);
    let queue = Some(options.task_queue()).filter(|name| !name.is_empty()).unwrap_or_else(|| state.derived.start.task_queue());
    let activity = picture(info, progress, queue);
    let run = step.run.record();
    let Some(rule) = rules.iter().find(|rule| rule.fits(now, &run, &activity)) else { return false };
    let pause = ActivityPause {
        time: now.0,
        identity: rule.created_by.clone(),
        reason: rule.description.clone(),
        request_id: String::new(),
        rule_id: rule.id.clone(),
    };
    activity::operate::put_pause(step, scheduled_event_id, pause);
    true
}

/// What [`QueryError`] is told as.
pub fn refused(error: &QueryError) -> crate::Refusal {
    crate::Refusal::InvalidArgument(format!("Workflow Rule cannot be used: {}", error.detail()))
}
