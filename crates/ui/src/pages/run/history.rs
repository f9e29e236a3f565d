//! The history of a run: as the things that happened, as events, or as JSON. A page begins at any event.

use std::collections::BTreeMap;

use maud::{Markup, html};
use sempre_api::{
    json::{self, Payloads},
    v1::{history::HistoryEvent, workflow::WorkflowExecutionInfo},
};

use super::{
    Place, events_from,
    pieces::{self, Kind, Outcome, Piece},
};
use crate::{
    show,
    visit::{Problem, Visit},
};

/// Events on a page.
const PAGE: i64 = 100;
const VIEWS: [(&str, &str); 3] = [("grouped", "Grouped"), ("compact", "Events"), ("json", "JSON")];

pub(super) async fn part(visit: &Visit<'_>, place: &Place<'_>, info: &WorkflowExecutionInfo) -> Result<Markup, Problem> {
    let view = VIEWS.iter().find(|(name, _)| *name == visit.query("view")).map_or("grouped", |(name, _)| *name);
    let newest_first = visit.query("order") == "newest";
    let last = info.history_length.max(1);
    let asked = visit.query("event").parse::<i64>().ok().or_else(|| visit.query("from").parse().ok());
    let from = match asked {
        Some(event) => (event.clamp(1, last) - 1) / PAGE * PAGE + 1,
        None if newest_first => (last - 1) / PAGE * PAGE + 1,
        None => 1,
    };
    let mut events = events_from(visit, place, from, usize::try_from(PAGE).unwrap_or_default()).await?;
    if newest_first {
        events.reverse();
    }
    let marked: i64 = visit.query("event").parse().unwrap_or(0);
    let order = if newest_first { "newest" } else { "" };
    let link = |view: &str, order: &str, from: i64| {
        let from = from.to_string();
        visit.link_with(
            &["namespaces", place.namespace, "workflows", place.id, place.run, "history"],
            &[("view", view), ("order", order), ("from", from.as_str())],
        )
    };
    let shown = match view {
        "json" => whole(&events),
        "compact" => html! { ol.events #events data-live { @for event in &events { (one(visit, place, event, marked)) } } },
        _ => html! { ol.events #events data-live { @for group in groups(&events) { (grouped(visit, place, &group, marked)) } } },
    };
    let (before, after) = (from > 1, from + PAGE <= last);
    let page_of = |from: i64| link(view, order, from);
    let newest_page = (last - 1) / PAGE * PAGE + 1;
    let pager = |name: &'static str| {
        html! {
            nav.pager aria-label=(name) {
                @if last > PAGE {
                    span.muted { "Events " (show::count(from)) "–" (show::count((from + PAGE - 1).min(last))) " of " (show::count(last)) }
                    @if before { a.button href=(page_of(1)) { "First" } a.button rel="prev" href=(page_of(from - PAGE)) { "Earlier" } }
                    @if after { a.button rel="next" href=(page_of(from + PAGE)) { "Later" } a.button href=(page_of(newest_page)) { "Last" } }
                }
            }
        }
    };
    Ok(html! {
        div.toolbar {
            div.switch role="group" aria-label="View" {
                @for (name, title) in VIEWS { a href=(link(name, order, from)) aria-current=[(name == view).then_some("true")] { (title) } }
            }
            div.switch role="group" aria-label="Order" {
                a href=(link(view, "", 1)) aria-current=[(!newest_first).then_some("true")] { "Oldest first" }
                a href=(link(view, "newest", newest_page)) aria-current=[newest_first.then_some("true")] { "Newest first" }
            }
            form.jump method="get" action=(place.link(visit, &["history"])) {
                input type="hidden" name="view" value=(view); input type="hidden" name="order" value=(order);
                label { "Event " input type="number" name="event" min="1" max=(last) value=[(marked > 0).then_some(marked)] required; }
                button type="submit" { "Go" }
            }
            span.grow {}
            (pager("Pages"))
        }
        (shown)
        (pager("Pages, below"))
    })
}

/// The events of a page that belong to one thing.
struct Group<'e> {
    key: i64,
    kind: Kind,
    name: String,
    outcome: Option<(Outcome, String)>,
    step: Option<&'static str>,
    events: Vec<&'e HistoryEvent>,
}

fn groups(events: &[HistoryEvent]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group> = Vec::new();
    let mut places: BTreeMap<i64, usize> = BTreeMap::new();
    for event in events {
        let piece = pieces::of(event);
        let key = match &piece {
            Piece::Open { .. } | Piece::Point { .. } => event.event_id,
            Piece::Step { key, .. } | Piece::Close { key, .. } => *key,
        };
        let at = *places.entry(key).or_insert_with(|| {
            groups.push(Group { key, kind: Kind::Other, name: String::new(), outcome: None, step: None, events: Vec::new() });
            groups.len() - 1
        });
        let group = &mut groups[at];
        group.events.push(event);
        match piece {
            Piece::Open { kind, name } => (group.kind, group.name) = (kind, name),
            Piece::Point { kind, name, outcome } => (group.kind, group.name, group.outcome) = (kind, name, Some((outcome, String::new()))),
            Piece::Step { what, .. } => group.step = Some(what),
            Piece::Close { outcome, text, .. } => group.outcome = Some((outcome, text)),
        }
    }
    groups
}

fn grouped(visit: &Visit, place: &Place, group: &Group, marked: i64) -> Markup {
    let Some(first) = group.events.first() else { return html! {} };
    let is_marked = group.events.iter().any(|event| event.event_id == marked);
    let name = if group.name.is_empty() { pieces::event_name(first) } else { group.name.clone() };
    // A task that went as it should is of little interest.
    let quiet = group.kind == Kind::WorkflowTask && !matches!(group.outcome, Some((Outcome::Failed | Outcome::TimedOut, _)));
    html! {
        li.event.quiet[quiet] data-key=(format!("{} {} {}", group.key, group.events.len(), group.outcome.is_some())) {
            details open[is_marked] id=[is_marked.then(|| format!("event-{marked}"))] {
                summary {
                    span.event-id { (first.event_id) }
                    span.kind data-kind=(group.kind.name()) { (group.kind.name()) }
                    span.event-name { (name) }
                    @if group.name.is_empty() && group.kind == Kind::Other && group.key != first.event_id { span.muted { "of event " (group.key) } }
                    @match &group.outcome {
                        Some((outcome, text)) if *outcome != Outcome::Done || !text.is_empty() => { span.dot-text data-tone=(outcome.tone()) { (outcome.name()) } @if !text.is_empty() { span.muted.event-text { (text) } } }
                        Some(_) => {}
                        None => { @if let Some(step) = group.step { span.dot-text data-tone="blue" { (step) } } }
                    }
                    span.event-time { (visit.times.show(first.event_time.as_ref())) }
                }
                @for event in &group.events { (details(visit, place, event)) }
            }
        }
    }
}

fn one(visit: &Visit, place: &Place, event: &HistoryEvent, marked: i64) -> Markup {
    let is_marked = event.event_id == marked;
    let (kind, name) = match pieces::of(event) {
        Piece::Open { kind, name } | Piece::Point { kind, name, .. } => (Some(kind), name),
        Piece::Step { key, .. } => (None, format!("of event {key}")),
        Piece::Close { key, text, .. } if text.is_empty() => (None, format!("of event {key}")),
        Piece::Close { key, text, .. } => (None, format!("of event {key}: {text}")),
    };
    html! {
        li.event data-key=(event.event_id) {
            details open[is_marked] id=[is_marked.then(|| format!("event-{marked}"))] {
                summary {
                    span.event-id { (event.event_id) }
                    span.event-name { (pieces::event_name(event)) }
                    span.event-text.muted title=[kind.map(Kind::name)] { (name) }
                    span.event-time { (visit.times.show(event.event_time.as_ref())) }
                }
                (details(visit, place, event))
            }
        }
    }
}

/// All that an event says.
fn details(visit: &Visit, place: &Place, event: &HistoryEvent) -> Markup {
    let value = json::to_value(event, Payloads::Full);
    let attributes =
        value.as_object().and_then(|object| object.iter().find(|(name, _)| name.ends_with("EventAttributes")).map(|(_, value)| value));
    let id = event.event_id.to_string();
    let link = |action, more: &[(&str, &str)]| {
        visit.link_with(&["namespaces", place.namespace, "workflows", place.id, place.run, "do", action], more)
    };
    let (fork, reset) = (link("fork", &[("event", &id)]), link("reset", &[("to", "event"), ("event", &id)]));
    html! {
        div.event-body {
            p.event-head { strong { (pieces::event_name(event)) } span.muted { " event " (event.event_id) ", " (visit.times.full(event.event_time.as_ref())) }
                a.button.small href=(reset) data-dialog { "Reset here" } a.button.small href=(fork) data-dialog { "Fork here" } }
            @if let Some(attributes) = attributes { (show::tree(attributes)) }
            @if let Some(metadata) = value.get("userMetadata") { (show::tree(metadata)) }
            @if let Some(links) = value.get("links") { p.muted { "Links" } (show::tree(links)) }
        }
    }
}

fn whole(events: &[HistoryEvent]) -> Markup {
    let texts = events.iter().map(|event| serde_json::to_string_pretty(&json::to_value(event, Payloads::Shorthand)).unwrap_or_default());
    html! { div.json #events data-live { @for (text, event) in texts.zip(events) { pre.payload data-key=(event.event_id) tabindex="0" { (text) } } } }
}

#[cfg(test)]
mod tests {
    use sempre_api::v1::history::{TimerFiredEventAttributes, TimerStartedEventAttributes, history_event::Attributes};

    use super::*;

    #[test]
    fn a_thing_is_one_group_wherever_its_events_stand() {
        let event = |event_id, attributes| HistoryEvent { event_id, attributes: Some(attributes), ..Default::default() };
        let started = Attributes::TimerStartedEventAttributes(TimerStartedEventAttributes { timer_id: "t".into(), ..Default::default() });
        let fired =
            |started_event_id| Attributes::TimerFiredEventAttributes(TimerFiredEventAttributes { started_event_id, ..Default::default() });
        let events = [event(5, started), event(6, fired(2)), event(7, fired(5))];
        let groups = groups(&events);
        let seen: Vec<_> = groups.iter().map(|group| (group.key, group.kind, group.events.len(), group.outcome.is_some())).collect();
        assert_eq!(seen, [(5, Kind::Timer, 2, true), (2, Kind::Other, 1, true)]);
    }
}
