//! Any text as what operators and issuers write: dynamic configuration, rules of authentication, key sets, JWTs, the address of a
//! PostgreSQL server; as the query of a list of workers, and the name of a version.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sempre_core::Version;
use sempre_store::postgres::PostgresOptions;

fuzz_target!(|text: &str| {
    sempre_server::fuzzing::dynamic(text);
    sempre_server::fuzzing::access(text);
    let mut parts = text.splitn(3, "\n---\n");
    if let (Some(rules), Some(keys), Some(token)) = (parts.next(), parts.next(), parts.next()) {
        sempre_server::fuzzing::token(rules, keys, token);
    }
    sempre_engine::fuzzing::texts(text);
    if let Ok(Some(version)) = Version::parse(text) {
        assert_eq!(Version::parse(&version.to_string()), Ok(Some(version)));
    }
    if let Err(error) = PostgresOptions::parse(text, None) {
        assert!(!error.to_string().is_empty());
    }
});
