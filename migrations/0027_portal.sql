-- The portal: who may log in, sessions, tokens of other systems, and what makes a repeated request one. Passwords are kept as
-- argon2id hashes, sessions and tokens as SHA-256 of what their owner holds. All of it goes by the real clock: a password that is
-- guessed at does not wait for the business clock.

-- A person who may log in: a user of a firm, or an operator of the platform, who has no firm and a second factor.
create table logins (
  id uuid primary key,
  firm_id uuid references firms,                            -- null: an operator
  user_id uuid,                                             -- of the firm
  name text not null unique check (name = lower(name) and name <> ''),      -- what is typed; one namespace for all firms
  password_hash text not null check (password_hash like '$argon2id$%'),
  password_set_at timestamptz not null,
  totp_secret bytea check (octet_length(totp_secret) >= 20),
  totp_step bigint not null default 0,                      -- of the last code that was used: none is used twice
  disabled_at timestamptz,
  created_at timestamptz not null,
  unique (firm_id, user_id),
  foreign key (firm_id, user_id) references users (firm_id, id),
  constraint an_operator_has_a_second_factor check (firm_id is not null or totp_secret is not null),
  constraint a_login_of_a_firm_is_a_user check ((firm_id is null) = (user_id is null))
);

create table portal_sessions (
  id uuid primary key,
  firm_id uuid references firms,
  login_id uuid not null references logins on delete cascade,
  token_sha256 bytea not null unique,
  created_at timestamptz not null,
  seen_at timestamptz not null,
  expires_at timestamptz not null
);
create index portal_sessions_of_login on portal_sessions (login_id);

-- For other systems and scripts. A token has a role of its own, and may act in the name of a user.
create table api_tokens (
  id uuid primary key,
  firm_id uuid references firms,                            -- null: of the platform
  name text not null check (name <> ''),
  role text not null check (role in ('owner', 'admin', 'manager', 'staff', 'alerts', 'operator')),
  token_sha256 bytea not null unique,
  created_by text not null,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  used_at timestamptz,
  revoked_at timestamptz, revoked_by text,
  constraint a_token_of_no_firm_is_an_operators check ((firm_id is null) = (role = 'operator'))
);

-- The answer to a write that named a key, kept for a day: the same again gets the same answer and does nothing.
create table idempotency_keys (
  id uuid primary key,
  firm_id uuid references firms,
  caller text not null,                                     -- the login or the token
  key text not null,
  request_sha256 bytea not null,
  status int not null,
  answer jsonb not null,
  created_at timestamptz not null,
  unique nulls not distinct (firm_id, caller, key)
);
create index idempotency_keys_by_age on idempotency_keys (created_at);

-- Attempts that failed, by hash of a name or an address. Belongs to nobody: what is typed may be no name at all.
create unlogged table login_throttle (
  key_sha256 bytea primary key,
  failures int not null,
  failed_at timestamptz not null,
  locked_until timestamptz
);
create index login_throttle_by_age on login_throttle (failed_at);

-- A transaction of the portal sees rows of its firm; one with no firm set sees those of no firm, which are the platform's.
do $$
declare t text;
begin
  foreach t in array array['logins', 'portal_sessions', 'api_tokens', 'idempotency_keys'] loop
    call app.protect_firm_table(t);
    execute format('create policy platform on %I to quittance_portal, quittance_worker using (firm_id is null and app.firm() is null)
                      with check (firm_id is null and app.firm() is null)', t);
    execute format('revoke select on %I from quittance_readonly, quittance_operator', t);
  end loop;
end $$;
-- It opens sessions and makes tokens of a firm; whom it lets in, with what, as what, and for how long, it changes for nobody.
grant update (totp_step) on logins to quittance_portal;
grant insert, update (seen_at), delete on portal_sessions to quittance_portal;
grant insert, update (used_at, revoked_at, revoked_by) on api_tokens to quittance_portal;
grant insert, update, delete on idempotency_keys to quittance_portal;
create policy of_a_firm on api_tokens as restrictive for insert to quittance_portal with check (firm_id is not null);
grant select, insert, update, delete on login_throttle to quittance_portal;
grant insert, update on logins, api_tokens to quittance_worker;             -- `quittance user`
grant delete on portal_sessions, login_throttle to quittance_worker;

-- What is looked up before it is known whose it is. Each needs what only its owner holds, but the first: it tells the hash of a
-- password to the portal, which alone may ask.
create function app.find_login(called text)
  returns table (login_id uuid, firm_id uuid, password_hash text, totp_secret bytea, totp_step bigint)
  language sql stable security definer set search_path = public, pg_temp as
$$ select id, firm_id, password_hash, totp_secret, totp_step from logins where name = lower(called) and disabled_at is null $$;

create function app.find_session(token bytea)
  returns table (session_id uuid, firm_id uuid, login_id uuid, login text, user_id uuid, label text, name text, role text,
                 client_id uuid, can_view_billing boolean, seen_at timestamptz)
  language sql stable security definer set search_path = public, pg_temp as
$$ select s.id, s.firm_id, l.id, l.name, u.id, coalesce(u.external_id, u.id::text, l.name), coalesce(u.name, l.name),
          case when l.firm_id is null then 'operator' else u.role end, u.client_id, coalesce(u.can_view_billing, true), s.seen_at
     from portal_sessions s join logins l on l.id = s.login_id
     left join users u on u.firm_id = l.firm_id and u.id = l.user_id
    where s.token_sha256 = token and s.expires_at > clock_timestamp() and s.seen_at > clock_timestamp() - interval '1 hour'
      and l.disabled_at is null and (l.firm_id is null or u.id is not null) $$;

create function app.find_token(token bytea)
  returns table (token_id uuid, firm_id uuid, name text, role text, used_at timestamptz)
  language sql stable security definer set search_path = public, pg_temp as
$$ select id, firm_id, name, role, used_at from api_tokens
    where token_sha256 = token and revoked_at is null and expires_at > clock_timestamp() $$;

-- How many jobs each queue has, whosever they are: numbers only.
create function app.queue_counts()
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
     from unnest(array['events', 'invoices', 'charges', 'maintenance']) as q (queue)
     left join jobs j on j.queue = q.queue and j.state in ('available', 'retryable', 'running')
    group by q.queue $$;
grant select on job_runs to quittance_scan;
alter function app.queue_counts() owner to quittance_scan;
revoke execute on function app.queue_counts() from public;
grant execute on function app.queue_counts() to quittance_worker, quittance_portal, quittance_readonly;

do $$
declare f text;
begin
  foreach f in array array['app.find_login(text)', 'app.find_session(bytea)', 'app.find_token(bytea)'] loop
    execute format('alter function %s owner to quittance_scan', f);
    execute format('revoke execute on function %s from public', f);
    execute format('grant execute on function %s to quittance_portal', f);
  end loop;
end $$;

-- What the portal changes: a firm's own rows, under the policies of their tables, as the worker does; none of what Stripe alone says,
-- of what opens doors, or of what seals the past. It talks to nobody: what needs Stripe is a job.
do $$
declare r record;
begin
  for r in select c.relname, p.privilege from pg_class c cross join unnest(array['insert', 'update', 'delete']) p (privilege)
            where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
              and exists (select from pg_policy where polrelid = c.oid and polname = 'tenant')
              and c.relname not in ('stripe_events', 'stripe_event_bodies', 'stripe_routes', 'disputes', 'dispute_movements', 'processor_fees',
                'payment_methods', 'users', 'logins', 'portal_sessions', 'api_tokens', 'idempotency_keys', 'audit_events', 'audit_blocks',
                'audit_unsealed', 'recon_runs', 'recon_findings', 'break_glass_entries', 'firms', 'jobs')
              and not starts_with(c.relname, 'platform_')           -- a mirror of Stripe's; what the portal asks for has its grants there
              and has_table_privilege('quittance_worker', c.oid, p.privilege) loop
    execute format('grant %s on %I to quittance_portal', r.privilege, r.relname);
  end loop;
end $$;
-- What Stripe did with money, Stripe says to the worker.
create policy from_elsewhere on payments as restrictive for insert to quittance_portal with check (method = 'external');
create policy ordered on refunds as restrictive for insert to quittance_portal with check (destination = 'credit' or state = 'requested');
create policy of_the_worker on refunds as restrictive for update to quittance_portal using (true) with check (false);
create policy of_the_worker on payment_attempts as restrictive for insert to quittance_portal with check (false);
create policy given_up on payment_attempts as restrictive for update to quittance_portal using (true) with check (state = 'canceled');
create policy without_success on collection_cycles as restrictive for update to quittance_portal using (true) with check (state <> 'succeeded');
grant insert (firm_id, at, category, action, severity, actor_kind, actor_id, subject_kind, subject_id, cause_kind, cause_id, meta)
  on audit_events to quittance_portal;
grant insert on audit_unsealed, installation_changes to quittance_portal;
grant update on installation, firms, jobs to quittance_portal;
grant insert on jobs to quittance_portal;
grant insert, delete on queue_pauses to quittance_portal;
grant select, insert on event_replays to quittance_portal;
grant usage on all sequences in schema public to quittance_portal;
grant execute on function app.discard_draft(uuid, uuid), app.lock_credit(uuid, uuid[]),
  app.audit_every_firm(timestamptz, text, text, text, text, text, text, text, jsonb) to quittance_portal;

-- Jobs, events and alerts of no firm are the platform's: seen where no firm is set.
create policy portal on jobs to quittance_portal
  using (firm_id is not distinct from (select app.firm())) with check (firm_id is not distinct from (select app.firm()));
create policy platform on stripe_events for select to quittance_portal using (firm_id is null and (select app.firm()) is null);
create policy platform on alerts to quittance_portal
  using (firm_id is null and app.firm() is null) with check (firm_id is null and app.firm() is null);

-- What operators do with logins and tokens of the platform stays, as what they do to jobs and queues does.
alter table installation_changes
  drop constraint installation_changes_action_check,
  add constraint installation_changes_action_check check (action in (
    'autopay.paused', 'autopay.resumed', 'queue.paused', 'queue.resumed', 'job.retried', 'job.canceled',
    'login.password_set', 'login.disabled', 'login.succeeded', 'token.created', 'token.revoked'));
