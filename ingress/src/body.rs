//! Reads a request's body within its limits: size, time, and the memory that all bodies together may take.

use std::time::Duration;

use axum::{
    body::{Body, BodyDataStream, HttpBody},
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{refusals::Reason, reply::Rejection};

/// Largest body taken. Stripe's largest events are a few hundred KiB.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// A body must have arrived in full after this long.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Of a body that is too large, this much more is read and thrown away, so that a client which sends first and reads
/// afterwards sees our answer instead of a reset connection.
const DISCARD_BYTES: usize = 8 << 20;
/// What one request may hold on average when as many are under way as we take on. The rare large body takes the
/// places of several small ones.
const FAIR_SHARE_KIB: usize = 64;

/// How much memory bodies may take together, so that a flood of large unsigned bodies cannot exhaust it.
pub struct Budget {
    kib: Semaphore,
}

impl Budget {
    /// For this many requests at once.
    pub fn new(max_in_flight: usize) -> Self {
        // Never less than one body of the largest size: else that one could never be taken.
        let kib = (max_in_flight * FAIR_SHARE_KIB).max(MAX_BODY_BYTES / 1024);
        Self {
            kib: Semaphore::new(kib),
        }
    }

    /// Sets memory aside for a body of at most this size.
    fn take(&self, bytes: usize) -> Result<SemaphorePermit<'_>, Rejection> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let memory = self.kib.try_acquire_many(kib);
        memory.map_err(|_| Rejection::Saturated(Reason::Memory))
    }
}

/// The whole body, and the memory set aside for it: keep that as long as the body.
pub async fn read<'a>(
    headers: &HeaderMap,
    body: Body,
    budget: &'a Budget,
) -> Result<(Bytes, SemaphorePermit<'a>), Rejection> {
    let announced = body.size_hint().exact().map(usize::try_from);
    let mut chunks = body.into_data_stream();
    let length = match announced {
        None => MAX_BODY_BYTES,
        Some(Ok(length)) if length <= MAX_BODY_BYTES => length,
        Some(_) => {
            // A client that asks first whether it may send has sent nothing yet.
            if !headers.contains_key(header::EXPECT) {
                discard(&mut chunks).await;
            }
            return Err(Rejection::TooLarge);
        }
    };
    let memory = budget.take(length)?;
    match tokio::time::timeout(BODY_TIMEOUT, collect(&mut chunks, length)).await {
        Ok(Ok(body)) => Ok((body, memory)),
        Ok(Err(Rejection::TooLarge)) => {
            drop(memory);
            discard(&mut chunks).await;
            Err(Rejection::TooLarge)
        }
        Ok(Err(rejection)) => Err(rejection),
        Err(_elapsed) => Err(Rejection::SlowBody),
    }
}

async fn collect(chunks: &mut BodyDataStream, length: usize) -> Result<Bytes, Rejection> {
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Rejection::BrokenBody)?;
        if first.len() + whole.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(Rejection::TooLarge);
        }
        if whole.is_empty() && first.is_empty() {
            first = chunk; // the usual case: it is the only one, and nothing is copied
        } else {
            if whole.is_empty() {
                whole.reserve(length);
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&chunk);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// Reads on for a while and keeps nothing.
async fn discard(chunks: &mut BodyDataStream) {
    let reading = async {
        let mut seen = 0;
        while let Some(Ok(chunk)) = chunks.next().await {
            seen += chunk.len();
            if seen > DISCARD_BYTES {
                break;
            }
        }
    };
    if tokio::time::timeout(BODY_TIMEOUT, reading).await.is_err() {
        tracing::debug!("the rest of a body that is too large did not arrive in time");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn taken(chunks: &[usize]) -> Result<usize, Rejection> {
        let chunks: Vec<_> = chunks
            .iter()
            .map(|n| Ok::<_, std::io::Error>(vec![b'x'; *n]))
            .collect();
        let body = Body::from_stream(futures::stream::iter(chunks));
        let budget = Budget::new(1);
        let (body, _memory) = read(&HeaderMap::new(), body, &budget).await?;
        assert!(body.iter().all(|b| *b == b'x'));
        Ok(body.len())
    }

    #[tokio::test]
    async fn the_limit_is_exact_and_holds_while_streaming() {
        assert_eq!(taken(&[]).await, Ok(0));
        assert_eq!(taken(&[MAX_BODY_BYTES]).await, Ok(MAX_BODY_BYTES));
        assert_eq!(taken(&[1, MAX_BODY_BYTES - 2, 1]).await, Ok(MAX_BODY_BYTES));
        assert_eq!(taken(&[MAX_BODY_BYTES + 1]).await, Err(Rejection::TooLarge));
        assert_eq!(taken(&[MAX_BODY_BYTES, 1]).await, Err(Rejection::TooLarge));
    }

    #[tokio::test]
    async fn bodies_together_stay_within_the_budget() {
        let budget = Budget::new(32); // 2 MiB: two of the largest
        let large = || Body::from(vec![b'x'; MAX_BODY_BYTES]);
        let first = read(&HeaderMap::new(), large(), &budget).await.unwrap();
        let _second = read(&HeaderMap::new(), large(), &budget).await.unwrap();
        let third = read(&HeaderMap::new(), Body::from("x"), &budget).await;
        assert_eq!(third.map(|_| ()), Err(Rejection::Saturated(Reason::Memory)));
        drop(first);
        assert!(read(&HeaderMap::new(), large(), &budget).await.is_ok());
    }
}
