"""Restate's server with a service of its Rust SDK, and load on its ingress."""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil

from figures import take

from . import cache, versions
from .cache import Unavailable
from .process import Process, free_ports, refusal, silence

NAME = "restate"
PACKAGE = "@restatedev/restate-server"
SERVICE = pathlib.Path(__file__).resolve().parent / "restate-service"
STEPS = 100


def server() -> pathlib.Path:
    """The server of RESTATE_SERVER=path, or of the npm package, installed once."""
    given = os.environ.get("RESTATE_SERVER")
    if given:
        if not pathlib.Path(given).is_file():
            raise Unavailable(f"RESTATE_SERVER names no file: {given}")
        return pathlib.Path(given).absolute()

    def make(path: pathlib.Path) -> None:
        # Its scripts report the installation to its authors.
        line = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", path]
        cache.run([*line, f"{PACKAGE}@{versions.RESTATE_SERVER}"], "Restate's server")

    path = cache.once(f"restate-server-{versions.RESTATE_SERVER}", make)
    found = list(path.glob("node_modules/@restatedev/restate-server-*/bin/restate-server"))
    if not found:
        raise Unavailable(f"Restate's server: {PACKAGE} has no program for this machine")
    return found[0]


def service() -> pathlib.Path:
    """Our service and load on its SDK, built by this compiler; RESTATE_SERVICE=path names one that is built already."""
    given = os.environ.get("RESTATE_SERVICE")
    if given:
        return pathlib.Path(given).absolute()
    if shutil.which("cargo") is None:
        raise Unavailable("Restate's service: `cargo` is not installed")
    target = cache.folder() / "restate-service"
    line = ["cargo", "build", "--release", "--quiet", "--locked", "--manifest-path", SERVICE / "Cargo.toml", "--target-dir", target]
    cache.run(line, "Restate's service")
    return target / "release" / "sempre-bench-restate"


def configuration(folder: pathlib.Path, node: int, admin: int, ingress: int) -> str:
    """As it comes, but on the loopback, without reports to its authors, and with each log's sync said: a record is synced before it is
    acknowledged."""
    return f"""\
cluster-name = "bench"
node-name = "bench"
base-dir = "{folder / 'data'}"
listen-mode = "tcp"
bind-address = "127.0.0.1:{node}"
advertised-address = "http://127.0.0.1:{node}/"
disable-telemetry = true
log-filter = "warn"
log-disable-ansi-codes = true

[admin]
bind-address = "127.0.0.1:{admin}"

[ingress]
bind-address = "127.0.0.1:{ingress}"

[log-server]
rocksdb-disable-wal-fsync = false

[bifrost.local]
rocksdb-disable-wal = false
rocksdb-disable-wal-fsync = false
"""


@dataclasses.dataclass(frozen=True)
class Running:
    """A server that knows the service."""

    ingress: str
    server: Process
    service: Process
    program: pathlib.Path
    folder: pathlib.Path

    name = NAME

    @property
    def pids(self) -> list[int]:
        return [self.server.pid]

    @property
    def version(self) -> str:
        return versions.RESTATE_SERVER if "RESTATE_SERVER" not in os.environ else os.environ["RESTATE_SERVER"]

    def measure(self, workload: str, in_flight: int, seconds: int, number: int) -> dict:
        """One round of a workload. The service is the worker: its CPU is told by itself."""
        place = take.Place(workload, NAME, in_flight, number, take.UNITS[workload])
        line = [self.program, "load", self.ingress, workload, str(in_flight), str(seconds), str(STEPS)]
        steps = STEPS if workload == "steps" else 1
        return take.drive(line, place, seconds, self.folder, self.pids, {"service": [self.service.pid]}, steps=steps)


@contextlib.contextmanager
def start(parent: pathlib.Path):
    """Starts both with an empty store under `parent`."""
    binary, program = server(), service()
    folder = parent / NAME
    folder.mkdir()
    node, admin, ingress, port = free_ports(4)
    file = folder / "restate.toml"
    file.write_text(configuration(folder, node, admin, ingress))
    with contextlib.ExitStack() as stack:
        mine = stack.enter_context(Process("Restate's service", [program, "serve", f"127.0.0.1:{port}"], parent / "restate-service.log"))
        mine.until("listening", lambda: silence(port))
        # Not what this process was told by its environment: the file says all.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RESTATE_")} | {"DO_NOT_TRACK": "1"}
        line = [binary, "--config-file", file, "--no-logo"]
        theirs = stack.enter_context(Process("Restate's server", line, parent / "restate.log", cwd=folder, env=environment))
        body = json.dumps({"uri": f"http://127.0.0.1:{port}"}).encode()
        theirs.until("ready to register a service", lambda: refusal(f"http://127.0.0.1:{admin}/deployments", body, (200, 201)))
        probe = f"http://127.0.0.1:{ingress}/Short/probe/run"
        theirs.until("ready to run a workflow", lambda: refusal(probe, None, (200, 409)))
        yield Running(f"127.0.0.1:{ingress}", theirs, mine, program, folder)
