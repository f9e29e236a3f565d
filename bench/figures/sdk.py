"""Figures with a worker and a starter of the official Python SDK: what users see, where sempre-bench shows the server alone."""

import pathlib

from peers import cache, versions

from . import take

LOAD = pathlib.Path(__file__).resolve().parent.parent / "sdk" / "python_load.py"
STEPS = 100


def interpreter() -> pathlib.Path:
    """One that has the SDK."""
    return cache.python("temporalio", versions.TEMPORAL_PYTHON_SDK)


def measure(address: str, pids: list[int], target: str, at, folder: pathlib.Path) -> dict:
    """One round of a workload at a server whose processes are known, or of an unknown one without CPU and memory."""
    place = take.Place(at.workload, target, at.in_flight, at.round, take.UNITS[at.workload])
    line = [interpreter(), "-B", LOAD, address, at.workload, str(at.in_flight), str(at.seconds), str(STEPS)]
    return take.drive(line, place, at.seconds, folder, pids, steps=STEPS if at.workload == "steps" else 1)
