"""Temporal's own server: which kinds of it are measured, their configuration, how one is started."""

import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import time

from . import cache, postgres, versions
from .cache import Unavailable
from .process import Process, free_ports, refusal

MODULE = "go.temporal.io/server"
# More than one machine reaches.
LIFTED = 1_000_000
# Every limit of calls, queries and dispatched tasks per second that is on by default, and the number of open polls of a namespace.
RATE_LIMITS = [
    "admin.matchingNamespaceToPartitionDispatchRate",
    "admin.matchingNamespaceTaskqueueToPartitionDispatchRate",
    "frontend.namespaceCount",
    "frontend.namespaceRPS",
    "frontend.namespaceRPS.visibility",
    "frontend.persistenceMaxQPS",
    "frontend.rps",
    "history.persistenceMaxQPS",
    "history.rps",
    "history.timerProcessorMaxPollRPS",
    "history.transferProcessorMaxPollRPS",
    "history.visibilityProcessorMaxPollRPS",
    "matching.forwarderMaxRatePerSecond",
    "matching.persistenceMaxQPS",
    "matching.rps",
    "system.visibilityPersistenceMaxReadQPS",
    "system.visibilityPersistenceMaxWriteQPS",
    "worker.persistenceMaxQPS",
]
NAMESPACE = "default"


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to run it. On PostgreSQL with so many history shards; without a number, on a SQLite file with the one that it has there."""

    shards: int | None
    lifted: bool

    @property
    def name(self) -> str:
        store = f"postgres-{self.shards}" if self.shards else "sqlite"
        return f"temporal-{store}" + ("-lifted" if self.lifted else "")

    @property
    def title(self) -> str:
        store = f"PostgreSQL, {self.shards} shards" if self.shards else "SQLite file"
        return f"Temporal, {store}, {'rate limits lifted' if self.lifted else 'as shipped'}"


VARIANTS = {variant.name: variant for shards in (None, 4, 512) for lifted in (False, True) for variant in [Variant(shards, lifted)]}


@dataclasses.dataclass(frozen=True)
class Programs:
    """The server, and the tool that makes its tables in PostgreSQL."""

    server: pathlib.Path
    sql_tool: pathlib.Path | None

    def version(self) -> str:
        done = subprocess.run([self.server, "--version"], capture_output=True, text=True)
        return done.stdout.strip().removeprefix("temporal version ") or "unknown"


def programs() -> Programs:
    """Those of TEMPORAL_SERVER, or of the Go module, installed once."""
    given = os.environ.get("TEMPORAL_SERVER")
    if given:
        server = pathlib.Path(given).absolute()
        if not server.is_file():
            raise Unavailable(f"TEMPORAL_SERVER names no file: {server}")
        tool = os.environ.get("TEMPORAL_SQL_TOOL")
        beside = [pathlib.Path(tool).absolute()] if tool else [server.parent / name for name in ("temporal-sql-tool", "sql")]
        return Programs(server, next((path for path in beside if path.is_file()), None))

    def make(path: pathlib.Path) -> None:
        wanted = [f"{MODULE}/cmd/{what}@v{versions.TEMPORAL_SERVER}" for what in ("server", "tools/sql")]
        cache.run(["go", "install", *wanted], "Temporal's server", env={**os.environ, "GOBIN": str(path)})

    path = cache.once(f"temporal-server-{versions.TEMPORAL_SERVER}", make)
    return Programs(path / "server", path / "sql")


def sql_store(database: str, connections: int, port: int | None) -> dict:
    """One store of the configuration. SQLite: a file, write-ahead log, every commit synced, as in the development configuration."""
    if port is None:
        return {
            "pluginName": "sqlite",
            "databaseName": database,
            "connectAddr": "localhost",
            "connectProtocol": "tcp",
            "connectAttributes": {"cache": "private", "setup": "true", "journal_mode": "wal", "synchronous": "2"},
            "maxConns": 1,
            "maxIdleConns": 1,
            "maxConnLifetime": "1h",
        }
    return {
        "pluginName": "postgres12",
        "databaseName": database,
        "connectAddr": f"127.0.0.1:{port}",
        "connectProtocol": "tcp",
        "user": postgres.ADMIN,
        "password": "",
        "maxConns": connections,
        "maxIdleConns": connections,
        "maxConnLifetime": "1h",
    }


def configuration(variant: Variant, folder: pathlib.Path, ports: list[int], postgres_port: int | None) -> dict:
    """Its configuration file: what the development and Docker configurations say where they concern this, one process, loopback only.
    Without metrics, whose cost is its own. `ports`: nine free ones, the frontend's first, then that of its HTTP API."""
    frontend, http, *others = ports
    rpc = {"frontend": {"grpcPort": frontend, "httpPort": http, "membershipPort": others[0]}}
    for at, service in enumerate(("matching", "history", "worker")):
        rpc[service] = {"grpcPort": others[1 + 2 * at], "membershipPort": others[2 + 2 * at]}
    file = str(folder / "temporal.db")
    names = (file, file) if postgres_port is None else ("temporal", "temporal_visibility")
    text = {
        "log": {"stdout": True, "level": "warn"},
        "persistence": {
            "defaultStore": "main",
            "visibilityStore": "visibility",
            "numHistoryShards": variant.shards or 1,
            "datastores": {
                "main": {"sql": sql_store(names[0], 20, postgres_port)},
                "visibility": {"sql": sql_store(names[1], 10, postgres_port)},
            },
        },
        "global": {"membership": {"maxJoinDuration": "30s", "broadcastAddress": "127.0.0.1"}},
        "services": {service: {"rpc": {**numbers, "bindOnIP": "127.0.0.1"}} for service, numbers in rpc.items()},
        "clusterMetadata": {
            "enableGlobalNamespace": False,
            "failoverVersionIncrement": 10,
            "masterClusterName": "active",
            "currentClusterName": "active",
            "clusterInformation": {
                "active": {
                    "enabled": True,
                    "initialFailoverVersion": 1,
                    "rpcName": "frontend",
                    "rpcAddress": f"127.0.0.1:{frontend}",
                    "httpAddress": f"127.0.0.1:{http}",
                }
            },
        },
        "dcRedirectionPolicy": {"policy": "noop"},
    }
    if variant.lifted:
        text["dynamicConfigClient"] = {"filepath": str(folder / "dynamic.yaml"), "pollInterval": "10s"}
    return text


def dynamic_configuration() -> dict:
    """What lifts the rate limits."""
    return {name: [{"value": LIFTED}] for name in RATE_LIMITS}


@dataclasses.dataclass(frozen=True)
class Running:
    """A server that answers."""

    name: str
    address: str
    # Its own process, and that of its database.
    pids: list[int]
    version: str

    @property
    def peer(self) -> str:
        """As `sempre-bench --peer` takes it."""
        return f"{self.name}={self.address},pid={'+'.join(map(str, self.pids))}"


@contextlib.contextmanager
def start(variant: Variant, parent: pathlib.Path):
    """Starts one with its database under `parent`, with an empty store; waits until a workflow can be started on it."""
    found = programs()
    with contextlib.ExitStack() as stack:
        database = None
        if variant.shards:
            if found.sql_tool is None:
                raise Unavailable("temporal-sql-tool is neither beside TEMPORAL_SERVER nor named by TEMPORAL_SQL_TOOL: it makes the tables")
            database = stack.enter_context(postgres.cluster(parent))
            make_tables(found.sql_tool, database.port)
        folder = parent / variant.name
        folder.mkdir()
        # In PostgreSQL it keeps the ports of its members in columns of 16 bits with a sign.
        ports = free_ports(9, below=1 << 15)
        # JSON is YAML.
        file = folder / "server.yaml"
        file.write_text(json.dumps(configuration(variant, folder, ports, database and database.port), indent=2))
        if variant.lifted:
            (folder / "dynamic.yaml").write_text(json.dumps(dynamic_configuration(), indent=2))
            check_dynamic(found.server, folder / "dynamic.yaml")
        line = [found.server, "--config-file", file, "--allow-no-auth", "start"]
        server = stack.enter_context(Process(variant.name, line, parent / f"{variant.name}.log", cwd=folder))
        wait_until_ready(server, ports[1])
        yield Running(variant.name, f"127.0.0.1:{ports[0]}", [server.pid] + ([database.pid] if database else []), found.version())


def make_tables(tool: pathlib.Path, port: int) -> None:
    """Both databases, as its own tool makes them."""
    for database, schema in (("temporal", "postgresql/v12/temporal"), ("temporal_visibility", "postgresql/v12/visibility")):
        line = [tool, "--endpoint", "127.0.0.1", "--port", str(port), "--user", postgres.ADMIN, "--plugin", "postgres12", "--database", database]
        for words in (["create"], ["setup-schema", "--version", "0.0"], ["update-schema", "--schema-name", schema]):
            cache.run([*line, *words], "Temporal's tables")


def check_dynamic(server: pathlib.Path, file: pathlib.Path) -> None:
    """A key that this version does not know would lift nothing, silently."""
    done = subprocess.run([server, "validate-dynamic-config", file], capture_output=True, text=True)
    said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if "error:" in line or "warning:" in line]
    if done.returncode != 0 or said:
        raise Unavailable(f"Temporal's server takes not all of the lifted limits: {'; '.join(said) or done.returncode}")


def wait_until_ready(server: Process, http: int) -> None:
    """Makes the namespace; then workflows can be started some seconds later."""
    root = f"http://127.0.0.1:{http}/api/v1/namespaces"
    body = json.dumps({"namespace": NAMESPACE, "workflowExecutionRetentionPeriod": "86400s"}).encode()
    # 409: there already, as after an answer that was lost.
    server.until("ready to make a namespace", lambda: refusal(root, body, (200, 409)))
    begun = time.monotonic()

    def not_started() -> str | None:
        name = f"probe-{time.monotonic() - begun:.3f}"
        probe = {"workflowType": {"name": "probe"}, "taskQueue": {"name": "probe"}, "workflowRunTimeout": "1s", "requestId": name, "identity": "bench"}
        return refusal(f"{root}/{NAMESPACE}/workflows/{name}", json.dumps(probe).encode(), (200,))

    server.until("ready to start a workflow", not_started)
