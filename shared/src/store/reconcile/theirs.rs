//! What we have of a page of Stripe's objects: one statement per page and firm, joined on Stripe's ids.

use std::collections::HashMap;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    domain::{
        dispute::{Known, Status},
        reconcile::{ChargeHere, ClosedCycle, DisputeHere, FeeHere, MovementHere, RefundHere, RefundRow},
        words::UnknownWord,
    },
    ids::{ClientId, FirmId},
    store::error::{Error, Result},
};

fn word(unknown: UnknownWord) -> Error {
    Error::Other(sqlx::Error::Decode(unknown.into()))
}

/// By what a charge may be known.
#[derive(Clone, Debug)]
pub struct ChargeKey {
    /// `ch_…`
    pub charge: String,
    /// `pi_…`
    pub intent: Option<String>,
    /// The cycle that its metadata names.
    pub cycle: Option<Uuid>,
    /// The invoice that its metadata names.
    pub invoice: Option<Uuid>,
}

/// What this firm has of each of these charges, in their order; `None` where it has nothing but perhaps the client.
///
/// # Errors
/// When the database is away.
pub async fn charges(
    conn: &mut PgConnection,
    firm: FirmId,
    keys: &[ChargeKey],
) -> Result<Vec<Option<ChargeHere>>> {
    let ids: Vec<String> = keys.iter().map(|key| key.charge.clone()).collect();
    let intents: Vec<Option<String>> = keys.iter().map(|key| key.intent.clone()).collect();
    let cycles: Vec<Option<Uuid>> = keys.iter().map(|key| key.cycle).collect();
    let invoices: Vec<Option<Uuid>> = keys.iter().map(|key| key.invoice).collect();
    let rows = sqlx::query!(
        r#"select p.id as "payment?", p.amount_minor as "amount_minor?", p.currency::text as "currency?",
                  c.id as "cycle?", c.state as "state?",
                  coalesce(i.number, i.id::text) as "invoice?",
                  first.intent as "first?", coalesce(named.number, named.id::text) as "named?"
             from unnest($2::text[], $3::text[], $4::uuid[], $5::uuid[]) with ordinality as w (charge, intent, cycle, invoice, nth)
             left join lateral (
               select x.id, x.amount_minor, x.currency, x.invoice_id from payments x where x.firm_id = $1 and x.stripe_charge_id = w.charge
               union all
               -- recorded by a person, under the charge's id
               select x.id, x.amount_minor, x.currency, x.invoice_id from payments x
                where x.firm_id = $1 and x.method = 'external' and x.external_ref = w.charge
               limit 1) p on true
             left join lateral (
               select x.id, x.state, x.invoice_id from collection_cycles x
                where x.firm_id = $1 and x.stripe_payment_intent_id = w.intent
               union all
               -- made, and its creation not recorded yet
               select x.id, x.state, x.invoice_id from collection_cycles x
                where x.firm_id = $1 and x.id = w.cycle and x.stripe_payment_intent_id is null
               limit 1) c on true
             left join invoices i on i.firm_id = $1 and i.id = coalesce(p.invoice_id, c.invoice_id)
             left join invoices named on named.firm_id = $1 and named.id = w.invoice
             left join lateral (
               select x.stripe_payment_intent_id as intent from payments x
                where x.firm_id = $1 and x.invoice_id = w.invoice and x.stripe_payment_intent_id is distinct from w.intent
                  and x.method = 'stripe' order by x.received_at limit 1) first on true
            order by w.nth"#,
        firm.0,
        &ids,
        &intents as &[Option<String>],
        &cycles as &[Option<Uuid>],
        &invoices as &[Option<Uuid>],
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let invoice = row.invoice.map(|number| format!("invoice {number}"));
            match (row.payment, row.amount_minor, row.currency, row.cycle, row.state) {
                (Some(payment), Some(amount_minor), Some(currency), ..) => Some(ChargeHere::Recorded {
                    subject: invoice.unwrap_or_else(|| format!("payment {payment}")),
                    payment: payment.to_string(),
                    amount_minor,
                    currency,
                }),
                (.., Some(cycle), Some(state)) => Some(ChargeHere::OfCycle {
                    subject: invoice.unwrap_or_else(|| format!("cycle {cycle}")),
                    cycle: cycle.to_string(),
                    state,
                }),
                _ => match (row.first, row.named) {
                    (Some(first), Some(number)) => Some(ChargeHere::Second {
                        subject: format!("invoice {number}"),
                        first,
                    }),
                    _ => None,
                },
            }
        })
        .collect())
}

/// The cycles of these PaymentIntents that have ended without money and whose intent is known to be canceled, by intent.
///
/// # Errors
/// When the database is away.
pub async fn closed_cycles(
    conn: &mut PgConnection,
    firm: FirmId,
    intents: &[String],
) -> Result<HashMap<String, ClosedCycle>> {
    let rows = sqlx::query!(
        r#"select c.stripe_payment_intent_id as "intent!", c.id, c.state, coalesce(i.number, i.id::text) as "invoice!"
             from collection_cycles c join invoices i on i.firm_id = c.firm_id and i.id = c.invoice_id
            where c.firm_id = $1 and c.stripe_payment_intent_id = any($2)
              and c.state in ('canceled', 'exhausted') and c.intent_closed_at is not null"#,
        firm.0,
        intents
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let cycle = ClosedCycle {
                subject: format!("invoice {}", row.invoice),
                cycle: row.id.to_string(),
                state: row.state,
            };
            (row.intent, cycle)
        })
        .collect())
}

/// What people call a client of this firm.
///
/// # Errors
/// When the database is away.
pub async fn client_subject(conn: &mut PgConnection, firm: FirmId, client: ClientId) -> Result<String> {
    let label = sqlx::query_scalar!(
        r#"select coalesce(external_id, id::text) as "label!" from clients where firm_id = $1 and id = $2"#,
        firm.0,
        client.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(format!("client {}", label.unwrap_or_else(|| client.to_string())))
}

/// By what a refund may be known.
#[derive(Clone, Debug)]
pub struct RefundKey {
    /// `re_…`
    pub refund: String,
    /// `ch_…`
    pub charge: String,
    /// Our order, which its metadata names.
    pub ordered: Option<Uuid>,
}

/// What this firm has of each of these refunds, in their order; `None` where their payment is not recorded.
///
/// # Errors
/// When the database is away.
pub async fn refunds(
    conn: &mut PgConnection,
    firm: FirmId,
    keys: &[RefundKey],
) -> Result<Vec<Option<RefundHere>>> {
    let ids: Vec<String> = keys.iter().map(|key| key.refund.clone()).collect();
    let charges: Vec<String> = keys.iter().map(|key| key.charge.clone()).collect();
    let orders: Vec<Option<Uuid>> = keys.iter().map(|key| key.ordered).collect();
    let rows = sqlx::query!(
        r#"select p.id as "payment?", coalesce(i.number, i.id::text) as "invoice?",
                  r.id as "refund?", r.amount_minor as "amount_minor?", r.currency as "currency?", r.state as "state?"
             from unnest($2::text[], $3::text[], $4::uuid[]) with ordinality as w (refund, charge, ordered, nth)
             left join payments p on p.firm_id = $1 and p.stripe_charge_id = w.charge
             left join invoices i on i.firm_id = $1 and i.id = p.invoice_id
             left join lateral (
               select x.id, x.amount_minor, x.currency::text as currency, x.state from refunds x
                where x.firm_id = $1 and x.stripe_refund_id = w.refund
               union all
               -- ordered, and Stripe's answer not recorded yet
               select x.id, x.amount_minor, x.currency::text, x.state from refunds x
                where x.firm_id = $1 and x.id = w.ordered and x.stripe_refund_id is null
               limit 1) r on true
            order by w.nth"#,
        firm.0,
        &ids,
        &charges,
        &orders as &[Option<Uuid>],
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let Some(payment) = row.payment else {
                return Ok(None);
            };
            let found = match (row.refund, row.amount_minor, row.currency, row.state) {
                (Some(id), Some(amount_minor), Some(currency), Some(state)) => Some(RefundRow {
                    id: id.to_string(),
                    amount_minor,
                    currency,
                    state: state.parse().map_err(word)?,
                }),
                _ => None,
            };
            Ok(Some(RefundHere {
                subject: paid(row.invoice, payment),
                row: found,
            }))
        })
        .collect()
}

/// What was paid, for people.
fn paid(invoice: Option<String>, payment: Uuid) -> String {
    invoice.map_or_else(
        || format!("payment {payment}"),
        |number| format!("invoice {number}"),
    )
}

/// By what a dispute may be known.
#[derive(Clone, Debug)]
pub struct DisputeKey {
    /// `dp_…`
    pub dispute: String,
    /// `ch_…`
    pub charge: String,
    /// `txn_…` of each of its movements.
    pub txns: Vec<String>,
}

/// What this firm has of each of these disputes, in their order; `None` where their payment is not recorded.
///
/// # Errors
/// When the database is away.
pub async fn disputes(
    conn: &mut PgConnection,
    firm: FirmId,
    keys: &[DisputeKey],
) -> Result<Vec<Option<DisputeHere>>> {
    let ids: Vec<String> = keys.iter().map(|key| key.dispute.clone()).collect();
    let charges: Vec<String> = keys.iter().map(|key| key.charge.clone()).collect();
    let txns: Vec<String> = keys.iter().flat_map(|key| key.txns.clone()).collect();
    let movements = sqlx::query!(
        r#"select stripe_balance_transaction_id as txn, kind, amount_minor, currency::text as "currency!"
             from dispute_movements where firm_id = $1 and stripe_balance_transaction_id = any($2)"#,
        firm.0,
        &txns
    )
    .fetch_all(&mut *conn)
    .await?
    .into_iter()
    .map(|row| {
        Ok(MovementHere {
            txn: row.txn,
            kind: row.kind.parse().map_err(word)?,
            amount_minor: row.amount_minor,
            currency: row.currency,
        })
    })
    .collect::<Result<Vec<_>>>()?;
    let rows = sqlx::query!(
        r#"select p.id as "payment?", coalesce(i.number, i.id::text) as "invoice?",
                  d.amount_minor as "amount_minor?", d.currency::text as "currency?", d.stripe_status as "status?", d.kind as "kind?",
                  d.outcome as "outcome?"
             from unnest($2::text[], $3::text[]) with ordinality as w (dispute, charge, nth)
             left join payments p on p.firm_id = $1 and p.stripe_charge_id = w.charge
             left join invoices i on i.firm_id = $1 and i.id = p.invoice_id
             left join disputes d on d.firm_id = $1 and d.stripe_dispute_id = w.dispute
            order by w.nth"#,
        firm.0,
        &ids,
        &charges,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .zip(keys)
        .map(|(row, key)| {
            let Some(payment) = row.payment else {
                return Ok(None);
            };
            let found = match (row.amount_minor, row.currency, row.status, row.kind) {
                (Some(amount_minor), Some(currency), Some(status), Some(kind)) => {
                    let known = Known {
                        status: Status::parse(&status),
                        kind: kind.parse().map_err(word)?,
                        outcome: row
                            .outcome
                            .map(|outcome| outcome.parse().map_err(word))
                            .transpose()?,
                    };
                    Some((amount_minor, currency, known))
                }
                _ => None,
            };
            Ok(Some(DisputeHere {
                subject: paid(row.invoice, payment),
                row: found,
                movements: movements
                    .iter()
                    .filter(|m| key.txns.contains(&m.txn))
                    .cloned()
                    .collect(),
            }))
        })
        .collect()
}

/// The balance transaction of a charge.
#[derive(Clone, Debug)]
pub struct FeeKey {
    /// `txn_…`
    pub txn: String,
    /// `ch_…`
    pub charge: String,
}

/// What this firm has booked of each of these, in their order; `None` where the charge is no payment of its.
///
/// # Errors
/// When the database is away.
pub async fn fees(conn: &mut PgConnection, firm: FirmId, keys: &[FeeKey]) -> Result<Vec<Option<FeeHere>>> {
    let txns: Vec<String> = keys.iter().map(|key| key.txn.clone()).collect();
    let charges: Vec<String> = keys.iter().map(|key| key.charge.clone()).collect();
    let rows = sqlx::query!(
        r#"select p.id as "payment?", coalesce(i.number, i.id::text) as "invoice?", p.stripe_payment_intent_id as "intent?",
                  f.amount_minor as "amount_minor?", f.currency::text as "currency?"
             from unnest($2::text[], $3::text[]) with ordinality as w (txn, charge, nth)
             left join payments p on p.firm_id = $1 and p.stripe_charge_id = w.charge
             left join invoices i on i.firm_id = $1 and i.id = p.invoice_id
             left join processor_fees f on f.firm_id = $1 and f.stripe_balance_transaction_id = w.txn
            order by w.nth"#,
        firm.0,
        &txns,
        &charges,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let payment = row.payment?;
            Some(FeeHere {
                subject: paid(row.invoice, payment),
                intent: row.intent,
                booked: row.amount_minor.zip(row.currency),
            })
        })
        .collect())
}

/// Which of these events have come in, by whatever way.
///
/// # Errors
/// When the database is away.
pub async fn received_events(conn: &mut PgConnection, ids: &[String]) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar!(
        "select stripe_event_id from stripe_events where stripe_event_id = any($1)",
        ids
    )
    .fetch_all(conn)
    .await?)
}
