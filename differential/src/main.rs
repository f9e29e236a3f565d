//! `sempre-diff`: plays the scenarios against two servers, or records the facts of one.

use std::{fs, process::ExitCode};

use clap::Parser;
use sempre_differential::{Played, Verdict, golden_path, judge, known_path, play};

/// The same scripts against Sempre and a reference server; histories and answers compared.
#[derive(Parser)]
struct Arguments {
    /// Sempre, at HOST:PORT.
    #[arg(long)]
    sempre: Option<String>,
    /// The reference server, at HOST:PORT; without it the recorded facts are the reference.
    #[arg(long)]
    reference: Option<String>,
    /// Only scenarios whose name contains this.
    #[arg(long, default_value = "")]
    scenario: String,
    /// Write what the reference answers into the golden files.
    #[arg(long, requires = "reference")]
    record: bool,
    /// Write Sempre's results of differing scenarios into `known/`, with this reason.
    #[arg(long, value_name = "REASON", requires = "sempre")]
    accept: Option<String>,
    /// Print Sempre's (or else the reference's) results as they are.
    #[arg(long)]
    print: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

async fn play_at(address: Option<&String>, arguments: &Arguments) -> Result<Option<Vec<Played>>, String> {
    let nonce = format!("{:x}", std::process::id());
    match address {
        Some(address) => play(address, &arguments.scenario, &nonce).await.map(Some),
        None => Ok(None),
    }
}

async fn run(arguments: Arguments) -> Result<bool, String> {
    let (sempre, reference) =
        tokio::join!(play_at(arguments.sempre.as_ref(), &arguments), play_at(arguments.reference.as_ref(), &arguments));
    let (sempre, reference) = (sempre?, reference?);
    if arguments.record {
        for played in reference.iter().flatten() {
            fs::write(golden_path(played.name), &played.text).map_err(|error| error.to_string())?;
        }
        println!("{} golden files written", reference.iter().flatten().count());
    }
    if arguments.print {
        for played in sempre.as_ref().or(reference.as_ref()).into_iter().flatten() {
            println!("==== {}\n{}", played.name, played.text);
        }
    }
    let Some(sempre) = sempre else { return Ok(true) };
    let (mut counts, mut diffs) = ([0; 3], String::new());
    for played in &sempre {
        let golden = match &reference {
            Some(reference) => reference.iter().find(|other| other.name == played.name).map(|other| other.text.clone()),
            None => fs::read_to_string(golden_path(played.name)).ok(),
        };
        let Some(golden) = golden else { return Err(format!("{}: there is nothing to compare with; record it first", played.name)) };
        let told = match judge(played.name, &played.text, &golden) {
            Verdict::Equal => {
                counts[0] += 1;
                "equal".to_owned()
            }
            Verdict::Known(reason) => {
                counts[1] += 1;
                format!("known difference: {reason}")
            }
            Verdict::NoLonger => {
                counts[2] += 1;
                "equal, but listed as a known difference: remove it".to_owned()
            }
            Verdict::Different(diff) => {
                counts[2] += 1;
                diffs += &format!("\n--- reference {0}\n+++ sempre    {0}\n{diff}", played.name);
                if let Some(reason) = &arguments.accept {
                    fs::write(known_path(played.name), format!("reason: {reason}\n{}", played.text)).map_err(|error| error.to_string())?;
                }
                "DIFFERENT".to_owned()
            }
        };
        println!("{:<44} {told}", played.name);
    }
    println!("{diffs}");
    println!("{} equal, {} known differences, {} different, of {}", counts[0], counts[1], counts[2], sempre.len());
    Ok(counts[2] == 0)
}
