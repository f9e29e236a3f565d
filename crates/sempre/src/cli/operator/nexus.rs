//! `operator nexus endpoint …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use sempre_api::v1::{
    common::Payload,
    nexus::{
        Endpoint, EndpointSpec, EndpointTarget,
        endpoint_target::{External, Variant, Worker},
    },
    operatorservice::{CreateNexusEndpointRequest, DeleteNexusEndpointRequest, ListNexusEndpointsRequest, UpdateNexusEndpointRequest},
};

use crate::cli::{
    Failure, input,
    output::{Hue, bare},
    session::Session,
};

#[derive(Subcommand)]
pub(crate) enum EndpointCommand {
    /// Make an endpoint
    Create(Create),
    /// Show an endpoint
    Get(Name),
    /// List all endpoints
    List,
    /// Change an endpoint
    Update(Update),
    /// Delete an endpoint
    Delete(Name),
}

#[derive(Args)]
pub(crate) struct Name {
    /// Name of the endpoint
    #[arg(long, value_name = "NAME")]
    name: String,
}

#[derive(Args)]
pub(crate) struct Create {
    #[command(flatten)]
    name: Name,
    #[command(flatten)]
    config: Config,
}

#[derive(Args)]
pub(crate) struct Update {
    #[command(flatten)]
    name: Name,
    #[command(flatten)]
    config: Config,
    /// Remove the description
    #[arg(long, conflicts_with_all = ["description", "description_file"])]
    unset_description: bool,
}

#[derive(Args)]
struct Config {
    /// Description, in Markdown
    #[arg(long, value_name = "TEXT", conflicts_with = "description_file")]
    description: Option<String>,
    /// File with the description
    #[arg(long, value_name = "FILE")]
    description_file: Option<PathBuf>,
    /// Namespace whose workers serve it
    #[arg(long, value_name = "NAME", conflicts_with = "target_url")]
    target_namespace: Option<String>,
    /// Task queue whose workers serve it
    #[arg(long, value_name = "NAME", conflicts_with = "target_url")]
    target_task_queue: Option<String>,
    /// URL that serves it
    #[arg(long, value_name = "URL")]
    target_url: Option<String>,
}

impl Config {
    fn description(&self) -> Result<Option<Payload>, Failure> {
        let text = match (&self.description, &self.description_file) {
            (Some(text), _) => text.clone(),
            (None, None) => return Ok(None),
            (None, Some(file)) => {
                std::fs::read_to_string(file).map_err(|error| Failure::new(format_args!("cannot read {}: {error}", file.display())))?
            }
        };
        Ok(Some(input::json_payload(&text.into())))
    }

    /// The target; parts that are not given are those of `today`.
    fn target(&self, today: Option<&EndpointTarget>) -> Result<EndpointTarget, Failure> {
        let given = (self.target_namespace.clone(), self.target_task_queue.clone(), self.target_url.clone());
        let variant = match (given, today.and_then(|target| target.variant.clone())) {
            ((None, None, Some(url)), _) => Variant::External(External { url }),
            ((None, None, None), Some(today)) => today,
            ((Some(namespace), Some(task_queue), _), _) => Variant::Worker(Worker { namespace, task_queue }),
            ((namespace, task_queue, None), Some(Variant::Worker(today))) => Variant::Worker(Worker {
                namespace: namespace.unwrap_or(today.namespace),
                task_queue: task_queue.unwrap_or(today.task_queue),
            }),
            _ => return Err(Failure::usage("give --target-namespace and --target-task-queue, or --target-url")),
        };
        Ok(EndpointTarget { variant: Some(variant) })
    }
}

pub(super) async fn run(session: &mut Session, command: EndpointCommand) -> Result<(), Failure> {
    match command {
        EndpointCommand::Create(create) => {
            let (description, target) = (create.config.description()?, create.config.target(None)?);
            let name = create.name.name;
            let spec = EndpointSpec { name: name.clone(), description, target: Some(target) };
            session.client().await?.operator.create_nexus_endpoint(CreateNexusEndpointRequest { spec: Some(spec) }).await?;
            session.out.line_in(Hue::Good, format!("Endpoint {name} successfully created."))
        }
        EndpointCommand::Get(name) => {
            let endpoint = find(session, &name.name).await?;
            session.out.message(&endpoint)?;
            card(session, &endpoint)
        }
        EndpointCommand::List => list(session).await,
        EndpointCommand::Update(update) => {
            let endpoint = find(session, &update.name.name).await?;
            let today = endpoint.spec.unwrap_or_default();
            let description = match update.config.description()? {
                None if !update.unset_description => today.description,
                given => given,
            };
            let target = update.config.target(today.target.as_ref())?;
            let spec = EndpointSpec { name: update.name.name.clone(), description, target: Some(target) };
            let request = UpdateNexusEndpointRequest { id: endpoint.id, version: endpoint.version, spec: Some(spec) };
            session.client().await?.operator.update_nexus_endpoint(request).await?;
            session.out.line_in(Hue::Good, format!("Endpoint {} successfully updated.", update.name.name))
        }
        EndpointCommand::Delete(name) => {
            let endpoint = find(session, &name.name).await?;
            let request = DeleteNexusEndpointRequest { id: endpoint.id, version: endpoint.version };
            session.client().await?.operator.delete_nexus_endpoint(request).await?;
            session.out.line_in(Hue::Good, format!("Endpoint {} successfully deleted.", name.name))
        }
    }
}

async fn find(session: &mut Session, name: &str) -> Result<Endpoint, Failure> {
    let request = ListNexusEndpointsRequest { name: name.to_owned(), ..Default::default() };
    let found = session.client().await?.operator.list_nexus_endpoints(request).await?.into_inner().endpoints;
    found.into_iter().next().ok_or_else(|| Failure::new(format_args!("there is no endpoint {name:?}")))
}

async fn list(session: &mut Session) -> Result<(), Failure> {
    let mut token = bytes::Bytes::new();
    session.out.begin_list()?;
    loop {
        let request = ListNexusEndpointsRequest { next_page_token: token, ..Default::default() };
        let page = session.client().await?.operator.list_nexus_endpoints(request).await?.into_inner();
        for endpoint in &page.endpoints {
            session.out.message(endpoint)?;
            card(session, endpoint)?;
            session.out.line("")?;
        }
        token = page.next_page_token;
        if token.is_empty() {
            return session.out.end_list();
        }
    }
}

fn card(session: &mut Session, endpoint: &Endpoint) -> Result<(), Failure> {
    let spec = endpoint.spec.clone().unwrap_or_default();
    let (mut url, mut worker) = (String::new(), Worker::default());
    match spec.target.and_then(|target| target.variant) {
        Some(Variant::External(external)) => url = external.url,
        Some(Variant::Worker(target)) => worker = target,
        None => {}
    }
    let description = spec.description.map(|payload| bare(&session.out.json_of(&payload))).unwrap_or_default();
    let (created, modified) = (session.out.time(endpoint.created_time.as_ref()), session.out.time(endpoint.last_modified_time.as_ref()));
    session.out.card(&[
        ("ID", endpoint.id.as_str().into()),
        ("Name", spec.name.into()),
        ("CreatedTime", created.into()),
        ("LastModifiedTime", modified.into()),
        ("Target.External.URL", url.into()),
        ("Target.Worker.Namespace", worker.namespace.into()),
        ("Target.Worker.TaskQueue", worker.task_queue.into()),
        ("Description", description.into()),
    ])
}
