use super::{profile::Pem, *};
use crate::cli::environment::fake::Fake;

const FILE: &str = r#"
[profile.default]
address = "from-file:1"
namespace = "file-ns"
[profile.cloud]
address = "${namespace}.cloud.example:7233"
namespace = "orders.a1"
api_key = "key"
[profile.cloud.grpc_meta]
x-team = "blue"
[profile.secure]
address = "secure:7233"
[profile.secure.tls]
client_cert_path = "c.pem"
server_name = "name"
disable_host_verification = true
[profile.plain]
api_key = "key"
tls = { disabled = true }
"#;

fn fake() -> Fake {
    Fake { variables: [("HOME", "/home/u"), ("USER", "u"), ("HOSTNAME", "h")].into(), ..Fake::default() }
}

fn with_file(mut fake: Fake) -> Fake {
    fake.files.insert("/home/u/.config/temporalio/temporal.toml", FILE);
    fake.files.insert("/c.toml", FILE);
    fake
}

fn resolve(fake: &Fake, profile: Option<&str>, client: &ClientFlags) -> Settings {
    let common = CommonFlags { profile: profile.map(str::to_owned), config_file: Some("/c.toml".into()), ..CommonFlags::default() };
    Settings::resolve(&common, client, fake).expect("settings")
}

#[test]
fn nothing_said_is_the_usual() {
    let settings = Settings::resolve(&CommonFlags::default(), &ClientFlags::default(), &fake()).expect("settings");
    assert_eq!((settings.address.as_str(), settings.namespace.as_str()), (ADDRESS, NAMESPACE));
    assert_eq!((settings.identity.as_str(), settings.tls), ("sempre-cli:u@h", None));
}

#[test]
fn the_usual_file_is_in_the_users_folder() {
    let mut fake = with_file(fake());
    let settings = Settings::resolve(&CommonFlags::default(), &ClientFlags::default(), &fake).expect("settings");
    if cfg!(target_os = "linux") {
        assert_eq!(settings.address, "from-file:1");
    }
    fake.variables.insert("TEMPORAL_CONFIG_FILE", "/c.toml");
    fake.variables.insert("TEMPORAL_PROFILE", "secure");
    let settings = Settings::resolve(&CommonFlags::default(), &ClientFlags::default(), &fake).expect("settings");
    assert_eq!(settings.address, "secure:7233");
    let without = CommonFlags { disable_config_file: true, ..CommonFlags::default() };
    assert_eq!(Settings::resolve(&without, &ClientFlags::default(), &fake).expect("settings").address, ADDRESS);
}

#[test]
fn flags_win_over_variables_over_profiles() {
    let mut fake = with_file(fake());
    assert_eq!(resolve(&fake, None, &ClientFlags::default()).namespace, "file-ns");
    fake.variables.insert("TEMPORAL_NAMESPACE", "variable-ns");
    assert_eq!(resolve(&fake, None, &ClientFlags::default()).namespace, "variable-ns");
    let flags = ClientFlags { namespace: Some("flag-ns".into()), ..ClientFlags::default() };
    assert_eq!(resolve(&fake, None, &flags).namespace, "flag-ns");
    let without = CommonFlags { disable_config_env: true, disable_config_file: true, ..CommonFlags::default() };
    assert_eq!(Settings::resolve(&without, &ClientFlags::default(), &fake).expect("settings").namespace, NAMESPACE);
}

#[test]
fn a_key_turns_tls_on_and_the_namespace_stands_in_the_address() {
    let settings = resolve(&with_file(fake()), Some("cloud"), &ClientFlags::default());
    assert_eq!(settings.address, "orders.a1.cloud.example:7233");
    assert_eq!(settings.tls, Some(Tls::default()));
    assert_eq!(settings.grpc_meta, [("x-team".to_owned(), "blue".to_owned())]);
    let mut without = with_file(fake());
    without.variables.extend([("TEMPORAL_GRPC_META_X_TEAM", ""), ("TEMPORAL_GRPC_META_X_COST", "1")]);
    assert_eq!(resolve(&without, Some("cloud"), &ClientFlags::default()).grpc_meta, [("x-cost".to_owned(), "1".to_owned())]);
    let off = ClientFlags { tls: Some(false), ..ClientFlags::default() };
    assert_eq!(resolve(&with_file(fake()), Some("cloud"), &off).tls, None);
    assert_eq!(resolve(&with_file(fake()), Some("plain"), &ClientFlags::default()).tls, None);
}

#[test]
fn tls_of_files_variables_and_flags_adds_up() {
    let mut fake = with_file(fake());
    fake.variables.insert("TEMPORAL_TLS_CLIENT_KEY_DATA", "pem");
    let flags = ClientFlags { tls_ca_path: Some("ca.pem".into()), ..ClientFlags::default() };
    let tls = resolve(&fake, Some("secure"), &flags).tls.expect("TLS");
    assert_eq!(tls.client_cert, Some(Pem::File("c.pem".into())));
    assert_eq!(tls.client_key, Some(Pem::Text("pem".into())));
    assert_eq!(tls.server_ca, Some(Pem::File("ca.pem".into())));
    assert_eq!((tls.server_name.as_deref(), tls.disable_host_verification), (Some("name"), true));
}

#[test]
fn the_environment_file_stands_for_flags() {
    let mut fake = fake();
    fake.files.insert("/home/u/.config/temporalio/temporal.yaml", "env:\n  prod:\n    address: prod:7233\n    namespace: prod-ns\n");
    let common = CommonFlags { env: Some("prod".into()), ..CommonFlags::default() };
    let settings = Settings::resolve(&common, &ClientFlags::default(), &fake).expect("settings");
    assert_eq!((settings.address.as_str(), settings.namespace.as_str()), ("prod:7233", "prod-ns"));
    fake.variables.insert("TEMPORAL_NAMESPACE", "variable-ns");
    assert_eq!(Settings::resolve(&common, &ClientFlags::default(), &fake).expect("settings").namespace, "variable-ns");
    let other = CommonFlags { env: Some("test".into()), ..CommonFlags::default() };
    let failure = Settings::resolve(&other, &ClientFlags::default(), &fake).expect_err("there is none");
    assert_eq!(failure.to_string(), "there is no environment \"test\"; `sempre env list` lists those that exist.");
}

#[test]
fn what_cannot_be_is_told() {
    let fake = with_file(fake());
    let told = |common: &CommonFlags, client: &ClientFlags| Settings::resolve(common, client, &fake).expect_err("wrong").to_string();
    let common = CommonFlags { profile: Some("nope".into()), config_file: Some("/c.toml".into()), ..CommonFlags::default() };
    assert_eq!(
        told(&common, &ClientFlags::default()),
        "there is no profile \"nope\" in /c.toml; `sempre config list` lists those that exist."
    );
    let client = ClientFlags { codec_endpoint: Some("http://c".into()), ..ClientFlags::default() };
    assert!(Settings::resolve(&CommonFlags::default(), &client, &fake).is_ok(), "a warning, not a refusal");
    let mut broken = self::fake();
    broken.files.insert("/b.toml", "[profile");
    let common = CommonFlags { config_file: Some("/b.toml".into()), ..CommonFlags::default() };
    let failure = Settings::resolve(&common, &ClientFlags::default(), &broken).expect_err("not TOML").to_string();
    assert!(failure.starts_with("/b.toml is not TOML: "), "{failure}");
}

#[test]
fn a_profile_is_changed_without_touching_the_rest() {
    let mut fake = fake();
    fake.files.insert("/c.toml", "# mine\n[profile.a] # keep\naddress = \"x\"\nother = 1\n");
    let common = CommonFlags { config_file: Some("/c.toml".into()), ..CommonFlags::default() };
    let mut file = ProfileFile::load(&common, &fake).expect("TOML");
    file.set("a", "tls.server_name", "n").expect("set");
    file.set("b", "grpc_meta.k", "v").expect("set");
    file.set("b", "tls.disabled", "true").expect("set");
    assert_eq!(file.names(), ["a", "b"]);
    let a: Vec<_> = file.properties("a").expect("a").into_iter().map(|(name, _)| name).collect();
    assert_eq!(a, ["address", "other", "tls", "tls.server_name"]);
    file.delete("a", "address").expect("it is set");
    assert!(file.delete("a", "address").is_err() && file.delete("a", "no.such").is_err());
    assert!(file.set("a", "tls.disabled", "perhaps").is_err());
    file.delete_profile("b").expect("it is there");
    assert!(file.delete_profile("b").is_err());
    assert_eq!(file.names(), ["a"]);
}
