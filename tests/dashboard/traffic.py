"""The fixture's numbers: a deterministic function of time, tenant and dimensions that resembles real mail.

Traffic has hours of the day and days of the week, a campaign each morning, incidents at one provider and an outage of the
sender, so that every part of the dashboard has something to show. It must stay free of state: the same question at the
same time has the same answer.
"""

import json
import math
from datetime import datetime, timezone
from functools import lru_cache
from zoneinfo import ZoneInfo

STEPS = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600}
MAX_UNITS = 360

# Provider: share, delivery, bounce share, complaint per delivery, open, click, p95 in ms, recipient domains with shares.
PROVIDERS = {
    "gmail": (0.46, 0.9872, 0.00031, 0.412, 0.0341, 2900, {"gmail.com": 0.94, "googlemail.com": 0.06}),
    "microsoft": (
        0.19,
        0.9795,
        0.00052,
        0.286,
        0.0214,
        6400,
        {"outlook.com": 0.48, "hotmail.com": 0.34, "live.com": 0.12, "msn.com": 0.06},
    ),
    "yahoo": (0.12, 0.9812, 0.00118, 0.318, 0.0247, 4800, {"yahoo.com": 0.68, "aol.com": 0.21, "ymail.com": 0.11}),
    "apple": (0.09, 0.9903, 0.00022, 0.448, 0.0192, 2100, {"icloud.com": 0.81, "me.com": 0.19}),
    "comcast": (0.04, 0.9741, 0.00041, 0.251, 0.0188, 9100, {"comcast.net": 1.0}),
    "gmx": (0.03, 0.9834, 0.00029, 0.305, 0.0263, 3700, {"gmx.de": 0.7, "web.de": 0.3}),
    "proton": (0.02, 0.9922, 0.00011, 0.402, 0.0305, 1900, {"proton.me": 1.0}),
    "other": (
        0.05,
        0.9588,
        0.00047,
        0.226,
        0.0171,
        14200,
        {"example.org": 0.5, "mail.example.co.uk": 0.3, "firm.example": 0.2},
    ),
}
# Campaign: share, engagement factor, bounce factor, segment, sending domain, configuration set.
CAMPAIGNS = {
    "weekly-digest": (0.31, 1.05, 0.9, "active", "news.acme.example", "marketing"),
    "black-friday-early-access": (0.24, 1.32, 1.1, "vip", "offers.acme.example", "marketing"),
    "order-confirmation": (0.18, 1.61, 0.35, "customers", "mail.acme.example", "transactional"),
    "password-reset": (0.09, 1.74, 0.3, "customers", "mail.acme.example", "transactional"),
    "win-back-90-days": (0.11, 0.42, 2.9, "lapsed", "offers.acme.example", "marketing"),
    "product-update-november": (0.07, 0.93, 1.0, "active", "news.acme.example", "marketing"),
}
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    '"><script>alert(2)</script>',
    "javascript:alert(3)",
    "\u202egro.elpmaxe",
    "a" * 250,
    "Ω≈ç√ 日本語 🙂",
    "' OR 1=1 --",
    "",
]
REASONS = {
    "invalid_recipient": 0.37,
    "mailbox_full": 0.17,
    "spam_block": 0.12,
    "suppressed": 0.09,
    "reputation_block": 0.06,
    "invalid_domain": 0.055,
    "policy_block": 0.04,
    "expired": 0.03,
    "rate_limit": 0.025,
    "authentication": 0.015,
    "server_error": 0.01,
    "connection": 0.008,
    "unknown": 0.007,
}
ORDER = {provider: place for place, provider in enumerate(PROVIDERS)}
# Tenants with limits of their own.
OWN_LIMITS = {"globex": {"bounce_rate": 0.005, "delivery_ms_p95": 3000}, "initech": {"bounce_rate": 0.08, "delivery_rate": None}}
LIMITS = {"delivery_rate": 0.95, "bounce_rate": 0.02, "complaint_rate": 0.001}
SILENT_PROVIDERS = {"gmail", "apple"}
# The catalogue's counts and times that the dashboard shows: label, unit, direction, description, formula. The formula of a plain
# count or time is its description. With --real, browser.py compares labels, units, directions and denominators with the server's.
MEASURES = {
    "sends": ("Sends", "count", "none", "Recipients of messages that SES accepted.", None),
    "deliveries": ("Deliveries", "count", "higher", "Recipients whose mail server accepted the message.", None),
    "bounces": (
        "Bounces",
        "count",
        "lower",
        "Permanent, transient and undetermined bounces.",
        "bounces_permanent + bounces_transient + bounces_undetermined",
    ),
    "bounces_permanent": ("Bounces permanent", "count", "lower", "Recipients with a permanent bounce.", None),
    "bounces_transient": (
        "Bounces transient",
        "count",
        "lower",
        "Recipients with a transient bounce, automatic replies left out.",
        None,
    ),
    "hard_bounces": (
        "Hard bounces",
        "count",
        "lower",
        "Permanent bounces that SES counts against the sender: all but suppressed mail, except mail to its global suppression list.",
        "bounces_permanent - suppressed_outside_reputation",
    ),
    "complaints": (
        "Complaints",
        "count",
        "lower",
        "Complaints, each counted once however many recipients it lists.",
        None,
    ),
    "unique_opens": (
        "Unique opens",
        "count",
        "higher",
        "Messages that people opened; a click proves an open.",
        None,
    ),
    "unique_clicks": ("Unique clicks", "count", "higher", "Messages in which people clicked.", None),
    "in_flight": (
        "In flight",
        "count",
        "none",
        "Mail that SES accepted and that has no outcome in the same range.",
        "sends + bounces_after_acceptance - deliveries - bounces_permanent - bounces_transient - bounces_undetermined - rejects - "
        "rendering_failures, at least 0",
    ),
    "queue_depth": ("Queue depth", "count", "lower", "Mean of the depths that senders and queues reported.", None),
    "delivery_ms_p50": (
        "Delivery time, p50",
        "milliseconds",
        "lower",
        "50 of 100 deliveries took at most this long.",
        None,
    ),
    "delivery_ms_p90": (
        "Delivery time, p90",
        "milliseconds",
        "lower",
        "90 of 100 deliveries took at most this long.",
        None,
    ),
    "delivery_ms_p95": (
        "Delivery time, p95",
        "milliseconds",
        "lower",
        "95 of 100 deliveries took at most this long.",
        None,
    ),
}
# The catalogue's rates that the dashboard shows: label, direction, numerator, denominator, description.
RATES = {
    "delivery_rate": (
        "Delivery rate",
        "higher",
        "deliveries",
        "sends",
        "The share of sent mail that the receiving servers accepted.",
    ),
    "bounce_rate": ("Bounce rate", "lower", "bounces", "sends", "The share of sent mail that bounced."),
    "hard_bounce_rate": (
        "Hard bounce rate",
        "lower",
        "hard_bounces",
        "sends",
        "The share of sent mail with a bounce that SES counts against the sender.",
    ),
    "complaint_rate": (
        "Complaint rate",
        "lower",
        "complaints",
        "deliveries",
        "The share of delivered mail that was complained about.",
    ),
    "open_rate": (
        "Open rate",
        "higher",
        "unique_opens",
        "deliveries",
        "The share of delivered mail that people opened, whether the pixel or a click shows it.",
    ),
    "click_rate": (
        "Click rate",
        "higher",
        "unique_clicks",
        "deliveries",
        "The share of delivered mail in which people clicked.",
    ),
}


def cells(hostile):
    """All combinations of dimensions with their share of the sends."""
    found = []
    for provider, (share, delivery, complaint, opened, clicked, p95, domains) in PROVIDERS.items():
        for place, (campaign, (part, liking, badness, segment, sending, configuration)) in enumerate(CAMPAIGNS.items()):
            for domain, slice_ in domains.items():
                group = {
                    "provider": provider,
                    "campaign": HOSTILE[place] if hostile else campaign,
                    "segment": segment,
                    "recipient_domain": domain,
                    "sending_domain": sending,
                    "configuration_set": configuration,
                }
                bounce = (1 - delivery) * 0.82 * badness
                found.append(
                    (
                        group,
                        share * part * slice_,
                        bounce,
                        complaint * (badness**0.5),
                        min(0.9, opened * liking),
                        clicked * liking,
                        p95,
                    )
                )
    return found


@lru_cache
def cells_by(dimensions, hostile):
    """Cells merged by the provider and the dimensions that a query uses. There are far fewer of them, which keeps queries by the minute fast."""
    merged = {}
    for group, share, *rates in cells(hostile):
        kept = {name: group[name] for name in ("provider", *dimensions)}
        hold = merged.setdefault(tuple(kept.values()), [kept, 0.0, [0.0] * len(rates)])
        hold[1] += share
        hold[2] = [total + share * rate for total, rate in zip(hold[2], rates)]
    return [(kept, share, *(total / share for total in totals)) for kept, share, totals in merged.values()]


def dimensions_of(query):
    """The dimensions, except the tenant, that a query groups or filters by."""
    text = json.dumps([query.get("group_by"), query.get("filter")])
    return tuple(
        name
        for name in ("campaign", "segment", "recipient_domain", "sending_domain", "configuration_set")
        if f'"{name}"' in text
    )


def noise(number, salt):
    """A pseudo-random number in [-1, 1], always the same for the same arguments."""
    x = math.sin(number * 12.9898 + salt * 78.233) * 43758.5453
    return 2 * (x - math.floor(x)) - 1


def volume(at, tenant_scale):
    """Sends per second at a time. Depends on the hour and the weekday, with a campaign every morning and some noise."""
    hour = at / 3600 % 24
    weekday = int(at // 86400 + 4) % 7
    daily = 0.45 + 0.4 * math.exp(-(((hour - 15) / 4.5) ** 2)) + 0.75 * math.exp(-(((hour - 9) / 0.9) ** 2))
    weekly = (0.6, 1.0, 1.08, 1.12, 1.06, 0.98, 0.66)[weekday]
    growth = 1 + 0.0011 * (at / 86400 - 20700)
    return 9.5 * tenant_scale * daily * weekly * growth * (1 + 0.07 * noise(at // 300, 3) + 0.05 * noise(at // 60, 5))


def incident(at, now, provider):
    """The factor by which bounces and delivery times are worse: one provider blocked mail some hours ago, another last week."""
    if provider != "microsoft":
        return 1.0
    for start, length, depth in ((3.2 * 3600, 2400, 9.0), (6 * 86400, 5 * 3600, 5.0), (43 * 86400, 8 * 3600, 7.0)):
        if now - start <= at < now - start + length:
            return depth
    return 1.0


def matches(condition, group):
    """Whether a group passes a filter."""
    if not condition:
        return True
    if "and" in condition:
        return all(matches(part, group) for part in condition["and"])
    if "or" in condition:
        return any(matches(part, group) for part in condition["or"])
    if "not" in condition:
        return not matches(condition["not"], group)
    held, value = group.get(condition["dimension"], ""), condition["value"]
    return {
        "eq": held == value,
        "ne": held != value,
        "in": held in value,
        "prefix": held.startswith(str(value)),
        "contains": str(value).lower() in held.lower(),
    }[condition["op"]]


def count_cells(start, end, unit, chosen, scale, now):
    """Counters by cell over [start, end), summed over steps of `unit` seconds."""
    totals = {}
    at = start
    while at < end:
        middle = at + min(unit, end - at) / 2
        sends_all = volume(middle, scale) * min(unit, end - at)
        # The newest mail has no outcome yet.
        done = min(1.0, max(0.0, (now - middle + 20) / 60))
        seen = min(1.0, max(0.0, (now - middle) / 14400)) ** 0.4
        for place_of, (group, share, bounce, complaint, opened, clicked, p95) in enumerate(chosen):
            index = ORDER[group["provider"]]
            worse = incident(middle, now, group["provider"])
            wave = 1 + 0.12 * noise(middle // 900, index % 7) + 0.2 * math.sin(middle / 40000 + index)
            lively = 1 + 0.05 * math.sin(middle / 13751) + 0.03 * noise(middle // 900, 11 + index % 3)
            sends = sends_all * share * (1 + 0.1 * math.sin(middle / 50000 + index))
            bounces = sends * bounce * worse * wave * done
            deliveries = (sends - sends * bounce * worse * wave) * 0.9985 * done
            hold = totals.setdefault(place_of, [0.0] * 7)
            for place, value in enumerate(
                (
                    sends,
                    deliveries,
                    bounces,
                    deliveries * complaint * wave,
                    deliveries * opened * (0.6 + 0.4 * seen) * lively,
                    deliveries * clicked * (0.65 + 0.35 * seen) * lively**1.6,
                    deliveries
                    * p95
                    * (0.7 + 0.3 * wave**2)
                    * (0.8 + 0.2 * lively**2)
                    * (1 + 0.16 * noise(middle // 900, 21))
                    * (1 + 2.5 * (worse > 1)),
                )
            ):
                hold[place] += value
        at += unit
    return totals


def metrics_of(counters, names):
    """The requested metrics, computed from summed counters."""
    sends, deliveries, bounces, complaints, opens, clicks = (round(value) for value in counters[:6])
    deliveries = min(deliveries, sends)
    values = {
        "sends": sends,
        "deliveries": deliveries,
        "bounces": bounces,
        "bounces_permanent": round(bounces * 0.62),
        "hard_bounces": round(bounces * 0.5),
        "bounces_transient": round(bounces * 0.35),
        "complaints": complaints,
        "unique_opens": opens,
        "unique_clicks": clicks,
        "in_flight": max(0, sends - deliveries - bounces),
    }
    p95 = counters[6] / counters[1] if counters[1] > 0.5 else None
    for name, factor in (
        ("delivery_ms_p50", 0.17),
        ("delivery_ms_p90", 0.7),
        ("delivery_ms_p95", 1.0),
        ("delivery_ms_p99", 2.4),
    ):
        values[name] = None if p95 is None else round(p95 * factor)
    for name, (_, _, numerator, denominator, _) in RATES.items():
        values[name] = values[numerator] / values[denominator] if values[denominator] else None
    for reason, share in REASONS.items():
        values[f"bounces_{reason}"] = round(bounces * share)
    return {name: values.get(name, 0 if name.startswith("bounces_") else None) for name in names}


def buckets(query, start, end):
    """The bucket edges of a query, in seconds."""
    step = query.get("granularity", "total")
    if step == "total":
        return [start, end]
    if step in STEPS:
        return list(range(int(start // STEPS[step] * STEPS[step]), int(math.ceil(end)) + STEPS[step], STEPS[step]))[
            : math.ceil((end - start // STEPS[step] * STEPS[step]) / STEPS[step]) + 1
        ]
    zone = ZoneInfo(query.get("timezone", "UTC"))
    edges, day = [], datetime.fromtimestamp(start, zone).date().toordinal()
    while not edges or edges[-1] < end:
        date = datetime.fromordinal(day)
        edges.append(int(date.replace(tzinfo=zone).timestamp()))
        day += 1
    return edges


def iso(seconds):
    """Formats seconds since the Unix epoch as RFC 3339 in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text):
    """Parses RFC 3339 into seconds since the Unix epoch."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def tenants_of(key):
    """The tenants that a key may see, with the scale of their traffic."""
    if key == "mg_many":
        return {f"tenant-{number:03}": 3 / (number + 1) for number in range(200)}
    return {"acme": 1.0, "globex": 0.42, "initech": 0.11}


def answer(query, key, tenant, now):
    """The reply to a query."""
    start, end = seconds_of(query["from"]), seconds_of(query["to"])
    scales = tenants_of(key)
    wanted = {tenant: scales.get(tenant, 0.0)} if tenant else scales
    keys = query.get("group_by", [])
    edges = buckets(query, start, end)
    span = edges[-1] - edges[0]
    unit = max(60.0, min(min(b - a for a, b in zip(edges, edges[1:])), span / MAX_UNITS))
    rows = []
    for first, last in zip(edges, edges[1:]):
        now_groups = grouped(first, last, unit, query, keys, wanted, key, now)
        back = span if query.get("compare") else 0
        old_groups = grouped(first - back, last - back, unit, query, keys, wanted, key, now) if back else {}
        for name, counters in now_groups.items():
            row = {"group": dict(zip(keys, name)), "metrics": metrics_of(counters, query["metrics"])}
            if query.get("granularity", "total") != "total":
                row["time"] = iso(first)
            group = row["group"]
            if group.get("provider") in SILENT_PROVIDERS or only_without_complaint_reports(query.get("filter")):
                row["reasons"] = {"complaint_rate": "not_reported"}
            if back:
                row["previous"] = metrics_of(old_groups.get(name, [0.0] * 7), query["metrics"])
            for part in ("metrics", "previous"):
                if "reasons" in row and "complaint_rate" in row.get(part, {}):
                    row[part]["complaint_rate"] = None
            rows.append(row)
    if keys:
        rows = limited(rows, keys, query)
    silent = key in ("mg_empty", "mg_quiet")
    quiet = {"mg_empty": None, "mg_quiet": iso(now - 40 * 86400), "mg_silent": iso(now - 14 * 60)}
    newest = quiet.get(key, iso(now - 2))
    meta = {
        "complete_until": iso(now - 11),
        "newest_event": newest,
        "estimates": {} if silent else {"unique_opens": 0.008},
        "next_cursor": None,
        "previous_cursor": None,
        "last_cursor": None,
        "offset": 0,
        "total": sum(1 for row in rows if "(other)" not in row["group"].values()),
    }
    return {"rows": rows, "meta": meta}


def only_without_complaint_reports(condition):
    """Whether a filter names only providers that report no complaints."""
    condition = (condition or {}).get("and", [condition])[0]
    if not condition or condition.get("dimension") != "provider" or condition["op"] not in ("eq", "in"):
        return False
    values = condition["value"] if condition["op"] == "in" else [condition["value"]]
    return set(values) <= SILENT_PROVIDERS


def catalogue(tenant):
    """The metrics that the dashboard shows, with the limits of one tenant or of all together."""
    limits = LIMITS | OWN_LIMITS.get(tenant, {})

    def entry(name, label, unit, direction, description, formula, numerator, denominator):
        value = limits.get(name)
        side = "below" if direction == "higher" else "above"
        return {
            "name": name,
            "label": label,
            "description": description,
            "unit": unit,
            "formula": formula,
            "direction": direction,
            "numerator": numerator,
            "denominator": denominator,
            "limit": None if value is None else {"value": value, "side": side},
        }

    metrics = [
        entry(
            name, label, unit, direction, description, formula or description[0].lower() + description[1:-1], None, None
        )
        for name, (label, unit, direction, description, formula) in MEASURES.items()
    ] + [
        entry(
            name,
            label,
            "fraction",
            direction,
            description,
            f"{numerator} / {denominator}",
            numerator,
            denominator,
        )
        for name, (label, direction, numerator, denominator, description) in RATES.items()
    ]
    return {"tenant": tenant, "metrics": metrics}


def alerts(now):
    """A firing alert about the bounces of a tenant at a provider, and a resolved one about the complaints of a campaign."""
    firing = {
        "id": "al_1",
        "tenant": "acme",
        "severity": "critical",
        "kind": "anomaly",
        "metric": "bounce_rate",
        "state": "firing",
        "scope": {"provider": "yahoo"},
        "started_at": iso(now - 5 * 3600),
        "updated_at": iso(now - 600),
        "cause": [{"filter": {"campaign": "win-back-90-days"}, "share": 0.8}],
        "summary": "The bounce rate for acme at yahoo is 9 %, usually up to 2 %.",
    }
    over = firing | {
        "id": "al_2",
        "metric": "complaint_rate",
        "state": "resolved",
        "scope": {"campaign": "win-back-90-days"},
        "started_at": iso(now - 20 * 3600),
        "updated_at": iso(now - 15 * 3600),
        "cause": [],
        "summary": f"Resolved, last seen {iso(now - 15 * 3600)}: The complaint rate for acme was 0.4 %.",
    }
    return [firing, over]


def grouped(first, last, unit, query, keys, wanted, key, now):
    """Counters by group over one bucket."""
    if key in ("mg_empty", "mg_quiet"):
        return {} if keys else {(): [0.0] * 7}
    # The sender is down for twenty minutes, which rates show as a gap.
    if now - 9.4 * 3600 <= first and last <= now - 9.0 * 3600 and not keys:
        return {(): [0.0] * 7}
    if key == "mg_few":
        # Sends, deliveries, bounces, complaints, opens, clicks.
        name = {"provider": "yahoo", "tenant": "acme"}
        return {tuple(name.get(one, "welcome") for one in keys): [11.0, 10.0, 1.0, 0.0, 4.0, 1.0, 20_000.0]}
    groups = {} if keys else {(): [0.0] * 7}
    chosen = [
        cell for cell in cells_by(dimensions_of(query), key == "mg_hostile") if matches(query.get("filter"), cell[0])
    ]
    by_tenant = "tenant" in keys
    counted = count_cells(first, min(last, now), unit, chosen, 1.0, now)
    for tenant, scale in wanted.items() if by_tenant else {"": sum(wanted.values())}.items():
        for index, counters in counted.items():
            group = {**chosen[index][0], "tenant": tenant}
            hold = groups.setdefault(tuple(group[name] for name in keys), [0.0] * 7)
            for place, value in enumerate(counters):
                hold[place] += scale * value
    return groups


def limited(rows, keys, query):
    """The largest groups by sends, and one row for the rest."""
    rows.sort(key=lambda row: -(row["metrics"].get("sends") or 0))
    limit = query.get("limit", 100)
    rest = rows[limit:]
    if not rest:
        return rows
    total = [
        sum(row["metrics"].get(name) or 0 for row in rest)
        for name in ("sends", "deliveries", "bounces", "complaints", "unique_opens", "unique_clicks")
    ]
    other = {
        "group": {name: "(other)" for name in keys},
        "metrics": metrics_of([*total, total[1] * 5000.0], query["metrics"]),
    }
    return [*rows[:limit], other]
