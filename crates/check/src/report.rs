//! What was found, for people and for programs.

use std::{fmt, path::PathBuf};

use serde_json::{Value, json};

use crate::Kind;

/// One call on the way from a workflow to a finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// Who calls.
    pub function: String,
    /// Where.
    pub file: PathBuf,
    /// The line of the call.
    pub line: usize,
    /// The call was followed by the method's name: the type of what it is called on is not written down.
    pub by_name: bool,
}

/// Something that workflow code may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// Of which kind it is.
    pub kind: Kind,
    /// What was used.
    pub what: String,
    /// Why it is refused.
    pub why: String,
    /// What to use.
    pub instead: String,
    /// The function it is in.
    pub function: String,
    /// The calls that lead there; none if it is in a method of a workflow itself.
    pub via: Vec<Step>,
}

/// Something that is no fault of the workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 if it is about the whole file.
    pub line: usize,
    /// What there is to say.
    pub text: String,
    /// Part of the source was not looked at.
    pub unseen: bool,
}

/// All that a check has to say.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of files and lines.
    pub findings: Vec<Finding>,
    /// The rest.
    pub notes: Vec<Note>,
    /// Workflow types seen.
    pub workflows: usize,
    /// Functions that are workflow code.
    pub functions: usize,
    /// Files read.
    pub files: usize,
    /// Findings that allow comments took away.
    pub allowed: usize,
    /// Where the workflow code is: file, first and last line, name.
    pub(crate) spans: Vec<CodeSpan>,
    /// What allow comments allow.
    pub(crate) allows: Vec<Allowed>,
}

/// What is allowed at a line, and the line of the comment that says so.
#[derive(Clone, Debug)]
pub(crate) struct Allowed {
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) comment: usize,
}

/// What is said of a comment that allows nothing.
pub(crate) const ALLOWS_NOTHING: &str =
    "this allow comment allows nothing: what it was for is gone, in code that no workflow reaches, or seen only with --types";

/// The lines of a function that is workflow code.
#[derive(Clone, Debug)]
pub(crate) struct CodeSpan {
    pub(crate) file: PathBuf,
    pub(crate) first: usize,
    pub(crate) last: usize,
    pub(crate) function: String,
    pub(crate) via: Vec<Step>,
}

impl Report {
    /// Some source was not looked at, or there was nothing to look at: that there are no findings says nothing.
    pub fn is_undecided(&self) -> bool {
        self.functions == 0 || self.notes.iter().any(|note| note.unseen)
    }

    /// As one JSON value.
    pub fn to_json(&self) -> Value {
        let findings: Vec<Value> = self.findings.iter().map(Finding::to_json).collect();
        let notes: Vec<Value> = self
            .notes
            .iter()
            .map(|note| json!({ "file": note.file.display().to_string(), "line": note.line, "text": note.text, "unseen": note.unseen }))
            .collect();
        json!({
            "findings": findings,
            "notes": notes,
            "workflows": self.workflows,
            "functions": self.functions,
            "files": self.files,
            "allowed": self.allowed,
        })
    }
}

impl Finding {
    fn to_json(&self) -> Value {
        let via: Vec<Value> = self
            .via
            .iter()
            .map(|step| {
                json!({
                    "function": step.function,
                    "file": step.file.display().to_string(),
                    "line": step.line,
                    "byName": step.by_name,
                })
            })
            .collect();
        json!({
            "file": self.file.display().to_string(),
            "line": self.line,
            "column": self.column,
            "kind": self.kind.name(),
            "what": self.what,
            "why": self.why,
            "instead": self.instead,
            "function": self.function,
            "via": via,
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, kind, what, why, instead, function, via } = self;
        write!(f, "{}:{line}:{column}: {kind}: `{what}` {why}; use {instead}", file.display())?;
        if !function.is_empty() {
            write!(f, "\n    in `{function}`")?;
        }
        for step in via.iter().rev() {
            let guess = if step.by_name { " (a method of this name)" } else { "" };
            write!(f, "\n    called by `{}` at {}:{}{guess}", step.function, step.file.display(), step.line)?;
        }
        Ok(())
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, text, .. } = self;
        match line {
            0 => write!(f, "{}: note: {text}", file.display()),
            line => write!(f, "{}:{line}: note: {text}", file.display()),
        }
    }
}
