-- What an autoscaler may ask: two numbers, and nothing else. A role of its own, as `quittance_readonly` sees no jobs but those of one
-- firm at a time, and a scaler has no business with firms. Like the other roles it logs in nowhere.
do $$
begin
  create role quittance_scaler nologin;
exception when duplicate_object or unique_violation then null;
end $$;
grant usage on schema app to quittance_scaler;

-- Jobs that could run now, and for how many seconds the oldest of them has been due. Those of a queue that somebody paused are left
-- out: no worker may take them. Asked every few seconds, so it reads the index of what is due and counts no further than 100,000, which is
-- more than any number of workers is wanted for. Not `create function`: an installation may have it from a script of an earlier release.
create or replace function app.backlog(out due bigint, out oldest_secs bigint)
  language sql stable security definer set search_path = public, pg_temp as
$$ with moment as materialized (select app.now() as now),
        ready as (
          select j.run_at from jobs j, moment m
           where j.state in ('available', 'retryable') and j.run_at <= m.now
             and not exists (select from queue_pauses p where p.queue = j.queue)
           limit 100000)
   select count(*), coalesce(extract(epoch from (select now from moment) - min(run_at)), 0)::bigint from ready $$;

grant select on queue_pauses to quittance_scan;
alter function app.backlog() owner to quittance_scan;
revoke execute on function app.backlog() from public;
grant execute on function app.backlog() to quittance_scaler, quittance_worker;
