-- Functions that a worker asks again and again, in a language that keeps their plans. PostgreSQL reads, rewrites and plans the
-- text of an SQL function anew in every statement that calls it (unless it can be merged into that statement, which a subquery in
-- it forbids); a PL/pgSQL function is planned once in a connection. Asking the business clock took 75 µs so, and takes 8.
--
-- Nothing changes in what they answer. `use_column`: the columns they return have the names of the columns they read.

-- Business time. Stable, so that an index can be used; one statement sees one value.
create or replace function app.now() returns timestamptz language plpgsql stable as
$$ begin
     return clock_timestamp() + make_interval(secs => (select offset_ms from clock) / 1000.0);
   end $$;

-- As in 0014.
create or replace function app.due_cycles(as_of timestamptz, most int)
  returns table (firm_id uuid, cycle_id uuid, version int, order_key text)
  language plpgsql stable security definer set search_path = public, pg_temp as $$
#variable_conflict use_column
begin
  return query
   select c.firm_id, c.id, c.version, coalesce('customer:' || cl.stripe_customer_id, 'client:' || cl.id)
     from collection_cycles c
     join invoices i on i.firm_id = c.firm_id and i.id = c.invoice_id
     join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
     join firms f on f.id = c.firm_id
    where c.state in ('scheduled', 'retry_wait') and c.next_attempt_at <= as_of
      and (select autopay_paused_at from installation) is null
      and f.autopay_paused_at is null and f.parked_reason is null
      and cl.autopay_paused_at is null and cl.parked_reason is null
    order by c.next_attempt_at limit most;
end $$;

-- As in 0014.
create or replace function app.standing_cycles(as_of timestamptz, most int)
  returns table (firm_id uuid, cycle_id uuid, version int, order_key text)
  language plpgsql stable security definer set search_path = public, pg_temp as $$
#variable_conflict use_column
begin
  return query
   select c.firm_id, c.id, c.version, coalesce('customer:' || cl.stripe_customer_id, 'client:' || cl.id)
     from collection_cycles c
     join invoices i on i.firm_id = c.firm_id and i.id = c.invoice_id
     join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
     join firms f on f.id = c.firm_id
    where c.state in ('paused', 'action_required', 'method_required')
      and case when c.state <> 'paused' then c.deadline_at is null or c.deadline_at <= as_of
               when c.state_reason = 'no_stripe_customer' then cl.stripe_customer_id is not null
               when c.state_reason = 'invoice_fenced' then i.fenced_reason is null
               else c.state_reason in ('open_dispute', 'amount_below_minimum', 'amount_not_divisible') end
      and (select autopay_paused_at from installation) is null
      and f.autopay_paused_at is null and f.parked_reason is null
      and cl.autopay_paused_at is null and cl.parked_reason is null
    order by c.created_at limit most;
end $$;

-- As in 0008.
create or replace function app.open_outcomes(sent_before timestamptz, most int)
  returns table (firm_id uuid, cycle_id uuid, attempt_id uuid, order_key text)
  language plpgsql stable security definer set search_path = public, pg_temp as $$
#variable_conflict use_column
begin
  return query
   select a.firm_id, a.cycle_id, a.id, coalesce('customer:' || cl.stripe_customer_id, 'client:' || cl.id)
     from payment_attempts a
     join collection_cycles c on c.firm_id = a.firm_id and c.id = a.cycle_id
     join invoices i on i.firm_id = c.firm_id and i.id = c.invoice_id
     join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
    where a.state in ('created', 'sent', 'processing', 'action_required', 'unknown')
      and coalesce(a.sent_at, a.created_at) < sent_before
    order by coalesce(a.sent_at, a.created_at) limit most;
end $$;

-- As in 0016.
create or replace function app.unclosed_intents(most int)
  returns table (firm_id uuid, cycle_id uuid, order_key text)
  language plpgsql stable security definer set search_path = public, pg_temp as $$
#variable_conflict use_column
begin
  return query
   select c.firm_id, c.id, coalesce('customer:' || cl.stripe_customer_id, 'client:' || cl.id)
     from (select v.firm_id, v.id, v.created_at, v.invoice_id from collection_cycles v
             join invoices i on i.firm_id = v.firm_id and i.id = v.invoice_id
             join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
            where v.state = 'canceled' and v.stripe_payment_intent_id is not null and v.intent_closed_at is null
              and v.state_reason in ('autopay_disabled', 'autopay_off')
              and i.doc_state = 'issued' and i.autopay_opt_in and cl.autopay_enabled
              and not exists (select 1 from collection_cycles o where o.firm_id = v.firm_id and o.invoice_id = v.invoice_id
                                and o.state in ('succeeded', 'exhausted'))
           union all
           select v.firm_id, v.id, v.created_at, v.invoice_id from invoices i
             join collection_cycles v on v.firm_id = i.firm_id and v.invoice_id = i.id
            where i.doc_state = 'void_requested' and v.state in ('canceled', 'exhausted')
              and v.stripe_payment_intent_id is not null and v.intent_closed_at is null) c
     join invoices i on i.firm_id = c.firm_id and i.id = c.invoice_id
     join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
    order by c.created_at limit most;
end $$;

-- As in 0013.
create or replace function app.open_break_glass()
  returns table (firm_id uuid, session_id uuid, operator text, reason text, expires_at timestamptz)
  language plpgsql stable security definer set search_path = public, pg_temp as $$
#variable_conflict use_column
begin
  return query
   select s.firm_id, s.id, s.operator, s.reason, s.expires_at from break_glass_sessions s
    where s.revoked_at is null and s.expires_at > app.now() order by s.opened_at;
end $$;
