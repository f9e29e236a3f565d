"""What a test came to, how it is read from each suite's own output, and how it is kept in a table.

No processes and no network here: text in, values out.
"""

import re
import typing
import xml.etree.ElementTree

PASSED, FAILED, SKIPPED, FLAKY = "passed", "failed", "skipped", "flaky"
REASON_CHARS_MAX = 240
TABLE_HEAD = ("suite", "test", "state", "subject", "seconds", "reason")


class Outcome(typing.NamedTuple):
    """One test of one run. `reason` is empty for a test that passed."""

    test: str
    state: str
    seconds: float
    reason: str


def one_line(text: str) -> str:
    """The text as one field of a table: no tabs, no line ends, no colours, not longer than the bound."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    line = " ".join(plain.split())
    return line if len(line) <= REASON_CHARS_MAX else line[: REASON_CHARS_MAX - 1] + "…"


def libtest_names(listing: str) -> list[str]:
    """The tests that `--list --format terse` names."""
    return [line.removesuffix(": test") for line in listing.splitlines() if line.endswith(": test")]


def libtest_reason(output: str) -> str:
    """Why a Rust test failed: its first panic, else the error its main function returned."""
    output = re.sub(r"\x1b\[[0-9;]*m", "", output)
    panics = re.findall(r"panicked at ([^\n]*):\n(.*?)(?=\nnote: |\nstack backtrace|\nthread '|\n\n|\Z)", output, re.DOTALL)
    if panics:
        place, message = panics[0]
        return one_line(f"{message} ({place})")
    if error := re.search(r"^Error: .*", output, re.MULTILINE):
        return one_line(error.group())
    return "ended without a panic message"


def junit(report: str) -> list[Outcome]:
    """The tests of a JUnit report as pytest writes it. A test that both failed and could not be taken down has failed."""
    found: dict[str, Outcome] = {}
    for case in xml.etree.ElementTree.fromstring(report).iter("testcase"):
        name = f"{case.get('classname', '')}::{case.get('name', '')}".removeprefix("::")
        state, reason = PASSED, ""
        for child in case:
            if child.tag in ("failure", "error"):
                state, reason = FAILED, child.get("message") or child.text or ""
                break
            if child.tag == "skipped":
                state, reason = SKIPPED, child.get("message") or ""
        before = found.get(name)
        if before is None or before.state != FAILED:
            found[name] = Outcome(name, state, float(case.get("time") or 0), one_line(reason))
    return list(found.values())


def tap(file: str, report: str) -> tuple[list[Outcome], bool]:
    """The tests of one file in what ava tells (TAP 13), and whether it told to the end. Times it tells none. Other lines between are the
    tests' own. A test that its authors have only planned is none."""
    found = []
    tests = re.finditer(r"^(not )?ok \d+ - ([^\n]*)(?:\n  ---\n(.*?)\n  \.\.\.$)?", report, re.MULTILINE | re.DOTALL)
    for test in tests:
        failed, title, said = test.groups()
        title, _, directive = title.partition(" # ")
        if directive.startswith("TODO"):
            continue
        state = SKIPPED if directive.startswith("SKIP") else FAILED if failed else PASSED
        found.append(Outcome(f"{file}::{title}", state, 0.0, "" if state == PASSED else one_line(said or directive or "no reason told")))
    return found, re.search(r"^1\.\.\d+$", report, re.MULTILINE) is not None


def feature(name: str, code: int | None, seconds: float, output: str) -> Outcome:
    """One feature of the features repository; `code` is absent when it had to be killed. The harness's own word goes
    before the exit code: on a busy machine the interpreter sometimes breaks when the SDK's threads outlive it."""
    if code is None:
        return Outcome(name, FAILED, seconds, f"did not end within {seconds:.0f} s")
    if skip := re.search(r"Skipping feature \S+ because (.*)", output):
        return Outcome(name, SKIPPED, seconds, one_line(skip.group(1)))
    passed = re.search(r"^INFO:__main__:All features passed$", output, re.MULTILINE)
    return Outcome(name, PASSED, seconds, "") if passed else Outcome(name, FAILED, seconds, python_reason(output))


def python_reason(output: str) -> str:
    """The innermost error of the first Python traceback that has one, else the last line."""
    errors = re.findall(r"^(?:[A-Za-z_][\w.]*(?:Error|Exception|Failure)\b.*|AssertionError.*)$", output, re.MULTILINE)
    lines = output.strip().splitlines()
    return one_line(errors[0] if errors else lines[-1] if lines else "no output")


def table(suite: str, outcomes: list[Outcome], subject: typing.Callable[[str], str]) -> str:
    """All outcomes as tab-separated lines with a head, in the order of names."""
    rows = ["\t".join(TABLE_HEAD)]
    for outcome in sorted(outcomes):
        fields = (suite, outcome.test, outcome.state, subject(outcome.test), f"{outcome.seconds:.1f}", outcome.reason)
        rows.append("\t".join(fields))
    return "\n".join(rows) + "\n"
