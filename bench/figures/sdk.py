"""Figures with a worker and a starter of an official SDK: what users see, where sempre-bench shows the server alone."""

import pathlib

from peers import cache, sempre, versions

from . import take

STEPS = 100


def python() -> list:
    """The Python SDK, installed once."""
    load = sempre.ROOT / "bench" / "sdk" / "python_load.py"
    return [cache.python("temporalio", versions.TEMPORAL_PYTHON_SDK), "-B", load]


# How each is run; HOST:PORT, workload, how many in flight, seconds and steps follow.
GENERATORS = {"python": python}


def measure(generator: str, address: str, pids: list[int], target: str, at, folder: pathlib.Path) -> dict:
    """One round of a workload at a server whose processes are known, or of an unknown one without CPU and memory."""
    place = take.Place(at.workload, target, at.in_flight, at.round, take.UNITS[at.workload])
    line = [*GENERATORS[generator](), address, at.workload, str(at.in_flight), str(at.seconds), str(STEPS)]
    return take.drive(line, place, at.seconds, folder, pids, steps=STEPS if at.workload == "steps" else 1)
