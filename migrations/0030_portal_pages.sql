-- What the portal's pages read: sums over a time, and the depth of queues over all firms, which tells of none.

-- What came of a firm's invoices and attempts in the last months is looked up by time.
create index invoices_by_issue_date on invoices (firm_id, issue_date) where doc_state in ('issued', 'void_requested');

-- How deep each queue is, and how much of each kind was done lately: counts only, for an operator who sees no firm's jobs.
create function app.queue_depths()
  returns table (queue text, due bigint, oldest_due_secs bigint, later bigint, retryable bigint, running bigint, discarded bigint,
                 done_last_minute bigint, done_last_hour bigint, failed_last_hour bigint)
  language sql stable security definer set search_path = public, pg_temp as
$$ select q.queue,
          count(j.id) filter (where j.state <> 'running' and j.run_at <= app.now()),
          coalesce(extract(epoch from app.now() - min(j.run_at) filter (where j.state <> 'running' and j.run_at <= app.now())), 0)::bigint,
          count(j.id) filter (where j.state <> 'running' and j.run_at > app.now()),
          count(j.id) filter (where j.state = 'retryable'),
          count(j.id) filter (where j.state = 'running'),
          (select count(*) from jobs d where d.queue = q.queue and d.state = 'discarded'),
          (select count(*) from jobs d where d.queue = q.queue and d.state = 'completed' and d.finished_at > app.now() - interval '1 minute'),
          (select count(*) from jobs d where d.queue = q.queue and d.state = 'completed' and d.finished_at > app.now() - interval '1 hour'),
          (select count(*) from jobs d where d.queue = q.queue and d.state = 'discarded' and d.finished_at > app.now() - interval '1 hour')
     from unnest(array['events', 'invoices', 'charges', 'maintenance']) with ordinality as q (queue, nth)
     left join jobs j on j.queue = q.queue and j.state in ('available', 'retryable', 'running')
    group by q.queue, q.nth order by q.nth $$;
alter function app.queue_depths() owner to quittance_scan;
revoke execute on function app.queue_depths() from public;
grant execute on function app.queue_depths() to quittance_portal;
