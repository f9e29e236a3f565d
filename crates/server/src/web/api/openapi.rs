//! The API as an OpenAPI 3 document, out of its descriptors and their comments.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sempre_api::json::{
    descriptors,
    reflect::{Cardinality, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor},
};
use serde_json::{Map, Value, json};

use super::routes::Compiled;
use crate::{classes::Kind as MethodKind, coverage};

/// How deep fields of fields are named as query parameters.
const QUERY_DEPTH_MAX: usize = 3;
const STATUS: &str = "google.rpc.Status";
const PAYLOAD: &str = "temporal.api.common.v1.Payload";
const PAYLOADS: &str = "temporal.api.common.v1.Payloads";

/// Tags of methods that answer UNIMPLEMENTED, always or to some requests.
const NOT_BUILT: &str = "not built";
const BUILT_IN_PART: &str = "built in part";

/// Of a method whose calls may end so without a bound of their callers.
const LATE: &str = "What it waits for did not come in time, or the query took too long.";

/// The document.
pub(crate) fn document(routes: &[Compiled]) -> Value {
    let mut writer = Writer::default();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut bindings: HashMap<&str, usize> = HashMap::new();
    for compiled in routes {
        let binding = bindings.entry(compiled.method.as_str()).or_default();
        *binding += 1;
        let operation = writer.operation(compiled, *binding);
        paths.entry(path(compiled.route.path)).or_default().insert(compiled.route.verb.to_lowercase(), operation);
    }
    writer.reference_name(STATUS);
    let schemas = writer.schemas();
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "Sempre",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Temporal's API over HTTP. Payloads whose encoding says that they are JSON stand as that JSON, unless \
                `application/json+no-payload-shorthand` is asked for.",
        },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

#[derive(Default)]
struct Writer {
    /// Messages that are referred to, and whether they have been written.
    wanted: BTreeSet<String>,
    comments: HashMap<String, Comments>,
}

/// Comments of a file, by the path of what they stand before.
type Comments = HashMap<Vec<i32>, String>;

impl Writer {
    fn operation(&mut self, compiled: &Compiled, binding: usize) -> Value {
        let route = compiled.route;
        let method = descriptors()
            .get_service_by_name(route.service)
            .and_then(|service| service.methods().find(|method| method.name() == route.method));
        let Some(method) = method else { return Value::Null };
        let known = coverage::methods().find(|known| (known.service, known.name) == (route.service, route.method));
        let tag = match known {
            Some(known) if known.built => method.parent_service().name(),
            Some(known) if known.lacks.is_some() => BUILT_IN_PART,
            _ => NOT_BUILT,
        };
        let number = if binding == 1 { String::new() } else { binding.to_string() };
        let mut parameters: Vec<Value> = compiled.path_fields().map(path_parameter).collect();
        if route.body != "*" {
            let taken: BTreeSet<&str> = compiled.path_fields().chain([route.body]).collect();
            self.query_parameters(&compiled.input, ("", ""), 0, &taken, &mut parameters);
        }
        let refused = json!({ "application/json": { "schema": self.reference_name(STATUS) } });
        let mut operation = json!({
            "operationId": format!("{}{number}", route.method),
            "tags": [tag],
            "parameters": parameters,
            "responses": {
                "200": { "description": "What was asked for.", "content": self.content(&compiled.output) },
                "default": { "description": "Why it was refused.", "content": refused },
            },
        });
        if MethodKind::of(route.service, route.method).may_be_late() {
            operation["responses"]["504"] = json!({ "description": LATE, "content": refused });
        }
        let body = match (route.body, compiled.body_field()) {
            ("*", _) => Some(compiled.input.clone()),
            (_, Some(field)) => field.kind().as_message().cloned(),
            _ => None,
        };
        if let Some(body) = body {
            operation["requestBody"] = json!({ "content": self.content(&body) });
        }
        if let Some(comment) = self.comment(&method.parent_file(), method.path()) {
            operation["description"] = comment.into();
        }
        if method.method_descriptor_proto().options.as_ref().is_some_and(|options| options.deprecated()) {
            operation["deprecated"] = true.into();
        }
        operation
    }

    fn content(&mut self, message: &MessageDescriptor) -> Value {
        json!({ "application/json": { "schema": self.reference_name(message.full_name()) } })
    }

    /// The fields that a query can set, by their names in JSON.
    fn query_parameters(
        &mut self,
        message: &MessageDescriptor,
        (json_prefix, prefix): (&str, &str),
        depth: usize,
        taken: &BTreeSet<&str>,
        parameters: &mut Vec<Value>,
    ) {
        for field in message.fields() {
            let path = format!("{prefix}{}", field.name());
            let name = format!("{json_prefix}{}", field.json_name());
            let kind = field.kind();
            let inner = kind.as_message().filter(|of| well_known(of.full_name()).is_none());
            if taken.contains(path.as_str()) || field.is_map() {
                continue;
            }
            if let Some(inner) = inner {
                if field.cardinality() != Cardinality::Repeated && depth + 1 < QUERY_DEPTH_MAX {
                    self.query_parameters(inner, (&format!("{name}."), &format!("{path}.")), depth + 1, taken, parameters);
                }
                continue;
            }
            let mut parameter = json!({ "name": name, "in": "query", "schema": self.field_schema(&field) });
            if let Some(comment) = self.comment(&field.parent_message().parent_file(), field.path()) {
                parameter["description"] = comment.into();
            }
            parameters.push(parameter);
        }
    }

    fn reference_name(&mut self, name: &str) -> Value {
        self.wanted.insert(name.to_owned());
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    /// The schemas of everything that is referred to.
    fn schemas(&mut self) -> BTreeMap<String, Value> {
        let mut written = BTreeMap::new();
        while let Some(name) = self.wanted.pop_first() {
            if written.contains_key(&name) {
                continue;
            }
            let schema = match (descriptors().get_message_by_name(&name), descriptors().get_enum_by_name(&name)) {
                (Some(message), _) => self.message_schema(&message),
                (None, Some(of)) => self.enum_schema(&of),
                (None, None) => json!({}),
            };
            written.insert(name, schema);
        }
        written
    }

    fn message_schema(&mut self, message: &MessageDescriptor) -> Value {
        let comment = self.comment(&message.parent_file(), message.path());
        let mut schema = match message.full_name() {
            PAYLOAD => json!({}),
            PAYLOADS => json!({ "anyOf": [
                { "type": "array", "items": self.reference_name(PAYLOAD) },
                { "type": "object", "properties": { "payloads": { "type": "array", "items": self.reference_name(PAYLOAD) } } },
            ] }),
            _ => {
                let properties: BTreeMap<_, _> =
                    message.fields().map(|field| (field.json_name().to_owned(), self.property(&field))).collect();
                json!({ "type": "object", "properties": properties, "additionalProperties": false })
            }
        };
        if let Some(comment) = comment {
            schema["description"] = comment.into();
        }
        schema
    }

    fn property(&mut self, field: &FieldDescriptor) -> Value {
        let mut schema = self.field_schema(field);
        // Beside a reference nothing else counts in this version of OpenAPI.
        if schema.get("$ref").is_none()
            && let Some(comment) = self.comment(&field.parent_message().parent_file(), field.path())
        {
            schema["description"] = comment.into();
        }
        schema
    }

    fn field_schema(&mut self, field: &FieldDescriptor) -> Value {
        if field.is_map() {
            let value = field.kind().as_message().map(|entry| entry.map_entry_value_field().kind());
            let value = value.map_or_else(|| json!({}), |kind| self.kind_schema(&kind));
            return json!({ "type": "object", "additionalProperties": value });
        }
        let one = self.kind_schema(&field.kind());
        if field.is_list() { json!({ "type": "array", "items": one }) } else { one }
    }

    fn kind_schema(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({ "type": "integer", "format": "int32" }),
            Kind::Uint32 | Kind::Fixed32 => json!({ "type": "integer", "format": "int64", "minimum": 0, "maximum": u32::MAX }),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({ "type": "string", "format": "int64" }),
            Kind::Uint64 | Kind::Fixed64 => json!({ "type": "string", "format": "uint64" }),
            Kind::Float => json!({ "type": "number", "format": "float" }),
            Kind::Double => json!({ "type": "number", "format": "double" }),
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "format": "byte" }),
            Kind::Enum(of) => self.reference_name(of.full_name()),
            Kind::Message(of) => well_known(of.full_name()).unwrap_or_else(|| self.reference_name(of.full_name())),
        }
    }

    fn enum_schema(&mut self, of: &EnumDescriptor) -> Value {
        let names: Vec<_> = of.values().map(|value| value.name().to_owned()).collect();
        let mut schema = json!({ "type": "string", "enum": names });
        if let Some(comment) = self.comment(&of.parent_file(), of.path()) {
            schema["description"] = comment.into();
        }
        schema
    }

    fn comment(&mut self, file: &FileDescriptor, path: &[i32]) -> Option<String> {
        let comments = self.comments.entry(file.name().to_owned()).or_insert_with(|| comments(file));
        comments.get(path).cloned()
    }
}

/// A path with its fields by their labels. Two that differ only in what a field is called are one in OpenAPI.
fn path(template: &str) -> String {
    let segments = template.split('/').map(|segment| match segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}')) {
        Some(field) => format!("{{{}}}", label(field)),
        None => segment.to_owned(),
    });
    segments.collect::<Vec<_>>().join("/")
}

/// What a field in a path is called: without the message it is in, unless that says what it is of.
fn label(field: &str) -> String {
    match field.rsplit_once('.') {
        Some((_, name)) if name != "name" => name.to_owned(),
        _ => field.replace('.', "_"),
    }
}

fn path_parameter(field: &str) -> Value {
    json!({ "name": label(field), "in": "path", "required": true, "schema": { "type": "string" } })
}

/// Comments before things, without notes to the linter of the protos.
fn comments(file: &FileDescriptor) -> Comments {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let all = info.map(|info| info.location.as_slice()).unwrap_or_default().iter().filter_map(|location| {
        let text = location.leading_comments.as_deref()?;
        let lines = text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end());
        let kept: Vec<_> = lines.filter(|line| !line.contains("(--") && !line.contains("--)")).collect();
        let text = kept.join("\n").trim().to_owned();
        (!text.is_empty()).then(|| (location.path.clone(), text))
    });
    all.collect()
}

/// The schema of a message that is no object in JSON, or none of its own.
fn well_known(name: &str) -> Option<Value> {
    Some(match name {
        "google.protobuf.Timestamp" => json!({ "type": "string", "format": "date-time" }),
        "google.protobuf.Duration" => json!({ "type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$" }),
        "google.protobuf.FieldMask" | "google.protobuf.StringValue" => json!({ "type": "string" }),
        "google.protobuf.BytesValue" => json!({ "type": "string", "format": "byte" }),
        "google.protobuf.BoolValue" => json!({ "type": "boolean" }),
        "google.protobuf.Int32Value" | "google.protobuf.UInt32Value" => json!({ "type": "integer" }),
        "google.protobuf.Int64Value" | "google.protobuf.UInt64Value" => json!({ "type": "string" }),
        "google.protobuf.FloatValue" | "google.protobuf.DoubleValue" => json!({ "type": "number" }),
        "google.protobuf.Empty" | "google.protobuf.Struct" => json!({ "type": "object" }),
        "google.protobuf.Value" => json!({}),
        "google.protobuf.ListValue" => json!({ "type": "array", "items": {} }),
        "google.protobuf.Any" => {
            json!({ "type": "object", "properties": { "@type": { "type": "string" } }, "additionalProperties": true })
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{super::routes::Routes, *};

    #[test]
    fn every_route_is_described_and_every_reference_leads_somewhere() {
        let routes = Routes::new();
        let document = document(routes.all());
        let mut ids = BTreeSet::new();
        for compiled in routes.all() {
            let operation = &document["paths"][path(compiled.route.path)][compiled.route.verb.to_lowercase()];
            assert!(ids.insert(operation["operationId"].to_string()), "{}", compiled.route.path);
            let named: Vec<_> = operation["parameters"].as_array().expect("parameters").iter().map(|p| &p["name"]).collect();
            assert!(compiled.path_fields().all(|field| named.contains(&&json!(label(field)))), "{}", compiled.route.path);
            assert_eq!(operation["requestBody"].is_null(), compiled.route.body.is_empty(), "{}", compiled.route.path);
        }
        let shapes: BTreeSet<Vec<&str>> = document["paths"]
            .as_object()
            .expect("paths")
            .keys()
            .map(|path| path.split('/').map(|segment| if segment.starts_with('{') { "{}" } else { segment }).collect())
            .collect();
        assert_eq!(shapes.len(), document["paths"].as_object().map_or(0, Map::len), "paths that are one");
        let text = document.to_string();
        for reference in text.split("\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().expect("a name");
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn comments_and_queries_are_there() {
        let document = document(Routes::new().all());
        let list = &document["paths"]["/api/v1/namespaces/{namespace}/workflows"]["get"];
        assert_eq!(list["operationId"], "ListWorkflowExecutions2");
        assert!(list["description"].as_str().is_some_and(|text| text.contains("visibility")), "{}", list["description"]);
        let names: Vec<_> = list["parameters"].as_array().expect("parameters").iter().map(|p| p["name"].as_str()).collect();
        assert_eq!(names, [Some("namespace"), Some("pageSize"), Some("nextPageToken"), Some("query")]);
        let may_be_late = |path: &str, verb: &str| {
            let operation = &document["paths"][format!("/api/v1/namespaces/{{namespace}}/{path}")][verb];
            assert!(operation["responses"]["default"].is_object(), "{verb} {path} is a route");
            operation["responses"]["504"].is_object()
        };
        let workflow = "workflows/{workflow_id}";
        assert!(may_be_late("workflows", "get") && may_be_late("workflow-count", "get"), "the index may take too long");
        assert!(may_be_late(&format!("{workflow}/history"), "get") && may_be_late(&format!("{workflow}/query/{{query_type}}"), "post"));
        assert!(!may_be_late(workflow, "post") && !may_be_late(workflow, "get") && !may_be_late("schedules/{schedule_id}", "get"));
        let history = &document["paths"]["/api/v1/namespaces/{namespace}/workflows/{workflow_id}/history"]["get"];
        let rules = &document["paths"]["/api/v1/namespaces/{namespace}/workflow-rules"]["get"];
        assert_eq!((&list["tags"], &rules["tags"]), (&json!(["WorkflowService"]), &json!([NOT_BUILT])));
        assert!(history["parameters"].as_array().is_some_and(|all| all.iter().any(|p| p["name"] == "execution.runId")));
    }
}
