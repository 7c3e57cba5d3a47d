//! What `doctor` wants to know of a database, in a few cheap statements.

use sqlx::PgConnection;

use super::{error::Result, queues};

/// The facts. Ages are in seconds of real time, except where business time decides what is due.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// This login is a member of `quittance_worker`.
    pub is_worker: bool,
    /// This login is superuser, owner or otherwise not bound by row-level security.
    pub bypasses_security: bool,
    /// Tables with a firm's rows whose row-level security is not forced.
    pub unprotected_tables: Vec<String>,
    /// Which mode this database belongs to.
    pub livemode: Option<bool>,
    /// How far the business clock is ahead.
    pub clock_offset_ms: i64,
    /// Workers with a fresh heartbeat.
    pub live_workers: i64,
    /// Jobs that could run now.
    pub due_jobs: i64,
    /// Age of the oldest of them.
    pub oldest_due_secs: Option<i64>,
    /// Jobs that a person must look at.
    pub discarded_jobs: i64,
    /// Queues that somebody paused.
    pub paused_queues: Vec<queues::Pause>,
    /// Events that a person must look at.
    pub parked_events: i64,
    /// Events that belong to nothing we know yet.
    pub unmatched_events: i64,
    /// Events not yet looked at.
    pub pending_events: i64,
    /// Age of the newest event.
    pub last_event_secs: Option<i64>,
    /// Why automatic charging is stopped everywhere, if it is.
    pub all_paused: Option<String>,
    /// Firms that are paused or parked.
    pub stopped_firms: Vec<String>,
    /// Clients that are paused or parked.
    pub stopped_clients: i64,
    /// Firms whose time zone Postgres does not know.
    pub bad_timezones: Vec<String>,
    /// Attempts whose end has been unknown for more than 15 minutes.
    pub stale_unknown: i64,
    /// Cycles that wait for another card.
    pub method_required: i64,
    /// Cycles that wait for the client.
    pub action_required: i64,
    /// Cycles that stand still, by why.
    pub paused_cycles: Vec<Paused>,
    /// What is not invoiced or charged because nobody asked for it.
    pub idle: Idle,
}

/// What is not invoiced or charged, and needs no fault for that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Idle {
    /// Engagements that have begun and are not signed: nothing of them is invoiced.
    pub unsigned_engagements: i64,
    /// Signed engagements without a schedule: their hours are invoiced when somebody asks for it.
    pub on_demand_engagements: i64,
    /// Clients with a customer at Stripe whose automatic payment is off.
    pub clients_without_autopay: i64,
    /// Clients whose automatic payment is on and whose card cannot be charged.
    pub clients_without_card: i64,
    /// Overdue invoices that are not to be paid automatically.
    pub not_opted_in: i64,
    /// Charges that have been due for more than 15 minutes, and nothing holds them.
    pub overdue_cycles: i64,
}

/// Cycles that stand still for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paused {
    /// Why, without what follows the colon.
    pub reason: String,
    /// How many.
    pub cycles: i64,
}

/// Reads them.
///
/// # Errors
/// When the database is away, or this login may not read what it must.
pub async fn facts(conn: &mut PgConnection) -> Result<Facts> {
    let rights = sqlx::query!(
        r#"select pg_has_role(current_user, 'quittance_worker', 'member') as "is_worker!",
                  (select rolsuper or rolbypassrls from pg_roles where rolname = current_user) as "bypasses!",
                  (select livemode from installation) as livemode,
                  (select autopay_paused_reason from installation) as all_paused, (select offset_ms from clock) as "offset_ms!",
                  array(select c.relname::text from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'firm_id'
                        where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace and not c.relforcerowsecurity
                        order by 1) as "unprotected!""#
    )
    .fetch_one(&mut *conn)
    .await?;
    let work = sqlx::query!(
        r#"select (select count(*) from workers where heartbeat_at > clock_timestamp() - interval '10 seconds') as "live_workers!",
                  (select count(*) from jobs where state in ('available', 'retryable') and run_at <= app.now()) as "due_jobs!",
                  (select extract(epoch from app.now() - min(run_at))::bigint from jobs
                    where state in ('available', 'retryable') and run_at <= app.now()) as oldest_due_secs,
                  (select count(*) from jobs where state = 'discarded') as "discarded!",
                  (select count(*) from stripe_events where state = 'parked') as "parked!",
                  (select count(*) from stripe_events where state = 'unmatched') as "unmatched!",
                  (select count(*) from stripe_events where state = 'pending') as "pending!",
                  (select extract(epoch from clock_timestamp() - max(received_at))::bigint from stripe_events) as last_event"#
    )
    .fetch_one(&mut *conn)
    .await?;
    let money = sqlx::query!(
        r#"select stopped_firms as "stopped_firms!", stopped_clients as "stopped_clients!", bad_timezones as "bad_timezones!",
                  stale_unknown as "stale_unknown!", method_required as "method_required!", action_required as "action_required!"
           from app.health()"#
    )
    .fetch_one(&mut *conn)
    .await?;
    let idle = sqlx::query_as!(
        Idle,
        r#"select unsigned_engagements as "unsigned_engagements!", on_demand_engagements as "on_demand_engagements!",
                  clients_without_autopay as "clients_without_autopay!", clients_without_card as "clients_without_card!",
                  not_opted_in as "not_opted_in!", overdue_cycles as "overdue_cycles!"
           from app.reasons_for_nothing()"#
    )
    .fetch_one(&mut *conn)
    .await?;
    let paused_cycles = sqlx::query_as!(
        Paused,
        r#"select reason as "reason!", cycles as "cycles!" from app.paused_cycles()"#
    )
    .fetch_all(&mut *conn)
    .await?;
    Ok(Facts {
        is_worker: rights.is_worker,
        bypasses_security: rights.bypasses,
        unprotected_tables: rights.unprotected,
        livemode: rights.livemode,
        clock_offset_ms: rights.offset_ms,
        live_workers: work.live_workers,
        due_jobs: work.due_jobs,
        oldest_due_secs: work.oldest_due_secs,
        discarded_jobs: work.discarded,
        paused_queues: queues::pauses(&mut *conn).await?,
        parked_events: work.parked,
        unmatched_events: work.unmatched,
        pending_events: work.pending,
        last_event_secs: work.last_event,
        all_paused: rights.all_paused,
        stopped_firms: money.stopped_firms,
        stopped_clients: money.stopped_clients,
        bad_timezones: money.bad_timezones,
        stale_unknown: money.stale_unknown,
        method_required: money.method_required,
        action_required: money.action_required,
        paused_cycles,
        idle,
    })
}

/// Whether this installation takes real money. `false` while it has no mode yet.
///
/// # Errors
/// When the database is away.
pub async fn is_live(conn: &mut PgConnection) -> Result<bool> {
    Ok(
        sqlx::query_scalar!(r#"select coalesce(livemode, false) as "live!" from installation"#)
            .fetch_one(conn)
            .await?,
    )
}

/// Whether this login is one that the portal may run as: a member of `quittance_portal`, of no other program's role, and bound by
/// row-level security.
///
/// # Errors
/// When the database is away.
pub async fn is_held_to_the_portal(conn: &mut PgConnection) -> Result<bool> {
    Ok(sqlx::query_scalar!(
        r#"select (pg_has_role(current_user, 'quittance_portal', 'member')
                   and not exists (select from pg_roles r where r.rolname in ('quittance_worker', 'quittance_ingress', 'quittance_scan')
                                                            and pg_has_role(current_user, r.oid, 'member'))
                   and not exists (select from pg_roles r where r.rolname = current_user and (r.rolsuper or r.rolbypassrls))
                   and not exists (select from pg_class c where c.relname = 'firms' and c.relnamespace = 'public'::regnamespace
                                                            and pg_has_role(current_user, c.relowner, 'member'))) as "held!""#
    )
    .fetch_one(conn)
    .await?)
}
