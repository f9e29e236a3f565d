"""Our own server and its bench: where they are, and how the server is started for generators other than sempre-bench."""

import contextlib
import json
import os
import pathlib
import subprocess
import tempfile

from figures.take import Failed, reason

from .cache import Unavailable
from .process import Process, free_ports, silence

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
NAME = "sempre"


def program(name: str, given: pathlib.Path | None, variable: str) -> pathlib.Path:
    """One of ours: as given, as the environment says, or of the target folder's release build."""
    wanted = given or os.environ.get(variable)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = pathlib.Path(wanted) if wanted else target / "release" / name
    if not path.is_file():
        raise Unavailable(f"{path} is not there: cargo build --release -p sempre -p sempre-bench, or --{name} PATH, or {variable}=PATH")
    return path.absolute()


@contextlib.contextmanager
def start(binary: pathlib.Path, parent: pathlib.Path):
    """A durable server on a new folder under `parent`; gives its address and pid. The folder goes at the end."""
    with tempfile.TemporaryDirectory(prefix="sempre-", dir=parent) as folder:
        (port,) = free_ports(1)
        line = [binary, "server", "start", "--ip", "127.0.0.1", "--log-level", "warn", "--port", str(port), "--data-dir", pathlib.Path(folder) / "data"]
        with Process(NAME, line, pathlib.Path(folder) / "log") as server:
            server.until("listening", lambda: silence(port))
            yield f"127.0.0.1:{port}", server.pid


def bench(program: pathlib.Path, server: pathlib.Path, folder: pathlib.Path, workload: str, in_flight: int, seconds: int, peer: str | None) -> dict:
    """What `sempre-bench` says of our server, and of a peer in turn."""
    line = [program, workload, "--server", server, "--folder", folder, "--in-flight", str(in_flight)]
    line += ["--seconds", str(seconds), "--rounds", "1", "--json", *(["--peer", peer] if peer else [])]
    # A workflow of a slow server may take its time; sempre-bench itself gives up after ten minutes.
    try:
        done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900 + 4 * seconds)
    except subprocess.TimeoutExpired:
        raise Failed(f"{workload}, {in_flight} in flight: sempre-bench did not end") from None
    if done.returncode != 0:
        raise Failed(f"{workload}, {in_flight} in flight: {reason(done.stderr, done.returncode)}")
    return json.loads(done.stdout)
