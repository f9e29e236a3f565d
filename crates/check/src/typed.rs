//! A second look with types: clippy is asked about the same table, and what it says of workflow code is added.
//!
//! Clippy knows the type of every expression, also of those that the source does not write down; but it refuses everywhere, in activities
//! too, and needs all dependencies compiled. So the walk says where workflow code is, and clippy what is in it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
};

use serde_json::Value;

use crate::{
    Finding, Kind, Note, Report,
    report::{ALLOWS_NOTHING, Allowed, CodeSpan},
    rules::{self, RULES},
};

/// Why clippy has not told anything.
#[derive(Debug, thiserror::Error)]
pub enum TypedError {
    /// It cannot be asked about a file without a package.
    #[error("{0} has no Cargo.toml: types are known only of whole packages")]
    NoPackage(PathBuf),
    /// The configuration could not be written, or cargo not be run.
    #[error("cargo clippy cannot be run: {0}")]
    Run(#[from] std::io::Error),
    /// The package does not compile, or there is no clippy.
    #[error("cargo clippy did not get through {folder}: {said}")]
    Failed {
        /// The package.
        folder: PathBuf,
        /// The end of its words.
        said: String,
    },
}

/// Functions and methods that the table of rules has only as part of a whole module: clippy wants each by its name.
const NAMED: &[(&str, &[&str])] = &[
    (
        "std::fs",
        &[
            "canonicalize",
            "copy",
            "create_dir",
            "create_dir_all",
            "exists",
            "hard_link",
            "metadata",
            "read",
            "read_dir",
            "read_link",
            "read_to_string",
            "remove_dir",
            "remove_dir_all",
            "remove_file",
            "rename",
            "set_permissions",
            "symlink_metadata",
            "write",
            "File::open",
            "File::create",
            "File::create_new",
            "OpenOptions::open",
        ],
    ),
    ("std::env", &["args", "args_os", "current_dir", "current_exe", "home_dir", "set_var", "temp_dir", "var", "var_os", "vars", "vars_os"]),
    ("std::process", &["abort", "exit", "id", "Command::new"]),
    (
        "std::thread",
        &["available_parallelism", "current", "park", "park_timeout", "scope", "spawn", "yield_now", "Builder::new", "Builder::spawn"],
    ),
    ("std::sync::mpsc", &["channel", "sync_channel"]),
    ("std::sync::Condvar", &["new"]),
    ("std::sync::Barrier", &["new"]),
    ("std::hash::RandomState", &["new"]),
    ("std::net::TcpStream", &["connect", "connect_timeout"]),
    ("std::net::TcpListener", &["bind"]),
    ("std::net::UdpSocket", &["bind"]),
    ("std::net::ToSocketAddrs", &["to_socket_addrs"]),
    (
        "std::collections::HashMap",
        &["new", "with_capacity", "iter", "iter_mut", "keys", "values", "values_mut", "into_keys", "into_values", "drain", "retain"],
    ),
    (
        "std::collections::HashSet",
        &["new", "with_capacity", "iter", "drain", "retain", "difference", "intersection", "symmetric_difference", "union"],
    ),
    ("tokio::time", &["interval", "interval_at", "sleep", "sleep_until", "timeout", "timeout_at", "Instant::now"]),
    ("tokio::task", &["block_in_place", "spawn_blocking", "spawn_local", "yield_now", "JoinSet::new"]),
    ("tokio::sync", &["oneshot::channel", "mpsc::channel", "mpsc::unbounded_channel", "watch::channel", "broadcast::channel"]),
    ("tokio::fs", &["read", "read_dir", "read_to_string", "remove_file", "write", "File::open", "File::create"]),
    ("tokio::net", &["TcpStream::connect", "TcpListener::bind", "UdpSocket::bind"]),
    ("futures::executor", &["block_on"]),
    ("futures::stream::FuturesUnordered", &["new"]),
];

/// The configuration for clippy.
fn configuration() -> String {
    let line = |path: &str| format!("    {{ path = \"{path}\", allow-invalid = true }},\n");
    let mut methods: BTreeSet<String> =
        NAMED.iter().flat_map(|(of, names)| names.iter().map(move |name| format!("{of}::{name}"))).collect();
    let (mut types, mut macros) = (BTreeSet::new(), BTreeSet::new());
    for path in RULES.iter().map(|rule| rule.path).filter(|path| !path.ends_with('*')) {
        let last = path.rsplit("::").next().unwrap_or_default();
        match path.strip_suffix('!') {
            Some(path) => drop(macros.insert(path.to_owned())),
            None if last.starts_with(char::is_uppercase) => drop(types.insert(path.to_owned())),
            None => drop(methods.insert(path.to_owned())),
        }
    }
    let list = |name: &str, paths: BTreeSet<String>| format!("{name} = [\n{}]\n", paths.iter().map(|path| line(path)).collect::<String>());
    list("disallowed-methods", methods) + &list("disallowed-types", types) + &list("disallowed-macros", macros)
}

/// Asks clippy about packages and adds to a report of [`crate::check`] on the same ones.
pub fn typed(paths: &[PathBuf], report: &mut Report) -> Result<(), TypedError> {
    // One process may ask about several packages at once.
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let number = ASKED.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("sempre-check-{}-{number}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let added = fs::write(folder.join("clippy.toml"), configuration())
        .map_err(TypedError::from)
        .and_then(|()| paths.iter().try_for_each(|path| ask(path, &folder, report)));
    // A left-over in the temporary folder harms nobody.
    let _ = fs::remove_dir_all(&folder);
    report.findings.sort_by(|a, b| (&a.file, a.line, a.column, a.kind).cmp(&(&b.file, b.line, b.column, b.kind)));
    added
}

fn ask(package: &Path, configuration: &Path, report: &mut Report) -> Result<(), TypedError> {
    let manifest = package.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(TypedError::NoPackage(package.to_owned()));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let lints = ["disallowed_methods", "disallowed_types", "disallowed_macros"].map(|lint| format!("clippy::{lint}"));
    let mut command = Command::new(cargo);
    command.args(["clippy", "--quiet", "--all-targets", "--message-format=json", "--manifest-path"]).arg(&manifest).arg("--");
    // Also where the package has allowed them: that was for another list.
    command.args(["-A", "clippy::all"]).args(lints.iter().flat_map(|lint| ["--force-warn", lint]));
    let output = command.env("CLIPPY_CONF_DIR", configuration).output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    let mut messages = told.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    if !output.status.success() {
        // What the compiler says is among the messages, what cargo says is not.
        let first = messages.find(|message| message["message"]["level"] == "error");
        let first = first.and_then(|message| message["message"]["message"].as_str().map(str::to_owned));
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = said.trim().lines().rev().take(3).collect();
        let said = first.as_deref().into_iter().chain(last.into_iter().rev()).collect::<Vec<_>>().join(" ");
        return Err(TypedError::Failed { folder: package.to_owned(), said });
    }
    let root = root(&manifest)?;
    for message in messages {
        let code = message["message"]["code"]["code"].as_str().unwrap_or_default();
        if lints.iter().any(|lint| lint == code) {
            take(&message["message"], &root, report);
        }
    }
    Ok(())
}

/// Clippy names files as seen from here.
fn root(manifest: &Path) -> Result<PathBuf, TypedError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output =
        Command::new(cargo).args(["locate-project", "--workspace", "--message-format=plain", "--manifest-path"]).arg(manifest).output()?;
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    Ok(path.parent().map(Path::to_path_buf).unwrap_or_default())
}

/// Adds what clippy says, if it is about workflow code and new.
fn take(message: &Value, root: &Path, report: &mut Report) {
    let text = message["message"].as_str().unwrap_or_default();
    // "use of a disallowed method `std::time::Instant::now`"
    let Some(named) = text.split('`').nth(1) else { return };
    let path = if text.contains("macro") { format!("{named}!") } else { rules::canonical(named) };
    let Some(rule) = rules::rule_of(&path) else { return };
    let number = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or_default();
    for span in message["spans"].as_array().into_iter().flatten().filter(|span| span["is_primary"] == true) {
        let file = root.join(span["file_name"].as_str().unwrap_or_default());
        let (line, column) = (number(&span["line_start"]), number(&span["column_start"]));
        let holds = |code: &&CodeSpan| same(&code.file, &file) && (code.first..=code.last).contains(&line);
        // The innermost function that has the line.
        let Some(code) = report.spans.iter().filter(holds).min_by_key(|code| code.last - code.first).cloned() else { continue };
        // Naming a type does nothing; what is unordered is refused by its name in the walk.
        if text.contains("type") && rule.kind != Kind::Unordered {
            continue;
        }
        if report.findings.iter().any(|known| known.line == line && known.kind == rule.kind && same(&known.file, &file)) {
            continue;
        }
        let allows = |allowed: &&Allowed| allowed.line == line && allowed.kinds.contains(&rule.kind) && same(&allowed.file, &file);
        if let Some(allowed) = report.allows.iter().find(allows) {
            // The comment is of use after all, if only here.
            let is_of_use = |note: &Note| note.text == ALLOWS_NOTHING && note.line == allowed.comment && note.file == allowed.file;
            let before = report.notes.len();
            report.notes.retain(|note| !is_of_use(note));
            report.allowed += before - report.notes.len();
            continue;
        }
        report.findings.push(Finding {
            file: code.file.clone(),
            line,
            column,
            kind: rule.kind,
            what: path.clone(),
            why: rule.kind.why().to_owned(),
            instead: rule.instead().to_owned(),
            function: code.function.clone(),
            via: code.via.clone(),
        });
    }
}

fn same(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_for_clippy_has_its_line_in_the_table() {
        for (of, names) in NAMED {
            for name in *names {
                assert!(rules::rule_of(&rules::canonical(&format!("{of}::{name}"))).is_some(), "{of}::{name}");
            }
        }
        let text = configuration();
        assert!(text.contains("{ path = \"std::time::Instant::now\", allow-invalid = true }"), "{text}");
        assert!(!text.contains('*') && !text.contains('!'), "{text}");
    }
}
