//! Commands that only print.

use crate::support::output;

fn printed(args: &[&str]) -> String {
    let output = output(args);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn version_in_three_ways() {
    let expected = format!("sempre {} (Temporal API, server version {})\n", env!("CARGO_PKG_VERSION"), sempre_server::SERVER_VERSION);
    for args in [&["version"][..], &["-v"], &["--version"], &["server", "start-dev", "--version"]] {
        assert!(printed(args).ends_with(expected.trim_start_matches("sempre ")), "{args:?}");
    }
    assert_eq!(printed(&["version"]), expected);
}

#[test]
fn coverage_as_text_and_json() {
    let text = printed(&["api-coverage"]);
    assert!(text.contains("temporal.api.workflowservice.v1.WorkflowService: "));
    assert!(text.contains("  built      SignalWorkflowExecution\n"));
    assert!(!text.contains("not built"), "{text}");
    assert!(text.contains("  refused    CreateWorkflowRule (as by Temporal's server: "));
    let json: serde_json::Value = serde_json::from_str(&printed(&["api-coverage", "--json"])).expect("JSON");
    let services = json["services"].as_array().expect("a list");
    let methods: usize =
        services.iter().map(|s| s["built"].as_array().unwrap_or(&vec![]).len() + s["not_built"].as_array().unwrap_or(&vec![]).len()).sum();
    assert_eq!(methods, sempre_server::coverage::methods().count());
}

#[test]
fn every_command_has_help() {
    for args in [
        &["--help"][..],
        &["server", "--help"],
        &["store", "check", "--help"],
        &["server", "start", "--help"],
        &["server", "start-dev", "--help"],
    ] {
        assert!(printed(args).contains("Usage: sempre"), "{args:?}");
    }
}

#[test]
fn what_is_not_understood_ends_with_two() {
    for args in [&["serve"][..], &["server", "start", "--datadir=x"], &["server", "start-dev", "--port=many"], &[]] {
        assert_eq!(output(args).status.code(), Some(2), "{args:?}");
    }
}
