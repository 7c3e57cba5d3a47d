-- Cycles that stand still: how long they wait for their client, which of them may go on, and whether the PaymentIntent of
-- one that was given up is known to be canceled. A build that knows none of this leaves the new columns empty; the sweep
-- of one that does fills them.
alter table collection_cycles
  add column deadline_at timestamptz,                       -- of action_required and method_required: exhausted after it
  add column intent_closed_at timestamptz;                  -- since when its PaymentIntent is known to be canceled

create index collection_cycles_standing on collection_cycles (firm_id, id)
  where state in ('paused', 'action_required', 'method_required');
create index collection_cycles_unclosed on collection_cycles (firm_id, invoice_id)
  where state = 'canceled' and stripe_payment_intent_id is not null and intent_closed_at is null;

-- Cycles to be looked at again: their client has had its time, or what paused them may be gone. What a rejected request of
-- ours or a possible double paused is left to a person, and paused or parked firms and clients are left alone.
create function app.standing_cycles(as_of timestamptz, most int)
  returns table (firm_id uuid, cycle_id uuid, version int, order_key text)
  language sql stable security definer set search_path = public, pg_temp as
$$ select c.firm_id, c.id, c.version, coalesce('customer:' || cl.stripe_customer_id, 'client:' || cl.id)
     from collection_cycles c
     join invoices i on i.firm_id = c.firm_id and i.id = c.invoice_id
     join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
     join firms f on f.id = c.firm_id
    where c.state in ('paused', 'action_required', 'method_required')
      and case when c.state <> 'paused' then c.deadline_at is null or c.deadline_at <= as_of
               when c.state_reason = 'no_stripe_customer' then cl.stripe_customer_id is not null
               when c.state_reason = 'invoice_fenced' then i.fenced_reason is null
               else c.state_reason in ('open_dispute', 'amount_below_minimum', 'amount_not_divisible') end
      and f.autopay_paused_at is null and f.parked_reason is null
      and cl.autopay_paused_at is null and cl.parked_reason is null
    order by c.created_at limit most $$;

-- Cycles given up with automatic payment, which is on again, whose PaymentIntent is not known to be canceled: until it is,
-- their invoice is not collected anew.
create function app.unclosed_intents(most int) returns table (firm_id uuid, cycle_id uuid, order_key text)
  language sql stable security definer set search_path = public, pg_temp as
$$ select c.firm_id, c.id, coalesce('customer:' || cl.stripe_customer_id, 'client:' || cl.id)
     from collection_cycles c
     join invoices i on i.firm_id = c.firm_id and i.id = c.invoice_id
     join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
    where c.state = 'canceled' and c.stripe_payment_intent_id is not null and c.intent_closed_at is null
      and c.state_reason in ('autopay_disabled', 'autopay_off')
      and i.doc_state = 'issued' and i.autopay_opt_in and cl.autopay_enabled
      and not exists (select 1 from collection_cycles o where o.firm_id = c.firm_id and o.invoice_id = c.invoice_id
                        and o.state in ('succeeded', 'exhausted'))
    order by c.created_at limit most $$;

do $$
declare f text;
begin
  foreach f in array array['app.standing_cycles(timestamptz, int)', 'app.unclosed_intents(int)'] loop
    execute format('alter function %s owner to quittance_scan', f);
    execute format('revoke execute on function %s from public', f);
    execute format('grant execute on function %s to quittance_worker, quittance_portal', f);
  end loop;
end $$;
