//! `sempre api-coverage`: which calls of the API are built. The table is tested against the server.

use std::collections::BTreeMap;

use clap::Args;
use sempre_server::coverage::{self, Method};
use serde_json::json;

use super::Failure;

#[derive(Args)]
pub(crate) struct Options {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[expect(clippy::unnecessary_wraps, reason = "all commands have the same shape")]
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut services: BTreeMap<&str, Vec<Method>> = BTreeMap::new();
    for method in coverage::methods() {
        services.entry(method.service).or_default().push(method);
    }
    print!("{}", if options.json { as_json(&services) } else { as_text(&services) });
    Ok(())
}

fn as_text(services: &BTreeMap<&str, Vec<Method>>) -> String {
    let mut text = String::new();
    for (service, methods) in services {
        let (built, absent): (Vec<Method>, Vec<Method>) = methods.iter().partition(|method| method.built);
        text += &format!("{service}: {} of {} built\n", built.len(), methods.len());
        for method in built {
            text += &format!("  built      {}\n", method.name);
        }
        for method in absent {
            match (method.lacks, method.refused) {
                (Some(lacks), _) => text += &format!("  partly     {} (lacks {lacks})\n", method.name),
                (None, Some(said)) => text += &format!("  refused    {} (as by Temporal's server: {said})\n", method.name),
                (None, None) => text += &format!("  not built  {}\n", method.name),
            }
        }
    }
    text
}

fn as_json(services: &BTreeMap<&str, Vec<Method>>) -> String {
    let names =
        |methods: &[Method], built| -> Vec<_> { methods.iter().filter(|method| method.built == built).map(|method| method.name).collect() };
    let partly = |methods: &[Method]| -> BTreeMap<_, _> { methods.iter().filter_map(|m| Some((m.name, m.lacks?))).collect() };
    let refused = |methods: &[Method]| -> BTreeMap<_, _> { methods.iter().filter_map(|m| Some((m.name, m.refused?))).collect() };
    let services: Vec<_> = services
        .iter()
        .map(|(service, methods)| {
            // Those built in part, and those that Temporal's server refuses too, are among those not built.
            json!({
                "service": service, "built": names(methods, true), "not_built": names(methods, false), "lacking": partly(methods),
                "refused": refused(methods),
            })
        })
        .collect();
    format!("{:#}\n", json!({ "services": services }))
}
