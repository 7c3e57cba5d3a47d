//! `quittance reconcile`: do our books and Stripe's agree, and do ours with themselves? Reads only, unless it is given a plan.

use std::{path::Path, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use shared::{
    domain::reconcile::{Finding, Kind, Repair, Side, plan_hash},
    store::{Db, audit::Cause},
};
use uuid::Uuid;

use super::{
    connect::{open_db_for, stripe_client},
    firms::{FirmLabel, chosen_firms, exit_after},
    invoice_text::amount,
    operator,
    since::{Since, parse_since},
};
use crate::{
    context::Context,
    delivery::Deliverer,
    metrics::Metrics,
    output::{Exit, Failure, Format, table},
    queue::JobError,
    reconcile::{self, Error, LOOK_BACK, Open, SETTLING, Survey, Window, repair},
    stripe,
};

/// A comparison reads every journal of a firm at once; years of a large one take minutes.
const LONGEST: Duration = Duration::from_secs(1800);
/// Bytes of a plan's file: a thousand findings of each of a thousand firms.
const LARGEST_PLAN: u64 = 1 << 30;

/// Arguments of `reconcile`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quittance reconcile
  quittance reconcile --firm-id acme --since 90d --json > plan.json
  quittance reconcile --firm-id acme --since 90d --repair plan.json

Without --repair nothing is changed, here or at Stripe. Exit codes: 0 nothing differs, 3 something does, 4 the plan is out of date.")]
pub struct Args {
    /// Only this firm; all firms unless told.
    #[arg(long, value_name = "ID")]
    firm_id: Option<String>,
    /// Compare what was made at Stripe since then: a duration before now, or a time. Collections, disputes and refunds that
    /// have not ended are compared however old they are. 30 days unless told.
    #[arg(long, value_name = "DURATION|TIME", value_parser = parse_since)]
    since: Option<Since>,
    /// Repair what a run without --repair has found: its JSON in a file, or its plan's hash. Refused (exit 4) when something else
    /// is to be repaired by now. Only adds what Stripe knows and we do not; changes nothing that is on record.
    #[arg(long, value_name = "PLAN")]
    repair: Option<String>,
}

/// The result of `reconcile`.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    plan_hash: String,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    firms: usize,
    objects: u64,
    not_ours: u64,
    undelivered_events: u64,
    truncated: bool,
    findings: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repaired: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<Vec<Value>>,
}

/// A finding as people and scripts see it.
#[derive(Clone, Debug, Serialize)]
struct Row {
    id: Option<Uuid>,
    firm: Option<String>,
    #[serde(flatten)]
    finding: Finding,
    /// What Stripe has more than we, where both have an amount in one currency, or one has none.
    delta_minor: Option<i64>,
    remedy: &'static str,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(fault) => fault.into(),
            Error::Stripe(fault @ stripe::Error::Auth { .. }) => {
                Self::new("stripe_refuses_key", fault.to_string())
            }
            Error::Stripe(fault) => Self::try_again("stripe_unavailable", fault.to_string()),
            Error::Unreadable(message) => Self::new("unreadable", message),
            Error::TooMuch => Self::usage(format!("{error}: give --since")),
        }
    }
}

/// Runs `reconcile`.
///
/// # Errors
/// When there is no such firm, the database or Stripe is away, or the plan is out of date.
pub async fn run(args: Args, out: Format) -> Result<Exit, Failure> {
    let plan = args.repair.as_deref().map(read_plan).transpose()?;
    let db = open_db_for(LONGEST).await?;
    let stripe = stripe_client()?;
    let firms = chosen_firms(&db, args.firm_id.as_deref()).await?;
    let now = db.now().await?;
    let window = Window {
        since: args.since.map_or(now - LOOK_BACK, |since| since.at(now)),
        until: now - SETTLING,
    };
    let ids: Vec<_> = firms.iter().map(|firm| firm.id).collect();
    let survey = reconcile::survey(&db, &stripe, &ids, window, &Open::new()).await?;
    let mut report = Report::of(&survey, &firms, window);
    let Some(plan) = plan else {
        out.show(&report, describe)?;
        return Ok(if report.ok { Exit::Done } else { Exit::Findings });
    };
    if plan != report.plan_hash {
        let message = format!(
            "the plan is out of date: it is {} now, not {plan}; look again without --repair",
            report.plan_hash
        );
        return Err(Failure::refused("plan_changed", message));
    }
    let cx = context(db, stripe)?;
    let (repaired, failed) = repair_all(&cx, &survey, now, &firms).await?;
    let (done, wrong) = (repaired.len(), failed.len());
    let left = report.findings.len() - done;
    report.ok = left == 0;
    report.repaired = Some(repaired);
    report.failed = Some(failed);
    out.show(&report, describe)?;
    Ok(match (wrong, left) {
        (0, 0) => Exit::Done,
        (0, _) => Exit::Findings,
        _ => exit_after(wrong, wrong + done),
    })
}

/// A plan's hash, or the file that a run without `--repair` was written to.
fn read_plan(given: &str) -> Result<String, Failure> {
    if given.len() == 64 && given.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(given.to_ascii_lowercase());
    }
    let wrong = |why: String| Failure::usage(format!("--repair {given}: {why}"));
    let path = Path::new(given);
    let size = path
        .metadata()
        .map_err(|fault| wrong(format!("neither a plan's hash nor a file: {fault}")))?
        .len();
    if size > LARGEST_PLAN {
        return Err(wrong("too large for a plan".to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(|fault| wrong(fault.to_string()))?;
    let document: Value = serde_json::from_str(&text).map_err(|fault| wrong(format!("no JSON: {fault}")))?;
    let hash = document["plan_hash"].as_str();
    hash.map(str::to_owned)
        .ok_or_else(|| wrong("has no plan_hash: give what `reconcile --json` wrote".to_owned()))
}

/// What the handlers of jobs and events are given, in a command.
fn context(db: Db, stripe: stripe::Client) -> Result<Context, Failure> {
    let metrics = Metrics::new().map_err(|fault| Failure::new("internal", fault.to_string()))?;
    Ok(Context {
        db,
        stripe: Arc::new(stripe),
        delivery: Arc::new(Deliverer::silent()),
        metrics: Arc::new(metrics),
        worker_id: "command".into(),
    })
}

/// Each repair for itself: one that fails stops no other.
async fn repair_all(
    cx: &Context,
    survey: &Survey,
    seen_at: DateTime<Utc>,
    firms: &[FirmLabel],
) -> Result<(Vec<Value>, Vec<Value>), Failure> {
    let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
    let (mut repaired, mut failed) = (Vec::new(), Vec::new());
    for (firm, found) in &survey.firms {
        for finding in &found.findings {
            let Some(order) = &finding.repair else { continue };
            let id = finding.id(*firm);
            match repair::repair(cx, *firm, finding, order, seen_at, (&actor, &cause)).await {
                Ok(done) => repaired.push(repair::shown(id, order, done)),
                Err(JobError::Stale) => return Err(Failure::new("internal", "a command holds no claim")),
                Err(fault) => failed.push(json!({
                    "id": id, "firm": super::firms::label_of(firms, Some(*firm)), "message": fault.to_string(),
                })),
            }
        }
    }
    Ok((repaired, failed))
}

impl Report {
    fn of(survey: &Survey, firms: &[FirmLabel], window: Window) -> Self {
        let of_firms = survey
            .firms
            .iter()
            .flat_map(|(id, found)| found.findings.iter().map(move |finding| (*id, finding)));
        let plan_hash = plan_hash(of_firms.clone());
        let account = survey.account.iter().map(|finding| Row::of(None, finding));
        let rows = of_firms.map(|(id, finding)| {
            let label = super::firms::label_of(firms, Some(id));
            Row::of(Some((finding.id(id), label)), finding)
        });
        let findings: Vec<Row> = account.chain(rows).collect();
        Self {
            ok: findings.is_empty(),
            plan_hash,
            since: window.since,
            until: window.until,
            firms: firms.len(),
            objects: survey.firms.values().map(|found| found.objects).sum(),
            not_ours: survey.not_ours,
            undelivered_events: survey.firms.values().map(|found| found.undelivered).sum(),
            truncated: survey.firms.values().any(|found| found.truncated),
            findings,
            repaired: None,
            failed: None,
        }
    }
}

impl Row {
    fn of(firm: Option<(Uuid, String)>, finding: &Finding) -> Self {
        let (id, firm) = firm.unzip();
        Self {
            id,
            firm,
            delta_minor: delta(finding.ours.as_ref(), finding.stripe.as_ref()),
            remedy: finding.remedy(),
            finding: finding.clone(),
        }
    }
}

/// Stripe's amount less ours; a side that is not there counts nothing.
fn delta(ours: Option<&Side>, stripe: Option<&Side>) -> Option<i64> {
    let of = |side: Option<&Side>| side.and_then(|side| side.amount_minor.zip(side.currency.clone()));
    match (of(stripe), of(ours)) {
        (Some((there, a)), Some((here, b))) if a == b => there.checked_sub(here),
        (Some(_), Some(_)) | (None, None) => None,
        (Some((there, _)), None) => Some(there),
        (None, Some((here, _))) => here.checked_neg(),
    }
}

fn describe(report: &Report) -> String {
    let size = format!(
        "{} firm(s), {} object(s) at Stripe since {}",
        report.firms,
        report.objects,
        report.since.format("%F %H:%M")
    );
    let undelivered = match report.undelivered_events {
        0 => String::new(),
        some => format!("{some} event(s) never came in; what they told of has been compared\n"),
    };
    if report.findings.is_empty() {
        return format!("nothing differs: {size}\n{undelivered}");
    }
    let mut text = format!("{} DIFFERENCE(S): {size}\n", report.findings.len());
    let rows: Vec<Vec<String>> = report.findings.iter().map(row).collect();
    text.push_str(&table(
        &["LAYER", "KIND", "FIRM", "ABOUT", "OURS", "STRIPE", "REPAIR"],
        &rows,
    ));
    text.push_str(&undelivered);
    let mut remedies: Vec<(Kind, &str)> = report
        .findings
        .iter()
        .map(|row| (row.finding.kind, row.remedy))
        .collect();
    remedies.sort_by_key(|(kind, remedy)| (kind.as_str(), *remedy));
    remedies.dedup();
    for (kind, remedy) in remedies {
        text.push_str(&format!("{kind}: {remedy}\n"));
    }
    if report.truncated {
        text.push_str("there are more, which are not shown\n");
    }
    match (&report.repaired, &report.failed) {
        (Some(repaired), Some(failed)) => {
            text.push_str(&format!(
                "repaired: {}, failed: {}\n",
                repaired.len(),
                failed.len()
            ));
            for fault in failed {
                text.push_str(&format!(
                    "FAILED {}: {}\n",
                    fault["id"].as_str().unwrap_or_default(),
                    fault["message"].as_str().unwrap_or_default()
                ));
            }
        }
        _ => {
            let repairs = report
                .findings
                .iter()
                .filter(|row| row.finding.repair.is_some())
                .count();
            if repairs > 0 {
                text.push_str(&format!(
                    "{repairs} of them can be repaired: --repair {}\n",
                    report.plan_hash
                ));
            }
        }
    }
    text
}

fn row(row: &Row) -> Vec<String> {
    let finding = &row.finding;
    vec![
        finding.layer.to_string(),
        finding.kind.to_string(),
        row.firm.clone().unwrap_or_else(|| "-".to_owned()),
        finding.subject.clone(),
        side(finding.ours.as_ref()),
        side(finding.stripe.as_ref()),
        finding
            .repair
            .as_ref()
            .map_or_else(|| "-".to_owned(), |repair: &Repair| repair.action.to_string()),
    ]
}

fn side(side: Option<&Side>) -> String {
    let Some(side) = side else {
        return "nothing".to_owned();
    };
    let mut words = vec![side.id.clone()];
    if let Some((minor, currency)) = side.amount_minor.zip(side.currency.as_deref()) {
        words.push(amount(minor, currency));
    }
    words.extend(side.state.clone());
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use shared::{
        domain::reconcile::{Action, Layer},
        ids::FirmId,
    };

    use super::*;
    use crate::reconcile::OfFirm;

    fn finding(kind: Kind, ours: Option<Side>, stripe: Option<Side>, repair: Option<Repair>) -> Finding {
        Finding {
            kind,
            layer: Layer::Stripe,
            subject: "invoice INV-0001-000001".into(),
            ours,
            stripe,
            repair,
            object_at: None,
        }
    }

    fn report() -> Report {
        let firm = FirmLabel {
            id: FirmId(Uuid::nil()),
            label: "acme".into(),
        };
        let outside = finding(
            Kind::RefundOutside,
            None,
            Some(Side::of("re_1").minor(3_000, "usd").state("succeeded")),
            Some(Repair {
                action: Action::ApplyCharge,
                target: "ch_1".into(),
            }),
        );
        let amount = finding(
            Kind::AmountMismatch,
            Some(Side::of("payment").minor(99_900, "usd")),
            Some(Side::of("ch_1").minor(100_000, "usd").state("succeeded")),
            None,
        );
        let mut found = OfFirm::default();
        found.objects = 7;
        found.findings = vec![outside, amount];
        let survey = Survey {
            firms: BTreeMap::from([(firm.id, found)]),
            ..Survey::default()
        };
        let at = DateTime::from_timestamp(1_770_000_000, 0).unwrap();
        Report::of(&survey, &[firm], Window { since: at, until: at })
    }

    #[test]
    fn b20_a_report_shows_both_sides_and_what_to_do() {
        insta::assert_snapshot!(describe(&report()), @"
        2 DIFFERENCE(S): 1 firm(s), 7 object(s) at Stripe since 2026-02-02 02:40
        LAYER  KIND             FIRM  ABOUT                    OURS                STRIPE                       REPAIR
        L2     refund_outside   acme  invoice INV-0001-000001  nothing             re_1 30.00 USD succeeded     apply_charge
        L2     amount_mismatch  acme  invoice INV-0001-000001  payment 999.00 USD  ch_1 1,000.00 USD succeeded  -
        amount_mismatch: find out which side is right; ours is corrected by a new fact, never by a change
        refund_outside: `--repair` reads it at Stripe again and records what it shows
        1 of them can be repaired: --repair f22c35e24d1103242ef7a1765c8f0d376e90a99029f10640fa3a3af6bedd95c3
        ");
        insta::assert_json_snapshot!(report());
    }

    #[test]
    fn a_plan_is_a_hash_or_a_file_with_one() {
        let hash = "AB".repeat(32);
        assert_eq!(read_plan(&hash).unwrap(), hash.to_lowercase());
        let refused = read_plan("no-such-file").unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
    }

    #[test]
    fn a_delta_is_of_one_currency() {
        let side = |minor, currency| Some(Side::of("x").minor(minor, currency));
        let delta = |ours: Option<Side>, stripe: Option<Side>| delta(ours.as_ref(), stripe.as_ref());
        assert_eq!(delta(side(100, "usd"), side(130, "usd")), Some(30));
        assert_eq!(delta(side(100, "eur"), side(130, "usd")), None);
        assert_eq!(delta(None, side(130, "usd")), Some(130));
        assert_eq!(delta(side(100, "usd"), None), Some(-100));
        assert_eq!(delta(None, None), None);
    }
}
