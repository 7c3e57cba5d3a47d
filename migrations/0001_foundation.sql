-- Foundation: tenancy setting, runtime roles, the one business clock.
--
-- Roles are shared by the whole cluster, so creating them tolerates that they exist. Nobody logs in as one of
-- these: `quittance migrate --grant ROLE=LOGIN` gives a login its role.
create extension if not exists btree_gist;
create schema app;

do $$
declare r text;
begin
  foreach r in array array['quittance_ingress', 'quittance_worker', 'quittance_portal', 'quittance_readonly', 'quittance_scan'] loop
    begin
      execute format('create role %I nologin', r);
    exception when duplicate_object or unique_violation then null;
    end;
  end loop;
  -- The scan role owns the few functions that look across firms; the owner must be a member to hand them over.
  if not pg_has_role(current_user, 'quittance_scan', 'member') then
    execute format('grant quittance_scan to %I', current_user);
  end if;
end $$;
grant usage on schema app, public to quittance_ingress, quittance_worker, quittance_portal, quittance_readonly, quittance_scan;
grant create on schema app to quittance_scan;

-- The firm whose rows this transaction may see; `set local app.firm_id = '…'`. Empty means no rows.
create function app.firm() returns uuid language sql stable parallel safe as
$$ select nullif(current_setting('app.firm_id', true), '')::uuid $$;

create domain app.ccy as text check (value ~ '^[a-z]{3}$');

-- One row: which Stripe mode this database belongs to (null until a program with a key has started).
create table installation (
  singleton boolean primary key default true check (singleton),
  livemode boolean
);
insert into installation default values;

-- One row: how far the business clock runs ahead of the real one. Leases and timeouts never use it.
create table clock (
  singleton boolean primary key default true check (singleton),
  offset_ms bigint not null default 0 check (offset_ms >= 0),
  changed_at timestamptz not null default clock_timestamp()
);
insert into clock default values;

create function app.clock_guard() returns trigger language plpgsql as $$
begin
  if new.offset_ms <> 0 and (select livemode from installation) then
    raise exception 'the clock of a live installation cannot be moved' using errcode = 'QT001';
  end if;
  return new;
end $$;
create trigger clock_guard before update on clock for each row execute function app.clock_guard();

create function app.installation_guard() returns trigger language plpgsql as $$
begin
  if old.livemode is not null and new.livemode is distinct from old.livemode then
    raise exception 'this database belongs to the other Stripe mode' using errcode = 'QT002';
  end if;
  if new.livemode and (select offset_ms from clock) <> 0 then
    raise exception 'a database whose clock was moved cannot go live' using errcode = 'QT001';
  end if;
  return new;
end $$;
create trigger installation_guard before update on installation for each row execute function app.installation_guard();

-- Business time. Stable, so that an index can be used; one statement sees one value.
create function app.now() returns timestamptz language sql stable as
$$ select clock_timestamp() + make_interval(secs => (select offset_ms from clock) / 1000.0) $$;

create function app.append_only() returns trigger language plpgsql as
$$ begin raise exception '% is append-only', tg_table_name using errcode = 'QT010'; end $$;
