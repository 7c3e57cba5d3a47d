//! `quittance ledger`: do the books balance, what happened to an invoice or a client in double entry, and where is the money.

use std::time::Duration;

use serde::Serialize;
use shared::{
    domain::ledger::{self, Balance, Finding, Severity},
    store::ledger::{self as books, Checked, JournalRow},
};

use super::{
    connect::open_db_for,
    find::find_ledger_subject,
    firms::{FirmLabel, chosen_firms},
    invoice_text::{amount, minute},
    list_args::ListArgs,
    open_db,
};
use crate::output::{Exit, Failure, Format, Page, table};

/// A comparison reads every journal of a firm at once; years of a large one take minutes.
const LONGEST: Duration = Duration::from_secs(1800);

/// Arguments of `ledger`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Recompute the ledger from the facts and compare; exit 3 when they differ. Changes nothing.
    #[command(after_help = "Examples:
  quittance ledger check
  quittance ledger check --firm-id acme --json")]
    Check {
        /// Only this firm.
        #[arg(long, value_name = "ID")]
        firm_id: Option<String>,
    },
    /// The journals of an invoice or a client, with their postings, oldest first.
    #[command(after_help = "Examples:
  quittance ledger show PKG-0001-000042
  quittance ledger show globex --limit 10
  quittance ledger show ch_1 --json")]
    Show {
        /// An invoice or a client: UUID, number, external_id, or the Stripe id of a customer, intent, charge, refund or dispute.
        id: String,
        #[command(flatten)]
        page: ListArgs,
    },
    /// The balance of every account, debit positive; those of a firm and currency sum to zero.
    #[command(after_help = "Examples:
  quittance ledger balances
  quittance ledger balances --firm-id acme --json")]
    Balances {
        /// Only this firm.
        #[arg(long, value_name = "ID")]
        firm_id: Option<String>,
    },
}

/// Runs `ledger`.
///
/// # Errors
/// When there is no such firm, invoice or client, or the database is away.
pub async fn run(args: Args, out: Format) -> Result<Exit, Failure> {
    match args.command {
        Command::Check { firm_id } => check(firm_id.as_deref(), out).await,
        Command::Show { id, page } => show(&id, &page, out).await,
        Command::Balances { firm_id } => balances(firm_id.as_deref(), out).await,
    }
}

/// The result of `ledger check`.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    firms: usize,
    journals: i64,
    postings: i64,
    findings: Vec<FirmFinding>,
}

#[derive(Debug, Serialize)]
struct FirmFinding {
    firm: String,
    #[serde(flatten)]
    finding: Finding,
}

async fn check(firm: Option<&str>, out: Format) -> Result<Exit, Failure> {
    let db = open_db_for(LONGEST).await?;
    let mut report = Report {
        ok: true,
        firms: 0,
        journals: 0,
        postings: 0,
        findings: Vec::new(),
    };
    for firm in chosen_firms(&db, firm).await? {
        let mut tx = db.snapshot(firm.id).await?;
        report.add(&firm, books::check(&mut tx, &[firm.id]).await?);
    }
    out.show(&report, describe_check)?;
    Ok(if report.ok { Exit::Done } else { Exit::Findings })
}

impl Report {
    fn add(&mut self, firm: &FirmLabel, checked: Checked) {
        self.ok &= ledger::is_right(&checked.findings);
        self.firms += 1;
        self.journals += checked.journals;
        self.postings += checked.postings;
        self.findings
            .extend(checked.findings.into_iter().map(|finding| FirmFinding {
                firm: firm.label.clone(),
                finding,
            }));
    }
}

fn describe_check(report: &Report) -> String {
    let size = format!(
        "{} firm(s), {} journal(s), {} posting(s)",
        report.firms, report.journals, report.postings
    );
    let errors = report
        .findings
        .iter()
        .filter(|f| f.finding.severity == Severity::Error);
    let mut text = match errors.count() {
        0 => format!("the books balance: {size}\n"),
        wrong => format!("THE BOOKS ARE WRONG in {wrong} place(s): {size}\n"),
    };
    if !report.findings.is_empty() {
        let rows: Vec<_> = report.findings.iter().map(finding_row).collect();
        text.push_str(&table(
            &["SEVERITY", "FIRM", "WHAT", ">EXPECTED", ">FOUND", "CHECK"],
            &rows,
        ));
    }
    text
}

fn finding_row(row: &FirmFinding) -> Vec<String> {
    let finding = &row.finding;
    let side = |minor: Option<i64>| {
        minor.map_or_else(|| "nothing".to_owned(), |minor| amount(minor, &finding.currency))
    };
    vec![
        finding.severity.to_string(),
        row.firm.clone(),
        finding.what.clone(),
        side(finding.expected_minor),
        side(finding.found_minor),
        finding.check.to_string(),
    ]
}

async fn show(reference: &str, page: &ListArgs, out: Format) -> Result<Exit, Failure> {
    let after = page.cursor.as_deref().map(str::parse::<i64>).transpose();
    let after = after.map_err(|_| Failure::usage("--cursor is none of ours: give a next_cursor"))?;
    let db = open_db().await?;
    let (firm, filter) = find_ledger_subject(&db, reference).await?;
    let mut tx = db.firm(firm).await?;
    let rows = books::journals(&mut tx, firm, filter, after, page.fetch()).await?;
    out.show(
        &Page::of(rows, page.shown(), |row| row.seq.to_string()),
        describe_journals,
    )?;
    Ok(Exit::Done)
}

fn describe_journals(page: &Page<JournalRow>) -> String {
    if page.data.is_empty() {
        return "none\n".to_owned();
    }
    let mut rows = Vec::new();
    for journal in &page.data {
        let invoice = journal.invoice.clone().unwrap_or_default();
        for (line, posting) in journal.postings.iter().enumerate() {
            let first = |text: String| if line == 0 { text } else { String::new() };
            rows.push(vec![
                first(minute(journal.effective_at)),
                first(journal.kind.clone()),
                first(invoice.clone()),
                posting.account.clone(),
                amount(posting.amount_minor, &posting.currency),
                first(journal.source_key.clone()),
            ]);
        }
    }
    let mut text = table(
        &["AT", "JOURNAL", "INVOICE", "ACCOUNT", ">AMOUNT", "SOURCE"],
        &rows,
    );
    if let Some(cursor) = &page.next_cursor {
        text.push_str(&format!("more: --cursor {cursor}\n"));
    }
    text
}

#[derive(Debug, Serialize)]
struct FirmBalance {
    firm: String,
    #[serde(flatten)]
    balance: Balance,
}

async fn balances(firm: Option<&str>, out: Format) -> Result<Exit, Failure> {
    let db = open_db().await?;
    let mut data = Vec::new();
    for firm in chosen_firms(&db, firm).await? {
        let mut tx = db.firm(firm.id).await?;
        let rows = books::balances(&mut tx, &[firm.id.0]).await?;
        data.extend(rows.into_iter().map(|balance| FirmBalance {
            firm: firm.label.clone(),
            balance,
        }));
    }
    let page = Page {
        data,
        next_cursor: None,
    };
    out.show(&page, |page| {
        page.to_text(&["FIRM", "ACCOUNT", ">BALANCE"], |row| {
            vec![
                row.firm.clone(),
                row.balance.account.clone(),
                amount(row.balance.balance_minor, &row.balance.currency),
            ]
        })
    })?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use shared::{domain::ledger::Check, store::ledger::PostingRow};

    use super::*;

    fn report(severity: Severity) -> Report {
        let finding = Finding {
            severity,
            check: Check::ReceivableIsOpen,
            what: "invoice INV-0001-000001".into(),
            currency: "usd".into(),
            expected_minor: Some(0),
            found_minor: Some(123_450),
        };
        let mut report = Report {
            ok: true,
            firms: 0,
            journals: 0,
            postings: 0,
            findings: Vec::new(),
        };
        let firm = FirmLabel {
            id: shared::ids::FirmId::new(),
            label: "acme".into(),
        };
        let checked = Checked {
            journals: 7,
            postings: 15,
            findings: vec![finding],
        };
        report.add(&firm, checked);
        report
    }

    #[test]
    fn p9_a_finding_names_what_was_expected_and_what_is_there() {
        let wrong = report(Severity::Error);
        assert!(!wrong.ok);
        insta::assert_snapshot!(describe_check(&wrong), @"
        THE BOOKS ARE WRONG in 1 place(s): 1 firm(s), 7 journal(s), 15 posting(s)
        SEVERITY  FIRM  WHAT                     EXPECTED         FOUND  CHECK
        error     acme  invoice INV-0001-000001  0.00 USD  1,234.50 USD  receivable_is_open
        ");
        insta::assert_json_snapshot!(wrong, @r#"
        {
          "ok": false,
          "firms": 1,
          "journals": 7,
          "postings": 15,
          "findings": [
            {
              "firm": "acme",
              "severity": "error",
              "check": "receivable_is_open",
              "what": "invoice INV-0001-000001",
              "currency": "usd",
              "expected_minor": 0,
              "found_minor": 123450
            }
          ]
        }
        "#);
        assert!(report(Severity::Warning).ok);
    }

    #[test]
    fn a_journal_is_shown_with_every_side_of_it() {
        let posting = |account: &str, amount_minor| PostingRow {
            account: account.into(),
            amount_minor,
            currency: "usd".into(),
        };
        let at = chrono::DateTime::from_timestamp(1_770_000_000, 0).unwrap();
        let journal = JournalRow {
            id: uuid::Uuid::nil(),
            seq: 3,
            kind: "payment".into(),
            source_key: "ch:ch_1".into(),
            reverses: None,
            client: "globex".into(),
            invoice: Some("PKG-0001-000001".into()),
            dispute: None,
            effective_at: at,
            posted_at: at,
            postings: vec![posting("stripe_clearing", 1500), posting("receivable", -1500)],
        };
        let page = Page {
            data: vec![journal],
            next_cursor: Some("3".into()),
        };
        insta::assert_snapshot!(describe_journals(&page), @"
        AT                JOURNAL  INVOICE          ACCOUNT              AMOUNT  SOURCE
        2026-02-02 02:40  payment  PKG-0001-000001  stripe_clearing   15.00 USD  ch:ch_1
                                                    receivable       -15.00 USD
        more: --cursor 3
        ");
    }
}
