//! A run shows the search attributes that it was given: those of its start, changed by what its workflow has said since.

use std::collections::BTreeMap;

use sempre_api::v1::{
    common::{Payload, SearchAttributes},
    history::history_event::Attributes,
};

use crate::{
    ending::{Ending, Run},
    script::{STAGE, TASKS},
};

/// Those of the script, by name, as JSON.
type Said = BTreeMap<String, String>;

fn read(set: Option<&SearchAttributes>) -> impl Iterator<Item = (&String, &Payload)> {
    set.into_iter().flat_map(|set| &set.indexed_fields).filter(|(name, _)| [STAGE, TASKS].contains(&&name[..]))
}

fn text(value: &Payload) -> String {
    String::from_utf8_lossy(&value.data).into_owned()
}

/// By the history of a run.
pub(super) fn of(run: &Run) -> Said {
    let mut said: Said =
        read(run.started().and_then(|start| start.search_attributes.as_ref())).map(|(n, v)| (n.clone(), text(v))).collect();
    for event in &run.events {
        let Some(Attributes::UpsertWorkflowSearchAttributesEventAttributes(a)) = &event.attributes else { continue };
        for (name, value) in read(a.search_attributes.as_ref()) {
            match text(value) {
                nothing if nothing == "null" => said.remove(name),
                value => said.insert(name.clone(), value),
            };
        }
    }
    said
}

pub(super) fn check(ending: &Ending) -> Vec<String> {
    let Some(lists) = &ending.lists else { return Vec::new() };
    let mut found = Vec::new();
    for row in lists.listed.get("").into_iter().flatten() {
        let id = row.execution.as_ref().map(|execution| &execution.run_id[..]).unwrap_or_default();
        // Who is not in the list is missed there.
        let Some(run) = ending.run(id) else { continue };
        let shown: Said = read(row.search_attributes.as_ref()).map(|(name, value)| (name.clone(), text(value))).collect();
        let said = of(run);
        if shown != said {
            found.push(format!("the list shows {id} with {shown:?}, and it has said {said:?}"));
        }
    }
    found
}
