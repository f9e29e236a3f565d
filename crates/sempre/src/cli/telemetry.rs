//! Spans and metrics that a server pushes by OTLP: flags and variables.

use clap::{Args, ValueEnum};
use sempre_server::{OtlpSettings, ServerSettings};

use super::{Failure, environment::Environment};

/// Who is told, and how.
#[derive(Args, Clone)]
#[command(next_help_heading = "OpenTelemetry (docs/telemetry.md)")]
pub(crate) struct OtlpOptions {
    /// Receiver that metrics and spans of calls are pushed to by OTLP; none without it. Sampling, headers, certificates
    /// and intervals by OTEL_… variables [env: OTEL_EXPORTER_OTLP_ENDPOINT]
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// How they are pushed [env: OTEL_EXPORTER_OTLP_PROTOCOL] [default: http/protobuf]
    #[arg(long, value_enum, value_name = "PROTOCOL")]
    otlp_protocol: Option<OtlpProtocol>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OtlpProtocol {
    Grpc,
    #[value(name = "http/protobuf")]
    Http,
}

impl OtlpOptions {
    /// Writes what was given, here and in the environment, into the settings.
    pub(crate) fn apply(&self, settings: &mut ServerSettings, environment: &dyn Environment) -> Result<(), Failure> {
        let protocol = self.otlp_protocol.map(|protocol| match protocol {
            OtlpProtocol::Grpc => "grpc",
            OtlpProtocol::Http => "http/protobuf",
        });
        let read = OtlpSettings::read(&|name| environment.variable(name), self.otlp_endpoint.as_deref(), protocol);
        settings.otlp = read.map_err(Failure::new)?;
        Ok(())
    }
}
