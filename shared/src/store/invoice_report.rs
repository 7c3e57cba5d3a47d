//! What a firm has invoiced, by kind of line (R023). Drafts and voids are left out; what was written off was invoiced.

use chrono::NaiveDate;
use serde::Serialize;
use sqlx::PgConnection;

use super::error::Result;
use crate::ids::{ClientId, FirmId};

/// What was invoiced in one currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CurrencyReport {
    /// The firm, by its `external_id` where it has one.
    pub firm: String,
    /// Which.
    pub currency: String,
    /// How many invoices.
    pub invoices: i64,
    /// What their lines are for.
    pub kinds: Vec<KindReport>,
    /// Tax on them.
    pub tax_minor: i64,
    /// What they come to: all kinds and the tax.
    pub total_minor: i64,
}

/// What the lines of one kind come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KindReport {
    /// `package_fee`, `hourly` or `adjustment`.
    pub kind: String,
    /// How many lines.
    pub lines: i64,
    /// How long, of approved time. Hours of an import are amounts only.
    pub minutes: i64,
    /// What they come to.
    pub amount_minor: i64,
}

/// Which invoices to report.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    /// Issued on this day or later.
    pub from: Option<NaiveDate>,
    /// Issued before this day.
    pub to: Option<NaiveDate>,
    /// To this client only.
    pub client: Option<ClientId>,
}

/// A firm's invoices by currency.
///
/// # Errors
/// When the database is away.
pub async fn by_kind(conn: &mut PgConnection, firm: FirmId, filter: &Filter) -> Result<Vec<CurrencyReport>> {
    let client = filter.client.map(|id| id.0);
    let totals = sqlx::query!(
        r#"select coalesce(f.external_id, f.id::text) as "firm!", i.currency::text as "currency!", count(*) as "invoices!",
                  sum(i.tax_minor)::bigint as "tax_minor!", sum(i.total_minor)::bigint as "total_minor!"
           from invoices i join firms f on f.id = i.firm_id
           where i.firm_id = $1 and i.doc_state not in ('draft', 'void') and ($2::date is null or i.issue_date >= $2)
             and ($3::date is null or i.issue_date < $3) and ($4::uuid is null or i.client_id = $4)
           group by 1, 2 order by 2"#,
        firm.0,
        filter.from,
        filter.to,
        client,
    )
    .fetch_all(&mut *conn)
    .await?;
    let kinds = sqlx::query!(
        r#"select i.currency::text as "currency!", l.kind, count(*) as "lines!", coalesce(sum(l.quantity_minutes), 0)::bigint as "minutes!",
                  sum(l.amount_minor)::bigint as "amount_minor!"
           from invoices i join invoice_lines l on l.firm_id = i.firm_id and l.invoice_id = i.id
           where i.firm_id = $1 and i.doc_state not in ('draft', 'void') and ($2::date is null or i.issue_date >= $2)
             and ($3::date is null or i.issue_date < $3) and ($4::uuid is null or i.client_id = $4)
           group by 1, 2 order by 1, array_position(array['package_fee', 'hourly', 'adjustment'], l.kind)"#,
        firm.0,
        filter.from,
        filter.to,
        client,
    )
    .fetch_all(conn)
    .await?;
    let of = |currency: &str| {
        kinds
            .iter()
            .filter(|row| row.currency == currency)
            .map(|row| KindReport {
                kind: row.kind.clone(),
                lines: row.lines,
                minutes: row.minutes,
                amount_minor: row.amount_minor,
            })
            .collect()
    };
    Ok(totals
        .into_iter()
        .map(|row| CurrencyReport {
            firm: row.firm,
            kinds: of(&row.currency),
            currency: row.currency,
            invoices: row.invoices,
            tax_minor: row.tax_minor,
            total_minor: row.total_minor,
        })
        .collect())
}
