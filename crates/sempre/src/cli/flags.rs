//! Flags that every command has, and those of every command that asks a server. Names as in Temporal's CLI.

use clap::{Args, Subcommand, ValueEnum};
use sempre_api::Duration;

use super::values;

/// What every command understands. Told by `--help`, not by `-h`, so that a command's own flags are seen.
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Output and configuration")]
pub(crate) struct CommonFlags {
    /// How answers are written [default: text]
    #[arg(short, long, global = true, hide_short_help = true, value_enum, value_name = "FORMAT", ignore_case = true)]
    pub(crate) output: Option<Format>,
    /// How times are written in text [default: relative]
    #[arg(long, global = true, hide_short_help = true, value_enum, value_name = "FORMAT", ignore_case = true)]
    pub(crate) time_format: Option<TimeFormat>,
    /// Whether text is coloured [default: auto]
    #[arg(long, global = true, hide_short_help = true, value_enum, value_name = "WHEN", ignore_case = true)]
    pub(crate) color: Option<Color>,
    /// Write payloads as they are, in base64, not as the JSON they hold
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) no_json_shorthand_payloads: bool,
    /// How long the command may take; 0 is as long as it needs
    #[arg(long, global = true, hide_short_help = true, value_name = "DURATION", value_parser = values::parse_duration)]
    pub(crate) command_timeout: Option<Duration>,
    /// How long connecting may take [default: 10s]
    #[arg(long, global = true, hide_short_help = true, value_name = "DURATION", value_parser = values::parse_duration)]
    pub(crate) client_connect_timeout: Option<Duration>,
    /// Profile of the configuration file [env: TEMPORAL_PROFILE] [default: default]
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Configuration file with profiles [env: TEMPORAL_CONFIG_FILE] [default: temporalio/temporal.toml in the user's
    /// configuration folder]
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    pub(crate) config_file: Option<String>,
    /// Do not read the configuration file
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) disable_config_file: bool,
    /// Do not read TEMPORAL_… variables
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) disable_config_env: bool,
    /// Set of flags from the environment file of `sempre env` [env: TEMPORAL_ENV] [default: default]
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME")]
    pub(crate) env: Option<String>,
    /// Environment file [env: TEMPORAL_ENV_FILE] [default: .config/temporalio/temporal.yaml in the home folder]
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    pub(crate) env_file: Option<String>,
}

/// How to reach the server.
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ClientFlags {
    /// Address of the server [env: TEMPORAL_ADDRESS] [default: 127.0.0.1:7233]
    #[arg(long, global = true, hide_short_help = true, value_name = "HOST:PORT")]
    pub(crate) address: Option<String>,
    /// Namespace [env: TEMPORAL_NAMESPACE] [default: default]
    #[arg(short, long, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Key sent with every call; turns TLS on [env: TEMPORAL_API_KEY]
    #[arg(long, global = true, hide_short_help = true, value_name = "KEY")]
    pub(crate) api_key: Option<String>,
    /// Name that calls are made under instead of the address
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME")]
    pub(crate) client_authority: Option<String>,
    /// Header sent with every call; may be given several times
    #[arg(long, global = true, hide_short_help = true, value_name = "KEY=VALUE", value_parser = values::parse_pair)]
    pub(crate) grpc_meta: Vec<(String, String)>,
    /// Use TLS; on by itself with a key or a certificate [env: TEMPORAL_TLS]
    #[arg(long, global = true, hide_short_help = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) tls: Option<bool>,
    /// File of the client's certificate [env: TEMPORAL_TLS_CLIENT_CERT_PATH]
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    pub(crate) tls_cert_path: Option<String>,
    /// The client's certificate itself [env: TEMPORAL_TLS_CLIENT_CERT_DATA]
    #[arg(long, global = true, hide_short_help = true, value_name = "PEM", conflicts_with = "tls_cert_path")]
    pub(crate) tls_cert_data: Option<String>,
    /// File of the client's private key [env: TEMPORAL_TLS_CLIENT_KEY_PATH]
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    pub(crate) tls_key_path: Option<String>,
    /// The client's private key itself [env: TEMPORAL_TLS_CLIENT_KEY_DATA]
    #[arg(long, global = true, hide_short_help = true, value_name = "PEM", conflicts_with = "tls_key_path")]
    pub(crate) tls_key_data: Option<String>,
    /// File of the certificates that vouch for the server [env: TEMPORAL_TLS_SERVER_CA_CERT_PATH]
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    pub(crate) tls_ca_path: Option<String>,
    /// The certificates that vouch for the server [env: TEMPORAL_TLS_SERVER_CA_CERT_DATA]
    #[arg(long, global = true, hide_short_help = true, value_name = "PEM", conflicts_with = "tls_ca_path")]
    pub(crate) tls_ca_data: Option<String>,
    /// Do not check who the server is [env: TEMPORAL_TLS_DISABLE_HOST_VERIFICATION]
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) tls_disable_host_verification: bool,
    /// Name that the server's certificate must have [env: TEMPORAL_TLS_SERVER_NAME]
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME")]
    pub(crate) tls_server_name: Option<String>,
    /// Who calls, as histories will tell [default: sempre-cli:USER@HOST]
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME")]
    pub(crate) identity: Option<String>,
    /// Codec server (not supported yet: refused) [env: TEMPORAL_CODEC_ENDPOINT]
    #[arg(long, global = true, hide_short_help = true, value_name = "URL")]
    pub(crate) codec_endpoint: Option<String>,
    /// Accepted for scripts; nothing is logged
    #[arg(long, global = true, hide = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Accepted for scripts; nothing is logged
    #[arg(long, global = true, hide = true, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
}

/// Commands that ask a server, with the flags that they share.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Family<C: Subcommand> {
    #[command(subcommand)]
    pub(crate) command: C,
    #[command(flatten)]
    pub(crate) client: ClientFlags,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    #[value(alias = "table", alias = "card")]
    Text,
    /// Indented JSON
    Json,
    /// JSON, one line each
    Jsonl,
    /// Nothing
    None,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TimeFormat {
    /// `3 minutes ago`
    #[default]
    Relative,
    /// `2026-01-31T08:00:00Z`
    Iso,
    /// With all digits
    Raw,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal
    #[default]
    Auto,
    Always,
    Never,
}
