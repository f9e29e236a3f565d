//! What the homes of task queues know of their lines: whether workers poll them, and whether there is work. Deployments are decided at one
//! node, and the homes of their versions' queues are at all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::{StreamExt, stream};
use sempre_core::{Refusal, transition::QueueName};

use super::record::QueueRecord;
use crate::{
    peers::{
        answer::{LineRecord, LinesRecord},
        record::{Answer, Lines, Request},
    },
    shared::{SHARD_UNAVAILABLE, Shared, internal},
};

/// Lines in one message.
const LINES_MAX: usize = 1000;
/// Homes that are asked at once.
const HOMES_AT_ONCE: usize = 16;

/// What the homes at other nodes have said. What is not known counts as polled, and as having work.
#[derive(Default)]
pub(crate) struct Known(HashMap<QueueName, LineRecord>);

impl Known {
    /// Workers have polled the line lately.
    pub(crate) fn is_polled(&self, shared: &Shared, line: &QueueName) -> bool {
        if shared.matching.is_home_of(line) { is_polled_here(shared, line) } else { self.0.get(line).is_none_or(|line| line.is_polled) }
    }

    /// Tasks wait in the queue, or come.
    pub(crate) fn has_work(&self, shared: &Shared, queue: &QueueName) -> bool {
        if shared.matching.is_home_of(queue) { has_work_here(shared, queue) } else { self.0.get(queue).is_none_or(|line| line.has_work) }
    }
}

fn is_polled_here(shared: &Shared, line: &QueueName) -> bool {
    let polls_come = shared.homes.as_ref().is_some_and(|homes| shared.wall_now() < homes.expects_polls_until(line.hash64()));
    polls_come || shared.matching.polled_lately(line)
}

fn has_work_here(shared: &Shared, queue: &QueueName) -> bool {
    let view = shared.matching.view(queue);
    view.iter().flat_map(|view| &view.levels).any(|level| level.backlog > 0 || level.add_rate > 0.0)
}

impl Shared {
    /// Asks those homes of lines that are not here.
    pub(crate) async fn ask_homes(&self, lines: BTreeSet<QueueName>) -> Known {
        let mut by_home: BTreeMap<u32, Vec<QueueName>> = BTreeMap::new();
        for line in lines.into_iter().filter(|line| !self.matching.is_home_of(line)) {
            by_home.entry(self.shard_of(line.home()) as u32).or_default().push(line);
        }
        let mut asks = Vec::new();
        for (home, lines) in by_home {
            for lines in lines.chunks(LINES_MAX) {
                asks.push(self.ask_home(home, lines.to_vec()));
            }
        }
        let said: Vec<_> = stream::iter(asks).buffer_unordered(HOMES_AT_ONCE).collect().await;
        Known(said.into_iter().flatten().collect())
    }

    /// Empty: the home does not say it.
    async fn ask_home(&self, home: u32, lines: Vec<QueueName>) -> Vec<(QueueName, LineRecord)> {
        let Some(away) = self.away_shard(home) else { return Vec::new() };
        let request = Request::Lines(Lines { lines: lines.iter().map(QueueRecord::new).collect() });
        match away.ask(request).await {
            Ok(Answer::Lines(said)) if said.lines.len() == lines.len() => lines.into_iter().zip(said.lines).collect(),
            Ok(_) => {
                drop(internal("what is known of lines of task queues"));
                Vec::new()
            }
            Err(refusal) => {
                tracing::debug!(?refusal, home, "a home does not say what it knows of its lines");
                Vec::new()
            }
        }
    }
}

/// Another node asks of lines whose home is here. `None`: it cannot be read.
pub(crate) fn told(shared: &Shared, asked: Lines) -> Option<Result<Answer, Refusal>> {
    let lines: Vec<QueueName> = asked.lines.into_iter().map(QueueRecord::queue).collect::<Option<_>>()?;
    let say = |line: &QueueName| LineRecord {
        is_polled: is_polled_here(shared, line),
        has_work: line.version.is_none() && has_work_here(shared, line),
    };
    let said = LinesRecord { lines: lines.iter().map(say).collect() };
    // Whose lease is over may have been left by polls.
    Some(if shared.is_current() { Ok(Answer::Lines(said)) } else { Err(Refusal::Unavailable(SHARD_UNAVAILABLE.into())) })
}
