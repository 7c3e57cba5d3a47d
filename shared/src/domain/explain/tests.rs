//! Golden answers, as text and as JSON, and the promise that no reason is without a text and a remedy.
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Duration, Utc};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    currency::Currency,
    domain::{
        collection::{AttemptState, ChargeFacts, CycleState, Limits, PerDay, Trigger, decide_charge},
        decline::DeclineClass,
        document::DocState,
        generate::SkipReason,
        retry_policy::RetryPolicy,
    },
    ids::PaymentMethodId,
    money::Money,
};

pub(super) fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

/// The first charge was at three in the morning of the first of March.
pub(super) fn day(days: i64) -> DateTime<Utc> {
    let start: DateTime<Utc> = "2026-03-01T03:00:00Z".parse().unwrap();
    start + Duration::days(days)
}

fn attempt(step: i32, state: AttemptState, failure: Option<(&str, &str)>) -> AttemptFacts {
    AttemptFacts {
        id: format!("00000000-0000-7000-8000-0000000000a{step}"),
        step,
        trigger: if step == 0 { Trigger::Auto } else { Trigger::Retry },
        state,
        class: failure.map(|(class, _)| class.to_owned()),
        code: failure.map(|(_, code)| code.to_owned()),
        amount: usd(522_500),
        card: "visa …4242 exp 12/26".into(),
        charge: Some(format!("ch_{step}")),
        intent: Some("pi_1".into()),
        created_at: day(0),
        resolved_at: Some(day(0) + Duration::seconds(12)),
    }
}

fn audited(id: i64, action: &str, actor: &str) -> AuditFacts {
    AuditFacts {
        id,
        at: day(0),
        action: action.into(),
        actor: actor.into(),
        subject: "invoice".into(),
        cause_kind: "job".into(),
        cause_id: "00000000-0000-7000-8000-0000000000b0".into(),
        meta: json!({}),
    }
}

/// An invoice whose first attempt is due on the first of March.
pub(super) fn invoice() -> InvoiceFacts {
    InvoiceFacts {
        label: "PKG-0001-000042".into(),
        client: "globex".into(),
        firm: "acme".into(),
        status: "sent".into(),
        doc_state: "issued".into(),
        total: usd(522_500),
        paid: usd(0),
        credited: usd(0),
        issued_at: Some(day(0)),
        due_date: "2026-03-31".parse().ok(),
        charge: ChargeFacts {
            issued: true,
            open: usd(522_500),
            opt_in: true,
            fenced_reason: None,
            client_autopay: true,
            method: Some((PaymentMethodId(uuid::Uuid::nil()), "active".into())),
            has_customer: true,
            pause: None,
            open_chargeback: false,
            earlier_attempt_open: false,
            earlier_intent_open: false,
            cycle: CycleState::Scheduled,
            next_attempt_at: Some(day(0)),
            next_step: 0,
            next_trigger: Trigger::Auto,
            limits: Limits::default(),
        },
        cycle: Some(CycleFacts {
            id: "00000000-0000-7000-8000-0000000000c0".into(),
            state: CycleState::Scheduled,
            reason: None,
            intent: Some("pi_1".into()),
            first_failed_at: None,
            next_attempt_at: Some(day(0)),
            next_step: 0,
            next_trigger: Trigger::Auto,
            deadline_at: None,
            policy: RetryPolicy::default(),
            created_at: day(0),
        }),
        attempts: Vec::new(),
        payments: Vec::new(),
        refunds: Vec::new(),
        disputes: Vec::new(),
        card: Some(CardFacts {
            id: "pm_1".into(),
            label: "visa …4242 exp 12/26".into(),
            status: "active".into(),
        }),
        pauses: Vec::new(),
        job: None,
        decisions: Vec::new(),
        audit: vec![audited(118, "invoice.issued", "system")],
        lines: vec![LineFacts {
            kind: "package_fee".into(),
            amount: usd(522_500),
            derivation: json!({"cadence": "monthly", "period": "2026-03-01/2026-04-01"}),
            hours: None,
            time: None,
        }],
        engagement: Some("globex-retainer, version 1: package, monthly, 2026-01-01 until 2027-01-01".into()),
        origin: Some(Origin {
            at: day(0),
            actor: "system".into(),
            job: Some(generated()),
            cause: ("job".into(), "00000000-0000-7000-8000-0000000000b0".into()),
        }),
    }
}

pub(super) fn generated() -> JobFacts {
    JobFacts {
        id: "00000000-0000-7000-8000-0000000000b0".into(),
        kind: "generate_package_invoices".into(),
        queue: "invoices".into(),
        state: "completed".into(),
        tried: (1, 25),
        last_error: None,
        run_at: day(0),
        finished_at: Some(day(0)),
        key: "acme:2026-03-01".into(),
        result: None,
        queue_paused: None,
    }
}

/// Its collection in this state for this reason.
fn standing_in(state: CycleState, reason: Option<&str>) -> InvoiceFacts {
    let mut facts = invoice();
    facts.charge.cycle = state;
    facts.charge.next_attempt_at = None;
    if let Some(cycle) = &mut facts.cycle {
        cycle.state = state;
        cycle.reason = reason.map(str::to_owned);
        cycle.next_attempt_at = None;
    }
    facts
}

/// Its first attempt was declined.
fn declined(state: CycleState, class: &str, code: &str) -> InvoiceFacts {
    let mut facts = standing_in(state, None);
    facts.status = "failed".into();
    facts.attempts = vec![attempt(0, AttemptState::Declined, Some((class, code)))];
    facts.decisions = vec![decided("retry", class)];
    facts
}

fn decided(kind: &str, reason: &str) -> DecisionFacts {
    DecisionFacts {
        id: 9931,
        kind: kind.into(),
        outcome: "wait".into(),
        reason_code: reason.into(),
        first_at: day(1),
        last_at: day(2),
        times: 4,
    }
}

fn waits_for_day_3() -> InvoiceFacts {
    let mut facts = declined(CycleState::RetryWait, "soft", "insufficient_funds");
    facts.charge.next_attempt_at = Some(day(3));
    facts.charge.next_step = 1;
    facts.charge.next_trigger = Trigger::Retry;
    if let Some(cycle) = &mut facts.cycle {
        cycle.first_failed_at = Some(day(0));
        cycle.next_attempt_at = Some(day(3));
        cycle.next_step = 1;
        cycle.next_trigger = Trigger::Retry;
    }
    facts
}

fn waits_for_card() -> InvoiceFacts {
    let mut facts = declined(CycleState::MethodRequired, "hard", "expired_card");
    facts.charge.method = facts.charge.method.map(|(id, _)| (id, "needs_update".into()));
    if let Some(cycle) = &mut facts.cycle {
        cycle.deadline_at = Some(day(14));
    }
    facts
}

pub(super) fn disputed() -> InvoiceFacts {
    let mut facts = standing_in(CycleState::Succeeded, None);
    facts.status = "disputed".into();
    facts.charge.open = usd(0);
    facts.charge.open_chargeback = true;
    facts.charge.fenced_reason = Some("chargeback".into());
    facts.attempts = vec![attempt(0, AttemptState::Succeeded, None)];
    facts.payments = vec![paid()];
    facts.disputes = vec![DisputeFacts {
        id: "dp_1".into(),
        uuid: "00000000-0000-7000-8000-0000000000d0".into(),
        kind: "chargeback".into(),
        status: "needs_response".into(),
        reason: Some("fraudulent".into()),
        amount: usd(522_500),
        payment: "ch_0".into(),
        opened_at: day(5),
        respond_by: Some(day(19)),
        ended: None,
        movements: vec![Movement {
            id: "txn_1".into(),
            kind: "withdrawn".into(),
            amount: usd(522_500),
            at: day(5),
        }],
        resolution: None,
    }];
    facts
}

pub(super) fn paid() -> PaymentFacts {
    PaymentFacts {
        id: "00000000-0000-7000-8000-000000000070".into(),
        reference: "ch_0".into(),
        method: "stripe".into(),
        intent: Some("pi_1".into()),
        amount: usd(522_500),
        received_at: day(0) + Duration::seconds(12),
        cause: "event:evt_1".into(),
    }
}

fn settled() -> InvoiceFacts {
    let mut facts = standing_in(CycleState::Succeeded, None);
    facts.status = "paid".into();
    facts.paid = usd(522_500);
    facts.charge.open = usd(0);
    facts.attempts = vec![attempt(0, AttemptState::Succeeded, None)];
    facts.payments = vec![paid()];
    facts
}

fn paused_firm() -> InvoiceFacts {
    let mut facts = waits_for_day_3();
    facts.charge.pause = Some("firm_paused".into());
    facts.pauses = vec![Pause {
        whom: "firm",
        at: day(1),
        reason: "asked for by the firm".into(),
    }];
    facts
}

fn autopay_off() -> InvoiceFacts {
    let mut facts = standing_in(CycleState::Canceled, Some("autopay_disabled"));
    facts.charge.client_autopay = false;
    facts.audit.insert(0, audited(119, "autopay.disabled", "ann"));
    facts
}

fn outcome_unknown() -> InvoiceFacts {
    let mut facts = standing_in(CycleState::Unknown, None);
    facts.status = "processing".into();
    facts.attempts = vec![AttemptFacts {
        resolved_at: None,
        charge: None,
        ..attempt(0, AttemptState::Unknown, None)
    }];
    facts
}

fn below_minimum() -> InvoiceFacts {
    let mut facts = standing_in(CycleState::Paused, Some("amount_below_minimum"));
    facts.charge.open = usd(30);
    facts.decisions = vec![decided("charge", "amount_below_minimum")];
    facts
}

fn above_limit() -> InvoiceFacts {
    let mut facts = standing_in(CycleState::Paused, Some("amount_above_limit"));
    facts.charge.limits = Limits {
        max_charge: Some(usd(500_000)),
        per_day: Some(PerDay { most: 50, made: 7 }),
    };
    facts.decisions = vec![decided("charge", "amount_above_limit")];
    facts
}

/// An alert that nobody could be told of.
pub(super) fn raised() -> AlertFacts {
    AlertFacts {
        id: "00000000-0000-7000-8000-0000000000e0".into(),
        kind: "PAYMENT_FAILED".into(),
        severity: "warning".into(),
        title: "Payment declined".into(),
        message: "The charge was declined (insufficient_funds).".into(),
        occurrences: 3,
        seen: (day(0), day(7)),
        read_by: None,
        resolved: None,
        cause: ("event".into(), "evt_1".into()),
        invoice: Some("PKG-0001-000042".into()),
        deliveries: vec![DeliveryFacts {
            id: "00000000-0000-7000-8000-0000000000e1".into(),
            to: ("webhook".into(), "https://hooks.example.com/a-secret-path".into()),
            edge: "opened".into(),
            state: "failed".into(),
            attempts: 20,
            error: Some("the receiver answers 500".into()),
            at: day(0),
        }],
    }
}

pub(super) fn both(answer: &Answer) -> String {
    format!(
        "{}\n{}\n",
        to_text(answer, 20),
        serde_json::to_string_pretty(answer).unwrap()
    )
}

/// Each kind of invoice that is not charged: name, rows, and when somebody asks.
fn not_charged() -> Vec<(&'static str, InvoiceFacts, DateTime<Utc>)> {
    let exhausted = {
        let mut facts = declined(CycleState::Exhausted, "soft", "do_not_honor");
        facts.attempts.push(AttemptFacts {
            created_at: day(14),
            resolved_at: Some(day(14)),
            ..attempt(3, AttemptState::Declined, Some(("soft", "do_not_honor")))
        });
        facts
    };
    let uncollected = {
        let mut facts = invoice();
        facts.cycle = None;
        facts.charge.cycle = CycleState::Canceled;
        facts.charge.opt_in = false;
        facts
    };
    vec![
        ("declined_waits_for_day_3", waits_for_day_3(), day(1)),
        ("hard_decline_waits_for_card", waits_for_card(), day(2)),
        ("exhausted", exhausted, day(20)),
        ("disputed", disputed(), day(6)),
        ("paused_firm", paused_firm(), day(2)),
        ("autopay_off", autopay_off(), day(2)),
        ("paid", settled(), day(2)),
        ("not_due", invoice(), day(-1)),
        ("due", invoice(), day(0)),
        ("unknown_outcome", outcome_unknown(), day(0)),
        ("below_minimum", below_minimum(), day(2)),
        ("above_limit", above_limit(), day(2)),
        ("not_opted_in", uncollected, day(2)),
        (
            "rejected_request",
            standing_in(CycleState::Paused, Some("rejected_request:amount_too_small")),
            day(2),
        ),
    ]
}

#[test]
fn p10_why_not_charge_answers_each_case_with_its_reason() {
    for (name, facts, at) in not_charged() {
        insta::assert_snapshot!(
            format!("why_not_charge_{name}"),
            both(&why_not_charge(&facts, at))
        );
    }
}

#[test]
fn p10_a_pause_is_ended_by_the_command_for_those_that_it_is_of() {
    let flags = ["--all", "--firm-id", "--client-id"];
    for (whom, flag) in ["all", "firm", "client"].into_iter().zip(flags) {
        let mut facts = paused_firm();
        facts.pauses[0].whom = whom;
        let told = why_not_charge(&facts, day(2)).remedies.join(" ");
        let named: Vec<&str> = flags.into_iter().filter(|flag| told.contains(flag)).collect();
        assert_eq!(named, [flag], "{told}");
    }
}

#[test]
fn p10_since_when_is_what_the_row_says_that_made_it_so() {
    let ended = |word: &str, action: &str| {
        let mut facts = invoice();
        facts.doc_state = word.into();
        facts.audit.push(AuditFacts {
            at: day(6),
            ..audited(120, action, "ann")
        });
        facts
    };
    let mut unknown = outcome_unknown();
    unknown.attempts[0].created_at = day(4);
    let mut off = autopay_off();
    off.audit[0].at = day(7);
    let mut small = below_minimum();
    small.decisions[0].first_at = day(5);
    small.decisions.insert(0, decided("charge", "not_due"));
    for (code, facts, since) in [
        ("void", ended("void", "invoice.voided"), day(6)),
        ("written_off", ended("written_off", "invoice.written_off"), day(6)),
        ("unknown", unknown, day(4)),
        ("autopay_disabled", off, day(7)),
        ("amount_below_minimum", small, day(5)),
    ] {
        let answer = why_not_charge(&facts, day(20));
        assert_eq!(answer.reason_code.as_deref(), Some(code));
        assert_eq!(answer.since, Some(since), "{code}");
    }
}

#[test]
fn p10_only_a_retry_is_waited_for_as_one() {
    let mut facts = waits_for_day_3();
    if let Some(cycle) = &mut facts.cycle {
        cycle.next_trigger = Trigger::MethodUpdated;
    }
    assert_eq!(
        why_not_charge(&facts, day(1)).reason_code.as_deref(),
        Some("not_due")
    );
}

#[test]
fn p10_a_job_is_told_of_while_it_is_the_one_that_charges_next() {
    let with_job = |mut facts: InvoiceFacts, finished_at| {
        facts.job = Some(JobFacts {
            kind: "collect_invoice".into(),
            finished_at,
            ..generated()
        });
        facts
    };
    for (facts, told) in [
        (with_job(waits_for_day_3(), None), true),
        (with_job(waits_for_day_3(), Some(day(1))), false),
        (with_job(waits_for_card(), None), false),
    ] {
        let chain = why_not_charge(&facts, day(1)).chain;
        assert_eq!(chain.iter().any(|link| link.what == "job"), told, "{chain:?}");
    }
}

#[test]
fn p10_next_says_when_with_which_card_or_why_not() {
    let cases = [
        ("waits", waits_for_day_3(), day(1)),
        ("waits_for_card", waits_for_card(), day(2)),
        ("paid", settled(), day(2)),
    ];
    for (name, facts, at) in cases {
        insta::assert_snapshot!(format!("next_{name}"), both(&next(&facts, at)));
    }
}

#[test]
fn p10_explain_goes_from_the_charge_back_to_what_made_the_invoice() {
    let facts = settled();
    insta::assert_snapshot!("explain_invoice", both(&super::invoice(&facts, day(2))));
    insta::assert_snapshot!("explain_charge", both(&payment(&facts, &facts.payments[0])));
    insta::assert_snapshot!("explain_intent", both(&intent(&facts, "pi_1")));
    let facts = waits_for_card();
    insta::assert_snapshot!(
        "explain_attempt",
        both(&super::attempt(&facts, &facts.attempts[0]))
    );
    let facts = disputed();
    insta::assert_snapshot!("explain_dispute", both(&dispute(&facts, &facts.disputes[0])));
    let given_back = RefundFacts {
        id: "00000000-0000-7000-8000-0000000000d0".into(),
        stripe_id: Some("re_1".into()),
        payment: "ch_0".into(),
        amount: usd(100_000),
        destination: "card".into(),
        state: "succeeded".into(),
        reason: "too many hours".into(),
        requested_by: Some("ann".into()),
        created_at: day(4),
    };
    insta::assert_snapshot!("explain_refund", both(&refund(&settled(), &given_back)));
}

#[test]
fn p10_explain_tells_of_clients_records_time_and_credit() {
    let of_client = ClientFacts {
        label: "globex".into(),
        firm: "acme".into(),
        customer: Some("cus_1".into()),
        autopay: (true, Some(day(-30))),
        card: invoice().card,
        pauses: paused_firm().pauses,
        parked: None,
        invoices: vec![paused_firm()],
        audit: vec![audited(90, "autopay.enabled", "ann")],
    };
    insta::assert_snapshot!("explain_client", both(&client(&of_client, day(2))));
    let came = EventFacts {
        id: "evt_1".into(),
        kind: "payment_intent.succeeded".into(),
        state: "applied".into(),
        reason: None,
        object: Some("pi_1".into()),
        received_at: day(0),
        applied_at: Some(day(0)),
        job: Some(generated()),
        effects: vec![audited(121, "payment.succeeded", "stripe")],
    };
    insta::assert_snapshot!("explain_event", both(&event(&came)));
    let parked = EventFacts {
        state: "parked".into(),
        reason: Some("belonged to nothing we know for 3 days".into()),
        applied_at: None,
        effects: Vec::new(),
        ..came
    };
    insta::assert_snapshot!("explain_event_parked", both(&event(&parked)));
    let discarded = JobFacts {
        state: "discarded".into(),
        last_error: Some("no such collection cycle".into()),
        tried: (25, 25),
        ..generated()
    };
    insta::assert_snapshot!("explain_job", both(&job(&discarded, &[])));
    insta::assert_snapshot!("explain_alert", both(&alert(&raised())));
    let posted = JournalFacts {
        id: "00000000-0000-7000-8000-0000000000f0".into(),
        kind: "payment".into(),
        source: "ch:ch_0".into(),
        client: "globex".into(),
        invoice: Some("PKG-0001-000042".into()),
        reverses: None,
        reversed_by: None,
        effective_at: day(0),
        postings: vec![
            ("stripe_clearing".into(), usd(522_500)),
            ("receivable".into(), usd(-522_500)),
        ],
    };
    insta::assert_snapshot!("explain_journal", both(&journal(&posted)));
    let worked = TimeFacts {
        label: "t1".into(),
        engagement: "globex-retainer".into(),
        worker: "w1".into(),
        worked_on: "2026-02-05".parse().unwrap(),
        minutes: 90,
        rate: Some(usd(15_000)),
        state: "approved".into(),
        approved: Some(("admin1".into(), day(-3))),
        billed: Some(("PKG-0001-000042".into(), usd(22_500))),
        audit: Vec::new(),
    };
    insta::assert_snapshot!("explain_time_entry", both(&time_entry(&worked)));
    let ann = UserFacts {
        id: "00000000-0000-7000-8000-0000000000f0".into(),
        label: "ann".into(),
        name: "Ann".into(),
        role: "admin".into(),
        client: None,
        audit: vec![audited(7, "invoice.voided", "ann")],
    };
    insta::assert_snapshot!("explain_user", both(&user(&ann)));
    let lot = LotFacts {
        id: "00000000-0000-7000-8000-000000000010".into(),
        client: "globex".into(),
        amount: usd(50_000),
        remaining: usd(10_000),
        source: "goodwill".into(),
        reason: "late delivery".into(),
        by: (Some("ann".into()), Some("bob".into())),
        issued_at: day(-10),
        expires_on: "2026-12-31".parse().ok(),
        applications: vec![("PKG-0001-000042".into(), usd(40_000), day(0), false)],
        expired: Vec::new(),
    };
    insta::assert_snapshot!("explain_credit", both(&credit_lot(&lot)));
}

/// The checks of an answer are those of the charging job, evaluated by the same code.
#[test]
fn p10_the_checks_are_those_of_the_charging_job() {
    for (name, facts, at) in not_charged() {
        let (as_asked, _) = (facts.charge.clone(), at);
        let expected = match facts.cycle {
            Some(_) => decide_charge(&as_asked, at).1,
            None => decide_charge(&as_asked.as_if_due(at), at).1,
        };
        assert_eq!(why_not_charge(&facts, at).checks, expected, "{name}");
    }
}

/// The sources in these folders of the workspace, tests and the table itself left out, each as one line.
fn sources(folders: &[&str]) -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "tests" {
                walk(&path, found);
            } else if name.ends_with(".rs") && !name.contains("tests") && name != "reasons.rs" {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap_or_default();
                let words: Vec<&str> = code.split_whitespace().collect();
                found.push((path, words.join(" ").replace("( ", "(")));
            }
        }
    }
    let mut found = Vec::new();
    for folder in folders {
        walk(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder),
            &mut found,
        );
    }
    found
}

/// The word between quotes that follows each place where one of these stands.
fn quoted<'a>(code: &'a str, marks: &'a [&str]) -> impl Iterator<Item = &'a str> {
    let behind = move |mark: &&'a str| {
        let mark = *mark;
        code.match_indices(mark)
            .filter_map(move |(at, _)| code[at + mark.len()..].split('"').next())
    };
    marks.iter().flat_map(behind)
}

/// What ends the rows of a table of conditions: `(check(…), "reason")`.
fn in_rows(code: &str) -> impl Iterator<Item = &str> {
    code.split("), \"").skip(1).filter_map(|rest| {
        let (word, after) = rest.split_once('"')?;
        (after.starts_with(", )") || after.starts_with(')')).then_some(word)
    })
}

/// All words between quotes in the bodies of these functions.
fn in_bodies<'a>(code: &'a str, signatures: &'a [&str]) -> impl Iterator<Item = &'a str> {
    let body = move |signature: &&'a str| {
        code.match_indices(*signature).filter_map(move |(at, _)| {
            let body = &code[at..];
            body.split(" fn ").next()
        })
    };
    signatures
        .iter()
        .flat_map(body)
        .flat_map(|body| body.split('"').skip(1).step_by(2))
}

/// Where a reason is written in any source.
const MARKS: &[&str] = &[
    "NotNow(\"",
    "Cancel(\"",
    "Refuse(\"",
    "Wait(\"",
    "Reject(\"",
    "Void(\"",
    "Ends(\"",
    "on_money(\"",
    "reason: \"",
    "reason_code: \"",
    "refused.map_or(\"",
    // the second of outcome and reason
    ".word(), \"",
    "\"bill\", \"",
    "(\"charge\", \"",
    "\"needs_human\", \"",
    "\"refuse\", \"",
    "\"skip\", \"",
    "\"write_off\", \"",
];

/// Where reasons are returned and handed on as words.
const MARKS_OF_COLLECTION: &[&str] = &[
    "Some(\"",
    "Err(\"",
    "=> \"",
    ": &str = \"",
    "switch_off: \"",
    "by.at, \"",
    "invoice, \"",
];

/// Words of other kinds that stand where a reason might. A new reason is none of them.
const NO_REASONS: &[&str] = &[
    "amount_minor",
    "cancel",
    "cancel_payment_intent",
    "charge",
    "charged",
    "collect_invoice",
    "disputed",
    "hold",
    "reason",
    "reconcile_payment",
    "refuse",
    "reject",
    "review_cycle",
    "wait",
    "write_off",
];

/// Every reason that the code can write: by the enums whose words they are, and by what the sources say.
fn codes() -> BTreeSet<String> {
    let mut codes: BTreeSet<String> = BTreeSet::new();
    codes.extend(CycleState::ALL.iter().map(|state| state.as_str().to_owned()));
    codes.extend(NoInvoice::ALL.iter().map(|reason| reason.as_str().to_owned()));
    codes.extend(DocState::ALL.iter().map(|state| state.as_str().to_owned()));
    codes.extend(SkipReason::ALL.iter().map(|reason| reason.as_str().to_owned()));
    codes.extend(
        DeclineClass::ALL
            .iter()
            .map(|class| class.failure_class().to_owned()),
    );
    codes.extend(
        CycleState::ALL
            .iter()
            .filter_map(|state| state.when_waited_in_vain())
            .map(str::to_owned),
    );
    let signatures = ["fn code(", "fn reason_code(", "fn words("];
    for (path, code) in sources(&["shared/src/domain", "shared/src/store", "worker/src"]) {
        let path = path.to_string_lossy().into_owned();
        codes.extend(quoted(&code, MARKS).map(str::to_owned));
        if path.contains("/domain/") {
            codes.extend(in_rows(&code).map(str::to_owned));
            codes.extend(in_bodies(&code, &signatures).map(str::to_owned));
        }
        let collects = [
            "/domain/collection/",
            "/store/cycles/",
            "/store/corrections/",
            "/store/autopay.rs",
            "/explain/charge.rs",
        ];
        if collects.iter().any(|part| path.contains(part)) {
            codes.extend(quoted(&code, MARKS_OF_COLLECTION).map(str::to_owned));
        }
    }
    codes.retain(|code| !code.is_empty() && code.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
    codes.retain(|code| !NO_REASONS.contains(&code.as_str()));
    codes
}

#[test]
fn p10_every_reason_has_a_text_and_a_remedy() {
    let codes = codes();
    let without: Vec<&String> = codes
        .iter()
        .filter(|code| reasons::find(code).is_none())
        .collect();
    assert!(without.is_empty(), "reasons without a text: {without:?}");
    let unwritten: Vec<&str> = reasons::REASONS
        .iter()
        .map(|reason| reason.code)
        .filter(|code| !codes.contains(*code))
        .collect();
    assert!(unwritten.is_empty(), "reasons that nothing writes: {unwritten:?}");
    for reason in reasons::REASONS {
        let names = [
            ("invoice", "I"),
            ("client", "C"),
            ("firm", "F"),
            ("engagement", "E"),
        ];
        assert!(
            !reasons::remedies(reason.code, &names).is_empty(),
            "{}",
            reason.code
        );
        let same = reasons::REASONS
            .iter()
            .filter(|other| other.code == reason.code)
            .count();
        assert_eq!(same, 1, "{} is in the table twice", reason.code);
    }
}

proptest! {
    /// Whatever the rows say, there is a reason, and it has a text.
    #[test]
    fn p10_no_invoice_is_without_a_reason(
        state in proptest::sample::select(CycleState::ALL),
        has_cycle: bool,
        last in proptest::option::of(proptest::sample::select(AttemptState::ALL)),
        flags in proptest::collection::vec(any::<bool>(), 8),
        status in proptest::sample::select(&["sent", "paid", "failed", "processing", "disputed", "charged_back", "refunded", "partial", "overdue"][..]),
        doc in proptest::sample::select(&["issued", "issued", "issued", "draft", "void", "void_requested", "written_off"][..]),
        open in 0_i64..100_000,
        due in -3_i64..3,
    ) {
        let mut facts = standing_in(state, None);
        facts.status = status.into();
        facts.doc_state = doc.into();
        facts.charge.issued = doc == "issued";
        facts.charge.open = usd(open);
        facts.charge.opt_in = flags[0];
        facts.charge.client_autopay = flags[1];
        facts.charge.has_customer = flags[2];
        facts.charge.pause = flags[3].then(|| "firm_paused".into());
        facts.charge.open_chargeback = flags[4];
        facts.charge.earlier_attempt_open = flags[5];
        facts.charge.fenced_reason = flags[6].then(|| "chargeback".into());
        facts.charge.next_attempt_at = Some(day(due));
        if flags[7] { facts.charge.method = None; }
        if !has_cycle { facts.cycle = None; }
        facts.attempts = last.map(|state| attempt(0, state, None)).into_iter().collect();
        let found = standing(&facts, day(0));
        prop_assert!(reasons::find(&found.code).is_some(), "{}", found.code);
        let answer = why_not_charge(&facts, day(0));
        prop_assert!(answer.reason_code.is_some() && !answer.remedies.is_empty());
        prop_assert!(!answer.verdict.is_empty());
    }
}
