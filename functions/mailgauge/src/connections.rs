//! Limits on the connections of the server, in total and per client address.
//!
//! A full server does not turn the next client away: it closes the connection that has gone longest without progress, where progress
//! means that a request was answered. A client that opens connections and sends nothing, or a byte now and then, thereby displaces its own connections
//! and those of its kind, and never one whose request is being handled. A new connection is refused only while all others are handling
//! requests. Refusing the newest instead would let idle connections lock everybody out.

use std::collections::BTreeMap;
use std::future::{Future, Ready, ready};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::Service;

/// The most connections, if the limit on open files allows as many. A dashboard needs six at most.
const MAX_CONNECTIONS: usize = 4096;
/// One of this many files that the process may open is kept for the store and for requests to others.
const RESERVED_PART: usize = 4;
/// What one address may have of all connections: half, so that two are needed to fill the server. Not less, since behind a proxy all
/// clients share one address.
const ADDRESS_PART: usize = 2;
/// How long a client may take nothing of a reply that is being sent to it. A reply is in memory until it is sent.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The open connections of a server, and the acceptor that limits them.
#[derive(Clone, Debug)]
pub struct Connections(Arc<Registry>);

#[derive(Debug)]
struct Registry {
    total: usize,
    per_address: usize,
    started: Instant,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// The number of the next connection.
    next: u64,
    connections: BTreeMap<u64, Arc<Connection>>,
}

#[derive(Debug)]
struct Connection {
    address: IpAddr,
    /// When it was opened or last sent a part of a reply, in milliseconds since the start of the server.
    progressed_ms: AtomicU64,
    /// Requests that are being handled on it.
    requests: AtomicUsize,
    /// Closes it.
    close: CancellationToken,
}

impl Connections {
    /// Limits that fit the number of files that the process may open.
    pub fn for_this_process() -> Self {
        let files = usize::try_from(raise_open_files()).unwrap_or(usize::MAX);
        let total = (files - files / RESERVED_PART).min(MAX_CONNECTIONS);
        Self::new(total, total.div_ceil(ADDRESS_PART))
    }

    fn new(total: usize, per_address: usize) -> Self {
        let open = Mutex::default();
        Self(Arc::new(Registry { total, per_address, started: Instant::now(), open }))
    }

    /// Registers a connection, and closes another one if there are too many. `None` if all are handling requests.
    fn admit(&self, address: IpAddr) -> Option<Admitted> {
        let mut open = self.0.lock();
        let of_address = open.connections.values().filter(|other| other.address == address).count();
        // Its own address first: a client at its limit must not displace others.
        if of_address >= self.0.per_address {
            open.close_one(|other| other.address == address)?;
        } else if open.connections.len() >= self.0.total {
            open.close_one(|_| true)?;
        }
        let id = open.next;
        open.next += 1;
        let connection = Arc::new(Connection {
            address,
            progressed_ms: AtomicU64::new(self.0.now_ms()),
            requests: AtomicUsize::new(0),
            close: CancellationToken::new(),
        });
        open.connections.insert(id, Arc::clone(&connection));
        Some(Admitted { id, connection, registry: Arc::clone(&self.0) })
    }
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Open {
    /// Closes the connection without progress for longest, of those that handle no request.
    fn close_one(&mut self, is_candidate: impl Fn(&Connection) -> bool) -> Option<()> {
        let idle = self.connections.iter().filter(|(_, connection)| {
            is_candidate(connection) && connection.requests.load(Ordering::Acquire) == 0
        });
        let (&id, _) = idle.min_by_key(|(_, connection)| connection.progressed_ms.load(Ordering::Relaxed))?;
        // Forgotten at once, so that the next connection closes another one.
        let connection = self.connections.remove(&id)?;
        connection.close.cancel();
        Some(())
    }
}

/// A connection's place, free again once dropped.
#[derive(Debug)]
struct Admitted {
    id: u64,
    connection: Arc<Connection>,
    registry: Arc<Registry>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.registry.lock().connections.remove(&self.id);
    }
}

impl<S> Accept<TcpStream, S> for Connections {
    type Stream = LimitedStream<TcpStream>;
    type Service = BusyService<S>;
    type Future = Ready<io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let admitted = stream.peer_addr().and_then(|peer| {
            // IPv4 clients of a dual-stack socket are the same clients as on an IPv4 socket.
            self.admit(peer.ip().to_canonical())
                .ok_or_else(|| io::Error::other("all connections are handling requests"))
        });
        ready(admitted.map(|admitted| {
            let service = BusyService { inner: service, connection: Arc::clone(&admitted.connection) };
            (LimitedStream::new(stream, admitted), service)
        }))
    }
}

/// A stream that ends when its connection is closed to make room, or when the client stops taking a reply.
#[derive(Debug)]
pub struct LimitedStream<T> {
    stream: T,
    admitted: Admitted,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<T> LimitedStream<T> {
    fn new(stream: T, admitted: Admitted) -> Self {
        let closed = Box::pin(admitted.connection.close.clone().cancelled_owned());
        Self { stream, admitted, closed, stalled: None }
    }

    fn check_open(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.closed.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// Records the progress of a write, or its lack.
    fn written<R>(&mut self, context: &mut Context<'_>, write: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if write.is_ready() {
            self.stalled = None;
            let now = self.admitted.registry.now_ms();
            self.admitted.connection.progressed_ms.store(now, Ordering::Relaxed);
            return write;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL_TIMEOUT)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for LimitedStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_open(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for LimitedStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A service that marks its connection as busy while it handles a request.
#[derive(Clone, Debug)]
pub struct BusyService<S> {
    inner: S,
    connection: Arc<Connection>,
}

/// Held while a request is handled, which may also end by being dropped.
struct Busy(Arc<Connection>);

impl Busy {
    fn new(connection: &Arc<Connection>) -> Self {
        connection.requests.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(connection))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<S, R> Service<R> for BusyService<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let busy = Busy::new(&self.connection);
        let reply = self.inner.call(request);
        Box::pin(async move {
            let reply = reply.await;
            drop(busy);
            reply
        })
    }
}

/// Raises the limit on open files to what the system allows this process. Returns the limit that holds.
fn raise_open_files() -> u64 {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    // Systems without a readable limit have at least this one (POSIX's `_POSIX_OPEN_MAX` is 20, all of today's begin with 256 or more).
    const FALLBACK: u64 = 256;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return FALLBACK };
    // More than this is not needed, and some systems refuse "unlimited".
    let wanted = hard.min(4 * MAX_CONNECTIONS as u64);
    if wanted > soft && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() {
        return wanted;
    }
    soft
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn is_closed(admitted: &Admitted) -> bool {
        admitted.connection.close.is_cancelled()
    }

    #[tokio::test(start_paused = true)]
    async fn full_server_closes_the_connection_without_progress_for_longest() {
        let connections = Connections::new(3, 3);
        let mut admitted = Vec::new();
        for last in 1..=3 {
            admitted.push(connections.admit(address(last)).unwrap());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let now = connections.0.now_ms();
        admitted[0].connection.progressed_ms.store(now, Ordering::Relaxed);
        let fourth = connections.admit(address(4)).unwrap();
        assert_eq!(admitted.iter().map(is_closed).collect::<Vec<_>>(), [false, true, false]);
        drop(fourth);
        assert!(connections.admit(address(5)).is_some());
        assert!(!is_closed(&admitted[0]) && !is_closed(&admitted[2]), "there was room");
    }

    #[tokio::test(start_paused = true)]
    async fn address_at_its_limit_displaces_its_own_connections_only() {
        let connections = Connections::new(10, 2);
        let other = connections.admit(address(1)).unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        let own: Vec<Admitted> = (0..5).map(|_| connections.admit(address(2)).unwrap()).collect();
        assert!(!is_closed(&other));
        assert_eq!(own.iter().filter(|admitted| !is_closed(admitted)).count(), 2);
    }

    #[tokio::test]
    async fn connection_that_handles_a_request_is_never_closed() {
        let connections = Connections::new(1, 1);
        let first = connections.admit(address(1)).unwrap();
        let busy = Busy::new(&first.connection);
        assert!(connections.admit(address(2)).is_none());
        drop(busy);
        assert!(connections.admit(address(2)).is_some());
        assert!(is_closed(&first));
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_stops_taking_a_reply_is_disconnected() {
        use tokio::io::AsyncWriteExt as _;
        let (near, far) = tokio::io::duplex(16);
        let admitted = Connections::new(1, 1).admit(address(1)).unwrap();
        let mut stream = LimitedStream::new(near, admitted);
        let error = stream.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(far);
    }
}
