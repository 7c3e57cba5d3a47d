-- What a person corrects: invoices are voided and written off while a charge may be under way, lost disputes are decided.

-- Whether a chargeback for fraud stops automatic payment of everything else that its client owes.
alter table firms add column pause_client_on_fraud boolean not null default true;

alter table decisions drop constraint decisions_kind_check;
alter table decisions add constraint decisions_kind_check check (kind in (
  'generate_package', 'issue', 'charge', 'retry', 'apply_credit', 'refund', 'void', 'alert', 'match_event', 'write_off', 'dispute'));

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
        and c.intent_closed_at is null) then
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

-- As in 0010; and the intents that a void waits for.
create index invoices_void_requested on invoices (firm_id, id) where doc_state = 'void_requested';
create or replace function app.unclosed_intents(most int) returns table (firm_id uuid, cycle_id uuid, order_key text)
  language sql stable security definer set search_path = public, pg_temp as
$$ select c.firm_id, c.id, coalesce('customer:' || cl.stripe_customer_id, 'client:' || cl.id)
     from (select v.firm_id, v.id, v.created_at, v.invoice_id from collection_cycles v
             join invoices i on i.firm_id = v.firm_id and i.id = v.invoice_id
             join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
            where v.state = 'canceled' and v.stripe_payment_intent_id is not null and v.intent_closed_at is null
              and v.state_reason in ('autopay_disabled', 'autopay_off')
              and i.doc_state = 'issued' and i.autopay_opt_in and cl.autopay_enabled
              and not exists (select 1 from collection_cycles o where o.firm_id = v.firm_id and o.invoice_id = v.invoice_id
                                and o.state in ('succeeded', 'exhausted'))
           union all
           select v.firm_id, v.id, v.created_at, v.invoice_id from invoices i
             join collection_cycles v on v.firm_id = i.firm_id and v.invoice_id = i.id
            where i.doc_state = 'void_requested' and v.state in ('canceled', 'exhausted')
              and v.stripe_payment_intent_id is not null and v.intent_closed_at is null) c
     join invoices i on i.firm_id = c.firm_id and i.id = c.invoice_id
     join clients cl on cl.firm_id = i.firm_id and cl.id = i.client_id
    order by c.created_at limit most $$;
