//! `sempre check` on packages and files.

use std::fs;

use crate::support::{Scratch, failure, output};

const WORKFLOW: &str = r#"
use temporalio_macros::{workflow, workflow_methods};

#[workflow]
#[derive(Default)]
pub struct Order;

#[workflow_methods]
impl Order {
    #[run]
    async fn run(ctx: &mut temporalio_sdk::WorkflowContext<Self>) -> temporalio_sdk::WorkflowResult<u32> {
        BODY
    }
}
"#;

fn package(scratch: &Scratch, body: &str) -> String {
    let folder = scratch.path("orders");
    fs::create_dir_all(folder.join("src")).expect("made");
    let manifest = "[package]\nname = \"orders\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
    fs::write(folder.join("Cargo.toml"), manifest).expect("written");
    fs::write(folder.join("src/lib.rs"), WORKFLOW.replace("BODY", body)).expect("written");
    folder.to_str().expect("text").to_owned()
}

#[test]
fn a_finding_names_line_reason_and_what_to_use() {
    let scratch = Scratch::new();
    let folder = package(&scratch, "let _ = std::time::SystemTime::now();\n        Ok(1)");
    let checked = output(["check", &folder]);
    assert_eq!(checked.status.code(), Some(1));
    let text = String::from_utf8(checked.stdout).expect("text");
    let line =
        "src/lib.rs:12:17: clock: `std::time::SystemTime::now` reads a clock: a replay sees another time; use `ctx.workflow_time()`\n";
    assert!(text.contains(line), "{text}");
    let checked = output(["check", &folder, "--format", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&checked.stdout).expect("JSON");
    assert_eq!((&json["findings"][0]["kind"], &json["findings"][0]["line"]), (&"clock".into(), &12.into()));
    assert_eq!(checked.status.code(), Some(1));
}

#[test]
fn what_is_fine_or_allowed_ends_with_nothing() {
    let scratch = Scratch::new();
    let folder = package(&scratch, "// sempre: allow(clock) for a log line\n        let _ = std::time::SystemTime::now();\n        Ok(1)");
    let checked = output(["check", &folder]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    assert_eq!(String::from_utf8_lossy(&checked.stdout), "workflows 1, functions of theirs 1, files 1, allowed by comments 1\n");
}

#[test]
fn what_could_not_be_looked_at_is_told() {
    let scratch = Scratch::new();
    let folder = package(&scratch, "Ok(1)");
    fs::write(scratch.path("orders/src/lib.rs"), "fn main( {").expect("written");
    let checked = output(["check", &folder]);
    assert_eq!(checked.status.code(), Some(3), "{checked:?}");
    assert!(String::from_utf8_lossy(&checked.stdout).contains("lib.rs:1: note: is not Rust that can be parsed"), "{checked:?}");
    fs::write(scratch.path("orders/src/lib.rs"), "mod gone;\npub fn one() {}\n").expect("written");
    let checked = output(["check", &folder]);
    assert_eq!(checked.status.code(), Some(3), "{checked:?}");
    assert!(String::from_utf8_lossy(&checked.stderr).contains("no workflow code was found"), "{checked:?}");
    let nowhere = output(["check", "/no/such/folder"]);
    assert_eq!(nowhere.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("is neither a folder with a Cargo.toml nor a Rust file"), "{nowhere:?}");
    let both = failure(["check", &package(&scratch, "let _ = rand::random::<u8>(); Ok(std::process::id())")]);
    assert_eq!(both, "2 things in workflow code that a replay would see differently.");
}
