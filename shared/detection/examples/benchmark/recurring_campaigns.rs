//! Recurring campaigns of a generated tenant: receipts, password resets, alerts. Their shares differ, as do their bounces and opens.

use simulator::random::Random;

use crate::distributions::Distributions as _;

/// A campaign that is sent day after day and is a part of the steady mail.
pub struct RecurringCampaign {
    pub name: String,
    pub share: f64,
    pub quality: f64,
    pub interest: f64,
}

/// Draws `count` campaigns whose shares add up to 1.
pub fn draw(random: &mut Random, count: usize) -> Vec<RecurringCampaign> {
    let shares: Vec<f64> = (0..count).map(|_| random.lognormal_factor(1.2)).collect();
    let total: f64 = shares.iter().sum();
    let recurring_campaign = |(index, share): (usize, f64)| RecurringCampaign {
        name: format!("recurring-{index}"),
        share: share / total,
        quality: random.lognormal_factor(0.4),
        interest: random.lognormal_factor(0.4),
    };
    shares.into_iter().enumerate().map(recurring_campaign).collect()
}
