//! Detection and the metric registry agree. Detection depends on no query, so it names its metrics itself; a difference would show an alert
//! under another name, or with another limit, than the catalogue and the dashboard.

use cells::query::Metric;
use cells::query::metrics::{Direction, LimitPolicy, MetricRegistry};
use detection::{Denominator, LimitedMetric, Limits, MonitoredRate, metric_in_words};

fn registered(name: &str) -> Metric {
    MetricRegistry::builtin().get(name).unwrap_or_else(|| panic!("{name} is not in the metric registry"))
}

/// An alert calls a metric what its label does, in the middle of a sentence.
fn assert_alerts_use_the_label(metric: Metric) {
    assert_eq!(metric.label().to_lowercase(), metric_in_words(metric.name()));
}

#[test]
fn every_monitored_rate_has_the_name_label_direction_and_denominator_of_the_registry() {
    for rate in MonitoredRate::ALL {
        let metric = registered(rate.name());
        assert_alerts_use_the_label(metric);
        let ratio = metric.ratio().unwrap_or_else(|| panic!("{} is not a rate", rate.name()));
        let denominator = match rate.parameters().denominator {
            Denominator::Sends => "sends",
            Denominator::Deliveries => "deliveries",
        };
        assert_eq!(ratio.denominator.name(), denominator, "{}", rate.name());
        // Neither direction of some rates is better; no rate may be better in the direction that detection takes for trouble.
        let bad = if rate.fall_is_bad() { Direction::LowerIsBetter } else { Direction::HigherIsBetter };
        assert_ne!(metric.direction(), bad, "{}", rate.name());
    }
}

#[test]
fn every_limited_metric_has_the_default_limit_of_the_registry() {
    for limited in LimitedMetric::ALL {
        let metric = registered(limited.name());
        let default = limited.limit_in(&Limits::default());
        assert_eq!(metric.limit().default_limit(), default, "{}", limited.name());
        assert!(metric.limit().is_limitable(), "{}", limited.name());
        let is_floor = metric.direction() == Direction::HigherIsBetter;
        let expected = matches!(limited, LimitedMetric::Delivery | LimitedMetric::NetDelivery);
        assert_eq!(is_floor, expected, "{}", limited.name());
        assert_alerts_use_the_label(metric);
    }
}

#[test]
fn every_metric_that_the_registry_lets_rules_limit_is_monitored() {
    for metric in
        MetricRegistry::builtin().iter().filter(|metric| metric.limit() != LimitPolicy::NotLimitable)
    {
        assert!(
            LimitedMetric::ALL.iter().any(|limited| limited.name() == metric.name()),
            "{}",
            metric.name()
        );
    }
}
