//! `mailgauge demo`: the server with simulated tenants: weeks of history, staged incidents, and mail that goes on.
//!
//! Nothing is faked beyond the mail itself: simulated events are bytes that take the same way as real ones.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use event::Timestamp;
use event::attribution::Attribution;
use pipeline::ports::Clock as _;
use simulator::{Incident, Plan, Simulation};

use crate::output;
use crate::server::{self, Opening, Orders};
use crate::standalone::Standalone;

const MINUTE_MS: i64 = 60_000;
const DAY_MINUTES: u32 = 24 * 60;
/// Bytes of events counted in one go while history is made.
const BLOCK_BYTES: usize = 6 << 20;
/// A demo that was away longer than this leaves the gap as it is.
const LONGEST_GAP_MINUTES: u32 = 2 * DAY_MINUTES;
/// How often events of the running minute are sent.
const STEP: Duration = Duration::from_secs(5);

/// Run the demo: the server with simulated tenants, weeks of history and staged incidents. This is what runs without a command.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  mailgauge demo --tenants 200 --days 7")]
pub struct Options {
    /// The folder the demo is kept in; a second start goes on from there
    #[arg(long, value_name = "DIR", default_value = DATA)]
    data: PathBuf,

    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value_t = LISTEN)]
    listen: SocketAddr,

    /// How many tenants send
    #[arg(long, value_name = "N", default_value_t = TENANTS)]
    tenants: u32,

    /// Days of history
    #[arg(long, value_name = "N", default_value_t = DAYS, value_parser = clap::value_parser!(u32).range(1..=365))]
    days: u32,

    /// How many emails all tenants send a minute, on average
    #[arg(long, value_name = "N", default_value_t = EMAILS_PER_MINUTE)]
    emails_per_minute: f64,
}

const DATA: &str = "data/demo";
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
const TENANTS: u32 = 8;
const DAYS: u32 = 28;
const EMAILS_PER_MINUTE: f64 = 20.0;

impl Default for Options {
    fn default() -> Self {
        Self {
            data: DATA.into(),
            listen: LISTEN,
            tenants: TENANTS,
            days: DAYS,
            emails_per_minute: EMAILS_PER_MINUTE,
        }
    }
}

/// What goes wrong in the history: kind, hours before now, further settings.
const INCIDENTS: [(&str, u32, &str); 7] = [
    ("bad-list", 15 * 24, "minutes=180:share=0.2"),
    ("slow-decline", 12 * 24, "minutes=17280:share=0.06:tenant=#2"),
    ("open-outage", 8 * 24, "minutes=300"),
    ("volume-drop", 5 * 24, "minutes=120:tenant=#1"),
    ("complaint-spike", 3 * 24, "minutes=240:share=0.02"),
    ("gmail-block", 20, "minutes=150:share=0.7"),
    ("latency", 7, "minutes=90:factor=15"),
];

/// Makes what history is missing, then serves while the mail goes on.
pub fn run(options: &Options) -> anyhow::Result<()> {
    output::log_to_stderr();
    let runtime = server::runtime()?;
    let home = Standalone::open(&options.data, Attribution::default())?;
    runtime.block_on(async {
        home.begin().await?;
        // First of all: an address in use should not be found out after the history is made.
        let opening = Opening::bind(options.listen, None).await?;
        let now = adapters::system_clock::SystemClock.now();
        let newest = home.newest_event().await?;
        let mut live = make_history(&home, options, newest, now).await?;
        let key = home.add_demo_key().await?;
        output::tell("Simulated mail goes on until Ctrl-C; the same command continues from the same data.");
        opening.say(&format!("Dashboard {}/#key={key}", opening.address()))?;
        opening.say(&format!("Listening on {}", opening.address()))?;
        server::serve_with(home, opening, Orders::default(), move |inbox| async move {
            let mut lines = Vec::new();
            while live.next_minute(&mut lines).is_some() {
                play(&lines, &inbox).await;
                lines.clear();
            }
        })
        .await
    })
}

/// The simulation at the present minute, after everything before it was counted.
async fn make_history(
    home: &Standalone,
    options: &Options,
    newest: Option<Timestamp>,
    now: Timestamp,
) -> anyhow::Result<Simulation> {
    let wanted = options.days * DAY_MINUTES;
    let minutes = match newest {
        None => wanted,
        Some(newest) => {
            let gap = u32::try_from(now.millis_since(newest).max(0) / MINUTE_MS).unwrap_or(u32::MAX);
            // The live part of an earlier run simulates up to a minute ahead.
            if gap > LONGEST_GAP_MINUTES { 0 } else { gap.saturating_sub(1) }
        }
    };
    let start_ms = (now.millis() / MINUTE_MS - i64::from(minutes)) * MINUTE_MS;
    let mut simulation = simulation(options, start_ms, minutes, newest.is_none())?;
    if minutes == 0 {
        return Ok(simulation);
    }
    let (sender, receiver) = sync_channel(2);
    let progress = output::progress(minutes.into(), "minutes of history");
    let bar = progress.clone();
    let making = std::thread::spawn(move || {
        make_blocks(&mut simulation, minutes, &sender, &bar);
        simulation
    });
    let mut blocks = 0_u32;
    while let Some(block) = next(&receiver) {
        home.count(&[&block]).await?;
        blocks += 1;
        if blocks.is_multiple_of(8) {
            home.tidy().await?;
        }
    }
    home.tidy().await?;
    progress.finish_and_clear();
    making.join().map_err(|_| anyhow::anyhow!("the simulation failed"))
}

/// The next block, without holding up the other tasks of the runtime.
fn next(blocks: &Receiver<Vec<u8>>) -> Option<Vec<u8>> {
    tokio::task::block_in_place(|| blocks.recv().ok())
}

fn make_blocks(
    simulation: &mut Simulation,
    minutes: u32,
    blocks: &SyncSender<Vec<u8>>,
    progress: &indicatif::ProgressBar,
) {
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    for minute in 0..minutes {
        if simulation.next_minute(&mut block).is_none() {
            break;
        }
        progress.inc(1);
        if block.len() >= BLOCK_BYTES || minute + 1 == minutes {
            let full = std::mem::replace(&mut block, Vec::with_capacity(BLOCK_BYTES));
            if !full.is_empty() && blocks.send(full).is_err() {
                return;
            }
        }
    }
}

fn simulation(options: &Options, start_ms: i64, minutes: u32, staged: bool) -> anyhow::Result<Simulation> {
    let plan = Plan {
        tenants: options.tenants,
        emails_per_minute: options.emails_per_minute,
        minutes: minutes.saturating_add(365 * DAY_MINUTES),
        start_ms,
        // Each start makes messages of its own: the same ones would be taken for duplicates.
        seed: start_ms.unsigned_abs() / 60_000,
        incidents: Vec::new(),
    };
    let incidents = if staged { incidents(&plan, minutes)? } else { Vec::new() };
    Simulation::new(Plan { incidents, ..plan }).context("cannot simulate")
}

/// The staged incidents that fit into the history; `#N` stands for the tenant of that rank.
fn incidents(plan: &Plan, minutes: u32) -> anyhow::Result<Vec<Incident>> {
    let world = Simulation::new(plan.clone()).context("cannot simulate")?;
    let tenants: Vec<&str> = world.tenant_names().collect();
    let mut staged = Vec::new();
    for (kind, hours_before, settings) in INCIDENTS {
        let Some(offset) = minutes.checked_sub(hours_before * 60) else { continue };
        let settings = match settings.split_once("tenant=#") {
            None => settings.to_owned(),
            Some((before, rank)) => match rank.parse().ok().and_then(|rank: usize| tenants.get(rank)) {
                None => continue,
                Some(tenant) => format!("{before}tenant={tenant}"),
            },
        };
        staged.push(format!("{kind}@{offset}:{settings}").parse().context("a staged incident")?);
    }
    Ok(staged)
}

/// Sends a minute's events over a minute.
async fn play(lines: &[u8], inbox: &crate::inbox::Inbox) {
    let steps = 60 / STEP.as_secs();
    let ends: Vec<usize> = memchr::memchr_iter(b'\n', lines).map(|end| end + 1).collect();
    let mut ticks = tokio::time::interval(STEP);
    let mut from = 0;
    for step in 1..=steps {
        ticks.tick().await;
        let upto = ends.len() * usize::try_from(step).unwrap_or(1) / usize::try_from(steps).unwrap_or(1);
        let to = upto.checked_sub(1).and_then(|last| ends.get(last)).copied().unwrap_or(from);
        if let Some(part) = lines.get(from..to).filter(|part| !part.is_empty())
            && let Err(error) = inbox.count(vec![part.to_vec().into()]).await
        {
            tracing::error!(error = %error, "simulated events were not counted");
        }
        from = to.max(from);
    }
    // To the end of the last step.
    ticks.tick().await;
}
