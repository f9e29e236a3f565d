"""The server as a whole: namespaces, and the dev server the SDK starts by itself."""

import os
import uuid
from datetime import timedelta

import pytest
from conftest import Case, eventually
from temporalio import workflow
from temporalio.api.workflowservice.v1 import ListNamespacesRequest, RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker


@workflow.defn
class WhereAmI:
    @workflow.run
    async def run(self) -> str:
        return workflow.info().namespace


async def test_namespaces_do_not_see_each_other(case: Case, address: str) -> None:
    namespace = f"conformance-{uuid.uuid4().hex[:12]}"
    request = RegisterNamespaceRequest(namespace=namespace)
    request.workflow_execution_retention_period.FromTimedelta(timedelta(days=1))
    await case.client.workflow_service.register_namespace(request)
    with pytest.raises(RPCError) as caught:
        await case.client.workflow_service.register_namespace(request)
    assert caught.value.status == RPCStatusCode.ALREADY_EXISTS
    names = await case.client.workflow_service.list_namespaces(ListNamespacesRequest(page_size=1000))
    assert namespace in [it.namespace_info.name for it in names.namespaces]
    other = await Client.connect(address, namespace=namespace)

    async def started():
        try:
            return await other.start_workflow(WhereAmI.run, **case.start("a"))
        except RPCError as error:
            assert error.status == RPCStatusCode.NOT_FOUND
            return None

    handle = await eventually("the namespace can be used", started)

    async def both() -> None:
        here = await case.client.start_workflow(WhereAmI.run, **case.start("a"))
        assert await here.result() == "default"
        assert await handle.result() == namespace
        with pytest.raises(RPCError) as missing:
            await case.client.get_workflow_handle(handle.id, run_id=handle.result_run_id).describe()
        assert missing.value.status == RPCStatusCode.NOT_FOUND

    async def in_other() -> None:
        await case.run(both, workflows=[WhereAmI])

    await case.run(in_other, workflows=[WhereAmI], client=other)


async def test_unknown_namespace_is_refused(address: str) -> None:
    nowhere = await Client.connect(address, namespace="conformance-nowhere")
    with pytest.raises(RPCError) as caught:
        await nowhere.start_workflow(WhereAmI.run, id="a", task_queue="a")
    assert caught.value.status == RPCStatusCode.NOT_FOUND


@pytest.mark.skipif("SEMPRE_BIN" not in os.environ, reason="needs the server as a binary")
async def test_environment_starts_the_dev_server() -> None:
    async with await WorkflowEnvironment.start_local(dev_server_existing_path=os.environ["SEMPRE_BIN"]) as environment:
        worker = Worker(
            environment.client, task_queue="local", workflows=[WhereAmI], workflow_runner=UnsandboxedWorkflowRunner()
        )
        async with worker:
            assert await environment.client.execute_workflow(WhereAmI.run, id="a", task_queue="local") == "default"
