//! How long we wait for a client that says nothing.
//!
//! A stream that fails once a request's head takes too long, or a kept-alive connection idles too long. The two differ:
//! a slow head is an attack or a fault, an idle connection is a load balancer's, whose own patience (60 s, usually) must
//! run out before ours, lest we close just as it sends. hyper has one timeout for both, hence this.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// How long.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the first byte of a head (or from accepting the connection) to its last.
    pub head: Duration,
    /// Between an answer and the first byte of the next request.
    pub idle: Duration,
}

impl Patience {
    /// With Stripe, probes, and load balancers before us.
    pub const USUAL: Self = Self {
        head: Duration::from_secs(5),
        idle: Duration::from_secs(75),
    };
}

/// Where a connection stands; told by the one who serves its requests.
#[derive(Clone, Default)]
pub struct Progress(Arc<State>);

#[derive(Default)]
struct State {
    serving: AtomicBool,
    served: AtomicUsize,
}

/// A request is being served while this lives.
pub struct Serving(Arc<State>);

impl Progress {
    /// A head has arrived in full.
    pub fn begin(&self) -> Serving {
        self.0.serving.store(true, Ordering::Relaxed);
        Serving(Arc::clone(&self.0))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.served.fetch_add(1, Ordering::Relaxed);
        self.0.serving.store(false, Ordering::Relaxed);
    }
}

/// The stream.
pub struct Patient<S> {
    stream: S,
    progress: Progress,
    patience: Patience,
    /// How many requests had been served when the timer was set.
    timed_after: usize,
    /// Bytes of the next head have arrived.
    head_begun: bool,
    timer: Pin<Box<Sleep>>,
}

impl<S> Patient<S> {
    /// Starts to wait for the first head.
    pub fn new(stream: S, progress: Progress, patience: Patience) -> Self {
        Self {
            stream,
            progress,
            patience,
            timed_after: 0,
            head_begun: true,
            timer: Box::pin(sleep(patience.head)),
        }
    }

    fn set_timer(&mut self, patience: Duration) {
        self.timer.as_mut().reset(Instant::now() + patience);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if this.progress.0.serving.load(Ordering::Relaxed) {
            return read; // the handler has its own time limits
        }
        let served = this.progress.0.served.load(Ordering::Relaxed);
        if served != this.timed_after {
            this.timed_after = served;
            this.head_begun = false;
            this.set_timer(this.patience.idle);
        }
        if read.is_ready() {
            if !this.head_begun {
                this.head_begun = true;
                this.set_timer(this.patience.head);
            }
            return read;
        }
        if this.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client said nothing for too long",
            )));
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const SHORT: Patience = Patience {
        head: Duration::from_millis(100),
        idle: Duration::from_millis(400),
    };

    fn patient() -> (DuplexStream, Progress, Patient<DuplexStream>) {
        let (client, server) = duplex(64);
        let progress = Progress::default();
        let stream = Patient::new(server, progress.clone(), SHORT);
        (client, progress, stream)
    }

    async fn read(stream: &mut Patient<DuplexStream>) -> io::Result<usize> {
        stream.read(&mut [0; 16]).await
    }

    async fn times_out_after(stream: &mut Patient<DuplexStream>) -> Duration {
        let started = Instant::now();
        assert_eq!(read(stream).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        started.elapsed()
    }

    #[tokio::test]
    async fn a_head_has_its_time_in_all_and_not_per_byte() {
        let (mut client, _progress, mut stream) = patient();
        let started = Instant::now();
        let feed = async {
            let mut every = tokio::time::interval(SHORT.head / 4);
            while client.write_all(b"P").await.is_ok() {
                every.tick().await;
            }
        };
        let slow_head = async { while read(&mut stream).await.is_ok() {} };
        tokio::select! { () = feed => {}, () = slow_head => {} }
        assert!(started.elapsed() >= SHORT.head);
    }

    #[tokio::test]
    async fn an_idle_connection_is_kept_longer_than_a_slow_head() {
        let (mut client, progress, mut stream) = patient();
        drop(progress.begin());
        assert!(times_out_after(&mut stream).await >= SHORT.idle);

        drop(progress.begin());
        client.write_all(b"P").await.unwrap();
        assert_eq!(read(&mut stream).await.unwrap(), 1);
        let head = times_out_after(&mut stream).await;
        assert!(head >= SHORT.head / 2 && head < SHORT.idle, "{head:?}");
    }

    #[tokio::test]
    async fn while_a_request_is_served_nothing_is_timed_here() {
        let (_client, progress, mut stream) = patient();
        let _serving = progress.begin();
        let waited = tokio::time::timeout(SHORT.idle * 2, read(&mut stream)).await;
        assert!(waited.is_err(), "still waiting");
    }
}
