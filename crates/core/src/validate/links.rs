//! Links of requests: how many, how large, and complete enough to be followed (spec 01 §3.1, 09 §3).

use alloc::format;

use prost::Message;
use sempre_api::v1::{
    common::{
        Link,
        link::{Variant, workflow_event::Reference},
    },
    enums::EventType,
    update,
    workflowservice::{StartNexusOperationExecutionRequest, StartWorkflowExecutionRequest},
};

use crate::Refusal;

/// Links of one request (`frontend.maxlinksPerRequest`).
pub const LINKS_MAX: usize = 10;
/// Bytes of one link (`frontend.linkMaxSize`).
pub const LINK_BYTES_MAX: usize = 4000;

/// Checks the links of a request.
pub fn links(links: &[Link]) -> Result<(), Refusal> {
    all(links.iter())
}

/// Checks the links of a start and of its callbacks together. What a Nexus callback links to is not linked twice.
pub(super) fn of_start(request: &mut StartWorkflowExecutionRequest) -> Result<(), Refusal> {
    let StartWorkflowExecutionRequest { links, completion_callbacks, .. } = request;
    let of_callbacks = completion_callbacks.iter().flat_map(|callback| &callback.links);
    links.retain(|link| !of_callbacks.clone().any(|other| other == link));
    all(links.iter().chain(of_callbacks))
}

/// Checks the links of an update and of its callbacks together, as [`of_start`] does.
pub fn of_update(request: &mut update::Request) -> Result<(), Refusal> {
    let update::Request { links, completion_callbacks, .. } = request;
    let of_callbacks = completion_callbacks.iter().flat_map(|callback| &callback.links);
    links.retain(|link| !of_callbacks.clone().any(|other| other == link));
    all(links.iter().chain(of_callbacks))
}

/// Checks the links of the start of a Nexus operation and of its callbacks together, as [`of_start`] does.
pub fn of_operation(request: &mut StartNexusOperationExecutionRequest) -> Result<(), Refusal> {
    let StartNexusOperationExecutionRequest { links, completion_callbacks, .. } = request;
    let of_callbacks = completion_callbacks.iter().flat_map(|callback| &callback.links);
    links.retain(|link| !of_callbacks.clone().any(|other| other == link));
    all(links.iter().chain(of_callbacks))
}

/// Checks links that a request has in several places.
fn all<'l>(links: impl Iterator<Item = &'l Link> + Clone) -> Result<(), Refusal> {
    let count = links.clone().count();
    if count > LINKS_MAX {
        return Err(Refusal::InvalidArgument(format!("cannot attach more than {LINKS_MAX} links per request, got {count}")));
    }
    for link in links {
        let bytes = link.encoded_len();
        if bytes > LINK_BYTES_MAX {
            return Err(Refusal::InvalidArgument(format!("link exceeds allowed size of {LINK_BYTES_MAX}, got {bytes}")));
        }
        fields(link)?;
    }
    Ok(())
}

fn fields(link: &Link) -> Result<(), Refusal> {
    let set = |what: &str, field: &str, value: &str| match value {
        "" => Err(Refusal::InvalidArgument(format!("{what} link must not have an empty {field}"))),
        _ => Ok(()),
    };
    match &link.variant {
        Some(Variant::WorkflowEvent(l)) => {
            set("workflow event", "namespace field", &l.namespace)?;
            set("workflow event", "workflow ID field", &l.workflow_id)?;
            set("workflow event", "run ID field", &l.run_id)?;
            match &l.reference {
                Some(Reference::EventRef(event)) if event.event_type == EventType::Unspecified as i32 && event.event_id != 0 => {
                    Err(Refusal::invalid("workflow event link ref cannot have an unspecified event type and a non-zero event ID"))
                }
                _ => Ok(()),
            }
        }
        Some(Variant::BatchJob(l)) => set("batch job", "job ID", &l.job_id),
        Some(Variant::Activity(l)) => {
            set("activity", "namespace field", &l.namespace)?;
            set("activity", "activity ID field", &l.activity_id)?;
            set("activity", "run ID field", &l.run_id)
        }
        Some(Variant::NexusOperation(l)) => {
            set("nexus operation", "namespace field", &l.namespace)?;
            set("nexus operation", "operation ID field", &l.operation_id)?;
            set("nexus operation", "run ID field", &l.run_id)
        }
        Some(Variant::Workflow(l)) => {
            set("workflow", "namespace field", &l.namespace)?;
            set("workflow", "workflow ID field", &l.workflow_id)?;
            set("workflow", "run ID field", &l.run_id)
        }
        Some(Variant::Callback(_)) | None => Err(Refusal::invalid("unsupported link variant")),
    }
}

#[cfg(test)]
mod tests {
    use alloc::{string::String, vec};

    use sempre_api::v1::common::link;

    use super::*;

    fn text(variant: Option<Variant>) -> String {
        match links(&[Link { variant }]) {
            Ok(()) => String::new(),
            Err(Refusal::InvalidArgument(text)) => text,
            Err(other) => format!("{other:?}"),
        }
    }

    fn event() -> link::WorkflowEvent {
        link::WorkflowEvent { namespace: "n".into(), workflow_id: "w".into(), run_id: "r".into(), reference: None }
    }

    #[test]
    fn a_link_names_what_it_leads_to() {
        assert_eq!(text(None), "unsupported link variant");
        assert_eq!(text(Some(Variant::WorkflowEvent(event()))), "");
        let cases = [
            (link::WorkflowEvent { namespace: String::new(), ..event() }, "workflow event link must not have an empty namespace field"),
            (link::WorkflowEvent { workflow_id: String::new(), ..event() }, "workflow event link must not have an empty workflow ID field"),
            (link::WorkflowEvent { run_id: String::new(), ..event() }, "workflow event link must not have an empty run ID field"),
        ];
        for (link, expected) in cases {
            assert_eq!(text(Some(Variant::WorkflowEvent(link))), expected);
        }
        let reference = Some(Reference::EventRef(link::workflow_event::EventReference { event_id: 3, event_type: 0 }));
        assert_eq!(
            text(Some(Variant::WorkflowEvent(link::WorkflowEvent { reference, ..event() }))),
            "workflow event link ref cannot have an unspecified event type and a non-zero event ID"
        );
        assert_eq!(text(Some(Variant::BatchJob(Default::default()))), "batch job link must not have an empty job ID");
        assert_eq!(text(Some(Variant::Activity(Default::default()))), "activity link must not have an empty namespace field");
    }

    #[test]
    fn there_are_at_most_ten() {
        let link = Link { variant: Some(Variant::WorkflowEvent(event())) };
        assert!(links(&vec![link.clone(); 10]).is_ok());
        assert!(links(&vec![link; 11]).is_err());
    }
}
