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
from datetime import timedelta
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

NEVER = timedelta(hours=1)

pytestmark = pytest.mark.skipif("SEMPRE_BIN" not in os.environ, reason="needs the command line of the server: SEMPRE_BIN")


@activity.defn
async def charge(what: str) -> str:
    return f"charged {what}"


@activity.defn
async def refund(what: str) -> str:
    return f"refunded {what}"


class Program:
    """A workflow of the same type as all others here, by its body up to the wait for a signal."""

    def __init__(self, body: Any) -> None:
        @workflow.defn(name="Order")
        class Order:
            def __init__(self) -> None:
                self.done = False

            @workflow.run
            async def run(self) -> None:
                await body()
                await workflow.wait_condition(lambda: self.done)

            @workflow.signal
            def finish(self) -> None:
                self.done = True

        self.workflow = Order


async def charges() -> None:
    await workflow.execute_activity(charge, "card", start_to_close_timeout=ATTEMPT)


async def refunds() -> None:
    await workflow.execute_activity(refund, "card", start_to_close_timeout=ATTEMPT)


async def waits_first() -> None:
    await asyncio.sleep(1)
    await charges()


async def forgets() -> None:
    pass


async def charges_longer() -> None:
    # What a command carries beside its kind and name is no difference.
    await workflow.execute_activity(charge, "card", start_to_close_timeout=2 * ATTEMPT, summary="another text")
    workflow.logger.info("charged")


async def charges_by_patch() -> None:
    if workflow.patched("refund-instead"):
        await refunds()
    else:
        await charges()


async def charges_and_waits() -> None:
    await charges()
    workflow.start_activity(refund, "card", start_to_close_timeout=ATTEMPT)


async def breaks() -> None:
    await charges()
    raise RuntimeError("the new code is wrong")


class Deployment:
    """A deployment of one test, its workers, and the check."""

    def __init__(self, case: Case) -> None:
        self.case = case

    @asynccontextmanager
    async def worker(self, build: str, body: Any) -> AsyncIterator[None]:
        worker = Worker(
            self.case.client,
            task_queue=self.case.name,
            workflows=[Program(body).workflow],
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
    async with deployment.worker("1", charges):
        await deployment.set_current("1")
        handle = await case.client.start_workflow("Order", **case.start("a"))

        async def charged() -> bool | None:
            names = await event_names(handle)
            return True if names[-1] == "WorkflowTaskCompleted" and "ActivityTaskCompleted" in names else None

        await eventually("it has charged", charged)
    return deployment


@pytest.mark.parametrize(
    ("body", "event_id", "event", "command"),
    [
        (refunds, "5", "ActivityTaskScheduled charge", "activity type refund"),
        (waits_first, "5", "ActivityTaskScheduled charge", "timer"),
        (forgets, "5", "ActivityTaskScheduled charge", "none"),
    ],
)
async def test_planted_change_is_caught(case: Case, body: Any, event_id: str, event: str, command: str) -> None:
    deployment = await begun(case)
    before = await event_names(case.client.get_workflow_handle(case.id("a")))
    async with deployment.worker("2", body):
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


@pytest.mark.parametrize("body", [charges, charges_longer, charges_by_patch])
async def test_harmless_change_passes(case: Case, body: Any) -> None:
    deployment = await begun(case)
    async with deployment.worker("2", body):
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
    async with deployment.worker("2", refunds):
        assert (await deployment.check("2"))[0] == 1
    async with deployment.worker("3", charges):
        code, check = await deployment.check("3")
        assert code == 0, check
    assert (await event_names(handle))[-1] == "WorkflowTaskScheduled"


async def test_code_that_breaks_is_caught(case: Case) -> None:
    deployment = await begun(case)
    async with deployment.worker("2", breaks):
        code, check = await deployment.check("2")
        assert code == 1, check
        assert check["types"][0]["problems"][0]["outcome"] == "REPLAY_OUTCOME_FAILED"


async def test_command_behind_the_last_one(case: Case) -> None:
    deployment = await begun(case)
    async with deployment.worker("2", charges_and_waits):
        code, check = await deployment.check("2")
        assert code == 1, check


async def test_version_without_workers(case: Case) -> None:
    deployment = await begun(case)
    names = ["--deployment-name", case.name, "--build-id", "none"]
    code, _, told = await deployment.cli("deployment", "check", *names)
    assert code == 1 and "not found" in told
