"""The checked-in lists: which tests are expected not to pass and why, and which pass without any server.

A list is a table `expected/<suite>.tsv` of test, state, subject, reason; `#` begins a comment line. A test that is not
listed must pass. `flaky` means that it may do either; it counts as failed. Every line needs a reason of its own.
"""

import pathlib
import re
import typing

from .outcome import FAILED, FLAKY, PASSED, SKIPPED, Outcome, one_line

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "expected"
UNEXAMINED = "UNEXAMINED"
# What issue 3 is measured by; the other subjects belong to later issues.
WORKFLOWS = "workflows"
# Tests that cannot tell anything about a server of ours: never run, or green without one.
UNCOUNTED = ("without server", "outside")


class Expectation(typing.NamedTuple):
    """Why a test is expected not to pass. `subject` is the feature it waits for."""

    state: str
    subject: str
    reason: str


def read(text: str) -> dict[str, Expectation]:
    """The lines of a list. Raises ValueError on a line that is not whole."""
    found: dict[str, Expectation] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 4 or not all(field.strip() for field in fields):
            raise ValueError(f"line {number}: wants test, state, subject and reason, separated by tabs")
        test, state, subject, reason = fields
        if state not in (FAILED, SKIPPED, FLAKY):
            raise ValueError(f"line {number}: `{state}` is not failed, skipped or flaky")
        if test in found:
            raise ValueError(f"line {number}: {test} is listed twice")
        found[test] = Expectation(state, subject, reason)
    return found


def write(listed: dict[str, Expectation], head: str) -> str:
    """A list as text, in the order of subjects and names."""
    rows = sorted(listed.items(), key=lambda item: (item[1].subject, item[0]))
    return head + "".join(f"{test}\t{e.state}\t{e.subject}\t{e.reason}\n" for test, e in rows)


def comments(text: str) -> str:
    """The comment lines a list begins with."""
    return "".join(line + "\n" for line in text.splitlines() if line.startswith("#"))


def update(listed: dict[str, Expectation], found: list[Outcome], subject: typing.Callable[[str], str]) -> dict[str, Expectation]:
    """The list as this run would have it. Reasons are kept; what is new says that nobody has looked at it yet."""
    kept = dict(listed)
    for outcome in found:
        before = kept.pop(outcome.test, None)
        if before and (before.state == FLAKY or before.state == outcome.state):
            kept[outcome.test] = before
        elif outcome.state != PASSED:
            reason = before.reason if before else f"{UNEXAMINED}: {outcome.reason or outcome.state}"
            kept[outcome.test] = Expectation(outcome.state, subject(outcome.test), reason)
    return kept


def differences(listed: dict[str, Expectation], found: list[Outcome], tests_min: int | None) -> list[str]:
    """What contradicts the list, one sentence each. `tests_min` is how many tests the suite has at least: one that is not listed and does
    not run would not be missed. None: some were filtered out of the run."""
    said = []
    for outcome in sorted(found):
        expectation = listed.get(outcome.test)
        wanted = expectation.state if expectation else PASSED
        if not agrees(listed, outcome):
            why = f": {outcome.reason}" if outcome.reason else ""
            said.append(f"{outcome.test} {outcome.state}, expected {wanted}{why}")
    if tests_min is not None:
        if len(found) < tests_min:
            said.append(f"only {len(found)} tests ran, the suite has {tests_min} at least")
        ran = {outcome.test for outcome in found}
        said += [f"{test} is listed, but the suite does not have it" for test in sorted(listed) if test not in ran]
    said += [f"{test} is listed without a true reason" for test, e in sorted(listed.items()) if e.reason.startswith(UNEXAMINED)]
    return said


def contradicting(listed: dict[str, Expectation], found: list[Outcome]) -> list[str]:
    """The tests that did not end as the list says."""
    return [outcome.test for outcome in sorted(found) if not agrees(listed, outcome)]


def agrees(listed: dict[str, Expectation], outcome: Outcome) -> bool:
    expectation = listed.get(outcome.test)
    wanted = expectation.state if expectation else PASSED
    if FLAKY in (wanted, outcome.state):
        return SKIPPED not in (wanted, outcome.state)
    return outcome.state == wanted


def settled(listed: dict[str, Expectation], found: list[Outcome], again: list[Outcome]) -> list[Outcome]:
    """The outcomes, with those that ended as the list says when they were run again by themselves as flaky: they tell of
    a busy machine, or of a race, and not of a change. They do not count as passed."""
    second = {outcome.test: outcome for outcome in again}
    def one(first: Outcome) -> Outcome:
        other = second.get(first.test)
        if other is None or not agrees(listed, other):
            return first
        return Outcome(first.test, FLAKY, first.seconds, one_line(f"{first.state}, by itself {other.state}: {first.reason or other.reason}"))
    return [one(outcome) for outcome in found]


def score(found: list[Outcome], listed: dict[str, Expectation], subject: typing.Callable[[str], str]) -> list[tuple[str, int, int, int, int]]:
    """Per subject: tests, passed, failed, skipped. A flaky test that passed counts as failed."""
    rows: dict[str, list[int]] = {}
    for outcome in found:
        row = rows.setdefault(subject(outcome.test), [0, 0, 0, 0])
        expectation = listed.get(outcome.test)
        flaky = expectation is not None and expectation.state == FLAKY
        state = FAILED if flaky and outcome.state == PASSED else outcome.state
        row[0] += 1
        row[{PASSED: 1, FAILED: 2, FLAKY: 2, SKIPPED: 3}[state]] += 1
    return [(name, *rows[name]) for name in sorted(rows, key=lambda name: (name != WORKFLOWS, name))]


def summary(suite: str, rows: list[tuple[str, int, int, int, int]]) -> str:
    """The score as a table with a last line over everything that counts."""
    lines = ["\t".join(("suite", "subject", "tests", "passed", "failed", "skipped", "percent"))]
    counted = [row for row in rows if row[0] not in UNCOUNTED]
    total = ("all that counts", *(sum(column) for column in zip(*(row[1:] for row in counted)))) if counted else ("all that counts", 0, 0, 0, 0)
    for name, tests, passed, failed, skipped in [*rows, total]:
        percent = f"{100 * passed / tests:.1f}" if tests else "–"
        lines.append("\t".join((suite, name, str(tests), str(passed), str(failed), str(skipped), percent)))
    return "\n".join(lines) + "\n"


class Subjects:
    """Which feature a test is about: what the list says, else the first pattern found in its name, else workflows.
    A test that passes when nobody listens is about no server."""

    def __init__(self, patterns: list[tuple[str, str]], listed: dict[str, Expectation], without_server: set[str]):
        self.patterns = [(re.compile(pattern), subject) for pattern, subject in patterns]
        self.listed = listed
        self.without_server = without_server

    def __call__(self, test: str) -> str:
        if test in self.without_server:
            return UNCOUNTED[0]
        if test in self.listed:
            return self.listed[test].subject
        return next((subject for pattern, subject in self.patterns if pattern.search(test)), WORKFLOWS)


def list_path(suite: str) -> pathlib.Path:
    return FOLDER / f"{suite}.tsv"


def floor_path(suite: str) -> pathlib.Path:
    return FOLDER / f"{suite}-without-server.txt"


def load(suite: str) -> dict[str, Expectation]:
    """The suite's list; empty when there is none."""
    path = list_path(suite)
    return read(path.read_text()) if path.exists() else {}


def load_floor(suite: str) -> set[str]:
    """The tests that pass without a server; empty when nobody has looked yet."""
    path = floor_path(suite)
    return {line for line in path.read_text().splitlines() if line and not line.startswith("#")} if path.exists() else set()
