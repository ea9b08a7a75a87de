//! The columns of the metric tables, and [`Metric`], the handle by which everything else refers to a row.
//!
//! A definition is data: it holds no code of its own, so every metric is parsed, listed, computed and described in the same way.

use std::fmt;
use std::hash::{Hash, Hasher};

use event::BounceClass;

use crate::counter::{Counter, CounterId, Counters};

/// One row of the metric tables.
///
/// Not `Clone`: a [`Metric`] is the address of its definition, so a copy would be a different metric of the same name.
#[derive(Debug)]
pub struct MetricDefinition {
    /// The name in queries, replies and CSV columns. A promise to users: it never changes.
    pub name: &'static str,
    /// A title for people, such as `Bounce rate`.
    pub label: &'static str,
    /// The unit of its values.
    pub unit: Unit,
    /// How it is computed.
    pub formula: Formula,
    /// Whether higher or lower values are better.
    pub direction: Direction,
    /// The count that says how much evidence a value rests on. Guards against small samples compare it with their minimum. For a ratio
    /// leave it `None`: it is the denominator, see [`Metric::base`].
    pub base: Option<Metric>,
    /// Whether alert rules can limit it, and where the limit lies if no rule says otherwise.
    pub limit: LimitPolicy,
    /// One sentence about what it counts or measures.
    pub description: &'static str,
}

impl MetricDefinition {
    /// A count in which neither direction is better and that cannot be limited. Other columns are set by struct update.
    pub const fn new(
        name: &'static str,
        label: &'static str,
        formula: Formula,
        description: &'static str,
    ) -> Self {
        Self {
            name,
            label,
            unit: Unit::Count,
            formula,
            direction: Direction::Neutral,
            base: None,
            limit: LimitPolicy::NotLimitable,
            description,
        }
    }
}

/// The unit of a metric's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Recipients, messages or events.
    Count,
    /// A fraction: 0.02 is 2 %.
    Fraction,
    /// Thousandths of a second.
    Milliseconds,
}

impl Unit {
    /// The name in replies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Fraction => "fraction",
            Self::Milliseconds => "milliseconds",
        }
    }
}

/// The direction in which a metric is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Higher values are better, as for a delivery rate.
    HigherIsBetter,
    /// Lower values are better, as for a bounce rate.
    LowerIsBetter,
    /// Neither direction is better.
    Neutral,
}

impl Direction {
    /// The name in replies: the direction that is better.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HigherIsBetter => "higher",
            Self::LowerIsBetter => "lower",
            Self::Neutral => "none",
        }
    }
}

/// Whether alert rules can limit a metric. A limit is a ceiling, or a floor for a metric that is better when higher.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LimitPolicy {
    /// Rules cannot limit it.
    NotLimitable,
    /// Rules can limit it; without a rule there is no limit.
    Limitable,
    /// The limit if no rule sets another, in the metric's unit.
    DefaultLimit(f64),
}

impl LimitPolicy {
    /// Whether rules can limit the metric.
    pub const fn is_limitable(self) -> bool {
        !matches!(self, Self::NotLimitable)
    }

    /// The limit if no rule sets another.
    pub const fn default_limit(self) -> Option<f64> {
        match self {
            Self::DefaultLimit(limit) => Some(limit),
            Self::NotLimitable | Self::Limitable => None,
        }
    }
}

/// How a metric is computed from the counters and sketches of one merged cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formula {
    /// A count made of counters.
    Counters(CounterFormula),
    /// The number of distinct messages that people opened. A click proves an open, whether or not the pixel was loaded.
    UniqueOpens,
    /// The number of distinct messages whose pixel was loaded by a person.
    UniqueOpensTracked,
    /// The number of distinct messages in which people clicked.
    UniqueClicks,
    /// One count divided by another.
    Ratio(Ratio),
    /// The mean of reported numbers.
    Mean {
        /// The counter of their sum.
        sum: Counter,
        /// The counter of how many were reported.
        readings: Counter,
    },
    /// The time from send to delivery that this percentage of deliveries did not exceed.
    DeliveryTimePercentile(u8),
}

/// A count made of counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterFormula {
    /// The sum of counters.
    Sum(&'static [Counter]),
    /// A counter less another that counts a part of the same events, so the difference is never negative and parts add up.
    Remainder {
        /// The counter that counts all of the events.
        whole: Counter,
        /// The counter of the part to leave out.
        part: Counter,
    },
    /// Sums of counters of different events subtracted from each other, at least 0. An outcome can fall into another row than its send,
    /// so the values of rows do not add up to the value of their whole.
    Difference {
        /// The counters to add.
        add: &'static [Counter],
        /// The counters to subtract.
        subtract: &'static [Counter],
    },
    /// Bounces of one class.
    BouncesFor(BounceClass),
    /// Delays of one class.
    DelaysFor(BounceClass),
}

impl CounterFormula {
    /// The count in one set of counters.
    pub fn value(self, counters: &Counters) -> u64 {
        let sum = |terms: &[Counter]| {
            terms.iter().fold(0_u64, |sum, &counter| sum.saturating_add(counters.get(counter)))
        };
        match self {
            Self::Sum(terms) => sum(terms),
            Self::Remainder { whole, part } => counters.get(whole).saturating_sub(counters.get(part)),
            Self::Difference { add, subtract } => sum(add).saturating_sub(sum(subtract)),
            Self::BouncesFor(class) => counters.get(CounterId::bounces_for(class)),
            Self::DelaysFor(class) => counters.get(CounterId::delays_for(class)),
        }
    }

    /// The counters it is made of.
    pub fn counters(self) -> Vec<CounterId> {
        let ids = |counters: &[Counter]| counters.iter().map(|&counter| counter.into()).collect();
        match self {
            Self::Sum(counters) => ids(counters),
            Self::Remainder { whole, part } => ids(&[whole, part]),
            Self::Difference { add, subtract } => ids(&[add, subtract].concat()),
            Self::BouncesFor(class) => vec![CounterId::bounces_for(class)],
            Self::DelaysFor(class) => vec![CounterId::delays_for(class)],
        }
    }

    /// Whether the values of parts add up to the value of the whole.
    pub const fn is_additive(self) -> bool {
        !matches!(self, Self::Difference { .. })
    }

    /// The formula in the names of counters; `None` for a single counter, which is not made of others.
    fn text(self) -> Option<String> {
        let names = |counters: &[Counter], separator: &str| {
            counters.iter().map(|counter| counter_name(*counter)).collect::<Vec<_>>().join(separator)
        };
        match self {
            Self::Sum([_]) | Self::BouncesFor(_) | Self::DelaysFor(_) => None,
            Self::Sum(counters) => Some(names(counters, " + ")),
            Self::Remainder { whole, part } => {
                Some(format!("{} - {}", counter_name(whole), counter_name(part)))
            }
            Self::Difference { add, subtract } => {
                Some(format!("{} - {}, at least 0", names(add, " + "), names(subtract, " - ")))
            }
        }
    }
}

/// One count divided by another. A denominator of 0 gives no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// The count that is divided.
    pub numerator: Metric,
    /// The count it is divided by.
    pub denominator: Metric,
    /// How mail at providers that report no complaints to SES is treated.
    pub silent_providers: SilentProviders,
}

/// How a ratio treats mail at *silent* providers: those that report no complaints to SES, such as Gmail. There, no complaint is missing
/// data and not a good rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SilentProviders {
    /// The ratio does not depend on complaint reports: such mail counts like any other.
    Counted,
    /// Such mail counts, but a row that holds nothing else has no value.
    CountedIfMixed,
    /// Such mail is left out of both counts, which must be made of counters: sketches are not kept apart by provider.
    LeftOut,
}

impl Formula {
    /// A ratio that does not depend on complaint reports. Both metrics must be counts.
    pub const fn ratio(numerator: Metric, denominator: Metric) -> Self {
        Self::ratio_where(numerator, denominator, SilentProviders::Counted)
    }

    /// A ratio with a stated treatment of providers that report no complaints. Both metrics must be counts.
    pub const fn ratio_where(
        numerator: Metric,
        denominator: Metric,
        silent_providers: SilentProviders,
    ) -> Self {
        Self::Ratio(Ratio { numerator, denominator, silent_providers })
    }
}

/// A metric: a small handle to its definition, equal to another only if both are the same row.
#[derive(Clone, Copy)]
pub struct Metric(&'static MetricDefinition);

impl Metric {
    /// The metric of a definition.
    pub const fn of(definition: &'static MetricDefinition) -> Self {
        Self(definition)
    }

    /// The row of the metric tables, with all its columns.
    pub const fn definition(self) -> &'static MetricDefinition {
        self.0
    }

    /// The name in queries, replies and CSV columns.
    pub const fn name(self) -> &'static str {
        self.0.name
    }

    /// A title for people, such as `Bounce rate`.
    pub const fn label(self) -> &'static str {
        self.0.label
    }

    /// One sentence about what it counts or measures.
    pub const fn description(self) -> &'static str {
        self.0.description
    }

    /// The unit of its values.
    pub const fn unit(self) -> Unit {
        self.0.unit
    }

    /// The direction that is better.
    pub const fn direction(self) -> Direction {
        self.0.direction
    }

    /// How it is computed.
    pub const fn formula(self) -> Formula {
        self.0.formula
    }

    /// Whether alert rules can limit it, and its default limit.
    pub const fn limit(self) -> LimitPolicy {
        self.0.limit
    }

    /// Its numerator and denominator, if it is a rate.
    pub const fn ratio(self) -> Option<Ratio> {
        match self.0.formula {
            Formula::Ratio(ratio) => Some(ratio),
            _ => None,
        }
    }

    /// The count that says how much evidence a value rests on: the denominator of a rate, the deliveries behind a delivery time.
    /// A count needs none.
    pub const fn base(self) -> Option<Self> {
        match self.0.formula {
            // Not from the row, so that no row can state another base than what its rate is divided by.
            Formula::Ratio(ratio) => Some(ratio.denominator),
            _ => self.0.base,
        }
    }

    /// The formula over counters, if it is a count made of counters.
    pub const fn counters(self) -> Option<CounterFormula> {
        match self.0.formula {
            Formula::Counters(counters) => Some(counters),
            _ => None,
        }
    }

    /// Whether it combines events of different types, so that it means nothing for the events of a single type.
    pub const fn mixes_event_types(self) -> bool {
        matches!(
            self.0.formula,
            Formula::Ratio(_) | Formula::UniqueOpens | Formula::Counters(CounterFormula::Difference { .. })
        )
    }

    /// The formula in the names of metrics and counters. A metric that is not made of others says in words what it counts.
    pub fn formula_text(self) -> String {
        let text = match self.0.formula {
            Formula::Counters(counters) => counters.text(),
            Formula::Ratio(Ratio { numerator, denominator, silent_providers }) => {
                let mail = match silent_providers {
                    SilentProviders::Counted | SilentProviders::CountedIfMixed => "",
                    SilentProviders::LeftOut => ", over providers that report complaints",
                };
                Some(format!("{} / {}{mail}", numerator.name(), denominator.name()))
            }
            Formula::UniqueOpens
            | Formula::UniqueOpensTracked
            | Formula::UniqueClicks
            | Formula::Mean { .. }
            | Formula::DeliveryTimePercentile(_) => None,
        };
        // As a part of a sentence, like the formulas: a lower-case letter first, no full stop.
        text.unwrap_or_else(|| {
            let mut words = self.description().trim_end_matches('.').to_owned();
            if let Some(first) = words.get_mut(..1) {
                first.make_ascii_lowercase();
            }
            words
        })
    }
}

/// `BouncesAfterAcceptance` as `bounces_after_acceptance`. Derived from the variant, so that a new counter needs no second name.
fn counter_name(counter: Counter) -> String {
    let mut name = String::new();
    for letter in format!("{counter:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Metric {}

impl Hash for Metric {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::ptr::hash(self.0, state);
    }
}

/// The name alone: a definition refers to other metrics.
impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}
