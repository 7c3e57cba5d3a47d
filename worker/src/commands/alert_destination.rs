//! `quittance alert destination`: where alerts go by themselves; and what went there.

use serde::Serialize;
use shared::{
    actions::{
        alert_destinations::{self as actions, Added, Order},
        people::Acting,
    },
    domain::{
        alert::AlertType,
        delivery::{Channel, DeliveryState},
    },
    ids::{AlertId, DeliveryId, DestinationId, FirmId},
    store::{
        Db, Tx,
        audit::{Actor, By, Cause, Severity},
        delivery::{
            deliveries::{self, DeliveryRow, Filter},
            destinations::{self, DestinationRow},
        },
    },
};
use uuid::Uuid;

use super::{
    alert::{begin, firm_of},
    firms::{chosen_firms, firm_named},
    list_args::{ListArgs, said},
    operator_name,
    reason::Reason,
    wait::{WaitArgs, wait_for},
};
use crate::{
    delivery::allowed_networks,
    output::{Exit, Failure, Format, Page},
};

/// `alert destination`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Have alerts sent to a webhook or a mailbox from now on. What a webhook is signed with is shown once.
    #[command(after_help = "Examples:
  quittance alert destination add --firm-id acme --webhook https://hooks.example.com/quittance --reason 'on-call'
  quittance alert destination add --firm-id acme --email billing@example.com --min-severity critical --by ada --reason asked
  quittance alert destination add --email sre@example.com --type SYSTEM_ERROR --type DRIFT_DETECTED --reason 'night watch'

Without --firm-id it is the platform's, which is told of alerts about no firm. Of a user of the firm, --by takes an owner or
an admin.")]
    Add(Add),
    /// Destinations of the platform and of all firms, or of one.
    #[command(
        after_help = "Examples:\n  quittance alert destination list\n  quittance alert destination list --firm-id acme --json"
    )]
    List {
        /// Only of this firm.
        #[arg(long, value_name = "ID")]
        firm_id: Option<String>,
    },
    /// Send nothing there any more; what waits for it is dropped.
    #[command(
        after_help = "Examples:\n  quittance alert destination remove 01a1fda9-ea24-774d-b6db-b813fe0e38c4 --firm-id acme --reason 'closed'"
    )]
    Remove(Change),
    /// Send there again, after its receiver had answered 410.
    #[command(
        after_help = "Examples:\n  quittance alert destination enable 01a1fda9-ea24-774d-b6db-b813fe0e38c4 --firm-id acme --reason 'is back'"
    )]
    Enable(Change),
    /// Send a message that tells of nothing, once, and say what became of it.
    #[command(
        after_help = "Examples:\n  quittance alert destination test 01a1fda9-ea24-774d-b6db-b813fe0e38c4 --firm-id acme"
    )]
    Test {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

#[derive(Debug, clap::Args)]
pub struct Add {
    /// Whose; the platform's own unless told.
    #[arg(long, value_name = "ID")]
    firm_id: Option<String>,
    /// The https:// URL of a receiver.
    #[arg(
        long,
        value_name = "URL",
        required_unless_present = "email",
        conflicts_with = "email"
    )]
    webhook: Option<String>,
    /// The address of a mailbox.
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// What matters less is not sent.
    #[arg(long, default_value = "info", value_parser = ["info", "warning", "critical"])]
    min_severity: String,
    /// Only of this type; repeatable.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<AlertType>,
    /// In whose name.
    #[arg(long, value_name = "USER", value_parser = said)]
    by: Option<String>,
    #[command(flatten)]
    reason: Reason,
}

#[derive(Debug, clap::Args)]
pub struct Which {
    /// The destination's UUID.
    id: Uuid,
    /// Whose; the platform's own unless told.
    #[arg(long, value_name = "ID")]
    firm_id: Option<String>,
    /// In whose name.
    #[arg(long, value_name = "USER", value_parser = said)]
    by: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Change {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    reason: Reason,
}

/// Arguments of `alert deliveries`.
#[derive(Debug, clap::Args)]
pub struct Deliveries {
    /// Whose; the platform's own unless told.
    #[arg(long, value_name = "ID")]
    firm_id: Option<String>,
    /// Of this alert only, whosever it is.
    #[arg(long, value_name = "UUID", conflicts_with = "firm_id")]
    alert: Option<Uuid>,
    /// Only in this state: waiting, delivered, failed or dropped.
    #[arg(long, value_name = "STATE")]
    state: Option<DeliveryState>,
    #[command(flatten)]
    page: ListArgs,
}

/// Runs `alert destination`.
///
/// # Errors
/// When something is refused or not there, or the database is away.
pub async fn run(db: &Db, command: Command, out: Format) -> Result<Exit, Failure> {
    match command {
        Command::Add(new) => add(db, &new, out).await?,
        Command::List { firm_id } => list(db, firm_id.as_deref(), out).await?,
        Command::Remove(change) => {
            let reason = change.reason.text();
            let gone = acting(
                db,
                &change.which.firm_id,
                change.which.by.as_deref(),
                async |tx, firm, by| {
                    Ok(actions::remove(tx, firm, DestinationId(change.which.id), reason, by).await?)
                },
            )
            .await?;
            out.show(&gone, |gone| {
                format!("nothing goes to {} any more\n", gone.target)
            })?;
        }
        Command::Enable(change) => {
            let reason = change.reason.text();
            let there = acting(
                db,
                &change.which.firm_id,
                change.which.by.as_deref(),
                async |tx, firm, by| {
                    Ok(actions::enable(tx, firm, DestinationId(change.which.id), reason, by).await?)
                },
            )
            .await?;
            out.show(&there, |there| format!("alerts go to {} again\n", there.target))?;
        }
        Command::Test { which, wait } => return test(db, &which, wait, out).await,
    }
    Ok(Exit::Done)
}

/// Does something in a firm, or for the platform, in the name of somebody who may.
async fn acting<T>(
    db: &Db,
    firm: &Option<String>,
    by: Option<&str>,
    act: impl AsyncFnOnce(&mut Tx, Option<FirmId>, &By<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let firm = match firm {
        Some(named) => Some(firm_named(db, named).await?),
        None => None,
    };
    let name = by.map_or_else(operator_name, str::to_owned);
    let mut tx = begin(db, firm).await?;
    let actor = match firm {
        Some(firm) => {
            let acting = Acting::find(&mut tx, firm, &name).await?;
            actions::may(&acting)?;
            acting.actor()
        }
        None => Actor::Operator(name),
    };
    let cause = Cause::command(Uuid::now_v7());
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    let done = act(&mut tx, firm, &by).await?;
    tx.commit().await?;
    Ok(done)
}

async fn add(db: &Db, new: &Add, out: Format) -> Result<(), Failure> {
    let (channel, target) = match (&new.webhook, &new.email) {
        (Some(url), _) => (Channel::Webhook, url),
        (None, Some(address)) => (Channel::Email, address),
        (None, None) => return Err(Failure::usage("say where: --webhook URL or --email ADDRESS")),
    };
    let order = Order {
        channel,
        target,
        min_severity: match new.min_severity.as_str() {
            "critical" => Severity::Critical,
            "warning" => Severity::Warning,
            _ => Severity::Info,
        },
        types: &new.types,
        allowed: &allowed_networks()?,
        reason: new.reason.text(),
    };
    let added = acting(db, &new.firm_id, new.by.as_deref(), async |tx, firm, by| {
        Ok(actions::add(tx, firm, &order, by).await?)
    })
    .await?;
    out.show(&added, describe_added)
}

fn describe_added(added: &Added) -> String {
    let there = &added.destination;
    let mut text = format!(
        "alerts go to {} from now on: destination {}\n",
        there.target, there.id
    );
    if let Some(secret) = &added.secret {
        text.push_str(&format!(
            "each is signed with this secret, shown once:\n{secret}\n"
        ));
    }
    text
}

async fn list(db: &Db, firm: Option<&str>, out: Format) -> Result<(), Failure> {
    let firms = chosen_firms(db, firm).await?;
    let mut scopes: Vec<Option<FirmId>> = firms.into_iter().map(|firm| Some(firm.id)).collect();
    if firm.is_none() {
        scopes.insert(0, None);
    }
    let mut data = Vec::new();
    for scope in scopes {
        let mut tx = begin(db, scope).await?;
        data.extend(destinations::list(&mut tx, scope, None).await?);
    }
    let page = Page {
        data,
        next_cursor: None,
    };
    out.show(&page, describe_destinations)
}

/// What became of a test.
#[derive(Debug, Serialize)]
struct Tried {
    destination: Uuid,
    told: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

async fn test(db: &Db, which: &Which, wait: WaitArgs, out: Format) -> Result<Exit, Failure> {
    let job = acting(db, &which.firm_id, which.by.as_deref(), async |tx, firm, by| {
        Ok(actions::test(tx, firm, DestinationId(which.id), by).await?)
    })
    .await?;
    if wait.no_wait {
        out.show(&serde_json::json!({ "job": job }), |_| {
            format!("enqueued as job {job}\n")
        })?;
        return Ok(Exit::Done);
    }
    let ended = wait_for(db, &[job], wait, out, "messages").await?;
    let result = ended.first().map(|ended| &ended.result);
    let said = |name: &str| result.and_then(|result| result.get(name));
    let tried = Tried {
        destination: which.id,
        told: said("told").and_then(serde_json::Value::as_bool) == Some(true),
        reason: said("reason")
            .and_then(serde_json::Value::as_str)
            .map(str::to_owned)
            .or_else(|| ended.first().and_then(|ended| ended.last_error.clone())),
    };
    if tried.told {
        out.show(&tried, |_| "it arrived\n".to_owned())?;
        return Ok(Exit::Done);
    }
    let reason = tried.reason.unwrap_or_else(|| "nobody knows why".to_owned());
    Err(Failure::new(
        "not_delivered",
        format!("it did not arrive: {reason}"),
    ))
}

/// Runs `alert deliveries`.
///
/// # Errors
/// When there is no such alert or firm, or the database is away.
pub async fn deliveries(db: &Db, which: &Deliveries, out: Format) -> Result<(), Failure> {
    let firm = match (&which.alert, &which.firm_id) {
        (Some(alert), _) => firm_of(db, AlertId(*alert)).await?,
        (None, Some(named)) => chosen_firms(db, Some(named)).await?.first().map(|firm| firm.id),
        (None, None) => None,
    };
    let after = which.page.cursor.as_deref().map(str::parse::<Uuid>).transpose();
    let filter = Filter {
        alert: which.alert.map(AlertId),
        state: which.state,
        after: after
            .map_err(|_| Failure::usage("--cursor is none of ours: give a next_cursor"))?
            .map(DeliveryId),
    };
    let mut tx = begin(db, firm).await?;
    let rows = deliveries::list(&mut tx, firm, &filter, which.page.fetch()).await?;
    drop(tx);
    out.show(
        &Page::of(rows, which.page.shown(), |row| row.id.to_string()),
        describe_deliveries,
    )
}

fn describe_destinations(page: &Page<DestinationRow>) -> String {
    page.to_text(
        &[
            "DESTINATION",
            "FIRM",
            "KIND",
            "TARGET",
            "FROM",
            "TYPES",
            "BY",
            "STATE",
        ],
        |row| {
            let state = match (&row.disabled_reason, row.failing_since) {
                (Some(reason), _) => format!("off: {reason}"),
                (None, Some(since)) => format!("nothing arrives since {}", since.format("%F %T")),
                (None, None) => "on".to_owned(),
            };
            vec![
                row.id.to_string(),
                row.firm.clone().unwrap_or_else(|| "-".to_owned()),
                row.kind.clone(),
                row.target.clone(),
                row.min_severity.clone(),
                row.alert_types
                    .as_ref()
                    .map_or_else(|| "all".to_owned(), |types| types.join(",")),
                row.created_by.clone(),
                state,
            ]
        },
    )
}

fn describe_deliveries(page: &Page<DeliveryRow>) -> String {
    page.to_text(
        &[
            "DELIVERY",
            "ALERT",
            "EDGE",
            "SEVERITY",
            "TARGET",
            "STATE",
            ">SENT",
            "CREATED",
            "LAST ERROR",
        ],
        |row| {
            vec![
                row.id.to_string(),
                row.alert
                    .map_or_else(|| "-".to_owned(), |alert| alert.to_string()),
                row.edge.clone(),
                row.severity.clone(),
                row.target.clone(),
                row.state.clone(),
                row.attempts.to_string(),
                row.created_at.format("%F %T").to_string(),
                row.last_error.clone().unwrap_or_default(),
            ]
        },
    )
}
