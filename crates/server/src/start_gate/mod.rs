//! Starts come in as fast as the server can take them beside everything else, and no faster; namespaces that have starts waiting take
//! turns ([`lines`]).
//!
//! A start stands before the gate when its body has come to its end and its caller may send it, and nothing of it is decoded; its
//! namespace's rate is asked when it is let in. Inside are [`TURNS_MAX`] at once while the server has time for all: those that are let in ask how long a task has to
//! wait for its turn on the runtime, and when that is longer than [`LATE`], fewer are let in, down to [`TURNS_MIN`]. So completions and
//! polls find the server with time for them, however many starts are sent, and few starts before them at the shards.
//!
//! While the server has little time left ([`BUSY`]), fewer are let in as well if workers that poll are left behind: more workflow tasks
//! have come to wait for them than they have taken of those that waited. Each of their calls takes several turns on the runtime, so that starts would
//! otherwise get most of the time, and a start whose task waits costs the server more than one whose task is taken at once.
//!
//! | a start | until |
//! |---|---|
//! | comes: body, key of its caller, whatever has to be waited for | all of it is there; it has no turn, and keeps nobody out |
//! | stands before the gate | it is its turn, or it has stood there for as long as it may ([`super::room::told_after`]), or its line holds most of more than may wait: then it is refused, in this case too when the time is over, but without its message |
//! | is inside | it is answered, its caller leaves, or it waits for a worker ([`super::room::Held::give_turn_back`]) |
//!
//! The wait is not only for a turn: whoever sends the next start as soon as one is refused would otherwise have the server do nothing but
//! refuse. What schedules and parents start does not come through here: it belongs to work that is under way, and has bounds of its own.
#![expect(clippy::disallowed_methods, reason = "how long callers wait is counted by the wall clock")]

mod lines;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use self::lines::Lines;
pub(crate) use self::lines::Whose;

/// Starts inside while there is time for all.
const TURNS_MAX: usize = 256;
/// Starts inside whatever else there is to do.
const TURNS_MIN: usize = 2;
/// How long a task may wait for its turn.
const LATE: Duration = Duration::from_millis(2);
/// As long as a task waits less, there is time for all.
const BUSY: Duration = Duration::from_micros(500);
/// Between two changes of how many may be inside.
const PACE: Duration = Duration::from_millis(10);
/// While all may come in, one of so many asks.
const ASKED: u64 = 8;

/// How many tasks were left to wait for workers so far, and how many of those were taken.
type Tasks = (u64, u64);

/// Tells [`Tasks`].
struct Workers(Box<dyn Fn() -> Tasks + Send + Sync>);

impl fmt::Debug for Workers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", (self.0)())
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct StartGate {
    workers: Workers,
    state: Mutex<State>,
    /// What the starts that wait may hold.
    waiting_bytes_max: u64,
    refused: AtomicU64,
    /// Starts let in so far.
    entered: AtomicU64,
}

#[derive(Debug)]
struct State {
    inside: usize,
    /// How many may be inside. While more are, none is let in.
    wanted: usize,
    /// Empty while there is a turn that nobody has.
    lines: Lines<oneshot::Sender<Turn>>,
    /// When `wanted` changed.
    since: Instant,
    /// The longest wait of a task since then.
    longest: Duration,
    /// Tasks as they were then.
    tasks: Tasks,
}

/// A start that is inside, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    /// `None`: it never was the start's.
    gate: Option<Arc<StartGate>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            let mut state = gate.state();
            state.inside -= 1;
            gate.let_in(&mut state);
        }
    }
}

/// A start is not let in.
#[derive(Debug)]
pub(crate) struct Refused {
    /// When it may be told, if not at once: it has not waited yet.
    told: Option<Instant>,
}

impl Refused {
    /// It has waited.
    pub(crate) fn may_be_told(&self) -> bool {
        self.told.is_none()
    }

    /// Waits until it may be told.
    pub(crate) async fn wait(mut self) -> Self {
        if let Some(told) = self.told.take() {
            tokio::time::sleep_until(told).await;
        }
        self
    }
}

/// A start before the gate, until it is dropped.
struct Waiting<'a> {
    gate: &'a StartGate,
    whose: Whose,
    number: u64,
    turn: oneshot::Receiver<Turn>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        drop(self.gate.state().lines.leave(self.whose, self.number));
    }
}

impl StartGate {
    /// With room for so many bytes of starts that wait; `tasks` tells how many were left to wait for workers so far, and how many of those
    /// were taken.
    pub(crate) fn beside(waiting_bytes_max: u64, tasks: impl Fn() -> Tasks + Send + Sync + 'static) -> Arc<Self> {
        let (since, longest) = (Instant::now(), Duration::ZERO);
        let state = Mutex::new(State { inside: 0, wanted: TURNS_MAX, lines: Lines::default(), since, longest, tasks: tasks() });
        let workers = Workers(Box::new(tasks));
        Arc::new(Self { workers, state, waiting_bytes_max, refused: AtomicU64::new(0), entered: AtomicU64::new(0) })
    }

    /// Starts that were refused here.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Starts that wait to be let in.
    pub(crate) fn waiting(&self) -> usize {
        self.state().lines.waiting()
    }

    /// How many starts may be inside now.
    pub(crate) fn turns(&self) -> usize {
        self.state().wanted
    }

    /// Waits for so long at most to be let in, in the line of that namespace. The start holds so many bytes meanwhile.
    pub(crate) async fn enter(self: &Arc<Self>, whose: Whose, bytes: u64, wait: Duration) -> Result<Turn, Refused> {
        let turn = match self.wait(whose, bytes, wait).await {
            Ok(turn) => turn,
            Err(refused) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return Err(refused);
            }
        };
        // While all may come in, few are asked: it costs them time.
        let entered = self.entered.fetch_add(1, Ordering::Relaxed);
        if self.turns() < TURNS_MAX || entered.is_multiple_of(ASKED) {
            let begun = Instant::now();
            tokio::task::yield_now().await;
            self.waited(begun, Instant::now());
        }
        Ok(turn)
    }

    async fn wait(self: &Arc<Self>, whose: Whose, bytes: u64, wait: Duration) -> Result<Turn, Refused> {
        let until = Instant::now() + wait;
        let mut waiting = {
            let mut state = self.state();
            if state.inside < state.wanted {
                state.inside += 1;
                return Ok(Turn { gate: Some(Arc::clone(self)) });
            }
            let (sender, turn) = oneshot::channel();
            let number = state.lines.join(whose, sender, bytes);
            // Who waits for these learns it by their end.
            drop(state.lines.shed(self.waiting_bytes_max));
            Waiting { gate: self, whose, number, turn }
        };
        match tokio::time::timeout_at(until, &mut waiting.turn).await {
            Ok(turn) => turn.map_err(|_| Refused { told: Some(until) }),
            Err(_) => Err(Refused { told: None }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the turns that nobody has to those who wait.
    fn let_in(self: &Arc<Self>, state: &mut State) {
        while state.inside < state.wanted
            && let Some(start) = state.lines.next()
        {
            match start.send(Turn { gate: Some(Arc::clone(self)) }) {
                Ok(()) => state.inside += 1,
                // It has just left.
                Err(mut turn) => turn.gate = None,
            }
        }
    }

    /// A task had to wait from then till now.
    fn waited(self: &Arc<Self>, begun: Instant, now: Instant) {
        let mut state = self.state();
        state.longest = state.longest.max(now - begun);
        if now.saturating_duration_since(state.since) < PACE {
            return;
        }
        let (tasks, wanted) = ((self.workers.0)(), state.wanted);
        let (left, taken) = (tasks.0.saturating_sub(state.tasks.0), tasks.1.saturating_sub(state.tasks.1));
        // Where nobody takes any, fewer starts would help nobody.
        let behind = state.longest > BUSY && taken > 0 && left > taken;
        let late = state.longest > LATE;
        (state.since, state.longest, state.tasks) = (now, Duration::ZERO, tasks);
        state.wanted =
            if late || behind { (wanted - wanted.div_ceil(4)).max(TURNS_MIN) } else { (wanted + wanted.div_ceil(8)).min(TURNS_MAX) };
        self.let_in(&mut state);
    }
}

#[cfg(test)]
impl StartGate {
    /// Without workers.
    pub(crate) fn new(waiting_bytes_max: u64) -> Arc<Self> {
        Self::beside(waiting_bytes_max, || (0, 0))
    }

    /// Turns that nobody has.
    pub(crate) fn free(&self) -> usize {
        let state = self.state();
        state.wanted.saturating_sub(state.inside)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use sempre_core::{NamespaceId, ids::Uuid};

    use super::*;

    const ROOM: u64 = 1 << 20;
    const WAIT: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_millis(300);

    fn namespace(n: u8) -> Whose {
        Some(NamespaceId(Uuid([n; 16])))
    }

    /// Time goes by, with tasks that wait so long.
    fn go_by(gate: &Arc<StartGate>, rounds: usize, wait: Duration) {
        for _ in 0..rounds {
            let now = gate.state().since + PACE;
            gate.waited(now - wait, now);
        }
    }

    async fn fill(gate: &Arc<StartGate>) -> Vec<Turn> {
        let mut inside = Vec::new();
        while gate.free() > 0 {
            inside.push(gate.enter(namespace(1), 1, WAIT).await.unwrap());
        }
        inside
    }

    #[tokio::test]
    async fn starts_are_let_in_one_for_another_and_refused_after_a_while() {
        let gate = StartGate::new(ROOM);
        let mut inside = fill(&gate).await;
        assert_eq!(inside.len(), TURNS_MAX);
        let begun = Instant::now();
        let mut waits = Box::pin(gate.enter(None, 1, WAIT));
        let mut late = Box::pin(gate.enter(None, 1, SHORT));
        assert!(waits.as_mut().now_or_never().is_none() && late.as_mut().now_or_never().is_none());
        inside.pop();
        inside.push(waits.await.unwrap());
        assert!(late.await.is_err());
        assert!(begun.elapsed() >= SHORT, "{:?}", begun.elapsed());
        // Who leaves is not counted any more, and is not refused.
        let mut leaves = Box::pin(gate.enter(None, 1, WAIT));
        assert!(leaves.as_mut().now_or_never().is_none());
        assert_eq!(gate.waiting(), 1);
        drop(leaves);
        assert_eq!((gate.waiting(), gate.refused()), (0, 1));
        // Nor does it take a turn with it that it has just been given.
        let mut leaves = Box::pin(gate.enter(None, 1, WAIT));
        assert!(leaves.as_mut().now_or_never().is_none());
        inside.pop();
        assert_eq!((gate.waiting(), gate.free()), (0, 0));
        drop(leaves);
        assert_eq!(gate.free(), 1);
        drop(inside);
        assert_eq!(gate.free(), TURNS_MAX);
    }

    #[tokio::test]
    async fn a_flood_of_one_namespace_holds_back_no_start_of_another() {
        let gate = StartGate::new(ROOM);
        let mut inside = fill(&gate).await;
        let mut flood: Vec<_> = (0..1000).map(|_| Box::pin(gate.enter(namespace(1), 1, WAIT))).collect();
        flood.iter_mut().for_each(|start| assert!(start.as_mut().now_or_never().is_none()));
        let mut other = Box::pin(gate.enter(namespace(2), 1, WAIT));
        assert!(other.as_mut().now_or_never().is_none());
        // One of the flood, then the other.
        inside.truncate(TURNS_MAX - 2);
        let turn = other.await;
        assert!(turn.is_ok());
        assert_eq!(gate.waiting(), 999);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_refused_at_its_end_and_no_other() {
        let gate = StartGate::new(10);
        let inside = fill(&gate).await;
        let mut flood: Vec<_> = (0..10).map(|_| Box::pin(gate.enter(namespace(1), 1, WAIT))).collect();
        flood.iter_mut().for_each(|start| assert!(start.as_mut().now_or_never().is_none()));
        let mut other = Box::pin(gate.enter(namespace(2), 1, WAIT));
        assert!(other.as_mut().now_or_never().is_none());
        let refused = flood.pop().unwrap().now_or_never().expect("refused, at once").unwrap_err();
        assert!(refused.told.is_some_and(|told| told > Instant::now()), "and told later");
        assert!(flood.iter_mut().all(|start| start.as_mut().now_or_never().is_none()));
        assert_eq!((gate.waiting(), gate.refused()), (10, 1));
        drop(inside);
        assert!(other.await.is_ok());
    }

    #[tokio::test]
    async fn fewer_are_let_in_while_tasks_wait_and_all_again_when_they_do_not() {
        let gate = StartGate::new(ROOM);
        let mut inside = Vec::new();
        for _ in 0..200 {
            inside.push(gate.enter(None, 1, WAIT).await.unwrap());
        }
        go_by(&gate, 50, LATE * 2);
        // Those that are inside stay, and none takes their place.
        assert_eq!((gate.free(), gate.turns()), (0, TURNS_MIN));
        inside.truncate(TURNS_MIN);
        let mut waits = Box::pin(gate.enter(None, 1, WAIT));
        assert!(waits.as_mut().now_or_never().is_none());
        // More may come in: who waits does.
        go_by(&gate, 1, LATE);
        assert!(waits.await.is_ok());
        drop(inside);
        go_by(&gate, 100, Duration::ZERO);
        assert_eq!(gate.free(), TURNS_MAX);
    }

    #[test]
    fn fewer_are_let_in_while_the_server_is_busy_and_workers_are_left_behind() {
        let tasks = Arc::new(Mutex::new((0, 0)));
        let told = tasks.clone();
        let gate = StartGate::beside(ROOM, move || *told.lock().unwrap());
        let go_by = |rounds: usize, wait: Duration, (left, taken): Tasks| {
            for _ in 0..rounds {
                let mut tasks = tasks.lock().unwrap();
                *tasks = (tasks.0 + left, tasks.1 + taken);
                drop(tasks);
                go_by(&gate, 1, wait);
            }
            gate.turns()
        };
        assert_eq!(go_by(50, BUSY, (100, 10)), TURNS_MAX, "there is time for all");
        assert_eq!(go_by(50, BUSY * 2, (100, 0)), TURNS_MAX, "workers take nothing");
        assert_eq!(go_by(50, BUSY * 2, (10, 10)), TURNS_MAX, "they keep up");
        assert_eq!(go_by(50, BUSY * 2, (11, 10)), TURNS_MIN);
        assert_eq!(go_by(50, BUSY * 2, (9, 10)), TURNS_MAX, "they catch up");
    }
}
