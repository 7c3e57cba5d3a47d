//! Every reason code that is written anywhere, what it means, and what a person can do about it.
//!
//! A code without an entry is a fault: a test walks the enums and the sources of the decisions, and a story walks what was
//! written to the database.

/// One reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// As in `decisions` and in answers.
    pub code: &'static str,
    /// Completes "because …".
    pub text: &'static str,
    /// What a person can do: commands, with places for names (`{invoice}`, `{client}`, `{firm}`, `{engagement}`, `{dispute}`), or a sentence.
    pub remedies: &'static [&'static str],
}

const fn reason(code: &'static str, text: &'static str, remedies: &'static [&'static str]) -> Reason {
    Reason { code, text, remedies }
}

const NOTHING: &[&str] = &["nothing: it is as it should be"];
const WAIT: &[&str] = &["wait: it goes on by itself"];
const SHOW: &str = "quittance invoice show {invoice}";
const CHARGE: &str = "quittance invoice charge {invoice} --yes";
const AUTOPAY_ON: &str = "quittance client autopay on {client}";
const ANSWER: &str = "collect what speaks for the charge (quittance dispute evidence {dispute}), and answer in Stripe's dashboard";
const REBILL: &str = "quittance dispute resolve {dispute} --rebill --reason R";
const GIVE_UP: &str = "quittance dispute resolve {dispute} --write-off --reason R";
const NEW_CARD: &str = "attach another card: quittance client payment-method add {client} PM, then quittance client autopay on {client} --payment-method PM";

/// All of them.
pub const REASONS: &[Reason] = &[
    // Charging: the conditions of `decide_charge`, in its order.
    reason(
        "cycle_not_waiting",
        "its collection is not waiting for an attempt",
        &[SHOW],
    ),
    reason("invoice_not_issued", "the invoice is not issued", &[SHOW]),
    reason("nothing_open", "nothing is open on it", NOTHING),
    reason(
        "not_opted_in",
        "the invoice is not to be paid automatically",
        &["ask the client to pay it otherwise"],
    ),
    reason(
        "autopay_off",
        "the client's automatic payment is off",
        &[AUTOPAY_ON],
    ),
    reason(
        "invoice_fenced",
        "it is fenced from automatic charging because of a chargeback",
        &[SHOW, ANSWER, REBILL, GIVE_UP],
    ),
    reason("open_dispute", "a payment of it is disputed", &[SHOW, ANSWER]),
    reason(
        "earlier_attempt_open",
        "an attempt of an earlier collection may yet succeed",
        WAIT,
    ),
    reason(
        "earlier_intent_open",
        "the PaymentIntent of an earlier collection is not known to be canceled yet",
        WAIT,
    ),
    reason(
        "autopay_paused",
        "somebody stopped automatic charging",
        &[
            "quittance resume autopay --firm-id {firm} --reason R",
            "quittance resume autopay --client-id {client} --reason R",
            "quittance resume autopay --all --reason R",
        ],
    ),
    reason(
        "no_stripe_customer",
        "the client has no customer at Stripe",
        &["import the client with its stripe_customer_id", AUTOPAY_ON],
    ),
    reason(
        "no_usable_payment_method",
        "the client has no card that can be charged",
        &[NEW_CARD],
    ),
    reason(
        "amount_below_minimum",
        "the open amount is below the minimum that Stripe charges",
        &["ask the client to pay it otherwise"],
    ),
    reason(
        "amount_not_divisible",
        "the open amount cannot be charged in this currency's steps",
        &["ask the client to pay it otherwise"],
    ),
    reason("not_due", "it is not due yet", WAIT),
    reason(
        "amount_above_limit",
        "the amount is above the firm's limit for automatic charges",
        &[
            CHARGE,
            "raise max_charge_minor of {firm} by an import, then quittance resume autopay --firm-id {firm} --reason R",
        ],
    ),
    reason(
        "limit_in_other_currency",
        "the firm's limit for automatic charges is in another currency and cannot be compared",
        &[
            CHARGE,
            "take max_charge_minor of {firm} away by an import, then quittance resume autopay --firm-id {firm} --reason R",
        ],
    ),
    reason(
        "too_many_charges",
        "the firm's number of automatic charges for this day is reached",
        &[
            CHARGE,
            "quittance resume autopay --firm-id {firm} --reason R",
            "raise max_charges_per_run of {firm} by an import",
        ],
    ),
    reason(
        "due",
        "it is due",
        &[
            "quittance process-recurring-charges --firm-id {firm}",
            "quittance doctor",
        ],
    ),
    reason(
        "retry_due",
        "its retry is due",
        &[
            "quittance process-recurring-charges --firm-id {firm}",
            "quittance doctor",
        ],
    ),
    reason("by_hand", "a person asked for it", WAIT),
    // Sending: what differs from what was decided.
    reason(
        "payment_method_changed",
        "the client's card was replaced before the attempt was sent",
        WAIT,
    ),
    reason(
        "open_balance_changed",
        "the open amount changed before the attempt was sent",
        WAIT,
    ),
    // Where a collection stands.
    reason("scheduled", "its first attempt lies ahead", WAIT),
    reason("in_flight", "an attempt is under way", WAIT),
    reason("processing", "Stripe is processing the payment", WAIT),
    reason(
        "retry_wait",
        "the last attempt was declined and the next one lies ahead",
        &["wait: it is tried again by itself", NEW_CARD, CHARGE],
    ),
    reason(
        "action_required",
        "the client must authenticate the payment",
        &["ask the client to authenticate it", NEW_CARD],
    ),
    reason("method_required", "it waits for another card", &[NEW_CARD]),
    reason(
        "unknown",
        "nobody knows yet how the last attempt ended, and it is looked up until somebody does",
        WAIT,
    ),
    reason("paused", "its collection is stopped", &[SHOW]),
    reason("succeeded", "it was collected", NOTHING),
    reason(
        "exhausted",
        "all retries were declined",
        &[CHARGE, "ask the client to pay it otherwise"],
    ),
    reason("canceled", "its collection was given up", &[SHOW]),
    // Why a collection stands there.
    reason(
        "technical",
        "the last attempt had no effect and is made again within minutes",
        WAIT,
    ),
    reason("method_updated", "a new card is tried at once", WAIT),
    reason(
        "rejected_request",
        "Stripe refused a request of ours",
        &[
            "see the code in quittance invoice show {invoice}, and mend its cause",
            AUTOPAY_ON,
        ],
    ),
    reason(
        "check_for_existing_payment",
        "the bank thinks that it was paid already",
        &["look at Stripe for another payment of it", AUTOPAY_ON, CHARGE],
    ),
    reason(
        "method_deadline_passed",
        "no other card came in time",
        &[NEW_CARD, CHARGE],
    ),
    reason(
        "action_deadline_passed",
        "the client did not authenticate the payment in time",
        &[CHARGE, "ask the client to pay it otherwise"],
    ),
    reason(
        "autopay_disabled",
        "the client's automatic payment was switched off",
        &[AUTOPAY_ON],
    ),
    reason(
        "intent_canceled",
        "its PaymentIntent was canceled at Stripe",
        &[CHARGE],
    ),
    reason(
        "goes_on_after_autopay_off",
        "its collection goes on where it was when automatic payment was switched off",
        WAIT,
    ),
    // Classes of declines.
    reason("soft", "it was declined for now, and is tried again", WAIT),
    reason("hard", "it was declined for good", &[NEW_CARD]),
    reason(
        "customer",
        "it was declined until the client acts",
        &["ask the client to authenticate the payment or to call the bank"],
    ),
    reason(
        "bug",
        "Stripe refused a request of ours",
        &[
            "see the code in quittance invoice show {invoice}, and mend its cause",
            AUTOPAY_ON,
        ],
    ),
    // What an invoice is.
    reason("paid", "it is paid", NOTHING),
    reason("refunded", "it was paid, and the money was given back", NOTHING),
    reason(
        "charged_back",
        "a dispute about its payment was lost",
        &[SHOW, REBILL, GIVE_UP],
    ),
    reason("draft", "it is a draft", &[SHOW]),
    reason("void", "it is void", NOTHING),
    reason("void_requested", "it is being voided", WAIT),
    reason("written_off", "it was written off", NOTHING),
    reason("not_collected", "no collection was begun for it", &[AUTOPAY_ON]),
    // Ending an invoice, and what became of a dispute.
    reason("never_issued", "it was never issued", &[SHOW]),
    reason("already_void", "it is void already", NOTHING),
    reason("already_written_off", "it is written off already", NOTHING),
    reason("money_arrived", "money came while it was being ended", &[SHOW]),
    reason("open_chargeback", "a chargeback of it is open", &[SHOW, ANSWER]),
    reason(
        "rebills_dispute",
        "it bills what a lost dispute took",
        &["quittance invoice write-off {invoice} --reason R"],
    ),
    reason("charge_under_way", "a charge of it is under way", WAIT),
    reason(
        "payment_intent_open",
        "its PaymentIntent is not known to be canceled yet",
        WAIT,
    ),
    reason("nothing_under_way", "nothing was under way", NOTHING),
    reason("given_up", "a person gave it up", NOTHING),
    reason("write_off_requested", "a person is writing it off", WAIT),
    reason("paid_otherwise", "it was paid by other means", NOTHING),
    reason(
        "dispute_lost_needs_choice",
        "a dispute about its payment was lost, and nobody has decided what becomes of it",
        &[SHOW, REBILL, GIVE_UP],
    ),
    reason("decided_by_person", "a person decided", NOTHING),
    reason("dispute_open", "the dispute is still open", &[SHOW, ANSWER]),
    reason(
        "dispute_not_lost",
        "the dispute was not lost, so there is nothing to make good",
        NOTHING,
    ),
    reason("already_decided", "somebody has decided already", NOTHING),
    reason(
        "nothing_taken",
        "the dispute took no money that could be billed again",
        &["give it up instead: quittance dispute resolve DISPUTE --write-off --reason R"],
    ),
    // Credit: given, used, and why not.
    reason("reason_missing", "nobody said why", &["say it with --reason"]),
    reason(
        "needs_four_eyes",
        "goodwill and corrections need a second person",
        &["name who approved it with --approved-by"],
    ),
    reason(
        "already_expired",
        "it would be worth nothing on the day that it is given",
        &["choose a later --expires-on"],
    ),
    reason("asked_for", "a person asked for it", NOTHING),
    reason(
        "issued",
        "the invoice was issued while the client had credit",
        NOTHING,
    ),
    reason(
        "auto_apply_off",
        "the firm decides each time whether credit is used",
        &["quittance credit apply {invoice}"],
    ),
    reason(
        "no_credit",
        "the client has no credit in the invoice's currency that can be used today",
        &["quittance credit list {client}"],
    ),
    reason(
        "above_open_balance",
        "more credit was asked for than is open on the invoice",
        &["ask for less: quittance credit apply {invoice} --amount A"],
    ),
    reason(
        "above_credit",
        "more credit was asked for than the client has",
        &["quittance credit balance {client}"],
    ),
    // Refunds.
    reason("ordered", "a person ordered the refund", NOTHING),
    reason(
        "nothing_paid",
        "nothing was paid that could be given back",
        &[SHOW],
    ),
    reason(
        "chargeback_open",
        "a chargeback of it is open, and the bank may give the money back too",
        &[SHOW, ANSWER],
    ),
    reason(
        "above_what_is_left",
        "more was to be given back than is left of what was paid",
        &[SHOW],
    ),
    reason(
        "not_paid_by_card",
        "it was not paid by card, or not that much of it",
        &["give the rest as credit: quittance invoice refund {invoice} --amount A --to credit --reason R"],
    ),
    // Package generation.
    reason("already_billed", "the period is billed already", NOTHING),
    reason(
        "not_signed",
        "the engagement is not signed",
        &["quittance engagement sign {engagement}"],
    ),
    reason("not_started", "the engagement begins later", WAIT),
    reason("ended", "the engagement is over", NOTHING),
    reason(
        "invoicing_paused",
        "invoicing is paused for the firm, or the firm is parked",
        &["quittance doctor"],
    ),
    reason(
        "client_parked",
        "the client is parked until a person has looked",
        &["quittance explain {client}"],
    ),
    reason(
        "catch_up_needs_approval",
        "more periods are behind than may be billed without approval",
        &[
            "quittance generate-package-invoices --firm-id {firm} --catch-up --dry-run",
            "quittance generate-package-invoices --firm-id {firm} --catch-up",
        ],
    ),
    reason(
        "renewal_overlap_needs_choice",
        "another engagement of the same lineage has billed days of this period",
        &["decide which of the two bills them: end one of them, or bill by day (proration: daily)"],
    ),
    reason(
        "invoice_due",
        "it is due, and the next run invoices it",
        &[
            "quittance generate-package-invoices --firm-id {firm}",
            "quittance doctor",
        ],
    ),
    reason(
        "period_of_void_invoice",
        "the invoice that billed it is void, and still holds the period",
        &["quittance invoice reissue {invoice} --reason R"],
    ),
    reason("before_start", "it lies before the engagement begins", NOTHING),
    reason(
        "after_end",
        "it lies after the last day that the engagement bills",
        &["quittance engagement renew {engagement} --ends-on D"],
    ),
    reason(
        "billed_on_demand",
        "the engagement has no schedule: its hours are invoiced when somebody asks for it",
        &["quittance invoice create --engagement {engagement}"],
    ),
    reason(
        "no_approved_time",
        "no approved time that is on no invoice was worked before the end of the period",
        &[
            "quittance time list --engagement {engagement}",
            "approve what was worked: quittance time approve ID --by USER",
        ],
    ),
    reason(
        "time_left_unbilled",
        "the engagement is over and billed, and approved time is left that no period takes",
        &["quittance invoice create --engagement {engagement}"],
    ),
    reason(
        "plan_changed",
        "what would be billed changed since the plan that was agreed to",
        &["look at it again: quittance generate-package-invoices --firm-id {firm} --dry-run"],
    ),
    reason(
        "clipped_period_full_fee",
        "the full fee is charged for a part of a period",
        &["bill by day from the next engagement on (proration: daily)"],
    ),
    reason(
        "below_minimum_charge",
        "the amount is below the minimum that Stripe charges",
        &["ask the client to pay it otherwise"],
    ),
    // Time and terms: what a person may not do with them.
    reason(
        "on_invoice",
        "the time is on an invoice",
        &["void that invoice: quittance invoice void INVOICE --reason R"],
    ),
    reason(
        "wrong_state",
        "the time is in a state from which this is not done",
        &["quittance time list --engagement {engagement}"],
    ),
    reason(
        "client_approved_already",
        "the client has approved this time",
        NOTHING,
    ),
    reason(
        "self_approval",
        "the firm lets nobody approve their own time",
        &["have somebody else approve it"],
    ),
    reason(
        "role_not_allowed",
        "the user's role may not do this",
        &["have somebody do it whose role may"],
    ),
    reason(
        "other_client",
        "the user belongs to another client",
        &["have a user of the client who pays approve it"],
    ),
    reason(
        "no_rate",
        "the engagement has no hourly rate",
        &["renew it with one: quittance engagement renew {engagement} --ends-on D --hourly-rate A"],
    ),
    reason(
        "terms_overlap",
        "another version of the engagement is signed for some of these days",
        &["quittance engagement show {engagement}"],
    ),
    reason(
        "no_end",
        "the engagement has no end at which a renewal could begin",
        &["quittance engagement end {engagement} --on D --reason R"],
    ),
    reason(
        "end_before_start",
        "the engagement would end before it begins",
        &["choose a later day"],
    ),
    reason(
        "only_shorter",
        "the end of signed terms can only come nearer",
        &["quittance engagement renew {engagement} --ends-on D"],
    ),
    reason(
        "not_in_terms",
        "the option does not go with the engagement's pricing mode",
        &["quittance engagement show {engagement}"],
    ),
    // What a person wants of a job.
    reason("job_running", "a worker runs it right now", WAIT),
    reason("job_done", "it is done: what it was to do has happened", NOTHING),
    reason(
        "job_canceled",
        "it was canceled",
        &["what is to be done after all is enqueued anew by its command or schedule"],
    ),
    reason(
        "job_waits",
        "it has not failed, and runs by itself when it is due",
        WAIT,
    ),
    // Attaching a card.
    reason(
        "unknown_card",
        "Stripe knows no card by the id that was given",
        &["look at the customer in Stripe's dashboard", NEW_CARD],
    ),
    // What a firm itself pays: why Stripe is not asked for a change, and what ends before it is renewed.
    reason(
        "customer_exists",
        "the firm is a customer of the platform already",
        NOTHING,
    ),
    reason(
        "no_platform_customer",
        "the firm is no customer of the platform yet",
        &["quittance platform customer create {firm}"],
    ),
    reason(
        "change_is_open",
        "an earlier change is on its way to Stripe",
        WAIT,
    ),
    reason(
        "no_such_tier",
        "there is no such tier",
        &["name one of those that there are: quittance platform tiers"],
    ),
    reason(
        "tier_without_price",
        "the tier has no price at Stripe yet",
        &["an operator sets it: quittance platform set-price"],
    ),
    reason(
        "already_subscribed",
        "the firm has a subscription",
        &["change its tier instead: quittance platform change-tier {firm}"],
    ),
    reason(
        "not_subscribed",
        "the firm has no subscription",
        &["quittance platform subscribe {firm}"],
    ),
    reason("same_tier", "the subscription is of this tier already", NOTHING),
    reason(
        "same_renewal",
        "the subscription's renewal is set so already",
        NOTHING,
    ),
    reason(
        "not_renewed",
        "the subscription ends with its period, as somebody asked",
        &["quittance platform auto-renewal {firm} on"],
    ),
    reason(
        "card_expires",
        "the card expires before the subscription is renewed",
        &["the firm gives another card on Stripe's page: quittance platform link {firm}"],
    ),
];

/// The entry of a code. What follows a colon is a detail (`rejected_request:amount_too_small`).
#[must_use]
pub fn find(code: &str) -> Option<&'static Reason> {
    let code = code.split_once(':').map_or(code, |(code, _)| code);
    REASONS.iter().find(|reason| reason.code == code)
}

/// What a code means; itself, where it is none of ours.
#[must_use]
pub fn text(code: &str) -> String {
    let detail = code.split_once(':').map(|(_, detail)| detail);
    match (find(code), detail) {
        (Some(reason), None) => reason.text.to_owned(),
        (Some(reason), Some(detail)) => format!("{} ({detail})", reason.text),
        (None, _) => code.to_owned(),
    }
}

/// What to do about a code, with the names filled in. A remedy with a place for which there is no name is left out.
#[must_use]
pub fn remedies(code: &str, names: &[(&str, &str)]) -> Vec<String> {
    let remedies = find(code).map_or(&[][..], |reason| reason.remedies);
    remedies
        .iter()
        .filter_map(|remedy| {
            let filled = names.iter().fold((*remedy).to_owned(), |text, (place, name)| {
                text.replace(&format!("{{{place}}}"), name)
            });
            (!filled.contains('{')).then_some(filled)
        })
        .collect()
}
