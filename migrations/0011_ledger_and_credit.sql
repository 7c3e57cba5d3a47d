-- The ledger and client credit. Nobody posts a journal: every fact posts its own, in the statement that records it, by
-- the triggers below. A program that records a fact cannot forget its postings, and none can post without a fact.
--
-- An account is a word, a firm, a client and a currency; its balance is the sum of its postings. Only client credit has a
-- balance of its own (credit_balances), because a guard needs it: no row is shared by the clients of a firm.
-- Amounts are debit positive, in minor units.

-- What later migrations need for a table of firms: one firm per transaction, forced, and the scan role may look.
create procedure app.protect_firm_table(name text) language plpgsql as $$
begin
  execute format('alter table %I enable row level security', name);
  execute format('alter table %I force row level security', name);
  execute format('create policy tenant on %I using (firm_id = app.firm()) with check (firm_id = app.firm())', name);
  execute format('create policy scan on %I for select to quittance_scan using (true)', name);
  execute format('grant select on %I to quittance_scan, quittance_worker, quittance_portal, quittance_readonly', name);
end $$;

-- The same for a table of facts: rows are added and never changed.
create procedure app.protect_fact_table(name text) language plpgsql as $$
begin
  call app.protect_firm_table(name);
  execute format('create trigger append_only before update or delete on %I for each row execute function app.append_only()', name);
  execute format('create trigger no_truncate before truncate on %I for each statement execute function app.append_only()', name);
end $$;

create table journals (
  firm_id uuid not null references firms,
  id uuid not null default gen_random_uuid(),
  seq bigint generated always as identity,
  kind text not null check (kind in (
    'invoice_issued', 'invoice_voided', 'invoice_written_off', 'invoice_reopened', 'payment', 'external_payment', 'processor_fee',
    'credit_issued', 'credit_applied', 'credit_released', 'credit_expired', 'refund', 'refund_failed', 'refund_to_credit',
    'dispute_withdrawn', 'dispute_reinstated', 'dispute_fee', 'dispute_fee_refund', 'dispute_lost', 'dispute_written_off')),
  source_key text not null,                                 -- names the fact: one fact, one journal
  reverses uuid,                                            -- the journal that this one takes back, exactly
  client_id uuid not null,
  invoice_id uuid, dispute_id uuid,
  effective_at timestamptz not null,                        -- business time of the fact
  posted_at timestamptz not null default clock_timestamp(), -- real time
  primary key (firm_id, id),
  unique (firm_id, source_key),
  unique (firm_id, reverses),
  foreign key (firm_id, client_id) references clients (firm_id, id),
  foreign key (firm_id, invoice_id) references invoices (firm_id, id),
  foreign key (firm_id, dispute_id) references disputes (firm_id, id),
  foreign key (firm_id, reverses) references journals (firm_id, id)
);
create index journals_by_invoice on journals (firm_id, invoice_id) where invoice_id is not null;
create index journals_by_dispute on journals (firm_id, dispute_id) where dispute_id is not null;
create index journals_by_client on journals (firm_id, client_id, seq);

create table postings (
  firm_id uuid not null,
  journal_id uuid not null,
  line int not null,
  account text not null check (account in (
    'receivable', 'client_credit', 'stripe_clearing', 'external_cash', 'revenue_package', 'revenue_hourly', 'revenue_other',
    'tax_payable', 'dispute_hold', 'chargeback_receivable', 'chargeback_loss', 'processor_fees', 'credits_granted', 'write_off',
    'refunds_contra')),
  amount_minor bigint not null check (amount_minor <> 0),   -- debit positive
  currency app.ccy not null,
  primary key (firm_id, journal_id, line),
  foreign key (firm_id, journal_id) references journals (firm_id, id)
);

-- What each client may spend. Maintained by the trigger on postings alone; its row is also the lock on the client's credit.
create table credit_balances (
  firm_id uuid not null,
  client_id uuid not null,
  currency app.ccy not null,
  balance_minor bigint not null,
  primary key (firm_id, client_id, currency),
  foreign key (firm_id, client_id) references clients (firm_id, id),
  constraint credit_is_never_overdrawn check (balance_minor >= 0)
);

-- Credit given to a client. What is left of a lot is a view (credit_lot_balances).
create table credit_lots (
  firm_id uuid not null,
  id uuid not null,
  client_id uuid not null,
  currency app.ccy not null,
  amount_minor bigint not null check (amount_minor > 0),
  source text not null check (source in ('overpayment', 'payment_unapplied', 'refund_to_credit', 'goodwill', 'promotional', 'correction')),
  reason text not null default '',
  issued_by text, approved_by text,
  payment_id uuid, refund_id uuid,
  expires_on date,                                          -- the firm's first day on which it is no longer worth anything
  issued_at timestamptz not null,
  cause text not null,
  primary key (firm_id, id),
  foreign key (firm_id, client_id) references clients (firm_id, id),
  foreign key (firm_id, payment_id) references payments (firm_id, id),
  foreign key (firm_id, refund_id) references refunds (firm_id, id),
  unique (firm_id, payment_id),
  unique (firm_id, refund_id),
  check ((source in ('overpayment', 'payment_unapplied')) = (payment_id is not null)),
  check ((source = 'refund_to_credit') = (refund_id is not null)),
  constraint credit_needs_four_eyes check (source not in ('goodwill', 'correction')
    or (reason <> '' and issued_by is not null and approved_by is not null and approved_by <> issued_by))
);
create index credit_lots_by_client on credit_lots (firm_id, client_id);

create table credit_applications (
  firm_id uuid not null,
  id uuid not null,
  lot_id uuid not null,
  invoice_id uuid not null,
  seq int not null default 1,
  amount_minor bigint not null check (amount_minor > 0),
  applied_at timestamptz not null,
  cause text not null,
  primary key (firm_id, id),
  unique (firm_id, lot_id, invoice_id, seq),
  foreign key (firm_id, lot_id) references credit_lots (firm_id, id),
  foreign key (firm_id, invoice_id) references invoices (firm_id, id)
);
create index credit_applications_by_invoice on credit_applications (firm_id, invoice_id);

-- An application taken back, because its invoice is void. The credit is worth its lot again.
create table credit_releases (
  firm_id uuid not null,
  application_id uuid not null,
  reason text not null check (reason <> ''),
  released_at timestamptz not null,
  primary key (firm_id, application_id),
  foreign key (firm_id, application_id) references credit_applications (firm_id, id)
);

create table credit_expiries (
  firm_id uuid not null,
  lot_id uuid not null,
  seq int not null default 1,
  amount_minor bigint not null check (amount_minor > 0),
  expired_at timestamptz not null,
  primary key (firm_id, lot_id, seq),
  foreign key (firm_id, lot_id) references credit_lots (firm_id, id)
);

-- What Stripe kept of a payment: one row per balance transaction.
create table processor_fees (
  firm_id uuid not null,
  stripe_balance_transaction_id text not null,
  payment_id uuid not null,
  amount_minor bigint not null check (amount_minor > 0),
  currency app.ccy not null,                                -- settlement currency, not always the charge's
  at timestamptz not null,
  primary key (stripe_balance_transaction_id),
  foreign key (firm_id, payment_id) references payments (firm_id, id)
);
create index processor_fees_by_payment on processor_fees (firm_id, payment_id);

-- What a person decided about a lost dispute (A-19): billed again, by a new invoice, or given up.
create table dispute_resolutions (
  firm_id uuid not null,
  dispute_id uuid not null,
  kind text not null check (kind in ('rebill', 'write_off')),
  invoice_id uuid,
  reason text not null check (reason <> ''),
  resolved_by text not null,
  resolved_at timestamptz not null,
  primary key (firm_id, dispute_id),
  foreign key (firm_id, dispute_id) references disputes (firm_id, id),
  foreign key (firm_id, invoice_id) references invoices (firm_id, id),
  check ((kind = 'rebill') = (invoice_id is not null))
);
alter table invoices add column rebills_dispute_id uuid;
alter table invoices add foreign key (firm_id, rebills_dispute_id) references disputes (firm_id, id);
create unique index one_rebill_per_dispute on invoices (firm_id, rebills_dispute_id) where rebills_dispute_id is not null and doc_state <> 'void';

do $$
declare t text;
begin
  foreach t in array array['journals', 'postings', 'credit_lots', 'credit_applications', 'credit_releases', 'credit_expiries',
                           'processor_fees', 'dispute_resolutions'] loop
    call app.protect_fact_table(t);
  end loop;
  call app.protect_firm_table('credit_balances');
end $$;
grant insert on credit_lots, credit_applications, credit_releases, credit_expiries, processor_fees, dispute_resolutions to quittance_worker;
-- Journals, postings and credit balances are written by the triggers below alone (they run as the owner).

create view credit_lot_balances with (security_invoker = true) as
select l.firm_id, l.id, l.client_id, l.currency, l.source, l.expires_on, l.issued_at, l.amount_minor,
  (l.amount_minor
   - coalesce((select sum(a.amount_minor) from credit_applications a
                where a.firm_id = l.firm_id and a.lot_id = l.id
                  and not exists (select 1 from credit_releases r where r.firm_id = a.firm_id and r.application_id = a.id)), 0)
   - coalesce((select sum(e.amount_minor) from credit_expiries e where e.firm_id = l.firm_id and e.lot_id = l.id), 0))::bigint
    as remaining_minor
from credit_lots l;
grant select on credit_lot_balances to quittance_worker, quittance_portal, quittance_readonly;

-- Every statement leaves every journal that it touched balanced, so that every commit does.
create function app.postings_balance() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
declare
  off record;
begin
  select journal_id, currency, sum(amount_minor) as by into off from added
   group by firm_id, journal_id, currency having sum(amount_minor) <> 0 limit 1;
  if found then
    raise exception 'journal % does not balance: % % too much', off.journal_id, off.by, off.currency using errcode = 'QT018';
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
create trigger postings_balance after insert on postings referencing new table as added
  for each statement execute function app.postings_balance();

-- A journal of two postings: `amount` from one account to another. Returns nothing for an amount of zero.
create function app.post(entry journals, debit text, credit text, amount bigint, ccy text) returns void
  language plpgsql security definer set search_path = public, pg_temp as $$
begin
  if amount = 0 then return; end if;
  entry.id := gen_random_uuid();
  insert into journals (firm_id, id, kind, source_key, client_id, invoice_id, dispute_id, effective_at)
    values (entry.firm_id, entry.id, entry.kind, entry.source_key, entry.client_id, entry.invoice_id, entry.dispute_id, entry.effective_at);
  insert into postings (firm_id, journal_id, line, account, amount_minor, currency)
    values (entry.firm_id, entry.id, 1, debit, amount, ccy), (entry.firm_id, entry.id, 2, credit, -amount, ccy);
end $$;

-- Takes a journal back exactly; nothing where there is no such journal (a fact of zero posts none).
create function app.post_reversal(firm uuid, of_key text, kind text, key text, at timestamptz) returns void
  language plpgsql security definer set search_path = public, pg_temp as $$
declare
  original journals;
  reversal uuid := gen_random_uuid();
begin
  select * into original from journals j where j.firm_id = firm and j.source_key = of_key;
  if not found then return; end if;
  insert into journals (firm_id, id, kind, source_key, reverses, client_id, invoice_id, dispute_id, effective_at)
    values (firm, reversal, kind, key, original.id, original.client_id, original.invoice_id, original.dispute_id, at);
  insert into postings (firm_id, journal_id, line, account, amount_minor, currency)
    select p.firm_id, reversal, p.line, p.account, -p.amount_minor, p.currency from postings p
     where p.firm_id = firm and p.journal_id = original.id;
end $$;

-- What is open on an invoice, by the ledger.
create function app.receivable(firm uuid, invoice uuid) returns bigint
  language sql stable security definer set search_path = public, pg_temp as
$$ select coalesce(sum(p.amount_minor), 0)::bigint from journals j join postings p on p.firm_id = j.firm_id and p.journal_id = j.id
    where j.firm_id = firm and j.invoice_id = invoice and p.account = 'receivable' $$;

-- What an account holds for a dispute, by currency.
create function app.dispute_balance(firm uuid, dispute uuid, of_account text) returns table (currency text, minor bigint)
  language sql stable security definer set search_path = public, pg_temp as
$$ select p.currency::text, sum(p.amount_minor)::bigint from journals j join postings p on p.firm_id = j.firm_id and p.journal_id = j.id
    where j.firm_id = firm and j.dispute_id = dispute and p.account = of_account
    group by p.currency having sum(p.amount_minor) <> 0 $$;

-- Invoices: issued in bulk, so in one statement; the rest one by one.
create function app.post_invoices() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
declare
  moved record;
  times bigint;
begin
  with issued as (
    select a.* from after a join before b on b.firm_id = a.firm_id and b.id = a.id
     where b.doc_state = 'draft' and a.doc_state = 'issued'),
  parts as (
    select i.firm_id, i.id, i.currency, 1 as nth, 'receivable' as account, i.total_minor as minor from issued i
    union all
    select i.firm_id, i.id, i.currency, 2, 'tax_payable', -i.tax_minor from issued i
    union all
    select l.firm_id, l.invoice_id, i.currency, 3,
           case when l.kind = 'package_fee' then 'revenue_package' when l.kind = 'hourly' then 'revenue_hourly'
                when i.rebills_dispute_id is null then 'revenue_other'
                -- Billed again: what the lost dispute took is owed by the client once more. Taken in another currency, it was booked as a loss.
                when exists (select 1 from app.dispute_balance(i.firm_id, i.rebills_dispute_id, 'chargeback_receivable') h
                              where h.currency = i.currency) then 'chargeback_receivable'
                else 'chargeback_loss' end,
           -l.amount_minor
      from issued i join invoice_lines l on l.firm_id = i.firm_id and l.invoice_id = i.id),
  sums as (
    select firm_id, id, currency, account, min(nth) as nth, sum(minor)::bigint as minor from parts
     group by firm_id, id, currency, account having sum(minor) <> 0),
  entries as (
    insert into journals (firm_id, kind, source_key, client_id, invoice_id, dispute_id, effective_at)
    select i.firm_id, 'invoice_issued', 'inv:' || i.id, i.client_id, i.id, i.rebills_dispute_id, i.issued_at
      from issued i where exists (select 1 from sums s where s.firm_id = i.firm_id and s.id = i.id)
    returning firm_id, id, invoice_id)
  insert into postings (firm_id, journal_id, line, account, amount_minor, currency)
  select e.firm_id, e.id, row_number() over (partition by e.firm_id, e.id order by s.nth, s.account), s.account, s.minor, s.currency
    from entries e join sums s on s.firm_id = e.firm_id and s.id = e.invoice_id;

  for moved in
    select a.*, b.doc_state as was from after a join before b on b.firm_id = a.firm_id and b.id = a.id
     where (b.doc_state, a.doc_state) in (('void_requested', 'void'), ('issued', 'written_off'), ('written_off', 'issued'))
  loop
    select count(*) into times from journals j
     where j.firm_id = moved.firm_id and j.invoice_id = moved.id and j.kind = 'invoice_written_off';
    if moved.doc_state = 'void' then
      perform app.post_reversal(moved.firm_id, 'inv:' || moved.id, 'invoice_voided', 'void:' || moved.id, app.now());
    elsif moved.doc_state = 'written_off' then
      perform app.post(
        row(moved.firm_id, null, null, 'invoice_written_off', 'wo:' || moved.id || ':' || times + 1, null, moved.client_id, moved.id, null, app.now(), null)::journals,
        'write_off', 'receivable', app.receivable(moved.firm_id, moved.id), moved.currency);
    else
      perform app.post_reversal(moved.firm_id, 'wo:' || moved.id || ':' || times, 'invoice_reopened',
                                'wo:' || moved.id || ':' || times || ':reopened', app.now());
    end if;
  end loop;
  return null;
end $$;
create trigger post_invoices after update on invoices referencing old table as before new table as after
  for each statement execute function app.post_invoices();

-- Money that arrived pays what is open on its invoice; what is more than that is the client's credit. Whoever records a
-- payment holds the invoice locked; should he not, it is locked here.
create function app.post_payment() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
declare
  doc text;
  applied bigint := 0;
  entry uuid := gen_random_uuid();
  external constant boolean := new.method = 'external';
begin
  if new.invoice_id is not null then
    select doc_state into doc from invoices where firm_id = new.firm_id and id = new.invoice_id for no key update;
    applied := least(new.amount_minor, greatest(app.receivable(new.firm_id, new.invoice_id), 0));
  end if;
  insert into journals (firm_id, id, kind, source_key, client_id, invoice_id, effective_at)
    values (new.firm_id, entry, case when external then 'external_payment' else 'payment' end,
            case when external then 'ext:' || coalesce(new.external_ref, new.id::text) else 'ch:' || new.stripe_charge_id end,
            new.client_id, new.invoice_id, new.received_at);
  insert into postings (firm_id, journal_id, line, account, amount_minor, currency)
    select new.firm_id, entry, p.line, p.account, p.minor, new.currency
      from (values (1, case when external then 'external_cash' else 'stripe_clearing' end, new.amount_minor),
                   (2, 'receivable', -applied), (3, 'client_credit', applied - new.amount_minor)) as p(line, account, minor)
     where p.minor <> 0;
  if applied < new.amount_minor then
    insert into credit_lots (firm_id, id, client_id, currency, amount_minor, source, payment_id, issued_at, cause)
      values (new.firm_id, gen_random_uuid(), new.client_id, new.currency, new.amount_minor - applied,
              case when doc in ('issued', 'void_requested') then 'overpayment' else 'payment_unapplied' end, new.id, new.recorded_at, new.cause);
  end if;
  return null;
end $$;
create trigger post_payment after insert on payments for each row execute function app.post_payment();

create function app.post_processor_fee() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
declare
  paid payments;
begin
  select * into paid from payments where firm_id = new.firm_id and id = new.payment_id;
  perform app.post(row(new.firm_id, null, null, 'processor_fee', 'txn:' || new.stripe_balance_transaction_id, null, paid.client_id,
                       paid.invoice_id, null, new.at, null)::journals,
                   'processor_fees', 'stripe_clearing', new.amount_minor, new.currency);
  return null;
end $$;
create trigger post_processor_fee after insert on processor_fees for each row execute function app.post_processor_fee();

-- Credit.
create function app.post_credit_lot() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
begin
  if new.source in ('overpayment', 'payment_unapplied') then return null; end if;         -- its payment has posted it
  perform app.post(row(new.firm_id, null, null, case when new.source = 'refund_to_credit' then 'refund_to_credit' else 'credit_issued' end,
                       case when new.source = 'refund_to_credit' then 'rtc:' || new.refund_id else 'lot:' || new.id end, null, new.client_id,
                       (select p.invoice_id from refunds r join payments p on p.firm_id = r.firm_id and p.id = r.payment_id
                         where r.firm_id = new.firm_id and r.id = new.refund_id), null, new.issued_at, null)::journals,
                   case when new.source = 'refund_to_credit' then 'refunds_contra' else 'credits_granted' end, 'client_credit',
                   new.amount_minor, new.currency);
  return null;
end $$;
create trigger post_credit_lot after insert on credit_lots for each row execute function app.post_credit_lot();

-- Locks in the one order: the invoice, then the client's credit. Judged after the row is there, so that several rows of one
-- statement are judged together.
create function app.post_credit_application() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
declare
  bill invoices;
  lot credit_lots;
  remaining bigint;
  owed bigint;
begin
  select * into bill from invoices where firm_id = new.firm_id and id = new.invoice_id for no key update;
  select * into lot from credit_lots where firm_id = new.firm_id and id = new.lot_id;
  perform 1 from credit_balances where firm_id = new.firm_id and client_id = lot.client_id and currency = lot.currency for update;
  if lot.client_id <> bill.client_id or lot.currency <> bill.currency then
    raise exception 'credit is for invoices of its own client and currency' using errcode = 'QT017';
  end if;
  if bill.doc_state <> 'issued' then
    raise exception 'credit is applied to issued invoices, this one is %', bill.doc_state using errcode = 'QT017';
  end if;
  if lot.expires_on <= (select (app.now() at time zone timezone)::date from firms where id = new.firm_id) then
    raise exception 'this credit has expired on %', lot.expires_on using errcode = 'QT017';
  end if;
  select remaining_minor into remaining from credit_lot_balances where firm_id = new.firm_id and id = new.lot_id;
  if remaining < 0 then
    raise exception 'only % is left of this credit', remaining + new.amount_minor using errcode = 'QT017';
  end if;
  owed := app.receivable(new.firm_id, new.invoice_id);
  if new.amount_minor > owed then
    raise exception 'only % is open on this invoice', owed using errcode = 'QT017';
  end if;
  perform app.post(row(new.firm_id, null, null, 'credit_applied', 'app:' || new.id, null, lot.client_id, new.invoice_id, null, new.applied_at, null)::journals,
                   'client_credit', 'receivable', new.amount_minor, lot.currency);
  return null;
end $$;
create trigger post_credit_application after insert on credit_applications for each row execute function app.post_credit_application();

create function app.post_credit_release() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
begin
  if not exists (select 1 from credit_applications a join invoices i on i.firm_id = a.firm_id and i.id = a.invoice_id
                  where a.firm_id = new.firm_id and a.id = new.application_id and i.doc_state = 'void_requested') then
    raise exception 'credit is released only by a void' using errcode = 'QT017';
  end if;
  perform app.post_reversal(new.firm_id, 'app:' || new.application_id, 'credit_released', 'app:' || new.application_id || ':released', new.released_at);
  return null;
end $$;
create trigger post_credit_release after insert on credit_releases for each row execute function app.post_credit_release();

create function app.post_credit_expiry() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
declare
  lot credit_lots;
  remaining bigint;
begin
  select * into lot from credit_lots where firm_id = new.firm_id and id = new.lot_id;
  perform 1 from credit_balances where firm_id = new.firm_id and client_id = lot.client_id and currency = lot.currency for update;
  select remaining_minor + new.amount_minor into remaining from credit_lot_balances where firm_id = new.firm_id and id = new.lot_id;
  if lot.expires_on is null or lot.expires_on > (select (app.now() at time zone timezone)::date from firms where id = new.firm_id) then
    raise exception 'this credit has not expired' using errcode = 'QT017';
  end if;
  if new.amount_minor <> remaining then
    raise exception 'what expires is all that is left: %', remaining using errcode = 'QT017';
  end if;
  perform app.post(row(new.firm_id, null, null, 'credit_expired', 'exp:' || new.lot_id || ':' || new.seq, null, lot.client_id, null, null, new.expired_at, null)::journals,
                   'client_credit', 'credits_granted', new.amount_minor, lot.currency);
  return null;
end $$;
create trigger post_credit_expiry after insert on credit_expiries for each row execute function app.post_credit_expiry();

-- Refunds to a card count when Stripe says that they succeeded; those to credit are posted by their lot.
create function app.post_refund() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
declare
  paid payments;
  key text := 're:' || coalesce(new.stripe_refund_id, new.id::text);
begin
  if new.destination <> 'card' then return null; end if;
  if new.state = 'succeeded' and (tg_op = 'INSERT' or old.state <> 'succeeded') then
    select * into paid from payments where firm_id = new.firm_id and id = new.payment_id;
    perform app.post(row(new.firm_id, null, null, 'refund', key, null, paid.client_id, paid.invoice_id, null, app.now(), null)::journals,
                     'refunds_contra', 'stripe_clearing', new.amount_minor, new.currency);
  elsif tg_op = 'UPDATE' and old.state = 'succeeded' and new.state <> 'succeeded' then
    perform app.post_reversal(new.firm_id, key, 'refund_failed', key || ':failed', app.now());
  end if;
  return null;
end $$;
create trigger post_refund after insert or update on refunds for each row execute function app.post_refund();

-- Disputes: money only by balance transactions. What a lost one took for good is owed by the client again, on an account
-- of its own, until a person decides.
create function app.post_lost_dispute(lost disputes, at timestamptz) returns void
  language plpgsql security definer set search_path = public, pg_temp as $$
declare
  held record;
  paid payments;
  times bigint;
begin
  if lost.outcome is distinct from 'lost' then return; end if;
  select * into paid from payments where firm_id = lost.firm_id and id = lost.payment_id;
  for held in select * from app.dispute_balance(lost.firm_id, lost.id, 'dispute_hold') loop
    select count(*) into times from journals where firm_id = lost.firm_id and dispute_id = lost.id and kind = 'dispute_lost';
    perform app.post(row(lost.firm_id, null, null, 'dispute_lost', 'dp:' || lost.stripe_dispute_id || ':lost:' || times + 1, null, paid.client_id,
                         paid.invoice_id, lost.id, at, null)::journals,
                     case when held.minor > 0 then 'chargeback_receivable' else 'dispute_hold' end,
                     case when held.minor > 0 then 'dispute_hold' else 'chargeback_receivable' end, abs(held.minor), held.currency);
  end loop;
end $$;

create function app.post_dispute_movement() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
declare
  about disputes;
  paid payments;
  accounts text[];
begin
  select * into about from disputes where firm_id = new.firm_id and id = new.dispute_id;
  select * into paid from payments where firm_id = new.firm_id and id = about.payment_id;
  accounts := case new.kind when 'withdrawn' then array['dispute_hold', 'stripe_clearing']
                            when 'reinstated' then array['stripe_clearing', 'dispute_hold']
                            when 'fee' then array['processor_fees', 'stripe_clearing']
                            else array['stripe_clearing', 'processor_fees'] end;
  perform app.post(row(new.firm_id, null, null, 'dispute_' || new.kind, 'txn:' || new.stripe_balance_transaction_id || ':' || new.kind, null,
                       paid.client_id, paid.invoice_id, new.dispute_id, new.at, null)::journals,
                   accounts[1], accounts[2], new.amount_minor, new.currency);
  perform app.post_lost_dispute(about, new.at);
  return null;
end $$;
create trigger post_dispute_movement after insert on dispute_movements for each row execute function app.post_dispute_movement();

create function app.post_dispute() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
begin
  perform app.post_lost_dispute(new, app.now());
  return null;
end $$;
create trigger post_dispute after insert or update on disputes for each row execute function app.post_dispute();

create function app.post_dispute_resolution() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
declare
  about disputes;
  paid payments;
  owed record;
begin
  select * into about from disputes where firm_id = new.firm_id and id = new.dispute_id;
  if about.outcome is distinct from 'lost' then
    raise exception 'only a lost dispute waits for a decision, this one is %', coalesce(about.outcome, about.stripe_status) using errcode = 'QT016';
  end if;
  if new.kind = 'rebill' and not exists (select 1 from invoices where firm_id = new.firm_id and id = new.invoice_id and rebills_dispute_id = new.dispute_id) then
    raise exception 'that invoice does not bill this dispute again' using errcode = 'QT016';
  end if;
  select * into paid from payments where firm_id = new.firm_id and id = about.payment_id;
  -- Given up, or (billed again) taken in a currency other than the new invoice's: a loss.
  for owed in select * from app.dispute_balance(new.firm_id, new.dispute_id, 'chargeback_receivable') b
               where new.kind = 'write_off' or b.currency <> about.currency loop
    perform app.post(row(new.firm_id, null, null, 'dispute_written_off', 'dp:' || about.stripe_dispute_id || ':written_off:' || owed.currency, null,
                         paid.client_id, paid.invoice_id, new.dispute_id, new.resolved_at, null)::journals,
                     'chargeback_loss', 'chargeback_receivable', owed.minor, owed.currency);
  end loop;
  return null;
end $$;
create trigger post_dispute_resolution after insert on dispute_resolutions for each row execute function app.post_dispute_resolution();

-- The guards of 0004 and 0005, with what has come since: an invoice that took money or credit is not voided; nothing is
-- given back while a chargeback is open, to a card or to credit.
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
      ('draft', 'draft'), ('draft', 'issued'), ('issued', 'issued'), ('issued', 'void_requested'),
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

create or replace function app.refund_guard() returns trigger language plpgsql as $$
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
  -- What we ask for, or give as credit, may not exceed what is left; what Stripe reports is a fact and is recorded as it is.
  if new.state = 'requested' or new.destination = 'credit' then
    perform pg_advisory_xact_lock(hashtextextended('payment:' || new.payment_id::text, 0));
    select amount_minor into captured from payments where firm_id = new.firm_id and id = new.payment_id;
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
    if already_out + new.amount_minor > captured then
      raise exception 'refund of % would exceed the captured % (% is already out)', new.amount_minor, captured, already_out
        using errcode = 'QT016';
    end if;
  end if;
  return new;
end $$;

-- The status again, now with credit, and with what a payment was too much left out of what it paid.
create or replace view invoice_status with (security_invoker = true) as
select i.firm_id, i.id,
  coalesce(p.paid, 0)::bigint as paid_minor,
  coalesce(k.credited, 0)::bigint as credited_minor,
  coalesce(r.refunded, 0)::bigint as refunded_minor,
  coalesce(d.held, 0)::bigint as disputed_minor,
  coalesce(d.lost, 0)::bigint as charged_back_minor,
  (case when i.doc_state in ('void', 'written_off') then 0
        else i.total_minor - coalesce(p.paid, 0) + coalesce(p.too_much, 0) - coalesce(k.credited, 0) end)::bigint as open_minor,
  coalesce(c.state, 'none') as autopay_state,
  c.id as cycle_id,
  case
    when i.doc_state = 'void_requested' then 'sent'
    when i.doc_state <> 'issued' then i.doc_state
    when coalesce(d.open_count, 0) > 0 then 'disputed'
    when coalesce(d.lost_count, 0) > 0 then 'charged_back'
    when coalesce(p.paid, 0) > 0 and coalesce(r.refunded, 0) >= p.paid then 'refunded'
    when coalesce(p.paid, 0) - coalesce(p.too_much, 0) + coalesce(k.credited, 0) >= i.total_minor then 'paid'
    when c.state in ('in_flight', 'unknown') then 'processing'
    when c.state in ('retry_wait', 'method_required', 'action_required', 'exhausted') then 'failed'
    when i.due_date < (app.now() at time zone f.timezone)::date then 'overdue'
    when coalesce(p.paid, 0) + coalesce(k.credited, 0) > 0 then 'partial'
    else 'sent'
  end as status
from invoices i
join firms f on f.id = i.firm_id
left join lateral (
  select sum(x.amount_minor) as paid, sum(l.amount_minor) as too_much
    from payments x left join credit_lots l on l.firm_id = x.firm_id and l.payment_id = x.id
   where x.firm_id = i.firm_id and x.invoice_id = i.id) p on true
left join lateral (
  select sum(x.amount_minor) as credited from credit_applications x
   where x.firm_id = i.firm_id and x.invoice_id = i.id
     and not exists (select 1 from credit_releases y where y.firm_id = x.firm_id and y.application_id = x.id)) k on true
left join lateral (
  select sum(x.amount_minor) as refunded from refunds x join payments y on y.firm_id = x.firm_id and y.id = x.payment_id
   where y.firm_id = i.firm_id and y.invoice_id = i.id and x.state = 'succeeded') r on true
left join lateral (
  select sum(x.amount_minor) filter (where x.outcome is null) as held,
         count(*) filter (where x.outcome is null) as open_count,
         sum(x.amount_minor) filter (where x.outcome = 'lost') as lost,
         count(*) filter (where x.outcome = 'lost') as lost_count
    from disputes x join payments y on y.firm_id = x.firm_id and y.id = x.payment_id
   where y.firm_id = i.firm_id and y.invoice_id = i.id and x.kind = 'chargeback') d on true
left join lateral (
  select x.id, x.state from collection_cycles x
   where x.firm_id = i.firm_id and x.invoice_id = i.id order by x.seq desc limit 1) c on true;

do $$
declare f text;
begin
  foreach f in array array['app.post(journals, text, text, bigint, text)', 'app.post_reversal(uuid, text, text, text, timestamptz)',
                           'app.post_lost_dispute(disputes, timestamptz)', 'app.receivable(uuid, uuid)',
                           'app.dispute_balance(uuid, uuid, text)'] loop
    execute format('revoke execute on function %s from public', f);
  end loop;
end $$;
