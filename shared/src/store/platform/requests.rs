//! What was asked of Stripe, what became of it, and the links that came of it.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use crate::{
    domain::platform::Ask,
    ids::{FirmId, PlatformRequestId},
    store::{
        audit::By,
        error::{Error, Result, one_row},
    },
};

/// A request as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    /// Its id.
    pub id: PlatformRequestId,
    /// `subscribe`, `change_tier`, …
    pub kind: String,
    /// `requested`, `done` or `failed`.
    pub state: String,
    /// Why it failed: Stripe's code, or ours.
    pub failure_code: Option<String>,
    /// When it was asked.
    pub requested_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// The link that was asked for, as long as it works.
    pub url: Option<String>,
    /// Until when it does.
    pub url_expires_at: Option<DateTime<Utc>>,
}

/// A request of this firm.
///
/// # Errors
/// When the database is away.
pub async fn find(conn: &mut PgConnection, firm: FirmId, id: PlatformRequestId) -> Result<Option<Request>> {
    Ok(sqlx::query_as!(
        Request,
        r#"select r.id as "id: PlatformRequestId", r.kind, r.state, r.failure_code, r.requested_at, r.finished_at,
                  l.url as "url?", l.expires_at as "url_expires_at?"
             from platform_requests r
             left join platform_links l on l.firm_id = r.firm_id and l.request_id = r.id and l.expires_at > app.now()
            where r.firm_id = $1 and r.id = $2"#,
        firm.0,
        id.0
    )
    .fetch_optional(conn)
    .await?)
}

/// Whether a change of what the firm pays is on its way.
///
/// # Errors
/// When the database is away.
pub async fn change_is_open(conn: &mut PgConnection, firm: FirmId) -> Result<bool> {
    Ok(sqlx::query_scalar!(
        r#"select exists (select 1 from platform_requests where firm_id = $1 and state = 'requested'
             and kind in ('customer', 'subscribe', 'change_tier', 'auto_renewal', 'cancel')) as "open!""#,
        firm.0
    )
    .fetch_one(conn)
    .await?)
}

/// Writes a request down.
pub(super) async fn insert(
    conn: &mut PgConnection,
    firm: FirmId,
    ask: &Ask,
    reason: Option<&str>,
    by: &By<'_>,
) -> Result<PlatformRequestId> {
    let id = PlatformRequestId::new();
    let (auto_renewal, return_url) = match ask {
        Ask::AutoRenewal { on } => (Some(*on), None),
        Ask::BillingLink { return_url } | Ask::CheckoutLink { return_url, .. } => (None, Some(return_url)),
        Ask::Customer | Ask::BillingEmail | Ask::Subscribe { .. } | Ask::ChangeTier { .. } | Ask::Cancel => {
            (None, None)
        }
    };
    sqlx::query!(
        "insert into platform_requests (firm_id, id, kind, tier, auto_renewal, return_url, reason, requested_by, requested_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        firm.0,
        id.0,
        ask.kind(),
        ask.tier(),
        auto_renewal,
        return_url,
        reason,
        by.actor.name(),
        by.at,
    )
    .execute(conn)
    .await?;
    Ok(id)
}

/// A request that is to be carried out, with its row locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What was asked.
    pub ask: Ask,
    /// It has ended.
    pub is_over: bool,
    /// When it was first sent.
    pub sent_at: Option<DateTime<Utc>>,
}

/// Locks a request and reads what is to be done.
///
/// # Errors
/// When the database is away.
pub async fn lock(conn: &mut PgConnection, firm: FirmId, id: PlatformRequestId) -> Result<Option<Order>> {
    let row = sqlx::query!(
        "select kind, tier, auto_renewal, return_url, state, sent_at from platform_requests where firm_id = $1 and id = $2 for update",
        firm.0,
        id.0
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    // The table has a check that what a kind needs is there.
    let tier = row.tier.unwrap_or_default();
    let return_url = row.return_url.unwrap_or_default();
    let ask = match row.kind.as_str() {
        "customer" => Ask::Customer,
        "billing_email" => Ask::BillingEmail,
        "subscribe" => Ask::Subscribe { tier },
        "change_tier" => Ask::ChangeTier { tier },
        "auto_renewal" => Ask::AutoRenewal {
            on: row.auto_renewal.unwrap_or_default(),
        },
        "cancel" => Ask::Cancel,
        "billing_link" => Ask::BillingLink { return_url },
        "checkout_link" => Ask::CheckoutLink { tier, return_url },
        other => return Err(Error::corrupt(format!("unknown kind of request {other:?}"))),
    };
    Ok(Some(Order {
        ask,
        is_over: row.state != "requested",
        sent_at: row.sent_at,
    }))
}

/// Something is about to be sent for it.
///
/// # Errors
/// When the database is away.
pub async fn mark_sent(
    conn: &mut PgConnection,
    firm: FirmId,
    id: PlatformRequestId,
    now: DateTime<Utc>,
) -> Result<()> {
    let done = sqlx::query!(
        "update platform_requests set sent_at = coalesce(sent_at, $3) where firm_id = $1 and id = $2",
        firm.0,
        id.0,
        now
    )
    .execute(conn)
    .await?;
    one_row("mark a request as sent", done.rows_affected())
}

/// Ends it: done, or refused with a code.
///
/// # Errors
/// When the database is away.
pub async fn end(
    conn: &mut PgConnection,
    firm: FirmId,
    id: PlatformRequestId,
    failure_code: Option<&str>,
    now: DateTime<Utc>,
) -> Result<()> {
    let done = sqlx::query!(
        "update platform_requests set state = case when $3::text is null then 'done' else 'failed' end, failure_code = $3, finished_at = $4
          where firm_id = $1 and id = $2",
        firm.0,
        id.0,
        failure_code,
        now
    )
    .execute(conn)
    .await?;
    one_row("end a request", done.rows_affected())
}

/// Keeps the link that was asked for until it expires, and forgets those of this firm that have.
///
/// # Errors
/// When the database is away.
pub async fn keep_link(
    conn: &mut PgConnection,
    firm: FirmId,
    id: PlatformRequestId,
    (url, expires_at): (&str, DateTime<Utc>),
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "delete from platform_links where firm_id = $1 and expires_at <= $2",
        firm.0,
        now
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "insert into platform_links (firm_id, request_id, url, expires_at) values ($1, $2, $3, $4)
         on conflict (firm_id, request_id) do nothing",
        firm.0,
        id.0,
        url,
        expires_at
    )
    .execute(conn)
    .await?;
    Ok(())
}
