"""D5: the tests of samples-python."""

import hashlib

from . import cache
from .outcome import Outcome
from .pytest_suite import pytest
from .run import Run, Suite


def run(run: Run) -> list[Outcome]:
    assert run.checkout
    lock = hashlib.sha256((run.checkout / "uv.lock").read_bytes()).hexdigest()[:8]
    python = cache.python(f"samples-python-{lock}", run.checkout, ["--all-groups"], [])
    return pytest(run, python, run.checkout, ["--workflow-environment", run.address, "tests"], [])


SUITE = Suite(
    title="tests of samples-python",
    server_arguments=[],
    subjects=[("nexus", "nexus"), ("schedule", "schedules"), ("standalone", "standalone activities")],
    run=run,
    needs_checkout="a checkout of github.com/temporalio/samples-python",
)
