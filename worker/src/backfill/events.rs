//! Stripe's own list of events against the inbox.

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use shared::{
    clock::real_now,
    domain::event::Event,
    store::backfill::{self, ReadList},
};

use super::{Found, Sink, by_stripes_clock, days};
use crate::{
    context::Context,
    events::{HANDLED, OF_PLATFORM},
    queue::JobError,
    stripe::{List, Raw},
};

/// "Events going back 30 days": an hour less, so that none vanishes while we page towards it.
pub const OLDEST: TimeDelta = match TimeDelta::try_hours(30 * 24 - 1) {
    Some(delta) => delta,
    None => TimeDelta::MAX,
};
/// Read again by every run: an event may be listed some time after its `created`, and a page costs little.
const OVERLAP: TimeDelta = days(1);
/// A list is read from new to old, and noted as read once its end is reached; so a long time is read day by day, the oldest
/// first, and a run that is broken off loses a day at most.
const SLICE: TimeDelta = days(1);

/// Reads the events of the types that we handle from `since`, or from where the last run ended, and puts those that are not
/// in the inbox there.
///
/// Events of other types are not asked for: a door that is subscribed to them stores and ignores them.
///
/// # Errors
/// When Stripe or the database is away, or the claim is lost.
pub async fn events(cx: &Context, sink: Sink<'_>, since: Option<DateTime<Utc>>) -> Result<Found, JobError> {
    let mut tx = cx.db.plain().await?;
    let now = by_stripes_clock(&tx);
    let oldest = now - OLDEST;
    let due_from = backfill::read_until(&mut tx, ReadList::Events)
        .await?
        .map_or(oldest, |read| (read.min(now) - OVERLAP).max(oldest));
    tx.rollback().await?;
    let from = since.unwrap_or(due_from).max(oldest);
    let mut found = Found::from(from);
    let mut start = from;
    loop {
        let end = start + SLICE;
        // What is new may have any time: the last slice has no end.
        let is_last = end >= now;
        let mut newest = None;
        for types in [&HANDLED[..], &OF_PLATFORM[..]] {
            let list = List::events().of_types(types).created_from(start);
            let list = if is_last { list } else { list.created_before(end) };
            newest = newest.max(slice(cx, sink, list, &mut found).await?);
        }
        let until = if is_last { newest.unwrap_or(start) } else { end };
        sink.note(&cx.db, ReadList::Events, (from, until), due_from)
            .await?;
        if is_last {
            return Ok(found);
        }
        start = end;
    }
}

/// Reads one list to its end; returns the time of the newest event on it.
async fn slice(
    cx: &Context,
    sink: Sink<'_>,
    list: List,
    found: &mut Found,
) -> Result<Option<DateTime<Utc>>, JobError> {
    let mut newest = None;
    let mut pages = cx.stripe.pages::<Raw>(list);
    while let Some(page) = pages.next().await? {
        let received_at = real_now();
        let events = page
            .iter()
            .map(|Raw(event)| parsed(cx, event, received_at))
            .collect::<Result<Vec<Event>, JobError>>()?;
        newest = newest.max(events.iter().map(|event| event.created_at).max());
        found.pages += 1;
        found.listed += u64::try_from(events.len()).unwrap_or(u64::MAX);
        let ours: Vec<Event> = events
            .into_iter()
            .filter(|event| event.livemode == cx.stripe.mode().livemode())
            .collect();
        found.add(sink.take(&cx.db, &ours).await?);
    }
    Ok(newest)
}

/// An event of the list as the door would have read it. Its bytes are those of the list; nobody has signed them.
fn parsed(cx: &Context, event: &serde_json::Value, received_at: DateTime<Utc>) -> Result<Event, JobError> {
    Event::parse(Bytes::from(event.to_string()), cx.stripe.mode(), received_at)
        .map_err(|fault| JobError::fail(format!("the list of events holds something else: {fault}")))
}
