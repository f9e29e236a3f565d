//! The routes of the API over HTTP: the table of `proto/routes.txt` as Rust source.

use std::{error::Error, fmt::Write, fs};

const FILE: &str = "proto/routes.txt";

/// One row for each binding of each method, in the order of the file.
pub(crate) fn table() -> Result<String, Box<dyn Error>> {
    let mut text =
        String::from("/// Every binding of every method that has one, in the order of the API's files.\npub const ROUTES: &[Route] = &[\n");
    for line in fs::read_to_string(FILE)?.lines().filter(|line| !line.starts_with('#')) {
        let [service, method, verb, path, body] = line.split(' ').collect::<Vec<_>>()[..] else {
            return Err(format!("{FILE}: {line:?} is not a route").into());
        };
        let body = if body == "-" { "" } else { body };
        writeln!(text, "    Route {{ service: {service:?}, method: {method:?}, verb: {verb:?}, path: {path:?}, body: {body:?} }},")?;
    }
    text.push_str("];\n");
    Ok(text)
}
