//! A Stripe of one test: answers what the script says, one line of it per request, and remembers what it was asked.
//!
//! Raw TCP, because the interesting answers are the broken ones: none, half of one, a closed connection.
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What happens after a request was read whole.
#[derive(Clone)]
pub(super) enum Reply {
    /// Status, headers, body.
    Answer(u16, Vec<(&'static str, &'static str)>, String),
    /// Nothing, for ever.
    Silence,
    /// The connection ends without an answer.
    HangUp,
    /// The headers and a part of the body, then the end.
    Cut(&'static str),
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: String,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// The server; it ends with the test.
pub(super) struct TestServer {
    pub(super) base: reqwest::Url,
    seen: Arc<Mutex<Vec<Request>>>,
    connections: Arc<Mutex<usize>>,
    accepting: JoinHandle<()>,
}

impl TestServer {
    /// Starts on a free port. The last reply is given again to whatever comes after the script.
    pub(super) async fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let (seen, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let script = Arc::new(Mutex::new(script.into_iter().collect::<VecDeque<_>>()));
        let (log, count) = (seen.clone(), connections.clone());
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                *count.lock().unwrap() += 1;
                tokio::spawn(serve(stream, script.clone(), log.clone()));
            }
        });
        Self {
            base,
            seen,
            connections,
            accepting,
        }
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Mutex<VecDeque<Reply>>>, seen: Arc<Mutex<Vec<Request>>>) {
    while let Some(request) = read(&mut stream).await {
        seen.lock().unwrap().push(request);
        let reply = {
            let mut script = script.lock().unwrap();
            let next = script.front().cloned().unwrap();
            if script.len() > 1 {
                script.pop_front();
            }
            next
        };
        let (status, headers, body, length) = match reply {
            Reply::Answer(status, headers, body) => {
                let length = body.len();
                (status, headers, body, length)
            }
            Reply::Cut(part) => (
                200,
                vec![("request-id", "req_cut")],
                part.to_owned(),
                part.len() + 100,
            ),
            Reply::Silence => return std::future::pending().await,
            Reply::HangUp => return,
        };
        let mut text = format!("HTTP/1.1 {status} .\r\ncontent-length: {length}\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        stream
            .write_all(format!("{text}\r\n{body}").as_bytes())
            .await
            .unwrap();
        if length > body.len() {
            return;
        }
    }
}

/// Reads one request; none when the connection ends.
async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let mut lines = text.lines();
    let mut first = lines.next()?.split(' ').map(str::to_owned);
    let (method, target) = (first.next()?, first.next()?);
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse::<usize>().unwrap());
    while bytes.len() < head + 4 + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8(bytes[head + 4..].to_vec()).unwrap();
    Some(Request {
        method,
        target,
        headers,
        body,
    })
}
