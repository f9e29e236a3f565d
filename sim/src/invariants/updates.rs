//! Updates: each is accepted once and answered once, in that order; what a client was told is what its run's history says; and
//! what was rejected has left no trace.

use std::collections::BTreeMap;

use sempre_api::v1::{history::history_event::Attributes, update::outcome::Value};

use crate::{
    ending::{Ending, Run},
    handlers,
    oracle::Said,
    script::text_of,
};

/// What a history says of an update.
#[derive(Debug, Default)]
struct Story {
    accepted: Vec<i64>,
    completed: Vec<(i64, Option<Said>)>,
}

fn stories(run: &Run) -> BTreeMap<String, Story> {
    let mut stories: BTreeMap<String, Story> = BTreeMap::new();
    for event in &run.events {
        match &event.attributes {
            Some(Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(a)) => {
                stories.entry(a.protocol_instance_id.clone()).or_default().accepted.push(event.event_id);
            }
            Some(Attributes::WorkflowExecutionUpdateCompletedEventAttributes(a)) => {
                let id = a.meta.as_ref().map(|meta| meta.update_id.clone()).unwrap_or_default();
                let said = a.outcome.as_ref().and_then(|outcome| outcome.value.as_ref()).map(|value| match value {
                    Value::Success(payloads) => Said::Success(text_of(Some(payloads))),
                    Value::Failure(failure) => Said::Failure(failure.message.clone()),
                });
                stories.entry(id).or_default().completed.push((a.accepted_event_id, said));
            }
            _ => {}
        }
    }
    stories
}

pub(super) fn check(ending: &Ending) -> Vec<String> {
    let mut found = Vec::new();
    let stories: BTreeMap<&str, BTreeMap<String, Story>> = ending.runs.iter().map(|run| (&run.id[..], stories(run))).collect();
    for (run, stories) in &stories {
        for (id, story) in stories {
            let in_turn = match (&story.accepted[..], &story.completed[..]) {
                ([_], []) => true,
                ([accepted], [(of, _)]) => accepted == of,
                _ => false,
            };
            if !in_turn {
                found.push(format!("{run} has {id} as {story:?}"));
            }
            if handlers::rejects(id) {
                found.push(format!("{run} has accepted {id}, which its workflow rejects"));
            }
        }
    }
    for update in &ending.oracle.updates {
        let story = stories.get(&update.run[..]).and_then(|stories| stories.get(&update.id));
        let holds = match &update.said {
            Some(success @ Said::Success(_)) => {
                story.is_some_and(|story| story.completed.iter().any(|(_, said)| said.as_ref() == Some(success)))
            }
            // Rejected, or its run closed before it had an answer.
            Some(Said::Failure(text)) => *text != handlers::rejection(&update.id) || story.is_none(),
            None => !update.accepted || story.is_some(),
        };
        if !holds {
            found.push(format!(
                "of {} in {} {} was said {:?}, accepted: {}; its history says {story:?}",
                update.id, update.workflow, update.run, update.said, update.accepted
            ));
        }
    }
    found
}
