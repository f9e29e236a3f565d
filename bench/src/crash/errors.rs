//! Reads and writes of the disk fail (EIO), injected into the running server's system calls by strace: at the log, at the cold store, at
//! the index of runs; once, or from then on.
//!
//! An error of the log ends the server, in plain words: nobody knows what is on the disk, and reading it again is the one way to know.
//! Whatever supervises it starts it again; here that is this program. Every other error is one that it lives with.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use sempre_bench::process::Launch;

use crate::{Failure, world::World};

/// How long the fault may take to come.
const HIT_MAX: Duration = Duration::from_secs(6);
/// How long a server that cannot go on may take to end.
const END_MAX: Duration = Duration::from_secs(10);
/// After this the service has gone on.
const WITHIN: Duration = Duration::from_secs(15);
/// What the server says when it ends for the log.
const SAID: &str = "the log cannot be written";

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    LogWrite,
    LogSync,
    ColdWrite,
    ColdSync,
    IndexWrite,
    IndexSync,
}

impl Target {
    const ALL: [Self; 6] = [Self::LogWrite, Self::LogSync, Self::ColdWrite, Self::ColdSync, Self::IndexWrite, Self::IndexSync];

    fn is_log(self) -> bool {
        matches!(self, Self::LogWrite | Self::LogSync)
    }

    fn is_cold(self) -> bool {
        matches!(self, Self::ColdWrite | Self::ColdSync)
    }

    /// The system calls, and the files that they are about.
    fn calls(self) -> (&'static str, Vec<String>) {
        let sqlite = |name: &str| vec![name.to_owned(), format!("{name}-wal")];
        let log = || (1..=9).map(|number| format!("log/{number:08}.seg")).collect();
        match self {
            Self::LogWrite => ("write", log()),
            Self::LogSync => ("fdatasync", log()),
            Self::ColdWrite => ("pwrite64", sqlite("cold.sqlite")),
            Self::ColdSync => ("fdatasync,fsync", sqlite("cold.sqlite")),
            Self::IndexWrite => ("pwrite64", sqlite("visibility.db")),
            Self::IndexSync => ("fdatasync,fsync", sqlite("visibility.db")),
        }
    }

    /// The command line in front of the server's.
    fn wrapper(self, data: &Path, trace: &Path, when: u32, from_then_on: bool) -> Vec<String> {
        let (calls, files) = self.calls();
        let more = if from_then_on { "+" } else { "" };
        let mut words: Vec<String> = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "signal=none", "-e"].map(str::to_owned).to_vec();
        words.push(format!("trace={calls}"));
        words.push("-e".into());
        words.push(format!("inject={calls}:error=EIO:when={when}{more}"));
        for file in files {
            words.extend(["-P".into(), data.join(file).display().to_string()]);
        }
        words.extend(["-o".into(), trace.display().to_string()]);
        words
    }
}

/// Makes so many system calls fail.
pub(crate) async fn run(mut launch: Launch, folder: &Path, seed: u64, in_flight: usize, rounds: u32) -> Result<(), Failure> {
    if Command::new("strace").arg("-V").output().is_err() {
        return Err("strace is needed (Debian: apt-get install strace)".into());
    }
    println!("seed {seed}: {rounds} I/O errors, {in_flight} workflows in flight");
    let (data, trace, said) = (launch.data_dir.clone(), folder.join("trace"), folder.join("said"));
    launch.log = Some(said.clone());
    let mut world = World::begin(launch, seed, in_flight, None)?;
    world.wait(300..600).await;
    let (mut hits, mut ends, mut unopened, mut tries, mut slowest) = ([0; Target::ALL.len()], 0, 0, 0, Duration::ZERO);
    // What went wrong, with the fault and what the server has said since.
    let told = |target: Target, error: Failure| -> Failure {
        format!("{target:?}: {error}:\n{}", fs::read_to_string(&said).unwrap_or_default()).into()
    };
    while hits.iter().sum::<u32>() < rounds {
        tries += 1;
        if tries > rounds * 2 + 20 {
            return Err(format!("only {hits:?} of {tries} faults came about").into());
        }
        let at = world.moments.usize(..Target::ALL.len());
        let target = Target::ALL[at];
        let few = if target.is_cold() { 3 } else { 40 };
        let (when, from_then_on) = (world.moments.u32(1..=few), world.moments.bool());
        fs::write(&said, "")?;
        let _ = fs::remove_file(&trace);
        let wrapper = target.wrapper(&data, &trace, when, from_then_on);
        let injected = || fs::read_to_string(&trace).unwrap_or_default().contains("(INJECTED)");
        // The first error may be one of the opening, which then fails, in plain words.
        if let Err(error) = world.restart(|launch| launch.wrapper = wrapper) {
            let plain = fs::read_to_string(&said)?.contains("Input/output error");
            if !(injected() && plain) {
                return Err(told(target, format!("opening, at call {when}: {error}").into()));
            }
            hits[at] += 1;
            unopened += 1;
            world.start(|launch| launch.wrapper = Vec::new()).map_err(|error| told(target, error))?;
            slowest = slowest.max(world.goes_on(WITHIN).await.map_err(|error| told(target, error))?);
            world.check().await?;
            continue;
        }
        if target.is_cold() {
            // A backup begins behind a checkpoint, which nothing else asks for so soon. It may fail, as the checkpoint does.
            world.wait(100..600).await;
            let backup = folder.join("backup");
            let address = format!("127.0.0.1:{}", world.server()?.launch.port);
            let mut create = Command::new(&world.server()?.launch.binary);
            create.args(["backup", "create", "--address", &address, "--force"]).arg(&backup).stdout(Stdio::null()).stderr(Stdio::null());
            let mut create = create.spawn()?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            let _ = create.kill();
            create.wait()?;
            let _ = fs::remove_file(&backup);
        }
        let begun = Instant::now();
        while !injected() && begun.elapsed() < HIT_MAX {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if injected() {
            hits[at] += 1;
            if target.is_log() {
                let begun = Instant::now();
                while world.server()?.ended()?.is_none() {
                    if begun.elapsed() > END_MAX {
                        return Err(format!("{target:?}: the server goes on after an error of its log").into());
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                let text = fs::read_to_string(&said)?;
                if !text.contains(SAID) {
                    return Err(format!("{target:?}: the server ended without saying why:\n{text}").into());
                }
                ends += 1;
            } else {
                world.wait(0..500).await;
                if let Some(status) = world.server()?.ended()? {
                    return Err(format!("{target:?}: the server ended ({status}):\n{}", fs::read_to_string(&said)?).into());
                }
                if !from_then_on {
                    slowest = slowest.max(world.goes_on(WITHIN).await.map_err(|error| told(target, error))?);
                }
            }
        }
        world.restart(|launch| launch.wrapper = Vec::new()).map_err(|error| told(target, error))?;
        slowest = slowest.max(world.goes_on(WITHIN).await.map_err(|error| told(target, error))?);
        world.check().await?;
        if tries % 20 == 0 {
            println!("error {:>4}: {}", hits.iter().sum::<u32>(), world.ledger.summary());
        }
    }
    let counts: Vec<_> = Target::ALL.iter().zip(hits).map(|(target, hits)| format!("{target:?} {hits}")).collect();
    println!(
        "{}; {ends} times the server ended, {unopened} times it did not start, and said why; slowest to go on: {} ms",
        counts.join(", "),
        slowest.as_millis()
    );
    world.finish().await
}
