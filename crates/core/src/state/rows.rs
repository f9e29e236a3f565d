//! The rows a run's state is kept in (table State): a small change writes a small row.
//!
//! | kind | number | value |
//! |---|---|---|
//! | 1 Start | 0 | [`StartInfo`], written once |
//! | 2 Main | 0 | [`MainRow`]: the small parts of both halves |
//! | 3 Activity | scheduled event id | [`ActivityInfo`], written at scheduling and on a cancel request |
//! | 4 Attempt | scheduled event id | [`ActivityProgress`] |
//! | 5 Timer | started event id | [`TimerInfo`] |
//! | 6 Child | initiated event id | [`ChildInfo`] |
//! | 7 External | initiated event id | [`ExternalInfo`] |
//! | 8 SignalId | count | a request id, UTF-8 |
//! | 9 Buffered | place in the buffer | a `HistoryEvent` without id |
//! | 10 Attributes | 0 | [`Fields`] |
//! | 11 Update | its first event | [`UpdateInfo`] |
//! | 13 Callback | 0: how the chain ended; from 1: a callback | [`Outcome`]; [`CallbackRow`] |
//! | 14 RequestId | event id | [`AttachedId`] |
//! | 15 Reset | 0 | [`ResetInfo`], of runs that a reset made or was made from, and of those that followed |
//! | 20 Operation | scheduled event id | [`OperationInfo`] |
//! | 21 OperationRequests | scheduled event id | [`OperationProgress`] |
//! | 140 AttemptLog | count of logs mod [`super::attempt_log::LOGS_KEPT`] | [`AttemptLog`] |
//!
//! Kinds from [`BESIDE_STATE`] on are kept with the run (and deleted with it) but are no state: a run is loaded without them.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    string::String,
    sync::Arc,
    vec::Vec,
};
use core::fmt;

use bytes::Bytes;
use prost::Message;
use sempre_api::v1::history::HistoryEvent;

use super::{
    ActivityInfo, ActivityProgress, AttachedId, AttemptLog, Buffer, ChildInfo, Derived, ExternalInfo, Main, OperationInfo,
    OperationProgress, Progress, ResetInfo, ResetPoint, ResetPoints, StartInfo, State, TimerInfo,
    callback::{CallbackRow, Outcome},
    derived::Fields,
    progress::ProgressMain,
    updates::UpdateInfo,
};

/// Kind of a row: the byte after the run id in its key. Numbers never change meaning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Kind {
    Start = 1,
    Main = 2,
    Activity = 3,
    Attempt = 4,
    Timer = 5,
    Child = 6,
    External = 7,
    SignalId = 8,
    Buffered = 9,
    Attributes = 10,
    Update = 11,
    Callback = 13,
    RequestId = 14,
    Reset = 15,
    Operation = 20,
    OperationRequests = 21,
    AttemptLog = 140,
}

/// Number of the row of kind [`Kind::Callback`] that says how the chain ended.
pub(crate) const OUTCOME: i64 = 0;

/// First kind of those that are not loaded with the run.
pub const BESIDE_STATE: u8 = 128;

/// Rows that have to be written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dirty {
    main: bool,
    rows: BTreeSet<(Kind, i64)>,
    /// Signal request ids to add, with their numbers.
    pub(crate) signal_ids: Vec<(u64, String)>,
    /// Attempt logs to write, with their places.
    pub(crate) attempt_logs: Vec<(u64, AttemptLog)>,
}

impl Dirty {
    /// The main row has changed.
    pub fn main(&mut self) {
        self.main = true;
    }

    /// That row has changed or is gone.
    pub fn mark(&mut self, kind: Kind, number: i64) {
        self.rows.insert((kind, number));
    }

    /// Nothing to write.
    pub fn is_clean(&self) -> bool {
        !self.main && self.rows.is_empty() && self.signal_ids.is_empty() && self.attempt_logs.is_empty()
    }
}

/// A row to put, or to delete when `value` is `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct RowChange {
    /// See [`Kind`].
    pub kind: u8,
    /// Number within the kind.
    pub number: u64,
    /// New value.
    pub value: Option<Bytes>,
}

/// The small parts of both halves.
#[derive(Clone, PartialEq, Message)]
pub struct MainRow {
    /// Derived half.
    #[prost(message, optional, tag = "1")]
    pub derived: Option<Main>,
    /// Progress half.
    #[prost(message, optional, tag = "2")]
    pub progress: Option<ProgressMain>,
    /// Reset points, of the derived half too.
    #[prost(message, repeated, tag = "30")]
    pub reset_points: Vec<ResetPoint>,
}

/// Tags and lengths of the two halves in a [`MainRow`], at most.
const MAIN_ROW_FRAME: usize = 12;

fn encoded(message: &impl Message) -> Option<Bytes> {
    Some(message.encode_to_vec().into())
}

impl State {
    /// Takes the rows that changed since the last call.
    pub fn take_rows(&mut self) -> Vec<RowChange> {
        let mut out = Vec::new();
        let dirty = core::mem::take(&mut self.dirty);
        if dirty.main {
            // A speculative task lives in memory only.
            let speculative = self.progress.main.task.take_if(|task| task.speculative);
            // As a [`MainRow`] is encoded, without making one.
            let (derived, progress) = (&self.derived.main, &self.progress.main);
            let mut value = Vec::with_capacity(derived.encoded_len() + progress.encoded_len() + MAIN_ROW_FRAME);
            prost::encoding::message::encode(1, derived, &mut value);
            prost::encoding::message::encode(2, progress, &mut value);
            prost::encoding::message::encode_repeated(30, self.derived.reset_points.as_slice(), &mut value);
            if speculative.is_some() {
                self.progress.main.task = speculative;
            }
            out.push(RowChange { kind: Kind::Main as u8, number: 0, value: Some(value.into()) });
        }
        for (kind, number) in dirty.rows {
            let (d, p) = (&self.derived, &self.progress);
            let value = match kind {
                Kind::Start => encoded(d.start.as_ref()),
                Kind::Attributes => encoded(d.attributes.as_ref()),
                Kind::Activity => d.activities.get(&number).and_then(|a| encoded(a.as_ref())),
                Kind::Attempt => p.activities.get(&number).and_then(|a| encoded(a.as_ref())),
                Kind::Timer => d.timers.get(&number).and_then(encoded),
                Kind::Child => d.children.get(&number).and_then(|c| encoded(c.as_ref())),
                Kind::External => d.externals.get(&number).and_then(|e| encoded(e.as_ref())),
                Kind::Operation => d.operations.get(&number).and_then(|o| encoded(o.as_ref())),
                Kind::OperationRequests => p.operations.get(&number).and_then(encoded),
                Kind::Callback => self.callback_row(number),
                Kind::RequestId => d.request_ids.get(&number).and_then(|r| encoded(r.as_ref())),
                Kind::Update => d.updates.row(number).and_then(encoded),
                Kind::Reset => p.reset.as_deref().and_then(encoded),
                Kind::Buffered | Kind::SignalId | Kind::AttemptLog | Kind::Main => continue,
            };
            out.push(RowChange { kind: kind as u8, number: number as u64, value });
        }
        for (number, id) in dirty.signal_ids {
            out.push(RowChange { kind: Kind::SignalId as u8, number, value: Some(id.into_bytes().into()) });
        }
        for (place, log) in dirty.attempt_logs {
            out.push(RowChange { kind: Kind::AttemptLog as u8, number: place, value: encoded(&log) });
        }
        self.buffer_rows(&mut out);
        out
    }

    fn callback_row(&self, number: i64) -> Option<Bytes> {
        if number == OUTCOME {
            return self.derived.outcome.as_ref().and_then(|outcome| encoded(outcome.as_ref()));
        }
        let info = self.derived.callbacks.get(&number)?.as_ref().clone();
        encoded(&CallbackRow { info: Some(info), progress: self.progress.callbacks.get(&number).cloned() })
    }

    /// The buffer only grows at its end or is replaced as a whole: rows beyond `stored` are new.
    fn buffer_rows(&mut self, out: &mut Vec<RowChange>) {
        let buffer = &mut self.progress.buffer;
        let kept = if buffer.rewritten { 0 } else { buffer.stored };
        for (at, event) in buffer.events.iter().enumerate().skip(kept) {
            out.push(RowChange { kind: Kind::Buffered as u8, number: at as u64, value: encoded(event) });
        }
        for at in buffer.events.len()..buffer.stored {
            out.push(RowChange { kind: Kind::Buffered as u8, number: at as u64, value: None });
        }
        buffer.stored = buffer.events.len();
        buffer.rewritten = false;
    }

    /// Bytes of all rows, without those of signal request ids.
    pub fn size(&self) -> usize {
        let (d, p) = (&self.derived, &self.progress);
        d.start.encoded_len()
            + d.attributes.encoded_len()
            + d.main.encoded_len()
            + p.main.encoded_len()
            + p.buffer.bytes()
            + d.activities.values().map(|row| row.encoded_len()).sum::<usize>()
            + p.activities.values().map(|row| row.encoded_len()).sum::<usize>()
            + d.timers.values().map(Message::encoded_len).sum::<usize>()
            + d.children.values().map(|row| row.encoded_len()).sum::<usize>()
            + d.externals.values().map(|row| row.encoded_len()).sum::<usize>()
            + d.operations.values().map(|row| row.encoded_len()).sum::<usize>()
            + p.operations.values().map(Message::encoded_len).sum::<usize>()
            + p.reset.as_deref().map_or(0, Message::encoded_len)
            + d.callbacks.values().map(|row| row.encoded_len()).sum::<usize>()
    }

    /// Puts a state together from its rows. Returns it and the signal request ids.
    pub fn load(rows: Vec<(u8, u64, Bytes)>) -> Result<(Self, BTreeSet<String>), LoadError> {
        let mut derived = Derived::default();
        let mut progress = Progress::default();
        let mut buffered = BTreeMap::new();
        let mut signal_ids = BTreeSet::new();
        let mut has_main = false;
        for (kind, number, value) in rows {
            let damaged = |_| LoadError::Damaged { kind, number };
            let id = number as i64;
            match kind {
                1 => derived.start = Arc::new(StartInfo::decode(value).map_err(damaged)?),
                2 => {
                    let row = MainRow::decode(value).map_err(damaged)?;
                    derived.main = row.derived.unwrap_or_default();
                    progress.main = row.progress.unwrap_or_default();
                    derived.reset_points = ResetPoints::stored(row.reset_points);
                    has_main = true;
                }
                3 => {
                    let info = ActivityInfo::decode(value).map_err(damaged)?;
                    let attributes = info.attributes.as_ref().ok_or(LoadError::Damaged { kind, number })?;
                    derived.activity_ids.insert(attributes.activity_id.clone(), id);
                    derived.activities.insert(id, Arc::new(info));
                }
                4 => {
                    progress.activities.insert(id, Arc::new(ActivityProgress::decode(value).map_err(damaged)?));
                }
                5 => {
                    let timer = TimerInfo::decode(value).map_err(damaged)?;
                    derived.timer_ids.insert(timer.timer_id.clone(), id);
                    derived.timers.insert(id, timer);
                }
                6 => {
                    derived.children.insert(id, Arc::new(ChildInfo::decode(value).map_err(damaged)?));
                }
                7 => {
                    derived.externals.insert(id, Arc::new(ExternalInfo::decode(value).map_err(damaged)?));
                }
                8 => {
                    let text = String::from_utf8(value.to_vec()).map_err(|_| LoadError::Damaged { kind, number })?;
                    signal_ids.insert(text);
                }
                9 => {
                    buffered.insert(number, HistoryEvent::decode(value).map_err(damaged)?);
                }
                10 => derived.attributes = Arc::new(Fields::decode(value).map_err(damaged)?),
                11 => derived.updates.insert(id, UpdateInfo::decode(value).map_err(damaged)?),
                13 if id == OUTCOME => derived.outcome = Some(Arc::new(Outcome::decode(value).map_err(damaged)?)),
                13 => {
                    let row = CallbackRow::decode(value).map_err(damaged)?;
                    derived.callbacks.insert(id, Arc::new(row.info.unwrap_or_default()));
                    row.progress.and_then(|row| progress.callbacks.insert(id, row));
                }
                14 => {
                    derived.request_ids.insert(id, Arc::new(AttachedId::decode(value).map_err(damaged)?));
                }
                15 => progress.reset = Some(Box::new(ResetInfo::decode(value).map_err(damaged)?)),
                20 => {
                    let info = OperationInfo::decode(value).map_err(damaged)?;
                    if info.attributes.is_none() {
                        return Err(LoadError::Damaged { kind, number });
                    }
                    derived.operations.insert(id, Arc::new(info));
                }
                21 => {
                    progress.operations.insert(id, OperationProgress::decode(value).map_err(damaged)?);
                }
                BESIDE_STATE.. => {}
                _ => return Err(LoadError::Damaged { kind, number }),
            }
        }
        if !has_main || derived.start.attributes.is_none() {
            return Err(LoadError::Damaged { kind: Kind::Main as u8, number: 0 });
        }
        let events: Vec<_> = buffered.into_values().collect();
        progress.buffer = Buffer { stored: events.len(), events, rewritten: false };
        Ok((Self { derived, progress, dirty: Dirty::default() }, signal_ids))
    }
}

/// Why a run cannot be put together from the rows found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadError {
    /// A row does not decode, or the main or start row is missing.
    Damaged {
        /// Kind of the row.
        kind: u8,
        /// Its number.
        number: u64,
    },
    /// The rows are of a run of another workflow id or namespace: for who asked, there is no such run.
    OtherWorkflow,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { kind, number } => write!(f, "state row of kind {kind} number {number} is missing or damaged"),
            Self::OtherWorkflow => f.write_str("the run belongs to another workflow"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(time: i64) -> HistoryEvent {
        HistoryEvent { event_time: Some(crate::Timestamp(time).to_api()), ..Default::default() }
    }

    /// Applies row changes to what a store would hold.
    fn write(rows: &mut BTreeMap<(u8, u64), Bytes>, changes: Vec<RowChange>) {
        for change in changes {
            match change.value {
                Some(value) => rows.insert((change.kind, change.number), value),
                None => rows.remove(&(change.kind, change.number)),
            };
        }
    }

    fn state() -> State {
        let mut derived = Derived::default();
        let attributes = sempre_api::v1::history::WorkflowExecutionStartedEventAttributes::default();
        derived.start = Arc::new(StartInfo { attributes: Some(alloc::boxed::Box::new(attributes)), ..Default::default() });
        let mut dirty = Dirty::default();
        dirty.main();
        dirty.mark(Kind::Start, 0);
        State { derived, progress: Progress::default(), dirty }
    }

    /// The main row is encoded without making the message that it is read as.
    #[test]
    fn the_main_row_is_the_message_of_both_halves_without_a_speculative_task() {
        for speculative in [false, true] {
            let mut state = state();
            state.derived.main.next_event_id = 300;
            state.derived.reset_points = ResetPoints::stored(alloc::vec![ResetPoint { run_id: "r".into(), ..Default::default() }]);
            state.progress.main.start_request_id = "request".repeat(30);
            state.progress.main.task = Some(Box::new(super::super::Task { speculative, attempt: 2, ..Default::default() }));
            let before = state.progress.clone();
            let rows = state.take_rows();
            let row = rows.iter().find(|row| row.kind == Kind::Main as u8).and_then(|row| row.value.clone()).unwrap();
            let mut progress = before.main.clone();
            progress.task.take_if(|task| task.speculative);
            let reset_points = state.derived.reset_points.as_slice().to_vec();
            let whole = MainRow { derived: Some(state.derived.main.clone()), progress: Some(progress), reset_points };
            assert_eq!(row, whole.encode_to_vec());
            assert_eq!(state.progress, before, "what is in memory stays");
        }
        let mut empty = state();
        let rows = empty.take_rows();
        let whole = MainRow { derived: Some(Main::default()), progress: Some(ProgressMain::default()), reset_points: Vec::new() };
        assert_eq!(rows[0].value.as_deref(), Some(&whole.encode_to_vec()[..]));
    }

    #[test]
    fn a_buffer_that_was_flushed_and_filled_again_between_two_commits_reads_back_as_it_is() {
        let (mut state, mut rows) = (state(), BTreeMap::new());
        state.progress.buffer.events.extend([event(1), event(2)]);
        write(&mut rows, state.take_rows());
        assert_eq!(state.progress.buffer.take().len(), 2);
        state.progress.buffer.events.push(event(3));
        write(&mut rows, state.take_rows());
        let rows = rows.into_iter().map(|((kind, number), value)| (kind, number, value)).collect();
        let (loaded, _) = State::load(rows).unwrap();
        assert_eq!(loaded.progress.buffer.events, [event(3)]);
        assert_eq!(loaded.progress, state.progress);
    }

    /// Admitted by an event after it was accepted: its row stays the one of its first event.
    #[test]
    fn an_update_is_loaded_under_the_number_of_its_row() {
        let (mut state, mut rows) = (state(), BTreeMap::new());
        for event_id in [8, 20] {
            let number = state.derived.updates.change("u", event_id, |u| match event_id {
                8 => u.accepted_event_id = 8,
                _ => u.admitted_event_id = 20,
            });
            state.dirty.mark(Kind::Update, number);
            write(&mut rows, state.take_rows());
        }
        let load = |rows: &BTreeMap<(u8, u64), Bytes>| {
            State::load(rows.iter().map(|((kind, number), value)| (*kind, *number, value.clone())).collect()).unwrap().0
        };
        let mut loaded = load(&rows);
        assert_eq!(loaded.derived, state.derived);
        let number = loaded.derived.updates.change("u", 30, |u| u.completed_event_id = 30);
        loaded.dirty.mark(Kind::Update, number);
        write(&mut rows, loaded.take_rows());
        assert_eq!((load(&rows).derived.updates.len(), load(&rows).derived.updates.completed()), (1, 1));
    }
}
