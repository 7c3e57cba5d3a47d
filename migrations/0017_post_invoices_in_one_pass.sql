-- The journals of invoices issued in bulk, as in 0011, at a cost that grows with their number and not with its square.
create or replace function app.post_invoices() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
declare
  moved record;
  times bigint;
begin
  -- In one pass: joining the sums to the journals again costs the square of their number, because nothing tells the planner
  -- how many invoices a statement issues.
  with issued as materialized (
    select gen_random_uuid() as journal_id, a.firm_id, a.id, a.client_id, a.currency, a.issued_at, a.rebills_dispute_id, a.total_minor, a.tax_minor
      from after a join before b on b.firm_id = a.firm_id and b.id = a.id
     where b.doc_state = 'draft' and a.doc_state = 'issued'),
  parts as (
    select i.*, 1 as nth, 'receivable' as account, i.total_minor as minor from issued i
    union all
    select i.*, 2, 'tax_payable', -i.tax_minor from issued i
    union all
    select i.*, 3,
           case when l.kind = 'package_fee' then 'revenue_package' when l.kind = 'hourly' then 'revenue_hourly'
                when i.rebills_dispute_id is null then 'revenue_other'
                -- Billed again: what the lost dispute took is owed by the client once more. Taken in another currency, it was booked as a loss.
                when exists (select 1 from app.dispute_balance(i.firm_id, i.rebills_dispute_id, 'chargeback_receivable') h
                              where h.currency = i.currency) then 'chargeback_receivable'
                else 'chargeback_loss' end,
           -l.amount_minor
      from issued i join invoice_lines l on l.firm_id = i.firm_id and l.invoice_id = i.id),
  sums as materialized (
    select journal_id, firm_id, id, client_id, currency, issued_at, rebills_dispute_id, account, min(nth) as nth, sum(minor)::bigint as minor
      from parts group by journal_id, firm_id, id, client_id, currency, issued_at, rebills_dispute_id, account having sum(minor) <> 0),
  entries as (
    insert into journals (firm_id, id, kind, source_key, client_id, invoice_id, dispute_id, effective_at)
    select distinct firm_id, journal_id, 'invoice_issued', 'inv:' || id, client_id, id, rebills_dispute_id, issued_at from sums)
  insert into postings (firm_id, journal_id, line, account, amount_minor, currency)
  select firm_id, journal_id, row_number() over (partition by journal_id order by nth, account), account, minor, currency from sums;

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
