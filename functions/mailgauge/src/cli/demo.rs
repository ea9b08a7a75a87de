//! `mailgauge demo`: the server with simulated tenants: weeks of history, staged incidents, and live mail.
//!
//! Only the mail is simulated. Its events are bytes that are decoded, counted and evaluated like real ones, so the demo must never
//! write counts or alerts by itself.

mod history;
mod timeline;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use event::Timestamp;
use event::attribution::{Attribution, AttributionSettings, LinkSettings};
use event::link::LinkNames;
use pipeline::ports::Clock as _;
use web::IngestError;

use self::history::SimulatedMail;
use self::timeline::{MINUTE_MS, Timeline, TimelineOptions};
use crate::inbox::Inbox;
use crate::output;
use crate::server::{self, BoundServer, ServeSettings};
use crate::standalone::Standalone;

/// The number of equal parts of a minute at whose ends the events of the part are sent, so that charts move every five seconds.
const PARTS: u32 = 12;
/// The wait before simulated events are sent again after counting them failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Run the demo: the server with simulated tenants, weeks of history and staged incidents. Runs by default, without a command.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  mailgauge demo --tenants 200 --days 7")]
pub struct Options {
    /// The data folder; a later start continues from its data
    #[arg(long, value_name = "DIR", default_value = DATA)]
    data: PathBuf,

    /// IP address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value_t = LISTEN)]
    listen: SocketAddr,

    /// Number of simulated tenants, 1 to 10000
    #[arg(long, value_name = "N", default_value_t = TENANTS)]
    tenants: u32,

    /// Days of history to simulate before the start, 1 to 365
    #[arg(long, value_name = "N", default_value_t = DAYS, value_parser = clap::value_parser!(u32).range(1..=365))]
    days: u32,

    /// Emails per minute of all tenants together, on average; more than 0, at most 2000000
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

/// Simulates the missing part of the history, then serves while live mail is simulated.
pub fn run(options: &Options) -> anyhow::Result<()> {
    output::log_to_stderr();
    let runtime = server::runtime()?;
    // Nobody follows simulated links, so their names may be shown.
    let links = LinkSettings { store: LinkNames::HostAndPath };
    let attribution = Attribution::new(AttributionSettings { links, ..AttributionSettings::default() })?;
    let standalone = Standalone::open(&options.data, attribution)?;
    runtime.block_on(async {
        standalone.end_stale_leases().await?;
        // Before the history, which takes a while: an address in use should be reported at once.
        let bound = BoundServer::bind(options.listen, None).await?;
        let now = || adapters::system_clock::SystemClock.now();
        let (stored, newest) = (Timeline::read(&options.data)?, standalone.newest_event().await?);
        let timeline_options = TimelineOptions {
            tenants: options.tenants,
            emails_per_minute: options.emails_per_minute,
            days: options.days,
        };
        let mut timeline = Timeline::new(stored, newest, timeline_options, now())?;
        output::print_status(&format!(
            "Simulating mail from {} to now",
            Timestamp::from_millis(timeline.counted_ms())
        ));
        let (folder, signal) = (&options.data, server::signal());
        let catching_up =
            history::catch_up(&standalone, folder, &mut timeline, now, signal, history::BLOCK_BYTES);
        let Some(mail) = Box::pin(catching_up).await? else {
            output::print_status("stopped; the same command continues the history from here");
            return Ok(());
        };
        // Each start needs its own: the last one was printed on a terminal that may be gone.
        let key = standalone.add_demo_key().await?;
        output::print_status(
            "Simulated mail continues until Ctrl-C; a later start continues from the same data.",
        );
        bound.print_line(&format!("Dashboard {}/#key={key}", bound.address()))?;
        bound.print_line(&format!("Listening on {}", bound.address()))?;
        let folder = options.data.clone();
        server::serve_with(standalone, bound, ServeSettings::default(), move |inbox| async move {
            send_live_mail(mail, timeline, &folder, &inbox).await;
        })
        .await
    })
}

/// Sends the events of each minute during that minute. After the machine was asleep, catches up as fast as events are counted.
async fn send_live_mail(mut mail: SimulatedMail, mut timeline: Timeline, folder: &Path, inbox: &Inbox) {
    let mut lines = Vec::new();
    while let Some(end_ms) = mail.next_minute(&mut lines) {
        // Stored before the events are sent: a start after a crash must know which minute may have been counted in part.
        timeline.advance(end_ms);
        if let Err(error) = timeline.write(folder) {
            tracing::error!(
                error = format!("{error:#}"),
                "the demo's timeline was not saved; the next start may leave a gap"
            );
        }
        send_minute(&lines, end_ms, inbox).await;
        lines.clear();
    }
}

/// Sends the events of one minute in [`PARTS`] parts, each at its end; all at once if the whole minute has passed already.
async fn send_minute(lines: &[u8], end_ms: i64, inbox: &Inbox) {
    let ends: Vec<usize> = memchr::memchr_iter(b'\n', lines).map(|end| end + 1).collect();
    let has_passed = time_until(end_ms).is_zero();
    let parts = if has_passed { 1 } else { PARTS };
    let mut from = 0;
    for part in 1..=parts {
        let elapsed_ms = MINUTE_MS * i64::from(part) / i64::from(parts);
        tokio::time::sleep(time_until(end_ms - MINUTE_MS + elapsed_ms)).await;
        let last_line = ends.len() * part as usize / parts as usize;
        // A quiet minute has fewer lines than parts, so the first parts are empty.
        let to = last_line.checked_sub(1).and_then(|last| ends.get(last)).copied().unwrap_or(from);
        if let Some(events) = lines.get(from..to).filter(|events| !events.is_empty()) {
            send(events, inbox).await;
        }
        from = to.max(from);
    }
}

/// The time left until `ms`, in milliseconds since the Unix epoch; zero if it has passed.
fn time_until(ms: i64) -> Duration {
    let now = adapters::system_clock::SystemClock.now();
    Duration::from_millis(u64::try_from(ms - now.millis()).unwrap_or(0))
}

/// Sends events until they are counted. Events that an earlier attempt counted are dropped as duplicates.
async fn send(events: &[u8], inbox: &Inbox) {
    while let Err(error) = inbox.count(vec![events.to_vec().into()]).await {
        // A full queue is normal while the demo catches up after the machine was asleep.
        if !matches!(error, IngestError::Busy { .. }) {
            tracing::error!(%error, "counting simulated events failed; they will be sent again");
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}
