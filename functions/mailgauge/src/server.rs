//! The running server: the router on a socket, and the housekeeping beside it, until a signal ends both.

use std::io::Write as _;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use adapters::system_clock::SystemClock;
use anyhow::Context as _;
use tokio::net::TcpListener;
use web::home::{Home, Uses};
use web::{HttpsFetch, Issuer, Origin, Settings};

use crate::inbox::{self, Door, Inbox};
use crate::output;
use crate::standalone::Standalone;
use crate::watcher::{self, Channels};

/// How often deltas are looked at for folding, and expired items for dropping.
const TIDY_EVERY: Duration = Duration::from_secs(5);
/// Requests under way at the end may take so long.
const GRACE: Duration = Duration::from_secs(10);

/// The runtime everything runs on.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")
}

/// A socket that listens, before anything is served.
pub struct Opening {
    listener: TcpListener,
    address: SocketAddr,
}

impl Opening {
    /// Takes the address.
    pub async fn bind(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}: choose another address with --listen"))?;
        let address = listener.local_addr().context("the socket has no address")?;
        Ok(Self { listener, address })
    }

    /// `http://HOST:PORT`.
    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// One line on standard output, at once.
    #[expect(clippy::unused_self, reason = "only who listens has something to say")]
    pub fn say(&self, line: &str) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).context("cannot write to standard output")
    }
}

/// What a server is told to do.
#[derive(Default)]
pub struct Orders {
    /// ARNs of the SNS topics whose messages are taken.
    pub sns_topics: Vec<String>,
    /// How often each key may ask, if the usual is not wanted.
    pub requests_per_second: Option<u32>,
    /// Whose tokens are taken in place of API keys.
    pub issuer: Option<Issuer>,
    /// Pages of other hosts that may call the API.
    pub origins: Vec<Origin>,
    /// Where alerts are told.
    pub channels: Channels,
}

/// Serves until Ctrl-C or a termination signal, then lets requests under way end.
pub async fn serve(home: Standalone, opening: Opening, orders: Orders) -> anyhow::Result<()> {
    serve_with(home, opening, orders, |_| std::future::pending()).await
}

/// [`serve`], with something that sends events of its own beside it.
pub async fn serve_with<F: Future<Output = ()> + Send + 'static>(
    home: Standalone,
    opening: Opening,
    Orders { sns_topics, requests_per_second, issuer, origins, channels }: Orders,
    beside: impl FnOnce(Inbox) -> F,
) -> anyhow::Result<()> {
    let home = Arc::new(home);
    let (told, watching) = channels.open(opening.address())?;
    let (inbox, counting) = inbox::open(Arc::clone(&home));
    let beside = tokio::spawn(beside(inbox.clone()));
    let counting = tokio::spawn(counting);
    let tidying = tokio::spawn(tidy(Arc::clone(&home)));
    let watching = tokio::spawn(watcher::watch(Arc::clone(&home), told, watching));
    let backend = Arc::new(Home {
        store: Arc::clone(&home.store),
        clock: SystemClock,
        history: home.history,
        tags: home.tags.clone(),
        intake: Door { home: Arc::clone(&home), inbox },
        threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        uses: Uses::default(),
    });
    let settings = Settings { sns_topics, requests_per_second, issuer, origins };
    let router = web::router(backend, HttpsFetch::default(), settings);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = axum::serve(opening.listener, service).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let mut serving = tokio::spawn(serving.into_future());
    tokio::select! {
        ended = &mut serving => return ended.context("the server's task failed")?.context("the server failed"),
        () = signal() => {}
    }
    output::tell("stopping");
    let _ = stop.send(());
    // A browser may hold its connection open for ever.
    let _ = tokio::time::timeout(GRACE, serving).await;
    for task in [beside, tidying, watching, counting] {
        task.abort();
        let _ = task.await;
    }
    Ok(())
}

/// Folds and drops what is due, again and again. A failure is told and tried again: the store keeps all that is not folded.
async fn tidy(home: Arc<Standalone>) {
    let mut ticks = tokio::time::interval(TIDY_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = home.tidy().await {
            tracing::error!(error = format!("{error:#}"), "housekeeping failed and will be tried again");
        }
    }
}

async fn signal() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
        if let Ok(mut terminate) = terminate {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = interrupt.await;
}
