//! Why a command failed, as one plain sentence for the one who typed it.

use std::{fmt, io};

use tonic::{Code, Status};

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    sentence: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// What was asked for did not work.
    Failed,
    /// Whether it is so could not be found out.
    Undecided,
    /// The flags do not fit together.
    Usage,
    /// The connection broke in the midst of a call.
    Broken,
    /// Who reads our output has seen enough.
    PipeClosed,
}

/// What tonic says of a call whose connection broke.
const BROKEN: &str = "transport error";

impl Failure {
    pub(crate) fn new(sentence: impl fmt::Display) -> Self {
        Self { sentence: sentence.to_string(), kind: Kind::Failed }
    }

    /// Whether it is so could not be found out.
    pub(crate) fn undecided(sentence: impl fmt::Display) -> Self {
        Self { sentence: sentence.to_string(), kind: Kind::Undecided }
    }

    /// The flags do not fit together: told like what is not understood at all.
    pub(crate) fn usage(sentence: impl fmt::Display) -> Self {
        Self { sentence: sentence.to_string(), kind: Kind::Usage }
    }

    /// What the server said, with what to do where that is known.
    pub(crate) fn status(status: &Status) -> Self {
        let said = status.message().trim().trim_end_matches('.');
        let hint = match status.code() {
            Code::Unimplemented => "this server does not have it; `sempre api-coverage` lists what is built",
            Code::Unauthenticated => "give --api-key, or a client certificate by --tls-cert-path and --tls-key-path",
            Code::PermissionDenied => "the key or certificate that was given does not allow it",
            Code::DeadlineExceeded => "the server did not answer in time; it may have done what was asked",
            Code::ResourceExhausted => "try again later",
            Code::Unavailable => "the server cannot be reached or is stopping; try again",
            Code::NotFound if said.starts_with("Namespace ") => "`sempre operator namespace list` lists those that exist",
            _ => "",
        };
        Self::new(match (said, hint) {
            ("", "") => format!("the server answered {:?} without a reason", status.code()),
            ("", hint) => hint.to_owned(),
            (said, "") => said.to_owned(),
            (said, hint) => format!("{said}: {hint}"),
        })
    }

    /// The connection broke, by the cause that is behind all others.
    fn broken(status: &Status) -> Self {
        let mut cause: &(dyn std::error::Error + 'static) = status;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Self { sentence: format!("the connection to the server broke: {cause}"), kind: Kind::Broken }
    }

    /// The same under TLS: there, a server looks at the client's certificate when the client believes to be connected, and may
    /// leave without a word.
    pub(crate) fn under_tls(self, certificate: bool) -> Self {
        let hint = match (self.kind, certificate) {
            (Kind::Broken, true) => "it may not trust the client's certificate",
            (Kind::Broken, false) => "it may want a client certificate: --tls-cert-path and --tls-key-path",
            _ => return self,
        };
        Self { sentence: format!("{}; {hint}", self.sentence), kind: self.kind }
    }

    /// Nothing to tell: who read the output has gone.
    pub(crate) fn is_pipe_closed(&self) -> bool {
        self.kind == Kind::PipeClosed
    }

    /// 1 failed, 2 not understood, 3 not found out.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Usage => 2,
            Kind::Undecided => 3,
            Kind::Failed | Kind::Broken | Kind::PipeClosed => 1,
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        if status.message() == BROKEN { Self::broken(&status) } else { Self::status(&status) }
    }
}

/// Output that cannot be written.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let kind = if error.kind() == io::ErrorKind::BrokenPipe { Kind::PipeClosed } else { Kind::Failed };
        Self { sentence: format!("cannot write the output: {error}"), kind }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The last sentence of some causes has no full stop.
        let text = self.sentence.trim_end();
        f.write_str(text)?;
        if text.ends_with(['.', '!', '?']) { Ok(()) } else { f.write_str(".") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_end_in_a_full_stop() {
        assert_eq!(Failure::new("it is so").to_string(), "it is so.");
        assert_eq!(Failure::new("it is so.").to_string(), "it is so.");
    }

    #[test]
    fn answers_of_the_server_say_what_to_do() {
        let told = |code, text: &str| Failure::status(&Status::new(code, text)).to_string();
        assert_eq!(told(Code::NotFound, "workflow not found for ID: a"), "workflow not found for ID: a.");
        assert_eq!(
            told(Code::NotFound, "Namespace a is not found."),
            "Namespace a is not found: `sempre operator namespace list` lists those that exist."
        );
        assert_eq!(told(Code::Internal, ""), "the server answered Internal without a reason.");
        assert!(told(Code::Unauthenticated, "").starts_with("give --api-key"));
    }

    #[test]
    fn exit_codes() {
        assert_eq!([Failure::new(""), Failure::usage(""), Failure::undecided("")].map(|failure| failure.exit_code()), [1, 2, 3]);
        assert!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).is_pipe_closed());
    }
}
