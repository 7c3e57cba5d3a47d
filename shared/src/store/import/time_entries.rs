//! Time of an import: final once approved; its rate is the engagement's on that day, and stays.

use super::{Import, changed};
use crate::{
    domain::{
        import::{Fault, TimeEntry},
        time::{self, Change, Person, TimeState},
    },
    ids::{EngagementId, FirmId, TimeEntryId},
    store::{
        Result,
        time_entries::{self as store, NewTime, Work},
        users::{self, User},
    },
};

impl Import<'_> {
    pub(super) async fn time_entry(&mut self, entry: &TimeEntry) -> Result<()> {
        let (firm, engagement) = self.engagement_named(&entry.engagement)?;
        self.enter(firm).await?;
        let worker = self.name_of(firm, &entry.worker).await?;
        let approver = match &entry.approved_by {
            Some(name) => Some(self.name_of(firm, name).await?),
            None => None,
        };
        let row = sqlx::query!(
            "select id, engagement_id, worker, worked_on, minutes, state, approved_by
             from time_entries where firm_id = $1 and external_id = $2 for update",
            firm.0,
            entry.external_id
        )
        .fetch_optional(&mut **self.tx)
        .await?;
        let Some(row) = row else {
            let id = TimeEntryId::new();
            let new = NewTime {
                id,
                external_id: Some(&entry.external_id),
                engagement,
                worker: &worker,
                worked_on: entry.worked_on,
                minutes: entry.minutes,
            };
            store::insert(self.tx, firm, &new).await?;
            self.report.time_entries.created += 1;
            return self.bring_to_state(firm, id, entry, &worker).await;
        };
        let differing = changed(&[
            ("engagement", row.engagement_id == engagement.0),
            ("worker", row.worker == worker),
            ("worked_on", row.worked_on == entry.worked_on),
            ("minutes", row.minutes == entry.minutes),
            ("state", row.state == entry.state.as_str()),
            ("approved_by", row.approved_by == approver),
        ]);
        if differing.is_empty() {
            self.report.time_entries.unchanged += 1;
            return Ok(());
        }
        if row.state == TimeState::Approved.as_str() {
            self.refuse(&entry.path, &differing, "the time is approved");
            return Ok(());
        }
        let id = TimeEntryId(row.id);
        self.edit(firm, engagement, id, entry, &worker).await?;
        self.report.time_entries.updated += 1;
        self.bring_to_state(firm, id, entry, &worker).await
    }

    async fn edit(
        &mut self,
        firm: FirmId,
        engagement: EngagementId,
        id: TimeEntryId,
        entry: &TimeEntry,
        worker: &str,
    ) -> Result<()> {
        let work = Work {
            engagement,
            worker,
            worked_on: entry.worked_on,
            minutes: entry.minutes,
        };
        store::edit(self.tx, firm, id, &work).await
    }

    /// Moves a draft on to where the document has it.
    async fn bring_to_state(
        &mut self,
        firm: FirmId,
        id: TimeEntryId,
        entry: &TimeEntry,
        worker: &str,
    ) -> Result<()> {
        match (entry.state, &entry.approved_by) {
            (TimeState::Draft, _) | (TimeState::Approved, None) => Ok(()),
            (TimeState::Submitted, _) => store::submit(self.tx, firm, id).await,
            (TimeState::Rejected, _) => store::reject(self.tx, firm, id, (None, None), self.by).await,
            (TimeState::Approved, Some(approver)) => {
                let allowed = self.allows_self_approval(firm).await?;
                let user = self.user_named(firm, approver).await?;
                let by = user.as_ref().map_or(
                    Person {
                        name: approver,
                        role: None,
                        client: None,
                    },
                    User::person,
                );
                if let Err(refusal) = time::may_judge(&by, worker, Change::Approve, allowed) {
                    self.refused.push(Fault {
                        path: format!("{}.approved_by", entry.path),
                        message: refusal.to_string(),
                    });
                    return Ok(());
                }
                store::approve(self.tx, firm, id, by.name, self.by).await
            }
        }
    }

    /// What the books call somebody: a user by its label, anybody else as the document does.
    async fn name_of(&mut self, firm: FirmId, name: &str) -> Result<String> {
        let user = self.user_named(firm, name).await?;
        Ok(user.map_or_else(|| name.to_owned(), |user| user.label))
    }

    /// A user of the firm by this name. A document names few people many times.
    async fn user_named(&mut self, firm: FirmId, name: &str) -> Result<Option<User>> {
        let key = (firm, name.to_owned());
        if let Some(known) = self.users.get(&key) {
            return Ok(known.clone());
        }
        let user = users::find(self.tx, firm, name).await?;
        self.users.insert(key, user.clone());
        Ok(user)
    }

    async fn allows_self_approval(&mut self, firm: FirmId) -> Result<bool> {
        if let Some(allowed) = self.self_approval.get(&firm) {
            return Ok(*allowed);
        }
        let allowed = sqlx::query_scalar!("select allow_self_approval from firms where id = $1", firm.0)
            .fetch_one(&mut **self.tx)
            .await?;
        self.self_approval.insert(firm, allowed);
        Ok(allowed)
    }
}
