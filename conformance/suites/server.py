"""The server under test: a binary that is started on a free port and ended afterwards, or an address.

It is a black box: nothing here knows more of it than Temporal's own command line.
"""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 20


def free_port() -> int:
    """A port nobody listens on, below those the system hands out."""
    for step in range(10_000):
        port = 20_000 + (os.getpid() * 7 + step) % 10_000
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    sys.exit("no free port from 20000 to 29999")


class Server:
    """`binary server start-dev` with its log and its data folder in `folder`."""

    def __init__(self, binary: pathlib.Path, folder: pathlib.Path, name: str, arguments: list[str]):
        self.binary, self.arguments = binary, arguments
        self.log = folder / f"{name}-server.log"
        self.data = folder / f"{name}-data"
        self.process: subprocess.Popen | None = None
        self.address = ""

    def __enter__(self) -> "Server":
        port = free_port()
        line = [self.binary, "server", "start-dev", "--ip", "127.0.0.1", "--port", str(port), "--headless", "--log-level", "warn"]
        # A folder for one server, a file for another.
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.unlink(missing_ok=True)
        line += ["--db-filename", str(self.data)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([*line, *self.arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        begin = time.monotonic()
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                self.address = f"127.0.0.1:{port}"
                return self
            except OSError:
                if self.process.poll() is not None:
                    sys.exit(f"{self.binary} ended at once with {self.process.returncode}; see {self.log}")
                if time.monotonic() - begin > START_SECONDS_MAX:
                    self.process.kill()
                    sys.exit(f"{self.binary} does not listen on port {port}; see {self.log}")
                time.sleep(0.02)

    def __exit__(self, *_) -> None:
        """Asks it to end, so that its data is whole; kills it when it does not."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def check(self) -> str:
        """Rebuilds every run of the data folder from its history. Returns what is wrong, or nothing; prints the counts."""
        if not (self.data / "FORMAT").is_file():
            return ""
        done = subprocess.run([self.binary, "store", "check", self.data], capture_output=True, text=True)
        print(done.stdout, end="", flush=True)
        return "" if done.returncode == 0 else f"the runs in {self.data} are not what their histories say: {done.stderr.strip()}"

    def ended(self) -> int | None:
        """The exit code of a server that is gone although nobody asked it to go."""
        assert self.process
        return self.process.poll()


class Running:
    """A server somebody else started."""

    def __init__(self, address: str):
        self.address = address
        self.data = None

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_) -> None:
        pass

    def check(self) -> str:
        return ""

    def ended(self) -> int | None:
        return None


class Nobody(Running):
    """A port on which nobody listens: what passes here needs no server."""

    def __init__(self):
        super().__init__(f"127.0.0.1:{free_port()}")
