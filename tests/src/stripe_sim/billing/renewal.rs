//! Bringing subscriptions up to now: periods that begin, invoices that are tried again, ends that have come.
use chrono::{DateTime, Months};

use super::invoices;
use super::model::{Line, Subscription, SubscriptionStatus};
use crate::stripe_sim::state::State;

/// What Stripe waits before it tries an invoice again, after each failure; then it gives up and ends the subscription.
const RETRIES_AFTER_DAYS: [i64; 3] = [3, 5, 7];
const DAY_SECS: i64 = 24 * 3600;
/// An incomplete subscription lives for 23 hours.
const INCOMPLETE_SECS: i64 = 23 * 3600;
/// Periods and retries of one look: ten years are a fault of whoever moved the clock.
const MOST_STEPS: usize = 500;

/// What is next for a subscription.
enum Step {
    Renew,
    Retry(String),
    Expire,
}

/// Does everything that is due, in its order.
pub fn tick(state: &mut State) {
    let live: Vec<String> = state
        .subscriptions
        .iter()
        .filter(|row| !row.status.is_over())
        .map(|row| row.id.clone())
        .collect();
    for id in live {
        for _ in 0..MOST_STEPS {
            let Some(step) = due(state, &id) else { break };
            match step {
                Step::Renew => renew(state, &id),
                Step::Retry(invoice) => invoices::collect(state, &invoice),
                Step::Expire => end(state, &id, SubscriptionStatus::IncompleteExpired),
            }
        }
    }
}

/// The earliest thing that is due.
fn due(state: &State, id: &str) -> Option<Step> {
    let now = state.clock.now();
    let row = state.subscriptions.get(id)?;
    if row.status.is_over() {
        return None;
    }
    if row.status == SubscriptionStatus::Incomplete {
        return (row.created + INCOMPLETE_SECS <= now).then_some(Step::Expire);
    }
    let retry = state
        .invoices
        .iter()
        .filter(|invoice| invoice.subscription == id)
        .filter_map(|invoice| Some((invoice.next_attempt?, invoice.id.clone())))
        .min();
    match retry {
        Some((at, invoice)) if at <= now && at <= row.period_end => Some(Step::Retry(invoice)),
        _ if row.period_end <= now => Some(Step::Renew),
        Some((at, invoice)) if at <= now => Some(Step::Retry(invoice)),
        _ => None,
    }
}

/// Where the period ends that begins after so many of them: counted from the first, so that no month shifts the next.
pub fn end_of_period(anchor: i64, periods: u32) -> i64 {
    DateTime::from_timestamp(anchor, 0)
        .and_then(|start| start.checked_add_months(Months::new(periods)))
        .map_or(anchor, |end| end.timestamp())
}

fn renew(state: &mut State, id: &str) {
    let Some(row) = state.subscriptions.get_mut(id) else {
        return;
    };
    if row.cancel_at_period_end {
        return end(state, id, SubscriptionStatus::Canceled);
    }
    row.periods += 1;
    row.period_start = row.period_end;
    row.period_end = end_of_period(row.anchor, row.periods);
    let row = row.clone();
    let lines = lines_of(state, &row);
    if let Some(row) = state.subscriptions.get_mut(id) {
        row.pending.clear();
    }
    state.emit_subscription("customer.subscription.updated", id);
    let invoice = invoices::create(state, &row, "subscription_cycle", lines);
    invoices::finalize(state, &invoice);
    invoices::collect(state, &invoice);
}

/// The period that begins, and what is left over from changes within the one before.
pub fn lines_of(state: &State, row: &Subscription) -> Vec<Line> {
    let amount = state.prices.get(&row.price).map_or(0, |price| price.unit_amount);
    let period = Line {
        amount,
        start: row.period_start,
        end: row.period_end,
        proration: false,
        price: row.price.clone(),
    };
    std::iter::once(period).chain(row.pending.clone()).collect()
}

/// Ends a subscription.
pub fn end(state: &mut State, id: &str, status: SubscriptionStatus) {
    let now = state.clock.now();
    let Some(row) = state.subscriptions.get_mut(id) else {
        return;
    };
    row.status = status;
    row.ended_at = Some(now);
    row.canceled_at = row.canceled_at.or(Some(now));
    let kind = if status == SubscriptionStatus::Canceled {
        "customer.subscription.deleted"
    } else {
        "customer.subscription.updated"
    };
    for invoice in state.invoices.ids_of(id) {
        if let Some(row) = state.invoices.get_mut(&invoice) {
            row.next_attempt = None;
        }
    }
    state.emit_subscription(kind, id);
}

/// What a failed try of its invoice does to a subscription: the next try, or the end.
pub fn failed(state: &mut State, id: &str, invoice: &str, attempts: u32) {
    let now = state.clock.now();
    let nth = usize::try_from(attempts).unwrap_or(usize::MAX).saturating_sub(1);
    let next = RETRIES_AFTER_DAYS.get(nth).map(|days| now + days * DAY_SECS);
    let is_first = state
        .subscriptions
        .get(id)
        .is_some_and(|row| row.status == SubscriptionStatus::Incomplete);
    if let Some(row) = state.invoices.get_mut(invoice) {
        row.next_attempt = if is_first { None } else { next };
    }
    if is_first {
        return;
    }
    match next {
        Some(_) => set_status(state, id, SubscriptionStatus::PastDue),
        None => end(state, id, SubscriptionStatus::Canceled),
    }
}

/// What a paid invoice does to its subscription: it is active again, unless another one is open.
pub fn paid(state: &mut State, id: &str) {
    let is_owing = state
        .invoices
        .iter()
        .any(|invoice| invoice.subscription == id && invoice.status == super::model::InvoiceStatus::Open);
    let is_over = state.subscriptions.get(id).is_none_or(|row| row.status.is_over());
    if !is_owing && !is_over {
        set_status(state, id, SubscriptionStatus::Active);
    }
}

fn set_status(state: &mut State, id: &str, status: SubscriptionStatus) {
    if let Some(row) = state.subscriptions.get_mut(id)
        && row.status != status
    {
        row.status = status;
        state.emit_subscription("customer.subscription.updated", id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_counted_from_the_first_one() {
        let at = |text: &str| text.parse::<DateTime<chrono::Utc>>().unwrap().timestamp();
        let anchor = at("2028-01-31T10:00:00Z");
        for (periods, end) in [
            (1, "2028-02-29T10:00:00Z"),
            (2, "2028-03-31T10:00:00Z"),
            (12, "2029-01-31T10:00:00Z"),
        ] {
            assert_eq!(end_of_period(anchor, periods), at(end));
        }
    }
}
