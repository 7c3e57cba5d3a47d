//! How far Stripe's lists were read, and what of them is not in the books.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use super::error::Result;

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

/// PaymentIntents with an attempt whose end is not known, made or sent before this time; the oldest first.
///
/// # Errors
/// When the database is away.
pub async fn open_intents(
    conn: &mut PgConnection,
    sent_before: DateTime<Utc>,
    most: i32,
) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar!(
        r#"select id as "id!" from app.open_intents($1, $2) as id"#,
        sent_before,
        most
    )
    .fetch_all(conn)
    .await?)
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
