"""D4: the features repository by its Python harness, one process per feature."""

import concurrent.futures
import hashlib
import os
import pathlib
import subprocess
import uuid

from . import cache, process
from .outcome import Outcome, feature
from .run import Run, Suite, compiled, dynamic

SECONDS_MAX = 90


# What the suite's own runner asks the server and tells its features.
CAPABILITIES = """
import asyncio, sys
from google.protobuf.json_format import MessageToJson
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
async def main():
    client = await Client.connect(sys.argv[1])
    asked = DescribeNamespaceRequest(namespace="default")
    print(MessageToJson((await client.workflow_service.describe_namespace(asked)).namespace_info.capabilities, indent=None))
asyncio.run(main())
"""


def capabilities(python: pathlib.Path, address: str) -> str:
    """The namespace's capabilities as JSON; empty when nobody answers."""
    done = subprocess.run([python, "-c", CAPABILITIES, address], capture_output=True, text=True)
    return done.stdout.strip()


def run(run: Run) -> list[Outcome]:
    assert run.checkout
    checkout = run.checkout
    lock = hashlib.sha256((checkout / "uv.lock").read_bytes()).hexdigest()[:8]
    python = cache.python(f"features-{lock}", checkout, ["--no-dev"], [])
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TEMPORAL_", "PYTHON"))}
    environment |= {"TMPDIR": str(run.temporary([])), **compiled(run)}
    environment["FEATURE_NAMESPACE_CAPABILITIES"] = capabilities(python, run.address)
    root = checkout / "features"
    names = sorted(path.parent.relative_to(root).as_posix() for path in root.glob("**/feature.py"))

    def one(name: str) -> Outcome:
        line = [python, "-m", "harness.python.main", "--server", run.address, "--namespace", "default", "--log-level", "INFO"]
        ended = process.run([*line, f"{name}:{name}-{uuid.uuid4()}"], environment, checkout, run.log(name), SECONDS_MAX)
        return feature(name, ended.code, ended.seconds, ended.output)

    with concurrent.futures.ThreadPoolExecutor(run.jobs) as pool:
        return list(pool.map(one, filter(run.wants, names)))


SUITE = Suite(
    title="features repository, Python harness",
    server_arguments=dynamic(
        "system.forceSearchAttributesCacheRefreshOnRead=true",
        "system.enableEagerWorkflowStart=true",
        "frontend.enableUpdateWorkflowExecution=true",
        "frontend.enableUpdateWorkflowExecutionAsyncAccepted=true",
    ),
    subjects=[("nexus", "nexus"), ("schedule/", "schedules"), ("versioning", "deployments"), ("http_proxy", "outside")],
    run=run,
    tests_min=39,
    needs_checkout="a checkout of github.com/temporalio/features",
    jobs=3,
)
