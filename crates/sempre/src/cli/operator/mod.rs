//! `sempre operator …`: namespaces, search attributes, the cluster, Nexus endpoints.

mod api_key;
mod cluster;
mod namespace;
mod nexus;
mod search_attribute;

use clap::Subcommand;

use super::{Failure, flags::CommonFlags, flags::Family, session};

#[derive(Subcommand)]
pub(crate) enum OperatorCommand {
    /// Namespaces
    #[command(subcommand, arg_required_else_help = true)]
    Namespace(namespace::NamespaceCommand),
    /// Custom search attributes of a namespace
    #[command(subcommand, arg_required_else_help = true)]
    SearchAttribute(search_attribute::SearchAttributeCommand),
    /// The server and its capabilities
    #[command(subcommand, arg_required_else_help = true)]
    Cluster(cluster::ClusterCommand),
    /// Nexus
    #[command(subcommand, arg_required_else_help = true)]
    Nexus(NexusCommand),
    /// Keys by which callers are known
    #[command(subcommand, arg_required_else_help = true)]
    ApiKey(api_key::ApiKeyCommand),
    /// Show who you are to the server, and what you may do
    Whoami,
}

#[derive(Subcommand)]
pub(crate) enum NexusCommand {
    /// Nexus endpoints
    #[command(subcommand, arg_required_else_help = true)]
    Endpoint(nexus::EndpointCommand),
}

pub(crate) fn run(common: CommonFlags, family: Family<OperatorCommand>) -> Result<(), Failure> {
    let flagged = family.client.namespace.clone();
    session::run(common, &family.client, async |session| match family.command {
        OperatorCommand::Namespace(command) => namespace::run(session, command, flagged).await,
        OperatorCommand::SearchAttribute(command) => search_attribute::run(session, command).await,
        OperatorCommand::Cluster(command) => cluster::run(session, command).await,
        OperatorCommand::Nexus(NexusCommand::Endpoint(command)) => nexus::run(session, command).await,
        OperatorCommand::ApiKey(command) => api_key::run(session, command).await,
        OperatorCommand::Whoami => api_key::who_am_i(session).await,
    })
}
