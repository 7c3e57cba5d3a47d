//! Jobs that leave effects to be counted, and that fail, panic or wait as their payload says.

use std::time::Duration;

use chrono::TimeDelta;
use serde::Deserialize;
use serde_json::json;
use shared::store::{Tx, jobs::Queue};
use sqlx::PgConnection;
use tokio::time::sleep;

use crate::{
    context::Context,
    queue::{
        Attempts, Claim, ExternalJob, Job, JobError, Outcome, Registry, Retry, TransactionalJob, hours, secs,
    },
};

/// Kind of the transactional test job.
pub(super) const APPLY: &str = "test_apply";
/// Kind of the external test job.
pub(super) const CALL: &str = "test_call";

/// Effects (one row each), and doors that a waiting job watches.
pub(super) const TABLES: &str = "
create table effects (n bigint generated always as identity primary key, job_id uuid not null, label text, order_key text,
  attempt int not null, worker_id text not null, begun_at timestamptz not null default clock_timestamp());
create table doors (name text primary key);
create table waiting (job_id uuid not null, worker_id text not null);
grant select, insert, update, delete on effects, doors, waiting to quittance_worker;";

/// What a test job does.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Script {
    label: Option<String>,
    /// Waits until a door of this name is there.
    door: Option<String>,
    /// Takes this long.
    takes_ms: u64,
    /// Ends so, after its effect.
    ends: Option<String>,
}

pub(super) fn registry() -> Registry {
    Registry::new().transactional::<Apply>().external::<Call>()
}

async fn effect(
    conn: &mut PgConnection,
    cx: &Context,
    job: &Job,
    label: Option<&str>,
) -> Result<(), JobError> {
    sqlx::query("insert into effects (job_id, label, order_key, attempt, worker_id) select $1, $2, (select order_key from jobs where id = $1), $3, $4")
        .bind(job.id.0)
        .bind(label)
        .bind(job.attempt)
        .bind(&*cx.worker_id)
        .execute(conn)
        .await?;
    Ok(())
}

async fn wait(cx: &Context, job: &Job, script: &Script) -> Result<(), JobError> {
    if let Some(door) = &script.door {
        sqlx::query("insert into waiting values ($1, $2)")
            .bind(job.id.0)
            .bind(&*cx.worker_id)
            .execute(cx.db.pool())
            .await?;
        while sqlx::query("select 1 from doors where name = $1")
            .bind(door)
            .fetch_optional(cx.db.pool())
            .await?
            .is_none()
        {
            sleep(Duration::from_millis(20)).await;
        }
    }
    sleep(Duration::from_millis(script.takes_ms)).await;
    Ok(())
}

async fn end(cx: &Context, script: &Script) -> Result<Outcome, JobError> {
    match script.ends.as_deref() {
        None => Ok(Outcome::Done(json!({ "label": script.label }))),
        Some("retry") => Err(JobError::retry("the bank is asleep")),
        Some("fail") => Err(JobError::fail("no such thing")),
        Some("panic") => panic!("out of luck"),
        Some("snooze") => Ok(Outcome::Snooze {
            until: cx.db.now().await? + TimeDelta::hours(1),
            reason: "too early".to_owned(),
        }),
        Some("cancel") => Ok(Outcome::Cancel {
            reason: "not wanted".to_owned(),
        }),
        Some("applied") => Ok(Outcome::AlreadyApplied("was there")),
        Some(other) => panic!("no such end: {other}"),
    }
}

struct Apply;

impl TransactionalJob for Apply {
    const KIND: &'static str = APPLY;
    const QUEUE: Queue = Queue::Events;
    const RETRY: Retry = Retry::exponential(Attempts(3), secs(30), hours(1));
    const TIME_LIMIT: Duration = secs(50);
    type Prepared = Script;

    async fn prepare(_: &Context, job: &Job) -> Result<Script, JobError> {
        job.args()
    }

    async fn apply(cx: &Context, tx: &mut Tx, job: &Job, script: Script) -> Result<Outcome, JobError> {
        effect(tx, cx, job, script.label.as_deref()).await?;
        wait(cx, job, &script).await?;
        end(cx, &script).await
    }
}

struct Call;

impl ExternalJob for Call {
    const KIND: &'static str = CALL;
    const QUEUE: Queue = Queue::Charges;
    const RETRY: Retry = Retry::exponential(Attempts(3), secs(30), hours(1));
    const TIME_LIMIT: Duration = secs(50);

    async fn run(cx: &Context, claim: &Claim) -> Result<Outcome, JobError> {
        let script: Script = claim.job.args()?;
        wait(cx, &claim.job, &script).await?;
        let mut tx = cx.db.plain().await?;
        claim.guard(&mut tx).await?;
        effect(&mut tx, cx, &claim.job, script.label.as_deref()).await?;
        tx.commit().await?;
        end(cx, &script).await
    }
}
