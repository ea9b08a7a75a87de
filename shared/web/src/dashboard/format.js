/**
 * @file Numbers and times as people read them. Pure: the same input gives the same text, and nothing is read from the
 * page. A missing number is always an en dash, never 0: an unknown rate must not look like a good one.
 */

const NONE = "–";
const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en-US", {
  notation: "compact",
  minimumFractionDigits: 1,
  maximumFractionDigits: 1,
});
const compactWide = new Intl.NumberFormat("en-US", {
  notation: "compact",
  minimumFractionDigits: 2,
  maximumFractionDigits: 2,
});

/** All digits: `1,234,567`. */
export function exact(value) {
  return value === null || value === undefined ? NONE : whole.format(value);
}

/** At most six digits, then `1.23M`. */
export function count(value) {
  if (value === null || value === undefined) return NONE;
  return Math.abs(value) < 1_000_000 ? whole.format(value) : compactWide.format(value);
}

/** Short, for axes and narrow cells: `12.3K`. */
export function short(value) {
  if (value === null || value === undefined) return NONE;
  if (Math.abs(value) < 10_000) return whole.format(value);
  return compact.format(value).replace(/\.0(?=\D)/, "");
}

/** A fraction as per cent with fixed digits: `98.21%`. */
export function percent(value, digits = 2) {
  return value === null || value === undefined ? NONE : `${(value * 100).toFixed(digits)}%`;
}

/** Milliseconds: `840 ms`, `4.2 s`, `3.4 min`, `1.2 h`. */
export function duration(ms) {
  if (ms === null || ms === undefined) return NONE;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 9950 ? 1 : 0)} s`;
  if (ms < 3_600_000) return `${(ms / 60_000).toFixed(1)} min`;
  return `${(ms / 3_600_000).toFixed(1)} h`;
}

/**
 * One value of a metric.
 * @param {import("./metrics.js").Metric} metric
 * @param {"tile" | "exact" | "axis"} [style]
 */
export function value(metric, number, style = "exact") {
  if (metric.unit === "fraction") return percent(number, metric.digits);
  if (metric.unit === "milliseconds")
    return style === "axis"
      ? duration(number)
          .replace(/\.0(?= )/, "")
          .replace(/^0 ms$/, "0")
      : duration(number);
  return style === "axis" ? short(number) : style === "tile" ? count(number) : exact(number);
}

/** A limit, with the digits that it was set with: `2%`, `0.08%`, `1.0 min`. */
export function limit(metric, number) {
  if (metric.unit === "fraction") return `${Number((number * 100).toPrecision(6))}%`;
  return metric.unit === "milliseconds" ? duration(number) : exact(number);
}

/**
 * The change of a metric against the period before: relative for counts and times, in points for rates.
 * @returns {{ text: string, direction: "up" | "down" | "same" } | null}
 */
export function change(metric, now, before) {
  if (now === null || now === undefined || before === null || before === undefined) return null;
  if (metric.unit === "fraction") {
    const text = `${Math.abs((now - before) * 100).toFixed(metric.digits)} pp`;
    return { text, direction: direction(now - before, 0.5 * 10 ** -(metric.digits + 2)) };
  }
  if (before === 0) return null;
  const ratio = now / before - 1;
  const text = Math.abs(ratio) >= 10 ? `${(now / before).toFixed(0)}×` : `${Math.abs(ratio * 100).toFixed(1)}%`;
  return { text, direction: direction(ratio, 0.0005) };
}

function direction(difference, least) {
  if (Math.abs(difference) < least) return "same";
  return difference > 0 ? "up" : "down";
}

const formats = new Map();
function dateFormat(zone, options) {
  const key = zone + JSON.stringify(options);
  if (!formats.has(key)) formats.set(key, new Intl.DateTimeFormat("en-GB", { timeZone: zone, ...options }));
  return formats.get(key);
}

/** `14:05` */
export function clock(time, zone) {
  return dateFormat(zone, { hour: "2-digit", minute: "2-digit" }).format(time);
}

/** `25 Nov` */
export function day(time, zone) {
  return dateFormat(zone, { day: "numeric", month: "short" }).format(time).replace("Sept", "Sep");
}

/** `Wed 25 Nov 2026` */
export function fullDay(time, zone) {
  return dateFormat(zone, { weekday: "short", day: "numeric", month: "short", year: "numeric" })
    .format(time)
    .replace(",", "")
    .replace("Sept", "Sep");
}

/** A bucket: `Wed 25 Nov 2026, 14:00–14:15`, or the day alone from a day up. */
export function bucket(time, step, zone) {
  if (step >= 86_400_000) return fullDay(time, zone);
  return `${fullDay(time, zone)}, ${clock(time, zone)}–${clock(time + step, zone)}`;
}

/** A span of time: `24 Nov 14:00 – 25 Nov 14:00`. */
export function span(from, to, zone) {
  const start = `${day(from, zone)} ${clock(from, zone)}`;
  const sameDay = day(from, zone) === day(to, zone);
  return `${start} – ${sameDay ? "" : `${day(to, zone)} `}${clock(to, zone)}`;
}

/** An age: `12 s ago`, `3 min ago`. */
export function age(ms) {
  if (ms < 60_000) return `${Math.max(0, Math.round(ms / 1000))} s ago`;
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)} min ago`;
  if (ms < 172_800_000) return `${Math.round(ms / 3_600_000)} h ago`;
  return `${Math.round(ms / 86_400_000)} days ago`;
}

/** `UTC+1`, `UTC−3:30`, or `UTC`. */
export function offset(time, zone) {
  const parts = dateFormat(zone, { timeZoneName: "longOffset" }).formatToParts(time);
  const name = parts.find((part) => part.type === "timeZoneName")?.value ?? "GMT";
  return name
    .replace("GMT", "UTC")
    .replace(/([+-])0/, "$1")
    .replace(":00", "")
    .replace("-", "−");
}
