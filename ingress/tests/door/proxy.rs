//! A wire to Postgres that can be cut, or go silent in one direction, at the worst moment.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
    task::JoinHandle,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Everything passes.
    Whole,
    /// What Postgres says is swallowed; what it is told passes.
    Deaf,
    /// Connections are closed, new ones too.
    Cut,
}

pub struct Proxy {
    pub addr: SocketAddr,
    state: watch::Sender<Wire>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (state, wire) = watch::channel(Wire::Whole);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *wire.borrow() != Wire::Cut {
                    tokio::spawn(carry(
                        client,
                        TcpStream::connect(server).await.unwrap(),
                        wire.clone(),
                    ));
                }
            }
        });
        Self {
            addr,
            state,
            accepting,
        }
    }

    pub fn set(&self, wire: Wire) {
        self.state.send(wire).unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(client: TcpStream, server: TcpStream, mut wire: watch::Receiver<Wire>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let state = wire.clone();
    let swallow = Arc::new(Mutex::new(move || *state.borrow() == Wire::Deaf));
    tokio::select! {
        () = pump(from_client, to_server, || false) => {}
        () = pump(from_server, to_client, || (swallow.lock().unwrap())()) => {}
        _ = wire.wait_for(|wire| *wire == Wire::Cut) => {}
    }
}

async fn pump(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf, swallow: impl Fn() -> bool) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        if !swallow() && to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}
