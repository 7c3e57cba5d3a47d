-- Engagements (signed ones are frozen), the periods billed for them, and time.
create table engagements (
  firm_id uuid not null,
  id uuid not null,
  external_id text,
  client_id uuid not null,
  lineage_id uuid not null,                                 -- a renewal shares it; terms of one lineage never overlap
  version int not null default 1,
  renews_id uuid,
  pricing_mode text not null check (pricing_mode in ('package', 'hourly', 'mixed')),
  currency app.ccy not null,
  package_fee_minor bigint check (package_fee_minor > 0),
  cadence text check (cadence in ('monthly', 'quarterly', 'annual', 'one_time')),
  period_anchor text not null default 'calendar' check (period_anchor in ('calendar', 'anniversary')),
  proration text not null default 'full_fee' check (proration in ('full_fee', 'daily')),
  charge_timing text not null default 'on_issue' check (charge_timing in ('on_issue', 'on_due')),
  hourly_rate_minor bigint check (hourly_rate_minor > 0),
  starts_on date not null,
  ends_on date,                                             -- half-open [starts_on, ends_on)
  status text not null default 'draft' check (status in ('draft', 'signed', 'ended', 'canceled')),
  signed_at timestamptz,
  created_at timestamptz not null default now(),
  primary key (firm_id, id),
  unique (firm_id, external_id),
  unique (firm_id, lineage_id, version),
  foreign key (firm_id, client_id) references clients (firm_id, id),
  foreign key (firm_id, renews_id) references engagements (firm_id, id),
  check (ends_on is null or ends_on > starts_on),
  check ((pricing_mode in ('package', 'mixed')) = (package_fee_minor is not null)),
  check ((pricing_mode in ('package', 'mixed')) = (cadence is not null)),
  check ((pricing_mode in ('hourly', 'mixed')) = (hourly_rate_minor is not null)),
  check ((status = 'draft') = (signed_at is null)),
  constraint engagement_terms_overlap
    exclude using gist (lineage_id with =, daterange(starts_on, ends_on) with &&) where (status in ('signed', 'ended'))
);
create unique index engagements_id on engagements (id);
create index engagements_external_id on engagements (external_id) where external_id is not null;
create index engagements_billable on engagements (firm_id, id)
  where status in ('signed', 'ended') and pricing_mode in ('package', 'mixed');

create function app.engagement_guard() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' then
    if old.signed_at is not null then
      raise exception 'a signed engagement is immutable' using errcode = 'QT011';
    end if;
    return old;
  end if;
  if old.signed_at is not null then
    if (to_jsonb(new) - array['status', 'ends_on']) is distinct from (to_jsonb(old) - array['status', 'ends_on']) then
      raise exception 'a signed engagement is immutable' using errcode = 'QT011';
    end if;
    if new.ends_on is distinct from old.ends_on and (new.ends_on is null or (old.ends_on is not null and new.ends_on > old.ends_on)) then
      raise exception 'a signed engagement may only be shortened' using errcode = 'QT011';
    end if;
    if not ((old.status, new.status) in (('signed', 'signed'), ('signed', 'ended'), ('signed', 'canceled'),
                                         ('ended', 'ended'), ('canceled', 'canceled'))) then
      raise exception 'engagement cannot go from % to %', old.status, new.status using errcode = 'QT011';
    end if;
  end if;
  return new;
end $$;
create trigger engagement_guard before update or delete on engagements for each row execute function app.engagement_guard();

create table time_entries (
  firm_id uuid not null,
  id uuid not null,
  external_id text,
  engagement_id uuid not null,
  worker text not null,
  worked_on date not null,
  minutes int not null check (minutes between 1 and 1440),
  rate_minor bigint check (rate_minor >= 0),                -- per hour, frozen at approval
  currency app.ccy not null,
  state text not null default 'draft' check (state in ('draft', 'submitted', 'approved', 'rejected')),
  approved_by text, approved_at timestamptz,
  client_approved_by text, client_approved_at timestamptz,
  created_at timestamptz not null default now(),
  primary key (firm_id, id),
  unique (firm_id, external_id),
  foreign key (firm_id, engagement_id) references engagements (firm_id, id),
  check ((state = 'approved') = (approved_by is not null and approved_at is not null and rate_minor is not null))
);
