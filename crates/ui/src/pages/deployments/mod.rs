//! Worker deployments: their versions, which is current, which ramps, what drains.

pub(crate) mod actions;

use maud::{Markup, html};
use sempre_api::v1::{
    deployment::WorkerDeploymentVersion,
    enums::{VersionDrainageStatus, WorkerDeploymentVersionStatus},
    workflowservice::{DescribeWorkerDeploymentRequest, ListWorkerDeploymentsRequest},
};

use crate::{
    layout::{Live, Page, Section, action, crumbs, heading, page_token, pager},
    pages::run::quoted,
    route::Answer,
    show::{self, badge, facts, words},
    visit::Visit,
};

const PAGE: i32 = 100;
const LOOK_SECONDS: u32 = 10;

fn build(version: Option<&WorkerDeploymentVersion>) -> Markup {
    html! { @match version { Some(version) => { (show::id(&version.build_id)) } None => { span.muted { "none" } } } }
}

/// All of them.
pub(crate) async fn list(visit: &Visit<'_>, namespace: &str) -> Answer {
    let request = ListWorkerDeploymentsRequest { namespace: namespace.to_owned(), page_size: PAGE, next_page_token: page_token(visit) };
    let answer = visit.ask(request).await?;
    let body = html! {
        (heading(html! { "Deployments" }, html! {}))
        div.table-wrap { table {
            thead { tr { th { "Name" } th { "Current version" } th { "Ramping version" } th { "Made" } } }
            tbody #rows data-live {
                @for deployment in &answer.worker_deployments {
                    @let routing = deployment.routing_config.clone().unwrap_or_default();
                    tr data-key=(deployment.name) {
                        th scope="row" { a.id href=(visit.link(&["namespaces", namespace, "worker-deployments", &deployment.name])) title=(deployment.name) { (deployment.name) } }
                        td data-label="Current version" { (build(routing.current_deployment_version.as_ref())) }
                        td data-label="Ramping version" { (build(routing.ramping_deployment_version.as_ref())) @if routing.ramping_deployment_version.is_some() { " " span.muted { (routing.ramping_version_percentage) " %" } } }
                        td data-label="Made" { (visit.times.show(deployment.create_time.as_ref())) }
                    }
                }
                @if answer.worker_deployments.is_empty() { tr data-key="none" { td colspan="4" { (show::empty("No deployments", html! { p { "Workers that name a deployment and a build id are here: runs stay with their version, and new code can be ramped up." } })) } } }
            }
        } }
        (pager(visit, &["namespaces", namespace, "worker-deployments"], &[], &answer.next_page_token))
    };
    Ok(Page::new(namespace, Section::Deployments, format!("Deployments · {namespace}"), body).live(Live::Every(LOOK_SECONDS)).answer(visit))
}

/// One of them, with its versions.
pub(crate) async fn one(visit: &Visit<'_>, namespace: &str, name: &str) -> Answer {
    let request = DescribeWorkerDeploymentRequest { namespace: namespace.to_owned(), deployment_name: name.to_owned() };
    let info = visit.ask(request).await?.worker_deployment_info.unwrap_or_default();
    let routing = info.routing_config.clone().unwrap_or_default();
    let about = facts(&[
        ("Current version", build(routing.current_deployment_version.as_ref())),
        ("Since", visit.times.full(routing.current_version_changed_time.as_ref())),
        (
            "Ramping version",
            html! { (build(routing.ramping_deployment_version.as_ref())) @if routing.ramping_deployment_version.is_some() { " " (routing.ramping_version_percentage) " %" } },
        ),
        ("Made", visit.times.full(info.create_time.as_ref())),
        ("Last changed by", html! { (info.last_modifier_identity) }),
        ("Managed by", html! { @if info.manager_identity.is_empty() { span.muted { "nobody" } } @else { (info.manager_identity) } }),
    ]);
    let link = |act: &str, build_id: &str| {
        visit.link_with(&["namespaces", namespace, "worker-deployments", name, "do", act], &[("build", build_id)])
    };
    let body = html! {
        (crumbs(&[("Deployments", visit.link(&["namespaces", namespace, "worker-deployments"]))]))
        (heading(show::copyable(name), html! { span #actions data-live {
            @if routing.ramping_deployment_version.is_some() || routing.ramping_version_percentage > 0.0 { (action(&link("end-ramp", ""), "End the ramp", "")) " " }
            @if routing.current_deployment_version.is_some() { (action(&link("no-current", ""), "Unset current", "")) }
        } }))
        section.panel #facts data-live { (about) }
        section.panel { h2 { "Versions" }
            div.table-wrap { table {
                thead { tr { th { "Build id" } th { "Status" } th { "Drained" } th { "Made" } th { "Current since" } th { "Runs" } th { "Actions" } } }
                tbody #rows data-live {
                    @for version in &info.version_summaries {
                        @let of = version.deployment_version.clone().unwrap_or_default();
                        @let status = WorkerDeploymentVersionStatus::try_from(version.status).unwrap_or_default();
                        @let drained = VersionDrainageStatus::try_from(version.drainage_status).unwrap_or_default();
                        @let query = format!("TemporalWorkerDeploymentVersion = {}", quoted(&format!("{}:{}", of.deployment_name, of.build_id)));
                        tr data-key=(of.build_id) {
                            th scope="row" { (show::id(&of.build_id)) }
                            td data-label="Status" { (badge(tone(status), &words(status.as_str_name(), "WORKER_DEPLOYMENT_VERSION_STATUS_"))) }
                            td data-label="Drained" { @if drained != VersionDrainageStatus::Unspecified { (words(drained.as_str_name(), "VERSION_DRAINAGE_STATUS_")) } }
                            td data-label="Made" { (visit.times.show(version.create_time.as_ref())) }
                            td data-label="Current since" { (visit.times.show(version.current_since_time.as_ref())) }
                            td data-label="Runs" { a href=(visit.link_with(&["namespaces", namespace, "workflows"], &[("query", query.as_str())])) { "Show" } }
                            td data-label="Actions" {
                                @if status != WorkerDeploymentVersionStatus::Current {
                                    (action(&link("current", &of.build_id), "Make current", "")) " " (action(&link("ramp", &of.build_id), "Ramp", ""))
                                    @if status != WorkerDeploymentVersionStatus::Ramping { " " (action(&link("delete", &of.build_id), "Delete", "red")) }
                                }
                            }
                        }
                    }
                }
            } }
        }
        p.muted { code { "sempre worker deployment set-current-version --check" } " makes a version current after its workers have replayed open runs." }
    };
    Ok(Page::new(namespace, Section::Deployments, format!("{name} · {namespace}"), body).live(Live::Every(LOOK_SECONDS)).answer(visit))
}

fn tone(status: WorkerDeploymentVersionStatus) -> &'static str {
    use WorkerDeploymentVersionStatus as S;
    match status {
        S::Current => "green",
        S::Ramping => "blue",
        S::Draining => "yellow",
        _ => "gray",
    }
}
