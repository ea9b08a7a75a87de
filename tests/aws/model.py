"""The reference counts of a set of SES events, computed in the simplest way: one dictionary and no blocks."""

import collections

SIMULATOR = "simulator.amazonses.com"


def recipients(event):
    """The recipients of an event. Opens and clicks name no recipient and count one."""
    kind = event["eventType"]
    if kind in ("Open", "Click"):
        return [None]
    named = {
        "Delivery": lambda body: body["delivery"]["recipients"],
        "Bounce": lambda body: [one["emailAddress"] for one in body["bounce"]["bouncedRecipients"]],
        "Complaint": lambda body: [one["emailAddress"] for one in body["complaint"]["complainedRecipients"]],
        "DeliveryDelay": lambda body: [one["emailAddress"] for one in body["deliveryDelay"]["delayedRecipients"]],
    }.get(kind, lambda body: body["mail"]["destination"])
    return named(event)


def metric(event):
    """The metric that an event increments, or None if it is not compared."""
    kind = event["eventType"]
    if kind == "Bounce":
        bounce = event["bounce"]
        is_reply = bounce["bounceType"] == "Transient" and "reportingMTA" not in bounce
        is_reply &= not any("status" in one or "diagnosticCode" in one for one in bounce["bouncedRecipients"])
        return "auto_replies" if is_reply and bounce["bounceSubType"] == "General" else "bounces"
    if kind == "Complaint":
        body = event["complaint"]
        counts = body.get("complaintFeedbackType") != "not-spam" and not body.get("complaintSubType")
        return "complaints" if counts else None
    return {
        "Send": "sends",
        "Delivery": "deliveries",
        "DeliveryDelay": "delays",
        "Open": "opens",
        "Click": "clicks",
        "Reject": "rejects",
        "Rendering Failure": "rendering_failures",
    }.get(kind)


METRICS = ["sends", "deliveries", "bounces", "auto_replies", "complaints", "delays", "opens", "clicks", "rejects", "rendering_failures"]


def totals(events):
    """Counts by tenant and metric. A duplicate event counts once."""
    counts, seen = collections.defaultdict(collections.Counter), set()
    for event in events:
        tenant = event["mail"]["tags"].get("tenant", ["(unassigned)"])[0]
        name = metric(event)
        for recipient in recipients(event):
            about = recipient or event["mail"]["destination"][0]
            identity = (event["eventType"], event["mail"]["messageId"], recipient, stamp(event))
            if name is None or about.endswith(SIMULATOR) or identity in seen:
                continue
            seen.add(identity)
            counts[tenant][name] += 1
    return {tenant: {name: counts[tenant][name] for name in METRICS} for tenant in counts}


def stamp(event):
    """The part of an event's identity that distinguishes events of one message and recipient: its time, and the link of a click."""
    for body in ("delivery", "bounce", "complaint", "open", "click", "deliveryDelay"):
        if body in event:
            return event[body].get("timestamp"), event[body].get("link")
    return None
