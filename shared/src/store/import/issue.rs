//! Writes new invoices and issues them: drafts, lines, numbers, audit and collection, one statement each for a whole set.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Import, invoices::Wanted};
use crate::{
    ids::{FirmId, InvoiceId},
    store::{Result, audit, collection_start, error::Error, generation},
};

/// The series of imported invoices; those that we make ourselves have another.
const SERIES: &str = "INV";

impl Import<'_> {
    /// Issues one invoice for each id.
    pub(super) async fn issue_all(
        &mut self,
        firm: FirmId,
        fresh: &[Wanted<'_>],
        ids: &[InvoiceId],
    ) -> Result<()> {
        self.insert_drafts(firm, fresh, ids).await?;
        self.insert_lines(firm, fresh, ids).await?;
        let numbers = self.number_all(firm, ids).await?;
        let metas: Vec<Value> = fresh
            .iter()
            .zip(&numbers)
            .map(|(wanted, number)| {
                let total = wanted.invoice.total;
                json!({
                    "number": number,
                    "source": "import",
                    "total_minor": total.minor(),
                    "currency": total.currency(),
                })
            })
            .collect();
        let subjects: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        audit::record_all(
            self.tx,
            firm,
            self.by,
            ("invoice.issued", "invoice"),
            &subjects,
            &metas,
        )
        .await?;
        let started = collection_start::start_fresh(self.tx, firm, ids, self.by.at).await?;
        self.report.collections_started += usize::try_from(started).unwrap_or(usize::MAX);
        Ok(())
    }

    async fn insert_drafts(&mut self, firm: FirmId, fresh: &[Wanted<'_>], ids: &[InvoiceId]) -> Result<()> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let names: Vec<String> = fresh.iter().map(|w| w.invoice.external_id.clone()).collect();
        let clients: Vec<Uuid> = fresh.iter().map(|w| w.client.0).collect();
        let engagements: Vec<Uuid> = fresh.iter().map(|w| w.engagement.0).collect();
        let currencies: Vec<String> = fresh
            .iter()
            .map(|w| w.invoice.total.currency().as_str().to_owned())
            .collect();
        let issue_dates: Vec<_> = fresh.iter().map(|w| w.invoice.issue_date).collect();
        let due_dates: Vec<_> = fresh.iter().map(|w| w.invoice.due_date).collect();
        let totals: Vec<i64> = fresh.iter().map(|w| w.invoice.total.minor()).collect();
        let autopay: Vec<bool> = fresh.iter().map(|w| w.invoice.autopay_opt_in).collect();
        sqlx::query!(
            "insert into invoices (firm_id, id, external_id, client_id, engagement_id, source, currency, issue_date, due_date,
                                   subtotal_minor, autopay_opt_in)
             select $1, i.id, i.name, i.client, i.engagement, 'import', i.currency, i.issued, i.due, i.total, i.autopay
             from unnest($2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::text[], $7::date[], $8::date[], $9::bigint[], $10::bool[])
               as i(id, name, client, engagement, currency, issued, due, total, autopay)",
            firm.0,
            &ids,
            &names,
            &clients,
            &engagements,
            &currencies,
            &issue_dates,
            &due_dates,
            &totals,
            &autopay,
        )
        .execute(&mut **self.tx)
        .await?;
        Ok(())
    }

    async fn insert_lines(&mut self, firm: FirmId, fresh: &[Wanted<'_>], ids: &[InvoiceId]) -> Result<()> {
        let lines: Vec<_> = fresh
            .iter()
            .zip(ids)
            .flat_map(|(wanted, id)| {
                (1_i32..)
                    .zip(&wanted.invoice.lines)
                    .map(move |(no, line)| (id.0, no, line))
            })
            .collect();
        let line_ids: Vec<Uuid> = lines.iter().map(|_| Uuid::now_v7()).collect();
        let invoices: Vec<Uuid> = lines.iter().map(|(id, ..)| *id).collect();
        let places: Vec<i32> = lines.iter().map(|(_, no, _)| *no).collect();
        let kinds: Vec<String> = lines
            .iter()
            .map(|(.., line)| line.kind.as_str().to_owned())
            .collect();
        let codes: Vec<String> = lines
            .iter()
            .map(|(.., line)| line.description_code.clone())
            .collect();
        let amounts: Vec<i64> = lines.iter().map(|(.., line)| line.amount.minor()).collect();
        sqlx::query!(
            "insert into invoice_lines (firm_id, id, invoice_id, line_no, kind, description_code, amount_minor)
             select $1, l.id, l.invoice, l.no, l.kind, l.code, l.amount
             from unnest($2::uuid[], $3::uuid[], $4::int[], $5::text[], $6::text[], $7::bigint[])
               as l(id, invoice, no, kind, code, amount)",
            firm.0,
            &line_ids,
            &invoices,
            &places,
            &kinds,
            &codes,
            &amounts,
        )
        .execute(&mut **self.tx)
        .await?;
        Ok(())
    }

    async fn number_all(&mut self, firm: FirmId, ids: &[InvoiceId]) -> Result<Vec<String>> {
        let firm_number = sqlx::query_scalar!("select number from firms where id = $1", firm.0)
            .fetch_one(&mut **self.tx)
            .await?;
        let count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
        let first = generation::take_numbers(self.tx, firm, SERIES, count).await?;
        let numbers: Vec<String> = (first..)
            .take(ids.len())
            .map(|n| generation::number(SERIES, firm_number, n))
            .collect();
        let invoices: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let done = sqlx::query!(
            "update invoices i set doc_state = 'issued', number = n.number, issued_at = $4
             from unnest($2::uuid[], $3::text[]) as n(id, number) where i.firm_id = $1 and i.id = n.id",
            firm.0,
            &invoices,
            &numbers,
            self.by.at,
        )
        .execute(&mut **self.tx)
        .await?;
        if done.rows_affected() == invoices.len() as u64 {
            Ok(numbers)
        } else {
            Err(Error::Lost {
                what: "issue invoices",
                changed: done.rows_affected(),
            })
        }
    }
}
