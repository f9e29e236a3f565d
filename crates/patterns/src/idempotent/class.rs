//! Kinds of errors of activities.

use std::time::Duration;

use temporalio_common::error::{ActivityExecutionError, ApplicationFailure, IncomingError};
use temporalio_sdk::activities::ActivityError;

/// Whether another attempt can help, and if not, whose fault it is. It travels as the type of the failure, which retry policies
/// (`non_retryable_error_types`) and people see too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Another attempt may go through: timeouts, connections, locks, overload.
    Retryable,
    /// What was asked makes no sense; the caller must ask otherwise.
    Validation,
    /// It makes sense and must not be: no money, no stock, too late.
    BusinessRule,
    /// It will not work until a person does something: gone, forbidden, not built.
    Permanent,
}

impl Class {
    /// The type of failures of this class.
    pub fn type_name(self) -> &'static str {
        match self {
            Self::Retryable => "Retryable",
            Self::Validation => "Validation",
            Self::BusinessRule => "BusinessRule",
            Self::Permanent => "Permanent",
        }
    }

    /// Whether the server tries again.
    pub fn is_retryable(self) -> bool {
        self == Self::Retryable
    }

    /// An activity's error of this class.
    pub fn error(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ActivityError {
        let failure = ApplicationFailure::builder(source.into()).type_name(self.type_name().to_owned());
        ActivityError::application(failure.non_retryable(!self.is_retryable()).build())
    }

    /// A retryable error whose next attempt begins after `pause`, as the other side asked (`Retry-After`).
    pub fn retry_after(pause: Duration, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ActivityError {
        let failure = ApplicationFailure::builder(source.into()).type_name(Self::Retryable.type_name().to_owned());
        ActivityError::application(failure.next_retry_delay(pause).build())
    }
}

/// The class of what an activity ended with, in workflow code. Timeouts, and failures of a type of their own that may be tried again, are
/// `Retryable`; those of a type of their own that may not are `Permanent`. `None` if it was cancelled.
pub fn class_of(error: &ActivityExecutionError) -> Option<Class> {
    let all = [Class::Retryable, Class::Validation, Class::BusinessRule, Class::Permanent];
    match error {
        ActivityExecutionError::Serialization(_) => Some(Class::Permanent),
        _ if error.as_cancelled().is_some() => None,
        _ => Some(match error.cause() {
            Some(IncomingError::Application(failure)) => {
                let told = all.into_iter().find(|class| failure.type_name() == Some(class.type_name()));
                told.unwrap_or(if failure.is_non_retryable() { Class::Permanent } else { Class::Retryable })
            }
            Some(IncomingError::Timeout(_)) => Class::Retryable,
            _ => Class::Permanent,
        }),
    }
}
