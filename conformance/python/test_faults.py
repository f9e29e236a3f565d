"""Tests under faults, with a test server that the SDK starts: `sempre PORT --faults …` is given as existing path.

What workers say gets lost by chance; a workflow ends as it should nevertheless, and nobody waits for what times out.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta

import pytest
from conftest import ATTEMPT
from temporalio import activity, workflow
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


async def under(faults: str, notes: int = 0) -> tuple[list[int], list[str], list[str]]:
    """Runs the workflow under faults: what was charged, what was noted, the names of the events."""
    ledger = Ledger()
    extra = ["--faults", faults]
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=os.environ["SEMPRE_BIN"], test_server_extra_args=extra
    ) as env:
        worker = Worker(
            env.client,
            task_queue="faults",
            workflows=[Months],
            activities=[ledger.charge],
            workflow_runner=UnsandboxedWorkflowRunner(),
        )
        async with worker:
            handle = await env.client.start_workflow(Months.run, notes, id="months", task_queue="faults")
            for note in range(notes):
                await handle.signal(Months.note, f"note {note}")
            noted = await handle.result()
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
