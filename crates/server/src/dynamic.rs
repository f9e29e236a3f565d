//! Dynamic configuration: `KEY=JSON`, as given on the command line (spec 09 §5).
//!
//! A key that this server does not know, or knows but need not obey, is never an error: test suites
//! pass keys that only some versions have. A known key with a value of the wrong kind is one.

use std::collections::BTreeMap;

use sempre_core::{Limits, Span, validate::AddressRule};
use sempre_engine::{NamespaceLimits, Rates, Settings};
use serde_json::Value;

use crate::ServerSettings;

/// Keys and values; keys are lower case. The last value of a key wins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DynamicConfig {
    values: BTreeMap<String, Value>,
}

/// Why an assignment cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DynamicError {
    /// There is no `=`, or nothing before it.
    #[error("dynamic configuration must look like KEY=JSON, but `{0}` does not")]
    NotAnAssignment(String),
    /// What follows the `=` is not JSON.
    #[error("the value of dynamic configuration `{key}` is not JSON (texts need quotes): {value}")]
    NotJson {
        /// The key.
        key: String,
        /// What was given.
        value: String,
    },
    /// A known key with a value of the wrong kind.
    #[error("dynamic configuration `{key}` needs {wanted}, not {value}")]
    WrongKind {
        /// The key.
        key: String,
        /// What would fit.
        wanted: &'static str,
        /// What was given.
        value: String,
    },
    /// A key that holds for the whole server, given for a namespace.
    #[error("dynamic configuration `{0}` cannot differ by namespace; give one value for all")]
    NotOfNamespaces(String),
    /// A value for some cases only, of a kind that is not told apart.
    #[error("dynamic configuration `{key}` can be constrained by namespace (a text) alone, not by {constraint}")]
    Constraint {
        /// The key.
        key: String,
        /// What was given.
        constraint: String,
    },
}

impl DynamicConfig {
    /// Parses assignments such as `limit.blobSize.error=1024`.
    pub fn parse<'a>(assignments: impl IntoIterator<Item = &'a str>) -> Result<Self, DynamicError> {
        let mut config = Self::default();
        for assignment in assignments {
            let (key, value) = assignment
                .split_once('=')
                .map(|(key, value)| (key.trim(), value.trim()))
                .filter(|(key, _)| !key.is_empty())
                .ok_or_else(|| DynamicError::NotAnAssignment(assignment.to_owned()))?;
            let parsed = serde_json::from_str(value).map_err(|_| DynamicError::NotJson { key: key.to_owned(), value: value.to_owned() })?;
            config.values.insert(key.to_ascii_lowercase(), parsed);
        }
        Ok(config)
    }

    /// Writes the known values into `settings`; returns the keys that nothing obeys.
    pub fn apply(&self, settings: &mut ServerSettings) -> Result<Vec<String>, DynamicError> {
        let mut unknown = Vec::new();
        let mut of_namespaces = Vec::new();
        for (key, value) in &self.values {
            let Some(rules) = Constrained::all(value) else {
                if !(Entry { key, value }).apply(settings)? {
                    unknown.push(key.clone());
                }
                continue;
            };
            let mut known = true;
            for rule in rules {
                let entry = Entry { key, value: rule.value };
                match rule.namespace(key)? {
                    None => known &= entry.apply(settings)?,
                    Some(namespace) => of_namespaces.push((namespace, entry)),
                }
            }
            if !known {
                unknown.push(key.clone());
            }
        }
        // What holds for all is known by now.
        for (namespace, entry) in of_namespaces {
            if Entry::apply_to_namespace(&entry, settings, namespace)? {
                continue;
            }
            // A key that nothing obeys is none, whomever it is for.
            if !entry.apply(&mut settings.clone())? {
                unknown.extend((!unknown.iter().any(|key| key == entry.key)).then(|| entry.key.to_owned()));
                continue;
            }
            return Err(DynamicError::NotOfNamespaces(entry.key.to_owned()));
        }
        Ok(unknown)
    }
}

/// One of several values of a key, as Temporal's files have them: `[{"value": …, "constraints": {"namespace": …}}, …]`.
struct Constrained<'a> {
    value: &'a Value,
    constraints: Option<&'a serde_json::Map<String, Value>>,
}

impl<'a> Constrained<'a> {
    /// `None`: it is one value, for all.
    fn all(value: &'a Value) -> Option<Vec<Self>> {
        let rules = value.as_array().filter(|rules| !rules.is_empty())?;
        let rule = |rule: &'a Value| {
            let rule = rule.as_object()?;
            let constraints = rule.get("constraints").and_then(Value::as_object);
            Some(Self { value: rule.get("value")?, constraints })
        };
        rules.iter().map(rule).collect()
    }

    /// The namespace that it is for; `None`: for all.
    fn namespace(&self, key: &str) -> Result<Option<&'a str>, DynamicError> {
        let Some(constraints) = self.constraints else { return Ok(None) };
        let mut namespace = None;
        for (name, value) in constraints {
            match value.as_str() {
                Some(value) if name.eq_ignore_ascii_case("namespace") => namespace = Some(value),
                _ => return Err(DynamicError::Constraint { key: key.to_owned(), constraint: format!("{name}: {value}") }),
            }
        }
        Ok(namespace)
    }
}

struct Entry<'a> {
    key: &'a str,
    value: &'a Value,
}

impl Entry<'_> {
    /// True when the key is known.
    fn apply(&self, settings: &mut ServerSettings) -> Result<bool, DynamicError> {
        let engine = &mut settings.engine;
        let known = self.apply_to_limits(&mut engine.limits)? || self.apply_to_rates(&mut engine.rates)? || self.apply_to_waits(engine)?;
        Ok(known || self.apply_to_server(settings)?)
    }

    /// True when the key is one that may differ by namespace.
    fn apply_to_namespace(&self, settings: &mut ServerSettings, namespace: &str) -> Result<bool, DynamicError> {
        let engine = &mut settings.engine;
        let mut own = engine.of_namespaces.get(namespace).cloned();
        let own = own.get_or_insert_with(|| NamespaceLimits { limits: engine.limits.clone(), rates: engine.rates });
        let known = match self.key {
            "limit.blobsize.error" | "limit.memosize.error" | "sempre.limit.openruns" | "sempre.limit.storagebytes" => {
                self.apply_to_limits(&mut own.limits)?
            }
            _ => self.apply_to_rates(&mut own.rates)?,
        };
        if known {
            engine.of_namespaces.insert(namespace.to_owned(), own.clone());
        }
        Ok(known)
    }

    /// True when the key is one of the rates.
    fn apply_to_rates(&self, rates: &mut Rates) -> Result<bool, DynamicError> {
        match self.key {
            // There is one server: what holds for all of them together holds for it.
            "frontend.namespacerps" | "frontend.globalnamespacerps" => rates.calls = self.rate()?,
            "frontend.namespaceburstratio" => rates.burst_ratio = self.rate()?,
            "frontend.namespacerps.visibility" | "frontend.globalnamespacerps.visibility" => rates.lists = self.rate()?,
            "frontend.namespaceburstratio.visibility" => rates.lists_burst_ratio = self.rate()?,
            "sempre.limit.startspersecond" => rates.starts = self.rate()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// True when the key is one of the limits.
    fn apply_to_limits(&self, limits: &mut Limits) -> Result<bool, DynamicError> {
        match self.key {
            "limit.blobsize.error" => limits.blob_size_max = self.count()?,
            "limit.memosize.error" => limits.memo_size_max = self.count()?,
            "limit.maxidlength" => limits.id_length_max = self.count()?,
            "limit.historysize.error" => limits.history_size_max = self.count()?,
            "limit.mutablestatesize.error" => limits.state_size_max = self.count()?,
            "system.maxcallbacksperworkflow" => limits.callbacks_max = self.count()?,
            "system.maxcallbacksperupdateid" => limits.update_callbacks_max = self.count()?,
            "callback.maxperexecution" => limits.updates_callbacks_max = self.count()?,
            "component.callbacks.allowedaddresses" | "callback.allowedaddresses" | "chasm.callback.allowedaddresses" => {
                limits.callback_addresses.extend(self.addresses()?);
            }
            "sempre.limit.openruns" => limits.open_runs_max = self.number()?.unsigned_abs(),
            "sempre.limit.storagebytes" => limits.storage_bytes_max = self.number()?.unsigned_abs(),
            "sempre.pauseinsteadofterminate" => limits.pause_over_limits = self.switch()?,
            "system.transactionsizelimit" => limits.transaction_size_max = self.count()?,
            "history.enableworkflowtaskcompletionpagination" => limits.completion_pages = self.switch()?,
            "history.workflowtaskcompletionbuffersizelimit" => limits.completion_pages_max = self.count()?,
            "system.numconsecutiveworkflowtaskproblemstotriggersearchattribute" => {
                limits.task_problems_reported = self.number()?.try_into().unwrap_or(i32::MAX);
            }
            "limit.historysize.suggestcontinueasnew" => limits.history_size_suggest = self.count()?,
            "limit.historycount.error" => limits.history_count_max = self.number()?,
            "limit.historycount.suggestcontinueasnew" => limits.history_count_suggest = self.number()?,
            "limit.numpendingactivities.error" => limits.pending_activities_max = self.count()?,
            "limit.numpendingchildexecutions.error" => limits.pending_children_max = self.count()?,
            "limit.numpendingsignals.error" => limits.pending_signals_max = self.count()?,
            "limit.numpendingcancelrequests.error" => limits.pending_cancels_max = self.count()?,
            "limit.mutablestateactivityfailuresize.error" => limits.activity_failure_max = self.count()?,
            "component.nexusoperations.limit.operation.concurrency" => limits.pending_operations_max = self.count()?,
            "component.nexusoperations.limit.scheduletoclosetimeout" => limits.operation_timeout_max = self.span()?,
            "history.maximumsignalsperexecution" => limits.signals_max = self.number()?,
            "history.maximumbufferedeventsbatch" => limits.buffered_events_max = self.count()?,
            "history.maximumbufferedeventssizeinbytes" => limits.buffered_bytes_max = self.count()?,
            "history.maxbufferedquerycount" => limits.buffered_queries_max = self.count()?,
            "history.maxinflightupdates" => limits.updates_in_flight_max = self.count()?,
            "history.maxinflightupdatepayloads" => limits.updates_in_flight_bytes_max = self.count()?,
            "history.maxtotalupdates" => limits.updates_max = self.count()?,
            "history.maxtotalupdates.suggestcontinueasnewthreshold" => limits.updates_suggest_permille = self.permille()?,
            "history.discardspeculativeworkflowtaskmaximumeventscount" => limits.discarded_events_max = self.number()?,
            "history.defaultworkflowtasktimeout" => limits.task_timeout_default = self.span()?,
            "history.workflowtaskheartbeattimeout" => limits.task_heartbeat_max = self.span()?,
            "history.workflowtaskretrymaxinterval" => limits.task_retry_interval_max = self.span()?,
            "history.workflowidreuseminimalinterval" => limits.continue_as_new_interval_min = self.span()?,
            "limit.usermetadatasummarysize" => limits.summary_size_max = self.count()?,
            "limit.usermetadatadetailssize" => limits.details_size_max = self.count()?,
            "frontend.workflowtimeskippingenabled" => limits.time_skipping = self.switch()?,
            "frontend.workflowtimeskippingmaxskippersession" => limits.skips_max = self.number()?.try_into().unwrap_or(i32::MAX),
            "frontend.workflowpauseenabled" => limits.workflow_pause = self.switch()?,
            "system.enableactivityeagerexecution" => limits.eager_activities = self.switch()?,
            "system.enableeagerworkflowstart" => limits.eager_start = self.switch()?,
            "system.enablecrossnamespacecommands" => limits.cross_namespace_commands = self.switch()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// True when the key is one of the waits.
    fn apply_to_waits(&self, engine: &mut Settings) -> Result<bool, DynamicError> {
        match self.key {
            "history.longpollexpirationinterval" => engine.history_wait = self.span()?,
            "activity.longpolltimeout" => engine.activity_wait = self.span()?,
            "nexusoperation.longpolltimeout" => engine.operation_wait = self.span()?,
            "nexusoperation.enablestandalone" => engine.standalone_operations = self.switch()?,
            "activity.enablestandalone" => engine.standalone_activities = self.switch()?,
            "matching.longpollexpirationinterval" => engine.poll_wait = self.span()?,
            "history.workflowtaskcompletionbuffertotalsizelimit" => engine.completion_pages_bytes_max = self.count()?,
            "frontend.enableschedules" => engine.schedules = self.switch()?,
            "frontend.maxconcurrentbatchoperationpernamespace" => engine.batch_jobs_max = self.count()?,
            "frontend.namespacecount" => engine.long_calls_max = self.count()?,
            "worker.batcherrps" => engine.batch_rate_max = self.number()?.clamp(1, 1_000_000) as f64,
            "frontend.workflowrulesapisenabled" => engine.workflow_rules = self.switch()?,
            "frontend.maxworkflowrulespernamespace" => engine.workflow_rules_max = self.count()?,
            "frontend.maxbadbinaries" => engine.bad_binaries_max = self.count()?,
            "matching.wv.versiondrainagestatusvisibilitygraceperiod" => engine.drainage_grace = self.span()?,
            "matching.wv.versiondrainagestatusrefreshinterval" => engine.drainage_interval = self.span()?,
            "frontend.workerheartbeatsenabled" => engine.worker_heartbeats = self.switch()?,
            "frontend.enablecancelworkerpollsonshutdown" => engine.end_polls_on_shutdown = self.switch()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// True when the key is of the server itself.
    fn apply_to_server(&self, settings: &mut ServerSettings) -> Result<bool, DynamicError> {
        match self.key {
            "component.nexusoperations.callback.endpoint.template" => {
                let template = self.value.as_str().ok_or_else(|| self.wrong("a URL"))?;
                settings.callback_template = (template != "unset").then(|| template.to_owned());
            }
            "frontend.httpallowedhosts" => {
                let wrong = || self.wrong("a list of names");
                let names = self.value.as_array().ok_or_else(wrong)?.iter().map(|name| name.as_str().map(str::to_owned));
                settings.http_hosts = names.collect::<Option<_>>().ok_or_else(wrong)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn wrong(&self, wanted: &'static str) -> DynamicError {
        DynamicError::WrongKind { key: self.key.to_owned(), wanted, value: self.value.to_string() }
    }

    fn number(&self) -> Result<i64, DynamicError> {
        self.value.as_i64().filter(|n| *n >= 0).ok_or_else(|| self.wrong("a whole number that is not negative"))
    }

    fn count(&self) -> Result<usize, DynamicError> {
        self.number().and_then(|n| usize::try_from(n).map_err(|_| self.wrong("a smaller number")))
    }

    fn rate(&self) -> Result<f64, DynamicError> {
        self.value.as_f64().filter(|rate| (0.0..=1e9).contains(rate)).ok_or_else(|| self.wrong("a number that is not negative"))
    }

    /// A part of one, such as 0.9, in thousandths.
    fn permille(&self) -> Result<usize, DynamicError> {
        let part = self.value.as_f64().filter(|part| (0.0..=1.0).contains(part));
        part.map(|part| (part * 1000.0).round() as usize).ok_or_else(|| self.wrong("a number from 0 to 1"))
    }

    fn switch(&self) -> Result<bool, DynamicError> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    /// A list of `{"Pattern": "host:port", "AllowInsecure": false}`; entries without a pattern are passed over.
    fn addresses(&self) -> Result<Vec<AddressRule>, DynamicError> {
        let rule = |entry: &Value| {
            let field = |name: &str| entry.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
            let pattern = field("pattern")?.as_str().filter(|pattern| !pattern.is_empty())?.to_owned();
            Some(AddressRule { pattern, allow_insecure: field("allowInsecure").and_then(Value::as_bool).unwrap_or_default() })
        };
        let entries = self.value.as_array().ok_or_else(|| self.wrong("a list of {\"Pattern\": …, \"AllowInsecure\": …}"))?;
        Ok(entries.iter().filter_map(rule).collect())
    }

    /// A text such as `"1m30s"`, or a number of seconds.
    fn span(&self) -> Result<Span, DynamicError> {
        let span = match self.value {
            Value::String(text) => parse_span(text),
            Value::Number(number) => number.as_f64().filter(|s| (0.0..1e10).contains(s)).map(|s| Span((s * 1e9).round() as i64)),
            _ => None,
        };
        span.map(|span| span.min(Span::MAX)).ok_or_else(|| self.wrong("a duration such as \"1s\" or a number of seconds"))
    }
}

/// Durations as Go writes them: `1h30m`, `1.5s`, `300ms`, `0`; also `2d`.
pub(crate) fn parse_span(text: &str) -> Option<Span> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(Span::ZERO);
    }
    let mut nanos = 0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        nanos += value
            * match &rest[..end] {
                "ns" => 1.0,
                "us" | "µs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                "d" => 86_400e9,
                _ => return None,
            };
        rest = &rest[end..];
    }
    (nanos > 0.0 || text.contains('0')).then(|| Span(nanos.round().min(Span::MAX.0 as f64) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(assignments: &[&str]) -> Result<(Settings, Vec<String>), DynamicError> {
        let mut settings = ServerSettings::default();
        let unknown = DynamicConfig::parse(assignments.iter().copied())?.apply(&mut settings)?;
        Ok((settings.engine, unknown))
    }

    #[test]
    fn values_can_be_given_for_namespaces() {
        let both = r#"[{"value":100,"constraints":{"namespace":"a"}},{"value":7}]"#;
        let (engine, unknown) = apply(&[
            &format!("frontend.namespaceRPS={both}"),
            "frontend.namespaceBurstRatio=3",
            r#"limit.blobSize.error=[{"value":10,"constraints":{"Namespace":"a"}}]"#,
            r#"sempre.limit.openRuns=[{"value":5,"constraints":{"namespace":"b"}}]"#,
            "sempre.limit.storageBytes=1000",
            r#"no.such.key=[{"value":1,"constraints":{"namespace":"b"}},{"value":1}]"#,
            "sempre.limit.startsPerSecond=0.5",
            "frontend.namespaceRPS.visibility=10",
        ])
        .unwrap();
        assert_eq!(unknown, ["no.such.key"]);
        assert_eq!((engine.rates.calls, engine.rates_of("a").calls, engine.rates_of("b").calls), (7.0, 100.0, 7.0));
        let rates = *engine.rates_of("a");
        assert_eq!((rates.burst_ratio, rates.starts, rates.lists), (3.0, 0.5, 10.0));
        assert_eq!((engine.limits.blob_size_max, engine.limits_of("a").blob_size_max), (2 << 20, 10));
        assert_eq!((engine.limits_of("a").open_runs_max, engine.limits_of("b").open_runs_max), (0, 5));
        assert_eq!(["a", "b", "c"].map(|name| engine.limits_of(name).storage_bytes_max), [1000; 3]);
        let refused = |assignment: &str| apply(&[assignment]).unwrap_err().to_string();
        assert_eq!(
            refused(r#"worker.batcherRPS=[{"value":1,"constraints":{"namespace":"a"}}]"#),
            "dynamic configuration `worker.batcherrps` cannot differ by namespace; give one value for all"
        );
        assert_eq!(
            refused(r#"frontend.namespaceRPS=[{"value":1,"constraints":{"taskQueueName":"q"}}]"#),
            "dynamic configuration `frontend.namespacerps` can be constrained by namespace (a text) alone, not by taskQueueName: \"q\""
        );
        assert_eq!(
            refused(r#"frontend.namespaceRPS=[{"value":-1,"constraints":{"namespace":"a"}}]"#),
            "dynamic configuration `frontend.namespacerps` needs a number that is not negative, not -1"
        );
    }

    #[test]
    fn known_keys_act_whatever_their_case() {
        let (engine, unknown) = apply(&[
            "limit.blobSize.error=1024",
            "LIMIT.historycount.SuggestContinueAsNew=50",
            "history.MaxBufferedQueryCount=10000",
            "history.workflowIdReuseMinimalInterval=\"0s\"",
            "system.enableActivityEagerExecution=false",
            "history.maxTotalUpdates=20",
            "history.maxTotalUpdates.suggestContinueAsNewThreshold=0.75",
            "matching.longPollExpirationInterval=\"1s\"",
            "history.longPollExpirationInterval = 3",
            "frontend.MaxConcurrentBatchOperationPerNamespace=1000",
            "worker.batcherRPS=20",
            "limit.userMetadataSummarySize=7",
            "limit.userMetadataDetailsSize=8",
            "frontend.WorkflowPauseEnabled=false",
            "frontend.WorkflowTimeSkippingEnabled=true",
            "frontend.WorkflowTimeSkippingMaxSkipPerSession=9",
            "frontend.maxBadBinaries=3",
            "matching.wv.VersionDrainageStatusVisibilityGracePeriod=10",
            "matching.wv.VersionDrainageStatusRefreshInterval=\"1s\"",
        ])
        .expect("all good");
        assert_eq!(unknown, Vec::<String>::new());
        let expected = Limits {
            blob_size_max: 1024,
            history_count_suggest: 50,
            buffered_queries_max: 10_000,
            continue_as_new_interval_min: Span::ZERO,
            eager_activities: false,
            updates_max: 20,
            updates_suggest_permille: 750,
            summary_size_max: 7,
            details_size_max: 8,
            workflow_pause: false,
            time_skipping: true,
            skips_max: 9,
            ..Limits::default()
        };
        assert_eq!(engine.limits, expected);
        assert_eq!((engine.history_wait, engine.poll_wait), (Span::seconds(3), Span::seconds(1)));
        assert_eq!((engine.batch_jobs_max, engine.batch_rate_max), (1000, 20.0));
        let drainage = (engine.drainage_grace, engine.drainage_interval);
        assert_eq!((engine.bad_binaries_max, drainage), (3, (Span::seconds(10), Span::seconds(1))));
    }

    #[test]
    fn unknown_keys_are_accepted_and_named() {
        let keys = ["frontend.enableServerVersionCheck=false", "a.key.of.tomorrow={\"deep\":[1,2]}"];
        let (engine, unknown) = apply(&keys).expect("accepted");
        assert_eq!(engine.limits, Limits::default());
        assert_eq!(unknown.len(), keys.len());
    }

    #[test]
    fn the_url_of_callbacks_is_a_template() {
        let template = |value: &str| {
            let mut settings = ServerSettings::default();
            let assignment = format!("component.nexusoperations.callback.endpoint.template={value}");
            let config = DynamicConfig::parse([assignment.as_str()]).expect("JSON");
            config.apply(&mut settings).map(|unknown| (unknown.len(), settings.callback_template))
        };
        assert_eq!(template(r#""http://me/{{.NamespaceName}}""#), Ok((0, Some("http://me/{{.NamespaceName}}".into()))));
        assert_eq!(template(r#""unset""#), Ok((0, None)));
        assert!(template("1").is_err());
    }

    #[test]
    fn names_of_hosts_are_a_list() {
        let hosts = |value: &str| {
            let mut settings = ServerSettings::default();
            let config = DynamicConfig::parse([format!("frontend.httpAllowedHosts={value}").as_str()]).expect("JSON");
            config.apply(&mut settings).map(|_| settings.http_hosts).map_err(|_| ())
        };
        assert_eq!(hosts(r#"["*.example","x"]"#), Ok(vec!["*.example".to_owned(), "x".to_owned()]));
        assert_eq!((hosts(r#""x""#), hosts("[1]")), (Err(()), Err(())));
    }

    #[test]
    fn addresses_of_callbacks_are_a_list() {
        let given = r#"component.callbacks.allowedAddresses=[{"Pattern":"*:80","AllowInsecure":true},{"pattern":"x"},{"Pattern":""},7]"#;
        let (engine, unknown) = apply(&[given]).expect("all good");
        let rule = |pattern: &str, allow_insecure| AddressRule { pattern: pattern.into(), allow_insecure };
        assert_eq!((engine.limits.callback_addresses, unknown), (vec![rule("*:80", true), rule("x", false)], vec![]));
        assert!(apply(&["callback.allowedAddresses=true"]).is_err());
    }

    #[test]
    fn the_last_value_wins() {
        let (engine, ..) = apply(&["limit.blobsize.error=1", "limit.blobSize.error=2"]).expect("all good");
        assert_eq!(engine.limits.blob_size_max, 2);
    }

    #[test]
    fn what_cannot_be_read_is_told_in_one_sentence() {
        let text = |assignment: &str| apply(&[assignment]).expect_err("refused").to_string();
        assert_eq!(text("nonsense"), "dynamic configuration must look like KEY=JSON, but `nonsense` does not");
        assert_eq!(text("=1"), "dynamic configuration must look like KEY=JSON, but `=1` does not");
        assert_eq!(
            text("history.longPollExpirationInterval=1s"),
            "the value of dynamic configuration `history.longPollExpirationInterval` is not JSON (texts need quotes): 1s"
        );
        assert_eq!(
            text("limit.blobSize.error=\"big\""),
            "dynamic configuration `limit.blobsize.error` needs a whole number that is not negative, not \"big\""
        );
        assert!(text("system.enableEagerWorkflowStart=1").ends_with("needs true or false, not 1"));
        assert!(text("matching.longPollExpirationInterval=\"soon\"").contains("needs a duration"));
    }

    #[test]
    fn durations() {
        let cases = [
            ("1s", Some(Span::seconds(1))),
            ("1m30s", Some(Span::seconds(90))),
            ("1.5s", Some(Span::millis(1500))),
            ("300ms", Some(Span::millis(300))),
            ("2h", Some(Span::seconds(7200))),
            ("0", Some(Span::ZERO)),
            ("0s", Some(Span::ZERO)),
            ("10us", Some(Span(10_000))),
            ("1e9s", None),
            ("", None),
            ("s", None),
            ("5", None),
            ("-1s", None),
            ("1.2.3s", None),
        ];
        for (text, span) in cases {
            assert_eq!(parse_span(text), span, "{text}");
        }
    }
}
