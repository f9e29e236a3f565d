//! Events by type, counted as they are written, without decoding them.

use std::sync::atomic::{AtomicU64, Ordering};

use sempre_api::v1::enums::EventType;

/// Types that are counted; there are some sixty.
const TYPES: usize = 128;

/// See the module.
#[derive(Debug)]
pub struct EventCounts([AtomicU64; TYPES]);

/// What was among the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) started: bool,
    pub(crate) closed: bool,
}

impl Default for EventCounts {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl EventCounts {
    /// How many there were of a type.
    pub fn get(&self, of: EventType) -> u64 {
        usize::try_from(of as i32).ok().and_then(|at| self.0.get(at)).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// The types there were, each with its count.
    pub fn all(&self) -> impl Iterator<Item = (EventType, u64)> {
        let counts = self.0.iter().enumerate().map(|(at, count)| (at, count.load(Ordering::Relaxed)));
        counts.filter(|(_, count)| *count > 0).filter_map(|(at, count)| Some((EventType::try_from(i32::try_from(at).ok()?).ok()?, count)))
    }

    /// Counts the events of frames of `History.events`.
    pub(crate) fn count(&self, mut frames: &[u8]) -> Seen {
        use EventType as T;
        let mut seen = Seen::default();
        while let Some(event) = field(&mut frames).and_then(|(_, value)| value.bytes()) {
            let Some(kind) = event_type(event) else { continue };
            if let Some(count) = usize::try_from(kind).ok().and_then(|at| self.0.get(at)) {
                count.fetch_add(1, Ordering::Relaxed);
            }
            match i32::try_from(kind).ok().and_then(|kind| T::try_from(kind).ok()) {
                Some(T::WorkflowExecutionStarted) => seen.started = true,
                Some(
                    T::WorkflowExecutionCompleted
                    | T::WorkflowExecutionFailed
                    | T::WorkflowExecutionTimedOut
                    | T::WorkflowExecutionCanceled
                    | T::WorkflowExecutionTerminated
                    | T::WorkflowExecutionContinuedAsNew,
                ) => seen.closed = true,
                _ => {}
            }
        }
        seen
    }
}

/// A field's value as far as it is needed here.
#[derive(Clone, Copy)]
enum Value<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

impl<'b> Value<'b> {
    fn bytes(self) -> Option<&'b [u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            Value::Number(_) => None,
        }
    }
}

/// `HistoryEvent.event_type`, which is written before the attributes.
fn event_type(mut event: &[u8]) -> Option<u64> {
    loop {
        match field(&mut event)? {
            (3, Value::Number(kind)) => return Some(kind),
            // Fields come in the order of their numbers.
            (number, _) if number > 3 => return None,
            _ => {}
        }
    }
}

/// Takes the next field off.
fn field<'b>(bytes: &mut &'b [u8]) -> Option<(u64, Value<'b>)> {
    let key = varint(bytes)?;
    let take = |bytes: &mut &'b [u8], length: usize| {
        let (value, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        Some(value)
    };
    let value = match key & 7 {
        0 => Value::Number(varint(bytes)?),
        1 => Value::Bytes(take(bytes, 8)?),
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            Value::Bytes(take(bytes, length)?)
        }
        5 => Value::Bytes(take(bytes, 4)?),
        _ => return None,
    };
    Some((key >> 3, value))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use sempre_api::{
        History, Timestamp,
        v1::history::{HistoryEvent, WorkflowExecutionSignaledEventAttributes, history_event::Attributes},
    };

    use super::*;

    #[test]
    fn types_are_read_out_of_frames() {
        let event = |id, kind: EventType| HistoryEvent {
            event_id: id,
            event_time: Some(Timestamp { seconds: 1 << 40, nanos: 7 }),
            event_type: kind as i32,
            task_id: 1 << 50,
            attributes: Some(Attributes::WorkflowExecutionSignaledEventAttributes(WorkflowExecutionSignaledEventAttributes {
                signal_name: "s".repeat(300),
                ..Default::default()
            })),
            ..Default::default()
        };
        let counts = EventCounts::default();
        let types = [EventType::WorkflowExecutionStarted, EventType::WorkflowTaskScheduled, EventType::WorkflowTaskScheduled];
        let events: Vec<_> = types.iter().zip(1..).map(|(kind, id)| event(id, *kind)).collect();
        let frames = History::from_events(&events).chunks.remove(0);
        assert_eq!(counts.count(&frames), Seen { started: true, closed: false });
        let last = History::from_events(&[event(300, EventType::WorkflowExecutionTerminated)]).chunks.remove(0);
        assert_eq!(counts.count(&last), Seen { started: false, closed: true });
        let all: Vec<_> = counts.all().collect();
        let expected =
            [(EventType::WorkflowExecutionStarted, 1), (EventType::WorkflowTaskScheduled, 2), (EventType::WorkflowExecutionTerminated, 1)];
        assert_eq!(all, expected);
        assert_eq!(counts.get(EventType::WorkflowTaskScheduled), 2);
        // What is cut is not counted, and does no harm.
        assert!(!counts.count(&frames[..frames.len() - 1]).closed);
    }
}
