"""Figures of a driver: a program that makes load, says `begin` and `end` around what is counted, each time waits for a line, and then prints
one line of JSON with `units` and `latencies_us`. The figures have the fields of those of `sempre-bench --json`."""

import contextlib
import json
import pathlib
import subprocess
import tempfile
import threading
import typing

from .meter import Meter, sync_us

# Beside the time that it is to measure: starting, warming up, a last workflow.
MORE_SECONDS_MAX = 180.0


class Failed(Exception):
    """A measurement that came to nothing; says why."""


def reason(said: str, code: int) -> str:
    """Why a program has failed: the line that calls itself an error, else its last ones."""
    lines = said.strip().splitlines()
    errors = [line for line in lines if line.lower().startswith("error")]
    return " / ".join(errors[:1] or lines[-3:])[-600:] or f"it ended with {code} and said nothing"


class Place(typing.NamedTuple):
    """What is measured: workload, server, how many at once, round, and what is counted."""

    workload: str
    target: str
    in_flight: int
    round: int
    unit: str


UNITS = {"short": "workflow", "steps": "step"}


def quantile(values: list[int], q: float) -> float:
    """Milliseconds at a quantile of microseconds, as bench/src/report.rs takes it; 0 of none."""
    ordered = sorted(values)
    return ordered[int((len(ordered) - 1) * q)] / 1000 if ordered else 0.0


def figures(place: Place, units: int, latencies_us: list[int], spent: dict, calibration: dict) -> dict:
    """One measurement, per unit."""
    each = max(units, 1)
    return {
        "workload": place.workload,
        "target": place.target,
        "in_flight": place.in_flight,
        "round": place.round,
        "unit": place.unit,
        "units": units,
        "seconds": spent["seconds"],
        "per_second": units / spent["seconds"],
        "p50_ms": quantile(latencies_us, 0.5),
        "p99_ms": quantile(latencies_us, 0.99),
        "cpu_ms_per_unit": spent["cpu_seconds"] * 1000 / each,
        "disk_bytes_per_unit": spent["disk_bytes"] / each,
        "flushes_per_unit": spent["flushes"] / each,
        "rss_mib": spent["rss_mib"],
        "rss_peak_mib": spent["rss_peak_mib"],
        "calibration": calibration,
        "more": {f"{name} CPU ms": seconds * 1000 / each for name, seconds in spent["parts"].items()},
    }


def heard(child: subprocess.Popen) -> None:
    # One that has died meanwhile is told of by its end.
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write("\n")
        child.stdin.flush()


def drive(
    command: list,
    place: Place,
    seconds: float,
    folder: pathlib.Path,
    pids: list[int],
    parts: dict[str, list[int]] | None = None,
    counts_itself: bool = False,
    steps: int = 1,
) -> dict:
    """Runs a driver and takes the figures of the processes `pids`, and of the driver itself where that is part of what is measured.
    The driver's latencies are those of whole workflows; a workflow has so many steps."""
    calibration = {"sync_us": sync_us(folder)}
    with tempfile.TemporaryFile("w+") as errors:
        try:
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
        except OSError as error:
            raise Failed(f"`{command[0]}` does not start: {error.strerror}") from None
        late = threading.Timer(seconds + MORE_SECONDS_MAX, child.kill)
        late.start()
        meter, spent, found = None, None, None
        try:
            for line in child.stdout:
                if line == "begin\n":
                    own = [child.pid] if counts_itself else []
                    meter = Meter(pids + own, folder, {**(parts or {}), **({"program": own} if own else {})})
                    heard(child)
                elif line == "end\n" and meter:
                    spent = meter.end()
                    heard(child)
                elif line.startswith("{"):
                    found = json.loads(line)
            code = child.wait()
        finally:
            late.cancel()
            if child.poll() is None:
                child.kill()
                child.wait()
            child.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                child.stdin.close()
        errors.seek(0)
        said = errors.read()
    if code != 0 or not spent or not found:
        raise Failed(f"{place.workload} on {place.target}, {place.in_flight} in flight: {reason(said, code)}")
    if not found["units"]:
        raise Failed(f"{place.workload} on {place.target}, {place.in_flight} in flight: nothing was completed")
    return figures(place, found["units"], [us // steps for us in found["latencies_us"]], spent, calibration)
