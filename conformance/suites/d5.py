"""D5: the tests of samples-python."""

import hashlib

from . import cache
from .outcome import Outcome
from .pytest_suite import largest_first, pytest
from .run import Run, Suite


def run(run: Run) -> list[Outcome]:
    assert run.checkout
    lock = hashlib.sha256((run.checkout / "uv.lock").read_bytes()).hexdigest()[:8]
    python = cache.python(f"samples-python-{lock}", run.checkout, ["--all-groups"], [])
    files = largest_first(run.checkout, "tests") + [path.relative_to(run.checkout).as_posix() for path in run.checkout.glob("tests/**/*_test.py")]
    return pytest(run, python, run.checkout, files, ["--workflow-environment", run.address], [])


SUITE = Suite(
    title="tests of samples-python",
    server_arguments=[],
    subjects=[("nexus", "nexus"), ("schedule", "schedules"), ("standalone", "standalone activities")],
    run=run,
    jobs=2,
    needs_checkout="a checkout of github.com/temporalio/samples-python",
)
