//! Any text as a list query: it is read or refused, and what was read prints to a text that reads back to the same.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use sempre_core::visibility::{AttributeType, Division, ParseOptions, Record, parse};

fuzz_target!(|text: &str| {
    let attributes: BTreeMap<String, AttributeType> =
        AttributeType::ALL.into_iter().map(|kind| (format!("Custom{}", kind.name()), kind)).collect();
    for options in [
        ParseOptions { groups: true, ..ParseOptions::default() },
        ParseOptions { schedules: true, division: Division::Only("TemporalScheduler"), ..ParseOptions::default() },
        ParseOptions { operations: true, division: Division::Only("SempreNexusOperation"), ..ParseOptions::default() },
        ParseOptions { groups: true, division: Division::Any, ..ParseOptions::default() },
    ] {
        let query = match parse(text, &attributes, options) {
            Ok(query) => query,
            Err(error) => {
                assert!(error.to_string().starts_with("invalid query: "));
                continue;
            }
        };
        let matches = query.filter.as_ref().is_some_and(|filter| filter.matches(&Record::default()));
        // The division is in the text now.
        let printed = query.to_string();
        let again = parse(&printed, &attributes, ParseOptions { division: Division::Any, ..options });
        let again = again.unwrap_or_else(|error| panic!("{printed:?}: {error}"));
        assert_eq!(again, query, "{printed:?}");
        assert_eq!(again.filter.as_ref().is_some_and(|filter| filter.matches(&Record::default())), matches);
    }
});
