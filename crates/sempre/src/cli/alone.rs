//! What commands about activities and about Nexus operations have in common, where these belong to no workflow.

use clap::{Args, ValueEnum};
use sempre_api::v1::failure::{Failure as Failed, failure::FailureInfo};
use serde_json::{Value, json};

use crate::cli::{
    Failure,
    output::{Cell, Hue},
    session::Session,
    workflow::result::failure_text,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub(crate) enum IdReusePolicy {
    AllowDuplicate,
    AllowDuplicateFailedOnly,
    RejectDuplicate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub(crate) enum IdConflictPolicy {
    Fail,
    UseExisting,
}

/// Why an end is asked for.
#[derive(Args)]
pub(crate) struct Reason {
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

impl Reason {
    /// What is said of it; who asks, where nothing was.
    pub(crate) fn or_usual(&self, session: &Session) -> String {
        self.reason.clone().unwrap_or_else(|| session.usual_reason())
    }
}

/// How an execution ended.
pub(crate) enum End {
    /// With this result, as it is shown.
    Result(Value),
    /// Without one.
    Failure(Box<Failed>),
    /// It is not told.
    Unknown,
}

impl End {
    /// In one word.
    fn status(&self) -> (&'static str, Hue) {
        match self {
            Self::Result(_) => ("COMPLETED", Hue::Good),
            Self::Failure(failure) => match &failure.failure_info {
                Some(FailureInfo::CanceledFailureInfo(_)) => ("CANCELED", Hue::Odd),
                Some(FailureInfo::TerminatedFailureInfo(_)) => ("TERMINATED", Hue::Odd),
                Some(FailureInfo::TimeoutFailureInfo(_)) => ("TIMEOUT", Hue::Bad),
                _ => ("FAILED", Hue::Bad),
            },
            Self::Unknown => ("UNKNOWN", Hue::Odd),
        }
    }

    /// Tells the end of `what`, which these fields name; one that is a failure makes the command fail.
    pub(crate) fn tell(self, session: &mut Session, what: &str, named: [(&'static str, Value); 2]) -> Result<(), Failure> {
        let (word, hue) = self.status();
        if session.out.is_json() {
            let mut record = Vec::from(named);
            record.push(("status", json!(word)));
            match &self {
                Self::Result(result) => record.push(("result", result.clone())),
                Self::Failure(failure) => record.push(("failure", session.out.json_of(&**failure))),
                Self::Unknown => {}
            }
            session.out.record(record)?;
        } else {
            let result = match &self {
                Self::Result(result) if !result.is_null() => result.to_string(),
                _ => String::new(),
            };
            session.out.title("Results:")?;
            session.out.card(&[("Status", Cell::in_hue(word, hue)), ("Result", result.into())])?;
            if let Self::Failure(failure) = &self {
                session.out.line_in(Hue::Bad, "  Failure:")?;
                let text = failure_text(failure, "    ");
                session.out.text(&text)?;
            }
        }
        match self {
            Self::Failure(failure) => {
                let why = failure.message.lines().next().unwrap_or_default();
                Err(Failure::new(format_args!("the {what} did not complete: {why}")))
            }
            Self::Result(_) | Self::Unknown => Ok(()),
        }
    }
}
