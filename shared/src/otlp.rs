//! Sending spans to a collector: OTLP as protobuf over plain HTTP/1.1, on the exporter's own thread.
//!
//! A client of our own, as it has one thing to do: post a batch and read the status. It blocks, which is what that thread is
//! for, and it keeps the ingress small. It speaks no TLS: a collector stands beside the program (OpenTelemetry's own, an agent
//! of the node), and what leaves the house leaves it from there.

use std::{
    io::{self, Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};

/// Connecting, and each read and write.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What is read of an answer: its head and a few words.
const MOST_ANSWER: u64 = 64 * 1024;

/// Posts batches. Says once that the collector does not take them, and once that it does again.
#[derive(Debug, Default)]
pub(crate) struct Post {
    failing: AtomicBool,
}

#[async_trait]
impl HttpClient for Post {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = exchange(&request);
        let fault = match &sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answers {}", response.status())),
            Err(fault) => Some(fault.to_string()),
        };
        let was_failing = self.failing.swap(fault.is_some(), Ordering::Relaxed);
        match fault {
            Some(fault) if !was_failing => {
                tracing::warn!("spans are lost, the collector does not take them: {fault}");
            }
            None if was_failing => tracing::info!("the collector takes spans again"),
            Some(_) | None => {}
        }
        Ok(sent?)
    }
}

fn exchange(request: &Request<Bytes>) -> io::Result<Response<Bytes>> {
    let uri = request.uri();
    let host = uri.host().ok_or_else(|| invalid("the endpoint names no host"))?;
    let port = uri.port_u16().unwrap_or(80);
    let mut stream = connect(host, port)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut head = format!(
        "{} {path} HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-length: {}\r\nconnection: close\r\n",
        request.method(),
        request.body().len()
    );
    for (name, value) in request.headers() {
        let value = value.to_str().map_err(|_| invalid("a header is no text"))?;
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(request.body())?;
    let mut answer = Vec::new();
    stream.take(MOST_ANSWER).read_to_end(&mut answer)?;
    Response::builder()
        .status(status(&answer)?)
        .body(Bytes::new())
        .map_err(|fault| invalid(&fault.to_string()))
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = invalid("the endpoint's host has no address");
    for address in (host.trim_matches(['[', ']']), port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(fault) => last = fault,
        }
    }
    Err(last)
}

/// `HTTP/1.1 200 OK` → 200.
fn status(answer: &[u8]) -> io::Result<u16> {
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let code = std::str::from_utf8(line)
        .ok()
        .filter(|line| line.starts_with("HTTP/1."))
        .and_then(|line| line.split(' ').nth(1)?.parse().ok());
    code.ok_or_else(|| invalid("the answer is no HTTP"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_batch_is_posted_whole_and_the_status_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let collector = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut read = Vec::new();
            let mut part = [0; 1024];
            while !read.ends_with(b"batch") {
                let more = stream.read(&mut part).unwrap();
                read.extend_from_slice(&part[..more]);
            }
            stream
                .write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
                .unwrap();
            String::from_utf8(read).unwrap()
        });
        let request = Request::post(format!("http://{address}/v1/traces"))
            .header("content-type", "application/x-protobuf")
            .body(Bytes::from_static(b"batch"))
            .unwrap();
        assert_eq!(exchange(&request).unwrap().status(), 503);
        let read = collector.join().unwrap();
        assert!(read.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{read}");
        assert!(read.contains("\r\ncontent-length: 5\r\n"), "{read}");
        assert!(
            read.contains("\r\ncontent-type: application/x-protobuf\r\n"),
            "{read}"
        );
        assert!(exchange(&request).is_err(), "nobody listens any more");
        assert!(status(b"SSH-2.0-x").is_err());
    }
}
