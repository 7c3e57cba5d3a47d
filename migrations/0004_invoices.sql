-- Invoices, their lines, and the periods they bill. An issued invoice is frozen; its one-word status is a view (0008).
create table invoice_counters (
  firm_id uuid not null references firms,
  prefix text not null,
  last bigint not null default 0,
  primary key (firm_id, prefix)
);

create table invoices (
  firm_id uuid not null,
  id uuid not null,
  external_id text,
  client_id uuid not null,
  number text,
  engagement_id uuid,
  engagement_override boolean not null default false,
  engagement_override_reason text, engagement_override_by text,
  project_id uuid,
  source text not null check (source in ('package', 'hourly', 'mixed', 'manual', 'import')),
  currency app.ccy not null,
  doc_state text not null default 'draft' check (doc_state in ('draft', 'issued', 'void_requested', 'void', 'written_off')),
  issue_date date, due_date date, issued_at timestamptz,
  subtotal_minor bigint not null default 0 check (subtotal_minor >= 0),
  tax_minor bigint not null default 0 check (tax_minor >= 0),
  total_minor bigint generated always as (subtotal_minor + tax_minor) stored,
  autopay_opt_in boolean not null default false,
  autopay_next_charge_at timestamptz,
  fenced_reason text,                                       -- never charged automatically while set
  policy jsonb not null default '{}',
  created_at timestamptz not null default now(),
  primary key (firm_id, id),
  unique (number),
  unique (firm_id, external_id),
  foreign key (firm_id, client_id) references clients (firm_id, id),
  foreign key (firm_id, engagement_id) references engagements (firm_id, id),
  check (engagement_id is not null
         or (engagement_override and coalesce(engagement_override_reason, '') <> '' and engagement_override_by is not null)),
  check (doc_state = 'draft' or (number is not null and issued_at is not null and issue_date is not null and due_date is not null)),
  check (due_date >= issue_date)
);
create unique index invoices_id on invoices (id);
create index invoices_external_id on invoices (external_id) where external_id is not null;
create index invoices_by_client on invoices (firm_id, client_id);
create index invoices_autopay_due on invoices (autopay_next_charge_at)
  where doc_state = 'issued' and autopay_opt_in and autopay_next_charge_at is not null;

create table invoice_lines (
  firm_id uuid not null,
  id uuid not null,
  invoice_id uuid not null,
  line_no int not null,
  kind text not null check (kind in ('package_fee', 'hourly', 'adjustment')),
  description_code text not null default '',
  quantity_minutes int, rate_minor bigint,
  amount_minor bigint not null,
  time_entry_id uuid,
  released_at timestamptz,
  derivation jsonb not null default '{}',                   -- how the amount came about: enough to recompute it
  primary key (firm_id, id),
  unique (firm_id, invoice_id, line_no),
  foreign key (firm_id, invoice_id) references invoices (firm_id, id),
  foreign key (firm_id, time_entry_id) references time_entries (firm_id, id),
  check (time_entry_id is null or kind = 'hourly')
);
create unique index one_live_line_per_time_entry on invoice_lines (firm_id, time_entry_id)
  where released_at is null and time_entry_id is not null;

-- The idempotency key of package generation: one unreleased period per engagement and day.
create table billing_periods (
  firm_id uuid not null,
  engagement_id uuid not null,
  period_start date not null,
  period_end date not null,
  generation int not null default 1,
  invoice_id uuid not null,
  released_at timestamptz, release_reason text,
  derivation jsonb not null default '{}',
  primary key (firm_id, engagement_id, period_start, generation),
  foreign key (firm_id, engagement_id) references engagements (firm_id, id),
  foreign key (firm_id, invoice_id) references invoices (firm_id, id) deferrable initially deferred,
  check (period_end > period_start),
  check ((released_at is null) = (release_reason is null)),
  constraint billing_periods_overlap
    exclude using gist (engagement_id with =, daterange(period_start, period_end) with &&) where (released_at is null)
);
create index billing_periods_by_invoice on billing_periods (firm_id, invoice_id);

create function app.billing_period_guard() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' or old.released_at is not null
     or (to_jsonb(new) - array['released_at', 'release_reason']) is distinct from (to_jsonb(old) - array['released_at', 'release_reason']) then
    raise exception 'a billed period can only be released' using errcode = 'QT012';
  end if;
  return new;
end $$;
create trigger billing_period_guard before update or delete on billing_periods for each row execute function app.billing_period_guard();

create function app.invoice_guard() returns trigger language plpgsql as $$
declare
  mutable constant text[] := array['doc_state', 'autopay_opt_in', 'autopay_next_charge_at', 'fenced_reason', 'total_minor'];
begin
  if tg_op = 'DELETE' then
    if old.doc_state <> 'draft' then
      raise exception 'an issued invoice cannot be deleted' using errcode = 'QT013';
    end if;
    return old;
  end if;
  if not ((old.doc_state, new.doc_state) in (
      ('draft', 'draft'), ('draft', 'issued'), ('issued', 'issued'), ('issued', 'void_requested'),
      ('void_requested', 'issued'), ('void_requested', 'void_requested'), ('void_requested', 'void'),
      ('issued', 'written_off'), ('written_off', 'issued'), ('written_off', 'written_off'), ('void', 'void'))) then
    raise exception 'invoice cannot go from % to %', old.doc_state, new.doc_state using errcode = 'QT013';
  end if;
  if old.doc_state <> 'draft' and (to_jsonb(new) - mutable) is distinct from (to_jsonb(old) - mutable) then
    raise exception 'the content of an issued invoice is immutable' using errcode = 'QT013';
  end if;
  return new;
end $$;
create trigger invoice_guard before update or delete on invoices for each row execute function app.invoice_guard();

-- Lines add up to the subtotal at commit, whatever wrote them.
create function app.invoice_totals() returns trigger language plpgsql as $$
declare
  changed jsonb := to_jsonb(case when tg_op = 'DELETE' then old else new end);
  firm uuid := (changed ->> 'firm_id')::uuid;
  invoice uuid := (changed ->> case when tg_table_name = 'invoices' then 'id' else 'invoice_id' end)::uuid;
  stated bigint;
  summed bigint;
begin
  select subtotal_minor into stated from invoices where firm_id = firm and id = invoice and doc_state <> 'draft';
  if not found then return null; end if;
  select coalesce(sum(amount_minor), 0) into summed from invoice_lines where firm_id = firm and invoice_id = invoice;
  if summed <> stated then
    raise exception 'invoice %: lines add up to %, subtotal says %', invoice, summed, stated using errcode = 'QT014';
  end if;
  return null;
end $$;
create constraint trigger invoice_totals after insert or update of subtotal_minor, doc_state on invoices
  deferrable initially deferred for each row execute function app.invoice_totals();
create constraint trigger invoice_line_totals after update or delete on invoice_lines
  deferrable initially deferred for each row execute function app.invoice_totals();

create function app.invoice_line_guard() returns trigger language plpgsql as $$
declare
  doc text;
  entry text;
begin
  if tg_op = 'DELETE' then
    select doc_state into doc from invoices where firm_id = old.firm_id and id = old.invoice_id;
    if doc <> 'draft' then raise exception 'lines of an issued invoice are immutable' using errcode = 'QT013'; end if;
    return old;
  end if;
  select doc_state into doc from invoices where firm_id = new.firm_id and id = new.invoice_id;
  if tg_op = 'INSERT' then
    if doc is distinct from 'draft' then raise exception 'lines of an issued invoice are immutable' using errcode = 'QT013'; end if;
    if new.time_entry_id is not null then
      select state into entry from time_entries where firm_id = new.firm_id and id = new.time_entry_id for share;
      if entry is distinct from 'approved' then
        raise exception 'time entry is %, not invoiceable', entry using errcode = 'QT015';
      end if;
    end if;
    return new;
  end if;
  if doc <> 'draft' and (to_jsonb(new) - 'released_at') is distinct from (to_jsonb(old) - 'released_at') then
    raise exception 'lines of an issued invoice are immutable' using errcode = 'QT013';
  end if;
  if new.released_at is distinct from old.released_at and doc not in ('void', 'draft') then
    raise exception 'time is released only by a void' using errcode = 'QT015';
  end if;
  return new;
end $$;
create trigger invoice_line_guard before insert or update or delete on invoice_lines for each row execute function app.invoice_line_guard();

create function app.time_guard() returns trigger language plpgsql as $$
begin
  if exists (select 1 from invoice_lines l where l.firm_id = old.firm_id and l.time_entry_id = old.id and l.released_at is null) then
    raise exception 'time entry is on an invoice' using errcode = 'QT015';
  end if;
  if tg_op = 'DELETE' then return old; end if;
  if old.state = 'approved' and new.state = 'approved' and to_jsonb(new) is distinct from to_jsonb(old) then
    raise exception 'approved time must be reopened before editing' using errcode = 'QT015';
  end if;
  return new;
end $$;
create trigger time_guard before update or delete on time_entries for each row execute function app.time_guard();
