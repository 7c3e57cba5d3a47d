-- What operators do to jobs and to queues leaves a row that stays, as what they do to automatic charging does. A job of a firm is
-- in the firm's audit log too.
alter table installation_changes
  drop constraint installation_changes_action_check,
  add constraint installation_changes_action_check check (action in (
    'autopay.paused', 'autopay.resumed', 'queue.paused', 'queue.resumed', 'job.retried', 'job.canceled')),
  add column subject jsonb not null default '{}';           -- the queue; of jobs the ids or the filter, and how many they were

-- A pause that names no queue would hold back nothing, and whoever set it would not know.
alter table queue_pauses add constraint queue_pauses_queue_check check (queue in ('events', 'invoices', 'charges', 'maintenance'));

-- What metrics tell of all firms' money, counted every minute by each worker: numbers only, each from a partial index.
create index disputes_open on disputes (respond_by) where outcome is null;
create function app.measures() returns table (measure text, label text, value bigint)
  language sql stable security definer set search_path = public, pg_temp as
$$ select 'unknown_outcomes', '', count(*) from payment_attempts where state = 'unknown'
     union all select 'disputes_due_soon', '', count(*) from disputes where outcome is null and respond_by < app.now() + interval '72 hours'
     union all select 'finding', kind, count(*) from recon_findings where settled_at is null group by kind
     union all select 'alert', severity, count(*) from alerts where not is_resolved group by severity
     union all select 'autopay_paused', '', count(*) from installation where autopay_paused_at is not null $$;

-- What `doctor` counts over all firms for whoever wonders why nothing is invoiced or charged.
create function app.reasons_for_nothing() returns table (unsigned_engagements bigint, on_demand_engagements bigint, clients_without_autopay bigint,
                                                         clients_without_card bigint, not_opted_in bigint, overdue_cycles bigint)
  language sql stable security definer set search_path = public, pg_temp as
$$ select
     (select count(*) from engagements where status = 'draft' and starts_on <= app.now()::date),
     (select count(*) from engagements where status = 'signed' and cadence is null and starts_on <= app.now()::date
                                         and (ends_on is null or ends_on > app.now()::date)),
     (select count(*) from clients where stripe_customer_id is not null and not autopay_enabled),
     (select count(*) from clients c where c.autopay_enabled and not exists (
        select from payment_methods m where m.firm_id = c.firm_id and m.id = c.autopay_payment_method_id and m.status = 'active')),
     (select count(*) from invoices i where i.doc_state = 'issued' and not i.autopay_opt_in and i.due_date < app.now()::date
                                        and app.receivable(i.firm_id, i.id) > 0),
     (select count(*) from app.due_cycles(app.now() - interval '15 minutes', 100000)) $$;

grant execute on function app.receivable(uuid, uuid) to quittance_scan;

do $$
declare f text;
begin
  foreach f in array array['app.measures()', 'app.reasons_for_nothing()'] loop
    execute format('alter function %s owner to quittance_scan', f);
    execute format('revoke execute on function %s from public', f);
    execute format('grant execute on function %s to quittance_worker', f);
  end loop;
end $$;
