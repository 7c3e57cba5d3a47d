//! `quittance audit`: what happened, by whom and why; and whether that log is still the one that was written (R091, R093).

use std::{collections::BTreeMap, path::PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::{
    domain::{
        audit_action::Category,
        audit_chain::{Finding, Hash, Head},
    },
    ids::FirmId,
    store::{
        self, Db,
        audit_chain::{self, Verified},
        audit_read::{self, AuditRow, Filter},
        portal::console::{self, ChangeRow},
    },
};
use uuid::Uuid;

use super::{
    connect::open_db_for,
    find::find_subjects,
    firms::{FirmLabel, chosen_firms},
    list_args::ListArgs,
    open_db,
    since::{Since, parse_since},
};
use crate::output::{Exit, Failure, Format, Page, table};

/// Following a chain reads a firm's whole log.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(1800);

/// Arguments of `audit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// What happened, newest first: billing of the last seven days unless told otherwise.
    #[command(after_help = "Examples:
  quittance audit list
  quittance audit list --firm-id acme --since 30d --limit 200
  quittance audit list --subject PKG-0001-000042 --since 365d
  quittance audit list --category break_glass --json")]
    List(List),
    /// What was done to everybody's work and not to one firm's, newest first: charging, queues and jobs, the clock, logins, alerts of the
    /// platform.
    #[command(
        after_help = "Examples:\n  quittance audit changes\n  quittance audit changes --limit 200 --json"
    )]
    Changes {
        #[command(flatten)]
        page: ListArgs,
    },
    /// Recompute the chain over the log; exit 3 when a row was changed, removed or put in later. Changes nothing.
    #[command(after_help = "Examples:
  quittance audit verify
  quittance audit verify --firm-id acme --head /safe/heads-2026-03.json")]
    Verify {
        /// Only this firm.
        #[arg(long, value_name = "ID")]
        firm_id: Option<String>,
        /// Heads that `audit head --json` gave earlier: they must still be in the chain.
        #[arg(long, value_name = "FILE")]
        head: Option<PathBuf>,
    },
    /// The end of each firm's chain, to be kept where nobody who can write the database can write.
    #[command(after_help = "Examples:
  quittance audit head
  quittance audit head --json > /safe/heads-2026-03.json")]
    Head {
        /// Only this firm.
        #[arg(long, value_name = "ID")]
        firm_id: Option<String>,
    },
    /// Seal what was added since the last block now, instead of within ten minutes.
    #[command(after_help = "Examples:\n  quittance audit seal\n  quittance audit seal --firm-id acme")]
    Seal {
        /// Only this firm.
        #[arg(long, value_name = "ID")]
        firm_id: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only of this firm.
    #[arg(long, value_name = "ID")]
    firm_id: Option<String>,
    /// Only of this category: billing, auth, break_glass, purge or config.
    #[arg(long, default_value_t = Category::Billing)]
    category: Category,
    /// How far back: a duration before now, or a time.
    #[arg(long, default_value = "7d", value_name = "DURATION|TIME", value_parser = parse_since)]
    since: Since,
    /// Only about this: any id in any form.
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    #[command(flatten)]
    page: ListArgs,
}

/// Runs `audit`.
///
/// # Errors
/// When there is no such firm, a file cannot be read, or the database is away.
pub async fn run(args: Args, out: Format) -> Result<Exit, Failure> {
    match args.command {
        Command::List(args) => list(&args, out).await,
        Command::Changes { page } => changes(&page, out).await,
        Command::Verify { firm_id, head } => verify(firm_id.as_deref(), head, out).await,
        Command::Head { firm_id } => head(firm_id.as_deref(), out).await,
        Command::Seal { firm_id } => seal(firm_id.as_deref(), out).await,
    }
}

/// Every firm sees its own rows only, so each is asked for a whole page, and the newest of all are shown.
async fn list(args: &List, out: Format) -> Result<Exit, Failure> {
    let before = args.page.cursor.as_deref().map(read_cursor).transpose()?;
    let db = open_db().await?;
    let subjects = match &args.subject {
        Some(reference) => Some(find_subjects(&db, reference).await?),
        None => None,
    };
    let since = args.since.at(db.now().await?);
    let filter = Filter {
        category: args.category,
        since,
        subjects: subjects.as_deref(),
        before,
    };
    let mut rows = Vec::new();
    for firm in chosen_firms(&db, args.firm_id.as_deref()).await? {
        let mut tx = db.firm(firm.id).await?;
        rows.extend(audit_read::list(&mut tx, firm.id, &filter, args.page.fetch()).await?);
    }
    rows.sort_by_key(|row| std::cmp::Reverse((row.at, row.id)));
    rows.truncate(args.page.shown().saturating_add(1));
    out.show(&Page::of(rows, args.page.shown(), cursor), describe_page)?;
    Ok(Exit::Done)
}

fn cursor(row: &AuditRow) -> String {
    format!("{}-{}", row.at.timestamp_micros(), row.id)
}

fn read_cursor(text: &str) -> Result<(DateTime<Utc>, i64), Failure> {
    let parts = text.split_once('-').and_then(|(at, id)| {
        let at = DateTime::from_timestamp_micros(at.parse().ok()?)?;
        Some((at, id.parse().ok()?))
    });
    parts.ok_or_else(|| Failure::usage("--cursor is none of ours: give a next_cursor"))
}

fn describe_page(page: &Page<AuditRow>) -> String {
    let headings = [
        "AT", "FIRM", "ACTION", "SEVERITY", "BY", "SUBJECT", "CAUSE", "META",
    ];
    page.to_text(&headings, |row| {
        let by = row.actor_id.as_deref().unwrap_or(&row.actor_kind);
        let subject = row.subject_id.map(|id| id.to_string()).unwrap_or_default();
        vec![
            row.at.format("%F %T").to_string(),
            row.firm.clone(),
            row.action.clone(),
            row.severity.clone(),
            by.to_owned(),
            format!("{} {subject}", row.subject_kind),
            format!("{} {}", row.cause_kind, row.cause_id),
            row.meta.to_string(),
        ]
    })
}

async fn changes(page: &ListArgs, out: Format) -> Result<Exit, Failure> {
    let before = page.cursor.as_deref().map(str::parse).transpose();
    let before = before.map_err(|_| Failure::usage("--cursor is none of ours: give a next_cursor"))?;
    let db = open_db().await?;
    let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
    let rows = console::changes(&mut conn, before, page.fetch()).await?;
    let page = Page::of(rows, page.shown(), |row| row.id.to_string());
    out.show(&page, describe_changes)?;
    Ok(Exit::Done)
}

fn describe_changes(page: &Page<ChangeRow>) -> String {
    page.to_text(&["AT", "ACTION", "BY", "REASON", "OF", "CAUSE"], |row| {
        vec![
            row.at.format("%F %T").to_string(),
            row.action.clone(),
            row.changed_by.clone(),
            row.reason.clone(),
            row.subject.to_string(),
            row.cause_id.clone(),
        ]
    })
}

/// One firm's head, as it is exported and read again.
#[derive(Debug, Serialize, Deserialize)]
struct FirmHead {
    firm: String,
    firm_id: Uuid,
    /// 0 before the first block.
    seq: i64,
    hash: String,
}

impl FirmHead {
    fn new(firm: &FirmLabel, head: &Head) -> Self {
        Self {
            firm: firm.label.clone(),
            firm_id: firm.id.0,
            seq: head.seq,
            hash: hex::encode(head.hash),
        }
    }
}

async fn head(firm: Option<&str>, out: Format) -> Result<Exit, Failure> {
    let db = open_db().await?;
    let mut data = Vec::new();
    for firm in chosen_firms(&db, firm).await? {
        let mut tx = db.firm(firm.id).await?;
        data.push(FirmHead::new(&firm, &audit_chain::head(&mut tx, firm.id).await?));
    }
    show_heads(data, out)
}

async fn seal(firm: Option<&str>, out: Format) -> Result<Exit, Failure> {
    let db = open_db().await?;
    let mut data = Vec::new();
    for firm in chosen_firms(&db, firm).await? {
        seal_all(&db, firm.id).await?;
        let mut tx = db.firm(firm.id).await?;
        data.push(FirmHead::new(&firm, &audit_chain::head(&mut tx, firm.id).await?));
    }
    show_heads(data, out)
}

async fn seal_all(db: &Db, firm: FirmId) -> Result<(), Failure> {
    loop {
        let mut tx = db.firm(firm).await?;
        let now = tx.now();
        let sealed = audit_chain::seal(&mut tx, firm, now).await?;
        tx.commit().await?;
        if sealed.is_none_or(|sealed| sealed.complete) {
            return Ok(());
        }
    }
}

fn show_heads(data: Vec<FirmHead>, out: Format) -> Result<Exit, Failure> {
    let page = Page {
        data,
        next_cursor: None,
    };
    out.show(&page, |page| {
        page.to_text(&["FIRM", ">BLOCK", "HASH"], |row| {
            vec![row.firm.clone(), row.seq.to_string(), row.hash.clone()]
        })
    })?;
    Ok(Exit::Done)
}

/// The result of `audit verify`.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    firms: Vec<FirmChain>,
    findings: Vec<FirmFinding>,
}

#[derive(Debug, Serialize)]
struct FirmChain {
    #[serde(flatten)]
    head: FirmHead,
    /// Rows in blocks.
    sealed: u64,
    /// Rows that are sealed within ten minutes.
    unsealed: i64,
}

#[derive(Debug, Serialize)]
struct FirmFinding {
    firm: String,
    #[serde(flatten)]
    finding: Finding,
}

async fn verify(firm: Option<&str>, file: Option<PathBuf>, out: Format) -> Result<Exit, Failure> {
    let mut exported = match file {
        Some(file) => read_heads(&file)?,
        None => BTreeMap::new(),
    };
    let db = open_db_for(LONGEST).await?;
    let mut report = Report {
        ok: true,
        firms: Vec::new(),
        findings: Vec::new(),
    };
    for of in chosen_firms(&db, firm).await? {
        let kept = exported.remove(&of.id.0).unwrap_or_default();
        let heads: Vec<Head> = kept.into_iter().map(|(_, head)| head).collect();
        let mut tx = db.snapshot(of.id).await?;
        let verified = audit_chain::verify(&mut tx, of.id, &heads).await?;
        report.add(&of, verified);
    }
    if firm.is_none() {
        report.missing_firms(exported);
    }
    out.show(&report, describe_report)?;
    Ok(if report.ok { Exit::Done } else { Exit::Findings })
}

impl Report {
    fn add(&mut self, firm: &FirmLabel, verified: Verified) {
        self.ok &= verified.findings.is_empty();
        self.firms.push(FirmChain {
            head: FirmHead::new(firm, &verified.head),
            sealed: verified.sealed,
            unsealed: verified.unsealed,
        });
        self.findings
            .extend(verified.findings.into_iter().map(|finding| FirmFinding {
                firm: firm.label.clone(),
                finding,
            }));
    }

    /// A firm that has a head and is not there was removed as a whole.
    fn missing_firms(&mut self, exported: Exported) {
        for (label, head) in exported.into_values().flatten() {
            self.ok = false;
            self.findings.push(FirmFinding {
                firm: label,
                finding: Finding {
                    fault: shared::domain::audit_chain::Fault::Rewritten,
                    block: Some(head.seq),
                    message: "the firm of an exported head is not there".to_owned(),
                },
            });
        }
    }
}

/// Heads by firm, each with what the firm was called.
type Exported = BTreeMap<Uuid, Vec<(String, Head)>>;

fn read_heads(file: &std::path::Path) -> Result<Exported, Failure> {
    #[derive(Deserialize)]
    struct Document {
        data: Vec<FirmHead>,
    }
    let fault = |why: String| Failure::new("head_file", format!("{} holds no heads: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|e| fault(e.to_string()))?;
    let document: Document = serde_json::from_str(&text).map_err(|e| fault(e.to_string()))?;
    let mut exported = Exported::new();
    for row in document.data {
        let hash = hex::decode(&row.hash)
            .ok()
            .and_then(|bytes| Hash::try_from(bytes).ok());
        let hash = hash.ok_or_else(|| fault(format!("{:?} is no hash", row.hash)))?;
        let head = Head { seq: row.seq, hash };
        exported.entry(row.firm_id).or_default().push((row.firm, head));
    }
    Ok(exported)
}

fn describe_report(report: &Report) -> String {
    let rows: u64 = report.firms.iter().map(|firm| firm.sealed).sum();
    let waiting: i64 = report.firms.iter().map(|firm| firm.unsealed).sum();
    let size = format!(
        "{} firm(s), {rows} sealed row(s), {waiting} to be sealed",
        report.firms.len()
    );
    if report.ok {
        return format!("the audit log is as it was written: {size}\n");
    }
    let rows: Vec<_> = report
        .findings
        .iter()
        .map(|row| {
            vec![
                row.firm.clone(),
                row.finding.block.map(|seq| seq.to_string()).unwrap_or_default(),
                row.finding.fault.to_string(),
                row.finding.message.clone(),
            ]
        })
        .collect();
    format!(
        "THE AUDIT LOG WAS TAMPERED WITH in {} place(s): {size}\n{}",
        report.findings.len(),
        table(&["FIRM", ">BLOCK", "FAULT", "WHAT"], &rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is() {
        let at = DateTime::from_timestamp_micros(1_770_000_000_123_456).unwrap();
        assert_eq!(read_cursor("1770000000123456-42"), Ok((at, 42)));
        for wrong in ["", "42", "a-b", "1770000000123456-"] {
            assert!(read_cursor(wrong).is_err(), "{wrong:?}");
        }
    }
}
