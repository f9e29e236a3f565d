"""Runs one program with a time limit and its own process group, so that a hung one leaves nothing behind."""

import os
import pathlib
import signal
import subprocess
import time
import typing


class Ended(typing.NamedTuple):
    """`code` is absent when the program was killed at its time limit."""

    code: int | None
    seconds: float
    output: str


_running: set[subprocess.Popen] = set()
_stopped = False


def stop_all() -> None:
    """Kills what runs and lets nothing begin any more: the whole run is being ended."""
    global _stopped
    _stopped = True
    for process in list(_running):
        end_group(process)


def run(arguments: list, environment: dict[str, str], folder: pathlib.Path, log: pathlib.Path, seconds_max: float) -> Ended:
    """Runs a program to its end or its limit; standard output and error go to `log` and are returned."""
    if _stopped:
        return Ended(None, 0.0, "")
    begin = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        process = subprocess.Popen(arguments, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        _running.add(process)
        try:
            code = process.wait(seconds_max)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end_group(process)
            _running.discard(process)
    return Ended(code, time.monotonic() - begin, log.read_text(errors="replace"))


def end_group(process: subprocess.Popen) -> None:
    """Kills what is left of a program started with a session of its own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
