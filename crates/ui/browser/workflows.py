"""Workflows that show every screen: some work, some wait, some fail."""

import asyncio
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

SECONDS = timedelta(seconds=10)


@activity.defn
async def reserve(item: str) -> dict:
    return {"item": item, "shelf": "B-12"}


@activity.defn
async def charge(order: dict) -> str:
    if activity.info().attempt < 3:
        raise ApplicationError("the card reader did not answer", type="ReaderTimeout")
    return f"receipt-{order['sku']}"


@activity.defn
async def reach_bank() -> None:
    raise ApplicationError(f"no route to bank.example, try {activity.info().attempt}", type="ConnectionError")


@activity.defn
async def approve_by_hand() -> str:
    activity.raise_complete_async()


@workflow.defn
class Stamp:
    @workflow.run
    async def run(self) -> None:
        pass


@workflow.defn
class Parcel:
    @workflow.run
    async def run(self, shelf: str) -> str:
        await asyncio.sleep(0.5)
        await workflow.execute_child_workflow(Stamp.run, id=f"{workflow.info().workflow_id}-stamp")
        return f"packed at {shelf}"


@workflow.defn
class Order:
    def __init__(self) -> None:
        self.state = "new"
        self.paid = False

    @workflow.run
    async def run(self, order: dict) -> dict:
        self.state = "reserving"
        place = await workflow.execute_activity(reserve, order["sku"], start_to_close_timeout=SECONDS, summary="find the shelf")
        self.state = "charging"
        retry = RetryPolicy(initial_interval=timedelta(milliseconds=400))
        receipt = await workflow.execute_activity(charge, order, start_to_close_timeout=SECONDS, retry_policy=retry)
        self.state = "packing"
        packed = await workflow.execute_child_workflow(Parcel.run, place["shelf"], id=f"{workflow.info().workflow_id}-parcel")
        self.state = "waiting for payment"
        await workflow.wait_condition(lambda: self.paid)
        await asyncio.sleep(0.3)
        self.state = "done"
        return {"receipt": receipt, "packed": packed}

    @workflow.signal
    async def pay(self) -> None:
        self.paid = True

    @workflow.query(description="Where the order is")
    def status(self) -> str:
        return self.state

    @workflow.update
    async def rename(self, name: str) -> str:
        return f"now called {name}"


@workflow.defn
class Transfer:
    @workflow.run
    async def run(self) -> None:
        retry = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=30))
        await workflow.execute_activity(reach_bank, start_to_close_timeout=SECONDS, retry_policy=retry)


@workflow.defn
class Patient:
    """Tries once in an hour."""

    @workflow.run
    async def run(self) -> None:
        retry = RetryPolicy(initial_interval=timedelta(hours=1))
        await workflow.execute_activity(reach_bank, start_to_close_timeout=SECONDS, retry_policy=retry)


@workflow.defn
class Approval:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(approve_by_hand, start_to_close_timeout=timedelta(hours=1))


@workflow.defn
class Broken:
    @workflow.run
    async def run(self) -> None:
        raise RuntimeError("the code of this workflow does not fit its history")


@workflow.defn
class Refused:
    @workflow.run
    async def run(self, amount: int) -> None:
        raise ApplicationError(f"amount {amount} is over the limit", type="LimitExceeded", non_retryable=True)


@workflow.defn
class Loop:
    """Many events, for the timeline."""

    @workflow.run
    async def run(self, rounds: int) -> int:
        for _ in range(rounds):
            await asyncio.gather(*(workflow.execute_activity(reserve, "x", start_to_close_timeout=SECONDS) for _ in range(5)))
        return rounds


WORKFLOWS = [Stamp, Parcel, Order, Transfer, Patient, Approval, Broken, Refused, Loop]
ACTIVITIES = [reserve, charge, reach_bank, approve_by_hand]
