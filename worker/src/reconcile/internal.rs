//! Our own tables beside each other (L4): the ledger with the facts, what should have been billed, and what stands still.

use chrono::{Days, TimeDelta};
use shared::{
    domain::{
        generate::{Approval, Planned, plan},
        ledger::Severity,
        reconcile::{Finding, Kind, Layer, Side},
    },
    ids::FirmId,
    store::{Tx, generation, ledger, reconcile as rows},
};

use super::{Error, MOST_FINDINGS, PAGE, Walk};

impl Walk<'_> {
    /// One firm in one state of the database.
    pub(super) async fn internal(&mut self, firm: FirmId) -> Result<(), Error> {
        let mut tx = self.db.snapshot(firm).await?;
        rows::take_time(&mut tx).await?;
        let mut findings: Vec<Finding> = ledger::check(&mut tx, &[firm])
            .await?
            .findings
            .into_iter()
            .filter(|finding| finding.severity == Severity::Error)
            .map(|finding| {
                let side = |id: &str, minor: Option<i64>| Side {
                    id: id.to_owned(),
                    amount_minor: minor,
                    currency: (!finding.currency.is_empty()).then(|| finding.currency.clone()),
                    state: None,
                };
                Finding {
                    kind: Kind::LedgerImbalance,
                    layer: Layer::Internal,
                    subject: finding.what.clone(),
                    ours: Some(side(finding.check.as_str(), finding.found_minor)),
                    stripe: Some(side("expected", finding.expected_minor)),
                    repair: None,
                    object_at: None,
                }
            })
            .collect();
        let most = i64::try_from(MOST_FINDINGS).unwrap_or(i64::MAX);
        findings.extend(rows::internal(&mut tx, firm, most).await?);

        findings.extend(unbilled(&mut tx, firm).await?);
        tx.rollback().await?;
        self.add_all(firm, findings);
        Ok(())
    }
}

/// The periods that generation would bill by itself for yesterday, and has not: what fell due today may still be billed
/// tonight, and what was signed today too.
async fn unbilled(tx: &mut Tx, firm: FirmId) -> Result<Vec<Finding>, Error> {
    let context = generation::firm_context(tx, firm).await?;
    let (as_of, signed_before) = (context.today - Days::new(1), tx.now() - TimeDelta::days(1));
    let mut findings = Vec::new();
    let mut after = None;
    loop {
        let engagements = generation::signed_before(tx, firm, signed_before, after, PAGE).await?;
        let Some(last) = engagements.last() else {
            return Ok(findings);
        };
        after = Some(last.id);
        for engagement in &engagements {
            let facts = engagement.facts(&[], &context, [])?;
            for planned in plan(&facts, as_of, Approval::default()).planned {
                let Planned::Bill { period, total, .. } = planned else {
                    continue;
                };
                findings.push(Finding {
                    kind: Kind::UnbilledPeriod,
                    layer: Layer::Internal,
                    subject: format!(
                        "engagement {}, {} to {}",
                        engagement.label, period.start, period.end
                    ),
                    ours: None,
                    stripe: Some(Side::of("expected").money(total)),
                    repair: None,
                    object_at: None,
                });
            }
        }
    }
}
