"""What suites that are run by pytest have in common."""

import os
import pathlib

from . import process
from .outcome import Outcome, junit
from .run import Run

# For the whole suite; each test has the limit its authors gave it.
SECONDS_MAX = 3600
NO_REPORT = "the whole suite"


def pytest(run: Run, python: pathlib.Path, tree: pathlib.Path, arguments: list[str], drop_ins: list[str]) -> list[Outcome]:
    """Runs pytest in `tree` against the run's server and reads its report."""
    report = run.folder / f"{run.name}-junit.xml"
    report.unlink(missing_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TEMPORAL_", "PYTEST"))}
    environment |= {"TMPDIR": str(run.temporary(drop_ins)), "PYTHONDONTWRITEBYTECODE": "1"}
    line = [python, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", "-o", "junit_logging=no", *arguments]
    if run.wanted:
        line += ["-k", run.wanted]
    ended = process.run(line, environment, tree, run.log(NO_REPORT), SECONDS_MAX)
    if not report.exists():
        last = ended.output.strip().splitlines()[-1:] or ["no output"]
        raise RuntimeError(f"pytest wrote no report ({last[0]}); see {run.log(NO_REPORT)}")
    return junit(report.read_text())
