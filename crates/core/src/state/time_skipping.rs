//! What history says of a run's own clock (spec 08 §6.2): how far it is ahead, and whether it may skip on.
//!
//! All times in here are the run's own. Rules that need the rest of the run are in [`crate::time_skipping`].

use alloc::boxed::Box;

use prost::Message;
use sempre_api::v1::{
    common::TimeSkippingConfig,
    history::{
        HistoryEvent, WorkflowExecutionOptionsUpdatedEventAttributes, WorkflowExecutionStartedEventAttributes,
        WorkflowExecutionTimeSkippingTransitionedEventAttributes, history_event::Attributes,
    },
};

use super::derived::event_time;
use crate::{Span, Timestamp};

/// A run's own clock.
#[derive(Clone, PartialEq, Message)]
pub struct TimeSkipping {
    /// As it was asked for; `enabled` goes when it is done. `None`: taken away, or never there.
    #[prost(message, optional, boxed, tag = "1")]
    pub config: Option<Box<TimeSkippingConfig>>,
    /// How far the run's time is ahead of the wall clock, ns.
    #[prost(int64, tag = "2")]
    pub skipped: i64,
    /// Skips since the configuration was last set, in the whole chain.
    #[prost(int32, tag = "3")]
    pub skips: i32,
    /// There as long as the configuration asks for a fast-forward.
    #[prost(message, optional, tag = "4")]
    pub fast_forward: Option<FastForward>,
}

/// A fast-forward.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct FastForward {
    /// Where it ends, ns.
    #[prost(int64, tag = "1")]
    pub target: i64,
    /// The run's time has been there.
    #[prost(bool, tag = "2")]
    pub completed: bool,
}

impl TimeSkipping {
    /// The run may skip.
    pub fn is_enabled(&self) -> bool {
        self.config.as_ref().is_some_and(|config| config.enabled)
    }

    /// Where a fast-forward that is under way ends.
    pub fn pending_fast_forward(&self) -> Option<Timestamp> {
        let ahead = self.fast_forward.filter(|ahead| self.is_enabled() && !ahead.completed);
        ahead.map(|ahead| Timestamp(ahead.target))
    }

    /// Of a run that begins.
    pub(crate) fn started(event: &HistoryEvent, a: &WorkflowExecutionStartedEventAttributes) -> Option<Box<Self>> {
        let state = a.time_skipping_state_propagation.as_ref();
        let skipped = Span::from_api(state.and_then(|state| state.initial_skipped_duration.as_ref())).unwrap_or_default();
        if a.time_skipping_config.is_none() && skipped.is_zero() {
            return None;
        }
        let mut own = Self {
            config: a.time_skipping_config.clone().map(Box::new),
            skipped: skipped.0,
            skips: state.map_or(0, |state| state.initial_skip_count),
            fast_forward: None,
        };
        let target = state.and_then(|state| state.fast_forward_target_time.as_ref()).map(Timestamp::from_api);
        own.fast_forward_from(event_time(event), target);
        Some(Box::new(own))
    }

    /// A new configuration begins a new count of skips, and its fast-forward counts from then.
    fn updated(before: Option<Box<Self>>, event: &HistoryEvent, a: &WorkflowExecutionOptionsUpdatedEventAttributes) -> Option<Box<Self>> {
        if before.is_none() && a.time_skipping_config.is_none() {
            return None;
        }
        let mut own = before.unwrap_or_default();
        own.config = a.time_skipping_config.clone().map(Box::new);
        own.skips = 0;
        own.fast_forward_from(event_time(event), None);
        Some(own)
    }

    fn fast_forward_from(&mut self, now: Timestamp, inherited: Option<Timestamp>) {
        let Some(config) = self.config.as_mut() else {
            self.fast_forward = None;
            return;
        };
        let duration = config.fast_forward_config.as_ref().map(|asked| Span::from_api(asked.duration.as_ref()).unwrap_or_default());
        self.fast_forward = duration.map(|duration| {
            let target = inherited.unwrap_or(now + duration);
            FastForward { target: target.0, completed: inherited.is_some_and(|target| target <= now) }
        });
        if self.fast_forward.is_some_and(|ahead| ahead.completed) {
            config.enabled = false;
        }
    }

    fn transitioned(&mut self, event: &HistoryEvent, a: &WorkflowExecutionTimeSkippingTransitionedEventAttributes) {
        if let Some(target) = &a.target_time {
            self.skipped = self.skipped.saturating_add(Timestamp::from_api(target).since(event_time(event)).0);
        }
        self.skips = self.skips.saturating_add(1);
        let Some(config) = self.config.as_mut() else { return };
        if let Some(ahead) = self.fast_forward.as_mut().filter(|_| a.disabled_after_fast_forward) {
            ahead.completed = true;
            config.enabled = false;
        }
        if self.skips >= config.max_session_skip_count {
            config.enabled = false;
        }
    }

    /// Applies an event that may say something of it. Live and rebuild both come through here.
    pub(crate) fn apply(before: Option<Box<Self>>, event: &HistoryEvent) -> Option<Box<Self>> {
        match &event.attributes {
            Some(Attributes::WorkflowExecutionStartedEventAttributes(a)) => Self::started(event, a),
            Some(Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(a)) if a.time_skipping_config_updated => {
                Self::updated(before, event, a)
            }
            Some(Attributes::WorkflowExecutionTimeSkippingTransitionedEventAttributes(a)) => before.map(|mut own| {
                own.transitioned(event, a);
                own
            }),
            _ => before,
        }
    }

    /// The event is one of those.
    pub(crate) fn is_changed_by(event: &HistoryEvent) -> bool {
        match &event.attributes {
            Some(Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(a)) => a.time_skipping_config_updated,
            Some(Attributes::WorkflowExecutionTimeSkippingTransitionedEventAttributes(_)) => true,
            _ => false,
        }
    }
}
