"""D3: the tests of the official Python SDK, beside the installed wheel of the same version.

Contributed integrations are left out: they are about other libraries, and most want an account somewhere.
"""

import hashlib
import pathlib
import re
import shutil
import typing

from . import cache
from .outcome import Outcome
from .pytest_suite import largest_first, pytest
from .run import Run, Suite, dynamic


# What tests say that are only meant for a server of their own, as their authors run them: with a binary at hand they
# are run again with one. The second is about clients: those of a given address share a runtime that other tests replace.
WANTS_ITS_OWN_SERVER = (
    "Only testing search attributes on local which disables cache",
    "ValueError: New client is not on the same runtime as the existing client",
)

# What tests say that are only meant for the test server that skips time: with a binary at hand they are run again with it.
WANTS_TO_SKIP_TIME = ("Need to skip time to validate this test", "Too slow to test with time-skipping disabled")


def node(test: str) -> str:
    """pytest's own name of a test function: `tests.a::b` is `tests/a.py::b`."""
    module, name = test.split("::")
    return f"{module.replace('.', '/')}.py::{name}"


def wheel_version(checkout: pathlib.Path) -> str:
    """The SDK version whose tests these are."""
    found = re.search(r'^version = "([^"]+)"', (checkout / "pyproject.toml").read_text(), re.MULTILINE)
    if not found:
        raise RuntimeError(f"{checkout}/pyproject.toml names no version")
    return found.group(1)


def tree(run: Run, checkout: pathlib.Path) -> pathlib.Path:
    """Tests without the package: a checkout's `temporalio` folder has no native part and would hide the wheel."""
    path = run.folder / f"{run.name}-tree"
    shutil.rmtree(path, ignore_errors=True)
    for name in ("tests", "scripts"):
        shutil.copytree(checkout / name, path / name)
    for name in ("pyproject.toml", "CHANGELOG.md", "README.md"):
        shutil.copy(checkout / name, path / name)
    return path


class Prepared(typing.NamedTuple):
    """All that the tests need but a server."""

    python: pathlib.Path
    tree: pathlib.Path
    files: list[str]
    # Names under which tests look for a server's binary that the SDK has downloaded.
    drop_ins: list[str]


def prepared(run: Run) -> Prepared:
    assert run.checkout
    version = wheel_version(run.checkout)
    lock = hashlib.sha256((run.checkout / "uv.lock").read_bytes()).hexdigest()[:8]
    python = cache.python(f"python-sdk-{version}-{lock}", run.checkout, ["--all-extras", "--group", "dev"], [f"temporalio=={version}"])
    init = (run.checkout / "tests" / "__init__.py").read_text()
    drop_ins = [f"temporal-{name}" for name in re.findall(r'DEV_SERVER_DOWNLOAD_VERSION = "([^"]+)"', init)]
    place = tree(run, run.checkout)
    drop_ins += [f"temporal-sdk-python-{version}", f"temporal-test-server-sdk-python-{version}"]
    return Prepared(python, place, largest_first(place, "tests", left_out="tests/contrib"), drop_ins)


def run(run: Run) -> list[Outcome]:
    python, place, files, drop_ins = prepared(run)
    found = {outcome.test: outcome for outcome in pytest(run, python, place, files, ["-E", run.address], drop_ins)}
    if run.binary:
        tests = [node(outcome.test) for outcome in found.values() if outcome.reason in WANTS_ITS_OWN_SERVER]
        found |= {outcome.test: outcome for outcome in pytest(run, python, place, tests, ["-E", "local"], drop_ins)}
        tests = [node(outcome.test) for outcome in found.values() if outcome.reason in WANTS_TO_SKIP_TIME]
        found |= {outcome.test: outcome for outcome in pytest(run, python, place, tests, ["-E", "time-skipping"], drop_ins)}
    return list(found.values())


SUITE = Suite(
    title="tests of the official Python SDK without contrib",
    server_arguments=dynamic(
        "system.forceSearchAttributesCacheRefreshOnRead=true",
        "limit.historyCount.suggestContinueAsNew=50",
        "system.enableEagerWorkflowStart=true",
        "frontend.enableExecuteMultiOperation=true",
        "frontend.workerVersioningWorkflowAPIs=true",
        "frontend.workerVersioningDataAPIs=true",
        "system.enableDeploymentVersions=true",
        "frontend.activityAPIsEnabled=true",
        "frontend.enableCancelWorkerPollsOnShutdown=true",
        "component.nexusoperations.recordCancelRequestCompletionEvents=true",
        "activity.enableStandalone=true",
        "activity.startDelayEnabled=true",
        "history.enableChasm=true",
        "history.enableTransitionHistory=true",
        "history.enableCHASMCallbacks=true",
        "history.enableCHASMSignalBacklinks=true",
        "nexusoperation.enableStandalone=true",
        'system.refreshNexusEndpointsMinWait="0s"',
        "history.enableSignalWithStartFromWorkflow=true",
        "history.enableUpdateCallbacks=true",
        "activity.enableCallbacks=true",
    ),
    subjects=[
        ("nexus", "nexus"),
        ("schedule", "schedules"),
        ("list_workflows|count_workflows|search_attribute", "visibility"),
        ("deployment|versioning|build_id", "deployments"),
        (r"standalone|^tests\.test_activity(::|\.)", "standalone activities"),
        ("time_skip|timer_fired_in_same_task", "time skipping"),
        ("test_cloud", "outside"),
    ],
    run=run,
    tests_min=937,
    needs_checkout="a checkout of github.com/temporalio/sdk-python at a release's tag",
    jobs=4,
)
