-- What the autoscaler may ask: two numbers, and nothing else. Run once as the owner of the database, after `quittance migrate`:
--
--   psql "$OWNER_URL" -v login=quittance_scaler_login -f scaler-role.sql
--
-- The login must exist. It gets no role of a program: `quittance_readonly` sees no jobs but those of one firm at a time, and a
-- scaler has no business with firms. Safe to run again.
\set ON_ERROR_STOP on
begin;

-- Jobs that could run now, and the age of the oldest. Those of a queue that somebody paused are left out: no worker may take them.
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
grant usage on schema app to :"login";
grant execute on function app.backlog() to :"login";

commit;
