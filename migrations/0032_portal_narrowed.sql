-- What a security review of the portal found: whose a token is, and what its login may write.

-- A token acts in the name of a person, who counts as one however they come in and whom it does not outlive; or of a system, which is
-- nobody where the rules ask for a person.
alter table api_tokens add column login_id uuid references logins;

drop function app.find_token(bytea);
create function app.find_token(token bytea)
  returns table (token_id uuid, firm_id uuid, name text, role text, used_at timestamptz,
                 login_id uuid, login text, user_id uuid, label text, person text)
  language sql stable security definer set search_path = public, pg_temp as
$$ select t.id, t.firm_id, t.name,
          -- Never more than the person may by now.
          case when u.id is null or t.role = 'alerts' then t.role
               else rank.roles[greatest(array_position(rank.roles, t.role), array_position(rank.roles, u.role))] end,
          t.used_at, l.id, l.name, u.id, coalesce(u.external_id, u.id::text, l.name), coalesce(u.name, l.name)
     from api_tokens t cross join (values (array['owner', 'admin', 'manager', 'staff'])) rank (roles)
     left join logins l on l.id = t.login_id
     left join users u on u.firm_id = l.firm_id and u.id = l.user_id
    where t.token_sha256 = token and t.revoked_at is null and t.expires_at > clock_timestamp()
      and (t.login_id is null
           or (l.disabled_at is null and l.firm_id is not distinct from t.firm_id and u.role is distinct from 'client')) $$;
alter function app.find_token(bytea) owner to quittance_scan;
revoke execute on function app.find_token(bytea) from public;
grant execute on function app.find_token(bytea) to quittance_portal;

-- Dead: the policy `portal`, which allows more, stands beside it.
drop policy asks_stripe on jobs;

-- 0027 granted by a loop. From here on each table and column that the portal writes is named; `the_portals_login_writes_what_is_named`
-- (tests/it/portal/grants.rs) reads the list back.
revoke insert on billing_periods, clients, credit_expiries, payment_attempts from quittance_portal;
revoke update on alerts, billing_periods, break_glass_sessions, clients, collection_cycles, decisions, engagements, firms,
  idempotency_keys, installation, invoice_counters, invoice_lines, invoices, jobs, login_throttle, payment_attempts, refunds, time_entries
  from quittance_portal;
revoke delete on invoice_counters, invoice_lines, time_entries from quittance_portal;
grant update (severity, title, message, related_data, cause_kind, cause_id, occurrences, last_seen_at, is_read, read_at, read_by,
  is_resolved, resolved_at, resolved_by) on alerts to quittance_portal;
grant update (released_at, release_reason) on billing_periods to quittance_portal;
grant update (revoked_at, revoked_by, revoke_reason, reviewed_at, reviewed_by, review_note) on break_glass_sessions to quittance_portal;
grant update (autopay_enabled, autopay_payment_method_id, autopay_changed_at, autopay_paused_at, autopay_paused_reason) on clients
  to quittance_portal;
grant update (state, state_reason, first_failed_at, next_attempt_at, next_step, next_trigger, deadline_at, amount_minor) on collection_cycles
  to quittance_portal;
grant update (last_at, times, predicates) on decisions to quittance_portal;
grant update (status, signed_at, ends_on) on engagements to quittance_portal;
grant update (autopay_paused_at, autopay_paused_reason) on firms to quittance_portal;
grant update (status, answer) on idempotency_keys to quittance_portal;
grant update (autopay_paused_at, autopay_paused_reason, brake) on installation to quittance_portal;
grant update (last) on invoice_counters to quittance_portal;
grant update (released_at) on invoice_lines to quittance_portal;
grant update (doc_state, number, issued_at, issue_date, due_date, autopay_next_charge_at, fenced_reason) on invoices to quittance_portal;
grant update (state, attempt, crashes, run_at, dispatched_at, finished_at, result) on jobs to quittance_portal;
grant update (failures, failed_at, locked_until) on login_throttle to quittance_portal;
grant update (state, counts_toward_ladder, stripe_charge_id, stripe_request_id, failure_class, failure_code, decline_code, advice_code,
  network_decline_code, resolved_at) on payment_attempts to quittance_portal;          -- to give one up: policy `given_up`
grant update (engagement_id, currency, worker, worked_on, minutes, state, rate_minor, approved_by, approved_at, client_approved_by,
  client_approved_at) on time_entries to quittance_portal;
-- In a test installation, by hand: `clock_guard` keeps a live one's where it is.
grant update (offset_ms, changed_at) on clock to quittance_portal;
-- A decision about a lost dispute locks it, and changes nothing about it.
grant update (firm_id) on disputes to quittance_portal;
create policy of_the_worker on disputes as restrictive for update to quittance_portal using (true) with check (false);

-- What an operator does by the API as by the commands.
alter table installation_changes
  drop constraint installation_changes_action_check,
  add constraint installation_changes_action_check check (action in (
    'autopay.paused', 'autopay.resumed', 'queue.paused', 'queue.resumed', 'job.retried', 'job.canceled',
    'login.password_set', 'login.disabled', 'login.succeeded', 'token.created', 'token.revoked',
    'alert_destination.added', 'alert_destination.removed', 'alert_destination.enabled', 'alert_destination.disabled',
    'alert_destination.tested', 'clock.moved', 'reconcile.requested'));
