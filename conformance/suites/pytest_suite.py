"""What suites that are run by pytest have in common: one process for each file, some at a time.

Not pytest-xdist: a test that its time limit cuts off can break the whole of such a run.
"""

import concurrent.futures
import os
import pathlib

from . import process
from .outcome import FAILED, Outcome, junit, python_reason
from .run import Run, compiled

# For a file; each test has the limit its authors gave it.
SECONDS_MAX = 2400
# pytest's exit codes with which its report says all: every test passed, some failed, a file could not be read, no test
# of a file was asked for.
TOLD = (0, 1, 2, 5)


def pytest(run: Run, python: pathlib.Path, tree: pathlib.Path, files: list[str], arguments: list[str], drop_ins: list[str]) -> list[Outcome]:
    """Runs pytest on each of `files` in `tree` against the run's server and reads the reports. The files that take longest
    should come first."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TEMPORAL_", "PYTEST", "PYTHON"))}
    environment |= {"TMPDIR": str(run.temporary(drop_ins)), **compiled(run)}
    selected = ["-k", run.wanted] if run.wanted else []

    def one(file: str) -> list[Outcome]:
        report = run.log(file).with_suffix(".xml")
        report.unlink(missing_ok=True)
        written = [f"--junitxml={report}", "-o", "junit_logging=no"]
        line = [python, "-m", "pytest", "-p", "no:cacheprovider", *written, *selected, *arguments, file]
        ended = process.run(line, environment, tree, run.log(file), SECONDS_MAX)
        found = junit(report.read_text()) if report.exists() else []
        # Without a report, or with one that stops half-way.
        if not report.exists() or ended.code not in TOLD:
            reason = f"did not end within {SECONDS_MAX} s" if ended.code is None else python_reason(ended.output)
            found.append(Outcome(f"{file}::the whole file", FAILED, ended.seconds, reason))
        return found

    with concurrent.futures.ThreadPoolExecutor(run.jobs) as pool:
        return [outcome for found in pool.map(one, files) for outcome in found]


def largest_first(tree: pathlib.Path, folder: str, left_out: str = "") -> list[str]:
    """The test files under a folder, the largest first; without those under `left_out`."""
    files = [path for path in (tree / folder).rglob("test_*.py") if not left_out or not path.is_relative_to(tree / left_out)]
    return [path.relative_to(tree).as_posix() for path in sorted(files, key=lambda path: -path.stat().st_size)]
