//! What can be done to a worker deployment: which version new work goes to, and versions that go. Each form says first what will be
//! otherwise, and for how many runs.

use maud::{Markup, html};
use sempre_api::v1::{
    deployment::{RoutingConfig, WorkerDeploymentInfo, WorkerDeploymentVersion, worker_deployment_info::WorkerDeploymentVersionSummary},
    enums::VersionDrainageStatus,
    workflowservice::{
        CountWorkflowExecutionsRequest, DeleteWorkerDeploymentVersionRequest, DescribeWorkerDeploymentRequest,
        SetWorkerDeploymentCurrentVersionRequest, SetWorkerDeploymentRampingVersionRequest,
    },
};

use super::build;
use crate::{
    answer::redirect,
    layout::{Form, Page, Section, check_field, crumbs, hex, required_field, unhex},
    pages::run::quoted,
    route::Answer,
    show::{self, facts},
    visit::{IDENTITY, Problem, Visit},
};

/// An action: its title, what it does, the name of its button.
fn words(act: &str) -> Result<(&'static str, &'static str, &'static str), Problem> {
    Ok(match act {
        "current" => {
            ("Make current", "New runs, and the next tasks of runs that are upgraded by themselves, go to this version.", "Make it current")
        }
        "no-current" => (
            "Unset current",
            "New runs, and the next tasks of runs that are upgraded by themselves, go to workers without a version.",
            "Unset it",
        ),
        "ramp" => ("Ramp", "A part of the workflow ids goes to this version, the rest to the current one.", "Ramp it"),
        "end-ramp" => ("End the ramp", "All new work goes to the current version again.", "End it"),
        "delete" => ("Delete version", "The version goes from the deployment; workers of it that come back make it anew.", "Delete it"),
        _ => return Err(Problem(tonic::Status::not_found("Nothing of that name can be done to a deployment."))),
    })
}

/// Whether an action is about a version.
fn is_of_version(act: &str) -> bool {
    matches!(act, "current" | "ramp" | "delete")
}

/// The form of an action; the query's `build` says which version is meant.
pub(crate) async fn form(visit: &Visit<'_>, namespace: &str, name: &str, act: &str, error: Option<&str>) -> Answer {
    let (title, text, send) = words(act)?;
    let request = DescribeWorkerDeploymentRequest { namespace: namespace.to_owned(), deployment_name: name.to_owned() };
    let answer = visit.ask(request).await?;
    let info = answer.worker_deployment_info.unwrap_or_default();
    let build_id = visit.field("build").to_owned();
    let is_build =
        |version: &&WorkerDeploymentVersionSummary| version.deployment_version.as_ref().is_some_and(|version| version.build_id == build_id);
    let version = info.version_summaries.iter().find(is_build);
    if is_of_version(act) && version.is_none() {
        return Err(Problem(tonic::Status::not_found(format!("The deployment has no version {build_id:?}."))));
    }
    // What was seen when the form was asked for is what is changed.
    let token = if visit.is_post { visit.field("conflict").to_owned() } else { hex(&answer.conflict_token) };
    let fields = html! {
        input type="hidden" name="build" value=(build_id);
        input type="hidden" name="conflict" value=(token);
        @if act == "ramp" { (required_field("percentage", "Percent of the workflow ids", visit.field("percentage"), "0 to 100.")) }
        @if act == "delete" { (check_field("skip-drainage", "Even if runs may still be pinned to it", visit.is_post && visit.is_set("skip-drainage"))) }
        @if act != "delete" { (check_field("ignore-queues", "Even if task queues of the current version are unknown to it", visit.is_post && visit.is_set("ignore-queues"))) }
    };
    let page = visit.link(&["namespaces", namespace, "worker-deployments", name]);
    let preview = match (act, version) {
        ("delete", Some(version)) => of_delete(visit, namespace, version).await?,
        _ => of_routing(visit, namespace, name, &info, act, &build_id).await?,
    };
    let form = Form {
        title,
        text: html! { p { (text) } p { code { (name) @if is_of_version(act) { ":" (build_id) } } } (preview) },
        to: visit.link(&["namespaces", namespace, "worker-deployments", name, "do", act]),
        fields,
        send,
        danger: act == "delete",
        back: page.clone(),
    };
    let list = visit.link(&["namespaces", namespace, "worker-deployments"]);
    let body = html! { (crumbs(&[("Deployments", list), (name, page)])) (form.show(visit, error)) };
    Ok(Page::new(namespace, Section::Deployments, format!("{title} · {name}"), body).answer(visit))
}

/// Open runs that a filter selects, as a link to their list.
async fn open_runs(visit: &Visit<'_>, namespace: &str, filter: &str) -> Result<Markup, Problem> {
    let query = format!("{filter} AND ExecutionStatus = 'Running'");
    let count = visit.ask(CountWorkflowExecutionsRequest { namespace: namespace.to_owned(), query: query.clone() }).await?.count;
    let link = visit.link_with(&["namespaces", namespace, "workflows"], &[("query", query.as_str())]);
    Ok(html! { a href=(link) { (show::counted(count, "open run", "open runs")) } })
}

fn now(routing: &RoutingConfig) -> Markup {
    html! {
        (build(routing.current_deployment_version.as_ref()))
        @if routing.ramping_version_percentage > 0.0 { ", " (routing.ramping_version_percentage) " % " (build(routing.ramping_deployment_version.as_ref())) }
    }
}

/// Where new work goes now and then, and what that means for open runs.
async fn of_routing(
    visit: &Visit<'_>,
    namespace: &str,
    name: &str,
    info: &WorkerDeploymentInfo,
    act: &str,
    build_id: &str,
) -> Result<Markup, Problem> {
    let routing = info.routing_config.clone().unwrap_or_default();
    let version = WorkerDeploymentVersion { deployment_name: name.to_owned(), build_id: build_id.to_owned() };
    let then = match act {
        // A version that becomes current ramps no more.
        "current" if routing.ramping_deployment_version.as_ref() == Some(&version) => html! { (show::id(build_id)) },
        "current" => now(&RoutingConfig { current_deployment_version: Some(version), ..routing.clone() }),
        "no-current" => now(&RoutingConfig { current_deployment_version: None, ..routing.clone() }),
        "ramp" => html! { (build(routing.current_deployment_version.as_ref())) ", a part " (show::id(build_id)) },
        _ => build(routing.current_deployment_version.as_ref()),
    };
    let mut of_deployment = format!("TemporalWorkerDeployment = {}", quoted(name));
    if is_of_version(act) {
        // Those that have the version already go nowhere.
        of_deployment += &format!(" AND TemporalWorkerDeploymentVersion != {}", quoted(&format!("{name}:{build_id}")));
    }
    let filter = |behavior: &str| format!("{of_deployment} AND TemporalWorkflowVersioningBehavior = '{behavior}'");
    let (moving, pinned) = (filter("AutoUpgrade"), filter("Pinned"));
    let (moving, pinned) = futures::join!(open_runs(visit, namespace, &moving), open_runs(visit, namespace, &pinned));
    Ok(facts(&[
        ("New work goes to", now(&routing)),
        ("Then to", then),
        (if act == "ramp" { "May be upgraded, by the share" } else { "Upgraded with their next task" }, moving?),
        ("Pinned, and stay where they are", pinned?),
    ]))
}

/// Who still needs a version that is to go.
async fn of_delete(visit: &Visit<'_>, namespace: &str, version: &WorkerDeploymentVersionSummary) -> Result<Markup, Problem> {
    let of = version.deployment_version.clone().unwrap_or_default();
    let filter = format!("TemporalWorkerDeploymentVersion = {}", quoted(&format!("{}:{}", of.deployment_name, of.build_id)));
    let drained = VersionDrainageStatus::try_from(version.drainage_status).unwrap_or_default();
    Ok(facts(&[
        ("Made", visit.times.full(version.create_time.as_ref())),
        (
            "Drained",
            html! { @if drained == VersionDrainageStatus::Unspecified { "It had no work to drain" } @else { (show::words(drained.as_str_name(), "VERSION_DRAINAGE_STATUS_")) } },
        ),
        ("Runs of it", open_runs(visit, namespace, &filter).await?),
    ]))
}

/// Does it.
pub(crate) async fn send(visit: &Visit<'_>, namespace: &str, name: &str, act: &str) -> Answer {
    words(act)?;
    match change(visit, namespace, name, act).await {
        Ok(()) => {
            let done = format!("deployment-{act}");
            Ok(redirect(&visit.link_with(&["namespaces", namespace, "worker-deployments", name], &[("done", done.as_str())])))
        }
        Err(problem) => match form(visit, namespace, name, act, Some(problem.0.message())).await {
            Ok(answer) => Ok(answer),
            Err(_) => Err(problem),
        },
    }
}

async fn change(visit: &Visit<'_>, namespace: &str, name: &str, act: &str) -> Result<(), Problem> {
    let (namespace, deployment_name, identity) = (namespace.to_owned(), name.to_owned(), IDENTITY.to_owned());
    let build_id = visit.field("build").to_owned();
    if is_of_version(act) && build_id.is_empty() {
        return Err(Problem::invalid("The form does not say which version is meant."));
    }
    let conflict_token =
        unhex(visit.field("conflict")).ok_or_else(|| Problem::invalid("The form is damaged; load the page again."))?.into();
    let ignore_missing_task_queues = visit.is_set("ignore-queues");
    match act {
        "delete" => {
            let request = DeleteWorkerDeploymentVersionRequest {
                namespace,
                deployment_version: Some(WorkerDeploymentVersion { deployment_name, build_id }),
                skip_drainage: visit.is_set("skip-drainage"),
                identity,
                ..Default::default()
            };
            visit.ask(request).await?;
        }
        "current" | "no-current" => {
            let request = SetWorkerDeploymentCurrentVersionRequest {
                namespace,
                deployment_name,
                build_id: if act == "current" { build_id } else { String::new() },
                conflict_token,
                identity,
                ignore_missing_task_queues,
                ..Default::default()
            };
            visit.ask(request).await?;
        }
        _ => {
            let percentage: f32 = if act == "ramp" { visit.number("percentage")? } else { 0.0 };
            let request = SetWorkerDeploymentRampingVersionRequest {
                namespace,
                deployment_name,
                build_id: if act == "ramp" { build_id } else { String::new() },
                percentage,
                conflict_token,
                identity,
                ignore_missing_task_queues,
                ..Default::default()
            };
            visit.ask(request).await?;
        }
    }
    Ok(())
}
