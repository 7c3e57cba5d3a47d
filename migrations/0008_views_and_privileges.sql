-- The derived status, the narrow cross-firm functions, row-level security, and what each role may do.

-- The only place where the one-word status of an invoice exists.
create view invoice_status with (security_invoker = true) as
select i.firm_id, i.id,
  coalesce(p.paid, 0)::bigint as paid_minor,
  0::bigint as credited_minor,
  coalesce(r.refunded, 0)::bigint as refunded_minor,
  coalesce(d.held, 0)::bigint as disputed_minor,
  coalesce(d.lost, 0)::bigint as charged_back_minor,
  greatest(i.total_minor - coalesce(p.paid, 0), 0)::bigint as open_minor,
  coalesce(c.state, 'none') as autopay_state,
  c.id as cycle_id,
  case
    when i.doc_state = 'void_requested' then 'sent'
    when i.doc_state <> 'issued' then i.doc_state
    when coalesce(d.open_count, 0) > 0 then 'disputed'
    when coalesce(d.lost_count, 0) > 0 then 'charged_back'
    when coalesce(p.paid, 0) > 0 and coalesce(r.refunded, 0) >= p.paid then 'refunded'
    when coalesce(p.paid, 0) >= i.total_minor then 'paid'
    when c.state in ('in_flight', 'unknown') then 'processing'
    when c.state in ('retry_wait', 'method_required', 'action_required', 'exhausted') then 'failed'
    when i.due_date < (app.now() at time zone f.timezone)::date then 'overdue'
    when coalesce(p.paid, 0) > 0 then 'partial'
    else 'sent'
  end as status
from invoices i
join firms f on f.id = i.firm_id
left join lateral (
  select sum(x.amount_minor) as paid from payments x where x.firm_id = i.firm_id and x.invoice_id = i.id) p on true
left join lateral (
  select sum(x.amount_minor) as refunded from refunds x join payments y on y.firm_id = x.firm_id and y.id = x.payment_id
   where y.firm_id = i.firm_id and y.invoice_id = i.id and x.state = 'succeeded') r on true
left join lateral (
  select sum(x.amount_minor) filter (where x.outcome is null) as held,
         count(*) filter (where x.outcome is null) as open_count,
         sum(x.amount_minor) filter (where x.outcome = 'lost') as lost,
         count(*) filter (where x.outcome = 'lost') as lost_count
    from disputes x join payments y on y.firm_id = x.firm_id and y.id = x.payment_id
   where y.firm_id = i.firm_id and y.invoice_id = i.id and x.kind = 'chargeback') d on true
left join lateral (
  select x.id, x.state from collection_cycles x
   where x.firm_id = i.firm_id and x.invoice_id = i.id order by x.seq desc limit 1) c on true;

-- R072: failures as a first-class list.
create view payment_failures with (security_invoker = true) as
select a.firm_id, a.id, c.invoice_id, a.cycle_id, a.step, a.trigger, a.state, a.failure_class, a.failure_code, a.decline_code,
       a.advice_code, a.network_decline_code, a.stripe_charge_id, a.amount_minor, a.created_at, a.resolved_at
from payment_attempts a join collection_cycles c on c.firm_id = a.firm_id and c.id = a.cycle_id
where a.state in ('declined', 'technical', 'unknown');

-- Row-level security, forced: the runtime roles own nothing, and even the owner sees one firm at a time.
do $$
declare t text;
begin
  for t in select c.table_name from information_schema.columns c join information_schema.tables b using (table_schema, table_name)
            where c.table_schema = 'public' and c.column_name = 'firm_id' and b.table_type = 'BASE TABLE'
              and c.table_name not in ('stripe_routes', 'stripe_events', 'jobs') loop
    execute format('alter table %I enable row level security', t);
    execute format('alter table %I force row level security', t);
    execute format('create policy tenant on %I using (firm_id = app.firm()) with check (firm_id = app.firm())', t);
    execute format('create policy scan on %I for select to quittance_scan using (true)', t);
    execute format('grant select on %I to quittance_scan', t);
  end loop;
end $$;
alter table firms enable row level security;
alter table firms force row level security;
create policy tenant on firms using (id = app.firm()) with check (id = app.firm());
create policy scan on firms for select to quittance_scan using (true);
grant select on firms, stripe_routes, clock to quittance_scan;                 -- clock: its functions ask app.now()

-- Inbox and queue belong to no firm at first: the programs that run them see all rows, everybody else one firm's.
do $$
declare t text;
begin
  foreach t in array array['stripe_events', 'jobs', 'stripe_routes'] loop
    execute format('alter table %I enable row level security', t);
    execute format('create policy tenant on %I for select using (firm_id = app.firm())', t);
    execute format('create policy runtime on %I to quittance_worker using (true) with check (true)', t);
    execute format('create policy scan on %I for select to quittance_scan using (true)', t);
  end loop;
end $$;
create policy door on stripe_events to quittance_ingress using (true) with check (state = 'pending' and via = 'webhook');
create policy door on jobs to quittance_ingress using (true) with check (kind = 'process_stripe_event' and state = 'available');

-- Narrow cross-firm reads: ids only.
create function app.firms() returns table (firm_id uuid, timezone text)
  language sql stable security definer set search_path = public, pg_temp as
$$ select id, timezone from firms order by number $$;

-- Cycles whose next attempt is due, with the order key of their customer's work. Those of a paused or parked firm or
-- client are left out, so that however many there are they hide nobody else's; they are due again when the pause ends.
create function app.due_cycles(as_of timestamptz, most int)
  returns table (firm_id uuid, cycle_id uuid, version int, order_key text)
  language sql stable security definer set search_path = public, pg_temp as
$$ select c.firm_id, c.id, c.version, coalesce('customer:' || cl.stripe_customer_id, 'client:' || cl.id)
     from collection_cycles c
     join invoices i on i.firm_id = c.firm_id and i.id = c.invoice_id
     join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
     join firms f on f.id = c.firm_id
    where c.state in ('scheduled', 'retry_wait') and c.next_attempt_at <= as_of
      and f.autopay_paused_at is null and f.parked_reason is null
      and cl.autopay_paused_at is null and cl.parked_reason is null
    order by c.next_attempt_at limit most $$;

-- Attempts whose end is not known, made or sent before `sent_before`, for the safety sweep.
create function app.open_outcomes(sent_before timestamptz, most int)
  returns table (firm_id uuid, cycle_id uuid, attempt_id uuid, order_key text)
  language sql stable security definer set search_path = public, pg_temp as
$$ select a.firm_id, a.cycle_id, a.id, coalesce('customer:' || cl.stripe_customer_id, 'client:' || cl.id)
     from payment_attempts a
     join collection_cycles c on c.firm_id = a.firm_id and c.id = a.cycle_id
     join invoices i on i.firm_id = c.firm_id and i.id = c.invoice_id
     join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
    where a.state in ('created', 'sent', 'processing', 'action_required', 'unknown')
      and coalesce(a.sent_at, a.created_at) < sent_before
    order by coalesce(a.sent_at, a.created_at) limit most $$;

-- What `doctor` counts over all firms. Names of firms are what their operator gave them; no client is named.
create function app.health() returns table (stopped_firms text[], stopped_clients bigint, bad_timezones text[], stale_unknown bigint,
                                            method_required bigint, action_required bigint, faulty_cycles bigint)
  language sql stable security definer set search_path = public, pg_temp as
$$ select
     array(select coalesce(external_id, id::text) from firms
            where autopay_paused_at is not null or invoicing_paused_at is not null or parked_reason is not null order by number),
     (select count(*) from clients where autopay_paused_at is not null or parked_reason is not null),
     array(select coalesce(external_id, id::text) from firms f
            where not exists (select 1 from pg_timezone_names z where z.name = f.timezone) order by number),
     (select count(*) from payment_attempts where state = 'unknown' and sent_at < app.now() - interval '15 minutes'),
     (select count(*) from collection_cycles where state = 'method_required'),
     (select count(*) from collection_cycles where state = 'action_required'),
     (select count(*) from collection_cycles where state = 'paused' and state_reason like 'rejected_request%') $$;

-- Any id in any of its forms → what it is and whose it is. More than one row means that it is ambiguous.
create function app.resolve(ref text) returns table (kind text, firm_id uuid, id uuid)
  language plpgsql stable security definer set search_path = public, pg_temp as $$
declare
  u uuid;
begin
  begin u := ref::uuid; exception when invalid_text_representation then u := null; end;
  return query
    select 'firm'::text, f.id, f.id from firms f where f.external_id = ref or f.id = u
    union select 'client', c.firm_id, c.id from clients c where c.external_id = ref
    union select 'client', c.firm_id, c.id from clients c where c.id = u
    union select 'engagement', e.firm_id, e.id from engagements e where e.external_id = ref
    union select 'engagement', e.firm_id, e.id from engagements e where e.id = u
    union select 'invoice', i.firm_id, i.id from invoices i where i.external_id = ref
    union select 'invoice', i.firm_id, i.id from invoices i where i.number = ref
    union select 'invoice', i.firm_id, i.id from invoices i where i.id = u
    union select r.kind, r.firm_id, r.our_id from stripe_routes r where r.stripe_id = ref;
end $$;

do $$
declare f text;
begin
  foreach f in array array['app.firms()', 'app.health()', 'app.due_cycles(timestamptz, int)', 'app.open_outcomes(timestamptz, int)', 'app.resolve(text)'] loop
    execute format('alter function %s owner to quittance_scan', f);
    execute format('revoke execute on function %s from public', f);
    execute format('grant execute on function %s to quittance_worker, quittance_portal', f);
  end loop;
end $$;

-- The door: may append an event and its job, and see no more of them than it needs to answer "duplicate".
grant insert on stripe_events, stripe_event_bodies, jobs to quittance_ingress;
grant select (stripe_event_id) on stripe_events to quittance_ingress;
grant select (stripe_event_id) on stripe_event_bodies to quittance_ingress;
grant select (id, kind, dedupe_key) on jobs to quittance_ingress;
grant select on installation, clock to quittance_ingress;

-- The workers.
grant select, insert, update, delete on all tables in schema public to quittance_worker;
grant usage on all sequences in schema public to quittance_worker;
revoke update, delete on payments, dispute_movements, audit_events from quittance_worker;
revoke delete on firms, clients, engagements, invoices, collection_cycles, payment_attempts, refunds, disputes, billing_periods, decisions,
  installation, clock, schedules, schedule_occurrences from quittance_worker;
revoke insert on installation, clock from quittance_worker;

grant select on all tables in schema public to quittance_readonly, quittance_portal;
revoke select on stripe_event_bodies from quittance_readonly, quittance_portal;
