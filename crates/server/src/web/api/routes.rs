//! Which method of the API a verb and a path mean.
//!
//! A route's path is literals and fields of the request, one segment each. A request's path is cut at its slashes before
//! it is unescaped, so that an id with a slash in it can be named (`%2F`).

use sempre_api::{
    http::{ROUTES, Route},
    json::{
        descriptors,
        reflect::{FieldDescriptor, MessageDescriptor},
    },
};

/// Routes of our own services, whose protos name none: by the same rules as those of the API.
const OWN: &[Route] = &[
    of("sempre.v1.AlertService", "ListAlertRules", "GET", "/api/v1/namespaces/{namespace}/alert-rules", ""),
    of("sempre.v1.AlertService", "SetAlertRule", "POST", "/api/v1/namespaces/{namespace}/alert-rules", "*"),
    of("sempre.v1.AlertService", "DeleteAlertRule", "DELETE", "/api/v1/namespaces/{namespace}/alert-rules/{name}", ""),
    of("sempre.v1.AlertService", "TestAlertRule", "POST", "/api/v1/namespaces/{namespace}/alert-rules/{name}/test", "*"),
    of("sempre.v1.AlertService", "ListAlerts", "GET", "/api/v1/namespaces/{namespace}/alerts", ""),
    of("sempre.v1.AlertService", "ListNotices", "GET", "/api/v1/namespaces/{namespace}/notices", ""),
    of("sempre.v1.FlowService", "ListFlowRules", "GET", "/api/v1/namespaces/{namespace}/flow-rules", ""),
    of("sempre.v1.FlowService", "SetFlowRule", "POST", "/api/v1/namespaces/{namespace}/flow-rules", "*"),
    of("sempre.v1.FlowService", "DescribeFlowRule", "GET", "/api/v1/namespaces/{namespace}/flow-rules/{name}", ""),
    of("sempre.v1.FlowService", "DeleteFlowRule", "DELETE", "/api/v1/namespaces/{namespace}/flow-rules/{name}", ""),
    of("sempre.v1.FlowService", "DescribeWaitingStart", "GET", "/api/v1/namespaces/{namespace}/workflows/{workflow_id}/waiting-start", ""),
    of("sempre.v1.InspectService", "DescribeNamespaceLimits", "GET", "/api/v1/namespaces/{namespace}/limits", ""),
    of(
        "sempre.v1.InspectService",
        "ListActivityAttempts",
        "GET",
        "/api/v1/namespaces/{namespace}/workflows/{workflow_id}/activity-attempts",
        "",
    ),
    of("sempre.v1.InspectService", "ListActivityAttempts", "GET", "/api/v1/namespaces/{namespace}/activities/{activity_id}/attempts", ""),
];

const fn of(service: &'static str, method: &'static str, verb: &'static str, path: &'static str, body: &'static str) -> Route {
    Route { service, method, verb, path, body }
}

/// A route, ready to be matched.
pub(crate) struct Compiled {
    pub(crate) route: &'static Route,
    segments: Vec<Segment>,
    /// Full gRPC path.
    pub(crate) method: String,
    pub(crate) input: MessageDescriptor,
    pub(crate) output: MessageDescriptor,
}

enum Segment {
    Literal(&'static str),
    Field(&'static str),
}

/// All routes of the API.
pub(crate) struct Routes(Vec<Compiled>);

/// What a path means.
pub(crate) enum Found<'r> {
    /// This method, with these values of request fields (by their paths in the request).
    Route(&'r Compiled, Vec<(&'static str, String)>),
    /// The path is one of the API's, but for these verbs.
    OtherVerbs(Vec<&'static str>),
    /// None of the API's.
    Nothing,
    /// It is not escaped as paths are.
    Malformed,
}

impl Routes {
    pub(crate) fn new() -> Self {
        // Routes and descriptors are of the same protos: none is left out, which a test shows.
        Self(ROUTES.iter().chain(OWN).filter_map(Compiled::new).collect())
    }

    pub(crate) fn all(&self) -> &[Compiled] {
        &self.0
    }

    /// Looks for the route of a path as it came, still escaped.
    pub(crate) fn find(&self, verb: &str, path: &str) -> Found<'_> {
        let Some(parts) = segments(path) else { return Found::Malformed };
        let mut other = Vec::new();
        // Of routes that both match, the later one counts.
        for compiled in self.0.iter().rev().filter(|compiled| compiled.matches(&parts)) {
            if compiled.route.verb == verb {
                return Found::Route(compiled, compiled.fields(parts));
            }
            if !other.contains(&compiled.route.verb) {
                other.push(compiled.route.verb);
            }
        }
        if other.is_empty() { Found::Nothing } else { Found::OtherVerbs(other) }
    }
}

impl Compiled {
    /// `None`: there is no such method.
    fn new(route: &'static Route) -> Option<Self> {
        let service = descriptors().get_service_by_name(route.service)?;
        let method = service.methods().find(|method| method.name() == route.method)?;
        let segments = route.path.split('/').skip(1).map(|segment| match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
            Some(field) => Segment::Field(field),
            None => Segment::Literal(segment),
        });
        Some(Self {
            route,
            segments: segments.collect(),
            method: format!("/{}/{}", route.service, route.method),
            input: method.input(),
            output: method.output(),
        })
    }

    fn matches(&self, parts: &[String]) -> bool {
        let same = |(segment, part): (&Segment, &String)| match segment {
            Segment::Literal(literal) => literal == part,
            Segment::Field(_) => true,
        };
        self.segments.len() == parts.len() && self.segments.iter().zip(parts).all(same)
    }

    fn fields(&self, parts: Vec<String>) -> Vec<(&'static str, String)> {
        let fields = self.segments.iter().zip(parts).filter_map(|(segment, part)| match segment {
            Segment::Field(field) => Some((*field, part)),
            Segment::Literal(_) => None,
        });
        fields.collect()
    }

    /// Paths of the request fields that stand in the path.
    pub(crate) fn path_fields(&self) -> impl Iterator<Item = &'static str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Field(field) => Some(*field),
            Segment::Literal(_) => None,
        })
    }

    /// The request field that the body is; `None`: the request itself, or nothing.
    pub(crate) fn body_field(&self) -> Option<FieldDescriptor> {
        match self.route.body {
            "" | "*" => None,
            field => self.input.get_field_by_name(field),
        }
    }
}

/// The segments of an escaped path, unescaped.
pub(crate) fn segments(path: &str) -> Option<Vec<String>> {
    path.strip_prefix('/')?.split('/').map(|part| unescaped(part, false)).collect()
}

/// Undoes `%41`, and `+` where it stands for a space. `None` for what is not escaped as URLs are.
pub(crate) fn unescaped(text: &str, plus_is_space: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?
            }
            b'+' if plus_is_space => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The names and values of a query.
pub(crate) fn query_pairs(query: &str) -> Option<Vec<(String, String)>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((unescaped(name, true)?, unescaped(value, true)?))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(routes: &Routes, verb: &str, path: &str) -> String {
        match routes.find(verb, path) {
            Found::Route(compiled, fields) => {
                let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("{} {}", compiled.route.method, fields.join(" ")).trim().to_owned()
            }
            Found::OtherVerbs(verbs) => format!("other {}", verbs.join(" ")),
            Found::Nothing => "nothing".into(),
            Found::Malformed => "malformed".into(),
        }
    }

    #[test]
    fn paths_name_methods_and_fields() {
        let routes = Routes::new();
        let cases = [
            ("GET", "/api/v1/namespaces", "ListNamespaces"),
            ("GET", "/api/v1/namespaces/n%20s", "DescribeNamespace namespace=n s"),
            ("GET", "/cluster/namespaces/n", "DescribeNamespace namespace=n"),
            ("POST", "/api/v1/namespaces/n/workflows/a%2Fb", "StartWorkflowExecution namespace=n workflow_id=a/b"),
            (
                "POST",
                "/namespaces/n/workflows/w/signal/s+s",
                "SignalWorkflowExecution namespace=n workflow_execution.workflow_id=w signal_name=s+s",
            ),
            ("GET", "/api/v1/namespaces/n/workflows/w/history", "GetWorkflowExecutionHistory namespace=n execution.workflow_id=w"),
            ("DELETE", "/api/v1/namespaces/n/workflows", "other GET"),
            ("GET", "/api/v1/no/such", "nothing"),
            ("GET", "/", "nothing"),
            ("GET", "/api/v1/namespaces/%zz", "malformed"),
            ("GET", "/api/v1/namespaces/%ff", "malformed"),
        ];
        for (verb, path, expected) in cases {
            assert_eq!(found(&routes, verb, path), expected, "{verb} {path}");
        }
    }

    #[test]
    fn every_route_is_found_by_its_own_path_and_has_only_fields_that_exist() {
        let routes = Routes::new();
        assert!(routes.all().len() > 180, "{}", routes.all().len());
        assert_eq!(routes.all().len(), ROUTES.len() + OWN.len());
        for compiled in routes.all() {
            let Route { verb, path, .. } = *compiled.route;
            let example = path.replace(['{', '}'], "x");
            match routes.find(verb, &example) {
                Found::Route(found, _) => assert_eq!(found.method, compiled.method, "{verb} {path}"),
                _ => panic!("{verb} {path}"),
            }
            let plain = |segment: &Segment| match segment {
                Segment::Literal(literal) => !literal.contains(['{', '}', '*', ':', '=']),
                Segment::Field(field) => !field.contains(['*', '=']),
            };
            assert!(compiled.segments.iter().all(plain), "{path}");
            for field in compiled.path_fields() {
                let mut message = Some(compiled.input.clone());
                for name in field.split('.') {
                    let field = message.as_ref().and_then(|message| message.get_field_by_name(name));
                    let field = field.unwrap_or_else(|| panic!("{path}: {name}"));
                    message = field.kind().as_message().cloned();
                }
            }
            assert!(matches!(compiled.route.body, "" | "*") || compiled.body_field().is_some(), "{path}");
        }
    }
}
