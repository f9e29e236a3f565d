import asyncio
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker


@activity.defn
async def greet(name: str) -> str:
    return f"Hello, {name}!"


@workflow.defn
class Hello:
    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(greet, name, start_to_close_timeout=timedelta(seconds=10))


async def main() -> None:
    client = await Client.connect("ADDRESS", namespace="NAMESPACE")
    await Worker(client, task_queue="hello", workflows=[Hello], activities=[greet]).run()


if __name__ == "__main__":
    asyncio.run(main())
