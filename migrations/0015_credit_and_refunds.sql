-- What credit and refunds need beside the ledger (0011): credit that uses itself up, days on which credit expires, refunds that
-- are ordered here, and guards that tie what is given back to what the client gets for it.

-- New invoices use up their client's credit before a card is charged (A-17), unless the firm wants to decide each time.
alter table firms add column auto_apply_credit boolean not null default true;

create index credit_lots_by_expiry on credit_lots (firm_id, expires_on) where expires_on is not null;

-- The lock on what some clients may spend, always taken in this order. A function, because a lock on a row takes the right to
-- update it, and balances are updated by postings alone.
create function app.lock_credit(firm uuid, clients uuid[]) returns void
  language plpgsql security definer set search_path = public, pg_temp as $$
begin
  perform 1 from credit_balances where firm_id = firm and client_id = any(clients) order by client_id, currency for update;
end $$;
revoke execute on function app.lock_credit(uuid, uuid[]) from public;
grant execute on function app.lock_credit(uuid, uuid[]) to quittance_worker;

-- A refund that we order: sent_at says that Stripe may have heard of it, so that it is looked up before it is sent again;
-- failure_code says why the money did not leave, or came back.
alter table refunds
  add column sent_at timestamptz,
  add column failure_code text,
  -- Credit is given at once, and Stripe has no part in it.
  add constraint credit_is_given_at_once
    check (destination <> 'credit' or (state = 'succeeded' and stripe_refund_id is null and sent_at is null));

-- As in 0011, and: only what came by card goes back to one, in the payment's own currency.
create or replace function app.refund_guard() returns trigger language plpgsql as $$
declare
  mutable constant text[] := array['state', 'stripe_refund_id', 'sent_at', 'failure_code'];
  paid payments;
  already_out bigint;
begin
  if tg_op = 'UPDATE' then
    if (to_jsonb(new) - mutable) is distinct from (to_jsonb(old) - mutable)
       or (old.state in ('failed', 'canceled') and new.state <> old.state)
       or (old.stripe_refund_id is not null and new.stripe_refund_id is distinct from old.stripe_refund_id)
       or (old.sent_at is not null and new.sent_at is distinct from old.sent_at) then
      raise exception 'refunds are history' using errcode = 'QT010';
    end if;
    return new;
  end if;
  -- What we ask for, or give as credit, may not exceed what is left; what Stripe reports is a fact and is recorded as it is.
  if new.state = 'requested' or new.destination = 'credit' then
    perform pg_advisory_xact_lock(hashtextextended('payment:' || new.payment_id::text, 0));
    select * into paid from payments where firm_id = new.firm_id and id = new.payment_id;
    if new.destination = 'card' and paid.method <> 'stripe' then
      raise exception 'a payment that did not come by card cannot go back to one' using errcode = 'QT016';
    end if;
    if new.currency <> paid.currency then
      raise exception 'a refund is in the currency of its payment, %', paid.currency using errcode = 'QT016';
    end if;
    if exists (select 1 from disputes d where d.firm_id = new.firm_id and d.payment_id = new.payment_id and d.kind = 'chargeback' and d.outcome is null) then
      raise exception 'nothing is refunded while a chargeback on the payment is open' using errcode = 'QT016';
    end if;
    select coalesce((select sum(amount_minor) from refunds r where r.firm_id = new.firm_id and r.payment_id = new.payment_id
                       and r.state not in ('failed', 'canceled')), 0)
         + coalesce((select sum(amount_minor) from disputes d where d.firm_id = new.firm_id and d.payment_id = new.payment_id
                       and d.kind = 'chargeback' and (d.outcome is null or d.outcome = 'lost')), 0)
         -- What became credit when it arrived was given back already.
         + coalesce((select sum(amount_minor) from credit_lots l where l.firm_id = new.firm_id and l.payment_id = new.payment_id), 0)
      into already_out;
    if already_out + new.amount_minor > paid.amount_minor then
      raise exception 'refund of % would exceed the captured % (% is already out)', new.amount_minor, paid.amount_minor, already_out
        using errcode = 'QT016';
    end if;
  end if;
  return new;
end $$;

-- A refund to credit and its credit are one thing: neither is there without the other, and they are worth the same. A refund
-- to a card gives no credit (S13).
create function app.credit_lot_guard() returns trigger language plpgsql as $$
begin
  if new.refund_id is not null and not exists (
      select 1 from refunds r join payments p on p.firm_id = r.firm_id and p.id = r.payment_id
       where r.firm_id = new.firm_id and r.id = new.refund_id and r.destination = 'credit'
         and r.amount_minor = new.amount_minor and r.currency = new.currency and p.client_id = new.client_id) then
    raise exception 'credit for a refund is what a refund to credit gives back, to the client who paid' using errcode = 'QT017';
  end if;
  -- What a payment was too much is booked by the payment itself; a lot for it without that booking would be worth nothing.
  if new.payment_id is not null and not exists (
      select 1 from payments x
        join journals j on j.firm_id = x.firm_id and j.source_key = case when x.method = 'external'
               then 'ext:' || coalesce(x.external_ref, x.id::text) else 'ch:' || x.stripe_charge_id end
        join postings p on p.firm_id = j.firm_id and p.journal_id = j.id
       where x.firm_id = new.firm_id and x.id = new.payment_id and x.client_id = new.client_id
         and p.account = 'client_credit' and p.amount_minor = -new.amount_minor and p.currency = new.currency) then
    raise exception 'credit for a payment is what the payment was too much' using errcode = 'QT017';
  end if;
  return new;
end $$;
create trigger credit_lot_guard before insert on credit_lots for each row execute function app.credit_lot_guard();

create function app.refund_gives_credit() returns trigger language plpgsql as $$
begin
  if not exists (select 1 from credit_lots l where l.firm_id = new.firm_id and l.refund_id = new.id) then
    raise exception 'a refund to credit gives credit' using errcode = 'QT016';
  end if;
  return null;
end $$;
create constraint trigger refund_gives_credit after insert on refunds deferrable initially deferred
  for each row when (new.destination = 'credit') execute function app.refund_gives_credit();
