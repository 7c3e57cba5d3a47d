//! Connections: how many, for how long, and how they end.
//!
//! The end has three phases, so that no request is cut off. While *draining*, everything is served as before, but each
//! answer says `Connection: close`, so busy clients leave by themselves at a safe moment. Once *stopped*, nothing new is
//! accepted, and connections that were accepted a moment ago still have one to send their request. Then whatever idles
//! is closed, and requests under way are finished.

use std::{convert::Infallible, error, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{
    Request, Response,
    body::{Body, Incoming},
    header::{CONNECTION, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use prometheus::IntGauge;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::patience::{Patience, Patient, Progress};

/// Read buffer of a connection, and so the largest head. Stripe's heads are under 1 KiB.
const MAX_BUFFER_BYTES: usize = 16 << 10;
/// Pause after a failed `accept`, most likely for want of file descriptors: trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// After the last connection was accepted, how long one that has sent nothing yet may still do so.
const LINGER: Duration = Duration::from_millis(500);

/// One listening port.
pub struct Server<S> {
    /// Bound already.
    pub listener: TcpListener,
    /// What is served. A request has the peer's [`SocketAddr`] among its extensions.
    pub service: S,
    /// Open connections; more wait in the kernel.
    pub max_connections: usize,
    /// Counts them.
    pub connections: Option<IntGauge>,
    /// First phase of the end.
    pub draining: CancellationToken,
    /// Second phase of the end.
    pub stopped: CancellationToken,
}

impl<S, B> Server<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn error::Error + Send + Sync>>,
{
    /// Serves until stopped, and returns when the last request has been answered.
    pub async fn run(self) {
        let places = Arc::new(Semaphore::new(self.max_connections));
        let host = Host {
            service: self.service,
            connections: self.connections,
            draining: self.draining,
            graceful: GracefulShutdown::new(),
        };
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (self.listener.accept().await, place)
            };
            tokio::select! {
                (accepted, Ok(place)) = next => match accepted {
                    Ok((stream, peer)) => host.serve(stream, peer, place),
                    Err(fault) => {
                        tracing::warn!(%fault, "a connection could not be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                () = self.stopped.cancelled() => break,
                else => break, // the semaphore is never closed
            }
        }
        if let Err(fault) = host.serve_backlog(self.listener, &places) {
            tracing::debug!(%fault, "connections that waited to be accepted were not all taken");
        }
        let all = u32::try_from(self.max_connections).unwrap_or(u32::MAX);
        if timeout(LINGER, places.acquire_many(all)).await.is_err() {
            tracing::debug!("some connections idle, or a request is under way");
        }
        host.graceful.shutdown().await;
    }
}

/// Serves the connections of one port.
struct Host<S> {
    service: S,
    connections: Option<IntGauge>,
    draining: CancellationToken,
    graceful: GracefulShutdown,
}

impl<S, B> Host<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn error::Error + Send + Sync>>,
{
    /// Takes what the kernel has accepted for us already, and closes the port right after, by direct system calls: what
    /// arrives between the last of them and the close would be reset.
    fn serve_backlog(&self, listener: TcpListener, places: &Arc<Semaphore>) -> io::Result<()> {
        let listener = listener.into_std()?;
        while let Ok(place) = Arc::clone(places).try_acquire_owned() {
            let (stream, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(none) if none.kind() == io::ErrorKind::WouldBlock => break,
                Err(fault) => return Err(fault),
            };
            stream.set_nonblocking(true)?;
            self.serve(TcpStream::from_std(stream)?, peer, place);
        }
        Ok(())
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        if let Err(fault) = stream.set_nodelay(true) {
            tracing::debug!(%fault, "TCP_NODELAY was refused");
        }
        let open = Open::new(self.connections.clone(), place);
        let progress = Progress::default();
        let io = TokioIo::new(Patient::new(stream, progress.clone(), Patience::USUAL));
        let served = self.service.clone();
        let draining = self.draining.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let serving = progress.begin();
            request.extensions_mut().insert(peer);
            let answer = served.clone().call(request);
            let draining = draining.clone();
            async move {
                let mut response = answer.await?;
                if draining.is_cancelled() {
                    response
                        .headers_mut()
                        .insert(CONNECTION, HeaderValue::from_static("close"));
                }
                drop(serving);
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(MAX_BUFFER_BYTES)
            .serve_connection(io, service);
        let connection = self.graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(fault) = connection.await {
                tracing::debug!(%fault, "a connection ended early");
            }
            drop(open);
        });
    }
}

/// An open connection: holds its place and is counted.
struct Open {
    gauge: Option<IntGauge>,
    _place: OwnedSemaphorePermit,
}

impl Open {
    fn new(gauge: Option<IntGauge>, place: OwnedSemaphorePermit) -> Self {
        if let Some(gauge) = &gauge {
            gauge.inc();
        }
        Self { gauge, _place: place }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(gauge) = &self.gauge {
            gauge.dec();
        }
    }
}
