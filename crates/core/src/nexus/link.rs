//! Links as Nexus writes them: URLs with the name of the message as their type (spec 08 §5.4 step 2).

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use sempre_api::v1::{
    common::{
        Link,
        link::{
            self, WorkflowEvent,
            workflow_event::{EventReference, Reference, RequestIdReference},
        },
    },
    enums::EventType,
    nexus,
};

/// Type of links to operations that belong to no workflow.
const NEXUS_OPERATION: &str = "temporal.api.common.v1.Link.NexusOperation";
/// Type of links to activities that belong to no workflow.
const ACTIVITY: &str = "temporal.api.common.v1.Link.Activity";
/// Type of links to events.
pub const WORKFLOW_EVENT: &str = "temporal.api.common.v1.Link.WorkflowEvent";
const SCHEME: &str = "temporal://";

/// As Nexus writes it; `None` for what it has no URL for.
pub fn to_nexus(link: &Link) -> Option<nexus::Link> {
    let event = match link.variant.as_ref()? {
        link::Variant::WorkflowEvent(event) => event,
        link::Variant::NexusOperation(to) => {
            return Some(details(NEXUS_OPERATION, &to.namespace, "nexus-operations", &to.operation_id, &to.run_id));
        }
        link::Variant::Activity(to) => return Some(details(ACTIVITY, &to.namespace, "activities", &to.activity_id, &to.run_id)),
        _ => return None,
    };
    let name = |event_type: i32| format!("{:?}", EventType::try_from(event_type).unwrap_or_default());
    let query = match event.reference.as_ref()? {
        Reference::EventRef(to) => {
            let id = if to.event_id > 0 { format!("eventID={}&", to.event_id) } else { String::new() };
            format!("{id}eventType={}&referenceType=EventReference", name(to.event_type))
        }
        Reference::RequestIdRef(to) => {
            format!("eventType={}&referenceType=RequestIdReference&requestID={}", name(to.event_type), escaped(&to.request_id))
        }
    };
    let (namespace, id, run) = (escaped(&event.namespace), escaped(&event.workflow_id), escaped(&event.run_id));
    let url = format!("{SCHEME}/namespaces/{namespace}/workflows/{id}/{run}/history?{query}");
    Some(nexus::Link { url, r#type: WORKFLOW_EVENT.into() })
}

/// A link to what has no history.
fn details(kind: &str, namespace: &str, of: &str, id: &str, run: &str) -> nexus::Link {
    let url = format!("{SCHEME}/namespaces/{}/{of}/{}/{}/details", escaped(namespace), escaped(id), escaped(run));
    nexus::Link { url, r#type: kind.into() }
}

/// Back from it; `None` for types that are not known, and for what is not well formed: links are a convenience.
pub fn from_nexus(link: &nexus::Link) -> Option<Link> {
    match link.r#type.as_str() {
        WORKFLOW_EVENT => event_of(link),
        NEXUS_OPERATION => {
            let [namespace, operation_id, run_id] = details_of(link, "nexus-operations")?;
            let operation = link::NexusOperation { namespace, operation_id, run_id };
            Some(Link { variant: Some(link::Variant::NexusOperation(operation)) })
        }
        ACTIVITY => {
            let [namespace, activity_id, run_id] = details_of(link, "activities")?;
            Some(Link { variant: Some(link::Variant::Activity(link::Activity { namespace, activity_id, run_id })) })
        }
        _ => None,
    }
}

/// Namespace, id and run of a link to what has no history.
fn details_of(link: &nexus::Link, of: &str) -> Option<[String; 3]> {
    let parts: Vec<&str> = link.url.strip_prefix(SCHEME)?.split('/').collect();
    let ["", "namespaces", namespace, kind, id, run, "details"] = parts[..] else { return None };
    if kind != of || [namespace, id, run].iter().any(|part| part.is_empty()) {
        return None;
    }
    Some([unescaped(namespace)?, unescaped(id)?, unescaped(run)?])
}

fn event_of(link: &nexus::Link) -> Option<Link> {
    let (path, query) = link.url.strip_prefix(SCHEME)?.split_once('?')?;
    let parts: Vec<&str> = path.split('/').collect();
    let ["", "namespaces", namespace, "workflows", workflow_id, run_id, "history"] = parts[..] else { return None };
    if [namespace, workflow_id, run_id].iter().any(|part| part.is_empty()) {
        return None;
    }
    let value = |name: &str| {
        let mut values = query.split('&').filter_map(|pair| pair.split_once('='));
        values.find(|(key, _)| *key == name).map(|(_, value)| unescaped(&value.replace('+', "%20")))
    };
    let event_type = event_type(&value("eventType")??)? as i32;
    let reference = match value("referenceType")??.as_str() {
        "EventReference" => {
            let event_id = match value("eventID") {
                Some(id) => id?.parse().ok()?,
                None => 0,
            };
            Reference::EventRef(EventReference { event_id, event_type })
        }
        "RequestIdReference" => Reference::RequestIdRef(RequestIdReference { request_id: value("requestID")??, event_type }),
        _ => return None,
    };
    Some(Link {
        variant: Some(link::Variant::WorkflowEvent(WorkflowEvent {
            namespace: unescaped(namespace)?,
            workflow_id: unescaped(workflow_id)?,
            run_id: unescaped(run_id)?,
            reference: Some(reference),
        })),
    })
}

/// Those of an answer that are understood.
pub fn all_from_nexus(links: &[nexus::Link]) -> Vec<Link> {
    links.iter().filter_map(from_nexus).collect()
}

/// `WorkflowExecutionStarted`, or the long name.
fn event_type(name: &str) -> Option<EventType> {
    if let Some(event_type) = EventType::from_str_name(name) {
        return Some(event_type);
    }
    let mut long = String::from("EVENT_TYPE");
    for (at, c) in name.chars().enumerate() {
        if at == 0 || c.is_ascii_uppercase() {
            long.push('_');
        }
        long.push(c.to_ascii_uppercase());
    }
    EventType::from_str_name(&long)
}

/// Everything but letters, digits and `-_.~` as `%XX`.
pub fn escaped(value: &str) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Back from it; `None` when an escape is cut or the bytes are no text.
pub fn unescaped(value: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            other => other,
        });
    }
    core::str::from_utf8(&out).ok().map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(reference: Reference) -> Link {
        let event =
            WorkflowEvent { namespace: "de fault".into(), workflow_id: "w/1%ü".into(), run_id: "r".into(), reference: Some(reference) };
        Link { variant: Some(link::Variant::WorkflowEvent(event)) }
    }

    #[test]
    fn links_to_events_read_back() {
        let scheduled = event(Reference::EventRef(EventReference { event_id: 5, event_type: EventType::NexusOperationScheduled as i32 }));
        let nexus = to_nexus(&scheduled).expect("a link to an event");
        let path = "temporal:///namespaces/de%20fault/workflows/w%2F1%25%C3%BC/r/history";
        assert_eq!(nexus.url, format!("{path}?eventID=5&eventType=NexusOperationScheduled&referenceType=EventReference"));
        assert_eq!(from_nexus(&nexus), Some(scheduled));
        let request = RequestIdReference { request_id: "a b&c".into(), event_type: EventType::WorkflowExecutionOptionsUpdated as i32 };
        let options = event(Reference::RequestIdRef(request));
        let nexus = to_nexus(&options).expect("a link to an event");
        assert!(nexus.url.ends_with("?eventType=WorkflowExecutionOptionsUpdated&referenceType=RequestIdReference&requestID=a%20b%26c"));
        assert_eq!(from_nexus(&nexus), Some(options));
        let zero = event(Reference::EventRef(EventReference { event_id: 0, event_type: 1 }));
        assert_eq!(to_nexus(&zero).and_then(|link| from_nexus(&link)), Some(zero));
    }

    #[test]
    fn links_to_what_has_no_history_read_back() {
        let id = || ("de fault".into(), "o/1".into(), "r".into());
        let (namespace, operation_id, run_id) = id();
        let operation = link::Variant::NexusOperation(link::NexusOperation { namespace, operation_id, run_id });
        let (namespace, activity_id, run_id) = id();
        let activity = link::Variant::Activity(link::Activity { namespace, activity_id, run_id });
        for (variant, url) in [
            (operation, "temporal:///namespaces/de%20fault/nexus-operations/o%2F1/r/details"),
            (activity, "temporal:///namespaces/de%20fault/activities/o%2F1/r/details"),
        ] {
            let given = Link { variant: Some(variant) };
            let nexus = to_nexus(&given).expect("a link that has a URL");
            assert_eq!((nexus.url.as_str(), from_nexus(&nexus)), (url, Some(given)));
        }
        for url in ["temporal:///namespaces/n/activities/o/r/details", "temporal:///namespaces/n/nexus-operations//r/details", "x"] {
            assert_eq!(from_nexus(&nexus::Link { url: url.into(), r#type: NEXUS_OPERATION.into() }), None, "{url}");
        }
    }

    #[test]
    fn other_links_are_left_alone() {
        let path = "temporal:///namespaces/n/workflows/w/r/history";
        for (url, kind) in [
            (format!("{path}?eventType=Nothing&referenceType=EventReference"), WORKFLOW_EVENT),
            (format!("{path}?eventType=TimerFired&referenceType=Other"), WORKFLOW_EVENT),
            (format!("{path}?eventType=TimerFired"), WORKFLOW_EVENT),
            (format!("{path}?eventID=x&eventType=TimerFired&referenceType=EventReference"), WORKFLOW_EVENT),
            ("temporal:///namespaces/n/workflows/w/history?a=b".into(), WORKFLOW_EVENT),
            ("http:///namespaces/n/workflows/w/r/history?eventType=TimerFired&referenceType=EventReference".into(), WORKFLOW_EVENT),
            (format!("{path}?eventType=TimerFired&referenceType=EventReference"), "other"),
        ] {
            let link = nexus::Link { url: url.clone(), r#type: kind.into() };
            assert_eq!(from_nexus(&link), None, "{url}");
        }
        let plus = nexus::Link {
            url: format!("{path}?referenceType=RequestIdReference&eventType=EVENT_TYPE_TIMER_FIRED&requestID=a+b"),
            r#type: WORKFLOW_EVENT.into(),
        };
        assert!(from_nexus(&plus).is_some_and(|link| to_nexus(&link).is_some_and(|again| again.url.ends_with("requestID=a%20b"))));
    }
}
