//! `sempre env …`: sets of flags in the environment file, as older scripts keep them. `sempre config` is the newer way.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    Failure,
    environment::Process,
    flags::{ClientFlags, CommonFlags},
    output::Table,
    session,
    settings::EnvFile,
};

#[derive(Subcommand)]
pub(crate) enum EnvCommand {
    /// Show the flags of an environment
    Get(Key),
    /// Set a flag of an environment
    Set(Set),
    /// List the environments
    List,
    /// Delete an environment, or one of its flags
    Delete(Key),
}

#[derive(Args)]
pub(crate) struct Key {
    /// The older way of --env and --key: ENV or ENV.KEY
    #[arg(value_name = "ENV.KEY", hide = true)]
    place: Option<String>,
    /// The flag, without its dashes
    #[arg(short, long, value_name = "FLAG")]
    key: Option<String>,
}

#[derive(Args)]
pub(crate) struct Set {
    #[command(flatten)]
    key: Key,
    /// The older way of --value
    #[arg(value_name = "VALUE", hide = true)]
    placed: Option<String>,
    /// Its value
    #[arg(short, long, value_name = "VALUE", allow_hyphen_values = true)]
    value: Option<String>,
}

pub(crate) fn run(common: CommonFlags, command: EnvCommand) -> Result<(), Failure> {
    // The set that is named need not be there yet, so settings are read without it.
    let file = EnvFile::load(&common, &Process)?;
    let plain = CommonFlags { env: None, disable_config_env: true, disable_config_file: true, ..common };
    session::run(plain, &ClientFlags::default(), async |session| match command {
        EnvCommand::Get(key) => {
            let (env, key) = place(&file, &key)?;
            let flags = file.sets.get(&env).ok_or_else(|| no_env(&env))?;
            let found: Vec<_> = flags.iter().filter(|(flag, _)| key.as_ref().is_none_or(|key| *flag == key)).collect();
            if let (Some(key), true) = (&key, found.is_empty()) {
                return Err(Failure::new(format_args!("{key} is not set in environment {env}")));
            }
            let rows: Vec<_> = found.iter().map(|(flag, value)| vec![flag.as_str().into(), value.as_str().into()]).collect();
            session.out.table(&mut Table::new(&["Property", "Value"]), &rows)?;
            session.out.value(&found.iter().map(|(flag, value)| json!({ "property": flag, "value": value })).collect())
        }
        EnvCommand::Set(set) => {
            let (env, key) = place(&file, &set.key)?;
            let key = key.ok_or_else(|| Failure::usage("--key says which flag to set"))?;
            let value = set.value.or(set.placed).ok_or_else(|| Failure::usage("--value says what to set it to"))?;
            let mut file = file;
            file.sets.entry(env).or_default().insert(key, value);
            file.save()
        }
        EnvCommand::List => {
            let rows: Vec<_> = file.sets.keys().map(|name| vec![name.as_str().into()]).collect();
            session.out.table(&mut Table::new(&["Name"]), &rows)?;
            session.out.value(&file.sets.keys().map(|name| json!({ "name": name })).collect())
        }
        EnvCommand::Delete(key) => {
            let (env, key) = place(&file, &key)?;
            let mut file = file;
            let flags = file.sets.get_mut(&env).ok_or_else(|| no_env(&env))?;
            match key {
                Some(key) => flags.remove(&key).map(drop),
                None => file.sets.remove(&env).map(drop),
            };
            file.save()
        }
    })
}

fn no_env(env: &str) -> Failure {
    Failure::new(format_args!("there is no environment {env:?}; `sempre env list` lists those that exist"))
}

/// The environment and the flag that are meant.
fn place(file: &EnvFile, key: &Key) -> Result<(String, Option<String>), Failure> {
    let dots = || Failure::usage("a flag has no dots in its name");
    if key.key.as_ref().is_some_and(|key| key.contains('.')) {
        return Err(dots());
    }
    let Some(place) = &key.place else { return Ok((file.name().to_owned(), key.key.clone())) };
    if key.key.is_some() {
        return Err(Failure::usage("give --env and --key, or ENV.KEY, not both"));
    }
    match place.split_once('.') {
        None => Ok((place.clone(), None)),
        Some((_, flag)) if flag.contains('.') => Err(dots()),
        Some((env, flag)) => Ok((env.to_owned(), Some(flag.to_owned()))),
    }
}
