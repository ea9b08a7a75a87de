"""One user of the dashboard in a headless Chromium, and checks that can be made at any time."""

import json
import re
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Browser, Page

DESKTOP = {"width": 1360, "height": 1000}
PHONE = {"width": 360, "height": 780}
TIMEOUT_MS = 20_000


class Visit:
    """One user: a fresh browser context that records every request, reply and error."""

    def __init__(self, browser: Browser, base: str, shots: Path, viewport=None, dark=False, touch=False, scale=1):
        self.base, self.shots = base, shots
        self.context = browser.new_context(
            viewport=viewport or DESKTOP,
            color_scheme="dark" if dark else "light",
            has_touch=touch,
            device_scale_factor=scale,
            reduced_motion="reduce",
            service_workers="block",
        )
        self.context.set_default_timeout(TIMEOUT_MS)
        self.page: Page = self.context.new_page()
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        self.newest = None
        self.queries = 0
        self.alerts: list[dict] = []
        self.newest_catalogue = None
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(f"page error: {error}"))
        self.page.on("dialog", lambda dialog: (self.errors.append("a dialog was opened"), dialog.dismiss()))
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        self.page.on("response", self._response)

    def _console(self, message):
        # Chromium logs each refused request itself; tests that provoke them expect these lines.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.errors.append(f"console {message.type}: {message.text}")

    def _response(self, response):
        if "/v1/alerts?" in response.url and response.ok:
            self.alerts = response.json()["alerts"]
        if response.url.endswith("/v1/metrics/catalogue") and response.ok:
            self.newest_catalogue = response
        if not response.url.endswith("/v1/query"):
            return
        self.queries += 1
        asked = json.loads(response.request.post_data or "{}")
        if response.ok and asked.get("granularity") == "total" and asked.get("compare") and not asked.get("group_by"):
            self.newest = response

    def figures(self) -> dict:
        """The metrics in the newest reply for the tiles. It is read here and not on arrival, when its body may be incomplete."""
        return self.newest.json()["rows"][0]["metrics"]

    def reasons(self) -> dict:
        """The reasons in that reply for metrics without a value."""
        return self.newest.json()["rows"][0].get("reasons", {})

    def catalogue(self) -> dict:
        """The newest metric catalogue. Read here for the same reason: a page that is closed meanwhile has no bodies any more."""
        return self.newest_catalogue.json()

    def sign_in(self, key: str, search=""):
        """Opens a sign-in link and waits for the page."""
        self.page.goto(f"{self.base}/{search}#key={key}")
        self.page.wait_for_selector(".tile-value:visible, .empty:visible, .failure:visible, .sign-in-card:visible")
        check(
            "key=" not in self.page.url and key not in self.page.url, "the sign-in link leaves its key in the address"
        )

    def settled(self):
        """Waits until the last refresh is drawn."""
        self.page.wait_for_selector("body:not(.refreshing):not(:has(.loading))")

    def act(self, action):
        """Performs an action that causes a query, and waits for its numbers."""
        before = self.queries
        action()
        self.page.wait_for_selector("body:not(.refreshing)")
        check(self.queries > before, "a change caused no query")

    def shot(self, name: str, full=True):
        """Takes a screenshot."""
        self.page.screenshot(path=self.shots / f"{name}.png", full_page=full)

    def query(self) -> dict:
        """The query string of the URL."""
        return parse_qs(urlsplit(self.page.url).query)

    def done(self):
        """Checks what must be true of every visit."""
        host = urlsplit(self.base).netloc
        check(self.hosts <= {host}, f"requests left the host: {sorted(self.hosts - {host})}")
        check(not self.errors, f"errors in the page: {self.errors}")
        check(
            self.page.evaluate(
                "document.querySelectorAll('[style*=\"expression\"], #board script, #board iframe').length"
            )
            == 0,
            "foreign markup in the page",
        )
        self.context.close()


def check(holds, problem: str):
    """Stops with `problem` unless `holds`."""
    if not holds:
        raise AssertionError(problem)


def step(name: str):
    """Prints the next step."""
    print(f"  {name}", file=sys.stderr, flush=True)


def as_shown(metric: str, value) -> str:
    """The text of a value in a tile. Implemented independently of the page, so that errors in its formatting are found."""
    if value is None:
        return "–"
    digits = {"delivery_rate": 2, "bounce_rate": 2, "complaint_rate": 3, "open_rate": 1, "click_rate": 2}.get(metric)
    if digits is not None:
        return f"{value * 100:.{digits}f}%"
    if metric.startswith("delivery_ms"):
        return (
            f"{value:.0f} ms"
            if value < 1000
            else f"{value / 1000:.{1 if value < 9950 else 0}f} s" if value < 60_000 else f"{value / 60_000:.1f} min"
        )
    return (
        f"{value:,}"
        if value < 1_000_000
        else re.sub(r"e", "", f"{value / 1e6:.2f}M" if value < 1e9 else f"{value / 1e9:.2f}B")
    )


def close_enough(shown: str, wanted: str) -> bool:
    """Equal, or one unit of the last digit apart: JavaScript and Python round halves differently."""
    if shown == wanted:
        return True
    a, b = (re.sub(r"[^0-9.]", "", text) for text in (shown, wanted))
    digits = len(b.partition(".")[2])
    return bool(a and b) and abs(float(a) - float(b)) <= 1.01 * 10 ** -digits and bool(digits)


def tiles_show_the_values_of_the_api(visit: Visit):
    """Each tile shows the value of the newest reply."""
    row = visit.figures()
    tiles = visit.page.locator("[data-metric]")
    check(tiles.count() == 8, f"{tiles.count()} tiles instead of 8")
    for index in range(8):
        metric = tiles.nth(index).get_attribute("data-metric")
        shown = tiles.nth(index).locator(".tile-value").inner_text()
        wanted = "not reported" if metric in visit.reasons() else as_shown(metric, row.get(metric))
        check(close_enough(shown, wanted), f"tile {metric} shows {shown}, the API says {wanted}")


def every_control_has_a_name(visit: Visit):
    """Everything that can be focused has an accessible name."""
    nameless = visit.page.evaluate(
        """[...document.querySelectorAll('button, input, select, [tabindex="0"]')].filter((node) => node.checkVisibility()
        && !(node.textContent.trim() || node.getAttribute('aria-label') || node.getAttribute('aria-labelledby') || node.labels?.length)).map((node) => node.outerHTML.slice(0, 120))"""
    )
    check(not nameless, f"controls without a name: {nameless}")


def no_sideways_scroll(visit: Visit):
    """The page is not wider than the window."""
    wide, window = visit.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    check(wide <= window, f"the page is {wide} px wide in a window of {window} px")
