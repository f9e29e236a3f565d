"""The list of runs, and what leads to it."""

from urllib.parse import quote

from temporalio.client import WorkflowExecutionStatus

from browser import DOWN, ENTER, ESCAPE, Browser
from step import handle, now_open, status, step
from world import QUEUE, World
from workflows import Order, Transfer


@step
def first_run(world: World, browser: Browser) -> None:
    browser.open("/")
    browser.until(lambda: browser.path().startswith("/namespaces/default/workflows"), "the first page does not go on")
    browser.says("no worker is connected")
    browser.check("first-run")
    for language in ("Rust", "TypeScript", "Go", "Java", ".NET", "PHP", "Ruby", "Python"):
        browser.click(language)
        browser.says(world.address)
        browser.check()


@step
def namespaces(world: World, browser: Browser) -> None:
    browser.open("/namespaces")
    browser.says("empty")
    browser.check("namespaces")
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
    browser.until(lambda: len(browser.all("tbody#rows tr")) == 5, "the second page has another number of runs")
    browser.check()


@step
def columns_and_views(world: World, browser: Browser) -> None:
    browser.open("/namespaces/default/workflows")
    browser.click("Columns")
    browser.press("input[name=cols][value='queue']")
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
    browser.click("Views")
    browser.press("[aria-label='Forget Money']")
    browser.open("/namespaces/default/workflows")
    browser.click("Views")
    browser.one(".view-save")
    assert not browser.all("[aria-label='Forget Money']"), "the view is not forgotten"


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
def bulk(world: World, browser: Browser) -> None:
    for n in range(4):
        world.start(Order.run, {"sku": "bulk"}, id=f"bulk-{n}", queue="nobody-polls-this")
    query = quote("WorkflowId STARTS_WITH 'bulk-'")

    def act(operation: str, button: str, fill=lambda: None, select: int = 0) -> None:
        browser.open(f"/namespaces/default/workflows?query={query}")
        browser.says("bulk-0")
        if select:
            browser.selected("input[name=run]", select)
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
    # So slowly that it can be stopped before its second run.
    browser.open(f"/namespaces/default/workflows?query={query}")
    browser.says("bulk-0")
    browser.click("Signal", ".toolbar")
    browser.write("signal", "pay", "form.form")
    browser.write("reason", "by the tour", "form.form")
    browser.write("rps", "0.01", "form.form")
    browser.submit("Send the signal")
    browser.says("1 of 4")
    browser.click("Stop it")
    browser.says("The batch operation was stopped.")
    browser.until(lambda: "Running" not in browser.one("#progress").text, "it is not stopped")
    assert "1 of 4" in browser.one("#progress").text, browser.one("#progress").text
    browser.check()
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


def pause_it(browser: Browser, id: str, what: str) -> None:
    now_open(browser, id)
    browser.click("More")
    browser.click(what)
    browser.submit(f"{what} it", browser.dialog())
    browser.says("The workflow is paused." if what == "Pause" else "The workflow goes on.")


@step
def attention(world: World, browser: Browser) -> None:
    browser.open("/namespaces/default/attention")
    browser.says("Workflow tasks fail")
    browser.says("Activities are retried")
    browser.says("no route to bank.example, try #")
    lately = ".panel[data-key='Failed lately'] .trouble"
    browser.until(lambda: "Refused amount # is over the limit" in browser.one(lately).text, "what failed lately is not told by its message")
    browser.check()
    pause_it(browser, "order-8", "Pause")
    browser.open("/namespaces/default/attention")
    browser.until(lambda: "order-8" in browser.one(".panel[data-key='Paused']").text, "what is paused is not told")
    browser.check()
    pause_it(browser, "order-8", "Unpause")
    browser.open("/namespaces/default/attention")
    browser.until(lambda: not browser.all(".panel[data-key='Paused']"), "what goes on is told as paused")
    browser.open("/namespaces/empty/attention")
    browser.says("Nothing needs you")
    browser.check()
