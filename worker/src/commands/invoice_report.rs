//! `quittance invoice report`: what was invoiced, by kind of line.

use chrono::NaiveDate;
use serde::Serialize;
use shared::{
    ids::FirmId,
    store::{
        Db,
        invoice_report::{self, CurrencyReport, Filter},
    },
};

use super::{find::find_client, firms::chosen_firms, invoice_text::amount};
use crate::output::{Failure, table};

/// Arguments of `invoice report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only of this firm.
    #[arg(long, value_name = "ID")]
    firm_id: Option<String>,
    /// Only to this client.
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// Only invoices dated on this day or later.
    #[arg(long, value_name = "DATE")]
    from: Option<NaiveDate>,
    /// Only invoices dated before this day.
    #[arg(long, value_name = "DATE")]
    to: Option<NaiveDate>,
}

/// The result.
#[derive(Debug, Serialize)]
pub struct Report {
    from: Option<NaiveDate>,
    to: Option<NaiveDate>,
    data: Vec<CurrencyReport>,
}

/// Makes the report, firm by firm.
///
/// # Errors
/// When there is no such firm or client, or the database is away.
pub async fn report(db: &Db, args: &Args) -> Result<Report, Failure> {
    let client = match &args.client {
        Some(reference) => Some(find_client(db, reference).await?),
        None => None,
    };
    let mut firms: Vec<FirmId> = chosen_firms(db, args.firm_id.as_deref())
        .await?
        .into_iter()
        .map(|firm| firm.id)
        .collect();
    firms.retain(|firm| client.is_none_or(|(of, _)| of == *firm));
    let filter = Filter {
        from: args.from,
        to: args.to,
        client: client.map(|(_, id)| id),
    };
    let mut data = Vec::new();
    for firm in firms {
        let mut tx = db.firm(firm).await?;
        data.extend(invoice_report::by_kind(&mut tx, firm, &filter).await?);
    }
    Ok(Report {
        from: args.from,
        to: args.to,
        data,
    })
}

/// For a person: a row per kind, then the tax and the total.
pub fn describe(report: &Report) -> String {
    let mut rows = Vec::new();
    for of in &report.data {
        let money = |minor: i64| amount(minor, &of.currency);
        for kind in &of.kinds {
            rows.push(vec![
                of.firm.clone(),
                kind.kind.clone(),
                kind.lines.to_string(),
                kind.minutes.to_string(),
                money(kind.amount_minor),
            ]);
        }
        if of.tax_minor != 0 {
            rows.push(vec![
                of.firm.clone(),
                "tax".to_owned(),
                String::new(),
                String::new(),
                money(of.tax_minor),
            ]);
        }
        rows.push(vec![
            of.firm.clone(),
            format!("total of {} invoice(s)", of.invoices),
            String::new(),
            String::new(),
            money(of.total_minor),
        ]);
    }
    if rows.is_empty() {
        return "nothing was invoiced\n".to_owned();
    }
    table(&["FIRM", "KIND", ">LINES", ">MINUTES", ">AMOUNT"], &rows)
}
