"""D5: the tests of samples-python."""

import hashlib
import re

from . import cache
from .d3 import WANTS_TO_SKIP_TIME, node
from .outcome import Outcome
from .pytest_suite import largest_first, pytest
from .run import Run, Suite

# Two samples whose workers poll one task queue, each for its own workflows: this one's tests run when all others have ended.
LAST = "tests/message_passing/waiting_for_handlers_and_compensation/"


def run(run: Run) -> list[Outcome]:
    assert run.checkout
    locked = (run.checkout / "uv.lock").read_bytes()
    python = cache.python(f"samples-python-{hashlib.sha256(locked).hexdigest()[:8]}", run.checkout, ["--all-groups"], [])
    # Some start a server of their own, under the name the SDK gives it.
    version = re.search(r'name = "temporalio"\nversion = "([^"]+)"', locked.decode())
    names = ("temporal-sdk-python", "temporal-test-server-sdk-python")
    drop_ins = [f"{name}-{version.group(1)}" for name in names] if version else []
    files = largest_first(run.checkout, "tests") + [path.relative_to(run.checkout).as_posix() for path in run.checkout.glob("tests/**/*_test.py")]
    found = {}
    for part in ([file for file in files if not file.startswith(LAST)], [file for file in files if file.startswith(LAST)]):
        found |= {o.test: o for o in pytest(run, python, run.checkout, part, ["--workflow-environment", run.address], drop_ins)}
    if run.binary:
        tests = [node(outcome.test) for outcome in found.values() if outcome.reason in WANTS_TO_SKIP_TIME]
        found |= {o.test: o for o in pytest(run, python, run.checkout, tests, ["--workflow-environment", "time-skipping"], drop_ins)}
    return list(found.values())


SUITE = Suite(
    title="tests of samples-python",
    server_arguments=[],
    subjects=[
        ("nexus", "nexus"),
        ("schedule", "schedules"),
        ("standalone", "standalone activities"),
        # Those that start the server that skips time, or wait for it to be there.
        (r"polling\.infrequent|sleep_for_days|updatable_timer|hello_query", "time skipping"),
    ],
    run=run,
    tests_min=160,
    jobs=2,
    needs_checkout="a checkout of github.com/temporalio/samples-python",
)
