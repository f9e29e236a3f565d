"""Processes that are started, waited for, and stopped by their pid."""

import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time
import typing
import urllib.error
import urllib.request

from .cache import Unavailable

STOP_SECONDS_MAX = 30.0
START_SECONDS_MAX = 90.0


def free_ports(count: int, below: int | None = None) -> list[int]:
    """Ports of the loopback that nobody listened on a moment ago, all different; with `below`, of those with smaller numbers."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            while True:
                try:
                    probe.bind(("127.0.0.1", 0 if below is None else random.randrange(10_000, below)))
                    break
                except OSError:
                    if below is None:
                        raise
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


class Process:
    """A running program. Its output goes to a file, whose end is told when it fails."""

    def __init__(self, name: str, command: list, log: pathlib.Path, **more):
        self.name, self.log = name, log
        with log.open("ab") as out:
            try:
                self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **more)
            except OSError as error:
                raise Unavailable(f"{name}: `{command[0]}` does not start: {error.strerror}") from None

    @property
    def pid(self) -> int:
        return self.child.pid

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-3:])[-600:] if lines else "it said nothing"

    def until(self, what: str, lacks: typing.Callable[[], str | None], seconds_max: float = START_SECONDS_MAX) -> None:
        """Waits until nothing is lacking; not longer than the process lives."""
        begun = time.monotonic()
        while (lacking := lacks()) is not None:
            if self.child.poll() is not None:
                raise Unavailable(f"{self.name} ended with {self.child.returncode}: {self.last_words()}")
            if time.monotonic() - begun > seconds_max:
                raise Unavailable(f"{self.name}: not {what} within {seconds_max:.0f} s: {lacking}; it said: {self.last_words()}")
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Asks it to end; kills it when it does not."""
        if self.child.poll() is not None:
            return
        self.child.send_signal(number)
        try:
            self.child.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def silence(port: int) -> str | None:
    """Absent when somebody accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return None if probe.connect_ex(("127.0.0.1", port)) == 0 else f"nobody listens on port {port}"


def refusal(url: str, body: bytes | None, good: tuple[int, ...]) -> str | None:
    """Absent when an HTTP call is answered with one of these."""
    status, text = post(url, body)
    return None if status in good else f"{url} answers {status}: {text[:300]}"


def post(url: str, body: bytes | None) -> tuple[int, str]:
    """Status and text of an HTTP call with JSON, or with nothing; status 0 when nobody answers."""
    request = urllib.request.Request(url, body, {"content-type": "application/json"} if body else {}, method="POST")
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError as error:
        return 0, str(error)


def end_as_by_exception() -> None:
    """From now on a signal to end runs what cleans up."""

    def end(number: int, _) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)


def hold(line: str) -> None:
    """Prints what to use, and waits until told to end."""
    print(line, flush=True)
    print(f"runs until Ctrl-C, or: kill {os.getpid()}", file=sys.stderr, flush=True)
    while True:
        signal.pause()
