//! The folder of planted faults: what is caught and what is not is as its marks, and as the table of the documentation, say.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sempre_check::{Report, check};

/// A line's mark.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    kind: String,
    walk: bool,
    types: bool,
    name: String,
}

fn planted() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("planted")
}

/// File name and line of each planted fault.
fn marks() -> BTreeMap<(String, usize), Mark> {
    let mut marks = BTreeMap::new();
    for entry in fs::read_dir(planted().join("src")).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        for (number, line) in fs::read_to_string(&path).expect("it can be read").lines().enumerate() {
            let Some((_, mark)) = line.split_once("//~ ") else { continue };
            let (kind, rest) = mark.split_once(" [").expect("a kind, then who catches it");
            let (by, told) = rest.split_once("] ").expect("then a name");
            let mark = Mark { kind: kind.to_owned(), walk: by.contains("walk"), types: by.contains("types"), name: told.to_owned() };
            // A mark on a line of its own speaks of the line above.
            let line = if line.trim_start().starts_with("//~") { number } else { number + 1 };
            marks.insert((name.clone(), line), mark);
        }
    }
    marks
}

fn found(report: &Report) -> BTreeMap<(String, usize), String> {
    let at = |finding: &sempre_check::Finding| {
        (finding.file.file_name().and_then(|name| name.to_str()).expect("a name").to_owned(), finding.line)
    };
    report.findings.iter().map(|finding| (at(finding), finding.kind.name().to_owned())).collect()
}

#[test]
fn the_walk_catches_what_the_marks_say_and_nothing_else() {
    let report = check(&[planted()]).unwrap();
    let expected: BTreeMap<_, _> = marks().into_iter().filter(|(_, mark)| mark.walk).map(|(at, mark)| (at, mark.kind)).collect();
    let found = found(&report);
    let missed: Vec<_> = expected.iter().filter(|(at, kind)| found.get(*at) != Some(kind)).collect();
    let wrong: Vec<_> = found.iter().filter(|(at, kind)| expected.get(*at) != Some(kind)).collect();
    assert!(missed.is_empty() && wrong.is_empty(), "missed {missed:#?}\nfound without reason {wrong:#?}");
    assert_eq!(report.allowed, 1);
    assert!(!report.is_undecided(), "{:?}", report.notes);
    assert!(expected.len() > 50, "{}", expected.len());
}

#[test]
#[ignore = "compiles the official SDK: cargo test -p sempre-check -- --ignored"]
fn with_types_it_catches_what_the_marks_say_and_nothing_else() {
    let mut report = check(&[planted()]).unwrap();
    sempre_check::typed(&[planted()], &mut report).unwrap();
    let expected: BTreeMap<_, _> =
        marks().into_iter().filter(|(_, mark)| mark.walk || mark.types).map(|(at, mark)| (at, mark.kind)).collect();
    let found = found(&report);
    let missed: Vec<_> = expected.iter().filter(|(at, kind)| found.get(*at) != Some(kind)).collect();
    let wrong: Vec<_> = found.iter().filter(|(at, kind)| expected.get(*at) != Some(kind)).collect();
    assert!(missed.is_empty() && wrong.is_empty(), "missed {missed:#?}\nfound without reason {wrong:#?}");
}

/// The folder of the official SDK of the lock file, as cargo has unpacked it.
fn sdk() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let told = Command::new(cargo).args(["metadata", "--format-version", "1", "--locked"]).current_dir(planted()).output();
    let told = told.expect("cargo runs");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).expect("it tells JSON");
    let packages = told["packages"].as_array().expect("packages");
    let sdk = packages.iter().find(|package| package["name"] == "temporalio-sdk").expect("the workspace has it");
    let manifest = sdk["manifest_path"].as_str().expect("a path");
    Path::new(manifest).parent().expect("a file is in a folder").to_owned()
}

#[test]
fn nothing_is_reported_of_the_official_sdks_own_examples() {
    let examples = sdk().join("examples");
    let folders = fs::read_dir(&examples).unwrap().map(|entry| entry.unwrap().path().join("workflows.rs"));
    let mut files: Vec<_> = folders.filter(|file| file.is_file()).collect();
    files.push(examples.join("workflow_context.rs"));
    let report = check(&files).unwrap();
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    assert!(report.workflows >= 16, "{} workflows in {files:?}", report.workflows);
    assert!(!report.is_undecided(), "{:?}", report.notes);
}

/// The table, from the marks.
fn table() -> String {
    let mut by_kind: BTreeMap<String, Vec<Mark>> = BTreeMap::new();
    for mark in marks().into_values() {
        by_kind.entry(mark.kind.clone()).or_default().push(mark);
    }
    let told = |caught| if caught { "caught" } else { "missed" };
    let mut table = String::from("| kind | planted fault | walk | with `--types` |\n|---|---|---|---|\n");
    for mark in by_kind.into_values().flatten() {
        let Mark { kind, walk, types, name } = mark;
        table.push_str(&format!("| {kind} | {name} | {} | {} |\n", told(walk), told(walk || types)));
    }
    table
}

#[test]
fn the_documentation_has_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/check.md");
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- planted faults: made by `SEMPRE_WRITE=1 cargo test -p sempre-check` -->\n", "<!-- end -->");
    let (before, rest) = text.split_once(begin).expect("the table has its place");
    let (now, after) = rest.split_once(end).expect("the table has an end");
    if std::env::var_os("SEMPRE_WRITE").is_some() {
        fs::write(&path, format!("{before}{begin}{}{end}{after}", table())).unwrap();
        return;
    }
    assert_eq!(now, table(), "run it again with SEMPRE_WRITE=1");
}
