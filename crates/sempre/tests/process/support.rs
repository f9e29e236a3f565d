//! Processes and folders of the tests.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// A folder that is gone when the test is.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("sempre-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("the temporary folder is writable");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A left-over in the temporary folder harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sempre"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end.
pub(crate) fn output<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    command(args).output().expect("the binary runs")
}

/// Runs to the end, which must be exit code 1 and one plain sentence; gives the sentence.
pub(crate) fn failure<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> String {
    let output = output(args);
    let told = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(!told.contains("panicked") && !told.contains("backtrace"), "{told}");
    let sentence = told.strip_prefix("error: ").expect("an error");
    assert_eq!(sentence.lines().count(), 1, "{told}");
    assert!(sentence.ends_with(".\n"), "{told}");
    sentence.trim_end().to_owned()
}

/// A server process; killed when dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) banner: Vec<String>,
    pub(crate) address: String,
}

impl Running {
    /// Starts `sempre server …` and waits until it says where it listens.
    pub(crate) fn start<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        Self::of(command(args))
    }

    /// The same with variables.
    pub(crate) fn start_in<S: AsRef<std::ffi::OsStr>>(variables: &[(&str, &str)], args: impl IntoIterator<Item = S>) -> Self {
        let mut command = command(args);
        command.envs(variables.iter().copied());
        Self::of(command)
    }

    /// The same with so many files and sockets at most.
    #[cfg(target_os = "linux")]
    pub(crate) fn with_files<S: AsRef<std::ffi::OsStr>>(files: usize, args: impl IntoIterator<Item = S>) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_sempre")]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::of(command)
    }

    /// The same with its log in this file.
    #[cfg(target_os = "linux")]
    pub(crate) fn logging_to<S: AsRef<std::ffi::OsStr>>(file: &str, args: impl IntoIterator<Item = S>) -> Self {
        let mut command = command(args);
        command.stderr(std::fs::OpenOptions::new().write(true).open(file).expect("a file"));
        Self::of(command)
    }

    fn of(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the binary runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut banner = Vec::new();
        for line in lines.by_ref() {
            banner.push(line.expect("text"));
            // It is the last one.
            if banner.last().is_some_and(|line| line.starts_with("Data:")) {
                break;
            }
        }
        let address = banner.iter().find_map(|line| line.strip_prefix("Server:")).map(|rest| rest.trim().to_owned());
        let Some(address) = address else {
            let mut told = String::new();
            match child.stderr.take() {
                Some(mut log) => drop(log.read_to_string(&mut told).expect("text")),
                None => told += "its log says why",
            }
            panic!("the server did not start: {told}");
        };
        Self { child, banner, address }
    }

    pub(crate) fn on(folder: &Path) -> Self {
        Self::start(["server".as_ref(), "start".as_ref(), "--port=0".as_ref(), "--data-dir".as_ref(), folder.as_os_str()])
    }

    /// Sends a signal.
    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("kill is there").success());
    }

    /// Its process.
    #[cfg(target_os = "linux")]
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// An address that the banner tells, such as `HTTP:`.
    pub(crate) fn told(&self, what: &str) -> String {
        let line = self.banner.iter().find_map(|line| line.strip_prefix(what));
        line.unwrap_or_else(|| panic!("no {what} in {:?}", self.banner)).trim().to_owned()
    }

    /// What it logs from now on. Once.
    pub(crate) fn log(&mut self) -> impl Iterator<Item = String> + use<> {
        let lines = BufReader::new(self.child.stderr.take().expect("taken once")).lines();
        lines.map(|line| line.expect("text"))
    }

    /// Waits for the end and gives the exit code.
    pub(crate) fn wait(mut self) -> Option<i32> {
        self.child.wait().expect("a child").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already ended, or ends now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
