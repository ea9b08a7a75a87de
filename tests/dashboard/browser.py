"""Uses the dashboard in a headless Chromium as a person would, and compares what it shows with the API's replies.

    python tests/dashboard/browser.py --browser /usr/bin/chromium --shots target/dashboard/shots
    python tests/dashboard/browser.py --browser /usr/bin/chromium --shots DIR --real http://127.0.0.1:8080 mg_...
    python tests/dashboard/browser.py --browser /usr/bin/chromium --shots DIR --many http://127.0.0.1:8080 mg_...

Without an address it starts the fixture and also walks the states only the fixture can be in (empty, failing, slow, hostile
names, 200 tenants). With `--real` it walks a running server that has events, with an operator's or a tenant's key; with `--many` it
fills an empty one with thousands of campaigns and walks their breakdown. Needs the package in ../requirements.txt. It never waits for
a time to pass, only for things to be true, and exits 1 at the first check that fails, naming it.
"""

import argparse
import sys
import threading
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

import fixture
import many
from traffic import catalogue
from visit import PHONE, Visit, check, every_control_has_a_name, no_sideways_scroll, step, tiles_show_the_values_of_the_api

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def click_filters_and_the_url_keeps_the_filter(visit: Visit):
    """Clicks a row, reloads, goes back and forward."""
    page = visit.page
    before = visit.figures()["sends"]
    row = page.locator("#breakdown button.name").first
    value = row.get_attribute("data-value")
    dimension = page.locator("#breakdown [role=radio][aria-checked=true]").get_attribute("data-name")
    visit.act(row.click)
    expect(page.locator(".chip-value")).to_have_text(value)
    check(visit.query().get("f") == [f"{dimension}:{value}"], f"the URL does not contain the filter: {page.url}")
    check(visit.figures()["sends"] <= before * 1.05, "a filter increased the number of sends")
    tiles_show_the_values_of_the_api(visit)
    page.reload()
    expect(page.locator(".chip-value")).to_have_text(value)
    page.wait_for_selector(".tile-value")
    visit.settled()
    tiles_show_the_values_of_the_api(visit)
    visit.act(page.go_back)
    expect(page.locator(".chip")).to_have_count(0)
    visit.act(page.go_forward)
    expect(page.locator(".chip")).to_have_count(1)
    visit.act(page.locator(".chip button").click)
    expect(page.locator(".chip")).to_have_count(0)


def ranges_bases_and_metric_groups_change(visit: Visit):
    """Every choice is in the URL, and no panel fails."""
    page = visit.page
    for name in ("1h", "7d", "30d", "90d", "24h"):
        visit.act(page.locator(f"[aria-label='Range'] [data-name='{name}']").click)
        check(
            visit.query().get("range") == (None if name == "24h" else [name]),
            f"range {name} is not in the URL: {page.url}",
        )
        tiles_show_the_values_of_the_api(visit)
    for name in ("delivery", "bounces", "complaints", "engagement", "latency", "in_flight", "volume"):
        visit.act(page.locator(f"#chart [data-name='{name}']").click)
        expect(page.locator("#chart .plot-frame")).to_be_visible()
    visit.act(page.locator("[data-metric=complaint_rate]").click)
    check(visit.query().get("show") == ["complaints"], "a tile does not open its metric in the chart")
    visit.act(page.locator("[aria-label='Count by'] [data-name='send']").click)
    check(visit.query().get("basis") == ["send"], "the basis is not in the URL")
    expect(page.locator("#breakdown [data-name='segment']")).to_have_attribute("aria-disabled", "true")
    visit.act(page.locator("[aria-label='Count by'] [data-name='event']").click)
    for name in ("campaign", "segment", "recipient_domain", "sending_domain", "configuration_set", "provider"):
        visit.act(page.locator(f"#breakdown [data-name='{name}']").click)
        check(page.locator("#breakdown tbody tr").count() > 0, f"no rows by {name}")
    check(page.locator(".failure").count() == 0, "a panel failed")


def chart_is_read_and_zoomed(visit: Visit):
    """The chart shows values and zooms by pointer and by keyboard."""
    page = visit.page
    if visit.query().get("show"):
        visit.act(page.locator("#chart [data-name='volume']").click)
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
    tiles_show_the_values_of_the_api(visit)
    visit.act(page.get_by_role("button", name="Zoom out").click)
    check("from" not in visit.query(), "zooming out keeps the range")
    page.get_by_role("button", name="Show as a table").click()
    check(page.locator(".chart-table tbody tr").count() > 20, "the chart's table is short")
    page.get_by_role("button", name="Show as a table").click()


def theme_switches_and_is_remembered(visit: Visit):
    """One click switches the theme. A reload keeps it, but it is not part of the URL."""
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


def pure_modules_work_in_every_time_zone(browser, base):
    """Runs modules.js inside the page, in a time zone with summer time and in one with an offset of half an hour."""
    code = (Path(__file__).parent / "modules.js").read_text()
    for zone in ("Europe/Berlin", "Asia/Kolkata"):
        context = browser.new_context(timezone_id=zone)
        page = context.new_page()
        page.goto(f"{base}/")
        failures = page.evaluate(code[code.index("async (catalogue) =>") :].rstrip().rstrip(";"), catalogue(None))
        check(not failures, f"in {zone}: " + "; ".join(failures))
        context.close()


def catalogue_of_the_fixture_is_that_of_the_server(visit: Visit):
    """The fixture's catalogue equals the server's, except for limits, which rules can change. Otherwise checks could pass with labels that no server has."""
    fixed = ("label", "unit", "direction", "numerator", "denominator")
    server = {entry["name"]: entry for entry in visit.catalogue()["metrics"]}
    for entry in catalogue(None)["metrics"]:
        differing = [name for name in fixed if server.get(entry["name"], {}).get(name) != entry[name]]
        check(not differing, f"the catalogue's entry {entry['name']} differs in {differing}: {server.get(entry['name'])}")


def labels_and_directions_come_from_the_catalogue(browser, base, shots):
    """Labels and directions of a changed catalogue appear in tiles and their details, in the chart, and in the sort order."""
    visit = Visit(browser, base, shots)
    page = visit.page
    changed = catalogue(None)
    entry = next(entry for entry in changed["metrics"] if entry["name"] == "bounce_rate")
    entry |= {"label": "Returned mail", "direction": "higher", "denominator": "deliveries"}
    page.route("**/v1/metrics/catalogue", lambda route: route.fulfill(json=changed))
    with page.expect_request(lambda request: '"group_by"' in (request.post_data or "")) as breakdown:
        visit.sign_in("mg_operator", "?show=bounces&sort=-bounce_rate")
    visit.settled()
    check(breakdown.value.post_data_json["order_by"] == "bounce_rate:best", "the order ignores the direction")
    tile = page.locator(".tile", has=page.locator("[data-metric=bounce_rate]"))
    expect(tile.locator(".tile-label")).to_contain_text("Returned mail")
    expect(tile.locator(".tile-tip")).to_contain_text("Deliveries")
    expect(page.locator("#chart .legend")).to_contain_text("Returned mail")
    expect(page.locator("[data-key=sort-bounce_rate]")).to_have_attribute("title", "Returned mail")
    visit.done()


def missing_catalogue_is_an_error_with_retry(browser, base, shots):
    """At first nothing is shown without it. Later, numbers of the same view remain, with a notice; a tenant's limits are unknown."""
    visit = Visit(browser, base, shots)
    page = visit.page

    def refuse(route):
        route.fulfill(status=503, body="{}")

    failed = page.locator("#empty .failure")
    page.route("**/v1/metrics/catalogue", refuse)
    visit.sign_in("mg_operator", "?show=bounces&sort=-bounce_rate")
    expect(failed).to_contain_text("The metric catalogue could not be loaded: the server answered 503.")
    expect(page.locator("#panels")).to_be_hidden()
    check(visit.queries == 0, "the page queried numbers without the catalogue that labels them")
    every_control_has_a_name(visit)
    visit.shot("no-catalogue")
    page.unroute("**/v1/metrics/catalogue")
    visit.act(failed.get_by_role("button", name="Try again").click)
    visit.settled()
    expect(failed).to_be_hidden()
    expect(page.locator(".tile-label").nth(2)).to_contain_text("Bounce rate")
    page.route("**/v1/metrics/catalogue", refuse)
    visit.act(page.get_by_role("button", name="Refresh now").click)
    expect(page.locator("#notice")).to_contain_text("The server answered 503; what is shown is from")
    expect(page.locator(".tile-label").nth(2)).to_contain_text("Bounce rate")
    expect(page.locator("#chart .limit-text")).to_have_text("Bounce rate, limit 2%")
    page.goto(f"{base}/?show=bounces&tenant=globex")
    expect(failed.get_by_role("button", name="Try again")).to_be_visible()
    page.unroute("**/v1/metrics/catalogue")
    visit.act(failed.get_by_role("button", name="Try again").click)
    visit.settled()
    expect(page.locator("#chart .limit-text")).to_have_text("Bounce rate, limit 0.5%")
    visit.done()


def numbers_remain_when_a_refresh_fails(visit: Visit):
    """A failing server leaves the old numbers with a notice. A key that is no longer valid leads to the sign-in page."""
    page = visit.page
    refuse = {
        "status": 503,
        "content_type": "application/problem+json",
        "body": '{"detail":"the store is being moved"}',
    }
    page.route("**/v1/query", lambda route: route.fulfill(**refuse))
    page.get_by_role("button", name="Refresh now").click()
    expect(page.locator("#notice")).to_contain_text("The store is being moved")
    check(
        page.locator(".tile-value").count() == 8 and page.locator("#breakdown tbody tr").count() > 0,
        "old numbers vanished",
    )
    page.unroute("**/v1/query")
    visit.act(page.get_by_role("button", name="Try again").click)
    expect(page.locator("#notice")).to_be_hidden()
    tiles_show_the_values_of_the_api(visit)
    page.route("**/v1/query", lambda route: route.fulfill(**{**refuse, "status": 401}))
    page.get_by_role("button", name="Refresh now").click()
    expect(page.get_by_label("API key")).to_be_visible()
    page.unroute("**/v1/query")


def page_refreshes_automatically(browser, base, key, shots):
    """The page loads new numbers after a minute without a click."""
    visit = Visit(browser, base, shots)
    visit.page.clock.install()
    visit.sign_in(key)
    visit.settled()
    with visit.page.expect_response("**/v1/query"):
        visit.page.clock.fast_forward(66_000)
    visit.page.wait_for_selector("body:not(.refreshing)")
    tiles_show_the_values_of_the_api(visit)
    visit.done()


def limits_are_those_of_the_shown_tenant(browser, base, shots):
    """The platform's limits for all tenants, and a tenant's own when an operator selects it."""
    visit = Visit(browser, base, shots)
    page = visit.page
    visit.sign_in("mg_operator", "?show=bounces")
    visit.settled()
    bounces = page.locator(".tile", has=page.locator("[data-metric=bounce_rate]"))
    expect(page.locator("#chart .limit-text")).to_have_text("Bounce rate, limit 2%")
    expect(bounces.locator(".tile-tip")).to_contain_text("Keep below2%")
    page.goto(f"{base}/?show=bounces&tenant=globex")
    visit.settled()
    expect(page.locator("#chart .limit-text")).to_have_text("Bounce rate, limit 0.5%")
    expect(bounces.locator(".badge")).to_have_text("over 0.5%")
    check(page.locator("#breakdown td.beyond").count() > 0, "no provider is beyond the tenant's own limit")
    visit.shot("own-limits")
    page.goto(f"{base}/?show=delivery&tenant=initech")
    visit.settled()
    expect(page.locator("#chart .limit-text")).to_have_count(0)
    visit.done()


def few_mails_do_not_break_a_limit(browser, base, shots):
    """One bounce among eleven mails is not marked as beyond the limit."""
    visit = Visit(browser, base, shots, viewport=PHONE)
    visit.sign_in("mg_few")
    visit.settled()
    no_sideways_scroll(visit)
    visit.done()
    visit = Visit(browser, base, shots)
    page = visit.page
    visit.sign_in("mg_few")
    visit.settled()
    expect(page.locator(".tile", has=page.locator("[data-metric=bounce_rate]"))).to_contain_text("too few to say")
    expect(page.locator(".tile.beyond, #breakdown td.beyond")).to_have_count(0)
    cell = page.locator("#breakdown td.unsure").nth(1)
    expect(cell).to_contain_text("9.09%")
    check("too little mail" in cell.get_attribute("title"), "the cell does not say why it is not red")
    visit.shot("few")
    visit.done()


def unreported_complaints_are_not_zero(browser, base, shots):
    """Gmail's complaints in the breakdown, the tile and the chart."""
    visit = Visit(browser, base, shots)
    page = visit.page
    visit.sign_in("mg_operator", "?show=complaints")
    visit.settled()
    row = page.locator("#breakdown tr", has=page.locator("[data-value=gmail]"))
    expect(row.locator(".unreported")).to_have_text("not reported")
    check("Gmail" in row.locator("td.none").get_attribute("title"), "the cell does not say why the rate is not reported")
    expect(page.locator("[data-metric=complaint_rate] .tile-value")).to_contain_text("%")
    visit.act(row.locator("button.name").click)
    expect(page.locator("[data-metric=complaint_rate] .tile-value")).to_have_text("not reported")
    expect(page.locator("#chart .legend")).to_contain_text("report no complaints to SES")
    tiles_show_the_values_of_the_api(visit)
    visit.shot("not-reported")
    visit.done()


def old_newest_event_is_not_shown_as_live(browser, base, shots):
    """A sender without events for a while, whose counts are complete, on wide and narrow screens."""
    for viewport in (None, PHONE):
        visit = Visit(browser, base, shots, viewport=viewport)
        visit.sign_in("mg_silent")
        visit.settled()
        live = visit.page.locator("#live")
        expect(live.locator(".live-text")).to_have_text("No events for 14 min")
        expect(live.locator(".live-text")).to_be_visible()
        expect(live.locator(".live-age")).to_contain_text("complete until")
        expect(live.locator(".dot.late")).to_be_visible()
        no_sideways_scroll(visit)
        visit.shot("silent-phone" if viewport else "silent", full=False)
        visit.done()


def link_of_an_alert_shows_its_metric(browser, base, shots):
    """The view shows the alert's metric, scope and time, also after the alert was resolved."""
    visit = Visit(browser, base, shots)
    page = visit.page
    visit.sign_in("mg_operator", "?show=latency&basis=send")
    visit.settled()
    visit.act(page.locator(".alert.critical").get_by_role("button", name="Look").click)
    asked = visit.query()
    expect(page.locator("#chart [aria-checked=true]")).to_have_attribute("data-name", "bounces")
    check(asked.get("tenant") == ["acme"] and asked.get("f") == ["provider:yahoo"], f"not the alert's scope: {page.url}")
    check("basis" not in asked, "the link of an alert must not change the basis")
    alert = next(one for one in visit.alerts if one["metric"] == "bounce_rate")
    check(asked["from"][0] < alert["started_at"] < asked["to"][0], f"not the alert's time: {page.url}")
    tiles_show_the_values_of_the_api(visit)
    expect(page.locator(".alert[aria-current]")).to_be_visible()
    visit.shot("alert")
    visit.act(page.go_back)
    page.get_by_role("button", name="Show what is over").click()
    expect(page.locator(".alert.over .alert-text p").first).to_have_text("The complaint rate for acme was 0.4 %.")
    visit.act(page.locator(".alert.over").get_by_role("button", name="Look").click)
    asked = visit.query()
    expect(page.locator("#chart [aria-checked=true]")).to_have_attribute("data-name", "complaints")
    check(asked.get("f") == ["campaign:win-back-90-days"], f"not the alert's scope: {page.url}")
    over = next(one for one in visit.alerts if one["metric"] == "complaint_rate")
    check(over["updated_at"] < asked["to"][0] < alert["started_at"], f"not the alert's time: {page.url}")
    visit.done()


def walk_any_server(browser, base, key, shots):
    """Checks that must pass on the fixture and on the real server."""
    step("the pure modules pass their checks")
    pure_modules_work_in_every_time_zone(browser, base)
    step("the sign-in link works, and tiles show the values of the API")
    visit = Visit(browser, base, shots)
    visit.sign_in(key)
    visit.settled()
    tiles_show_the_values_of_the_api(visit)
    every_control_has_a_name(visit)
    catalogue_of_the_fixture_is_that_of_the_server(visit)
    visit.shot("light")
    for name, action in (
        ("a click filters, and the URL keeps the filter", click_filters_and_the_url_keeps_the_filter),
        ("range, basis, metrics and breakdown change", ranges_bases_and_metric_groups_change),
        ("the chart is read and zoomed", chart_is_read_and_zoomed),
        ("the theme switches and is remembered", theme_switches_and_is_remembered),
    ):
        step(name)
        action(visit)
    step("numbers remain when a refresh fails; a refused key leads to the sign-in page")
    numbers_remain_when_a_refresh_fails(visit)
    step("a wrong key is refused, and signing out removes the right one")
    visit.sign_in(key)
    visit.page.locator("#sign-out").click()
    visit.page.reload()
    visit.page.get_by_label("API key").fill("mg_wrong")
    visit.page.get_by_role("button", name="Sign in").click()
    expect(visit.page.get_by_role("alert")).to_be_visible()
    visit.shot("sign-in")
    visit.done()
    step("the page refreshes each minute")
    page_refreshes_automatically(browser, base, key, shots)
    step("the dark theme, with counts by the minute")
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
    step("everything fits on a phone")
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
    for opener in (".range-custom", ".picker-button"):
        if visit.page.locator(opener).count() > 0:
            visit.page.locator(opener).click()
            no_sideways_scroll(visit)
            box = visit.page.locator(".panel:visible").bounding_box()
            check(
                box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"],
                f"the panel of {opener} leaves the window: {box}",
            )
            visit.page.keyboard.press("Escape")
            expect(visit.page.locator(".panel:visible")).to_have_count(0)
    visit.done()


def walk_fixture_states(browser, base, shots):
    """Checks states that do not occur on a healthy server."""
    for key, name, wanted in (
        ("mg_empty", "empty", ".empty pre"),
        ("mg_quiet", "quiet", ".empty-actions"),
        ("mg_error", "error", "#empty .failure"),
        ("mg_partial", "partial", ".reasons .failure"),
    ):
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
    for name, walk in (
        ("limits are those of the shown tenant", limits_are_those_of_the_shown_tenant),
        ("labels and directions come from the catalogue", labels_and_directions_come_from_the_catalogue),
        ("a missing catalogue is an error with retry", missing_catalogue_is_an_error_with_retry),
        ("few mails do not break a limit", few_mails_do_not_break_a_limit),
        ("unreported complaints are not zero", unreported_complaints_are_not_zero),
        ("an old newest event is not shown as live", old_newest_event_is_not_shown_as_live),
        ("the link of an alert shows its metric", link_of_an_alert_shows_its_metric),
    ):
        step(name)
        walk(browser, base, shots)
    step("old numbers remain visible while new ones load")
    visit = Visit(browser, base, shots)
    visit.page.goto(f"{base}/#key=mg_slow")
    expect(visit.page.locator(".tile.loading").first).to_have_text("Sends")
    visit.shot("loading")
    visit.page.wait_for_selector(".tile-value")
    visit.page.locator("[aria-label='Range'] [data-name='6h']").click()
    visit.page.wait_for_selector("body.refreshing")
    check(visit.page.locator(".tile-value").count() == 8, "the old numbers disappeared before the new ones arrived")
    visit.done()
    step("a tenant's key offers no choice of tenants and sends no tenant header")
    visit = Visit(browser, base, shots)
    named = []
    visit.page.on("request", lambda request: named.append("x-mailgauge-tenant" in request.headers))
    visit.sign_in("mg_tenant", "?tenant=globex&by=tenant")
    visit.settled()
    check(not any(named), "a request with a tenant's key had a tenant header")
    check(
        "acme" in visit.page.locator("#tenant").inner_text() and visit.page.locator(".picker-button").count() == 0,
        "a tenant can pick tenants",
    )
    check(visit.page.locator("#breakdown [data-name=tenant]").count() == 0, "a tenant can break down by tenant")
    visit.done()
    step("200 tenants are found by typing")
    visit = Visit(browser, base, shots)
    visit.sign_in("mg_many", "?by=tenant")
    visit.settled()
    shares = [int(text.removesuffix("%")) for text in visit.page.locator("#breakdown td > .share").all_inner_texts()]
    # Shares of bounces and of complaints, each rounded.
    check(abs(sum(shares) - 200) <= len(shares) / 2, f"the shares of tenants do not add up to the whole: {shares}")
    visit.page.locator(".picker-button").click()
    visit.shot("tenants", full=False)
    visit.page.get_by_label("Find a tenant").fill("nt-01")
    check(visit.page.locator("#tenant-list li").count() == 10, "the search finds the wrong tenants")
    visit.page.keyboard.press("ArrowDown")
    visit.act(lambda: visit.page.keyboard.press("Enter"))
    check(visit.query().get("tenant") == ["tenant-011"], f"the tenant is not in the URL: {visit.page.url}")
    tiles_show_the_values_of_the_api(visit)
    visit.done()
    step("hostile names are shown as text")
    visit = Visit(browser, base, shots)
    visit.sign_in("mg_hostile", "?by=campaign&f=segment:%3Cscript%3Ealert(9)%3C/script%3E")
    visit.act(visit.page.locator(".chip button").click)
    check(visit.page.locator("#breakdown img, #breakdown script").count() == 0, "a name became markup")
    visit.act(visit.page.locator("#breakdown button.name").first.click)
    no_sideways_scroll(visit)
    visit.shot("hostile")
    visit.done()


def main() -> int:
    """Reads the command line and runs the checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", nargs="?", help="the server's address; without it the fixture is started")
    parser.add_argument("key", nargs="?", default="mg_operator")
    parser.add_argument("--real", action="store_true", help="skip the states that only the fixture can be in")
    parser.add_argument("--many", action="store_true", help="fill the server, which must be empty, and walk the breakdown")
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
            if options.many:
                many.walk(browser, base, options.key, options.shots)
            else:
                walk_any_server(browser, base, options.key, options.shots)
            if not options.real and not options.many:
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
