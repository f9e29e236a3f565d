//! Data of every format that there has been: it is opened, found whole, and its runs go on.
//!
//! Each is a folder as a server of that format left it when it was killed: a part is in the cold store, the newest is in the log
//! only. `crates/sempre/tests/fixtures/README.md` says how they were made.

use std::{fs, path::Path, process::Command};

use crate::support::{Running, Scratch, failure, output};

/// `"one"`, `"two"` and `"three"` as they stand in a history.
const ONE: &str = "Im9uZSI=";
const TWO: &str = "InR3byI=";
const THREE: &str = "InRocmVlIg==";

fn unpack(fixture: &str, folder: &Path) {
    fs::create_dir(folder).expect("writable");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture);
    let status = Command::new("tar").arg("-xzf").arg(file).arg("-C").arg(folder).status().expect("tar is there");
    assert!(status.success());
}

fn done<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> String {
    let output = output(args);
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    told
}

#[test]
fn data_of_format_1_is_brought_up_and_goes_on() {
    let scratch = Scratch::new();
    let data = scratch.path("data");
    unpack("format-1.tar.gz", &data);
    assert!(fs::read_to_string(data.join("FORMAT")).expect("readable").starts_with("sempre-store 1\n"));
    let server = Running::on(&data);
    let at = |server: &Running, args: &[&str]| done(args.iter().chain(&["--address", &server.address]));
    let history = at(&server, &["workflow", "show", "-w", "open", "--output", "json"]);
    for input in [ONE, TWO] {
        assert!(history.contains(input), "the signal {input}, of the cold store or the log: {history}");
    }
    assert!(at(&server, &["workflow", "list", "--query", "Color = 'red'"]).contains("open"));
    assert!(at(&server, &["schedule", "describe", "--schedule-id", "nightly"]).contains("nightly"));
    at(&server, &["workflow", "signal", "-w", "open", "--name", "add", "--input", "\"three\""]);
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    assert!(fs::read_to_string(data.join("FORMAT")).expect("readable").starts_with("sempre-store 2\n"));
    done(["doctor".as_ref(), data.as_os_str()]);
    done(["store".as_ref(), "check".as_ref(), data.as_os_str()]);
    let server = Running::on(&data);
    assert!(at(&server, &["workflow", "show", "-w", "open", "--output", "json"]).contains(THREE));
}

#[test]
fn who_only_looks_at_data_of_format_1_leaves_it_to_the_version_that_wrote_it() {
    let scratch = Scratch::new();
    let data = scratch.path("data");
    unpack("format-1.tar.gz", &data);
    for look in [&["doctor"][..], &["store", "check"]] {
        let args = look.iter().map(|word| std::ffi::OsStr::new(*word)).chain([data.as_os_str()]);
        let told = failure(args);
        assert!(told.contains("has format 1") && told.contains("Nothing was changed"), "{told}");
    }
    assert!(fs::read_to_string(data.join("FORMAT")).expect("readable").starts_with("sempre-store 1\n"));
}
