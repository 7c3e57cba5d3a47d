-- The inbox (what Stripe sent) and the queue of record (what is to be done). Redis carries ids of jobs and nothing else.
create table stripe_events (
  stripe_event_id text primary key,
  type text not null,
  api_version text,
  account text,                                             -- present on Connect events
  livemode boolean not null,
  object_type text, object_id text,
  created_at timestamptz not null,                          -- Stripe's clock, one-second resolution
  received_at timestamptz not null,                         -- the real clock, not the business clock
  via text not null default 'webhook' check (via in ('webhook', 'backfill', 'replay')),
  body_sha256 bytea not null,
  facts jsonb not null,                                     -- allow-listed: ids, amounts, statuses, codes, times
  firm_id uuid,                                             -- as soon as it is known
  state text not null default 'pending' check (state in ('pending', 'applied', 'ignored', 'unmatched', 'parked')),
  state_reason text,
  applied_at timestamptz
);
create index stripe_events_open on stripe_events (received_at) where state in ('pending', 'unmatched', 'parked');
create index stripe_events_by_received on stripe_events (received_at, stripe_event_id);
create index stripe_events_by_object on stripe_events (object_id) where object_id is not null;

-- The signed bytes, for replay. Read by the worker role only, kept for 35 days, never shown.
create table stripe_event_bodies (
  stripe_event_id text primary key,
  received_at timestamptz not null,
  body bytea not null
);
alter table stripe_event_bodies alter column body set compression lz4;
create index stripe_event_bodies_by_received on stripe_event_bodies (received_at);

create table jobs (
  id uuid primary key,
  seq bigint generated always as identity,                  -- order of enqueueing
  firm_id uuid,
  queue text not null check (queue in ('events', 'invoices', 'charges', 'maintenance')),
  kind text not null,
  dedupe_key text not null,
  order_key text,                                           -- jobs that share it run one at a time, in order
  payload jsonb not null default '{}',                      -- ids only
  priority smallint not null default 2 check (priority between 0 and 9),   -- 0 first
  run_at timestamptz not null,                              -- business clock
  state text not null default 'available' check (state in ('available', 'running', 'retryable', 'completed', 'discarded', 'canceled')),
  attempt int not null default 0,
  max_attempts int not null default 25 check (max_attempts > 0),
  crashes int not null default 0,                           -- times its worker died under it
  fence bigint not null default 0,                          -- grows with every claim; a write without the current one is refused
  lease_owner text, lease_until timestamptz,                -- real clock
  dispatched_at timestamptz,                                -- real clock: last handed to Redis
  last_error text,
  result jsonb,
  traceparent text,
  created_at timestamptz not null,
  started_at timestamptz, finished_at timestamptz,
  unique (kind, dedupe_key),
  check ((state = 'running') = (lease_owner is not null and lease_until is not null)),
  check ((state in ('completed', 'discarded', 'canceled')) = (finished_at is not null))
);
create index jobs_due on jobs (queue, firm_id, priority, run_at) where state in ('available', 'retryable');
create index jobs_leased on jobs (lease_until) where state = 'running';
create index jobs_ordered on jobs (order_key, seq) where state in ('available', 'retryable', 'running') and order_key is not null;
create unique index jobs_one_running_per_order_key on jobs (order_key) where state = 'running';
create index jobs_finished on jobs (finished_at) where state in ('completed', 'canceled', 'discarded');

create function app.job_guard() returns trigger language plpgsql as $$
begin
  if old.state in ('completed', 'canceled') and new.state <> old.state then
    raise exception 'job already ended as %', old.state using errcode = 'QT020';
  end if;
  return new;
end $$;
create trigger job_guard before update of state on jobs for each row execute function app.job_guard();

create table queue_pauses (
  queue text primary key,
  paused_at timestamptz not null,
  reason text not null,
  by text not null
);

-- Who is alive, and which transactional job it holds right now: unlogged, because a database that crashed has
-- rolled those jobs back anyway, and so that starting a job costs no fsync.
create unlogged table workers (
  id text primary key,                                      -- unique per process start
  host text not null, pid int not null, version text not null,
  queues text[] not null, concurrency int not null,
  started_at timestamptz not null, heartbeat_at timestamptz not null,     -- real clock
  draining boolean not null default false
);
create unlogged table job_runs (
  job_id uuid not null,
  worker_id text not null,
  started_at timestamptz not null default clock_timestamp(),
  primary key (job_id, worker_id)
);
create index job_runs_by_worker on job_runs (worker_id);

-- Schedules and what became of each of their ticks.
create table schedules (
  name text primary key,
  cron text not null,                                       -- five fields, UTC
  job_kind text not null,
  catch_up text not null check (catch_up in ('each', 'latest')),
  enabled boolean not null default true,
  watermark_at timestamptz not null                         -- every tick up to here has an occurrence
);
create table schedule_occurrences (
  schedule text not null references schedules,
  due_at timestamptz not null,
  state text not null default 'due' check (state in ('due', 'fired', 'skipped')),
  reason text,
  jobs_enqueued int not null default 0,
  recorded_at timestamptz not null, fired_at timestamptz,
  primary key (schedule, due_at),
  check ((state = 'skipped') = (reason is not null)),
  check ((state = 'fired') = (fired_at is not null))
);
create index schedule_occurrences_due on schedule_occurrences (due_at) where state = 'due';
