"""D3T: the tests of D3 with the test server that skips time as their only server, as the SDK's authors run them a second time.

Many skip themselves then: Temporal's test server lacks what they are about, and they look at the option, not at the server.
"""

import sys

from . import d3
from .outcome import Outcome
from .pytest_suite import pytest
from .run import Run


def run(run: Run) -> list[Outcome]:
    if not run.binary:
        sys.exit("the tests start the server that skips time: give its binary with --sempre")
    python, place, files, drop_ins = d3.prepared(run)
    return pytest(run, python, place, files, ["-E", "time-skipping"], drop_ins)


SUITE = d3.SUITE._replace(
    title="tests of the official Python SDK without contrib, with the server that skips time",
    run=run,
    starts_servers=True,
    floor="d3",
)
