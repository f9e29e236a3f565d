"""Workflows: messages, timers, children, other workflows, chains, ends, starts, labels."""

import asyncio
from datetime import timedelta

import pytest
from conftest import ATTEMPT, Case, event_names, eventually, quick_retry
from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowType
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest
from temporalio.client import (
    WorkflowContinuedAsNewError,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowQueryRejectedError,
)
from temporalio.common import (
    QueryRejectCondition,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import ApplicationError, CancelledError, TerminatedError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

NEVER = 3600
SOON = 0.1


@activity.defn
async def tidy(what: str) -> str:
    return f"tidied {what}"


@workflow.defn
class Timers:
    @workflow.run
    async def run(self) -> bool:
        long = asyncio.create_task(asyncio.sleep(NEVER))
        await asyncio.sleep(SOON)
        long.cancel()
        try:
            await long
        except asyncio.CancelledError:
            return True
        return False


async def test_timer_fires_and_timer_is_canceled(case: Case) -> None:
    async def body() -> None:
        handle = await case.client.start_workflow(Timers.run, **case.start("a"))
        assert await handle.result() is True
        names = await event_names(handle)
        assert names[4:7] == ["TimerStarted", "TimerStarted", "TimerFired"]
        assert names[-2:] == ["TimerCanceled", "WorkflowExecutionCompleted"]

    await case.run(body, workflows=[Timers])


@workflow.defn
class Adder:
    """Adds up signals until it is told to finish."""

    def __init__(self) -> None:
        self.total = 0
        self.done = False

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.done)
        return self.total

    @workflow.signal
    def add(self, amount: int) -> None:
        self.total += amount

    @workflow.signal
    def finish(self) -> None:
        self.done = True

    @workflow.query
    def sum(self) -> int:
        return self.total


async def test_signals_arrive_in_order_and_once(case: Case) -> None:
    async def body() -> None:
        handle = await case.client.start_workflow(Adder.run, **case.start("a"))
        for amount in (1, 20, 300):
            await handle.signal(Adder.add, amount)
        await handle.signal(Adder.finish)
        assert await handle.result() == 321
        with pytest.raises(RPCError) as caught:
            await handle.signal(Adder.add, 1)
        assert caught.value.status == RPCStatusCode.NOT_FOUND

    await case.run(body, workflows=[Adder])


async def test_query_sees_open_and_closed_workflows(case: Case) -> None:
    async def body() -> None:
        handle = await case.client.start_workflow(Adder.run, **case.start("a"))
        await handle.signal(Adder.add, 7)
        assert await handle.query(Adder.sum) == 7
        before = await event_names(handle)
        assert await handle.query(Adder.sum) == 7
        assert await event_names(handle) == before
        await handle.signal(Adder.finish)
        await handle.result()
        assert await handle.query(Adder.sum) == 7
        with pytest.raises(WorkflowQueryRejectedError) as caught:
            await handle.query(Adder.sum, reject_condition=QueryRejectCondition.NOT_OPEN)
        assert caught.value.status == WorkflowExecutionStatus.COMPLETED

    await case.run(body, workflows=[Adder])


async def test_signal_with_start_starts_once(case: Case) -> None:
    async def body() -> None:
        first = await case.client.start_workflow(Adder.run, start_signal="add", start_signal_args=[1], **case.start("a"))
        second = await case.client.start_workflow(Adder.run, start_signal="add", start_signal_args=[2], **case.start("a"))
        assert second.result_run_id == first.result_run_id
        await first.signal(Adder.finish)
        assert await first.result() == 3
        assert (await event_names(first))[1:3] == ["WorkflowExecutionSignaled", "WorkflowTaskScheduled"]

    await case.run(body, workflows=[Adder])


@workflow.defn
class Impatient:
    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.wait_condition(lambda: False, timeout=timedelta(seconds=SOON))
        except asyncio.TimeoutError:
            return "timed out"
        return "came true"


async def test_wait_condition_times_out(case: Case) -> None:
    async def body() -> None:
        assert await case.client.execute_workflow(Impatient.run, **case.start("a")) == "timed out"

    await case.run(body, workflows=[Impatient])


@workflow.defn
class Parent:
    @workflow.run
    async def run(self, child: str) -> int:
        handle = await workflow.start_child_workflow(Adder.run, id=child)
        await handle.signal(Adder.add, 42)
        await handle.signal(Adder.finish)
        return await handle


async def test_child_workflow_is_signaled_and_returns(case: Case) -> None:
    async def body() -> None:
        handle = await case.client.start_workflow(Parent.run, case.id("child"), **case.start("a"))
        assert await handle.result() == 42
        about = await case.client.get_workflow_handle(case.id("child")).describe()
        assert about.parent_id == handle.id
        assert {"ChildWorkflowExecutionStarted", "ChildWorkflowExecutionCompleted"} <= set(await event_names(handle))

    await case.run(body, workflows=[Parent, Adder])


@workflow.defn
class Leaver:
    """Starts one child per policy and leaves."""

    @workflow.run
    async def run(self, child: str) -> None:
        for policy in (
            workflow.ParentClosePolicy.TERMINATE,
            workflow.ParentClosePolicy.REQUEST_CANCEL,
            workflow.ParentClosePolicy.ABANDON,
        ):
            await workflow.start_child_workflow(Adder.run, id=f"{child}-{policy.name}", parent_close_policy=policy)


async def test_parent_close_policy_reaches_the_children(case: Case) -> None:
    async def body() -> None:
        await case.client.execute_workflow(Leaver.run, case.id("child"), **case.start("a"))
        for policy, cause in (("TERMINATE", TerminatedError), ("REQUEST_CANCEL", CancelledError)):
            with pytest.raises(WorkflowFailureError) as caught:
                await case.client.get_workflow_handle(case.id(f"child-{policy}")).result()
            assert isinstance(caught.value.cause, cause)
        abandoned = case.client.get_workflow_handle(case.id("child-ABANDON"))
        await abandoned.signal(Adder.finish)
        assert await abandoned.result() == 0

    await case.run(body, workflows=[Leaver, Adder])


@workflow.defn
class Neighbour:
    """Signals one workflow, cancels another, and finds nobody behind a third id."""

    @workflow.run
    async def run(self, signaled: str, canceled: str) -> str:
        await workflow.get_external_workflow_handle(signaled).signal(Adder.add, 5)
        await workflow.get_external_workflow_handle(canceled).cancel()
        try:
            await workflow.get_external_workflow_handle(f"{signaled}-nobody").signal(Adder.add, 5)
        except ApplicationError as error:
            return error.message
        return "nobody signaled"


async def test_workflow_signals_and_cancels_others(case: Case) -> None:
    async def body() -> None:
        signaled = await case.client.start_workflow(Adder.run, **case.start("signaled"))
        canceled = await case.client.start_workflow(Adder.run, **case.start("canceled"))
        handle = await case.client.start_workflow(Neighbour.run, args=[signaled.id, canceled.id], **case.start("a"))
        assert "not found" in await handle.result()
        with pytest.raises(WorkflowFailureError) as caught:
            await canceled.result()
        assert isinstance(caught.value.cause, CancelledError)
        await signaled.signal(Adder.finish)
        assert await signaled.result() == 5

    await case.run(body, workflows=[Neighbour, Adder])


@workflow.defn
class Laps:
    @workflow.run
    async def run(self, lap: int, last: int) -> int:
        if lap < last:
            workflow.continue_as_new(args=[lap + 1, last])
        return lap


async def test_continue_as_new_makes_a_chain(case: Case) -> None:
    async def body() -> None:
        handle = await case.client.start_workflow(Laps.run, args=[1, 3], **case.start("a"))
        assert await handle.result() == 3
        with pytest.raises(WorkflowContinuedAsNewError):
            await handle.result(follow_runs=False)
        history = await case.client.get_workflow_handle(handle.id).fetch_history()
        started = history.events[0].workflow_execution_started_event_attributes
        assert started.first_execution_run_id == handle.first_execution_run_id
        assert started.continued_execution_run_id != handle.first_execution_run_id

    await case.run(body, workflows=[Laps])


@workflow.defn
class Cleaner:
    @workflow.run
    async def run(self) -> None:
        try:
            await asyncio.sleep(NEVER)
        finally:
            await workflow.execute_activity(tidy, "up", start_to_close_timeout=ATTEMPT)


async def test_canceled_workflow_cleans_up(case: Case) -> None:
    async def body() -> None:
        handle = await case.client.start_workflow(Cleaner.run, **case.start("a"))
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        assert isinstance(caught.value.cause, CancelledError)
        names = await event_names(handle)
        assert names.count("WorkflowExecutionCancelRequested") == 1
        assert "ActivityTaskCompleted" in names
        assert names[-1] == "WorkflowExecutionCanceled"

    await case.run(body, workflows=[Cleaner], activities=[tidy])


async def test_terminated_workflow_is_closed_at_once(case: Case) -> None:
    async def body() -> None:
        handle = await case.client.start_workflow(Adder.run, **case.start("a"))
        await handle.terminate("a detail", reason="out of budget")
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        assert isinstance(caught.value.cause, TerminatedError)
        assert caught.value.cause.message == "out of budget"
        assert list(caught.value.cause.details) == ["a detail"]
        assert (await handle.describe()).status == WorkflowExecutionStatus.TERMINATED
        with pytest.raises(RPCError) as again:
            await handle.terminate()
        assert again.value.status == RPCStatusCode.NOT_FOUND

    await case.run(body, workflows=[Adder])


async def test_start_obeys_conflict_and_reuse_policies(case: Case) -> None:
    async def body() -> None:
        client = case.client
        first = await client.start_workflow(Adder.run, **case.start("a"))
        with pytest.raises(WorkflowAlreadyStartedError) as caught:
            await client.start_workflow(Adder.run, id_conflict_policy=WorkflowIDConflictPolicy.FAIL, **case.start("a"))
        assert caught.value.run_id == first.result_run_id
        existing = await client.start_workflow(
            Adder.run, id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING, **case.start("a")
        )
        assert existing.result_run_id == first.result_run_id
        second = await client.start_workflow(
            Adder.run, id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING, **case.start("a")
        )
        assert second.result_run_id != first.result_run_id
        await second.signal(Adder.finish)
        await second.result()
        for policy in (WorkflowIDReusePolicy.REJECT_DUPLICATE, WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY):
            with pytest.raises(WorkflowAlreadyStartedError):
                await client.start_workflow(Adder.run, id_reuse_policy=policy, **case.start("a"))
        third = await client.start_workflow(Adder.run, **case.start("a"))
        await third.terminate()

    await case.run(body, workflows=[Adder])


async def test_repeated_start_request_has_one_effect(case: Case) -> None:
    request = StartWorkflowExecutionRequest(
        namespace="default",
        workflow_id=case.id("a"),
        workflow_type=WorkflowType(name="Adder"),
        task_queue=TaskQueue(name=case.name),
        identity="conformance",
        request_id="the same",
    )
    first = await case.client.workflow_service.start_workflow_execution(request)
    second = await case.client.workflow_service.start_workflow_execution(request)
    assert first.started
    assert second.run_id == first.run_id
    await case.client.get_workflow_handle(case.id("a")).terminate()


@workflow.defn
class Stubborn:
    @workflow.run
    async def run(self, times: int) -> int:
        attempt = workflow.info().attempt
        if attempt <= times:
            raise ApplicationError(f"attempt {attempt}")
        return attempt


async def test_failed_workflow_is_retried_as_a_new_run(case: Case) -> None:
    async def body() -> None:
        client = case.client
        assert await client.execute_workflow(Stubborn.run, 2, retry_policy=quick_retry(3), **case.start("a")) == 3
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(Stubborn.run, 9, retry_policy=quick_retry(2), **case.start("b"))
        assert caught.value.cause.message == "attempt 2"

    await case.run(body, workflows=[Stubborn])


STAGE = SearchAttributeKey.for_keyword("ConformanceStage")
PARCELS = SearchAttributeKey.for_int("ConformanceParcels")


@workflow.defn
class Labelled:
    def __init__(self) -> None:
        self.done = False

    @workflow.run
    async def run(self) -> list[str]:
        seen = [workflow.memo_value("owner"), workflow.info().typed_search_attributes[STAGE]]
        workflow.upsert_search_attributes([STAGE.value_set("packed"), PARCELS.value_set(3)])
        workflow.upsert_memo({"owner": None, "weight": 12})
        await workflow.wait_condition(lambda: self.done)
        return seen

    @workflow.signal
    def finish(self) -> None:
        self.done = True


async def test_memo_and_search_attributes_are_changed(case: Case) -> None:
    request = AddSearchAttributesRequest(
        namespace="default",
        search_attributes={
            "ConformanceStage": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
            "ConformanceParcels": IndexedValueType.INDEXED_VALUE_TYPE_INT,
        },
    )
    try:
        await case.client.operator_service.add_search_attributes(request)
    except RPCError as error:
        assert error.status == RPCStatusCode.ALREADY_EXISTS

    async def body() -> None:
        handle = await case.client.start_workflow(
            Labelled.run,
            memo={"owner": "Ada"},
            search_attributes=TypedSearchAttributes([SearchAttributePair(STAGE, "new")]),
            **case.start("a"),
        )

        async def described():
            about = await handle.describe()
            return about if about.typed_search_attributes.get(PARCELS) else None

        # Lists and counts come with visibility, which is not built yet.
        about = await eventually("the attributes are changed", described)
        assert await about.memo() == {"weight": 12}
        assert about.typed_search_attributes[PARCELS] == 3
        assert about.typed_search_attributes[STAGE] == "packed"
        await handle.signal(Labelled.finish)
        assert await handle.result() == ["Ada", "new"]

    await case.run(body, workflows=[Labelled])


@workflow.defn
class Patched:
    @workflow.run
    async def run(self) -> bool:
        new_way = workflow.patched("new-way")
        await asyncio.sleep(SOON)
        return new_way and workflow.patched("new-way")


async def test_patch_is_remembered_by_a_marker(case: Case) -> None:
    async def body() -> None:
        handle = await case.client.start_workflow(Patched.run, **case.start("a"))
        assert await handle.result() is True
        assert (await event_names(handle)).count("MarkerRecorded") == 1

    await case.run(body, workflows=[Patched])
