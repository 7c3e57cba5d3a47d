-- What a review found: work that begins anew instead of going on, and changes that are not whole.

-- A pass over one list of Stripe's that has not come to its end. The next run, or the next attempt of the command's job, goes
-- on with it; a big account may take several.
create table backfill_passes (
  list text not null,                                       -- charges, refunds, disputes, payment_intents
  of_job uuid not null,                                     -- the command's job; zeros: the daily pass, which any run goes on with
  pass uuid not null,
  from_at timestamptz not null,                             -- what was created from then on is read (Stripe's clock) …
  before_at timestamptz not null,                           -- … and before then, which does not move while the pass lasts
  newest_at timestamptz,                                    -- the newest that was seen
  reached_at timestamptz,                                   -- lists are read from new to old, as far as this; intents from old to new
  updated_at timestamptz not null,                          -- business clock
  primary key (list, of_job)
);
grant select on backfill_passes to quittance_worker, quittance_readonly;
grant insert, update, delete on backfill_passes to quittance_worker;

-- Intents with an attempt whose end is not known, made or sent before `sent_before`, the oldest first, page by page: those
-- after the attempt (`after_at`, `after_id`). With what we know of it.
create function app.open_intents_after(sent_before timestamptz, after_at timestamptz, after_id uuid, most int)
  returns table (intent text, state text, since timestamptz, attempt_id uuid)
  language sql stable security definer set search_path = public, pg_temp as
$$ select c.stripe_payment_intent_id, a.state, coalesce(a.sent_at, a.created_at), a.id from payment_attempts a
     join collection_cycles c on c.firm_id = a.firm_id and c.id = a.cycle_id
    where a.state in ('created', 'sent', 'processing', 'action_required', 'unknown')
      and coalesce(a.sent_at, a.created_at) < sent_before and c.stripe_payment_intent_id is not null
      and (after_at is null or (coalesce(a.sent_at, a.created_at), a.id) > (after_at, after_id))
    order by coalesce(a.sent_at, a.created_at), a.id limit most $$;
alter function app.open_intents_after(timestamptz, timestamptz, uuid, int) owner to quittance_scan;
revoke execute on function app.open_intents_after(timestamptz, timestamptz, uuid, int) from public;
grant execute on function app.open_intents_after(timestamptz, timestamptz, uuid, int) to quittance_worker;

-- What is changed for everybody stands in each firm's own audit, by the transaction that changes it. As whoever calls, firm by
-- firm: each row is written under its own firm, as any other.
create function app.audit_every_firm(at timestamptz, category text, action text, severity text, actor_kind text, actor_id text,
                                     cause_kind text, cause_id text, meta jsonb) returns int
  language plpgsql set search_path = public, pg_temp as $$
declare
  before constant text := coalesce(current_setting('app.firm_id', true), '');
  firm uuid;
  told int := 0;
begin
  for firm in select f.firm_id from app.firms() f loop
    perform set_config('app.firm_id', firm::text, true);
    insert into audit_events (firm_id, at, category, action, severity, actor_kind, actor_id, subject_kind, subject_id, cause_kind,
                              cause_id, meta)
    values (firm, at, category, action, severity, actor_kind, actor_id, 'firm', firm, cause_kind, cause_id, meta);
    told := told + 1;
  end loop;
  perform set_config('app.firm_id', before, true);
  return told;
end $$;
revoke execute on function app.audit_every_firm(timestamptz, text, text, text, text, text, text, text, jsonb) from public;
grant execute on function app.audit_every_firm(timestamptz, text, text, text, text, text, text, text, jsonb) to quittance_worker;

-- What a firm is told of its days (A-26). None where null.
alter table firms
  add column alert_failure_rate_percent int default 10 check (alert_failure_rate_percent between 1 and 100),
  add column alert_failures_in_row int default 3 check (alert_failures_in_row > 0),
  add column alert_daily_summary boolean not null default true;
alter table alerts drop constraint alerts_alert_type_check;
alter table alerts add constraint alerts_alert_type_check check (alert_type in (
  'AGENT_OFFLINE', 'AGENT_NEVER_SYNCED', 'PAYMENT_FAILED', 'SUBSCRIPTION_EXPIRING', 'USAGE_HIGH', 'POLICY_CHANGED', 'SYSTEM_ERROR',
  'SUBSCRIPTION_CANCELLED', 'DISPUTE_OPENED', 'RETRY_EXHAUSTED', 'DRIFT_DETECTED', 'DAILY_SUMMARY'));

-- A cycle also keeps the retry policy that it began with: the steps that the client has been told of are never moved (A-11).
create or replace function app.cycle_guard() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' then
    raise exception 'collection cycles are history' using errcode = 'QT010';
  end if;
  if old.state = 'succeeded' and new.state <> 'succeeded' then
    raise exception 'a succeeded collection cycle stays succeeded' using errcode = 'QT010';
  end if;
  if old.stripe_payment_intent_id is not null and new.stripe_payment_intent_id is distinct from old.stripe_payment_intent_id then
    raise exception 'a collection cycle keeps its PaymentIntent' using errcode = 'QT010';
  end if;
  if new.policy is distinct from old.policy then
    raise exception 'a collection cycle keeps its retry policy' using errcode = 'QT010';
  end if;
  if old.state in ('exhausted', 'canceled') and new.state not in (old.state, 'succeeded') then
    raise exception 'collection cycle already ended as %', old.state using errcode = 'QT010';
  end if;
  new.version := old.version + 1;
  return new;
end $$;

-- The daily comparison's own log, a row per firm and day. What it found is kept, with the run that found it first, and stands in
-- the audit; a run that found nothing new may go after a quarter.
create function app.recon_run_guard() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' or old.run_at > app.now() - interval '90 days' then
    raise exception 'a comparison is history' using errcode = 'QT010';
  end if;
  return old;
end $$;
drop trigger append_only on recon_runs;
create trigger recon_run_guard before update or delete on recon_runs for each row execute function app.recon_run_guard();
grant delete on recon_runs to quittance_worker;

-- Removes some of them, firm by firm; as whoever calls. Returns how many.
create function app.prune_recon_runs(before timestamptz, most bigint) returns bigint
  language plpgsql set search_path = public, pg_temp as $$
declare
  was constant text := coalesce(current_setting('app.firm_id', true), '');
  firm uuid;
  gone bigint := 0;
  n bigint;
begin
  for firm in select f.firm_id from app.firms() f loop
    exit when gone >= most;
    perform set_config('app.firm_id', firm::text, true);
    delete from recon_runs d where d.firm_id = firm and d.id in (
      select r.id from recon_runs r
       where r.firm_id = firm and r.run_at < before
         and not exists (select from recon_findings f where f.firm_id = r.firm_id and f.run_id = r.id)
       order by r.run_at limit most - gone);
    get diagnostics n = row_count;
    gone := gone + n;
  end loop;
  perform set_config('app.firm_id', was, true);
  return gone;
end $$;
revoke execute on function app.prune_recon_runs(timestamptz, bigint) from public;
grant execute on function app.prune_recon_runs(timestamptz, bigint) to quittance_worker;
