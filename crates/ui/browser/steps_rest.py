"""Schedules, queues, workers, settings; what is refused; the keyboard."""

import os
import pathlib
import subprocess
import sys
import urllib.error
import urllib.request

from temporalio.client import WorkflowExecutionStatus

from browser import ENTER, TAB, Browser
from step import handle, now_open, status, step
from world import QUEUE, World, serve
from workflows import Order, Refused


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
    browser.choose("overlap", "SCHEDULE_OVERLAP_POLICY_ALLOW_ALL")
    browser.submit("Backfill it", within)
    browser.says("The backfill was asked for")
    browser.until(lambda: len(browser.all("#recent li a")) > 1, "what was backfilled is not listed")
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
    browser.press("tbody th a")
    browser.says("slots")
    browser.check("worker")
    browser.open("/namespaces/default/worker-deployments")
    browser.says("No deployments")
    browser.check()


@step
def alerts(world: World, browser: Browser) -> None:
    browser.open("/namespaces/default/alerts")
    browser.says("No rules")
    browser.check()
    browser.click("Create rule")
    browser.write("query", "ExecutionStatus = 'Nonsense'")
    browser.click("Try: what does it select now?")
    browser.until(lambda: browser.all(".error"), "a wrong query is not told to be one")
    assert browser.one("[name=query]").get_attribute("value") == "ExecutionStatus = 'Nonsense'", "what was written is lost"
    browser.write("query", "ExecutionStatus = 'Failed'")
    browser.click("Try: what does it select now?")
    browser.says("It selects")
    browser.write("name", "failed")
    browser.write("url", "http://127.0.0.1:1/hook")
    browser.check("alert-form")
    browser.submit("Create")
    browser.says("which is not told again")
    browser.says("whsec_")
    # It is a secret: no picture of it.
    browser.check()
    browser.click("To the rules")
    browser.says("of each run")
    world.start(Refused.run, 7000, id="refund-7000")
    browser.open("/namespaces/default/alerts")
    browser.until(lambda: "refund-7000" in browser.text(), "the alert does not come")
    browser.until(lambda: "Not delivered" in browser.text(), "it is not said that nobody takes it")
    browser.click("Test")
    within = browser.dialog()
    browser.submit("Send it", within)
    browser.says("A test is on its way.")
    browser.check("alerts")
    browser.click("Edit")
    browser.choose("scope", "list")
    browser.write("hold", "5m")
    browser.check()
    browser.submit("Save")
    browser.says("The rule is in force.")
    browser.says("when the list fills, for 5m")
    browser.click("Delete")
    browser.dialog()
    browser.submit("Delete it", within)
    browser.says("The rule was deleted.")
    browser.says("No rules")


@step
def deployments(world: World, browser: Browser) -> None:
    def sempre(*words: str) -> None:
        command = [os.environ["SEMPRE_BIN"], "worker", "deployment", *words, "--address", world.address]
        subprocess.run(command, check=True, capture_output=True)

    sempre("create", "--name", "shop")
    for build in ("1.0", "1.1"):
        sempre("create-version", "--deployment-name", "shop", "--build-id", build)
    browser.open("/namespaces/default/worker-deployments")
    browser.click("shop")
    browser.says("1.1")

    def act(name: str, button: str, done: str, fill=lambda: None, at: str = "") -> None:
        browser.click(name, at)
        within = browser.dialog()
        fill()
        browser.submit(button, within)
        browser.says(done)

    def row(build: str) -> str:
        return f"tr[data-key='{build}']"

    browser.click("Make current", row("1.0"))
    within = browser.dialog()
    browser.says("New work goes to")
    browser.says("Pinned, and stay where they are")
    browser.check("deployment-current")
    browser.submit("Make it current", within)
    browser.says("The version is current.")
    act("Ramp", "Ramp it", "The version ramps.", lambda: browser.write("percentage", "20", "dialog"), row("1.1"))
    browser.says("20 %")
    browser.check("deployment")
    act("End the ramp", "End it", "The ramp has ended.")
    act("Unset current", "Unset it", "No version is current any more.")
    act("Delete", "Delete it", "The version was deleted.", lambda: browser.tick("skip-drainage"), row("1.1"))
    browser.until(lambda: not browser.all(row("1.1")), "the version is still there")
    browser.check()


@step
def flow(world: World, browser: Browser) -> None:
    """A run that a flow rule holds back says so."""
    command = [os.environ["SEMPRE_BIN"], "flow"]
    address = ("--address", world.address)
    subprocess.run([*command, "set", "--name", "one-at-a-time", "--type", "Held", "--max-open", "1", *address], check=True, capture_output=True)
    for id in ("held-1", "held-2"):
        world.start("Held", id=id, queue="nobody-polls-this")
    now_open(browser, "held-2")
    browser.says("in place 1 of flow rule one-at-a-time")
    browser.check("run-held")
    subprocess.run([*command, "delete", "--name", "one-at-a-time", *address], check=True, capture_output=True)


@step
def activities_alone(world: World, browser: Browser) -> None:
    browser.open("/namespaces/default/activities")
    browser.says("No activities")
    browser.check()
    start = [os.environ["SEMPRE_BIN"], "activity", "start", "--type", "reach_bank", "--start-to-close-timeout", "10s"]
    address = ("--address", world.address)
    subprocess.run([*start, "--task-queue", QUEUE, "--activity-id", "reach-17", *address], check=True, capture_output=True)
    browser.open("/namespaces/default/activities")
    browser.says("reach-17")
    browser.check("activities")
    browser.click("reach-17")
    browser.says("no route to bank.example")
    browser.until(lambda: len(browser.all("table.attempts tbody tr")) > 1, "its attempts are not told")
    browser.check("activity-alone")
    for name, button, done in (
        ("Pause", "Pause it", "The activity is paused."),
        ("Unpause", "Unpause it", "The activity goes on."),
        ("Reset", "Reset it", "The activity begins anew"),
    ):
        browser.click(name)
        within = browser.dialog()
        browser.submit(button, within)
        browser.says(done)
    # Nobody has it: the request to cancel it ends it.
    subprocess.run([*start, "--task-queue", "nobody-polls-this", "--activity-id", "reach-18", *address], check=True, capture_output=True)
    browser.open("/namespaces/default/activities")
    browser.click("reach-18")
    browser.click("Cancel")
    browser.dialog()
    browser.submit("Cancel it", within)
    browser.says("It closed")
    browser.says("Canceled")
    browser.open("/namespaces/default/activities")
    browser.click("reach-17")
    browser.click("Terminate")
    browser.dialog()
    browser.submit("Terminate it", within)
    browser.says("The activity was terminated.")
    browser.says("It closed")
    browser.click("Delete")
    browser.dialog()
    browser.submit("Delete it", within)
    browser.says("The activity was deleted.")


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
            Codec.asked.append((self.path, self.headers["x-namespace"], self.headers["authorization"]))
            clear = [base64.b64decode(p["data"]) for p in payloads]
            if any(b"refuse this" in data for data in clear):
                self.answer(500, b"")
                return
            encoding = b"binary/encrypted" if self.path.endswith("/encode") else b"json/plain"
            metadata = {"encoding": base64.b64encode(encoding).decode()}
            made = [{"metadata": metadata, "data": base64.b64encode(data[::-1]).decode()} for data in clear]
            self.answer(200, json.dumps({"payloads": made}).encode())

        def answer(self, code: int, body: bytes) -> None:
            self.send_response(code)
            for name, value in (("access-control-allow-origin", "*"), ("access-control-allow-headers", "content-type,x-namespace,authorization"), ("content-length", str(len(body)))):
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
        browser.says("Your time zone is Europe/Berlin")
        browser.write("codec", "javascript:alert(1)")
        browser.submit("Save")
        browser.says("is not an http or https URL")
        browser.open("/settings")
        browser.write("codec", f"http://127.0.0.1:{server.server_port}/{{namespace}}")
        browser.choose("theme", "dark")
        browser.choose("times", "utc")
        browser.check("settings")
        browser.submit("Save")
        browser.says("The settings were saved")
        now_open(browser, "encrypted")
        browser.says('"secret": 42')
        assert ("/default/decode", "default", None) in Codec.asked, Codec.asked
        assert {one.get_attribute("data-style") for one in browser.all(".run-line time")} == {"utc"}, "times are not as they were chosen"
        browser.check("codec")

        # What is written into forms is encoded before it is sent; each number with all its digits.
        def signalled(number: int) -> list[Payload]:
            history = world.call(handle(world, "encrypted").fetch_history())
            signals = [e.workflow_execution_signaled_event_attributes for e in history.events if e.HasField("workflow_execution_signaled_event_attributes")]
            return list(signals[number].input.payloads)

        def signal(text: str) -> None:
            browser.click("Signal")
            within = browser.dialog()
            browser.write("name", "card", within)
            browser.write("input", text, within)
            browser.submit("Send the signal", within)

        signal('{"number": 12345678901234567890}\n"ä" 1')
        browser.says("The signal was sent.")
        sent = [(one.metadata["encoding"], one.data[::-1].decode()) for one in signalled(0)]
        assert sent == [(b"binary/encrypted", '{"number": 12345678901234567890}'), (b"binary/encrypted", '"ä"'), (b"binary/encrypted", "1")], sent
        now_open(browser, "encrypted", "history?view=json")
        browser.says("WORKFLOW_EXECUTION_SIGNALED")
        # What the codec server refuses, and what is no JSON, is not sent, and not lost.
        for text, told in (('"refuse this"', "so nothing was sent: it answered 500"), ("refuse this", "The input is not JSON")):
            now_open(browser, "encrypted")
            signal(text)
            browser.until(lambda: told in browser.one("dialog p.error").text, f"it does not say {told!r}")
            assert browser.one("dialog [name=input]").get_attribute("value") == text
        assert any("500" in error for error in browser.errors()), "only the codec server's refusal is told"
        # What the server refuses comes back with what was written.
        browser.open(f"/namespaces/default/start-workflow?type=Order&queue={QUEUE}")
        browser.write("id", "encrypted")
        browser.write("input", '{"a": 1}')
        browser.submit("Start")
        browser.until(lambda: browser.all("p.error"), "an open id is not refused")
        browser.until(lambda: browser.one("[name=input]").get_attribute("value") == '{"a": 1}', "what was written is lost")
        browser.check()
        browser.write("id", "encrypted-too")
        browser.write("queue", "nobody-polls-this")
        browser.submit("Start")
        browser.says("The workflow was started.")
        started = world.call(handle(world, "encrypted-too").fetch_history()).events[0].workflow_execution_started_event_attributes
        assert started.input.payloads[0].data == b'{"a": 1}'[::-1], started.input
        assert not browser.driver.execute_script("return sessionStorage.length"), "what was written is kept"

        # The token that came with the page goes to the codec server that the operator has named, if that is wanted.
        browser.open("/settings")
        assert not browser.all("[name=token]"), "a codec server of the viewer's own is said to get the token"
        operated, told = serve(["--ui-codec-endpoint", f"http://127.0.0.1:{server.server_port}/{{namespace}}"])
        usual, browser.url = browser.url, told["UI"]
        try:
            browser.open("/settings")
            browser.write("codec", "")
            browser.tick("token")
            browser.submit("Save")
            browser.says("The settings were saved")
            browser.headers({"authorization": "Bearer of-the-tour"})
            browser.open("/namespaces/default/start-workflow?type=Order&queue=nobody-polls-this")
            browser.headers({})
            browser.write("id", "with-a-token")
            browser.write("input", '{"b": 2}')
            browser.submit("Start")
            browser.says("The workflow was started.")
            assert ("/default/encode", "default", "Bearer of-the-tour") in Codec.asked, Codec.asked
            # A page that stays open forgets it when another codec server is named, be it by somebody who plants cookies.
            has_token = "return 'codecToken' in document.body.dataset"
            browser.headers({"authorization": "Bearer of-the-tour"})
            browser.open("/namespaces/default/workflows")
            assert browser.driver.execute_script(has_token), "the page has no token"
            browser.driver.execute_script("document.cookie = 'sempre_codec=http%3A%2F%2F127.0.0.1%3A1; Path=/'; document.dispatchEvent(new Event('visibilitychange'))")
            browser.until(lambda: not browser.driver.execute_script(has_token), "the page keeps the token")
        finally:
            browser.url = usual
            operated.terminate()
            operated.wait()
    finally:
        server.shutdown()
        browser.headers({})
        browser.open("/settings")
        browser.write("codec", "")
        browser.choose("theme", "")
        browser.choose("times", "relative")
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
def queues_that_nobody_polls(world: World, browser: Browser) -> None:
    """By now a task has waited there for a minute."""
    browser.open("/namespaces/default/attention")
    browser.says("Queues that nobody polls")
    browser.check("attention")
    browser.click("nobody-polls-this", "[data-key='unpolled']")
    browser.says("No worker polls this queue")


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


@step
def first_worker(world: World, browser: Browser) -> None:
    """The worker that the first page shows is one."""
    browser.open("/namespaces/empty/welcome?language=python")
    file = pathlib.Path(world.folder.name) / "worker.py"
    file.write_text(browser.one(".steps li:nth-child(2) pre").get_attribute("textContent"))
    worker = subprocess.Popen([sys.executable, file], stdin=subprocess.DEVNULL)
    try:
        browser.open("/namespaces/empty/workflows")
        browser.click("start it here")
        within = browser.dialog()
        browser.write("input", '"you"', within)
        browser.submit("Start", within)
        browser.says("Hello, you!")
        browser.check()
    finally:
        worker.kill()
        worker.wait()
