//! The schedules as stories see them: their rhythms, and switching them on and off.

use chrono::Days;
use sqlx::AssertSqlSafe;

use super::{
    World,
    error::{Error, must},
};

/// Every schedule with how often it ticks and how long after midnight it begins: SQL `values`, of `(name, every, shift)`. From the
/// documents, and not from the scheduler's own arithmetic.
pub const RHYTHMS: &str = "
    values ('generate_package_invoices', interval '1 hour', interval '0'),
           ('process_recurring_charges', interval '1 day', interval '3 hours'),
           ('sweep_due_charges', interval '10 minutes', interval '0'),
           ('seal_audit', interval '10 minutes', interval '0'),
           ('expire_credit', interval '1 hour', interval '15 minutes'),
           ('report_day', interval '1 hour', interval '45 minutes'),
           ('backfill_events', interval '1 day', interval '4 hours 20 minutes'),
           ('reconcile', interval '1 day', interval '4 hours 30 minutes'),
           ('prune', interval '1 hour', interval '30 minutes')";

/// Whether a schedule fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// At its ticks.
    On,
    /// Its ticks come and go.
    Off,
}

/// Schedules with ticks that no scheduler has looked at yet, in words.
pub(super) fn ticks_left() -> String {
    format!(
        "select 'schedule ' || s.name || ' looked at until ' || s.watermark_at
           from schedules s join ({RHYTHMS}) r (name, every, shift) on r.name = s.name
          where s.watermark_at < date_bin(r.every, app.now(), timestamptz '2020-01-01 00:00Z' + r.shift)"
    )
}

impl World {
    /// Switches one schedule. To see what happens without it: what it does by itself, another part of the story does.
    ///
    /// # Panics
    /// When there is no such schedule.
    pub async fn switch(&self, schedule: &str, to: Switch) {
        let enabled = to == Switch::On;
        let sql = format!("update schedules set enabled = {enabled} where name = $1");
        let done = sqlx::query(AssertSqlSafe(sql))
            .bind(schedule)
            .execute(&self.db)
            .await;
        let done = must("the schedule is switched", done.map_err(Error::from));
        assert_eq!(done.rows_affected(), 1, "there is no schedule {schedule}");
    }

    /// How many schedules have a tick that they have not come to.
    pub async fn schedules_behind(&self) -> i64 {
        self.count(&format!("select count(*) from ({}) behind", ticks_left()))
            .await
    }

    /// Moves the business clock to the next noon, UTC: no day ends and no nightly schedule ticks while a story that does not want
    /// them goes on, whenever it is run.
    ///
    /// # Panics
    /// When the clock refuses.
    pub async fn to_noon(&self) {
        let now = must("the clock is read", self.business_now().await);
        let noon = |date: chrono::NaiveDate| {
            date.and_time(chrono::NaiveTime::MIN).and_utc() + chrono::TimeDelta::hours(12)
        };
        let today = noon(now.date_naive());
        let next = if today > now {
            today
        } else {
            noon(now.date_naive() + Days::new(1))
        };
        self.json(&["clock", "set", &next.to_rfc3339()]).await;
    }

    async fn business_now(&self) -> super::Result<chrono::DateTime<chrono::Utc>> {
        Ok(sqlx::query_scalar("select app.now()").fetch_one(&self.db).await?)
    }
}
