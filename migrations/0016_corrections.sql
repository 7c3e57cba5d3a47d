-- What a person corrects: invoices voided and written off while a charge may be under way, drafts given up, lost disputes
-- decided.

-- When Stripe said that the intent is canceled: from then on it captures nothing. A void waits for it.
alter table collection_cycles add column intent_canceled_at timestamptz;

-- Whether a chargeback for fraud stops automatic payment of everything else that its client owes.
alter table firms add column pause_client_on_fraud boolean not null default true;

alter table decisions drop constraint decisions_kind_check;
alter table decisions add constraint decisions_kind_check check (kind in (
  'generate_package', 'issue', 'charge', 'retry', 'apply_credit', 'refund', 'void', 'alert', 'match_event', 'write_off', 'dispute'));

-- A draft owes nothing, so giving it up is a void at once. It never had a number.
alter table invoices drop constraint invoices_check1;
alter table invoices add constraint issued_is_dated check (doc_state in ('draft', 'void')
  or (number is not null and issued_at is not null and issue_date is not null and due_date is not null));

create or replace function app.invoice_guard() returns trigger language plpgsql as $$
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
      ('draft', 'draft'), ('draft', 'issued'), ('draft', 'void'), ('issued', 'issued'), ('issued', 'void_requested'),
      ('void_requested', 'issued'), ('void_requested', 'void_requested'), ('void_requested', 'void'),
      ('issued', 'written_off'), ('written_off', 'issued'), ('written_off', 'written_off'), ('void', 'void'))) then
    raise exception 'invoice cannot go from % to %', old.doc_state, new.doc_state using errcode = 'QT013';
  end if;
  if old.doc_state <> 'draft' and (to_jsonb(new) - mutable) is distinct from (to_jsonb(old) - mutable) then
    raise exception 'the content of an issued invoice is immutable' using errcode = 'QT013';
  end if;
  if new.doc_state = 'void' and old.doc_state <> 'void' then
    if exists (select 1 from payments p where p.firm_id = new.firm_id and p.invoice_id = new.id) then
      raise exception 'an invoice that was paid, even in part, cannot be voided: refund it' using errcode = 'QT013';
    end if;
    if exists (select 1 from credit_applications a where a.firm_id = new.firm_id and a.invoice_id = new.id
                  and not exists (select 1 from credit_releases r where r.firm_id = a.firm_id and r.application_id = a.id)) then
      raise exception 'credit applied to this invoice has to be released first' using errcode = 'QT013';
    end if;
  end if;
  return new;
end $$;

-- An invoice ends only when no money can be on its way to it. What an open intent could still capture is waited for by the
-- void itself; here stands what must hold whoever ends it.
create function app.invoice_end_guard() returns trigger language plpgsql as $$
begin
  if exists (select 1 from collection_cycles c join payment_attempts a on a.firm_id = c.firm_id and a.cycle_id = c.id
              where c.firm_id = new.firm_id and c.invoice_id = new.id
                and a.state in ('sent', 'processing', 'action_required', 'unknown')) then
    raise exception 'a charge of this invoice is under way' using errcode = 'QT013';
  end if;
  if new.doc_state = 'void' and exists (select 1 from collection_cycles c
      where c.firm_id = new.firm_id and c.invoice_id = new.id and c.stripe_payment_intent_id is not null
        and c.intent_canceled_at is null) then
    raise exception 'a PaymentIntent of this invoice is not canceled yet' using errcode = 'QT013';
  end if;
  if new.doc_state = 'void' and new.rebills_dispute_id is not null then
    raise exception 'an invoice that bills a lost dispute again is not voided: write it off' using errcode = 'QT013';
  end if;
  if new.doc_state = 'written_off' and exists (
      select 1 from disputes d join payments p on p.firm_id = d.firm_id and p.id = d.payment_id
       where p.firm_id = new.firm_id and p.invoice_id = new.id and d.kind = 'chargeback' and d.outcome is null) then
    raise exception 'a chargeback of this invoice is open' using errcode = 'QT013';
  end if;
  return new;
end $$;
-- After invoice_guard, by its name.
create trigger invoice_guard_of_end before update of doc_state on invoices for each row
  when (new.doc_state in ('void', 'written_off') and old.doc_state <> new.doc_state) execute function app.invoice_end_guard();
