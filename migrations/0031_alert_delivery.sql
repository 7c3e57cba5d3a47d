-- Alerts go out: to webhooks and mailboxes that a firm, or the platform, has named. What an alert calls for is written in the
-- transaction that raises it, one row and one job per destination; a worker sends it, and nobody else talks to anybody.

-- A lane of its own: a receiver that does not answer holds up no sweep and no charge.
alter table jobs drop constraint jobs_queue_check,
  add constraint jobs_queue_check check (queue in ('events', 'invoices', 'charges', 'maintenance', 'alerts'));
alter table queue_pauses drop constraint queue_pauses_queue_check,
  add constraint queue_pauses_queue_check check (queue in ('events', 'invoices', 'charges', 'maintenance', 'alerts'));

-- Where alerts go. Never deleted: what was sent there refers to it.
create table alert_destinations (
  id uuid primary key,
  firm_id uuid references firms,                            -- null: the platform's, told of alerts about no firm
  kind text not null check (kind in ('webhook', 'email')),
  target text not null check (target <> ''),                -- https://…, or an address
  min_severity text not null check (min_severity in ('info', 'warning', 'critical')),
  alert_types text[] check (alert_types <> '{}'),           -- null: all
  created_at timestamptz not null, created_by text not null,
  failing_since timestamptz,                                -- nothing has arrived there since
  disabled_at timestamptz, disabled_reason text,
  removed_at timestamptz,
  unique (firm_id, id),
  constraint alert_destination_disabled_for_a_reason check ((disabled_at is null) = (disabled_reason is null))
);
-- One and the same place is told once.
create unique index one_alert_destination on alert_destinations (firm_id, kind, target) nulls not distinct where removed_at is null;

-- What a webhook is signed with: for the worker's eyes alone.
create table alert_destination_secrets (
  destination_id uuid primary key,
  firm_id uuid,
  secret text not null check (secret like 'whsec_%'),
  foreign key (firm_id, destination_id) references alert_destinations (firm_id, id)
);

-- What a destination is told, in the words of that moment: the same message however often it has to be sent.
create table alert_deliveries (
  id uuid primary key,
  firm_id uuid,
  destination_id uuid not null,
  alert_id uuid,                                            -- null: a test
  edge text not null check (edge in ('opened', 'reopened', 'worsened', 'test')),
  severity text not null, title text not null, message text not null,
  state text not null default 'waiting' check (state in ('waiting', 'delivered', 'failed', 'dropped')),
  attempts int not null default 0,
  first_sent_at timestamptz, ended_at timestamptz,
  last_error text,
  created_at timestamptz not null,                          -- business clock, as all times here
  foreign key (firm_id, destination_id) references alert_destinations (firm_id, id),
  foreign key (firm_id, alert_id) references alerts (firm_id, id),
  constraint alert_delivery_is_of_an_alert_or_a_test check ((alert_id is null) = (edge = 'test')),
  constraint alert_delivery_ends_when_it_is_over check ((state = 'waiting') = (ended_at is null))
);
-- A failure that is only counted up is told of once.
create unique index alert_told_once on alert_deliveries (alert_id, destination_id, severity);
create index alert_deliveries_by_time on alert_deliveries (firm_id, created_at, id);
create index alert_deliveries_sent on alert_deliveries (destination_id, first_sent_at) where first_sent_at is not null;
create index alert_deliveries_failed on alert_deliveries (ended_at) where state = 'failed';
-- Whether an alert is there again.
create index alerts_by_key on alerts (dedupe_key, firm_id);

do $$
declare t text;
begin
  foreach t in array array['alert_destinations', 'alert_destination_secrets', 'alert_deliveries'] loop
    call app.protect_firm_table(t);
    -- As on alerts (0014, 0027).
    execute format('create policy installation on %I to quittance_worker using (firm_id is null) with check (firm_id is null)', t);
    execute format('create policy platform on %I to quittance_portal using (firm_id is null and app.firm() is null)
                      with check (firm_id is null and app.firm() is null)', t);
  end loop;
end $$;
revoke select on alert_destination_secrets from quittance_scan, quittance_portal, quittance_readonly, quittance_operator;
grant insert, update (failing_since, disabled_at, disabled_reason, removed_at) on alert_destinations to quittance_worker;
grant insert on alert_destination_secrets to quittance_worker;
grant insert, update (state, attempts, first_sent_at, ended_at, last_error) on alert_deliveries to quittance_worker;
-- The portal raises alerts for other systems, and so has destinations told; and people name theirs there. It reads no secret, not even
-- one that it made, and says of no delivery what became of it.
grant insert on alert_deliveries, alert_destination_secrets to quittance_portal;
grant insert, update (failing_since, disabled_at, disabled_reason, removed_at) on alert_destinations to quittance_portal;
create policy to_be_sent on alert_deliveries as restrictive for insert to quittance_portal
  with check (state = 'waiting' and attempts = 0 and first_sent_at is null);

-- What has arrived has arrived.
create function app.alert_delivery_guard() returns trigger language plpgsql as $$
begin
  if old.state = 'delivered' then
    raise exception 'what was delivered stays delivered' using errcode = 'QT010';
  end if;
  return new;
end $$;
create trigger alert_delivery_guard before update on alert_deliveries for each row execute function app.alert_delivery_guard();

-- An alert that opens, opens again after it was over, or gets worse is told to whom it concerns.
create function app.tell_of_alert() returns trigger language plpgsql as $$
declare
  d record;
  told uuid;
  kind_of_edge text;
begin
  for d in select x.id, x.failing_since from alert_destinations x
            where x.firm_id is not distinct from new.firm_id and x.removed_at is null and x.disabled_at is null
              and app.worse(new.severity, x.min_severity) = new.severity
              and (x.alert_types is null or new.alert_type = any(x.alert_types)) loop
    -- That telling failed is told to no destination that cannot be told: it would fail, and be told, for ever.
    continue when new.dedupe_key = 'job_discarded:deliver_alert' and (d.failing_since is not null or exists (
      select from jobs j join alert_deliveries y on y.id::text = j.dedupe_key and y.destination_id = d.id
       where j.kind = 'deliver_alert'
         and j.id = case when new.related_data ->> 'last_job' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                         then (new.related_data ->> 'last_job')::uuid end));
    kind_of_edge := coalesce(kind_of_edge, case
      when tg_op = 'UPDATE' then 'worsened'
      when exists (select from alerts a where a.dedupe_key = new.dedupe_key and a.firm_id is not distinct from new.firm_id and a.id <> new.id)
      then 'reopened' else 'opened' end);
    told := gen_random_uuid();
    insert into alert_deliveries (id, firm_id, destination_id, alert_id, edge, severity, title, message, created_at)
    values (told, new.firm_id, d.id, new.id, kind_of_edge, new.severity, new.title, new.message, app.now());
    insert into jobs (id, firm_id, queue, kind, dedupe_key, order_key, payload, run_at, created_at)
    values (gen_random_uuid(), new.firm_id, 'alerts', 'deliver_alert', told::text, 'destination:' || d.id,
            jsonb_build_object('delivery_id', told), app.now(), app.now());
  end loop;
  return null;
end $$;
create trigger tell_of_alert after insert on alerts for each row execute function app.tell_of_alert();
create trigger tell_of_worse_alert after update of severity on alerts for each row
  when (new.severity is distinct from old.severity and not new.is_resolved) execute function app.tell_of_alert();

-- What `doctor` says of it over all firms: numbers only.
create function app.alert_delivery_health()
  returns table (webhooks bigint, mailboxes bigint, failing bigint, disabled bigint, waiting bigint, failed_lately bigint)
  language sql stable security definer set search_path = public, pg_temp as
$$ select count(*) filter (where kind = 'webhook' and disabled_at is null), count(*) filter (where kind = 'email' and disabled_at is null),
          count(*) filter (where failing_since is not null and disabled_at is null), count(*) filter (where disabled_at is not null),
          (select count(*) from alert_deliveries w where w.state = 'waiting'),
          (select count(*) from alert_deliveries f where f.state = 'failed' and f.ended_at > app.now() - interval '7 days')
     from alert_destinations where removed_at is null $$;
create index alert_deliveries_waiting on alert_deliveries (created_at) where state = 'waiting';
alter function app.alert_delivery_health() owner to quittance_scan;
revoke execute on function app.alert_delivery_health() from public;
grant execute on function app.alert_delivery_health() to quittance_worker, quittance_portal;

-- As in 0027 and 0030, with the new lane.
create or replace function app.queue_counts()
  returns table (queue text, due bigint, oldest_due_secs bigint, later bigint, retryable bigint, running bigint, discarded bigint)
  language sql stable security definer set search_path = public, pg_temp as
$$ select q.queue,
          count(j.id) filter (where j.state <> 'running' and j.run_at <= app.now()),
          coalesce(extract(epoch from app.now() - min(j.run_at) filter (where j.state <> 'running' and j.run_at <= app.now())), 0)::bigint,
          count(j.id) filter (where j.state <> 'running' and j.run_at > app.now()),
          count(j.id) filter (where j.state = 'retryable'),
          count(j.id) filter (where j.state = 'running') + (select count(*) from job_runs r join jobs n on n.id = r.job_id
             where n.queue = q.queue and n.state <> 'running'),
          (select count(*) from jobs d where d.state = 'discarded' and d.queue = q.queue)
     from unnest(array['events', 'invoices', 'charges', 'maintenance', 'alerts']) as q (queue)
     left join jobs j on j.queue = q.queue and j.state in ('available', 'retryable', 'running')
    group by q.queue $$;

create or replace function app.queue_depths()
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
     from unnest(array['events', 'invoices', 'charges', 'maintenance', 'alerts']) with ordinality as q (queue, nth)
     left join jobs j on j.queue = q.queue and j.state in ('available', 'retryable', 'running')
    group by q.queue, q.nth order by q.nth $$;

-- The platform's own destinations have no firm's audit log.
alter table installation_changes
  drop constraint installation_changes_action_check,
  add constraint installation_changes_action_check check (action in (
    'autopay.paused', 'autopay.resumed', 'queue.paused', 'queue.resumed', 'job.retried', 'job.canceled',
    'login.password_set', 'login.disabled', 'login.succeeded', 'token.created', 'token.revoked',
    'alert_destination.added', 'alert_destination.removed', 'alert_destination.enabled', 'alert_destination.disabled',
    'alert_destination.tested'));
