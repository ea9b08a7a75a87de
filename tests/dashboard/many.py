"""Fills a running server with 5,000 campaigns of 200 tenants and uses their breakdown. The server sorts, pages and searches, so the
worst and the last row must be as easy to reach as the largest.

Most campaigns have a few mails. Hundreds have one mail that bounced, which proves nothing; one has 150 bounces among 500 mails and
is the worst, although 100 others sent more. One tenant has 20 complaints, and twenty others have one each.
"""

import json
import time
import urllib.request
from datetime import datetime, timezone

from playwright.sync_api import expect

from visit import PHONE, Visit, check, no_sideways_scroll, step

CAMPAIGNS = 5000
TENANTS = 200
WORST = "spring-leftovers"
NEEDLE = "Needle in the Hay"
WORST_TENANT = "tenant-137"


def event(kind, tenant, campaign, number, count, part):
    """An event for `count` recipients."""
    at = datetime.fromtimestamp(time.time() - 90, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    people = [f"person-{number}-{index}@company-{number % 50}.example" for index in range(count)]
    mail = {
        "timestamp": at,
        "messageId": f"many-{number}-{part}",
        "source": "news@mail.example",
        "destination": people,
        "tags": {"tenant": [tenant], "campaign": [campaign]},
    }
    body = {
        "Send": {"send": {}},
        "Delivery": {"delivery": {"timestamp": at, "processingTimeMillis": 900, "recipients": people, "smtpResponse": "250 ok"}},
        "Bounce": {
            "bounce": {
                "bounceType": "Permanent",
                "bounceSubType": "General",
                "bouncedRecipients": [{"emailAddress": one, "status": "5.1.1"} for one in people],
                "timestamp": at,
                "feedbackId": f"bounce-{number}-{part}",
            }
        },
        "Complaint": {
            "complaint": {
                "complainedRecipients": [{"emailAddress": people[0]}],
                "timestamp": at,
                "feedbackId": f"complaint-{number}-{part}",
                "complaintFeedbackType": "abuse",
            }
        },
    }[kind]
    return {"eventType": kind, "mail": mail, **body}


def events():
    """The events of all campaigns."""
    for number in range(CAMPAIGNS):
        tenant = f"tenant-{number % TENANTS:03}"
        campaign = {4711: NEEDLE, 3137: WORST}.get(number, f"campaign-{number:04}")
        # Messages of 50 recipients, recipients of each, bounces of each.
        messages, people, bounces = (1, 2 + number % 7, 0)
        if number == 3137:
            messages, people, bounces = 10, 50, 15
        elif number < 100:
            messages, people, bounces = 12, 50, 0
        elif number % 10 == 3:
            messages, people, bounces = 1, 1, 1
        for part in range(messages):
            yield event("Send", tenant, campaign, number, people, part)
            if people > bounces:
                yield event("Delivery", tenant, campaign, number, people - bounces, part)
            if bounces:
                yield event("Bounce", tenant, campaign, number, bounces, part)
        if number == 3137:
            for part in range(20):
                yield event("Complaint", tenant, campaign, number, 1, part)
        elif number // TENANTS == 7 and number % 10 == 5:
            yield event("Complaint", tenant, campaign, number, 1, 0)


def fill(base, key):
    """Sends the events to the server, which replies once they are counted."""
    body = "\n".join(json.dumps(one) for one in events()).encode()
    request = urllib.request.Request(
        f"{base}/v1/ingest/ses", body, {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}
    )
    with urllib.request.urlopen(request, timeout=120) as reply:
        counted = json.load(reply)
    check(counted["quarantined"] == 0 and counted["events"] > CAMPAIGNS, f"events were not counted: {counted}")


def walk(browser, base, key, shots):
    """Sorts, changes pages and searches."""
    step("5,000 campaigns of 200 tenants are ingested")
    fill(base, key)
    visit = Visit(browser, base, shots)
    page = visit.page
    first_row = page.locator("#breakdown tbody button.name").first
    place = page.locator("#breakdown .page-range")
    visit.sign_in(key, "?by=campaign&range=1h")
    visit.settled()
    expect(place).to_have_text("1–20 of 5,000")
    check(page.locator(f"#breakdown [data-value='{WORST}']").count() == 0, "the worst campaign is one of the largest")
    step("the worst campaign is on top after one click")
    visit.act(page.locator("[data-key=sort-bounce_rate]").click)
    expect(first_row).to_have_attribute("data-value", WORST)
    expect(page.locator("#breakdown tbody tr").first.locator("td.beyond").nth(1)).to_contain_text("30.00%")
    expect(page.locator("#breakdown .sort-note")).to_contain_text("Worst first, by what is certain")
    visit.shot("many-worst")
    step("the last page is reached, and kept while the numbers are refreshed")
    visit.act(page.get_by_role("button", name="Last page").click)
    expect(place).to_have_text("4,981–5,000 of 5,000")
    expect(page.get_by_role("button", name="Next page")).to_be_disabled()
    visit.act(page.get_by_role("button", name="Refresh now").click)
    expect(place).to_have_text("4,981–5,000 of 5,000")
    visit.act(page.get_by_role("button", name="Previous page").click)
    expect(place).to_have_text("4,961–4,980 of 5,000")
    visit.act(page.locator("#chart [data-name=bounces]").click)
    expect(place).to_have_text("4,961–4,980 of 5,000")
    visit.act(page.get_by_role("button", name="First page").click)
    expect(first_row).to_have_attribute("data-value", WORST)
    visit.act(page.get_by_role("button", name="Next page").click)
    expect(place).to_have_text("21–40 of 5,000")
    visit.act(lambda: page.get_by_label("Rows on a page").select_option("50"))
    expect(place).to_have_text("1–50 of 5,000")
    step("each campaign is on exactly one page")
    seen = set()
    visit.act(lambda: page.get_by_label("Rows on a page").select_option("500"))
    while True:
        visit.settled()
        names = page.locator("#breakdown tbody button.name").evaluate_all("all => all.map((one) => one.dataset.value)")
        check(not seen & set(names), "a campaign is on two pages")
        seen |= set(names)
        if page.get_by_role("button", name="Next page").is_disabled():
            break
        visit.act(page.get_by_role("button", name="Next page").click)
    check(len(seen) == CAMPAIGNS, f"{len(seen)} campaigns on all pages")
    step("the search ignores the case of letters")
    box = page.get_by_label("Find a name in the breakdown")
    with page.expect_response(lambda reply: "contains" in (reply.request.post_data or "")):
        box.fill("needle")
    expect(place).to_have_text("1–1 of 1")
    expect(first_row).to_have_attribute("data-value", NEEDLE)
    expect(box).to_be_focused()
    check(visit.query().get("find") == ["needle"], f"the search is not in the address: {page.url}")
    page.reload()
    visit.settled()
    expect(place).to_have_text("1–1 of 1")
    with page.expect_response("**/v1/query"):
        box.fill("nothing has this name")
    expect(page.locator("#breakdown")).to_contain_text("No name contains")
    with page.expect_response("**/v1/query"):
        box.fill("")
    expect(place).to_have_text("1–500 of 5,000")
    step("the worst of 200 tenants is on top after one click")
    page.goto(f"{base}/?by=tenant&range=1h")
    visit.settled()
    expect(place).to_have_text("1–20 of 200")
    visit.act(page.locator("[data-key=sort-complaint_rate]").click)
    expect(first_row).to_have_attribute("data-value", WORST_TENANT)
    visit.act(page.get_by_role("button", name="Last page").click)
    expect(place).to_have_text("181–200 of 200")
    visit.shot("many-tenants")
    visit.done()
    visit = Visit(browser, base, shots, viewport=PHONE, touch=True, dark=True)
    visit.sign_in(key, "?by=campaign&range=1h&sort=-bounce_rate")
    visit.settled()
    no_sideways_scroll(visit)
    visit.shot("many-phone")
    visit.done()
