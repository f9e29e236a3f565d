"""Updates: accepted, rejected, failed, completed later, several at once, with start, across the end of a run."""

import asyncio
from datetime import timedelta

import pytest
from conftest import Case, event_names
from temporalio import workflow
from temporalio.client import (
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateStage,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode


@workflow.defn
class Account:
    def __init__(self) -> None:
        self.balance = 0
        self.open = True

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: not self.open)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.balance

    @workflow.signal
    def close(self) -> None:
        self.open = False

    @workflow.update
    def add(self, amount: int) -> int:
        self.balance += amount
        return self.balance

    @add.validator
    def check(self, amount: int) -> None:
        if amount <= 0:
            raise ValueError("the amount must be positive")

    @workflow.update
    async def add_later(self, amount: int) -> int:
        await workflow.sleep(timedelta(milliseconds=100))
        self.balance += amount
        return self.balance

    @workflow.update
    async def stuck(self) -> None:
        await workflow.wait_condition(lambda: not self.open)
        raise ApplicationError("closed", non_retryable=True)


async def test_update_is_answered_and_leaves_two_events(case: Case) -> None:
    async def body() -> None:
        handle = await case.client.start_workflow(Account.run, **case.start("a"))
        assert await handle.execute_update(Account.add, 5) == 5
        assert await handle.execute_update(Account.add, 2) == 7
        names = await event_names(handle)
        assert names.count("WorkflowExecutionUpdateAccepted") == 2
        assert names.count("WorkflowExecutionUpdateCompleted") == 2
        await handle.signal(Account.close)
        assert await handle.result() == 7

    await case.run(body, workflows=[Account])


async def test_rejected_update_leaves_no_trace(case: Case) -> None:
    async def body() -> None:
        handle = await case.client.start_workflow(Account.run, **case.start("a"))
        assert await handle.execute_update(Account.add, 1) == 1
        before = await event_names(handle)
        for _ in range(3):
            with pytest.raises(WorkflowUpdateFailedError) as error:
                await handle.execute_update(Account.add, -1)
            assert "positive" in str(error.value.cause)
        assert await event_names(handle) == before
        assert await handle.execute_update(Account.add, 1) == 2

    await case.run(body, workflows=[Account])


async def test_update_completes_in_a_later_task_and_its_id_is_its_own(case: Case) -> None:
    async def body() -> None:
        handle = await case.client.start_workflow(Account.run, **case.start("a"))
        first = await handle.start_update(Account.add_later, 3, id="u", wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        again = await handle.start_update(Account.add_later, 3, id="u", wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        assert await first.result() == 3
        assert await again.result() == 3
        await handle.signal(Account.close)
        assert await handle.result() == 3
        assert await handle.get_update_handle("u").result() == 3

    await case.run(body, workflows=[Account])


async def test_many_updates_at_once(case: Case) -> None:
    async def body() -> None:
        handle = await case.client.start_workflow(Account.run, **case.start("a"))
        answers = await asyncio.gather(*(handle.execute_update(Account.add, 1) for _ in range(8)))
        assert sorted(answers) == list(range(1, 9))

    await case.run(body, workflows=[Account])


async def test_update_fails_with_the_failure_of_its_handler(case: Case) -> None:
    async def body() -> None:
        handle = await case.client.start_workflow(Account.run, **case.start("a"))
        update = await handle.start_update(Account.stuck, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        await handle.signal(Account.close)
        with pytest.raises(WorkflowUpdateFailedError) as error:
            await update.result()
        assert "closed" in str(error.value.cause)

    await case.run(body, workflows=[Account])


async def test_accepted_update_of_a_terminated_run_fails(case: Case) -> None:
    async def body() -> None:
        handle = await case.client.start_workflow(Account.run, **case.start("a"))
        update = await handle.start_update(Account.stuck, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        await handle.terminate()
        with pytest.raises(WorkflowUpdateFailedError) as error:
            await update.result()
        assert "completed before the Update completed" in str(error.value.cause)
        with pytest.raises(RPCError) as refused:
            await handle.execute_update(Account.add, 1)
        assert refused.value.status == RPCStatusCode.NOT_FOUND

    await case.run(body, workflows=[Account])


async def test_update_with_start(case: Case) -> None:
    async def body() -> None:
        def start() -> WithStartWorkflowOperation:
            return WithStartWorkflowOperation(
                Account.run, id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING, **case.start("a")
            )

        operation = start()
        execute = case.client.execute_update_with_start_workflow
        assert await execute(Account.add, 4, start_workflow_operation=operation) == 4
        handle = await operation.workflow_handle()
        assert await execute(Account.add, 4, start_workflow_operation=start()) == 8
        names = await event_names(handle)
        assert names[4] == "WorkflowExecutionUpdateAccepted"

    await case.run(body, workflows=[Account])
