-- Collection: one PaymentIntent per cycle, one row per attempt, and the money facts that came of it.
create table collection_cycles (
  firm_id uuid not null,
  id uuid not null,
  invoice_id uuid not null,
  seq int not null,
  stripe_payment_intent_id text unique,
  amount_minor bigint not null check (amount_minor > 0),    -- what the intent was created for; kept in step with it
  currency app.ccy not null,
  state text not null check (state in ('scheduled', 'in_flight', 'retry_wait', 'action_required', 'method_required',
                                       'unknown', 'paused', 'succeeded', 'exhausted', 'canceled')),
  state_reason text,
  first_failed_at timestamptz,
  next_attempt_at timestamptz,
  next_step int not null default 0,                         -- of the attempt that is due next: 0 the first, 1–3 the retries
  next_trigger text not null default 'auto' check (next_trigger in ('auto', 'retry', 'method_updated', 'manual', 'portal')),
  policy jsonb not null,                                    -- the firm's retry policy when the cycle began
  version int not null default 1,                           -- counts state changes; part of job keys
  created_at timestamptz not null default now(),
  primary key (firm_id, id),
  unique (firm_id, invoice_id, seq),
  foreign key (firm_id, invoice_id) references invoices (firm_id, id),
  check ((state in ('scheduled', 'retry_wait')) <= (next_attempt_at is not null))
);
create unique index one_live_cycle_per_invoice on collection_cycles (firm_id, invoice_id)
  where state not in ('succeeded', 'exhausted', 'canceled');
create index collection_cycles_due on collection_cycles (next_attempt_at) where state in ('scheduled', 'retry_wait');

create table payment_attempts (
  firm_id uuid not null,
  id uuid not null,
  cycle_id uuid not null,
  seq int not null,                                         -- 1, 2, 3 … in the order they were made
  step int not null,                                        -- 0 the first, 1–3 the retries of day 3, 7, 14
  trigger text not null check (trigger in ('auto', 'retry', 'method_updated', 'manual', 'portal')),
  counts_toward_ladder boolean not null,
  payment_method_id uuid not null,
  amount_minor bigint not null check (amount_minor > 0),
  idempotency_key text not null unique,
  state text not null default 'created' check (state in ('created', 'sent', 'processing', 'action_required',
                                                         'succeeded', 'declined', 'technical', 'unknown', 'canceled')),
  stripe_charge_id text unique,
  stripe_request_id text,
  failure_class text check (failure_class in ('soft', 'hard', 'customer', 'technical', 'bug')),
  failure_code text, decline_code text, advice_code text, network_decline_code text,
  created_at timestamptz not null,
  sent_at timestamptz, resolved_at timestamptz,
  primary key (firm_id, id),
  unique (firm_id, cycle_id, seq),
  foreign key (firm_id, cycle_id) references collection_cycles (firm_id, id),
  foreign key (firm_id, payment_method_id) references payment_methods (firm_id, id),
  check (state not in ('declined', 'technical') or failure_class is not null),
  check ((state in ('succeeded', 'declined', 'technical', 'canceled')) = (resolved_at is not null))
);
create unique index one_step_once on payment_attempts (firm_id, cycle_id, step) where counts_toward_ladder;
create unique index one_open_attempt on payment_attempts (firm_id, cycle_id)
  where state in ('created', 'sent', 'processing', 'action_required', 'unknown');
create index payment_attempts_open_outcome on payment_attempts (coalesce(sent_at, created_at))
  where state in ('created', 'sent', 'processing', 'action_required', 'unknown');

-- An attempt only moves forward; what was asked for never changes; an outcome is final (a late success excepted).
create function app.attempt_guard() returns trigger language plpgsql as $$
declare
  mutable constant text[] := array['state', 'counts_toward_ladder', 'stripe_charge_id', 'stripe_request_id', 'failure_class', 'failure_code',
                                   'decline_code', 'advice_code', 'network_decline_code', 'sent_at', 'resolved_at'];
begin
  if tg_op = 'DELETE' or (to_jsonb(new) - mutable) is distinct from (to_jsonb(old) - mutable) then
    raise exception 'payment attempts are history' using errcode = 'QT010';
  end if;
  if old.state in ('succeeded', 'declined', 'technical', 'canceled') and new is distinct from old then
    raise exception 'payment attempt already ended as %', old.state using errcode = 'QT010';
  end if;
  return new;
end $$;
create trigger attempt_guard before update or delete on payment_attempts for each row execute function app.attempt_guard();

create function app.cycle_guard() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' then
    raise exception 'collection cycles are history' using errcode = 'QT010';
  end if;
  if old.state = 'succeeded' and new.state <> 'succeeded' then
    raise exception 'a succeeded collection cycle stays succeeded' using errcode = 'QT010';
  end if;
  if old.stripe_payment_intent_id is not null and new.stripe_payment_intent_id is distinct from old.stripe_payment_intent_id then
    raise exception 'a collection cycle keeps its PaymentIntent' using errcode = 'QT010';
  end if;
  if old.state in ('exhausted', 'canceled') and new.state not in (old.state, 'succeeded') then
    raise exception 'collection cycle already ended as %', old.state using errcode = 'QT010';
  end if;
  new.version := old.version + 1;
  return new;
end $$;
create trigger cycle_guard before update or delete on collection_cycles for each row execute function app.cycle_guard();

-- Money that really arrived. One row per charge, for ever.
create table payments (
  firm_id uuid not null,
  id uuid not null,
  client_id uuid not null,
  invoice_id uuid,
  method text not null check (method in ('stripe', 'external')),
  stripe_payment_intent_id text, stripe_charge_id text unique,
  external_ref text,
  amount_minor bigint not null check (amount_minor > 0),
  currency app.ccy not null,
  received_at timestamptz not null,
  recorded_at timestamptz not null,
  cause text not null,                                      -- event or job that recorded it
  primary key (firm_id, id),
  unique (firm_id, method, external_ref),
  foreign key (firm_id, client_id) references clients (firm_id, id),
  foreign key (firm_id, invoice_id) references invoices (firm_id, id),
  check ((method = 'stripe') = (stripe_charge_id is not null))
);
create index payments_by_invoice on payments (firm_id, invoice_id);

create table refunds (
  firm_id uuid not null,
  id uuid not null,
  payment_id uuid not null,
  stripe_refund_id text unique,
  amount_minor bigint not null check (amount_minor > 0),
  currency app.ccy not null,
  destination text not null default 'card' check (destination in ('card', 'credit')),
  state text not null check (state in ('requested', 'pending', 'succeeded', 'failed', 'canceled')),
  reason text not null default '',
  requested_by text,
  created_at timestamptz not null,
  primary key (firm_id, id),
  foreign key (firm_id, payment_id) references payments (firm_id, id)
);
create index refunds_by_payment on refunds (firm_id, payment_id);

create table disputes (
  firm_id uuid not null,
  id uuid not null,
  payment_id uuid not null,
  stripe_dispute_id text not null unique,
  stripe_status text not null,                              -- verbatim
  kind text not null check (kind in ('inquiry', 'chargeback')),
  reason text, network_reason_code text,
  amount_minor bigint not null check (amount_minor >= 0),
  currency app.ccy not null,
  opened_at timestamptz not null,
  respond_by timestamptz, closed_at timestamptz,
  outcome text check (outcome in ('won', 'lost', 'withdrawn', 'inquiry_closed')),
  primary key (firm_id, id),
  foreign key (firm_id, payment_id) references payments (firm_id, id),
  check ((outcome is null) = (closed_at is null))
);
create index disputes_by_payment on disputes (firm_id, payment_id);

-- What a dispute did to the balance: one row per balance transaction and kind (Stripe puts amount and fee in one).
create table dispute_movements (
  firm_id uuid not null,
  stripe_balance_transaction_id text not null,
  kind text not null check (kind in ('withdrawn', 'reinstated', 'fee', 'fee_refund')),
  dispute_id uuid not null,
  amount_minor bigint not null check (amount_minor > 0),
  currency app.ccy not null,                                -- settlement currency, not always the charge's
  at timestamptz not null,
  primary key (stripe_balance_transaction_id, kind),
  foreign key (firm_id, dispute_id) references disputes (firm_id, id)
);
create index dispute_movements_by_dispute on dispute_movements (firm_id, dispute_id);

create function app.refund_guard() returns trigger language plpgsql as $$
declare
  captured bigint;
  already_out bigint;
begin
  if tg_op = 'UPDATE' then
    if (to_jsonb(new) - array['state', 'stripe_refund_id']) is distinct from (to_jsonb(old) - array['state', 'stripe_refund_id'])
       or (old.state in ('failed', 'canceled') and new.state <> old.state)
       or (old.stripe_refund_id is not null and new.stripe_refund_id is distinct from old.stripe_refund_id) then
      raise exception 'refunds are history' using errcode = 'QT010';
    end if;
    return new;
  end if;
  -- A refund that we ask for may not exceed what is left; one that Stripe reports is a fact and is recorded as it is.
  if new.state = 'requested' then
    perform pg_advisory_xact_lock(hashtextextended('payment:' || new.payment_id::text, 0));
    select amount_minor into captured from payments where firm_id = new.firm_id and id = new.payment_id;
    select coalesce((select sum(amount_minor) from refunds r where r.firm_id = new.firm_id and r.payment_id = new.payment_id
                       and r.state not in ('failed', 'canceled')), 0)
         + coalesce((select sum(amount_minor) from disputes d where d.firm_id = new.firm_id and d.payment_id = new.payment_id
                       and d.kind = 'chargeback' and (d.outcome is null or d.outcome = 'lost')), 0)
      into already_out;
    if already_out + new.amount_minor > captured then
      raise exception 'refund of % would exceed the captured % (% is already out)', new.amount_minor, captured, already_out
        using errcode = 'QT016';
    end if;
  end if;
  return new;
end $$;
create trigger refund_guard before insert or update on refunds for each row execute function app.refund_guard();

create function app.dispute_guard() returns trigger language plpgsql as $$
declare
  mutable constant text[] := array['stripe_status', 'kind', 'respond_by', 'closed_at', 'outcome', 'reason', 'network_reason_code', 'amount_minor'];
begin
  if tg_op = 'DELETE' or (to_jsonb(new) - mutable) is distinct from (to_jsonb(old) - mutable) then
    raise exception 'disputes are history' using errcode = 'QT010';
  end if;
  if old.outcome is not null and new.outcome is distinct from old.outcome then
    raise exception 'dispute already ended as %', old.outcome using errcode = 'QT010';
  end if;
  if old.kind = 'chargeback' and new.kind = 'inquiry' then
    raise exception 'a chargeback never becomes an inquiry' using errcode = 'QT010';
  end if;
  return new;
end $$;
create trigger dispute_guard before update or delete on disputes for each row execute function app.dispute_guard();

do $$
declare t text;
begin
  foreach t in array array['payments', 'dispute_movements'] loop
    execute format('create trigger append_only before update or delete on %I for each row execute function app.append_only()', t);
    execute format('create trigger no_truncate before truncate on %I for each statement execute function app.append_only()', t);
  end loop;
  foreach t in array array['payment_attempts', 'collection_cycles', 'refunds', 'disputes', 'invoices', 'invoice_lines', 'engagements', 'billing_periods'] loop
    execute format('create trigger no_truncate before truncate on %I for each statement execute function app.append_only()', t);
  end loop;
end $$;
