//! The running server: the router on a socket, and the housekeeping beside it, until a signal ends both.

use std::io::Write as _;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use adapters::system_clock::SystemClock;
use anyhow::Context as _;
use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::map_request;
use axum_server::tls_rustls::RustlsConfig;
use tokio::net::TcpListener;
use web::home::{Home, Uses};
use web::{HttpsFetch, Issuer, Origin, Settings};

use crate::alert_routes::Channels;
use crate::inbox::{self, Door, Inbox};
use crate::output;
use crate::standalone::Standalone;
use crate::watcher;

/// How often deltas are looked at for folding, and expired items for dropping.
const TIDY_EVERY: Duration = Duration::from_secs(5);
/// How often the certificate is read anew.
const RENEW_EVERY: Duration = Duration::from_hours(1);
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
    certificate: Option<Certificate>,
}

/// What TLS shows to clients, and proves that it may.
#[derive(Clone, Debug, clap::Args)]
#[group(requires_all = ["tls_certificate", "tls_key"], multiple = true)]
pub struct Certificate {
    /// Certificate and its chain, PEM: serves HTTPS; read anew each hour
    #[arg(long, value_name = "FILE", requires = "tls_key", required = false)]
    tls_certificate: PathBuf,

    /// The certificate's private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_certificate", required = false)]
    tls_key: PathBuf,
}

impl Opening {
    /// Takes the address.
    pub async fn bind(address: SocketAddr, certificate: Option<Certificate>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}: choose another address with --listen"))?;
        let address = listener.local_addr().context("the socket has no address")?;
        Ok(Self { listener, address, certificate })
    }

    /// `http://HOST:PORT`, or `https://`.
    pub fn address(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
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
    let handle = axum_server::Handle::new();
    let mut serving = tokio::spawn(listen(opening, router, handle.clone()).await?);
    tokio::select! {
        ended = &mut serving => return ended.context("the server's task failed")?.context("the server failed"),
        () = signal() => {}
    }
    output::tell("stopping");
    // A browser may hold its connection open for ever.
    handle.graceful_shutdown(Some(GRACE));
    let _ = tokio::time::timeout(2 * GRACE, serving).await;
    for task in [beside, tidying, watching, counting] {
        task.abort();
        let _ = task.await;
    }
    Ok(())
}

/// The server on its socket, with TLS or without.
async fn listen(
    opening: Opening,
    router: Router,
    handle: axum_server::Handle<SocketAddr>,
) -> anyhow::Result<Pin<Box<dyn Future<Output = std::io::Result<()>> + Send>>> {
    let listener = opening.listener.into_std().context("the socket cannot be used")?;
    let Some(certificate) = opening.certificate else {
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let server = axum_server::from_tcp(listener).context("the socket cannot be used")?;
        return Ok(Box::pin(server.handle(handle).serve(service)));
    };
    let Certificate { tls_certificate, tls_key } = certificate;
    let config = RustlsConfig::from_pem_file(&tls_certificate, &tls_key).await.with_context(|| {
        let (certificate, key) = (tls_certificate.display(), tls_key.display());
        format!("{certificate} and {key} are no certificate and key that fit, in PEM")
    })?;
    // As a proxy would say it, so that cookies are for TLS alone.
    let router = router.layer(map_request(async |mut request: Request| {
        request.headers_mut().insert("x-forwarded-proto", HeaderValue::from_static("https"));
        request
    }));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(renew(config.clone(), tls_certificate, tls_key));
    let server = axum_server::from_tcp_rustls(listener, config).context("the socket cannot be used")?;
    Ok(Box::pin(server.handle(handle).serve(service)))
}

/// Reads certificate and key again and again, as they are renewed.
async fn renew(config: RustlsConfig, certificate: PathBuf, key: PathBuf) {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        if let Err(error) = config.reload_from_pem_file(&certificate, &key).await {
            tracing::error!(%error, "the certificate cannot be read anew; the old one goes on");
        }
    }
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

/// Completes on Ctrl-C or a termination signal.
pub async fn signal() {
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
