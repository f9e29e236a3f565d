//! A task is started by one poller per attempt: no two have been handed the same one.

use crate::ending::Ending;

pub(super) fn check(ending: &Ending) -> Vec<String> {
    ending
        .oracle
        .handed
        .iter()
        .filter(|(_, times)| **times > 1)
        .map(|(task, times)| format!("{task:?} was handed out {times} times"))
        .collect()
}
