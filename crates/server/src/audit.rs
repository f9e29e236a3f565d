//! Who did what: one line of JSON for each call that changes settings, or what becomes of runs by an operator's hand, and for
//! each that is refused to its caller.
//!
//! | field | is |
//! |---|---|
//! | `time`, `from` | when, and the address it came from |
//! | `who` | the caller, as `operator whoami` shows him; `anybody` where nobody is asked |
//! | `call`, `result` | the method, and the code of its answer |
//! | `request` | what was asked, without payloads, headers, memos and secrets |
//! | `before`, `after` | of settings: how they were and are |
//!
//! A line is handed to a thread that writes; when it cannot keep up, lines are dropped, and how many is a line of its own.
//! Nobody waits for it. Of refused calls [`REFUSALS_MAX`] are written in a second, and how many more there were
//! (`refusals_left_out`): strangers do not fill the disk, nor push out what others did. Whoever takes the file away (rotation) has it made anew by SIGHUP.

mod acts;
mod redact;

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};

pub(crate) use self::acts::{Act, framed};
use crate::{access::Caller, ports::Peer};

/// Lines that wait to be written.
const LINES_MAX: usize = 4096;
/// Lines of refused calls in one second.
const REFUSALS_MAX: u32 = 50;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditTo {
    /// Standard output.
    Stdout,
    /// The end of a file, which is made if it is not there.
    File(PathBuf),
}

/// See the module; cheap to clone. The thread ends with the last clone, when everything is written.
#[derive(Clone)]
pub(crate) struct Audit(Arc<Inner>);

struct Inner {
    acts: HashMap<String, Arc<Act>>,
    lines: SyncSender<String>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    dropped: AtomicU64,
    /// The file is to be opened anew.
    reopen: AtomicBool,
    /// When the present second of refusals began, and how many it has.
    refusals: Mutex<Option<(Instant, u32)>>,
    refusals_left_out: AtomicU64,
}

impl Shared {
    /// Whether one more refusal is written at this time.
    fn admits_refusal(&self, now: Instant) -> bool {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let (begun, count) = refusals.filter(|(begun, _)| now.duration_since(*begun) < Duration::from_secs(1)).unwrap_or((now, 0));
        *refusals = Some((begun, count.saturating_add(1)));
        count < REFUSALS_MAX
    }
}

impl AuditTo {
    fn open(&self) -> io::Result<Box<dyn Write + Send>> {
        Ok(match self {
            Self::Stdout => Box::new(io::stdout()),
            Self::File(path) => Box::new(self::open(path)?),
        })
    }
}

fn open(path: &PathBuf) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

impl Audit {
    /// Fails if the file cannot be written.
    pub(crate) fn new(to: AuditTo) -> io::Result<Self> {
        let (lines, receiver) = sync_channel(LINES_MAX);
        let shared = Arc::<Shared>::default();
        let (out, told) = (to.open()?, shared.clone());
        std::thread::Builder::new().name("sempre audit".into()).spawn(move || write(&to, out, &receiver, &told))?;
        Ok(Self(Arc::new(Inner { acts: acts::all(), lines, shared })))
    }

    /// Opens the file anew before the next line.
    pub(crate) fn reopen(&self) {
        self.0.shared.reopen.store(true, Ordering::Release);
    }

    /// The call that a path is, if it is written down.
    pub(crate) fn act(&self, path: &str) -> Option<Arc<Act>> {
        self.0.acts.get(path).cloned()
    }

    /// Writes a line, soon.
    pub(crate) fn tell(&self, line: &Value) {
        match self.0.lines.try_send(line.to_string()) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.0.shared.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Writes the line of a refused call, unless there are too many of them.
    #[expect(clippy::disallowed_methods, reason = "what strangers try is counted by the wall clock")]
    pub(crate) fn tell_refusal(&self, line: &Value) {
        if self.0.shared.admits_refusal(Instant::now()) {
            self.tell(line);
        } else {
            self.0.shared.refusals_left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What a line begins with.
pub(crate) fn line(time: &str, call: &str, caller: Option<&Caller>, peer: Option<&Peer>, result: &str) -> Map<String, Value> {
    let mut line = Map::new();
    line.insert("time".into(), time.into());
    line.insert("who".into(), caller.map_or("anybody", |caller| &caller.name).into());
    if let Some(peer) = peer {
        line.insert("from".into(), peer.address.to_string().into());
    }
    line.insert("call".into(), call.trim_start_matches('/').into());
    line.insert("result".into(), result.into());
    line
}

/// The line of a call that is under way; written when it is dropped, whether the caller waited for the answer or not.
pub(crate) struct Pending {
    audit: Audit,
    pub(crate) line: Map<String, Value>,
}

impl Pending {
    pub(crate) fn new(audit: Audit, line: Map<String, Value>) -> Self {
        Self { audit, line }
    }

    /// Its caller may not make it: a line of those of which there are so many at most.
    pub(crate) fn refused(mut self) {
        self.audit.tell_refusal(&Value::Object(std::mem::take(&mut self.line)));
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.audit.tell(&Value::Object(std::mem::take(&mut self.line)));
        }
    }
}

/// Two states of the same; of lists in them, what is not in both.
pub(crate) fn differing(mut before: Value, mut after: Value) -> (Value, Value) {
    if let (Value::Object(before), Value::Object(after)) = (&mut before, &mut after) {
        for (name, value) in before.iter_mut() {
            if let (Value::Array(old), Some(Value::Array(new))) = (value, after.get_mut(name)) {
                let both: Vec<Value> = old.iter().filter(|item| new.contains(item)).cloned().collect();
                old.retain(|item| !both.contains(item));
                new.retain(|item| !both.contains(item));
            }
        }
    }
    (before, after)
}

fn write(to: &AuditTo, mut out: Box<dyn Write + Send>, lines: &Receiver<String>, shared: &Shared) {
    while let Ok(line) = lines.recv() {
        if shared.reopen.swap(false, Ordering::AcqRel) {
            match to.open() {
                Ok(file) => out = file,
                Err(error) => tracing::error!(%error, "the audit log cannot be opened anew; it goes on in the old file"),
            }
        }
        let dropped = shared.dropped.swap(0, Ordering::Relaxed);
        let mut text = line + "\n";
        if dropped > 0 {
            text += &format!("{}\n", json!({ "dropped": dropped }));
        }
        let left_out = shared.refusals_left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            text += &format!("{}\n", json!({ "refusals_left_out": left_out }));
        }
        // In one piece: other programs may write to the same end.
        if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            shared.dropped.fetch_add(1 + dropped, Ordering::Relaxed);
            shared.refusals_left_out.fetch_add(left_out, Ordering::Relaxed);
            tracing::error!(%error, "the audit log cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any time will do")]
    fn refusals_beyond_fifty_a_second_are_counted() {
        let path = std::env::temp_dir().join(format!("sempre-audit-refusals-{}", std::process::id()));
        let audit = Audit::new(AuditTo::File(path.clone())).unwrap();
        let begun = Instant::now();
        let admitted = |after| audit.0.shared.admits_refusal(begun + Duration::from_millis(after));
        assert_eq!((0..200).filter(|n| admitted(n * 4)).count(), 50);
        assert_eq!((0..200).filter(|n| admitted(1000 + n)).count(), 50);
        // A settings' line is written however many were refused, and tells of them.
        *audit.0.shared.refusals.lock().unwrap() = Some((Instant::now() + Duration::from_secs(600), REFUSALS_MAX));
        for n in 0..7 {
            audit.tell_refusal(&json!({ "refused": n }));
        }
        audit.tell(&json!({ "n": 1 }));
        let text = loop {
            let text = std::fs::read_to_string(&path).unwrap();
            if text.lines().count() >= 2 {
                break text;
            }
            std::thread::yield_now();
        };
        assert_eq!(text, "{\"n\":1}\n{\"refusals_left_out\":7}\n");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn lines_are_appended_and_the_file_can_be_taken_away() {
        let path = std::env::temp_dir().join(format!("sempre-audit-{}", std::process::id()));
        let old = path.with_extension("1");
        let _ = std::fs::remove_file(&path);
        let audit = Audit::new(AuditTo::File(path.clone())).unwrap();
        let lines = |path: &PathBuf, count: usize| loop {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            if text.lines().count() >= count {
                return text;
            }
            std::thread::yield_now();
        };
        audit.tell(&json!({ "n": 1 }));
        audit.tell(&json!({ "n": 2 }));
        assert_eq!(lines(&path, 2), "{\"n\":1}\n{\"n\":2}\n");
        std::fs::rename(&path, &old).unwrap();
        audit.reopen();
        audit.tell(&json!({ "n": 3 }));
        assert_eq!(lines(&path, 1), "{\"n\":3}\n");
        assert_eq!(lines(&old, 2).lines().count(), 2);
        // What was dropped is told.
        audit.0.shared.dropped.store(5, Ordering::Relaxed);
        audit.tell(&json!({ "n": 4 }));
        assert_eq!(lines(&path, 3).lines().last(), Some("{\"dropped\":5}"));
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_file(&old).unwrap();
        assert!(Audit::new(AuditTo::File("/nonexistent/x".into())).is_err());
    }
}
