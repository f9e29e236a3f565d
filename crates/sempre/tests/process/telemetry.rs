//! OTLP from outside: a receiver that is not there, variables that cannot be used.
#![expect(clippy::disallowed_methods, reason = "a server process lives in real time")]

use std::{
    process::Stdio,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::support::{Running, Scratch, command, output};

#[test]
fn a_receiver_that_is_down_is_told_once_and_holds_nothing_up() {
    let scratch = Scratch::new();
    let folder = scratch.path("data");
    let mut server = Running::start_in(
        &[("OTEL_BSP_SCHEDULE_DELAY", "10"), ("OTEL_METRIC_EXPORT_INTERVAL", "10")],
        [
            "server".as_ref(),
            "start".as_ref(),
            "--port=0".as_ref(),
            "--http-port=off".as_ref(),
            "--ui-port=off".as_ref(),
            "--otlp-protocol=grpc".as_ref(),
            // Nobody listens there.
            "--otlp-endpoint=http://me:secret@127.0.0.1:1".as_ref(),
            "--data-dir".as_ref(),
            folder.as_os_str(),
        ],
    );
    let (lines, told) = mpsc::channel();
    let log = server.log();
    thread::spawn(move || log.for_each(|line| drop(lines.send(line))));
    let begun = Instant::now();
    let mut log = Vec::new();
    // Long after both have failed for the first time.
    while log.iter().filter(|line: &&String| line.contains("cannot be sent by OTLP")).count() < 2 {
        let listed = output(["workflow", "list", "--address", &server.address]);
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        log.extend(told.try_iter());
        assert!(begun.elapsed() < Duration::from_secs(60), "{log:?}");
    }
    for _ in 0..5 {
        assert!(output(["workflow", "list", "--address", &server.address]).status.success());
    }
    let stopping = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    assert!(stopping.elapsed() < Duration::from_secs(15));
    log.extend(told.iter());
    for what in ["spans", "metrics"] {
        let of = log.iter().filter(|line| line.contains(&format!("{what} cannot be sent by OTLP"))).count();
        assert_eq!(of, 1, "{log:?}");
    }
    assert!(!log.iter().any(|line| line.contains("secret")), "{log:?}");
}

#[test]
fn a_variable_that_cannot_be_used_is_told_before_anything_is_made() {
    let scratch = Scratch::new();
    let folder = scratch.path("data");
    let mut start = command(["server".as_ref(), "start".as_ref(), "--port=0".as_ref(), "--data-dir".as_ref(), folder.as_os_str()]);
    start.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1").env("OTEL_TRACES_SAMPLER", "xray").stdout(Stdio::null());
    let ended = start.output().expect("the binary runs");
    let told = String::from_utf8(ended.stderr).expect("text");
    assert_eq!(ended.status.code(), Some(1), "{told}");
    assert!(told.contains("OTEL_TRACES_SAMPLER is `xray`: it must be always_on"), "{told}");
    assert!(!folder.exists());
}
