//! Credit pays invoices: by itself when they are issued, and by hand.

use std::collections::HashMap;

use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{money, usable_lots};
use crate::{
    domain::{
        collection::AttemptState,
        credit::{Asked, Lot, NotUsed, Purse, Use, UseFacts, decide_use},
    },
    ids::{ClientId, CycleId, FirmId, InvoiceId},
    money::Money,
    store::{
        audit::{self, By},
        cycles,
        decisions::{self, Decision},
        error::{Error, Result},
    },
};

/// Why a cycle ends whose invoice credit has paid; the same word as when it is found paid at the next attempt.
const NOTHING_OPEN: &str = "nothing_open";

/// An invoice that credit may pay, locked together with its client's credit.
#[derive(Clone, Debug)]
pub struct Bill {
    /// Which.
    pub id: InvoiceId,
    /// Whose.
    pub client: ClientId,
    /// What is open on it.
    pub open: Money,
    issued: bool,
    under_way: Option<AttemptState>,
    lots: Vec<Lot>,
}

/// What credit paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// In all.
    pub amount: Money,
    /// Lot by lot, in the order in which they were used.
    pub uses: Vec<Use>,
    /// What is open now.
    pub open: Money,
}

/// Locks an invoice and its client's credit, and reads what decides whether the one pays the other. `None` when this firm
/// has no such invoice.
///
/// # Errors
/// When the database is away.
pub async fn lock_bill(conn: &mut PgConnection, firm: FirmId, invoice: InvoiceId) -> Result<Option<Bill>> {
    let Some(row) = sqlx::query!(
        r#"select client_id, currency::text as "currency!", doc_state from invoices where firm_id = $1 and id = $2 for update"#,
        firm.0,
        invoice.0
    )
    .fetch_optional(&mut *conn)
    .await?
    else {
        return Ok(None);
    };
    lock_all(conn, firm, &[row.client_id]).await?;
    // What follows are statements of their own, so that they see what others did until the locks were ours.
    let open = sqlx::query_scalar!(
        r#"select open_minor as "open!" from invoice_status where firm_id = $1 and id = $2"#,
        firm.0,
        invoice.0
    )
    .fetch_one(&mut *conn)
    .await?;
    let under_way = sqlx::query_scalar!(
        "select a.state from collection_cycles c join payment_attempts a on a.firm_id = c.firm_id and a.cycle_id = c.id
         where c.firm_id = $1 and c.invoice_id = $2 and a.state in ('sent', 'processing', 'action_required', 'unknown') limit 1",
        firm.0,
        invoice.0
    )
    .fetch_optional(&mut *conn)
    .await?
    .map(|word| word.parse::<AttemptState>())
    .transpose()
    .map_err(|e| Error::Other(sqlx::Error::Decode(e.to_string().into())))?;
    let lots = usable_lots(conn, firm, &[row.client_id]).await?;
    Ok(Some(Bill {
        id: invoice,
        client: ClientId(row.client_id),
        open: money(open, &row.currency)?,
        issued: row.doc_state == "issued",
        under_way,
        lots: lots.into_iter().map(|(_, lot)| lot).collect(),
    }))
}

/// Locks the credit of some clients, always in the same order. Whoever locks that of several clients in several steps locks
/// all of it first.
///
/// # Errors
/// When the database is away.
pub async fn lock_all(conn: &mut PgConnection, firm: FirmId, clients: &[Uuid]) -> Result<()> {
    sqlx::query!("select app.lock_credit($1, $2)::text as locked", firm.0, clients)
        .fetch_one(conn)
        .await?;
    Ok(())
}

/// Pays a locked invoice with its client's credit, as far as asked. An attempt that is only written down is taken back
/// before it is sent, because the amount is another one by then; a cycle that has nothing left to collect is given up.
///
/// # Errors
/// When the database is away or refuses.
pub async fn apply(
    conn: &mut PgConnection,
    firm: FirmId,
    bill: &Bill,
    asked: Asked,
    by: &By<'_>,
) -> Result<std::result::Result<Applied, NotUsed>> {
    let mut purse = Purse::new(bill.lots.clone());
    let facts = UseFacts {
        asked: Some(asked),
        auto_apply: false,
        issued: bill.issued,
        under_way: bill.under_way,
        open: bill.open,
        available: purse.available(bill.open),
    };
    let (decided, checks) = decide_use(&facts);
    let amount = match decided {
        Ok(amount) => amount,
        Err(refused) => return Ok(Err(refused)),
    };
    let uses = purse.take(amount);
    let all: Vec<(InvoiceId, Use)> = uses.iter().map(|part| (bill.id, *part)).collect();
    record(conn, firm, &all, by).await?;
    let decision = Decision {
        subject_kind: "invoice",
        subject: bill.id.0,
        kind: "apply_credit",
        outcome: "apply",
        reason_code: "asked_for",
        predicates: json!(checks),
        cause: by.cause,
    };
    decisions::record(conn, firm, by.at, &decision).await?;
    let open = Money::new(bill.open.minor() - amount.minor(), amount.currency());
    if !open.is_positive() {
        give_up_collection(conn, firm, bill.id, by).await?;
    }
    Ok(Ok(Applied { amount, uses, open }))
}

/// An invoice that was just issued.
struct Fresh {
    id: InvoiceId,
    client: ClientId,
    open: Money,
}

/// Pays invoices that were issued in this very transaction with their clients' credit, unless the firm decides that by
/// hand. Invoices of one client come in the order given. Call it before their collection begins.
///
/// # Errors
/// When the database is away or refuses.
pub async fn apply_to_issued(
    conn: &mut PgConnection,
    firm: FirmId,
    invoices: &[InvoiceId],
    by: &By<'_>,
) -> Result<()> {
    let ids: Vec<Uuid> = invoices.iter().map(|id| id.0).collect();
    // Most invoices are of clients without any credit, and cost this one look.
    let with_credit = sqlx::query_scalar!(
        "select distinct i.client_id from invoices i
           join credit_balances b on b.firm_id = i.firm_id and b.client_id = i.client_id and b.currency = i.currency
         where i.firm_id = $1 and i.id = any($2) and i.doc_state = 'issued' and b.balance_minor > 0",
        firm.0,
        &ids
    )
    .fetch_all(&mut *conn)
    .await?;
    if with_credit.is_empty() {
        return Ok(());
    }
    lock_all(conn, firm, &with_credit).await?;
    let auto_apply = sqlx::query_scalar!("select auto_apply_credit from firms where id = $1", firm.0)
        .fetch_one(&mut *conn)
        .await?;
    let mut purses = purses(conn, firm, &with_credit).await?;
    let (mut uses, mut decided) = (Vec::new(), Vec::new());
    for fresh in fresh(conn, firm, &ids, &with_credit).await? {
        let Some(purse) = purses.get_mut(&fresh.client) else {
            continue;
        };
        let facts = UseFacts {
            asked: None,
            auto_apply,
            issued: true,
            under_way: None,
            open: fresh.open,
            available: purse.available(fresh.open),
        };
        let (decision, checks) = decide_use(&facts);
        if let Ok(amount) = decision {
            uses.extend(purse.take(amount).into_iter().map(|part| (fresh.id, part)));
        }
        decided.push((fresh.id, decision, json!(checks)));
    }
    record(conn, firm, &uses, by).await?;
    let decisions: Vec<Decision<'_>> = decided
        .into_iter()
        .map(|(invoice, decision, predicates)| Decision {
            subject_kind: "invoice",
            subject: invoice.0,
            kind: "apply_credit",
            outcome: if decision.is_ok() { "apply" } else { "skip" },
            reason_code: decision.map_or_else(NotUsed::code, |_| "issued"),
            predicates,
            cause: by.cause,
        })
        .collect();
    decisions::record_all(conn, firm, by.at, &decisions).await
}

/// What each of these clients can spend today.
async fn purses(conn: &mut PgConnection, firm: FirmId, clients: &[Uuid]) -> Result<HashMap<ClientId, Purse>> {
    let mut lots: HashMap<ClientId, Vec<Lot>> = HashMap::new();
    for (client, lot) in usable_lots(conn, firm, clients).await? {
        lots.entry(client).or_default().push(lot);
    }
    Ok(lots
        .into_iter()
        .map(|(client, lots)| (client, Purse::new(lots)))
        .collect())
}

/// Those of the new invoices whose clients may have credit, in the order given.
async fn fresh(
    conn: &mut PgConnection,
    firm: FirmId,
    invoices: &[Uuid],
    clients: &[Uuid],
) -> Result<Vec<Fresh>> {
    sqlx::query!(
        r#"select i.id, i.client_id, i.currency::text as "currency!", s.open_minor as "open!"
           from unnest($2::uuid[]) with ordinality as n(id, nth)
           join invoices i on i.firm_id = $1 and i.id = n.id and i.client_id = any($3)
           join invoice_status s on s.firm_id = i.firm_id and s.id = i.id
           where i.doc_state = 'issued' order by n.nth"#,
        firm.0,
        invoices,
        clients
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(|row| {
        Ok(Fresh {
            id: InvoiceId(row.id),
            client: ClientId(row.client_id),
            open: money(row.open, &row.currency)?,
        })
    })
    .collect()
}

/// Writes uses down, with one audit row each. The same lot may pay the same invoice again later.
async fn record(conn: &mut PgConnection, firm: FirmId, uses: &[(InvoiceId, Use)], by: &By<'_>) -> Result<()> {
    if uses.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = uses.iter().map(|_| Uuid::now_v7()).collect();
    let invoices: Vec<Uuid> = uses.iter().map(|(invoice, _)| invoice.0).collect();
    let lots: Vec<Uuid> = uses.iter().map(|(_, part)| part.lot.0).collect();
    let amounts: Vec<i64> = uses.iter().map(|(_, part)| part.amount.minor()).collect();
    sqlx::query!(
        "insert into credit_applications (firm_id, id, lot_id, invoice_id, seq, amount_minor, applied_at, cause)
         select $1, u.id, u.lot, u.invoice,
                1 + (select coalesce(max(a.seq), 0) from credit_applications a
                      where a.firm_id = $1 and a.lot_id = u.lot and a.invoice_id = u.invoice),
                u.amount, $2, $3
         from unnest($4::uuid[], $5::uuid[], $6::uuid[], $7::bigint[]) as u(id, lot, invoice, amount)",
        firm.0,
        by.at,
        by.cause.to_string(),
        &ids,
        &lots,
        &invoices,
        &amounts,
    )
    .execute(&mut *conn)
    .await?;
    let metas: Vec<Value> = uses
        .iter()
        .zip(&ids)
        .map(|((invoice, part), id)| {
            json!({"application": id, "invoice": invoice, "amount_minor": part.amount.minor(), "currency": part.amount.currency()})
        })
        .collect();
    audit::record_all(conn, firm, by, ("credit.applied", "credit_lot"), &lots, &metas).await
}

/// Ends the collection of an invoice on which nothing is open any more.
async fn give_up_collection(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
    by: &By<'_>,
) -> Result<()> {
    let live = sqlx::query_scalar!(
        "select id from collection_cycles
         where firm_id = $1 and invoice_id = $2 and state not in ('succeeded', 'exhausted', 'canceled')",
        firm.0,
        invoice.0
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(live) = live else { return Ok(()) };
    let Some(cycle) = cycles::lock(conn, firm, CycleId(live)).await? else {
        return Ok(());
    };
    cycles::cancel(conn, firm, &cycle, by.at, NOTHING_OPEN, by.cause).await
}
