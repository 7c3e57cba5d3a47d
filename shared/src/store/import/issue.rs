//! Writes new invoices and issues them, a whole set at a time.

use serde_json::json;

use super::{Import, invoices::Wanted};
use crate::{
    ids::{FirmId, InvoiceId},
    store::{
        Result, generation,
        issuing::{self, Basis, Draft, DraftLine, Source},
    },
};

impl Import<'_> {
    /// Issues one invoice for each id.
    pub(super) async fn issue_all(
        &mut self,
        firm: FirmId,
        fresh: &[Wanted<'_>],
        ids: &[InvoiceId],
    ) -> Result<()> {
        let drafts: Vec<Draft> = fresh
            .iter()
            .zip(ids)
            .map(|(wanted, id)| draft(wanted, *id))
            .collect();
        issuing::insert_drafts(self.tx, firm, &drafts).await?;
        let context = generation::firm_context(self.tx, firm).await?;
        let issued = issuing::issue(self.tx, &context, ids, self.by).await?;
        self.report.collections_started += usize::try_from(issued.collections_started).unwrap_or(usize::MAX);
        Ok(())
    }
}

fn draft(wanted: &Wanted<'_>, id: InvoiceId) -> Draft {
    let invoice = wanted.invoice;
    let lines = invoice.lines.iter().map(|line| DraftLine {
        kind: line.kind,
        code: line.description_code.clone(),
        amount: line.amount,
        time: None,
        derivation: json!({}),
    });
    Draft {
        id,
        external_id: Some(invoice.external_id.clone()),
        client: wanted.client,
        basis: Basis::Engagement(wanted.engagement),
        project: None,
        source: Source::Import,
        currency: invoice.total.currency(),
        dates: Some((invoice.issue_date, invoice.due_date)),
        autopay: invoice.autopay_opt_in,
        tax: invoice.tax,
        lines: lines.collect(),
    }
}
