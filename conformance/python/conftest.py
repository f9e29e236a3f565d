"""What every test gets: a client, a name of its own, and a way to run one worker."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

T = TypeVar("T")

ATTEMPT = timedelta(seconds=30)
CASE_SECONDS_MAX = 60


def quick_retry(attempts: int) -> RetryPolicy:
    return RetryPolicy(initial_interval=timedelta(milliseconds=50), backoff_coefficient=1.0, maximum_attempts=attempts)


class Case:
    """One test: a client, and names nobody else uses."""

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = f"{name}-{uuid.uuid4().hex[:12]}"

    def id(self, short: str) -> str:
        return f"{self.name}-{short}"

    def start(self, short: str) -> dict[str, Any]:
        """The keyword arguments of a start on the task queue of this test."""
        return {"id": self.id(short), "task_queue": self.name}

    async def run(
        self,
        body: Callable[[], Awaitable[T]],
        *,
        workflows: list[type] = [],
        activities: list[Callable] = [],
        client: Client | None = None,
        **options: Any,
    ) -> T:
        """Runs a worker while `body` runs."""
        worker = Worker(
            client or self.client,
            task_queue=self.name,
            workflows=workflows,
            activities=activities,
            workflow_runner=UnsandboxedWorkflowRunner(),
            **options,
        )
        async with worker:
            return await asyncio.wait_for(body(), CASE_SECONDS_MAX)


async def event_names(handle: WorkflowHandle) -> list[str]:
    """`EVENT_TYPE_TIMER_FIRED` as `TimerFired`, for all events."""
    history = await handle.fetch_history()
    names = [event.DESCRIPTOR.fields_by_name["event_type"].enum_type.values_by_number[event.event_type].name for event in history.events]
    return ["".join(word.capitalize() for word in name.removeprefix("EVENT_TYPE_").split("_")) for name in names]


async def eventually(what: str, ask: Callable[[], Awaitable[T | None]]) -> T:
    """Asks until the answer is there. For what the protocol lets become visible later."""
    for _ in range(400):
        answer = await ask()
        if answer is not None:
            return answer
        await asyncio.sleep(0.05)
    raise AssertionError(f"never happened: {what}")


async def connected(address: str) -> Client | None:
    try:
        return await Client.connect(address)
    except RuntimeError:
        return None


@pytest.fixture
def address() -> str:
    return os.environ["SEMPRE_ADDRESS"]


@pytest.fixture
def http() -> str:
    """Where the HTTP API of the same server is."""
    if "SEMPRE_HTTP" not in os.environ:
        pytest.skip("needs SEMPRE_HTTP: the HTTP API of the server that is tested")
    return f"http://{os.environ['SEMPRE_HTTP']}/api/v1"


@pytest.fixture
async def case(request: pytest.FixtureRequest, address: str) -> Case:
    # A server may listen before it is able to answer.
    client = await eventually("the server answers", lambda: connected(address))
    return Case(client, request.node.name.removeprefix("test_"))
