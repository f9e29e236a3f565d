//! The file of alert rules (docs/alerts.md): TOML, read when the server starts, when it changes, and when somebody asks.
//!
//! | the file | then |
//! |---|---|
//! | is as it was | nothing happens |
//! | is another, and good | exactly its rules are in force, besides those that calls have set |
//! | is another, and not good | nothing changes, and the log says why |
//! | is as it was, and was not good for what is elsewhere: a namespace, a name that a call has taken, the store | it is tried again; the log says so when that, or why not, is new |

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use sempre_api::{
    Duration,
    sempre::v1::{AlertRule, AlertScope, AlertWebhook},
};
use sempre_engine::{DeclaredRules, Engine};
use serde::Deserialize;

use crate::{
    alerts,
    reload::{Print, print_of},
    status,
};

/// Alert rules that cannot be put in force. The text is for an operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", .file.display())]
pub struct AlertsFileError {
    file: PathBuf,
    why: String,
}

/// See the module.
pub(crate) struct AlertsFile {
    path: PathBuf,
    /// Of what was looked at last.
    seen: Mutex<Seen>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    #[serde(default)]
    rule: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(default = "default_namespace")]
    namespace: String,
    name: String,
    query: String,
    #[serde(default)]
    list: bool,
    #[serde(rename = "for")]
    hold: Option<String>,
    url: String,
    secret: Option<String>,
    secret_file: Option<PathBuf>,
}

fn default_namespace() -> String {
    "default".into()
}

impl AlertsFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the file and puts its rules in force; the engine is told whether they are. `None`: there is nothing new to tell, and nobody
    /// has `asked`: it is as it was when it was read last, may still be written, or is refused as before.
    pub(crate) async fn apply(&self, engine: &Engine, asked: bool) -> Option<Result<DeclaredRules, AlertsFileError>> {
        let applied = self.put_in_force(engine, asked).await?;
        let why = applied.as_ref().err().map(|error| error.why.clone());
        match why {
            None => engine.note_good_rules(),
            Some(_) => engine.note_refused_rules(),
        }
        let before = std::mem::replace(&mut self.seen().refused, why.clone());
        (asked || why.is_none() || why != before).then_some(applied)
    }

    async fn put_in_force(&self, engine: &Engine, asked: bool) -> Option<Result<DeclaredRules, AlertsFileError>> {
        let path = self.path.clone();
        // Files can be slow, as on a network.
        let read = tokio::task::spawn_blocking(move || read(&path)).await;
        let read = read.unwrap_or_else(|_| Err("reading it has panicked".to_owned()));
        let print = match &read {
            Ok((_, print)) => *print,
            Err(why) => print_of([why.as_bytes()]),
        };
        if !self.seen().is_news(print, asked) {
            return None;
        }
        let failed = |why: String| AlertsFileError { file: self.path.clone(), why };
        let rules = match read {
            Ok((rules, _)) => rules,
            Err(why) => return Some(Err(failed(why))),
        };
        let declared = engine.declare_alert_rules(rules).await;
        Some(declared.map_err(|bad| {
            // What stands against it may be elsewhere and go away without the file being touched: the next look tries it again.
            self.seen().applied = None;
            let why = status::from_refusal(*bad.refusal).message().to_owned();
            match bad.name.as_str() {
                "" => failed(why),
                name => failed(format!("rule {name:?} of namespace {:?}: {why}", bad.namespace)),
            }
        }))
    }
}

/// What looks at the file have found.
#[derive(Default)]
struct Seen {
    /// What was put in force last, or refused.
    applied: Option<Print>,
    /// What the last look found.
    last: Option<Print>,
    /// Why it was refused last; `None`: it was not.
    refused: Option<String>,
}

impl Seen {
    /// Whether what a look has found is to be put in force. What nobody has `asked` to read must be found twice: a file that is being
    /// written is shorter for a moment, and its rules would be gone with all that they have yet to tell.
    fn is_news(&mut self, print: Print, asked: bool) -> bool {
        let is_settled = self.last.replace(print) == Some(print) || asked;
        is_settled && (self.applied.replace(print) != Some(print) || asked)
    }
}

type Declared = Vec<(String, AlertRule)>;

/// What the file declares, and what it and the files of its secrets hold.
fn read(path: &Path) -> Result<(Declared, Print), String> {
    let text = fs::read_to_string(path).map_err(|error| format!("it cannot be read: {error}"))?;
    let rules: Rules = toml_edit::de::from_str(&text).map_err(|error| error.to_string().trim_end().replace('\n', " "))?;
    let declared: Declared = rules.rule.into_iter().map(declared).collect::<Result<_, _>>()?;
    let secrets = declared.iter().filter_map(|(_, rule)| rule.webhook.as_ref()).map(|webhook| webhook.secret.as_bytes());
    let print = print_of([text.as_bytes()].into_iter().chain(secrets));
    Ok((declared, print))
}

fn declared(rule: Rule) -> Result<(String, AlertRule), String> {
    let wrong = |what: &str| format!("rule {:?}: {what}", rule.name);
    let secret = match (&rule.secret, &rule.secret_file) {
        (Some(secret), None) => secret.clone(),
        (None, Some(file)) => {
            let read = fs::read_to_string(file).map_err(|error| wrong(&format!("secret_file {} cannot be read: {error}", file.display())));
            read?.trim().to_owned()
        }
        _ => return Err(wrong("it needs a secret or a secret_file, one of both: nobody would be told one that the server makes")),
    };
    alerts::check_secret(&secret).map_err(|_| wrong("a secret is whsec_ and base64 of 24 to 64 bytes"))?;
    let hold = rule.hold.as_deref().map(|text| seconds(text).ok_or_else(|| wrong("for is a time such as 30s, 5m, 1h or 2d")));
    let hold = hold.transpose()?.map(|seconds| Duration { seconds, nanos: 0 });
    let scope = if rule.list { AlertScope::List } else { AlertScope::EachRun };
    let webhook = Some(AlertWebhook { url: rule.url, secret });
    Ok((rule.namespace, AlertRule { name: rule.name, query: rule.query, scope: scope as i32, hold, webhook }))
}

fn seconds(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let each = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse::<i64>().ok()?.checked_mul(each))?
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn of(text: &str) -> Result<Declared, String> {
        let rules: Rules = toml_edit::de::from_str(text).map_err(|error| error.to_string())?;
        rules.rule.into_iter().map(declared).collect()
    }

    #[test]
    fn a_rule_is_what_the_file_says() {
        let text = format!(
            "[[rule]]\nname = 'a'\nquery = 'q'\nurl = 'https://h/'\nsecret = '{SECRET}'\n\n[[rule]]\nnamespace = 'n'\nname = 'b'\nquery = \
             'r'\nlist = true\nfor = '5m'\nurl = 'https://h/'\nsecret = '{SECRET}'\n"
        );
        let all = of(&text).unwrap();
        let told = |at: usize| (all[at].0.as_str(), all[at].1.name.as_str(), all[at].1.scope(), all[at].1.hold);
        assert_eq!(told(0), ("default", "a", AlertScope::EachRun, None));
        assert_eq!(told(1), ("n", "b", AlertScope::List, Some(Duration { seconds: 300, nanos: 0 })));
        assert_eq!(all[1].1.webhook, Some(AlertWebhook { url: "https://h/".into(), secret: SECRET.into() }));
        assert!(of("").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_rule_says_why() {
        let rule = |more: &str| of(&format!("[[rule]]\nname = 'a'\nquery = 'q'\nurl = 'u'\n{more}\n")).unwrap_err();
        assert!(rule("").contains("it needs a secret or a secret_file"));
        assert!(rule(&format!("secret = '{SECRET}'\nsecret_file = '/x'")).contains("one of both"));
        assert!(rule("secret = 'short'").contains("a secret is whsec_"));
        assert!(rule("secret_file = '/no/such'").contains("/no/such cannot be read"));
        assert!(rule(&format!("secret = '{SECRET}'\nfor = '5 minutes'")).contains("for is a time"));
        assert!(rule("colour = 'red'").contains("colour"));
        assert!(of("[[rule]]\nname = 'a'\n").unwrap_err().contains("query"));
    }

    #[test]
    fn what_is_found_by_itself_must_be_found_twice() {
        let mut seen = Seen::default();
        let [old, half, new] = [&b"old"[..], b"ol", b"new"].map(|text| print_of([text]));
        assert!(seen.is_news(old, true));
        assert!(!seen.is_news(old, false));
        // It is being written.
        assert!(!seen.is_news(half, false));
        assert!(!seen.is_news(new, false));
        assert!(seen.is_news(new, false));
        assert!(!seen.is_news(new, false));
        // Half a file and back again is no news.
        assert!(!seen.is_news(half, false));
        assert!(!seen.is_news(new, false));
        assert!(!seen.is_news(new, false));
        assert!(seen.is_news(new, true));
    }

    #[test]
    fn times_have_one_unit() {
        assert_eq!(["30s", "5m", "1h", "2d", "0s"].map(seconds), [30, 300, 3600, 172_800, 0].map(Some));
        assert_eq!(["", "s", "5", "-5m", "1h30m", "5w", "é"].map(seconds), [None; 7]);
    }
}
