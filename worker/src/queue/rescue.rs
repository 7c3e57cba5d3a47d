//! Takes jobs back from workers that died or fell silent, and keeps a job that kills its workers from killing more.
//!
//! A transactional job of a dead worker was rolled back by Postgres and only needs to be handed over again; an
//! external one is made available once its owner is dead or its lease has run out. Neither spends an attempt. After
//! [`MOST_CRASHES`] the job is discarded: a person must look at what it does to its workers.

use std::{sync::Arc, time::Duration};

use shared::{
    failpoint,
    store::{Db, Result, silence::answered},
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::heartbeat::DEAD_AFTER_SECS;
use crate::metrics::{Metrics, RESCUES};

/// How often each worker looks; one at a time does.
pub const EVERY: Duration = Duration::from_secs(2);

/// Longest look: a few statements, one of which may find that a hundred jobs lost their worker.
const LOOK: Duration = Duration::from_secs(20);

/// Workers that a job may take down with it before it is quarantined.
pub const MOST_CRASHES: i32 = 5;

/// Serialises rescue over all workers.
const RESCUE_LOCK: i64 = 0x7175_6974_7265_7363;

/// What one look found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rescued {
    /// Transactional jobs of dead workers.
    pub transactional: i64,
    /// External jobs of dead workers, or with an expired lease.
    pub external: i64,
    /// Of all these, the ones that were discarded.
    pub quarantined: i64,
}

/// Looks once. `None`: another worker is looking.
///
/// # Errors
/// When the database is away.
pub async fn once(db: &Db) -> Result<Option<Rescued>> {
    let mut tx = db.plain().await?;
    let ours = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "ours!""#, RESCUE_LOCK)
        .fetch_one(&mut *tx)
        .await?;
    if !ours {
        return Ok(None);
    }
    let (transactional, quarantined_notes) = noted_runs(&mut tx).await?;
    let (external, quarantined_claims) = claims(&mut tx).await?;
    bury(&mut tx).await?;
    tx.commit().await?;
    Ok(Some(Rescued {
        transactional,
        external,
        quarantined: quarantined_notes + quarantined_claims,
    }))
}

/// Runs noted by workers that are dead or unknown. A row that is still locked belongs to a transaction that Postgres
/// has not ended yet; its note stays for the next look.
async fn noted_runs(conn: &mut sqlx::PgConnection) -> Result<(i64, i64)> {
    let row = sqlx::query!(
        r#"
        with lost as materialized (
          select r.job_id, r.worker_id from job_runs r left join workers w on w.id = r.worker_id
           where coalesce(w.heartbeat_at, r.started_at) < clock_timestamp() - make_interval(secs => $1)),
        free as materialized (
          select j.id from jobs j
           where j.id in (select job_id from lost) and j.state in ('available', 'retryable')
             for update of j skip locked),
        rescued as (
          update jobs set crashes = crashes + 1, dispatched_at = null,
                 state = case when crashes + 1 >= $2 then 'discarded' else state end,
                 finished_at = case when crashes + 1 >= $2 then app.now() end,
                 last_error = case when crashes + 1 >= $2
                   then format('quarantined: %s workers died while running it', crashes + 1) else last_error end
           where id in (select id from free)
          returning state),
        forgotten as (
          delete from job_runs r using lost l
           where r.job_id = l.job_id and r.worker_id = l.worker_id
             and (l.job_id in (select id from free)
                  or not exists (select from jobs j where j.id = l.job_id and j.state in ('available', 'retryable'))))
        select count(*) as "rescued!", count(*) filter (where state = 'discarded') as "quarantined!" from rescued
        "#,
        DEAD_AFTER_SECS,
        MOST_CRASHES,
    )
    .fetch_one(conn)
    .await?;
    Ok((row.rescued, row.quarantined))
}

/// External jobs whose lease ran out or whose owner is dead. The claim had counted the attempt; it is given back.
async fn claims(conn: &mut sqlx::PgConnection) -> Result<(i64, i64)> {
    let row = sqlx::query!(
        r#"
        with lost as materialized (
          select j.id from jobs j
           where j.state = 'running'
             and (j.lease_until < clock_timestamp()
                  or exists (select from workers w where w.id = j.lease_owner
                                and w.heartbeat_at < clock_timestamp() - make_interval(secs => $1)))
             for update of j skip locked),
        rescued as (
          update jobs set crashes = crashes + 1, dispatched_at = null, lease_owner = null, lease_until = null,
                 attempt = greatest(attempt - 1, 0),
                 state = case when crashes + 1 >= $2 then 'discarded' else 'available' end,
                 finished_at = case when crashes + 1 >= $2 then app.now() end,
                 last_error = case when crashes + 1 >= $2
                   then format('quarantined: %s workers died while running it', crashes + 1) else last_error end
           where id in (select id from lost)
          returning state)
        select count(*) as "rescued!", count(*) filter (where state = 'discarded') as "quarantined!" from rescued
        "#,
        DEAD_AFTER_SECS,
        MOST_CRASHES,
    )
    .fetch_one(conn)
    .await?;
    Ok((row.rescued, row.quarantined))
}

/// Removes the rows of dead workers that hold nothing any more.
async fn bury(conn: &mut sqlx::PgConnection) -> Result<()> {
    sqlx::query!(
        "delete from workers w
          where w.heartbeat_at < clock_timestamp() - make_interval(secs => $1)
            and not exists (select from job_runs r where r.worker_id = w.id)
            and not exists (select from jobs j where j.state = 'running' and j.lease_owner = w.id)",
        DEAD_AFTER_SECS
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Looks every two seconds until `stop`.
pub async fn run(db: Db, metrics: Arc<Metrics>, stop: CancellationToken) {
    let mut away = false;
    loop {
        match failpoint::within("rescue", answered(LOOK, once(&db))).await {
            Ok(found) => {
                away = false;
                record(&metrics, found.unwrap_or_default());
            }
            Err(error) if !away => {
                away = true;
                tracing::warn!("rescue waits: {error}");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

fn record(metrics: &Metrics, found: Rescued) {
    if found == Rescued::default() {
        return;
    }
    tracing::warn!(
        found.transactional,
        found.external,
        found.quarantined,
        "took jobs back from silent workers"
    );
    let counts = [found.transactional, found.external, found.quarantined];
    for (reason, count) in RESCUES.into_iter().zip(counts) {
        metrics
            .rescued
            .with_label_values(&[reason])
            .inc_by(u64::try_from(count).unwrap_or(0));
    }
}
