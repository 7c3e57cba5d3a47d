-- The audit log is sealed in the background, in blocks of a chain per firm; and nobody of the platform sees a firm's rows
-- without a break-glass session.

-- Sealing. A row that is committed waits in audit_unsealed until a block takes it: what is not committed cannot be seen there,
-- so a block holds finished rows only, and none is missed or taken twice, however long its transaction took.

-- When a row was really written, by the database's own clock; programs cannot give it. Old rows: as they say.
alter table audit_events add column recorded_at timestamptz;
alter table audit_events alter column recorded_at type timestamptz using at;
alter table audit_events alter column recorded_at set default clock_timestamp(), alter column recorded_at set not null;
revoke insert on audit_events from quittance_worker;
grant insert (firm_id, at, category, action, severity, actor_kind, actor_id, subject_kind, subject_id, cause_kind, cause_id, meta)
  on audit_events to quittance_worker;

create table audit_unsealed (
  firm_id uuid not null,
  id bigint not null,
  primary key (firm_id, id)
);
insert into audit_unsealed select firm_id, id from audit_events;       -- the owner sees all through the scan policy
call app.protect_firm_table('audit_unsealed');
grant insert, delete on audit_unsealed to quittance_worker;

create function app.audit_to_be_sealed() returns trigger language plpgsql as $$
begin
  insert into audit_unsealed (firm_id, id) select firm_id, id from added;
  return null;
end $$;
create trigger to_be_sealed after insert on audit_events referencing new table as added
  for each statement execute function app.audit_to_be_sealed();

-- A block names its rows; its hash covers them, itself and the hash of the block before. shared/src/domain/audit_chain.rs
-- computes it, and no function here, so that whoever can change functions cannot change what a hash means.
create table audit_blocks (
  firm_id uuid not null references firms,
  seq bigint not null check (seq > 0),
  row_ids bigint[] not null check (cardinality(row_ids) > 0),
  prev_hash bytea not null check (octet_length(prev_hash) = 32),
  hash bytea not null check (octet_length(hash) = 32),
  sealed_at timestamptz not null,                           -- business clock
  recorded_at timestamptz not null,                         -- real clock
  complete boolean not null,                                -- no committed row was left unsealed
  primary key (firm_id, seq)
);
call app.protect_fact_table('audit_blocks');
grant insert on audit_blocks to quittance_worker;

-- Firms with something to seal.
create function app.firms_to_seal() returns table (firm_id uuid)
  language sql stable security definer set search_path = public, pg_temp as
$$ select f.id from firms f where exists (select 1 from audit_unsealed u where u.firm_id = f.id) order by f.number $$;

-- Break-glass. A session is a person's permission to look into one firm, for a reason and a time.
create table break_glass_sessions (
  firm_id uuid not null references firms,
  id uuid not null,
  operator text not null check (operator <> ''),            -- who may look: a database login, or a name at the command line
  reason text not null check (reason <> ''),
  opened_by text not null,
  opened_at timestamptz not null,
  expires_at timestamptz not null,
  revoked_at timestamptz, revoked_by text, revoke_reason text check (revoke_reason <> ''),
  expired_at timestamptz,                                   -- when its end was noticed; it is over at expires_at
  reviewed_at timestamptz, reviewed_by text, review_note text check (review_note <> ''),
  primary key (firm_id, id),
  check (expires_at > opened_at),
  constraint break_glass_is_for_a_day_at_most check (expires_at <= opened_at + interval '24 hours'),
  check ((revoked_at is null) = (revoked_by is null) and (revoked_at is null) = (revoke_reason is null)),
  check ((reviewed_at is null) = (reviewed_by is null) and (reviewed_at is null) = (review_note is null)),
  check (expired_at is null or revoked_at is null)
);
create unique index break_glass_sessions_id on break_glass_sessions (id);
call app.protect_firm_table('break_glass_sessions');
grant insert, update on break_glass_sessions to quittance_worker;
create trigger no_truncate before truncate on break_glass_sessions for each statement execute function app.append_only();

create function app.break_glass_guard() returns trigger language plpgsql as $$
declare
  mutable constant text[] := array['revoked_at', 'revoked_by', 'revoke_reason', 'expired_at', 'reviewed_at', 'reviewed_by', 'review_note'];
begin
  if tg_op = 'DELETE' or (to_jsonb(new) - mutable) is distinct from (to_jsonb(old) - mutable)
     or (old.revoked_at is not null and (new.revoked_at, new.revoked_by, new.revoke_reason) is distinct from (old.revoked_at, old.revoked_by, old.revoke_reason))
     or (old.expired_at is not null and new.expired_at is distinct from old.expired_at)
     or (old.reviewed_at is not null and (new.reviewed_at, new.reviewed_by, new.review_note) is distinct from (old.reviewed_at, old.reviewed_by, old.review_note)) then
    raise exception 'break-glass sessions are history' using errcode = 'QT010';
  end if;
  if old.revoked_at is null and new.revoked_at is not null and (old.expired_at is not null or app.now() >= old.expires_at) then
    raise exception 'this break-glass session has expired already' using errcode = 'QT031';
  end if;
  if old.expired_at is null and new.expired_at is not null and app.now() < old.expires_at then
    raise exception 'this break-glass session has not expired' using errcode = 'QT031';
  end if;
  if old.reviewed_at is null and new.reviewed_at is not null then
    if new.revoked_at is null and app.now() < old.expires_at then
      raise exception 'a break-glass session is reviewed when it is over' using errcode = 'QT031';
    end if;
    if new.reviewed_by in (old.operator, old.opened_by) then
      raise exception 'a break-glass session is reviewed by somebody else' using errcode = 'QT031';
    end if;
  end if;
  return new;
end $$;
create trigger break_glass_guard before update or delete on break_glass_sessions for each row execute function app.break_glass_guard();

-- Every time somebody entered a firm through the operator role.
create table break_glass_entries (
  firm_id uuid not null,
  id bigint generated always as identity,
  session_id uuid not null,
  login text not null,
  key_sha256 bytea not null,                                -- of the key that opens the firm's rows to one connection
  txid xid8 not null default pg_current_xact_id(),
  at timestamptz not null,
  primary key (firm_id, id),
  foreign key (firm_id, session_id) references break_glass_sessions (firm_id, id)
);
call app.protect_fact_table('break_glass_entries');
revoke select on break_glass_entries from quittance_portal, quittance_readonly;

-- The group role of the platform's own people. Like the others it logs in nowhere.
do $$
begin
  create role quittance_operator nologin;
exception when duplicate_object or unique_violation then null;
end $$;
grant usage on schema app, public to quittance_operator;
grant select on clock to quittance_operator;

-- Enters a firm on this connection: logs it, and sets what the policies below look at. Rows can be seen from the next
-- transaction on, when the log entry is committed: an access cannot be rolled back out of the log.
create function app.break_glass(session uuid) returns text language plpgsql security definer set search_path = public, pg_temp as $$
declare
  opened break_glass_sessions;
  key constant text := gen_random_uuid();
begin
  perform set_config('app.firm_id', coalesce(app.break_glass_firm(session)::text, ''), false);
  select * into opened from break_glass_sessions where firm_id = app.firm() and id = session;
  if not found or opened.operator <> session_user then
    raise exception 'there is no break-glass session % for %', session, session_user using errcode = 'QT031';
  end if;
  if opened.revoked_at is not null or opened.expires_at <= app.now() then
    raise exception 'this break-glass session is over' using errcode = 'QT031';
  end if;
  perform set_config('app.break_glass', key, false);
  insert into break_glass_entries (firm_id, session_id, login, key_sha256, at)
    values (opened.firm_id, opened.id, session_user, sha256(key::bytea), app.now());
  insert into audit_events (firm_id, at, category, action, actor_kind, actor_id, subject_kind, subject_id, cause_kind, cause_id, meta)
    values (opened.firm_id, app.now(), 'break_glass', 'break_glass.accessed', 'operator', session_user, 'break_glass_session', opened.id,
            'break_glass', opened.id::text, jsonb_build_object('by', 'database login'));
  return format('break-glass: firm %s until %s; every access is logged', opened.firm_id, opened.expires_at);
end $$;

-- The firm that this connection has entered, as long as its session is open.
create function app.entered_firm() returns uuid language sql stable security definer set search_path = public, pg_temp as
$$ select e.firm_id from break_glass_entries e
     join break_glass_sessions s on s.firm_id = e.firm_id and s.id = e.session_id
    where e.firm_id = app.firm() and e.login = session_user
      and e.key_sha256 = sha256(coalesce(current_setting('app.break_glass', true), '')::bytea)
      and e.txid is distinct from pg_current_xact_id_if_assigned()
      and s.revoked_at is null and s.expires_at > app.now()
    limit 1 $$;

-- Sessions that are open, over all firms: for the banner.
create function app.open_break_glass() returns table (firm_id uuid, session_id uuid, operator text, reason text, expires_at timestamptz)
  language sql stable security definer set search_path = public, pg_temp as
$$ select s.firm_id, s.id, s.operator, s.reason, s.expires_at from break_glass_sessions s
    where s.revoked_at is null and s.expires_at > app.now() order by s.opened_at $$;

-- Which firm a session belongs to.
create function app.break_glass_firm(session uuid) returns uuid language sql stable security definer set search_path = public, pg_temp as
$$ select firm_id from break_glass_sessions where id = session $$;

do $$
declare f text;
begin
  foreach f in array array['app.firms_to_seal()', 'app.entered_firm()', 'app.open_break_glass()', 'app.break_glass_firm(uuid)'] loop
    execute format('alter function %s owner to quittance_scan', f);
    execute format('revoke execute on function %s from public', f);
    execute format('grant execute on function %s to quittance_worker, quittance_portal', f);
  end loop;
end $$;
revoke execute on function app.break_glass(uuid) from public;
grant execute on function app.break_glass(uuid), app.entered_firm() to quittance_operator;

-- What the operator role sees of a table of firms: nothing, unless it has entered the firm. Restrictive, so that no other policy
-- opens it again.
create procedure app.open_to_operators(name text) language plpgsql as $$
begin
  execute format('create policy break_glass on %I as restrictive to quittance_operator using (%I = (select app.entered_firm()))',
                 name, case name when 'firms' then 'id' else 'firm_id' end);
  execute format('grant select on %I to quittance_operator', name);
end $$;

do $$
declare t text;
begin
  for t in select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'firm_id' and not a.attisdropped
            where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and c.relrowsecurity loop
    call app.open_to_operators(t);
  end loop;
  call app.open_to_operators('firms');
end $$;
grant select on invoice_status, payment_failures, credit_lot_balances to quittance_operator;

-- From here on a new table of firms has all of it.
create or replace procedure app.protect_firm_table(name text) language plpgsql as $$
begin
  execute format('alter table %I enable row level security', name);
  execute format('alter table %I force row level security', name);
  execute format('create policy tenant on %I using (firm_id = app.firm()) with check (firm_id = app.firm())', name);
  execute format('create policy scan on %I for select to quittance_scan using (true)', name);
  execute format('grant select on %I to quittance_scan, quittance_worker, quittance_portal, quittance_readonly', name);
  call app.open_to_operators(name);
end $$;
