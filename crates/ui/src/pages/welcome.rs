//! The first page of an empty namespace: what to write so that something happens, in the viewer's language.

use maud::{Markup, html};

use crate::{
    answer::prefer,
    layout::{Live, Page, Section, heading, runs_stream},
    route::Answer,
    show::copy_button,
    visit::Visit,
};

/// Keeps the language that was chosen last.
const COOKIE: &str = "sempre_language";

/// A language: its name in links, its name, what to install, the file, how it is run. `ADDRESS` and `NAMESPACE` in it are
/// those of this server.
struct Language {
    name: &'static str,
    title: &'static str,
    install: &'static str,
    file: &'static str,
    code: &'static str,
    run: &'static str,
}

const LANGUAGES: [Language; 8] = [
    Language {
        name: "python",
        title: "Python",
        install: "pip install temporalio",
        file: "worker.py",
        code: include_str!("../snippets/worker.py"),
        run: "python worker.py",
    },
    Language {
        name: "rust",
        title: "Rust",
        install: "cargo new hello && cd hello && cargo add temporalio-sdk temporalio-common temporalio-macros temporalio-workflow futures\n\
                  cargo add temporalio-client --features vendored-protox && cargo add tokio --features macros,rt-multi-thread",
        file: "src/main.rs",
        code: include_str!("../snippets/main.rs.txt"),
        run: "cargo run",
    },
    Language {
        name: "typescript",
        title: "TypeScript",
        install: "npm install @temporalio/worker @temporalio/workflow @temporalio/activity tsx",
        file: "worker.mts",
        code: include_str!("../snippets/worker.ts.txt"),
        run: "npx tsx worker.mts",
    },
    Language {
        name: "go",
        title: "Go",
        install: "go mod init hello && go get go.temporal.io/sdk@latest",
        file: "main.go",
        code: include_str!("../snippets/main.go.txt"),
        run: "go run .",
    },
    Language {
        name: "java",
        title: "Java",
        install: "implementation(\"io.temporal:temporal-sdk:1.+\")   // in build.gradle.kts",
        file: "Hello.java",
        code: include_str!("../snippets/Hello.java.txt"),
        run: "./gradlew run",
    },
    Language {
        name: "dotnet",
        title: ".NET",
        install: "dotnet new console -o hello && cd hello && dotnet add package Temporalio",
        file: "Program.cs",
        code: include_str!("../snippets/Program.cs.txt"),
        run: "dotnet run",
    },
    Language {
        name: "php",
        title: "PHP",
        install: "composer require temporal/sdk && vendor/bin/rr get --no-config",
        file: "worker.php",
        code: include_str!("../snippets/worker.php.txt"),
        // Workers are started by RoadRunner, which speaks to the server for them.
        run: "cat > .rr.yaml <<'END'\n\
              version: '3'\n\
              rpc: { listen: 'tcp://127.0.0.1:6001' }\n\
              server: { command: 'php worker.php' }\n\
              temporal: { address: 'ADDRESS', namespace: 'NAMESPACE' }\n\
              END\n\
              ./rr serve",
    },
    Language {
        name: "ruby",
        title: "Ruby",
        install: "gem install temporalio",
        file: "worker.rb",
        code: include_str!("../snippets/worker.rb.txt"),
        run: "ruby worker.rb",
    },
];

fn language(visit: &Visit) -> &'static Language {
    let wanted = [visit.query("language"), visit.cookie(COOKIE)];
    let found = wanted.into_iter().find_map(|wanted| LANGUAGES.iter().find(|language| language.name == wanted));
    found.unwrap_or(&LANGUAGES[0])
}

/// The page by itself.
pub(crate) async fn page(visit: &Visit<'_>, namespace: &str) -> Answer {
    let body = html! { (heading(html! { "First workflow" }, html! {})) (part(visit, namespace)) };
    let live: Live = runs_stream(visit, namespace, "");
    let mut answer = Page::new(namespace, Section::Workflows, format!("First workflow · {namespace}"), body).live(live).answer(visit);
    if !visit.query("language").is_empty() {
        prefer(&mut answer, COOKIE, language(visit).name);
    }
    Ok(answer)
}

/// What to do first.
pub(crate) fn part(visit: &Visit, namespace: &str) -> Markup {
    let chosen = language(visit);
    let address = visit.ui.0.settings.grpc_address.as_str();
    let filled = |text: &str| text.replace("ADDRESS", address).replace("NAMESPACE", namespace);
    let (code, run) = (filled(chosen.code), filled(chosen.run));
    let polled = visit.ui.0.backend.queues(namespace).iter().filter(|queue| queue.pollers > 0).count();
    let here = |name: &str| visit.link_with(&["namespaces", namespace, "welcome"], &[("language", name)]);
    let start = format!(
        "sempre workflow start --type Hello -t hello -w hello-1 -i '\"you\"'{}{}",
        if namespace == "default" { String::new() } else { format!(" -n {namespace}") },
        if address.ends_with(":7233") { String::new() } else { format!(" --address {address}") }
    );
    html! {
        div.welcome {
            p.lead {
                @if polled == 0 { "No workflow has run in " strong { (namespace) } " yet, and no worker is connected. Here is one." }
                @else { "A worker is connected. Start a workflow, and it is here." }
            }
            div.switch role="group" aria-label="Language" {
                @for language in &LANGUAGES { a href=(here(language.name)) aria-current=[(language.name == chosen.name).then_some("true")] { (language.title) } }
            }
            ol.steps {
                li { h2 { "Install the SDK" } (code_block(chosen.install)) }
                li { h2 { "Write a worker, " code { (chosen.file) } } (code_block(&code)) }
                li { h2 { "Run it" } (code_block(&run)) }
                li { h2 { "Start the workflow" } (code_block(&start)) p.muted { "or " a href=(visit.link_with(&["namespaces", namespace, "start-workflow"], &[("queue", "hello"), ("type", "Hello")])) data-dialog { "start it here" } ". This page shows it as soon as it runs." } }
            }
        }
    }
}

fn code_block(text: &str) -> Markup {
    html! { div.code { pre tabindex="0" { (text.trim_end()) } (copy_button(text.trim_end())) } }
}
