//! `workflow execute`: starts a workflow, shows its progress and waits for its result.

use clap::Args;
use sempre_api::{History, json::Payloads, v1::common::WorkflowExecution};
use serde_json::json;

use super::{
    result::{self, Named},
    show,
    start::{self, SharedStart, StartFlags},
};
use crate::cli::{
    Failure,
    history::{self, Events, Read},
    input::InputFlags,
    session::Session,
};

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    shared: SharedStart,
    #[command(flatten)]
    start: StartFlags,
    #[command(flatten)]
    input: InputFlags,
    /// Show all fields of each event; in JSON, add the history
    #[arg(long)]
    detailed: bool,
}

pub(crate) async fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let began = session.environment.now_millis();
    let request = start::request(session, &options.shared, &options.start, &options.input)?;
    let execution = start::start(session, request, options.start.fail_existing).await?;
    if session.out.is_text() {
        start::print_running(session, &execution, &options.shared)?;
        session.out.line("")?;
        session.out.title("Progress:")?;
        show::print_progress(session, &execution, Read::Follow, options.detailed).await?;
        session.out.line("")?;
    }
    let client = session.client().await?;
    let close = history::close_event(&client, &session.settings.namespace, &execution).await?;
    let took = session.environment.now_millis() - began;
    let mut named = Named { execution: execution.clone(), took_millis: Some(took), ..Named::default() };
    if session.out.is_json() {
        named.more = vec![
            ("type", json!(options.shared.r#type)),
            ("namespace", json!(session.settings.namespace)),
            ("taskQueue", json!(options.shared.task_queue)),
        ];
        if options.detailed {
            named.history = Some(whole_history(session, &execution).await?);
        }
    }
    result::print(session, &named, &close)
}

/// The history with payloads in full, as replayers want it.
async fn whole_history(session: &mut Session, execution: &WorkflowExecution) -> Result<serde_json::Value, Failure> {
    let mut events = Events::new(session.client().await?, session.namespace(), execution.clone(), Read::All);
    let mut all = Vec::new();
    while let Some(event) = events.next().await? {
        all.push(event);
    }
    Ok(sempre_api::json::to_value(&History::from_events(&all), Payloads::Full))
}
