//! How far Stripe's lists were read, and what of them is not in the books.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::error::{Error, Result};
use crate::{
    domain::collection::AttemptState,
    ids::{AttemptId, JobId},
};

/// A list of Stripe's that is read from where the last run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadList {
    /// Events of the last thirty days.
    Events,
    /// Charges.
    Charges,
    /// Refunds.
    Refunds,
    /// Disputes.
    Disputes,
    /// Intents of attempts without an end: a list of ours, whose intents are read one by one.
    PaymentIntents,
}

impl ReadList {
    /// As in the `list` column.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ReadList::Events => "events",
            ReadList::Charges => "charges",
            ReadList::Refunds => "refunds",
            ReadList::Disputes => "disputes",
            ReadList::PaymentIntents => "payment_intents",
        }
    }
}

/// Up to which moment (Stripe's clock) a list was read; `None` when it never was.
///
/// # Errors
/// When the database is away.
pub async fn read_until(conn: &mut PgConnection, list: ReadList) -> Result<Option<DateTime<Utc>>> {
    Ok(sqlx::query_scalar!(
        "select read_until from backfill_progress where list = $1",
        list.as_str()
    )
    .fetch_optional(conn)
    .await?)
}

/// Notes how far a list was read. It never goes back: who reads an old part again has not unread the rest.
///
/// # Errors
/// When the database is away.
pub async fn save_read_until(conn: &mut PgConnection, list: ReadList, until: DateTime<Utc>) -> Result<()> {
    sqlx::query!(
        "insert into backfill_progress (list, read_until, updated_at) values ($1, $2, app.now())
         on conflict (list) do update
           set read_until = greatest(backfill_progress.read_until, excluded.read_until), updated_at = excluded.updated_at",
        list.as_str(),
        until
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Which of these events are not in the inbox.
///
/// # Errors
/// When the database is away.
pub async fn events_not_here(conn: &mut PgConnection, ids: &[&str]) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar!(
        r#"select given.id as "id!" from unnest($1::text[]) with ordinality as given (id, n)
            where not exists (select from stripe_events e where e.stripe_event_id = given.id) order by given.n"#,
        ids as _
    )
    .fetch_all(conn)
    .await?)
}

/// Of these charges (`id`, `intent`, `captured`, `failed`, `fee`): those of ours whose outcome or fee is not in the books.
///
/// # Errors
/// When the database is away.
pub async fn charges_to_look_at(conn: &mut PgConnection, seen: &Value) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar!(
        r#"select id as "id!" from app.charges_to_look_at($1) as id"#,
        seen
    )
    .fetch_all(conn)
    .await?)
}

/// Of these refunds (`id`, `charge`, `intent`, `state`): those of ours that the books do not have, or have otherwise.
///
/// # Errors
/// When the database is away.
pub async fn refunds_to_look_at(conn: &mut PgConnection, seen: &Value) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar!(
        r#"select id as "id!" from app.refunds_to_look_at($1) as id"#,
        seen
    )
    .fetch_all(conn)
    .await?)
}

/// Of these disputes (`id`, `charge`, `intent`, `status`, `movements`): those of ours that the books do not have, or have
/// otherwise.
///
/// # Errors
/// When the database is away.
pub async fn disputes_to_look_at(conn: &mut PgConnection, seen: &Value) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar!(
        r#"select id as "id!" from app.disputes_to_look_at($1) as id"#,
        seen
    )
    .fetch_all(conn)
    .await?)
}

/// A PaymentIntent with an attempt whose end is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenIntent {
    /// `pi_…`
    pub id: String,
    /// Where the attempt stands, by our books.
    pub state: AttemptState,
    /// When it was made or sent.
    pub since: DateTime<Utc>,
    /// The attempt: the next page begins after it.
    pub attempt: AttemptId,
}

/// PaymentIntents with an attempt whose end is not known, made or sent before this time; the oldest first, `most` of them
/// after the attempt that `after` names.
///
/// # Errors
/// When the database is away.
pub async fn open_intents(
    conn: &mut PgConnection,
    sent_before: DateTime<Utc>,
    after: Option<(DateTime<Utc>, AttemptId)>,
    most: i32,
) -> Result<Vec<OpenIntent>> {
    sqlx::query!(
        r#"select intent as "intent!", state as "state!", since as "since!", attempt_id as "attempt!"
             from app.open_intents_after($1, $2, $3, $4)"#,
        sent_before,
        after.map(|(since, _)| since),
        after.map(|(_, attempt)| attempt.0),
        most
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(|row| {
        Ok(OpenIntent {
            id: row.intent,
            state: row.state.parse().map_err(Error::corrupt)?,
            since: row.since,
            attempt: AttemptId(row.attempt),
        })
    })
    .collect()
}

/// One reading of a list, from its first page to its end, by however many runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Its name. Nobody else's, so that a run that was overtaken changes nothing of the pass after it.
    pub id: Uuid,
    /// What was created from then on is read.
    pub from: DateTime<Utc>,
    /// What was created before then is read. It does not move while the pass lasts: what is newer is the next one's.
    pub before: DateTime<Utc>,
    /// The newest that was seen.
    pub newest: Option<DateTime<Utc>>,
    /// How far it has come; nowhere yet where there is none.
    pub reached: Option<DateTime<Utc>>,
}

impl Pass {
    /// A pass that has read nothing yet.
    #[must_use]
    pub fn new(from: DateTime<Utc>, before: DateTime<Utc>) -> Self {
        Self {
            id: Uuid::now_v7(),
            from,
            before,
            newest: None,
            reached: None,
        }
    }
}

/// The pass over this list that has not ended yet; where there is none, `new` begins. `of_job` goes on alone with its passes;
/// those of nobody are everybody's.
///
/// # Errors
/// When the database is away.
pub async fn take_up_pass(
    conn: &mut PgConnection,
    list: ReadList,
    of_job: Option<JobId>,
    new: &Pass,
) -> Result<Pass> {
    let of_job = of_job.map_or(Uuid::nil(), |job| job.0);
    sqlx::query!(
        "insert into backfill_passes (list, of_job, pass, from_at, before_at, updated_at)
         values ($1, $2, $3, $4, $5, app.now()) on conflict (list, of_job) do nothing",
        list.as_str(),
        of_job,
        new.id,
        new.from,
        new.before
    )
    .execute(&mut *conn)
    .await?;
    Ok(sqlx::query_as!(
        Pass,
        r#"select pass as id, from_at as "from", before_at as before, newest_at as newest, reached_at as reached
             from backfill_passes where list = $1 and of_job = $2"#,
        list.as_str(),
        of_job
    )
    .fetch_one(conn)
    .await?)
}

/// Notes how far a pass has come.
///
/// # Errors
/// When the database is away.
pub async fn save_pass(conn: &mut PgConnection, pass: &Pass) -> Result<()> {
    sqlx::query!(
        "update backfill_passes set newest_at = $2, reached_at = $3, updated_at = app.now() where pass = $1",
        pass.id,
        pass.newest,
        pass.reached
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets a pass that has come to its end.
///
/// # Errors
/// When the database is away.
pub async fn end_pass(conn: &mut PgConnection, pass: &Pass) -> Result<()> {
    sqlx::query!("delete from backfill_passes where pass = $1", pass.id)
        .execute(conn)
        .await?;
    Ok(())
}

/// Since when the oldest of what may still change at Stripe has been open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldestOpen {
    /// A refund that is under way.
    pub refund: Option<DateTime<Utc>>,
    /// A dispute without an end.
    pub dispute: Option<DateTime<Utc>>,
}

/// See [`OldestOpen`].
///
/// # Errors
/// When the database is away.
pub async fn oldest_open(conn: &mut PgConnection) -> Result<OldestOpen> {
    Ok(sqlx::query_as!(
        OldestOpen,
        "select refund, dispute from app.oldest_open_at_stripe()"
    )
    .fetch_one(conn)
    .await?)
}
