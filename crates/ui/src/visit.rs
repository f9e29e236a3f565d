//! One request, taken apart: what it asks for, who asks, and how they want to see it.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, Method, header, request::Parts};
use jiff::{Timestamp, tz::TimeZone};
use maud::Markup;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sempre_api::v1::common::Payloads;
use tonic::Status;

use crate::{
    Ui,
    backend::Call,
    json,
    show::{TimeStyle, Times},
    token,
};

/// The answer to most questions comes at once; a page does not wait longer.
const CALL_SECONDS: u32 = 10;
/// The name under which the server knows the caller: what has no history is not shown as such.
const CLIENT: (&str, &str) = ("temporal-ui", "2.40.0");
/// Who did it, where an answer of the API names somebody.
pub(crate) const IDENTITY: &str = "sempre-ui";
/// Everything but what URLs never mean anything by.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Why there is no page: shown as one.
#[derive(Debug)]
pub(crate) struct Problem(pub(crate) Status);

impl From<Status> for Problem {
    fn from(status: Status) -> Self {
        Self(status)
    }
}

impl Problem {
    /// Something in a form that is not what it should be.
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self(Status::invalid_argument(text))
    }
}

/// One request.
pub(crate) struct Visit<'u> {
    pub(crate) ui: &'u Ui,
    /// The path below the public one, unescaped.
    pub(crate) segments: Vec<String>,
    /// The path and query as they came.
    pub(crate) target: String,
    query: Vec<(String, String)>,
    form: Vec<(String, String)>,
    cookies: Vec<(String, String)>,
    metadata: HeaderMap,
    pub(crate) times: Times,
    /// What every form carries; the cookie has it too.
    pub(crate) token: String,
    /// The browser does not have the cookie yet.
    pub(crate) token_is_new: bool,
    pub(crate) is_post: bool,
}

impl<'u> Visit<'u> {
    /// `None`: the path is not escaped as in URLs.
    pub(crate) fn new(ui: &'u Ui, parts: &Parts, body: &[u8]) -> Option<Self> {
        let path = parts.uri.path();
        let path = path.strip_prefix(ui.0.settings.public_path.as_str()).unwrap_or(path);
        let decode = |segment: &str| percent_decode_str(segment).decode_utf8().ok().map(Cow::into_owned);
        let segments = path.split('/').skip(1).filter(|segment| !segment.is_empty()).map(decode).collect::<Option<_>>()?;
        let pairs = |text: &[u8]| form_urlencoded::parse(text).into_owned().collect::<Vec<_>>();
        let cookies = cookies(&parts.headers);
        let cookie = |name: &str| cookies.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str());
        let zone = cookie("sempre_zone").and_then(|name| TimeZone::get(name).ok());
        let style = TimeStyle::parse(cookie("sempre_times").unwrap_or_default());
        let now = Timestamp::from_nanosecond(ui.0.backend.now().into()).unwrap_or_default();
        let times = Times { now, zone: zone.clone().unwrap_or(TimeZone::UTC), zone_is_known: zone.is_some(), style };
        let known = cookie(token::COOKIE).filter(|token| token::is_whole(token)).map(str::to_owned);
        let token_is_new = known.is_none();
        Some(Self {
            ui,
            segments,
            target: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            query: pairs(parts.uri.query().unwrap_or_default().as_bytes()),
            form: if parts.method == Method::POST { pairs(body) } else { Vec::new() },
            metadata: metadata(&parts.headers),
            times,
            token: known.unwrap_or_else(token::fresh),
            token_is_new,
            is_post: parts.method == Method::POST,
            cookies,
        })
    }

    /// A field of the query; empty if it is not there.
    pub(crate) fn query(&self, name: &str) -> &str {
        find(&self.query, name)
    }

    /// All fields of the query by this name.
    pub(crate) fn queries<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.query.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// A field of the form that was sent, without the white space around it; of the query before one is.
    pub(crate) fn field(&self, name: &str) -> &str {
        if self.is_post { find(&self.form, name).trim() } else { self.query(name).trim() }
    }

    /// All fields of the form by this name.
    pub(crate) fn fields<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let from = if self.is_post { &self.form } else { &self.query };
        from.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// A box of the form was ticked.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        !self.field(name).is_empty()
    }

    /// A number of the form; 0 if nothing was written.
    pub(crate) fn number<N: std::str::FromStr + Default>(&self, name: &str) -> Result<N, Problem> {
        match self.field(name) {
            "" => Ok(N::default()),
            text => text.parse().map_err(|_| Problem::invalid(format!("{text:?} is not a number"))),
        }
    }

    /// What was written into the form's `input`: as a codec server has made it in the browser, else the JSON itself.
    pub(crate) fn input(&self) -> Result<Option<Payloads>, Problem> {
        match self.field("input-encoded") {
            "" => json::input(self.field("input")),
            made => json::encoded(made).map(Some),
        }
    }

    /// How the viewer says who he is.
    pub(crate) fn authorization(&self) -> Option<&str> {
        self.metadata.get(header::AUTHORIZATION)?.to_str().ok()
    }

    /// A cookie; empty if the browser has none by this name.
    pub(crate) fn cookie(&self, name: &str) -> &str {
        find(&self.cookies, name)
    }

    /// The link to a page: its path, escaped.
    pub(crate) fn link(&self, segments: &[&str]) -> String {
        let mut path = self.ui.0.settings.public_path.clone();
        for segment in segments {
            path.push('/');
            path.extend(utf8_percent_encode(segment, ESCAPED));
        }
        if path.is_empty() { "/".to_owned() } else { path }
    }

    /// The link to a page with a query; pairs without a value are left out.
    pub(crate) fn link_with(&self, segments: &[&str], query: &[(&str, &str)]) -> String {
        let mut link = self.link(segments);
        let query = written(query);
        if !query.is_empty() {
            link.push('?');
            link.push_str(&query);
        }
        link
    }

    /// Asks the server.
    pub(crate) async fn ask<C: Call>(&self, request: C) -> Result<C::Answer, Problem> {
        self.ask_within(request, CALL_SECONDS * 1000).await
    }

    /// Asks the server, which has so long to answer.
    pub(crate) async fn ask_within<C: Call>(&self, request: C, milliseconds: u32) -> Result<C::Answer, Problem> {
        let mut metadata = self.metadata.clone();
        if let Ok(value) = HeaderValue::from_str(&format!("{milliseconds}m")) {
            metadata.insert("grpc-timeout", value);
        }
        let answer = self.ui.0.backend.call(C::METHOD, metadata, request.encode_to_vec()).await?;
        use prost::Message;
        C::Answer::decode(answer).map_err(|error| Problem(Status::internal(format!("an answer that cannot be read: {error}"))))
    }

    /// The field that every form has.
    pub(crate) fn token_field(&self) -> Markup {
        maud::html! { input type="hidden" name=(token::FIELD) value=(self.token); }
    }

    /// The token of the form that was sent.
    pub(crate) fn sent_token(&self) -> &str {
        find(&self.form, token::FIELD)
    }
}

/// What was asked with a limit: `None` if it did not come in that time.
pub(crate) fn in_time<A>(answer: Result<A, Problem>) -> Result<Option<A>, Problem> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(problem) if problem.0.code() == tonic::Code::DeadlineExceeded => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// Pairs as a query; those without a value are left out.
pub(crate) fn written(query: &[(&str, &str)]) -> String {
    let mut text = form_urlencoded::Serializer::new(String::new());
    text.extend_pairs(query.iter().filter(|(_, value)| !value.is_empty()));
    text.finish()
}

fn find<'a>(pairs: &'a [(String, String)], name: &str) -> &'a str {
    pairs.iter().find(|(given, _)| given == name).map_or("", |(_, value)| value.as_str())
}

fn cookies(headers: &HeaderMap) -> Vec<(String, String)> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = all.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    pairs.map(|(name, value)| (name.to_owned(), decode(value))).collect()
}

/// What of the browser's headers a call gets.
fn metadata(headers: &HeaderMap) -> HeaderMap {
    let mut metadata = HeaderMap::new();
    for name in ["authorization", "authorization-extras", "x-forwarded-for"] {
        for value in headers.get_all(name) {
            metadata.append(name, value.clone());
        }
    }
    metadata.insert("client-name", HeaderValue::from_static(CLIENT.0));
    metadata.insert("client-version", HeaderValue::from_static(CLIENT.1));
    metadata
}
