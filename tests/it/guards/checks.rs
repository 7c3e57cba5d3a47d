//! Checks of rows, each broken by a change of a row that keeps all the others.

use super::{
    catalogue::{Guard, Kind, Proof},
    facts::HOUSEKEEPING,
};

/// A check, and what to set (and where) to break it.
const BROKEN_BY: [(&str, &str); 166] = [
    ("alert_destinations_kind_check", "kind = 'x'"),
    ("alert_destinations_target_check", "target = ''"),
    ("alert_destinations_min_severity_check", "min_severity = 'x'"),
    ("alert_destinations_alert_types_check", "alert_types = '{}'"),
    (
        "alert_destination_disabled_for_a_reason",
        "disabled_at = now(), disabled_reason = null",
    ),
    ("alert_destination_secrets_secret_check", "secret = 'x'"),
    ("alert_deliveries_edge_check", "edge = 'x'"),
    ("alert_deliveries_state_check", "state = 'x'"),
    (
        "alert_delivery_is_of_an_alert_or_a_test",
        "edge = 'test' where alert_id is not null",
    ),
    (
        "alert_delivery_ends_when_it_is_over",
        "ended_at = now() where state = 'waiting'",
    ),
    ("logins_name_check", "name = 'Loud'"),
    ("logins_password_hash_check", "password_hash = 'plain'"),
    ("logins_totp_secret_check", "totp_secret = 'x'"),
    (
        "an_operator_has_a_second_factor",
        "firm_id = null, user_id = null, totp_secret = null",
    ),
    ("a_login_of_a_firm_is_a_user", "user_id = null"),
    ("api_tokens_name_check", "name = ''"),
    ("api_tokens_role_check", "role = 'x'"),
    ("a_token_of_no_firm_is_an_operators", "firm_id = null"),
    ("subscription_tiers_tier_check", "tier = ''"),
    (
        "subscription_tiers_monthly_cost_minor_check",
        "monthly_cost_minor = -1",
    ),
    ("subscription_tiers_max_employees_check", "max_employees = 0"),
    ("subscription_tiers_max_agents_check", "max_agents = 0"),
    ("subscription_tiers_max_storage_gb_check", "max_storage_gb = 0"),
    ("subscription_tiers_retention_days_check", "retention_days = 0"),
    ("platform_customers_billing_email_check", "billing_email = 'x'"),
    ("platform_subscriptions_card_last4_check", "card_last4 = '42'"),
    ("platform_usage_metric_check", "metric = 'x'"),
    ("platform_usage_used_check", "used = -1"),
    ("platform_usage_reported_by_check", "reported_by = ''"),
    (
        "platform_requests_kind_check",
        "kind = 'x' where kind = 'customer'",
    ),
    ("platform_requests_reason_check", "reason = ''"),
    ("platform_requests_requested_by_check", "requested_by = ''"),
    (
        "platform_requests_state_check",
        "state = 'x' where state = 'done'",
    ),
    (
        "request_names_what_it_needs",
        "tier = 'PRO' where kind = 'customer'",
    ),
    (
        "platform_requests_check",
        "finished_at = now() where state = 'requested'",
    ),
    (
        "platform_requests_check1",
        "failure_code = 'x' where state = 'done'",
    ),
    (
        "stripe_routes_scope_of_kind",
        "scope = 'platform_billing' where kind = 'customer'",
    ),
    ("queue_pauses_queue_check", "queue = 'refunds'"),
    ("installation_singleton_check", "singleton = false"),
    ("recon_findings_check", "ours = null, stripe = null"),
    ("recon_findings_check1", "seen_at = found_at - interval '1 day'"),
    ("recon_findings_kind_check", "kind = 'X'"),
    ("recon_findings_layer_check", "layer = 'L9'"),
    ("installation_check", "autopay_paused_at = now()"),
    ("installation_changes_action_check", "action = 'x'"),
    ("firms_max_charge_minor_check", "max_charge_minor = 0"),
    ("firms_max_charges_per_run_check", "max_charges_per_run = 0"),
    (
        "firms_alert_failure_rate_percent_check",
        "alert_failure_rate_percent = 101",
    ),
    ("firms_alert_failures_in_row_check", "alert_failures_in_row = 0"),
    ("alerts_alert_type_check", "alert_type = 'x'"),
    ("alerts_check", "read_at = now() where not is_read"),
    ("alerts_check1", "resolved_at = now() where not is_resolved"),
    ("alerts_occurrences_check", "occurrences = 0"),
    ("alerts_severity_check", "severity = 'x'"),
    ("alerts_title_check", "title = ''"),
    ("clock_offset_ms_check", "offset_ms = -1"),
    ("clock_singleton_check", "singleton = false"),
    ("firms_check", "autopay_paused_at = now()"),
    ("firms_payment_terms_days_check", "payment_terms_days = 366"),
    ("clients_check", "autopay_paused_at = now()"),
    (
        "clients_check1",
        "autopay_enabled = true where autopay_payment_method_id is null",
    ),
    ("users_check", "client_id = null where role = 'client'"),
    ("users_role_check", "role = 'x' where client_id is null"),
    ("payment_methods_exp_month_check", "exp_month = 13"),
    ("payment_methods_exp_year_check", "exp_year = 1999"),
    ("payment_methods_last4_check", "last4 = '42'"),
    ("payment_methods_status_check", "status = 'x'"),
    ("stripe_routes_kind_check", "kind = 'x'"),
    ("stripe_routes_scope_check", "scope = 'x'"),
    (
        "engagement_cadence",
        "cadence = null where pricing_mode = 'mixed'",
    ),
    ("engagements_cadence_check", "cadence = 'x'"),
    ("engagements_charge_timing_check", "charge_timing = 'x'"),
    ("engagements_check", "ends_on = starts_on"),
    (
        "engagements_check1",
        "package_fee_minor = null where pricing_mode = 'mixed'",
    ),
    ("engagements_check3", "hourly_rate_minor = null"),
    ("engagements_check4", "signed_at = null where status = 'signed'"),
    ("engagements_hourly_rate_minor_check", "hourly_rate_minor = 0"),
    (
        "engagements_package_fee_minor_check",
        "package_fee_minor = 0 where pricing_mode = 'mixed'",
    ),
    ("engagements_period_anchor_check", "period_anchor = 'x'"),
    (
        "engagements_pricing_mode_check",
        "pricing_mode = 'x', cadence = 'monthly', package_fee_minor = null, hourly_rate_minor = null",
    ),
    ("engagements_proration_check", "proration = 'x'"),
    ("engagements_status_check", "status = 'x' where status = 'signed'"),
    (
        "time_entries_check",
        "approved_by = null where state = 'approved'",
    ),
    ("time_entries_check1", "client_approved_by = 'x'"),
    ("time_entries_minutes_check", "minutes = 1441"),
    ("time_entries_rate_minor_check", "rate_minor = -1"),
    ("time_entries_state_check", "state = 'x' where state = 'draft'"),
    (
        "invoices_check",
        "engagement_id = null, engagement_override = false",
    ),
    ("invoices_check1", "number = null where doc_state = 'issued'"),
    (
        "invoices_check2",
        "due_date = issue_date - 1 where doc_state = 'issued'",
    ),
    (
        "invoices_doc_state_check",
        "doc_state = 'x' where doc_state = 'issued'",
    ),
    ("invoices_source_check", "source = 'x'"),
    ("invoices_subtotal_minor_check", "subtotal_minor = -1"),
    ("invoices_tax_minor_check", "tax_minor = -1"),
    (
        "invoice_lines_check",
        "kind = 'adjustment' where time_entry_id is not null",
    ),
    (
        "invoice_lines_kind_check",
        "kind = 'x' where time_entry_id is null",
    ),
    ("billing_periods_check", "period_end = period_start"),
    ("billing_periods_check1", "released_at = now()"),
    ("collection_cycles_amount_minor_check", "amount_minor = 0"),
    (
        "collection_cycles_check",
        "next_attempt_at = null where state = 'retry_wait'",
    ),
    ("collection_cycles_next_trigger_check", "next_trigger = 'x'"),
    ("collection_cycles_state_check", "state = 'x'"),
    ("payment_attempts_amount_minor_check", "amount_minor = 0"),
    (
        "payment_attempts_check",
        "failure_class = null where state = 'declined'",
    ),
    (
        "payment_attempts_check1",
        "resolved_at = null where state = 'declined'",
    ),
    ("payment_attempts_failure_class_check", "failure_class = 'x'"),
    ("payment_attempts_state_check", "state = 'x', resolved_at = null"),
    ("payment_attempts_trigger_check", "trigger = 'x'"),
    ("payments_amount_minor_check", "amount_minor = 0"),
    (
        "payments_check",
        "stripe_charge_id = null where method = 'stripe'",
    ),
    ("payments_method_check", "method = 'x' where method = 'external'"),
    (
        "credit_is_given_at_once",
        "state = 'requested' where destination = 'credit'",
    ),
    ("refunds_amount_minor_check", "amount_minor = 0"),
    ("refunds_destination_check", "destination = 'x'"),
    ("refunds_state_check", "state = 'x' where destination = 'card'"),
    ("disputes_amount_minor_check", "amount_minor = -1"),
    ("disputes_check", "closed_at = null where outcome = 'lost'"),
    ("disputes_kind_check", "kind = 'x'"),
    ("disputes_outcome_check", "outcome = 'x' where outcome = 'lost'"),
    ("dispute_movements_amount_minor_check", "amount_minor = 0"),
    ("dispute_movements_kind_check", "kind = 'x'"),
    ("stripe_events_state_check", "state = 'x'"),
    ("stripe_events_via_check", "via = 'x'"),
    (
        "jobs_check",
        "lease_owner = 'x', lease_until = now() where state = 'completed'",
    ),
    ("jobs_check1", "finished_at = null where state = 'completed'"),
    ("jobs_max_attempts_check", "max_attempts = 0"),
    ("jobs_priority_check", "priority = 10"),
    ("jobs_queue_check", "queue = 'x'"),
    (
        "jobs_state_check",
        "state = 'x', finished_at = null, lease_owner = null, lease_until = null",
    ),
    ("schedules_catch_up_check", "catch_up = 'x'"),
    (
        "schedule_occurrences_check",
        "reason = 'x' where state <> 'skipped'",
    ),
    (
        "schedule_occurrences_check1",
        "fired_at = null where state = 'fired'",
    ),
    (
        "schedule_occurrences_state_check",
        "state = 'x', reason = null, fired_at = null",
    ),
    ("audit_events_actor_kind_check", "actor_kind = 'x'"),
    ("audit_events_category_check", "category = 'x'"),
    ("audit_events_severity_check", "severity = 'x'"),
    ("decisions_kind_check", "kind = 'x'"),
    ("journals_kind_check", "kind = 'x'"),
    ("postings_account_check", "account = 'x'"),
    ("postings_amount_minor_check", "amount_minor = 0"),
    ("credit_is_never_overdrawn", "balance_minor = -1"),
    ("credit_lots_amount_minor_check", "amount_minor = 0"),
    (
        "credit_lots_check",
        "payment_id = null where source = 'overpayment'",
    ),
    (
        "credit_lots_check1",
        "refund_id = null where source = 'refund_to_credit'",
    ),
    (
        "credit_lots_source_check",
        "source = 'x' where source = 'promotional'",
    ),
    (
        "credit_needs_four_eyes",
        "source = 'goodwill', issued_by = 'a', approved_by = 'a' where source = 'promotional'",
    ),
    ("credit_applications_amount_minor_check", "amount_minor = 0"),
    ("credit_releases_reason_check", "reason = ''"),
    ("credit_expiries_amount_minor_check", "amount_minor = 0"),
    ("processor_fees_amount_minor_check", "amount_minor = 0"),
    (
        "dispute_resolutions_check",
        "invoice_id = null where kind = 'rebill'",
    ),
    (
        "dispute_resolutions_kind_check",
        "kind = 'x' where kind = 'write_off'",
    ),
    ("dispute_resolutions_reason_check", "reason = ''"),
    ("audit_blocks_hash_check", "hash = ''"),
    ("audit_blocks_prev_hash_check", "prev_hash = ''"),
    ("audit_blocks_row_ids_check", "row_ids = '{}'"),
    ("audit_blocks_seq_check", "seq = 0"),
    (
        "break_glass_is_for_a_day_at_most",
        "expires_at = opened_at + interval '25 hours'",
    ),
    ("break_glass_sessions_check", "expires_at = opened_at"),
    (
        "break_glass_sessions_check1",
        "revoked_at = now(), expired_at = null",
    ),
    ("break_glass_sessions_check2", "reviewed_at = now()"),
    (
        "break_glass_sessions_check3",
        "expired_at = now(), revoked_at = now(), revoked_by = 'x', revoke_reason = 'x'",
    ),
    ("break_glass_sessions_operator_check", "operator = ''"),
    ("break_glass_sessions_reason_check", "reason = ''"),
    (
        "break_glass_sessions_review_note_check",
        "reviewed_at = now(), reviewed_by = 'x', review_note = ''",
    ),
    (
        "break_glass_sessions_revoke_reason_check",
        "revoked_at = now(), revoked_by = 'x', revoke_reason = '', expired_at = null",
    ),
];

/// A statement for each. A check without a line above gets none.
pub fn proofs(guards: &[Guard]) -> Vec<Proof> {
    let checks = guards.iter().filter(|guard| guard.kind == Kind::Check);
    checks
        .filter_map(|guard| {
            // Of a domain, wherever it is used.
            let sql = match (
                guard.name.as_str(),
                BROKEN_BY.iter().find(|(name, _)| *name == guard.name),
            ) {
                ("ccy_check", _) => "update firms set default_currency = 'US'".to_owned(),
                (_, Some((_, set))) => format!("{{off}}; {HOUSEKEEPING} update {} set {set}", guard.table),
                (_, None) => return None,
            };
            Some(Proof {
                guard: guard.name.clone(),
                sql,
            })
        })
        .collect()
}
