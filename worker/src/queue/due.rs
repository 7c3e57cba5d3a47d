//! Which jobs go to Redis next: due, in turn, not there yet, and fairly shared between firms.

use shared::{
    failpoint::{self, Effect},
    ids::JobId,
    sabotage::{self, Sabotage},
    store::{Result, jobs::Queue},
};
use sqlx::PgPool;
use uuid::Uuid;

/// After this long in Redis without having ended, an id is handed over again: Redis may have lost it.
pub const REDISPATCH_SECS: f64 = 15.0;

/// Firms looked at per round. Those beyond are next: the round starts where the last one ended.
const FIRMS_PER_ROUND: i64 = 50;

/// Ids that one firm may contribute per round.
const FIRM_SHARE: i64 = 40;

/// Due jobs of one firm looked at per round: more only matter when that many wait for others of their order key.
const FIRM_SCAN: i64 = 500;

/// Ids stamped per round: one short statement, and a lane that never jumps far.
pub const BATCH: i64 = 200;

/// Where the next round starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(Uuid);

impl Cursor {
    /// Before the first firm.
    pub const START: Self = Self(Uuid::nil());
}

/// One round's catch.
#[derive(Clone, Debug)]
pub struct Due {
    /// In the order in which they go to Redis.
    pub ids: Vec<JobId>,
    /// Where the next round starts.
    pub next: Cursor,
}

/// Stamps up to `room` due jobs as dispatched and returns them. The caller pushes them after this has committed: a
/// worker that is faster than the commit would find the row locked and drop the id.
///
/// Each firm's jobs are numbered by priority and age, and the round takes all firms' first ones before any second
/// one. A job whose order key has an earlier due job, or a running one, waits for it; these two conditions are
/// subqueries with a limit, because as anti-joins they would be planned over the whole backlog, which the index
/// `jobs_due` otherwise lets us leave unread.
///
/// # Errors
/// When the database is away.
pub async fn stamp(pool: &PgPool, queue: Queue, kinds: &[String], cursor: Cursor, room: i64) -> Result<Due> {
    let mut tx = pool.begin().await?;
    // A stamp that a crash of the database forgets is a redispatch, so it need not wait for the disk. And the index
    // has the rows in the wanted order: a bitmap would read and sort the whole backlog for the first few, and compiling
    // the statement takes longer than running it.
    sqlx::query!(
        "select set_config('synchronous_commit', 'off', true) as lazy, set_config('enable_bitmapscan', 'off', true) as ordered,
                set_config('jit', 'off', true) as plain"
    )
    .fetch_one(&mut *tx)
    .await?;
    let row = sqlx::query!(
        r#"
        with recursive
        moment as materialized (
          select app.now() as now, clock_timestamp() - make_interval(secs => $5) as lost_before
           where not exists (select from queue_pauses p where p.queue = $1)),
        firm as (
          (select j.firm_id from jobs j
            where j.queue = $1 and j.state in ('available', 'retryable') and j.firm_id > $3
            order by j.firm_id limit 1)
          union all
          select (select j.firm_id from jobs j
                   where j.queue = $1 and j.state in ('available', 'retryable') and j.firm_id > f.firm_id
                   order by j.firm_id limit 1)
            from firm f where f.firm_id is not null),
        visited as materialized (select firm_id from firm where firm_id is not null limit $6),
        candidate as (
          select x.* from moment m cross join visited v cross join lateral (
            select d.id, d.firm_id, d.priority, d.run_at, d.seq from (
              select j.id, j.firm_id, j.priority, j.run_at, j.seq, j.order_key from jobs j
               where j.queue = $1 and j.firm_id = v.firm_id and j.state in ('available', 'retryable') and j.run_at <= m.now
                 and (j.dispatched_at is null or j.dispatched_at < m.lost_before) and j.kind = any($2)
               order by j.priority, j.run_at limit $8) d
             where (select r.id from jobs r where r.order_key = d.order_key and r.state = 'running' limit 1) is null
               and (select e.id from jobs e where e.order_key = d.order_key and e.seq < d.seq
                       and e.state in ('available', 'retryable', 'running') and e.run_at <= m.now limit 1) is null
             limit $7) x
          union all
          select y.* from moment m cross join lateral (
            select d.id, d.firm_id, d.priority, d.run_at, d.seq from (
              select j.id, j.firm_id, j.priority, j.run_at, j.seq, j.order_key from jobs j
               where j.queue = $1 and j.firm_id is null and j.state in ('available', 'retryable') and j.run_at <= m.now
                 and (j.dispatched_at is null or j.dispatched_at < m.lost_before) and j.kind = any($2)
               order by j.firm_id, j.priority, j.run_at limit $8) d
             where (select r.id from jobs r where r.order_key = d.order_key and r.state = 'running' limit 1) is null
               and (select e.id from jobs e where e.order_key = d.order_key and e.seq < d.seq
                       and e.state in ('available', 'retryable', 'running') and e.run_at <= m.now limit 1) is null
             limit $4) y),
        ranked as (
          select c.*, row_number() over (partition by c.firm_id order by c.priority, c.run_at, c.seq) as turn
            from candidate c),
        chosen as materialized (
          select * from ranked order by priority, turn, run_at, seq limit $4),
        free as materialized (
          select j.id from jobs j, moment m
           where j.id in (select id from chosen) and j.state in ('available', 'retryable')
             and (j.dispatched_at is null or j.dispatched_at < m.lost_before)
             for update of j skip locked),
        stamped as (
          update jobs j set dispatched_at = clock_timestamp()
            from chosen c where j.id = c.id and j.id in (select id from free)
          returning c.id, c.priority, c.turn, c.run_at, c.seq)
        select (select array_agg(s.id order by s.priority, s.turn, s.run_at, s.seq) from stamped s) as "ids?: Vec<Uuid>",
               (select v.firm_id from visited v order by v.firm_id desc limit 1) as "last_firm?: Uuid",
               (select count(*) from visited) as "firms!"
        "#,
        queue.as_str(),
        kinds,
        cursor.0,
        room.clamp(0, BATCH),
        match sabotage::is_on(Sabotage::P4TrustRedis) {
            true => f64::from(u32::MAX),
            false => REDISPATCH_SECS,
        },
        FIRMS_PER_ROUND,
        FIRM_SHARE,
        FIRM_SCAN,
    )
    .fetch_one(&mut *tx)
    .await?;
    let committed = tx.commit();
    match row.ids {
        Some(_) => failpoint::around(Effect::Stamp, committed).await?,
        None => committed.await?,
    }
    Ok(Due {
        ids: row.ids.unwrap_or_default().into_iter().map(JobId).collect(),
        next: row
            .last_firm
            .filter(|_| row.firms >= FIRMS_PER_ROUND)
            .map_or(Cursor::START, Cursor),
    })
}

/// Queues in which something is due that was not handed to Redis yet.
///
/// # Errors
/// When the database is away.
pub async fn waiting(pool: &PgPool) -> Result<Vec<Queue>> {
    let all = Queue::ALL.map(|queue| queue.as_str().to_owned());
    let rows = sqlx::query_scalar!(
        r#"
        with moment as materialized (select app.now() as now)
        select q.name as "name!" from unnest($1::text[]) as q (name)
         where exists (select from jobs j, moment m
                        where j.queue = q.name and j.state in ('available', 'retryable') and j.run_at <= m.now
                          and j.dispatched_at is null)
        "#,
        &all
    )
    .fetch_all(pool)
    .await?;
    let is_waiting = |queue: &Queue| rows.iter().any(|name| name == queue.as_str());
    Ok(Queue::ALL.into_iter().filter(is_waiting).collect())
}

/// Forgets that these were handed to Redis, because the push failed.
///
/// # Errors
/// When the database is away; the redispatch covers it then.
pub async fn unstamp(pool: &PgPool, ids: &[JobId]) -> Result<()> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query!(
        "update jobs set dispatched_at = null where id = any($1) and state in ('available', 'retryable')",
        &ids
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Forgets that anything of this queue was handed to Redis, because Redis has forgotten it too. Jobs that are being
/// run right now keep their row locked and are skipped; should they fail, that clears their stamp as well.
///
/// # Errors
/// When the database is away.
pub async fn unstamp_all(pool: &PgPool, queue: Queue) -> Result<u64> {
    if sabotage::is_on(Sabotage::P4TrustRedis) {
        return Ok(0);
    }
    let done = sqlx::query!(
        "update jobs set dispatched_at = null where id in (
           select id from jobs where queue = $1 and state in ('available', 'retryable') and dispatched_at is not null
              for update skip locked)",
        queue.as_str()
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}

/// Slots of all live workers that serve this queue: what the lane must keep busy.
///
/// # Errors
/// When the database is away.
pub async fn live_slots(pool: &PgPool, queue: Queue) -> Result<i64> {
    Ok(sqlx::query_scalar!(
        r#"select coalesce(sum(concurrency), 0) as "slots!" from workers
            where $1 = any(queues) and heartbeat_at > clock_timestamp() - make_interval(secs => $2)"#,
        queue.as_str(),
        super::heartbeat::DEAD_AFTER_SECS,
    )
    .fetch_one(pool)
    .await?)
}
