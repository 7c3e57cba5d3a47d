//! Invoices of an import: issued at once, final from then on, and collected where automatic payment is on.

use serde_json::json;
use uuid::Uuid;

use super::{Import, changed};
use crate::{
    domain::import::{Invoice, Line},
    ids::{ClientId, EngagementId, FirmId, InvoiceId},
    store::{Result, audit, cycles, error::one_row, generation},
};

/// The series of imported invoices; those that we make ourselves have another.
const SERIES: &str = "INV";

impl Import<'_> {
    pub(super) async fn invoice(&mut self, invoice: &Invoice) -> Result<()> {
        let (firm, client) = self.client_named(&invoice.client)?;
        let (_, engagement) = self.engagement_named(&invoice.engagement)?;
        self.enter(firm).await?;
        match self.compare_invoice(firm, client, engagement, invoice).await? {
            Some(differing) if differing.is_empty() => self.report.invoices.unchanged += 1,
            Some(differing) => self.refuse(&invoice.path, &differing, "the invoice is issued"),
            None => {
                let id = self.draft(firm, client, engagement, invoice).await?;
                self.issue(firm, id, invoice).await?;
                let started = cycles::start_if_autopay(self.tx, firm, id, self.by.at, self.by.cause).await?;
                self.report.collections_started += usize::from(started.is_some());
                self.report.invoices.created += 1;
            }
        }
        Ok(())
    }

    /// The fields that differ from what is in the database; `None` when it is not there.
    async fn compare_invoice(
        &mut self,
        firm: FirmId,
        client: ClientId,
        engagement: EngagementId,
        wanted: &Invoice,
    ) -> Result<Option<Vec<String>>> {
        let row = sqlx::query!(
            r#"select id, client_id, engagement_id, currency::text as "currency!", issue_date, due_date, autopay_opt_in
               from invoices where firm_id = $1 and external_id = $2"#,
            firm.0,
            wanted.external_id
        )
        .fetch_optional(&mut **self.tx)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let lines = sqlx::query!(
            "select kind, description_code, amount_minor from invoice_lines where firm_id = $1 and invoice_id = $2 order by line_no",
            firm.0,
            row.id
        )
        .fetch_all(&mut **self.tx)
        .await?;
        let mut differing = changed(&[
            ("client", row.client_id == client.0),
            ("engagement", row.engagement_id == Some(engagement.0)),
            ("currency", row.currency == wanted.total.currency().as_str()),
            ("issue_date", row.issue_date == Some(wanted.issue_date)),
            ("due_date", row.due_date == Some(wanted.due_date)),
            ("autopay_opt_in", row.autopay_opt_in == wanted.autopay_opt_in),
            ("lines", lines.len() == wanted.lines.len()),
        ]);
        for (n, (stored, wanted)) in lines.iter().zip(&wanted.lines).enumerate() {
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
        Ok(Some(differing))
    }

    async fn draft(
        &mut self,
        firm: FirmId,
        client: ClientId,
        engagement: EngagementId,
        invoice: &Invoice,
    ) -> Result<InvoiceId> {
        let id = InvoiceId::new();
        sqlx::query!(
            "insert into invoices (firm_id, id, external_id, client_id, engagement_id, source, currency, issue_date, due_date,
                                   subtotal_minor, autopay_opt_in)
             values ($1, $2, $3, $4, $5, 'import', $6::text, $7, $8, $9, $10)",
            firm.0,
            id.0,
            invoice.external_id,
            client.0,
            engagement.0,
            invoice.total.currency().as_str(),
            invoice.issue_date,
            invoice.due_date,
            invoice.total.minor(),
            invoice.autopay_opt_in,
        )
        .execute(&mut **self.tx)
        .await?;
        self.insert_lines(firm, id, &invoice.lines).await?;
        Ok(id)
    }

    async fn insert_lines(&mut self, firm: FirmId, invoice: InvoiceId, lines: &[Line]) -> Result<()> {
        let ids: Vec<Uuid> = lines.iter().map(|_| Uuid::now_v7()).collect();
        let kinds: Vec<String> = lines.iter().map(|line| line.kind.as_str().to_owned()).collect();
        let codes: Vec<String> = lines.iter().map(|line| line.description_code.clone()).collect();
        let amounts: Vec<i64> = lines.iter().map(|line| line.amount.minor()).collect();
        sqlx::query!(
            "insert into invoice_lines (firm_id, id, invoice_id, line_no, kind, description_code, amount_minor)
             select $1, l.id, $2, l.n, l.kind, l.code, l.amount
             from unnest($3::uuid[], $4::text[], $5::text[], $6::bigint[]) with ordinality as l(id, kind, code, amount, n)",
            firm.0,
            invoice.0,
            &ids,
            &kinds,
            &codes,
            &amounts,
        )
        .execute(&mut **self.tx)
        .await?;
        Ok(())
    }

    async fn issue(&mut self, firm: FirmId, id: InvoiceId, invoice: &Invoice) -> Result<()> {
        let firm_number = sqlx::query_scalar!("select number from firms where id = $1", firm.0)
            .fetch_one(&mut **self.tx)
            .await?;
        let n = generation::take_numbers(self.tx, firm, SERIES, 1).await?;
        let number = generation::number(SERIES, firm_number, n);
        let done = sqlx::query!(
            "update invoices set doc_state = 'issued', number = $3, issued_at = $4 where firm_id = $1 and id = $2",
            firm.0,
            id.0,
            number,
            self.by.at,
        )
        .execute(&mut **self.tx)
        .await?;
        one_row("issue invoice", done.rows_affected())?;
        let meta = json!({
            "number": number,
            "source": "import",
            "total_minor": invoice.total.minor(),
            "currency": invoice.total.currency(),
        });
        audit::record(
            self.tx,
            firm,
            self.by.at,
            &self.by.entry("invoice.issued", "invoice", id.0, meta),
        )
        .await
    }
}
