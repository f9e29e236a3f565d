//! What is pushed, and to whom: the variables that OpenTelemetry's specification names, and two flags.
//!
//! A value that nothing here obeys is refused, not ignored: a server that sends what was not asked for is worse than one that
//! does not start.

use std::{fmt, fs, path::Path, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use sempre_core::nexus::link::unescaped;
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::http_client::system_roots;

/// What OTLP is told, and how often. Made by [`OtlpSettings::read`].
#[derive(Clone, Debug)]
pub struct OtlpSettings {
    pub(super) traces: Option<Target>,
    pub(super) metrics: Option<Target>,
    /// Who tells, as attributes.
    pub(super) resource: Vec<(String, String)>,
    pub(super) sampler: Sampler,
    /// Spans that wait to be sent; more are dropped.
    pub(super) span_queue_max: usize,
    pub(super) span_batch_max: usize,
    /// How long spans wait for others to be sent with.
    pub(super) span_delay: Duration,
    pub(super) metric_interval: Duration,
}

/// A receiver.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) uri: Uri,
    /// The same without what may be secret.
    pub(super) shown: String,
    pub(super) protocol: Protocol,
    pub(super) headers: HeaderMap,
    pub(super) timeout: Duration,
    pub(super) gzip: bool,
    pub(super) tls: Certificates,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Grpc,
    Http,
}

/// Which calls have a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sampler {
    /// A caller that says whether it has one decides.
    pub(super) by_parent: bool,
    pub(super) base: Base,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    On,
    Off,
    /// Traces whose number, of 63 bits, is below.
    Below(u64),
}

/// Whom to trust, and who one is.
#[derive(Clone, Default)]
pub(super) struct Certificates {
    /// `None`: whom the system trusts.
    authorities: Option<Arc<Vec<CertificateDer<'static>>>>,
    own: Option<Arc<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>>,
}

/// A setting that cannot be used. The text is for an operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is `{value}`: {why}")]
pub struct OtlpError {
    name: String,
    value: String,
    why: String,
}

fn refused(name: &str, value: &str, why: impl Into<String>) -> OtlpError {
    OtlpError { name: name.to_owned(), value: value.to_owned(), why: why.into() }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("receiver", &self.shown).field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

/// The variables of a process, and what flags say instead.
struct Read<'r> {
    variable: &'r dyn Fn(&str) -> Option<String>,
    endpoint: Option<&'r str>,
    protocol: Option<&'r str>,
}

impl OtlpSettings {
    /// Reads the variables. `endpoint` and `protocol`, of flags, are there instead of `OTEL_EXPORTER_OTLP_ENDPOINT` and
    /// `…_PROTOCOL`. `None`: nobody is to be told anything.
    pub fn read(
        variable: &dyn Fn(&str) -> Option<String>,
        endpoint: Option<&str>,
        protocol: Option<&str>,
    ) -> Result<Option<Self>, OtlpError> {
        let read = Read { variable, endpoint, protocol };
        if read.flag("OTEL_SDK_DISABLED")? {
            return Ok(None);
        }
        let (traces, metrics) = (read.target("TRACES", "/v1/traces")?, read.target("METRICS", "/v1/metrics")?);
        if traces.is_none() && metrics.is_none() {
            return Ok(None);
        }
        read.unsupported()?;
        let span_queue_max = read.number("OTEL_BSP_MAX_QUEUE_SIZE", 2048)?;
        let span_batch_max = read.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512.min(span_queue_max))?;
        if span_batch_max > span_queue_max {
            let why = format!("it may not be above OTEL_BSP_MAX_QUEUE_SIZE, which is {span_queue_max}");
            return Err(refused("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", &span_batch_max.to_string(), why));
        }
        Ok(Some(Self {
            traces,
            metrics,
            resource: read.resource()?,
            sampler: read.sampler()?,
            span_queue_max: usize::try_from(span_queue_max).unwrap_or(usize::MAX),
            span_batch_max: usize::try_from(span_batch_max).unwrap_or(usize::MAX),
            span_delay: Duration::from_millis(read.number("OTEL_BSP_SCHEDULE_DELAY", 5000)?),
            metric_interval: Duration::from_millis(read.number("OTEL_METRIC_EXPORT_INTERVAL", 60_000)?),
        }))
    }
}

/// Numbers above are taken for a mistake.
const NUMBER_MAX: u64 = 1_000_000_000;

impl Read<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.variable)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// The variable of a signal, or else that of all; with the name that it has.
    fn of(&self, signal: &str, what: &str) -> Option<(String, String)> {
        let names = [format!("OTEL_EXPORTER_OTLP_{signal}_{what}"), format!("OTEL_EXPORTER_OTLP_{what}")];
        names.into_iter().find_map(|name| self.get(&name).map(|value| (name, value)))
    }

    fn flag(&self, name: &str) -> Result<bool, OtlpError> {
        match self.get(name).map(|value| (value.to_ascii_lowercase(), value)) {
            None => Ok(false),
            Some((lower, _)) if lower == "true" || lower == "false" => Ok(lower == "true"),
            Some((_, value)) => Err(refused(name, &value, "it must be true or false")),
        }
    }

    fn number(&self, name: &str, usual: u64) -> Result<u64, OtlpError> {
        let Some(value) = self.get(name) else { return Ok(usual) };
        let number = value.parse().ok().filter(|number| (1..=NUMBER_MAX).contains(number));
        number.ok_or_else(|| refused(name, &value, "it must be a whole number above 0"))
    }

    fn target(&self, signal: &str, path: &str) -> Result<Option<Target>, OtlpError> {
        let exporter = format!("OTEL_{signal}_EXPORTER");
        let wanted = self.get(&exporter).unwrap_or_else(|| "otlp".into());
        let mut is_wanted = false;
        for name in wanted.split(',').map(str::trim) {
            match name {
                "otlp" => is_wanted = true,
                // It is served in any case.
                "none" => {}
                "prometheus" if signal == "METRICS" => {}
                _ => return Err(refused(&exporter, &wanted, "only otlp and none are known here")),
            }
        }
        let own = self.get(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"));
        let of_all = || match self.endpoint {
            Some(flag) => Some(("--otlp-endpoint".to_owned(), flag.to_owned())),
            None => self.get("OTEL_EXPORTER_OTLP_ENDPOINT").map(|value| ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), value)),
        };
        let is_own = own.is_some();
        let named = own.map(|value| (format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"), value)).or_else(of_all);
        let (true, Some((name, text))) = (is_wanted, named) else { return Ok(None) };
        let protocol = self.protocol(signal)?;
        let uri = uri(&text, if is_own || protocol == Protocol::Grpc { "" } else { path })
            .ok_or_else(|| refused(&name, &shown(&text), "it must be a URL such as http://localhost:4318"))?;
        let shown = shown(&uri.to_string());
        let timeout = match self.of(signal, "TIMEOUT") {
            None => 10_000,
            Some((name, _)) => self.number(&name, 0)?,
        };
        let gzip = match self.of(signal, "COMPRESSION") {
            None => false,
            Some((_, value)) if value == "gzip" || value == "none" => value == "gzip",
            Some((name, value)) => return Err(refused(&name, &value, "it must be gzip or none")),
        };
        let (headers, tls) = (self.headers(signal)?, self.certificates(signal)?);
        Ok(Some(Target { uri, shown, protocol, headers, timeout: Duration::from_millis(timeout), gzip, tls }))
    }

    fn protocol(&self, signal: &str) -> Result<Protocol, OtlpError> {
        let own = format!("OTEL_EXPORTER_OTLP_{signal}_PROTOCOL");
        let flag = || self.protocol.map(|flag| ("--otlp-protocol".to_owned(), flag.to_owned()));
        let named = self.get(&own).map(|value| (own, value)).or_else(flag).or_else(|| self.of(signal, "PROTOCOL"));
        match named.as_ref().map(|(_, value)| value.as_str()) {
            None | Some("http/protobuf") => Ok(Protocol::Http),
            Some("grpc") => Ok(Protocol::Grpc),
            Some(value) => {
                let name = named.as_ref().map_or("", |(name, _)| name);
                Err(refused(name, value, "it must be grpc or http/protobuf"))
            }
        }
    }

    fn headers(&self, signal: &str) -> Result<HeaderMap, OtlpError> {
        let mut headers = HeaderMap::new();
        let Some((name, text)) = self.of(signal, "HEADERS") else { return Ok(headers) };
        for (key, value) in pairs(&text).ok_or_else(|| refused(&name, "…", "it must be key=value,key=value"))? {
            let header = HeaderName::try_from(&key).ok().zip(HeaderValue::try_from(value).ok());
            let Some((key, mut value)) = header else {
                return Err(refused(&name, "…", format!("{key} and its value are no header")));
            };
            value.set_sensitive(true);
            headers.append(key, value);
        }
        Ok(headers)
    }

    fn certificates(&self, signal: &str) -> Result<Certificates, OtlpError> {
        let read = |(name, path): &(String, String)| {
            let file = fs::read(Path::new(path)).map_err(|error| refused(name, path, format!("it cannot be read: {error}")))?;
            Ok::<_, OtlpError>(file)
        };
        let chain = |named: &(String, String)| {
            let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(named)?).collect();
            let found = found.ok().filter(|found| !found.is_empty());
            found.ok_or_else(|| refused(&named.0, &named.1, "the file holds no certificate in PEM"))
        };
        let authorities = self.of(signal, "CERTIFICATE").map(|named| chain(&named)).transpose()?.map(Arc::new);
        let own = match (self.of(signal, "CLIENT_CERTIFICATE"), self.of(signal, "CLIENT_KEY")) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                let chain = chain(&certificate)?;
                let wrong = |_| refused(&key.0, &key.1, "the file holds no private key in PEM");
                Some(Arc::new((chain, PrivateKeyDer::from_pem_slice(&read(&key)?).map_err(wrong)?)))
            }
            (Some((name, value)), None) | (None, Some((name, value))) => {
                return Err(refused(&name, &value, "the client's certificate and its key come together"));
            }
        };
        let certificates = Certificates { authorities, own };
        // Told now, not when the first span is lost.
        if certificates.own.is_some() || certificates.authorities.is_some() {
            let name = format!("OTEL_EXPORTER_OTLP_{signal}_CERTIFICATE");
            certificates.config().map_err(|why| refused(&name, "…", why))?;
        }
        Ok(certificates)
    }

    fn resource(&self) -> Result<Vec<(String, String)>, OtlpError> {
        let name = "OTEL_RESOURCE_ATTRIBUTES";
        let text = self.get(name).unwrap_or_default();
        let mut all = pairs(&text).ok_or_else(|| refused(name, &text, "it must be key=value,key=value"))?;
        let service = self.get("OTEL_SERVICE_NAME");
        match (service, all.iter_mut().find(|(key, _)| key == "service.name")) {
            (Some(service), Some((_, value))) => *value = service,
            (None, Some(_)) => {}
            (service, None) => all.push(("service.name".into(), service.unwrap_or_else(|| "sempre".into()))),
        }
        Ok(all)
    }

    fn sampler(&self) -> Result<Sampler, OtlpError> {
        let name = "OTEL_TRACES_SAMPLER";
        let value = self.get(name).unwrap_or_else(|| "parentbased_always_on".into());
        let (by_parent, base) = match value.strip_prefix("parentbased_") {
            Some(base) => (true, base),
            None => (false, value.as_str()),
        };
        let base = match base {
            "always_on" => Base::On,
            "always_off" => Base::Off,
            "traceidratio" => Base::Below(self.ratio()?),
            _ => {
                let known = "it must be always_on, always_off or traceidratio, or one of these behind parentbased_";
                return Err(refused(name, &value, known));
            }
        };
        Ok(Sampler { by_parent, base })
    }

    /// The part of all traces, as a bound of numbers of 63 bits.
    fn ratio(&self) -> Result<u64, OtlpError> {
        let name = "OTEL_TRACES_SAMPLER_ARG";
        let Some(value) = self.get(name) else { return Ok(1 << 63) };
        let ratio = value.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        let ratio = ratio.ok_or_else(|| refused(name, &value, "it must be a number from 0 to 1"))?;
        Ok((ratio * (1u64 << 63) as f64) as u64)
    }

    /// What others may ask for and nobody here does.
    fn unsupported(&self) -> Result<(), OtlpError> {
        let name = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
        if let Some(value) = self.get(name).filter(|value| !value.eq_ignore_ascii_case("cumulative")) {
            return Err(refused(name, &value, "only cumulative is known here"));
        }
        let name = "OTEL_PROPAGATORS";
        let known = |name: &str| matches!(name.trim(), "tracecontext" | "baggage");
        match self.get(name) {
            Some(value) if !value.split(',').all(known) => Err(refused(name, &value, "only tracecontext and baggage are known here")),
            _ => Ok(()),
        }
    }
}

/// A URL with `path` behind its own.
fn uri(text: &str, path: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    uri.authority()?;
    let whole = format!("{}{path}", text.trim_end_matches('/'));
    matches!(uri.scheme_str(), Some("http" | "https")).then(|| if path.is_empty() { Some(uri) } else { whole.parse().ok() })?
}

/// A URL without user and password.
fn shown(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
        _ => text.to_owned(),
    }
}

/// `key=value,key=value`, with escapes as in URLs.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (key, value) = part.split_once('=')?;
            let key = key.trim();
            (!key.is_empty()).then_some(())?;
            Some((unescaped(key)?, unescaped(value.trim())?))
        })
        .collect()
}

impl Certificates {
    pub(super) fn config(&self) -> Result<ClientConfig, String> {
        let roots = match &self.authorities {
            None => system_roots()?,
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                for authority in authorities.iter() {
                    roots.add(authority.clone()).map_err(|error| format!("an authority cannot be used: {error}"))?;
                }
                roots
            }
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        match self.own.as_deref() {
            None => Ok(builder.with_no_client_auth()),
            Some((chain, key)) => builder
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .map_err(|error| format!("the client's certificate cannot be used: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)], endpoint: Option<&str>, protocol: Option<&str>) -> Result<Option<OtlpSettings>, String> {
        let variable = |name: &str| variables.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned());
        OtlpSettings::read(&variable, endpoint, protocol).map_err(|error| error.to_string())
    }

    fn is_off(variables: &[(&str, &str)]) -> bool {
        read(variables, None, None).expect("good").is_none()
    }

    fn uris(settings: Option<OtlpSettings>) -> [Option<(String, Protocol)>; 2] {
        let settings = settings.expect("on");
        [settings.traces, settings.metrics].map(|target| target.map(|target| (target.uri.to_string(), target.protocol)))
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");

    #[test]
    fn it_is_off_unless_there_is_an_endpoint() {
        assert!(is_off(&[]) && is_off(&[("OTEL_SERVICE_NAME", "x"), ("OTEL_TRACES_SAMPLER", "nonsense")]));
        assert!(is_off(&[ENDPOINT, ("OTEL_SDK_DISABLED", "true")]));
        assert!(is_off(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_METRICS_EXPORTER", "prometheus")]));
        assert!(!is_off(&[ENDPOINT]));
    }

    #[test]
    fn endpoints_are_those_of_the_specification() {
        let http = |text: &str| Some((text.to_owned(), Protocol::Http));
        let grpc = |text: &str| Some((text.to_owned(), Protocol::Grpc));
        fn of(variables: &[(&str, &str)], endpoint: Option<&str>, protocol: Option<&str>) -> [Option<(String, Protocol)>; 2] {
            uris(read(variables, endpoint, protocol).expect("good"))
        }
        assert_eq!(of(&[ENDPOINT], None, None), [http("http://c:4318/v1/traces"), http("http://c:4318/v1/metrics")]);
        assert_eq!(of(&[ENDPOINT], Some("https://d/x/"), None), [http("https://d/x/v1/traces"), http("https://d/x/v1/metrics")]);
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t/spans");
        assert_eq!(of(&[own], None, None), [http("http://t/spans"), None]);
        let protocol = ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc");
        assert_eq!(of(&[ENDPOINT, protocol], None, None), [http("http://c:4318/v1/traces"), grpc("http://c:4318/")]);
        assert_eq!(of(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "nonsense"), ENDPOINT], None, Some("grpc"))[0], grpc("http://c:4318/"));
    }

    #[test]
    fn who_tells_has_a_name() {
        let resource = |variables: &[(&str, &str)]| {
            let all = [&[ENDPOINT], variables].concat();
            read(&all, None, None).expect("good").expect("on").resource
        };
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(resource(&[]), [pair("service.name", "sempre")]);
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a, deployment.environment=b%20c");
        assert_eq!(resource(&[attributes]), [pair("service.name", "a"), pair("deployment.environment", "b c")]);
        assert_eq!(resource(&[attributes, ("OTEL_SERVICE_NAME", "d")])[0], pair("service.name", "d"));
    }

    #[test]
    fn samplers_have_the_names_of_the_specification() {
        let sampler = |name, ratio| {
            let all = [ENDPOINT, ("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", ratio)];
            read(&all, None, None).expect("good").expect("on").sampler
        };
        assert_eq!(sampler("", ""), Sampler { by_parent: true, base: Base::On });
        assert_eq!(sampler("always_off", ""), Sampler { by_parent: false, base: Base::Off });
        assert_eq!(sampler("parentbased_traceidratio", "0.5"), Sampler { by_parent: true, base: Base::Below(1 << 62) });
        assert_eq!(sampler("traceidratio", ""), Sampler { by_parent: false, base: Base::Below(1 << 63) });
    }

    #[test]
    fn what_nothing_here_obeys_is_refused() {
        for (variable, value, told) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317", "is `localhost:4317`: it must be a URL such as http://localhost:4318"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://me:secret@x/", "is `ftp://x/`: it must be a URL such as http://localhost:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "is `http/json`: it must be grpc or http/protobuf"),
            (
                "OTEL_TRACES_SAMPLER",
                "xray",
                "is `xray`: it must be always_on, always_off or traceidratio, or one of these behind parentbased_",
            ),
            ("OTEL_TRACES_EXPORTER", "zipkin", "is `zipkin`: only otlp and none are known here"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "0", "is `0`: it must be a whole number above 0"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "is `-1`: it must be a whole number above 0"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4000", "is `4000`: it may not be above OTEL_BSP_MAX_QUEUE_SIZE, which is 2048"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1s", "is `1s`: it must be a whole number above 0"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "is `zstd`: it must be gzip or none"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=secret", "is `…`: a b and its value are no header"),
            ("OTEL_RESOURCE_ATTRIBUTES", "x", "is `x`: it must be key=value,key=value"),
            ("OTEL_PROPAGATORS", "b3", "is `b3`: only tracecontext and baggage are known here"),
            ("OTEL_SDK_DISABLED", "1", "is `1`: it must be true or false"),
            ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta", "is `delta`: only cumulative is known here"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k", "is `/k`: the client's certificate and its key come together"),
        ] {
            let refused = read(&[(variable, value), ENDPOINT], None, None).expect_err(variable);
            assert_eq!(refused, format!("{variable} {told}"));
        }
        let refused = read(&[("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such"), ENDPOINT], None, None).expect_err("no file");
        assert!(refused.starts_with("OTEL_EXPORTER_OTLP_CERTIFICATE is `/no/such`: it cannot be read: "), "{refused}");
        let sampler = [ENDPOINT, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
        assert_eq!(read(&sampler, None, None).expect_err("2"), "OTEL_TRACES_SAMPLER_ARG is `2`: it must be a number from 0 to 1");
        assert_eq!(read(&[], Some("x"), None).expect_err("x"), "--otlp-endpoint is `x`: it must be a URL such as http://localhost:4318");
    }

    #[test]
    fn secrets_are_in_no_text() {
        let all = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:secret@c/"), ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret")];
        let settings = read(&all, None, None).expect("good").expect("on");
        assert!(!format!("{settings:?}").contains("secret"), "{settings:?}");
        let target = settings.traces.expect("on");
        assert_eq!((target.headers["authorization"].as_bytes(), target.shown.as_str()), (&b"Bearer secret"[..], "http://c/v1/traces"));
    }
}
