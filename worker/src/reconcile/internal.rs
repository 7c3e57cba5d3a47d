//! Our own tables beside each other (L4): the ledger with the facts, what should have been billed, and what stands still.

use chrono::Days;
use shared::{
    domain::{
        ledger::Severity,
        reconcile::{Finding, Kind, Layer, Side},
    },
    ids::FirmId,
    store::{generation as firms, ledger, reconcile as rows},
};

use super::{Error, MOST_FINDINGS, PAGE, Walk};
use crate::generation;

impl Walk<'_> {
    /// One firm in one state of the database.
    pub(super) async fn internal(&mut self, firm: FirmId) -> Result<(), Error> {
        let mut tx = self.db.snapshot(firm).await?;
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

        let context = firms::firm_context(&mut tx, firm).await?;
        // What fell due today may still be billed tonight.
        let as_of = context.today - Days::new(1);
        let mut after = None;
        loop {
            let engagements = rows::unbilled(&mut tx, firm, after, PAGE).await?;
            let Some(last) = engagements.last() else { break };
            after = Some(last.id);
            for engagement in &engagements {
                for (days, total) in generation::due(engagement, &context, as_of)? {
                    findings.push(Finding {
                        kind: Kind::UnbilledPeriod,
                        layer: Layer::Internal,
                        subject: format!("engagement {}, {} to {}", engagement.label, days.start, days.end),
                        ours: None,
                        stripe: Some(Side::of("expected").money(total)),
                        repair: None,
                        object_at: None,
                    });
                }
            }
        }
        tx.rollback().await?;
        self.add_all(firm, findings);
        Ok(())
    }
}
