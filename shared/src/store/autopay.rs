//! A client's automatic payment: on with one of its cards, or off. What is being collected follows in the same
//! transaction, so that no charge is made for a client who has just been switched off.

use serde_json::json;
use sqlx::PgConnection;

use super::{
    audit::{self, By},
    cycles,
    error::{Result, one_row},
};
use crate::ids::{ClientId, FirmId, InvoiceId, PaymentMethodId};

/// Locks the invoices of a client that are being collected, or may be from now on. Comes before the first change to the
/// client or its cards: whoever collects locks in this order too, and of several invoices the one with the smaller id first.
///
/// # Errors
/// When the database is away.
pub async fn lock_collection(conn: &mut PgConnection, firm: FirmId, client: ClientId) -> Result<()> {
    sqlx::query!(
        "select i.id from invoices i
          where i.firm_id = $1 and i.client_id = $2 and i.doc_state = 'issued'
            and (i.autopay_opt_in or exists (select 1 from collection_cycles c where c.firm_id = i.firm_id and c.invoice_id = i.id))
            and not exists (select 1 from collection_cycles c where c.firm_id = i.firm_id and c.invoice_id = i.id
                              and c.state in ('succeeded', 'exhausted'))
          order by i.id for update of i",
        firm.0,
        client.0
    )
    .fetch_all(conn)
    .await?;
    Ok(())
}

/// A client's automatic payment as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The client, by its `external_id` where it has one.
    pub client: String,
    /// Its customer at Stripe.
    pub customer: Option<String>,
    /// Whether it is on.
    pub enabled: bool,
    /// The card that it uses, or used last.
    pub method_id: Option<PaymentMethodId>,
    /// The same, by its Stripe id.
    pub method: Option<String>,
}

/// Reads it and keeps others from changing it. Call after [`lock_collection`].
///
/// # Errors
/// When the database is away, or this firm has no such client.
pub async fn lock(conn: &mut PgConnection, firm: FirmId, client: ClientId) -> Result<State> {
    let row = sqlx::query!(
        r#"select coalesce(c.external_id, c.id::text) as "client!", c.stripe_customer_id, c.autopay_enabled,
                  c.autopay_payment_method_id, m.stripe_payment_method_id as "method?"
           from clients c left join payment_methods m on m.firm_id = c.firm_id and m.id = c.autopay_payment_method_id
           where c.firm_id = $1 and c.id = $2 for no key update of c"#,
        firm.0,
        client.0
    )
    .fetch_one(conn)
    .await?;
    Ok(State {
        client: row.client,
        customer: row.stripe_customer_id,
        enabled: row.autopay_enabled,
        method_id: row.autopay_payment_method_id.map(PaymentMethodId),
        method: row.method,
    })
}

/// Switches it on, or from one card to another, and goes on to collect what is open: what waited for a card is tried at once
/// if this is another one; what was given up when it was switched off goes on where it was. Call after [`lock_collection`].
///
/// # Errors
/// When the database is away.
pub async fn switch_on(
    conn: &mut PgConnection,
    firm: FirmId,
    client: ClientId,
    (before, method): (Option<PaymentMethodId>, PaymentMethodId),
    reason: Option<&str>,
    by: &By<'_>,
) -> Result<()> {
    let done = sqlx::query!(
        "update clients set autopay_enabled = true, autopay_payment_method_id = $3, autopay_changed_at = $4
          where firm_id = $1 and id = $2",
        firm.0,
        client.0,
        method.0,
        by.at
    )
    .execute(&mut *conn)
    .await?;
    one_row("switch autopay on", done.rows_affected())?;
    let meta = json!({ "payment_method": method, "reason": reason });
    audit::record(
        conn,
        firm,
        by.at,
        &by.entry("autopay.enabled", "client", client.0, meta),
    )
    .await?;
    if before != Some(method) {
        cycles::method_updated(conn, firm, client, by.at, by.cause).await?;
    }
    for invoice in collectible(conn, firm, client).await? {
        cycles::start_if_autopay(conn, firm, invoice, by.at, by.cause).await?;
    }
    Ok(())
}

/// Switches it off and gives up what is being collected. Call after [`lock_collection`].
///
/// # Errors
/// When the database is away.
pub async fn switch_off(
    conn: &mut PgConnection,
    firm: FirmId,
    client: ClientId,
    reason: Option<&str>,
    by: &By<'_>,
) -> Result<()> {
    let done = sqlx::query!(
        "update clients set autopay_enabled = false, autopay_changed_at = $3 where firm_id = $1 and id = $2",
        firm.0,
        client.0,
        by.at
    )
    .execute(&mut *conn)
    .await?;
    one_row("switch autopay off", done.rows_affected())?;
    let entry = by.entry(
        "autopay.disabled",
        "client",
        client.0,
        json!({ "reason": reason }),
    );
    audit::record(conn, firm, by.at, &entry).await?;
    cycles::cancel_live_cycles(conn, firm, client, by.at, "autopay_disabled", by.cause).await?;
    Ok(())
}

/// Issued invoices that nobody collects. Left out are those that came to an end: paid, or exhausted, so that a person
/// decides.
async fn collectible(conn: &mut PgConnection, firm: FirmId, client: ClientId) -> Result<Vec<InvoiceId>> {
    let ids = sqlx::query_scalar!(
        "select i.id from invoices i
          where i.firm_id = $1 and i.client_id = $2 and i.doc_state = 'issued' and i.autopay_opt_in
            and not exists (select 1 from collection_cycles c where c.firm_id = i.firm_id and c.invoice_id = i.id
                              and c.state <> 'canceled')
          order by i.id",
        firm.0,
        client.0
    )
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(InvoiceId).collect())
}
