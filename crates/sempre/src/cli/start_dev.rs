//! `sempre server start-dev`: takes the command line of Temporal's development server unchanged, so
//! that SDKs that start one can start this one (spec 08 §8).

use std::{net::IpAddr, path::PathBuf};

use clap::{ArgAction, Args};
use sempre_api::v1::enums::IndexedValueType;
use sempre_server::ServerSettings;
use sempre_store::embedded::EmbeddedOptions;

use super::{
    Failure,
    logging::LogOptions,
    network::{self, OptionalPort, UiOptions},
    security::SecurityOptions,
    serve::{self, Data, DynamicOptions, KeptOptions},
};

const DEFAULT_NAMESPACE: &str = "default";

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    serving: Serving,
    #[command(flatten)]
    security: SecurityOptions,
    #[command(flatten)]
    ignored: Ignored,
}

/// How a server for development serves.
#[derive(Args)]
pub(crate) struct Serving {
    /// Port for gRPC; 0 takes a free one
    #[arg(short, long, default_value_t = 7233)]
    port: u16,
    /// Namespace to make besides `default`; may be given several times
    #[arg(short, long, value_name = "NAME")]
    namespace: Vec<String>,
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_parser = network::parse_ip)]
    ip: IpAddr,
    /// Port for HTTP: the API as JSON, Nexus operations and callbacks, metrics; a free one if it is not given, `off` none
    #[arg(long, value_name = "PORT", value_parser = network::parse_port)]
    http_port: Option<OptionalPort>,
    /// Port for metrics alone, which are at the port for HTTP too; 0 takes a free one
    #[arg(long, value_name = "PORT")]
    metrics_port: Option<u16>,
    /// Keep the data in a folder of this name; without it everything is gone when the server stops
    #[arg(short = 'f', long, value_name = "FOLDER")]
    db_filename: Option<PathBuf>,
    /// Search attribute that every namespace has (types: Text, Keyword, Int, Double, Bool, Datetime,
    /// KeywordList); may be given several times
    #[arg(long, value_name = "NAME=TYPE", value_parser = parse_search_attribute)]
    search_attribute: Vec<(String, IndexedValueType)>,
    /// Define unknown search attributes when a start or a workflow first sets them, with the type that it names,
    /// instead of refusing them
    #[arg(long)]
    auto_register_search_attributes: bool,
    /// Without the web UI
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = ArgAction::Set, hide_default_value = true, hide_possible_values = true, value_name = "BOOL")]
    headless: bool,
    /// Address of the web UI; that of `--ip` if it is not given
    #[arg(long, value_name = "ADDRESS", value_parser = network::parse_ip)]
    ui_ip: Option<IpAddr>,
    #[command(flatten)]
    ui: UiOptions,
    #[command(flatten)]
    kept: KeptOptions,
    #[command(flatten)]
    dynamic: DynamicOptions,
    #[command(flatten)]
    log: LogOptions,
}

/// Flags of Temporal's development server for parts that this version does not have.
#[derive(Args)]
#[command(next_help_heading = "Accepted, without effect yet")]
struct Ignored {
    /// Setting of SQLite
    #[arg(long, value_name = "KEY=VALUE")]
    sqlite_pragma: Vec<String>,
    /// Print the server's configuration
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = ArgAction::Set, hide_default_value = true, hide_possible_values = true, value_name = "BOOL")]
    log_config: bool,
}

pub(crate) fn run(options: Options) -> Result<(), Failure> {
    let (ip, secure) = (options.serving.ip(), options.security.is_secure());
    let (mut settings, data) = options.serving.settle()?;
    options.security.apply(&mut settings)?;
    warn_if_open(ip, secure);
    let absent = options.ignored.absent();
    if !absent.is_empty() {
        tracing::warn!(flags = absent.join(" "), "these flags have no effect");
    }
    serve::run(settings, &data)
}

impl Serving {
    /// The address to listen on.
    pub(crate) fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Begins to log, and gives the server's settings and where its data lies.
    pub(crate) fn settle(self) -> Result<(ServerSettings, Data), Failure> {
        self.log.install();
        let mut settings = ServerSettings {
            address: (self.ip, self.port).into(),
            http_address: self.http_port.unwrap_or(OptionalPort::Port(0)).port().map(|port| (self.ip, port).into()),
            metrics_address: self.metrics_port.map(|port| (self.ip, port).into()),
            ui: if self.headless { None } else { self.ui.settings(self.ui_ip.unwrap_or(self.ip), self.port) },
            namespaces: namespaces(self.namespace),
            search_attributes: self.search_attribute,
            ..ServerSettings::default()
        };
        settings.engine.auto_register_search_attributes = self.auto_register_search_attributes;
        settings.engine.limits.time_skipping = true;
        self.kept.apply(&mut settings);
        self.dynamic.apply(&mut settings)?;
        let data = match self.db_filename {
            None => Data::Memory,
            Some(path) if path.is_file() => {
                return Err(Failure::new(format_args!(
                    "{} is a file, but data is kept in a folder of that name. Nothing was changed. \
                     Give --db-filename a name that is not taken, or move the file away.",
                    path.display()
                )));
            }
            Some(path) => Data::Folder(path, EmbeddedOptions::default()),
        };
        Ok((settings, data))
    }
}

/// A server for development listens wherever it is told to, as Temporal's does: in a container that is 0.0.0.0.
pub(crate) fn warn_if_open(ip: IpAddr, secure: bool) {
    if !secure && !ip.is_loopback() {
        tracing::warn!(%ip, "others can reach this server, and what is said to it is not encrypted; --tls-cert-file and --tls-key-file mend that");
    }
}

/// `default` and what was given, each once.
fn namespaces(given: Vec<String>) -> Vec<String> {
    let mut namespaces = vec![DEFAULT_NAMESPACE.to_owned()];
    for name in given {
        if !namespaces.contains(&name) {
            namespaces.push(name);
        }
    }
    namespaces
}

fn parse_search_attribute(text: &str) -> Result<(String, IndexedValueType), String> {
    let (name, kind) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("it must look like NAME=TYPE")?;
    let wanted = kind.replace('_', "");
    let kinds = (1..=7).filter_map(|number| IndexedValueType::try_from(number).ok());
    let found = kinds.into_iter().find(|kind| {
        let known = kind.as_str_name().trim_start_matches("INDEXED_VALUE_TYPE_").replace('_', "");
        known.eq_ignore_ascii_case(&wanted)
    });
    let kind = found.ok_or_else(|| format!("there is no type `{kind}`; use Text, Keyword, Int, Double, Bool, Datetime or KeywordList"))?;
    Ok((name.to_owned(), kind))
}

impl Ignored {
    /// The flags that were given and ask for something that is not there.
    fn absent(&self) -> Vec<&'static str> {
        let given = [("--sqlite-pragma", !self.sqlite_pragma.is_empty()), ("--log-config", self.log_config)];
        given.into_iter().filter_map(|(flag, given)| given.then_some(flag)).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(line: &str) -> Options {
        match Line::try_parse_from(["start-dev"].into_iter().chain(line.split_whitespace())) {
            Ok(line) => line.options,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn the_lines_that_sdks_run() {
        let core = "--port 40123 --namespace default --ip 127.0.0.1 --log-format pretty --log-level warn \
            --dynamic-config-value frontend.enableServerVersionCheck=false \
            --dynamic-config-value frontend.enableUpdateWorkflowExecution=true --headless \
            --search-attribute CustomTextField=Text --search-attribute CustomIntField=Int";
        let options = parse(core);
        assert!(!options.serving.auto_register_search_attributes);
        assert!(parse("--auto-register-search-attributes").serving.auto_register_search_attributes);
        assert_eq!((options.serving.port, options.serving.ip.to_string()), (40123, "127.0.0.1".into()));
        assert_eq!(namespaces(options.serving.namespace), ["default"]);
        assert!(options.serving.headless);
        assert_eq!(options.serving.search_attribute.len(), 2);

        let everything = "--port 1 --namespace a -n b --ip localhost --ui-ip 0.0.0.0 --ui-port 2 --ui-public-path /x \
            --ui-asset-path /y --ui-codec-endpoint http://z --http-port 3 --metrics-port 4 --db-filename F --log-format json \
            --log-level never --log-config --sqlite-pragma journal_mode=wal --headless=false";
        let options = parse(everything);
        assert_eq!(namespaces(options.serving.namespace), ["default", "a", "b"]);
        assert_eq!((options.serving.http_port, options.serving.metrics_port), (Some(OptionalPort::Port(3)), Some(4)));
        assert_eq!(options.ignored.absent().len(), 2);
        assert_eq!(options.serving.ui_ip, Some(IpAddr::from([0, 0, 0, 0])));
        assert_eq!((options.serving.ui.ui_port, options.serving.ui.ui_public_path.as_str()), (Some(OptionalPort::Port(2)), "/x"));
        assert!(!options.serving.headless);
        assert_eq!(options.serving.db_filename, Some("F".into()));
    }

    #[test]
    fn search_attribute_types() {
        use IndexedValueType as T;
        let cases = [
            ("A=Text", T::Text),
            ("A=keyword", T::Keyword),
            ("A=Int", T::Int),
            ("A=Double", T::Double),
            ("A=Bool", T::Bool),
            ("A=Datetime", T::Datetime),
            ("A=KeywordList", T::KeywordList),
        ];
        for (text, kind) in cases {
            assert_eq!(parse_search_attribute(text), Ok(("A".into(), kind)), "{text}");
        }
        for text in ["A", "=Text", "A=", "A=Unspecified"] {
            assert!(parse_search_attribute(text).is_err(), "{text}");
        }
    }
}
