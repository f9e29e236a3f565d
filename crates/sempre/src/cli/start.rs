//! `sempre server start`: a server that keeps its data in a folder.

use std::{net::IpAddr, path::PathBuf};

use clap::Args;
use sempre_server::ServerSettings;

use super::{
    Failure,
    logging::LogOptions,
    network,
    serve::{self, Data, DynamicOptions},
};

#[derive(Args)]
pub(crate) struct Options {
    /// Folder of the data; made if it is not there
    #[arg(long, value_name = "FOLDER", default_value = "./sempre-data")]
    data_dir: PathBuf,
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_parser = network::parse_ip)]
    ip: IpAddr,
    /// Port for gRPC; 0 takes a free one
    #[arg(short, long, default_value_t = 7233)]
    port: u16,
    /// Namespace that must exist; may be given several times
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    namespace: Vec<String>,
    /// Define unknown search attributes when a start or a workflow first sets them, with the type that it names,
    /// instead of refusing them
    #[arg(long)]
    auto_register_search_attributes: bool,
    /// Listen on an address that others can reach, without TLS and without authentication
    #[arg(long)]
    insecure: bool,
    #[command(flatten)]
    dynamic: DynamicOptions,
    #[command(flatten)]
    log: LogOptions,
}

pub(crate) fn run(options: Options) -> Result<(), Failure> {
    options.log.install();
    let address = (options.ip, options.port).into();
    network::refuse_open(address, options.insecure)?;
    let mut settings = ServerSettings { address, namespaces: options.namespace, ..ServerSettings::default() };
    settings.engine.auto_register_search_attributes = options.auto_register_search_attributes;
    options.dynamic.apply(&mut settings)?;
    serve::run(settings, &Data::Folder(options.data_dir))
}
