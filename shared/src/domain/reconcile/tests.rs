//! Two equal sides make no finding, and each single difference makes exactly its own.
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;

use super::*;
use crate::{
    currency::Currency,
    domain::{
        collection::{AttemptState, AttemptView, CycleState, CycleView, IntentSeen, IntentStatus, Trigger},
        dispute::{Kind as DisputeKind, Known, Movement, MovementKind, Outcome, Status},
        refund::RefundState,
        retry_policy::RetryPolicy,
    },
    ids::{AttemptId, FirmId},
    money::Money,
};

fn at() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000)
}

fn kinds(findings: &[Finding]) -> Vec<Kind> {
    findings.iter().map(|finding| finding.kind).collect()
}

fn charge_there(amount_minor: i64, currency: &str) -> ChargeThere {
    ChargeThere {
        id: "ch_1".into(),
        intent: Some("pi_1".into()),
        amount_minor,
        refunded_minor: 0,
        currency: currency.into(),
        at: at(),
    }
}

fn recorded(amount_minor: i64, currency: &str) -> ChargeHere {
    ChargeHere::Recorded {
        subject: "invoice 1".into(),
        payment: "payment".into(),
        amount_minor,
        currency: currency.into(),
    }
}

#[test]
fn b20_a_charge_that_we_lack_is_told_by_what_it_belongs_to() {
    let there = charge_there(500, "usd");
    let cycle = ChargeHere::OfCycle {
        subject: "invoice 1".into(),
        cycle: "cycle".into(),
        state: "exhausted".into(),
    };
    let missing = charge(&there, cycle);
    assert_eq!(kinds(&missing), [Kind::MissingHere]);
    assert_eq!(
        missing[0].repair,
        Some(Repair {
            action: Action::ApplyIntent,
            target: "pi_1".into()
        })
    );
    let second = ChargeHere::Second {
        subject: "invoice 1".into(),
        first: "pi_0".into(),
    };
    let orphan = ChargeHere::OfClient {
        subject: "client 1".into(),
    };
    for (here, kind) in [(second, Kind::DuplicateCapture), (orphan, Kind::OrphanCharge)] {
        let found = charge(&there, here);
        assert_eq!(kinds(&found), [kind]);
        assert_eq!(
            found[0].repair, None,
            "money that is nobody's is a person's to decide about"
        );
    }
}

#[test]
fn b20_money_that_nobody_asked_for_is_over_once_all_of_it_went_back() {
    for (refunded_minor, expected) in [(499, vec![Kind::DuplicateCapture]), (500, vec![])] {
        let there = ChargeThere {
            refunded_minor,
            ..charge_there(500, "usd")
        };
        let second = ChargeHere::Second {
            subject: "invoice 1".into(),
            first: "pi_0".into(),
        };
        assert_eq!(kinds(&charge(&there, second)), expected);
        // Whoever was to pay is told by the payment's own refunds.
        assert_eq!(kinds(&charge(&there, recorded(500, "usd"))), []);
    }
}

fn any_refund() -> impl Strategy<Value = RefundState> {
    prop::sample::select(vec![
        RefundState::Requested,
        RefundState::Pending,
        RefundState::Succeeded,
        RefundState::Failed,
        RefundState::Canceled,
    ])
}

fn refund_there(amount_minor: i64, status: &str) -> RefundThere {
    RefundThere {
        id: "re_1".into(),
        charge: "ch_1".into(),
        ordered: None,
        amount_minor,
        currency: "usd".into(),
        status: status.into(),
        at: at(),
    }
}

fn refund_here(amount_minor: i64, currency: &str, state: RefundState) -> RefundHere {
    RefundHere {
        subject: "invoice 1".into(),
        row: Some(RefundRow {
            id: "refund".into(),
            amount_minor,
            currency: currency.into(),
            state,
        }),
    }
}

const DISPUTES: [&str; 9] = [
    "warning_needs_response",
    "warning_under_review",
    "warning_closed",
    "needs_response",
    "under_review",
    "won",
    "lost",
    "prevented",
    "a_new_word",
];

/// What is on record once a dispute with this status was applied.
fn known(status: &str) -> Known {
    let status = Status::parse(status);
    Known {
        kind: status.kind(),
        outcome: status.outcome(),
        status,
    }
}

fn movement(kind: MovementKind, amount_minor: i64) -> Movement {
    Movement {
        txn_id: "txn_1".into(),
        kind,
        amount_minor,
        currency: Currency::parse("usd").unwrap(),
        at: at(),
    }
}

fn movement_here(kind: MovementKind, amount_minor: i64) -> MovementHere {
    MovementHere {
        txn: "txn_1".into(),
        kind,
        amount_minor,
        currency: "usd".into(),
    }
}

fn dispute_there(amount_minor: i64, status: &str, movements: Vec<Movement>) -> DisputeThere {
    DisputeThere {
        id: "dp_1".into(),
        amount_minor,
        currency: "usd".into(),
        status: status.into(),
        took_money: false,
        movements,
        at: at(),
    }
}

fn dispute_here(amount_minor: i64, status: &str, movements: Vec<MovementHere>) -> DisputeHere {
    DisputeHere {
        subject: "invoice 1".into(),
        row: Some((amount_minor, "usd".into(), known(status))),
        movements,
    }
}

const MOVEMENTS: [MovementKind; 4] = [
    MovementKind::Withdrawn,
    MovementKind::Reinstated,
    MovementKind::Fee,
    MovementKind::FeeRefund,
];

fn fee_there(fee_minor: i64) -> FeeThere {
    FeeThere {
        txn: "txn_1".into(),
        fee_minor,
        currency: "usd".into(),
        at: at(),
    }
}

fn fee_here(booked: Option<(i64, &str)>) -> FeeHere {
    FeeHere {
        subject: "invoice 1".into(),
        intent: Some("pi_1".into()),
        booked: booked.map(|(minor, currency)| (minor, currency.to_owned())),
    }
}

proptest! {
    #[test]
    fn b20_two_equal_sides_make_no_finding(
        minor in 1..i64::MAX, state in any_refund(), status in prop::sample::select(&DISPUTES[..]),
        kind in prop::sample::select(&MOVEMENTS[..]),
    ) {
        prop_assert_eq!(charge(&charge_there(minor, "usd"), recorded(minor, "usd")), vec![]);
        if state != RefundState::Requested {
            prop_assert_eq!(refund(&refund_there(minor, state.as_str()), refund_here(minor, "usd", state)), vec![]);
        }
        let there = dispute_there(minor, status, vec![movement(kind, minor)]);
        let here = dispute_here(minor, status, vec![movement_here(kind, minor)]);
        prop_assert_eq!(dispute(&there, &here), vec![]);
        prop_assert_eq!(fee(&fee_there(minor), fee_here(Some((minor, "usd")))), vec![]);
        prop_assert_eq!(fee(&fee_there(0), fee_here(None)), vec![]);
    }

    #[test]
    fn b20_another_amount_or_currency_is_exactly_that_finding(minor in 1..i64::MAX / 2, more in 1..1_000_000_i64) {
        let other = minor + more;
        let there = charge_there(minor, "usd");
        prop_assert_eq!(kinds(&charge(&there, recorded(other, "usd"))), [Kind::AmountMismatch]);
        prop_assert_eq!(kinds(&charge(&there, recorded(other, "eur"))), [Kind::CurrencyMismatch]);
        let there = refund_there(minor, "succeeded");
        let ended = RefundState::Succeeded;
        prop_assert_eq!(kinds(&refund(&there, refund_here(other, "usd", ended))), [Kind::AmountMismatch]);
        prop_assert_eq!(kinds(&refund(&there, refund_here(other, "eur", ended))), [Kind::CurrencyMismatch]);
        let there = dispute_there(minor, "lost", vec![]);
        prop_assert_eq!(kinds(&dispute(&there, &dispute_here(other, "lost", vec![]))), [Kind::AmountMismatch]);
        prop_assert_eq!(kinds(&fee(&fee_there(minor), fee_here(Some((other, "usd"))))), [Kind::FeeMismatch]);
        prop_assert_eq!(kinds(&fee(&fee_there(minor), fee_here(Some((minor, "eur"))))), [Kind::FeeMismatch]);
        prop_assert_eq!(kinds(&fee(&fee_there(0), fee_here(Some((minor, "usd"))))), [Kind::FeeMismatch]);
    }

    #[test]
    fn b20_a_refund_repairs_forward_only(here in any_refund(), there in any_refund()) {
        prop_assume!(there != RefundState::Requested);
        let found = refund(&refund_there(100, there.as_str()), refund_here(100, "usd", here));
        if here == there {
            prop_assert_eq!(found, vec![]);
        } else {
            prop_assert_eq!(kinds(&found), [Kind::StateMismatch]);
            let forward = matches!(
                crate::domain::refund::observe(Some(here), there),
                crate::domain::refund::Change::Apply(_)
            );
            prop_assert_eq!(found[0].repair.is_some(), forward);
        }
    }

    /// What a repair is offered for is what the reducer would change: after it none is offered any more.
    #[test]
    fn b20_a_dispute_is_repaired_once(
        first in prop::sample::select(&DISPUTES[..]), then in prop::sample::select(&DISPUTES[..])
    ) {
        let found = dispute(&dispute_there(100, then, vec![]), &dispute_here(100, first, vec![]));
        for finding in &found {
            prop_assert_eq!(finding.kind, Kind::StateMismatch);
        }
        if found.iter().any(|finding| finding.repair.is_some()) {
            let seen = crate::domain::dispute::Seen { status: Status::parse(then), took_money: false };
            let crate::domain::dispute::Change::Apply { status, kind, outcome, .. } =
                crate::domain::dispute::observe(Some(&known(first)), &seen) else {
                return Err(TestCaseError::fail("a repair that changes nothing"));
            };
            let here = DisputeHere { row: Some((100, "usd".into(), Known { status, kind, outcome })), ..dispute_here(100, then, vec![]) };
            let after = dispute(&dispute_there(100, then, vec![]), &here);
            prop_assert!(after.iter().all(|finding| finding.repair.is_none()), "{:?}", after);
        }
    }

    #[test]
    fn a_plan_is_the_same_in_any_order_and_another_one_when_a_side_moves(
        minors in prop::collection::vec(1..1_000_000_i64, 1..6), turn in 0..6_usize
    ) {
        let firm = FirmId::new();
        let findings: Vec<Finding> = minors.iter().enumerate().flat_map(|(n, minor)| {
            let there = RefundThere { id: format!("re_{n}"), ..refund_there(*minor, "succeeded") };
            refund(&there, RefundHere { row: None, ..refund_here(1, "usd", RefundState::Pending) })
        }).collect();
        let hash = |findings: &[Finding]| plan_hash(findings.iter().map(|finding| (firm, finding)));
        let mut turned = findings.clone();
        turned.rotate_left(turn % findings.len());
        prop_assert_eq!(hash(&findings), hash(&turned));
        turned[0].stripe = turned[0].stripe.clone().map(|side| side.state("failed"));
        prop_assert_ne!(hash(&findings), hash(&turned));
        // What no command can repair is no part of a plan.
        turned[0].repair = None;
        prop_assert_eq!(hash(&turned), hash(&turned[1..]));
    }
}

#[test]
fn b20_a_refund_or_dispute_from_outside_is_repaired_by_recording_it() {
    let here = RefundHere {
        row: None,
        ..refund_here(100, "usd", RefundState::Pending)
    };
    let found = refund(&refund_there(100, "succeeded"), here.clone());
    assert_eq!(kinds(&found), [Kind::RefundOutside]);
    assert_eq!(found[0].repair.as_ref().unwrap().target, "ch_1");
    // A word that we do not know cannot be recorded.
    assert_eq!(refund(&refund_there(100, "novel"), here)[0].repair, None);

    let here = DisputeHere {
        row: None,
        ..dispute_here(100, "lost", vec![])
    };
    let taken = vec![movement(MovementKind::Withdrawn, 100)];
    let found = dispute(&dispute_there(100, "needs_response", taken), &here);
    assert_eq!(
        kinds(&found),
        [Kind::DisputeOutside],
        "its movements come with it"
    );
}

#[test]
fn a18_each_movement_of_a_dispute_is_compared_by_its_balance_transaction() {
    for kind in MOVEMENTS {
        let is_fee = matches!(kind, MovementKind::Fee | MovementKind::FeeRefund);
        let there = dispute_there(100, "lost", vec![movement(kind, 100)]);
        let missing = dispute(&there, &dispute_here(100, "lost", vec![]));
        assert_eq!(
            kinds(&missing),
            [if is_fee {
                Kind::FeeMismatch
            } else {
                Kind::MissingHere
            }]
        );
        assert!(missing[0].repair.is_some());
        let wrong = dispute(&there, &dispute_here(100, "lost", vec![movement_here(kind, 99)]));
        assert_eq!(
            kinds(&wrong),
            [if is_fee {
                Kind::FeeMismatch
            } else {
                Kind::AmountMismatch
            }]
        );
        assert_eq!(wrong[0].repair, None, "what is booked is never rewritten");
    }
}

#[test]
fn b20_a_dispute_that_is_over_here_and_open_there_is_told_and_not_rewritten() {
    let mut here = dispute_here(100, "lost", vec![]);
    let found = dispute(&dispute_there(100, "under_review", vec![]), &here);
    assert_eq!(kinds(&found), [Kind::StateMismatch]);
    assert_eq!(found[0].repair, None);
    here.row = Some((
        100,
        "usd".into(),
        Known {
            status: Status::parse("under_review"),
            kind: DisputeKind::Chargeback,
            outcome: None,
        },
    ));
    // Stripe may ask for more.
    assert_eq!(dispute(&dispute_there(100, "needs_response", vec![]), &here), []);
    let closed = dispute(&dispute_there(100, "won", vec![]), &here);
    assert_eq!(kinds(&closed), [Kind::StateMismatch]);
    assert!(closed[0].repair.is_some());
    assert_eq!(Status::parse("won").outcome(), Some(Outcome::Won));
}

fn seen(status: IntentStatus) -> IntentSeen {
    let received =
        (status == IntentStatus::Succeeded).then(|| Money::new(500, Currency::parse("usd").unwrap()));
    IntentSeen {
        id: "pi_1".into(),
        latest_charge: received.map(|_| "ch_1".to_owned()),
        status,
        received,
        failure: None,
        fee: None,
    }
}

#[test]
fn b15_an_open_cycle_differs_only_if_its_reducer_would_change_it() {
    let view = |state| CycleView {
        state,
        first_failed_at: None,
        policy: RetryPolicy::default(),
        deadline: None,
        first_due: None,
    };
    let attempt = |state| AttemptView {
        id: AttemptId::new(),
        seq: 1,
        step: 0,
        trigger: Trigger::Auto,
        state,
        charge: None,
        sent_at: Some(at()),
        real_sent_at: Some(at()),
    };
    let find = |state, attempt: AttemptView, is_stale, seen: &IntentSeen| {
        let here = CycleHere {
            subject: "invoice 1".into(),
            id: "cycle".into(),
            view: &view(state),
            attempts: &[attempt],
            payments: &[],
            is_stale,
        };
        kinds(&cycle(&here, seen, at()))
    };
    let unknown = || attempt(AttemptState::Unknown);
    let nothing = seen(IntentStatus::RequiresConfirmation);
    assert_eq!(find(CycleState::Unknown, unknown(), false, &nothing), []);
    assert_eq!(
        find(CycleState::Unknown, unknown(), true, &nothing),
        [Kind::StaleUnknown]
    );
    let paid = seen(IntentStatus::Succeeded);
    assert_eq!(
        find(CycleState::Unknown, unknown(), true, &paid),
        [Kind::MissingHere]
    );
    let canceled = seen(IntentStatus::Canceled);
    assert_eq!(
        find(CycleState::Unknown, unknown(), false, &canceled),
        [Kind::StateMismatch]
    );
    let processing = seen(IntentStatus::Processing);
    assert_eq!(
        find(
            CycleState::InFlight,
            attempt(AttemptState::Processing),
            false,
            &processing
        ),
        []
    );
}

#[test]
fn b13_an_intent_that_can_be_paid_after_its_cycle_was_closed_is_told() {
    let here = ClosedCycle {
        subject: "invoice 1".into(),
        cycle: "cycle".into(),
        state: "canceled".into(),
    };
    for (status, wanted) in [
        ("canceled", None),
        ("succeeded", None),
        ("requires_payment_method", Some(Kind::StateMismatch)),
        ("processing", Some(Kind::StateMismatch)),
    ] {
        let found = closed_intent("pi_1", status, at(), &here);
        assert_eq!(found.map(|finding| finding.kind), wanted, "{status}");
    }
}

/// L1 and L2 look at the same money from two sides: it must be one finding.
#[test]
fn money_that_is_missing_here_has_one_id_from_wherever_it_is_seen() {
    let view = CycleView {
        state: CycleState::MethodRequired,
        first_failed_at: None,
        policy: RetryPolicy::default(),
        deadline: None,
        first_due: None,
    };
    let here = CycleHere {
        subject: "invoice 1".into(),
        id: "cycle".into(),
        view: &view,
        attempts: &[],
        payments: &[],
        is_stale: false,
    };
    let of_cycle = cycle(&here, &seen(IntentStatus::Succeeded), at());
    let of_charge = charge(
        &charge_there(500, "usd"),
        ChargeHere::OfCycle {
            subject: "invoice 1".into(),
            cycle: "cycle".into(),
            state: "method_required".into(),
        },
    );
    let firm = FirmId::new();
    assert_eq!(of_cycle[0].id(firm), of_charge[0].id(firm));
    assert_ne!(of_cycle[0].id(firm), of_charge[0].id(FirmId::new()));
}

#[test]
fn a18_the_amount_of_a_dispute_follows_stripes_while_it_is_open_and_no_longer() {
    let cases = [
        ("under_review", "usd", Kind::AmountMismatch, true),
        ("won", "usd", Kind::AmountMismatch, false),
        ("under_review", "eur", Kind::CurrencyMismatch, false),
    ];
    for (status, currency, kind, is_repaired) in cases {
        let there = DisputeThere {
            currency: currency.into(),
            ..dispute_there(101, status, vec![])
        };
        let found = dispute(&there, &dispute_here(100, status, vec![]));
        assert_eq!(kinds(&found), [kind]);
        assert_eq!(found[0].repair.is_some(), is_repaired, "{status}, {currency}");
    }
}

#[test]
fn a18_two_movements_of_one_balance_transaction_are_told_apart_by_their_kind() {
    let there = vec![
        movement(MovementKind::Withdrawn, 500),
        movement(MovementKind::Fee, 15),
    ];
    let here = vec![movement_here(MovementKind::Withdrawn, 500)];
    let found = dispute(
        &dispute_there(500, "lost", there),
        &dispute_here(500, "lost", here),
    );
    assert_eq!(kinds(&found), [Kind::FeeMismatch]);
    assert_eq!(found[0].ours, None, "the fee is not on record at all");
}

#[test]
fn b15_a_cycle_whose_attempt_alone_would_change_differs_and_says_what_stripe_says() {
    let view = CycleView {
        state: CycleState::InFlight,
        first_failed_at: None,
        policy: RetryPolicy::default(),
        deadline: None,
        first_due: None,
    };
    let attempts = [AttemptView {
        id: AttemptId::new(),
        seq: 1,
        step: 0,
        trigger: Trigger::Auto,
        state: AttemptState::Sent,
        charge: None,
        sent_at: Some(at()),
        real_sent_at: Some(at()),
    }];
    let here = CycleHere {
        subject: "invoice 1".into(),
        id: "cycle".into(),
        view: &view,
        attempts: &attempts,
        payments: &[],
        is_stale: false,
    };
    let would = [
        (IntentStatus::Processing, "processing"),
        (IntentStatus::RequiresAction, "requires_action"),
        (IntentStatus::Canceled, "canceled"),
    ];
    for (status, word) in would {
        let found = cycle(&here, &seen(status), at());
        assert_eq!(kinds(&found), [Kind::StateMismatch]);
        assert_eq!(found[0].stripe, Some(Side::of("pi_1").state(word)));
    }
}

#[test]
fn a_side_shows_what_is_known_of_it() {
    let shown = |side: Side| serde_json::to_value(side).unwrap();
    assert_eq!(shown(Side::of("ch_1")), serde_json::json!({"id": "ch_1"}));
    assert_eq!(
        shown(Side::of("ch_1").minor(5, "usd").state("succeeded")),
        serde_json::json!({"id": "ch_1", "amount_minor": 5, "currency": "usd", "state": "succeeded"})
    );
}

#[test]
fn what_can_be_repaired_says_so_and_all_else_what_a_person_should_do() {
    let charged = charge(
        &charge_there(500, "usd"),
        ChargeHere::OfCycle {
            subject: "invoice 1".into(),
            cycle: "cycle".into(),
            state: "exhausted".into(),
        },
    );
    assert!(charged[0].remedy().contains("--repair"));
    let by_hand = Finding {
        repair: None,
        ..charged[0].clone()
    };
    assert_eq!(by_hand.remedy(), Kind::MissingHere.remedy());
    for (kind, part) in [
        (Kind::MissingHere, "events list"),
        (Kind::MissingThere, "dashboard"),
        (Kind::LedgerImbalance, "ledger check"),
        (Kind::UnbilledPeriod, "generate-package-invoices"),
    ] {
        assert!(kind.remedy().contains(part), "{kind}: {}", kind.remedy());
    }
}

#[test]
fn every_kind_has_a_remedy_and_every_word_is_its_own() {
    let mut words = std::collections::BTreeSet::new();
    for kind in Kind::ALL {
        assert!(!kind.remedy().is_empty());
        assert!(words.insert(kind.as_str()));
    }
    assert_eq!(Kind::ALL.len(), 18);
}
