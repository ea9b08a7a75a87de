/**
 * @file Checks the dashboard's pure modules, inside a page that was served with them. browser.py calls this function with a reply of
 * the metric catalogue, in several time zones, and prints what it returns: the checks that failed.
 */
async (catalogue) => {
  const load = (name) => import(new URL(`assets/${name}.js`, location.origin).href);
  const [period, scale, format, state, chance, metrics, queries, plot, live] = await Promise.all(
    ["period", "scale", "format", "state", "chance", "metrics", "queries", "plot", "live"].map(load),
  );
  const failures = [];
  const check = (sentence, actual, expected) => {
    const [a, e] = [JSON.stringify(actual), JSON.stringify(expected)];
    if (a !== e) failures.push(`${sentence}: ${a} instead of ${e}`);
  };
  /** The catalogue with these limits and no others. */
  const withLimits = (limits) =>
    metrics.metricsOf({
      metrics: catalogue.metrics.map((entry) => {
        const [value, side] = limits[entry.name] ?? [];
        return { ...entry, limit: side ? { value, side } : null };
      }),
    });
  metrics.useMetrics(withLimits({}));
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const iso = (time) => new Date(time).toISOString().slice(0, 16);
  const now = Date.parse("2026-11-25T08:03:20Z");
  const at = (search, time = now) => period.period(state.parse(search), time, zone);

  const day = at("?range=24h");
  check("figures end with this minute", [iso(day.from), iso(day.to)], ["2026-11-24T08:04", "2026-11-25T08:04"]);
  check(
    "the chart has whole buckets of the same length",
    [iso(day.chartFrom), iso(day.chartTo), day.step],
    ["2026-11-24T08:15", "2026-11-25T08:15", "15m"],
  );
  check("a chosen granularity is kept", at("?range=24h&step=1m").step, "1m");
  check("a granularity of too many points is not", at("?range=90d&step=1m").step, "1d");
  const month = at("?range=30d");
  check("ranges whose earlier period has lost its minutes use hours", iso(month.to), "2026-11-25T09:00");
  const cohort = at("?range=1h&basis=send&step=1m");
  check(
    "send cohorts are asked for by the whole hour",
    [iso(cohort.from), iso(cohort.to), cohort.step],
    ["2026-11-25T07:00", "2026-11-25T08:00", "1h"],
  );
  if (zone === "Europe/Berlin") {
    check(
      "days begin at the zone's midnight",
      [iso(month.chartFrom), iso(month.chartTo)],
      ["2026-10-26T23:00", "2026-11-25T23:00"],
    );
    const autumn = at("?range=30d", Date.parse("2026-11-10T12:00:00Z"));
    check(
      "also across the end of summer time",
      [iso(autumn.chartFrom), iso(autumn.chartTo)],
      ["2026-10-11T22:00", "2026-11-10T23:00"],
    );
  } else {
    check(
      "zones that are not whole hours from UTC get UTC days",
      [month.zone, iso(month.chartTo)],
      ["UTC", "2026-11-26T00:00"],
    );
  }

  const ticks = (low, high, unit) => scale.valueTicks({ low, high, wanted: 5, unit });
  check("ticks of counts are round", ticks(0, 19_400, "count"), [0, 5000, 10_000, 15_000, 20_000]);
  check("counts have no half ticks", ticks(0, 2, "count"), [0, 1, 2]);
  check("ticks of rates are round", ticks(0.931, 1, "fraction"), [0.92, 0.94, 0.96, 0.98, 1]);
  check("ticks of times are round times", ticks(0, 200_000, "milliseconds"), [0, 60_000, 120_000, 180_000, 240_000]);
  check("nothing but zeros still has an axis", ticks(0, 0, "count").length >= 2, true);

  const { metric } = metrics;
  check(
    "an unknown rate is not zero",
    [format.percent(null), format.exact(undefined), format.duration(null)],
    ["–", "–", "–"],
  );
  check("counts are short above a million", [format.count(999_999), format.count(1_234_567)], ["999,999", "1.23M"]);
  check("times have a fitting unit", [840, 4200, 14_200, 204_000, 5_400_000].map(format.duration), [
    "840 ms",
    "4.2 s",
    "14 s",
    "3.4 min",
    "1.5 h",
  ]);
  check("rates change by points", format.change(metric("bounce_rate"), 0.031, 0.02), {
    text: "1.10 pp",
    direction: "up",
  });
  check("counts change by ratio", format.change(metric("sends"), 90, 100), { text: "10.0%", direction: "down" });
  check("nothing compares with an unknown", format.change(metric("sends"), 90, null), null);

  const rate = (value, sends) => ({ bounce_rate: value, sends });
  check(
    "a change within chance is none",
    chance.isReal(metric("bounce_rate"), rate(0.021, 900), rate(0.02, 900)),
    false,
  );
  check(
    "the same change in much mail is one",
    chance.isReal(metric("bounce_rate"), rate(0.021, 1e6), rate(0.02, 1e6)),
    true,
  );
  check(
    "no change is none, however much mail",
    chance.isReal(metric("bounce_rate"), rate(0.02001, 1e12), rate(0.02, 1e12)),
    false,
  );
  check(
    "no mail before means no verdict",
    chance.isReal(metric("bounce_rate"), rate(0.02, 1e6), { bounce_rate: null, sends: 0 }),
    false,
  );

  const limits = { delivery_rate: [0.95, "below"], bounce_rate: [0.02, "above"], delivery_ms_p95: [60_000, "above"] };
  const stands = (name, value, counts) => chance.standing(metric(name), { [name]: value, ...counts });
  check("without limits nothing is judged", stands("bounce_rate", 0.5, { bounces: 500, sends: 1000 }), "within");
  metrics.useMetrics(withLimits(limits));
  const bounced = (bounces, sends) => stands("bounce_rate", bounces / sends, { bounces, sends });
  check("one bounce among eleven mails proves nothing", bounced(1, 11), "unsure");
  check("one bounce in 13 mails proves nothing", bounced(1, 13), "unsure");
  check("five of five are too few", bounced(5, 5), "unsure");
  check("30 bounces in 500 mails are beyond 2%", bounced(30, 500), "beyond");
  check("a rate at its limit is within it", bounced(20_000, 1e6), "within");
  check("a little more in much mail is beyond it", bounced(20_600, 1e6), "beyond");
  check("a little more in less mail is not", bounced(206, 1e4), "unsure");
  const delivered = (deliveries, failed, sends) =>
    stands("delivery_rate", deliveries / sends, { deliveries, sends, bounces_permanent: failed, bounces_transient: 0 });
  check("a low delivery rate is beyond its limit", delivered(9400, 600, 10_000), "beyond");
  check("a high delivery rate is not", delivered(9600, 400, 10_000), "within");
  check("mail in flight has not failed", delivered(9000, 90, 10_000), "unsure");
  const accepted = { deliveries: 9400, delivered_net: 9400 - 600, sends: 10_000, bounces_permanent: 600 };
  check(
    "what bounced after it was accepted was delivered",
    stands("delivery_rate", 0.94, { ...accepted, bounces_transient: 0, bounces_after_acceptance: 600 }),
    "unsure",
  );
  const slow = (p90, deliveries) => stands("delivery_ms_p95", 90_000, { delivery_ms_p90: p90, deliveries });
  check("slow deliveries are beyond their limit", slow(70_000, 1000), "beyond");
  check("a few slow ones are not", slow(70_000, 50), "unsure");
  check("an unknown rate is not beyond a limit", stands("bounce_rate", null, { bounces: 0, sends: 0 }), "within");
  const sum = (hits, trials, share) => {
    let term = (1 - share) ** trials;
    let below = 0;
    for (let k = 0; k < hits; k++) {
      below += term;
      term *= (((trials - k) / (k + 1)) * share) / (1 - share);
    }
    return 1 - below;
  };
  for (const [hits, trials, share] of [
    [1, 13, 0.02],
    [3, 50, 0.05],
    [30, 500, 0.05],
    [7, 9, 0.6],
  ])
    check(
      `the tail of ${hits} in ${trials} is the sum of its terms`,
      Math.abs(chance.upperTail(hits, trials, share) - sum(hits, trials, share)) < 1e-9,
      true,
    );
  metrics.useMetrics(withLimits({}));
  check("limits are those of the newest catalogue", metric("bounce_rate").limit, null);
  const renamed = catalogue.metrics.map((entry) => ({ ...entry, label: `${entry.label} (renamed)` }));
  check(
    "labels are the catalogue's",
    [...metrics.metricsOf({ metrics: renamed }).values()].every(({ label }) => label.endsWith("(renamed)")),
    true,
  );
  const refusal = (reply) => {
    try {
      metrics.metricsOf(reply);
      return "accepted";
    } catch (error) {
      return error.message;
    }
  };
  const without = (name) => ({ metrics: catalogue.metrics.filter((entry) => entry.name !== name) });
  check("a catalogue without a shown metric is refused", refusal(without("open_rate")), "it has no metric open_rate");
  check("so is one without a denominator", refusal(without("hard_bounces")), "it has no metric hard_bounces");
  check("and a reply that is no catalogue", refusal({}), "the reply holds no list of metrics");
  check(
    "a limit has the digits it was set with",
    [0.02, 0.0008, 0.025, 0.07].map((value) => format.limit(metric("bounce_rate"), value)),
    ["2%", "0.08%", "2.5%", "7%"],
  );

  const fresh = (ages, broken = "") => {
    const [completeUntil, newest] = ages.map((age) => now - age * 1000);
    const { kind, text, detail } = live.freshness({ now, completeUntil, newest, broken });
    return [kind, text, detail];
  };
  check("what is counted and the newest event both stand there", fresh([4, 9]), [
    "fresh",
    "Live",
    "complete until 4 s ago · newest event 9 s ago",
  ]);
  check("old events are not live, however complete the counts", fresh([4, 840]), [
    "late",
    "No events for 14 min",
    "complete until 4 s ago",
  ]);
  check("late counts say so first", fresh([840, 900]), ["late", "Complete until 14 min ago", "newest event 15 min ago"]);
  check("no event at all is not live", fresh([4, NaN]), ["late", "No events yet", "complete until 4 s ago"]);
  check("a failed refresh is not live", fresh([4, 9], "Not refreshed")[0], "broken");

  const long =
    "?from=2026-11-01T00:00:00.000Z&to=2026-11-02T00:00:00.000Z&tenant=acme&by=campaign&show=latency&step=1h&sort=bounce_rate&find=Spring+sale&top=100&f=provider:gmail&f=campaign:a:b";
  check("an address survives reading and writing", state.format(state.parse(long)), long);
  check("the default needs no address", state.format(state.parse("?range=24h&by=provider")), "");
  for (const junk of [
    "?range=1y",
    "?from=x&to=y",
    "?from=2026-11-02&to=2026-11-01",
    "?by=__proto__",
    "?show=constructor",
    "?step=2m",
    "?sort=<b>",
    "?sort=constructor",
    "?sort=-opens",
    "?top=1e9",
    "?f=:x&f=tenant:acme&f=evil:1",
    "?basis=both",
  ]) {
    check(`an address that makes no sense is the default: ${junk}`, state.format(state.parse(junk)), "");
  }
  check("filters are bounded", state.parse(`?${"f=provider:x&".repeat(500)}`).filters.length, 20);
  check(
    "send cohorts drop what they do not keep",
    state.format(state.parse("?basis=send&by=segment&f=segment:a&f=campaign:b")),
    "?basis=send&f=campaign:b",
  );
  const picked = state.toggleFilter(state.parse(""), "provider", "gmail");
  check(
    "a second pick undoes the first",
    [picked.filters.length, state.toggleFilter(picked, "provider", "gmail").filters.length],
    [1, 0],
  );

  const asked = queries.questions(state.parse("?f=provider:a&f=provider:b&f=campaign:c"), day);
  check(
    "a refresh is at most five queries of at most 40 metrics",
    Object.values(asked).every((body) => body.metrics.length <= 40) && Object.keys(asked).length <= 5,
    true,
  );
  check("values of a dimension are alternatives, dimensions narrow", asked.totals.filter, {
    and: [
      { dimension: "provider", op: "in", value: ["a", "b"] },
      { dimension: "campaign", op: "eq", value: "c" },
    ],
  });
  check("the breakdown is not narrowed by its own dimension", asked.breakdown.filter, {
    dimension: "campaign",
    op: "eq",
    value: "c",
  });
  const order = (search) => queries.questions(state.parse(search), day).breakdown.order_by;
  check(
    "rates are sorted by what is proven of them, in both directions",
    ["-bounce_rate", "bounce_rate", "delivery_rate", "-open_rate"].map((sort) => order(`?sort=${sort}`)),
    ["bounce_rate:worst", "bounce_rate:best", "delivery_rate:worst", "open_rate:best"],
  );
  check(
    "counts, times and names are sorted as they are",
    ["", "?sort=sends", "?sort=-delivery_ms_p95", "?sort=name&by=campaign", "?sort=-name"].map(order),
    ["sends:desc", "sends:asc", "delivery_ms_p95:desc", "campaign:asc", "provider:desc"],
  );
  check(
    "a name is looked for by the server, beside the filters",
    queries.questions(state.parse("?by=campaign&find=spring&f=provider:a"), day).breakdown.filter,
    {
      and: [
        { dimension: "provider", op: "eq", value: "a" },
        { dimension: "campaign", op: "contains", value: "spring" },
      ],
    },
  );
  check("an alert opens the chart of its metric", ["bounce_rate", "complaint_rate", "sends", "nothing"].map(metrics.setOf), [
    "bounces",
    "complaints",
    "volume",
    undefined,
  ]);
  check("gaps split a line", plot.runs([1, null, 2, 3, null], 0, 5), [
    [0, 1],
    [2, 4],
  ]);
  return failures;
};
