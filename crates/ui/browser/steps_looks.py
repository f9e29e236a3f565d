"""Every screen in the dark, on a phone and at 200 %."""

from datetime import timedelta

from temporalio.client import Schedule, ScheduleActionStartWorkflow, ScheduleIntervalSpec, ScheduleSpec

from browser import Browser
from step import step
from world import QUEUE, World

HERE = "/namespaces/default"
SCREENS = (
    "/namespaces",
    "/namespaces/empty/welcome",
    "/namespaces/nowhere/workflows",
    "/settings",
    f"{HERE}/workflows",
    f"{HERE}/start-workflow",
    f"{HERE}/bulk/terminate?query=WorkflowType%3D%27Transfer%27",
    f"{HERE}/attention",
    f"{HERE}/schedules",
    f"{HERE}/schedules/create",
    f"{HERE}/schedules/hourly",
    f"{HERE}/schedules/hourly/edit",
    f"{HERE}/task-queues",
    f"{HERE}/task-queues/{QUEUE}",
    f"{HERE}/workers",
    f"{HERE}/worker-deployments",
    f"{HERE}/batch-operations",
    f"{HERE}/activities",
    f"{HERE}/alerts",
    f"{HERE}/alerts/create",
)
VIEWS = ("", "/history", "/history?view=compact&event=5", "/history?view=json", "/relationships", "/queries", "/updates", "/metadata", "/do/signal", "/do/reset", "/do/fork")
LOOKS = {
    "dark": lambda browser: browser.scheme("dark"),
    "on a phone": lambda browser: browser.size(390, 844, 1, phone=True),
    # Of 1280 pixels.
    "at 200 %": lambda browser: browser.size(640, 400, 1),
}


@step
def every_screen_in_every_look(world: World, browser: Browser) -> None:
    action = ScheduleActionStartWorkflow("Parcel", "B-1", id="parcel-hourly", task_queue=QUEUE)
    hourly = Schedule(action=action, spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(hours=1))]))
    world.call(world.client.create_schedule("hourly", hourly))
    browser.open(browser.run_path("order-8"))
    run = browser.path().split("?")[0]
    screens = [*SCREENS, *(run + view for view in VIEWS)]
    browser.open(f"{HERE}/workers")
    screens.append(browser.one("tbody th a").get_attribute("href").removeprefix(world.url))
    wrong = []
    for name, wear in LOOKS.items():
        wear(browser)
        for path in screens:
            browser.open(path)
            browser.one("main h1, main .heading, main form")
            try:
                browser.check()
            except AssertionError as error:
                wrong.append(f"{name}: {error}")
        browser.scheme("light")
        browser.usual_size()
    assert not wrong, "\n".join(wrong)
