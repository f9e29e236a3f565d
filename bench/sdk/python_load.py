"""Workloads A and B of docs/benchmarks.md by the official Python SDK: a worker and a starter in one program, as the SDK's documentation
sets them up.

Runs in an interpreter that has the SDK; `bench/sdk/python` makes one. Arguments: HOST:PORT, workload, how many in flight, seconds, steps.
"""

import asyncio
import pathlib
import sys
import time
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

TIMEOUT = timedelta(seconds=10)


@activity.defn
async def step() -> str:
    return "done"


@workflow.defn
class Short:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(step, start_to_close_timeout=TIMEOUT)


@workflow.defn
class Steps:
    @workflow.run
    async def run(self, count: int) -> str:
        for _ in range(count):
            await workflow.execute_activity(step, start_to_close_timeout=TIMEOUT)
        return "done"


async def main(address: str, workload: str, in_flight: int, seconds: float, steps: int) -> None:
    # Not at the top: the sandbox of the SDK imports this file anew for each workflow.
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
    from figures import load

    client = await Client.connect(address)
    queue = f"bench-{time.time_ns():x}"

    async def one(key: str) -> None:
        kind, arguments = (Steps.run, [steps]) if workload == "steps" else (Short.run, [])
        result = await client.execute_workflow(kind, args=arguments, id=key, task_queue=queue)
        if result != "done":
            raise RuntimeError(f"{key} came to {result!r}")

    async with Worker(client, task_queue=queue, workflows=[Short, Steps], activities=[step]):
        await load.drive(one, workload, in_flight, seconds, steps)


if __name__ == "__main__":
    given = sys.argv[1:]
    asyncio.run(main(given[0], given[1], int(given[2]), float(given[3]), int(given[4])))
