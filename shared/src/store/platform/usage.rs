//! What a firm uses, as whoever counts it reports it.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;

use super::{subscriptions, tiers};
use crate::{
    domain::{
        alert::{AlertType, Topic},
        platform::{Metric, Usage},
    },
    ids::FirmId,
    store::{
        alerts::{self, NewAlert},
        audit::{Cause, Severity},
        error::{Error, Result},
    },
};

/// Tier of a firm that pays for none.
pub const WITHOUT_SUBSCRIPTION: &str = "FREE";

/// What the firm uses of what its tier allows: an active subscription's, else what is free. Employees that nobody reported are the
/// firm's users, its clients' not among them.
///
/// # Errors
/// When the database is away.
pub async fn of(conn: &mut PgConnection, firm: FirmId) -> Result<Vec<Usage>> {
    let subscribed = subscriptions::current(conn, firm).await?;
    let active = subscribed.filter(|subscription| subscription.is_active);
    let tier = active.and_then(|subscription| subscription.tier);
    let tier = tiers::find(conn, tier.as_deref().unwrap_or(WITHOUT_SUBSCRIPTION)).await?;
    let reported = sqlx::query!(
        "select metric, used from platform_usage where firm_id = $1
         union all
         select 'employees', count(*) from users where firm_id = $1 and role <> 'client'
         having not exists (select 1 from platform_usage where firm_id = $1 and metric = 'employees')",
        firm.0
    )
    .fetch_all(conn)
    .await?;
    let mut usage = Vec::new();
    for row in reported {
        let word = row.metric.unwrap_or_default();
        let metric: Metric = word.parse().map_err(Error::corrupt)?;
        usage.push(Usage {
            metric,
            used: row.used.unwrap_or_default(),
            limit: tier.as_ref().and_then(|tier| tier.limit(metric)),
        });
    }
    usage.sort_by_key(|usage| Metric::ALL.iter().position(|metric| *metric == usage.metric));
    Ok(usage)
}

/// Raises an alert for each limit that is nearly reached, and resolves those of limits that are not. One that is open is not
/// raised again: nothing new is known.
///
/// # Errors
/// When the database is away.
pub async fn tell(conn: &mut PgConnection, firm: FirmId, now: DateTime<Utc>, cause: &Cause) -> Result<()> {
    for usage in of(conn, firm).await? {
        let topic = Topic::UsageHigh(usage.metric);
        let (true, Some(limit)) = (usage.is_high(), usage.limit) else {
            alerts::resolve(conn, firm, now, &[topic], "system").await?;
            continue;
        };
        if alerts::is_open(conn, firm, &topic).await? {
            continue;
        }
        let (metric, used) = (usage.metric, usage.used);
        let alert = NewAlert {
            kind: AlertType::UsageHigh,
            severity: Severity::Warning,
            topic,
            title: "A limit of the tier is nearly reached",
            message: &format!("{used} of {limit} {metric} are used. A higher tier allows more."),
            invoice: None,
            related: json!({"metric": metric, "used": used, "limit": limit, "percent": usage.percent()}),
            cause,
        };
        alerts::raise(conn, firm, now, &alert).await?;
    }
    Ok(())
}

/// Keeps what somebody counted. An older count changes nothing.
///
/// # Errors
/// When the database is away.
pub async fn report(
    conn: &mut PgConnection,
    firm: FirmId,
    (metric, used): (Metric, i64),
    by: &str,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "insert into platform_usage (firm_id, metric, used, measured_at, reported_by) values ($1, $2, $3, $4, $5)
         on conflict (firm_id, metric) do update set used = excluded.used, measured_at = excluded.measured_at,
           reported_by = excluded.reported_by
         where platform_usage.measured_at <= excluded.measured_at",
        firm.0,
        metric.as_str(),
        used,
        now,
        by
    )
    .execute(conn)
    .await?;
    Ok(())
}
