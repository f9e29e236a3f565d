"""Tests of configuration files, installs, arguments: `python3 -m unittest discover -s bench -t bench`. Nothing is installed here."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import unittest
from unittest import mock

from . import cache, postgres, process, restate_server, sempre, sides, temporal_server
from .cache import Unavailable

BENCH = pathlib.Path(__file__).resolve().parent.parent


def run(*words: str, **environment: str) -> tuple[int, str]:
    """A script of ours: its code, and what it says."""
    done = subprocess.run(
        [sys.executable, BENCH / words[0], *words[1:]], capture_output=True, text=True, env={**os.environ, **environment}, stdin=subprocess.DEVNULL
    )
    return done.returncode, done.stdout + done.stderr


class Temporal(unittest.TestCase):
    def configuration(self, name: str, postgres_port: int | None) -> dict:
        return temporal_server.configuration(temporal_server.VARIANTS[name], pathlib.Path("/data"), list(range(7001, 7010)), postgres_port)

    def test_there_are_three_stores_with_and_without_limits(self):
        self.assertEqual(
            list(temporal_server.VARIANTS),
            [
                "temporal-sqlite",
                "temporal-sqlite-lifted",
                "temporal-postgres-4",
                "temporal-postgres-4-lifted",
                "temporal-postgres-512",
                "temporal-postgres-512-lifted",
            ],
        )

    def test_sqlite_is_a_file_that_is_synced_at_each_commit(self):
        found = self.configuration("temporal-sqlite", None)["persistence"]
        for store in found["datastores"].values():
            self.assertEqual(store["sql"]["databaseName"], "/data/temporal.db")
            self.assertEqual((store["sql"]["connectAttributes"]["synchronous"], store["sql"]["connectAttributes"]["journal_mode"]), ("2", "wal"))
        self.assertEqual(found["numHistoryShards"], 1)

    def test_postgres_has_the_shards_of_its_name_and_two_databases(self):
        for shards in (4, 512):
            found = self.configuration(f"temporal-postgres-{shards}", 5555)["persistence"]
            self.assertEqual(found["numHistoryShards"], shards)
            stores = [store["sql"] for store in found["datastores"].values()]
            self.assertEqual({store["connectAddr"] for store in stores}, {"127.0.0.1:5555"})
            self.assertEqual([store["databaseName"] for store in stores], ["temporal", "temporal_visibility"])

    def test_every_port_is_used_once_and_on_the_loopback(self):
        services = self.configuration("temporal-sqlite", None)["services"]
        ports = [value for service in services.values() for name, value in service["rpc"].items() if name.endswith("Port")]
        self.assertEqual(sorted(ports), list(range(7001, 7010)))
        self.assertEqual({service["rpc"]["bindOnIP"] for service in services.values()}, {"127.0.0.1"})
        self.assertEqual((services["frontend"]["rpc"]["grpcPort"], services["frontend"]["rpc"]["httpPort"]), (7001, 7002))

    def test_limits_are_lifted_where_the_name_says_so_and_nowhere_else(self):
        self.assertNotIn("dynamicConfigClient", self.configuration("temporal-sqlite", None))
        self.assertEqual(self.configuration("temporal-sqlite-lifted", None)["dynamicConfigClient"]["filepath"], "/data/dynamic.yaml")
        lifted = temporal_server.dynamic_configuration()
        self.assertEqual(lifted["frontend.namespaceRPS"], [{"value": temporal_server.LIFTED}])
        self.assertEqual(len(lifted), len(set(temporal_server.RATE_LIMITS)))

    def test_the_server_is_at_the_given_path_and_its_tool_beside_it(self):
        with tempfile.TemporaryDirectory() as folder:
            server = pathlib.Path(folder) / "temporal-server"
            server.touch()
            with mock.patch.dict(os.environ, {"TEMPORAL_SERVER": str(server)}):
                self.assertEqual(temporal_server.programs(), temporal_server.Programs(server, None))
                tool = pathlib.Path(folder) / "temporal-sql-tool"
                tool.touch()
                self.assertEqual(temporal_server.programs().sql_tool, tool)
            with mock.patch.dict(os.environ, {"TEMPORAL_SERVER": f"{folder}/none"}), self.assertRaisesRegex(Unavailable, "names no file"):
                temporal_server.programs()

    def test_a_limit_that_the_server_does_not_know_is_told(self):
        with tempfile.TemporaryDirectory() as folder:
            server = pathlib.Path(folder) / "server"
            server.write_text("#!/bin/sh\necho 'file'; echo '  warning: unregistered key: frontend.rps'\n")
            server.chmod(0o755)
            with self.assertRaisesRegex(Unavailable, "unregistered key: frontend.rps"):
                temporal_server.check_dynamic(server, pathlib.Path("x"))


class Restate(unittest.TestCase):
    def test_its_configuration_is_durable_silent_and_on_the_loopback(self):
        found = tomllib.loads(restate_server.configuration(pathlib.Path("/data"), 1, 2, 3))
        self.assertIs(found["log-server"]["rocksdb-disable-wal-fsync"], False)
        self.assertIs(found["bifrost"]["local"]["rocksdb-disable-wal-fsync"], False)
        self.assertIs(found["disable-telemetry"], True)
        addresses = [found["bind-address"], found["admin"]["bind-address"], found["ingress"]["bind-address"]]
        self.assertEqual(addresses, ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"])

    def test_the_version_of_its_sdk_is_pinned_and_locked(self):
        manifest = tomllib.loads((restate_server.SERVICE / "Cargo.toml").read_text())
        wanted = manifest["dependencies"]["restate-sdk"]
        locked = tomllib.loads((restate_server.SERVICE / "Cargo.lock").read_text())["package"]
        self.assertEqual([f"={package['version']}" for package in locked if package["name"] == "restate-sdk"], [wanted])
        # Nothing of ours builds it along.
        self.assertEqual(manifest["workspace"], {})


class Installs(unittest.TestCase):
    def setUp(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(mock.patch.dict(os.environ, {"SEMPRE_BENCH_CACHE": str(self.folder / "cache")}))
        stack.enter_context(contextlib.redirect_stderr(stack.enter_context(open(os.devnull, "w"))))

    def test_what_is_whole_is_made_once(self):
        made = []
        for _ in range(2):
            path = cache.once("thing-1", lambda path: made.append(path))
        self.assertEqual((path, made), (self.folder / "cache" / "thing-1", [path]))

    def test_what_failed_is_made_again(self):
        def fails(_):
            raise Unavailable("no")

        with self.assertRaises(Unavailable):
            cache.once("thing-1", fails)
        made = []
        cache.once("thing-1", made.append)
        self.assertEqual(len(made), 1)

    def test_an_installer_that_fails_or_is_not_there_is_quoted(self):
        with self.assertRaisesRegex(Unavailable, "a thing: .*no such package"):
            cache.run(["sh", "-c", "echo no such package >&2; exit 1"], "a thing")
        with self.assertRaisesRegex(Unavailable, "`nosuchinstaller` is not installed"):
            cache.run(["nosuchinstaller"], "a thing")

    def test_an_installer_that_is_ended_takes_its_own_children_along(self):
        note = self.folder / "pid"

        def told_to_end(*_):
            raise SystemExit(143)

        before = signal.signal(signal.SIGALRM, told_to_end)
        try:
            # Its child writes its own pid, then the signal comes.
            line = f"sh -c 'echo $$ > {note}; kill -ALRM {os.getpid()}; exec sleep 600'; true"
            with self.assertRaises(SystemExit):
                cache.run(["sh", "-c", line], "a thing")
        finally:
            signal.signal(signal.SIGALRM, before)
        stat = pathlib.Path(f"/proc/{int(note.read_text())}/stat")
        until = time.monotonic() + 20
        while (state := self.state(stat)) not in ("gone", "Z") and time.monotonic() < until:
            time.sleep(0.01)
        # Or dead, and not yet waited for by whoever inherits it.
        self.assertIn(state, ("gone", "Z"))

    def state(self, stat: pathlib.Path) -> str:
        try:
            return stat.read_text().rpartition(")")[2].split()[0]
        except OSError:
            return "gone"

    def test_postgres_is_asked_for_by_its_package(self):
        with mock.patch.dict(os.environ, {"SEMPRE_POSTGRES_BIN": str(self.folder)}), self.assertRaisesRegex(Unavailable, "apt-get install postgresql"):
            postgres.programs()
        self.assertEqual((postgres.SETTINGS["fsync"], postgres.SETTINGS["synchronous_commit"]), ("on", "on"))


class Processes(unittest.TestCase):
    def test_ports_are_different(self):
        self.assertEqual(len(set(process.free_ports(20))), 20)
        few = process.free_ports(20, below=1 << 15)
        self.assertEqual(len(set(few)), 20)
        self.assertLess(max(few), 1 << 15)

    def test_one_that_ends_early_is_quoted_and_one_that_runs_is_stopped(self):
        with tempfile.TemporaryDirectory() as folder:
            log = pathlib.Path(folder) / "log"
            dead = process.Process("a thing", ["sh", "-c", "echo no room; exit 3"], log)
            with self.assertRaisesRegex(Unavailable, "a thing ended with 3: no room"):
                dead.until("ready", lambda: "nothing")
            with process.Process("another", ["sleep", "600"], log) as running:
                with self.assertRaisesRegex(Unavailable, "another: not ready within 0 s: nobody came"):
                    running.until("ready", lambda: "nobody came", 0.01)
            self.assertEqual(running.child.returncode, -15)
            with self.assertRaisesRegex(Unavailable, "`/nowhere/x` does not start"):
                process.Process("third", ["/nowhere/x"], log)

    def test_nobody_at_an_address_is_status_zero(self):
        (port,) = process.free_ports(1)
        self.assertEqual(process.post(f"http://127.0.0.1:{port}", None)[0], 0)
        self.assertIn("answers 0: ", process.refusal(f"http://127.0.0.1:{port}", b"{}", (200,)))
        self.assertIn(str(port), process.silence(port))


class Sides(unittest.TestCase):
    def test_one_that_runs_is_named_with_its_address_and_processes(self):
        side = sides.running("x=h:1,pid=2+3")
        self.assertEqual((side.name, sides.given_pids(side.given)), ("x", [2, 3]))
        self.assertEqual(sides.given_pids("x=h:1"), [])
        for wrong in ("", "x", "x=h", "=h:1", "x=h:1,pid=", "x=h:1,pid=a", "x=h:1,cpu=2"):
            with self.assertRaisesRegex(ValueError, "NAME=HOST:PORT", msg=wrong):
                sides.running(wrong)

    def test_sempre_bench_is_quoted_when_it_fails_and_believed_when_not(self):
        with tempfile.TemporaryDirectory() as folder:
            program = pathlib.Path(folder) / "bench"
            program.write_text('#!/bin/sh\necho "{\\"figures\\": [{\\"words\\": \\"$*\\"}]}"\n')
            program.chmod(0o755)
            call = lambda: sempre.bench(program, pathlib.Path("/s"), pathlib.Path("/f"), "short", 16, 2, "x=h:1")  # noqa: E731
            self.assertEqual(
                call()["figures"][0]["words"], "short --server /s --folder /f --in-flight 16 --seconds 2 --rounds 1 --json --peer x=h:1"
            )
            program.write_text("#!/bin/sh\necho 'a worker broke' >&2; exit 1\n")
            with self.assertRaisesRegex(sempre.Failed, "a worker broke"):
                call()


class CommandLines(unittest.TestCase):
    def test_every_script_tells_what_it_does(self):
        for script in ("compare", "plot", "peers/temporal", "peers/restate", "peers/dbos", "sdk/python"):
            code, said = run(script, "--help")
            self.assertEqual((code, "usage:" in said), (0, True), script)

    def test_peers_are_listed(self):
        code, said = run("compare", "--list")
        self.assertEqual(code, 0)
        for name in ("temporal-sqlite", "temporal-postgres-512-lifted", "restate", "dbos"):
            self.assertIn(f"{name} ", said)

    def test_wrong_words_are_refused_with_what_is_right(self):
        for words, wanted in (
            (["compare", "--peers", "nobody"], "no peer is called nobody; there are temporal-sqlite"),
            (["compare", "--workloads", "c"], "no workload here is called c; there are short, steps"),
            (["compare", "--in-flight", "0"], "no list of numbers"),
            (["compare", "--seconds", "0"], "no whole number from 1 up"),
            (["compare", "--rounds", "0"], "no whole number from 1 up"),
            (["sdk/python", "short", "--rounds", "x"], "no whole number from 1 up"),
            (["compare", "--peer", "x=y"], "write NAME=HOST:PORT"),
            (["compare", "--sempre", "/nowhere", "--out", os.devnull + "x"], "/nowhere is not there"),
            (["sdk/python", "short", "--pid", "1"], "--pid belongs to --address"),
            (["sdk/python", "short", "--sempre", "/nowhere"], "/nowhere is not there"),
            (["peers/temporal", "mysql"], "invalid choice"),
            (["plot", "/nowhere.json"], "No such file"),
        ):
            code, said = run(*words)
            self.assertNotEqual(code, 0, words)
            self.assertIn(wanted, said, words)

    def test_what_is_no_report_is_not_drawn(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"figures": []}, file)
            file.flush()
            code, said = run("plot", file.name)
            self.assertEqual((code, "is no report of bench/compare" in said), (1, True), said)

    def test_a_fixed_report_is_drawn_beside_its_table(self):
        with tempfile.TemporaryDirectory() as folder:
            code, said = run("plot", str(BENCH / "figures" / "fixture" / "compare.json"), "--out", folder, "--table")
            self.assertEqual(code, 0, said)
            self.assertEqual(sorted(os.listdir(folder)), ["short-cpu.svg", "short-throughput.svg", "steps-cpu.svg", "steps-throughput.svg"])
            self.assertIn("# Side by side", said)

    def test_a_peer_that_cannot_be_had_is_skipped_and_the_table_says_so(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("sempre", "sempre-bench"):
                (pathlib.Path(folder) / name).write_text("#!/bin/sh\n")
                (pathlib.Path(folder) / name).chmod(0o755)
            code, said = run(
                "compare",
                *("--peers", "temporal-sqlite", "--out", f"{folder}/out"),
                *("--sempre", f"{folder}/sempre", "--sempre-bench", f"{folder}/sempre-bench"),
                TEMPORAL_SERVER="/nowhere",
            )
            self.assertEqual(code, 1)
            self.assertIn("SKIPPED: temporal-sqlite: TEMPORAL_SERVER names no file: /nowhere", said)
            self.assertIn("- Temporal, SQLite file, as shipped: TEMPORAL_SERVER names no file", pathlib.Path(f"{folder}/out/compare.md").read_text())


# Stands for sempre-bench: figures of both sides, and a failure with 16 in flight.
FAKE = f"""#!{sys.executable}
import json, sys
words = sys.argv[1:]
value = dict(zip(words[1::2], words[2::2]))
if value["--in-flight"] == "16":
    sys.exit("Error: the worker was refused")
one = dict(workload=words[0], in_flight=int(value["--in-flight"]), round=1, unit="workflow", p50_ms=1, p99_ms=2, disk_bytes_per_unit=3, flushes_per_unit=1)
one |= dict(rss_mib=5, calibration=dict(sync_us=100, loop_ms=50), more=dict())
figures = [one | dict(target="sempre", per_second=300, cpu_ms_per_unit=0.5), one | dict(target="x", per_second=100, cpu_ms_per_unit=2)]
print(json.dumps(dict(figures=figures)))
"""


class Comparing(unittest.TestCase):
    def test_pairs_are_made_in_turn_and_what_fails_is_not_tried_again(self):
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "sempre").write_text("#!/bin/sh\necho sempre 1\n")
            (pathlib.Path(folder) / "sempre-bench").write_text(FAKE)
            for name in ("sempre", "sempre-bench"):
                (pathlib.Path(folder) / name).chmod(0o755)
            code, said = run(
                "compare",
                *("--peer", "x=127.0.0.1:1", "--workloads", "short", "--in-flight", "1,16,64", "--rounds", "2", "--seconds", "1"),
                *("--sempre", f"{folder}/sempre", "--sempre-bench", f"{folder}/sempre-bench", "--out", f"{folder}/out"),
            )
            self.assertEqual(code, 0, said)
            report = json.loads(pathlib.Path(f"{folder}/out/compare.json").read_text())
            text = pathlib.Path(f"{folder}/out/compare.md").read_text()
            drawn = sorted(path.name for path in pathlib.Path(f"{folder}/out").glob("*.svg"))
        order = [(figures["round"], figures["in_flight"], figures["target"]) for figures in report["figures"]]
        self.assertEqual(order, [(number, at, who) for number in (1, 2) for at in (1, 64) for who in ("sempre", "x")])
        self.assertEqual([(one["peer"], one["in_flight"]) for one in report["failed"]], [("x", 16)])
        self.assertIn("the worker was refused", report["failed"][0]["why"])
        self.assertIn("| 3.00 (3.00–3.00) | 4.00 (4.00–4.00) | 2 |", text)
        self.assertEqual(drawn, ["short-cpu.svg", "short-throughput.svg"])


if __name__ == "__main__":
    unittest.main()
