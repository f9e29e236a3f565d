//! The vendored routes are those of the protos. The services are compiled once more, with their options, from the `.proto`
//! files of `temporalio-protos`; where they lie is cargo's to say.
#![cfg(feature = "http")]

use std::{env, error::Error, fmt::Write, fs, path::PathBuf, process::Command};

use prost_reflect::{DynamicMessage, Value};
use serde_json::Value as Json;

/// Services that have routes.
const SERVICES: [&str; 2] = ["temporal/api/workflowservice/v1/service.proto", "temporal/api/operatorservice/v1/service.proto"];
const CRATE: &str = "temporalio-protos";
const VERBS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// The table: one row for each binding of each method, in the order of the files.
fn table() -> Result<String, Box<dyn Error>> {
    let protos = protos()?;
    let mut compiler = protox::Compiler::new([protos.join("api_upstream"), protos])?;
    let pool = compiler.open_files(SERVICES)?.descriptor_pool();
    let http = pool.get_extension_by_name("google.api.http").ok_or("the protos do not define google.api.http")?;
    let mut text = String::new();
    let mut rows = 0;
    for method in pool
        .services()
        .filter(|service| service.full_name().starts_with("temporal.api."))
        .flat_map(|service| service.methods().collect::<Vec<_>>())
    {
        let options = method.options();
        if !options.has_extension(&http) {
            continue;
        }
        let rule = options.get_extension(&http);
        let rule = rule.as_message().ok_or("google.api.http is not a message")?;
        let more = rule.get_field_by_name("additional_bindings");
        let more = more.as_deref().and_then(Value::as_list).unwrap_or_default();
        for rule in [rule].into_iter().chain(more.iter().filter_map(Value::as_message)) {
            let (verb, path) = binding(rule).ok_or_else(|| format!("{} has a binding without a path", method.full_name()))?;
            let body = text_of(rule, "body");
            if !text_of(rule, "response_body").is_empty() {
                return Err(format!("{} answers with a part of its response, which is not built", method.full_name()).into());
            }
            let (service, method) = (method.parent_service().full_name().to_owned(), method.name());
            let body = if body.is_empty() { "-" } else { &body };
            writeln!(text, "{service} {method} {verb} {path} {body}")?;
            rows += 1;
        }
    }
    if rows == 0 { Err("the protos have no routes".into()) } else { Ok(text) }
}

fn binding(rule: &DynamicMessage) -> Option<(String, String)> {
    let set = VERBS.iter().map(|verb| (verb.to_uppercase(), text_of(rule, verb)));
    set.into_iter().find(|(_, path)| !path.is_empty())
}

fn text_of(message: &DynamicMessage, field: &str) -> String {
    message.get_field_by_name(field).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The folder of the `.proto` files.
fn protos() -> Result<PathBuf, Box<dyn Error>> {
    // Without the network first: whoever builds has what is built.
    let metadata = metadata(&["--offline"]).or_else(|_| metadata(&[]))?;
    let packages = metadata["packages"].as_array().ok_or("`cargo metadata` names no packages")?;
    let package = packages.iter().find(|package| package["name"] == CRATE).ok_or("`cargo metadata` does not name temporalio-protos")?;
    let manifest = PathBuf::from(package["manifest_path"].as_str().ok_or("`cargo metadata` does not say where it is")?);
    Ok(manifest.parent().ok_or("a manifest without a folder")?.join("protos"))
}

fn metadata(more: &[&str]) -> Result<Json, Box<dyn Error>> {
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("Cargo.toml");
    let mut cargo = Command::new(env::var_os("CARGO").ok_or("CARGO is not set")?);
    let output = cargo.args(["metadata", "--format-version", "1", "--locked", "--manifest-path"]).arg(manifest).args(more).output()?;
    if !output.status.success() {
        return Err(format!("`cargo metadata` failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[test]
fn the_vendored_routes_are_those_of_the_protos() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("proto/routes.txt");
    let vendored = fs::read_to_string(&file).expect("the file");
    let (head, rows): (Vec<&str>, Vec<&str>) = vendored.lines().partition(|line| line.starts_with('#'));
    let of_protos = table().expect("the protos");
    if env::var_os("SEMPRE_WRITE_ROUTES").is_some() {
        fs::write(&file, format!("{}\n{of_protos}", head.join("\n"))).expect("written");
        return;
    }
    assert_eq!(rows, of_protos.lines().collect::<Vec<_>>());
}
