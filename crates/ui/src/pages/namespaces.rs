//! The namespaces, and the first page, which goes on to one of them.

use maud::html;
use sempre_api::v1::{
    enums::NamespaceState,
    workflowservice::{DescribeNamespaceResponse, ListNamespacesRequest},
};

use crate::{
    answer::redirect,
    layout::{Page, Section, heading, page_token, pager},
    route::Answer,
    show::{badge, duration, words},
    visit::{Problem, Visit},
};

const PAGE: i32 = 100;
/// What most servers begin with.
const DEFAULT: &str = "default";

async fn read(visit: &Visit<'_>) -> Result<(Vec<DescribeNamespaceResponse>, bytes::Bytes), Problem> {
    let request = ListNamespacesRequest { page_size: PAGE, next_page_token: page_token(visit), ..Default::default() };
    let answer = visit.ask(request).await?;
    Ok((answer.namespaces, answer.next_page_token))
}

/// On to the namespace that was looked at last, else the usual one, else the list.
pub(crate) async fn home(visit: &Visit<'_>) -> Answer {
    let (all, _) = read(visit).await?;
    let name = |namespace: &DescribeNamespaceResponse| namespace.namespace_info.as_ref().map(|info| info.name.clone()).unwrap_or_default();
    let names: Vec<String> = all.iter().map(name).collect();
    let wanted = [visit.cookie("sempre_namespace"), DEFAULT];
    let found = wanted.into_iter().find(|wanted| names.iter().any(|name| name == wanted)).or(match names.as_slice() {
        [only] => Some(only.as_str()),
        _ => None,
    });
    Ok(redirect(&match found {
        Some(name) => visit.link_with(&["namespaces", name, "workflows"], &[("done", visit.query("done"))]),
        None => visit.link_with(&["namespaces"], &[("done", visit.query("done"))]),
    }))
}

/// All of them.
pub(crate) async fn list(visit: &Visit<'_>) -> Answer {
    let (all, next) = read(visit).await?;
    let body = html! {
        (heading(html! { "Namespaces" }, html! {}))
        div.table-wrap {
            table {
                thead { tr { th { "Name" } th { "State" } th { "Kept after the end" } th { "Description" } th { "Owner" } } }
                tbody #rows data-live {
                    @for namespace in &all {
                        @let info = namespace.namespace_info.clone().unwrap_or_default();
                        @let retention = namespace.config.as_ref().and_then(|config| config.workflow_execution_retention_ttl);
                        @let state = NamespaceState::try_from(info.state).unwrap_or_default();
                        tr data-key=(info.name) {
                            th scope="row" { a href=(visit.link(&["namespaces", &info.name, "workflows"])) { (info.name) } }
                            td { (badge(if state == NamespaceState::Registered { "green" } else { "orange" }, &words(state.as_str_name(), "NAMESPACE_STATE_"))) }
                            td { (duration(retention.as_ref())) }
                            td.text { (info.description) }
                            td { (info.owner_email) }
                        }
                    }
                }
            }
        }
        (pager(visit, &["namespaces"], &[], &next))
    };
    Ok(Page::new("", Section::Namespaces, "Namespaces", body).answer(visit))
}
