"""What every suite is given for one run: the server's address, where to write, what to leave out."""

import pathlib
import re
import shutil
import typing

from .outcome import Outcome

TARGET_FOLDER = "conformance"


class Run(typing.NamedTuple):
    """One run of one suite."""

    name: str
    address: str
    # The server's binary, given to tests that start a server of their own; absent when only an address is known.
    binary: pathlib.Path | None
    # Tables, logs and temporary files of this run.
    folder: pathlib.Path
    # Which tests: a regular expression on names, or pytest's own expression.
    wanted: str | None
    # Tests at a time.
    jobs: int
    # Sources of the suite, for those that are not from a registry.
    checkout: pathlib.Path | None

    def wants(self, test: str) -> bool:
        return self.wanted is None or re.search(self.wanted, test) is not None

    def log(self, test: str) -> pathlib.Path:
        """Where a test's output goes."""
        return self.folder / f"{self.name}-logs" / (re.sub(r"[^\w.-]+", "_", test)[-150:] + ".log")

    def temporary(self, drop_ins: list[str]) -> pathlib.Path:
        """An empty folder for temporary files in which the server's binary is found under the names by which an SDK
        looks for a downloaded one. Copies, because an SDK deletes files that are old."""
        path = self.folder / f"{self.name}-tmp"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        if self.binary:
            for name in drop_ins:
                shutil.copyfile(self.binary, path / name)
                (path / name).chmod(0o755)
        return path


def compiled(run: Run) -> dict[str, str]:
    """Where Python keeps what it has compiled: outside the checkout, but kept. The SDK's sandbox imports a workflow's
    file anew for each run, and a worker that has to compile it each time is later than short task timeouts allow."""
    return {"PYTHONPYCACHEPREFIX": str(run.folder / "pycache")}


class Suite(typing.NamedTuple):
    """One official suite and how it is run."""

    title: str
    # Flags its own authors start a server with.
    server_arguments: list[str]
    # Names of tests and the feature they are about: the first pattern that is found.
    subjects: list[tuple[str, str]]
    run: typing.Callable[[Run], list[Outcome]]
    # How many tests it has at least: fewer in a whole run are a difference, or a suite that shrinks to nothing would be in order.
    tests_min: int
    needs_checkout: str = ""
    jobs: int = 6
    # Whether `Run.wanted` is a regular expression on the names that its outcomes have, so that some can be run again.
    names_tests: bool = False
    # Whether its tests start all their servers themselves, so that an address is of no use to them.
    starts_servers: bool = False
    # The suite whose list says which of its tests pass without a server, when it is not its own.
    floor: str = ""


def exactly(tests: list[str]) -> str:
    """The expression on names that wants these tests and no others."""
    return f"^(?:{'|'.join(map(re.escape, tests))})$"


def dynamic(*settings: str) -> list[str]:
    """Settings as flags of the server's command line."""
    return [word for setting in settings for word in ("--dynamic-config-value", setting)]
