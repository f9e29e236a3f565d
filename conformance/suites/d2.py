"""D2: the examples of the official Rust SDK: each worker with its starter, which has to end well."""

import os
import pathlib
import subprocess

from . import cache, process
from .outcome import FAILED, PASSED, Outcome, libtest_reason
from .run import Run, Suite

SECONDS_MAX = 60
# What is run beside a worker, in the order its own text asks for; others have one `-starter`.
STARTERS = {"standalone-activities": ["-execute", "-start", "-get-handle", "-list", "-count"]}


def starters(worker: str) -> list[str]:
    """The programs run beside `name-worker`."""
    name = worker.removesuffix("-worker")
    return [name + ending for ending in STARTERS.get(name, ["-starter"])]


def run(run: Run) -> list[Outcome]:
    programs = cache.sdk_core_examples()
    temporary = run.temporary([])
    host = {"TEMPORAL_ADDRESS": f"http://{run.address}", "TEMPORAL_NAMESPACE": "default", "TMPDIR": str(temporary), "RUST_BACKTRACE": "0"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL_")} | host
    found: list[Outcome] = []
    for worker in sorted(path.name for path in programs.glob("*-worker")):
        wanted = [name for name in starters(worker) if run.wants(name)]
        if not wanted:
            continue
        with (run.folder / f"{run.name}-{worker}.log").open("wb") as log:
            beside = subprocess.Popen([programs / worker], env=environment, cwd=temporary, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            try:
                found += [one(run, programs, environment, temporary, name, beside) for name in wanted]
            finally:
                process.end_group(beside)
    return found


def one(run: Run, programs: pathlib.Path, environment: dict[str, str], folder: pathlib.Path, name: str, worker: subprocess.Popen) -> Outcome:
    ended = process.run([programs / name], environment, folder, run.log(name), SECONDS_MAX)
    if ended.code == 0:
        return Outcome(name, PASSED, ended.seconds, "")
    if worker.poll() is not None:
        return Outcome(name, FAILED, ended.seconds, f"its worker ended with {worker.returncode}")
    reason = f"did not end within {SECONDS_MAX} s" if ended.code is None else libtest_reason(ended.output)
    return Outcome(name, FAILED, ended.seconds, reason)


SUITE = Suite(
    title="examples of the official Rust SDK, from PyPI's temporalio " + cache.SDK_CORE_VERSION,
    # What the examples' own README defines first.
    server_arguments=["--search-attribute", "CustomKeywordField=Keyword", "--search-attribute", "CustomIntField=Int"],
    subjects=[("schedules", "schedules"), ("search-attributes", "visibility"), ("standalone", "standalone activities")],
    run=run,
    tests_min=19,
    names_tests=True,
    jobs=1,
)
