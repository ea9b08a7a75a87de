//! `mailgauge demo`: the server with simulated tenants: weeks of history, staged incidents, and mail that goes on.
//!
//! Nothing is faked beyond the mail itself: simulated events are bytes that take the same way as real ones.

mod history;
mod timeline;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use event::Timestamp;
use event::attribution::Attribution;
use pipeline::ports::Clock as _;
use web::IngestError;

use self::history::Mail;
use self::timeline::{MINUTE_MS, Timeline, Wanted};
use crate::inbox::Inbox;
use crate::output;
use crate::server::{self, Opening, Orders};
use crate::standalone::Standalone;

/// The number of parts in which the events of the current minute are sent, each at the end of its part of the minute.
const PARTS: u32 = 12;
/// Pause before simulated events are sent again after counting them failed.
const PAUSE: Duration = Duration::from_secs(1);

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

/// Makes what history is missing, then serves while the mail goes on.
pub fn run(options: &Options) -> anyhow::Result<()> {
    output::log_to_stderr();
    let runtime = server::runtime()?;
    let home = Standalone::open(&options.data, Attribution::default())?;
    runtime.block_on(async {
        home.begin().await?;
        // First of all: an address in use should not be found out after the history is made.
        let opening = Opening::bind(options.listen, None).await?;
        let now = || adapters::system_clock::SystemClock.now();
        let (stored, newest) = (Timeline::read(&options.data)?, home.newest_event().await?);
        let wanted = Wanted {
            tenants: options.tenants,
            emails_per_minute: options.emails_per_minute,
            days: options.days,
        };
        let mut timeline = Timeline::new(stored, newest, wanted, now())?;
        output::tell(&format!(
            "Simulating mail from {} to now",
            Timestamp::from_millis(timeline.counted_ms())
        ));
        let (folder, signal) = (&options.data, server::signal());
        let made = history::catch_up(&home, folder, &mut timeline, now, signal, history::BLOCK_BYTES);
        let made = Box::pin(made).await?;
        let Some(mail) = made else {
            output::tell("stopped; run the same command to continue the history from here");
            return Ok(());
        };
        let key = home.add_demo_key().await?;
        output::tell("Simulated mail continues until Ctrl-C; the same command continues from the same data.");
        opening.say(&format!("Dashboard {}/#key={key}", opening.address()))?;
        opening.say(&format!("Listening on {}", opening.address()))?;
        let folder = options.data.clone();
        server::serve_with(home, opening, Orders::default(), move |inbox| async move {
            go_on(mail, timeline, &folder, &inbox).await;
        })
        .await
    })
}

/// Sends the mail of each minute during that minute. After the machine was asleep, it catches up as fast as the mail is counted.
async fn go_on(mut mail: Mail, mut timeline: Timeline, folder: &Path, inbox: &Inbox) {
    let mut lines = Vec::new();
    while let Some(end_ms) = mail.next_minute(&mut lines) {
        timeline.advance(end_ms);
        if let Err(error) = timeline.write(folder) {
            tracing::error!(
                error = format!("{error:#}"),
                "the demo's timeline was not saved; the next start may leave a gap"
            );
        }
        play(&lines, end_ms, inbox).await;
        lines.clear();
    }
}

/// Sends the events of one minute in [`PARTS`] parts, each when its time is over; all at once if the whole minute is over already.
async fn play(lines: &[u8], end_ms: i64, inbox: &Inbox) {
    let ends: Vec<usize> = memchr::memchr_iter(b'\n', lines).map(|end| end + 1).collect();
    let is_over = until(end_ms).is_zero();
    let parts = if is_over { 1 } else { PARTS };
    let mut from = 0;
    for part in 1..=parts {
        let past_ms = MINUTE_MS * i64::from(part) / i64::from(parts);
        tokio::time::sleep(until(end_ms - MINUTE_MS + past_ms)).await;
        let upto = ends.len() * part as usize / parts as usize;
        let to = upto.checked_sub(1).and_then(|last| ends.get(last)).copied().unwrap_or(from);
        if let Some(events) = lines.get(from..to).filter(|events| !events.is_empty()) {
            send(events, inbox).await;
        }
        from = to.max(from);
    }
}

/// The time left until `ms`, in milliseconds since the Unix epoch; zero if it has passed.
fn until(ms: i64) -> Duration {
    let now = adapters::system_clock::SystemClock.now();
    Duration::from_millis(u64::try_from(ms - now.millis()).unwrap_or(0))
}

/// Sends events again until they are counted. Events that an earlier attempt counted are recognised as duplicates.
async fn send(events: &[u8], inbox: &Inbox) {
    while let Err(error) = inbox.count(vec![events.to_vec().into()]).await {
        if !matches!(error, IngestError::Busy { .. }) {
            tracing::error!(%error, "counting simulated events failed; they are sent again");
        }
        tokio::time::sleep(PAUSE).await;
    }
}
