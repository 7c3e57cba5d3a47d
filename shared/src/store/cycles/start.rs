//! Starting to collect one invoice that may have a history; [`crate::store::collection_start`] is for many fresh ones.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;

use super::{
    change::{audit_cycle, set_next_charge},
    cycle::order_key,
    enqueue::COLLECT,
};
use crate::{
    ids::{ClientId, CycleId, FirmId, InvoiceId},
    store::{
        audit::Cause,
        error::Result,
        jobs::{self, NewJob, Queue},
    },
};

/// Starts collecting an issued invoice when it is opted in and the client's automatic payment is on: creates the cycle
/// and its first job, in the issuing transaction (A-09). `None` when it is not to be collected automatically.
///
/// # Errors
/// When the database is away.
pub async fn start_if_autopay(
    conn: &mut PgConnection,
    firm: FirmId,
    invoice: InvoiceId,
    now: DateTime<Utc>,
    cause: &Cause,
) -> Result<Option<CycleId>> {
    let row = sqlx::query!(
        r#"select i.client_id, i.currency::text as "currency!", s.open_minor as "open_minor!", f.retry_policy, cl.stripe_customer_id,
                  case when e.charge_timing = 'on_due' then greatest($3, i.due_date::timestamp at time zone f.timezone) else $3 end as "at!"
           from invoices i
           join firms f on f.id = i.firm_id
           join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
           join invoice_status s on s.firm_id = i.firm_id and s.id = i.id
           left join engagements e on e.firm_id = i.firm_id and e.id = i.engagement_id
           where i.firm_id = $1 and i.id = $2 and i.doc_state = 'issued' and i.autopay_opt_in and cl.autopay_enabled
             and s.open_minor > 0
             and not exists (select 1 from collection_cycles c where c.firm_id = i.firm_id and c.invoice_id = i.id
                               and c.state not in ('exhausted', 'canceled'))"#,
        firm.0,
        invoice.0,
        now
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let id = CycleId::new();
    sqlx::query!(
        "insert into collection_cycles (firm_id, id, invoice_id, seq, amount_minor, currency, state, next_attempt_at, policy)
         select $1, $2, $3, coalesce(max(seq), 0) + 1, $4, $5::text, 'scheduled', $6, $7
         from collection_cycles where firm_id = $1 and invoice_id = $3",
        firm.0,
        id.0,
        invoice.0,
        row.open_minor,
        row.currency,
        row.at,
        row.retry_policy
    )
    .execute(&mut *conn)
    .await?;
    set_next_charge(conn, firm, invoice, Some(row.at)).await?;
    let job = NewJob::new(
        Queue::Charges,
        COLLECT,
        format!("{id}:v1"),
        json!({"cycle_id": id}),
        row.at,
    )
    .firm(firm)
    .in_order_of(order_key(
        row.stripe_customer_id.as_deref(),
        ClientId(row.client_id),
    ));
    jobs::enqueue(conn, &job).await?;
    audit_cycle(
        conn,
        firm,
        now,
        "retry.scheduled",
        invoice,
        cause,
        json!({"cycle": id, "step": 0, "at": row.at}),
    )
    .await?;
    Ok(Some(id))
}
