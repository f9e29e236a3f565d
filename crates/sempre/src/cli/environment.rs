//! What a command reads from the process around it, behind a trait so that tests can say what is there.

use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// The process around a command.
pub(crate) trait Environment: Send + Sync {
    /// A variable that is set and not empty.
    fn variable(&self, name: &str) -> Option<String>;
    /// The variables whose names begin with `prefix`, without it.
    fn variables(&self, prefix: &str) -> Vec<(String, String)>;
    /// The text of a file; `None` when there is none.
    fn read(&self, path: &Path) -> io::Result<Option<String>>;
    /// Milliseconds since 1970.
    fn now_millis(&self) -> i64;
    /// A person reads standard output.
    fn terminal(&self) -> bool;
}

/// The real one.
pub(crate) struct Process;

impl Environment for Process {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    fn variables(&self, prefix: &str) -> Vec<(String, String)> {
        let all = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        all.filter_map(|(name, value)| Some((name.strip_prefix(prefix)?.to_owned(), value))).collect()
    }

    fn read(&self, path: &Path) -> io::Result<Option<String>> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "times are shown to a person, relative to the wall clock")]
    fn now_millis(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn terminal(&self) -> bool {
        io::stdout().is_terminal()
    }
}

/// The user's folder for configuration: where Temporal's tools look for it too.
pub(crate) fn config_folder(environment: &dyn Environment) -> Option<PathBuf> {
    let variable = |name| environment.variable(name).map(PathBuf::from);
    if cfg!(windows) {
        variable("APPDATA")
    } else if cfg!(target_os = "macos") {
        Some(variable("HOME")?.join("Library").join("Application Support"))
    } else {
        variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")))
    }
}

/// Who types: for identities and reasons.
pub(crate) fn user(environment: &dyn Environment) -> String {
    environment.variable("USER").or_else(|| environment.variable("USERNAME")).unwrap_or_else(|| "unknown".to_owned())
}

/// The machine's name, as far as it is known.
pub(crate) fn host(environment: &dyn Environment) -> String {
    let named = || environment.variable("HOSTNAME").or_else(|| environment.variable("COMPUTERNAME"));
    let file = || environment.read(Path::new("/etc/hostname")).ok().flatten().map(|name| name.trim().to_owned());
    named().or_else(file).filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned())
}

#[cfg(test)]
pub(crate) mod fake {
    use std::collections::BTreeMap;

    use super::*;

    /// What a test says is there.
    #[derive(Default)]
    pub(crate) struct Fake {
        pub(crate) variables: BTreeMap<&'static str, &'static str>,
        pub(crate) files: BTreeMap<&'static str, &'static str>,
        pub(crate) now_millis: i64,
    }

    impl Environment for Fake {
        fn variable(&self, name: &str) -> Option<String> {
            self.variables.get(name).filter(|value| !value.is_empty()).map(|&value| value.to_owned())
        }

        fn variables(&self, prefix: &str) -> Vec<(String, String)> {
            let found = self.variables.iter().filter_map(|(name, value)| Some((name.strip_prefix(prefix)?, *value)));
            found.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        }

        fn read(&self, path: &Path) -> io::Result<Option<String>> {
            Ok(self.files.get(path.to_str().unwrap_or_default()).map(|&text| text.to_owned()))
        }

        fn now_millis(&self) -> i64 {
            self.now_millis
        }

        fn terminal(&self) -> bool {
            false
        }
    }
}
