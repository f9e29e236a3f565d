//! The registry of search attributes of a namespace (spec 06 §4, §6).

use std::{collections::BTreeMap, sync::Arc};

use sempre_api::sempre::v1::{RenameSearchAttributeRequest, RenameSearchAttributeResponse};
use sempre_api::v1::{
    command::{Command, command::Attributes},
    common::{Payload, SearchAttributes},
    operatorservice::{
        AddSearchAttributesRequest, AddSearchAttributesResponse, ListSearchAttributesRequest, ListSearchAttributesResponse,
        RemoveSearchAttributesRequest, RemoveSearchAttributesResponse,
    },
};
use sempre_core::{
    Refusal,
    visibility::{AttributeType, PREDEFINED, SYSTEM, decode_as, is_built_in, is_reserved},
};

use crate::{
    Engine,
    namespaces::{Namespace, NamespaceRecord},
    shared::Shared,
};

fn not_set() -> Refusal {
    Refusal::invalid("SearchAttributes are not set on request.")
}

impl Engine {
    /// `OperatorService.AddSearchAttributes`. Names that exist already are skipped.
    pub async fn add_search_attributes(&self, request: AddSearchAttributesRequest) -> Result<AddSearchAttributesResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        if request.search_attributes.is_empty() {
            return Err(not_set());
        }
        for (name, kind) in &request.search_attributes {
            if is_reserved(name) {
                return Err(Refusal::invalid(format!("Search attribute {name} is reserved by system.")));
            }
            if AttributeType::from_api(*kind).is_none() {
                return Err(Refusal::invalid(format!("Unknown search attribute type: {kind}.")));
            }
        }
        self.shared
            .namespaces
            .update(namespace.id(), |record| {
                record.change_attributes(|all| request.search_attributes.iter().try_for_each(|(name, kind)| all.add(name, *kind)))
            })
            .await?;
        Ok(AddSearchAttributesResponse::default())
    }

    /// `OperatorService.RemoveSearchAttributes`.
    pub async fn remove_search_attributes(
        &self,
        request: RemoveSearchAttributesRequest,
    ) -> Result<RemoveSearchAttributesResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        if request.search_attributes.is_empty() {
            return Err(not_set());
        }
        let system: Vec<&str> = request.search_attributes.iter().map(String::as_str).filter(|name| is_built_in(name)).collect();
        if !system.is_empty() {
            return Err(Refusal::invalid(format!("Unable to remove non-custom search attributes: {}.", system.join(", "))));
        }
        self.shared
            .namespaces
            .update(namespace.id(), |record| {
                record.change_attributes(|all| request.search_attributes.iter().try_for_each(|name| all.remove(name)))
            })
            .await?;
        Ok(RemoveSearchAttributesResponse::default())
    }

    /// `OperatorService.ListSearchAttributes`.
    pub async fn list_search_attributes(&self, request: ListSearchAttributesRequest) -> Result<ListSearchAttributesResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        Ok(ListSearchAttributesResponse {
            custom_attributes: namespace.attributes.named(),
            system_attributes: built_in().map(|(name, kind)| (name.to_owned(), kind.to_api() as i32)).collect(),
            ..Default::default()
        })
    }

    /// `OperateService.RenameSearchAttribute`.
    pub async fn rename_search_attribute(&self, request: RenameSearchAttributeRequest) -> Result<RenameSearchAttributeResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        if is_built_in(&request.name) {
            return Err(Refusal::invalid(format!("Unable to rename non-custom search attribute: {}.", request.name)));
        }
        let rename = |record: &mut NamespaceRecord| record.change_attributes(|all| all.rename(&request.name, &request.new_name));
        self.shared.namespaces.update(namespace.id(), rename).await?;
        Ok(RenameSearchAttributeResponse::default())
    }
}

impl Shared {
    /// With `auto_register_search_attributes`: registers what a request sets and its namespace does not define, with the
    /// type that the value names, or that its JSON has. It is on disk when this returns. What has no usable name or type stays unknown, and
    /// is refused like everywhere. Gives the namespace as it is then.
    pub(crate) async fn register_unknown<'a>(
        &self,
        namespace: Arc<Namespace>,
        sets: impl IntoIterator<Item = &'a SearchAttributes>,
    ) -> Result<Arc<Namespace>, Refusal> {
        if !self.settings.auto_register_search_attributes {
            return Ok(namespace);
        }
        let fields = sets.into_iter().flat_map(|set| &set.indexed_fields);
        let unknown: BTreeMap<&String, AttributeType> = fields
            .filter(|(name, _)| !name.is_empty() && !is_reserved(name) && namespace.attributes.kind(name).is_none())
            .filter_map(|(name, payload)| Some((name, named_type(payload)?)))
            .collect();
        if unknown.is_empty() {
            return Ok(namespace);
        }
        let changed = self.namespaces.update(namespace.id(), |record| {
            record.change_attributes(|all| unknown.iter().try_for_each(|(name, kind)| all.add(name, kind.to_api() as i32)))
        });
        let namespace = changed.await?;
        let names: Vec<_> = unknown.iter().map(|(name, kind)| format!("{name}={}", kind.name())).collect();
        tracing::info!(namespace = namespace.view.name, attributes = names.join(" "), "search attributes were registered");
        Ok(namespace)
    }
}

/// The type that a value names, or else the one that its JSON has by itself.
fn named_type(payload: &Payload) -> Option<AttributeType> {
    if let Some(name) = payload.metadata.get("type") {
        return AttributeType::from_name(std::str::from_utf8(name).ok()?);
    }
    let kinds = match payload.data.trim_ascii_start().first() {
        Some(b'[') => &[AttributeType::KeywordList][..],
        _ => &[AttributeType::Bool, AttributeType::Int, AttributeType::Double, AttributeType::Keyword],
    };
    kinds.iter().copied().find(|kind| decode_as(payload, *kind).is_some())
}

/// The search attributes that a command sets.
pub(super) fn set_by(command: &Command) -> Option<&SearchAttributes> {
    match command.attributes.as_ref()? {
        Attributes::UpsertWorkflowSearchAttributesCommandAttributes(a) => a.search_attributes.as_ref(),
        Attributes::StartChildWorkflowExecutionCommandAttributes(a) => a.search_attributes.as_ref(),
        Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(a) => a.search_attributes.as_ref(),
        _ => None,
    }
}

/// As [`set_by`], to change them.
pub(super) fn set_by_mut(attributes: &mut Attributes) -> Option<&mut SearchAttributes> {
    match attributes {
        Attributes::UpsertWorkflowSearchAttributesCommandAttributes(a) => a.search_attributes.as_mut(),
        Attributes::StartChildWorkflowExecutionCommandAttributes(a) => a.search_attributes.as_mut(),
        Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(a) => a.search_attributes.as_mut(),
        _ => None,
    }
}

/// Attributes of every namespace.
fn built_in() -> impl Iterator<Item = (&'static str, AttributeType)> {
    SYSTEM.iter().map(|(name, _, kind)| (*name, *kind)).chain(PREDEFINED.iter().map(|(name, kind, _)| (*name, *kind)))
}
