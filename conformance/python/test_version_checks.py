"""The gate before a deploy: workers of a version replay open runs before the version gets the work.

`sempre deployment check` is asked, as a deploy script asks it; the server it asks must be Sempre.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from conftest import ATTEMPT, Case, event_names, eventually
from temporalio import activity, workflow
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentRequest,
    DescribeWorkerDeploymentVersionRequest,
    SetWorkerDeploymentCurrentVersionRequest,
)
from temporalio.api.deployment.v1 import WorkerDeploymentVersion as ApiVersion
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkerDeploymentConfig

pytestmark = pytest.mark.skipif("SEMPRE_BIN" not in os.environ, reason="needs the command line of the server: SEMPRE_BIN")


@activity.defn
async def charge(what: str) -> str:
    return f"charged {what}"


@activity.defn
async def refund(what: str) -> str:
    return f"refunded {what}"


class Order:
    """What all programs of the workflow type Order have in common."""

    def __init__(self) -> None:
        self.done = False

    @workflow.signal
    def finish(self) -> None:
        self.done = True

    async def charge(self, **options: Any) -> None:
        await workflow.execute_activity(charge, "card", start_to_close_timeout=ATTEMPT, **options)

    async def refund(self) -> None:
        await workflow.execute_activity(refund, "card", start_to_close_timeout=ATTEMPT)

    async def finished(self) -> None:
        await workflow.wait_condition(lambda: self.done)


@workflow.defn(name="Order")
class Charges(Order):
    @workflow.run
    async def run(self) -> None:
        await self.charge()
        await self.finished()


@workflow.defn(name="Order")
class Refunds(Order):
    @workflow.run
    async def run(self) -> None:
        await self.refund()
        await self.finished()


@workflow.defn(name="Order")
class WaitsFirst(Order):
    @workflow.run
    async def run(self) -> None:
        await asyncio.sleep(1)
        await self.charge()
        await self.finished()


@workflow.defn(name="Order")
class Forgets(Order):
    @workflow.run
    async def run(self) -> None:
        await self.finished()


@workflow.defn(name="Order")
class ChargesWithText(Order):
    """What a command carries beside its kind and name is no difference."""

    @workflow.run
    async def run(self) -> None:
        await self.charge(summary="another text", heartbeat_timeout=ATTEMPT)
        workflow.logger.info("charged")
        await self.finished()


@workflow.defn(name="Order")
class Patched(Order):
    @workflow.run
    async def run(self) -> None:
        if workflow.patched("refund-instead"):
            await self.refund()
        else:
            await self.charge()
        await self.finished()


@workflow.defn(name="Order")
class ChargesAndMore(Order):
    """A command behind the last one that open runs have."""

    @workflow.run
    async def run(self) -> None:
        await self.charge()
        workflow.start_activity(refund, "card", start_to_close_timeout=ATTEMPT)
        await self.finished()


@workflow.defn(name="Order")
class Breaks(Order):
    @workflow.run
    async def run(self) -> None:
        await self.charge()
        raise RuntimeError("the new code is wrong")


@workflow.defn(name="Order")
class Deprecated(Order):
    @workflow.run
    async def run(self) -> None:
        workflow.deprecate_patch("refund-instead")
        await self.refund()
        await self.finished()


class Deployment:
    """A deployment of one test, its workers, and the check."""

    def __init__(self, case: Case) -> None:
        self.case = case

    @asynccontextmanager
    async def worker(self, build: str, program: type) -> AsyncIterator[None]:
        worker = Worker(
            self.case.client,
            task_queue=self.case.name,
            workflows=[program],
            activities=[charge, refund],
            workflow_runner=UnsandboxedWorkflowRunner(),
            deployment_config=WorkerDeploymentConfig(
                version=WorkerDeploymentVersion(self.case.name, build),
                use_worker_versioning=True,
                default_versioning_behavior=VersioningBehavior.AUTO_UPGRADE,
            ),
        )
        async with worker:
            await eventually(f"version {build} is known", lambda: self.known(build))
            yield

    async def known(self, build: str) -> bool | None:
        version = ApiVersion(deployment_name=self.case.name, build_id=build)
        request = DescribeWorkerDeploymentVersionRequest(namespace="default", deployment_version=version)
        try:
            answer = await self.case.client.workflow_service.describe_worker_deployment_version(request)
        except RPCError:
            return None
        kinds = {queue.type for queue in answer.version_task_queues}
        return True if 1 in kinds else None

    async def set_current(self, build: str) -> None:
        request = SetWorkerDeploymentCurrentVersionRequest(
            namespace="default", deployment_name=self.case.name, build_id=build, identity="test", ignore_missing_task_queues=True
        )
        await self.case.client.workflow_service.set_worker_deployment_current_version(request)

    async def current(self) -> str:
        request = DescribeWorkerDeploymentRequest(namespace="default", deployment_name=self.case.name)
        answer = await self.case.client.workflow_service.describe_worker_deployment(request)
        return answer.worker_deployment_info.routing_config.current_deployment_version.build_id

    async def cli(self, *arguments: str) -> tuple[int, str, str]:
        command = [os.environ["SEMPRE_BIN"], *arguments, "--address", os.environ["SEMPRE_ADDRESS"], "--output", "json"]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    async def check(self, build: str) -> tuple[int, dict]:
        names = ["--deployment-name", self.case.name, "--build-id", build]
        code, out, told = await self.cli("deployment", "check", *names)
        assert out, told
        return code, json.loads(out)


async def begun(case: Case) -> Deployment:
    """Version 1 is current and has an open run that has charged."""
    deployment = Deployment(case)
    async with deployment.worker("1", Charges):
        await deployment.set_current("1")
        handle = await case.client.start_workflow("Order", **case.start("a"))

        async def charged() -> bool | None:
            names = await event_names(handle)
            return True if names[-1] == "WorkflowTaskCompleted" and "ActivityTaskCompleted" in names else None

        await eventually("it has charged", charged)
    return deployment


@pytest.mark.parametrize(
    ("program", "event_id", "event", "command"),
    [
        (Refunds, "5", "ActivityTaskScheduled charge", "activity type refund"),
        (WaitsFirst, "5", "ActivityTaskScheduled charge", "timer"),
        (Forgets, "5", "ActivityTaskScheduled charge", "none"),
    ],
)
async def test_planted_change_is_caught(case: Case, program: type, event_id: str, event: str, command: str) -> None:
    deployment = await begun(case)
    before = await event_names(case.client.get_workflow_handle(case.id("a")))
    async with deployment.worker("2", program):
        code, check = await deployment.check("2")
        assert code == 1, check
        (kind,) = check["types"]
        (problem,) = kind["problems"]
        assert (problem["outcome"], problem["workflowId"]) == ("REPLAY_OUTCOME_NON_DETERMINISTIC", case.id("a"))
        assert (problem["eventId"], problem["event"], problem["command"]) == (event_id, event, command), problem
        assert "TMPRL1100" in problem["message"]
        assert await event_names(case.client.get_workflow_handle(case.id("a"))) == before, "the check changes nothing"
        # The gate itself.
        names = ["--deployment-name", case.name, "--build-id", "2", "--yes", "--check"]
        code, _, _ = await deployment.cli("worker", "deployment", "set-current-version", *names)
        assert code == 1 and await deployment.current() == "1"


@pytest.mark.parametrize("program", [Charges, ChargesWithText, Patched])
async def test_harmless_change_passes(case: Case, program: type) -> None:
    deployment = await begun(case)
    async with deployment.worker("2", program):
        code, check = await deployment.check("2")
        assert (code, check["verdict"]) == (0, "CHECK_VERDICT_PASSED"), check
        assert check["types"][0]["runsReplayed"] == "1"
        names = ["--deployment-name", case.name, "--build-id", "2", "--yes", "--check"]
        code, _, told = await deployment.cli("worker", "deployment", "set-current-version", *names)
        assert code == 0 and await deployment.current() == "2", told
        handle = case.client.get_workflow_handle(case.id("a"))
        await handle.signal("finish")
        await handle.result()


async def test_pending_task_is_no_matter(case: Case) -> None:
    deployment = await begun(case)
    handle = case.client.get_workflow_handle(case.id("a"))
    await handle.signal("finish")
    assert (await event_names(handle))[-1] == "WorkflowTaskScheduled"
    async with deployment.worker("2", Refunds):
        assert (await deployment.check("2"))[0] == 1
    async with deployment.worker("3", Charges):
        code, check = await deployment.check("3")
        assert code == 0, check
    assert (await event_names(handle))[-1] == "WorkflowTaskScheduled"


async def test_code_that_breaks_is_caught(case: Case) -> None:
    deployment = await begun(case)
    async with deployment.worker("2", Breaks):
        code, check = await deployment.check("2")
        assert code == 1, check
        assert check["types"][0]["problems"][0]["outcome"] == "REPLAY_OUTCOME_FAILED"


async def test_command_behind_the_last_one_is_carried_out(case: Case) -> None:
    """No difference to these SDKs: what the history does not have yet is done with the next task."""
    deployment = await begun(case)
    async with deployment.worker("2", ChargesAndMore):
        code, check = await deployment.check("2")
        assert code == 0, check
        await deployment.set_current("2")
        handle = case.client.get_workflow_handle(case.id("a"))
        await handle.signal("finish")
        await handle.result()
        names = await event_names(handle)
        assert names.count("ActivityTaskScheduled") == 2 and "WorkflowTaskFailed" not in names


async def test_version_without_workers(case: Case) -> None:
    deployment = await begun(case)
    names = ["--deployment-name", case.name, "--build-id", "none"]
    code, _, told = await deployment.cli("deployment", "check", *names)
    assert code == 1 and "not found" in told


async def test_patches_that_runs_need(case: Case) -> None:
    """From the first run that meets a patch to the last one that needs it, by the markers that the SDK records."""
    deployment = Deployment(case)
    kind = {"task_queue": case.name}

    async def patches() -> dict:
        # Other tests have runs of the same type on the same server.
        code, out, told = await deployment.cli("workflow", "patches", "--type", "Order", "--patch-id", "refund-instead")
        assert code == 0, told
        (listed,) = json.loads(out)
        (patch,) = listed["patches"]
        return patch

    async def begin(build: str, program: type, id: str) -> None:
        async with deployment.worker(build, program):
            await deployment.set_current(build)
            handle = await case.client.start_workflow("Order", id=case.id(id), **kind)

            async def waits() -> bool | None:
                names = await event_names(handle)
                return True if names[-1] == "WorkflowTaskCompleted" and "ActivityTaskCompleted" in names else None

            await eventually("it waits", waits)

    await begin("1", Patched, "patched")
    one = await patches()
    assert int(one["openWith"]) - int(one.get("openDeprecated", 0)) >= 1
    await begin("2", Deprecated, "deprecated")
    two = await patches()
    assert int(two["openWith"]) == int(one["openWith"]) + 1
    assert int(two["openDeprecated"]) == int(one.get("openDeprecated", 0)) + 1
    assert two["advice"] == "PATCH_ADVICE_DEPRECATE", two
    for id in ["patched", "deprecated"]:
        await case.client.get_workflow_handle(case.id(id)).terminate()
    code, out, _ = await deployment.cli("workflow", "patches", "--type", "Order", "--histories-per-type", "-1")
    assert code == 0 and "refund-instead" in out, "the index knows of it, too"
