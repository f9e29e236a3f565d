"""Every screen and action of the web UI, as a person with a browser meets them. Run by `run`."""

import logging
import sys
import time
import traceback

# The steps are taken in the order of these lines.
import steps_lists  # noqa: F401
import steps_runs  # noqa: F401
import steps_rest  # noqa: F401
import steps_looks  # noqa: F401
from browser import Browser
from step import STEPS
from world import World

# What workers say of activities that are made to fail.
logging.disable(logging.CRITICAL)


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
