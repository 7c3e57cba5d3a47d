-- When a call to Stripe was sent, by the real clock. Whether it may still take effect is a question of real time: a business
-- clock that is moved while the call is on its way makes Stripe no faster.
--
-- The guard writes it, so that a worker of the build before this one stamps it too, and nobody can change it. An attempt that
-- was sent before this migration has none; `sent_at` stands in, which is the same where the clock was never moved, and
-- later (so that more is waited for) where it was.
alter table payment_attempts add column real_sent_at timestamptz;

create or replace function app.attempt_guard() returns trigger language plpgsql as $$
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
  if old.sent_at is null and new.sent_at is not null then
    new.real_sent_at := clock_timestamp();
  end if;
  return new;
end $$;
