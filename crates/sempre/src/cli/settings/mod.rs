//! Where a command finds its server: flags, then `TEMPORAL_…` variables, then the environment file of `sempre env`, then a
//! profile of `temporal.toml`, then what is usual.

mod env_file;
mod profile;

use sempre_api::Duration;

pub(crate) use env_file::EnvFile;
pub(crate) use profile::{Pem, Profile, ProfileFile, Tls, Want};

use super::{
    Failure,
    environment::{self, Environment},
    flags::{ClientFlags, CommonFlags},
};

pub(crate) const ADDRESS: &str = "127.0.0.1:7233";
pub(crate) const NAMESPACE: &str = "default";
/// Stands for the namespace inside an address.
const NAMESPACE_IN_ADDRESS: &str = "${namespace}";

/// Everything that is needed to call a server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) address: String,
    pub(crate) namespace: String,
    pub(crate) api_key: Option<String>,
    pub(crate) authority: Option<String>,
    pub(crate) grpc_meta: Vec<(String, String)>,
    /// `None`: plain text.
    pub(crate) tls: Option<Tls>,
    pub(crate) identity: String,
    pub(crate) connect_timeout: Option<Duration>,
}

impl Settings {
    /// Puts together what flags, variables and files say.
    pub(crate) fn resolve(common: &CommonFlags, client: &ClientFlags, environment: &dyn Environment) -> Result<Self, Failure> {
        let kept = if common.disable_config_env { None } else { Some(environment) };
        let env = EnvFile::chosen(common, environment)?;
        let mut profile = if common.disable_config_file {
            Profile::default()
        } else {
            ProfileFile::load(common, environment)?.chosen(common, environment)?
        };
        if let Some(environment) = kept {
            profile.overlay_variables(environment)?;
        }
        // The environment file stands for flags: it wins over profiles, and variables win over it.
        for (property, flag) in FLAGS {
            let variable = kept.and_then(|environment| environment.variable(&profile::variable_of(property)));
            if let (Some(value), None) = (env.get(flag), variable) {
                profile.set(property, value)?;
            }
        }
        overlay_flags(&mut profile, client)?;
        if profile.codec_endpoint.is_some() {
            // Work goes on; what only the codec server can read stays as it is.
            eprintln!("warning: payloads are shown and sent as they are: this program does not ask codec servers");
        }
        let namespace = profile.namespace.unwrap_or_else(|| NAMESPACE.to_owned());
        let address = profile.address.unwrap_or_else(|| ADDRESS.to_owned()).replace(NAMESPACE_IN_ADDRESS, &namespace);
        let tls = match profile.tls {
            Some(tls) if tls.disabled => None,
            Some(tls) => Some(tls),
            // A key must not travel in plain text.
            None => profile.api_key.is_some().then(Tls::default),
        };
        let identity = client.identity.clone().or_else(|| env.get("identity").map(str::to_owned));
        let usual = || format!("sempre-cli:{}@{}", environment::user(environment), environment::host(environment));
        Ok(Self {
            address,
            namespace,
            api_key: profile.api_key,
            authority: profile.authority,
            grpc_meta: profile.grpc_meta.into_iter().collect(),
            tls,
            identity: identity.unwrap_or_else(usual),
            connect_timeout: common.client_connect_timeout,
        })
    }
}

/// The flags that may be kept in the environment file, by the property they set.
const FLAGS: &[(&str, &str)] = &[
    ("address", "address"),
    ("namespace", "namespace"),
    ("api_key", "api-key"),
    ("authority", "client-authority"),
    ("tls", "tls"),
    ("tls.client_cert_path", "tls-cert-path"),
    ("tls.client_cert_data", "tls-cert-data"),
    ("tls.client_key_path", "tls-key-path"),
    ("tls.client_key_data", "tls-key-data"),
    ("tls.server_ca_cert_path", "tls-ca-path"),
    ("tls.server_ca_cert_data", "tls-ca-data"),
    ("tls.disable_host_verification", "tls-disable-host-verification"),
    ("tls.server_name", "tls-server-name"),
    ("codec.endpoint", "codec-endpoint"),
];

fn overlay_flags(profile: &mut Profile, flags: &ClientFlags) -> Result<(), Failure> {
    let texts = [
        ("address", &flags.address),
        ("namespace", &flags.namespace),
        ("api_key", &flags.api_key),
        ("authority", &flags.client_authority),
        ("tls.client_cert_path", &flags.tls_cert_path),
        ("tls.client_cert_data", &flags.tls_cert_data),
        ("tls.client_key_path", &flags.tls_key_path),
        ("tls.client_key_data", &flags.tls_key_data),
        ("tls.server_ca_cert_path", &flags.tls_ca_path),
        ("tls.server_ca_cert_data", &flags.tls_ca_data),
        ("tls.server_name", &flags.tls_server_name),
        ("codec.endpoint", &flags.codec_endpoint),
    ];
    for (property, value) in texts {
        if let Some(value) = value {
            profile.set(property, value)?;
        }
    }
    if flags.tls_disable_host_verification {
        profile.set("tls.disable_host_verification", "true")?;
    }
    match flags.tls {
        Some(true) => profile.tls.get_or_insert_default().disabled = false,
        Some(false) => profile.tls = Some(Tls { disabled: true, ..Tls::default() }),
        None => {}
    }
    profile.grpc_meta.extend(flags.grpc_meta.iter().cloned());
    Ok(())
}

#[cfg(test)]
mod tests;
