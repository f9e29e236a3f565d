//! The border between what clients call search attributes and the fields that histories and state have them under
//! ([`sempre_core::visibility::Registry`]): in on requests, out on answers. Behind it there are fields only. Nothing is
//! looked at in namespaces that have renamed none.

use std::sync::Arc;

use sempre_api::{
    History,
    v1::{
        command::Command,
        common::SearchAttributes,
        history::{HistoryEvent, history_event::Attributes},
        schedule::{Schedule, schedule_action},
    },
};
use sempre_core::{NamespaceId, visibility::Registry};

use super::search_attributes::set_by_mut;
use crate::{namespaces::Namespace, shared::Shared};

/// Names as clients say them become fields.
pub(super) fn said(namespace: &Namespace, attributes: Option<&mut SearchAttributes>) {
    if let Some(attributes) = attributes {
        namespace.attributes.to_fields(&mut attributes.indexed_fields);
    }
}

/// Of the commands of a workflow task.
pub(super) fn said_by(namespace: &Namespace, commands: &mut [Command]) {
    if namespace.attributes.is_plain() {
        return;
    }
    for command in commands {
        said(namespace, command.attributes.as_mut().and_then(set_by_mut));
    }
}

/// Of the action of a schedule.
pub(super) fn said_of(namespace: &Namespace, schedule: &mut Schedule) {
    said(namespace, of_action(schedule));
}

/// Fields become names, as clients see them.
pub(crate) fn shown(namespace: &Namespace, attributes: Option<&mut SearchAttributes>) {
    if let Some(attributes) = attributes {
        namespace.attributes.to_names(&mut attributes.indexed_fields);
    }
}

/// Of the action of a schedule.
pub(super) fn shown_of(namespace: &Namespace, schedule: &mut Schedule) {
    shown(namespace, of_action(schedule));
}

fn of_action(schedule: &mut Schedule) -> Option<&mut SearchAttributes> {
    match schedule.action.as_mut()?.action.as_mut()? {
        schedule_action::Action::StartWorkflow(start) => start.search_attributes.as_mut(),
    }
}

/// What an event says of search attributes.
fn of_event(event: &mut HistoryEvent) -> Option<&mut SearchAttributes> {
    match event.attributes.as_mut()? {
        Attributes::WorkflowExecutionStartedEventAttributes(a) => a.search_attributes.as_mut(),
        Attributes::WorkflowExecutionContinuedAsNewEventAttributes(a) => a.search_attributes.as_mut(),
        Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(a) => a.search_attributes.as_mut(),
        Attributes::UpsertWorkflowSearchAttributesEventAttributes(a) => a.search_attributes.as_mut(),
        _ => None,
    }
}

fn show_events(registry: &Registry, history: History) -> History {
    let Ok(mut events) = history.events() else {
        // Who reads it finds the damage.
        return history;
    };
    let mut some = false;
    for event in &mut events {
        if let Some(attributes) = of_event(event) {
            registry.to_names(&mut attributes.indexed_fields);
            some = true;
        }
    }
    if some { History::from_events(&events) } else { history }
}

impl Shared {
    /// The namespace, if names of its attributes have to be translated.
    fn renamed(&self, id: NamespaceId) -> Option<Arc<Namespace>> {
        self.namespaces.by_id(id).filter(|namespace| !namespace.attributes.is_plain())
    }

    /// History as clients see it.
    pub(crate) fn shown_history(&self, id: NamespaceId, history: History) -> History {
        match self.renamed(id) {
            Some(namespace) => show_events(&namespace.attributes, history),
            None => history,
        }
    }
}
