//! What an error of PostgreSQL means for who asked.

use std::error::Error as _;

use tokio_postgres::Error;

/// Why something was not answered with success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The connection is gone, or silent: what was asked may have been done.
    Lost(String),
    /// Surely not done; the same may work in a moment.
    Again(String),
    /// Surely not done, and trying again alone does not help.
    Refused(String),
}

impl Trouble {
    /// Why, in plain words.
    pub(super) fn reason(&self) -> &str {
        match self {
            Trouble::Lost(reason) | Trouble::Again(reason) | Trouble::Refused(reason) => reason,
        }
    }

    pub(super) fn into_reason(self) -> String {
        match self {
            Trouble::Lost(reason) | Trouble::Again(reason) | Trouble::Refused(reason) => reason,
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let Some(refusal) = error.as_db_error() else {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(inner) = source {
                text = format!("{text}: {inner}");
                source = inner.source();
            }
            return Trouble::Lost(text);
        };
        let code = refusal.code().code();
        let text = format!("{} ({code})", refusal.message());
        by_code(code, text)
    }
}

/// By SQLSTATE: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn by_code(code: &str, text: String) -> Trouble {
    match (code.get(..2).unwrap_or_default(), code) {
        // A canceled statement (`statement_timeout` is one reason) was undone as a whole.
        (_, "57014") => Trouble::Again(text),
        (_, "53100") => Trouble::Refused(format!("disk full: {text}")),
        // Another statement's rollback (40) or lock (55), a lack of resources (53), a server that takes no writes (25006): undone.
        (_, "40003") => Trouble::Lost(text),
        ("40" | "53" | "55", _) | (_, "25006") => Trouble::Again(text),
        // The connection (08), the server going down or coming up (57): the answer to what ran before may be lost with it.
        ("08" | "57", _) => Trouble::Lost(text),
        _ => Trouble::Refused(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_done_is_never_called_surely_not_done() {
        let of = |code| by_code(code, "text".into());
        for lost in ["08006", "08003", "08P01", "57P01", "57P02", "57P03", "40003"] {
            assert_eq!(of(lost), Trouble::Lost("text".into()), "{lost}");
        }
        for again in ["40001", "40P01", "53300", "53200", "55P03", "57014", "25006"] {
            assert_eq!(of(again), Trouble::Again("text".into()), "{again}");
        }
        for refused in ["42501", "42P01", "22001", "XX000", "58030", "54000"] {
            assert_eq!(of(refused), Trouble::Refused("text".into()), "{refused}");
        }
        assert_eq!(of("53100"), Trouble::Refused("disk full: text".into()));
    }
}
