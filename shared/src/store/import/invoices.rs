//! Invoices of an import: issued at once, final from then on, and collected where automatic payment is on.
//!
//! A document may hold ten thousand of them, so they are compared and written in sets, firm by firm.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::{Import, changed};
use crate::{
    domain::import::Invoice,
    ids::{ClientId, EngagementId, FirmId, InvoiceId},
    store::{Result, credits},
};

/// Rows per statement: long enough to save round trips, short enough for one message.
const BATCH: usize = 500;

/// An invoice of the document with the rows that it hangs on.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) client: ClientId,
    pub(super) engagement: EngagementId,
    pub(super) invoice: &'a Invoice,
}

/// An invoice as it is in the database.
struct Stored {
    client: Uuid,
    engagement: Option<Uuid>,
    currency: String,
    issue_date: Option<chrono::NaiveDate>,
    due_date: Option<chrono::NaiveDate>,
    autopay_opt_in: bool,
    tax_minor: i64,
    lines: Vec<StoredLine>,
}

struct StoredLine {
    kind: String,
    description_code: String,
    amount_minor: i64,
}

impl Import<'_> {
    pub(super) async fn invoices(&mut self, invoices: &[Invoice]) -> Result<()> {
        let mut by_firm: BTreeMap<FirmId, Vec<Wanted<'_>>> = BTreeMap::new();
        for invoice in invoices {
            let (firm, client) = self.client_named(&invoice.client)?;
            let (_, engagement) = self.engagement_named(&invoice.engagement)?;
            by_firm.entry(firm).or_default().push(Wanted {
                client,
                engagement,
                invoice,
            });
        }
        for (firm, wanted) in by_firm {
            self.enter(firm).await?;
            let clients: Vec<Uuid> = wanted.iter().map(|wanted| wanted.client.0).collect();
            credits::lock_all(self.tx, firm, &clients).await?;
            for batch in wanted.chunks(BATCH) {
                self.invoice_batch(firm, batch).await?;
            }
        }
        Ok(())
    }

    async fn invoice_batch(&mut self, firm: FirmId, batch: &[Wanted<'_>]) -> Result<()> {
        let stored = self.load_invoices(firm, batch).await?;
        let mut fresh = Vec::new();
        for wanted in batch {
            match stored.get(&wanted.invoice.external_id) {
                None => fresh.push(*wanted),
                Some(stored) => {
                    let differing = differing(stored, wanted);
                    if differing.is_empty() {
                        self.report.invoices.unchanged += 1;
                    } else {
                        self.refuse(&wanted.invoice.path, &differing, "the invoice is issued");
                    }
                }
            }
        }
        if !fresh.is_empty() {
            let ids: Vec<InvoiceId> = fresh.iter().map(|_| InvoiceId::new()).collect();
            self.issue_all(firm, &fresh, &ids).await?;
            self.report.invoices.created += fresh.len();
        }
        Ok(())
    }

    /// Those of a batch that are there already, by what the document calls them.
    async fn load_invoices(&mut self, firm: FirmId, batch: &[Wanted<'_>]) -> Result<HashMap<String, Stored>> {
        let names: Vec<String> = batch
            .iter()
            .map(|wanted| wanted.invoice.external_id.clone())
            .collect();
        let rows = sqlx::query!(
            r#"select id, external_id as "external_id!", client_id, engagement_id, currency::text as "currency!", issue_date, due_date,
                      autopay_opt_in, tax_minor
               from invoices where firm_id = $1 and external_id = any($2)"#,
            firm.0,
            &names
        )
        .fetch_all(&mut **self.tx)
        .await?;
        let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
        let mut lines: HashMap<Uuid, Vec<StoredLine>> = HashMap::new();
        let found = sqlx::query!(
            "select invoice_id, kind, description_code, amount_minor from invoice_lines
              where firm_id = $1 and invoice_id = any($2) order by invoice_id, line_no",
            firm.0,
            &ids
        )
        .fetch_all(&mut **self.tx)
        .await?;
        for line in found {
            lines.entry(line.invoice_id).or_default().push(StoredLine {
                kind: line.kind,
                description_code: line.description_code,
                amount_minor: line.amount_minor,
            });
        }
        let stored = rows.into_iter().map(|row| {
            let stored = Stored {
                client: row.client_id,
                engagement: row.engagement_id,
                currency: row.currency,
                issue_date: row.issue_date,
                due_date: row.due_date,
                autopay_opt_in: row.autopay_opt_in,
                tax_minor: row.tax_minor,
                lines: lines.remove(&row.id).unwrap_or_default(),
            };
            (row.external_id, stored)
        });
        Ok(stored.collect())
    }
}

/// The fields in which a document differs from what is issued.
fn differing(stored: &Stored, wanted: &Wanted<'_>) -> Vec<String> {
    let invoice = wanted.invoice;
    let mut differing = changed(&[
        ("client", stored.client == wanted.client.0),
        ("engagement", stored.engagement == Some(wanted.engagement.0)),
        ("currency", stored.currency == invoice.total.currency().as_str()),
        ("issue_date", stored.issue_date == Some(invoice.issue_date)),
        ("due_date", stored.due_date == Some(invoice.due_date)),
        ("autopay_opt_in", stored.autopay_opt_in == invoice.autopay_opt_in),
        ("tax", stored.tax_minor == invoice.tax.minor()),
        ("lines", stored.lines.len() == invoice.lines.len()),
    ]);
    for (n, (stored, wanted)) in stored.lines.iter().zip(&invoice.lines).enumerate() {
        let fields = changed(&[
            ("kind", stored.kind == wanted.kind.as_str()),
            (
                "description_code",
                stored.description_code == wanted.description_code,
            ),
            ("amount", stored.amount_minor == wanted.amount.minor()),
        ]);
        differing.extend(fields.into_iter().map(|field| format!("lines[{n}].{field}")));
    }
    differing
}
