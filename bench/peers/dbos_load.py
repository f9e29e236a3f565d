"""Workloads A and B of docs/benchmarks.md for DBOS: one durable step, and many of them one after the other.

Runs in an interpreter that has the library; `bench/peers/dbos` makes one. Arguments: the database's address, workload, how many in
flight, seconds, steps.
"""

import asyncio
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from dbos import DBOS, SetWorkflowID  # noqa: E402

from figures import load  # noqa: E402


@DBOS.step()
async def step() -> str:
    return "done"


@DBOS.workflow()
async def short() -> str:
    return await step()


@DBOS.workflow()
async def many(count: int) -> str:
    for _ in range(count):
        await step()
    return "done"


async def main(workload: str, in_flight: int, seconds: float, steps: int) -> None:
    async def one(key: str) -> None:
        with SetWorkflowID(key):
            result = await (many(steps) if workload == "steps" else short())
        if result != "done":
            raise RuntimeError(f"{key} came to {result!r}")

    await load.drive(one, workload, in_flight, seconds, steps)


if __name__ == "__main__":
    address, workload, in_flight, seconds, steps = sys.argv[1:]
    # SQLAlchemy's name of the driver that the package brings.
    DBOS(config={"name": "bench", "system_database_url": address, "log_level": "ERROR"})
    DBOS.launch()
    try:
        asyncio.run(main(workload, int(in_flight), float(seconds), int(steps)))
    finally:
        DBOS.destroy()
