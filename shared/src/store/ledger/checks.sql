-- What must hold in the ledgers of these firms and between it and the facts, beyond single postings: one row per difference.
with posted as materialized (
  select j.id, j.source_key, j.reverses, j.kind, j.client_id, j.invoice_id, j.dispute_id,
         p.account, p.currency::text as currency, p.amount_minor as minor
    from journals j left join postings p on p.firm_id = j.firm_id and p.journal_id = j.id
   where j.firm_id = any($1)),
lots as materialized (
  select id, client_id, currency::text as currency, remaining_minor from credit_lot_balances where firm_id = any($1)),
disputed as materialized (                                  -- each ended dispute and currency: taken by the facts, held and owed by the books
  select d.id, d.stripe_dispute_id, d.outcome, r.kind as resolution, x.currency,
         coalesce(sum(x.taken), 0)::bigint as taken, coalesce(sum(x.held), 0)::bigint as held, coalesce(sum(x.owed), 0)::bigint as owed
    from disputes d
    left join dispute_resolutions r on r.firm_id = d.firm_id and r.dispute_id = d.id
    join (select dispute_id, currency::text as currency,
                 case kind when 'withdrawn' then amount_minor else -amount_minor end as taken, 0 as held, 0 as owed
            from dispute_movements where firm_id = any($1) and kind in ('withdrawn', 'reinstated')
          union all
          select dispute_id, currency, 0, case account when 'dispute_hold' then minor end, case account when 'chargeback_receivable' then minor end
            from posted where dispute_id is not null and account in ('dispute_hold', 'chargeback_receivable')) x on x.dispute_id = d.id
   where d.firm_id = any($1) group by d.id, d.stripe_dispute_id, d.outcome, r.kind, x.currency),
difference ("check", severity, what, currency, expected, found) as (
  select 'journal_balances', 'error', 'journal ' || source_key, currency, 0::bigint, sum(minor)::bigint
    from posted where account is not null group by id, source_key, currency having sum(minor) <> 0
  union all
  select 'journal_has_postings', 'error', 'journal ' || source_key, '', null, null from posted where account is null
  union all
  select 'reversal_is_exact', 'error', 'journal ' || max(source_key) filter (where reverses is not null) || ', ' || account, currency,
         -sum(minor) filter (where reverses is null)::bigint, sum(minor) filter (where reverses is not null)::bigint
    from posted where coalesce(reverses, id) in (select reverses from posted where reverses is not null) and account is not null
   group by coalesce(reverses, id), account, currency having sum(minor) <> 0
  union all
  select 'receivable_is_open', 'error', coalesce('invoice ' || coalesce(i.number, i.id::text), 'no invoice'),
         coalesce(r.currency, i.currency), coalesce(i.open_minor, 0), coalesce(r.minor, 0)
    from (select v.id, v.number, v.currency::text as currency,
                 case when v.doc_state in ('issued', 'void_requested') then greatest(s.open_minor, 0) else 0 end as open_minor
            from invoices v join invoice_status s on s.firm_id = v.firm_id and s.id = v.id where v.firm_id = any($1)) i
    full join (select invoice_id, currency, sum(minor)::bigint as minor from posted where account = 'receivable' group by 1, 2) r
      on r.invoice_id = i.id and r.currency = i.currency
   where coalesce(i.open_minor, 0) <> coalesce(r.minor, 0)
  union all
  select 'write_off_is_unpaid', 'error', coalesce('invoice ' || coalesce(i.number, i.id::text), 'no invoice'),
         coalesce(w.currency, i.currency), coalesce(i.unpaid_minor, 0), coalesce(w.minor, 0)
    from (select v.id, v.number, v.currency::text as currency,
                 (v.total_minor - coalesce(p.minor, 0) - coalesce(a.minor, 0))::bigint as unpaid_minor
            from invoices v
            left join (select x.invoice_id, sum(x.amount_minor - coalesce(l.amount_minor, 0)) as minor
                         from payments x left join credit_lots l on l.firm_id = x.firm_id and l.payment_id = x.id
                        where x.firm_id = any($1) group by x.invoice_id) p on p.invoice_id = v.id
            left join (select x.invoice_id, sum(x.amount_minor) as minor from credit_applications x
                        where x.firm_id = any($1) and not exists (
                              select 1 from credit_releases y where y.firm_id = x.firm_id and y.application_id = x.id)
                        group by x.invoice_id) a on a.invoice_id = v.id
           where v.firm_id = any($1) and v.doc_state = 'written_off') i
    full join (select invoice_id, currency, sum(minor)::bigint as minor from posted where account = 'write_off' group by 1, 2) w
      on w.invoice_id = i.id and w.currency = i.currency
   where coalesce(i.unpaid_minor, 0) <> coalesce(w.minor, 0)
  union all
  select 'credit_agrees', 'error', 'credit of client ' || coalesce(c.external_id, c.id::text) || ' by ' || said.by, l.currency, l.lots, said.minor
    from (select client_id, currency, sum(lots)::bigint as lots, sum(posted)::bigint as posted, sum(kept)::bigint as kept
            from (select client_id, currency, remaining_minor as lots, 0 as posted, 0 as kept from lots
                  union all
                  select client_id, currency, 0, -minor, 0 from posted where account = 'client_credit'
                  union all
                  select client_id, currency::text, 0, 0, balance_minor from credit_balances where firm_id = any($1)) x
           group by client_id, currency) l
    join clients c on c.firm_id = any($1) and c.id = l.client_id
    cross join lateral (values ('its account', l.posted), ('its balance', l.kept)) as said(by, minor)
   where said.minor <> l.lots
  union all
  select 'lot_is_not_overdrawn', 'error', 'credit lot ' || id, currency, 0, remaining_minor from lots where remaining_minor < 0
  union all
  -- Lost, nothing may be held any more. Won, Stripe may not have given everything back (yet): booked as it is.
  select 'dispute_hold_is_over', case when outcome <> 'lost' and held = taken then 'warning' else 'error' end,
         'dispute ' || stripe_dispute_id, currency, case when outcome is null then taken else 0 end, held
    from disputed where held <> case when outcome is null then taken else 0 end
  union all
  select 'lost_dispute_is_settled', 'warning', 'dispute ' || stripe_dispute_id, currency, 0, owed
    from disputed where resolution = 'write_off' and owed <> 0
  union all
  -- We never give back more than came in; what Stripe reports is booked as it is.
  select 'captured_covers_returned', 'warning', 'payment ' || coalesce(p.stripe_charge_id, p.id::text), p.currency, p.amount_minor, o.minor
    from payments p
    join (select payment_id, sum(minor)::bigint as minor
            from (select payment_id, amount_minor as minor from refunds where firm_id = any($1) and state not in ('failed', 'canceled')
                  union all
                  select payment_id, amount_minor from disputes
                   where firm_id = any($1) and kind = 'chargeback' and (outcome is null or outcome = 'lost')
                  union all
                  select payment_id, amount_minor from credit_lots where firm_id = any($1) and payment_id is not null) x
           group by payment_id) o on o.payment_id = p.id
   where p.firm_id = any($1) and o.minor > p.amount_minor)
select "check" as "check!", severity as "severity!", what as "what!", currency as "currency!", expected, found
  from difference order by 2, 1, 3, 4 limit $2
