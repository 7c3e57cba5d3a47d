-- Replay of events, and backfill of what was never delivered.

-- Who had events processed again, which and why. The events of a firm are in its audit log too; an event may have none yet.
create table event_replays (
  id uuid primary key,                                      -- the run of the command; cause of its audit entries
  requested_by text not null,
  reason text not null,
  chosen jsonb not null,                                    -- the ids, or the filter
  events int not null,
  requested_at timestamptz not null                         -- business clock
);
create trigger append_only before update or delete on event_replays for each row execute function app.append_only();
create trigger no_truncate before truncate on event_replays for each statement execute function app.append_only();
grant select on event_replays to quittance_worker, quittance_readonly;
grant insert on event_replays to quittance_worker;

-- Up to which moment (by Stripe's clock) a list of Stripe's was read: what was created before is here.
create table backfill_progress (
  list text primary key,                                    -- events, charges, refunds, disputes
  read_until timestamptz not null,
  updated_at timestamptz not null                           -- business clock
);
grant select on backfill_progress to quittance_worker, quittance_readonly;
grant insert, update on backfill_progress to quittance_worker;

-- Narrow cross-firm reads for the backfill: Stripe's ids and times only. What is compared comes from Stripe's lists.

-- What an event that waits in the inbox is about is looked at anyway.
create function app.is_told_of(ids text[]) returns boolean
  language sql stable set search_path = public, pg_temp as
$$ select exists (select from stripe_events e where e.object_id = any(ids) and e.state = 'pending') $$;
revoke execute on function app.is_told_of(text[]) from public;
grant execute on function app.is_told_of(text[]) to quittance_scan;
grant select on stripe_events to quittance_scan;

-- Charges of our intents whose outcome, or whose fee, is not in the books.
create function app.charges_to_look_at(seen jsonb) returns setof text
  language sql stable security definer set search_path = public, pg_temp as
$$ select s.id from jsonb_to_recordset(seen) as s (id text, intent text, captured boolean, failed boolean, fee boolean)
     join stripe_routes r on r.stripe_id = s.intent and r.kind = 'payment_intent' and r.scope = 'client_billing'
     left join payments p on p.stripe_charge_id = s.id
    where ((s.captured and p.id is null)
           or (s.fee and p.id is not null
               and not exists (select from processor_fees f where f.firm_id = p.firm_id and f.payment_id = p.id))
           -- A failure matters to an attempt that has no end yet; what a client has tried by itself is of no consequence.
           or (s.failed
               and exists (select from payment_attempts a
                            where a.firm_id = r.firm_id and a.cycle_id = r.our_id
                              and a.state in ('created', 'sent', 'processing', 'action_required', 'unknown'))
               and not exists (select from payment_attempts a where a.stripe_charge_id = s.id)))
      and not app.is_told_of(array[s.id, s.intent]) $$;

-- Refunds of our charges that the books do not know, or know in another state.
create function app.refunds_to_look_at(seen jsonb) returns setof text
  language sql stable security definer set search_path = public, pg_temp as
$$ select s.id from jsonb_to_recordset(seen) as s (id text, charge text, intent text, state text)
    where exists (select from stripe_routes r where r.stripe_id in (s.charge, s.intent) and r.scope = 'client_billing')
      and not exists (select from refunds f where f.stripe_refund_id = s.id and f.state = s.state)
      and not app.is_told_of(array[s.id, s.charge]) $$;

-- Disputes of our charges that the books do not know, know with another status, or without all their movements.
create function app.disputes_to_look_at(seen jsonb) returns setof text
  language sql stable security definer set search_path = public, pg_temp as
$$ select s.id from jsonb_to_recordset(seen) as s (id text, charge text, intent text, status text, movements int)
     left join disputes d on d.stripe_dispute_id = s.id
    where exists (select from stripe_routes r where r.stripe_id in (s.charge, s.intent) and r.scope = 'client_billing')
      and (d.id is null or d.stripe_status <> s.status
           or (select count(distinct m.stripe_balance_transaction_id) from dispute_movements m
                where m.firm_id = d.firm_id and m.dispute_id = d.id) < s.movements)
      and not app.is_told_of(array[s.id, s.charge, s.intent]) $$;

-- Intents with an attempt whose end is not known, made or sent before `sent_before`.
create function app.open_intents(sent_before timestamptz, most int) returns setof text
  language sql stable security definer set search_path = public, pg_temp as
$$ select c.stripe_payment_intent_id from payment_attempts a
     join collection_cycles c on c.firm_id = a.firm_id and c.id = a.cycle_id
    where a.state in ('created', 'sent', 'processing', 'action_required', 'unknown')
      and coalesce(a.sent_at, a.created_at) < sent_before and c.stripe_payment_intent_id is not null
    order by coalesce(a.sent_at, a.created_at) limit most $$;

-- Since when the oldest refund that is under way, and the oldest dispute that is open, have been so.
create function app.oldest_open_at_stripe() returns table (refund timestamptz, dispute timestamptz)
  language sql stable security definer set search_path = public, pg_temp as
$$ select (select min(created_at) from refunds where state in ('requested', 'pending') and destination = 'card'),
          (select min(opened_at) from disputes where outcome is null) $$;

-- What events lead to, as one hash per kind of fact: everything but our own ids of it and the times at which we wrote it.
create function app.state_hashes() returns table (facts text, rows bigint, hash text)
  language sql stable security definer set search_path = public, pg_temp as
$$ with line (facts, text) as (
     select 'payments', concat_ws('|', stripe_charge_id, external_ref, invoice_id, amount_minor, currency) from payments
     union all select 'refunds', concat_ws('|', stripe_refund_id, destination, amount_minor, currency, state) from refunds
     union all select 'disputes', concat_ws('|', stripe_dispute_id, stripe_status, kind, outcome, amount_minor, currency) from disputes
     union all select 'dispute_movements', concat_ws('|', stripe_balance_transaction_id, kind, amount_minor, currency) from dispute_movements
     union all select 'processor_fees', concat_ws('|', stripe_balance_transaction_id, amount_minor, currency) from processor_fees
     union all select 'collection_cycles', concat_ws('|', id, state, state_reason, next_step, stripe_payment_intent_id) from collection_cycles
     union all select 'payment_attempts',
       concat_ws('|', cycle_id, seq, step, state, failure_class, failure_code, decline_code, stripe_charge_id, amount_minor) from payment_attempts
     union all select 'invoices', concat_ws('|', id, doc_state, fenced_reason) from invoices
     union all select 'payment_methods', concat_ws('|', id, to_jsonb(m) ->> 'status') from payment_methods m
     union all select 'clients', concat_ws('|', id, autopay_paused_at is not null, parked_reason) from clients
     union all select 'ledger', concat_ws('|', firm_id, account, currency, sum(amount_minor)) from postings group by firm_id, account, currency
   )
   select l.facts, count(*), encode(sha256(convert_to(string_agg(l.text, E'\n' order by l.text collate "C"), 'UTF8')), 'hex')
     from line l group by l.facts order by l.facts $$;

do $$
declare f text;
begin
  foreach f in array array['app.charges_to_look_at(jsonb)', 'app.refunds_to_look_at(jsonb)', 'app.disputes_to_look_at(jsonb)',
                           'app.open_intents(timestamptz, int)', 'app.oldest_open_at_stripe()', 'app.state_hashes()'] loop
    execute format('alter function %s owner to quittance_scan', f);
    execute format('revoke execute on function %s from public', f);
    execute format('grant execute on function %s to quittance_worker', f);
  end loop;
end $$;

-- What the transaction under way has written: every row of every table that it may see, as it is now. For a dry run, which
-- really does a thing and then undoes it. The inbox's own row and the marks for sealing are beside the point.
create function app.written_here() returns table (relation text, key jsonb, after jsonb)
  language plpgsql set search_path = public, pg_temp as $$
declare
  t record;
begin
  for t in
    select c.relname, array_agg(a.attname::text) as columns
      from pg_stat_xact_user_tables s
      join pg_class c on c.oid = s.relid
      join pg_index i on i.indrelid = c.oid and i.indisprimary
      join pg_attribute a on a.attrelid = c.oid and a.attnum = any(i.indkey)
     -- Where nobody counts, any table may have been written.
     where s.schemaname = 'public' and (s.n_tup_ins + s.n_tup_upd > 0 or not current_setting('track_counts')::boolean)
       and c.relname not in ('stripe_events', 'audit_unsealed', 'job_runs')
     group by c.relname order by c.relname
  loop
    return query execute format(
      'select %L::text, (select jsonb_object_agg(k, to_jsonb(r) -> k) from unnest($1) k), to_jsonb(r)
         from public.%I r where r.xmin = pg_current_xact_id()::xid', t.relname, t.relname) using t.columns;
  end loop;
end $$;

-- The same rows as everybody else sees them, so that both can be compared: none where the row is new.
create function app.rows_by_key(relation text, keys jsonb) returns table (key jsonb, row_now jsonb)
  language plpgsql stable set search_path = public, pg_temp as $$
declare
  columns text[];
begin
  select array_agg(k) into columns from jsonb_object_keys(keys -> 0) k;
  return query execute format(
    'select (select jsonb_object_agg(k, to_jsonb(r) -> k) from unnest($2) k), to_jsonb(r)
       from public.%I r join jsonb_populate_recordset(null::public.%I, $1) as wanted using (%s)',
    relation, relation, (select string_agg(quote_ident(k), ', ') from unnest(columns) k)) using keys, columns;
end $$;
revoke execute on function app.written_here(), app.rows_by_key(text, jsonb) from public;
grant execute on function app.written_here(), app.rows_by_key(text, jsonb) to quittance_worker;
