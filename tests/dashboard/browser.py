"""Walks the dashboard in a headless Chromium, as a reader would, and checks what is seen against the API's own replies.

    python tests/dashboard/browser.py --browser /usr/bin/chromium --shots target/dashboard/shots
    python tests/dashboard/browser.py --browser /usr/bin/chromium --shots DIR --real http://127.0.0.1:8080 mg_...

Without an address it starts the fixture and also walks the states only the fixture can be in (empty, failing, slow, hostile
names, 200 tenants). With `--real` it walks a running server that has events, with an operator's or a tenant's key. Needs the
package in requirements.txt. It never waits for a time to pass, only for things to be true, and exits 1 at the first check
that fails, naming it.
"""

import argparse
import json
import re
import sys
import threading
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Browser, Page, expect, sync_playwright

import fixture

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
DESKTOP = {"width": 1360, "height": 1000}
PHONE = {"width": 360, "height": 780}
TIMEOUT_MS = 20_000


class Visit:
    """One reader: a fresh browser context that notes every request, reply and error."""

    def __init__(self, browser: Browser, base: str, shots: Path, viewport=None, dark=False, touch=False, scale=1):
        self.base, self.shots = base, shots
        self.context = browser.new_context(viewport=viewport or DESKTOP, color_scheme="dark" if dark else "light", has_touch=touch,
                                           device_scale_factor=scale, reduced_motion="reduce", service_workers="block")
        self.context.set_default_timeout(TIMEOUT_MS)
        self.page: Page = self.context.new_page()
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        self.newest = None
        self.queries = 0
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(f"page error: {error}"))
        self.page.on("dialog", lambda dialog: (self.errors.append("a dialog was opened"), dialog.dismiss()))
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        self.page.on("response", self._response)

    def _console(self, message):
        # Chromium itself logs each refused request; those are expected where a test asks for them.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.errors.append(f"console {message.type}: {message.text}")

    def _response(self, response):
        if not response.url.endswith("/v1/query"):
            return
        self.queries += 1
        asked = json.loads(response.request.post_data or "{}")
        if response.ok and asked.get("granularity") == "total" and asked.get("compare") and not asked.get("group_by"):
            self.newest = response

    def figures(self) -> dict:
        """The metrics of the newest reply for the tiles. Read here and not when it arrives: its body may still be on the way then."""
        return self.newest.json()["rows"][0]["metrics"]

    def sign_in(self, key: str, search=""):
        """Opens a sign-in link and waits for what it leads to."""
        self.page.goto(f"{self.base}/{search}#key={key}")
        self.page.wait_for_selector(".tile-value, .empty, .failure, .sign-in-card")
        check("key=" not in self.page.url and key not in self.page.url, "the sign-in link leaves its key in the address")

    def settled(self):
        """Waits until the last refresh is drawn."""
        self.page.wait_for_selector("body:not(.refreshing):not(:has(.loading))")

    def act(self, action):
        """Does something that asks anew, and waits for its numbers."""
        before = self.queries
        action()
        self.page.wait_for_selector("body:not(.refreshing)")
        check(self.queries > before, "a change asked the server nothing")

    def shot(self, name: str, full=True):
        """Writes a picture."""
        self.page.screenshot(path=self.shots / f"{name}.png", full_page=full)

    def query(self) -> dict:
        """The query part of the address."""
        return parse_qs(urlsplit(self.page.url).query)

    def done(self):
        """What must hold for every visit."""
        host = urlsplit(self.base).netloc
        check(self.hosts <= {host}, f"requests left the host: {sorted(self.hosts - {host})}")
        check(not self.errors, f"errors in the page: {self.errors}")
        check(self.page.evaluate("document.querySelectorAll('[style*=\"expression\"], #board script, #board iframe').length") == 0, "foreign markup in the page")
        self.context.close()


def check(holds, problem: str):
    """Ends the walk if something does not hold."""
    if not holds:
        raise AssertionError(problem)


def step(name: str):
    """Says what comes next."""
    print(f"  {name}", file=sys.stderr, flush=True)


def as_shown(metric: str, value) -> str:
    """How a tile must write a value; written anew here, so that a fault in the page's own formatting is found."""
    if value is None:
        return "–"
    digits = {"delivery_rate": 2, "bounce_rate": 2, "complaint_rate": 3, "open_rate": 1, "click_rate": 2}.get(metric)
    if digits is not None:
        return f"{value * 100:.{digits}f}%"
    if metric.startswith("delivery_ms"):
        return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.{1 if value < 9950 else 0}f} s" if value < 60_000 else f"{value / 60_000:.1f} min"
    return f"{value:,}" if value < 1_000_000 else re.sub(r"e", "", f"{value / 1e6:.2f}M" if value < 1e9 else f"{value / 1e9:.2f}B")


def close_enough(shown: str, wanted: str) -> bool:
    """Equal, or one unit of the last digit apart: JavaScript and Python round halves differently."""
    if shown == wanted:
        return True
    a, b = (re.sub(r"[^0-9.]", "", text) for text in (shown, wanted))
    digits = len(b.partition(".")[2])
    return bool(a and b) and abs(float(a) - float(b)) <= 1.01 * 10**-digits and bool(digits)


def tiles_say_what_the_api_said(visit: Visit):
    """Each tile shows the value of the newest reply."""
    row = visit.figures()
    tiles = visit.page.locator("[data-metric]")
    check(tiles.count() == 8, f"{tiles.count()} tiles instead of 8")
    for index in range(8):
        metric = tiles.nth(index).get_attribute("data-metric")
        shown = tiles.nth(index).locator(".tile-value").inner_text()
        wanted = as_shown(metric, row.get(metric))
        check(close_enough(shown, wanted), f"tile {metric} shows {shown}, the API says {wanted}")


def every_control_has_a_name(visit: Visit):
    """What can be focused says what it is."""
    nameless = visit.page.evaluate("""[...document.querySelectorAll('button, input, select, [tabindex="0"]')].filter((node) => node.checkVisibility()
        && !(node.textContent.trim() || node.getAttribute('aria-label') || node.getAttribute('aria-labelledby') || node.labels?.length)).map((node) => node.outerHTML.slice(0, 120))""")
    check(not nameless, f"controls without a name: {nameless}")


def no_sideways_scroll(visit: Visit):
    """The page itself is as wide as the window."""
    wide, window = visit.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    check(wide <= window, f"the page is {wide} px wide in a window of {window} px")


def a_click_filters_and_the_address_keeps_it(visit: Visit):
    """Click a row, reload, go back."""
    page = visit.page
    before = visit.figures()["sends"]
    row = page.locator("#breakdown button.name").first
    value = row.get_attribute("data-value")
    dimension = page.locator("#breakdown [role=radio][aria-checked=true]").get_attribute("data-name")
    visit.act(row.click)
    expect(page.locator(".chip-value")).to_have_text(value)
    check(visit.query().get("f") == [f"{dimension}:{value}"], f"the address does not hold the filter: {page.url}")
    check(visit.figures()["sends"] <= before * 1.05, "a filter made more mail")
    tiles_say_what_the_api_said(visit)
    page.reload()
    expect(page.locator(".chip-value")).to_have_text(value)
    page.wait_for_selector(".tile-value")
    visit.settled()
    tiles_say_what_the_api_said(visit)
    visit.act(page.go_back)
    expect(page.locator(".chip")).to_have_count(0)
    visit.act(page.go_forward)
    expect(page.locator(".chip")).to_have_count(1)
    visit.act(page.locator(".chip button").click)
    expect(page.locator(".chip")).to_have_count(0)


def ranges_bases_and_sets_change(visit: Visit):
    """Every choice is in the address, and none fails."""
    page = visit.page
    for name in ("1h", "7d", "30d", "90d", "24h"):
        visit.act(page.locator(f"[aria-label='Range'] [data-name='{name}']").click)
        check(visit.query().get("range") == (None if name == "24h" else [name]), f"range {name} is not in the address: {page.url}")
        tiles_say_what_the_api_said(visit)
    for name in ("delivery", "bounces", "complaints", "engagement", "latency", "in_flight", "volume"):
        visit.act(page.locator(f"#chart [data-name='{name}']").click)
        expect(page.locator("#chart .plot-frame")).to_be_visible()
    visit.act(page.locator("[data-metric=complaint_rate]").click)
    check(visit.query().get("show") == ["complaints"], "a tile does not open its metric in the chart")
    visit.act(page.locator("[aria-label='Count by'] [data-name='send']").click)
    check(visit.query().get("basis") == ["send"], "the clock is not in the address")
    expect(page.locator("#breakdown [data-name='segment']")).to_have_attribute("aria-disabled", "true")
    visit.act(page.locator("[aria-label='Count by'] [data-name='event']").click)
    for name in ("campaign", "segment", "recipient_domain", "sending_domain", "configuration_set", "provider"):
        visit.act(page.locator(f"#breakdown [data-name='{name}']").click)
        check(page.locator("#breakdown tbody tr").count() > 0, f"no rows by {name}")
    check(page.locator(".failure").count() == 0, "a panel failed")


def the_chart_is_read_and_zoomed(visit: Visit):
    """By pointer and by keyboard."""
    page = visit.page
    visit.act(page.locator("#chart [data-name='volume']").click) if visit.query().get("show") else None
    box = page.locator(".plot").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 100)
    expect(page.locator(".tooltip")).to_be_visible()
    visit.shot("hover", full=False)
    page.mouse.move(0, 0)
    page.locator(".plot").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#announce")).to_contain_text("Sends")
    page.keyboard.press("Escape")
    expect(page.locator(".tooltip")).to_be_hidden()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 120)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 140, steps=6)
    visit.act(page.mouse.up)
    check({"from", "to"} <= visit.query().keys(), f"dragging does not zoom: {page.url}")
    tiles_say_what_the_api_said(visit)
    visit.act(page.get_by_role("button", name="Zoom out").click)
    check("from" not in visit.query(), "zooming out keeps the range")
    page.get_by_role("button", name="Show as a table").click()
    check(page.locator(".chart-table tbody tr").count() > 20, "the chart's table is short")
    page.get_by_role("button", name="Show as a table").click()


def the_theme_switches_and_stays(visit: Visit):
    """One click, and a reload keeps it; the address does not."""
    page = visit.page
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.locator("#theme").click()
    dark = page.evaluate(background)
    check(light != dark, "the theme does not change")
    page.reload()
    page.wait_for_selector(".tile-value")
    check(page.evaluate(background) == dark and "theme" not in page.url, "the theme is forgotten, or in the address")
    page.locator("#theme").click()


def pure_modules_hold_in_every_zone(browser, base):
    """Runs modules.js inside the page: in a zone with summer time, and in one half an hour off."""
    code = (Path(__file__).parent / "modules.js").read_text()
    for zone in ("Europe/Berlin", "Asia/Kolkata"):
        context = browser.new_context(timezone_id=zone)
        page = context.new_page()
        page.goto(f"{base}/")
        failures = page.evaluate(f"({code[code.index('async () =>'):].rstrip()})()")
        check(not failures, f"in {zone}: " + "; ".join(failures))
        context.close()


def walk_any_server(browser, base, key, shots):
    """What must work on the fixture and on the real server alike."""
    step("the pure modules hold")
    pure_modules_hold_in_every_zone(browser, base)
    step("signs in by link; tiles agree with the API")
    visit = Visit(browser, base, shots)
    visit.sign_in(key)
    visit.settled()
    tiles_say_what_the_api_said(visit)
    every_control_has_a_name(visit)
    visit.shot("light")
    for name, action in (("filters by click", a_click_filters_and_the_address_keeps_it), ("changes range, clock, metrics and breakdown", ranges_bases_and_sets_change),
                         ("reads and zooms the chart", the_chart_is_read_and_zoomed), ("switches the theme", the_theme_switches_and_stays)):
        step(name)
        action(visit)
    step("signs out, and a wrong key is refused")
    visit.page.locator("#sign-out").click()
    visit.page.get_by_label("API key").fill("mg_wrong")
    visit.page.get_by_role("button", name="Sign in").click()
    expect(visit.page.get_by_role("alert")).to_be_visible()
    visit.shot("sign-in")
    visit.done()
    step("dark, and by the minute")
    visit = Visit(browser, base, shots, dark=True, scale=2)
    visit.sign_in(key, "?step=1m&show=latency")
    visit.settled()
    visit.shot("minutes")
    visit.act(visit.page.locator("#chart [data-name='volume']").click)
    visit.page.goto(f"{base}/")
    visit.page.wait_for_selector(".tile-value")
    visit.settled()
    visit.shot("dark")
    visit.done()
    step("a phone")
    visit = Visit(browser, base, shots, viewport=PHONE, touch=True, scale=2)
    visit.sign_in(key)
    visit.settled()
    no_sideways_scroll(visit)
    visit.shot("phone")
    for search in ("?range=7d&show=bounces&by=campaign", "?range=90d&show=latency&by=recipient_domain&top=100"):
        visit.page.goto(f"{base}/{search}")
        visit.page.wait_for_selector(".tile-value")
        visit.settled()
        no_sideways_scroll(visit)
    visit.done()


def walk_fixture_states(browser, base, shots):
    """States that a healthy server does not have."""
    for key, name, wanted in (("mg_empty", "empty", ".empty pre"), ("mg_quiet", "quiet", ".empty-actions"), ("mg_error", "error", "#empty .failure"), ("mg_partial", "partial", ".reasons .failure")):
        step(f"the state {name}")
        visit = Visit(browser, base, shots)
        visit.sign_in(key)
        expect(visit.page.locator(wanted)).to_be_visible()
        visit.page.wait_for_selector("body:not(.refreshing)")
        every_control_has_a_name(visit)
        visit.shot(name)
        if name == "error":
            visit.act(visit.page.get_by_role("button", name="Try again").first.click)
        visit.done()
    step("numbers stay while newer ones are slow")
    visit = Visit(browser, base, shots)
    visit.page.goto(f"{base}/#key=mg_slow")
    visit.page.wait_for_selector(".tile.loading")
    visit.shot("loading")
    visit.page.wait_for_selector(".tile-value")
    visit.page.locator("[aria-label='Range'] [data-name='6h']").click()
    visit.page.wait_for_selector("body.refreshing")
    check(visit.page.locator(".tile-value").count() == 8, "the old numbers are gone before the new ones are there")
    visit.done()
    step("200 tenants, found by typing")
    visit = Visit(browser, base, shots)
    visit.sign_in("mg_many", "?by=tenant")
    visit.settled()
    visit.page.locator(".picker-button").click()
    visit.shot("tenants", full=False)
    visit.page.get_by_label("Find a tenant").fill("nt-01")
    check(visit.page.locator("#tenant-list li").count() == 10, "the search finds the wrong tenants")
    visit.page.keyboard.press("ArrowDown")
    visit.act(lambda: visit.page.keyboard.press("Enter"))
    check(visit.query().get("tenant") == ["tenant-011"], f"the tenant is not in the address: {visit.page.url}")
    tiles_say_what_the_api_said(visit)
    visit.done()
    step("hostile names stay text")
    visit = Visit(browser, base, shots)
    visit.sign_in("mg_hostile", "?by=campaign&f=segment:%3Cscript%3Ealert(9)%3C/script%3E")
    visit.act(visit.page.locator(".chip button").click)
    check(visit.page.locator("#breakdown img, #breakdown script").count() == 0, "a name became markup")
    visit.act(visit.page.locator("#breakdown button.name").first.click)
    no_sideways_scroll(visit)
    visit.shot("hostile")
    visit.done()


def main() -> int:
    """Reads the command line and walks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", nargs="?", help="the server's address; without it the fixture is started")
    parser.add_argument("key", nargs="?", default="mg_operator")
    parser.add_argument("--real", action="store_true", help="skip the states that only the fixture can be in")
    parser.add_argument("--browser", required=True, help="path of a Chromium")
    parser.add_argument("--shots", type=Path, required=True, help="folder for pictures")
    options = parser.parse_args()
    options.shots.mkdir(parents=True, exist_ok=True)
    base = (options.base or "").rstrip("/")
    if not base:
        server = fixture.serve(0)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.browser, args=FLAGS)
        try:
            walk_any_server(browser, base, options.key, options.shots)
            if not options.real:
                walk_fixture_states(browser, base, options.shots)
        except Exception as problem:
            print(f"failed: {problem}", file=sys.stderr)
            return 1
        finally:
            browser.close()
    print("the dashboard works", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
