//! The table of commands in `docs/cli.md`, made from the definitions and held against them.

use clap::{Command, CommandFactory};

use super::Cli;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md");
/// Above the table is prose.
const BEGIN: &str = "<!-- commands: made by the tests of crates/sempre, with SEMPRE_WRITE_DOCS=1 -->\n";

/// The commands that do something, with their names in full.
fn leaves() -> Vec<(String, Command)> {
    fn walk(command: &Command, name: &str, to: &mut Vec<(String, Command)>) {
        let inside: Vec<_> = command.get_subcommands().filter(|inner| inner.get_name() != "help" && !inner.is_hide_set()).collect();
        if inside.is_empty() || !command.is_subcommand_required_set() {
            to.push((name.to_owned(), command.clone()));
        }
        for inner in inside {
            walk(inner, &format!("{name} {}", inner.get_name()), to);
        }
    }
    let mut root = Cli::command();
    root.build();
    let mut leaves = Vec::new();
    for family in root.get_subcommands().filter(|inner| inner.get_name() != "help") {
        walk(family, family.get_name(), &mut leaves);
    }
    leaves
}

fn table() -> String {
    let mut text = "| command | what it does | its own flags |\n|---|---|---|\n".to_owned();
    for (name, command) in leaves() {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let mut flags = Vec::new();
        for arg in command.get_arguments().filter(|arg| !arg.is_global_set() && !arg.is_hide_set() && arg.get_id() != "help") {
            flags.push(match (arg.get_short(), arg.get_long()) {
                (Some(short), Some(long)) => format!("`-{short}`/`--{long}`"),
                (None, Some(long)) => format!("`--{long}`"),
                _ => format!("`{}`", arg.get_id().as_str().to_uppercase()),
            });
        }
        text += &format!("| `{name}` | {} | {} |\n", about.replace('|', "\\|"), flags.join(" "));
    }
    text
}

#[test]
fn the_page_of_commands_is_theirs() {
    let page = std::fs::read_to_string(PAGE).expect("docs/cli.md is there");
    let (prose, written) = page.split_once(BEGIN).expect("the page has the mark above its table");
    let table = table();
    if std::env::var_os("SEMPRE_WRITE_DOCS").is_some() {
        std::fs::write(PAGE, format!("{prose}{BEGIN}{table}")).expect("docs/cli.md can be written");
        return;
    }
    assert!(written == table, "docs/cli.md is behind the commands; run this test with SEMPRE_WRITE_DOCS=1");
}

#[test]
fn every_command_has_help_that_fits_a_terminal() {
    for (name, mut command) in leaves() {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(!about.is_empty(), "{name} says nothing of itself");
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            assert!(arg.get_help().is_some(), "{name}: {} says nothing of itself", arg.get_id());
        }
        let help = command.render_long_help().to_string();
        for line in help.lines().filter(|line| !line.starts_with("Usage:")) {
            assert!(line.chars().count() <= 100, "{name}: {line}");
        }
    }
}

#[test]
fn completions_and_manual_pages_know_the_commands() {
    let mut script = Vec::new();
    clap_complete::generate(clap_complete::Shell::Bash, &mut Cli::command(), "sempre", &mut script);
    let script = String::from_utf8(script).expect("text");
    assert!(script.contains("signal-with-start") && script.contains("--workflow-id"));
    let folder = std::env::temp_dir().join(format!("sempre-man-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
    clap_mangen::generate_to(Cli::command(), &folder).expect("written");
    let page = std::fs::read_to_string(folder.join("sempre-workflow-start.1")).expect("a page");
    std::fs::remove_dir_all(&folder).expect("removed");
    assert!(page.contains("Start a workflow and return") && page.contains("task\\-queue"), "{page}");
}
