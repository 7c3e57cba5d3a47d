-- Every posting that the facts of these firms ask for, against every posting that is there: one row per difference.
--
-- Written from the table of postings in docs/LEDGER.md, not from the triggers that post: what both get wrong alike nobody
-- would notice. `nth` of a journal tells which came first where facts have no order of their own, and nothing else is
-- taken from journals on the side of the facts.
with taken as (                                             -- what disputes took, and did not give back, of each currency
  select d.id, m.currency, sum(case m.kind when 'withdrawn' then m.amount_minor else -m.amount_minor end) as minor
    from disputes d join dispute_movements m on m.firm_id = d.firm_id and m.dispute_id = d.id
   where d.firm_id = any($1) and m.kind in ('withdrawn', 'reinstated') group by d.id, m.currency),
given_up as (                                               -- the same, as it stood when a person decided
  select d.id, d.payment_id, d.stripe_dispute_id, m.currency, r.kind, d.currency as disputed_in,
         sum(case m.kind when 'withdrawn' then m.amount_minor else -m.amount_minor end)
           filter (where decided.seq is null or moved.seq < decided.seq) as minor
    from dispute_resolutions r
    join disputes d on d.firm_id = r.firm_id and d.id = r.dispute_id
    join dispute_movements m on m.firm_id = d.firm_id and m.dispute_id = d.id and m.kind in ('withdrawn', 'reinstated')
    left join journals moved on moved.firm_id = m.firm_id
         and moved.source_key = 'txn:' || m.stripe_balance_transaction_id || ':' || m.kind
    left join journals decided on decided.firm_id = d.firm_id
         and decided.source_key = 'dp:' || d.stripe_dispute_id || ':written_off:' || m.currency
   where r.firm_id = any($1) group by d.id, d.payment_id, d.stripe_dispute_id, m.currency, r.kind, d.currency),
paid as (                                                   -- payments, and how much of each its invoice did not take
  select p.*, coalesce(l.amount_minor, 0) as too_much
    from payments p left join credit_lots l on l.firm_id = p.firm_id and l.payment_id = p.id where p.firm_id = any($1)),
fact (key, kind, client_id, account, minor, currency) as (
  -- Invoices, and the same taken back for those that are void.
  select way.prefix || i.id, way.kind, i.client_id, part.account, part.minor * way.sign, i.currency
    from invoices i
    cross join lateral (values ('inv:', 'invoice_issued', 1), ('void:', 'invoice_voided', -1)) as way(prefix, kind, sign)
    cross join lateral (
      select 'receivable', i.total_minor
      union all select 'tax_payable', -i.tax_minor
      union all select case when l.kind = 'package_fee' then 'revenue_package' when l.kind = 'hourly' then 'revenue_hourly'
                            when i.rebills_dispute_id is not null then 'chargeback_receivable' else 'revenue_other' end,
                       -l.amount_minor
                  from invoice_lines l where l.firm_id = i.firm_id and l.invoice_id = i.id) as part(account, minor)
   where i.firm_id = any($1) and i.doc_state <> 'draft' and (way.sign = 1 or i.doc_state = 'void')
  union all
  select case p.method when 'external' then 'ext:' || coalesce(p.external_ref, p.id::text) else 'ch:' || p.stripe_charge_id end,
         case p.method when 'external' then 'external_payment' else 'payment' end, p.client_id, part.account, part.minor, p.currency
    from paid p
    cross join lateral (values (case p.method when 'external' then 'external_cash' else 'stripe_clearing' end, p.amount_minor),
                               ('receivable', p.too_much - p.amount_minor), ('client_credit', -p.too_much)) as part(account, minor)
  union all
  select 'txn:' || f.stripe_balance_transaction_id, 'processor_fee', p.client_id, part.account, part.minor, f.currency
    from processor_fees f join paid p on p.id = f.payment_id
    cross join lateral (values ('processor_fees', f.amount_minor), ('stripe_clearing', -f.amount_minor)) as part(account, minor)
   where f.firm_id = any($1)
  union all
  select case l.source when 'refund_to_credit' then 'rtc:' || l.refund_id else 'lot:' || l.id end,
         case l.source when 'refund_to_credit' then 'refund_to_credit' else 'credit_issued' end, l.client_id, part.account, part.minor, l.currency
    from credit_lots l
    cross join lateral (values (case l.source when 'refund_to_credit' then 'refunds_contra' else 'credits_granted' end, l.amount_minor),
                               ('client_credit', -l.amount_minor)) as part(account, minor)
   where l.firm_id = any($1) and l.payment_id is null            -- that of a payment is part of its journal
  union all
  select 'app:' || a.id || way.suffix, way.kind, l.client_id, part.account, part.minor * way.sign, l.currency
    from credit_applications a
    join credit_lots l on l.firm_id = a.firm_id and l.id = a.lot_id
    left join credit_releases r on r.firm_id = a.firm_id and r.application_id = a.id
    cross join lateral (values ('', 'credit_applied', 1), (':released', 'credit_released', -1)) as way(suffix, kind, sign)
    cross join lateral (values ('client_credit', a.amount_minor), ('receivable', -a.amount_minor)) as part(account, minor)
   where a.firm_id = any($1) and (way.sign = 1 or r.application_id is not null)
  union all
  select 'exp:' || e.lot_id || ':' || e.seq, 'credit_expired', l.client_id, part.account, part.minor, l.currency
    from credit_expiries e join credit_lots l on l.firm_id = e.firm_id and l.id = e.lot_id
    cross join lateral (values ('client_credit', e.amount_minor), ('credits_granted', -e.amount_minor)) as part(account, minor)
   where e.firm_id = any($1)
  union all
  -- A refund to a card counts once it succeeded. One that failed may have succeeded before: then both are there.
  select 're:' || coalesce(r.stripe_refund_id, r.id::text) || way.suffix, way.kind, p.client_id, part.account, part.minor * way.sign, r.currency
    from refunds r join paid p on p.id = r.payment_id
    cross join lateral (values ('', 'refund', 1), (':failed', 'refund_failed', -1)) as way(suffix, kind, sign)
    cross join lateral (values ('refunds_contra', r.amount_minor), ('stripe_clearing', -r.amount_minor)) as part(account, minor)
   where r.firm_id = any($1) and r.destination = 'card'
     and ((r.state = 'succeeded' and way.sign = 1)
          or (r.state in ('failed', 'canceled') and exists (
                select 1 from journals j where j.firm_id = r.firm_id and j.source_key = 're:' || coalesce(r.stripe_refund_id, r.id::text))))
  union all
  select 'txn:' || m.stripe_balance_transaction_id || ':' || m.kind, 'dispute_' || m.kind, p.client_id, part.account, part.minor, m.currency
    from dispute_movements m
    join disputes d on d.firm_id = m.firm_id and d.id = m.dispute_id
    join paid p on p.id = d.payment_id
    cross join lateral (values (case when m.kind in ('withdrawn', 'reinstated') then 'dispute_hold' else 'processor_fees' end,
                                case when m.kind in ('withdrawn', 'fee') then m.amount_minor else -m.amount_minor end),
                               ('stripe_clearing',
                                case when m.kind in ('withdrawn', 'fee') then -m.amount_minor else m.amount_minor end)) as part(account, minor)
   where m.firm_id = any($1)
  union all
  -- A lost dispute has one journal per turn of the money; together they move all that it took.
  select 'dp:' || d.stripe_dispute_id || ':lost', 'dispute_lost', p.client_id, part.account, part.minor, t.currency
    from disputes d join taken t on t.id = d.id join paid p on p.id = d.payment_id
    cross join lateral (values ('chargeback_receivable', t.minor), ('dispute_hold', -t.minor)) as part(account, minor)
   where d.firm_id = any($1) and d.outcome = 'lost'
  union all
  select 'dp:' || g.stripe_dispute_id || ':written_off:' || g.currency, 'dispute_written_off', p.client_id, part.account, part.minor, g.currency
    from given_up g join paid p on p.id = g.payment_id
    cross join lateral (values ('chargeback_loss', g.minor), ('chargeback_receivable', -g.minor)) as part(account, minor)
   where g.kind = 'write_off' or g.currency <> g.disputed_in),
expected as (
  select key, kind, client_id, account, currency::text as currency, sum(minor)::bigint as minor
    from fact group by key, kind, client_id, account, currency::text having sum(minor) <> 0),
found as (                                                  -- write-offs have no fact of their own: see write_offs
  select case j.kind when 'dispute_lost' then regexp_replace(j.source_key, ':[0-9]+$', '') else j.source_key end as key,
         j.kind, j.client_id,
         -- Billed again what was lost in another currency is a loss taken back; here both are one account.
         case when i.rebills_dispute_id is not null and p.account = 'chargeback_loss' then 'chargeback_receivable' else p.account end as account,
         p.currency::text as currency, sum(p.amount_minor)::bigint as minor
    from journals j
    join postings p on p.firm_id = j.firm_id and p.journal_id = j.id
    left join invoices i on i.firm_id = j.firm_id and i.id = j.invoice_id
   where j.firm_id = any($1) and j.kind not in ('invoice_written_off', 'invoice_reopened')
   group by 1, 2, 3, 4, 5 having sum(p.amount_minor) <> 0)
select coalesce(e.key, f.key) as "key!", coalesce(e.kind, f.kind) as "kind!", coalesce(e.account, f.account) as "account!",
       coalesce(e.currency, f.currency) as "currency!", e.minor as expected, f.minor as found
  from expected e
  full join found f on (f.key, f.kind, f.client_id, f.account, f.currency) = (e.key, e.kind, e.client_id, e.account, e.currency)
 where e.minor is distinct from f.minor
 order by 1, 3, 4 limit $2
