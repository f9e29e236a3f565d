//! What every page has around it: where one is, where one can go, how things look.

use bytes::Bytes;
use http::{Response, StatusCode};
use maud::{DOCTYPE, Markup, html};

use crate::{
    answer::{codec, codec_token, page},
    show::{TimeStyle, icon},
    visit::{Visit, written},
};

/// The part of a namespace that a page belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Workflows,
    Attention,
    Alerts,
    Activities,
    Schedules,
    TaskQueues,
    Workers,
    Deployments,
    Batches,
    Namespaces,
    Settings,
}

/// Sections of a namespace: the path, which names its icon as well, and the name.
const SECTIONS: [(Section, &str, &str); 9] = [
    (Section::Workflows, "workflows", "Workflows"),
    (Section::Activities, "activities", "Activities"),
    (Section::Attention, "attention", "Attention"),
    (Section::Alerts, "alerts", "Alerts"),
    (Section::Schedules, "schedules", "Schedules"),
    (Section::TaskQueues, "task-queues", "Task queues"),
    (Section::Workers, "workers", "Workers"),
    (Section::Deployments, "worker-deployments", "Deployments"),
    (Section::Batches, "batch-operations", "Batch operations"),
];

/// How a page stays true while it is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Live {
    /// It does not change, or only when asked.
    #[default]
    Still,
    /// What changes is told by a stream of events; then the page is read again.
    Stream(String),
    /// It is read again after so many seconds.
    Every(u32),
    /// Both.
    StreamAndEvery(String, u32),
}

/// A page before its surroundings.
pub(crate) struct Page<'p> {
    pub(crate) title: String,
    pub(crate) namespace: &'p str,
    pub(crate) section: Section,
    pub(crate) live: Live,
    pub(crate) body: Markup,
}

impl<'p> Page<'p> {
    pub(crate) fn new(namespace: &'p str, section: Section, title: impl Into<String>, body: Markup) -> Self {
        Self { title: title.into(), namespace, section, live: Live::Still, body }
    }

    pub(crate) fn live(self, live: Live) -> Self {
        Self { live, ..self }
    }

    pub(crate) fn answer(self, visit: &Visit) -> Response<Bytes> {
        self.answer_as(visit, StatusCode::OK)
    }

    pub(crate) fn answer_as(self, visit: &Visit, status: StatusCode) -> Response<Bytes> {
        let markup = self.whole(visit);
        page(visit, status, markup)
    }

    fn whole(&self, visit: &Visit) -> Markup {
        let theme = match visit.cookie("sempre_theme") {
            theme @ ("light" | "dark") => theme,
            _ => "auto",
        };
        let file = |name: &str| visit.link(&["ui", visit.ui.0.assets.name(name)]);
        let (stream, every) = match &self.live {
            Live::Still => (None, None),
            Live::Stream(link) => (Some(link.as_str()), None),
            Live::Every(seconds) => (None, Some(*seconds)),
            Live::StreamAndEvery(link, seconds) => (Some(link.as_str()), Some(*seconds)),
        };
        let namespace = if self.namespace.is_empty() { visit.cookie("sempre_namespace") } else { self.namespace };
        html! {
            (DOCTYPE)
            html lang="en" data-theme=(theme) {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) " · Sempre" }
                    link rel="icon" type="image/svg+xml" href=(file("icon.svg"));
                    link rel="stylesheet" href=(file("app.css"));
                    script defer src=(file("app.js")) {}
                }
                body data-base=(visit.ui.0.settings.public_path) data-namespace=(namespace) data-stream=[stream] data-every=[every]
                    data-zone=(if visit.times.zone_is_known { "known" } else { "" })
                    data-codec=[codec(visit)] data-codec-credentials=[Some(visit.cookie("sempre_codec_credentials")).filter(|c| !c.is_empty())] data-codec-token=[codec_token(visit)] {
                    a.skip href="#main" { "Skip to content" }
                    header.top {
                        a.brand href=(visit.link(&[])) { span.brand-mark aria-hidden="true" {} "Sempre" }
                        @if !namespace.is_empty() {
                            a.namespace href=(visit.link(&["namespaces"])) title="Change namespace" {
                                span.visually-hidden { "Namespace " } (namespace) (icon("open"))
                            }
                        }
                        @if self.live != Live::Still {
                            span.live #live-state role="status" data-state="waiting" title="This page updates itself" { span.live-dot aria-hidden="true" {} span.live-text { "Live" } }
                        }
                        span.grow {}
                        (preferences(visit))
                    }
                    @if !namespace.is_empty() {
                        nav.side aria-label="Sections" {
                            @for (section, path, name) in SECTIONS {
                                a href=(visit.link(&["namespaces", namespace, path])) aria-current=[(section == self.section).then_some("page")] {
                                    (icon(path)) span { (name) }
                                }
                            }
                        }
                    }
                    main #main tabindex="-1" {
                        @if let Some(text) = flash(visit.query("done")) { p.flash role="status" { (text) } }
                        (self.body)
                    }
                }
            }
        }
    }
}

fn preferences(visit: &Visit) -> Markup {
    let settings = visit.link_with(&["settings"], &[("back", visit.target.as_str())]);
    let style = TimeStyle::ALL.iter().find(|(style, _, _)| *style == visit.times.style).map_or("", |(_, _, name)| *name);
    html! {
        a.top-link href=(settings) title=(format!("Times: {style}. Change how things look, and the codec server")) { (icon("settings")) span.wide { "Settings" } }
    }
}

/// What a page says of what has just been done. Only texts of this list are shown.
fn flash(done: &str) -> Option<&'static str> {
    let texts = [
        ("signal", "The signal was sent."),
        ("cancel", "The workflow was asked to cancel."),
        ("terminate", "The workflow was terminated."),
        ("reset", "This is the new run. It goes on from the point you chose."),
        ("fork", "This is the new run. It goes on from the event you chose."),
        ("pause", "The workflow is paused."),
        ("unpause", "The workflow goes on."),
        ("delete", "The run was deleted."),
        ("start", "The workflow was started."),
        ("activity-pause", "The activity is paused."),
        ("activity-unpause", "The activity goes on."),
        ("activity-run-now", "The activity is offered to workers now."),
        ("activity-reset", "The activity begins anew, with its first attempt."),
        ("activity-cancel", "The activity was asked to cancel."),
        ("activity-terminate", "The activity was terminated."),
        ("activity-delete", "The activity was deleted."),
        ("alert-test", "A test is on its way."),
        ("alert-set", "The rule is in force."),
        ("alert-delete", "The rule was deleted."),
        ("activity-complete", "The activity was completed."),
        ("activity-fail", "The activity was failed."),
        ("activity-options", "The activity's options were changed."),
        ("batch", "The batch operation was started."),
        ("batch-stop", "The batch operation was stopped."),
        ("schedule-create", "The schedule was created."),
        ("schedule-update", "The schedule was changed."),
        ("schedule-pause", "The schedule is paused."),
        ("schedule-unpause", "The schedule goes on."),
        ("schedule-trigger", "The schedule's action was taken."),
        ("schedule-backfill", "The backfill was asked for; its actions are taken now."),
        ("schedule-delete", "The schedule was deleted."),
        ("deployment-current", "The version is current."),
        ("deployment-no-current", "No version is current any more."),
        ("deployment-ramp", "The version ramps."),
        ("deployment-end-ramp", "The ramp has ended."),
        ("deployment-delete", "The version was deleted."),
        ("settings", "The settings were saved in this browser."),
    ];
    texts.iter().find(|(name, _)| *name == done).map(|(_, text)| *text)
}

/// A title with what one can do there.
pub(crate) fn heading(title: Markup, actions: Markup) -> Markup {
    html! { div.heading { h1 { (title) } div.actions { (actions) } } }
}

/// The way back, above a title.
pub(crate) fn crumbs(steps: &[(&str, String)]) -> Markup {
    html! { nav.crumbs aria-label="Breadcrumb" { @for (name, link) in steps { a href=(link) { (name) } span aria-hidden="true" { "/" } } } }
}

/// A link to an action's form, which opens above the page where scripts run.
pub(crate) fn action(link: &str, name: &str, tone: &str) -> Markup {
    html! { a.button href=(link) data-dialog data-tone=(tone) { (name) } }
}

/// The form of an action: on a page of its own, or above another.
pub(crate) struct Form<'f> {
    pub(crate) title: &'f str,
    /// What will happen.
    pub(crate) text: Markup,
    /// Where it is sent.
    pub(crate) to: String,
    pub(crate) fields: Markup,
    /// The name of its button.
    pub(crate) send: &'f str,
    /// It cannot be taken back.
    pub(crate) danger: bool,
    /// Where one goes on if one does not want to.
    pub(crate) back: String,
}

impl Form<'_> {
    pub(crate) fn show(&self, visit: &Visit, error: Option<&str>) -> Markup {
        html! {
            form.form method="post" action=(self.to) data-form {
                h1 { (self.title) }
                div.form-text { (self.text) }
                @if let Some(error) = error { p.error role="alert" { (error) } }
                (visit.token_field())
                (self.fields)
                div.form-end {
                    button.primary type="submit" data-tone=(if self.danger { "red" } else { "" }) { (self.send) }
                    a.button href=(self.back) data-close { "Do nothing" }
                }
            }
        }
    }
}

/// A line of text to fill in.
pub(crate) fn text_field(name: &str, label: &str, value: &str, hint: &str) -> Markup {
    html! {
        label.field { span.label { (label) } input type="text" name=(name) value=(value) autocomplete="off" spellcheck="false";
            @if !hint.is_empty() { span.hint { (hint) } } }
    }
}

/// As [`text_field`], that must not stay empty.
pub(crate) fn required_field(name: &str, label: &str, value: &str, hint: &str) -> Markup {
    html! {
        label.field { span.label { (label) } input type="text" name=(name) value=(value) required autocomplete="off" spellcheck="false";
            @if !hint.is_empty() { span.hint { (hint) } } }
    }
}

/// JSON to fill in.
pub(crate) fn json_field(name: &str, label: &str, value: &str) -> Markup {
    html! {
        label.field { span.label { (label) } textarea name=(name) data-json rows="5" spellcheck="false" placeholder="{\"name\": \"value\"}" { (value) }
            span.hint { "JSON, one value for each argument, below each other. Empty: none." } }
    }
}

/// A choice.
pub(crate) fn select_field(name: &str, label: &str, value: &str, options: &[(&str, &str)]) -> Markup {
    html! {
        label.field { span.label { (label) } select name=(name) {
            @for (option, text) in options { option value=(option) selected[*option == value] { (text) } } } }
    }
}

/// A box to tick.
pub(crate) fn check_field(name: &str, label: &str, ticked: bool) -> Markup {
    html! { label.check { input type="checkbox" name=(name) value="yes" checked[ticked]; span { (label) } } }
}

/// Links to the next and the first page of a list.
pub(crate) fn pager(visit: &Visit, path: &[&str], query: &[(&str, &str)], next: &[u8]) -> Markup {
    let first = visit.query("page").is_empty();
    let token = hex(next);
    let next_link = visit.link_with(path, &[query, &[("page", token.as_str())]].concat());
    html! {
        nav.pager aria-label="Pages" {
            @if !first { a.button href=(visit.link_with(path, query)) { "First page" } }
            @if !next.is_empty() { a.button rel="next" href=(next_link) { "Next page" } }
        }
    }
}

/// The page token of the query.
pub(crate) fn page_token(visit: &Visit) -> Bytes {
    unhex(visit.query("page")).unwrap_or_default().into()
}

/// Bytes as a form or link carries them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What [`hex`] made; `None` of anything else.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// The stream of a namespace's runs that match a query.
pub(crate) fn runs_stream(visit: &Visit, namespace: &str, query: &str) -> Live {
    let link = visit.link(&["api", "v1", "namespaces", namespace, "workflow-stream"]);
    Live::Stream(format!("{link}?{}", written(&[("query", query), ("pageSize", "1")])))
}
