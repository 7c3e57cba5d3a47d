//! Time of an import: final once approved; its rate is the engagement's on that day, and stays.

use serde_json::json;
use uuid::Uuid;

use super::{Import, changed};
use crate::{
    domain::import::{TimeEntry, TimeState},
    ids::{EngagementId, FirmId},
    store::{Result, audit, error::one_row},
};

impl Import<'_> {
    pub(super) async fn time_entry(&mut self, entry: &TimeEntry) -> Result<()> {
        let (firm, engagement) = self.engagement_named(&entry.engagement)?;
        self.enter(firm).await?;
        let row = sqlx::query!(
            "select id, engagement_id, worker, worked_on, minutes, state, approved_by
             from time_entries where firm_id = $1 and external_id = $2 for update",
            firm.0,
            entry.external_id
        )
        .fetch_optional(&mut **self.tx)
        .await?;
        let Some(row) = row else {
            self.insert_time(firm, engagement, entry).await?;
            self.report.time_entries.created += 1;
            return Ok(());
        };
        let differing = changed(&[
            ("engagement", row.engagement_id == engagement.0),
            ("worker", row.worker == entry.worker),
            ("worked_on", row.worked_on == entry.worked_on),
            ("minutes", row.minutes == entry.minutes),
            ("state", row.state == entry.state.as_str()),
            ("approved_by", row.approved_by == entry.approved_by),
        ]);
        if differing.is_empty() {
            self.report.time_entries.unchanged += 1;
        } else if row.state == TimeState::Approved.as_str() {
            self.refuse(&entry.path, &differing, "the time is approved");
        } else {
            self.update_time(firm, engagement, row.id, entry).await?;
            self.report.time_entries.updated += 1;
        }
        Ok(())
    }

    async fn insert_time(&mut self, firm: FirmId, engagement: EngagementId, entry: &TimeEntry) -> Result<()> {
        let id = Uuid::now_v7();
        let approved_at = (entry.state == TimeState::Approved).then_some(self.by.at);
        let done = sqlx::query!(
            "insert into time_entries (firm_id, id, external_id, engagement_id, worker, worked_on, minutes, rate_minor, currency,
                                       state, approved_by, approved_at)
             select $1, $2, $3, e.id, $5, $6, $7, case when $10::timestamptz is not null then e.hourly_rate_minor end, e.currency,
                    $8, $9, $10
             from engagements e where e.firm_id = $1 and e.id = $4",
            firm.0,
            id,
            entry.external_id,
            engagement.0,
            entry.worker,
            entry.worked_on,
            entry.minutes,
            entry.state.as_str(),
            entry.approved_by,
            approved_at,
        )
        .execute(&mut **self.tx)
        .await?;
        one_row("insert time entry", done.rows_affected())?;
        self.audit_approval(firm, id, entry).await
    }

    async fn update_time(
        &mut self,
        firm: FirmId,
        engagement: EngagementId,
        id: Uuid,
        entry: &TimeEntry,
    ) -> Result<()> {
        let approved_at = (entry.state == TimeState::Approved).then_some(self.by.at);
        let done = sqlx::query!(
            "update time_entries t set engagement_id = e.id, worker = $4, worked_on = $5, minutes = $6, currency = e.currency,
                    rate_minor = case when $9::timestamptz is not null then e.hourly_rate_minor end,
                    state = $7, approved_by = $8, approved_at = $9
             from engagements e where t.firm_id = $1 and t.id = $2 and e.firm_id = $1 and e.id = $3",
            firm.0,
            id,
            engagement.0,
            entry.worker,
            entry.worked_on,
            entry.minutes,
            entry.state.as_str(),
            entry.approved_by,
            approved_at,
        )
        .execute(&mut **self.tx)
        .await?;
        one_row("update time entry", done.rows_affected())?;
        self.audit_approval(firm, id, entry).await
    }

    async fn audit_approval(&mut self, firm: FirmId, id: Uuid, entry: &TimeEntry) -> Result<()> {
        let Some(approver) = &entry.approved_by else {
            return Ok(());
        };
        let meta = json!({ "minutes": entry.minutes, "approved_by": approver });
        audit::record(
            self.tx,
            firm,
            self.by.at,
            &self.by.entry("time.approved", "time_entry", id, meta),
        )
        .await
    }
}
