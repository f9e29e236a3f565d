//! The environment file of `sempre env`: sets of flags by name, in the small part of YAML that Temporal's CLI writes.
//!
//! ```yaml
//! env:
//!     prod:
//!         address: temporal.example:7233
//!         namespace: "orders"
//! ```

use std::{collections::BTreeMap, path::PathBuf};

use super::profile::write_private;
use crate::cli::{Failure, environment::Environment, flags::CommonFlags};

const ENV: &str = "default";

type Sets = BTreeMap<String, BTreeMap<String, String>>;

/// The file, and the set that is in use.
pub(crate) struct EnvFile {
    path: Option<PathBuf>,
    pub(crate) sets: Sets,
    chosen: String,
}

impl EnvFile {
    /// Reads the file; one that is not there is empty.
    pub(crate) fn load(common: &CommonFlags, environment: &dyn Environment) -> Result<Self, Failure> {
        let variable = |name| if common.disable_config_env { None } else { environment.variable(name) };
        let named = common.env_file.clone().or_else(|| variable("TEMPORAL_ENV_FILE")).map(PathBuf::from);
        let home = || environment.variable("HOME").or_else(|| environment.variable("USERPROFILE"));
        let usual = || Some(PathBuf::from(home()?).join(".config").join("temporalio").join("temporal.yaml"));
        let path = named.or_else(usual);
        let chosen = common.env.clone().or_else(|| variable("TEMPORAL_ENV")).unwrap_or_else(|| ENV.to_owned());
        let sets = match &path {
            None => Sets::new(),
            Some(path) => {
                let failed = |what: String| Failure::new(format_args!("cannot read {}: {what}", path.display()));
                let text = environment.read(path).map_err(|error| failed(error.to_string()))?;
                parse(&text.unwrap_or_default()).map_err(failed)?
            }
        };
        Ok(Self { path, sets, chosen })
    }

    /// Like `load`, but a set that was asked for must be there.
    pub(crate) fn chosen(common: &CommonFlags, environment: &dyn Environment) -> Result<Self, Failure> {
        let file = Self::load(common, environment)?;
        if file.chosen != ENV && !file.sets.contains_key(&file.chosen) {
            return Err(Failure::new(format_args!("there is no environment {:?}; `sempre env list` lists those that exist", file.chosen)));
        }
        Ok(file)
    }

    /// The name of the set in use.
    pub(crate) fn name(&self) -> &str {
        &self.chosen
    }

    /// A flag of the set in use.
    pub(crate) fn get(&self, flag: &str) -> Option<&str> {
        self.sets.get(&self.chosen)?.get(flag).map(String::as_str)
    }

    /// Writes the file, readable for its owner only.
    pub(crate) fn save(&self) -> Result<(), Failure> {
        let path = self.path.as_deref().ok_or_else(|| Failure::new("there is no home folder to keep the file in; give --env-file"))?;
        write_private(path, &write(&self.sets))
    }
}

/// Reads the three levels.
fn parse(text: &str) -> Result<Sets, String> {
    let mut sets = Sets::new();
    // The names and indents of the levels that are open.
    let mut open: Vec<(usize, String)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let wrong = || format!("line {} is none that `sempre env` writes", number + 1);
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') || content == "---" {
            continue;
        }
        if line.contains('\t') {
            return Err(wrong());
        }
        let indent = line.len() - line.trim_start().len();
        open.retain(|(level, _)| *level < indent);
        let (key, rest) = split_key(content).ok_or_else(wrong)?;
        let key = scalar(key).ok_or_else(wrong)?;
        let rest = rest.trim();
        match (open.len(), rest) {
            (0, "" | "{}") if key == "env" => {}
            (1, "" | "{}") => {
                sets.entry(key.clone()).or_default();
            }
            (2, value) => {
                let value = scalar(value).ok_or_else(wrong)?;
                sets.entry(open[1].1.clone()).or_default().insert(key, value);
                continue;
            }
            _ => return Err(wrong()),
        }
        open.push((indent, key));
    }
    Ok(sets)
}

/// Splits at the colon after a key, which may be quoted.
fn split_key(line: &str) -> Option<(&str, &str)> {
    let quote = line.chars().next().filter(|first| matches!(first, '"' | '\''));
    let after = match quote {
        Some(quote) => line[1..].find(quote)? + 2,
        None => 0,
    };
    let colon = line[after..].find(": ").or_else(|| line[after..].ends_with(':').then(|| line.len() - after - 1))? + after;
    Some((&line[..colon], &line[colon + 1..]))
}

/// A plain, single- or double-quoted scalar.
fn scalar(text: &str) -> Option<String> {
    if let Some(inner) = text.strip_prefix('"') {
        // Double-quoted scalars of one line are JSON strings but for a few escapes that no flag needs.
        let end = inner.rfind('"')?;
        return serde_json::from_str(&format!("\"{}\"", &inner[..end])).ok();
    }
    if let Some(inner) = text.strip_prefix('\'') {
        let end = inner.rfind('\'')?;
        return Some(inner[..end].replace("''", "'"));
    }
    if text.starts_with(['[', '{', '|', '>', '&', '*', '!', '%', '@', '`']) {
        return None;
    }
    let plain = text.split(" #").next().unwrap_or_default().trim();
    Some(plain.to_owned())
}

fn write(sets: &Sets) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut text = "env:\n".to_owned();
    if sets.is_empty() {
        text = "env: {}\n".to_owned();
    }
    for (name, flags) in sets {
        text += &format!("    {}:{}\n", quoted(name), if flags.is_empty() { " {}" } else { "" });
        for (flag, value) in flags {
            text += &format!("        {flag}: {}\n", quoted(value));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_temporals_cli_writes_is_read() {
        let text = "env:\n    prod:\n        address: a.example:7233 # the big one\n        namespace: \"x: \\\"y\\\"\"\n    \
            test:\n        tls: 'true'\n        api-key: it''s\n";
        let sets = parse(text).expect("YAML");
        assert_eq!(sets["prod"]["address"], "a.example:7233");
        assert_eq!(sets["prod"]["namespace"], "x: \"y\"");
        assert_eq!(sets["test"]["tls"], "true");
        assert_eq!(parse("").expect("empty"), Sets::new());
        assert_eq!(parse("env: {}\n").expect("empty"), Sets::new());
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut sets = Sets::new();
        sets.entry("a b".into()).or_default().insert("address".into(), "h:1 # x".into());
        sets.entry("empty".into()).or_default();
        assert_eq!(parse(&write(&sets)).expect("our own"), sets);
        assert_eq!(parse(&write(&Sets::new())).expect("our own"), Sets::new());
    }

    #[test]
    fn other_yaml_is_refused_not_misread() {
        for text in ["a: b", "env:\n  x: [1]\n", "env:\n  x:\n    k: |\n      text\n", "env:\n\tx:\n", "- env\n"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert_eq!(parse("other:\n").unwrap_err(), "line 1 is none that `sempre env` writes");
    }
}
