//! Records of Nexus endpoints (spec 08 §5.1). Where they lead: `nexus::endpoints`.
//!
//! A record is found by its name. Its version begins with 1 and grows with each update.

use bytes::Bytes;
use prost::Message;
use sempre_api::v1::{
    nexus::{Endpoint, EndpointSpec, EndpointTarget, endpoint_target::Variant},
    operatorservice::{
        CreateNexusEndpointRequest, CreateNexusEndpointResponse, DeleteNexusEndpointRequest, DeleteNexusEndpointResponse,
        GetNexusEndpointRequest, GetNexusEndpointResponse, ListNexusEndpointsRequest, ListNexusEndpointsResponse,
        UpdateNexusEndpointRequest, UpdateNexusEndpointResponse,
    },
};
use sempre_core::{NamespaceId, Refusal, ids::Uuid, validate::task_queue_name};

use crate::{
    Engine,
    records::{Change, Shown},
};

/// Bytes of an endpoint's name, of a target's URL, of a description.
const NAME_MAX: usize = 200;
const URL_MAX: usize = 4 << 10;
const DESCRIPTION_MAX: usize = 20_000;
/// What names look like.
const NAME_REGEX: &str = r"^[a-zA-Z][a-zA-Z0-9\-]*[a-zA-Z0-9]$";
/// Endpoints of the server: all of them are in memory.
const ENDPOINTS_MAX: usize = 10_000;
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;

/// An endpoint, as stored.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct EndpointRecord {
    /// The namespace's id instead of its name: namespaces are renamed when they are deleted.
    #[prost(bytes = "bytes", tag = "1")]
    target_namespace: Bytes,
    #[prost(message, optional, tag = "2")]
    endpoint: Option<Endpoint>,
}

impl EndpointRecord {
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone().unwrap_or_default()
    }

    pub(crate) fn name(&self) -> &str {
        self.endpoint.as_ref().and_then(|e| e.spec.as_ref()).map_or("", |spec| &spec.name)
    }

    /// Id of the namespace whose workers are the target, if workers are.
    pub(crate) fn target_namespace(&self) -> Option<NamespaceId> {
        self.target_namespace.as_ref().try_into().ok().map(|id| NamespaceId(Uuid(id)))
    }

    /// The namespace whose workers are the target.
    pub(crate) fn targets(&self, namespace: NamespaceId) -> bool {
        self.target_namespace == namespace.0.0.as_slice()
    }
}

fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    bytes.len() >= 2
        && first.is_ascii_alphabetic()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
}

/// What is wrong with a URL, if anything.
fn url_problem(url: &str) -> Option<String> {
    if url.is_empty() {
        return Some("empty target URL".into());
    }
    if url.len() > URL_MAX {
        return Some(format!("target URL length exceeds limit of {URL_MAX}"));
    }
    let scheme = url.split_once(':').map(|(scheme, _)| scheme).unwrap_or_default();
    if url.chars().any(|c| c.is_ascii_control() || c == ' ') {
        return Some(format!("invalid target URL: parse {url:?}: net/url: invalid character in URL"));
    }
    let lower = scheme.to_ascii_lowercase();
    (lower != "http" && lower != "https").then(|| format!("invalid target URL scheme: {lower:?}, expected http or https"))
}

/// Everything that is wrong with a spec, as one refusal.
fn check(spec: Option<&EndpointSpec>, limits: &sempre_core::Limits) -> Result<EndpointSpec, Refusal> {
    let spec = spec.cloned().unwrap_or_default();
    let mut issues = Vec::new();
    if spec.name.is_empty() {
        issues.push("endpoint name not set".to_owned());
    } else {
        if spec.name.len() > NAME_MAX {
            issues.push(format!("endpoint name exceeds length limit of {NAME_MAX}"));
        }
        if !is_name(&spec.name) {
            issues.push(format!("endpoint name must match the regex: {NAME_REGEX:?}"));
        }
    }
    match spec.target.as_ref().map(|target| &target.variant) {
        None => issues.push("empty endpoint target".into()),
        Some(None) => issues.push("empty target variant".into()),
        Some(Some(Variant::Worker(worker))) => {
            if worker.namespace.is_empty() {
                issues.push("target namespace not set".into());
            }
            if let Err(why) = task_queue_name(&worker.task_queue, limits) {
                issues.push(format!("invalid target task queue: {why:?}"));
            }
        }
        Some(Some(Variant::External(external))) => issues.extend(url_problem(&external.url)),
    }
    if spec.description.as_ref().is_some_and(|description| description.encoded_len() > DESCRIPTION_MAX) {
        issues.push(format!("description size exceeds limit of {DESCRIPTION_MAX}"));
    }
    if issues.is_empty() { Ok(spec) } else { Err(Refusal::InvalidArgument(issues.join(", "))) }
}

fn id(text: &str) -> Result<Uuid, Refusal> {
    if text.is_empty() {
        return Err(Refusal::invalid("endpoint ID not set"));
    }
    Uuid::parse(text).ok_or_else(|| Refusal::invalid(format!("malformed endpoint ID: {text:?}")))
}

fn is_taken(shown: &Shown<EndpointRecord>, name: &str, but: Option<&[u8]>) -> bool {
    shown.iter().any(|(key, record)| record.name() == name && but != Some(key))
}

impl Engine {
    /// `OperatorService.CreateNexusEndpoint`.
    pub async fn create_nexus_endpoint(&self, request: CreateNexusEndpointRequest) -> Result<CreateNexusEndpointResponse, Refusal> {
        let spec = check(request.spec.as_ref(), &self.shared.settings.limits)?;
        let target_namespace = self.target_namespace(spec.target.as_ref())?;
        let (id, now) = (self.namespace_id(), self.now());
        let created = self.shared.endpoints.change(move |shown| {
            if is_taken(shown, &spec.name, None) {
                let text = format!("error creating Nexus endpoint. Endpoint with name {} already registered", spec.name);
                return Err(Refusal::AlreadyExists(text));
            }
            if shown.len() >= ENDPOINTS_MAX {
                let text = format!("error creating Nexus endpoint. There are {ENDPOINTS_MAX} already");
                return Err(Refusal::ResourceExhausted {
                    cause: sempre_api::v1::enums::ResourceExhaustedCause::PersistenceStorageLimit,
                    message: text,
                });
            }
            let endpoint = Endpoint {
                version: 1,
                id: id.to_string(),
                spec: Some(spec),
                created_time: Some(now.to_api()),
                last_modified_time: None,
                url_prefix: format!("/nexus/endpoints/{id}/services"),
            };
            let record = EndpointRecord { target_namespace, endpoint: Some(endpoint.clone()) };
            Ok((Change::put(id.0.to_vec(), record), endpoint))
        });
        Ok(CreateNexusEndpointResponse { endpoint: Some(created.await?) })
    }

    /// `OperatorService.UpdateNexusEndpoint`.
    pub async fn update_nexus_endpoint(&self, request: UpdateNexusEndpointRequest) -> Result<UpdateNexusEndpointResponse, Refusal> {
        let id = id(&request.id)?;
        let spec = check(request.spec.as_ref(), &self.shared.settings.limits)?;
        let target_namespace = self.target_namespace(spec.target.as_ref())?;
        let now = self.now();
        let updated = self.shared.endpoints.change(move |shown| {
            let known = shown
                .get(id.0.as_slice())
                .map(|record| record.endpoint())
                .ok_or_else(|| Refusal::not_found(format!("error updating Nexus endpoint. endpoint ID {id} not found")))?;
            if known.version != request.version {
                return Err(version_mismatch(request.version, known.version));
            }
            if is_taken(shown, &spec.name, Some(&id.0)) {
                let text = format!("error updating Nexus endpoint. Endpoint with name {} already registered", spec.name);
                return Err(Refusal::AlreadyExists(text));
            }
            let endpoint = Endpoint { version: known.version + 1, spec: Some(spec), last_modified_time: Some(now.to_api()), ..known };
            let record = EndpointRecord { target_namespace, endpoint: Some(endpoint.clone()) };
            Ok((Change::put(id.0.to_vec(), record), endpoint))
        });
        Ok(UpdateNexusEndpointResponse { endpoint: Some(updated.await?) })
    }

    /// `OperatorService.DeleteNexusEndpoint`.
    pub async fn delete_nexus_endpoint(&self, request: DeleteNexusEndpointRequest) -> Result<DeleteNexusEndpointResponse, Refusal> {
        let id = id(&request.id)?;
        if request.version <= 0 {
            return Err(Refusal::invalid("endpoint version is non-positive"));
        }
        let deleted = self.shared.endpoints.change(move |shown| {
            let known = shown
                .get(id.0.as_slice())
                .map(|record| record.endpoint())
                .ok_or_else(|| Refusal::not_found(format!("error deleting Nexus endpoint. endpoint ID {id} not found")))?;
            if known.version != request.version {
                return Err(version_mismatch(request.version, known.version));
            }
            Ok((Change::remove(id.0.to_vec()), ()))
        });
        deleted.await?;
        Ok(DeleteNexusEndpointResponse {})
    }

    /// `OperatorService.GetNexusEndpoint`.
    pub async fn get_nexus_endpoint(&self, request: GetNexusEndpointRequest) -> Result<GetNexusEndpointResponse, Refusal> {
        let id = id(&request.id)?;
        let record = self.shared.endpoints.get(&id.0);
        let record = record.ok_or_else(|| Refusal::not_found(format!("could not find Nexus endpoint with ID: {id}")))?;
        Ok(GetNexusEndpointResponse { endpoint: Some(self.shown(&record)) })
    }

    /// `OperatorService.ListNexusEndpoints`, in the order of their ids.
    pub async fn list_nexus_endpoints(&self, request: ListNexusEndpointsRequest) -> Result<ListNexusEndpointsResponse, Refusal> {
        let size = match request.page_size {
            0 => PAGE_DEFAULT,
            given => usize::try_from(given).map_err(|_| Refusal::invalid("page_size is negative"))?,
        };
        if size > PAGE_MAX {
            return Err(Refusal::invalid(format!("page_size exceeds limit of {PAGE_MAX}")));
        }
        if !request.next_page_token.is_empty() && request.next_page_token.len() != 16 {
            return Err(Refusal::invalid("Invalid NextPageToken."));
        }
        let shown = self.shared.endpoints.read();
        let wanted = shown.iter().filter(|(key, record)| {
            key.as_slice() > &request.next_page_token[..] && (request.name.is_empty() || record.name() == request.name)
        });
        let mut page: Vec<_> = wanted.take(size + 1).collect();
        let mut next_page_token = Bytes::new();
        if page.len() > size {
            page.pop();
            next_page_token = page.last().map(|(key, _)| Bytes::copy_from_slice(key)).unwrap_or_default();
        }
        Ok(ListNexusEndpointsResponse { endpoints: page.iter().map(|(_, record)| self.shown(record)).collect(), next_page_token })
    }

    /// The endpoint under the name that its target namespace has now.
    fn shown(&self, record: &EndpointRecord) -> Endpoint {
        let mut endpoint = record.endpoint();
        let id = record.target_namespace();
        if let (Some(name), Some(EndpointTarget { variant: Some(Variant::Worker(worker)) })) =
            (id.and_then(|id| self.namespace_name(id)), endpoint.spec.as_mut().and_then(|spec| spec.target.as_mut()))
        {
            worker.namespace = name;
        }
        endpoint
    }

    fn target_namespace(&self, target: Option<&EndpointTarget>) -> Result<Bytes, Refusal> {
        let Some(EndpointTarget { variant: Some(Variant::Worker(worker)) }) = target else { return Ok(Bytes::new()) };
        let found = self.shared.namespaces.usable(&worker.namespace);
        let namespace = found.map_err(|_| {
            let why = format!("Namespace {} is not found.", worker.namespace);
            Refusal::FailedPrecondition(format!("could not verify namespace referenced by target exists: {why}"))
        })?;
        Ok(Bytes::copy_from_slice(&namespace.id().0.0))
    }

    /// The name of an endpoint whose target is a namespace.
    pub(crate) fn endpoint_to(&self, namespace: NamespaceId) -> Option<String> {
        self.shared.endpoints.read().values().find(|record| record.targets(namespace)).map(|record| record.name().to_owned())
    }
}

fn version_mismatch(received: i64, expected: i64) -> Refusal {
    Refusal::FailedPrecondition(format!("nexus endpoint version mismatch. received: {received} expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sempre_api::v1::{
        common::Payload,
        nexus::endpoint_target::{External, Worker},
    };

    fn issues(spec: EndpointSpec) -> String {
        match check(Some(&spec), &sempre_core::Limits::default()) {
            Err(Refusal::InvalidArgument(text)) => text,
            other => format!("{other:?}"),
        }
    }

    fn external(url: &str) -> Option<EndpointTarget> {
        Some(EndpointTarget { variant: Some(Variant::External(External { url: url.into() })) })
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let spec = |name: &str, target| EndpointSpec { name: name.into(), target, description: None };
        assert_eq!(issues(EndpointSpec::default()), "endpoint name not set, empty endpoint target");
        let regex = r#"endpoint name must match the regex: "^[a-zA-Z][a-zA-Z0-9\\-]*[a-zA-Z0-9]$""#;
        for name in ["a", "1a", "a-", "a_b", "ä1", "-a"] {
            assert_eq!(issues(spec(name, external("http://x"))), regex, "{name}");
        }
        let long = "a".repeat(201);
        assert_eq!(
            issues(spec(&long, Some(EndpointTarget { variant: None }))),
            "endpoint name exceeds length limit of 200, empty target variant"
        );
        let worker = |namespace: &str, task_queue: &str| {
            let worker = Worker { namespace: namespace.into(), task_queue: task_queue.into() };
            Some(EndpointTarget { variant: Some(Variant::Worker(worker)) })
        };
        assert_eq!(issues(spec("a-1", worker("", ""))), r#"target namespace not set, invalid target task queue: "taskQueue is not set""#);
        for (url, text) in [
            ("", "empty target URL"),
            ("ftp://x", r#"invalid target URL scheme: "ftp", expected http or https"#),
            ("x", r#"invalid target URL scheme: "", expected http or https"#),
        ] {
            assert_eq!(issues(spec("ab", external(url))), text);
        }
        assert!(issues(spec("ab", external("http://a b"))).starts_with("invalid target URL: "));
        let url = format!("http://{}", "x".repeat(4096));
        assert_eq!(issues(spec("ab", external(&url))), "target URL length exceeds limit of 4096");
        let description = Payload { data: Bytes::from(vec![0; 20_000]), ..Default::default() };
        let large = EndpointSpec { description: Some(description), ..spec("ab", external("https://x")) };
        assert_eq!(issues(large), "description size exceeds limit of 20000");
    }
}
