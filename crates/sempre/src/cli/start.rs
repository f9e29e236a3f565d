//! `sempre server start`: a server that keeps its data in a folder or a database.

use std::{net::IpAddr, path::PathBuf};

use clap::Args;
use sempre_server::ServerSettings;
#[cfg(feature = "postgres")]
use sempre_store::KEY_BYTES_SAFE;
use sempre_store::embedded::EmbeddedOptions;

use super::{
    Failure,
    environment::Process,
    logging::LogOptions,
    network::{self, OptionalPort, UiOptions},
    security::SecurityOptions,
    serve::{self, Data, DynamicOptions, KeptOptions, MemoryOptions},
    telemetry::OtlpOptions,
};

/// How far the port for HTTP is above that for gRPC, unless it is given.
const HTTP_ABOVE: u16 = 10;

#[derive(Args)]
pub(crate) struct Options {
    /// Folder of the data, or of the index of runs when the data is in a database; made if it is not there
    #[arg(long, value_name = "FOLDER", default_value = "./sempre-data")]
    data_dir: PathBuf,
    /// Keep the data in PostgreSQL: postgres://user@host:port/database?schema=name&…, the password in PGPASSWORD or in a file
    /// named by password_file=
    #[arg(long, value_name = "ADDRESS")]
    store: Option<String>,
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_parser = network::parse_ip)]
    ip: IpAddr,
    /// Port for gRPC; 0 takes a free one
    #[arg(short, long, default_value_t = 7233)]
    port: u16,
    /// Port for HTTP: the API as JSON, Nexus operations and callbacks, metrics; 10 above the port for gRPC if it is not
    /// given, 0 takes a free one, `off` none
    #[arg(long, value_name = "PORT", value_parser = network::parse_port)]
    http_port: Option<OptionalPort>,
    /// Port for metrics alone, which are at the port for HTTP too; 0 takes a free one
    #[arg(long, value_name = "PORT")]
    metrics_port: Option<u16>,
    /// Namespace that must exist; may be given several times
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    namespace: Vec<String>,
    /// Define unknown search attributes when a start or a workflow first sets them, with the type that it names,
    /// instead of refusing them
    #[arg(long)]
    auto_register_search_attributes: bool,
    /// Listen on an address that others can reach without TLS
    #[arg(long)]
    insecure: bool,
    #[cfg(feature = "postgres")]
    #[command(flatten)]
    node: super::node::NodeFlags,
    #[command(flatten)]
    ui: UiOptions,
    #[command(flatten)]
    security: SecurityOptions,
    #[command(flatten)]
    otlp: OtlpOptions,
    #[command(flatten)]
    kept: KeptOptions,
    #[command(flatten)]
    memory: MemoryOptions,
    #[command(flatten)]
    dynamic: DynamicOptions,
    #[command(flatten)]
    log: LogOptions,
}

pub(crate) fn run(options: Options) -> Result<(), Failure> {
    options.log.install();
    let address = (options.ip, options.port).into();
    network::refuse_open(address, options.security.is_secure(), options.insecure)?;
    let mut settings = ServerSettings {
        address,
        http_address: http_port(options.port, options.http_port).map(|port| (options.ip, port).into()),
        metrics_address: options.metrics_port.map(|port| (options.ip, port).into()),
        ui: options.ui.settings(options.ip, options.port),
        namespaces: options.namespace,
        ..ServerSettings::default()
    };
    settings.engine.auto_register_search_attributes = options.auto_register_search_attributes;
    options.kept.apply(&mut settings);
    options.dynamic.apply(&mut settings)?;
    options.otlp.apply(&mut settings, &Process)?;
    options.security.apply(&mut settings)?;
    let embedded = options.memory.apply(&mut settings)?;
    #[cfg(feature = "postgres")]
    if options.node.is_given() {
        refuse_of_nodes(&settings, options.store.is_some())?;
    }
    let folder = (options.data_dir, embedded);
    let data = data(
        options.store,
        #[cfg(feature = "postgres")]
        options.node,
        folder,
        settings.engine.limits.id_length_max,
    )?;
    serve::run(settings, &data)
}

/// What one of several servers cannot do yet, and would not be seen not to do.
#[cfg(feature = "postgres")]
fn refuse_of_nodes(settings: &ServerSettings, has_store: bool) -> Result<(), Failure> {
    let refuse = |what: &str| Err(Failure::new(format_args!("{what}.")));
    if !has_store {
        return refuse("--node-address is for servers that share a database: name it with --store postgres://…");
    }
    if settings.alerts_file.is_some() {
        return refuse("--alerts-file cannot be given with --node-address yet: set the rules with `sempre alert set`");
    }
    if settings.engine.auto_register_search_attributes {
        return refuse(
            "--auto-register-search-attributes cannot be given with --node-address yet: define them with `sempre operator search-attribute create`",
        );
    }
    Ok(())
}

/// Where the data is. Ids become keys, which not every store takes in every length.
#[cfg_attr(not(feature = "postgres"), expect(unused_variables, reason = "a folder takes them all"))]
fn data(
    store: Option<String>,
    #[cfg(feature = "postgres")] node: super::node::NodeFlags,
    (folder, embedded): (PathBuf, EmbeddedOptions),
    id_length: usize,
) -> Result<Data, Failure> {
    let Some(address) = store else { return Ok(Data::Folder(folder, embedded)) };
    #[cfg(feature = "postgres")]
    {
        let options = super::postgres::options(&address, &Process)?;
        if id_length > KEY_BYTES_SAFE {
            return Err(Failure::new(format_args!(
                "limit.maxIDLength is {id_length}, and with PostgreSQL it can be {KEY_BYTES_SAFE} at most"
            )));
        }
        let place = super::postgres::Place::new(options);
        Ok(match node.settings(place.options().clone())? {
            Some(settings) => Data::Node(Box::new(place), Box::new(settings)),
            None => Data::Postgres(Box::new(place)),
        })
    }
    #[cfg(not(feature = "postgres"))]
    Err(Failure::new(format_args!("this program was built without PostgreSQL (feature postgres), it cannot use {address}")))
}

/// The port for HTTP. It stays the same when the server starts again: handlers elsewhere call back to it.
fn http_port(grpc: u16, given: Option<OptionalPort>) -> Option<u16> {
    given.unwrap_or(OptionalPort::Port(if grpc == 0 { 0 } else { grpc.saturating_add(HTTP_ABOVE) })).port()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_for_http_follows_that_for_grpc() {
        let given = |port| Some(OptionalPort::Port(port));
        let ports = [http_port(7233, None), http_port(0, None), http_port(7233, given(0)), http_port(1, given(2))];
        assert_eq!(ports, [7243, 0, 0, 2].map(Some));
        assert_eq!(http_port(7233, Some(OptionalPort::Off)), None);
    }
}
