//! Engagements of an import: a draft may change and be signed; a signed one is final.

use super::{Import, changed};
use crate::{
    domain::import::Engagement,
    ids::{ClientId, EngagementId, FirmId},
    store::{Result, engagements, error::one_row},
};

impl Import<'_> {
    pub(super) async fn engagement(&mut self, engagement: &Engagement) -> Result<()> {
        let (firm, client) = self.client_named(&engagement.client)?;
        self.enter(firm).await?;
        let id = match self.compare_engagement(firm, client, engagement).await? {
            None => {
                let id = EngagementId::new();
                self.insert_engagement(firm, client, id, engagement).await?;
                if engagement.signed {
                    engagements::sign(self.tx, firm, id, self.by).await?;
                }
                self.report.engagements.created += 1;
                id
            }
            Some(stored) if stored.differing.is_empty() => {
                self.report.engagements.unchanged += 1;
                stored.id
            }
            Some(stored) if stored.is_signed => {
                self.refuse(&engagement.path, &stored.differing, "the engagement is signed");
                stored.id
            }
            Some(stored) => {
                self.update_engagement(firm, client, stored.id, engagement)
                    .await?;
                if engagement.signed {
                    engagements::sign(self.tx, firm, stored.id, self.by).await?;
                }
                self.report.engagements.updated += 1;
                stored.id
            }
        };
        self.engagements
            .insert(engagement.external_id.clone(), (firm, id));
        Ok(())
    }

    /// An engagement of the document, or one that the document refers to.
    pub(super) fn engagement_named(&self, name: &str) -> Result<(FirmId, EngagementId)> {
        let inside = self.engagements.get(name).copied();
        let outside = || {
            self.known
                .engagements
                .get(name)
                .map(|found| (found.client.firm, found.id))
        };
        inside.or_else(outside).ok_or_else(|| super::dangling(name))
    }

    async fn compare_engagement(
        &mut self,
        firm: FirmId,
        client: ClientId,
        wanted: &Engagement,
    ) -> Result<Option<Stored>> {
        let row = sqlx::query!(
            r#"select id, client_id, pricing_mode, currency::text as "currency!", package_fee_minor, cadence, period_anchor,
                      proration, charge_timing, hourly_rate_minor, starts_on, ends_on, signed_at is not null as "is_signed!"
               from engagements where firm_id = $1 and external_id = $2 for update"#,
            firm.0,
            wanted.external_id
        )
        .fetch_optional(&mut **self.tx)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let columns = Columns::of(wanted);
        let is_fee = row.package_fee_minor.is_some();
        let differing = changed(&[
            ("client", row.client_id == client.0),
            ("pricing_mode", row.pricing_mode == wanted.pricing_mode.as_str()),
            ("currency", row.currency == wanted.currency.as_str()),
            ("package_fee", row.package_fee_minor == columns.package_fee_minor),
            (
                "package_fee_schedule",
                !is_fee || row.cadence.as_deref() == columns.cadence,
            ),
            (
                "period_anchor",
                row.period_anchor == wanted.period_anchor.as_str(),
            ),
            ("proration", row.proration == wanted.proration.as_str()),
            (
                "charge_timing",
                row.charge_timing == wanted.charge_timing.as_str(),
            ),
            ("hourly_rate", row.hourly_rate_minor == columns.hourly_rate_minor),
            (
                "hourly_schedule",
                is_fee || row.cadence.as_deref() == columns.cadence,
            ),
            ("starts_on", row.starts_on == wanted.starts_on),
            ("ends_on", row.ends_on == wanted.ends_on),
            ("signed", row.is_signed == wanted.signed),
        ]);
        Ok(Some(Stored {
            id: EngagementId(row.id),
            is_signed: row.is_signed,
            differing,
        }))
    }

    async fn insert_engagement(
        &mut self,
        firm: FirmId,
        client: ClientId,
        id: EngagementId,
        wanted: &Engagement,
    ) -> Result<()> {
        let columns = Columns::of(wanted);
        sqlx::query!(
            "insert into engagements (firm_id, id, external_id, client_id, lineage_id, pricing_mode, currency, package_fee_minor,
                                      cadence, period_anchor, proration, charge_timing, hourly_rate_minor, starts_on, ends_on)
             values ($1, $2, $3, $4, $2, $5, $6::text, $7, $8, $9, $10, $11, $12, $13, $14)",
            firm.0,
            id.0,
            wanted.external_id,
            client.0,
            wanted.pricing_mode.as_str(),
            wanted.currency.as_str(),
            columns.package_fee_minor,
            columns.cadence,
            wanted.period_anchor.as_str(),
            wanted.proration.as_str(),
            wanted.charge_timing.as_str(),
            columns.hourly_rate_minor,
            wanted.starts_on,
            wanted.ends_on,
        )
        .execute(&mut **self.tx)
        .await?;
        Ok(())
    }

    async fn update_engagement(
        &mut self,
        firm: FirmId,
        client: ClientId,
        id: EngagementId,
        wanted: &Engagement,
    ) -> Result<()> {
        let columns = Columns::of(wanted);
        let done = sqlx::query!(
            "update engagements set client_id = $3, pricing_mode = $4, currency = $5::text, package_fee_minor = $6, cadence = $7,
                    period_anchor = $8, proration = $9, charge_timing = $10, hourly_rate_minor = $11, starts_on = $12, ends_on = $13
              where firm_id = $1 and id = $2",
            firm.0,
            id.0,
            client.0,
            wanted.pricing_mode.as_str(),
            wanted.currency.as_str(),
            columns.package_fee_minor,
            columns.cadence,
            wanted.period_anchor.as_str(),
            wanted.proration.as_str(),
            wanted.charge_timing.as_str(),
            columns.hourly_rate_minor,
            wanted.starts_on,
            wanted.ends_on,
        )
        .execute(&mut **self.tx)
        .await?;
        one_row("update engagement", done.rows_affected())
    }
}

/// An engagement as it is in the database, compared.
struct Stored {
    id: EngagementId,
    is_signed: bool,
    differing: Vec<String>,
}

/// What an engagement's optional parts are in the table.
struct Columns {
    package_fee_minor: Option<i64>,
    cadence: Option<&'static str>,
    hourly_rate_minor: Option<i64>,
}

impl Columns {
    fn of(engagement: &Engagement) -> Self {
        Self {
            package_fee_minor: engagement.package.map(|(fee, _)| fee.minor()),
            cadence: engagement.cadence().map(crate::domain::period::Cadence::as_str),
            hourly_rate_minor: engagement.hourly_rate.map(|rate| rate.minor()),
        }
    }
}
