//! A gate in front of a server: lets connections through, refuses them, or freezes them.
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
    /// Connections stay and nothing moves: the network or the disk behind it hangs.
    Frozen,
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
                if *passage.borrow() != Passage::Refused {
                    tokio::spawn(carry(client, target, passage.clone()));
                }
            }
            changed = passage.changed() => if changed.is_err() { return },
        }
    }
}

async fn carry(client: TcpStream, target: SocketAddr, passage: watch::Receiver<Passage>) {
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    // Nagle's algorithm would add 40 ms to every round trip.
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pump(from_client, to_server, passage.clone()) => {}
        () = pump(from_server, to_client, passage) => {}
    }
}

/// Moves bytes one way until an end closes, the gate refuses, or the gate is gone.
async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut passage: watch::Receiver<Passage>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        tokio::select! {
            read = from.read(&mut buffer) => {
                let Ok(length @ 1..) = read else { return };
                match passage.wait_for(|now| *now != Passage::Frozen).await.as_deref() {
                    Ok(Passage::Open) => {}
                    _ => return,
                }
                if to.write_all(&buffer[..length]).await.is_err() { return }
            }
            changed = passage.changed() => {
                if changed.is_err() || *passage.borrow() == Passage::Refused { return }
            }
        }
    }
}
