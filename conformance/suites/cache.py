"""What is fetched or built once and used by every run: outside the repository, named by version, safe to delete.

`SEMPRE_CONFORMANCE_CACHE` names the folder; without it, `sempre-conformance` in the user's cache folder.
"""

import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import typing
import venv

# The source distribution of this PyPI package carries the whole workspace of the official core, tests included.
SDK_CORE_PACKAGE, SDK_CORE_VERSION = "temporalio", "1.35.0"
SDK_CORE_ROOT = "temporalio/bridge"
# What the suite's own runner builds with, and two things a fresh machine lacks: a protobuf compiler (the feature
# brings one), and a feature of uuid that the suite gets only by way of the WebAssembly runtime left out below.
SDK_CORE_FEATURES = "temporalio-common/serde_serialize,test-utilities,ephemeral-server,otel,temporalio-client/vendored-protox,uuid/std"
SDK_EXAMPLES_FEATURES = "examples,temporalio-client/vendored-protox,uuid/std"
# Only another test program needs it, and it doubles the build.
LEFT_OUT = '  "wasm-workflows",\n'


def folder() -> pathlib.Path:
    """The cache folder, made when it is not there."""
    given = os.environ.get("SEMPRE_CONFORMANCE_CACHE")
    base = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    path = pathlib.Path(given).absolute() if given else base / "sempre-conformance"
    path.mkdir(parents=True, exist_ok=True)
    return path


def once(path: pathlib.Path, make: typing.Callable[[pathlib.Path], None]) -> pathlib.Path:
    """`path`, made by `make` unless an earlier run made it whole. Two runs at a time make it once."""
    stamp = path / ".whole"
    with (path.parent / f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists():
            make(path)
            stamp.touch()
    return path


def rustc_version() -> str:
    """Such as 1.95.0: a build is of use to one compiler only."""
    return subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True).stdout.split()[1]


def sdk_core() -> pathlib.Path:
    """The core's workspace with its integration tests built: some five minutes, once. Returns the test program."""
    return sdk_core_built("tests") / "program"


def sdk_core_examples() -> pathlib.Path:
    """The folder of the built examples of the Rust SDK, which the core's workspace carries too."""
    sdk_core()
    return sdk_core_built("examples")


def sdk_core_built(what: str) -> pathlib.Path:
    """A folder in the workspace's cache with the programs of one kind."""
    path = folder() / f"sdk-core-{SDK_CORE_PACKAGE}-{SDK_CORE_VERSION}-rustc-{rustc_version()}"
    path.mkdir(exist_ok=True)
    source = once(path / "sdk-core", unpack_sdk_core)
    line = ["test", "--no-run", "-p", "temporalio-sdk-core", "--features", SDK_CORE_FEATURES, "--test", "integ_tests"]
    if what == "examples":
        line = ["build", "-p", "temporalio-sdk", "--features", SDK_EXAMPLES_FEATURES, "--examples"]
    return once(path / what, lambda built: build(path, source, line, built))


def build(path: pathlib.Path, source: pathlib.Path, line: list[str], built: pathlib.Path) -> None:
    """Builds and leaves links to the programs in `built`: test programs as `program`, examples by name."""
    # Neither debug information nor increments: half the time and a tenth of the space.
    environment = {**os.environ, "CARGO_TARGET_DIR": str(path / "target"), "CARGO_PROFILE_DEV_DEBUG": "0", "CARGO_INCREMENTAL": "0"}
    full = ["cargo", line[0], "--manifest-path", source / "Cargo.toml", "--message-format", "json-render-diagnostics", *line[1:]]
    print(f"conformance: builds the official core once, in {path}", file=sys.stderr, flush=True)
    # Not in the sources: their toolchain file would ask for another compiler.
    done = subprocess.run(full, check=True, cwd=path, env=environment, stdout=subprocess.PIPE, text=True)
    shutil.rmtree(built, ignore_errors=True)
    built.mkdir()
    for message in map(json.loads, done.stdout.splitlines()):
        if message.get("reason") == "compiler-artifact" and message.get("executable"):
            target = message["target"]
            (built / ("program" if "test" in target["kind"] else target["name"])).symlink_to(message["executable"])


def unpack_sdk_core(source: pathlib.Path) -> None:
    """Brings the sources. No test is changed; of the manifests, one optional feature is left out."""
    shutil.rmtree(source, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=source.parent) as temporary:
        fetched = pathlib.Path(temporary)
        wanted = ["--no-deps", "--no-binary", SDK_CORE_PACKAGE, f"{SDK_CORE_PACKAGE}=={SDK_CORE_VERSION}"]
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "-d", fetched, *wanted], check=True)
        (archive,) = fetched.glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(fetched, filter="data")
        root = fetched / f"{SDK_CORE_PACKAGE}-{SDK_CORE_VERSION}" / SDK_CORE_ROOT
        # The versions its authors locked; cargo adds those that only tests need.
        shutil.copy(root / "Cargo.lock", root / "sdk-core" / "Cargo.lock")
        manifest = root / "sdk-core" / "crates" / "sdk-core" / "Cargo.toml"
        text = manifest.read_text()
        if text.count(LEFT_OUT) != 1:
            sys.exit(f"{manifest} is not as this harness knows it")
        manifest.write_text(text.replace(LEFT_OUT, ""))
        (root / "sdk-core").rename(source)


def uv() -> pathlib.Path:
    """uv from the path, else from PyPI: pip's own resolver does not finish on the suites' locks."""
    if found := shutil.which("uv"):
        return pathlib.Path(found)

    def make(path: pathlib.Path) -> None:
        venv.create(path, with_pip=True, clear=True)
        subprocess.run([path / "bin" / "python", "-m", "pip", "install", "--quiet", "uv"], check=True)

    return once(folder() / "uv", make) / "bin" / "uv"


def python(name: str, checkout: pathlib.Path, export: list[str], more: list[str]) -> pathlib.Path:
    """An interpreter with what a checkout's lock file names; `more` are requirements beside it."""

    def make(path: pathlib.Path) -> None:
        shutil.rmtree(path, ignore_errors=True)
        subprocess.run([uv(), "venv", "--quiet", path], check=True)
        wanted = path / "requirements.txt"
        line = [uv(), "export", "--quiet", "--frozen", "--no-emit-project", "--no-hashes", *export]
        wanted.write_text(subprocess.run(line, check=True, cwd=checkout, capture_output=True, text=True).stdout)
        install = [uv(), "pip", "install", "--quiet", "--python", path / "bin" / "python"]
        subprocess.run([*install, "-r", wanted, *more], check=True, cwd=path)

    return once(folder() / name, make) / "bin" / "python"
