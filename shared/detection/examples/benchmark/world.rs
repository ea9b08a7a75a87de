//! A generated world of senders: counts per bucket with campaigns, daily and weekly seasons, late outcomes, growth, holidays, missing data
//! and incidents.
//!
//! Its assumptions change with the seed, so that no detector can be tuned to one of them.

use detection::Counts;
use simulator::random::Random;

use crate::distributions::Distributions as _;
use crate::incident::{self, IncidentPlan, IncidentType, LabelledIncident};
use crate::recurring_campaigns::{self, RecurringCampaign};

pub const PROVIDERS: [&str; 8] =
    ["gmail", "microsoft", "yahoo", "apple", "gmx", "comcast", "orange", "other"];

/// What differs between worlds beside the seed.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub bucket_minutes: usize,
    pub tenants: usize,
    pub weeks: usize,
    pub campaigns: bool,
    pub incidents: bool,
    /// Recurring campaigns that a tenant's steady mail belongs to; with 0 it belongs to none.
    pub recurring: usize,
    /// Whether each tenant sends nearly all of a day's mail within an hour or two.
    pub narrow: bool,
}

struct Sender {
    messages_per_day: f64,
    shares: Vec<f64>,
    zone: f64,
    peak_width: f64,
    weekend: f64,
    night: f64,
    growth: f64,
    dispersion: f64,
    hard: Vec<f64>,
    soft: Vec<f64>,
    delay: Vec<f64>,
    complaint: Vec<f64>,
    open: Vec<f64>,
    slow: Vec<f64>,
    campaigns_a_week: f64,
    wobble: f64,
    quality: f64,
    campaign: Option<RunningCampaign>,
    next_name: usize,
    recurring: Vec<RecurringCampaign>,
}

struct RunningCampaign {
    name: String,
    left: f64,
    per_bucket: f64,
    quality: f64,
    interest: f64,
}

/// Late outcomes of one (tenant, provider, stream): the expected counts of coming buckets.
struct Future {
    opens: Vec<f32>,
    complaints: Vec<f32>,
    /// The complaints without an incident.
    usual_complaints: Vec<f32>,
    deliveries: Vec<f32>,
    label: String,
}

/// One row of output.
pub struct WorldRow {
    pub tenant: usize,
    pub provider: usize,
    pub campaign: String,
    pub counts: Counts,
}

pub struct World {
    pub shape: Shape,
    pub names: Vec<String>,
    pub incidents: Vec<LabelledIncident>,
    pub buckets_per_day: usize,
    pub warm_up: usize,
    pub buckets: usize,
    tenants: Vec<Sender>,
    futures: Vec<Future>,
    open_kernel: Vec<f32>,
    complaint_kernel: Vec<f32>,
    slow_kernel: Vec<f32>,
    holiday: Option<(usize, usize, f64)>,
    missing: Vec<(usize, usize)>,
    open_by_hour: f64,
    random: Random,
    now: usize,
}

fn kernel(buckets_per_day: usize, bucket: f64, median_minutes: f64, sigma: f64, days: usize) -> Vec<f32> {
    let weights: Vec<f64> = (0..buckets_per_day * days)
        .map(|index| {
            let minutes = (index as f64 + 0.5) * bucket;
            let z = (minutes / median_minutes).ln() / sigma;
            (-0.5 * z * z).exp() / minutes
        })
        .collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| (weight / total) as f32).collect()
}

impl World {
    pub fn new(seed: u64, shape: Shape) -> Self {
        let mut random = Random::from_seed(seed);
        let buckets_per_day = 24 * 60 / shape.bucket_minutes;
        let bucket = shape.bucket_minutes as f64;
        let buckets = buckets_per_day * 7 * shape.weeks;
        // Two or three weeks, so that no detector can be tuned to a fixed beginning.
        let warm_up = buckets_per_day * 7 * if random.happens(0.5) { 2 } else { 3 };
        let biggest = 10_f64.powf(random.between(5.0, 6.0));
        let exponent = random.between(0.9, 1.6);
        let base_dispersion = random.between(0.01, 0.15);
        let tenants = (0..shape.tenants)
            .map(|rank| {
                let messages_per_day = biggest / (1.0 + rank as f64).powf(exponent);
                let mut tenant = tenant(&mut random, messages_per_day, base_dispersion, shape.narrow);
                tenant.recurring = recurring_campaigns::draw(&mut random, shape.recurring);
                tenant
            })
            .collect();
        let incidents = if shape.incidents {
            let (tenants, recurring) = (shape.tenants, shape.recurring);
            let plan = IncidentPlan {
                tenants,
                providers: PROVIDERS.len(),
                warm_up,
                buckets,
                buckets_per_day,
                recurring,
            };
            incident::plan(&mut random, &plan, shape.campaigns)
        } else {
            Vec::new()
        };
        let open_kernel =
            kernel(buckets_per_day, bucket, random.between(20.0, 180.0), random.between(1.2, 2.0), 2);
        let complaint_kernel =
            kernel(buckets_per_day, bucket, random.between(60.0, 500.0), random.between(1.0, 1.6), 3);
        let slow_kernel = kernel(buckets_per_day, bucket, random.between(10.0, 40.0), 1.0, 1);
        let holiday = random.happens(0.5).then(|| {
            let start = warm_up + buckets_per_day * random.index(7 * (shape.weeks - 3) - 3);
            (start, start + buckets_per_day, random.between(0.35, 0.7))
        });
        // Missing data must raise no alert about rates or about a silent sender.
        let missing = (0..2)
            .map(|_| {
                let start = warm_up + random.index(buckets - warm_up - buckets_per_day);
                (start, start + buckets_per_day / 48 + random.index(buckets_per_day / 12))
            })
            .collect();
        let futures = (0..shape.tenants * PROVIDERS.len() * (2 + shape.recurring))
            .map(|_| Future {
                opens: vec![0.0; open_kernel.len() + 1],
                complaints: vec![0.0; complaint_kernel.len() + 1],
                usual_complaints: vec![0.0; complaint_kernel.len() + 1],
                deliveries: vec![0.0; slow_kernel.len() + 1],
                label: String::new(),
            })
            .collect();
        let open_by_hour = random.between(0.0, 0.7);
        Self {
            names: (0..shape.tenants).map(|rank| format!("tenant-{rank:02}")).collect(),
            shape,
            incidents,
            buckets_per_day,
            warm_up,
            buckets,
            tenants,
            futures,
            open_kernel,
            complaint_kernel,
            slow_kernel,
            holiday,
            missing,
            open_by_hour,
            random,
            now: 0,
        }
    }

    /// The rows of the next bucket; none at the end. A bucket whose data is missing has no rows.
    pub fn next(&mut self) -> Option<Vec<WorldRow>> {
        if self.now >= self.buckets {
            return None;
        }
        let mut rows = Vec::new();
        for index in 0..self.tenants.len() {
            self.tenant_bucket(index, &mut rows);
        }
        let lost = self.missing.iter().any(|(start, end)| (*start..*end).contains(&self.now));
        self.now += 1;
        if lost {
            rows.clear();
        }
        Some(rows)
    }

    fn tenant_bucket(&mut self, index: usize, rows: &mut Vec<WorldRow>) {
        let hours = self.now as f64 * 24.0 / self.buckets_per_day as f64;
        let day = self.now / self.buckets_per_day;
        let tenant = &mut self.tenants[index];
        let random = &mut self.random;
        let local = (hours + tenant.zone).rem_euclid(24.0);
        let weekday = ((hours + tenant.zone) / 24.0).floor().rem_euclid(7.0);
        let day_shape =
            tenant.night + (1.0 - tenant.night) * (-((local - 13.0) / tenant.peak_width).powi(2)).exp();
        let mut level = tenant.messages_per_day / self.buckets_per_day as f64 * day_shape * 1.6;
        if weekday >= 5.0 {
            level *= tenant.weekend;
        }
        level *= 1.0 + tenant.growth * day as f64 / 42.0;
        if let Some((start, end, factor)) = self.holiday
            && (start..end).contains(&self.now)
        {
            level *= factor;
        }
        // Senders drift for hours at a time, which independent noise per bucket would average away.
        tenant.wobble = 0.97 * tenant.wobble + 0.06 * random.standard_normal();
        level *= (tenant.wobble * 0.6).exp();
        if tenant.campaign.is_none() {
            let daytime = (8.0..17.0).contains(&local) && weekday < 5.0;
            let per_bucket = tenant.campaigns_a_week / (self.buckets_per_day as f64 * 7.0) * 4.0;
            if daytime && random.happens(per_bucket) {
                let minutes = random.between(20.0, 150.0);
                let size = tenant.messages_per_day * random.between(0.2, 1.5);
                tenant.next_name += 1;
                tenant.campaign = Some(RunningCampaign {
                    // Some senders give each campaign a new name, some do not.
                    name: if self.shape.recurring > 0 && index % 2 == 1 {
                        "promotion".to_owned()
                    } else {
                        format!("c{}-{}", index, tenant.next_name)
                    },
                    left: size,
                    per_bucket: size / (minutes / self.shape.bucket_minutes as f64).max(1.0),
                    quality: random.lognormal_factor(tenant.quality),
                    interest: random.lognormal_factor(0.2),
                });
            }
        }
        let mut campaign = None;
        if let Some(running) = &mut tenant.campaign {
            let now = running.left.min(running.per_bucket * random.gamma_factor(0.02));
            running.left -= now;
            campaign = Some((running.name.clone(), now, running.quality, running.interest));
            if running.left < 1.0 {
                tenant.campaign = None;
            }
        }
        // One factor for all providers of the tenant: a busy bucket is busy everywhere.
        let steady = level * random.gamma_factor(tenant.dispersion);
        for provider in 0..PROVIDERS.len() {
            if self.shape.recurring == 0 {
                self.stream(index, provider, 0, steady, ("", 1.0, 1.0), local, rows);
            }
            for recurring_campaign in 0..self.shape.recurring {
                let RecurringCampaign { name, share, quality, interest } =
                    &self.tenants[index].recurring[recurring_campaign];
                let (name, mail, quality, interest) = (name.clone(), steady * share, *quality, *interest);
                self.stream(
                    index,
                    provider,
                    2 + recurring_campaign,
                    mail,
                    (&name, quality, interest),
                    local,
                    rows,
                );
            }
            let (name, mail, quality, interest) = campaign
                .as_ref()
                .map_or(("", 0.0, 1.0, 1.0), |(name, mail, q, i)| (name.as_str(), *mail, *q, *i));
            self.stream(index, provider, 1, mail, (name, quality, interest), local, rows);
        }
    }

    #[expect(
        clippy::too_many_arguments,
        clippy::too_many_lines,
        reason = "one recipe, in the order of its steps"
    )]
    fn stream(
        &mut self,
        index: usize,
        provider: usize,
        stream: usize,
        mail: f64,
        (name, quality, interest): (&str, f64, f64),
        local: f64,
        rows: &mut Vec<WorldRow>,
    ) {
        let now = self.now;
        let tenant = &self.tenants[index];
        let random = &mut self.random;
        let mut expected = mail * tenant.shares[provider];
        let mut hard = tenant.hard[provider] * quality;
        let mut soft = tenant.soft[provider];
        let mut delay = tenant.delay[provider];
        let usual_complaint = tenant.complaint[provider] * quality.sqrt();
        let mut complaint = usual_complaint;
        let mut seen_opens = 1.0;
        let mut slower = 1.0;
        let before = expected;
        for event in &mut self.incidents {
            if !event.touches(index, provider, stream.checked_sub(2), now) {
                continue;
            }
            let odds = |extra: f64, usual: f64, trials: f64| {
                let usual = usual.max(1e-6);
                let total = (usual + extra).min(1.0);
                // Bounded like the score of a count in one bucket, because bursts are not independent events.
                (trials * (total * (total / usual).ln() - (total - usual))).max(0.0)
            };
            match event.kind {
                IncidentType::ProviderBlock => {
                    event.log_likelihood_ratio += odds(event.amount, hard + soft, expected);
                    hard += event.amount * 0.5;
                    soft += event.amount * 0.5;
                }
                IncidentType::ProviderDeferral => {
                    event.log_likelihood_ratio += odds(event.amount, delay, expected);
                    delay += event.amount;
                }
                IncidentType::BadList | IncidentType::CampaignBounces => {
                    event.log_likelihood_ratio += odds(event.amount, hard, expected);
                    hard += event.amount;
                }
                // Gmail and Apple report no complaints.
                IncidentType::ComplaintBurst if complaint <= 0.0 => {}
                IncidentType::ComplaintBurst => complaint += event.amount,
                IncidentType::VolumeDrop => {
                    if stream != 1 {
                        let kept: f64 = 1.0 - event.amount;
                        event.log_likelihood_ratio += before * (kept * kept.max(0.01).ln() - kept + 1.0);
                    }
                    expected *= 1.0 - event.amount;
                }
                IncidentType::VolumeSpike => {
                    if stream != 1 {
                        event.log_likelihood_ratio +=
                            before * (event.amount * event.amount.ln() - event.amount + 1.0);
                        expected *= event.amount;
                    }
                }
                IncidentType::OpenOutage | IncidentType::CampaignOpens => {
                    seen_opens = 1.0 - event.amount;
                    let kept: f64 = seen_opens;
                    event.log_likelihood_ratio += expected
                        * tenant.open[provider]
                        * interest
                        * (kept * kept.max(0.01).ln() - kept + 1.0);
                }
                IncidentType::Latency => {
                    event.log_likelihood_ratio +=
                        if expected >= 1.0 { event.amount.ln() * 2.0 } else { 0.3 * expected };
                    slower = event.amount;
                }
                IncidentType::SlowDecline => {
                    let part = (now - event.start) as f64 / (event.end - event.start) as f64;
                    event.log_likelihood_ratio += odds(event.amount * part, soft, expected);
                    soft += event.amount * part;
                }
            }
        }
        let sends = random.poisson_events(expected);
        let permanent = random.binomial_events(sends, hard);
        // A message bounces once, so transient bounces are drawn from the mail that is left.
        let transient = random.binomial_events(sends - permanent, soft);
        let reached = sends - permanent - transient;
        let delays = random.binomial_events(reached, delay);
        let streams = 2 + self.shape.recurring;
        let future = &mut self.futures[(index * PROVIDERS.len() + provider) * streams + stream];
        if !name.is_empty() {
            name.clone_into(&mut future.label);
        }
        if delays > 0.0 {
            spread(&mut future.deliveries, &self.slow_kernel, now, delays);
        }
        let late = take(&mut future.deliveries, now);
        let deliveries = reached - delays + random.poisson_events(late);
        if deliveries > 0.0 {
            spread(&mut future.opens, &self.open_kernel, now, deliveries * tenant.open[provider] * interest);
            spread(&mut future.complaints, &self.complaint_kernel, now, deliveries * complaint);
            let usual = deliveries * usual_complaint;
            spread(&mut future.usual_complaints, &self.complaint_kernel, now, usual);
        }
        // Recipients sleep, so opens that fall due at night are fewer.
        let awake = 1.0 - self.open_by_hour * (-((local - 3.0) / 3.5).powi(2)).exp();
        let opens = random.poisson_events(take(&mut future.opens, now) * awake * seen_opens);
        let due = take(&mut future.complaints, now);
        let usual = take(&mut future.usual_complaints, now);
        let complaints = random.poisson_events(due);
        // Complaints arrive hours after their mail, together with those about other mail, so that is when they are visible.
        if due > 1.001 * usual && usual > 0.0 {
            let lag = self.complaint_kernel.len();
            let burst = self.incidents.iter_mut().filter(|event| {
                let may_show = (event.start..event.end + lag).contains(&now);
                event.kind == IncidentType::ComplaintBurst && event.tenant == Some(index) && may_show
            });
            if let Some(burst) = burst.max_by_key(|event| event.start) {
                burst.log_likelihood_ratio += due * (due / usual).ln() - (due - usual);
            }
        }
        let clicks = random.binomial_events(opens, 0.15);
        if sends + deliveries + opens + complaints == 0.0 {
            return;
        }
        let mut counts = Counts {
            sends,
            deliveries,
            bounces_permanent: permanent,
            bounces_transient: transient,
            delays,
            complaints,
            opens,
            clicks,
            ..Counts::default()
        };
        let typical = 1500.0
            * tenant.slow[provider]
            * slower
            * random.lognormal_factor(0.15 + 0.5 / deliveries.max(1.0).sqrt());
        counts.note_latency(typical + late * 60_000.0 / deliveries.max(1.0), deliveries);
        let campaign = if self.shape.campaigns { future.label.clone() } else { String::new() };
        rows.push(WorldRow { tenant: index, provider, campaign, counts });
    }
}

fn spread(future: &mut [f32], kernel: &[f32], now: usize, amount: f64) {
    let length = future.len();
    let start = now % length;
    let amount = amount as f32;
    let first = kernel.len().min(length - start);
    for (cell, weight) in future[start..start + first].iter_mut().zip(&kernel[..first]) {
        *cell += amount * weight;
    }
    for (cell, weight) in future.iter_mut().zip(&kernel[first..]) {
        *cell += amount * weight;
    }
}

fn take(future: &mut [f32], now: usize) -> f64 {
    let slot = now % future.len();
    std::mem::take(&mut future[slot]).into()
}

fn tenant(random: &mut Random, messages_per_day: f64, dispersion: f64, narrow: bool) -> Sender {
    let usual = [0.38, 0.22, 0.12, 0.08, 0.05, 0.05, 0.04, 0.06];
    let mut shares: Vec<f64> = usual.iter().map(|share| share * random.lognormal_factor(0.4)).collect();
    let total: f64 = shares.iter().sum();
    for share in &mut shares {
        *share /= total;
    }
    let mut rates = |median: f64, tenant: f64, provider: f64| -> Vec<f64> {
        let own = median * random.lognormal_factor(tenant);
        PROVIDERS.iter().map(|_| own * random.lognormal_factor(provider)).collect()
    };
    let hard = rates(0.005, 0.5, 0.3);
    let soft = rates(0.006, 0.5, 0.3);
    let delay = rates(0.02, 0.5, 0.5);
    let mut complaint = rates(0.0003, 0.6, 0.4);
    complaint[0] = 0.0;
    complaint[3] = 0.0;
    let open = rates(0.22, 0.3, 0.15);
    let slow = rates(1.0, 0.3, 0.3);
    Sender {
        messages_per_day: messages_per_day * random.lognormal_factor(0.2),
        shares,
        zone: random.between(-8.0, 9.0).round(),
        peak_width: if narrow { random.between(0.3, 1.5) } else { random.between(3.5, 7.0) },
        weekend: random.between(0.25, 1.1),
        night: if narrow { random.between(0.0, 0.02) } else { random.between(0.05, 0.5) },
        growth: random.between(-0.15, 0.6),
        dispersion: dispersion * random.lognormal_factor(0.4),
        hard,
        soft,
        delay,
        complaint,
        open: open.into_iter().map(|rate| rate.min(0.7)).collect(),
        slow,
        campaigns_a_week: random.between(0.0, 5.0),
        wobble: 0.0,
        quality: random.between(0.1, 0.4),
        campaign: None,
        next_name: 0,
        recurring: Vec::new(),
    }
}
