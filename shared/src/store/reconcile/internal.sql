-- Our own tables beside each other, beyond the ledger: one row per thing that does not fit, or stands still.
with late as (select app.now() - interval '1 hour' as at),
waiting as materialized (                                   -- jobs that will still run
  select kind, coalesce(payload ->> 'cycle_id', payload ->> 'refund_id') as about from jobs
   where firm_id = $1 and state in ('available', 'running', 'retryable') and kind in ('collect_invoice', 'refund_payment')),
off (kind, subject, id, state, wanted) as (
  select 'unreleased_time', 'invoice ' || i.number, 'time entry ' || coalesce(t.external_id, t.id::text), 'invoiced', 'released'
    from invoice_lines l
    join invoices i on i.firm_id = l.firm_id and i.id = l.invoice_id
    join time_entries t on t.firm_id = l.firm_id and t.id = l.time_entry_id
   where l.firm_id = $1 and l.released_at is null and i.doc_state = 'void'
  union all
  select 'state_mismatch', 'invoice ' || i.number, 'cycle ' || c.id, c.state, 'a payment of its PaymentIntent'
    from collection_cycles c join invoices i on i.firm_id = c.firm_id and i.id = c.invoice_id
   where c.firm_id = $1 and c.state = 'succeeded' and not exists (
         select 1 from payments p where p.firm_id = c.firm_id and p.invoice_id = c.invoice_id
                                    and p.stripe_payment_intent_id = c.stripe_payment_intent_id)
  union all
  select 'state_mismatch', 'invoice ' || coalesce(i.number, i.id::text), 'cycle ' || c.id, c.state, 'no collection of an invoice that is ' || i.doc_state
    from collection_cycles c join invoices i on i.firm_id = c.firm_id and i.id = c.invoice_id
   where c.firm_id = $1 and c.state not in ('succeeded', 'exhausted', 'canceled') and i.doc_state in ('draft', 'void')
  union all
  select 'stuck_work', 'invoice ' || i.number, 'cycle ' || c.id, c.state, 'a job that makes the next attempt'
    from collection_cycles c
    join invoices i on i.firm_id = c.firm_id and i.id = c.invoice_id
    join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
    join firms f on f.id = c.firm_id
   where c.firm_id = $1 and c.state in ('scheduled', 'retry_wait') and c.next_attempt_at < (select at from late)
     and (select autopay_paused_at from installation) is null
     and f.autopay_paused_at is null and f.parked_reason is null and cl.autopay_paused_at is null and cl.parked_reason is null
     and not exists (select 1 from waiting w where w.kind = 'collect_invoice' and w.about = c.id::text)
  union all
  select 'stuck_work', 'payment ' || r.payment_id, 'refund ' || r.id, r.state, 'a job that asks Stripe for it'
    from refunds r
   where r.firm_id = $1 and r.state = 'requested' and r.created_at < (select at from late)
     and not exists (select 1 from waiting w where w.kind = 'refund_payment' and w.about = r.id::text)
  union all
  select 'stuck_work', 'job ' || j.kind, 'job ' || j.id, j.state, 'an end' from jobs j where j.firm_id = $1 and j.state = 'discarded'
  union all
  select 'stuck_work', 'event ' || e.type, e.stripe_event_id, e.state, 'an end' from stripe_events e where e.firm_id = $1 and e.state = 'parked'
  union all
  select 'mode_mismatch', 'event ' || e.type, e.stripe_event_id, case when e.livemode then 'live' else 'test' end,
         case when o.livemode then 'live' else 'test' end
    from stripe_events e cross join installation o
   where e.firm_id = $1 and e.livemode <> o.livemode)
select kind as "kind!", subject as "subject!", id as "id!", state as "state!", wanted as "wanted!"
  from off order by kind, subject, id limit $2
