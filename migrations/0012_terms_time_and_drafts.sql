-- Hours that are billed on a cadence, time with its approvals, drafts, the override of the engagement link, and every kind
-- of id that a command takes.

-- What a firm allows.
alter table firms
  add column allow_self_approval boolean not null default false,
  add column require_client_approval boolean not null default false;

-- An id alone leads to its row (app.resolve), and generation finds its work.
create unique index users_id on users (id);
create index users_external_id on users (external_id) where external_id is not null;
create unique index time_entries_id on time_entries (id);
create index time_entries_external_id on time_entries (external_id) where external_id is not null;
create index time_entries_approved on time_entries (firm_id, engagement_id) where state = 'approved';
create unique index payments_id on payments (id);
create unique index refunds_id on refunds (id);
create unique index disputes_id on disputes (id);
create unique index credit_lots_id on credit_lots (id);

-- Any id in any of its forms → what it is and whose it is. More than one row means that it is ambiguous.
create or replace function app.resolve(ref text) returns table (kind text, firm_id uuid, id uuid)
  language plpgsql stable security definer set search_path = public, pg_temp as $$
declare
  u uuid;
begin
  begin u := ref::uuid; exception when invalid_text_representation then u := null; end;
  return query
    select 'firm'::text, f.id, f.id from firms f where f.external_id = ref or f.id = u
    union select 'client', c.firm_id, c.id from clients c where c.external_id = ref
    union select 'client', c.firm_id, c.id from clients c where c.id = u
    union select 'user', p.firm_id, p.id from users p where p.external_id = ref
    union select 'user', p.firm_id, p.id from users p where p.id = u
    union select 'engagement', e.firm_id, e.id from engagements e where e.external_id = ref
    union select 'engagement', e.firm_id, e.id from engagements e where e.id = u
    union select 'time_entry', t.firm_id, t.id from time_entries t where t.external_id = ref
    union select 'time_entry', t.firm_id, t.id from time_entries t where t.id = u
    union select 'invoice', i.firm_id, i.id from invoices i where i.external_id = ref
    union select 'invoice', i.firm_id, i.id from invoices i where i.number = ref
    union select 'invoice', i.firm_id, i.id from invoices i where i.id = u
    union select 'payment', m.firm_id, m.id from payments m where m.id = u
    union select 'refund', m.firm_id, m.id from refunds m where m.id = u
    union select 'dispute', m.firm_id, m.id from disputes m where m.id = u
    union select 'credit_lot', m.firm_id, m.id from credit_lots m where m.id = u
    union select r.kind, r.firm_id, r.our_id from stripe_routes r where r.stripe_id = ref;
end $$;

-- Hourly engagements may be billed on a cadence, in arrears. Once for a whole engagement is none of these.
do $$
declare fee_and_cadence text;
begin
  select conname into strict fee_and_cadence from pg_constraint
   where conrelid = 'engagements'::regclass and contype = 'c' and pg_get_constraintdef(oid) like '%(cadence IS NOT NULL)%';
  execute format('alter table engagements drop constraint %I', fee_and_cadence);
end $$;
alter table engagements add constraint engagement_cadence
  check (case pricing_mode when 'hourly' then cadence is null or cadence <> 'one_time' else cadence is not null end);
drop index engagements_billable;
create index engagements_scheduled on engagements (firm_id, id) where cadence is not null and status <> 'canceled';

-- Time: draft, submitted, approved or rejected. Approved time changes no more (it is reopened first), and time on a live line
-- not at all. Nobody approves their own time unless the firm allows it; a client's portal user approves none for the firm.
create or replace function app.time_guard() returns trigger language plpgsql as $$
declare
  of_client constant text[] := array['client_approved_by', 'client_approved_at'];
begin
  if tg_op <> 'INSERT' and exists (
      select 1 from invoice_lines l where l.firm_id = old.firm_id and l.time_entry_id = old.id and l.released_at is null) then
    raise exception 'time entry is on an invoice' using errcode = 'QT015';
  end if;
  if tg_op = 'DELETE' then
    if old.state = 'approved' then
      raise exception 'approved time must be reopened before it is deleted' using errcode = 'QT015';
    end if;
    return old;
  end if;
  if tg_op = 'UPDATE' then
    if (new.firm_id, new.id) is distinct from (old.firm_id, old.id) then
      raise exception 'a time entry keeps its id' using errcode = 'QT015';
    end if;
    if old.state = 'approved' and new.state = 'approved' and (to_jsonb(new) - of_client) is distinct from (to_jsonb(old) - of_client) then
      raise exception 'approved time must be reopened before editing' using errcode = 'QT015';
    end if;
    if not ((old.state, new.state) in (
        ('draft', 'draft'), ('draft', 'submitted'), ('draft', 'approved'), ('draft', 'rejected'),
        ('submitted', 'submitted'), ('submitted', 'draft'), ('submitted', 'approved'), ('submitted', 'rejected'),
        ('rejected', 'rejected'), ('rejected', 'draft'), ('approved', 'approved'), ('approved', 'draft'))) then
      raise exception 'time entry cannot go from % to %', old.state, new.state using errcode = 'QT015';
    end if;
  end if;
  if new.client_approved_at is not null and new.state not in ('submitted', 'approved') then
    raise exception 'a client approves time that is submitted or approved, this is %', new.state using errcode = 'QT015';
  end if;
  if new.state = 'approved' and (tg_op = 'INSERT' or old.state <> 'approved') then
    if new.approved_by = new.worker and not (select f.allow_self_approval from firms f where f.id = new.firm_id) then
      raise exception 'this firm lets nobody approve their own time' using errcode = 'QT015';
    end if;
    if exists (select 1 from users u where u.firm_id = new.firm_id and u.role = 'client' and new.approved_by in (u.external_id, u.id::text)) then
      raise exception 'a client approves no time for the firm' using errcode = 'QT015';
    end if;
  end if;
  return new;
end $$;
drop trigger time_guard on time_entries;
create trigger time_guard before insert or update or delete on time_entries for each row execute function app.time_guard();
alter table time_entries add check ((client_approved_by is null) = (client_approved_at is null));

-- A line for time repeats what was approved, for the client who was worked for; where the firm asks for it, the client has
-- approved it too.
create or replace function app.invoice_line_guard() returns trigger language plpgsql as $$
declare
  doc text;
  entry record;
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
      select t.state, t.minutes, t.rate_minor, t.currency, t.client_approved_at, e.client_id into entry
        from time_entries t join engagements e on e.firm_id = t.firm_id and e.id = t.engagement_id
       where t.firm_id = new.firm_id and t.id = new.time_entry_id for share of t;
      if entry.state is distinct from 'approved' then
        raise exception 'time entry is %, not invoiceable', entry.state using errcode = 'QT015';
      end if;
      if entry.client_approved_at is null and (select f.require_client_approval from firms f where f.id = new.firm_id) then
        raise exception 'time entry waits for the approval of the client, not invoiceable' using errcode = 'QT015';
      end if;
      if (new.quantity_minutes, new.rate_minor) is distinct from (entry.minutes, entry.rate_minor) then
        raise exception 'a line for time repeats its minutes and its rate' using errcode = 'QT015';
      end if;
      if not exists (select 1 from invoices i where i.firm_id = new.firm_id and i.id = new.invoice_id
                        and i.client_id = entry.client_id and i.currency = entry.currency) then
        raise exception 'time is billed to the client it was worked for, in the currency of its rate' using errcode = 'QT015';
      end if;
    end if;
    return new;
  end if;
  if doc <> 'draft' and (to_jsonb(new) - 'released_at') is distinct from (to_jsonb(old) - 'released_at') then
    raise exception 'lines of an issued invoice are immutable' using errcode = 'QT013';
  end if;
  if new.released_at is distinct from old.released_at and (doc <> 'void' or old.released_at is not null) then
    raise exception 'time is released only by a void' using errcode = 'QT015';
  end if;
  return new;
end $$;

-- A void releases the time on the invoice, whoever makes it: the time may be billed again, or reopened.
create function app.release_time() returns trigger language plpgsql as $$
begin
  update invoice_lines set released_at = app.now()
   where firm_id = new.firm_id and invoice_id = new.id and time_entry_id is not null and released_at is null;
  return null;
end $$;
create trigger release_time after update of doc_state on invoices
  for each row when (new.doc_state = 'void' and old.doc_state <> 'void') execute function app.release_time();

-- A period becomes free again only after its invoice is void (A-06).
create or replace function app.billing_period_guard() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' or old.released_at is not null
     or (to_jsonb(new) - array['released_at', 'release_reason']) is distinct from (to_jsonb(old) - array['released_at', 'release_reason']) then
    raise exception 'a billed period can only be released' using errcode = 'QT012';
  end if;
  if new.released_at is not null and not exists (
      select 1 from invoices i where i.firm_id = new.firm_id and i.id = new.invoice_id and i.doc_state = 'void') then
    raise exception 'a period is released only when its invoice is void' using errcode = 'QT012';
  end if;
  return new;
end $$;

-- Without an engagement only where an owner or admin of the firm says so (A-14), named by the id of their row. An invoice that
-- bills a lost dispute again has what the disputed invoice had.
create function app.override_guard() returns trigger language plpgsql as $$
begin
  if exists (select 1 from users u
              where u.firm_id = new.firm_id and u.id::text = new.engagement_override_by and u.role in ('owner', 'admin')) then
    return new;
  end if;
  if exists (select 1 from disputes d
               join payments p on p.firm_id = d.firm_id and p.id = d.payment_id
               join invoices i on i.firm_id = p.firm_id and i.id = p.invoice_id
              where d.firm_id = new.firm_id and d.id = new.rebills_dispute_id
                and i.engagement_override and i.engagement_override_by = new.engagement_override_by) then
    return new;
  end if;
  raise exception 'only an owner or admin of the firm may bill without an engagement' using errcode = 'QT019';
end $$;
create trigger override_guard before insert or update of engagement_override, engagement_override_by, rebills_dispute_id on invoices
  for each row when (new.engagement_override) execute function app.override_guard();

-- A draft that was given up: it never had a number, nothing refers to it, and its time is free again.
create function app.discard_draft(of_firm uuid, draft uuid) returns boolean
  language plpgsql security definer set search_path = public, pg_temp as $$
begin
  if of_firm is distinct from app.firm() then
    raise exception 'that draft belongs to another firm' using errcode = 'QT013';
  end if;
  perform 1 from invoices where firm_id = of_firm and id = draft and doc_state = 'draft' for update;
  if not found then return false; end if;
  delete from invoice_lines where firm_id = of_firm and invoice_id = draft;
  delete from invoices where firm_id = of_firm and id = draft;
  return true;
end $$;
revoke execute on function app.discard_draft(uuid, uuid) from public;
grant execute on function app.discard_draft(uuid, uuid) to quittance_worker;

-- As in 0011, but for the message: `by` cannot be the name of a field here, so that an unbalanced journal was refused with
-- another error than the one meant.
create or replace function app.postings_balance() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
declare
  off record;
begin
  select journal_id, currency, sum(amount_minor) as too_much into off from added
   group by firm_id, journal_id, currency having sum(amount_minor) <> 0 limit 1;
  if found then
    raise exception 'journal % does not balance: % % too much', off.journal_id, off.too_much, off.currency using errcode = 'QT018';
  end if;
  insert into credit_balances as b (firm_id, client_id, currency, balance_minor)
    select j.firm_id, j.client_id, p.currency, -sum(p.amount_minor)
      from added p join journals j on j.firm_id = p.firm_id and j.id = p.journal_id
     where p.account = 'client_credit' group by j.firm_id, j.client_id, p.currency having sum(p.amount_minor) < 0
  on conflict (firm_id, client_id, currency) do update set balance_minor = b.balance_minor + excluded.balance_minor;
  update credit_balances b set balance_minor = b.balance_minor - spent.minor
    from (select j.firm_id, j.client_id, p.currency, sum(p.amount_minor) as minor
            from added p join journals j on j.firm_id = p.firm_id and j.id = p.journal_id
           where p.account = 'client_credit' group by j.firm_id, j.client_id, p.currency having sum(p.amount_minor) > 0) spent
   where b.firm_id = spent.firm_id and b.client_id = spent.client_id and b.currency = spent.currency;
  return null;
end $$;
