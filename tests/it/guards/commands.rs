//! The command's side: whoever runs into a guard is told first, in a sentence, with exit code 4 (2 for a wrong call, 1 for a
//! document with faults, each with its path), and nothing has changed.

use std::collections::BTreeMap;

use sqlx::Row as _;
use tests::world::{World, WorldOptions};

use super::document;
use crate::population::two_firms;

/// What is run: a command, or an import of a document.
enum Run {
    Command(&'static [&'static str]),
    Import(&'static str),
}

/// Something that guards forbid.
struct Case {
    guards: &'static [&'static str],
    run: Run,
    exit: i32,
    /// Part of what it says; of an import with faults the path and what is wrong there.
    says: &'static str,
}

const fn command(
    guards: &'static [&'static str],
    args: &'static [&'static str],
    exit: i32,
    says: &'static str,
) -> Case {
    Case {
        guards,
        run: Run::Command(args),
        exit,
        says,
    }
}

const fn import(
    guards: &'static [&'static str],
    document: &'static str,
    exit: i32,
    says: &'static str,
) -> Case {
    Case {
        guards,
        run: Run::Import(document),
        exit,
        says,
    }
}

/// `{again}`, `{contested}`: disputes; `{rebill}`: the invoice that bills the first again; `{over}`, `{open}`: break-glass sessions.
const CASES: &[Case] = &[
    // Engagements.
    import(
        &["engagement_guard: a signed engagement is immutable"],
        r#"{"engagements": [{"external_id": "draft-north", "client": "plain-north", "pricing_mode": "hourly", "currency": "usd",
            "hourly_rate": "60", "starts_on": "2020-01-01", "signed": true},
            {"external_id": "hours-north", "client": "plain-north", "pricing_mode": "hourly", "currency": "eur", "hourly_rate": "60",
            "starts_on": "2020-01-01", "signed": true}]}"#,
        4,
        "$.engagements[1].currency: cannot change: the engagement is signed",
    ),
    command(
        &["engagement_guard: a signed engagement may only be shortened"],
        &[
            "engagement",
            "end",
            "hours-north",
            "--on",
            "2099-06-01",
            "--reason",
            "x",
        ],
        4,
        "the engagement ends on 2099-01-01 as it is signed; its end can only come nearer: renew it for more days",
    ),
    command(
        &["engagement_terms_overlap"],
        &[
            "engagement",
            "renew",
            "hours-north",
            "--starts-on",
            "2098-01-01",
            "--ends-on",
            "2101-01-01",
        ],
        4,
        "both would bill the same days; end that one earlier or choose other days",
    ),
    command(
        &["engagements_check"],
        &["engagement", "renew", "hours-north", "--ends-on", "2099-01-01"],
        4,
        "an engagement covers at least a day",
    ),
    command(
        &["engagements_check1"],
        &[
            "engagement",
            "renew",
            "hours-north",
            "--starts-on",
            "2101-01-01",
            "--ends-on",
            "2102-01-01",
            "--package-fee",
            "5",
        ],
        4,
        "--package-fee does not go with the engagement's pricing mode, which a renewal keeps",
    ),
    command(
        &["engagements_hourly_rate_minor_check"],
        &[
            "engagement",
            "renew",
            "hours-north",
            "--starts-on",
            "2101-01-01",
            "--ends-on",
            "2102-01-01",
            "--hourly-rate",
            "0",
        ],
        2,
        "must be greater than zero",
    ),
    command(
        &["engagements_firm_id_external_id_key"],
        &[
            "engagement",
            "renew",
            "hours-north",
            "--starts-on",
            "2101-01-01",
            "--ends-on",
            "2102-01-01",
            "--external-id",
            "work-north",
        ],
        4,
        "choose another with --external-id",
    ),
    import(
        &[
            "engagements_pricing_mode_check",
            "engagements_cadence_check",
            "engagements_period_anchor_check",
            "engagements_proration_check",
            "engagements_charge_timing_check",
        ],
        r#"{"engagements": [{"external_id": "e", "client": "plain-north", "pricing_mode": "free", "currency": "usd",
            "period_anchor": "moon", "proration": "half", "charge_timing": "never", "hourly_schedule": "daily", "starts_on": "2026-01-01"}]}"#,
        1,
        "$.engagements[0].pricing_mode: unknown pricing_mode 'free': use package, hourly or mixed",
    ),
    import(
        &[
            "engagement_cadence",
            "engagements_check3",
            "engagements_package_fee_minor_check",
        ],
        r#"{"engagements": [{"external_id": "e", "client": "plain-north", "pricing_mode": "mixed", "currency": "usd",
            "package_fee": "0", "starts_on": "2026-01-01"}]}"#,
        1,
        "$.engagements[0].package_fee: '0' must be greater than zero",
    ),
    // Time.
    command(
        &["time_guard: this firm lets nobody approve their own time"],
        &["time", "approve", "fresh-north", "--by", "w1"],
        4,
        "the firm lets nobody approve their own time: have somebody else approve it",
    ),
    command(
        &["time_guard: a client approves no time for the firm"],
        &["time", "approve", "fresh-north", "--by", "ceo-north"],
        4,
        "ceo-north is a user with role client, which may not approve time",
    ),
    import(
        &["time_guard: approved time must be reopened before editing"],
        r#"{"time_entries": [{"external_id": "else-north", "engagement": "eng-payernorth", "worker": "w1", "worked_on": "2026-01-05",
            "minutes": 61, "state": "approved", "approved_by": "ada-north"}]}"#,
        4,
        "$.time_entries[0].worked_on: cannot change: the time is approved",
    ),
    command(
        &["time_guard: time entry is on an invoice"],
        &["time", "edit", "billed-north", "--minutes", "30"],
        4,
        "only a void of that invoice releases it",
    ),
    command(
        &["time_guard: time entry cannot go from % to %"],
        &["time", "submit", "else-north"],
        4,
        "the time is approved: only a draft is submitted; edit or reopen it first",
    ),
    command(
        &["time_guard: a client approves time that is submitted or approved, this is %"],
        &["time", "client-approve", "fresh-north", "--by", "ceo-north"],
        4,
        "the time is draft: a client approves time that is submitted or approved",
    ),
    command(
        &["time_entries_minutes_check"],
        &[
            "time",
            "add",
            "--engagement",
            "hours-north",
            "--worker",
            "w1",
            "--worked-on",
            "2026-12-01",
            "--minutes",
            "1441",
        ],
        2,
        "invalid value '1441' for '--minutes <N>': 1441 is not in 1..=1440",
    ),
    command(
        &["time_entries_firm_id_external_id_key"],
        &[
            "time",
            "add",
            "--engagement",
            "hours-north",
            "--worker",
            "w1",
            "--worked-on",
            "2098-12-01",
            "--minutes",
            "1",
            "--external-id",
            "fresh-north",
        ],
        4,
        "the firm has time \"fresh-north\" already: edit it, or choose another external id",
    ),
    import(
        &["time_entries_state_check", "time_entries_check"],
        r#"{"time_entries": [{"external_id": "t", "engagement": "hours-north", "worker": "w1", "worked_on": "2098-01-05", "minutes": 1,
            "state": "done"}]}"#,
        1,
        "$.time_entries[0].state: unknown state 'done': use draft, submitted, approved or rejected",
    ),
    // Invoices.
    command(
        &[
            "invoice_line_guard: time entry is %, not invoiceable",
            "one_live_line_per_time_entry",
        ],
        &["invoice", "create", "--engagement", "hours-north"],
        4,
        "no approved time of the engagement is left to bill; by entries: of 1 the time waits for approval, of 1 the time is on an invoice already",
    ),
    import(
        &[
            "invoice_guard: the content of an issued invoice is immutable",
            "invoice_line_guard: lines of an issued invoice are immutable",
            "invoices_firm_id_external_id_key",
        ],
        r#"{"invoices": [{"external_id": "lent-north", "client": "plain-north", "engagement": "work-north", "currency": "usd",
            "issue_date": "2020-01-01", "due_date": "2099-12-31", "autopay_opt_in": false, "lines": [{"kind": "hourly", "amount": "51.00"}]}]}"#,
        4,
        "$.invoices[0].issue_date: cannot change: the invoice is issued",
    ),
    import(
        &["invoices_check2", "invoice_lines_kind_check"],
        r#"{"invoices": [{"external_id": "i", "client": "plain-north", "engagement": "work-north", "currency": "usd",
            "issue_date": "2020-01-02", "due_date": "2020-01-01", "autopay_opt_in": false, "lines": [{"kind": "gift", "amount": "51.00"}]}]}"#,
        1,
        "$.invoices[0].lines[0].kind: unknown kind 'gift': use package_fee, hourly or adjustment",
    ),
    command(
        &[
            "invoice_guard: an issued invoice cannot be deleted",
            "invoice_line_guard: time is released only by a void",
        ],
        &["invoice", "discard", "lent-north", "--reason", "x"],
        4,
        "the invoice is no draft: it is issued",
    ),
    command(
        &["invoice_guard: invoice cannot go from % to %"],
        &["invoice", "void", "open-north", "--reason", "x"],
        4,
        "is void already",
    ),
    command(
        &["invoice_guard: invoice cannot go from % to %"],
        &["invoice", "write-off", "open-north", "--reason", "x"],
        4,
        "is void already",
    ),
    command(
        &[
            "invoice_guard: invoice cannot go from % to %",
            "invoices_check1",
            "invoices_number_key",
        ],
        &["invoice", "issue", "lent-north"],
        4,
        "the invoice is no draft: it is issued",
    ),
    command(
        &["invoice_guard: an invoice that was paid, even in part, cannot be voided: refund it"],
        &["invoice", "void", "inv-payernorth", "--reason", "x"],
        4,
        "was paid, even if in part: refund it instead (`quittance invoice refund`)",
    ),
    command(
        &["invoice_end_guard: an invoice that bills a lost dispute again is not voided: write it off"],
        &["invoice", "void", "{rebill}", "--reason", "x"],
        4,
        "bills what a lost dispute took: write it off instead (`quittance invoice write-off`)",
    ),
    command(
        &["invoice_end_guard: a chargeback of this invoice is open"],
        &["invoice", "write-off", "inv-contestednorth", "--reason", "x"],
        4,
        "has an open chargeback: wait for the bank's decision (`quittance dispute list`)",
    ),
    command(
        &["invoices_check"],
        &["invoice", "create", "--client", "plain-north", "--amount", "5"],
        4,
        "an invoice hangs on an engagement: name it with --engagement, or have an owner or admin of the firm say that it needs none (--client, --override-by, --override-reason, --amount)",
    ),
    command(
        &["override_guard: only an owner or admin of the firm may bill without an engagement"],
        &[
            "invoice",
            "create",
            "--client",
            "plain-north",
            "--amount",
            "5",
            "--override-by",
            "sam-north",
            "--override-reason",
            "x",
        ],
        4,
        "only an owner or admin of the firm may bill without an engagement, and \"sam-north\" is none",
    ),
    command(
        &[
            "billing_period_guard: a period is released only when its invoice is void",
            "billing_period_guard: a billed period can only be released",
        ],
        &["invoice", "reissue", "{package}", "--reason", "x"],
        4,
        "the invoice is issued: its period is billed until the invoice is void",
    ),
    // Money from elsewhere, and money that goes back.
    command(
        &["payments_firm_id_method_external_ref_key"],
        &[
            "invoice",
            "pay-external",
            "lent-north",
            "--amount",
            "1",
            "--reference",
            "transfer-north",
        ],
        4,
        "\"transfer-north\" is on record as other money: the reference names one payment",
    ),
    command(
        &["payments_amount_minor_check"],
        &[
            "invoice",
            "pay-external",
            "lent-north",
            "--amount",
            "0",
            "--reference",
            "r",
        ],
        2,
        "--amount: '0' must be greater than zero",
    ),
    command(
        &["refund_guard: nothing is refunded while a chargeback on the payment is open"],
        &[
            "invoice",
            "refund",
            "inv-contestednorth",
            "--amount",
            "1",
            "--to",
            "card",
            "--reason",
            "x",
        ],
        4,
        "a chargeback on this invoice is open: the bank may give the money back too, so nothing is refunded until it ends",
    ),
    command(
        &["refund_guard: refund of % would exceed the captured % (% is already out)"],
        &[
            "invoice",
            "refund",
            "inv-payernorth",
            "--amount",
            "99",
            "--to",
            "credit",
            "--reason",
            "x",
        ],
        4,
        "only 98.00 USD is left of what was paid on this invoice",
    ),
    command(
        &["refund_guard: a payment that did not come by card cannot go back to one"],
        &[
            "invoice",
            "refund",
            "wired-north",
            "--amount",
            "1",
            "--to",
            "card",
            "--reason",
            "x",
        ],
        4,
        "only 0.00 USD of what is left came by card and can go back to one: give the rest as credit",
    ),
    command(
        &["refunds_amount_minor_check"],
        &[
            "invoice",
            "refund",
            "inv-payernorth",
            "--amount",
            "0",
            "--to",
            "card",
            "--reason",
            "x",
        ],
        2,
        "--amount: '0' must be greater than zero",
    ),
    command(
        &["refunds_destination_check"],
        &[
            "invoice",
            "refund",
            "inv-payernorth",
            "--amount",
            "1",
            "--to",
            "cash",
            "--reason",
            "x",
        ],
        2,
        "invalid value 'cash' for '--to <TO>'",
    ),
    // Credit.
    command(
        &[
            "post_credit_application: only % is left of this credit",
            "credit_is_never_overdrawn",
        ],
        &["credit", "apply", "lent-north", "--amount", "45"],
        4,
        "the client has only 9.00 USD of credit that can be used today",
    ),
    command(
        &["post_credit_application: only % is open on this invoice"],
        &["credit", "apply", "lent-north", "--amount", "51"],
        4,
        "only 50.00 USD is open on this invoice",
    ),
    command(
        &["post_credit_application: credit is applied to issued invoices, this one is %"],
        &["credit", "apply", "open-north"],
        4,
        "credit is applied to issued invoices only",
    ),
    command(
        &["post_credit_application: credit is for invoices of its own client and currency"],
        &["credit", "apply", "inv-brokenorth"],
        4,
        "the client has no credit in the invoice's currency that can be used today",
    ),
    command(
        &[
            "credit_needs_four_eyes",
            "credit_lot_guard: whoever gives credit cannot approve it",
        ],
        &[
            "credit",
            "issue",
            "plain-north",
            "--amount",
            "5",
            "--source",
            "goodwill",
            "--reason",
            "x",
            "--by",
            "ada-north",
            "--approved-by",
            "ada-north",
        ],
        4,
        "whoever gives credit cannot approve it: name another person with --approved-by",
    ),
    command(
        &["credit_lot_guard: a user of a client neither gives credit nor approves it"],
        &[
            "credit",
            "issue",
            "plain-north",
            "--amount",
            "5",
            "--reason",
            "x",
            "--by",
            "ceo-north",
        ],
        4,
        "ceo-north is a user of a client, who neither gives credit nor approves it",
    ),
    command(
        &["credit_lots_amount_minor_check"],
        &["credit", "issue", "plain-north", "--amount", "0", "--reason", "x"],
        2,
        "--amount: '0' must be greater than zero",
    ),
    command(
        &[
            "credit_lots_source_check",
            "credit_lots_check",
            "credit_lots_check1",
        ],
        &[
            "credit",
            "issue",
            "plain-north",
            "--amount",
            "5",
            "--reason",
            "x",
            "--source",
            "overpayment",
        ],
        2,
        "invalid value 'overpayment' for '--source <SOURCE>'",
    ),
    command(
        &["ccy_check"],
        &[
            "credit",
            "issue",
            "plain-north",
            "--amount",
            "5",
            "--reason",
            "x",
            "--currency",
            "US",
        ],
        2,
        "invalid value 'US' for '--currency <C>': currency 'US' is not one that Stripe charges: use a three-letter code such as 'usd' or 'eur'",
    ),
    // Disputes.
    command(
        &["dispute_resolutions_pkey", "one_rebill_per_dispute"],
        &["dispute", "resolve", "{again}", "--rebill", "--reason", "x"],
        4,
        "was decided before: `quittance dispute show` says how",
    ),
    command(
        &["post_dispute_resolution: only a lost dispute waits for a decision, this one is %"],
        &[
            "dispute",
            "resolve",
            "{contested}",
            "--write-off",
            "--reason",
            "x",
        ],
        4,
        "is open: the bank has not decided yet",
    ),
    command(
        &["dispute_resolutions_reason_check"],
        &[
            "dispute",
            "resolve",
            "{contested}",
            "--write-off",
            "--reason",
            " ",
        ],
        2,
        "invalid value ' ' for '--reason <R>': it must say something",
    ),
    // Break-glass.
    command(
        &["break_glass_is_for_a_day_at_most"],
        &[
            "break-glass",
            "open",
            "--firm-id",
            "north",
            "--reason",
            "x",
            "--expires-in",
            "25h",
        ],
        4,
        "a break-glass session lasts a day at most: open another one tomorrow, if it is still needed",
    ),
    command(
        &["break_glass_sessions_check"],
        &[
            "break-glass",
            "open",
            "--firm-id",
            "north",
            "--reason",
            "x",
            "--expires-in",
            "0s",
        ],
        2,
        "invalid value '0s' for '--expires-in <DURATION>': \"0s\" is no duration: write 3d, 12h, 90m, 45s, 2w or a sum such as 1w2d",
    ),
    command(
        &["break_glass_sessions_reason_check"],
        &[
            "break-glass",
            "open",
            "--firm-id",
            "north",
            "--reason",
            " ",
            "--expires-in",
            "1h",
        ],
        2,
        "invalid value ' ' for '--reason <REASON>': say something: it is kept for ever",
    ),
    command(
        &["break_glass_sessions_operator_check"],
        &[
            "break-glass",
            "open",
            "--firm-id",
            "north",
            "--reason",
            "x",
            "--expires-in",
            "1h",
            "--by",
            " ",
        ],
        2,
        "invalid value ' ' for '--by <OPERATOR>': say something: it is kept for ever",
    ),
    command(
        &["break_glass_guard: this break-glass session has expired already"],
        &["break-glass", "revoke", "{over}", "--reason", "x"],
        4,
        "the session is expired already: there is nothing to revoke",
    ),
    command(
        &["break_glass_sessions_revoke_reason_check"],
        &["break-glass", "revoke", "{open}", "--reason", " "],
        2,
        "invalid value ' ' for '--reason <REASON>': say something: it is kept for ever",
    ),
    command(
        &["break_glass_guard: a break-glass session is reviewed when it is over"],
        &["break-glass", "review", "{open}", "--note", "x"],
        4,
        "the session is open: it is reviewed when it is over",
    ),
    command(
        &["break_glass_guard: a break-glass session is reviewed by somebody else"],
        &[
            "break-glass",
            "review",
            "{over}",
            "--note",
            "x",
            "--by",
            "quittance_test_operator",
        ],
        4,
        "a session is reviewed by somebody else than who opened or used it",
    ),
    command(
        &["break_glass_sessions_review_note_check"],
        &["break-glass", "review", "{over}", "--note", " "],
        2,
        "invalid value ' ' for '--note <NOTE>': say something: it is kept for ever",
    ),
    // Clients, their cards, their people.
    command(
        &["clients_check1"],
        &["client", "autopay", "on", "plain-north"],
        2,
        "the client has no card set: name one with --payment-method",
    ),
    command(
        &["clients_firm_id_id_autopay_payment_method_id_fkey"],
        &[
            "client",
            "autopay",
            "on",
            "payernorth",
            "--payment-method",
            "pm_losernorth",
        ],
        1,
        "\"pm_losernorth\" is no payment method of this client: add it first",
    ),
    command(
        &["payment_methods_stripe_payment_method_id_key"],
        &["client", "payment-method", "add", "payernorth", "pm_losernorth"],
        4,
        "Stripe keeps pm_losernorth for another customer, or for none",
    ),
    import(
        &["clients_stripe_customer_id_key"],
        r#"{"clients": [{"external_id": "plain-north", "firm": "north", "name": "Plain", "stripe_customer_id": "cus_payernorth"}]}"#,
        1,
        "$.clients[0].stripe_customer_id: belongs to another client",
    ),
    import(
        &[
            "payment_methods_exp_month_check",
            "payment_methods_exp_year_check",
            "payment_methods_last4_check",
        ],
        r#"{"clients": [{"external_id": "plain-north", "firm": "north", "name": "Plain", "stripe_customer_id": "cus_plain",
            "payment_methods": [{"stripe_payment_method_id": "pm_x", "last4": "42", "exp_month": 13, "exp_year": 1999}]}]}"#,
        1,
        "$.clients[0].payment_methods[0].last4: must be the last four digits, nothing else",
    ),
    import(
        &["users_role_check", "users_check"],
        r#"{"users": [{"external_id": "u", "firm": "north", "name": "U", "role": "boss"},
                      {"external_id": "v", "firm": "north", "name": "V", "role": "client"}]}"#,
        1,
        "$.users[0].role: unknown role 'boss': use owner, admin, manager, staff or client",
    ),
    import(
        &[
            "firms_max_charge_minor_check",
            "firms_max_charges_per_run_check",
            "firms_alert_failure_rate_percent_check",
            "firms_alert_failures_in_row_check",
        ],
        r#"{"firms": [{"external_id": "north", "name": "North", "timezone": "UTC", "currency": "usd", "max_charge_minor": -1,
            "max_charges_per_run": -1, "alert_failure_rate_percent": 101, "alert_failures_in_row": -1}]}"#,
        1,
        "$.firms[0].max_charge_minor: must be a whole number from 0 (no limit)",
    ),
    command(
        &[
            "alerts_title_check",
            "alerts_alert_type_check",
            "alerts_severity_check",
        ],
        &[
            "alert",
            "raise",
            "--firm-id",
            "north",
            "--type",
            "SYSTEM_ERROR",
            "--severity",
            "info",
            "--title",
            "",
            "--message",
            "x",
            "--dedupe-key",
            "x",
        ],
        2,
        "a value is required for '--title <TITLE>' but none was supplied",
    ),
    // Jobs and queues.
    command(
        &["job_guard: job already ended as %"],
        &["jobs", "retry", "{done}", "--reason", "x"],
        4,
        "is done: what it was to do has happened",
    ),
    command(
        &["queue_pauses_queue_check"],
        &["queue", "pause", "refunds", "--reason", "x"],
        2,
        "unknown queue \"refunds\": use events, invoices, charges, maintenance or alerts",
    ),
    // The clock.
    command(
        &["clock_offset_ms_check"],
        &["clock", "set", "2020-01-01T00:00:00Z"],
        4,
        "the business clock only moves forward",
    ),
];

/// What stands for the ids that only the database knows.
async fn ids(world: &World) -> BTreeMap<&'static str, String> {
    let mut ids = BTreeMap::new();
    for (name, sql) in [
        (
            "{again}",
            "select d.stripe_dispute_id from disputes d join invoices i on i.rebills_dispute_id = d.id",
        ),
        (
            "{contested}",
            "select d.stripe_dispute_id from disputes d where d.outcome is null",
        ),
        (
            "{rebill}",
            "select d.number from invoices d where d.rebills_dispute_id is not null",
        ),
        (
            "{package}",
            "select d.number from invoices d where d.source = 'mixed'",
        ),
        (
            "{done}",
            "select min(d.id::text) from jobs d where d.state = 'completed'",
        ),
        (
            "{over}",
            "select d.id::text from break_glass_sessions d where d.expires_at < app.now()",
        ),
        (
            "{open}",
            "select d.id::text from break_glass_sessions d where d.expires_at > app.now()",
        ),
    ] {
        let join = if sql.contains(" where ") { "and" } else { "where" };
        let of_north = format!("{sql} {join} d.firm_id = (select id from firms where external_id = 'north')");
        let found = world.texts(&of_north).await;
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        ids.insert(name, found.into_iter().next().unwrap_or_default());
    }
    ids
}

/// Every row of every table, but for what says that somebody was refused.
async fn digest(world: &World) -> BTreeMap<String, String> {
    let tables = "select c.relname::text as name from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
                    and c.relname not in ('decisions', 'workers', 'job_runs')";
    let rows = sqlx::query(tables).fetch_all(&world.db).await.unwrap();
    let mut digest = BTreeMap::new();
    for row in rows {
        let table: String = row.get("name");
        let sql =
            format!("select md5(coalesce(string_agg(t::text, chr(10) order by t::text), '')) from {table} t");
        let now = world.texts(&sql).await.concat();
        digest.insert(table, now);
    }
    digest
}

#[tokio::test]
async fn every_guard_that_a_command_reaches_is_met_by_it_first_and_nothing_changes() {
    let mut world = World::start(WorldOptions::default()).await;
    two_firms(&mut world).await;
    let ids = ids(&world).await;
    let fill = |text: &str| {
        ids.iter()
            .fold(text.to_owned(), |text, (name, id)| text.replace(name, id))
    };
    let before = digest(&world).await;
    let rows = document::rows();
    let mut faults = Vec::new();
    for case in CASES {
        let output = match case.run {
            Run::Command(args) => {
                let args: Vec<String> = args.iter().map(|arg| fill(arg)).collect();
                let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
                args.push("--json");
                world.cli(&args).await
            }
            Run::Import(document) => {
                let import = ["import", "-", "--json"];
                world.command().run_with_input(&import, document).await.unwrap()
            }
        };
        // What clap refuses it says on standard error, for --json too.
        let error = output
            .json()
            .map_or(serde_json::Value::Null, |answer| answer["error"].clone());
        let mut said = vec![
            error["message"]
                .as_str()
                .map_or_else(|| output.stderr.clone(), str::to_owned),
        ];
        for detail in error["details"].as_array().into_iter().flatten() {
            said.push(format!(
                "{}: {}",
                detail["path"].as_str().unwrap_or_default(),
                detail["message"].as_str().unwrap_or_default()
            ));
        }
        if output.code != case.exit || !said.iter().any(|said| said.contains(case.says)) {
            faults.push(format!(
                "{:?}: ended with {}, and said {said:#?}",
                case.guards, output.code
            ));
        }
        for guard in case.guards {
            let row = rows
                .iter()
                .find(|row| row.guards.iter().any(|described| described == guard));
            if !row.is_some_and(|row| {
                row.rest.contains(case.says) && row.rest.contains(&format!("({})", case.exit))
            }) {
                faults.push(format!(
                    "docs/GUARDS.md does not say of {guard}: {} ({})",
                    case.says, case.exit
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(digest(&world).await, before, "something has changed");
}
