//! Generates messages and services from the descriptor set that `temporalio-protos` compiled.
//!
//! Nothing generated is committed; the cloud API and the SDK-internal packages are filtered out. Our own services
//! (`proto/`) are added.

#[cfg(feature = "http")]
mod routes;

use std::{collections::BTreeSet, env, error::Error, fs, path::PathBuf};

use prost::Message;
use prost_types::FileDescriptorSet;
use protox::{
    Compiler,
    file::{ChainFileResolver, DescriptorSetFileResolver, GoogleFileResolver, IncludeFileResolver},
};

/// Oneof members that are much larger than their siblings; kept behind a box so that an event
/// or command moves as a few words.
const BOXED: &[&str] = &[
    ".temporal.api.history.v1.HistoryEvent.attributes.workflow_execution_started_event_attributes",
    ".temporal.api.history.v1.HistoryEvent.attributes.start_child_workflow_execution_initiated_event_attributes",
    ".temporal.api.history.v1.HistoryEvent.attributes.workflow_execution_continued_as_new_event_attributes",
    ".temporal.api.history.v1.HistoryEvent.attributes.activity_task_scheduled_event_attributes",
    ".temporal.api.history.v1.HistoryEvent.attributes.workflow_task_completed_event_attributes",
    ".temporal.api.history.v1.HistoryEvent.attributes.workflow_execution_options_updated_event_attributes",
    ".temporal.api.history.v1.HistoryEvent.attributes.workflow_execution_update_accepted_event_attributes",
    ".temporal.api.history.v1.HistoryEvent.attributes.workflow_execution_update_admitted_event_attributes",
    ".temporal.api.history.v1.HistoryEvent.attributes.nexus_operation_scheduled_event_attributes",
    ".temporal.api.command.v1.Command.attributes.start_child_workflow_execution_command_attributes",
    ".temporal.api.command.v1.Command.attributes.continue_as_new_workflow_execution_command_attributes",
    ".temporal.api.command.v1.Command.attributes.schedule_activity_task_command_attributes",
];

/// Protos of our own, below `proto/`.
const OWN: &[&str] = &[
    "sempre/v1/alerts.proto",
    "sempre/v1/flow.proto",
    "sempre/v1/access.proto",
    "sempre/v1/inspect.proto",
    "sempre/v1/operate.proto",
    "sempre/v1/steer.proto",
    "sempre/v1/storage.proto",
    "sempre/v1/versions.proto",
];

fn wanted(file: &str, package: &str) -> bool {
    let temporal = package.starts_with("temporal.api.") && !package.starts_with("temporal.api.cloud.");
    temporal || package == "google.protobuf" || package == "grpc.health.v1" || file == "google/rpc/status.proto"
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-env-changed=DEP_TEMPORALIO_PROTOS_DESCRIPTOR_PATH");
    let path = env::var("DEP_TEMPORALIO_PROTOS_DESCRIPTOR_PATH")
        .map_err(|_| "temporalio-protos did not hand over its descriptor set (DEP_TEMPORALIO_PROTOS_DESCRIPTOR_PATH)")?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut set = FileDescriptorSet::decode(fs::read(path)?.as_slice())?;
    set.file.retain(|f| wanted(f.name(), f.package()));
    drop_absent_imports(&mut set);
    // Ours import of Temporal's what is in the set already.
    let mut files = ChainFileResolver::new();
    files.add(IncludeFileResolver::new("proto".into()));
    files.add(DescriptorSetFileResolver::new(set.clone()));
    files.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(files);
    for file in OWN {
        compiler.open_file(file)?;
    }
    set.file.extend(compiler.file_descriptor_set().file);

    fs::write(out.join("methods.rs"), methods(&set))?;
    #[cfg(feature = "http")]
    fs::write(out.join("routes.rs"), routes::table()?)?;

    let services = env::var_os("CARGO_FEATURE_GRPC").is_some();
    let clients = env::var_os("CARGO_FEATURE_GRPC_CLIENT").is_some();
    let mut config = prost_build::Config::new();
    config.bytes(["."]);
    config.btree_map(["."]);
    config.enable_type_names();
    for path in BOXED {
        config.boxed(path);
    }
    // Our own type: encoded events, passed on without decoding (src/history.rs).
    config.extern_path(".temporal.api.history.v1.History", "crate::History");
    config.out_dir(&out);
    config.include_file("api.rs");
    // Doc comments of the protos are not Rust documentation (links and code blocks do not parse).
    config.disable_comments(["."]);
    if services {
        fs::write(out.join("descriptors.bin"), set.encode_to_vec())?;
        tonic_prost_build::configure()
            .build_server(true)
            .build_client(clients)
            .build_transport(false)
            .generate_default_stubs(true)
            .out_dir(&out)
            .include_file("api.rs")
            .compile_fds_with_config(set, config)?;
    } else {
        config.compile_fds(set)?;
    }
    Ok(())
}

/// Forgets imports of files that were filtered out (annotations for gateways), so that the set stands for itself.
fn drop_absent_imports(set: &mut FileDescriptorSet) {
    let present: BTreeSet<String> = set.file.iter().map(|file| file.name().to_owned()).collect();
    for file in &mut set.file {
        assert!(file.public_dependency.is_empty() && file.weak_dependency.is_empty(), "these name imports by their place");
        file.dependency.retain(|name| present.contains(name));
    }
}

/// A table of every method of every service: what `api-coverage` and its test walk through.
fn methods(set: &FileDescriptorSet) -> String {
    let mut text = String::from(
        "/// Every method of every service of the API: (full service name, method name).\npub const METHODS: &[(&str, &str)] = &[\n",
    );
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                text.push_str(&format!("    (\"{}.{}\", \"{}\"),\n", file.package(), service.name(), method.name()));
            }
        }
    }
    text.push_str("];\n");
    text
}
