"""A private PostgreSQL in a temporary folder, durable as it comes: fsync, synchronous_commit and full_page_writes are on.

The programs are those of the system (Debian: apt-get install postgresql), or of the folder that SEMPRE_POSTGRES_BIN names.
PostgreSQL does not run as root; there it runs as the user `postgres`.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import typing

from .cache import Unavailable
from .process import Process, free_ports

ADMIN = "admin"
# Said, though they are the defaults: whoever reads a run's files sees what was measured.
SETTINGS = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "max_connections": "200", "listen_addresses": "127.0.0.1"}


class Postgres(typing.NamedTuple):
    """A server that runs."""

    port: int
    # Its first process, whose children are the others.
    pid: int
    programs: pathlib.Path

    def sql(self, text: str, database: str = "postgres") -> str:
        line = [self.programs / "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", ADMIN, "-d", database, "-XAtc", text]
        done = subprocess.run(line, capture_output=True, text=True)
        if done.returncode != 0:
            raise Unavailable(f"PostgreSQL: {done.stderr.strip()}")
        return done.stdout.strip()

    def address(self, database: str) -> str:
        return f"postgresql://{ADMIN}@127.0.0.1:{self.port}/{database}"


def programs() -> pathlib.Path:
    """The folder with `postgres` and `initdb`: the newest version that is installed."""
    given = os.environ.get("SEMPRE_POSTGRES_BIN")
    if given:
        found = [pathlib.Path(given)]
    else:
        root = pathlib.Path("/usr/lib/postgresql")
        versions = [path for path in root.glob("*") if path.name.isdigit()]
        found = [path / "bin" for path in sorted(versions, key=lambda path: int(path.name), reverse=True)]
    for path in found:
        if (path / "initdb").exists() and (path / "postgres").exists():
            return path
    raise Unavailable("PostgreSQL is not installed (Debian: apt-get install postgresql; or SEMPRE_POSTGRES_BIN=the folder of its programs)")


def version() -> str:
    """Such as `PostgreSQL 15.18`."""
    done = subprocess.run([programs() / "postgres", "--version"], capture_output=True, text=True, check=True)
    return "PostgreSQL " + done.stdout.split()[2]


@contextlib.contextmanager
def cluster(parent: pathlib.Path):
    """A new server under `parent`; it ends and its folder goes at the end."""
    where = programs()
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
    folder = pathlib.Path(tempfile.mkdtemp(prefix="postgres-", dir=parent))
    try:
        if user:
            shutil.chown(folder, "postgres", "postgres")
        initdb = [where / "initdb", "-A", "trust", "-U", ADMIN, "-E", "UTF8", "--locale=C", "-D", folder / "data"]
        done = subprocess.run(initdb, capture_output=True, text=True, cwd="/", **user)
        if done.returncode != 0:
            raise Unavailable(f"PostgreSQL: initdb failed: {done.stderr.strip()}")
        (port,) = free_ports(1)
        settings = {**SETTINGS, "port": str(port), "unix_socket_directories": str(folder)}
        line = [where / "postgres", "-D", folder / "data", *(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))]
        server = Process("PostgreSQL", line, folder.parent / f"{folder.name}.log", cwd="/", **user)
        try:
            probe = [where / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port), "-U", ADMIN, "-d", "postgres"]
            server.until("ready", lambda: None if subprocess.run(probe).returncode == 0 else "pg_isready says no")
            yield Postgres(port, server.pid, where)
        finally:
            # Ends open sessions too.
            server.stop(signal.SIGINT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
