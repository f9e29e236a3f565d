//! `operator search-attribute …`.

use clap::{Args, Subcommand, ValueEnum};
use sempre_api::sempre::v1::RenameSearchAttributeRequest;
use sempre_api::v1::{
    enums::IndexedValueType,
    operatorservice::{AddSearchAttributesRequest, ListSearchAttributesRequest, RemoveSearchAttributesRequest},
};

use crate::cli::{
    Failure,
    output::{Hue, Table, short_name},
    session::Session,
};

#[derive(Subcommand)]
pub(crate) enum SearchAttributeCommand {
    /// Add custom search attributes
    Create(Create),
    /// List all search attributes
    List,
    /// Remove custom search attributes
    Remove(Remove),
    /// Give a custom search attribute another name; the old one goes on to mean it until another attribute has it
    Rename(Rename),
}

#[derive(Args)]
pub(crate) struct Create {
    /// Name; may be given several times
    #[arg(long, value_name = "NAME", required = true)]
    name: Vec<String>,
    /// Type; given once for each name
    #[arg(long, value_enum, value_name = "TYPE", required = true, ignore_case = true)]
    r#type: Vec<Kind>,
}

#[derive(Args)]
pub(crate) struct Remove {
    /// Name; may be given several times
    #[arg(long, value_name = "NAME", required = true)]
    name: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Args)]
pub(crate) struct Rename {
    /// What it is called now
    #[arg(long, value_name = "NAME")]
    name: String,
    /// What it is called from now on
    #[arg(long, value_name = "NAME")]
    new_name: String,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum Kind {
    Text,
    Keyword,
    Int,
    Double,
    Bool,
    Datetime,
    KeywordList,
}

impl From<Kind> for IndexedValueType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text,
            Kind::Keyword => Self::Keyword,
            Kind::Int => Self::Int,
            Kind::Double => Self::Double,
            Kind::Bool => Self::Bool,
            Kind::Datetime => Self::Datetime,
            Kind::KeywordList => Self::KeywordList,
        }
    }
}

fn type_name(kind: i32) -> String {
    short_name(IndexedValueType::try_from(kind).unwrap_or_default().as_str_name(), "INDEXED_VALUE_TYPE_")
}

pub(super) async fn run(session: &mut Session, command: SearchAttributeCommand) -> Result<(), Failure> {
    let clients = session.client().await?;
    let (mut client, mut operate) = (clients.operator, clients.operate);
    let namespace = session.namespace();
    match command {
        SearchAttributeCommand::Create(create) => {
            if create.name.len() != create.r#type.len() {
                return Err(Failure::usage("give --type once for each --name"));
            }
            let request = ListSearchAttributesRequest { namespace: namespace.clone() };
            let known = client.list_search_attributes(request).await?.into_inner().custom_attributes;
            let kinds = create.r#type.into_iter().map(|kind| IndexedValueType::from(kind) as i32);
            let wanted: std::collections::BTreeMap<_, _> = create.name.into_iter().zip(kinds).collect();
            // One that is there with the same type is no failure, so that scripts can be run again.
            if let Some((name, kind)) =
                wanted.iter().find_map(|(name, kind)| known.get(name).filter(|there| *there != kind).map(|there| (name, there)))
            {
                return Err(Failure::new(format_args!("search attribute {name} is there already, with type {}", type_name(*kind))));
            }
            let search_attributes: std::collections::BTreeMap<_, _> =
                wanted.into_iter().filter(|(name, _)| !known.contains_key(name)).collect();
            if !search_attributes.is_empty() {
                client.add_search_attributes(AddSearchAttributesRequest { search_attributes, namespace }).await?;
            }
            session.out.line_in(Hue::Good, "Search attributes have been added")
        }
        SearchAttributeCommand::List => {
            let answer = client.list_search_attributes(ListSearchAttributesRequest { namespace }).await?.into_inner();
            session.out.message(&answer)?;
            let all = answer.system_attributes.iter().chain(&answer.custom_attributes);
            let rows: Vec<_> = all.map(|(name, kind)| vec![name.as_str().into(), type_name(*kind).into()]).collect();
            session.out.table(&mut Table::new(&["Name", "Type"]), &rows)
        }
        SearchAttributeCommand::Remove(remove) => {
            session.confirm(&format!("Remove search attribute(s) {}?", remove.name.join(", ")), remove.yes).await?;
            client.remove_search_attributes(RemoveSearchAttributesRequest { search_attributes: remove.name, namespace }).await?;
            session.out.line_in(Hue::Good, "Search attributes have been removed")
        }
        SearchAttributeCommand::Rename(Rename { name, new_name }) => {
            operate.rename_search_attribute(RenameSearchAttributeRequest { namespace, name, new_name }).await?;
            session.out.line_in(Hue::Good, "The search attribute has been renamed")
        }
    }
}
