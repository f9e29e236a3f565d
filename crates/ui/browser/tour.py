"""Every screen and action of the web UI, as a person with a browser meets them. Run by `run`."""

import logging
import sys
import time
import traceback
import urllib.error
import urllib.request
from urllib.parse import quote

from temporalio.client import WorkflowExecutionStatus

from browser import DOWN, ENTER, ESCAPE, TAB, Browser
from world import EVIL, QUEUE, World
from workflows import Approval, Order, Transfer

# What workers say of activities that are made to fail.
logging.disable(logging.CRITICAL)

STEPS = []


def step(function):
    STEPS.append(function)
    return function


def handle(world: World, id: str):
    return world.client.get_workflow_handle(id)


def status(world: World, id: str) -> WorkflowExecutionStatus:
    return world.call(handle(world, id).describe()).status


def now_open(browser: Browser, id: str, tab: str = "") -> None:
    browser.open(browser.run_path(id))
    if tab:
        browser.open(browser.path().split("?")[0] + "/" + tab)


@step
def first_run(world: World, browser: Browser) -> None:
    browser.open("/")
    browser.until(lambda: browser.path().startswith("/namespaces/default/workflows"), "the first page does not go on")
    browser.says("no worker is connected")
    browser.check("first-run")
    for language in ("TypeScript", "Go", "Java", ".NET", "Python"):
        browser.click(language)
        browser.says(world.address)
        browser.check()


@step
def namespaces(world: World, browser: Browser) -> None:
    browser.open("/namespaces")
    browser.says("empty")
    browser.check()
    browser.click("empty")
    browser.says("no worker is connected")


@step
def workflow_list(world: World, browser: Browser) -> None:
    world.start_worker()
    world.fill()
    browser.open("/namespaces/default/workflows")
    browser.says("order-8")
    browser.says("Failed")
    # It stays true by itself: what a worker does meanwhile is here without a reload.
    browser.driver.execute_script("window.same = true")
    world.start(Order.run, {"sku": "live"}, id="order-live")
    browser.says("order-live")
    assert browser.driver.execute_script("return window.same"), "the page was loaded again"
    world.wait(lambda: status(world, "order-1") == WorkflowExecutionStatus.COMPLETED)
    browser.until(lambda: browser.all(".counts a.hurts"), "the counts do not say what hurts")
    browser.check("workflows")
    assert not browser.driver.execute_script("return document.querySelector('main img')"), "an id has become an element"


@step
def dark_and_small(world: World, browser: Browser) -> None:
    browser.scheme("dark")
    browser.open("/namespaces/default/workflows")
    browser.check("workflows-dark")
    browser.scheme("light")
    browser.size(390, 844, 1, phone=True)
    browser.open("/namespaces/default/workflows")
    browser.check("workflows-phone")
    browser.open(browser.run_path("transfer-17"))
    browser.check("run-phone")
    # 200 % of 1280 pixels.
    browser.size(640, 400, 1)
    browser.open("/namespaces/default/workflows")
    browser.check()
    browser.open(browser.run_path("transfer-17"))
    browser.check()
    browser.usual_size()


@step
def filter_with_completion(world: World, browser: Browser) -> None:
    browser.open("/namespaces/default/workflows")
    browser.keys("/")
    field = browser.one("#filter")
    assert browser.driver.switch_to.active_element == field, "/ does not go to the filter"
    field.send_keys("WorkflowTy")
    browser.until(lambda: browser.all(".completion:not([hidden]) li"), "nothing is suggested")
    field.send_keys(DOWN, ENTER)
    field.send_keys("= ")
    field.send_keys("Ord")
    browser.until(lambda: "'Order'" in browser.one(".completion").text, "the type is not suggested")
    browser.check("filter")
    field.send_keys(DOWN, ENTER)
    assert field.get_attribute("value").strip() == "WorkflowType = 'Order'", field.get_attribute("value")
    field.send_keys(ESCAPE, ENTER)
    browser.until(lambda: "query=" in browser.path(), "the filter is not used")
    browser.until(lambda: "transfer-17" not in browser.text(), "the filter does not filter")
    browser.check()
    browser.open("/namespaces/default/workflows?query=" + quote("Nonsense = 'x'"))
    browser.until(lambda: browser.all("#filter-error"), "a wrong filter is not told to be one")
    assert browser.one("#filter").get_attribute("value") == "Nonsense = 'x'"
    browser.check()
    browser.open("/namespaces/default/workflows?size=5")
    browser.click("Next page")
    browser.until(lambda: "page=" in browser.path(), "there is no next page")
    assert len(browser.all("tbody#rows tr")) == 5
    browser.check()


@step
def columns_and_views(world: World, browser: Browser) -> None:
    browser.open("/namespaces/default/workflows")
    browser.click("Columns")
    browser.one("input[name=cols][value='queue']").click()
    browser.check("columns")
    browser.click("Show these")
    browser.says("nobody-polls-this")
    browser.open("/namespaces/default/workflows")
    browser.says("nobody-polls-this")
    browser.click("Columns")
    browser.click("Usual ones")
    browser.until(lambda: "nobody-polls-this" not in browser.text(), "the usual columns are not back")
    browser.open("/namespaces/default/workflows?query=" + quote("WorkflowType = 'Transfer'"))
    browser.click("Views")
    browser.one(".view-save input").send_keys("Money", ENTER)
    browser.open("/namespaces/default/workflows")
    browser.click("Views")
    browser.click("Money")
    browser.until(lambda: browser.one("#filter").get_attribute("value") == "WorkflowType = 'Transfer'", "the view was not kept")


@step
def run_page(world: World, browser: Browser) -> None:
    now_open(browser, "order-7")
    browser.says("It waits for a signal or an update")
    browser.until(lambda: browser.all(".timeline-bar"), "the timeline is not drawn")
    browser.says("charge")
    browser.check("run")
    for how in ("+", "+", "−", "All"):
        browser.click(how, "[data-timeline-tools]")
    browser.one("[data-timeline]").send_keys("+", "-", "0")
    browser.one("[data-timeline-tasks]").click()
    browser.until(lambda: "task" in browser.one("[data-timeline]").text, "workflow tasks are not drawn")
    # What happens is drawn by itself.
    world.call(handle(world, "order-7").signal(Order.pay))
    browser.says("It waits for nothing: it closed")
    browser.until(lambda: "pay" in browser.one("[data-timeline]").text, "the timeline does not go on")
    browser.check("run-completed")
    now_open(browser, "transfer-17")
    browser.says("reach_bank")
    browser.says("no route to bank.example")
    browser.check("run-retrying")
    browser.scheme("dark")
    browser.check("run-dark")
    browser.scheme("light")
    now_open(browser, "invoice-export-2026-11")
    browser.says("Its workflow task fails again and again")
    browser.check()
    now_open(browser, "order-without-workers")
    browser.says("nobody polls task queue nobody-polls-this")
    browser.check()
    now_open(browser, "refund-5000")
    browser.says("amount 5000 is over the limit")
    browser.check("run-failed")
    now_open(browser, EVIL)
    assert browser.one("h1 .id").text == EVIL
    assert not browser.driver.execute_script("return document.querySelector('main img, main b:not(.big b):not(.counts b)')"), "what a user wrote became an element"
    browser.check()


@step
def history(world: World, browser: Browser) -> None:
    now_open(browser, "order-1", "history")
    browser.says("activity")
    browser.check("history")
    browser.all(".event summary")[2].click()
    browser.check("history-event")
    browser.click("Events")
    browser.says("Workflow execution started")
    browser.check("history-events")
    browser.click("JSON")
    browser.says("EVENT_TYPE_WORKFLOW_EXECUTION_STARTED")
    browser.check("history-json")
    browser.click("Newest first")
    browser.until(lambda: "EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED" in browser.one("pre").text, "the newest is not first")
    world.wait(lambda: status(world, "import-of-many-rows") == WorkflowExecutionStatus.COMPLETED)
    now_open(browser, "import-of-many-rows", "history?event=301")
    browser.until(lambda: browser.all("#event-301[open]"), "the event of the link is not open")
    browser.click("Later")
    browser.says("401")
    browser.check()


@step
def relations_and_metadata(world: World, browser: Browser) -> None:
    now_open(browser, "order-1", "relationships")
    browser.says("order-1-parcel")
    browser.check("relations")
    browser.click("order-1-parcel")
    browser.click("Relations")
    browser.says("Parent")
    browser.check()
    now_open(browser, "order-1", "metadata")
    browser.says("channel")
    browser.check("metadata")


@step
def queries_and_updates(world: World, browser: Browser) -> None:
    now_open(browser, "order-6", "queries")
    browser.says("Stack trace")
    browser.click("status")
    browser.says("waiting for payment")
    browser.check("queries")
    now_open(browser, "order-6")
    browser.click("Query")
    within = browser.dialog()
    browser.write("name", "status", within)
    browser.check("query-form")
    browser.submit("Ask", within)
    browser.says("waiting for payment")
    now_open(browser, "order-6")
    browser.click("Update")
    within = browser.dialog()
    browser.write("name", "rename", within)
    browser.write("input", '"Ada"', within)
    browser.submit("Send the update", within)
    browser.says("now called Ada")
    now_open(browser, "order-6", "updates")
    browser.says("rename")
    browser.one(".update summary").click()
    browser.check("updates")
    now_open(browser, "order-without-workers", "queries")
    browser.says("No worker to ask")
    browser.check()


@step
def signal_cancel_terminate(world: World, browser: Browser) -> None:
    now_open(browser, "order-6")
    browser.click("Signal")
    within = browser.dialog()
    browser.write("name", "pay", within)
    browser.write("input", "not json", within)
    browser.submit("Send the signal", within)
    browser.says("texts stand in quotes")
    assert browser.one("form [name=name]").get_attribute("value") == "pay", "what was written is lost"
    browser.check()
    browser.write("input", "")
    browser.submit("Send the signal")
    browser.says("The signal was sent.")
    browser.check()
    world.wait(lambda: status(world, "order-6") == WorkflowExecutionStatus.COMPLETED)
    now_open(browser, "approval-1")
    browser.click("Cancel")
    within = browser.dialog()
    browser.write("reason", "no longer wanted", within)
    browser.submit("Ask it to cancel", within)
    browser.says("asked to cancel")
    world.start(Order.run, {"sku": "t"}, id="to-terminate")
    now_open(browser, "to-terminate")
    browser.click("Terminate")
    within = browser.dialog()
    # The keyboard alone closes it.
    browser.keys(ESCAPE)
    browser.until(lambda: not browser.all("dialog[open]"), "Escape does not close the form")
    browser.click("Terminate")
    browser.dialog()
    browser.write("reason", "by hand", within)
    browser.check("terminate")
    browser.submit("Terminate it", within)
    browser.says("The workflow was terminated.")
    assert status(world, "to-terminate") == WorkflowExecutionStatus.TERMINATED


@step
def pause_reset_fork_delete(world: World, browser: Browser) -> None:
    now_open(browser, "order-5")
    for name, button, done in (("Pause", "Pause it", "The workflow is paused."), ("Unpause", "Unpause it", "The workflow goes on.")):
        browser.click("More")
        browser.click(name)
        within = browser.dialog()
        browser.submit(button, within)
        browser.says(done)
    old = browser.path().split("?")[0]
    browser.click("More")
    browser.click("Reset to a workflow task")
    within = browser.dialog()
    browser.choose("to", "first")
    browser.check("reset")
    browser.submit("Reset it", within)
    browser.says("This is the new run.")
    assert browser.path().split("?")[0] != old
    browser.until(lambda: "approve" in browser.text() or "charge" in browser.text(), "the new run does not go on")
    now_open(browser, "order-1", "history")
    browser.all(".event summary")[2].click()
    browser.click("Fork here")
    within = browser.dialog()
    browser.check("fork")
    browser.submit("Fork it", within)
    browser.says("This is the new run.")
    world.wait(lambda: status(world, "order-1") == WorkflowExecutionStatus.RUNNING)
    now_open(browser, "refund-5000")
    browser.click("More")
    browser.click("Delete")
    within = browser.dialog()
    browser.submit("Delete it", within)
    browser.says("The run was deleted.")
    browser.until(lambda: "refund-5000" not in browser.text(), "the deleted run is listed")


@step
def start_like_this(world: World, browser: Browser) -> None:
    now_open(browser, "order-2")
    browser.click("More")
    browser.click("Start like this one")
    within = browser.dialog()
    assert '"A-2"' in browser.one("dialog [name=input]").get_attribute("value")
    browser.write("id", "order-2-again", within)
    browser.check("start")
    browser.submit("Start", within)
    browser.says("The workflow was started.")
    assert status(world, "order-2-again") == WorkflowExecutionStatus.RUNNING
    # The id is open: that is refused, and said.
    browser.open(f"/namespaces/default/start-workflow?type=Order&queue={QUEUE}")
    browser.write("id", "order-2-again")
    browser.submit("Start")
    browser.until(lambda: browser.all(".error"), "a refused start is not told to be one")
    browser.check()


@step
def activities(world: World, browser: Browser) -> None:
    world.start(Transfer.run, id="transfer-19")
    now_open(browser, "transfer-19")

    def act(name: str, button: str, done: str, fill=lambda within: None) -> None:
        browser.until(lambda: browser.all(".row-actions summary"), "the activity is not pending")
        browser.click("⋯")
        browser.click(name)
        within = browser.dialog()
        fill(within)
        browser.submit(button, within)
        browser.says(done)

    act("Pause", "Pause it", "The activity is paused.")
    browser.says("Paused")
    browser.click("⋯")
    browser.check("activity")
    browser.keys(ESCAPE)
    act("Change options", "Change them", "The activity's options were changed.", lambda within: browser.write("start-to-close", "25s", within))
    act("Reset (begin anew now)", "Reset it", "The activity begins anew")
    browser.click("⋯")
    if [e for e in browser.all(".row-actions a") if e.text == "Unpause"]:
        browser.keys(ESCAPE)
        act("Unpause", "Unpause it", "The activity goes on.")
    else:
        browser.keys(ESCAPE)
    world.start(Approval.run, id="approval-2")
    now_open(browser, "approval-2")
    act("Complete", "Complete it", "The activity was completed.", lambda within: browser.write("input", '"yes, by hand"', within))
    browser.says("yes, by hand")
    world.start(Approval.run, id="approval-3")
    now_open(browser, "approval-3")
    act("Fail", "Fail it", "The activity was failed.", lambda within: browser.write("reason", "not today", within))
    browser.says("not today")
    browser.check()


@step
def bulk(world: World, browser: Browser) -> None:
    for n in range(4):
        world.start(Order.run, {"sku": "bulk"}, id=f"bulk-{n}", queue="nobody-polls-this")
    query = quote("WorkflowId STARTS_WITH 'bulk-'")

    def act(operation: str, button: str, fill=lambda: None, select: int = 0) -> None:
        browser.open(f"/namespaces/default/workflows?query={query}")
        browser.says("bulk-0")
        for box in browser.all("input[name=run]")[:select]:
            box.click()
        if select:
            browser.says(f"{select} selected:")
        browser.click(operation, ".toolbar")
        browser.says(f"{select or 4} runs" if (select or 4) > 1 else "1 run")
        fill()
        browser.write("reason", "by the tour", "form.form")
        browser.check(f"bulk-{operation.lower()}" if operation == "Terminate" else "")
        browser.submit(button)
        browser.says("The batch operation was started.")
        browser.says("Completed")
        browser.check("batch" if operation == "Terminate" else "")

    act("Signal", "Send the signal", lambda: browser.write("signal", "pay"))
    act("Cancel", "Cancel them", select=2)
    act("Terminate", "Terminate them")
    world.wait(lambda: status(world, "bulk-0") == WorkflowExecutionStatus.TERMINATED)
    act("Delete", "Delete them", select=2)
    for n in range(2):
        world.start(Order.run, {"sku": "reset"}, id=f"again-{n}")
    world.wait(lambda: all(world.call(handle(world, f"again-{n}").describe()).history_length > 4 for n in range(2)))
    browser.open("/namespaces/default/workflows?query=" + quote("WorkflowId STARTS_WITH 'again-'"))
    browser.click("Reset", ".toolbar")
    browser.says("2 runs")
    browser.write("reason", "by the tour", "form.form")
    browser.submit("Reset them")
    browser.says("Completed")
    browser.open("/namespaces/default/batch-operations")
    browser.says("Terminate")
    browser.check("batches")


@step
def schedules(world: World, browser: Browser) -> None:
    browser.open("/namespaces/default/schedules")
    browser.says("No schedules here")
    browser.check()
    browser.click("Create schedule")
    browser.write("id", "nightly-report")
    browser.write("type", "Parcel")
    browser.write("queue", QUEUE)
    browser.submit("Create")
    browser.says("Say when it acts")
    assert browser.one("[name=type]").get_attribute("value") == "Parcel", "what was written is lost"
    browser.write("cron", "30 2 * * MON-FRI")
    browser.write("interval", "1h/10m")
    browser.write("zone", "Europe/Berlin")
    browser.write("input", '"C-3"')
    browser.check("schedule-form")
    browser.submit("Create")
    browser.says("The schedule was created.")
    browser.says("every 1h, 10m after")
    browser.click("Trigger")
    within = browser.dialog()
    browser.submit("Trigger it", within)
    browser.says("The schedule's action was taken.")
    browser.until(lambda: browser.all("#recent li a"), "the triggered action is not listed")
    browser.click("Backfill")
    browser.dialog()
    script = "const [a, b] = document.querySelectorAll('dialog input[type=datetime-local]'); a.value = '2026-01-05T00:00:00'; b.value = '2026-01-05T03:00:00'"
    browser.driver.execute_script(script)
    browser.submit("Backfill it", within)
    browser.says("The backfill was asked for")
    browser.check("schedule")
    browser.click("Pause")
    browser.dialog()
    browser.write("notes", "month end", within)
    browser.submit("Pause it", within)
    browser.says("The schedule is paused.")
    browser.says("month end")
    browser.click("Unpause")
    browser.dialog()
    browser.submit("Unpause it", within)
    browser.says("The schedule goes on.")
    browser.click("Edit")
    browser.write("interval", "2h")
    browser.submit("Save")
    browser.says("The schedule was changed.")
    browser.says("every 2h")
    browser.open("/namespaces/default/schedules")
    browser.says("nightly-report")
    browser.check("schedules")
    browser.click("nightly-report")
    browser.click("Delete")
    browser.dialog()
    browser.submit("Delete it", within)
    browser.says("The schedule was deleted.")


@step
def queues_and_workers(world: World, browser: Browser) -> None:
    browser.open("/namespaces/default/task-queues")
    browser.says("nobody-polls-this")
    browser.check("task-queues")
    browser.click("nobody-polls-this")
    browser.says("No worker polls this queue")
    browser.check()
    browser.open(f"/namespaces/default/task-queues/{QUEUE}")
    browser.says("Activity tasks")
    browser.check("task-queue")
    browser.open("/namespaces/default/workers")
    browser.says(QUEUE)
    browser.check("workers")
    browser.one("tbody th a").click()
    browser.says("slots")
    browser.check("worker")
    browser.open("/namespaces/default/worker-deployments")
    browser.says("No deployments")
    browser.check()


@step
def attention(world: World, browser: Browser) -> None:
    browser.open("/namespaces/default/attention")
    browser.says("Workflow tasks fail")
    browser.says("Activities are retried")
    browser.says("no route to bank.example, try #")
    browser.check("attention")
    browser.open("/namespaces/empty/attention")
    browser.says("Nothing needs you")
    browser.check()


@step
def settings_and_codec(world: World, browser: Browser) -> None:
    import base64
    import http.server
    import json
    import threading

    class Codec(http.server.BaseHTTPRequestHandler):
        asked = []

        def do_OPTIONS(self) -> None:
            self.answer(204, b"")

        def do_POST(self) -> None:
            payloads = json.loads(self.rfile.read(int(self.headers["content-length"])))["payloads"]
            Codec.asked.append((self.path, self.headers["x-namespace"]))
            clear = {"metadata": {"encoding": base64.b64encode(b"json/plain").decode()}}
            decoded = [dict(clear, data=base64.b64encode(base64.b64decode(p["data"])[::-1]).decode()) for p in payloads]
            self.answer(200, json.dumps({"payloads": decoded}).encode())

        def answer(self, code: int, body: bytes) -> None:
            self.send_response(code)
            for name, value in (("access-control-allow-origin", "*"), ("access-control-allow-headers", "content-type,x-namespace"), ("content-length", str(len(body)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    from temporalio.api.common.v1 import Payload
    from temporalio.common import RawValue

    secret = Payload(metadata={"encoding": b"binary/encrypted"}, data=b'{"secret": 42}'[::-1])
    world.start(Order.run, RawValue(secret), id="encrypted", queue="nobody-polls-this")
    now_open(browser, "encrypted")
    browser.says("binary/encrypted")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Codec)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        browser.click("Settings", ".top")
        browser.until(lambda: browser.path().startswith("/settings"), "the settings do not open")
        browser.write("codec", "javascript:alert(1)")
        browser.submit("Save")
        browser.says("is not an http or https URL")
        browser.open("/settings")
        browser.write("codec", f"http://127.0.0.1:{server.server_port}/{{namespace}}")
        browser.choose("theme", "dark")
        browser.check("settings")
        browser.submit("Save")
        browser.says("The settings were saved")
        now_open(browser, "encrypted")
        browser.says('"secret": 42')
        assert ("/default/decode", "default") in Codec.asked, Codec.asked
        browser.check("codec")
    finally:
        server.shutdown()
        browser.open("/settings")
        browser.write("codec", "")
        browser.choose("theme", "")
        browser.submit("Save")
        browser.says("The settings were saved")


@step
def keyboard(world: World, browser: Browser) -> None:
    browser.open("/namespaces/default/workflows")
    browser.keys(TAB, ENTER)
    assert browser.driver.switch_to.active_element.get_attribute("id") == "main", "the first link does not skip to the content"
    seen = set()
    for _ in range(60):
        browser.keys(TAB)
        active = browser.driver.switch_to.active_element
        seen.add(active.tag_name)
        outline = browser.driver.execute_script("const s = getComputedStyle(arguments[0]); return s.outlineStyle", active)
        assert outline != "none", f"no one sees that {active.get_attribute('outerHTML')[:120]} has the focus"
    assert {"a", "button", "input", "summary"} <= seen, seen


@step
def problems(world: World, browser: Browser) -> None:
    for path, says in (
        ("/namespaces/nowhere/workflows", "Namespace nowhere is not found."),
        (browser.run_path("no-such-run"), "Not found"),
        (browser.run_path("order-1", "0190a0a0-0000-7000-8000-000000000000"), "Not found"),
        ("/namespaces/default/nothing", "There is no such page."),
        (browser.run_path("order-1", "not-a-run-id"), "That does not work"),
    ):
        browser.open(path)
        browser.says(says)
        browser.check("problem" if "nowhere" in path else "")


@step
def forms_of_others(world: World, browser: Browser) -> None:
    """What no page of the server has sent is refused, and does nothing."""
    run = world.start(Order.run, {"sku": "csrf"}, id="not-to-be-touched")
    browser.open(browser.run_path("not-to-be-touched"))
    target = world.url + browser.path() + "/do/terminate"
    token = browser.driver.get_cookie("sempre_token")["value"]
    assert not browser.driver.execute_script("return document.cookie.includes('sempre_token')"), "scripts can read the token"

    def send(origin: str | None, field: str, cookie: str) -> int:
        request = urllib.request.Request(target, data=f"_token={field}&reason=x".encode(), method="POST")
        if origin:
            request.add_header("Origin", origin)
        request.add_header("Cookie", f"sempre_token={cookie}")
        try:
            return urllib.request.urlopen(request).status
        except urllib.error.HTTPError as error:
            return error.code

    assert send("http://evil.example", token, token) == 403
    assert send(None, token, token) == 403
    assert send("null", token, token) == 403
    assert send(world.url, "", token) == 403
    assert send(world.url, "0" * 32, token) == 403
    assert send(world.url, "", "") == 403
    assert status(world, run.id) == WorkflowExecutionStatus.RUNNING
    assert send(world.url, token, token) == 200
    assert status(world, run.id) == WorkflowExecutionStatus.TERMINATED


def main() -> int:
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    needed = {"workflow_list"}
    chosen = [one for one in STEPS if not words or one.__name__ in needed or any(word in one.__name__ for word in words)]
    failed = 0
    with World() as world:
        browser = Browser(world.url, "--screenshots" in sys.argv)
        try:
            for one in chosen:
                begun = time.monotonic()
                try:
                    one(world, browser)
                    print(f"ok      {one.__name__} ({time.monotonic() - begun:.1f} s)", flush=True)
                except Exception:
                    failed += 1
                    print(f"FAILED  {one.__name__}", flush=True)
                    traceback.print_exc()
                    browser.driver.save_screenshot(f"/tmp/sempre-ui-{one.__name__}.png")
                    browser.usual_size()
                    browser.scheme("light")
        finally:
            browser.close()
    print(f"{len(chosen) - failed} of {len(chosen)} steps, {browser.checked} pages looked at", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
