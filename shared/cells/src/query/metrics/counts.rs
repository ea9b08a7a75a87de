//! The table of counts: whole numbers of recipients, messages or events, and the queue depth.
//!
//! Recipients are counted, not messages. Mail to the SES mailbox simulator is in none of them but [`SIMULATOR`].

use std::sync::LazyLock;

use event::BounceClass;

use super::definition::{CounterFormula, Direction, Formula, LimitPolicy, Metric, MetricDefinition, Unit};
use super::metric_table;
use crate::counter::Counter as C;

const fn sum(counters: &'static [C]) -> Formula {
    Formula::Counters(CounterFormula::Sum(counters))
}

const fn difference(add: &'static [C], subtract: &'static [C]) -> Formula {
    Formula::Counters(CounterFormula::Difference { add, subtract })
}

metric_table! {
    /// All counts but those by bounce class, in the order in which they are listed.
    COUNTS
    SENDS {
        name: "sends",
        label: "Sends",
        unit: Count,
        better: Neutral,
        formula: sum(&[C::Sends]),
        description: "Recipients of messages that SES accepted.",
    }
    DELIVERIES {
        name: "deliveries",
        label: "Deliveries",
        unit: Count,
        better: HigherIsBetter,
        formula: sum(&[C::Deliveries]),
        description: "Recipients whose mail server accepted the message.",
    }
    BOUNCES {
        name: "bounces",
        label: "Bounces",
        unit: Count,
        better: LowerIsBetter,
        formula: sum(&[C::BouncesPermanent, C::BouncesTransient, C::BouncesUndetermined]),
        description: "Permanent, transient and undetermined bounces.",
    }
    BOUNCES_PERMANENT {
        name: "bounces_permanent",
        label: "Bounces permanent",
        unit: Count,
        better: LowerIsBetter,
        formula: sum(&[C::BouncesPermanent]),
        description: "Recipients with a permanent bounce.",
    }
    BOUNCES_TRANSIENT {
        name: "bounces_transient",
        label: "Bounces transient",
        unit: Count,
        better: LowerIsBetter,
        formula: sum(&[C::BouncesTransient]),
        description: "Recipients with a transient bounce, automatic replies left out.",
    }
    BOUNCES_UNDETERMINED {
        name: "bounces_undetermined",
        label: "Bounces undetermined",
        unit: Count,
        better: LowerIsBetter,
        formula: sum(&[C::BouncesUndetermined]),
        description: "Recipients with a bounce of undetermined type.",
    }
    HARD_BOUNCES {
        name: "hard_bounces",
        label: "Hard bounces",
        unit: Count,
        better: LowerIsBetter,
        formula: Formula::Counters(CounterFormula::Remainder { whole: C::BouncesPermanent, part: C::SuppressedOutsideReputation }),
        description: "Permanent bounces that SES counts against the sender: all but suppressed mail, except mail to its global suppression list.",
    }
    SUPPRESSED {
        name: "suppressed",
        label: "Suppressed",
        unit: Count,
        better: LowerIsBetter,
        formula: sum(&[C::Suppressed]),
        description: "The part of the permanent bounces that SES did not try to deliver.",
    }
    AUTO_REPLIES {
        name: "auto_replies",
        label: "Auto replies",
        unit: Count,
        better: Neutral,
        formula: sum(&[C::AutoReplies]),
        description: "Automatic replies, which SES publishes as transient bounces; not a part of the bounces.",
    }
    COMPLAINTS {
        name: "complaints",
        label: "Complaints",
        unit: Count,
        better: LowerIsBetter,
        formula: sum(&[C::Complaints]),
        description: "Complaints, each counted once however many recipients it lists.",
    }
    REJECTS {
        name: "rejects",
        label: "Rejects",
        unit: Count,
        better: LowerIsBetter,
        formula: sum(&[C::Rejects]),
        description: "Recipients of messages that SES refused for their content.",
    }
    RENDERING_FAILURES {
        name: "rendering_failures",
        label: "Rendering failures",
        unit: Count,
        better: LowerIsBetter,
        formula: sum(&[C::RenderingFailures]),
        description: "Recipients of messages whose template could not be rendered.",
    }
    DELAYS {
        name: "delays",
        label: "Delays",
        unit: Count,
        better: LowerIsBetter,
        formula: sum(&[C::Delays]),
        description: "Delivery delays; one recipient can have several.",
    }
    // Not a counter of first delays: history from before the distinction has none of either mark, and would read as mail without delays.
    DELAYED {
        name: "delayed",
        label: "Delayed",
        unit: Count,
        better: LowerIsBetter,
        formula: Formula::Counters(CounterFormula::Remainder { whole: C::Delays, part: C::DelaysRepeated }),
        description: "Recipients whose mail was delayed, each counted once, at the first delay.",
    }
    OPENS {
        name: "opens",
        label: "Opens",
        unit: Count,
        better: HigherIsBetter,
        formula: sum(&[C::Opens]),
        description: "Opens, by people and machines.",
    }
    OPENS_MACHINE {
        name: "opens_machine",
        label: "Opens machine",
        unit: Count,
        better: Neutral,
        formula: sum(&[C::OpensMachine]),
        description: "The part of the opens made by machines.",
    }
    CLICKS {
        name: "clicks",
        label: "Clicks",
        unit: Count,
        better: HigherIsBetter,
        formula: sum(&[C::Clicks]),
        description: "Clicks, by people and machines.",
    }
    CLICKS_BOT {
        name: "clicks_bot",
        label: "Clicks bot",
        unit: Count,
        better: Neutral,
        formula: sum(&[C::ClicksBot]),
        description: "The part of the clicks made by machines.",
    }
    BURSTS_SPLIT {
        name: "bursts_split",
        label: "Bursts split",
        unit: Count,
        better: Neutral,
        formula: sum(&[C::BurstsSplit]),
        description: "Clicks counted as people's that were recognised as part of a scanner's burst only after they were committed.",
    }
    UNSUBSCRIBES {
        name: "unsubscribes",
        label: "Unsubscribes",
        unit: Count,
        better: LowerIsBetter,
        formula: sum(&[C::Unsubscribes]),
        description: "Recipients who unsubscribed.",
    }
    UNIQUE_OPENS {
        name: "unique_opens",
        label: "Unique opens",
        unit: Count,
        better: HigherIsBetter,
        formula: Formula::UniqueOpens,
        description: "Messages that people opened; a click proves an open.",
    }
    UNIQUE_OPENS_TRACKED {
        name: "unique_opens_tracked",
        label: "Unique opens, tracked",
        unit: Count,
        better: HigherIsBetter,
        formula: Formula::UniqueOpensTracked,
        description: "Messages whose tracking pixel people loaded: unique opens without those that only a click proves.",
    }
    UNIQUE_CLICKS {
        name: "unique_clicks",
        label: "Unique clicks",
        unit: Count,
        better: HigherIsBetter,
        formula: Formula::UniqueClicks,
        description: "Messages in which people clicked.",
    }
    // A bounce after acceptance ends mail that its delivery has already ended, so it is added back. SES publishes Send before it scans
    // and renders a message, so rejects and rendering failures are outcomes of sends.
    IN_FLIGHT {
        name: "in_flight",
        label: "In flight",
        unit: Count,
        better: Neutral,
        formula: difference(
            &[C::Sends, C::BouncesAfterAcceptance],
            &[
                C::Deliveries,
                C::BouncesPermanent,
                C::BouncesTransient,
                C::BouncesUndetermined,
                C::Rejects,
                C::RenderingFailures,
            ],
        ),
        description: "Mail that SES accepted and that has no outcome in the same range.",
    }
    QUEUE_DEPTH {
        name: "queue_depth",
        label: "Queue depth",
        unit: Count,
        better: LowerIsBetter,
        formula: Formula::Mean { sum: C::QueueDepth, readings: C::QueueReadings },
        limit: LimitPolicy::Limitable,
        description: "Mean of the depths that senders and queues reported.",
    }
    DELIVERED_NET {
        name: "delivered_net",
        label: "Delivered, net",
        unit: Count,
        better: HigherIsBetter,
        formula: difference(&[C::Deliveries], &[C::BouncesAfterAcceptance]),
        description: "Deliveries less bounces that the receiving side reported after it had accepted the message.",
    }
    BOUNCES_AFTER_ACCEPTANCE {
        name: "bounces_after_acceptance",
        label: "Bounces after acceptance",
        unit: Count,
        better: LowerIsBetter,
        formula: sum(&[C::BouncesAfterAcceptance]),
        description: "The part of the bounces that the receiving side reported after it had accepted the message.",
    }
    SIMULATOR {
        name: "simulator",
        label: "Mail to the SES simulator",
        unit: Count,
        better: Neutral,
        formula: sum(&[C::Simulator]),
        description: "Events of mail to the SES mailbox simulator, which no other metric counts.",
    }
}

/// The texts of the metrics by bounce class. They are built from the class, so they cannot be constants.
struct ClassTexts {
    name: String,
    label: String,
    description: String,
    formula: CounterFormula,
}

static CLASS_TEXTS: LazyLock<Vec<ClassTexts>> = LazyLock::new(|| {
    let bounces =
        BounceClass::ALL.map(|class| ("bounces", "Bounces", class, CounterFormula::BouncesFor(class)));
    let delays = BounceClass::ALL.map(|class| ("delays", "Delays", class, CounterFormula::DelaysFor(class)));
    let texts = |(event, title, class, formula): (&str, &str, BounceClass, CounterFormula)| {
        let words = class.name().replace('_', " ");
        ClassTexts {
            name: format!("{event}_{}", class.name()),
            label: format!("{title}: {words}"),
            description: format!("The part of the {event} classified as {words}."),
            formula,
        }
    };
    bounces.into_iter().chain(delays).map(texts).collect()
});

static BY_BOUNCE_CLASS: LazyLock<Vec<MetricDefinition>> = LazyLock::new(|| {
    let texts: &'static [ClassTexts] = &CLASS_TEXTS;
    let definition = |texts: &'static ClassTexts| MetricDefinition {
        direction: Direction::LowerIsBetter,
        ..MetricDefinition::new(
            &texts.name,
            &texts.label,
            Formula::Counters(texts.formula),
            &texts.description,
        )
    };
    texts.iter().map(definition).collect()
});

/// The counts by bounce class: `bounces_` and the name of each class, then `delays_` and the name of each class.
pub(super) fn by_bounce_class() -> impl Iterator<Item = Metric> {
    BY_BOUNCE_CLASS.iter().map(Metric::of)
}
