//! `config …`, `env …`, and connecting by what they keep.

use super::{Server, isolate};
use crate::support::{Scratch, command};

#[test]
fn a_profile_is_kept_and_connected_by() {
    let server = Server::start();
    let scratch = Scratch::new();
    let file = scratch.path("deep/temporal.toml");
    let run = |line: &[&str]| {
        let mut command = command(line);
        isolate(&mut command);
        command.env("TEMPORAL_CONFIG_FILE", &file);
        let output = command.output().expect("the binary runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    assert_eq!(run(&["config", "set", "--profile", "local", "--prop", "address", "--value", &server.0.address]), (true, String::new()));
    run(&["config", "set", "--profile", "local", "-p", "tls.disabled", "-v", "true"]);
    assert_eq!(run(&["config", "list"]), (true, "  Name\n  local\n".into()));
    let (_, got) = run(&["config", "get", "--profile", "local", "-p", "address", "-o", "jsonl"]);
    assert_eq!(got, format!("{{\"property\":\"address\",\"value\":\"{}\"}}\n", server.0.address));
    assert_eq!(run(&["operator", "cluster", "health", "--profile", "local"]), (true, "SERVING\n".into()));
    assert!(run(&["config", "delete", "--profile", "local", "-p", "tls.disabled"]).0);
    assert!(run(&["config", "delete-profile", "--profile", "local"]).0);
    let (good, told) = run(&["operator", "cluster", "health", "--profile", "local"]);
    assert!(!good && told.starts_with("error: there is no profile \"local\" in "), "{told}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file).expect("kept").permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn an_environment_is_kept_and_connected_by() {
    let server = Server::start();
    let scratch = Scratch::new();
    let file = scratch.path("temporal.yaml");
    let run = |line: &[&str]| {
        let mut command = command(line);
        isolate(&mut command);
        command.env("TEMPORAL_ENV_FILE", &file);
        let output = command.output().expect("the binary runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert!(run(&["env", "set", "--env", "local", "-k", "address", "-v", &server.0.address]).0);
    assert!(run(&["env", "set", "local.namespace", "default"]).0);
    assert_eq!(run(&["env", "list"]), (true, "  Name\n  local\n".into()));
    assert!(run(&["env", "get", "--env", "local"]).1.contains("namespace  default\n"));
    assert_eq!(run(&["operator", "cluster", "health", "--env", "local"]), (true, "SERVING\n".into()));
    assert!(run(&["env", "delete", "--env", "local"]).0);
    assert!(!run(&["operator", "cluster", "health", "--env", "local"]).0);
}
