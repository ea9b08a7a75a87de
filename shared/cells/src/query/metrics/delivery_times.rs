//! The table of delivery times: milliseconds from send to delivery.
//!
//! Percentiles come from a quantile sketch with a stated relative error, the mean from exact sums.

use super::counts::DELIVERIES;
use super::definition::{Direction, Formula, LimitPolicy, Metric, MetricDefinition, Unit};
use super::metric_table;
use crate::counter::Counter;

metric_table! {
    /// All delivery times, in the order in which they are listed.
    DELIVERY_TIMES
    DELIVERY_MS_P50 {
        name: "delivery_ms_p50",
        label: "Delivery time, p50",
        unit: Milliseconds,
        better: LowerIsBetter,
        formula: Formula::DeliveryTimePercentile(50),
        base: DELIVERIES,
        description: "50 of 100 deliveries took at most this long.",
    }
    DELIVERY_MS_P90 {
        name: "delivery_ms_p90",
        label: "Delivery time, p90",
        unit: Milliseconds,
        better: LowerIsBetter,
        formula: Formula::DeliveryTimePercentile(90),
        base: DELIVERIES,
        description: "90 of 100 deliveries took at most this long.",
    }
    DELIVERY_MS_P95 {
        name: "delivery_ms_p95",
        label: "Delivery time, p95",
        unit: Milliseconds,
        better: LowerIsBetter,
        formula: Formula::DeliveryTimePercentile(95),
        base: DELIVERIES,
        limit: LimitPolicy::Limitable,
        description: "95 of 100 deliveries took at most this long.",
    }
    DELIVERY_MS_P99 {
        name: "delivery_ms_p99",
        label: "Delivery time, p99",
        unit: Milliseconds,
        better: LowerIsBetter,
        formula: Formula::DeliveryTimePercentile(99),
        base: DELIVERIES,
        description: "99 of 100 deliveries took at most this long.",
    }
    DELIVERY_MS_MEAN {
        name: "delivery_ms_mean",
        label: "Delivery time, mean",
        unit: Milliseconds,
        better: LowerIsBetter,
        formula: Formula::Mean { sum: Counter::DeliveryMillis, readings: Counter::DeliveriesTimed },
        base: DELIVERIES,
        description: "Mean time from send to delivery.",
    }
}
