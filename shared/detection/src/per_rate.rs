//! One value for each metric, or for each denominator, with an index that always exists.
//!
//! Plain arrays indexed by `metric as usize` would need a fallback for an index that cannot occur; these types need none.

use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};

use crate::counts::{Denominator, MonitoredRate};

/// A value for each [`MonitoredRate`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PerRate<T>([T; MonitoredRate::ALL.len()]);

impl<T> PerRate<T> {
    /// Computes the value of each metric, in the order of [`MonitoredRate::ALL`].
    pub fn from_fn(value: impl FnMut(MonitoredRate) -> T) -> Self {
        Self(MonitoredRate::ALL.map(value))
    }

    /// Applies `change` to each value.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> PerRate<U> {
        PerRate(self.0.map(change))
    }

    /// The values, in the order of [`MonitoredRate::ALL`].
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    /// The values, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut()
    }
}

impl<T> Index<MonitoredRate> for PerRate<T> {
    type Output = T;

    fn index(&self, metric: MonitoredRate) -> &T {
        let [hard_bounce, bounce, delay, delivery, complaint, open, click] = &self.0;
        match metric {
            MonitoredRate::HardBounce => hard_bounce,
            MonitoredRate::Bounce => bounce,
            MonitoredRate::Delay => delay,
            MonitoredRate::Delivery => delivery,
            MonitoredRate::Complaint => complaint,
            MonitoredRate::Open => open,
            MonitoredRate::Click => click,
        }
    }
}

impl<T> IndexMut<MonitoredRate> for PerRate<T> {
    fn index_mut(&mut self, metric: MonitoredRate) -> &mut T {
        let [hard_bounce, bounce, delay, delivery, complaint, open, click] = &mut self.0;
        match metric {
            MonitoredRate::HardBounce => hard_bounce,
            MonitoredRate::Bounce => bounce,
            MonitoredRate::Delay => delay,
            MonitoredRate::Delivery => delivery,
            MonitoredRate::Complaint => complaint,
            MonitoredRate::Open => open,
            MonitoredRate::Click => click,
        }
    }
}

/// A value for each [`Denominator`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PerDenominator<T> {
    /// That of mail sent.
    pub sends: T,
    /// That of mail delivered.
    pub deliveries: T,
}

impl<T> PerDenominator<T> {
    pub fn values(&self) -> [&T; 2] {
        [&self.sends, &self.deliveries]
    }
}

impl<T> Index<Denominator> for PerDenominator<T> {
    type Output = T;

    fn index(&self, denominator: Denominator) -> &T {
        match denominator {
            Denominator::Sends => &self.sends,
            Denominator::Deliveries => &self.deliveries,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_has_a_value_of_its_own() {
        let mut names = PerRate::from_fn(MonitoredRate::name);
        for metric in MonitoredRate::ALL {
            assert_eq!(names[metric], metric.name());
        }
        names[MonitoredRate::Open] = "changed";
        assert_eq!(
            MonitoredRate::ALL.into_iter().filter(|metric| names[*metric] != metric.name()).count(),
            1
        );
        assert!(names.values().copied().eq(MonitoredRate::ALL.map(|metric| names[metric])));
    }

    #[test]
    fn each_denominator_has_a_value_of_its_own() {
        let values = PerDenominator { sends: 1, deliveries: 2 };
        assert_eq!((values[Denominator::Sends], values[Denominator::Deliveries]), (1, 2));
    }
}
