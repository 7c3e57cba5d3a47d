//! Terms, time and what is invoiced for them, by command: engagements from one version to the next, time from draft to line,
//! invoices of fees and hours, and the exception that an owner or admin makes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod engagements;
mod hourly;
mod manual;
mod mixed;
mod time;
mod users;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tests::world::{CliOutput, Login, World, WorldOptions};

use crate::acme;

/// Only commands run.
async fn bare() -> World {
    let options = WorldOptions {
        workers: 0,
        ingress: false,
        ..WorldOptions::default()
    };
    World::start(options).await
}

/// A worker generates when it is told to, and at no other time.
async fn with_a_worker() -> World {
    let options = WorldOptions {
        ingress: false,
        ..WorldOptions::default()
    };
    let world = World::start(options).await;
    acme::bill_by_hand_only(&world).await;
    world
}

/// Acme with its people, and Globex without a card.
fn firm() -> Value {
    let user = |id: &str, role: &str| json!({"external_id": id, "firm": "acme", "name": id, "role": role});
    let mut portal = user("ceo", "client");
    portal["client"] = json!("globex");
    json!({
        "firms": [{"external_id": "acme", "name": "Acme Advisory", "timezone": "UTC", "currency": "usd"}],
        "clients": [{"external_id": "globex", "firm": "acme", "name": "Globex"},
                    {"external_id": "initech", "firm": "acme", "name": "Initech"}],
        "users": [user("olga", "owner"), user("ada", "admin"), user("max", "manager"), user("sam", "staff"), portal],
    })
}

/// A signed engagement of Globex's for the year 2026, unless changed.
fn engagement(name: &str, changed: Value) -> Value {
    let mut terms = json!({
        "external_id": name, "client": "globex", "pricing_mode": "mixed", "currency": "usd", "package_fee": "1000.00",
        "package_fee_schedule": "monthly", "hourly_rate": "150.00", "starts_on": "2026-01-01", "ends_on": "2027-01-01",
        "signed": true,
    });
    for (key, value) in changed.as_object().unwrap() {
        terms[key] = value.clone();
    }
    terms
}

/// Terms that bill hours alone; with a schedule by themselves.
fn hours(name: &str, schedule: Option<&str>) -> Value {
    engagement(
        name,
        json!({
            "pricing_mode": "hourly", "package_fee": null, "package_fee_schedule": null, "hourly_schedule": schedule,
        }),
    )
}

/// The firm with these engagements.
fn with_engagements(engagements: &[Value]) -> Value {
    let mut document = firm();
    document["engagements"] = json!(engagements);
    document
}

/// Time that a document brings in approved.
fn approved(name: &str, engagement: &str, worked_on: &str, minutes: u32) -> Value {
    json!({
        "external_id": name, "engagement": engagement, "worker": "sam", "worked_on": worked_on, "minutes": minutes,
        "state": "approved", "approved_by": "ada",
    })
}

/// Imports time.
async fn work(world: &World, entries: &[Value]) {
    world.import(&json!({ "time_entries": entries })).await;
}

/// A command that must be refused with exit code 4; its error code and message.
async fn refused(world: &World, args: &[&str]) -> (String, String) {
    let with_json = [args, &["--json"]].concat();
    let output: CliOutput = world.cli(&with_json).await;
    assert_eq!(output.code, 4, "{output}");
    let error = output.json().unwrap()["error"].clone();
    let text = |key: &str| error[key].as_str().unwrap().to_owned();
    (text("code"), text("message"))
}

/// The error code of a refusal.
async fn refusal(world: &World, args: &[&str]) -> String {
    refused(world, args).await.0
}

/// What the database says to a statement of a program that sees Acme only, however it was written: SQLSTATE and message, or
/// `done`. Nothing of it stays.
async fn guard(world: &World, statement: &str) -> String {
    let mut conn = PgConnection::connect(&world.database_url(Login::Worker))
        .await
        .unwrap();
    let mut tx = conn.begin().await.unwrap();
    let firm = world
        .texts("select id::text from firms where external_id = 'acme'")
        .await
        .concat();
    sqlx::query("select set_config('app.firm_id', $1, true)")
        .bind(firm)
        .execute(&mut *tx)
        .await
        .unwrap();
    let run = async {
        sqlx::query(AssertSqlSafe(statement.to_owned()))
            .execute(&mut *tx)
            .await?;
        sqlx::query("set constraints all immediate")
            .execute(&mut *tx)
            .await
    };
    match run.await {
        Ok(_) => "done".to_owned(),
        Err(fault) => {
            let fault = fault.as_database_error().unwrap_or_else(|| panic!("{fault}"));
            format!("{} {}", fault.code().unwrap_or_default(), fault.message())
        }
    }
}

/// The audit of a subject: action, actor and one field of the meta data.
async fn audit(world: &World, subject_kind: &str, field: &str) -> Vec<String> {
    world
        .texts(&format!(
            "select concat_ws(' ', action, actor_kind, actor_id, meta ->> '{field}') from audit_events
              where subject_kind = '{subject_kind}' order by id"
        ))
        .await
}

/// Voids an invoice that nobody is collecting.
async fn make_void(world: &World, invoice: &str) {
    let voided = world
        .json(&["invoice", "void", invoice, "--reason", "made in error"])
        .await;
    assert_eq!(voided["state"], "void", "{voided}");
}

/// The lines of an invoice as `kind minutes amount entry`.
fn lines(invoice: &Value) -> Vec<String> {
    invoice["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            let word = |key: &str| line[key].as_str().unwrap_or("-").to_owned();
            format!(
                "{} {} {} {}",
                word("kind"),
                line["minutes"],
                line["amount_minor"],
                word("time_entry")
            )
        })
        .collect()
}

/// Lines add up to the subtotal of every invoice, and every journal to zero, with the kinds on accounts of their own.
async fn assert_reconciled(world: &World) {
    let off = world
        .texts(
            "select i.id || ' ' || i.subtotal_minor || ' is not ' || coalesce(sum(l.amount_minor), 0) from invoices i
               left join invoice_lines l on l.invoice_id = i.id group by i.id, i.subtotal_minor
              having i.subtotal_minor <> coalesce(sum(l.amount_minor), 0)
             union all
             select j.source_key || ' is off by ' || sum(p.amount_minor) from journals j join postings p on p.journal_id = j.id
              group by j.source_key having sum(p.amount_minor) <> 0
             union all
             select l.kind || ' of ' || l.invoice_id || ' is not in the ledger' from invoice_lines l join invoices i on i.id = l.invoice_id
              where i.doc_state not in ('draft', 'void') group by l.kind, l.invoice_id
             having -sum(l.amount_minor) is distinct from (
               select sum(p.amount_minor) from journals j join postings p on p.journal_id = j.id
                where j.source_key = 'inv:' || l.invoice_id
                  and p.account = case l.kind when 'package_fee' then 'revenue_package' when 'hourly' then 'revenue_hourly'
                                  else 'revenue_other' end)",
        )
        .await;
    assert!(off.is_empty(), "{off:#?}");
    world.cli(&["ledger", "check"]).await.success().unwrap();
}
