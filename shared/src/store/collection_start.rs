//! What happens to invoices in the transaction that issues them: credit pays what it can, and the rest is collected. All of it
//! in sets.
//!
//! An import may issue ten thousand of them; [`super::cycles::start_if_autopay`] is for one that may have a history.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{audit::By, credits, cycles, error::Result, jobs::Queue};
use crate::{
    counts,
    ids::{CycleId, FirmId, InvoiceId, JobId},
    trace::traceparent,
};

/// Uses up their clients' credit, then creates a cycle over what is left and its first job for each invoice that is opted
/// in and whose client's automatic payment is on. Returns how many.
///
/// # Errors
/// When the database is away; a conflict when one of them is being collected already.
pub async fn start_fresh(
    conn: &mut PgConnection,
    firm: FirmId,
    invoices: &[InvoiceId],
    by: &By<'_>,
) -> Result<u64> {
    credits::apply_to_issued(conn, firm, invoices, by).await?;
    let ids: Vec<Uuid> = invoices.iter().map(|id| id.0).collect();
    let cycles: Vec<Uuid> = invoices.iter().map(|_| CycleId::new().0).collect();
    let jobs: Vec<Uuid> = invoices.iter().map(|_| JobId::new().0).collect();
    let done = sqlx::query!(
        "with wanted as (
           select n.nth, n.cycle, n.job, i.id as invoice, s.open_minor as amount, i.currency, f.retry_policy,
                  coalesce('customer:' || cl.stripe_customer_id, 'client:' || cl.id::text) as order_key,
                  case when e.charge_timing = 'on_due' then greatest($2, i.due_date::timestamp at time zone f.timezone)
                       else $2 end as at
           from unnest($3::uuid[], $4::uuid[], $5::uuid[]) with ordinality as n(invoice, cycle, job, nth)
           join invoices i on i.firm_id = $1 and i.id = n.invoice
           join invoice_status s on s.firm_id = i.firm_id and s.id = i.id
           join firms f on f.id = i.firm_id
           join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
           left join engagements e on e.firm_id = i.firm_id and e.id = i.engagement_id
           where i.doc_state = 'issued' and i.autopay_opt_in and cl.autopay_enabled and s.open_minor > 0),
         cycles as (
           insert into collection_cycles (firm_id, id, invoice_id, seq, amount_minor, currency, state, next_attempt_at, policy)
           select $1, cycle, invoice, 1, amount, currency, 'scheduled', at, retry_policy from wanted),
         due as (
           update invoices i set autopay_next_charge_at = w.at from wanted w where i.firm_id = $1 and i.id = w.invoice)
         insert into jobs (id, firm_id, queue, kind, dedupe_key, order_key, payload, run_at, created_at, traceparent)
         select job, $1, 'charges', $6, cycle::text || ':v1', order_key, jsonb_build_object('cycle_id', cycle), at, $2, $7
         from wanted order by nth",
        firm.0,
        by.at,
        &ids,
        &cycles,
        &jobs,
        cycles::COLLECT,
        traceparent(),
    )
    .execute(conn)
    .await?;
    counts::enqueued(Queue::Charges, done.rows_affected());
    Ok(done.rows_affected())
}
