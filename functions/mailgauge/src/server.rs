//! The running server: the router on a socket, with counting, housekeeping and detection beside it, until a signal ends them all.

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
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use tokio::net::TcpListener;
use web::{HttpsFetch, Issuer, Origin, RouterSettings, Service, ServiceSettings};

use crate::alert_channels::AlertOptions;
use crate::connections::Connections;
use crate::detection_loop;
use crate::inbox::{self, Inbox, StandaloneIntake};
use crate::output;
use crate::standalone::{Standalone, StandaloneStore};

/// How often deltas that are due are compacted and expired items are dropped.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(5);
/// How often the certificate is reloaded.
const RELOAD_INTERVAL: Duration = Duration::from_hours(1);
/// Timeout of the first request on a connection, until its headers are complete.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of further requests on a connection: how long it may be idle, together with the headers of the next request. Longer than the idle
/// timeout of a load balancer (60 s by default on AWS), which otherwise could send a request just as the connection is closed.
/// Source: <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-load-balancer-attributes.html>
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Requests at once on an HTTP/2 connection.
const MAX_STREAMS: u32 = 32;
/// How long an HTTP/2 client may take to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long requests may still take when the server stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// The runtime of the whole process.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")
}

/// The threads that compute answers, apart from those that serve requests and count events. There are as many as queries may run at once: each
/// blocks its thread, and the system shares the cores among all.
fn query_threads() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(web::concurrent_queries(cores()))
        .thread_name("query")
        .enable_all()
        .build()
        .context("cannot start threads for queries")
}

/// The number of cores; 1 if it is unknown.
fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// A server whose socket is bound, but which serves nothing yet.
pub struct BoundServer {
    listener: TcpListener,
    address: SocketAddr,
    certificate: Option<TlsOptions>,
}

/// The certificate and private key for TLS.
#[derive(Clone, Debug, clap::Args)]
#[group(requires_all = ["tls_certificate", "tls_key"], multiple = true)]
pub struct TlsOptions {
    /// Certificate and its chain in PEM, to serve HTTPS; read again every hour
    #[arg(long, value_name = "FILE", requires = "tls_key", required = false)]
    tls_certificate: PathBuf,

    /// The certificate's private key in PEM; read again every hour
    #[arg(long, value_name = "FILE", requires = "tls_certificate", required = false)]
    tls_key: PathBuf,
}

impl BoundServer {
    /// # Errors
    /// An address that cannot be listened on, such as one that is in use.
    pub async fn bind(address: SocketAddr, certificate: Option<TlsOptions>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}: choose another address with --listen"))?;
        // Port 0 stands for a free port, which is known only now.
        let address = listener.local_addr().context("the socket has no address")?;
        Ok(Self { listener, address, certificate })
    }

    /// The server's own URL, `http://HOST:PORT` or `https://HOST:PORT`, without a trailing slash.
    pub fn address(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Writes one line to standard output at once. A caller that waits for it knows that the socket is bound.
    #[expect(
        clippy::unused_self,
        reason = "a line about the server must not be written before its socket is bound"
    )]
    pub fn print_line(&self, line: &str) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).context("cannot write to standard output")
    }
}

/// Settings of a server, chosen by its operator.
#[derive(Default)]
pub struct ServeSettings {
    /// ARNs of the SNS topics whose messages are accepted.
    pub sns_topics: Vec<String>,
    /// How many requests per second each key may make, if not the default.
    pub requests_per_second: Option<u32>,
    /// The identity provider whose tokens are accepted besides API keys.
    pub issuer: Option<Issuer>,
    /// Origins of pages on other hosts that may call the API.
    pub origins: Vec<Origin>,
    /// Where alerts are notified.
    pub channels: AlertOptions,
}

/// Serves until Ctrl-C or a termination signal, then lets running requests end.
pub async fn serve(
    standalone: Standalone,
    bound: BoundServer,
    settings: ServeSettings,
) -> anyhow::Result<()> {
    serve_with(standalone, bound, settings, |_| std::future::pending()).await
}

/// As [`serve`], with a task that sends events of its own until the server stops.
pub async fn serve_with<F: Future<Output = ()> + Send + 'static>(
    standalone: Standalone,
    bound: BoundServer,
    ServeSettings { sns_topics, requests_per_second, issuer, origins, channels }: ServeSettings,
    sender: impl FnOnce(Inbox) -> F,
) -> anyhow::Result<()> {
    SystemClock::guard();
    let standalone = Arc::new(standalone);
    let (alert_channels, detection_settings) = channels.open(bound.address())?;
    let (inbox, counting) = inbox::open(Arc::clone(&standalone));
    let sending = tokio::spawn(sender(inbox.clone()));
    let counting = tokio::spawn(counting);
    let housekeeping = tokio::spawn(run_housekeeping(Arc::clone(&standalone)));
    let detection =
        tokio::spawn(detection_loop::run(Arc::clone(&standalone), alert_channels, detection_settings));
    let query_threads = query_threads()?;
    let settings = RouterSettings {
        sns_topics,
        requests_per_second,
        issuer,
        origins,
        query_threads: Some(query_threads.handle().clone()),
    };
    let router = web::router(Arc::new(service(&standalone, inbox)), HttpsFetch::default(), settings);
    let handle = axum_server::Handle::new();
    let mut serving = match listen(bound, router, handle.clone()).await {
        Ok(serving) => tokio::spawn(serving),
        Err(error) => {
            query_threads.shutdown_background();
            return Err(error);
        }
    };
    tokio::select! {
        ended = &mut serving => {
            query_threads.shutdown_background();
            return ended.context("the server's task failed")?.context("the server failed");
        }
        () = signal() => {}
    }
    output::print_status("stopping");
    // Without a limit, a browser that keeps its connection open would keep the server running.
    handle.graceful_shutdown(Some(SHUTDOWN_TIMEOUT));
    let _ = tokio::time::timeout(2 * SHUTDOWN_TIMEOUT, serving).await;
    // A runtime must not be dropped where others run, as that would wait for its queries.
    query_threads.shutdown_background();
    // Counting ends last, since the tasks before it may be waiting for it.
    for task in [sending, housekeeping, detection, counting] {
        task.abort();
        let _ = task.await;
    }
    Ok(())
}

/// The application over this process's store and queue.
fn service(
    standalone: &Arc<Standalone>,
    inbox: Inbox,
) -> Service<Arc<StandaloneStore>, SystemClock, StandaloneIntake> {
    let settings = ServiceSettings {
        history: standalone.history,
        declared_tags: standalone.tags.clone(),
        threads: cores(),
    };
    let intake = StandaloneIntake { standalone: Arc::clone(standalone), inbox };
    Service::new(Arc::clone(&standalone.store), SystemClock, intake, settings)
}

/// The server on its socket, with or without TLS.
async fn listen(
    bound: BoundServer,
    router: Router,
    handle: axum_server::Handle<SocketAddr>,
) -> anyhow::Result<Pin<Box<dyn Future<Output = std::io::Result<()>> + Send>>> {
    let connections = Connections::for_this_process();
    let listener = bound.listener.into_std().context("the socket cannot be used")?;
    let Some(certificate) = bound.certificate else {
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let server = axum_server::from_tcp(listener).context("the socket cannot be used")?;
        let server = with_timeouts(server.acceptor(connections));
        return Ok(Box::pin(server.handle(handle).serve(service)));
    };
    let TlsOptions { tls_certificate, tls_key } = certificate;
    let config = RustlsConfig::from_pem_file(&tls_certificate, &tls_key).await.with_context(|| {
        let (certificate, key) = (tls_certificate.display(), tls_key.display());
        format!("{certificate} and {key} are not a PEM certificate and its private key")
    })?;
    // The header that a TLS proxy would add; with it the router marks its cookies as secure.
    let router = router.layer(map_request(async |mut request: Request| {
        request.headers_mut().insert("x-forwarded-proto", HeaderValue::from_static("https"));
        request
    }));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(reload(config.clone(), tls_certificate, tls_key));
    let server = axum_server::from_tcp(listener).context("the socket cannot be used")?;
    // A connection counts before the TLS handshake, which has a timeout of its own (10 s).
    let server = with_timeouts(server.acceptor(RustlsAcceptor::new(config).acceptor(connections)));
    Ok(Box::pin(server.handle(handle).serve(service)))
}

/// Bounds how long a client may take for the headers of a request, and how long it may keep an idle connection. Bodies have a timeout in
/// the router, which knows their limits.
fn with_timeouts<A>(server: axum_server::Server<SocketAddr, A>) -> axum_server::Server<SocketAddr, A> {
    let mut server = server.first_request_timeout(FIRST_REQUEST_TIMEOUT);
    server.http_builder().http1().header_read_timeout(IDLE_TIMEOUT);
    // HTTP/2 (over TLS only) has no idle timeout in this library; a client that is gone does not answer pings, and one that is idle makes room
    // when the server is full.
    let mut http2 = server.http_builder().http2();
    http2
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(IDLE_TIMEOUT)
        .keep_alive_timeout(PING_TIMEOUT);
    server
}

/// Reloads certificate and key until the future is dropped, since they are renewed while the server runs.
async fn reload(config: RustlsConfig, certificate: PathBuf, key: PathBuf) {
    loop {
        tokio::time::sleep(RELOAD_INTERVAL).await;
        if let Err(error) = config.reload_from_pem_file(&certificate, &key).await {
            tracing::error!(%error, "the certificate cannot be reloaded; the old one stays in use");
        }
    }
}

/// Compacts and drops what has expired, until the future is dropped. A failure is logged and the next round tries again: nothing is
/// dropped before it is compacted.
async fn run_housekeeping(standalone: Arc<Standalone>) {
    let mut ticks = tokio::time::interval(HOUSEKEEPING_INTERVAL);
    // One round does all that is due, so rounds that were missed need not be made up for.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = standalone.tidy().await {
            tracing::error!(error = format!("{error:#}"), "housekeeping failed; the next round tries again");
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
