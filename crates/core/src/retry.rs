//! Retry arithmetic and decisions for activities and workflows (spec 03 §6, 01 §8).
//!
//! Integers only: the coefficient, a float in the API, becomes a number of billionths once, and waits
//! grow by repeated multiplication, so that every machine computes the same ones.

use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
};

use prost::Message;
use sempre_api::v1::{
    common::RetryPolicy,
    enums::{RetryState, TimeoutType},
    failure::{ApplicationFailureInfo, Failure, ServerFailureInfo, failure::FailureInfo},
};

use crate::{Span, Timestamp};

/// First wait of a policy that names none.
pub const INITIAL_INTERVAL_DEFAULT: Span = Span::seconds(1);
/// Coefficient of a policy that names none.
pub const COEFFICIENT_DEFAULT: f64 = 2.0;
/// Longest wait of a policy that names none, in first waits.
pub const MAXIMUM_INTERVAL_FACTOR: i64 = 100;
/// Prefix of `non_retryable_error_types` that mean a timeout.
pub const TIMEOUT_PREFIX: &str = "TemporalTimeout:";
/// Message of the failure that stands for one that is too large.
pub const FAILURE_TOO_LARGE: &str = "Failure exceeds size limit.";
/// Bytes kept of a failure that was too large for a request.
const TOO_LARGE_CAUSE_MAX: usize = 16 << 10;

/// One in fixed-point coefficients.
const ONE: u128 = 1_000_000_000;

/// What is retried; the rules differ in details.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An attempt of an activity.
    Activity,
    /// A run.
    Workflow,
}

/// Whether to try again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Attempt + 1 after this long.
    Retry {
        /// Counted from now.
        after: Span,
    },
    /// No more; why.
    Stop(RetryState),
}

/// Fills zero fields field by field (spec 03 §14).
pub fn fill_defaults(policy: &mut RetryPolicy) {
    let is_zero = |d: &Option<sempre_api::Duration>| d.as_ref().is_none_or(|d| d.seconds == 0 && d.nanos == 0);
    if is_zero(&policy.initial_interval) {
        policy.initial_interval = Some(INITIAL_INTERVAL_DEFAULT.to_api());
    }
    if policy.backoff_coefficient == 0.0 {
        policy.backoff_coefficient = COEFFICIENT_DEFAULT;
    }
    if is_zero(&policy.maximum_interval)
        && let Ok(initial) = Span::from_api(policy.initial_interval.as_ref())
    {
        policy.maximum_interval = Some(maximum_default(initial).to_api());
    }
}

fn maximum_default(initial: Span) -> Span {
    Span(initial.0.saturating_mul(MAXIMUM_INTERVAL_FACTOR)).min(Span::MAX)
}

/// Checks a policy whose defaults are filled. The texts are the API's (spec 03 §14).
pub fn validate(policy: &RetryPolicy) -> Result<(), String> {
    if policy.maximum_attempts == 1 {
        // One attempt is no retry at all: the rest is never looked at.
        return Ok(());
    }
    let initial =
        Span::from_api(policy.initial_interval.as_ref()).map_err(|e| format!("invalid InitialInterval set on retry policy: {e}"))?;
    if policy.backoff_coefficient.is_nan() || policy.backoff_coefficient < 1.0 {
        return Err("BackoffCoefficient cannot be less than 1 on retry policy.".into());
    }
    let maximum =
        Span::from_api(policy.maximum_interval.as_ref()).map_err(|e| format!("invalid MaximumInterval set on retry policy: {e}"))?;
    if !maximum.is_zero() && maximum < initial {
        return Err("MaximumInterval cannot be less than InitialInterval on retry policy.".into());
    }
    if policy.maximum_attempts < 0 {
        return Err("MaximumAttempts cannot be negative on retry policy.".into());
    }
    for entry in &policy.non_retryable_error_types {
        if let Some(name) = entry.strip_prefix(TIMEOUT_PREFIX)
            && !is_timeout_type(name)
        {
            return Err(format!("Invalid timeout type value: {name}."));
        }
    }
    Ok(())
}

/// Short name of a timeout type, as texts and policies use it.
pub fn timeout_name(timeout: TimeoutType) -> &'static str {
    match timeout {
        TimeoutType::Unspecified => "Unspecified",
        TimeoutType::StartToClose => "StartToClose",
        TimeoutType::ScheduleToStart => "ScheduleToStart",
        TimeoutType::ScheduleToClose => "ScheduleToClose",
        TimeoutType::Heartbeat => "Heartbeat",
    }
}

fn is_timeout_type(name: &str) -> bool {
    TimeoutType::from_str_name(name).is_some() || (0..=4).filter_map(|n| TimeoutType::try_from(n).ok()).any(|t| timeout_name(t) == name)
}

/// Whether to try again after `attempt` (from 1) ended with `failure`.
///
/// `expiration`: no attempt may begin after it. `cancel_requested`: only of an activity.
pub fn decide(
    policy: Option<&RetryPolicy>,
    attempt: i32,
    now: Timestamp,
    expiration: Option<Timestamp>,
    failure: Option<&Failure>,
    cancel_requested: bool,
    kind: Kind,
) -> Decision {
    let Some(policy) = policy else { return Decision::Stop(RetryState::RetryPolicyNotSet) };
    if cancel_requested {
        return Decision::Stop(RetryState::CancelRequested);
    }
    if kind == Kind::Activity && failure.is_some_and(is_schedule_timeout) {
        return Decision::Stop(RetryState::Timeout);
    }
    if failure.is_some_and(|f| !is_retryable(policy, f)) {
        return Decision::Stop(RetryState::NonRetryableFailure);
    }
    if policy.maximum_attempts > 0 && attempt >= policy.maximum_attempts {
        return Decision::Stop(RetryState::MaximumAttemptsReached);
    }
    let after = match (next_retry_delay(failure), kind) {
        // An explicit zero closes an activity, and is the longest wait of a workflow (spec 03 §6.7).
        (Some(Span::ZERO), Kind::Activity) => return Decision::Stop(RetryState::Timeout),
        (Some(Span::ZERO), Kind::Workflow) => maximum_interval(policy),
        (Some(delay), Kind::Activity) => delay,
        (Some(delay), Kind::Workflow) => delay.min(maximum_interval(policy)),
        (None, _) => backoff(policy, attempt),
    };
    if expiration.is_some_and(|end| now + after > end) {
        return Decision::Stop(RetryState::Timeout);
    }
    Decision::Retry { after }
}

/// The wait after `attempt` (from 1): initial × coefficient^(attempt − 1), at most the maximum interval.
pub fn backoff(policy: &RetryPolicy, attempt: i32) -> Span {
    let maximum = maximum_interval(policy).0.max(0) as u128;
    let coefficient = fixed_point(policy.backoff_coefficient);
    let mut interval = initial_interval(policy).0.max(0) as u128;
    for _ in 1..attempt.max(1) {
        if interval >= maximum || coefficient == ONE {
            break;
        }
        // Below the maximum an interval has 63 bits and the coefficient 64: the product fits.
        interval = interval * coefficient / ONE;
    }
    Span(interval.min(maximum) as i64)
}

fn initial_interval(policy: &RetryPolicy) -> Span {
    Span::from_api(policy.initial_interval.as_ref()).ok().and_then(Span::some).unwrap_or(INITIAL_INTERVAL_DEFAULT)
}

fn maximum_interval(policy: &RetryPolicy) -> Span {
    let given = Span::from_api(policy.maximum_interval.as_ref()).ok().and_then(Span::some);
    given.unwrap_or_else(|| maximum_default(initial_interval(policy)))
}

/// The coefficient in billionths; the conversion saturates, and less than one counts as one.
fn fixed_point(coefficient: f64) -> u128 {
    let coefficient = if coefficient == 0.0 { COEFFICIENT_DEFAULT } else { coefficient };
    u128::from((coefficient * 1e9 + 0.5) as u64).max(ONE)
}

fn next_retry_delay(failure: Option<&Failure>) -> Option<Span> {
    let Some(FailureInfo::ApplicationFailureInfo(info)) = &failure?.failure_info else { return None };
    Span::from_api(Some(info.next_retry_delay.as_ref()?)).ok()
}

fn is_schedule_timeout(failure: &Failure) -> bool {
    matches!(&failure.failure_info, Some(FailureInfo::TimeoutFailureInfo(info))
        if matches!(info.timeout_type(), TimeoutType::ScheduleToStart | TimeoutType::ScheduleToClose))
}

fn is_retryable(policy: &RetryPolicy, failure: &Failure) -> bool {
    let listed = |name: &str| policy.non_retryable_error_types.iter().any(|t| t == name);
    match &failure.failure_info {
        Some(FailureInfo::TerminatedFailureInfo(_) | FailureInfo::CanceledFailureInfo(_)) => false,
        Some(FailureInfo::TimeoutFailureInfo(info)) => {
            let timeout = info.timeout_type();
            matches!(timeout, TimeoutType::StartToClose | TimeoutType::Heartbeat)
                && !policy.non_retryable_error_types.iter().any(|entry| {
                    entry
                        .strip_prefix(TIMEOUT_PREFIX)
                        .is_some_and(|name| name == timeout_name(timeout) || TimeoutType::from_str_name(name) == Some(timeout))
                })
        }
        Some(FailureInfo::ServerFailureInfo(info)) => !info.non_retryable,
        Some(FailureInfo::ApplicationFailureInfo(info)) => !info.non_retryable && !listed(&info.r#type),
        _ => true,
    }
}

/// Causes that a failure may have below each other. Deeper ones could be decoded on arrival but not read back from
/// inside an event, which nests them further (the decoder's bound is 100 levels).
pub const CAUSES_MAX: usize = 50;

/// Cuts a chain of causes that is longer than [`CAUSES_MAX`], and says so in its place.
pub fn cut_causes(failure: &mut Failure) {
    let mut at = failure;
    for _ in 1..CAUSES_MAX {
        match &mut at.cause {
            Some(cause) => at = cause.as_mut(),
            None => return,
        }
    }
    if at.cause.is_some() {
        at.cause = Some(alloc::boxed::Box::new(Failure {
            message: alloc::format!("further causes are cut off: more than {CAUSES_MAX} below each other"),
            source: "Server".into(),
            failure_info: Some(FailureInfo::ServerFailureInfo(ServerFailureInfo { non_retryable: false })),
            ..Default::default()
        }));
    }
}

/// A failure as a pending activity keeps it: as it is, or cut and wrapped when over `max_bytes`
/// (spec 03 §6.9, 09 §2.1).
pub fn truncate_failure(failure: Failure, max_bytes: usize) -> Failure {
    if failure.encoded_len() <= max_bytes {
        return failure;
    }
    server_failure(FAILURE_TOO_LARGE, Some(cut(failure, max_bytes / 2)))
}

/// What is recorded in place of something too large: a non-retryable ServerFailure with `text`, caused by
/// what remains of `cause`.
pub fn too_large_failure(text: &str, cause: Option<Failure>) -> Failure {
    server_failure(text, cause.map(|c| if c.encoded_len() <= TOO_LARGE_CAUSE_MAX { c } else { cut(c, TOO_LARGE_CAUSE_MAX) }))
}

fn server_failure(message: &str, cause: Option<Failure>) -> Failure {
    Failure {
        message: message.to_string(),
        source: "Server".into(),
        cause: cause.map(Box::new),
        failure_info: Some(FailureInfo::ServerFailureInfo(ServerFailureInfo { non_retryable: true })),
        ..Default::default()
    }
}

/// The message as far as it fits, and what decides about retries; no source, stack, details or cause.
fn cut(mut failure: Failure, max_bytes: usize) -> Failure {
    let info = match failure.failure_info.take() {
        Some(FailureInfo::ApplicationFailureInfo(mut info)) => {
            cut_text(&mut info.r#type, max_bytes / 4);
            Some(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo {
                r#type: info.r#type,
                non_retryable: info.non_retryable,
                ..Default::default()
            }))
        }
        Some(FailureInfo::TimeoutFailureInfo(mut info)) => {
            info.last_heartbeat_details = None;
            Some(FailureInfo::TimeoutFailureInfo(info))
        }
        Some(FailureInfo::CanceledFailureInfo(_)) => Some(FailureInfo::CanceledFailureInfo(Default::default())),
        Some(FailureInfo::TerminatedFailureInfo(_)) => Some(FailureInfo::TerminatedFailureInfo(Default::default())),
        Some(FailureInfo::ServerFailureInfo(info)) => Some(FailureInfo::ServerFailureInfo(info)),
        _ => None,
    };
    let rest = Failure { failure_info: info, ..Default::default() };
    // Tag and length of the message take at most six bytes.
    cut_text(&mut failure.message, max_bytes.saturating_sub(rest.encoded_len() + 6));
    Failure { message: failure.message, ..rest }
}

fn cut_text(text: &mut String, max_bytes: usize) {
    let mut end = max_bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use sempre_api::v1::failure::{CanceledFailureInfo, TerminatedFailureInfo, TimeoutFailureInfo};

    use super::*;

    fn policy(initial: i64, coefficient: f64, maximum: i64, attempts: i32) -> RetryPolicy {
        RetryPolicy {
            initial_interval: Some(Span::seconds(initial).to_api()),
            backoff_coefficient: coefficient,
            maximum_interval: Some(Span::seconds(maximum).to_api()),
            maximum_attempts: attempts,
            non_retryable_error_types: vec![],
        }
    }

    fn failure(info: FailureInfo) -> Failure {
        Failure { message: "boom".into(), failure_info: Some(info), ..Default::default() }
    }

    fn application(r#type: &str, non_retryable: bool, delay: Option<Span>) -> Failure {
        failure(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo {
            r#type: r#type.into(),
            non_retryable,
            next_retry_delay: delay.map(Span::to_api),
            ..Default::default()
        }))
    }

    fn timeout(kind: TimeoutType) -> Failure {
        failure(FailureInfo::TimeoutFailureInfo(TimeoutFailureInfo { timeout_type: kind as i32, last_heartbeat_details: None }))
    }

    fn after(policy: &RetryPolicy, attempt: i32, failure: Option<&Failure>, kind: Kind) -> Decision {
        decide(Some(policy), attempt, Timestamp(0), None, failure, false, kind)
    }

    fn seconds(s: i64) -> Decision {
        Decision::Retry { after: Span::seconds(s) }
    }

    #[test]
    fn waits_grow_up_to_the_maximum() {
        let p = policy(1, 2.0, 3, 0);
        let waits: Vec<_> = (1..=5).map(|n| backoff(&p, n).0 / 1_000_000_000).collect();
        assert_eq!(waits, [1, 2, 3, 3, 3]);
        let p = policy(1, 1.5, 100, 0);
        let waits: Vec<_> = (1..=4).map(|n| backoff(&p, n).0 / 1_000_000).collect();
        assert_eq!(waits, [1000, 1500, 2250, 3375]);
        // 2.3 × 10^9 is not exact as a float.
        assert_eq!(backoff(&policy(1, 2.3, 100, 0), 2), Span::millis(2300));
        assert_eq!(backoff(&policy(5, 1.0, 100, 0), i32::MAX), Span::seconds(5));
    }

    #[test]
    fn overflow_ends_at_the_maximum() {
        let century = Span::MAX.0 / 1_000_000_000;
        assert_eq!(backoff(&policy(1, 1e300, 60, 0), 2), Span::seconds(60));
        assert_eq!(backoff(&policy(1, f64::INFINITY, 60, 0), i32::MAX), Span::seconds(60));
        assert_eq!(backoff(&policy(century, 1e300, century, 0), i32::MAX), Span::MAX);
        assert_eq!(backoff(&policy(1, 2.0, century, 0), i32::MAX), Span::MAX);
        let late = decide(Some(&policy(century, 2.0, century, 0)), 1, Timestamp(i64::MAX), None, None, false, Kind::Activity);
        assert_eq!(late, Decision::Retry { after: Span::MAX });
    }

    #[test]
    fn a_policy_without_values_uses_the_defaults() {
        let p = RetryPolicy::default();
        let waits: Vec<_> = [1, 2, 7, 8, 9].map(|n| backoff(&p, n).0 / 1_000_000_000).into();
        assert_eq!(waits, [1, 2, 64, 100, 100]);
    }

    #[test]
    fn explicit_delays() {
        let p = policy(1, 2.0, 3, 0);
        let ten = application("T", false, Some(Span::seconds(10)));
        assert_eq!(after(&p, 1, Some(&ten), Kind::Activity), seconds(10), "not capped");
        assert_eq!(after(&p, 1, Some(&ten), Kind::Workflow), seconds(3), "capped");
        let zero = application("T", false, Some(Span::ZERO));
        assert_eq!(after(&p, 1, Some(&zero), Kind::Activity), Decision::Stop(RetryState::Timeout));
        assert_eq!(after(&p, 1, Some(&zero), Kind::Workflow), seconds(3));
    }

    #[test]
    fn no_attempt_begins_after_the_expiration() {
        let p = policy(10, 2.0, 100, 0);
        let at = |end: i64| decide(Some(&p), 1, Timestamp(0), Some(Timestamp(0) + Span::seconds(end)), None, false, Kind::Activity);
        assert_eq!(at(5), Decision::Stop(RetryState::Timeout));
        assert_eq!(at(10), seconds(10), "at the very moment is in time");
    }

    #[test]
    fn order_of_the_rules() {
        let p = policy(1, 2.0, 3, 2);
        let fatal = application("T", true, None);
        let stop = |d| match d {
            Decision::Stop(state) => state,
            Decision::Retry { .. } => RetryState::InProgress,
        };
        let t = Timestamp(0);
        let none = decide(None, 9, t, None, Some(&fatal), true, Kind::Activity);
        assert_eq!(stop(none), RetryState::RetryPolicyNotSet);
        let cancelled = decide(Some(&p), 9, t, None, Some(&fatal), true, Kind::Activity);
        assert_eq!(stop(cancelled), RetryState::CancelRequested);
        for kind in [TimeoutType::ScheduleToStart, TimeoutType::ScheduleToClose] {
            assert_eq!(stop(after(&p, 9, Some(&timeout(kind)), Kind::Activity)), RetryState::Timeout);
            assert_eq!(stop(after(&p, 9, Some(&timeout(kind)), Kind::Workflow)), RetryState::NonRetryableFailure);
        }
        assert_eq!(stop(after(&p, 9, Some(&fatal), Kind::Activity)), RetryState::NonRetryableFailure);
        assert_eq!(stop(after(&p, 2, None, Kind::Activity)), RetryState::MaximumAttemptsReached);
        let late = decide(Some(&p), 2, t, Some(t), None, false, Kind::Activity);
        assert_eq!(stop(late), RetryState::MaximumAttemptsReached);
        assert_eq!(after(&p, 1, None, Kind::Activity), seconds(1), "no failure is retryable");
    }

    #[test]
    fn which_failures_are_retried() {
        let mut p = policy(1, 2.0, 3, 0);
        p.non_retryable_error_types = vec!["Fatal".into(), "TemporalTimeout:Heartbeat".into(), "StartToClose".into()];
        let cases = [
            (application("T", false, None), true),
            (application("T", true, None), false),
            (application("Fatal", false, None), false),
            (application("fatal", false, None), true),
            (timeout(TimeoutType::StartToClose), true),
            (timeout(TimeoutType::Heartbeat), false),
            (timeout(TimeoutType::Unspecified), false),
            (failure(FailureInfo::CanceledFailureInfo(CanceledFailureInfo::default())), false),
            (failure(FailureInfo::TerminatedFailureInfo(TerminatedFailureInfo::default())), false),
            (failure(FailureInfo::ServerFailureInfo(ServerFailureInfo { non_retryable: false })), true),
            (failure(FailureInfo::ServerFailureInfo(ServerFailureInfo { non_retryable: true })), false),
            (failure(FailureInfo::ActivityFailureInfo(Default::default())), true),
            (Failure::default(), true),
        ];
        for (f, expected) in cases {
            assert_eq!(is_retryable(&p, &f), expected, "{f:?}");
        }
    }

    #[test]
    fn defaults_are_filled_field_by_field() {
        let mut p = RetryPolicy::default();
        fill_defaults(&mut p);
        assert_eq!(p, policy(1, 2.0, 100, 0));
        let mut p = RetryPolicy { initial_interval: Some(Span::seconds(3).to_api()), ..Default::default() };
        fill_defaults(&mut p);
        assert_eq!(p, policy(3, 2.0, 300, 0));
        let mut p = policy(7, 1.0, 9, 4);
        fill_defaults(&mut p);
        assert_eq!(p, policy(7, 1.0, 9, 4));
        let mut p = policy(Span::MAX.0 / 1_000_000_000, 2.0, 0, 0);
        fill_defaults(&mut p);
        assert_eq!(p.maximum_interval, Some(Span::MAX.to_api()));
    }

    #[test]
    fn validation_texts() {
        let bad = sempre_api::Duration { seconds: -1, nanos: 0 };
        let mixed = sempre_api::Duration { seconds: 1, nanos: -1 };
        let types = |t: &str| RetryPolicy { non_retryable_error_types: vec![t.into()], ..policy(1, 2.0, 3, 0) };
        let cases = [
            (policy(1, 2.0, 3, 0), ""),
            (RetryPolicy { initial_interval: Some(bad), ..policy(1, 0.5, 3, 1) }, ""),
            (
                RetryPolicy { initial_interval: Some(bad), ..policy(1, 2.0, 3, 0) },
                "invalid InitialInterval set on retry policy: negative duration",
            ),
            (policy(1, 0.9, 3, 0), "BackoffCoefficient cannot be less than 1 on retry policy."),
            (policy(1, f64::NAN, 3, 0), "BackoffCoefficient cannot be less than 1 on retry policy."),
            (
                RetryPolicy { maximum_interval: Some(mixed), ..policy(1, 2.0, 3, 0) },
                "invalid MaximumInterval set on retry policy: duration has seconds and nanos with different signs",
            ),
            (policy(4, 2.0, 3, 0), "MaximumInterval cannot be less than InitialInterval on retry policy."),
            (policy(1, 2.0, 3, -1), "MaximumAttempts cannot be negative on retry policy."),
            (types("TemporalTimeout:StartToClose"), ""),
            (types("TemporalTimeout:Never"), "Invalid timeout type value: Never."),
        ];
        for (p, text) in cases {
            assert_eq!(validate(&p).err().unwrap_or_default(), text, "{p:?}");
        }
    }

    #[test]
    fn large_failures_are_cut() {
        let small = application("T", false, None);
        assert_eq!(truncate_failure(small.clone(), 4096), small);
        let mut large = application("Type", true, Some(Span::seconds(1)));
        large.message = "é".repeat(5000);
        large.stack_trace = "s".repeat(5000);
        large.cause = Some(Box::new(small.clone()));
        let kept = truncate_failure(large, 4096);
        assert!(kept.encoded_len() <= 4096);
        assert_eq!(kept.message, FAILURE_TOO_LARGE);
        let cause = kept.cause.as_deref().expect("cause");
        assert!(cause.message.starts_with("éé") && cause.message.len() > 2000);
        assert!(cause.stack_trace.is_empty() && cause.cause.is_none());
        assert!(matches!(&cause.failure_info, Some(FailureInfo::ApplicationFailureInfo(i)) if i.non_retryable && i.r#type == "Type"));

        let f = too_large_failure("Complete result exceeds size limit.", None);
        assert_eq!(f.message, "Complete result exceeds size limit.");
        assert!(matches!(f.failure_info, Some(FailureInfo::ServerFailureInfo(i)) if i.non_retryable));
        assert_eq!(too_large_failure("x", Some(small.clone())).cause.as_deref(), Some(&small));
    }

    #[test]
    fn causes_are_cut_where_they_could_not_be_read_back() {
        let chain = |length: usize| {
            (0..length).fold(None, |cause: Option<alloc::boxed::Box<Failure>>, _| {
                Some(alloc::boxed::Box::new(Failure { message: "deep".into(), cause, ..Default::default() }))
            })
        };
        let length = |failure: &Failure| {
            let (mut at, mut length) = (failure, 1);
            while let Some(cause) = &at.cause {
                (at, length) = (cause, length + 1);
            }
            (length, at.message.clone())
        };
        for (given, kept, last) in [(1, 1, "deep"), (50, 50, "deep"), (51, 51, "further causes"), (99, 51, "further causes")] {
            let mut failure = *chain(given).unwrap();
            cut_causes(&mut failure);
            let (length, message) = length(&failure);
            assert_eq!(length, kept);
            assert!(message.starts_with(last), "{given}: {message}");
        }
    }
}
