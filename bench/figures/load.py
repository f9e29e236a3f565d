"""Load from inside a Python program: workflows, some in flight, with `begin` and `end` said around what is counted. See take.py."""

import asyncio
import json
import sys
import time
import typing

WARM_UP_SECONDS = 1.0


async def say(word: str) -> None:
    """Says a word, and waits until it was heard."""
    print(word, flush=True)
    await asyncio.to_thread(sys.stdin.readline)


async def drive(one: typing.Callable[[str], typing.Awaitable], workload: str, in_flight: int, seconds: float, steps: int) -> None:
    """`one` runs the workflow of a key to its end. Short ones are counted when they end within the time; of those with many steps, whole
    workflows from their start to their end are."""
    word = f"{time.time_ns():x}"
    latencies_us: list[int] = []
    counting = workload == "steps"
    started = 0

    async def again_and_again(until: float | None) -> None:
        nonlocal started
        while until is None or time.monotonic() < until:
            started += 1
            begun = time.monotonic()
            await one(f"wf-{word}-{started}")
            if counting:
                latencies_us.append(int((time.monotonic() - begun) * 1e6))

    if workload == "steps":
        await one(f"warm-{word}")
        await say("begin")
        until = time.monotonic() + seconds
        await asyncio.gather(*(again_and_again(until) for _ in range(in_flight)))
        await say("end")
    else:
        starters = [asyncio.ensure_future(again_and_again(None)) for _ in range(in_flight)]
        failed = asyncio.ensure_future(asyncio.wait(starters, return_when=asyncio.FIRST_EXCEPTION))
        await asyncio.wait([failed], timeout=WARM_UP_SECONDS)
        await say("begin")
        counting = True
        await asyncio.wait([failed], timeout=seconds)
        counting = False
        await say("end")
        # None ends by itself.
        broken = [starter for starter in starters if starter.done()]
        for task in [failed, *starters]:
            task.cancel()
        await asyncio.gather(failed, *starters, return_exceptions=True)
        for starter in broken:
            starter.result()
    units = len(latencies_us) * (steps if workload == "steps" else 1)
    print(json.dumps({"units": units, "latencies_us": latencies_us}), flush=True)
