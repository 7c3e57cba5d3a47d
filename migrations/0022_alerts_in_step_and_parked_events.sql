-- What a review of 0019 and 0020 found: an alert that ended while the next job of its kind was being given up, and events that were
-- taken for being looked at although the job that would look had been given up.

create or replace function app.alert_of_discarded_jobs() returns trigger language plpgsql as $$
declare
  topic constant text := 'job_discarded:' || old.kind;
  before constant text := coalesce(current_setting('app.firm_id', true), '');
begin
  -- Jobs are of all firms, and alerts are not.
  perform set_config('app.firm_id', coalesce(old.firm_id::text, ''), true);
  if tg_op = 'UPDATE' and new.state = 'discarded' then
    insert into alerts (id, firm_id, alert_type, severity, dedupe_key, title, message, related_data, cause_kind, cause_id, created_at, last_seen_at)
    values (gen_random_uuid(), old.firm_id, 'SYSTEM_ERROR', 'critical', topic, 'A job was given up',
            format('A job %s failed for good. `quittance explain` with its id says why.', old.kind),
            jsonb_build_object('kind', old.kind, 'last_job', old.id), 'job', old.id::text, app.now(), app.now())
    on conflict (firm_id, dedupe_key) where not is_resolved do update set
      occurrences = alerts.occurrences + 1, last_seen_at = excluded.last_seen_at, related_data = excluded.related_data,
      cause_kind = excluded.cause_kind, cause_id = excluded.cause_id;
    perform set_config('app.firm_id', before, true);
    return null;
  end if;
  -- Whoever gives up another job of the kind right now holds this row: only after that one's end can be seen whether any is left.
  perform 1 from alerts where firm_id is not distinct from old.firm_id and dedupe_key = topic and not is_resolved for update;
  if not exists (select 1 from jobs j where j.kind = old.kind and j.firm_id is not distinct from old.firm_id and j.state = 'discarded') then
    update alerts set is_resolved = true, resolved_at = app.now(), resolved_by = 'system'
     where firm_id is not distinct from old.firm_id and dedupe_key = topic and not is_resolved;
  end if;
  perform set_config('app.firm_id', before, true);
  return null;
end $$;

-- What an event that waits in the inbox is about is looked at anyway, as long as its job has not been given up.
create or replace function app.is_told_of(ids text[]) returns boolean
  language sql stable set search_path = public, pg_temp as
$$ select exists (select from stripe_events e where e.object_id = any(ids) and e.state = 'pending'
                    and exists (select from jobs j where j.kind = 'process_stripe_event' and j.dedupe_key = e.stripe_event_id
                                   and j.state in ('available', 'retryable', 'running'))) $$;
grant select on jobs to quittance_scan;
