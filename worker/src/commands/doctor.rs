//! `quittance doctor`: every prerequisite, and the usual reasons why nothing is charged, invoiced or delivered.
//!
//! Each check says what it looked at, how it came out and what to do. It changes nothing, and goes on after a failure as
//! far as it can: one run shows everything that is wrong.

use std::time::Duration;

use secrecy::ExposeSecret;
use serde::Serialize;
use shared::{
    config,
    domain::collection::needs_a_person,
    store::{
        self, Db, DbOptions,
        delivery::deliveries,
        health::{self, Facts, Paused},
        migrations::{self, SchemaState},
        reconcile,
    },
};

use super::connect;
use crate::{
    delivery::Smtp,
    output::{Exit, Failure, Format},
    scheduler,
    stripe::WebhookEndpoint,
};

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Event types without which something is not noticed.
pub const NEEDED_EVENTS: &[&str] = &[
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "invoice.payment_succeeded",
    "invoice.payment_failed",
    "charge.refunded",
    "charge.dispute.created",
    "charge.dispute.closed",
];
/// Event types with which things are noticed earlier.
const RECOMMENDED_EVENTS: &[&str] = &[
    "charge.updated",
    "charge.dispute.updated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "payment_intent.processing",
    "payment_intent.canceled",
    "payment_intent.requires_action",
    "payment_method.automatically_updated",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "invoice.finalized",
    "invoice.paid",
    "invoice.voided",
    "invoice.marked_uncollectible",
];
/// A queue whose oldest due job waits longer has no worker that serves it, or too few.
const OLDEST_DUE_SECS: i64 = 300;
/// Redis 6.2 brought commands that the lane uses.
const REDIS_WANTED: (u32, u32) = (6, 2);

/// Redis answers within this, or not at all.
const REDIS_ANSWER: Duration = Duration::from_secs(5);

/// One thing looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    /// `null`: could not be judged, or merely worth knowing.
    ok: Option<bool>,
    value: String,
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// The list so far.
#[derive(Default)]
struct Report(Vec<Check>);

impl Report {
    fn ok(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.push(Check {
            name,
            ok: Some(true),
            value: value.into(),
            remedy: None,
        });
    }

    /// Worth knowing, and as it should be.
    fn note(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.push(Check {
            name,
            ok: None,
            value: value.into(),
            remedy: None,
        });
    }

    /// Worth knowing; it may well be meant so. Where it is not, this is what to do.
    fn advise(&mut self, name: &'static str, value: impl Into<String>, remedy: &str) {
        self.0.push(Check {
            name,
            ok: None,
            value: value.into(),
            remedy: Some(remedy.to_owned()),
        });
    }

    /// So many of something that may be meant so: where there are any, they are explained, and what to do is said.
    fn count(&mut self, name: &'static str, count: i64, what: &str, remedy: &str) {
        if count == 0 {
            self.note(name, "0");
        } else {
            self.advise(name, format!("{count} {what}"), remedy);
        }
    }

    fn fail(&mut self, name: &'static str, value: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Check {
            name,
            ok: Some(false),
            value: value.into(),
            remedy: Some(remedy.into()),
        });
    }

    fn judge(&mut self, name: &'static str, ok: bool, value: impl Into<String>, remedy: &str) {
        if ok {
            self.ok(name, value)
        } else {
            self.fail(name, value, remedy)
        }
    }
}

/// Runs `doctor`.
///
/// # Errors
/// When the result cannot be written; what it finds is the result.
pub async fn run(_: Args, format: Format) -> Result<Exit, Failure> {
    let mut report = Report::default();
    database(&mut report).await;
    redis(&mut report).await;
    stripe(&mut report).await;
    let healthy = report.0.iter().all(|c| c.ok != Some(false));
    format.show(&serde_json::json!({"ok": healthy, "checks": report.0}), |_| {
        text(&report.0)
    })?;
    Ok(if healthy { Exit::Done } else { Exit::Findings })
}

fn text(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let mark = match check.ok {
            Some(true) => "ok  ",
            Some(false) => "FAIL",
            None => "-   ",
        };
        text.push_str(&format!("{mark} {:<26} {}\n", check.name, check.value));
        if let Some(remedy) = &check.remedy {
            text.push_str(&format!("     {:<26} → {remedy}\n", ""));
        }
    }
    text
}

async fn database(report: &mut Report) {
    let url = match config::database_url("DATABASE_URL") {
        Ok(url) => url,
        Err(error) => {
            return report.fail(
                "DATABASE_URL",
                error.to_string(),
                "set it in the environment of this program",
            );
        }
    };
    let db = match Db::connect(&url, &DbOptions::command("quittance-doctor")).await {
        Ok(db) => db,
        Err(error) => {
            return report.fail(
                "postgres",
                error.to_string(),
                "check that the server runs, and host, port, login and password",
            );
        }
    };
    report.ok("postgres", "reachable");
    if let Err(error) = database_facts(report, &db).await {
        report.fail(
            "postgres_facts",
            error.to_string(),
            "run `quittance migrate`, and grant this login its role: --grant worker=LOGIN",
        );
    }
}

async fn database_facts(report: &mut Report, db: &Db) -> store::Result<()> {
    let mut conn = db.pool().acquire().await?;
    match migrations::check(&mut conn).await? {
        SchemaState::Current => report.ok("schema", format!("version {}", migrations::expected_version())),
        SchemaState::Ahead { have, want } => {
            report.advise(
                "schema",
                format!("version {have}, this build knows {want}"),
                "nothing is wrong while a rollout lasts; afterwards use the new build here too: `quittance --version` says which this one is",
            )
        }
        SchemaState::Behind { have, want, .. } => {
            report.fail(
                "schema",
                format!("version {have}, this build needs {want}"),
                "run `quittance migrate`",
            );
            return Ok(());
        }
    }
    drop(conn);
    let mut tx = db.plain().await?;
    let facts = health::facts(&mut tx).await?;
    let drift = reconcile::open(&mut tx).await?;
    let told = deliveries::health(&mut tx).await?;
    tx.rollback().await?;
    rights(report, &facts);
    work(report, &facts);
    alerts(report, &told);
    schedules(report, db, facts.live_workers).await;
    money(report, &facts);
    differences(report, &drift);
    Ok(())
}

fn rights(report: &mut Report, facts: &Facts) {
    report.judge(
        "database_role",
        facts.is_worker && !facts.bypasses_security,
        if facts.bypasses_security { "this login is not bound by row-level security" } else if facts.is_worker { "quittance_worker" } else { "not a member of quittance_worker" },
        "use a login of its own for the programs: `quittance migrate --grant worker=LOGIN`, no superuser, not the owner",
    );
    report.judge(
        "row_level_security",
        facts.unprotected_tables.is_empty(),
        if facts.unprotected_tables.is_empty() {
            "forced on every table of a firm".to_owned()
        } else {
            facts.unprotected_tables.join(", ")
        },
        "somebody switched it off: `alter table … force row level security`",
    );
    match (facts.livemode, config::secret("STRIPE_SECRET_KEY").ok().flatten()) {
        (Some(livemode), Some(key)) => match config::mode_of_key(&key) {
            Ok(mode) => report.judge(
                "stripe_mode",
                mode.livemode() == livemode,
                format!("database {}, key {}", word(livemode), word(mode.livemode())),
                "one database belongs to one mode: use the other key or another database",
            ),
            Err(error) => report.fail("stripe_mode", error.to_string(), "use a key of Stripe's"),
        },
        (Some(livemode), None) => report.advise(
            "stripe_mode",
            format!("database {}, no key here to compare it with", word(livemode)),
            "set STRIPE_SECRET_KEY, or STRIPE_SECRET_KEY_FILE, and run `quittance doctor` again",
        ),
        (None, _) => report.advise(
            "stripe_mode",
            "not decided: the first worker decides it by its key",
            "start `quittance worker` with the key of the mode that this database is for",
        ),
    }
    let offset = chrono::TimeDelta::milliseconds(facts.clock_offset_ms);
    if offset.is_zero() {
        report.note("clock", "real time");
    } else {
        report.advise(
            "clock",
            format!("{} s ahead of real time", offset.num_seconds()),
            "of a database for tests, `quittance clock reset` brings the real time back",
        );
    }
}

fn word(livemode: bool) -> &'static str {
    if livemode { "live" } else { "test" }
}

fn work(report: &mut Report, facts: &Facts) {
    report.judge(
        "workers",
        facts.live_workers > 0,
        format!("{} alive", facts.live_workers),
        "start `quittance worker`: without one nothing is invoiced, charged or applied",
    );
    let oldest = facts.oldest_due_secs.unwrap_or(0);
    report.judge(
        "oldest_due_job",
        oldest < OLDEST_DUE_SECS,
        format!("{} due, the oldest for {oldest} s", facts.due_jobs),
        "start more workers, or look at `quittance jobs list --state available`",
    );
    report.judge(
        "discarded_jobs",
        facts.discarded_jobs == 0,
        facts.discarded_jobs.to_string(),
        "a person must look: `quittance jobs list --state discarded`, then `quittance jobs show ID` says why and what to do",
    );
    report.judge(
        "paused_queues",
        facts.paused_queues.is_empty(),
        if facts.paused_queues.is_empty() {
            "none".to_owned()
        } else {
            let paused = facts.paused_queues.iter().map(|pause| {
                format!(
                    "{} since {} by {}: {}",
                    pause.queue,
                    pause.at.format("%F %T UTC"),
                    pause.by,
                    pause.reason
                )
            });
            paused.collect::<Vec<_>>().join("; ")
        },
        "none of their jobs begins until somebody says `quittance queue resume NAME --reason R`",
    );
    report.judge(
        "parked_events",
        facts.parked_events == 0,
        format!(
            "{} parked, {} unmatched, {} pending",
            facts.parked_events, facts.unmatched_events, facts.pending_events
        ),
        "a person must look: `quittance events list --state parked`",
    );
    match facts.last_event_secs {
        None => report.advise(
            "last_webhook",
            "none was ever received",
            "check the endpoint's URL at Stripe and STRIPE_WEBHOOK_SECRET of the ingress, then `quittance events list`",
        ),
        Some(secs) => report.advise(
            "last_webhook",
            format!("{secs} s ago"),
            "where that is too long: `quittance events backfill --dry-run` finds what never came",
        ),
    }
}

/// Whether alerts reach whoever is to be told of them.
fn alerts(report: &mut Report, told: &deliveries::Health) {
    report.judge(
        "alert_destinations",
        told.failing == 0,
        format!(
            "{} webhooks and {} mailboxes, {} of them fail, {} are off; {} deliveries wait, {} were given up within a week",
            told.webhooks, told.mailboxes, told.failing, told.disabled, told.waiting, told.failed_lately
        ),
        "nothing arrives there: `quittance alert destination list`, then `alert destination test ID`; `alert deliveries --state failed` \
         says why",
    );
    // Judged by this environment, which should be the workers'.
    let name = "alert_mail";
    match Smtp::from_env() {
        Ok(Some(smtp)) => report.ok(name, format!("{}:{} as {}", smtp.host, smtp.port, smtp.from)),
        Ok(None) if told.mailboxes == 0 => {
            report.note(name, "no mail server is set, and no mailbox is to be told")
        }
        Ok(None) => report.fail(
            name,
            format!(
                "{} mailboxes are to be told, and no mail server is set",
                told.mailboxes
            ),
            "give the workers SMTP_HOST and SMTP_FROM: until then these alerts wait",
        ),
        Err(error) => report.fail(
            name,
            error.to_string(),
            "set it in the environment of the workers",
        ),
    }
}

async fn schedules(report: &mut Report, db: &Db, live_workers: i64) {
    match scheduler::lag(db).await {
        Ok(lag) => report.judge(
            "schedules",
            lag.is_none_or(|lag| lag.num_seconds() < OLDEST_DUE_SECS) || live_workers == 0,
            match lag {
                None => "none yet: the first worker writes them".to_owned(),
                Some(lag) => format!("{} s behind", lag.num_seconds()),
            },
            "no worker moves the schedules: look at the workers' logs",
        ),
        Err(error) => report.fail("schedules", error.to_string(), "look at the workers' logs"),
    }
}

fn money(report: &mut Report, facts: &Facts) {
    let list = |names: &[String]| {
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    report.judge(
        "automatic_charging",
        facts.all_paused.is_none(),
        facts.all_paused.as_ref().map_or_else(
            || "goes on".to_owned(),
            |reason| format!("stopped everywhere: {reason}"),
        ),
        "nothing is charged until somebody says `quittance resume autopay --all --reason R`",
    );
    report.judge(
        "paused_or_parked_firms",
        facts.stopped_firms.is_empty(),
        list(&facts.stopped_firms),
        "their invoices are not charged or not generated until someone resumes them: `quittance resume autopay --firm-id FIRM --reason R`",
    );
    report.judge(
        "paused_or_parked_clients",
        facts.stopped_clients == 0,
        facts.stopped_clients.to_string(),
        "their invoices are not charged until someone resumes them: `quittance resume autopay --client-id CLIENT --reason R`",
    );
    report.judge(
        "firm_timezones",
        facts.bad_timezones.is_empty(),
        list(&facts.bad_timezones),
        "no such time zone in this Postgres: correct it by an import",
    );
    report.judge(
        "unknown_outcomes",
        facts.stale_unknown == 0,
        format!("{} older than 15 minutes", facts.stale_unknown),
        "charges whose end nobody knows: `quittance invoice list --status processing`, and look at Stripe",
    );
    let idle = &facts.idle;
    report.judge(
        "overdue_charges",
        idle.overdue_cycles == 0,
        format!("{} due for more than 15 minutes", idle.overdue_cycles),
        "nothing holds them, so no worker has come to them: look at `quittance queue status charges`",
    );
    what_may_be_meant_so(report, facts);
    let paused = &facts.paused_cycles;
    let count = |wanted: &dyn Fn(&Paused) -> bool| {
        let some: Vec<String> = paused
            .iter()
            .filter(|paused| wanted(paused))
            .map(|paused| format!("{} {}", paused.cycles, paused.reason))
            .collect();
        if some.is_empty() {
            "0".to_owned()
        } else {
            some.join(", ")
        }
    };
    // They go on by themselves, once what holds them is gone.
    let held = count(&|paused| !needs_a_person(Some(&paused.reason)));
    if held == "0" {
        report.note("cycles_held", held);
    } else {
        report.advise(
            "cycles_held",
            held,
            "`quittance invoice list --status failed`, and of those that are sent: `quittance why-not charge INVOICE` says what holds one, and \
             what lets it go on",
        );
    }
    let stopped = count(&|paused| needs_a_person(Some(&paused.reason)));
    report.judge(
        "cycles_stopped_by_a_fault",
        !paused.iter().any(|paused| needs_a_person(Some(&paused.reason))),
        stopped,
        "a request of ours was refused, a payment may be a double, or a limit was met: see `quittance explain INVOICE`; then \
         `quittance client autopay on` lets them go on",
    );
}

/// R035, R067: what needs nobody's mending, and answers many a question.
fn what_may_be_meant_so(report: &mut Report, facts: &Facts) {
    let idle = &facts.idle;
    report.count(
        "unsigned_engagements",
        idle.unsigned_engagements,
        "begun and not signed: not invoiced",
        "`quittance generate-package-invoices --dry-run` names them (not_signed); once the client has agreed, `quittance engagement sign ENGAGEMENT`",
    );
    report.count(
        "engagements_on_demand",
        idle.on_demand_engagements,
        "without a schedule: their hours are invoiced when somebody asks for it",
        "`quittance invoice create --engagement ENGAGEMENT --issue`; one that is over: `quittance engagement end ENGAGEMENT --on D --reason R`",
    );
    report.count(
        "clients_without_autopay",
        idle.clients_without_autopay,
        "with a customer at Stripe and automatic payment off: never charged by itself",
        "where the client wants it: `quittance client autopay on CLIENT --payment-method PM`",
    );
    report.count(
        "clients_without_card",
        idle.clients_without_card,
        "with automatic payment on and no card that can be charged",
        "`quittance client payment-method add CLIENT PM --use`; or `quittance client autopay off CLIENT`",
    );
    report.count(
        "invoices_not_opted_in",
        idle.not_opted_in,
        "overdue and not to be paid automatically (autopay_opt_in is off)",
        "`quittance invoice list --status overdue` has them; no card is charged for one, so ask the client, and record what comes: \
         `quittance invoice pay-external INVOICE --amount A --reference R`",
    );
    report.count(
        "waiting_for_a_card",
        facts.method_required,
        "collections wait for another card",
        "`quittance invoice list --status failed` has their invoices; `quittance client payment-method add CLIENT PM --use` lets them go on",
    );
    report.count(
        "waiting_for_the_client",
        facts.action_required,
        "collections wait until the client has authenticated the payment",
        "`quittance next INVOICE` says until when; ask the client, or have another card: `quittance client payment-method add CLIENT PM --use`",
    );
}

/// What the daily comparison has found and nobody has settled.
fn differences(report: &mut Report, drift: &[reconcile::Open]) {
    let firms: Vec<String> = drift
        .iter()
        .map(|open| format!("{} in {}", open.findings, open.firm))
        .collect();
    report.judge(
        "open_findings",
        drift.is_empty(),
        if firms.is_empty() {
            "none".to_owned()
        } else {
            firms.join(", ")
        },
        "our books and Stripe's differ: `quittance reconcile` shows in what",
    );
}

async fn redis(report: &mut Report) {
    let url = match config::redis_url() {
        Ok(url) => url,
        Err(error) => {
            return report.fail(
                "REDIS_URL",
                error.to_string(),
                "set it in the environment of this program",
            );
        }
    };
    let version = match server_version(url.expose_secret()).await {
        Ok(version) => version,
        Err(error) => return report.fail("redis", error, "check that the server runs, and host and port"),
    };
    let mut parts = version.split('.').map(|p| p.parse::<u32>().unwrap_or(0));
    let have = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    report.judge(
        "redis",
        have >= REDIS_WANTED,
        format!("version {version}"),
        "use Redis 6.2 or newer",
    );
}

/// The version that Redis says it has.
async fn server_version(url: &str) -> Result<String, String> {
    let ask = async {
        let mut connection = redis::Client::open(url)?
            .get_multiplexed_async_connection()
            .await?;
        redis::cmd("INFO")
            .arg("server")
            .query_async::<String>(&mut connection)
            .await
    };
    let info = tokio::time::timeout(REDIS_ANSWER, ask)
        .await
        .map_err(|_| "no answer in time".to_owned())?
        .map_err(|e| e.to_string())?;
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
    Ok(version.unwrap_or("unknown").trim().to_owned())
}

async fn stripe(report: &mut Report) {
    let client = match connect::stripe_client() {
        Ok(client) => client,
        Err(error) => {
            return report.fail(
                "stripe_settings",
                error.to_string(),
                "set it in the environment of this program",
            );
        }
    };
    match client.account_id().await {
        Ok(account) => report.ok("stripe", format!("account {account}")),
        Err(error) => {
            return report.fail(
                "stripe",
                error.to_string(),
                "check STRIPE_SECRET_KEY, STRIPE_API_BASE and the way out of this network",
            );
        }
    }
    match client.webhook_endpoints().await {
        Ok(endpoints) => deliveries(report, &endpoints),
        Err(error) => report.advise(
            "webhook_endpoint",
            format!("cannot be read with this key: {error}"),
            "give the key the right to read Webhook Endpoints, or look at them in Stripe's dashboard yourself",
        ),
    }
}

fn deliveries(report: &mut Report, endpoints: &[WebhookEndpoint]) {
    let enabled: Vec<&WebhookEndpoint> = endpoints.iter().filter(|e| e.status == "enabled").collect();
    if enabled.is_empty() {
        return report.fail(
            "webhook_endpoint",
            format!("{} known, none enabled", endpoints.len()),
            "add the URL of your ingress, /webhooks/stripe, in Stripe's dashboard",
        );
    }
    let sent = |event: &str| {
        enabled
            .iter()
            .any(|e| e.enabled_events.iter().any(|t| t == "*" || t == event))
    };
    let missing = |wanted: &[&str]| {
        wanted
            .iter()
            .filter(|e| !sent(e))
            .map(|e| (*e).to_owned())
            .collect::<Vec<_>>()
    };
    report.ok(
        "webhook_endpoint",
        enabled
            .iter()
            .map(|e| e.url.as_str())
            .collect::<Vec<_>>()
            .join(", "),
    );
    // R083: an endpoint that is not ours, or that nobody can reach.
    if !enabled.iter().any(|e| leads_to_a_door(&e.url)) {
        report.fail(
            "webhook_path",
            "no enabled endpoint's URL ends with /webhooks/stripe, /api/webhooks/stripe or /api/stripe/webhook",
            "correct the URL in Stripe's dashboard: the ingress answers 404 to any other path",
        );
    }
    let needed = missing(NEEDED_EVENTS);
    report.judge(
        "webhook_events",
        needed.is_empty(),
        if needed.is_empty() {
            "all that are needed".to_owned()
        } else {
            format!("not enabled: {}", needed.join(", "))
        },
        "enable them at the endpoint in Stripe's dashboard",
    );
    let recommended = missing(RECOMMENDED_EVENTS);
    if !recommended.is_empty() {
        report.advise(
            "recommended_events",
            format!("not enabled: {}", recommended.join(", ")),
            "enable them at the endpoint in Stripe's dashboard: without them the same is noticed later",
        );
    }
}

/// Whether the ingress listens on the path of this URL.
fn leads_to_a_door(url: &str) -> bool {
    let path = url.trim_end_matches('/');
    ["/webhooks/stripe", "/api/stripe/webhook"]
        .iter()
        .any(|door| path.ends_with(door))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R083; R081: an endpoint that is not there sends none of the events that are needed.
    #[test]
    fn r083_an_endpoint_that_leads_to_no_door_is_named() {
        for (url, leads) in [
            ("https://example.com/webhooks/stripe", true),
            ("https://example.com/api/webhooks/stripe/", true),
            ("https://example.com/api/stripe/webhook", true),
            ("https://example.com/", false),
            ("https://example.com/stripe/webhooks", false),
        ] {
            let endpoint = WebhookEndpoint {
                url: url.into(),
                ..endpoint("enabled", &["*"])
            };
            let told = told(&[endpoint]);
            assert_eq!(
                !told.iter().any(|line| line.starts_with("webhook_path")),
                leads,
                "{url}"
            );
        }
    }

    fn endpoint(status: &str, events: &[&str]) -> WebhookEndpoint {
        WebhookEndpoint {
            url: "https://example.com/webhooks/stripe".into(),
            status: status.into(),
            enabled_events: events.iter().map(|event| (*event).to_owned()).collect(),
            api_version: None,
        }
    }

    /// What is said about deliveries: names, and what went wrong.
    fn told(endpoints: &[WebhookEndpoint]) -> Vec<String> {
        let mut report = Report::default();
        deliveries(&mut report, endpoints);
        let lines = report.0.iter().map(|check| match check.ok {
            Some(true) => check.name.to_owned(),
            _ => format!("{}: {}", check.name, check.value),
        });
        lines.collect()
    }

    /// R081, R083, A-04: an event that is needed and not sent is a fault, one that is merely good to have a note.
    #[test]
    fn r083_events_that_stripe_is_not_told_to_send_are_named() {
        assert_eq!(
            told(&[endpoint("enabled", &["*"])]),
            ["webhook_endpoint", "webhook_events"]
        );
        assert_eq!(
            told(&[endpoint("disabled", &["*"])]),
            ["webhook_endpoint: 1 known, none enabled"]
        );
        let all = [NEEDED_EVENTS, RECOMMENDED_EVENTS].concat();
        let (missing, rest) = all.split_first().unwrap();
        assert_eq!(
            told(&[endpoint("enabled", rest)])[1],
            format!("webhook_events: not enabled: {missing}")
        );
        // Two endpoints together send what is needed.
        assert_eq!(
            told(&[endpoint("enabled", rest), endpoint("enabled", &[missing])]),
            ["webhook_endpoint", "webhook_events"]
        );
        let mut report = Report::default();
        deliveries(&mut report, &[endpoint("enabled", NEEDED_EVENTS)]);
        assert!(
            text(&report.0).contains("→ enable them at the endpoint"),
            "a note says what to do"
        );
        let needed = told(&[endpoint("enabled", NEEDED_EVENTS)]);
        assert_eq!(needed[1], "webhook_events");
        assert_eq!(
            needed[2],
            format!(
                "recommended_events: not enabled: {}",
                RECOMMENDED_EVENTS.join(", ")
            )
        );
    }
}
