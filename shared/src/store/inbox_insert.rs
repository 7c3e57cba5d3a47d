//! The one statement by which an event comes in: the door's, and that of the backfill for what never came to the door.
//!
//! It needs no explicit transaction around it. The ingress gives it none: then it is one transaction by itself, one round trip, and its
//! result counts only after Postgres has reported that it is ready again, which it does after the commit; sqlx reads that far.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    Result,
    jobs::{NUDGE_CHANNEL, Queue},
};
use crate::{counts, domain::event::Event};

/// How an event came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Stripe delivered it.
    Webhook,
    /// We asked for it.
    Backfill,
}

impl Via {
    /// As in the `via` column.
    fn as_str(self) -> &'static str {
        match self {
            Via::Webhook => "webhook",
            Via::Backfill => "backfill",
        }
    }

    /// Of its job: what somebody waits for goes before what nobody has missed so far.
    fn priority(self) -> i16 {
        match self {
            Via::Webhook => 2,
            Via::Backfill => 4,
        }
    }
}

/// Writes events, their bodies and their jobs, all or nothing; returns the ids of those that were not there before.
///
/// The commit is durable even where `synchronous_commit` is off: the statement turns it on for itself. (P1)
/// The nudge is sent once, and only if there is something new.
///
/// # Errors
/// When Postgres refuses a row, is away, or did not say that it committed. In the last case it may have.
pub async fn insert(conn: &mut PgConnection, events: &[&Event], via: Via) -> Result<Vec<String>> {
    let job_ids: Vec<_> = events.iter().map(|_| Uuid::now_v7()).collect();
    let ids: Vec<_> = events.iter().map(|e| e.id.as_str()).collect();
    let kinds: Vec<_> = events.iter().map(|e| e.kind.as_str()).collect();
    let api_versions: Vec<_> = events.iter().map(|e| e.api_version.as_deref()).collect();
    let accounts: Vec<_> = events.iter().map(|e| e.account.as_deref()).collect();
    let livemodes: Vec<_> = events.iter().map(|e| e.livemode).collect();
    let object_types: Vec<_> = events.iter().map(|e| e.object_type.as_deref()).collect();
    let object_ids: Vec<_> = events.iter().map(|e| e.object_id.as_deref()).collect();
    let created_at: Vec<_> = events.iter().map(|e| e.created_at).collect();
    let received_at: Vec<_> = events.iter().map(|e| e.received_at).collect();
    let facts: Vec<_> = events.iter().map(|e| e.facts.as_str()).collect();
    let order_keys: Vec<_> = events.iter().map(|e| e.order_key.as_deref()).collect();
    let bodies: Vec<_> = events.iter().map(|e| &e.body[..]).collect();
    let digests: Vec<_> = events.iter().map(|e| &e.body_sha256[..]).collect();
    let traceparents: Vec<_> = events.iter().map(|e| e.traceparent.as_deref()).collect();
    let written = sqlx::query!(
        r#"with given as materialized (
             select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bool[], $7::text[], $8::text[],
                                  $9::timestamptz[], $10::timestamptz[], $11::text[], $12::text[], $13::bytea[], $14::bytea[], $18::text[])
               as g (job_id, stripe_event_id, type, api_version, account, livemode, object_type, object_id,
                     created_at, received_at, facts, order_key, body, body_sha256, traceparent)
           ), setting as materialized (
             select app.now() as now,
                    case when current_setting('synchronous_commit') not in ('on', 'remote_apply')
                         then set_config('synchronous_commit', 'on', true) end as turned_on
           ), event as (
             insert into stripe_events (stripe_event_id, type, api_version, account, livemode, object_type, object_id,
                                        created_at, received_at, via, body_sha256, facts)
             select stripe_event_id, type, api_version, account, livemode, object_type, object_id,
                    created_at, received_at, $16, body_sha256, facts::jsonb
               from given
             on conflict (stripe_event_id) do nothing
             returning stripe_event_id
           ), body as (
             insert into stripe_event_bodies (stripe_event_id, received_at, body)
             select stripe_event_id, received_at, given.body from given join event using (stripe_event_id)
             on conflict (stripe_event_id) do nothing
           ), job as (
             insert into jobs (id, queue, kind, dedupe_key, order_key, payload, priority, run_at, created_at, traceparent)
             select job_id, 'events', 'process_stripe_event', stripe_event_id, order_key,
                    jsonb_build_object('event_id', stripe_event_id), $17, setting.now, setting.now, given.traceparent
               from given join event using (stripe_event_id) cross join setting
              order by created_at, received_at
             on conflict (kind, dedupe_key) do nothing
           ), nudge as materialized (
             select pg_notify($15, '') from event limit 1
           )
           select coalesce((select array_agg(stripe_event_id) from event), '{}') as "fresh!",
                  (select count(*) from nudge) as "nudges!",
                  (select turned_on from setting) as turned_on"#,
        &job_ids,
        &ids as _,
        &kinds as _,
        &api_versions as _,
        &accounts as _,
        &livemodes as _,
        &object_types as _,
        &object_ids as _,
        &created_at,
        &received_at,
        &facts as _,
        &order_keys as _,
        &bodies as _,
        &digests as _,
        NUDGE_CHANNEL,
        via.as_str(),
        via.priority(),
        &traceparents as _,
    )
    .fetch_one(conn)
    .await?;
    counts::enqueued(
        Queue::Events,
        u64::try_from(written.fresh.len()).unwrap_or(u64::MAX),
    );
    Ok(written.fresh)
}
