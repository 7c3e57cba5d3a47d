//! What the portal's login may write, table by table and column by column: as migration 0032 names it. Whoever grants more changes the
//! list below, and sees what somebody who has broken into a portal gets by it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use sqlx::{AssertSqlSafe, Executor as _};
use tests::world::{World, WorldOptions};

const WRITES: &str = "\
alert_deliveries: insert
alert_destination_secrets: insert
alert_destinations: insert, update(disabled_at, disabled_reason, failing_since, removed_at)
alerts: insert, update(cause_id, cause_kind, is_read, is_resolved, last_seen_at, message, occurrences, read_at, read_by, related_data, resolved_at, resolved_by, severity, title)
api_tokens: insert, update(revoked_at, revoked_by, used_at)
audit_events: insert(action, actor_id, actor_kind, at, category, cause_id, cause_kind, firm_id, meta, severity, subject_id, subject_kind)
audit_unsealed: insert
billing_periods: update(release_reason, released_at)
break_glass_sessions: insert, update(review_note, reviewed_at, reviewed_by, revoke_reason, revoked_at, revoked_by)
clients: update(autopay_changed_at, autopay_enabled, autopay_paused_at, autopay_paused_reason, autopay_payment_method_id)
clock: update(changed_at, offset_ms)
collection_cycles: insert, update(amount_minor, deadline_at, first_failed_at, next_attempt_at, next_step, next_trigger, state, state_reason)
credit_applications: insert
credit_lots: insert
credit_releases: insert
decisions: insert, update(last_at, predicates, times)
dispute_resolutions: insert
disputes: update(firm_id)
engagements: insert, update(ends_on, signed_at, status)
event_replays: insert
firms: update(autopay_paused_at, autopay_paused_reason)
idempotency_keys: delete, insert, update(answer, status)
installation: update(autopay_paused_at, autopay_paused_reason, brake)
installation_changes: insert
invoice_counters: insert, update(last)
invoice_lines: insert, update(released_at)
invoices: insert, update(autopay_next_charge_at, doc_state, due_date, fenced_reason, issue_date, issued_at, number)
jobs: insert, update(attempt, crashes, dispatched_at, finished_at, result, run_at, state)
login_throttle: delete, insert, update(failed_at, failures, locked_until)
logins: update(totp_step)
payment_attempts: update(advice_code, counts_toward_ladder, decline_code, failure_class, failure_code, network_decline_code, resolved_at, state, stripe_charge_id, stripe_request_id)
payments: insert
platform_customers: insert(billing_email, created_at, firm_id), update(billing_email, email_synced_at)
platform_requests: insert
portal_sessions: delete, insert, update(seen_at)
queue_pauses: delete, insert
refunds: insert
time_entries: insert, update(approved_at, approved_by, client_approved_at, client_approved_by, currency, engagement_id, minutes, rate_minor, state, worked_on, worker)
";

const RIGHTS: &str = "with rights as (
    select c.relname, lower(a.privilege_type) as what, '' as columns from pg_class c, aclexplode(c.relacl) a
     where a.grantee = 'quittance_portal'::regrole and c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v')
       and a.privilege_type <> 'SELECT'
    union all
    select c.relname, lower(x.privilege_type), '(' || string_agg(a.attname, ', ' order by a.attname) || ')'
      from pg_class c join pg_attribute a on a.attrelid = c.oid, aclexplode(a.attacl) x
     where x.grantee = 'quittance_portal'::regrole and c.relnamespace = 'public'::regnamespace and x.privilege_type <> 'SELECT'
     group by c.relname, x.privilege_type)
  select relname || ': ' || string_agg(what || columns, ', ' order by what, columns) from rights group by relname order by relname";

/// What no page and no request of the API needs, and the schema lets nobody do who has the portal's login.
const REFUSED: [&str; 18] = [
    "update firms set name = 'mine'",
    "update firms set max_charge_minor = null",
    "insert into firms (id, name) values (gen_random_uuid(), 'mine')",
    "update installation set livemode = true",
    "update jobs set payload = '{}'",
    "update jobs set kind = 'refund_payment'",
    "delete from jobs",
    "insert into clients (firm_id, id, name) values (gen_random_uuid(), gen_random_uuid(), 'mine')",
    "update clients set stripe_customer_id = 'cus_mine'",
    "update users set role = 'owner'",
    "update invoices set tax_minor = 1",
    "update engagements set package_fee_minor = 1",
    "update time_entries set external_id = 'x'",
    "delete from time_entries",
    "delete from invoice_lines",
    "update collection_cycles set stripe_payment_intent_id = 'pi_mine'",
    "update refunds set state = 'succeeded'",
    "update disputes set outcome = 'won'",
];

#[tokio::test]
async fn r212_p8_the_portals_login_writes_what_is_named_and_nothing_else() {
    let world = World::start(WorldOptions {
        workers: 0,
        ingress: false,
        ..WorldOptions::default()
    })
    .await;
    let writes = world.texts(RIGHTS).await.join("\n");
    assert_eq!(writes, WRITES.trim_end(), "\n{writes}");
    let mut conn = world.db.acquire().await.unwrap().detach();
    conn.execute("set role quittance_portal").await.unwrap();
    for forbidden in REFUSED {
        let refused = conn.execute(AssertSqlSafe(forbidden)).await.expect_err(forbidden);
        let refused = refused.into_database_error().unwrap();
        assert_eq!(refused.code().as_deref(), Some("42501"), "{forbidden}: {refused}");
    }
    // No policy stands there that decides nothing.
    let policies = "select polname from pg_policy where polrelid = 'jobs'::regclass and polcmd = 'a'";
    assert_eq!(world.texts(policies).await, [""; 0]);
}
