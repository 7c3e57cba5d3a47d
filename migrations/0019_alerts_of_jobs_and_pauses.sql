-- Alerts that follow a row: a job that was given up, whoever gave it up; and a pause that was lifted, whoever lifted it.

-- One alert per firm and kind of job, however many are given up, and it ends with the last of them: tried again, or pruned.
create index jobs_discarded on jobs (kind, firm_id) where state = 'discarded';

create function app.alert_of_discarded_jobs() returns trigger language plpgsql as $$
declare
  topic constant text := 'job_discarded:' || old.kind;
  before constant text := coalesce(current_setting('app.firm_id', true), '');
begin
  -- Jobs are of all firms, and alerts are not.
  perform set_config('app.firm_id', coalesce(old.firm_id::text, ''), true);
  if tg_op = 'UPDATE' and new.state = 'discarded' then
    insert into alerts (id, firm_id, alert_type, severity, dedupe_key, title, message, related_data, cause_kind, cause_id, created_at, last_seen_at)
    values (gen_random_uuid(), old.firm_id, 'SYSTEM_ERROR', 'critical', topic, 'A job was given up',
            format('A job %s failed for good. `quittance explain` with its id says why; mend the cause and run it again.', old.kind),
            jsonb_build_object('kind', old.kind, 'last_job', old.id), 'job', old.id::text, app.now(), app.now())
    on conflict (firm_id, dedupe_key) where not is_resolved do update set
      occurrences = alerts.occurrences + 1, last_seen_at = excluded.last_seen_at, related_data = excluded.related_data,
      cause_kind = excluded.cause_kind, cause_id = excluded.cause_id;
  elsif not exists (select 1 from jobs j where j.kind = old.kind and j.firm_id is not distinct from old.firm_id and j.state = 'discarded') then
    update alerts set is_resolved = true, resolved_at = app.now(), resolved_by = 'system'
     where firm_id is not distinct from old.firm_id and dedupe_key = topic and not is_resolved;
  end if;
  perform set_config('app.firm_id', before, true);
  return null;
end $$;
create trigger alert_of_discarded after update of state on jobs for each row
  when (new.state is distinct from old.state and 'discarded' in (new.state, old.state)) execute function app.alert_of_discarded_jobs();
create trigger alert_of_discarded_deleted after delete on jobs for each row
  when (old.state = 'discarded') execute function app.alert_of_discarded_jobs();

-- A client's automatic payment goes on again.
create function app.settle_alert_of_pause() returns trigger language plpgsql as $$
begin
  update alerts set is_resolved = true, resolved_at = app.now(), resolved_by = 'system'
   where firm_id = new.firm_id and dedupe_key = 'client_paused:' || new.id and not is_resolved;
  return null;
end $$;
create trigger settle_alert_of_pause after update of autopay_paused_at on clients for each row
  when (old.autopay_paused_at is not null and new.autopay_paused_at is null) execute function app.settle_alert_of_pause();
