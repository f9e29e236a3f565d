//! Faults of a test server, for the workers of any SDK: what a worker says gets lost, signals come late.
//!
//! | fault | the worker sees | the server sees |
//! |---|---|---|
//! | crash | its answer to a workflow task is refused: it forgets the run, and replays it | a task that times out, as of a worker that died |
//! | lost answer | its answer of an activity is taken | an attempt that times out: the activity is done once more |
//! | lost heartbeats | its heartbeats are taken, then the attempt is unknown | an attempt without heartbeats, which times out |
//! | late signal | – | a signal that comes later than it was sent, maybe after others |
//!
//! Each is drawn by chance from one seed. What times out does so in virtual time: nobody waits. Each fault that happens is told on
//! standard error.
#![expect(clippy::disallowed_methods, reason = "what times out does so beside the call that was lost")]

pub mod hands;

use std::{
    io::Write as _,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sempre_api::v1::workflowservice::{PollActivityTaskQueueResponse, PollWorkflowTaskQueueResponse, RespondWorkflowTaskCompletedResponse};
use sempre_core::{Refusal, Span, refusal::text};
use sempre_engine::{Engine, VirtualTime};

use hands::{Hands, Task};

/// How often each kind happens, in percent of the times it could, and the seed.
///
/// Written as `seed=7,crashes=5,lost-answers=10,lost-heartbeats=10,late-signals=20`; what is left out is 10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultSettings {
    /// Chance comes from it.
    pub seed: u64,
    /// Answers to workflow tasks that are refused as after a crash.
    pub crashes: u8,
    /// Answers of activities that are lost.
    pub lost_answers: u8,
    /// Heartbeats from which on those of an attempt are lost.
    pub lost_heartbeats: u8,
    /// Signals that come late.
    pub late_signals: u8,
}

/// Percent of what is not said.
const OFTEN: u8 = 10;
/// Beyond this nothing would come to an end.
const OFTEN_MAX: u8 = 80;

impl FromStr for FaultSettings {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut settings = Self { seed: 0, crashes: OFTEN, lost_answers: OFTEN, lost_heartbeats: OFTEN, late_signals: OFTEN };
        let mut seed = None;
        for pair in text.split(',') {
            let (name, value) = pair.split_once('=').ok_or_else(|| format!("`{pair}` is not NAME=NUMBER"))?;
            let percent = || {
                let percent = value.parse::<u8>().ok().filter(|percent| *percent <= OFTEN_MAX);
                percent.ok_or_else(|| format!("`{pair}`: percent from 0 to {OFTEN_MAX} are known"))
            };
            match name {
                "seed" => seed = Some(value.parse().map_err(|_| format!("`{pair}`: a seed is a number"))?),
                "crashes" => settings.crashes = percent()?,
                "lost-answers" => settings.lost_answers = percent()?,
                "lost-heartbeats" => settings.lost_heartbeats = percent()?,
                "late-signals" => settings.late_signals = percent()?,
                _ => {
                    return Err(format!(
                        "there is no fault `{name}`; there are seed, crashes, lost-answers, lost-heartbeats and late-signals"
                    ));
                }
            }
        }
        settings.seed = seed.ok_or("a seed is needed, as in seed=7: without one nobody could repeat it")?;
        Ok(settings)
    }
}

/// The faults of a running server.
#[derive(Clone)]
pub(crate) struct Faults {
    inner: Arc<Inner>,
}

struct Inner {
    settings: FaultSettings,
    engine: Engine,
    time: VirtualTime,
    state: Mutex<State>,
}

struct State {
    /// One for each kind, so that one more of a kind does not move the others.
    chances: [Chance; 4],
    hands: Hands,
    /// Attempts whose heartbeats are lost.
    silent: Vec<Vec<u8>>,
    told: u64,
}

#[derive(Clone, Copy)]
enum Kind {
    Crash,
    Answer,
    Heartbeat,
    Signal,
}

impl Faults {
    /// `None` without settings, or without virtual time.
    pub(crate) fn new(settings: Option<FaultSettings>, engine: &Engine) -> Option<Self> {
        let (settings, time) = (settings?, engine.virtual_time()?.clone());
        let chance = |kind: u64| Chance(settings.seed ^ kind.wrapping_mul(GOLDEN));
        let state = State { chances: [chance(1), chance(2), chance(3), chance(4)], hands: Hands::default(), silent: Vec::new(), told: 0 };
        Some(Self { inner: Arc::new(Inner { settings, engine: engine.clone(), time, state: Mutex::new(state) }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one of a kind happens now.
    fn happens(&self, kind: Kind) -> bool {
        let settings = &self.inner.settings;
        let percent = match kind {
            Kind::Crash => settings.crashes,
            Kind::Answer => settings.lost_answers,
            Kind::Heartbeat => settings.lost_heartbeats,
            Kind::Signal => settings.late_signals,
        };
        self.state().chances[kind as usize].below(100) < u64::from(percent)
    }

    fn tell(&self, happened: &str) {
        let mut state = self.state();
        state.told += 1;
        // What cannot be told is done all the same.
        let _ = writeln!(std::io::stderr(), "fault {} of seed {}: {happened}", state.told, self.inner.settings.seed);
    }

    /// The server is to take a task for dead.
    fn lose(&self, task: Task) {
        let faults = self.clone();
        // Who holds the engine waits for nothing of this: it ends with the task, or with the server.
        tokio::spawn(async move { hands::time_out(&faults.inner.engine, &faults.inner.time, vec![task], true).await });
    }

    pub(crate) fn took_workflow_task(&self, namespace: &str, task: &PollWorkflowTaskQueueResponse) {
        self.state().hands.take_workflow_task(namespace, task);
    }

    pub(crate) fn took_activity(&self, namespace: &str, task: &PollActivityTaskQueueResponse) {
        self.state().hands.take_activity(namespace, task);
    }

    /// Before an answer to a workflow task is looked at: whether it is refused, as of a worker that has died before.
    pub(crate) fn crash(&self, token: &[u8]) -> Result<(), Refusal> {
        let task = self.state().hands.give_back(token);
        match task.filter(|_| self.happens(Kind::Crash)) {
            None => Ok(()),
            Some(task) => {
                self.tell(&format!("a worker died with {}", task.name()));
                self.lose(task);
                Err(Refusal::not_found(text::WORKFLOW_TASK_NOT_FOUND))
            }
        }
    }

    pub(crate) fn took_eager(&self, namespace: &str, answer: &RespondWorkflowTaskCompletedResponse) {
        self.state().hands.take_eager(namespace, answer);
    }

    /// Whether an answer of an activity is lost.
    pub(crate) fn loses_answer(&self, token: &[u8]) -> bool {
        let task = self.state().hands.give_back(token);
        match task.filter(|_| self.happens(Kind::Answer)) {
            None => false,
            Some(task) => {
                self.tell(&format!("the answer was lost of {}", task.name()));
                self.lose(task);
                true
            }
        }
    }

    /// Whether a heartbeat is lost. Once the server has given the attempt up, they are not: it says so.
    pub(crate) async fn loses_heartbeat(&self, token: &[u8]) -> bool {
        let Some(task) = self.state().hands.get(token).cloned() else { return false };
        let silent = self.state().silent.iter().any(|silent| silent == token);
        if !silent {
            if !self.happens(Kind::Heartbeat) {
                return false;
            }
            self.state().silent.push(token.to_vec());
            self.tell(&format!("heartbeats were lost of {}", task.name()));
            self.lose(task.clone());
        }
        task.is_in_hand(&self.inner.engine).await
    }

    /// Holds a signal back, maybe.
    pub(crate) async fn delay_signal(&self, workflow_id: &str) {
        if !self.happens(Kind::Signal) {
            return;
        }
        let at = usize::try_from(self.state().chances[Kind::Signal as usize].below(LATENESS.len() as u64)).unwrap_or_default();
        let seconds = LATENESS[at];
        self.tell(&format!("a signal to `{workflow_id}` came late by {seconds} s"));
        let span = Span::seconds(seconds);
        if self.inner.time.unlock_for(span).await.is_err() {
            self.inner.time.sleep(span).await;
        }
    }
}

/// How late a signal comes, in seconds: from shorter than most timers to longer than most.
const LATENESS: [i64; 5] = [1, 10, 600, 7_200, 172_800];
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Splitmix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        // Bounds are tiny: the bias is too.
        mixed % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_as_text() {
        let parsed: FaultSettings = "seed=7,crashes=0,late-signals=80".parse().unwrap();
        assert_eq!(parsed, FaultSettings { seed: 7, crashes: 0, lost_answers: 10, lost_heartbeats: 10, late_signals: 80 });
        let wrong = |text: &str| text.parse::<FaultSettings>().unwrap_err();
        assert!(wrong("crashes=5").contains("a seed is needed"));
        assert!(wrong("seed=x").contains("a seed is a number"));
        assert!(wrong("seed=1,crashes=90").contains("percent from 0 to 80"));
        assert!(wrong("seed=1,fire=1").contains("there is no fault `fire`"));
        assert!(wrong("seed").contains("is not NAME=NUMBER"));
    }
}
