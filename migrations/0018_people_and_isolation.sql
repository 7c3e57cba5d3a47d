-- People are who they are, by whichever of their names they are called; and the tables that belong to no firm at first keep
-- firms apart too.

-- The user of a firm that a name means: an id, or an external id. Null for a name that is no user's.
create function app.user_named(firm uuid, called text) returns uuid language sql stable as
$$ select u.id from users u where u.firm_id = firm and (u.external_id = called
     or u.id = case when called ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then called::uuid end)
    order by u.external_id is not distinct from called limit 1 $$;

-- Whether two names mean one person.
create function app.same_person(firm uuid, one text, other text) returns boolean language sql stable as
$$ select coalesce(one = other or app.user_named(firm, one) = app.user_named(firm, other), false) $$;

-- As in 0015, and: four eyes are two people, and a client has none of them (R050).
create or replace function app.credit_lot_guard() returns trigger language plpgsql as $$
begin
  if new.source in ('goodwill', 'promotional', 'correction') and exists (
      select 1 from users u where u.firm_id = new.firm_id and u.role = 'client'
         and u.id in (app.user_named(new.firm_id, new.issued_by), app.user_named(new.firm_id, new.approved_by))) then
    raise exception 'a user of a client neither gives credit nor approves it' using errcode = 'QT017';
  end if;
  -- That the names differ is a check of the table (0011).
  if new.source in ('goodwill', 'correction') and new.issued_by <> new.approved_by and app.same_person(new.firm_id, new.issued_by, new.approved_by) then
    raise exception 'whoever gives credit cannot approve it' using errcode = 'QT017';
  end if;
  if new.refund_id is not null and not exists (
      select 1 from refunds r join payments p on p.firm_id = r.firm_id and p.id = r.payment_id
       where r.firm_id = new.firm_id and r.id = new.refund_id and r.destination = 'credit'
         and r.amount_minor = new.amount_minor and r.currency = new.currency and p.client_id = new.client_id) then
    raise exception 'credit for a refund is what a refund to credit gives back, to the client who paid' using errcode = 'QT017';
  end if;
  -- What a payment was too much is booked by the payment itself; a lot for it without that booking would be worth nothing.
  if new.payment_id is not null and not exists (
      select 1 from payments x
        join journals j on j.firm_id = x.firm_id and j.source_key = case when x.method = 'external'
               then 'ext:' || coalesce(x.external_ref, x.id::text) else 'ch:' || x.stripe_charge_id end
        join postings p on p.firm_id = j.firm_id and p.journal_id = j.id
       where x.firm_id = new.firm_id and x.id = new.payment_id and x.client_id = new.client_id
         and p.account = 'client_credit' and p.amount_minor = -new.amount_minor and p.currency = new.currency) then
    raise exception 'credit for a payment is what the payment was too much' using errcode = 'QT017';
  end if;
  return new;
end $$;

-- As in 0012, but for who is who.
create or replace function app.time_guard() returns trigger language plpgsql as $$
declare
  of_client constant text[] := array['client_approved_by', 'client_approved_at'];
begin
  if tg_op <> 'INSERT' and exists (
      select 1 from invoice_lines l where l.firm_id = old.firm_id and l.time_entry_id = old.id and l.released_at is null) then
    raise exception 'time entry is on an invoice' using errcode = 'QT015';
  end if;
  if tg_op = 'DELETE' then
    if old.state = 'approved' then
      raise exception 'approved time must be reopened before it is deleted' using errcode = 'QT015';
    end if;
    return old;
  end if;
  if tg_op = 'UPDATE' then
    if (new.firm_id, new.id) is distinct from (old.firm_id, old.id) then
      raise exception 'a time entry keeps its id' using errcode = 'QT015';
    end if;
    if old.state = 'approved' and new.state = 'approved' and (to_jsonb(new) - of_client) is distinct from (to_jsonb(old) - of_client) then
      raise exception 'approved time must be reopened before editing' using errcode = 'QT015';
    end if;
    if not ((old.state, new.state) in (
        ('draft', 'draft'), ('draft', 'submitted'), ('draft', 'approved'), ('draft', 'rejected'),
        ('submitted', 'submitted'), ('submitted', 'draft'), ('submitted', 'approved'), ('submitted', 'rejected'),
        ('rejected', 'rejected'), ('rejected', 'draft'), ('approved', 'approved'), ('approved', 'draft'))) then
      raise exception 'time entry cannot go from % to %', old.state, new.state using errcode = 'QT015';
    end if;
  end if;
  if new.client_approved_at is not null and new.state not in ('submitted', 'approved') then
    raise exception 'a client approves time that is submitted or approved, this is %', new.state using errcode = 'QT015';
  end if;
  if new.state = 'approved' and (tg_op = 'INSERT' or old.state <> 'approved') then
    if app.same_person(new.firm_id, new.approved_by, new.worker)
       and not (select f.allow_self_approval from firms f where f.id = new.firm_id) then
      raise exception 'this firm lets nobody approve their own time' using errcode = 'QT015';
    end if;
    if exists (select 1 from users u where u.firm_id = new.firm_id and u.role = 'client' and u.id = app.user_named(new.firm_id, new.approved_by)) then
      raise exception 'a client approves no time for the firm' using errcode = 'QT015';
    end if;
  end if;
  return new;
end $$;

-- Inbox, queue and routes. Their programs look across firms when they have set none: an event is nobody's until it is read, and
-- the relay takes jobs as they come. Once a firm is set, they too see and write its rows alone, beside those that are nobody's.
do $$
declare t text;
begin
  foreach t in array array['stripe_events', 'jobs', 'stripe_routes'] loop
    execute format('drop policy runtime on %I', t);
    execute format('create policy runtime on %I to quittance_worker using ((select app.firm()) is null or firm_id is null or firm_id = (select app.firm()))', t);
    execute format('alter table %I force row level security', t);
  end loop;
end $$;
drop policy door on stripe_events;
create policy door on stripe_events to quittance_ingress using (true) with check (state = 'pending' and via = 'webhook' and firm_id is null);
drop policy door on jobs;
create policy door on jobs to quittance_ingress using (true) with check (kind = 'process_stripe_event' and state = 'available' and firm_id is null);

-- What `doctor` counts over all firms: cycles that stand still until a person or a change lets them go on, by why.
create function app.paused_cycles() returns table (reason text, cycles bigint)
  language sql stable security definer set search_path = public, pg_temp as
$$ select split_part(coalesce(state_reason, 'unknown'), ':', 1), count(*) from collection_cycles where state = 'paused' group by 1 order by 1 $$;
alter function app.paused_cycles() owner to quittance_scan;
revoke execute on function app.paused_cycles() from public;
grant execute on function app.paused_cycles() to quittance_worker, quittance_portal;
