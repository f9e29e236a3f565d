"""A server, a worker and runs in every state, for the tour."""

import asyncio
import os
import subprocess
import tempfile
import threading
import time
import uuid

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from browser import SECONDS
from workflows import ACTIVITIES, WORKFLOWS, Approval, Broken, Loop, Order, Refused, Transfer

QUEUE = "shop"
# An id that would be a script, a path and an escape, were it not escaped everywhere.
EVIL = "<img src=x onerror=alert(1)>/%2F'\"ä&?#"


def serve(arguments: list[str]) -> tuple[subprocess.Popen, dict[str, str]]:
    """A server of its own, and what it says about itself."""
    command = [os.environ["SEMPRE_BIN"], "server", "start-dev", "--port", "0", "--http-port", "off", "--log-level", "error", *arguments]
    if folder := os.environ.get("SEMPRE_UI_ASSETS"):
        command += ["--ui-asset-path", folder]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    told = {}
    for line in server.stdout:
        name, _, value = line.strip().partition(":")
        told[name] = value.strip()
        if name == "Data":
            break
    return server, told


class World:
    """Starts everything; stops everything at the end of a `with`."""

    def __init__(self, data: str | None = None) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="sempre-ui-")
        self.data = data

    def __enter__(self) -> "World":
        arguments = ["-n", "empty"]
        if self.data:
            # There may be a run that is longer than runs usually may be.
            arguments += ["--db-filename", self.data, "--dynamic-config-value", "limit.historyCount.error=300000"]
        arguments += ["--search-attribute", "Customer=Keyword"]
        allowed = '[{"Pattern":"127.0.0.1:*","AllowInsecure":true}]'
        arguments += ["--dynamic-config-value", f"component.callbacks.allowedAddresses={allowed}"]
        self.server, told = serve(arguments)
        self.address, self.url = told["Server"], told["UI"]
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.client = self.call(Client.connect(self.address))
        self.worker = None
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_worker()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.server.terminate()
        self.server.wait()
        self.folder.cleanup()

    def call(self, work, seconds: float = SECONDS):
        """The result of something asynchronous."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def start_worker(self) -> None:
        async def begin() -> None:
            worker = Worker(self.client, task_queue=QUEUE, workflows=WORKFLOWS, activities=ACTIVITIES, workflow_runner=UnsandboxedWorkflowRunner())
            self.running = asyncio.ensure_future(worker.run())
            self.worker = worker

        self.call(begin())

    def stop_worker(self) -> None:
        if self.worker:
            self.call(self.worker.shutdown())
            self.worker = None

    def start(self, run, *arguments, id: str | None = None, queue: str = QUEUE, **options):
        """Starts a workflow; its handle."""
        options.setdefault("id", id or f"{run.__qualname__.split('.')[0].lower()}-{uuid.uuid4().hex[:6]}")
        return self.call(self.client.start_workflow(run, *arguments, task_queue=queue, **options))

    def fill(self) -> None:
        """Runs in every state."""
        self.orders = [self.start(Order.run, {"sku": f"A-{n}", "count": n}, id=f"order-{n}", memo={"channel": "web"}) for n in range(1, 9)]
        for order in self.orders[:4]:
            self.call(order.signal(Order.pay))
        self.start(Transfer.run, id="transfer-17")
        self.start(Transfer.run, id="transfer-18")
        self.start(Broken.run, id="invoice-export-2026-11")
        self.start(Approval.run, id="approval-1")
        self.start(Refused.run, 5000, id="refund-5000")
        self.start(Order.run, {"sku": "lost"}, id="order-without-workers", queue="nobody-polls-this")
        self.start(Order.run, {"sku": "<b>bold</b>"}, id=EVIL)
        self.start(Loop.run, 40, id="import-of-many-rows")

    def wait(self, what, seconds: float = SECONDS) -> None:
        """Until something is so."""
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, "it did not become so in time"
            time.sleep(0.05)

