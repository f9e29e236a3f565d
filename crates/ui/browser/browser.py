"""Headless Chromium, and what is checked of every page: no errors in its console, no serious fault of accessibility."""

import io
import json
import os
import pathlib
import time
from urllib.parse import quote

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

DOCS = pathlib.Path(__file__).resolve().parents[3] / "docs" / "ui"
# What is waited for comes at once on an idle machine. On one that builds beside it, a worker, a server that was built for debugging and
# a browser share what is left: the wait is for that, and costs nothing where it is not needed.
SECONDS = 90
# What Chromium itself reports of a page that is a refusal, behind the page's address.
REFUSED = " - Failed to load resource: the server responded with a status of 4"
# How much of a page may move while nobody does anything, in Chromium's own measure: without news, up to what it calls good;
# with what news bring and take away, up to where it begins to call it poor.
SHIFT_MAX, SHIFT_WITH_NEWS_MAX = 0.1, 0.25
# Adds up what moves; what does so within half a second of a click or a key is left out by Chromium, and what does so after news is counted apart.
WATCH = """
    window.moved = { quiet: 0, all: 0 };
    let news = -Infinity;
    document.addEventListener("sempre:read", () => { news = performance.now(); });
    new PerformanceObserver((list) => {
        for (const one of list.getEntries().filter((one) => !one.hadRecentInput)) {
            window.moved.all += one.value;
            if (one.startTime < news - 50 || one.startTime > news + 500) window.moved.quiet += one.value;
        }
    }).observe({ type: "layout-shift", buffered: true });
"""


class Browser:
    def __init__(self, url: str, screenshots: bool) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = os.environ["CHROMIUM"]
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1360,860", "--lang=en", "--force-color-profile=srgb"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(os.environ["CHROMEDRIVER"]))
        self.driver.set_script_timeout(SECONDS)
        self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        self.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Europe/Berlin"})
        self.url = url
        self.screenshots = screenshots
        self.axe = pathlib.Path(os.environ["AXE"]).read_text() if os.environ.get("AXE") else None
        self.checked = 0
        # Pages that steps have gone to.
        self.opened: set[str] = set()
        self.scheme("light")

    def close(self) -> None:
        self.driver.quit()

    # Going there

    def open(self, path: str) -> None:
        self.opened.add(self.url + path)
        self.driver.get(self.url + path)

    def path(self) -> str:
        return self.driver.current_url.removeprefix(self.url)

    def run_path(self, id: str, run: str = "", tab: str = "") -> str:
        parts = ["namespaces", "default", "workflows", id, run, tab]
        return "/" + "/".join(quote(part, safe="") for part in parts if part)

    def scheme(self, name: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def size(self, width: int, height: int, scale: float = 1, phone: bool = False) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def headers(self, headers: dict[str, str]) -> None:
        """What every request carries from now on, as a proxy would add it."""
        self.driver.execute_cdp_cmd("Network.enable", {})
        self.driver.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": headers})

    def usual_size(self) -> None:
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    # Looking

    def all(self, what: str) -> list:
        return self.driver.find_elements(By.CSS_SELECTOR, what)

    def one(self, what: str):
        found = self.until(lambda: self.all(what), f"there is no {what}")
        return found[0]

    def text(self) -> str:
        return self.driver.find_element(By.TAG_NAME, "body").text

    def until(self, what, why: str):
        end = time.monotonic() + SECONDS
        while True:
            try:
                if found := what():
                    return found
            except Exception:
                if time.monotonic() > end:
                    raise
            if time.monotonic() > end:
                raise AssertionError(f"{why}; the page is {self.path()} and says:\n{self.text()[:2000]}")
            time.sleep(0.05)

    def width(self, what: str) -> float:
        return self.driver.execute_script("return document.querySelector(arguments[0]).getBoundingClientRect().width", what)

    def says(self, text: str) -> None:
        self.until(lambda: text in self.text(), f"the page does not say {text!r}")

    # Doing

    def click(self, text: str, within: str = "") -> None:
        """The visible link or button of this name."""
        # Found in one look: what lives would be replaced between many, and a long list takes seconds of them.
        script = """
            const [within, text] = arguments;
            const all = document.querySelectorAll(["a", "button", "summary"].map((kind) => `${within} ${kind}`).join());
            return [...all].find((one) => one.innerText.trim() === text && one.checkVisibility({ visibilityProperty: true })) || null;
        """

        def pressed() -> bool:
            element = self.driver.execute_script(script, within, text)
            return element is not None and self.pressed(element)

        self.until(pressed, f"there is nothing to click by the name of {text!r}")

    def press(self, what: str, at: int = 0) -> None:
        """What this selects; the first of it unless `at` says otherwise."""
        self.until(lambda: self.pressed(self.all(what)[at]), f"{what} cannot be clicked")

    def pressed(self, element) -> bool:
        """Clicks it. What is found may be replaced by what is live before it is clicked: then it fails, and is to be found anew."""
        # In the middle of the window nothing that stays in view covers it.
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        element.click()
        return True

    def selected(self, boxes: str, count: int) -> None:
        """Ticks so many boxes of a list that lives: those that are ticked already stay as they are."""

        def ticked() -> bool:
            for box in self.all(boxes)[:count]:
                if not box.is_selected():
                    self.pressed(box)
            return len([box for box in self.all(boxes) if box.is_selected()]) == count

        self.until(ticked, f"{count} of {boxes} cannot be ticked")

    def write(self, name: str, text: str, within: str = "form") -> None:
        field = self.one(f"{within} [name='{name}']")
        self.driver.execute_script("arguments[0].value = ''", field)
        field.send_keys(text)

    def choose(self, name: str, value: str) -> None:
        self.press(f"[name='{name}'] option[value='{value}']")

    def tick(self, name: str) -> None:
        self.press(f"[name='{name}'][type=checkbox]")

    def keys(self, *keys: str) -> None:
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def dialog(self) -> str:
        """Waits for the form above the page."""
        self.until(lambda: self.all("dialog[open] form"), "no form has opened")
        return "dialog"

    def submit(self, name: str, within: str = "form.form") -> None:
        self.click(name, within)

    # Checking

    def errors(self) -> list[str]:
        """What stands in the console; of what has been refused, what no step has gone to as a page."""
        told = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        pages = {self.driver.current_url, *self.opened}
        return [message for message in told if REFUSED not in message or message.split(REFUSED)[0] not in pages]

    def shifted(self) -> tuple[float, float]:
        """How much of this page has moved since it was opened: without anything to tell, and all in all."""
        script = "const done = arguments[0]; requestAnimationFrame(() => setTimeout(() => done([window.moved.quiet, window.moved.all])))"
        return tuple(self.driver.execute_async_script(script))

    def check(self, name: str = "") -> None:
        """Nothing in the console, nothing that keeps somebody out; a picture of it, if it is to have one."""
        self.checked += 1
        errors = self.errors()
        assert not errors, f"{self.path()} has errors in its console:\n" + "\n".join(errors)
        wide = self.driver.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if wide > 0:
            script = "return [...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.table-wrap')).slice(0, 6).map(e => e.outerHTML.slice(0, 100))"
            raise AssertionError(f"{self.path()} is {wide} pixels wider than the window: {self.driver.execute_script(script)}")
        quiet, moved = self.shifted()
        assert quiet <= SHIFT_MAX, f"{self.path()} has moved by {quiet:.3f} under its reader, without news"
        assert moved <= SHIFT_WITH_NEWS_MAX, f"{self.path()} has moved by {moved:.3f} under its reader"
        if self.axe:
            self.driver.execute_script(self.axe)
            script = "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then(r => done(JSON.stringify(r.violations)), e => done(JSON.stringify([{impact: 'critical', id: String(e), nodes: []}])))"
            found = json.loads(self.driver.execute_async_script(script))
            serious = [f"{v['id']}: {v.get('help', '')}: {[n['html'][:160] for n in v['nodes'][:3]]}" for v in found if v["impact"] in ("serious", "critical")]
            assert not serious, f"{self.path()} keeps people out:\n" + "\n".join(serious)
        if name and self.screenshots:
            self.picture(name)

    def picture(self, name: str) -> None:
        DOCS.mkdir(parents=True, exist_ok=True)
        image = Image.open(io.BytesIO(self.driver.get_screenshot_as_png())).convert("RGB")
        # The commonest colours as they are, the others as the nearest of them: small, and without a tint.
        colours = sorted(image.getcolors(1 << 24), reverse=True)[:256]
        palette = Image.new("P", (1, 1))
        palette.putpalette([part for _, colour in colours for part in colour])
        image.quantize(palette=palette, dither=Image.Dither.NONE).save(DOCS / f"{name}.png", optimize=True)

    def took(self) -> float:
        """Milliseconds from asking for the page to its last byte drawn."""
        script = "const n = performance.getEntriesByType('navigation')[0]; return [n.responseEnd - n.requestStart, n.domContentLoadedEventEnd - n.startTime]"
        return self.driver.execute_script(script)


ENTER, ESCAPE, DOWN, TAB = Keys.ENTER, Keys.ESCAPE, Keys.ARROW_DOWN, Keys.TAB
