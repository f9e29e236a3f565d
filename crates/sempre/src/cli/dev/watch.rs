//! Tells when files have changed, by looking at their times and lengths now and then: that works on every machine and on
//! network folders, and needs no list of what may be watched.
//!
//! What is made by tools is left out: names with a dot in front, and those of [`IGNORED`].
#![expect(clippy::disallowed_methods, reason = "files change by the wall clock")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, sleep};

use crate::cli::Failure;

/// Between two looks. Where a look takes long, the pause is ten times as long as it.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_FACTOR: u32 = 10;
/// Nothing may change for so long before a change is told: editors and compilers write many files in a row.
const QUIET: Duration = Duration::from_millis(150);
/// A change is told after so long even if more follow.
const QUIET_MAX: Duration = Duration::from_secs(5);
/// Files that are looked at.
const FILES_MAX: usize = 50_000;
/// Names of files and folders that tools make.
const IGNORED: &[&str] = &["target", "node_modules", "__pycache__", "venv"];

/// Time of the last change and length, by path.
type Files = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// See the module.
pub(super) struct Watch {
    folders: Vec<PathBuf>,
    /// The server's own data.
    data: Option<PathBuf>,
    known: Files,
}

impl Watch {
    /// Watches the folders, or the current one if there are none. Not `data`, where the server writes.
    pub(super) fn new(mut folders: Vec<PathBuf>, data: Option<&Path>) -> Result<Self, Failure> {
        if folders.is_empty() {
            folders.push(PathBuf::from("."));
        }
        if let Some(missing) = folders.iter().find(|folder| !folder.is_dir()) {
            return Err(Failure::new(format_args!("{} is not a folder; --watch takes folders", missing.display())));
        }
        let data = data.map(|data| std::path::absolute(data).unwrap_or_else(|_| data.to_owned()));
        let known = scan(&folders, data.as_deref());
        if known.len() >= FILES_MAX {
            let text = format!("there are more than {FILES_MAX} files to watch; give --watch the folder of the worker, or --no-watch");
            return Err(Failure::new(text));
        }
        Ok(Self { folders, data, known })
    }

    /// Resolves with a file that has changed since the last time. Nothing is lost when this is dropped before.
    pub(super) async fn changed(&mut self) -> PathBuf {
        loop {
            let began = Instant::now();
            let mut now = self.look().await;
            let Some(path) = difference(&self.known, &now) else {
                let pause = PAUSE.max(began.elapsed() * PAUSE_FACTOR);
                sleep(pause).await;
                continue;
            };
            while began.elapsed() < QUIET_MAX {
                sleep(QUIET).await;
                let next = self.look().await;
                let quiet = next == now;
                now = next;
                if quiet {
                    break;
                }
            }
            self.known = now;
            return path;
        }
    }

    async fn look(&self) -> Files {
        let (folders, data) = (self.folders.clone(), self.data.clone());
        let looked = tokio::task::spawn_blocking(move || scan(&folders, data.as_deref())).await;
        // A look that failed by a bug has seen no change.
        looked.unwrap_or_else(|_| self.known.clone())
    }
}

fn scan(folders: &[PathBuf], data: Option<&Path>) -> Files {
    let mut files = Files::new();
    let mut open: Vec<PathBuf> = folders.to_vec();
    while let Some(folder) = open.pop() {
        // What cannot be read is not watched; it may be gone in a moment.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') || IGNORED.contains(&&*name) {
                continue;
            }
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                if data.is_none_or(|data| std::path::absolute(&path).ok().as_deref() != Some(data)) {
                    open.push(path);
                }
                continue;
            }
            // Of a link, the file it leads to; linked folders are not followed, they may lead round in a circle.
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if metadata.is_file() && files.len() < FILES_MAX {
                files.insert(path, (metadata.modified().ok(), metadata.len()));
            }
        }
    }
    files
}

/// The first file that is new, gone or another.
fn difference(before: &Files, now: &Files) -> Option<PathBuf> {
    if before == now {
        return None;
    }
    let changed = now.iter().find(|(path, state)| before.get(*path) != Some(state)).map(|(path, _)| path);
    let gone = || before.keys().find(|path| !now.contains_key(*path));
    changed.or_else(gone).map(|path| path.strip_prefix(".").unwrap_or(path).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tools_make_and_the_servers_data_are_left_out() {
        let root = std::env::temp_dir().join(format!("sempre-watch-{}", std::process::id()));
        for folder in ["src/deep", ".git", "target/debug", "node_modules/x", "data"] {
            fs::create_dir_all(root.join(folder)).expect("writable");
            fs::write(root.join(folder).join("file"), "1").expect("writable");
        }
        fs::write(root.join(".hidden"), "1").expect("writable");
        let folders = [root.clone()];
        let names = |files: &Files| files.keys().map(|path| path.strip_prefix(&root).expect("below").to_owned()).collect::<Vec<_>>();
        let first = scan(&folders, Some(&root.join("data")));
        assert_eq!(names(&first), [PathBuf::from("src/deep/file")]);
        fs::write(root.join("src/deep/file"), "12").expect("writable");
        let second = scan(&folders, Some(&root.join("data")));
        assert_eq!(difference(&first, &second), Some(root.join("src/deep/file")), "changed");
        fs::remove_file(root.join("src/deep/file")).expect("removed");
        let third = scan(&folders, Some(&root.join("data")));
        assert_eq!(difference(&second, &third), Some(root.join("src/deep/file")), "gone");
        assert_eq!(difference(&third, &second), Some(root.join("src/deep/file")), "new");
        assert_eq!(difference(&third, &third), None);
        let missing = Watch::new(vec![root.join("nothing")], None).err().expect("no folder").to_string();
        assert!(missing.ends_with("nothing is not a folder; --watch takes folders."), "{missing}");
        fs::remove_dir_all(&root).expect("removed");
    }
}
