//! Firms of an import: everything about them may change.

use serde_json::json;

use super::{Import, changed};
use crate::{
    domain::{import::Firm, retry_policy::RetryPolicy},
    ids::FirmId,
    store::{Result, audit, error::one_row, resolve},
};

/// A tenth of a day's charges may fail before a firm is told (A-26).
const FAILURE_RATE_PERCENT: i32 = 10;
/// The third failure in a row is a warning (A-26).
const FAILURES_IN_ROW: i32 = 3;

impl Import<'_> {
    pub(super) async fn firm(&mut self, firm: &Firm) -> Result<()> {
        let id = match self.find_firm(&firm.external_id).await? {
            Some(id) => {
                self.enter(id).await?;
                self.update_firm(id, firm).await?;
                id
            }
            None => self.create_firm(firm).await?,
        };
        self.firms.insert(firm.external_id.clone(), id);
        Ok(())
    }

    /// A firm of the document, or one that the document refers to.
    pub(super) fn firm_named(&self, name: &str) -> Result<FirmId> {
        self.firms
            .get(name)
            .or_else(|| self.known.firms.get(name))
            .copied()
            .ok_or_else(|| super::dangling(name))
    }

    async fn find_firm(&mut self, external_id: &str) -> Result<Option<FirmId>> {
        for found in resolve::resolve(self.tx, external_id)
            .await?
            .into_iter()
            .filter(|found| found.kind == "firm")
        {
            self.enter(found.firm).await?;
            let stored = sqlx::query_scalar!("select external_id from firms where id = $1", found.firm.0)
                .fetch_one(&mut **self.tx)
                .await?;
            if stored.as_deref() == Some(external_id) {
                return Ok(Some(found.firm));
            }
        }
        Ok(None)
    }

    async fn create_firm(&mut self, firm: &Firm) -> Result<FirmId> {
        let id = FirmId::new();
        self.enter(id).await?;
        let policy = json!(firm.retry_policy.clone().unwrap_or_default());
        sqlx::query!(
            "insert into firms (id, external_id, name, timezone, default_currency, retry_policy, allow_self_approval,
                                require_client_approval, auto_apply_credit, max_charge_minor, max_charges_per_run, pause_client_on_fraud,
                                payment_terms_days, alert_failure_rate_percent, alert_failures_in_row, alert_daily_summary)
             values ($1, $2, $3, $4, $5::text, $6, $7, $8, $9, nullif($10::bigint, 0), nullif($11::int, 0), $12, coalesce($13::int, 30),
                     nullif($14::int, 0), nullif($15::int, 0), $16)",
            id.0,
            firm.external_id,
            firm.name,
            firm.timezone.name(),
            firm.currency.as_str(),
            policy,
            firm.allow_self_approval.unwrap_or_default(),
            firm.require_client_approval.unwrap_or_default(),
            firm.auto_apply_credit.unwrap_or(true),
            firm.max_charge_minor,
            firm.max_charges_per_run,
            firm.pause_client_on_fraud.unwrap_or(true),
            firm.payment_terms_days,
            firm.alert_failure_rate_percent.unwrap_or(FAILURE_RATE_PERCENT),
            firm.alert_failures_in_row.unwrap_or(FAILURES_IN_ROW),
            firm.alert_daily_summary.unwrap_or(true),
        )
        .execute(&mut **self.tx)
        .await?;
        self.report.firms.created += 1;
        Ok(id)
    }

    async fn update_firm(&mut self, id: FirmId, firm: &Firm) -> Result<()> {
        let row = sqlx::query!(
            r#"select name, timezone, default_currency::text as "currency!", retry_policy, allow_self_approval, require_client_approval,
                      auto_apply_credit, coalesce(max_charge_minor, 0) as "max_charge!", coalesce(max_charges_per_run, 0) as "max_charges!",
                      pause_client_on_fraud, payment_terms_days, coalesce(alert_failure_rate_percent, 0) as "alert_rate!",
                      coalesce(alert_failures_in_row, 0) as "alert_row!", alert_daily_summary
               from firms where id = $1 for update"#,
            id.0
        )
        .fetch_one(&mut **self.tx)
        .await?;
        let stored_policy = serde_json::from_value::<RetryPolicy>(row.retry_policy.clone());
        let same_policy = match (&firm.retry_policy, stored_policy) {
            (None, _) => true,
            (Some(wanted), Ok(stored)) => *wanted == stored,
            (Some(_), Err(_)) => false,
        };
        let allow_self_approval = firm.allow_self_approval.unwrap_or(row.allow_self_approval);
        let require_client_approval = firm
            .require_client_approval
            .unwrap_or(row.require_client_approval);
        let auto_apply_credit = firm.auto_apply_credit.unwrap_or(row.auto_apply_credit);
        let fields = changed(&[
            ("name", row.name == firm.name),
            ("timezone", row.timezone == firm.timezone.name()),
            ("currency", row.currency == firm.currency.as_str()),
            ("retry_policy", same_policy),
            (
                "allow_self_approval",
                row.allow_self_approval == allow_self_approval,
            ),
            (
                "require_client_approval",
                row.require_client_approval == require_client_approval,
            ),
            ("auto_apply_credit", row.auto_apply_credit == auto_apply_credit),
            (
                "max_charge_minor",
                firm.max_charge_minor
                    .is_none_or(|wanted| wanted == row.max_charge),
            ),
            (
                "max_charges_per_run",
                firm.max_charges_per_run
                    .is_none_or(|wanted| wanted == row.max_charges),
            ),
            (
                "pause_client_on_fraud",
                firm.pause_client_on_fraud
                    .is_none_or(|wanted| wanted == row.pause_client_on_fraud),
            ),
            (
                "payment_terms_days",
                firm.payment_terms_days
                    .is_none_or(|wanted| wanted == row.payment_terms_days),
            ),
            (
                "alert_failure_rate_percent",
                firm.alert_failure_rate_percent
                    .is_none_or(|wanted| wanted == row.alert_rate),
            ),
            (
                "alert_failures_in_row",
                firm.alert_failures_in_row
                    .is_none_or(|wanted| wanted == row.alert_row),
            ),
            (
                "alert_daily_summary",
                firm.alert_daily_summary
                    .is_none_or(|wanted| wanted == row.alert_daily_summary),
            ),
        ]);
        if fields.is_empty() {
            self.report.firms.unchanged += 1;
            return Ok(());
        }
        let policy = firm
            .retry_policy
            .as_ref()
            .map_or(row.retry_policy, |policy| json!(policy));
        let done = sqlx::query!(
            "update firms set name = $2, timezone = $3, default_currency = $4::text, retry_policy = $5, allow_self_approval = $6,
                    require_client_approval = $7, auto_apply_credit = $8, max_charge_minor = nullif($9::bigint, 0),
                    max_charges_per_run = nullif($10::int, 0), pause_client_on_fraud = $11,
                    payment_terms_days = $12, alert_failure_rate_percent = nullif($13::int, 0),
                    alert_failures_in_row = nullif($14::int, 0), alert_daily_summary = $15
              where id = $1",
            id.0,
            firm.name,
            firm.timezone.name(),
            firm.currency.as_str(),
            policy,
            allow_self_approval,
            require_client_approval,
            auto_apply_credit,
            firm.max_charge_minor.unwrap_or(row.max_charge),
            firm.max_charges_per_run.unwrap_or(row.max_charges),
            firm.pause_client_on_fraud.unwrap_or(row.pause_client_on_fraud),
            firm.payment_terms_days.unwrap_or(row.payment_terms_days),
            firm.alert_failure_rate_percent.unwrap_or(row.alert_rate),
            firm.alert_failures_in_row.unwrap_or(row.alert_row),
            firm.alert_daily_summary.unwrap_or(row.alert_daily_summary),
        )
        .execute(&mut **self.tx)
        .await?;
        one_row("update firm", done.rows_affected())?;
        let entry = self
            .by
            .entry("config.changed", "firm", id.0, json!({ "fields": fields }));
        audit::record(self.tx, id, self.by.at, &entry).await?;
        self.report.firms.updated += 1;
        Ok(())
    }
}
