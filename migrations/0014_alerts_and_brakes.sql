-- Alerts: what a person should look at. Brakes: stopping automatic charging, and limits beyond which it stops by itself.
--
-- One failure is one alert: while an alert is open, the same again only counts it up (B-23). An alert is raised in the
-- transaction of its cause, and what settles it resolves it, whoever writes that: see the triggers below.
create table alerts (
  id uuid primary key,
  firm_id uuid references firms,                            -- null: about no firm that is known (the worker role sees these)
  alert_type text not null check (alert_type in (
    'AGENT_OFFLINE', 'AGENT_NEVER_SYNCED', 'PAYMENT_FAILED', 'SUBSCRIPTION_EXPIRING', 'USAGE_HIGH', 'POLICY_CHANGED', 'SYSTEM_ERROR',
    'SUBSCRIPTION_CANCELLED', 'DISPUTE_OPENED', 'RETRY_EXHAUSTED', 'DRIFT_DETECTED')),
  severity text not null check (severity in ('info', 'warning', 'critical')),
  dedupe_key text not null,                                 -- names what is wrong, not when it was seen
  title text not null check (title <> ''), message text not null,
  user_id uuid,                                             -- whom it is for; everybody who may see the firm's unless told
  invoice_id uuid,
  related_employee_id bigint,
  related_data jsonb not null default '{}',                 -- ids, amounts, codes, times
  occurrences int not null default 1 check (occurrences > 0),
  is_read boolean not null default false, read_at timestamptz, read_by text,
  is_resolved boolean not null default false, resolved_at timestamptz, resolved_by text,
  cause_kind text not null, cause_id text not null,         -- event, job or command that raised it last
  created_at timestamptz not null, last_seen_at timestamptz not null,      -- business clock
  unique (firm_id, id),
  foreign key (firm_id, user_id) references users (firm_id, id),
  foreign key (firm_id, invoice_id) references invoices (firm_id, id),
  check (is_read = (read_at is not null)),
  check (is_resolved = (resolved_at is not null))
);
create unique index one_open_alert on alerts (firm_id, dedupe_key) nulls not distinct where not is_resolved;
create index alerts_by_time on alerts (firm_id, created_at, id);
create index alerts_open_by_invoice on alerts (firm_id, invoice_id) where not is_resolved and invoice_id is not null;

call app.protect_firm_table('alerts');
create policy installation on alerts to quittance_worker using (firm_id is null) with check (firm_id is null);
grant insert, update on alerts to quittance_worker;

-- The worse of two severities.
create function app.worse(a text, b text) returns text language sql immutable parallel safe as
$$ select case when 'critical' in (a, b) then 'critical' when 'warning' in (a, b) then 'warning' else 'info' end $$;

-- Only its being read or resolved, and its being seen again, changes an alert; and a resolved one stays as it was.
create function app.alert_guard() returns trigger language plpgsql as $$
declare
  mutable constant text[] := array['severity', 'title', 'message', 'related_data', 'occurrences', 'is_read', 'read_at', 'read_by',
                                   'is_resolved', 'resolved_at', 'resolved_by', 'cause_kind', 'cause_id', 'last_seen_at'];
  readable constant text[] := array['is_read', 'read_at', 'read_by'];
begin
  if tg_op = 'DELETE' or (to_jsonb(new) - mutable) is distinct from (to_jsonb(old) - mutable)
     or old.is_resolved and (to_jsonb(new) - readable) is distinct from (to_jsonb(old) - readable) then
    raise exception 'alerts are history' using errcode = 'QT010';
  end if;
  return new;
end $$;
create trigger alert_guard before update or delete on alerts for each row execute function app.alert_guard();
create trigger no_truncate before truncate on alerts for each statement execute function app.append_only();

-- Alerts about the collection of an invoice, as opposed to those about money that came or went.
create function app.settle_alerts(firm uuid, invoice uuid, types text[]) returns void language sql as
$$ update alerts set is_resolved = true, resolved_at = app.now(), resolved_by = 'system'
    where firm_id = firm and invoice_id = invoice and not is_resolved and alert_type = any(types) $$;

-- A cycle that ended has no failure that anybody waits for; one that goes on is stopped no more; one that is exhausted
-- has an alert of its own.
create function app.settle_alerts_of_cycle() returns trigger language plpgsql as $$
begin
  if new.state in ('succeeded', 'canceled') then
    perform app.settle_alerts(new.firm_id, new.invoice_id, array['PAYMENT_FAILED', 'RETRY_EXHAUSTED', 'SYSTEM_ERROR']);
  elsif new.state = 'exhausted' then
    perform app.settle_alerts(new.firm_id, new.invoice_id, array['PAYMENT_FAILED', 'SYSTEM_ERROR']);
  elsif old.state = 'paused' then
    perform app.settle_alerts(new.firm_id, new.invoice_id, array['SYSTEM_ERROR']);
  end if;
  return null;
end $$;
create trigger settle_alerts after update of state on collection_cycles for each row
  when (new.state is distinct from old.state) execute function app.settle_alerts_of_cycle();

-- Nothing is open any more, by whatever fact: paid by card or otherwise, credited, void, written off.
create function app.settle_alerts_of_invoices() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
begin
  perform app.settle_alerts(s.firm_id, s.invoice_id, array['PAYMENT_FAILED', 'RETRY_EXHAUSTED', 'SYSTEM_ERROR'])
     from (select distinct j.firm_id, j.invoice_id
             from added p join journals j on j.firm_id = p.firm_id and j.id = p.journal_id
            where p.account = 'receivable' and p.amount_minor < 0 and j.invoice_id is not null) s
    where app.receivable(s.firm_id, s.invoice_id) <= 0;
  return null;
end $$;
create trigger settle_alerts after insert on postings referencing new table as added
  for each statement execute function app.settle_alerts_of_invoices();

-- A person decided what becomes of a lost dispute.
create function app.settle_alerts_of_resolution() returns trigger language plpgsql as $$
begin
  update alerts set is_resolved = true, resolved_at = app.now(), resolved_by = new.resolved_by
   where firm_id = new.firm_id and not is_resolved
     and dedupe_key = (select 'dispute:' || stripe_dispute_id from disputes where firm_id = new.firm_id and id = new.dispute_id);
  return null;
end $$;
create trigger settle_alerts after insert on dispute_resolutions for each row execute function app.settle_alerts_of_resolution();

-- Stops automatic charging everywhere; a firm's and a client's own are columns of theirs (0002).
-- `brake` counts how often anybody stopped it, anywhere: a worker that is about to send a confirmation looks whether it
-- is the number that it was when the confirmation was decided.
alter table installation add column autopay_paused_at timestamptz, add column autopay_paused_reason text,
  add column brake bigint not null default 0,
  add check ((autopay_paused_at is null) = (autopay_paused_reason is null));
grant select on installation to quittance_scan;

-- Who stopped it everywhere and who let it go on. What is one firm's is in its audit.
create table installation_changes (
  id bigint generated always as identity primary key,
  at timestamptz not null,                                  -- business clock
  action text not null check (action in ('autopay.paused', 'autopay.resumed')),
  reason text not null,
  changed_by text not null,
  cause_id text not null                                    -- the run of the command
);
create trigger append_only before update or delete on installation_changes for each row execute function app.append_only();
create trigger no_truncate before truncate on installation_changes for each statement execute function app.append_only();
grant select on installation_changes to quittance_worker, quittance_portal, quittance_readonly;
grant insert on installation_changes to quittance_worker;

-- Limits of automatic charging; none where null. The first is in the firm's default currency.
alter table firms add column max_charge_minor bigint check (max_charge_minor > 0),
  add column max_charges_per_run int check (max_charges_per_run > 0);
create index payment_attempts_by_time on payment_attempts (firm_id, created_at);

-- As in 0008 and 0010, and nothing is due or reviewed while automatic charging is stopped everywhere.
create or replace function app.due_cycles(as_of timestamptz, most int)
  returns table (firm_id uuid, cycle_id uuid, version int, order_key text)
  language sql stable security definer set search_path = public, pg_temp as
$$ select c.firm_id, c.id, c.version, coalesce('customer:' || cl.stripe_customer_id, 'client:' || cl.id)
     from collection_cycles c
     join invoices i on i.firm_id = c.firm_id and i.id = c.invoice_id
     join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
     join firms f on f.id = c.firm_id
    where c.state in ('scheduled', 'retry_wait') and c.next_attempt_at <= as_of
      and (select autopay_paused_at from installation) is null
      and f.autopay_paused_at is null and f.parked_reason is null
      and cl.autopay_paused_at is null and cl.parked_reason is null
    order by c.next_attempt_at limit most $$;

create or replace function app.standing_cycles(as_of timestamptz, most int)
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
      and (select autopay_paused_at from installation) is null
      and f.autopay_paused_at is null and f.parked_reason is null
      and cl.autopay_paused_at is null and cl.parked_reason is null
    order by c.created_at limit most $$;

-- As app.resolve, for rows that only we give an id to, and for a charge that took no money, which has no route. A firm of null
-- is the installation.
create function app.resolve_fact(ref text) returns table (kind text, firm_id uuid, id uuid)
  language plpgsql stable security definer set search_path = public, pg_temp as $$
declare
  u uuid;
begin
  begin u := ref::uuid; exception when invalid_text_representation then u := null; end;
  return query
    select 'alert'::text, a.firm_id, a.id from alerts a where a.id = u
    union all select 'cycle', c.firm_id, c.id from collection_cycles c where c.id = u
    union all select 'attempt', a.firm_id, a.id from payment_attempts a where a.id = u
    union all select 'attempt', a.firm_id, a.id from payment_attempts a
      where a.stripe_charge_id = ref and not exists (select 1 from stripe_routes r where r.stripe_id = ref)
    union all select 'journal', j.firm_id, j.id from journals j where j.id = u;
end $$;
alter function app.resolve_fact(text) owner to quittance_scan;
revoke execute on function app.resolve_fact(text) from public;
grant execute on function app.resolve_fact(text) to quittance_worker, quittance_portal;
