"""D3: the tests of the official Python SDK, beside the installed wheel of the same version.

Contributed integrations are left out: they are about other libraries, and most want an account somewhere.
"""

import hashlib
import pathlib
import re
import shutil

from . import cache
from .outcome import Outcome
from .pytest_suite import largest_first, pytest
from .run import Run, Suite, dynamic


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


def run(run: Run) -> list[Outcome]:
    assert run.checkout
    version = wheel_version(run.checkout)
    lock = hashlib.sha256((run.checkout / "uv.lock").read_bytes()).hexdigest()[:8]
    python = cache.python(f"python-sdk-{version}-{lock}", run.checkout, ["--all-extras", "--group", "dev"], [f"temporalio=={version}"])
    init = (run.checkout / "tests" / "__init__.py").read_text()
    drop_ins = [f"temporal-{name}" for name in re.findall(r'DEV_SERVER_DOWNLOAD_VERSION = "([^"]+)"', init)]
    place = tree(run, run.checkout)
    files = largest_first(place, "tests", left_out="tests/contrib")
    return pytest(run, python, place, files, ["-E", run.address], [*drop_ins, f"temporal-sdk-python-{version}"])


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
        ("time_skip|test_cloud", "outside"),
    ],
    run=run,
    needs_checkout="a checkout of github.com/temporalio/sdk-python at a release's tag",
    jobs=4,
)
