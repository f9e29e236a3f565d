"""What `bench/compare` puts beside our server: each side starts itself, and measures itself and us in turn."""

import contextlib
import dataclasses
import pathlib
import re
import typing

from figures import sdk

from . import dbos_app, restate_server, sempre, temporal_server
from .cache import Unavailable

GIVEN = re.compile(r"(?P<name>[^=,]+)=(?P<address>[^=,]+:\d+)(,pid=(?P<pids>\d+(\+\d+)*))?")


@dataclasses.dataclass(frozen=True)
class Ours:
    """Our server, and who makes the load on servers that speak Temporal's API: `raw` calls (sempre-bench), or an SDK's worker."""

    server: pathlib.Path
    bench: pathlib.Path | None
    generator: str
    folder: pathlib.Path

    def pair(self, at: "Moment", peer: str | None, pids: list[int]) -> list[dict]:
        """Our figures, then those of a peer that speaks Temporal's API if one is given."""
        if self.generator == "raw":
            report = sempre.bench(self.bench, self.server, self.folder, at.workload, at.in_flight, at.seconds, peer)
            return [{**figures, "round": at.round} for figures in report["figures"]]
        with sempre.start(self.server, self.folder) as (address, pid):
            found = [sdk.measure(self.generator, address, [pid], sempre.NAME, at, self.folder)]
        if peer:
            name, address = peer.partition(",")[0].split("=", 1)
            found.append(sdk.measure(self.generator, address, pids, name, at, self.folder))
        return found


class Moment(typing.NamedTuple):
    """One pair of measurements."""

    workload: str
    in_flight: int
    seconds: int
    round: int


@dataclasses.dataclass(frozen=True)
class Temporal:
    """One that speaks Temporal's API: started here, or running already."""

    name: str
    title: str
    # None: it runs already.
    variant: temporal_server.Variant | None
    # As `sempre-bench --peer` takes it, of one that runs already.
    given: str | None = None
    speaks_temporal = True

    @contextlib.contextmanager
    def open(self, ours: Ours):
        if self.given:
            pids = given_pids(self.given)
            yield Open(pids, "", lambda at: ours.pair(at, self.given, pids))
            return
        with temporal_server.start(self.variant, ours.folder) as running:
            yield Open(running.pids, running.version, lambda at: ours.pair(at, running.peer, running.pids))


@dataclasses.dataclass(frozen=True)
class Other:
    """One with a load of its own."""

    name: str
    title: str
    module: typing.Any
    speaks_temporal = False

    @contextlib.contextmanager
    def open(self, ours: Ours):
        if ours.generator != "raw":
            raise Unavailable("an SDK of Temporal makes the load, and it does not speak its API")
        with self.module.start(ours.folder) as running:
            yield Open(
                running.pids,
                running.version,
                lambda at: ours.pair(at, None, []) + [running.measure(at.workload, at.in_flight, at.seconds, at.round)],
            )


class Open(typing.NamedTuple):
    """A side at work."""

    pids: list[int]
    version: str
    # Our figures and its own, one after the other.
    pair: typing.Callable[[Moment], list[dict]]


def known() -> dict:
    """All sides by name."""
    sides = [Temporal(variant.name, variant.title, variant) for variant in temporal_server.VARIANTS.values()]
    sides.append(Other(restate_server.NAME, "Restate, each log synced", restate_server))
    sides.append(Other(dbos_app.NAME, "DBOS on PostgreSQL", dbos_app))
    return {side.name: side for side in sides}


def running(text: str) -> Temporal:
    """One that runs already: NAME=HOST:PORT[,pid=PID+PID]."""
    found = GIVEN.fullmatch(text)
    if not found:
        raise ValueError(f"`{text}` is no peer: write NAME=HOST:PORT, or NAME=HOST:PORT,pid=PID+PID for its figures of CPU and memory")
    return Temporal(found["name"], found["name"], None, text)


def given_pids(text: str) -> list[int]:
    pids = GIVEN.fullmatch(text)["pids"]
    return [int(pid) for pid in pids.split("+")] if pids else []
