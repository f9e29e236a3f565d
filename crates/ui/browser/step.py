"""The steps of the tour, in the order in which they are taken, and what they share."""

from temporalio.client import WorkflowExecutionStatus

from browser import Browser
from world import World

STEPS = []


def step(function):
    """This is a step of the tour."""
    STEPS.append(function)
    return function


def handle(world: World, id: str):
    return world.client.get_workflow_handle(id)


def status(world: World, id: str) -> WorkflowExecutionStatus:
    return world.call(handle(world, id).describe()).status


def attempt(world: World, id: str) -> int:
    """The attempt that its activity is at; 0: it has none in hand."""
    pending = world.call(handle(world, id).describe()).raw_description.pending_activities
    return pending[0].attempt if pending else 0


def now_open(browser: Browser, id: str, tab: str = "") -> None:
    browser.open(browser.run_path(id))
    if tab:
        browser.open(browser.path().split("?")[0] + "/" + tab)
