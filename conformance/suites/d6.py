"""D6: the tests of the official TypeScript SDK that start the server that skips time, beside its published packages.

All tests of a file that does so are run: some start a dev server, which is the binary too. They are compiled from a checkout;
the packages, with the native part, are those of npm of the same version.
"""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

from . import cache, process
from .outcome import FAILED, Outcome, python_reason, tap
from .run import Run, Suite

# For a file; each test has the limit its authors gave it.
SECONDS_MAX = 600
# What the files, and what they import, name: of the checkout's own packages, and of others.
OWN = [
    "activity", "client", "common", "core-bridge", "envconfig", "interceptors-opentelemetry", "nexus", "plugin", "proto", "testing", "worker",
    "workflow",
]  # fmt: skip
OTHERS = ["@grpc/grpc-js", "async-retry", "ava", "dedent", "long", "ms", "nexus-rpc", "rxjs", "stack-utils", "typescript"]
# One that npm does not have.
HELPERS = "test-helpers"
STARTS_TEST_SERVER = "createTimeSkipping("
# Where no server may be: what the SDK then finds instead of one, or else it would download Temporal's.
NOBODY = "#!/bin/sh\nexit 1\n"


def manifest(checkout: pathlib.Path, package: str) -> dict:
    return json.loads((checkout / "packages" / package / "package.json").read_text())


def packages(checkout: pathlib.Path, version: str) -> dict[str, str]:
    """What npm is asked for: the published packages, and the others as the checkout wants them."""
    wanted: dict[str, str] = {}
    for said in (json.loads((checkout / "package.json").read_text()), manifest(checkout, HELPERS), manifest(checkout, "test")):
        wanted |= said.get("devDependencies", {}) | said.get("dependencies", {})
    if missing := [name for name in OTHERS if name not in wanted]:
        sys.exit(f"{checkout} is not as this harness knows it: its tests name no {', '.join(missing)}")
    return {f"@temporalio/{name}": version for name in OWN} | {name: wanted[name] for name in OTHERS}


def digest(*folders: pathlib.Path) -> str:
    """Of all files below them, by name and content."""
    found = hashlib.sha256()
    for path in (path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()):
        found.update(f"{path.name}\0".encode() + path.read_bytes())
    return found.hexdigest()[:8]


def built(checkout: pathlib.Path, version: str) -> pathlib.Path:
    """A folder with the packages and the compiled tests."""
    tests, helpers = checkout / "packages" / "test", checkout / "packages" / HELPERS

    def compiled(home: pathlib.Path, source: pathlib.Path, out: pathlib.Path) -> None:
        subprocess.run(["node", pathlib.Path(__file__).with_name("transpile.js"), home, source, out], check=True)

    def make(home: pathlib.Path) -> None:
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        said = {"private": True, "dependencies": packages(checkout, version), "ava": manifest(checkout, "test")["ava"]}
        (home / "package.json").write_text(json.dumps(said, indent=1))
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"], cwd=home, check=True)
        own = home / "node_modules" / "@temporalio" / HELPERS
        compiled(home, helpers / "src", own / "lib")
        shutil.copy(helpers / "package.json", own)
        compiled(home, tests / "src", home / "lib")
        # Read by tests, by their place beside `lib`.
        shutil.copytree(tests / "history_files", home / "history_files")

    return cache.once(cache.folder() / f"typescript-sdk-{version}-{digest(tests / 'src', helpers / 'src')}", make)


def run(run: Run) -> list[Outcome]:
    assert run.checkout
    if not shutil.which("node") or not shutil.which("npm"):
        sys.exit("node and npm are needed to run the TypeScript SDK")
    version = manifest(run.checkout, "test")["version"]
    home = built(run.checkout, version)
    drop_ins = [f"temporal-test-server-sdk-typescript-{version}", f"temporal-sdk-typescript-{version}"]
    temporary = run.temporary(drop_ins)
    if not run.binary:
        for name in drop_ins:
            (temporary / name).write_text(NOBODY)
            (temporary / name).chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TEMPORAL_", "TESTS_", "NODE_"))}
    environment |= {"TMPDIR": str(temporary)}
    found = []
    for source in sorted((run.checkout / "packages" / "test" / "src").glob("test-*.ts")):
        if STARTS_TEST_SERVER not in source.read_text():
            continue
        line = [home / "node_modules" / ".bin" / "ava", "--tap", f"lib/{source.stem}.js"]
        ended = process.run(line, environment, home, run.log(source.stem), SECONDS_MAX)
        told, whole = tap(source.stem, ended.output)
        if not whole:
            reason = f"did not end within {SECONDS_MAX} s" if ended.code is None else python_reason(ended.output)
            told.append(Outcome(f"{source.stem}::the whole file", FAILED, ended.seconds, reason))
        found += told
    return [outcome for outcome in found if run.wants(outcome.test)]


SUITE = Suite(
    title="tests of the official TypeScript SDK that start the server that skips time",
    server_arguments=[],
    # What starts no test server is in the same files.
    subjects=[(r"^test-testenvironment|test server", "time skipping"), ("dev server|createLocal|download", "dev server"), ("", "replay")],
    run=run,
    tests_min=21,
    needs_checkout="a checkout of github.com/temporalio/sdk-typescript at a release's tag",
    jobs=1,
    names_tests=True,
    starts_servers=True,
)
