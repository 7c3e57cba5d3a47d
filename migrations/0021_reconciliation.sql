-- What reconciliation found. The runs are facts; a finding stays open until a later run does not find it any more, and changes
-- in nothing else.
create table recon_runs (
  firm_id uuid not null references firms,
  id uuid not null,
  since timestamptz not null,                               -- objects made at Stripe from here …
  until timestamptz not null,                               -- … to here were compared
  objects bigint not null,                                  -- of this firm, at Stripe
  findings int not null,
  run_at timestamptz not null,                              -- business time
  recorded_at timestamptz not null default clock_timestamp(),
  cause text not null,
  primary key (firm_id, id)
);
call app.protect_fact_table('recon_runs');
grant insert on recon_runs to quittance_worker;

create table recon_findings (
  firm_id uuid not null,
  id uuid not null,                                         -- made of both sides: the same difference has the same id
  seq int not null default 1,                               -- a difference that was settled may come back
  run_id uuid not null,                                     -- that found it first
  kind text not null check (kind ~ '^[a-z_]+$'),
  layer text not null check (layer ~ '^L[1-5]$'),
  subject text not null,
  ours jsonb, stripe jsonb, repair jsonb,
  object_at timestamptz,                                    -- when the object was made at Stripe
  found_at timestamptz not null,
  seen_at timestamptz not null,                             -- by the latest run
  settled_at timestamptz,
  primary key (firm_id, id, seq),
  foreign key (firm_id, run_id) references recon_runs (firm_id, id),
  check (ours is not null or stripe is not null),
  check (seen_at >= found_at)
);
create unique index recon_findings_open on recon_findings (firm_id, id) where settled_at is null;
call app.protect_firm_table('recon_findings');
grant insert, update on recon_findings to quittance_worker;
create trigger no_truncate before truncate on recon_findings for each statement execute function app.append_only();

create function app.recon_finding_guard() returns trigger language plpgsql as $$
declare
  mutable constant text[] := array['seen_at', 'settled_at'];
begin
  if tg_op = 'DELETE' or (to_jsonb(new) - mutable) is distinct from (to_jsonb(old) - mutable) or old.settled_at is not null then
    raise exception 'what was found is history' using errcode = 'QT010';
  end if;
  return new;
end $$;
create trigger recon_finding_guard before update or delete on recon_findings for each row execute function app.recon_finding_guard();

-- Firms with open findings, for `doctor`.
create function app.open_findings() returns table (firm text, findings bigint)
  language sql stable security definer set search_path = public, pg_temp as
$$ select coalesce(f.external_id, f.id::text), count(*) from recon_findings r join firms f on f.id = r.firm_id
    where r.settled_at is null group by f.number, f.external_id, f.id order by f.number $$;
alter function app.open_findings() owner to quittance_scan;
revoke execute on function app.open_findings() from public;
grant execute on function app.open_findings() to quittance_worker, quittance_portal;
