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
