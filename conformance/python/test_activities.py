"""Activities: retries, heartbeats, cancellation, local ones, completion from outside."""

import asyncio
from datetime import timedelta

import pytest
from conftest import ATTEMPT, Case, event_names, quick_retry
from temporalio import activity, workflow
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ActivityError, ApplicationError, RetryState

HEARTBEAT = timedelta(seconds=10)


@activity.defn
async def greet(name: str) -> str:
    return f"Hello, {name}!"


@activity.defn
async def fail_times(times: int) -> int:
    attempt = activity.info().attempt
    if attempt <= times:
        raise ApplicationError("not yet")
    return attempt


@activity.defn
async def decline(card: str) -> None:
    raise ApplicationError(f"card {card} declined", type="Declined", non_retryable=True)


@activity.defn
async def count(goal: int) -> list[int]:
    """Counts to `goal`, fails in the middle, and goes on from what the heartbeat kept."""
    details = activity.info().heartbeat_details
    kept = details[0] if details else 0
    for step in range(kept + 1, goal + 1):
        activity.heartbeat(step)
        if activity.info().attempt == 1 and step == goal // 2:
            raise ApplicationError("half way")
    return [kept, activity.info().attempt]


@workflow.defn
class Hello:
    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(greet, name, start_to_close_timeout=ATTEMPT)


@workflow.defn
class Retried:
    @workflow.run
    async def run(self, times: int) -> int:
        return await workflow.execute_activity(
            fail_times, times, start_to_close_timeout=ATTEMPT, retry_policy=quick_retry(5)
        )


@workflow.defn
class Declined:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(decline, "4711", start_to_close_timeout=ATTEMPT, retry_policy=quick_retry(5))


@workflow.defn
class Counting:
    @workflow.run
    async def run(self, goal: int) -> list[int]:
        return await workflow.execute_activity(
            count, goal, start_to_close_timeout=ATTEMPT, heartbeat_timeout=HEARTBEAT, retry_policy=quick_retry(3)
        )


@workflow.defn
class Local:
    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_local_activity(greet, name, start_to_close_timeout=ATTEMPT)


async def test_hello(case: Case) -> None:
    async def body() -> None:
        handle = await case.client.start_workflow(Hello.run, "Sempre", **case.start("a"))
        assert await handle.result() == "Hello, Sempre!"
        assert await event_names(handle) == [
            "WorkflowExecutionStarted",
            "WorkflowTaskScheduled",
            "WorkflowTaskStarted",
            "WorkflowTaskCompleted",
            "ActivityTaskScheduled",
            "ActivityTaskStarted",
            "ActivityTaskCompleted",
            "WorkflowTaskScheduled",
            "WorkflowTaskStarted",
            "WorkflowTaskCompleted",
            "WorkflowExecutionCompleted",
        ]

    await case.run(body, workflows=[Hello], activities=[greet])


async def test_activity_is_retried_until_it_succeeds(case: Case) -> None:
    async def body() -> None:
        handle = await case.client.start_workflow(Retried.run, 2, **case.start("a"))
        assert await handle.result() == 3
        history = await handle.fetch_history()
        started = [e.activity_task_started_event_attributes for e in history.events if e.HasField("activity_task_started_event_attributes")]
        assert [it.attempt for it in started] == [3]
        assert started[0].last_failure.message == "not yet"

    await case.run(body, workflows=[Retried], activities=[fail_times])


async def test_non_retryable_failure_ends_activity_and_workflow(case: Case) -> None:
    async def body() -> None:
        handle = await case.client.start_workflow(Declined.run, **case.start("a"))
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        failure = caught.value.cause
        assert isinstance(failure, ActivityError)
        assert failure.retry_state == RetryState.NON_RETRYABLE_FAILURE
        assert isinstance(failure.cause, ApplicationError)
        assert (failure.cause.type, failure.cause.message) == ("Declined", "card 4711 declined")
        names = await event_names(handle)
        assert names.count("ActivityTaskFailed") == 1
        assert names[-1] == "WorkflowExecutionFailed"

    await case.run(body, workflows=[Declined], activities=[decline])


async def test_heartbeat_details_reach_the_next_attempt(case: Case) -> None:
    async def body() -> None:
        handle = await case.client.start_workflow(Counting.run, 10, **case.start("a"))
        assert await handle.result() == [5, 2]

    await case.run(body, workflows=[Counting], activities=[count])


async def test_local_activity_leaves_a_marker(case: Case) -> None:
    async def body() -> None:
        handle = await case.client.start_workflow(Local.run, "here", **case.start("a"))
        assert await handle.result() == "Hello, here!"
        assert await event_names(handle) == [
            "WorkflowExecutionStarted",
            "WorkflowTaskScheduled",
            "WorkflowTaskStarted",
            "WorkflowTaskCompleted",
            "MarkerRecorded",
            "WorkflowExecutionCompleted",
        ]

    await case.run(body, workflows=[Local], activities=[greet])


@workflow.defn
class Stopper:
    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.execute_activity(
                "work",
                start_to_close_timeout=ATTEMPT,
                heartbeat_timeout=HEARTBEAT,
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            )
        except ActivityError as error:
            return f"stopped by {type(error.cause).__name__}"
        return "ended by itself"


async def test_heartbeat_tells_the_activity_to_stop(case: Case) -> None:
    started = asyncio.Event()

    @activity.defn
    async def work() -> None:
        """Works until it is told to stop."""
        started.set()
        while True:
            activity.heartbeat()
            await asyncio.sleep(0.02)

    async def body() -> None:
        handle = await case.client.start_workflow(Stopper.run, **case.start("a"))
        await started.wait()
        await handle.cancel()
        assert await handle.result() == "stopped by CancelledError"
        names = [name for name in await event_names(handle) if name.startswith("ActivityTask")]
        assert names == [
            "ActivityTaskScheduled",
            "ActivityTaskCancelRequested",
            "ActivityTaskStarted",
            "ActivityTaskCanceled",
        ]

    throttle = timedelta(milliseconds=100)
    await case.run(body, workflows=[Stopper], activities=[work], max_heartbeat_throttle_interval=throttle)


@workflow.defn
class Waiter:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(
            "hand_over", activity_id="the-task", start_to_close_timeout=ATTEMPT, retry_policy=quick_retry(1), result_type=str
        )


@pytest.mark.parametrize("by", ["token", "id"])
@pytest.mark.parametrize("end", ["complete", "fail"])
async def test_activity_is_completed_from_outside(case: Case, by: str, end: str) -> None:
    case.name = case.name.replace("[", "-").replace("]", "-")
    handed_over: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    @activity.defn
    async def hand_over() -> str:
        handed_over.set_result(activity.info().task_token)
        activity.raise_complete_async()

    async def body() -> None:
        handle = await case.client.start_workflow(Waiter.run, **case.start("a"))
        token = await handed_over
        if by == "token":
            outside = case.client.get_async_activity_handle(task_token=token)
        else:
            outside = case.client.get_async_activity_handle(workflow_id=handle.id, run_id=None, activity_id="the-task")
        await outside.heartbeat("on it")
        if end == "complete":
            await outside.complete("done outside")
            assert await handle.result() == "done outside"
        else:
            await outside.fail(ApplicationError("gave up outside"))
            with pytest.raises(WorkflowFailureError) as caught:
                await handle.result()
            assert caught.value.cause.cause.message == "gave up outside"

    await case.run(body, workflows=[Waiter], activities=[hand_over])
