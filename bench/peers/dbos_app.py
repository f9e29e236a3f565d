"""DBOS on a private PostgreSQL: a library, so the program that runs the workflows is part of what is measured."""

import contextlib
import dataclasses
import pathlib

from figures import take

from . import cache, postgres, versions

NAME = "dbos"
LOAD = pathlib.Path(__file__).resolve().parent / "dbos_load.py"
STEPS = 100
DATABASE = "dbos"


@dataclasses.dataclass(frozen=True)
class Running:
    """A database, and an interpreter that has the library."""

    database: postgres.Postgres
    python: pathlib.Path
    folder: pathlib.Path

    name = NAME
    version = versions.DBOS

    @property
    def pids(self) -> list[int]:
        return [self.database.pid]

    def measure(self, workload: str, in_flight: int, seconds: int, number: int) -> dict:
        """One round of a workload, in a program of its own."""
        place = take.Place(workload, NAME, in_flight, number, take.UNITS[workload])
        line = [self.python, "-B", LOAD, self.database.address(DATABASE), workload, str(in_flight), str(seconds), str(STEPS)]
        steps = STEPS if workload == "steps" else 1
        parts = {"database": [self.database.pid]}
        return take.drive(line, place, seconds, self.folder, self.pids, parts, counts_itself=True, steps=steps)


@contextlib.contextmanager
def start(parent: pathlib.Path):
    """Starts the database, empty, under `parent`."""
    python = cache.python("dbos", versions.DBOS)
    with postgres.cluster(parent) as database:
        database.sql(f"CREATE DATABASE {DATABASE}")
        yield Running(database, python, parent)
