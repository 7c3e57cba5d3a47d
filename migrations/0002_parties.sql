-- Firms (tenants), their people, their clients, and references to stored cards.
create table firms (
  id uuid primary key,
  number bigint generated always as identity unique,       -- short and stable: part of invoice numbers
  external_id text unique,
  name text not null,
  timezone text not null default 'UTC',
  default_currency app.ccy not null default 'usd',
  payment_terms_days int not null default 30 check (payment_terms_days between 0 and 365),
  retry_policy jsonb not null default '{"version":1,"offsets_days":[3,7,14],"basis":"first_failure"}',
  autopay_paused_at timestamptz, autopay_paused_reason text,
  invoicing_paused_at timestamptz,
  parked_reason text,
  created_at timestamptz not null default now(),
  check ((autopay_paused_at is null) = (autopay_paused_reason is null))
);

create table clients (
  firm_id uuid not null references firms,
  id uuid not null,
  external_id text,
  name text not null,
  stripe_customer_id text unique,
  autopay_enabled boolean not null default false,
  autopay_payment_method_id uuid,
  autopay_changed_at timestamptz,
  autopay_paused_at timestamptz, autopay_paused_reason text,
  parked_reason text,
  created_at timestamptz not null default now(),
  primary key (firm_id, id),
  unique (firm_id, external_id),
  check ((autopay_paused_at is null) = (autopay_paused_reason is null))
);
create unique index clients_id on clients (id);
create index clients_external_id on clients (external_id) where external_id is not null;

create table users (
  firm_id uuid not null references firms,
  id uuid not null,
  external_id text,
  name text not null,
  role text not null check (role in ('owner', 'admin', 'manager', 'staff', 'client')),
  client_id uuid,                                           -- a portal user sees this client only
  can_view_billing boolean not null default false,
  created_at timestamptz not null default now(),
  primary key (firm_id, id),
  unique (firm_id, external_id),
  foreign key (firm_id, client_id) references clients (firm_id, id),
  check ((role = 'client') = (client_id is not null))
);

-- References only; there is no column that could hold a card number.
create table payment_methods (
  firm_id uuid not null,
  id uuid not null,
  client_id uuid not null,
  stripe_payment_method_id text not null unique,
  fingerprint text, brand text, last4 text check (last4 ~ '^[0-9]{4}$'),
  exp_month int check (exp_month between 1 and 12), exp_year int check (exp_year between 2000 and 2100),
  status text not null default 'active' check (status in ('active', 'needs_update', 'detached')),
  updated_by_network_at timestamptz,
  created_at timestamptz not null default now(),
  primary key (firm_id, id),
  unique (firm_id, client_id, id),
  foreign key (firm_id, client_id) references clients (firm_id, id)
);
alter table clients add foreign key (firm_id, id, autopay_payment_method_id)
  references payment_methods (firm_id, client_id, id);
alter table clients add check (not autopay_enabled or autopay_payment_method_id is not null);

-- The one cross-firm read: which firm and which row of ours a Stripe object belongs to. Written with that row.
create table stripe_routes (
  stripe_id text primary key,
  scope text not null default 'client_billing' check (scope in ('client_billing', 'platform_billing')),
  kind text not null check (kind in ('customer', 'payment_method', 'payment_intent', 'charge', 'refund', 'dispute')),
  firm_id uuid not null references firms,
  our_id uuid not null
);
