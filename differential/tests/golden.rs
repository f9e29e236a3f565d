//! Sempre in this process against the recorded facts of the reference server.
#![expect(clippy::disallowed_methods, reason = "the server under test runs beside the test, in real time")]

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use sempre_core::validate::AddressRule;
use sempre_differential::{Verdict, golden_path, judge, known_path, play, scenarios};
use sempre_server::{Server, ServerSettings};
use sempre_store::memory::MemoryStore;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_gives_what_the_reference_gave() {
    let mut settings = ServerSettings::default();
    settings.address.set_port(0);
    // As in the reference's development configuration.
    settings.engine.limits.callback_addresses = vec![AddressRule { pattern: "*".into(), allow_insecure: true }];
    let server = Server::bind(settings, Arc::new(MemoryStore::new())).await.expect("the server starts");
    let address = server.local_addr().to_string();
    let served = tokio::spawn(server.serve(std::future::pending()));
    let played = play(&address, "", "test").await.expect("the server answers");
    served.abort();
    let mut wrong = String::new();
    for scenario in &played {
        let golden = fs::read_to_string(golden_path(scenario.name)).expect("each scenario has been recorded");
        match judge(scenario.name, &scenario.text, &golden) {
            Verdict::Equal => {}
            Verdict::Known(reason) => println!("{}: {reason}", scenario.name),
            Verdict::NoLonger => wrong += &format!("\n{}: equal by now, remove it from known/\n", scenario.name),
            Verdict::Different(diff) => wrong += &format!("\n{}:\n{diff}", scenario.name),
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Files that no scenario has any more say nothing; a difference without a reason is none that may stay.
#[test]
fn every_file_has_its_scenario_and_every_known_difference_its_reason() {
    let names: BTreeSet<&str> = scenarios::all().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), scenarios::all().len(), "names are unique");
    assert!(names.len() >= 60);
    for folder in [golden_path("x"), known_path("x")] {
        for file in fs::read_dir(folder.parent().unwrap_or(Path::new("."))).expect("the folder is there") {
            let path = file.expect("readable").path();
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".txt")).unwrap_or_default();
            assert!(names.contains(name), "{} belongs to no scenario", path.display());
        }
    }
    for name in names.iter().filter(|name| known_path(name).exists()) {
        let text = fs::read_to_string(known_path(name)).expect("readable");
        let reason = text.lines().next().unwrap_or_default().strip_prefix("reason: ").unwrap_or_default();
        assert!(reason.len() > 20, "{name}: the first line must be `reason: …`");
    }
}
