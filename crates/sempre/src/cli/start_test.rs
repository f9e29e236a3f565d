//! `sempre server start-test`, and `sempre PORT`: takes the command line of Temporal's test server unchanged, so that
//! SDKs that start one can start this one (spec 08 §6.1).

use std::{ffi::OsString, net::Ipv4Addr};

use clap::Args;
use sempre_server::{FaultSettings, ServerSettings, TimeSkipping};

use super::{
    Failure,
    logging::LogOptions,
    serve::{self, Data, DynamicOptions},
};

#[derive(Args)]
pub(crate) struct Options {
    /// Port for gRPC, on 127.0.0.1; 0 takes a free one
    port: u16,
    /// Skip time from the beginning, not only while a test asks for it
    #[arg(long)]
    enable_time_skipping: bool,
    /// Give each namespace but `default` time and data of its own, so that tests run beside each other. Calls of TestService name theirs
    /// by the metadata `temporal-namespace`; nothing reaches from one namespace into another
    #[arg(long)]
    clock_per_namespace: bool,
    /// Lets things go wrong by chance: `seed=7,crashes=5,lost-answers=10,lost-heartbeats=10,late-signals=20`, in percent; what is
    /// left out is 10. Each fault is told on standard error, with the seed that repeats it
    #[arg(long, value_name = "SETTINGS")]
    faults: Option<FaultSettings>,
    #[command(flatten)]
    dynamic: DynamicOptions,
    #[command(flatten)]
    log: LogOptions,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    options.log.install();
    let time_skipping = if options.enable_time_skipping { TimeSkipping::Unlocked } else { TimeSkipping::Locked };
    let mut settings = ServerSettings {
        address: (Ipv4Addr::LOCALHOST, options.port).into(),
        time_skipping: Some(time_skipping),
        any_namespace: true,
        clock_per_namespace: options.clock_per_namespace,
        faults: options.faults,
        ..ServerSettings::default()
    };
    settings.engine.auto_register_search_attributes = true;
    settings.engine.limits.time_skipping = true;
    options.dynamic.apply(&mut settings)?;
    serve::run(settings, &Data::Memory)
}

/// The line of Temporal's test server has no command, but a port in its place.
pub(crate) fn with_command(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    if args.get(1).and_then(|arg| arg.to_str()).is_some_and(|arg| arg.parse::<u16>().is_ok()) {
        args.splice(1..1, ["server", "start-test"].map(OsString::from));
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn a_port_stands_for_the_command() {
        assert_eq!(with_command(line("sempre 40123")), line("sempre server start-test 40123"));
        let given = with_command(line("sempre 0 --enable-time-skipping"));
        assert_eq!(given, line("sempre server start-test 0 --enable-time-skipping"));
        for other in ["sempre", "sempre 70000", "sempre -1", "sempre workflow list 1", "sempre server start-test 1"] {
            assert_eq!(with_command(line(other)), line(other));
        }
    }
}
