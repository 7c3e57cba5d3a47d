//! A gate in front of a server: lets connections through, refuses them, freezes them, or leaves them half open.
//!
//! All worlds share one Postgres, so none of them may stop it; closing its own gate is as good.

use std::{net::SocketAddr, thread};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::error::{Result, io};

/// What the gate does with traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Everything passes.
    Open,
    /// Connections are cut, new ones are dropped at once: the server is down.
    Refused,
    /// Connections stay and nothing moves: the network or the disk behind it hangs. What was sent arrives when it is over.
    Frozen,
    /// Connections stay and nothing moves on them any more, then or later: whatever carried them has forgotten them. Neither end
    /// is told, not even that the other one has closed. New ones are accepted and share that fate.
    HalfOpen,
}

/// A gate, running on a thread of its own until it is dropped.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    passage: watch::Sender<Passage>,
}

impl Gate {
    /// Opens a gate to `target` on a free port.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn to(target: SocketAddr) -> Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(io("binding a gate"))?;
        listener.set_nonblocking(true).map_err(io("binding a gate"))?;
        let address = listener.local_addr().map_err(io("binding a gate"))?;
        let (passage, seen) = watch::channel(Passage::Open);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(io("starting a gate"))?;
        thread::spawn(move || runtime.block_on(serve(listener, target, seen)));
        Ok(Self { address, passage })
    }

    /// Where to connect instead of to the server.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what happens from now on, also to connections that exist.
    pub fn set(&self, passage: Passage) {
        self.passage.send_replace(passage);
    }
}

async fn serve(listener: std::net::TcpListener, target: SocketAddr, mut passage: watch::Receiver<Passage>) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                let now = *passage.borrow();
                match now {
                    Passage::Refused => {}
                    Passage::HalfOpen => drop(tokio::spawn(forget(vec![client], passage.clone()))),
                    Passage::Open | Passage::Frozen => {
                        tokio::spawn(carry(client, target, passage.clone()));
                    }
                }
            }
            changed = passage.changed() => if changed.is_err() { return },
        }
    }
}

async fn carry(mut client: TcpStream, target: SocketAddr, passage: watch::Receiver<Passage>) {
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    // Nagle's algorithm would add 40 ms to every round trip.
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let mut cut = passage.clone();
    let ended = {
        // Borrowed halves: an owned one tells the other end when it is dropped.
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            biased;
            cut = cut.wait_for(|now| *now == Passage::HalfOpen) => cut.is_err(),
            () = pump(from_client, to_server, passage.clone()) => true,
            () = pump(from_server, to_client, passage.clone()) => true,
        }
    };
    if !ended {
        forget(vec![client, server], passage).await;
    }
}

/// Takes what comes, passes nothing on, and closes nothing until the gate is gone.
async fn forget(mut ends: Vec<TcpStream>, mut passage: watch::Receiver<Passage>) {
    let swallow = ends.iter_mut().map(|end| async {
        let mut buffer = [0; 4096];
        while matches!(end.read(&mut buffer).await, Ok(1..)) {}
    });
    let swallowed = async {
        futures::future::join_all(swallow).await;
        std::future::pending::<()>().await;
    };
    let gone = async { while passage.changed().await.is_ok() {} };
    tokio::select! {
        () = swallowed => {}
        () = gone => {}
    }
}

/// Moves bytes one way until an end closes, the gate refuses, or the gate is gone.
async fn pump(
    mut from: tokio::net::tcp::ReadHalf<'_>,
    mut to: tokio::net::tcp::WriteHalf<'_>,
    mut passage: watch::Receiver<Passage>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        tokio::select! {
            read = from.read(&mut buffer) => {
                // That an end has closed is news like any other, and waits like any other.
                match passage.wait_for(|now| *now != Passage::Frozen).await.as_deref() {
                    Ok(Passage::Open) => {}
                    _ => return,
                }
                let Ok(length @ 1..) = read else { return };
                if to.write_all(&buffer[..length]).await.is_err() { return }
            }
            changed = passage.changed() => {
                if changed.is_err() || *passage.borrow() == Passage::Refused { return }
            }
        }
    }
}

/// A gate between every two programs that talk to each other, but for commands, which stand beside the story.
#[derive(Debug)]
pub struct Gates {
    /// Between the ingress and Postgres.
    pub ingress_postgres: Gate,
    /// Between the workers and Postgres.
    pub worker_postgres: Gate,
    /// Between the workers and Redis.
    pub worker_redis: Gate,
    /// Between the workers and the Stripe simulator.
    pub worker_stripe: Gate,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// Sends every byte back.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = client.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        address
    }

    async fn answers(stream: &mut TcpStream) -> bool {
        stream.write_all(b"?").await.unwrap();
        let mut byte = [0];
        let read = timeout(Duration::from_secs(1), stream.read(&mut byte)).await;
        matches!(read, Ok(Ok(1)))
    }

    #[tokio::test]
    async fn what_was_half_open_stays_so_and_only_new_connections_pass() {
        let gate = Gate::to(echo().await).unwrap();
        let mut before = TcpStream::connect(gate.address()).await.unwrap();
        assert!(answers(&mut before).await);
        gate.set(Passage::HalfOpen);
        let mut meanwhile = TcpStream::connect(gate.address()).await.unwrap();
        assert!(!answers(&mut before).await && !answers(&mut meanwhile).await);
        gate.set(Passage::Open);
        let mut after = TcpStream::connect(gate.address()).await.unwrap();
        assert!(answers(&mut after).await);
        // Not even that it was closed is heard: the writes above have worked, and nothing can be read.
        for forgotten in [&mut before, &mut meanwhile] {
            assert!(!answers(forgotten).await);
        }
    }
}
