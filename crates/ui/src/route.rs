//! From a path to the page that answers it.

use bytes::Bytes;
use http::{Method, Response, StatusCode, request::Parts};
use tonic::Status;

use crate::{Ui, answer, pages, token, visit::Problem, visit::Visit};

/// What a page gives back.
pub(crate) type Answer = Result<Response<Bytes>, Problem>;

/// Answers one request.
pub(crate) async fn answer(ui: &Ui, parts: &Parts, body: &[u8]) -> Response<Bytes> {
    let Some(visit) = Visit::new(ui, parts, body) else {
        return answer::with_type(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", "the path is not escaped as in URLs\n");
    };
    let answered = match parts.method {
        Method::GET | Method::HEAD => dispatch(&visit).await,
        Method::POST => match token::check(&visit, &parts.headers) {
            Ok(()) => dispatch(&visit).await,
            Err(refused) => Err(Problem(refused)),
        },
        _ => Err(Problem(Status::unimplemented("Pages are read by GET and forms are sent by POST; there is nothing else."))),
    };
    answered.unwrap_or_else(|problem| pages::problem::page(&visit, &problem))
}

async fn dispatch(visit: &Visit<'_>) -> Answer {
    let segments: Vec<&str> = visit.segments.iter().map(String::as_str).collect();
    if visit.is_post {
        return match segments[..] {
            ["settings"] => pages::settings::save(visit),
            ["namespaces", namespace, "start-workflow"] => pages::start::send(visit, namespace).await,
            ["namespaces", namespace, "bulk", operation] => pages::bulk::send(visit, namespace, operation).await,
            ["namespaces", namespace, "workflows", id, run, "do", action] => {
                pages::run::actions::send(visit, &pages::run::Place { namespace, id, run }, action).await
            }
            ["namespaces", namespace, "schedules", "create"] => pages::schedules::edit::send(visit, namespace, None).await,
            ["namespaces", namespace, "schedules", id, "edit"] => pages::schedules::edit::send(visit, namespace, Some(id)).await,
            ["namespaces", namespace, "schedules", id, "do", action] => pages::schedules::actions::send(visit, namespace, id, action).await,
            ["namespaces", namespace, "alerts", "create"] => pages::alerts::edit::send(visit, namespace, None).await,
            ["namespaces", namespace, "alerts", name, "edit"] => pages::alerts::edit::send(visit, namespace, Some(name)).await,
            ["namespaces", namespace, "alerts", name, "do", action] => pages::alerts::send(visit, namespace, name, action).await,
            ["namespaces", namespace, "activities", id, run, "do", action] => {
                pages::activities::send(visit, namespace, id, run, action).await
            }
            ["namespaces", namespace, "worker-deployments", name, "do", act] => {
                pages::deployments::actions::send(visit, namespace, name, act).await
            }
            ["namespaces", namespace, "batch-operations", id, "stop"] => pages::batches::stop(visit, namespace, id).await,
            _ => nothing(),
        };
    }
    match segments[..] {
        [] => pages::namespaces::home(visit).await,
        ["favicon.ico"] => visit.ui.0.assets.icon().map_or_else(nothing, Ok),
        ["ui", file] => visit.ui.0.assets.answer(file).map_or_else(nothing, Ok),
        ["settings"] => pages::settings::page(visit),
        ["namespaces"] => pages::namespaces::list(visit).await,
        ["namespaces", namespace] => Ok(answer::redirect(&visit.link(&["namespaces", namespace, "workflows"]))),
        ["namespaces", namespace, "workflows"] => pages::workflows::list(visit, namespace).await,
        ["namespaces", namespace, "counts"] => pages::workflows::counts_part(visit, namespace).await,
        ["namespaces", namespace, "welcome"] => pages::welcome::page(visit, namespace).await,
        ["namespaces", namespace, "attention"] => pages::attention::page(visit, namespace).await,
        ["namespaces", namespace, "alerts"] => pages::alerts::page(visit, namespace).await,
        ["namespaces", namespace, "alerts", "create"] => pages::alerts::edit::form(visit, namespace, None).await,
        ["namespaces", namespace, "alerts", name, "edit"] => pages::alerts::edit::form(visit, namespace, Some(name)).await,
        ["namespaces", namespace, "alerts", name, "do", action] => pages::alerts::form(visit, namespace, name, action),
        ["namespaces", namespace, "activities"] => pages::activities::list(visit, namespace).await,
        ["namespaces", namespace, "activities", id, run] => pages::activities::one(visit, namespace, id, run).await,
        ["namespaces", namespace, "activities", id, run, "do", action] => pages::activities::form(visit, namespace, id, run, action).await,
        ["namespaces", namespace, "start-workflow"] => pages::start::form(visit, namespace).await,
        ["namespaces", namespace, "bulk", operation] => pages::bulk::form(visit, namespace, operation, None).await,
        ["namespaces", namespace, "workflows", id] => pages::run::current(visit, namespace, id).await,
        ["namespaces", namespace, "workflows", id, run, "do", action] => {
            pages::run::actions::form(visit, &pages::run::Place { namespace, id, run }, action, None).await
        }
        ["namespaces", namespace, "workflows", id, run, "timeline.json"] => {
            pages::run::timeline::part(visit, &pages::run::Place { namespace, id, run }).await
        }
        ["namespaces", namespace, "workflows", id, run, "activities", activity] => {
            pages::run::attempts::page(visit, &pages::run::Place { namespace, id, run }, activity).await
        }
        ["namespaces", namespace, "workflows", id, run, ref tab @ ..] if tab.len() <= 1 => {
            let place = pages::run::Place { namespace, id, run };
            pages::run::page(visit, &place, tab.first().copied().unwrap_or_default()).await
        }
        ["namespaces", namespace, "schedules"] => pages::schedules::list(visit, namespace).await,
        ["namespaces", namespace, "schedules", "create"] => pages::schedules::edit::form(visit, namespace, None, None).await,
        ["namespaces", namespace, "schedules", id] => pages::schedules::one::page(visit, namespace, id).await,
        ["namespaces", namespace, "schedules", id, "edit"] => pages::schedules::edit::form(visit, namespace, Some(id), None).await,
        ["namespaces", namespace, "schedules", id, "do", action] => {
            pages::schedules::actions::form(visit, namespace, id, action, None).await
        }
        ["namespaces", namespace, "task-queues"] => pages::task_queues::list(visit, namespace).await,
        ["namespaces", namespace, "task-queues", queue] => pages::task_queues::one(visit, namespace, queue).await,
        ["namespaces", namespace, "workers"] => pages::workers::list(visit, namespace).await,
        ["namespaces", namespace, "workers", key] => pages::workers::one(visit, namespace, key).await,
        ["namespaces", namespace, "worker-deployments"] => pages::deployments::list(visit, namespace).await,
        ["namespaces", namespace, "worker-deployments", name] => pages::deployments::one(visit, namespace, name).await,
        ["namespaces", namespace, "worker-deployments", name, "do", act] => {
            pages::deployments::actions::form(visit, namespace, name, act, None).await
        }
        ["namespaces", namespace, "batch-operations"] => pages::batches::list(visit, namespace).await,
        ["namespaces", namespace, "batch-operations", id] => pages::batches::one(visit, namespace, id).await,
        _ => nothing(),
    }
}

fn nothing() -> Answer {
    Err(Problem(Status::not_found("There is no such page.")))
}
