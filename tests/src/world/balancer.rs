//! A load balancer in front of several ingresses or portals, as any is: a connection goes to the next one in turn that takes it.
//!
//! It knows nothing of HTTP and asks for nobody's health: a program that stops closes its port, and the next connection goes to the
//! other. What a program does with the connections that it has is its own business, and what a story is about.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::sleep,
};

use super::{
    World,
    error::{Result, io, must},
};

/// Rounds through all backends before a client is let down, and the pause between two of them.
const ROUNDS: usize = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// A balancer, running on a thread of its own until it is dropped.
#[derive(Debug)]
pub struct Balancer {
    backends: Arc<Mutex<Vec<SocketAddr>>>,
    _running: oneshot::Sender<()>,
}

impl World {
    /// Puts a balancer where this world's webhooks are delivered: [`World::door`], and the simulator's endpoint.
    ///
    /// # Panics
    /// When an ingress is there.
    #[must_use]
    pub fn balance(&self, backends: Vec<SocketAddr>) -> Balancer {
        let address = SocketAddr::from(([127, 0, 0, 1], self.ingress_port));
        must("the balancer does not start", Balancer::start(address, backends))
    }

    /// Puts a balancer where this world's portal answers: [`World::portal_base`].
    ///
    /// # Panics
    /// When a portal is there.
    #[must_use]
    pub fn balance_portals(&self, backends: Vec<SocketAddr>) -> Balancer {
        let address = SocketAddr::from(([127, 0, 0, 1], self.portal_port));
        must("the balancer does not start", Balancer::start(address, backends))
    }
}

impl Balancer {
    fn start(address: SocketAddr, backends: Vec<SocketAddr>) -> Result<Self> {
        let listener = std::net::TcpListener::bind(address).map_err(io("binding a balancer"))?;
        listener.set_nonblocking(true).map_err(io("binding a balancer"))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(io("starting a balancer"))?;
        let backends = Arc::new(Mutex::new(backends));
        let (running, gone) = oneshot::channel();
        let serving = serve(listener, Arc::clone(&backends));
        thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serving => {}
                    _ = gone => {}
                }
            });
        });
        Ok(Self {
            backends,
            _running: running,
        })
    }

    /// Replaces one of them.
    ///
    /// # Panics
    /// When it is none of them.
    pub fn replace(&self, old: SocketAddr, new: SocketAddr) {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        let place = backends.iter_mut().find(|backend| **backend == old);
        assert!(place.map(|place| *place = new).is_some(), "{old} is no backend");
    }
}

async fn serve(listener: std::net::TcpListener, backends: Arc<Mutex<Vec<SocketAddr>>>) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    let mut turn = 0_usize;
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        turn = turn.wrapping_add(1);
        tokio::spawn(carry(client, turn, Arc::clone(&backends)));
    }
}

async fn carry(mut client: TcpStream, turn: usize, backends: Arc<Mutex<Vec<SocketAddr>>>) {
    for _ in 0..ROUNDS {
        let mut in_turn = backends.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let first = turn % in_turn.len().max(1);
        in_turn.rotate_left(first);
        for backend in in_turn {
            if let Ok(mut server) = TcpStream::connect(backend).await {
                // Nagle's algorithm would add 40 ms to every round trip.
                drop((client.set_nodelay(true), server.set_nodelay(true)));
                drop(copy_bidirectional(&mut client, &mut server).await);
                return;
            }
        }
        sleep(PAUSE).await;
    }
}
