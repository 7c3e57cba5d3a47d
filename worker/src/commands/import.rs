//! `quittance import`: brings a document in, all of it or nothing.

use std::io::Read;

use serde::Serialize;
use shared::{
    domain::import::{self, Document, Fault},
    store::{
        self as database, Db,
        audit::{By, Cause},
        import::{self as store, Counts, Outcome, Report},
    },
};
use uuid::Uuid;

use super::{open_db, operator};
use crate::output::{Detail, Exit, Failure, Format, table};

/// A larger document is cut into several by whoever makes it: it is held in memory, and in one transaction.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// A document names many clients, and their charges may lock in another order. Postgres then gives up one of the two; giving
/// up the import undoes all of it, so it is simply made again.
const TRIES: u32 = 5;

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quittance import customers.json
  export-tool | quittance import - --json

The same document again changes nothing. Every fault is listed with its JSON path (exit 1, nothing is imported);
a change to a signed engagement, an issued invoice or approved time is refused (exit 4, nothing is imported).")]
pub struct Args {
    /// The document, or - for standard input.
    file: String,
}

/// The result of `import`.
#[derive(Debug, Serialize)]
struct Imported {
    run_id: Uuid,
    #[serde(flatten)]
    report: Report,
}

/// Runs `import`.
///
/// # Errors
/// When the document cannot be read or has faults, something final would change, or the database is away.
pub async fn run(args: Args, out: Format) -> Result<Exit, Failure> {
    let text = read(&args.file)?;
    let (document, faults) = import::parse(&text);
    let run_id = Uuid::now_v7();
    let db = open_db().await?;
    let mut tries = 1;
    let brought = loop {
        match bring_in(&db, &document, &faults, run_id).await {
            Err(Stopped::ByDatabase(fault)) if fault.is_contention() && tries < TRIES => tries += 1,
            brought => break brought,
        }
    };
    match brought {
        Ok(report) => {
            out.show(&Imported { run_id, report }, describe)?;
            Ok(Exit::Done)
        }
        Err(Stopped::ByDatabase(fault)) => Err(fault.into()),
        Err(Stopped::ByDocument(failure)) => Err(failure),
    }
}

/// Why nothing was imported.
enum Stopped {
    ByDatabase(database::Error),
    ByDocument(Failure),
}

impl From<database::Error> for Stopped {
    fn from(fault: database::Error) -> Self {
        Self::ByDatabase(fault)
    }
}

/// One try: all of it in one transaction.
async fn bring_in(db: &Db, document: &Document, faults: &[Fault], run_id: Uuid) -> Result<Report, Stopped> {
    let mut tx = db.plain().await?;
    store::lock(&mut tx).await?;
    let known = store::look_up(&mut tx, &document.mentioned()).await?;
    let mut faults = faults.to_vec();
    faults.extend(document.check_references(&known));
    if !faults.is_empty() {
        return Err(Stopped::ByDocument(invalid(faults)));
    }
    let (actor, cause) = (operator(), Cause::command(run_id));
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    match store::apply(&mut tx, document, known, &by).await? {
        Outcome::Refused(fields) => Err(Stopped::ByDocument(refused(fields))),
        Outcome::Applied(report) => {
            tx.commit().await?;
            Ok(report)
        }
    }
}

fn read(file: &str) -> Result<String, Failure> {
    let fault = |fault: std::io::Error| {
        let name = if file == "-" { "standard input" } else { file };
        Failure::new("unreadable_file", format!("cannot read {name}: {fault}"))
    };
    let mut bytes = Vec::new();
    if file == "-" {
        std::io::stdin()
            .lock()
            .take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(fault)?;
    } else {
        std::fs::File::open(file)
            .map_err(fault)?
            .take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(fault)?;
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Failure::new(
            "document_too_large",
            "the document is larger than 64 MiB: cut it into several",
        ));
    }
    String::from_utf8(bytes).map_err(|fault| {
        let at = fault.utf8_error().valid_up_to();
        invalid(vec![Fault {
            path: "$".into(),
            message: format!("is no JSON: byte {at} is not UTF-8"),
        }])
    })
}

fn invalid(faults: Vec<Fault>) -> Failure {
    let count = faults.len();
    let noun = if count == 1 { "fault" } else { "faults" };
    Failure::new(
        "invalid_import",
        format!("the document has {count} {noun}; nothing was imported"),
    )
    .with_details(details(faults))
}

fn refused(fields: Vec<Fault>) -> Failure {
    Failure::refused(
        "refused",
        "the document would change what is final; nothing was imported",
    )
    .with_details(details(fields))
}

fn details(faults: Vec<Fault>) -> Vec<Detail> {
    faults
        .into_iter()
        .map(|fault| Detail {
            path: fault.path,
            message: fault.message,
        })
        .collect()
}

fn describe(imported: &Imported) -> String {
    let report = &imported.report;
    let row = |name: &str, counts: Counts| {
        let cells = [counts.created, counts.updated, counts.unchanged].map(|n| n.to_string());
        [name.to_owned()].into_iter().chain(cells).collect::<Vec<_>>()
    };
    let rows = [
        row("firms", report.firms),
        row("clients", report.clients),
        row("payment methods", report.payment_methods),
        row("users", report.users),
        row("engagements", report.engagements),
        row("time entries", report.time_entries),
        row("invoices", report.invoices),
    ];
    let mut text = table(&["", ">created", ">updated", ">unchanged"], &rows);
    text.push_str(&format!(
        "collecting {} invoice(s) by card\n",
        report.collections_started
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_names_each_kind_with_its_counts() {
        let report = Report {
            invoices: Counts {
                created: 2,
                updated: 0,
                unchanged: 1,
            },
            collections_started: 1,
            ..Report::default()
        };
        let imported = Imported {
            run_id: Uuid::nil(),
            report,
        };
        insta::assert_snapshot!(describe(&imported));
        insta::assert_json_snapshot!(imported);
    }

    #[test]
    fn faults_and_refusals_end_differently() {
        let fault = || {
            vec![Fault {
                path: "$.firms[0].name".into(),
                message: "is missing".into(),
            }]
        };
        let invalid = invalid(fault());
        assert_eq!((invalid.exit, invalid.code), (Exit::Error, "invalid_import"));
        assert_eq!(invalid.message, "the document has 1 fault; nothing was imported");
        assert_eq!(refused(fault()).exit, Exit::Refused);
    }
}
