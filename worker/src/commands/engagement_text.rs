//! An engagement as people read it: the terms, the versions, what was billed for them and what time waits.

use shared::store::engagements::EngagementView;

use super::{engagement::Changed, invoice_text::amount};
use crate::output::table;

/// One engagement.
pub fn describe(view: &EngagementView) -> String {
    let money = |minor: i64| amount(minor, &view.currency);
    let days = match view.ends_on {
        Some(ends_on) => format!("{} until {ends_on}", view.starts_on),
        None => format!("{} without an end", view.starts_on),
    };
    let mut text = format!(
        "{}  {}  version {}\n",
        view.external_id.clone().unwrap_or_else(|| view.id.to_string()),
        view.status.to_uppercase(),
        view.version
    );
    let schedule = view
        .package_fee_schedule
        .as_deref()
        .or(view.hourly_schedule.as_deref());
    let facts = [
        ("id", Some(view.id.to_string())),
        ("firm", Some(view.firm.clone())),
        ("client", Some(view.client.clone())),
        ("renews", view.renews.clone()),
        ("days", Some(days)),
        ("mode", Some(view.pricing_mode.clone())),
        ("fee", view.package_fee_minor.map(money)),
        (
            "rate",
            view.hourly_rate_minor
                .map(|minor| format!("{} an hour", money(minor))),
        ),
        ("billed", Some(schedule.unwrap_or("on demand").to_owned())),
        (
            "periods",
            schedule.map(|_| format!("{}, {}", view.period_anchor, view.proration)),
        ),
        ("charged", Some(view.charge_timing.clone())),
        (
            "signed",
            view.signed_at.map(|at| at.format("%F %H:%M UTC").to_string()),
        ),
    ];
    for (name, value) in facts {
        if let Some(value) = value {
            text.push_str(&format!("  {name:<12}  {value}\n"));
        }
    }
    if view.versions.len() > 1 {
        let rows: Vec<Vec<String>> = view
            .versions
            .iter()
            .map(|v| {
                vec![
                    v.version.to_string(),
                    v.engagement.clone(),
                    v.status.clone(),
                    v.starts_on.to_string(),
                    v.ends_on.map(|on| on.to_string()).unwrap_or_default(),
                ]
            })
            .collect();
        text.push('\n');
        text.push_str(&table(
            &["VERSION", "ENGAGEMENT", "STATUS", "FROM", "UNTIL"],
            &rows,
        ));
    }
    if !view.periods.is_empty() {
        let rows: Vec<Vec<String>> = view
            .periods
            .iter()
            .map(|p| {
                let state = if p.released { "released" } else { "billed" };
                vec![
                    p.start.to_string(),
                    p.end.to_string(),
                    p.invoice.clone(),
                    state.to_owned(),
                ]
            })
            .collect();
        text.push('\n');
        text.push_str(&table(&["PERIOD", "UNTIL", "INVOICE", "STATE"], &rows));
    }
    if !view.time.is_empty() {
        let rows: Vec<Vec<String>> = view
            .time
            .iter()
            .map(|t| vec![t.state.clone(), t.entries.to_string(), t.minutes.to_string()])
            .collect();
        text.push('\n');
        text.push_str(&table(&["TIME", ">ENTRIES", ">MINUTES"], &rows));
    }
    text
}

/// One engagement after a change.
pub fn describe_change(changed: &Changed) -> String {
    let mut text = describe(&changed.done.engagement);
    if !changed.done.changed {
        text.push_str("\nas it was\n");
    }
    for warning in &changed.done.warnings {
        text.push_str(&format!("\nWARNING {}\n", warning.message));
    }
    if let Some(next) = &changed.next {
        text.push('\n');
        text.push_str(next);
    }
    text
}
