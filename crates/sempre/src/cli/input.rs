//! Payloads and maps of payloads from flags.

use std::path::PathBuf;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use clap::Args;
use sempre_api::v1::common::{Header, Memo, Payload, Payloads, SearchAttributes};
use serde_json::Value;

use super::{Failure, values};

const ENCODING: &str = "encoding";
const JSON: &str = "json/plain";

/// Input of a workflow, signal, query or update.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct InputFlags {
    /// An argument as JSON; may be given several times
    #[arg(short, long, value_name = "JSON", allow_hyphen_values = true)]
    input: Vec<String>,
    /// File that holds an argument; may be given several times
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    input_file: Vec<PathBuf>,
    /// Metadata of the arguments, such as encoding=json/protobuf: given once for all, or once for each argument in turn
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::parse_pair)]
    input_meta: Vec<(String, String)>,
    /// The arguments are given in base64
    #[arg(long)]
    input_base64: bool,
}

impl InputFlags {
    /// The arguments; nothing when there are none.
    pub(crate) fn payloads(&self) -> Result<Option<Payloads>, Failure> {
        build(&self.input, &self.input_file, &self.input_meta, self.input_base64)
    }
}

/// Defines flags like [`InputFlags`] under another name, for commands that take two inputs.
macro_rules! named_input {
    ($name:ident, $input:literal, $file:literal, $meta:literal, $base64:literal, $what:literal) => {
        #[derive(clap::Args, Clone, Debug, Default)]
        pub(crate) struct $name {
            #[arg(help = concat!("An argument of the ", $what, " as JSON; may be given several times"))]
            #[arg(long = $input, value_name = "JSON", allow_hyphen_values = true)]
            named_input: Vec<String>,
            #[arg(help = concat!("File that holds an argument of the ", $what, "; may be given several times"))]
            #[arg(long = $file, value_name = "FILE", conflicts_with = "named_input")]
            named_input_file: Vec<std::path::PathBuf>,
            #[arg(help = concat!("Metadata of the ", $what, "'s arguments: given once for all, or once for each in turn"))]
            #[arg(long = $meta, value_name = "KEY=VALUE", value_parser = $crate::cli::values::parse_pair)]
            named_input_meta: Vec<(String, String)>,
            #[arg(help = concat!("The ", $what, "'s arguments are given in base64"))]
            #[arg(long = $base64)]
            named_input_base64: bool,
        }

        impl $name {
            /// The arguments; nothing when there are none.
            pub(crate) fn payloads(&self) -> Result<Option<sempre_api::v1::common::Payloads>, $crate::cli::Failure> {
                $crate::cli::input::build(&self.named_input, &self.named_input_file, &self.named_input_meta, self.named_input_base64)
            }
        }
    };
}
pub(crate) use named_input;

/// Payloads of texts or files, with their metadata.
pub(crate) fn build(texts: &[String], files: &[PathBuf], metadata: &[(String, String)], base64: bool) -> Result<Option<Payloads>, Failure> {
    let mut inputs: Vec<Bytes> = texts.iter().map(|text| Bytes::from(text.clone())).collect();
    for file in files {
        let bytes = std::fs::read(file).map_err(|error| Failure::new(format_args!("cannot read {}: {error}", file.display())))?;
        inputs.push(bytes.into());
    }
    let count = inputs.len();
    let values_of = |key: &str| -> Vec<&str> { metadata.iter().filter(|(name, _)| name == key).map(|(_, value)| value.as_str()).collect() };
    let mut payloads = Vec::new();
    for (at, input) in inputs.into_iter().enumerate() {
        let data = if base64 {
            let text: Vec<u8> = input.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
            BASE64_STANDARD.decode(text).map_err(|_| Failure::new(format_args!("input {} is not base64", at + 1)))?.into()
        } else {
            input
        };
        let mut payload = Payload { data, ..Payload::default() };
        payload.metadata.insert(ENCODING.to_owned(), Bytes::from_static(JSON.as_bytes()));
        for (key, _) in metadata {
            let given = values_of(key);
            if given.len() > count.max(1) {
                return Err(Failure::usage(format_args!("--input-meta gives {key} {} times, but there are {count} inputs", given.len())));
            }
            let value = given.get(at).unwrap_or(&given[0]);
            payload.metadata.insert(key.clone(), Bytes::from((*value).to_owned()));
        }
        if payload.metadata[ENCODING].starts_with(b"json/") && serde_json::from_slice::<Value>(&payload.data).is_err() {
            return Err(Failure::usage(format_args!(
                "input {} is not JSON; put text into double quotes inside single ones: '\"text\"'",
                at + 1
            )));
        }
        payloads.push(payload);
    }
    Ok((count > 0).then_some(Payloads { payloads }))
}

/// A value as a payload of JSON.
pub(crate) fn json_payload(value: &Value) -> Payload {
    Payload {
        metadata: [(ENCODING.to_owned(), Bytes::from_static(JSON.as_bytes()))].into(),
        data: value.to_string().into(),
        ..Payload::default()
    }
}

type Pairs = [(String, Value)];

pub(crate) fn memo(pairs: &Pairs) -> Option<Memo> {
    (!pairs.is_empty()).then(|| Memo { fields: fields(pairs) })
}

pub(crate) fn search_attributes(pairs: &Pairs) -> Option<SearchAttributes> {
    (!pairs.is_empty()).then(|| SearchAttributes { indexed_fields: fields(pairs) })
}

pub(crate) fn header(pairs: &Pairs) -> Option<Header> {
    (!pairs.is_empty()).then(|| Header { fields: fields(pairs) })
}

fn fields(pairs: &Pairs) -> std::collections::BTreeMap<String, Payload> {
    pairs.iter().map(|(key, value)| (key.clone(), json_payload(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    fn meta(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn encodings(payloads: &Payloads) -> Vec<&[u8]> {
        payloads.payloads.iter().map(|payload| &payload.metadata[ENCODING][..]).collect()
    }

    #[test]
    fn json_unless_said_otherwise() {
        let built = build(&texts(&["1", "\"a\""]), &[], &[], false).expect("JSON").expect("two");
        assert_eq!(encodings(&built), [b"json/plain", b"json/plain"]);
        assert_eq!(&built.payloads[1].data[..], b"\"a\"");
        assert_eq!(build(&[], &[], &[], false).expect("none"), None);
        let told = build(&texts(&["1", "a"]), &[], &[], false).expect_err("not JSON").to_string();
        assert!(told.starts_with("input 2 is not JSON"), "{told}");
    }

    #[test]
    fn metadata_for_all_or_for_each() {
        let inputs = texts(&["1", "2"]);
        let all = build(&inputs, &[], &meta(&[("encoding", "x/y")]), false).expect("built").expect("two");
        assert_eq!(encodings(&all), [b"x/y", b"x/y"]);
        let each = build(&inputs, &[], &meta(&[("encoding", "a/b"), ("k", "v"), ("encoding", "json/plain")]), false);
        let each = each.expect("built").expect("two");
        assert_eq!(encodings(&each), [&b"a/b"[..], b"json/plain"]);
        assert_eq!(&each.payloads[1].metadata["k"][..], b"v");
        assert!(build(&inputs, &[], &meta(&[("k", "1"), ("k", "2"), ("k", "3")]), false).is_err());
    }

    #[test]
    fn base64_is_decoded() {
        let built = build(&texts(&["AP8="]), &[], &meta(&[("encoding", "binary/plain")]), true).expect("built").expect("one");
        assert_eq!(&built.payloads[0].data[..], [0, 255]);
        assert!(build(&texts(&["!"]), &[], &[], true).is_err());
    }
}
