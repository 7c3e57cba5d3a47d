//! Tells a firm what its last day came to: whether too many of its charges failed, and what was invoiced.
//! Trigger: every firm's local date, at its first quarter to from 02:00 there, about the day before.   Effect: alerts.
//! Idempotent: one alert per topic and day; its key lets it run once per firm and date.
//! Gives up: after 10 attempts; the next day is told of all the same.

use std::time::Duration;

use chrono::NaiveDate;
use serde::Deserialize;
use serde_json::json;
use shared::{
    domain::alert::{AlertType, DAILY_SUMMARY, FAILURE_RATE, Topic, too_many_fail},
    ids::FirmId,
    store::{
        Tx,
        alerts::{self, NewAlert},
        audit::{Cause, Severity},
        day_report::{self, Day},
        jobs::Queue,
    },
};

use super::firm_of;
use crate::{
    context::Context,
    queue::{Attempts, Job, JobError, Outcome, Retry, TransactionalJob, minutes, secs},
};

/// The job's kind.
pub const KIND: &str = "report_day";

/// See the head of this file.
pub struct ReportDay;

/// Its payload; the day that is over is the one before.
#[derive(Debug, Deserialize)]
struct Args {
    as_of: NaiveDate,
}

impl TransactionalJob for ReportDay {
    const KIND: &'static str = KIND;
    const QUEUE: Queue = Queue::Maintenance;
    const RETRY: Retry = Retry::exponential(Attempts(10), secs(5), minutes(10));
    const TIME_LIMIT: Duration = Duration::from_secs(60);
    type Prepared = ();

    async fn prepare(_: &Context, _: &Job) -> Result<(), JobError> {
        Ok(())
    }

    async fn apply(_: &Context, tx: &mut Tx, job: &Job, (): ()) -> Result<Outcome, JobError> {
        let (args, firm): (Args, FirmId) = (job.args()?, firm_of(job)?);
        let Some(date) = args.as_of.pred_opt() else {
            return Err(JobError::fail("there is no day before"));
        };
        tx.set_firm(firm).await?;
        let day = day_report::of_day(tx, firm, date).await?;
        let cause = Cause::job(job.id);
        failure_rate(tx, firm, date, &day, &cause).await?;
        summary(tx, firm, date, &day, &cause).await?;
        Ok(Outcome::Done(json!({
            "date": date, "charges": day.charges, "failed": day.failed, "invoices": day.invoices,
        })))
    }
}

/// A day on which too many charges failed is an alert of its own; one with charges on which they did not settles those before.
async fn failure_rate(
    tx: &mut Tx,
    firm: FirmId,
    date: NaiveDate,
    day: &Day,
    cause: &Cause,
) -> Result<(), JobError> {
    let (now, topic) = (tx.now(), Topic::FailureRate(date));
    let exceeded = day
        .bears_percent
        .filter(|percent| too_many_fail(day.failed, day.charges, *percent));
    let Some(percent) = exceeded else {
        if day.charges > 0 {
            alerts::resolve_others(tx, firm, now, (FAILURE_RATE, &topic)).await?;
        }
        return Ok(());
    };
    let message = format!(
        "{} of the {} charges of {date} were declined: more than {percent} %. `quittance invoice list` shows what has failed.",
        day.failed, day.charges
    );
    let alert = NewAlert {
        kind: AlertType::PaymentFailed,
        severity: Severity::Warning,
        topic,
        title: "Many charges of a day failed",
        message: &message,
        invoice: None,
        related: json!({"date": date, "charges": day.charges, "failed": day.failed, "bears_percent": percent}),
        cause,
    };
    alerts::raise(tx, firm, now, &alert).await?;
    Ok(())
}

/// What was invoiced; yesterday's news is settled by today's.
async fn summary(
    tx: &mut Tx,
    firm: FirmId,
    date: NaiveDate,
    day: &Day,
    cause: &Cause,
) -> Result<(), JobError> {
    let (now, topic) = (tx.now(), Topic::DailySummary(date));
    alerts::resolve_others(tx, firm, now, (DAILY_SUMMARY, &topic)).await?;
    if !day.wants_summary || day.invoices == 0 {
        return Ok(());
    }
    let totals: Vec<String> = day.totals.iter().map(ToString::to_string).collect();
    let message = format!(
        "{} invoice(s) were issued on {date}, over {}.",
        day.invoices,
        totals.join(" and ")
    );
    let by_currency: Vec<_> = day
        .totals
        .iter()
        .map(|total| json!({"currency": total.currency().as_str(), "minor": total.minor()}))
        .collect();
    let alert = NewAlert {
        kind: AlertType::DailySummary,
        severity: Severity::Info,
        topic,
        title: "Invoices of a day",
        message: &message,
        invoice: None,
        related: json!({"date": date, "invoices": day.invoices, "totals": by_currency}),
        cause,
    };
    alerts::raise(tx, firm, now, &alert).await?;
    Ok(())
}
