//! The ledger as people read it: journals with their postings, and the balances of accounts. The keys are a public contract.
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    domain::ledger::Balance,
    ids::{ClientId, FirmId, InvoiceId},
    store::error::Result,
};

/// Every account of these firms with its balance in each currency; those at zero too.
///
/// # Errors
/// When the database is away.
pub async fn balances(conn: &mut PgConnection, firms: &[Uuid]) -> Result<Vec<Balance>> {
    Ok(sqlx::query_as!(
        Balance,
        r#"select account, currency::text as "currency!", sum(amount_minor)::bigint as "balance_minor!"
             from postings where firm_id = any($1) group by account, currency::text order by currency::text, account"#,
        firms
    )
    .fetch_all(conn)
    .await?)
}

/// A journal: one fact, in double entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JournalRow {
    /// Our id.
    pub id: Uuid,
    /// Order of posting; where the next page begins.
    pub seq: i64,
    /// `payment`, `refund`, `credit_applied` …
    pub kind: String,
    /// Names the fact.
    pub source_key: String,
    /// The journal that it takes back.
    pub reverses: Option<Uuid>,
    /// Whose account, by `external_id` where there is one.
    pub client: String,
    /// The invoice, by its number.
    pub invoice: Option<String>,
    /// The dispute, by Stripe's id.
    pub dispute: Option<String>,
    /// Business time of the fact.
    pub effective_at: DateTime<Utc>,
    /// Real time of the posting.
    pub posted_at: DateTime<Utc>,
    /// Its sides, which sum to zero.
    pub postings: Vec<PostingRow>,
}

/// One side of a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PostingRow {
    /// Such as `receivable`.
    pub account: String,
    /// Debit positive.
    pub amount_minor: i64,
    /// Lower-case code.
    pub currency: String,
}

/// Whose journals to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// What happened to one invoice.
    Invoice(InvoiceId),
    /// Everything of a client.
    Client(ClientId),
}

/// The journals of an invoice or client in the order of posting, `most` of them after `after`.
///
/// # Errors
/// When the database is away.
pub async fn journals(
    conn: &mut PgConnection,
    firm: FirmId,
    filter: Filter,
    after: Option<i64>,
    most: i64,
) -> Result<Vec<JournalRow>> {
    let (invoice, client) = match filter {
        Filter::Invoice(id) => (Some(id.0), None),
        Filter::Client(id) => (None, Some(id.0)),
    };
    let rows = sqlx::query!(
        r#"select j.id, j.seq, j.kind, j.source_key, j.reverses, coalesce(c.external_id, c.id::text) as "client!",
                  coalesce(i.number, i.id::text) as invoice, d.stripe_dispute_id as "dispute?", j.effective_at, j.posted_at,
                  coalesce((select array_agg(p.account order by p.line) from postings p
                    where p.firm_id = j.firm_id and p.journal_id = j.id), '{}') as "accounts!: Vec<String>",
                  coalesce((select array_agg(p.amount_minor order by p.line) from postings p
                    where p.firm_id = j.firm_id and p.journal_id = j.id), '{}') as "amounts!: Vec<i64>",
                  coalesce((select array_agg(p.currency::text order by p.line) from postings p
                    where p.firm_id = j.firm_id and p.journal_id = j.id), '{}') as "currencies!: Vec<String>"
             from journals j
             join clients c on c.firm_id = j.firm_id and c.id = j.client_id
             left join invoices i on i.firm_id = j.firm_id and i.id = j.invoice_id
             left join disputes d on d.firm_id = j.firm_id and d.id = j.dispute_id
            where j.firm_id = $1 and ($2::uuid is null or j.invoice_id = $2) and ($3::uuid is null or j.client_id = $3)
              and j.seq > coalesce($4::bigint, 0)
            order by j.seq limit $5"#,
        firm.0,
        invoice,
        client,
        after,
        most
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| JournalRow {
            id: row.id,
            seq: row.seq,
            kind: row.kind,
            source_key: row.source_key,
            reverses: row.reverses,
            client: row.client,
            invoice: row.invoice,
            dispute: row.dispute,
            effective_at: row.effective_at,
            posted_at: row.posted_at,
            postings: row
                .accounts
                .into_iter()
                .zip(row.amounts)
                .zip(row.currencies)
                .map(|((account, amount_minor), currency)| PostingRow {
                    account,
                    amount_minor,
                    currency,
                })
                .collect(),
        })
        .collect())
}
