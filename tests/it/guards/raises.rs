//! What functions and triggers raise, each met by a statement about the firm north.

use super::catalogue::Proof;

/// A draft of north's, and an invoice by its name.
const DRAFT: &str = "(select id from invoices where doc_state = 'draft' and firm_id = app.firm())";

/// A function, what it raises (as in its source), and a statement that it refuses. `{draft}` is the id of a draft.
const RAISED_BY: [(&str, &str, &str); 77] = [
    (
        "platform_subscription_guard",
        "a subscription is history and keeps its id",
        "update platform_subscriptions set id = gen_random_uuid()",
    ),
    (
        "platform_subscription_guard",
        "a subscription that ended stays ended",
        "{off}; update platform_subscriptions set stripe_status = 'canceled'; {on}; update platform_subscriptions set stripe_status = 'active'",
    ),
    (
        "platform_invoice_guard",
        "an invoice of the platform is history and keeps its id",
        "update platform_invoices set stripe_invoice_id = 'in_x'",
    ),
    (
        "platform_invoice_guard",
        "an invoice of the platform that is % stays so",
        "update platform_invoices set stripe_status = 'open' where stripe_status = 'paid'",
    ),
    (
        "platform_request_guard",
        "what was asked of Stripe is history",
        "update platform_requests set kind = 'cancel'",
    ),
    (
        "recon_run_guard",
        "a comparison is history",
        "delete from recon_runs where firm_id = app.firm()",
    ),
    (
        "recon_finding_guard",
        "what was found is history",
        "update recon_findings set subject = 'another'",
    ),
    (
        "alert_guard",
        "alerts are history",
        "update alerts set dedupe_key = 'x'",
    ),
    (
        "alert_delivery_guard",
        "what was delivered stays delivered",
        "{off}; update alert_deliveries set state = 'delivered', ended_at = now(); {on}; update alert_deliveries set attempts = attempts + 1",
    ),
    (
        "clock_guard",
        "the clock of a live installation cannot be moved",
        "{off}; update installation set livemode = true; {on}; update clock set offset_ms = offset_ms + 1",
    ),
    (
        "installation_guard",
        "this database belongs to the other Stripe mode",
        "update installation set livemode = true",
    ),
    (
        "installation_guard",
        "a database whose clock was moved cannot go live",
        "{off}; update installation set livemode = null; {on}; update installation set livemode = true",
    ),
    (
        "engagement_guard",
        "a signed engagement is immutable",
        "update engagements set currency = 'eur' where external_id = 'work-north'",
    ),
    (
        "engagement_guard",
        "a signed engagement may only be shortened",
        "update engagements set ends_on = ends_on + 1 where external_id = 'hours-north'",
    ),
    (
        "engagement_guard",
        "engagement cannot go from % to %",
        "update engagements set status = 'draft' where external_id = 'work-north'",
    ),
    (
        "time_guard",
        "time entry is on an invoice",
        "update time_entries set minutes = 1 where external_id = 'billed-north'",
    ),
    (
        "time_guard",
        "approved time must be reopened before it is deleted",
        "delete from time_entries where external_id = 'else-north'",
    ),
    (
        "time_guard",
        "a time entry keeps its id",
        "update time_entries set id = gen_random_uuid() where external_id = 'fresh-north'",
    ),
    (
        "time_guard",
        "approved time must be reopened before editing",
        "update time_entries set minutes = 1 where external_id = 'else-north'",
    ),
    (
        "time_guard",
        "time entry cannot go from % to %",
        "update time_entries set state = 'submitted' where external_id = 'refused-north'",
    ),
    (
        "time_guard",
        "a client approves time that is submitted or approved, this is %",
        "update time_entries set client_approved_by = 'ceo-north', client_approved_at = now() where external_id = 'fresh-north'",
    ),
    (
        "time_guard",
        "this firm lets nobody approve their own time",
        "update time_entries set state = 'approved', approved_by = 'w1', approved_at = now(), rate_minor = 1 where external_id = 'fresh-north'",
    ),
    (
        "time_guard",
        "a client approves no time for the firm",
        "update time_entries set state = 'approved', approved_by = 'ceo-north', approved_at = now(), rate_minor = 1
          where external_id = 'fresh-north'",
    ),
    (
        "invoice_line_guard",
        "lines of an issued invoice are immutable",
        "update invoice_lines set amount_minor = 1 where invoice_id = (select id from invoices where external_id = 'lent-north')",
    ),
    (
        "invoice_line_guard",
        "time entry is %, not invoiceable",
        "insert into invoice_lines (firm_id, id, invoice_id, line_no, kind, amount_minor, time_entry_id)
         select firm_id, gen_random_uuid(), {draft}, 9, 'hourly', 1, id from time_entries where external_id = 'fresh-north'",
    ),
    (
        "invoice_line_guard",
        "time entry waits for the approval of the client, not invoiceable",
        "update firms set require_client_approval = true where id = app.firm();
         insert into invoice_lines (firm_id, id, invoice_id, line_no, kind, amount_minor, time_entry_id)
         select firm_id, gen_random_uuid(), {draft}, 9, 'hourly', 1, id from time_entries where external_id = 'else-north'",
    ),
    (
        "invoice_line_guard",
        "a line for time repeats its minutes and its rate",
        "insert into invoice_lines (firm_id, id, invoice_id, line_no, kind, amount_minor, time_entry_id, quantity_minutes, rate_minor)
         select firm_id, gen_random_uuid(), {draft}, 9, 'hourly', 1, id, 1, rate_minor from time_entries where external_id = 'else-north'",
    ),
    (
        "invoice_line_guard",
        "time is billed to the client it was worked for, in the currency of its rate",
        "insert into invoice_lines (firm_id, id, invoice_id, line_no, kind, amount_minor, time_entry_id, quantity_minutes, rate_minor)
         select firm_id, gen_random_uuid(), {draft}, 9, 'hourly', 1, id, minutes, rate_minor from time_entries where external_id = 'else-north'",
    ),
    (
        "invoice_line_guard",
        "time is released only by a void",
        "update invoice_lines set released_at = now() where time_entry_id is not null and firm_id = app.firm()",
    ),
    (
        "invoice_totals",
        "invoice %: lines add up to %, subtotal says %",
        "{off}; update invoices set subtotal_minor = subtotal_minor + 1 where external_id = 'lent-north'; {on};
         update invoices set doc_state = 'void_requested' where external_id = 'lent-north'",
    ),
    (
        "override_guard",
        "only an owner or admin of the firm may bill without an engagement",
        "update invoices set engagement_override = true, engagement_override_reason = 'x', engagement_override_by = 'sam-north' where id = {draft}",
    ),
    (
        "billing_period_guard",
        "a billed period can only be released",
        "update billing_periods set period_end = period_end + 1 where firm_id = app.firm()",
    ),
    (
        "billing_period_guard",
        "a period is released only when its invoice is void",
        "update billing_periods set released_at = now(), release_reason = 'x' where firm_id = app.firm()",
    ),
    (
        "invoice_guard",
        "an issued invoice cannot be deleted",
        "delete from invoices where external_id = 'lent-north'",
    ),
    (
        "invoice_guard",
        "invoice cannot go from % to %",
        "update invoices set doc_state = 'draft' where external_id = 'lent-north'",
    ),
    (
        "invoice_guard",
        "the content of an issued invoice is immutable",
        "update invoices set due_date = due_date + 1 where external_id = 'lent-north'",
    ),
    (
        "invoice_guard",
        "an invoice that was paid, even in part, cannot be voided: refund it",
        "update invoices set doc_state = 'void_requested' where external_id = 'inv-payernorth';
         update invoices set doc_state = 'void' where external_id = 'inv-payernorth'",
    ),
    (
        "invoice_guard",
        "credit applied to this invoice has to be released first",
        "update invoices set doc_state = 'void_requested' where external_id = 'credited-north';
         update invoices set doc_state = 'void' where external_id = 'credited-north'",
    ),
    (
        "invoice_end_guard",
        "a charge of this invoice is under way",
        "{off}; update payment_attempts set state = 'sent', resolved_at = null where state = 'declined' and seq = 1; {on};
         update invoices set doc_state = 'written_off' where external_id = 'inv-brokenorth'",
    ),
    (
        "invoice_end_guard",
        "a PaymentIntent of this invoice is not canceled yet",
        "update invoices set doc_state = 'void_requested' where external_id = 'inv-brokenorth';
         update invoices set doc_state = 'void' where external_id = 'inv-brokenorth'",
    ),
    (
        "invoice_end_guard",
        "an invoice that bills a lost dispute again is not voided: write it off",
        "update invoices set doc_state = 'void_requested' where rebills_dispute_id is not null and firm_id = app.firm();
         update invoices set doc_state = 'void' where rebills_dispute_id is not null and firm_id = app.firm()",
    ),
    (
        "invoice_end_guard",
        "a chargeback of this invoice is open",
        "update invoices set doc_state = 'written_off' where external_id = 'inv-contestednorth'",
    ),
    (
        "attempt_guard",
        "payment attempts are history",
        "update payment_attempts set amount_minor = amount_minor + 1",
    ),
    (
        "attempt_guard",
        "payment attempt already ended as %",
        "update payment_attempts set stripe_request_id = 'x' where state = 'declined'",
    ),
    ("cycle_guard", "collection cycles are history", "delete from collection_cycles"),
    (
        "cycle_guard",
        "a succeeded collection cycle stays succeeded",
        "update collection_cycles set state = 'canceled' where state = 'succeeded'",
    ),
    (
        "cycle_guard",
        "a collection cycle keeps its PaymentIntent",
        "update collection_cycles set stripe_payment_intent_id = 'pi_x' where state = 'retry_wait' and firm_id = app.firm()",
    ),
    (
        "cycle_guard",
        "a collection cycle keeps its retry policy",
        "update collection_cycles set policy = policy || '{\"version\": 9}' where state = 'retry_wait' and firm_id = app.firm()",
    ),
    (
        "cycle_guard",
        "collection cycle already ended as %",
        "update collection_cycles set state = 'in_flight' where state = 'canceled'",
    ),
    (
        "refund_guard",
        "refunds are history",
        "update refunds set amount_minor = amount_minor + 1",
    ),
    (
        "refund_guard",
        "a payment that did not come by card cannot go back to one",
        "insert into refunds (firm_id, id, payment_id, amount_minor, currency, state, created_at)
         select firm_id, gen_random_uuid(), id, 1, currency, 'requested', now() from payments where external_ref = 'transfer-north'",
    ),
    (
        "refund_guard",
        "a refund is in the currency of its payment, %",
        "insert into refunds (firm_id, id, payment_id, amount_minor, currency, state, created_at)
         select firm_id, gen_random_uuid(), id, 1, 'eur', 'requested', now() from payments
          where invoice_id = (select id from invoices where external_id = 'inv-payernorth')",
    ),
    (
        "refund_guard",
        "nothing is refunded while a chargeback on the payment is open",
        "insert into refunds (firm_id, id, payment_id, amount_minor, currency, state, created_at)
         select firm_id, gen_random_uuid(), id, 1, currency, 'requested', now() from payments
          where invoice_id = (select id from invoices where external_id = 'inv-contestednorth')",
    ),
    (
        "refund_guard",
        "refund of % would exceed the captured % (% is already out)",
        "insert into refunds (firm_id, id, payment_id, amount_minor, currency, state, created_at)
         select firm_id, gen_random_uuid(), id, amount_minor, currency, 'requested', now() from payments
          where invoice_id = (select id from invoices where external_id = 'inv-payernorth')",
    ),
    (
        "refund_gives_credit",
        "a refund to credit gives credit",
        "insert into refunds (firm_id, id, payment_id, amount_minor, currency, destination, state, created_at)
         select firm_id, gen_random_uuid(), id, 1, currency, 'credit', 'succeeded', now() from payments
          where invoice_id = (select id from invoices where external_id = 'inv-payernorth')",
    ),
    ("dispute_guard", "disputes are history", "update disputes set opened_at = now()"),
    (
        "dispute_guard",
        "dispute already ended as %",
        "update disputes set outcome = 'won' where outcome = 'lost'",
    ),
    (
        "dispute_guard",
        "a chargeback never becomes an inquiry",
        "update disputes set kind = 'inquiry' where outcome is null",
    ),
    (
        "post_dispute_resolution",
        "only a lost dispute waits for a decision, this one is %",
        "insert into dispute_resolutions (firm_id, dispute_id, kind, reason, resolved_by, resolved_at)
         select firm_id, id, 'write_off', 'x', 'x', now() from disputes where outcome is null and firm_id = app.firm()",
    ),
    (
        "post_dispute_resolution",
        "that invoice does not bill this dispute again",
        "{off}; delete from dispute_resolutions where kind = 'write_off'; {on};
         insert into dispute_resolutions (firm_id, dispute_id, kind, invoice_id, reason, resolved_by, resolved_at)
         select d.firm_id, d.id, 'rebill', i.id, 'x', 'x', now() from disputes d, invoices i
          where d.outcome = 'lost' and d.firm_id = app.firm() and i.external_id = 'lent-north'
            and not exists (select 1 from dispute_resolutions r where r.dispute_id = d.id)",
    ),
    (
        "postings_balance",
        "journal % does not balance: % % too much",
        "insert into postings select firm_id, journal_id, 9, account, 1, currency from postings limit 1",
    ),
    (
        "credit_lot_guard",
        "a user of a client neither gives credit nor approves it",
        "insert into credit_lots (firm_id, id, client_id, currency, amount_minor, source, issued_by, issued_at, cause)
         select firm_id, gen_random_uuid(), id, 'usd', 1, 'promotional', 'ceo-north', now(), 'x' from clients where external_id = 'plain-north'",
    ),
    (
        "credit_lot_guard",
        "whoever gives credit cannot approve it",
        "insert into credit_lots (firm_id, id, client_id, currency, amount_minor, source, reason, issued_by, approved_by, issued_at, cause)
         select c.firm_id, gen_random_uuid(), c.id, 'usd', 1, 'goodwill', 'x', 'ada-north', u.id, now(), 'x' from clients c, users u
          where c.external_id = 'plain-north' and u.external_id = 'ada-north'",
    ),
    (
        "credit_lot_guard",
        "credit for a refund is what a refund to credit gives back, to the client who paid",
        "insert into credit_lots (firm_id, id, client_id, currency, amount_minor, source, refund_id, issued_at, cause)
         select firm_id, gen_random_uuid(), id, 'usd', 1, 'refund_to_credit', gen_random_uuid(), now(), 'x' from clients
          where external_id = 'plain-north'",
    ),
    (
        "credit_lot_guard",
        "credit for a payment is what the payment was too much",
        "insert into credit_lots (firm_id, id, client_id, currency, amount_minor, source, payment_id, issued_at, cause)
         select firm_id, gen_random_uuid(), id, 'usd', 1, 'overpayment', gen_random_uuid(), now(), 'x' from clients
          where external_id = 'plain-north'",
    ),
    (
        "post_credit_application",
        "credit is for invoices of its own client and currency",
        "insert into credit_applications (firm_id, id, lot_id, invoice_id, seq, amount_minor, applied_at, cause)
         select firm_id, gen_random_uuid(), id, (select id from invoices where external_id = 'inv-brokenorth'), 9, 1, now(), 'x'
           from credit_lots where amount_minor = 100 and source = 'promotional' and firm_id = app.firm()",
    ),
    (
        "post_credit_application",
        "credit is applied to issued invoices, this one is %",
        "insert into credit_applications (firm_id, id, lot_id, invoice_id, seq, amount_minor, applied_at, cause)
         select firm_id, gen_random_uuid(), id, (select id from invoices where external_id = 'open-north'), 9, 1, now(), 'x'
           from credit_lots where amount_minor = 100 and source = 'promotional' and firm_id = app.firm()",
    ),
    (
        "post_credit_application",
        "this credit has expired on %",
        "insert into credit_applications (firm_id, id, lot_id, invoice_id, seq, amount_minor, applied_at, cause)
         select firm_id, gen_random_uuid(), id, (select id from invoices where external_id = 'lent-north'), 9, 1, now(), 'x'
           from credit_lots where expires_on is not null and firm_id = app.firm()",
    ),
    (
        "post_credit_application",
        "only % is left of this credit",
        "insert into credit_applications (firm_id, id, lot_id, invoice_id, seq, amount_minor, applied_at, cause)
         select firm_id, gen_random_uuid(), id, (select id from invoices where external_id = 'lent-north'), 9, 101, now(), 'x'
           from credit_lots where amount_minor = 100 and source = 'promotional' and firm_id = app.firm()",
    ),
    (
        "post_credit_application",
        "only % is open on this invoice",
        "insert into credit_lots (firm_id, id, client_id, currency, amount_minor, source, issued_at, cause)
         select firm_id, gen_random_uuid(), id, 'usd', 77777, 'promotional', now(), 'x' from clients where external_id = 'plain-north';
         insert into credit_applications (firm_id, id, lot_id, invoice_id, seq, amount_minor, applied_at, cause)
         select firm_id, gen_random_uuid(), id, (select id from invoices where external_id = 'lent-north'), 9, 5001, now(), 'x'
           from credit_lots where amount_minor = 77777",
    ),
    (
        "post_credit_release",
        "credit is released only by a void",
        "insert into credit_releases (firm_id, application_id, reason, released_at)
         select firm_id, id, 'x', now() from credit_applications where invoice_id = (select id from invoices where external_id = 'credited-north')",
    ),
    (
        "post_credit_expiry",
        "this credit has not expired",
        "insert into credit_expiries (firm_id, lot_id, seq, amount_minor, expired_at)
         select firm_id, id, 9, 100, now() from credit_lots where amount_minor = 100 and source = 'promotional' and firm_id = app.firm()",
    ),
    (
        "post_credit_expiry",
        "what expires is all that is left: %",
        "{off}; update credit_lots set expires_on = '2020-01-01' where amount_minor = 100 and source = 'promotional'; {on};
         insert into credit_expiries (firm_id, lot_id, seq, amount_minor, expired_at)
         select firm_id, id, 9, 50, now() from credit_lots where amount_minor = 100 and source = 'promotional' and firm_id = app.firm()",
    ),
    (
        "job_guard",
        "job already ended as %",
        "update jobs set state = 'available', finished_at = null where state = 'completed'",
    ),
    (
        "break_glass_guard",
        "break-glass sessions are history",
        "update break_glass_sessions set reason = 'another'",
    ),
    (
        "break_glass_guard",
        "this break-glass session has expired already",
        "update break_glass_sessions set revoked_at = now(), revoked_by = 'x', revoke_reason = 'x' where expires_at < app.now()",
    ),
    (
        "break_glass_guard",
        "this break-glass session has not expired",
        "update break_glass_sessions set expired_at = now() where expires_at > app.now()",
    ),
];

/// Those about ending what somebody looked at, and functions that people call.
const CALLED: [(&str, &str, &str); 5] = [
    (
        "break_glass_guard",
        "a break-glass session is reviewed when it is over",
        "update break_glass_sessions set reviewed_at = now(), reviewed_by = 'x', review_note = 'x' where expires_at > app.now()",
    ),
    (
        "break_glass_guard",
        "a break-glass session is reviewed by somebody else",
        "update break_glass_sessions set reviewed_at = now(), reviewed_by = operator, review_note = 'x' where expires_at < app.now()",
    ),
    (
        "break_glass",
        "there is no break-glass session % for %",
        "select app.break_glass(gen_random_uuid())",
    ),
    (
        "break_glass",
        "this break-glass session is over",
        "{off}; update break_glass_sessions set operator = session_user; {on};
         select app.break_glass(id) from break_glass_sessions where expires_at < app.now()",
    ),
    (
        "discard_draft",
        "that draft belongs to another firm",
        "select app.discard_draft(gen_random_uuid(), gen_random_uuid())",
    ),
];

/// A statement for each.
pub fn proofs() -> Vec<Proof> {
    RAISED_BY
        .iter()
        .chain(&CALLED)
        .map(|(function, sentence, sql)| Proof {
            guard: format!("{function}: {sentence}"),
            sql: sql.replace("{draft}", DRAFT),
        })
        .collect()
}
