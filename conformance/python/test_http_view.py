"""What the official client says of a run, and what the HTTP API says of it, is the same: while it is open and when it is closed."""

import asyncio
import json
import urllib.parse
import urllib.request
from datetime import timedelta
from typing import Any

from conftest import ATTEMPT, Case, eventually, quick_retry
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from temporalio import activity, workflow
from temporalio.client import WorkflowHandle
from temporalio.exceptions import ApplicationError

EVENTS_OF_A_PAGE = 5


@activity.defn
async def second_time_lucky(name: str) -> str:
    if activity.info().attempt == 1:
        raise ApplicationError("not at once", {"name": name}, type="Shy")
    return f"Hello, {name}!"


@activity.defn
async def fails_for_long() -> None:
    activity.heartbeat("far", 7)
    raise ApplicationError("come back in an hour", type="Busy", next_retry_delay=timedelta(hours=1))


@workflow.defn
class Nested:
    @workflow.run
    async def run(self, name: str) -> None:
        await workflow.wait_condition(lambda: False)


@workflow.defn
class Lived:
    """A run with something of everything that is shown of runs."""

    def __init__(self) -> None:
        self.heard: str | None = None

    @workflow.run
    async def run(self, name: str) -> list[str | None]:
        hello = await workflow.execute_activity(
            second_time_lucky, name, start_to_close_timeout=ATTEMPT, retry_policy=quick_retry(3)
        )
        child = await workflow.start_child_workflow(Nested.run, name, id=f"{workflow.info().workflow_id}-child")
        waits = workflow.start_activity(fails_for_long, start_to_close_timeout=ATTEMPT, heartbeat_timeout=ATTEMPT)
        await workflow.wait_condition(lambda: self.heard is not None)
        for task in (waits, child):
            task.cancel()
        await asyncio.gather(waits, child, return_exceptions=True)
        return [hello, self.heard]

    @workflow.signal
    def hear(self, what: str) -> None:
        self.heard = what


View = tuple[dict[str, Any], list[dict[str, Any]]]


def asked(url: str, **query: str | int) -> dict[str, Any]:
    # Payloads as they are, not as what they stand for.
    with urllib.request.urlopen(f"{url}?noPayloadShorthand&{urllib.parse.urlencode(query)}", timeout=30) as answer:
        return json.load(answer)


async def by_http(api: str, handle: WorkflowHandle) -> View:
    """The run and its history, of all pages."""
    run = f"{api}/namespaces/default/workflows/{urllib.parse.quote(handle.id)}"
    of = {"execution.runId": handle.first_execution_run_id}
    described = await asyncio.to_thread(asked, run, **of)
    events: list[dict[str, Any]] = []
    token = ""
    while True:
        page = {"maximumPageSize": EVENTS_OF_A_PAGE, "nextPageToken": token}
        answer = await asyncio.to_thread(asked, f"{run}/history", **of, **page)
        events += answer["history"]["events"]
        token = answer.get("nextPageToken", "")
        if not token:
            assert len(events) > EVENTS_OF_A_PAGE, "there were several pages"
            return described, events


async def by_client(handle: WorkflowHandle) -> View:
    described = (await handle.describe()).raw_description
    history = await handle.fetch_history()
    return as_json(described), [as_json(event) for event in history.events]


def as_json(message: Message) -> dict[str, Any]:
    unknown = list(unknown_fields(message))
    assert not unknown, f"the client's messages lack {unknown}, so it cannot show what the HTTP API shows"
    return MessageToDict(message)


def unknown_fields(message: Message) -> list[str]:
    found = [f"{message.DESCRIPTOR.full_name}.{field.field_number}" for field in UnknownFieldSet(message)]
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            inner = value.values() if field.message_type.fields_by_name["value"].message_type else []
        else:
            inner = value if field.is_repeated else [value]
        for each in inner:
            found += unknown_fields(each)
    return found


async def test_client_and_http_api_have_the_same_view_of_a_run(case: Case, http: str) -> None:
    async def body() -> None:
        memo = {"about": {"kind": "view", "size": 3}, "words": ["a", "b"]}
        handle = await case.client.start_workflow(Lived.run, "Sempre", memo=memo, **case.start("a"))

        async def waits() -> bool | None:
            now = (await handle.describe()).raw_description
            failed = any(it.HasField("last_failure") for it in now.pending_activities)
            quiet = not now.HasField("pending_workflow_task")
            return True if quiet and failed and now.pending_children else None

        await eventually("its child is open, its activity waits for the next attempt, no workflow task is under way", waits)
        client, served = await by_client(handle), await by_http(http, handle)
        assert client == served
        described, events = served
        assert described["workflowExecutionInfo"]["status"] == "WORKFLOW_EXECUTION_STATUS_RUNNING"
        assert described["workflowExecutionInfo"]["memo"]["fields"].keys() == memo.keys()
        assert described["pendingActivities"][0]["lastFailure"]["message"] == "come back in an hour"
        assert described["pendingActivities"][0]["heartbeatDetails"]["payloads"]
        assert described["pendingChildren"][0]["workflowId"] == f"{handle.id}-child"

        await handle.signal(Lived.hear, "enough")
        assert await handle.result() == ["Hello, Sempre!", "enough"]
        client, served = await by_client(handle), await by_http(http, handle)
        assert client == served
        described, events = served
        assert described["workflowExecutionInfo"]["status"] == "WORKFLOW_EXECUTION_STATUS_COMPLETED"
        shown = {event["eventType"].removeprefix("EVENT_TYPE_") for event in events}
        assert shown >= {
            "WORKFLOW_EXECUTION_STARTED",
            "ACTIVITY_TASK_STARTED",
            "CHILD_WORKFLOW_EXECUTION_CANCELED",
            "WORKFLOW_EXECUTION_SIGNALED",
            "WORKFLOW_EXECUTION_COMPLETED",
        }
        attempts = [event.get("activityTaskStartedEventAttributes", {}) for event in events]
        assert [it["lastFailure"]["message"] for it in attempts if it.get("attempt") == 2] == ["not at once"]

    await case.run(body, workflows=[Lived, Nested], activities=[second_time_lucky, fails_for_long])
