//! A server that has no file descriptors left, or whose log cannot be written.

use std::{net::TcpStream, time::Duration};

use crate::support::{Running, Scratch, output};

/// More than a server needs, and not many.
const FILES: usize = 96;

fn start(server: &Running, id: &str) -> Result<(), String> {
    let args = ["workflow", "start", "--type", "Type", "--task-queue", "queue", "--workflow-id", id, "--address", &server.address];
    let output = output(args);
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a server that is short of files is waited for by the wall clock")]
fn service_goes_on_when_there_are_files_again() {
    let scratch = Scratch::new();
    let folder = scratch.path("data");
    let args = ["server", "start", "--port=0", "--http-port=off", "--data-dir", folder.to_str().expect("text")];
    let mut server = Running::with_files(FILES, args);
    start(&server, "before").expect("there are files");
    let mut log = server.log();
    let held: Vec<_> = (0..2 * FILES).map(|_| TcpStream::connect(&server.address).expect("the system takes it in")).collect();
    let told = log.by_ref().find(|line| line.contains("cannot accept a connection")).expect("it says what is wrong");
    assert!(told.contains("Too many open files"), "{told}");
    // Meanwhile nobody comes in.
    drop(held);
    let mut tries = 0;
    while let Err(told) = start(&server, "after") {
        tries += 1;
        assert!(tries < 60, "{told}");
        std::thread::sleep(Duration::from_millis(250));
    }
    let counted = output(["workflow", "count", "--address", &server.address]);
    assert_eq!(String::from_utf8_lossy(&counted.stdout), "Total: 2\n");
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_log_that_cannot_be_written_is_lost_and_nothing_else() {
    let server = Running::logging_to("/dev/full", ["server", "start-dev", "--port=0", "--headless", "--log-level=debug"]);
    start(&server, "first").expect("it serves");
    start(&server, "second").expect("it goes on");
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
}
