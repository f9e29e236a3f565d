"""The pages of a run, and what can be done to it."""

import json

from temporalio.client import WorkflowExecutionStatus

from browser import ESCAPE, Browser
from step import attempt, handle, now_open, status, step
from world import EVIL, World
from workflows import Approval, Order, Patient, Transfer


@step
def run_page(world: World, browser: Browser) -> None:
    now_open(browser, "order-7")
    browser.says("It waits for a signal or an update")
    browser.until(lambda: browser.all(".timeline-bar"), "the timeline is not drawn")
    browser.says("charge")
    browser.check("run")
    # Each attempt of an activity has its bar: the card reader answers at the third.
    browser.until(lambda: len(browser.all(".timeline-attempt")) == 3, "the attempts are not drawn")
    wide = browser.width(".timeline-space")
    browser.click("+", "[data-timeline-tools]")
    assert browser.width(".timeline-space") > 1.5 * wide, "it is not drawn larger"
    for how in ("+", "−", "All"):
        browser.click(how, "[data-timeline-tools]")
    assert abs(browser.width(".timeline-space") - wide) < 2, "it is not drawn as it was"
    browser.one("[data-timeline]").send_keys("+", "-", "0")
    browser.press("[data-timeline-tasks]")
    browser.until(lambda: "task" in browser.one("[data-timeline]").text, "workflow tasks are not drawn")
    # What happens is drawn by itself.
    world.call(handle(world, "order-7").signal(Order.pay))
    browser.says("It waits for nothing: it closed")
    browser.until(lambda: "pay" in browser.one("[data-timeline]").text, "the timeline does not go on")
    kinds = {"workflow", "activity", "child", "timer", "signal"}
    browser.until(lambda: kinds <= {one.text for one in browser.all(".timeline-name i")}, f"not all of {kinds} are drawn")
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
    browser.press(".event summary", 2)
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
    browser.says("order-1-parcel-stamp")
    browser.check("relations")
    browser.click("order-1-parcel")
    browser.click("Relations")
    # The whole family, from wherever one looks at it.
    for depth, id in enumerate(("order-1", "order-1-parcel", "order-1-parcel-stamp"), start=1):
        browser.until(lambda: browser.one("ul.relatives" + " > li > ul" * (depth - 1) + " > li > .id").text == id, f"{id} is not in its place")
    browser.check()
    now_open(browser, "order-1", "metadata")
    browser.says("channel")
    browser.check("metadata")


@step
def queries_and_updates(world: World, browser: Browser) -> None:
    now_open(browser, "order-6", "queries")
    browser.says("Stack trace")
    # Where the code waits, as its worker says.
    browser.says("(workflow: Order, id: order-6")
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
    browser.press(".update summary")
    browser.until(lambda: browser.all("details.update[open]"), "the update does not open")
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
    browser.says("The workflow was asked to cancel.")
    world.wait(lambda: status(world, "approval-1") == WorkflowExecutionStatus.CANCELED)
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
    # An event leads to it too: the workflow task that had it.
    now_open(browser, "order-2", "history?view=compact")
    browser.press(".event summary", 4)
    browser.click("Reset here")
    within = browser.dialog()
    assert browser.one("dialog [name=to]").get_attribute("value") == "event"
    assert browser.one("dialog [name=event]").get_attribute("value") == "5"
    browser.submit("Reset it", within)
    browser.says("This is the new run.")
    world.wait(lambda: status(world, "order-2") == WorkflowExecutionStatus.RUNNING)
    now_open(browser, "order-1", "history")
    browser.press(".event summary", 2)
    browser.click("Fork here")
    within = browser.dialog()
    browser.check("fork")
    browser.submit("Fork it", within)
    browser.says("This is the new run.")
    world.wait(lambda: status(world, "order-1") == WorkflowExecutionStatus.RUNNING)
    now_open(browser, "order-3")
    old = browser.path().split("?")[0]
    browser.click("More")
    browser.click("Fork at an event")
    within = browser.dialog()
    browser.write("event", "8", within)
    browser.submit("Fork it", within)
    browser.says("This is the new run.")
    assert browser.path().split("?")[0] != old
    world.wait(lambda: status(world, "order-3") == WorkflowExecutionStatus.RUNNING)
    browser.click("More")
    browser.click("History as JSON")
    browser.until(lambda: browser.path().startswith("/api/v1/namespaces/default/workflows/order-3/history"), "the history does not open")
    events = json.loads(browser.text())["history"]["events"]
    assert [event["eventId"] for event in events[:8]] == [str(n) for n in range(1, 9)], events
    now_open(browser, "refund-5000")
    browser.click("More")
    browser.click("Delete")
    within = browser.dialog()
    browser.submit("Delete it", within)
    browser.says("The run was deleted.")
    browser.until(lambda: "refund-5000" not in browser.text(), "the deleted run is listed")


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
    # What begins anew is paused no more.
    act("Pause", "Pause it", "The activity is paused.")
    act("Unpause", "Unpause it", "The activity goes on.")
    # Every attempt is told, with its worker and why it failed.
    browser.press("table.pending th a")
    browser.says("Attempts")
    browser.says("no route to bank.example, try")
    browser.check("attempts")
    # The second attempt is an hour away: it is made now, and it is the second.
    world.start(Patient.run, id="transfer-tomorrow")
    world.wait(lambda: attempt(world, "transfer-tomorrow") == 2)
    now_open(browser, "transfer-tomorrow")
    act("Run now", "Run it now", "The activity is offered to workers now.")
    world.wait(lambda: attempt(world, "transfer-tomorrow") == 3)
    browser.says("no route to bank.example, try 2")
    world.start(Approval.run, id="approval-2")
    now_open(browser, "approval-2")
    act("Complete", "Complete it", "The activity was completed.", lambda within: browser.write("input", '"yes, by hand"', within))
    browser.says("yes, by hand")
    world.start(Approval.run, id="approval-3")
    now_open(browser, "approval-3")
    act("Fail", "Fail it", "The activity was failed.", lambda within: browser.write("reason", "not today", within))
    browser.says("not today")
    browser.check()
