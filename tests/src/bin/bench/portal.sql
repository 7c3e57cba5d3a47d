-- A firm with two years behind it, for the pages of the portal: `bench.invoices` invoices of 500 clients with lines, charges, payments,
-- journals, audit entries, alerts, events and jobs. Nine of ten are paid; of the rest each kind that pages tell apart has some.
--
-- Rows that the product would have written over two years are put there at once, without the triggers that watch how it writes.
set local session_replication_role = replica;

-- An id as the product makes them: by time. `kind` keeps those of different tables apart.
create function pg_temp.id(at timestamptz, kind int, n bigint) returns uuid language sql immutable as
$$ select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(kind), 3, '0') || '8'
           || lpad(to_hex(n), 15, '0'))::uuid $$;

insert into firms (id, external_id, name, timezone, default_currency)
  select pg_temp.id(now() - interval '3 years', 0, 1), 'bench', 'Bench Advisory', 'UTC', 'usd';
create temp table firm on commit drop as select id, retry_policy from firms where external_id = 'bench';

create temp table client on commit drop as
  select pg_temp.id(now() - interval '3 years', 1, n) as id, pg_temp.id(now() - interval '3 years', 2, n) as card,
         pg_temp.id(now() - interval '3 years', 3, n) as engagement, n
    from generate_series(0, 499) n;
insert into payment_methods (firm_id, id, client_id, stripe_payment_method_id, brand, last4, exp_month, exp_year)
  select f.id, c.card, c.id, 'pm_bench' || c.n, 'visa', '4242', 12, 2035 from firm f, client c;
insert into clients (firm_id, id, external_id, name, stripe_customer_id, autopay_enabled, autopay_payment_method_id)
  select f.id, c.id, 'client-' || c.n, 'Client ' || c.n, 'cus_bench' || c.n, true, c.card from firm f, client c;
insert into engagements (firm_id, id, external_id, client_id, lineage_id, pricing_mode, currency, hourly_rate_minor, starts_on, status, signed_at)
  select f.id, c.engagement, 'work-' || c.n, c.id, c.engagement, 'hourly', 'usd', 15000, current_date - 1000, 'signed', now() - interval '1000 days'
    from firm f, client c;
insert into users (firm_id, id, external_id, name, role)
  select f.id, pg_temp.id(now() - interval '3 years', 4, 1), 'owner-bench', 'Owner of Bench', 'owner' from firm f;

-- One row for each invoice: which, whose, when, how much, and what became of it.
create temp table made on commit drop as
  select g.n, pg_temp.id(at, 5, g.n) as id, c.id as client, c.card, c.engagement, at, at::date as day, 10000 + g.n % 977 * 100 as amount,
         case when g.n % 500 = 0 and age < 20 then 'draft' when g.n % 97 = 0 then 'void' when g.n % 211 = 0 then 'written_off' else 'issued' end as doc,
         case when g.n % 97 = 0 or g.n % 211 = 0 or (g.n % 500 = 0 and age < 20) then 'nothing'
              when age < 30 and g.n % 5 < 2 then 'waits'
              when g.n % 41 = 0 then 'late' when g.n % 43 = 0 then 'given_up' when g.n % 47 = 0 then 'by_credit' when age < 20 and g.n % 13 = 0 then 'retried'
              else 'paid' end as came
    from generate_series(1, current_setting('bench.invoices')::int) g (n),
         lateral (select (current_setting('bench.invoices')::int - g.n) * 730.0 / current_setting('bench.invoices')::int as age) a,
         lateral (select now() - age * interval '1 day' as at) t
    join client c on true where c.n = abs(hashint4(g.n)) % 500;
create index on made (came);
analyze made;

insert into invoices (firm_id, id, external_id, client_id, number, engagement_id, source, currency, doc_state, issue_date, due_date, issued_at,
                      subtotal_minor, autopay_opt_in, created_at)
  select f.id, m.id, 'bench-' || n, client, case when doc <> 'draft' then 'BENCH-' || n end, engagement, 'hourly', 'usd', doc,
         case when doc <> 'draft' then day end, case when doc <> 'draft' then day + 30 end, case when doc <> 'draft' then at end,
         amount, came <> 'late', at
    from firm f, made m;
insert into invoice_lines (firm_id, id, invoice_id, line_no, kind, description_code, quantity_minutes, rate_minor, amount_minor)
  select f.id, pg_temp.id(at, 5 + line, n), m.id, line, 'hourly', 'hours', 60, 15000, amount / 2 from firm f, made m, generate_series(1, 2) line;

insert into collection_cycles (firm_id, id, invoice_id, seq, stripe_payment_intent_id, amount_minor, currency, state, next_attempt_at, next_step,
                               policy, created_at)
  select f.id, pg_temp.id(at, 8, n), m.id, 1, 'pi_bench' || n, amount, 'usd',
         case came when 'paid' then 'succeeded' when 'given_up' then 'exhausted' when 'waits' then 'scheduled' else 'retry_wait' end,
         case when came in ('waits', 'retried') then now() + interval '3 days' end, 1, f.retry_policy, at
    from firm f, made m where came in ('paid', 'given_up', 'waits', 'retried');
-- The first charge, and where it was declined the next.
insert into payment_attempts (firm_id, id, cycle_id, seq, step, trigger, counts_toward_ladder, payment_method_id, amount_minor, idempotency_key,
                              state, stripe_charge_id, failure_class, decline_code, created_at, resolved_at)
  select f.id, pg_temp.id(at, 9 + step, n), pg_temp.id(at, 8, n), step + 1, step, case step when 0 then 'auto' else 'retry' end, true, card, amount,
         'bench-' || n || '-' || step, case when step = last and came = 'paid' then 'succeeded' else 'declined' end,
         'ch_bench' || n || '_' || step, case when step < last or came <> 'paid' then 'soft' end,
         case when step < last or came <> 'paid' then (array['insufficient_funds', 'do_not_honor', 'try_again_later', 'generic_decline'])[1 + n % 4] end,
         at + step * interval '3 days', at + step * interval '3 days'
    from firm f, made m, lateral (select case when came = 'given_up' then 3 when came = 'paid' and n % 10 = 0 then 1 else 0 end as last) l,
         lateral generate_series(0, last) step
   where came in ('paid', 'given_up', 'retried');

-- What is paid; one of 200 is paid twice, and the second is the client's credit.
insert into payments (firm_id, id, client_id, invoice_id, method, stripe_payment_intent_id, stripe_charge_id, external_ref, amount_minor, currency,
                      received_at, recorded_at, cause)
  select f.id, pg_temp.id(at, 12 + twice, n), client, m.id, case twice when 0 then 'stripe' else 'external' end,
         case twice when 0 then 'pi_bench' || n end, case twice when 0 then 'ch_bench' || n end, case twice when 1 then 'wire-' || n end,
         amount, 'usd', at, at, 'bench'
    from firm f, made m, lateral generate_series(0, case when n % 200 = 1 then 1 else 0 end) twice where came = 'paid';
insert into credit_lots (firm_id, id, client_id, currency, amount_minor, source, payment_id, issued_at, cause)
  select f.id, pg_temp.id(at, 14, n), client, 'usd', amount, 'overpayment', pg_temp.id(at, 13, n), at, 'bench'
    from firm f, made m where came = 'paid' and n % 200 = 1;
insert into credit_lots (firm_id, id, client_id, currency, amount_minor, source, reason, issued_at, cause)
  select f.id, pg_temp.id(at, 14, n), client, 'usd', amount, 'promotional', 'bench', at, 'bench' from firm f, made m where came = 'by_credit';
insert into credit_applications (firm_id, id, lot_id, invoice_id, amount_minor, applied_at, cause)
  select f.id, pg_temp.id(at, 15, n), pg_temp.id(at, 14, n), m.id, amount, at, 'bench' from firm f, made m where came = 'by_credit';
insert into credit_balances (firm_id, client_id, currency, balance_minor)
  select f.id, client, 'usd', sum(amount) from firm f, made where came = 'paid' and n % 200 = 1 group by 1, 2;
insert into refunds (firm_id, id, payment_id, stripe_refund_id, amount_minor, currency, state, created_at, sent_at)
  select f.id, pg_temp.id(at, 16, n), pg_temp.id(at, 12, n), 're_bench' || n, amount, 'usd', 'succeeded', at, at
    from firm f, made m where came = 'paid' and n % 131 = 0;
insert into disputes (firm_id, id, payment_id, stripe_dispute_id, stripe_status, kind, reason, amount_minor, currency, opened_at, respond_by,
                      closed_at, outcome)
  select f.id, pg_temp.id(at, 17, n), pg_temp.id(at, 12, n), 'du_bench' || n, case when open then 'needs_response' else 'lost' end, 'chargeback',
         'fraudulent', amount, 'usd', at, at + interval '20 days', case when not open then at + interval '40 days' end, case when not open then 'lost' end
    from firm f, made m, lateral (select at > now() - interval '20 days' as open) o where came = 'paid' and n % 397 = 0;

insert into journals (firm_id, id, kind, source_key, client_id, invoice_id, effective_at, posted_at)
  select f.id, pg_temp.id(at, 18 + nth::int, n), kind, kind || ':' || n, client, m.id, at, at
    from firm f, made m, unnest(array['invoice_issued', 'payment']) with ordinality as j (kind, nth)
   where doc <> 'draft' and (kind = 'invoice_issued' or came = 'paid');
insert into postings (firm_id, journal_id, line, account, amount_minor, currency)
  select f.id, pg_temp.id(at, 18 + nth::int, n), line, account, case line when 1 then amount else -amount end, 'usd'
    from firm f, made m, (values (1, 1, 'receivable'), (1, 2, 'revenue_hourly'), (2, 1, 'stripe_clearing'),
                                  (2, 2, 'receivable')) p (nth, line, account)
   where doc <> 'draft' and (nth = 1 or came = 'paid');
insert into time_entries (firm_id, id, external_id, engagement_id, worker, worked_on, minutes, rate_minor, currency, state, approved_by, approved_at,
                          created_at)
  select f.id, pg_temp.id(at, 21, n), 'bench-' || n, engagement, 'worker-' || n % 20, day, 60, case when approved then 15000 end, 'usd',
         case when approved then 'approved' else 'submitted' end, case when approved then 'owner-bench' end, case when approved then at end, at
    from firm f, made m, lateral (select at < now() - interval '5 days' as approved) a;

insert into audit_events (firm_id, at, category, action, actor_kind, actor_id, subject_kind, subject_id, cause_kind, cause_id)
  select f.id, at, 'billing', action, 'system', 'bench', 'invoice', m.id, 'job', m.id::text
    from firm f, made m, unnest(array['invoice_created', 'invoice_issued', 'charge_succeeded', 'invoice_paid']) action order by at;
insert into alerts (id, firm_id, alert_type, severity, dedupe_key, title, message, invoice_id, is_resolved, resolved_at, is_read, read_at, cause_kind, cause_id,
                    created_at, last_seen_at)
  select pg_temp.id(at, 22, n), f.id, case when came = 'given_up' then 'RETRY_EXHAUSTED' else 'PAYMENT_FAILED' end,
         case when came = 'given_up' then 'critical' else 'warning' end, 'bench:' || n, 'A charge failed', 'The card was declined.', m.id, done, case when done then at end, done,
         case when done then at end, 'job', 'bench', at, at
    from firm f, made m, lateral (select at < now() - interval '90 days' as done) d where came in ('given_up', 'retried') or (came = 'paid' and n % 10 = 0);

insert into stripe_events (stripe_event_id, type, livemode, object_type, object_id, created_at, received_at, body_sha256, facts, firm_id, state,
                           applied_at)
  select 'evt_bench' || n, 'payment_intent.succeeded', false, 'payment_intent', 'pi_bench' || n, at, at, sha256('x'), '{}', f.id, 'applied', at
    from firm f, made m;
insert into jobs (id, firm_id, queue, kind, dedupe_key, order_key, payload, run_at, created_at, state, attempt, finished_at)
  select pg_temp.id(at, 22 + nth, n), f.id, queue, kind, 'bench-' || n, 'customer:cus_bench' || n % 500, '{}', at, at,
         case when n % 1000 = 7 then 'discarded' else 'completed' end, 1, at
    from firm f, made m, (values (1, 'events', 'process_stripe_event'), (2, 'charges', 'charge_invoice')) j (nth, queue, kind);
insert into recon_runs (firm_id, id, since, until, objects, findings, run_at, cause)
  select f.id, pg_temp.id(now() - n * interval '1 day', 25, n), now() - (n + 1) * interval '1 day', now() - n * interval '1 day', 300, 0,
         now() - n * interval '1 day', 'bench'
    from firm f, generate_series(1, 365) n;
