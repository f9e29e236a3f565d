//! `sempre config …`: the profiles of `temporal.toml`, which Temporal's SDKs and CLI read too.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{
    Failure,
    environment::Process,
    flags::{ClientFlags, CommonFlags},
    output::{Table, bare},
    session,
    settings::{ProfileFile, Want},
};

#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show the properties of a profile
    Get(Property),
    /// Set a property of a profile, which is made if it is not there
    Set(Set),
    /// List the profiles
    List,
    /// Delete a property of a profile
    Delete(Named),
    /// Delete a profile
    DeleteProfile,
}

#[derive(Args)]
pub(crate) struct Property {
    /// The property, such as address or tls.server_name
    #[arg(short, long, value_name = "NAME")]
    prop: Option<String>,
}

#[derive(Args)]
pub(crate) struct Named {
    /// The property, such as address or tls.server_name
    #[arg(short, long, value_name = "NAME")]
    prop: String,
}

#[derive(Args)]
pub(crate) struct Set {
    /// The property, such as address or tls.server_name
    #[arg(short, long, value_name = "NAME")]
    prop: String,
    /// Its value
    #[arg(short, long, value_name = "VALUE", allow_hyphen_values = true)]
    value: String,
}

pub(crate) fn run(common: CommonFlags, command: ConfigCommand) -> Result<(), Failure> {
    let mut file = ProfileFile::load(&common, &Process)?;
    let named = ProfileFile::name(&common, &Process);
    let given = common.profile.is_some();
    let name = named.unwrap_or_else(ProfileFile::usual_name);
    // The file is what is worked on here, not what is connected by.
    let plain = CommonFlags { profile: None, disable_config_file: true, disable_config_env: true, env: None, ..common };
    session::run(plain, &ClientFlags::default(), async |session| match command {
        ConfigCommand::Get(Property { prop: None }) => {
            let properties = shown(&file, &name)?;
            let rows: Vec<_> = properties.iter().map(|(name, value)| vec![name.as_str().into(), bare(value).into()]).collect();
            session.out.table(&mut Table::new(&["Property", "Value"]), &rows)?;
            let mut nested = Map::new();
            for (name, value) in properties.iter().filter(|(name, _)| name != "tls") {
                match name.split_once('.') {
                    None => drop(nested.insert(name.clone(), value.clone())),
                    Some((outer, inner)) => {
                        let table = nested.entry(outer).or_insert_with(|| Map::new().into());
                        table.as_object_mut().map(|table| table.insert(inner.to_owned(), value.clone()));
                    }
                }
            }
            session.out.value(&nested.into())
        }
        ConfigCommand::Get(Property { prop: Some(prop) }) => {
            let usual = match ProfileFile::wanted(&prop)? {
                Want::Text => json!(""),
                Want::Bool | Want::Table => json!(false),
            };
            let found = shown(&file, &name)?.into_iter().find(|(name, _)| *name == prop).map_or(usual, |(_, value)| value);
            session.out.table(&mut Table::new(&["Property", "Value"]), &[vec![prop.as_str().into(), bare(&found).into()]])?;
            session.out.value(&json!({ "property": prop, "value": found }))
        }
        ConfigCommand::Set(set) => {
            file.set(&name, &set.prop, &set.value)?;
            file.save()
        }
        ConfigCommand::List => {
            let names = file.names();
            let rows: Vec<_> = names.iter().map(|name| vec![name.as_str().into()]).collect();
            session.out.table(&mut Table::new(&["Name"]), &rows)?;
            session.out.value(&names.iter().map(|name| json!({ "name": name })).collect())
        }
        ConfigCommand::Delete(named) => {
            file.delete(&name, &named.prop)?;
            file.save()
        }
        ConfigCommand::DeleteProfile => {
            if !given {
                return Err(Failure::usage("--profile says which profile to delete"));
            }
            file.delete_profile(&name)?;
            file.save()
        }
    })
}

/// The properties of a profile as JSON values.
fn shown(file: &ProfileFile, name: &str) -> Result<Vec<(String, Value)>, Failure> {
    let properties = file.properties(name)?.into_iter().map(|(name, value)| {
        let value = match (value.as_str(), value.as_bool()) {
            (Some(text), _) => json!(text),
            (None, Some(flag)) => json!(flag),
            (None, None) => json!(value.to_string().trim()),
        };
        (name, value)
    });
    Ok(properties.collect())
}
