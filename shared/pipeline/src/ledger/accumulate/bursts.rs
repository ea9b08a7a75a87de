//! Decides who made the clicks of one count: clicks of a burst are a scanner's, also where its first clicks were counted before.

use cells::ClickDecision;
use event::machine::burst::{self, BurstClick, ClickMemory};

/// Passes what each click turned out to be to `decide`. `earlier` are clicks that can no longer be changed. Returns the clicks to
/// remember, as they were decided.
pub(crate) fn decide_clicks<T>(
    clicks: Vec<(BurstClick, T)>,
    earlier: &ClickMemory,
    mut decide: impl FnMut(&T, ClickDecision),
) -> Vec<BurstClick> {
    let mut all: Vec<(BurstClick, Option<T>)> =
        clicks.into_iter().map(|(click, counted)| (click, Some(counted))).collect();
    let in_bursts = burst::find_bursts(&mut all, earlier);
    let mut decided_clicks = Vec::new();
    let mut previous = None;
    for (index, ((click, counted), is_in_burst)) in all.iter().zip(in_bursts).enumerate() {
        let decided = if is_in_burst { click.as_machine() } else { *click };
        if let Some(counted) = counted {
            decide(counted, if is_in_burst { ClickDecision::Machine } else { ClickDecision::Person });
            previous = Some((click, counted));
            decided_clicks.push(decided);
        } else if is_in_burst && click.is_by_person() {
            // What is committed stays as it is. How much of it was wrong is counted with the click of this call that showed it.
            let following =
                all.get(index..).unwrap_or_default().iter().take_while(|(other, _)| other.is_near(click));
            let following = following.filter_map(|(other, counted)| Some((other, counted.as_ref()?)));
            let mut shown_by =
                previous.into_iter().chain(following).filter(|(other, _)| other.is_near(click));
            if let Some((_, counted)) = shown_by.next() {
                decide(counted, ClickDecision::ShowsSplit);
                decided_clicks.push(decided);
            }
        }
    }
    decided_clicks
}
