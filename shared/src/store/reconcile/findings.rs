//! What the daily job found: kept until a later run does not find it any more.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    domain::reconcile::Finding,
    ids::FirmId,
    store::error::{Error, Result},
};

/// A run over one firm.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Its id.
    pub id: Uuid,
    /// From when on objects were compared.
    pub since: DateTime<Utc>,
    /// Until when.
    pub until: DateTime<Utc>,
    /// How many of Stripe's objects were this firm's.
    pub objects: i64,
    /// Why it ran.
    pub cause: String,
    /// Business time.
    pub at: DateTime<Utc>,
}

fn column(value: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|fault| Error::Other(sqlx::Error::Encode(fault.into())))
}

/// Keeps what a run found, and settles what it did not find any more if it saw all there is (`complete`). Returns the ids of what
/// was not open before.
///
/// # Errors
/// When the database is away.
pub async fn keep(
    conn: &mut PgConnection,
    firm: FirmId,
    run: &NewRun,
    findings: &[Finding],
    complete: bool,
) -> Result<Vec<Uuid>> {
    sqlx::query!(
        "insert into recon_runs (firm_id, id, since, until, objects, findings, run_at, cause) values ($1, $2, $3, $4, $5, $6, $7, $8)",
        firm.0,
        run.id,
        run.since,
        run.until,
        run.objects,
        i32::try_from(findings.len()).unwrap_or(i32::MAX),
        run.at,
        run.cause,
    )
    .execute(&mut *conn)
    .await?;
    let ids: Vec<Uuid> = findings.iter().map(|finding| finding.id(firm)).collect();
    sqlx::query!(
        "update recon_findings set settled_at = case when id = any($2) then null else $3::timestamptz end, seen_at = case when id = any($2) then $3 else seen_at end
          where firm_id = $1 and settled_at is null and ($4 or id = any($2))",
        firm.0,
        &ids,
        run.at,
        complete
    )
    .execute(&mut *conn)
    .await?;
    let rows = findings
        .iter()
        .zip(&ids)
        .map(|(finding, id)| {
            Ok(json!({
                "id": id, "kind": finding.kind, "layer": finding.layer, "subject": finding.subject,
                "ours": column(&finding.ours)?, "stripe": column(&finding.stripe)?, "repair": column(&finding.repair)?,
                "object_at": finding.object_at,
            }))
        })
        .collect::<Result<Vec<Value>>>()?;
    Ok(sqlx::query_scalar!(
        "insert into recon_findings (firm_id, id, seq, run_id, kind, layer, subject, ours, stripe, repair, object_at, found_at, seen_at)
         select $1, f.id, coalesce((select max(seq) from recon_findings o where o.firm_id = $1 and o.id = f.id), 0) + 1, $2, f.kind, f.layer,
                f.subject, nullif(f.ours, 'null'), nullif(f.stripe, 'null'), nullif(f.repair, 'null'), f.object_at, $3, $3
           from unnest($4::jsonb[]) as row (f_json)
           cross join lateral jsonb_to_record(row.f_json) as f (id uuid, kind text, layer text, subject text, ours jsonb, stripe jsonb,
                                                              repair jsonb, object_at timestamptz)
         on conflict (firm_id, id) where settled_at is null do nothing returning id",
        firm.0,
        run.id,
        run.at,
        &rows
    )
    .fetch_all(conn)
    .await?)
}

/// Lets the statements of this transaction take as long as reading all of a large firm's books may take, half an hour each: those
/// of a job usually end after a minute.
///
/// # Errors
/// When the database is away.
pub async fn take_time(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!("select set_config('statement_timeout', '30min', true) as set")
        .fetch_one(conn)
        .await?;
    Ok(())
}

/// Settles a finding that a repair has dealt with.
///
/// # Errors
/// When the database is away.
pub async fn settle(conn: &mut PgConnection, firm: FirmId, finding: Uuid, at: DateTime<Utc>) -> Result<()> {
    sqlx::query!(
        "update recon_findings set settled_at = $3 where firm_id = $1 and id = $2 and settled_at is null",
        firm.0,
        finding,
        at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How many findings of a firm are open.
///
/// # Errors
/// When the database is away.
pub async fn count_open(conn: &mut PgConnection, firm: FirmId) -> Result<i64> {
    Ok(sqlx::query_scalar!(
        r#"select count(*) as "open!" from recon_findings where firm_id = $1 and settled_at is null"#,
        firm.0
    )
    .fetch_one(conn)
    .await?)
}

/// One repairer of a firm at a time: a second one waits, and finds what the first has done.
///
/// # Errors
/// When the database is away.
pub async fn lock_repairs(conn: &mut PgConnection, firm: FirmId) -> Result<()> {
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended('reconcile:' || $1::text, 0)) as locked",
        firm.to_string()
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}

/// When the objects of the open findings were made, the oldest first: the next run looks at each again, or it would take it for
/// settled.
///
/// # Errors
/// When the database is away.
pub async fn times_of_open(conn: &mut PgConnection, firm: FirmId) -> Result<Vec<DateTime<Utc>>> {
    Ok(sqlx::query_scalar!(
        r#"select distinct object_at as "at!" from recon_findings
            where firm_id = $1 and settled_at is null and object_at is not null order by 1"#,
        firm.0
    )
    .fetch_all(conn)
    .await?)
}

/// A firm with open findings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// What people call it.
    pub firm: String,
    /// How many.
    pub findings: i64,
}

/// Firms with open findings; counts only.
///
/// # Errors
/// When the database is away.
pub async fn open(conn: &mut PgConnection) -> Result<Vec<Open>> {
    Ok(sqlx::query_as!(
        Open,
        r#"select firm as "firm!", findings as "findings!" from app.open_findings()"#
    )
    .fetch_all(conn)
    .await?)
}

/// A finding as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FindingRow {
    /// The same difference has the same id.
    pub id: Uuid,
    /// Counts how often it came back.
    pub seq: i32,
    /// What differs.
    pub kind: String,
    /// Where: `L1` to `L5`.
    pub layer: String,
    /// The object that it is about.
    pub subject: String,
    /// Our side.
    pub ours: Option<Value>,
    /// Stripe's.
    pub stripe: Option<Value>,
    /// What would mend it.
    pub repair: Option<Value>,
    /// When it was found first.
    pub found_at: DateTime<Utc>,
    /// When it was found last.
    pub seen_at: DateTime<Utc>,
    /// When it was not found any more, or was mended.
    pub settled_at: Option<DateTime<Utc>>,
}

/// Findings of a firm, the latest first: open ones, or all; after one of a page before, by its time, id and count.
///
/// # Errors
/// When the database is away.
pub async fn list(
    conn: &mut PgConnection,
    firm: FirmId,
    settled_too: bool,
    after: Option<(DateTime<Utc>, Uuid, i32)>,
    most: i64,
) -> Result<Vec<FindingRow>> {
    let (at, id, seq) = match after {
        Some((at, id, seq)) => (Some(at), Some(id), Some(seq)),
        None => (None, None, None),
    };
    Ok(sqlx::query_as!(
        FindingRow,
        "select id, seq, kind, layer, subject, ours, stripe, repair, found_at, seen_at, settled_at from recon_findings
          where firm_id = $1 and ($2 or settled_at is null)
            and ($3::timestamptz is null or (found_at, id, seq) < ($3, $4, $5))
          order by found_at desc, id desc, seq desc limit $6",
        firm.0,
        settled_too,
        at,
        id,
        seq,
        most
    )
    .fetch_all(conn)
    .await?)
}
