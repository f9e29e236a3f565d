//! What the server cannot do is one plain sentence, exit code 1, and untouched data.

use std::{fs, net::TcpListener, path::Path};

use crate::support::{Running, Scratch, failure};

fn start_on(folder: &Path) -> String {
    failure(["server".as_ref(), "start".as_ref(), "--port=0".as_ref(), "--data-dir".as_ref(), folder.as_os_str()])
}

#[test]
fn a_second_server_on_the_same_folder() {
    let scratch = Scratch::new();
    let folder = scratch.path("data");
    let first = Running::on(&folder);
    let told = start_on(&folder);
    assert!(told.contains("is in use by another process") && told.contains("Stop it first"), "{told}");
    drop(first);
    Running::on(&folder);
}

#[test]
fn a_folder_of_a_newer_version() {
    let scratch = Scratch::new();
    let folder = scratch.path("data");
    drop(Running::on(&folder));
    let format = folder.join("FORMAT");
    let text = fs::read_to_string(&format).expect("a data folder");
    let (first, rest) = text.split_once('\n').expect("lines");
    let (word, _) = first.rsplit_once(' ').expect("a number");
    fs::write(&format, format!("{word} 9999\n{rest}")).expect("writable");
    let told = start_on(&folder);
    assert!(told.contains("has format 9999") && told.contains("Use a newer version"), "{told}");
    fs::write(&format, text).expect("writable");
    Running::on(&folder);
}

#[test]
fn a_file_instead_of_a_folder() {
    let scratch = Scratch::new();
    let file = scratch.path("file.db");
    fs::write(&file, "somebody's data").expect("writable");
    let told = start_on(&file);
    assert!(told.contains("is not a folder") && told.contains("Nothing was changed"), "{told}");
    let told = failure(["server".as_ref(), "start-dev".as_ref(), "--port=0".as_ref(), "--db-filename".as_ref(), file.as_os_str()]);
    assert!(told.contains("is a file") && told.contains("Nothing was changed"), "{told}");
    assert_eq!(fs::read_to_string(&file).expect("still there"), "somebody's data");
}

#[test]
fn a_folder_of_somebody_else() {
    let scratch = Scratch::new();
    let folder = scratch.path("photos");
    fs::create_dir(&folder).expect("writable");
    fs::write(folder.join("holiday.jpg"), "jpg").expect("writable");
    let told = start_on(&folder);
    assert!(told.contains("holiday.jpg") && told.contains("Nothing was changed"), "{told}");
    assert_eq!(fs::read_dir(&folder).expect("readable").count(), 1);
}

#[test]
#[cfg(target_os = "linux")]
fn a_place_that_cannot_be_written() {
    // Not even root can make a folder there.
    let told = start_on(Path::new("/proc/sempre-data"));
    assert!(told.starts_with("cannot ") && told.contains("/proc/sempre-data"), "{told}");
}

#[test]
fn a_port_that_is_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let told = failure(["server", "start-dev", "--port", &port.to_string()]);
    assert_eq!(told, format!("cannot listen on 127.0.0.1:{port}: the port is in use. Stop what uses it, or give another one with --port."));
    for option in ["--http-port", "--metrics-port"] {
        let told = failure(["server", "start-dev", "--port", "0", option, &port.to_string()]);
        assert!(told.ends_with(&format!(":{port}: the port is in use. Stop what uses it, or give another one with {option}.")), "{told}");
    }
}

#[test]
fn an_address_that_others_can_reach() {
    let scratch = Scratch::new();
    let folder = scratch.path("data");
    let told = failure(["server".as_ref(), "start".as_ref(), "--ip=0.0.0.0".as_ref(), "--data-dir".as_ref(), folder.as_os_str()]);
    assert!(told.contains("--insecure"), "{told}");
    assert!(!folder.exists());
}

#[test]
fn dynamic_configuration_that_is_none() {
    let told = failure(["server", "start-dev", "--port=0", "--dynamic-config-value", "limit.blobSize.error=many"]);
    assert!(told.contains("is not JSON"), "{told}");
}
