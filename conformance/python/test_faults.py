"""Tests under faults, with a test server that the SDK starts: `sempre PORT --faults …` is given as existing path.

What workers say gets lost by chance; a workflow ends as it should nevertheless, and nobody waits for what times out.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from conftest import ATTEMPT, eventually
from temporalio import activity, workflow
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

pytestmark = pytest.mark.skipif("SEMPRE_BIN" not in os.environ, reason="starts the server itself: SEMPRE_BIN")

STEPS = 8


class Ledger:
    """The world outside."""

    def __init__(self) -> None:
        self.charges: list[int] = []

    @activity.defn
    async def charge(self, step: int) -> int:
        self.charges.append(step)
        return step


@activity.defn
async def beat() -> int:
    """Its first attempt beats until it is told to stop; says which attempt came through."""
    attempt = activity.info().attempt
    activity.heartbeat()
    while attempt == 1:
        await asyncio.sleep(0.05)
        activity.heartbeat()
    return attempt


@workflow.defn
class Beats:
    @workflow.run
    async def run(self) -> int:
        hour = timedelta(hours=1)
        return await workflow.execute_activity(beat, start_to_close_timeout=hour, heartbeat_timeout=timedelta(minutes=1))


@workflow.defn
class Months:
    """Charges every thirty days."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @workflow.run
    async def run(self, notes: int) -> list[str]:
        for step in range(STEPS):
            await workflow.execute_activity_method(Ledger.charge, step, start_to_close_timeout=ATTEMPT)
            await workflow.sleep(timedelta(days=30))
        await workflow.wait_condition(lambda: len(self.notes) >= notes)
        return self.notes

    @workflow.signal
    def note(self, note: str) -> None:
        self.notes.append(note)


@asynccontextmanager
async def server(faults: str) -> AsyncIterator[WorkflowEnvironment]:
    """A test server under faults."""
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=os.environ["SEMPRE_BIN"], test_server_extra_args=["--faults", faults]
    ) as env:
        yield env


async def under(
    faults: str, notes: int = 0, early: Callable[[WorkflowHandle], Awaitable[asyncio.Task]] | None = None
) -> tuple[list[int], list[str], list[str]]:
    """Runs the workflow under faults: what was charged, what was noted, the names of the events. `early` sends what is noted before there
    is a worker, and leaves a task to wait for."""
    ledger = Ledger()
    async with server(faults) as env:
        worker = Worker(
            env.client,
            task_queue="faults",
            workflows=[Months],
            activities=[ledger.charge],
            workflow_runner=UnsandboxedWorkflowRunner(),
        )
        handle = await env.client.start_workflow(Months.run, notes, id="months", task_queue="faults")
        sent = await early(handle) if early else None
        async with worker:
            if sent is None:
                for note in range(notes):
                    await handle.signal(Months.note, f"note {note}")
            noted = await handle.result()
            if sent is not None:
                await sent
        history = await handle.fetch_history()
        await Replayer(workflows=[Months], workflow_runner=UnsandboxedWorkflowRunner()).replay_workflow(history)
        names = history.events[0].DESCRIPTOR.fields_by_name["event_type"].enum_type.values_by_number
        return ledger.charges, noted, [names[event.event_type].name for event in history.events]


ONLY = "crashes=0,lost-answers=0,lost-heartbeats=0,late-signals=0"


def only(seed: int, fault: str) -> str:
    name = fault.split("=")[0]
    return f"seed={seed}," + ",".join(fault if pair.startswith(name + "=") else pair for pair in ONLY.split(","))


async def test_without_faults_everything_is_done_once() -> None:
    charges, _, events = await under(f"seed=1,{ONLY}")
    assert charges == list(range(STEPS))
    assert "EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT" not in events


async def test_answers_that_are_lost_are_done_again_without_waiting(capfd: pytest.CaptureFixture[str]) -> None:
    begun = time.monotonic()
    charges, _, _ = await under(only(7, "lost-answers=50"))
    assert time.monotonic() - begun < ATTEMPT.total_seconds()
    assert sorted(set(charges)) == list(range(STEPS)) and charges == sorted(charges)
    lost = len(charges) - STEPS
    assert lost > 0
    told = [line for line in capfd.readouterr().err.splitlines() if "of seed 7: the answer was lost" in line]
    assert len(told) == lost
    again, _, _ = await under(only(7, "lost-answers=50"))
    assert again == charges


async def test_workers_that_die_with_a_workflow_task_replay_it() -> None:
    charges, _, events = await under(only(3, "crashes=40"))
    assert charges == list(range(STEPS))
    assert "EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT" in events


async def test_signals_that_come_late_come() -> None:
    _, noted, _ = await under(only(5, "late-signals=80"), notes=3)
    assert sorted(noted) == ["note 0", "note 1", "note 2"]


async def test_a_signal_that_comes_late_comes_after_one_that_was_sent_later(capfd: pytest.CaptureFixture[str]) -> None:
    told = ""

    async def first_is_held() -> bool | None:
        nonlocal told
        told += capfd.readouterr().err
        return True if "a signal to `months` came late by 172800 s" in told else None

    async def both(handle: WorkflowHandle) -> asyncio.Task:
        # A task that waits for a worker holds time: the first signal stays on its way.
        late = asyncio.create_task(handle.signal(Months.note, "sent first"))
        await eventually("the first signal is held back", first_is_held)
        await handle.signal(Months.note, "sent later")
        return late

    # Of this seed the first signal comes late and the second does not.
    _, noted, _ = await under(only(26, "late-signals=50"), notes=2, early=both)
    assert noted == ["sent later", "sent first"]


async def test_an_attempt_whose_heartbeats_are_lost_is_followed_by_another_without_waiting(capfd: pytest.CaptureFixture[str]) -> None:
    begun = time.monotonic()
    # Of this seed the first heartbeat is lost, and with it those after it of the same attempt; the next ones are not.
    async with server(only(43, "lost-heartbeats=20")) as env:
        worker = Worker(
            env.client,
            task_queue="faults",
            workflows=[Beats],
            activities=[beat],
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_heartbeat_throttle_interval=timedelta(milliseconds=50),
        )
        async with worker:
            assert await env.client.execute_workflow(Beats.run, id="beats", task_queue="faults") == 2
    assert time.monotonic() - begun < 60
    told = [line for line in capfd.readouterr().err.splitlines() if "of seed 43: " in line]
    assert len(told) == 1 and "heartbeats were lost of activity" in told[0], told
