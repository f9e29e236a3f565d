//! What a version of workers sees of a queue: its own line, and its share of what the queue sends to versions (spec 05 §9.3).

use std::sync::Arc;

use sempre_core::{Timestamp, Version, transition::QueueName};

use super::{Matching, QueueView, levels, levels::LevelView, queue::Queue, window::Side};

impl<S: Send + 'static> Queue<S> {
    /// The levels of one side, which has this share of what is in the store and of what comes and goes.
    fn levels_of(&self, side: Side, share: f64, whole: Vec<LevelView>) -> Vec<LevelView> {
        let level = |level: LevelView| {
            let windows = [Some(&self.plain), self.fair.as_ref().map(|fair| &fair.window)];
            let here = windows.into_iter().flatten().map(|window| window.level_of(side, level.priority));
            let (here, first) = here
                .fold((0, None), |(sum, first): (u64, Option<Timestamp>), (n, oldest)| (sum + n, first.into_iter().chain(oldest).min()));
            let stored = (level.stored as f64 * share).round() as u64;
            LevelView {
                priority: level.priority,
                backlog: here + stored,
                stored,
                // What is in the store came later, but for ranked tasks.
                oldest: first.or(level.oldest.filter(|_| stored > 0)),
                add_rate: (f64::from(level.add_rate) * share) as f32,
                dispatch_rate: (f64::from(level.dispatch_rate) * share) as f32,
            }
        };
        whole.into_iter().map(level).collect()
    }
}

impl<S: Send + 'static> Matching<S> {
    /// What a version's workers have of a queue, of which `name` is the name without a version. `None`: neither its line nor
    /// the queue is in use.
    pub(crate) fn view_of_version(&self, name: &QueueName, version: &Arc<Version>) -> Option<QueueView> {
        let now = self.clock.now();
        let hash = name.hash64();
        let mut stripe = self.stripe(hash);
        let shared = stripe.get(hash, name).and_then(|queue| {
            let side = queue.side_of(Some(version))?;
            let mut view = QueueView::of(queue, now);
            if let Some(share) = queue.share_of(side) {
                view.levels = queue.levels_of(side, share, view.levels);
            }
            // They poll the queue's own line, not the version's.
            view.pollers.clear();
            Some(view)
        });
        let line = name.line(Some(version));
        let own = stripe.get(line.hash64(), &line).map(|queue| {
            queue.refresh_pollers(now);
            QueueView::of(queue, now)
        });
        let (mut own, shared) = match (own, shared) {
            (Some(own), Some(shared)) => (own, shared),
            (one, other) => return one.or(other),
        };
        own.limited |= shared.limited;
        own.rate = shared.rate;
        own.levels = levels::together(own.levels, shared.levels);
        Some(own)
    }
}
