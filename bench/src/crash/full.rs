//! The disk is full under load, for a while: calls are refused in plain words, lists and counts go on, and so does everything when there is
//! room.
//!
//! As root the data is on a small file system of its own, which a file beside it fills to the last block; otherwise no file of the
//! server may grow (RLIMIT_FSIZE), which it takes for the same thing.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FallocateFlags, fallocate, statvfs},
    io::Errno,
    process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit},
};
use sempre_api::v1::{
    namespace::UpdateNamespaceInfo,
    workflowservice::{CountWorkflowExecutionsRequest, UpdateNamespaceRequest},
};
use sempre_bench::{api, process::Launch};

use crate::{Failure, world::World};

/// Size of the file system: room for some segments of the log and the cold store.
const DISK_BYTES: u64 = 1 << 30;
/// So long the log may find room in segments that it uses anew.
const USED_ANEW: Duration = Duration::from_secs(5);
/// How long a full disk may take to be noticed; a log that goes on in segments that it has already may take longer.
const NOTICED_MAX: Duration = Duration::from_secs(10);
/// How long a server may take to end that is told so.
const END_MAX: Duration = Duration::from_secs(20);
/// So long is waited for a call to go on then.
const GOES_ON_MAX: Duration = Duration::from_secs(5);
/// After this a log that still has room is used up.
const BULK_AFTER: Duration = Duration::from_millis(500);
/// Of what uses a log up.
const BULK_BYTES: usize = 3 << 20;
/// After this the service has gone on.
const WITHIN: Duration = Duration::from_secs(15);
/// Words in the refusals of commits.
const FULL: &str = "disk of the server is full";

/// What makes the disk full.
pub(crate) enum Disk {
    /// A small file system, and the file that fills it.
    Small { mount: PathBuf, ballast: PathBuf },
    /// A limit of the process on the sizes of its files.
    Limit,
}

impl Disk {
    /// A small file system at this folder, if this may be mounted here.
    pub(crate) fn new(mount: PathBuf, by_limit: bool) -> io::Result<Self> {
        fs::create_dir_all(&mount)?;
        if by_limit || !rustix::process::geteuid().is_root() {
            return Ok(Self::Limit);
        }
        let size = format!("size={DISK_BYTES}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "sempre-crash"]).arg(&mount).status()?;
        if !mounted.success() {
            return Ok(Self::Limit);
        }
        let ballast = mount.join("ballast");
        Ok(Self::Small { mount, ballast })
    }

    /// In front of the server's command line: it is told of a limit by an error, not by a signal.
    pub(crate) fn wrapper(&self) -> Vec<String> {
        match self {
            Self::Small { .. } => Vec::new(),
            Self::Limit => ["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""].map(str::to_owned).to_vec(),
        }
    }

    /// Takes the room that there is, but for so many bytes. `used`: that of files which are there and used anew as well.
    fn fill(&self, pid: Option<u32>, data: &Path, leave: u64, used: bool) -> io::Result<()> {
        match self {
            Self::Small { mount, ballast } => {
                let space = statvfs(mount)?;
                let mut take = (space.f_bavail * space.f_frsize).saturating_sub(leave);
                let file = File::options().create(true).append(true).open(ballast)?;
                while take >= 4096 {
                    match fallocate(&file, FallocateFlags::empty(), file.metadata()?.len(), take) {
                        // The server was faster.
                        Err(Errno::NOSPC) => take /= 2,
                        done => return Ok(done?),
                    }
                }
                Ok(())
            }
            // Nothing is written behind the limit, be there something or not.
            Self::Limit if used => limit(pid, Some(leave.max(4096))),
            Self::Limit => {
                let sizes = fs::read_dir(data.join("log"))?.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
                limit(pid, Some(sizes.max().unwrap_or_default()))
            }
        }
    }

    /// Gives it back.
    fn empty(&self, pid: Option<u32>) -> io::Result<()> {
        match self {
            Self::Small { ballast, .. } if ballast.exists() => fs::remove_file(ballast),
            Self::Small { .. } => Ok(()),
            // A limit goes with its process.
            Self::Limit => pid.map_or(Ok(()), |pid| limit(Some(pid), None)),
        }
    }
}

/// A change that is many bytes in the log, and one row however often it is made.
fn bulk() -> UpdateNamespaceRequest {
    let data = BTreeMap::from([("bulk".to_owned(), "bulk".repeat(BULK_BYTES / 4))]);
    UpdateNamespaceRequest {
        namespace: api::NAMESPACE.into(),
        update_info: Some(UpdateNamespaceInfo { data, ..Default::default() }),
        ..Default::default()
    }
}

fn limit(pid: Option<u32>, bytes: Option<u64>) -> io::Result<()> {
    let pid = pid.and_then(|pid| Pid::from_raw(pid.cast_signed())).ok_or(io::ErrorKind::NotFound)?;
    let maximum = getrlimit(Resource::Fsize).maximum;
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum })?;
    Ok(())
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Self::Small { mount, .. } = self {
            // The server has ended by now; whatever still looks at it must not keep it.
            let _ = Command::new("umount").arg("-l").arg(mount).status();
        }
    }
}

/// Fills the disk so many times.
pub(crate) async fn run(disk: &Disk, launch: Launch, seed: u64, in_flight: usize, rounds: u32) -> Result<(), Failure> {
    let how = if matches!(disk, Disk::Small { .. }) { "a small file system" } else { "a limit on the sizes of files" };
    println!("seed {seed}: the disk is full {rounds} times ({how}), {in_flight} workflows in flight");
    let data = launch.data_dir.clone();
    let mut world = World::begin(launch, seed, in_flight, None)?;
    let (mut slowest, mut slowest_end, mut kills, mut terms, mut unnoticed, mut bulks) = (Duration::ZERO, Duration::ZERO, 0, 0, 0, 0);
    for round in 1..=rounds {
        world.wait(100..600).await;
        let before = world.ledger.refusals_with(FULL);
        let leave = world.moments.u64(0..8) * 4096;
        let begun = Instant::now();
        while world.ledger.refusals_with(FULL) == before {
            let pid = world.server()?.own_pid();
            disk.fill(pid, &data, leave, begun.elapsed() > USED_ANEW)?;
            if let Some(status) = world.server()?.ended()? {
                return Err(format!("the server has ended for a full disk ({status})").into());
            }
            if begun.elapsed() > BULK_AFTER {
                // A log that goes on in segments that it has already is used up; whether this is refused says nothing.
                let done = tokio::time::timeout(Duration::from_secs(1), world.client.clone().update_namespace(bulk())).await;
                bulks += u32::from(matches!(done, Ok(Ok(_))));
            }
            if begun.elapsed() > NOTICED_MAX {
                // It may still have room in what it has: then it goes on, if slowly, as checkpoints fail.
                let acknowledged = world.ledger.acknowledged_calls();
                tokio::time::sleep(GOES_ON_MAX).await;
                if world.ledger.acknowledged_calls() > acknowledged {
                    unnoticed += 1;
                    break;
                }
                let told = world.ledger.refusals().join("\n  ");
                let secs = NOTICED_MAX.as_secs();
                return Err(
                    format!("within {secs} s no call was told of the full disk, and none goes on; calls were told:\n  {told}").into()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Lists and counts go on; runs cannot be asked, as their shards wait to own them again.
        let count = CountWorkflowExecutionsRequest { namespace: api::NAMESPACE.into(), query: String::new() };
        world.client.clone().count_workflow_executions(count).await.map_err(|status| format!("runs cannot be counted: {status}"))?;
        world.wait(0..300).await;
        if round % 5 == 0 {
            // It dies before there is room again.
            kills += 1;
            let pid = world.server()?.own_pid();
            disk.empty(pid)?;
            world.restart(|_| {})?;
        } else if round % 5 == 3 {
            // It is told to end before there is room again, and ends: nothing that it waits for would come.
            terms += 1;
            world.server()?.signal(Signal::TERM)?;
            let begun = Instant::now();
            while world.server()?.ended()?.is_none() {
                if begun.elapsed() > END_MAX {
                    return Err(format!("with a full disk, SIGTERM does not end the server within {} s", END_MAX.as_secs()).into());
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            slowest_end = slowest_end.max(begun.elapsed());
            disk.empty(None)?;
            world.restart(|_| {})?;
        } else {
            let pid = world.server()?.own_pid();
            disk.empty(pid)?;
        }
        slowest = slowest.max(world.goes_on(WITHIN).await?);
        world.check().await?;
        if round % 20 == 0 || round == rounds {
            println!("full {round:>4}: {}", world.ledger.summary());
        }
    }
    println!(
        "slowest to go on after there was room: {} ms; while it was full {kills} kills, and {terms} SIGTERMs, the slowest end {} ms",
        slowest.as_millis(),
        slowest_end.as_millis()
    );
    println!(
        "{bulks} times {BULK_BYTES} bytes were written to use the log up; in {unnoticed} of {rounds} rounds it went on for {} s in what it had",
        NOTICED_MAX.as_secs()
    );
    if unnoticed * 4 > rounds * 3 {
        return Err("too seldom was anybody told of the full disk".into());
    }
    world.finish().await
}
