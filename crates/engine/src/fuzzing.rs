//! What the fuzz targets reach of the engine's decoders (feature `fuzzing`, `fuzz/`): each function takes any bytes, and panics
//! only if the code under test is wrong.

use bytes::Bytes;
use prost::Message;
use sempre_core::Refusal;

use crate::{
    alerts, batch,
    calls::{access, endpoints},
    deployments::{record::DeploymentRecord, steer},
    matching::paging,
    meta, namespaces, notices, peers, workers,
};

/// Bytes as tokens of pages, tasks and long polls.
pub fn tokens(bytes: &[u8]) {
    crate::calls::fuzzing::tokens(&Bytes::copy_from_slice(bytes));
}

/// A record that decodes is encoded to one that decodes to the same.
fn same<M: Message + Default + PartialEq>(value: &Bytes) {
    let Ok(record) = M::decode(value.clone()) else { return };
    let again = M::decode(record.encode_to_vec().as_slice()).expect("what was encoded");
    // A number that is none is not equal to itself.
    assert!(again == record || again.encode_to_vec() == record.encode_to_vec(), "a record is not what was written of it");
}

/// Bytes as key and value of rows that only the engine knows.
pub fn rows(key: &[u8], value: &[u8]) {
    let value = Bytes::copy_from_slice(value);
    if let Some(offer) = paging::offer_of(key, value.clone()) {
        assert_eq!(sempre_core::keys::parse_offer(key), Some(offer.key));
    }
    if let Ok(read) = notices::rows::parse(key, value.clone()) {
        assert_eq!(read.last.wrapping_sub(read.first).wrapping_add(1), read.row.notices.len() as u64);
        for (number, notice) in (read.first..).zip(&read.row.notices) {
            let _ = (notice.namespace(), notice.to_api(number));
        }
    }
    for kind in *b"alrs" {
        let _ = alerts::rows::read(kind, key, value.clone());
    }
    let _ = (meta::parse_config_key(key), batch::parse_key(key));
    same::<batch::JobRecord>(&value);
    same::<batch::OrderRecord>(&value);
    same::<DeploymentRecord>(&value);
    same::<namespaces::NamespaceRecord>(&value);
    same::<endpoints::EndpointRecord>(&value);
    same::<access::ApiKey>(&value);
    same::<alerts::state::AlertRecord>(&value);
    same::<alerts::state::Standing>(&value);
    same::<alerts::rule::RuleRecord>(&value);
}

/// Text as a query about workers, and as the name of a version.
pub fn texts(text: &str) {
    let refused = |refusal: &Refusal| assert!(matches!(refusal, Refusal::InvalidArgument(_)), "{refusal:?}");
    match workers::filter::Filter::parse(text) {
        Ok(filter) => drop(filter.accepts(&Default::default())),
        Err(refusal) => refused(&refusal),
    }
    if let Err(refusal) = steer::parse(text, "deployment") {
        refused(&refusal);
    }
}

/// Bytes as what one node asks of another, and as what is answered.
pub fn messages(bytes: &[u8]) {
    peers::fuzz(&Bytes::copy_from_slice(bytes));
}
