"""What is installed once and used by every run: outside the repository, named by version, safe to delete.

`SEMPRE_BENCH_CACHE` names the folder; without it, `sempre-bench` in the user's cache folder.
"""

import fcntl
import os
import pathlib
import signal
import subprocess
import sys
import typing
import venv


class Unavailable(Exception):
    """A peer that cannot be had here; says why, and what would help."""


def folder() -> pathlib.Path:
    """The cache folder, made when it is not there."""
    given = os.environ.get("SEMPRE_BENCH_CACHE")
    base = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    path = pathlib.Path(given).absolute() if given else base / "sempre-bench"
    path.mkdir(parents=True, exist_ok=True)
    return path


def once(name: str, make: typing.Callable[[pathlib.Path], None]) -> pathlib.Path:
    """The folder of that name, filled by `make` unless an earlier run did it whole. Two runs at a time do it once."""
    path = folder() / name
    stamp = path / ".whole"
    with (folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists():
            print(f"bench: installs {name} once, in {path}", file=sys.stderr, flush=True)
            path.mkdir(exist_ok=True)
            make(path)
            stamp.touch()
    return path


def run(command: list, what: str, **more) -> None:
    """Runs an installer; its last words are the reason when it fails."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    child = None
    # Who is told to end has to know the child that it takes along: nothing is heard between the child's start and that.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pipes["preexec_fn"] = lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        try:
            child = subprocess.Popen(command, **pipes, start_new_session=True, **more)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        out, errors = child.communicate()
    except FileNotFoundError:
        raise Unavailable(f"{what}: `{command[0]}` is not installed") from None
    except BaseException:
        # The compilers that it has started go too.
        if child is not None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        raise
    if child.returncode != 0:
        said = (errors.strip() or out.strip()).splitlines()
        raise Unavailable(f"{what}: `{' '.join(map(str, command))}` failed: {said[-1] if said else child.returncode}")


def python(package: str, version: str) -> pathlib.Path:
    """The interpreter of a virtual environment that has one package."""

    def make(path: pathlib.Path) -> None:
        venv.create(path, with_pip=True, clear=True)
        run([path / "bin" / "python", "-m", "pip", "install", "--quiet", f"{package}=={version}"], package)

    return once(f"{package}-{version}-python-{sys.version_info.major}.{sys.version_info.minor}", make) / "bin" / "python"
