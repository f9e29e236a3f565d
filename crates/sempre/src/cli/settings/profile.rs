//! Profiles of `temporal.toml`, in the format that Temporal's SDKs and CLI share.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use toml_edit::{DocumentMut, Item, Table, Value as TomlValue};

use crate::cli::{
    Failure,
    environment::{self, Environment},
    flags::CommonFlags,
};

const PROFILE: &str = "default";

/// One profile: what it says, and nothing about what it leaves open.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Profile {
    pub(crate) address: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) api_key: Option<String>,
    pub(crate) authority: Option<String>,
    pub(crate) tls: Option<Tls>,
    pub(crate) codec_endpoint: Option<String>,
    pub(crate) grpc_meta: BTreeMap<String, String>,
}

/// TLS of a client.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tls {
    pub(crate) disabled: bool,
    pub(crate) client_cert: Option<Pem>,
    pub(crate) client_key: Option<Pem>,
    pub(crate) server_ca: Option<Pem>,
    pub(crate) server_name: Option<String>,
    pub(crate) disable_host_verification: bool,
}

/// Certificates or a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pem {
    File(PathBuf),
    Text(String),
}

/// What a property holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Text,
    Bool,
    /// True when its table is there.
    Table,
}

/// Every property of a profile besides `grpc_meta.NAME`, as `config get` and `config set` name them.
const PROPERTIES: &[(&str, Want)] = &[
    ("address", Want::Text),
    ("namespace", Want::Text),
    ("api_key", Want::Text),
    ("authority", Want::Text),
    ("tls", Want::Table),
    ("tls.disabled", Want::Bool),
    ("tls.client_cert_path", Want::Text),
    ("tls.client_cert_data", Want::Text),
    ("tls.client_key_path", Want::Text),
    ("tls.client_key_data", Want::Text),
    ("tls.server_ca_cert_path", Want::Text),
    ("tls.server_ca_cert_data", Want::Text),
    ("tls.server_name", Want::Text),
    ("tls.disable_host_verification", Want::Bool),
    ("codec.endpoint", Want::Text),
    ("codec.auth", Want::Text),
];

/// `TEMPORAL_TLS_SERVER_NAME` for `tls.server_name`.
pub(super) fn variable_of(property: &str) -> String {
    format!("TEMPORAL_{}", property.replace('.', "_").to_uppercase())
}

/// Variables of older versions of Temporal's CLI.
const OLD_VARIABLES: &[(&str, &str)] = &[
    ("TEMPORAL_TLS_CERT", "tls.client_cert_path"),
    ("TEMPORAL_TLS_CERT_DATA", "tls.client_cert_data"),
    ("TEMPORAL_TLS_KEY", "tls.client_key_path"),
    ("TEMPORAL_TLS_KEY_DATA", "tls.client_key_data"),
    ("TEMPORAL_TLS_CA", "tls.server_ca_cert_path"),
    ("TEMPORAL_TLS_CA_DATA", "tls.server_ca_cert_data"),
];

impl Profile {
    /// Sets a property from text.
    pub(crate) fn set(&mut self, property: &str, value: &str) -> Result<(), Failure> {
        let text = || Some(value.to_owned());
        let flag = || parse_bool(property, value);
        let file = || Some(Pem::File(value.into()));
        let pem = || Some(Pem::Text(value.to_owned()));
        if let Some(name) = property.strip_prefix("grpc_meta.") {
            self.grpc_meta.insert(name.to_owned(), value.to_owned());
            return Ok(());
        }
        match property {
            "address" => self.address = text(),
            "namespace" => self.namespace = text(),
            "api_key" => self.api_key = text(),
            "authority" => self.authority = text(),
            "tls" if flag()? => self.tls.get_or_insert_default().disabled = false,
            "tls" => self.tls = Some(Tls { disabled: true, ..Tls::default() }),
            "tls.disabled" => self.tls.get_or_insert_default().disabled = flag()?,
            "tls.client_cert_path" => self.tls.get_or_insert_default().client_cert = file(),
            "tls.client_cert_data" => self.tls.get_or_insert_default().client_cert = pem(),
            "tls.client_key_path" => self.tls.get_or_insert_default().client_key = file(),
            "tls.client_key_data" => self.tls.get_or_insert_default().client_key = pem(),
            "tls.server_ca_cert_path" => self.tls.get_or_insert_default().server_ca = file(),
            "tls.server_ca_cert_data" => self.tls.get_or_insert_default().server_ca = pem(),
            "tls.server_name" => self.tls.get_or_insert_default().server_name = text(),
            "tls.disable_host_verification" => self.tls.get_or_insert_default().disable_host_verification = flag()?,
            "codec.endpoint" => self.codec_endpoint = text(),
            "codec.auth" => {}
            _ => return Err(unknown(property)),
        }
        Ok(())
    }

    /// Lets `TEMPORAL_…` variables win over what the profile says.
    pub(crate) fn overlay_variables(&mut self, environment: &dyn Environment) -> Result<(), Failure> {
        for (property, _) in PROPERTIES {
            if let Some(value) = environment.variable(&variable_of(property)) {
                self.set(property, &value)?;
            }
        }
        for (name, value) in environment.variables("TEMPORAL_GRPC_META_") {
            let name = name.to_lowercase().replace('_', "-");
            // An empty one takes the header away.
            if value.is_empty() {
                self.grpc_meta.remove(&name).map(drop)
            } else {
                self.grpc_meta.insert(name, value).map(drop)
            };
        }
        for (variable, property) in OLD_VARIABLES {
            if let Some(value) = environment.variable(variable) {
                self.set(property, &value)?;
            }
        }
        Ok(())
    }
}

fn parse_bool(property: &str, value: &str) -> Result<bool, Failure> {
    match value.to_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Failure::new(format_args!("{property} must be true or false, not {value:?}"))),
    }
}

fn unknown(property: &str) -> Failure {
    let known: Vec<_> = PROPERTIES.iter().map(|(name, _)| *name).collect();
    Failure::new(format_args!("there is no property {property:?}; there are {} and grpc_meta.NAME", known.join(", ")))
}

/// The file of profiles. Comments and what else is in it stay when it is changed.
pub(crate) struct ProfileFile {
    path: Option<PathBuf>,
    document: DocumentMut,
}

impl ProfileFile {
    /// Reads the file that flags or variables name, or the usual one. One that is not there is empty.
    pub(crate) fn load(common: &CommonFlags, environment: &dyn Environment) -> Result<Self, Failure> {
        let named = common.config_file.clone().or_else(|| environment.variable("TEMPORAL_CONFIG_FILE")).map(PathBuf::from);
        let usual = || Some(environment::config_folder(environment)?.join("temporalio").join("temporal.toml"));
        let path = named.or_else(usual);
        let text = match &path {
            None => None,
            Some(path) => environment.read(path).map_err(|error| Failure::new(format_args!("cannot read {}: {error}", path.display())))?,
        };
        let document = text.unwrap_or_default().parse::<DocumentMut>().map_err(|error| {
            let path = path.clone().unwrap_or_default();
            let what = error.message().lines().next().unwrap_or_default();
            Failure::new(format_args!("{} is not TOML: {what}", path.display()))
        })?;
        Ok(Self { path, document })
    }

    /// The profile that flags or variables name, or the usual one.
    pub(crate) fn chosen(&self, common: &CommonFlags, environment: &dyn Environment) -> Result<Profile, Failure> {
        let named = Self::name(common, environment);
        match (self.read(named.as_deref().unwrap_or(PROFILE))?, named) {
            (Some(profile), _) => Ok(profile),
            (None, None) => Ok(Profile::default()),
            (None, Some(name)) => Err(self.no_profile(&name)),
        }
    }

    /// The profile that flags or variables name.
    pub(crate) fn name(common: &CommonFlags, environment: &dyn Environment) -> Option<String> {
        common.profile.clone().or_else(|| environment.variable("TEMPORAL_PROFILE"))
    }

    /// The name that is used when none is given.
    pub(crate) fn usual_name() -> String {
        PROFILE.to_owned()
    }

    /// All names.
    pub(crate) fn names(&self) -> Vec<String> {
        let profiles = self.document.get("profile").and_then(Item::as_table_like);
        let mut names: Vec<_> = profiles.into_iter().flat_map(|table| table.iter().map(|(name, _)| name.to_owned())).collect();
        names.sort();
        names
    }

    /// The properties that a profile sets, with their values as text.
    pub(crate) fn properties(&self, name: &str) -> Result<Vec<(String, TomlValue)>, Failure> {
        let table = self.table(name).ok_or_else(|| self.no_profile(name))?;
        let mut found = Vec::new();
        for (key, item) in table.iter() {
            if let Some(value) = item.as_value().filter(|value| !value.is_inline_table()) {
                found.push((key.to_owned(), value.clone()));
            } else if let Some(inner) = item.as_table_like() {
                if key == "tls" {
                    found.push((key.to_owned(), true.into()));
                }
                found.extend(inner.iter().filter_map(|(inner, item)| Some((format!("{key}.{inner}"), item.as_value()?.clone()))));
            }
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(found)
    }

    /// Sets a property of a profile, which is made if it is not there.
    pub(crate) fn set(&mut self, name: &str, property: &str, value: &str) -> Result<(), Failure> {
        let want = Self::wanted(property)?;
        let profiles = self.document.entry("profile").or_insert_with(implicit_table);
        let profiles = profiles.as_table_like_mut().ok_or_else(|| Failure::new("`profile` is no table in this file"))?;
        let profile = profiles.entry(name).or_insert_with(|| Item::Table(Table::new()));
        let profile = profile.as_table_like_mut().ok_or_else(|| Failure::new(format_args!("profile {name} is no table in this file")))?;
        let item = match want {
            Want::Text => toml_edit::value(value),
            Want::Bool => toml_edit::value(parse_bool(property, value)?),
            Want::Table if parse_bool(property, value)? => {
                profile.entry(property).or_insert_with(|| Item::Table(Table::new()));
                return Ok(());
            }
            Want::Table => {
                profile.remove(property);
                return Ok(());
            }
        };
        match property.split_once('.') {
            None => profile.insert(property, item),
            Some((outer, inner)) => {
                let table = profile.entry(outer).or_insert_with(|| Item::Table(Table::new()));
                let table = table.as_table_like_mut().ok_or_else(|| Failure::new(format_args!("{outer} is no table in this file")))?;
                table.insert(inner, item)
            }
        };
        Ok(())
    }

    /// Removes a property.
    pub(crate) fn delete(&mut self, name: &str, property: &str) -> Result<(), Failure> {
        Self::wanted(property)?;
        let absent = self.no_profile(name);
        let profile = self.table_mut(name).ok_or(absent)?;
        let removed = match property.split_once('.') {
            None => profile.remove(property),
            Some((outer, inner)) => profile.get_mut(outer).and_then(Item::as_table_like_mut).and_then(|table| table.remove(inner)),
        };
        removed.map(drop).ok_or_else(|| Failure::new(format_args!("{property} is not set in profile {name}")))
    }

    /// Removes a profile.
    pub(crate) fn delete_profile(&mut self, name: &str) -> Result<(), Failure> {
        let absent = self.no_profile(name);
        let profiles = self.document.get_mut("profile").and_then(Item::as_table_like_mut);
        profiles.and_then(|profiles| profiles.remove(name)).map(drop).ok_or(absent)
    }

    /// Writes the file, readable for its owner only: it may hold keys.
    pub(crate) fn save(&self) -> Result<(), Failure> {
        let path = self.path.as_deref().ok_or_else(|| Failure::new("there is no home folder to keep the file in; give --config-file"))?;
        write_private(path, &self.document.to_string())
    }

    /// What the property holds; `grpc_meta.NAME` holds text.
    pub(crate) fn wanted(property: &str) -> Result<Want, Failure> {
        if property.strip_prefix("grpc_meta.").is_some_and(|name| !name.is_empty()) {
            return Ok(Want::Text);
        }
        PROPERTIES.iter().find(|(known, _)| *known == property).map(|(_, want)| *want).ok_or_else(|| unknown(property))
    }

    fn read(&self, name: &str) -> Result<Option<Profile>, Failure> {
        if self.table(name).is_none() {
            return Ok(None);
        }
        let mut profile = Profile::default();
        for (property, value) in self.properties(name)? {
            if Self::wanted(&property).is_err() {
                // Other tools keep their own settings here.
                continue;
            }
            let text = value.as_str().map_or_else(|| value.to_string().trim().to_owned(), str::to_owned);
            // The table alone turns TLS on; `tls.disabled` inside it, which comes after it, has the last word.
            profile.set(&property, &text)?;
        }
        Ok(Some(profile))
    }

    fn table(&self, name: &str) -> Option<&dyn toml_edit::TableLike> {
        self.document.get("profile")?.as_table_like()?.get(name)?.as_table_like()
    }

    fn table_mut(&mut self, name: &str) -> Option<&mut dyn toml_edit::TableLike> {
        self.document.get_mut("profile")?.as_table_like_mut()?.get_mut(name)?.as_table_like_mut()
    }

    fn no_profile(&self, name: &str) -> Failure {
        let place = self.path.as_ref().map_or_else(|| "no file".to_owned(), |path| path.display().to_string());
        Failure::new(format_args!("there is no profile {name:?} in {place}; `sempre config list` lists those that exist"))
    }
}

/// A table that is written only by its parts: `[profile.a]`, not `[profile]`.
fn implicit_table() -> Item {
    let mut table = Table::new();
    table.set_implicit(true);
    Item::Table(table)
}

/// Writes a file that only its owner may read, and the folders above it.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error| Failure::new(format_args!("cannot write {}: {error}", path.display()));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(failed)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(failed)
}
