"""D1: the integration tests of the official core (temporalio-sdk-core), each in a process of its own."""

import concurrent.futures
import os
import pathlib
import subprocess

from . import cache, process
from .outcome import FAILED, PASSED, SKIPPED, Outcome, libtest_names, libtest_reason
from .run import Run, Suite, dynamic

SECONDS_MAX = 90
IGNORED = "ignored by its authors"
# The names under which its tests look for a development server (the SDK core's, the Rust SDK's, a fixed one), and for a
# test server (the SDK core's, a fixed one).
DEV_SERVERS = ["temporal-sdk-rust-0.1.0", "temporal-sdk-rust-1.1.0", "temporal-v1.2.0"]
DROP_INS = [*DEV_SERVERS, "temporal-test-server-sdk-rust-0.1.0", "temporal-test-server-v1.16.0"]


def run(run: Run) -> list[Outcome]:
    program = cache.sdk_core()
    temporary = run.temporary(DROP_INS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TEMPORAL_", "CARGO_", "RUST_"))}
    environment |= {"TEMPORAL_SERVICE_ADDRESS": f"http://{run.address}", "TMPDIR": str(temporary), "RUST_BACKTRACE": "0"}

    def listed(*more: str) -> list[str]:
        line = [program, "--list", "--format", "terse", *more]
        return libtest_names(subprocess.run(line, check=True, capture_output=True, text=True, env=environment).stdout)

    ignored = set(listed("--ignored"))

    def one(test: str) -> Outcome:
        if test in ignored:
            return Outcome(test, SKIPPED, 0, IGNORED)
        line = [program, "--exact", test, "--nocapture"]
        ended = process.run(line, environment, temporary, run.log(test), SECONDS_MAX)
        if ended.code is None:
            return Outcome(test, FAILED, ended.seconds, f"did not end within {SECONDS_MAX} s")
        if ended.code == 0:
            return Outcome(test, PASSED, ended.seconds, "")
        return Outcome(test, FAILED, ended.seconds, libtest_reason(ended.output))

    with concurrent.futures.ThreadPoolExecutor(run.jobs) as pool:
        return list(pool.map(one, filter(run.wants, listed())))


SUITE = Suite(
    title="integration tests of the official core, from PyPI's temporalio " + cache.SDK_CORE_VERSION,
    server_arguments=[
        *dynamic(
            "system.enableEagerWorkflowStart=true",
            "frontend.workerVersioningWorkflowAPIs=true",
            "frontend.workerVersioningDataAPIs=true",
            "system.enableDeploymentVersions=true",
            "component.nexusoperations.recordCancelRequestCompletionEvents=true",
            "frontend.WorkerHeartbeatsEnabled=true",
            "frontend.ListWorkersEnabled=true",
            "frontend.enableCancelWorkerPollsOnShutdown=true",
            "frontend.workerCommandsEnabled=true",
            "frontend.WorkflowPauseEnabled=true",
            "system.enableCancelActivityWorkerCommand=true",
            "history.enableWorkflowTaskCompletionPagination=true",
            "system.transactionSizeLimit=33554432",
            "matching.rps=12000",
            "frontend.enableServerVersionCheck=false",
            "frontend.enableUpdateWorkflowExecution=true",
            "frontend.enableUpdateWorkflowExecutionAsyncAccepted=true",
        ),
        *("--search-attribute", "CustomTextField=Text", "--search-attribute", "CustomIntField=Int"),
    ],
    subjects=[
        ("nexus", "nexus"),
        ("schedule_tests::", "schedules"),
        ("visibility_tests::|workflow_client_tests::.*list|upsert_search_attr", "visibility"),
        ("worker_versioning_tests::|deployment|versioning", "deployments"),
        ("standalone_activity", "standalone activities"),
    ],
    run=run,
    tests_min=593,
    names_tests=True,
    # They wait more than they work: some for 50 s.
    jobs=8,
)
