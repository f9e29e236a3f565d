"""A clock for each namespace: one test server, `sempre server start-test PORT --clock-per-namespace`, for tests beside each other.

The SDK's own environment has no argument for a namespace, so TestService is called by hand, by clients that say whose clock they mean in
the metadata of each call.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone

import pytest
from conftest import eventually
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from temporalio import workflow
from temporalio.api.testservice.v1 import LockTimeSkippingRequest, SleepRequest, UnlockTimeSkippingRequest
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

pytestmark = pytest.mark.skipif("SEMPRE_BIN" not in os.environ, reason="starts the server itself: SEMPRE_BIN")

NAP = timedelta(days=30)
# More than the world's time passes while a test runs, and far less than a nap.
SOON = timedelta(hours=1)


@workflow.defn
class Nap:
    @workflow.run
    async def run(self) -> None:
        await workflow.sleep(NAP)


@pytest.fixture
async def address() -> AsyncIterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([os.environ["SEMPRE_BIN"], "server", "start-test", str(port), "--clock-per-namespace"], stdin=subprocess.DEVNULL)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


async def client_of(address: str, namespace: str) -> Client:
    async def connected() -> Client | None:
        try:
            return await Client.connect(address, namespace=namespace, rpc_metadata={"temporal-namespace": namespace})
        except RuntimeError:
            return None

    return await eventually("the server answers", connected)


async def now(client: Client) -> datetime:
    answer = await client.test_service.get_current_time(Empty())
    return answer.time.ToDatetime(timezone.utc)


async def test_time_passes_in_one_namespace_and_stands_in_another(address: str) -> None:
    one, two, home = [await client_of(address, namespace) for namespace in ("one", "two", "default")]
    begun = await now(two)
    worker = Worker(one, task_queue="naps", workflows=[Nap], workflow_runner=UnsandboxedWorkflowRunner())
    async with worker:
        handle = await one.start_workflow(Nap.run, id="nap", task_queue="naps")
        await one.test_service.unlock_time_skipping(UnlockTimeSkippingRequest())
        await handle.result()
        await one.test_service.lock_time_skipping(LockTimeSkippingRequest())
    assert await now(one) - begun >= NAP
    assert await now(two) - begun < SOON
    assert await now(home) - begun < SOON

    span = Duration()
    span.FromTimedelta(timedelta(days=400))
    await two.test_service.unlock_time_skipping_with_sleep(SleepRequest(duration=span))
    assert await now(two) - begun >= timedelta(days=400)
    assert await now(one) - begun < NAP + SOON
    assert await now(home) - begun < SOON
