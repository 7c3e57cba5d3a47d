//! What one statement writes: distinct events in a fixed order, each with those who wait for it.

use shared::domain::event::Event;
use tokio::sync::{mpsc, oneshot};

use crate::reply::{Receipt, Rejection};

/// Most deliveries in one statement. More gains nothing (the fsync is shared widely enough) and delays the first.
pub const MAX_EVENTS: usize = 256;
/// A batch takes no further delivery once its bodies exceed this: bounds the memory of a statement.
pub const MAX_BYTES: usize = 8 << 20;

/// A delivery that waits for its answer.
pub struct Waiting {
    /// What was delivered.
    pub event: Event,
    /// Who wants to know. Closed when the client went away or got its 503 already.
    pub answer: oneshot::Sender<Result<Receipt, Rejection>>,
}

/// One event and everybody who delivered it within this batch.
pub struct Row {
    /// What is written.
    pub event: Event,
    first: oneshot::Sender<Result<Receipt, Rejection>>,
    repeats: Vec<oneshot::Sender<Result<Receipt, Rejection>>>,
}

impl Row {
    /// Tells everybody. Of one event delivered twice in a batch, the second delivery is the duplicate.
    pub fn answer(self, outcome: Result<Receipt, Rejection>) {
        for (answer, outcome) in std::iter::once((self.first, outcome)).chain(
            self.repeats
                .into_iter()
                .map(|repeat| (repeat, outcome.map(|_| Receipt::Duplicate))),
        ) {
            if answer.send(outcome).is_err() {
                tracing::debug!("a client went away before its answer");
            }
        }
    }
}

/// Waits for a delivery and takes it with all others that wait. `None` when no more can come.
///
/// A delivery whose client is gone is left out: it was answered 503 or not at all, so Stripe delivers it again.
pub async fn next(queue: &mut mpsc::Receiver<Waiting>) -> Option<Vec<Waiting>> {
    let mut taken = vec![queue.recv().await?];
    let mut bytes = taken[0].event.body.len();
    while taken.len() < MAX_EVENTS && bytes < MAX_BYTES {
        match queue.try_recv() {
            Ok(waiting) => {
                bytes += waiting.event.body.len();
                taken.push(waiting);
            }
            Err(_empty) => break,
        }
    }
    taken.retain(|waiting| !waiting.answer.is_closed());
    Some(taken)
}

/// Distinct events, ordered by id, so that two transactions that write the same ones never wait for each other in a
/// circle.
pub fn rows(mut taken: Vec<Waiting>) -> Vec<Row> {
    taken.sort_by(|a, b| a.event.id.cmp(&b.event.id)); // stable: who came first stays first
    let mut rows: Vec<Row> = Vec::with_capacity(taken.len());
    for Waiting { event, answer } in taken {
        match rows.last_mut() {
            Some(row) if row.event.id == event.id => row.repeats.push(answer),
            _ => rows.push(Row {
                event,
                first: answer,
                repeats: Vec::new(),
            }),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::refusals::Reason;

    const FAILED: Rejection = Rejection::Unavailable(Reason::CommitFailed);

    type Answer = oneshot::Receiver<Result<Receipt, Rejection>>;

    fn waiting(id: &str, note: usize) -> (Waiting, Answer) {
        let body = format!(r#"{{"id":"{id}","type":"x","note":"{}"}}"#, "n".repeat(note));
        let received_at = chrono::DateTime::from_timestamp(1_795_000_000, 0).unwrap();
        let event = Event::parse(Bytes::from(body), shared::config::Mode::Test, received_at).unwrap();
        let (answer, answered) = oneshot::channel();
        (Waiting { event, answer }, answered)
    }

    #[test]
    fn s7_the_same_event_twice_in_a_batch_is_one_row_and_one_duplicate() {
        let (first, first_answer) = waiting("evt_b", 1);
        let (other, other_answer) = waiting("evt_a", 0);
        let (second, second_answer) = waiting("evt_b", 2);
        let rows = rows(vec![first, other, second]);
        let ids: Vec<_> = rows.iter().map(|row| row.event.id.as_str()).collect();
        assert_eq!(ids, ["evt_a", "evt_b"]);
        assert!(
            rows[1].event.body.ends_with(br#""note":"n"}"#),
            "the first delivery is the one kept"
        );
        for row in rows {
            row.answer(Ok(Receipt::New));
        }
        let answers =
            [first_answer, other_answer, second_answer].map(|a| a.blocking_recv().unwrap().unwrap());
        assert_eq!(answers, [Receipt::New, Receipt::New, Receipt::Duplicate]);
    }

    #[test]
    fn p1_a_rejected_row_rejects_its_repeats_too() {
        let (first, first_answer) = waiting("evt_a", 0);
        let (second, second_answer) = waiting("evt_a", 0);
        for row in rows(vec![first, second]) {
            row.answer(Err(FAILED));
        }
        for answer in [first_answer, second_answer] {
            assert_eq!(answer.blocking_recv().unwrap(), Err(FAILED));
        }
    }

    #[tokio::test]
    async fn a_batch_is_bounded_in_events_and_bytes_and_skips_who_is_gone() {
        let (sender, mut queue) = mpsc::channel(1000);
        let mut answers = Vec::new();
        for n in 0..MAX_EVENTS + 1 {
            let (waiting, answer) = waiting(&format!("evt_{n}"), 0);
            assert!(sender.try_send(waiting).is_ok());
            answers.push(answer);
        }
        answers.remove(0);
        assert_eq!(next(&mut queue).await.unwrap().len(), MAX_EVENTS - 1);
        assert_eq!(next(&mut queue).await.unwrap().len(), 1);
        for n in 0..12 {
            let (waiting, answer) = waiting(&format!("evt_{n}"), 1 << 20);
            assert!(sender.try_send(waiting).is_ok());
            answers.push(answer);
        }
        assert_eq!(next(&mut queue).await.unwrap().len(), 8);
        assert_eq!(next(&mut queue).await.unwrap().len(), 4);
        drop(sender);
        assert!(next(&mut queue).await.is_none());
    }
}
