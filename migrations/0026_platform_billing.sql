-- Platform billing: what a firm itself pays for the platform. Stripe Billing makes those invoices and collects them; what stands
-- here is a mirror of its subscriptions and invoices, and what somebody asked it to do. It shares no row with client billing: its
-- ids have routes of another scope, and no ledger knows of it.

-- Tiers are data. Null is unlimited, never a big number.
create table subscription_tiers (
  tier text primary key check (tier <> ''),
  name text not null,
  monthly_cost_minor bigint not null check (monthly_cost_minor >= 0),
  currency app.ccy not null default 'usd',
  stripe_price_id text unique,                              -- what a new subscription is made with
  max_employees bigint check (max_employees > 0),
  max_agents bigint check (max_agents > 0),
  max_storage_gb bigint check (max_storage_gb > 0),
  retention_days int not null check (retention_days > 0),
  features jsonb not null default '{}',
  display_order int not null unique
);
insert into subscription_tiers (tier, name, monthly_cost_minor, max_employees, max_agents, max_storage_gb, retention_days, features, display_order) values
  ('FREE', 'Free', 0, 5, 5, 10, 30, '{"screenshots": false, "website_tracking": false, "priority_support": false}', 1),
  ('PRO', 'Pro', 2900, 50, 50, 100, 60, '{"screenshots": true, "website_tracking": true, "priority_support": false}', 2),
  ('ENTERPRISE', 'Enterprise', 9900, null, null, 1000, 365, '{"screenshots": true, "website_tracking": true, "priority_support": true}', 3);

-- Every price that a tier ever had: who subscribed before the price changed keeps the old one, and the tier.
create table subscription_prices (
  stripe_price_id text primary key,
  tier text not null references subscription_tiers,
  set_at timestamptz not null
);
alter table subscription_tiers add foreign key (stripe_price_id) references subscription_prices;
grant select on subscription_tiers, subscription_prices to quittance_worker, quittance_portal, quittance_readonly, quittance_scan;
grant update (stripe_price_id) on subscription_tiers to quittance_worker;
grant insert on subscription_prices to quittance_worker;

-- A firm as a customer of the platform.
create table platform_customers (
  firm_id uuid primary key references firms,
  stripe_customer_id text unique,                           -- null until Stripe has made one
  billing_email text check (billing_email like '%_@_%'),
  email_synced_at timestamptz,                              -- when Stripe took this address; null: not yet
  created_at timestamptz not null
);
call app.protect_firm_table('platform_customers');
grant insert, update on platform_customers to quittance_worker;

-- Subscriptions as Stripe has them: its status word for word, and what that means here.
create table platform_subscriptions (
  firm_id uuid not null references platform_customers,
  id uuid not null,
  stripe_subscription_id text not null unique,
  stripe_item_id text,                                      -- what a change of tier changes
  stripe_price_id text,
  tier text,                                                -- by its price; null where no tier has that price
  stripe_status text not null,
  status text not null generated always as (
    case when stripe_status in ('active', 'trialing') then 'ACTIVE'
         when stripe_status in ('past_due', 'unpaid') then 'PAST_DUE'
         when stripe_status = 'canceled' then 'CANCELLED'
         else 'INACTIVE' end) stored,
  current_period_start timestamptz, current_period_end timestamptz,
  cancel_at_period_end boolean not null,
  canceled_at timestamptz, ended_at timestamptz,            -- asked for, and over
  default_payment_method_id text,
  card_brand text, card_last4 text check (card_last4 ~ '^[0-9]{4}$'), card_exp_month int, card_exp_year int,
  created_at timestamptz not null,                          -- Stripe's clock
  fetched_at timestamptz not null,                          -- business clock: as it was then
  primary key (firm_id, id)
);
call app.protect_firm_table('platform_subscriptions');
grant insert, update on platform_subscriptions to quittance_worker;
create index platform_subscriptions_by_time on platform_subscriptions (firm_id, created_at);

create function app.platform_subscription_guard() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' or (new.firm_id, new.id, new.stripe_subscription_id) is distinct from (old.firm_id, old.id, old.stripe_subscription_id) then
    raise exception 'a subscription is history and keeps its id' using errcode = 'QT010';
  end if;
  if old.stripe_status in ('canceled', 'incomplete_expired') and new.stripe_status not in ('canceled', 'incomplete_expired') then
    raise exception 'a subscription that ended stays ended' using errcode = 'QT010';
  end if;
  return new;
end $$;
create trigger platform_subscription_guard before update or delete on platform_subscriptions
  for each row execute function app.platform_subscription_guard();

-- Its invoices, made by any event that tells of one.
create table platform_invoices (
  firm_id uuid not null references platform_customers,
  id uuid not null,
  stripe_invoice_id text not null unique,
  stripe_subscription_id text,                              -- none on an invoice that was made by hand
  number text,
  stripe_status text not null,
  status text not null generated always as (upper(stripe_status)) stored,
  currency app.ccy not null,
  amount_due_minor bigint not null, amount_paid_minor bigint not null, amount_remaining_minor bigint not null,
  billing_reason text,
  period_start timestamptz, period_end timestamptz,
  issued_at timestamptz, due_at timestamptz, paid_at timestamptz,
  attempt_count int not null default 0, next_attempt_at timestamptz,
  hosted_invoice_url text, pdf_url text,
  created_at timestamptz not null,                          -- Stripe's clock
  fetched_at timestamptz not null,
  primary key (firm_id, id)
);
call app.protect_firm_table('platform_invoices');
grant insert, update on platform_invoices to quittance_worker;
create index platform_invoices_by_time on platform_invoices (firm_id, created_at, id);

create function app.platform_invoice_guard() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' or (new.firm_id, new.id, new.stripe_invoice_id) is distinct from (old.firm_id, old.id, old.stripe_invoice_id) then
    raise exception 'an invoice of the platform is history and keeps its id' using errcode = 'QT010';
  end if;
  -- Money that came is there, whatever was said of the invoice.
  if old.stripe_status in ('paid', 'void') and new.stripe_status not in (old.stripe_status, 'paid') then
    raise exception 'an invoice of the platform that is % stays so', old.stripe_status using errcode = 'QT010';
  end if;
  return new;
end $$;
create trigger platform_invoice_guard before update or delete on platform_invoices
  for each row execute function app.platform_invoice_guard();

-- What a firm uses of what its tier allows, as whoever counts it reports it.
create table platform_usage (
  firm_id uuid not null references firms,
  metric text not null check (metric in ('employees', 'agents', 'storage_gb')),
  used bigint not null check (used >= 0),
  measured_at timestamptz not null,
  reported_by text not null check (reported_by <> ''),
  primary key (firm_id, metric)
);
call app.protect_firm_table('platform_usage');
grant insert, update on platform_usage to quittance_worker;

-- What somebody asked Stripe to do. Written with its job; its id is the idempotency key of whatever is sent for it.
create table platform_requests (
  firm_id uuid not null references firms,
  id uuid not null,
  kind text not null check (kind in ('customer', 'billing_email', 'subscribe', 'change_tier', 'auto_renewal', 'cancel', 'billing_link', 'checkout_link')),
  tier text,
  auto_renewal boolean,
  return_url text,                                          -- where Stripe's page leads back to
  reason text check (reason <> ''),
  requested_by text not null check (requested_by <> ''),
  requested_at timestamptz not null,
  state text not null default 'requested' check (state in ('requested', 'done', 'failed')),
  failure_code text,
  sent_at timestamptz, finished_at timestamptz,
  primary key (firm_id, id),
  constraint request_names_what_it_needs check (
    (kind in ('subscribe', 'change_tier', 'checkout_link')) = (tier is not null) and (kind = 'auto_renewal') = (auto_renewal is not null)
    and (kind in ('billing_link', 'checkout_link')) = (return_url is not null)),
  check ((state = 'requested') = (finished_at is null)),
  check ((state = 'failed') = (failure_code is not null))
);
-- Two changes at a time would each be decided by what the other is about to change. A link changes nothing.
create unique index one_open_platform_change on platform_requests (firm_id)
  where state = 'requested' and kind in ('customer', 'subscribe', 'change_tier', 'auto_renewal', 'cancel');
create unique index platform_requests_id on platform_requests (id);
call app.protect_firm_table('platform_requests');
grant insert, update on platform_requests to quittance_worker;

create function app.platform_request_guard() returns trigger language plpgsql as $$
declare
  mutable constant text[] := array['state', 'failure_code', 'sent_at', 'finished_at'];
begin
  if tg_op = 'DELETE' or old.state <> 'requested' or (to_jsonb(new) - mutable) is distinct from (to_jsonb(old) - mutable) then
    raise exception 'what was asked of Stripe is history' using errcode = 'QT010';
  end if;
  return new;
end $$;
create trigger platform_request_guard before update or delete on platform_requests
  for each row execute function app.platform_request_guard();

-- Whoever has such an address may act for the firm until it expires, so it is kept apart and goes away.
create table platform_links (
  firm_id uuid not null,
  request_id uuid not null,
  url text not null,
  expires_at timestamptz not null,
  primary key (firm_id, request_id),
  foreign key (firm_id, request_id) references platform_requests (firm_id, id)
);
call app.protect_firm_table('platform_links');
revoke select on platform_links from quittance_readonly, quittance_operator;
grant insert, delete on platform_links to quittance_worker;

-- Whose an object of platform billing is. `our_id`: the firm for a customer and an intent, else the row.
alter table stripe_routes drop constraint stripe_routes_kind_check;
alter table stripe_routes add constraint stripe_routes_kind_check check (kind in (
  'customer', 'payment_method', 'payment_intent', 'charge', 'refund', 'dispute',
  'platform_customer', 'platform_subscription', 'platform_invoice', 'platform_payment_intent'));
alter table stripe_routes add constraint stripe_routes_scope_of_kind check ((scope = 'platform_billing') = starts_with(kind, 'platform_'));

-- The portal asks and does nothing itself: a request, its job and its audit row, in one transaction, of its own firm alone.
grant insert on platform_requests to quittance_portal;
grant insert (firm_id, billing_email, created_at), update (billing_email, email_synced_at) on platform_customers to quittance_portal;
grant insert on jobs to quittance_portal;
create policy asks_stripe on jobs for insert to quittance_portal
  with check (firm_id = (select app.firm()) and kind = 'platform_request' and state = 'available');
grant insert (firm_id, at, category, action, severity, actor_kind, actor_id, subject_kind, subject_id, cause_kind, cause_id, meta)
  on audit_events to quittance_portal;
grant insert on audit_unsealed to quittance_portal;
