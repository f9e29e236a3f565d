"""How long pages take, in the browser: the list of many runs, and a run of many events.

usage: python times.py FOLDER [ROUNDS] [RUNS]

FOLDER   data of a server, such as `cargo run --release -p sempre-engine --features real --example fill -- FOLDER` makes
ROUNDS   rounds of the run with many events (22 events each); 2300 make some 50,000
RUNS     open runs to start besides those in the folder

Needs what `run` sets: SEMPRE_BIN, CHROMIUM, CHROMEDRIVER.
"""

import asyncio
import logging
import statistics
import sys
import time
from urllib.parse import quote

from temporalio.client import WorkflowExecutionStatus

from browser import Browser
from world import World
from workflows import Loop

logging.disable(logging.CRITICAL)
TIMES = 20


def measure(browser: Browser, name: str, path: str) -> None:
    answers, drawn = [], []
    for _ in range(TIMES):
        browser.open(path)
        answer, ready = browser.took()
        answers.append(answer)
        drawn.append(ready)
    size = browser.driver.execute_script("return performance.getEntriesByType('navigation')[0].decodedBodySize")
    median, worst = statistics.median(answers), max(answers)
    print(f"| {name} | {median:.0f} | {worst:.0f} | {statistics.median(drawn):.0f} | {size // 1000} |", flush=True)


async def fill(world: World, runs: int) -> None:
    begun = time.monotonic()
    for first in range(0, runs, 500):
        some = range(first, min(runs, first + 500))
        await asyncio.gather(*(world.client.start_workflow(f"OrderWorkflow{n % 10}", n, id=f"order-{n:08}", task_queue="orders") for n in some))
    print(f"{runs} runs, made in {time.monotonic() - begun:.0f} s", flush=True)


def main() -> None:
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 2300
    runs = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    with World(data=sys.argv[1]) as world:
        if runs:
            world.call(fill(world, runs), 3600)
        world.start_worker()
        begun = time.monotonic()
        loop = world.start(Loop.run, rounds)
        world.wait(lambda: world.call(loop.describe()).status != WorkflowExecutionStatus.RUNNING, 1200)
        events = world.call(loop.describe()).history_length
        print(f"a run of {events} events, made in {time.monotonic() - begun:.0f} s\n", flush=True)
        browser = Browser(world.url, False)
        try:
            listed = "/namespaces/default/workflows"
            run = browser.run_path(loop.id, loop.result_run_id)
            print("| page | answer, ms (median) | slowest | page ready, ms | kB |\n|---|---|---|---|---|")
            measure(browser, "list, newest", listed)
            measure(browser, "list of a type", f"{listed}?query=" + quote("WorkflowType = 'OrderWorkflow3'"))
            measure(browser, "list of a state", f"{listed}?query=" + quote("ExecutionStatus = 'Terminated'"))
            measure(browser, "list of a time", f"{listed}?query=" + quote("StartTime > '2020-01-01T00:00:00Z' AND WorkflowId STARTS_WITH 'order-0000'"))
            measure(browser, "list of what hurts", f"{listed}?query=" + quote("SempreHealth IS NOT NULL"))
            measure(browser, "attention", "/namespaces/default/attention")
            measure(browser, "task queues", "/namespaces/default/task-queues")
            measure(browser, f"run of {events} events", run)
            measure(browser, "its history, first page", f"{run}/history")
            measure(browser, "its history, last page", f"{run}/history?event={events}")
            measure(browser, "its history, JSON", f"{run}/history?view=json")
            measure(browser, "its relations", f"{run}/relationships")
            begun = time.monotonic()
            browser.open(run)
            browser.until(lambda: browser.all(f"[data-timeline][data-read='{events}']"), "the timeline is not read")
            print(f"\nthe whole timeline is there after {time.monotonic() - begun:.1f} s", flush=True)
            script = """
                const box = document.querySelector('[data-timeline]'), done = arguments[0], frames = [];
                let last = performance.now(), n = 0;
                const step = (now) => { frames.push(now - last); last = now; box.scrollTop = (n * 977) % box.scrollHeight; if (++n < 120) requestAnimationFrame(step); else done([Math.max(...frames.slice(5)), box.querySelectorAll('.timeline-row').length]); };
                requestAnimationFrame(step);
            """
            slowest, rows = browser.driver.execute_async_script(script)
            print(f"scrolling through it, the slowest of 120 frames takes {slowest:.0f} ms; {rows} rows are in the page", flush=True)
        finally:
            browser.close()


if __name__ == "__main__":
    main()
