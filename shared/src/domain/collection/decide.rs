//! May this invoice be charged now? Every condition is looked at each time, so that the record shows every reason.
use chrono::{DateTime, Utc};
use serde_json::json;

use super::{CycleState, Trigger};
use crate::{domain::predicate::Predicate, ids::PaymentMethodId, money::Money};

/// Everything the decision to charge depends on, read under the invoice's lock.
#[derive(Clone, Debug)]
pub struct ChargeFacts {
    /// The invoice's document state is `issued`.
    pub issued: bool,
    /// Total less payments.
    pub open: Money,
    /// The invoice may be charged automatically.
    pub opt_in: bool,
    /// Why the invoice must not be charged automatically, e.g. `chargeback`.
    pub fenced_reason: Option<String>,
    /// The client switched automatic payment on.
    pub client_autopay: bool,
    /// The client's method and its status.
    pub method: Option<(PaymentMethodId, String)>,
    /// The client has a Stripe customer.
    pub has_customer: bool,
    /// A pause of firm or client, or a parked firm or client, with its reason.
    pub pause: Option<String>,
    /// A chargeback on a payment of this invoice is open.
    pub open_chargeback: bool,
    /// An attempt of an earlier cycle of this invoice has no known end: it may have captured the money already.
    pub earlier_attempt_open: bool,
    /// The PaymentIntent of an earlier cycle of this invoice, which was given up, is not known to be canceled yet.
    pub earlier_intent_open: bool,
    /// The cycle.
    pub cycle: CycleState,
    /// When the next attempt is due.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// Which step that will be.
    pub next_step: u32,
    /// Why it will be made.
    pub next_trigger: Trigger,
    /// What the firm lets be charged without a person's word.
    pub limits: Limits,
}

/// A firm's limits of automatic charging. What exceeds one is stopped until a person lets it go on; what a person or the
/// client asks for is not automatic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The largest charge. In the firm's default currency: charges in another cannot be compared with it, and are stopped.
    pub max_charge: Option<Money>,
    /// How many automatic attempts the firm's local day may see, and how many it has seen.
    pub per_day: Option<PerDay>,
}

/// See [`Limits::per_day`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerDay {
    /// The limit.
    pub most: i64,
    /// Made today, this invoice's own open attempt left out.
    pub made: i64,
}

/// Why a charge above a limit is stopped.
pub const AMOUNT_ABOVE_LIMIT: &str = "amount_above_limit";
/// The same, where the limit is in another currency.
pub const LIMIT_IN_OTHER_CURRENCY: &str = "limit_in_other_currency";
/// The firm's charges of this day have reached their number.
pub const TOO_MANY_CHARGES: &str = "too_many_charges";

impl Limits {
    /// Whether an amount keeps within the limit, and what follows where it does not.
    fn amount(&self, open: Money, by_hand: bool) -> (Predicate, &'static str) {
        let Some(most) = self.max_charge else {
            return (
                Predicate::not_applicable("amount_within_limit"),
                AMOUNT_ABOVE_LIMIT,
            );
        };
        let comparable = most.currency() == open.currency();
        let check = Predicate {
            name: "amount_within_limit",
            ok: (!by_hand).then_some(comparable && open.minor() <= most.minor()),
            value: json!({"limit_minor": most.minor(), "currency": most.currency().as_str()}),
        };
        (
            check,
            if comparable {
                AMOUNT_ABOVE_LIMIT
            } else {
                LIMIT_IN_OTHER_CURRENCY
            },
        )
    }

    /// Whether one more charge keeps within the limit.
    fn number(&self, by_hand: bool) -> Predicate {
        match self.per_day {
            None => Predicate::not_applicable("charges_within_limit"),
            Some(PerDay { most, made }) => Predicate {
                name: "charges_within_limit",
                ok: (!by_hand).then_some(made < most),
                value: json!({"limit": most, "made_today": made}),
            },
        }
    }
}

impl ChargeFacts {
    /// The same, had the cycle nothing to do but to be charged now.
    #[must_use]
    pub fn as_if_due(&self, as_of: DateTime<Utc>) -> Self {
        Self {
            cycle: CycleState::Scheduled,
            next_attempt_at: Some(as_of),
            ..self.clone()
        }
    }
}

/// What to do about an invoice that is to be collected.
#[derive(Clone, Debug, PartialEq)]
pub enum ChargeDecision {
    /// Charge the open balance to this method.
    Charge {
        /// The card.
        method: PaymentMethodId,
        /// The open balance.
        amount: Money,
        /// Step of the policy.
        step: u32,
        /// Why.
        trigger: Trigger,
    },
    /// Nothing now; the cycle stays as it is. The code says why.
    NotNow(&'static str),
    /// Stop until something changes.
    Hold {
        /// `paused` or `method_required`.
        state: CycleState,
        /// Why.
        reason: &'static str,
    },
    /// Give the cycle up and cancel its PaymentIntent.
    Cancel(&'static str),
}

impl ChargeDecision {
    /// `charge`, or why not.
    #[must_use]
    pub fn reason_code(&self) -> &'static str {
        match self {
            Self::Charge {
                trigger: Trigger::Retry,
                ..
            } => "retry_due",
            Self::Charge { .. } => "due",
            Self::NotNow(reason) | Self::Hold { reason, .. } | Self::Cancel(reason) => reason,
        }
    }

    /// `charge`, `wait`, `hold` or `cancel`.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Charge { .. } => "charge",
            Self::NotNow(_) => "wait",
            Self::Hold { .. } => "hold",
            Self::Cancel(_) => "cancel",
        }
    }
}

/// Decides whether to charge now. All checks are evaluated, so that the record shows every reason; the first that
/// fails decides. `as_of` is business time, or the time an operator asked about.
#[must_use]
pub fn decide_charge(facts: &ChargeFacts, as_of: DateTime<Utc>) -> (ChargeDecision, Vec<Predicate>) {
    let check = Predicate::new;
    let currency = facts.open.currency();
    let chargeable = matches!(facts.cycle, CycleState::Scheduled | CycleState::RetryWait);
    let due = facts.next_attempt_at.is_some_and(|at| at <= as_of);
    let usable = facts.method.as_ref().filter(|(_, status)| status == "active");
    let big_enough = facts.open.minor() >= currency.minimum_charge_minor();
    let divisible = facts.open.minor() % currency.charge_step() == 0;

    let by_hand = matches!(facts.next_trigger, Trigger::Manual | Trigger::Portal);
    let (amount_within_limit, amount_reason) = facts.limits.amount(facts.open, by_hand);

    let table: [(Predicate, ChargeDecision); 17] = [
        (
            check("cycle_chargeable", chargeable, json!(facts.cycle.as_str())),
            ChargeDecision::NotNow("cycle_not_waiting"),
        ),
        (
            check("invoice_issued", facts.issued, json!(facts.issued)),
            ChargeDecision::Cancel("invoice_not_issued"),
        ),
        (
            check(
                "open_balance_positive",
                facts.open.is_positive(),
                json!(facts.open.minor()),
            ),
            ChargeDecision::Cancel("nothing_open"),
        ),
        (
            check("invoice_autopay_opt_in", facts.opt_in, json!(facts.opt_in)),
            ChargeDecision::Cancel("not_opted_in"),
        ),
        (
            check(
                "client_autopay_enabled",
                facts.client_autopay,
                json!(facts.client_autopay),
            ),
            ChargeDecision::Cancel("autopay_off"),
        ),
        (
            check(
                "not_fenced",
                facts.fenced_reason.is_none(),
                json!(facts.fenced_reason),
            ),
            ChargeDecision::Hold {
                state: CycleState::Paused,
                reason: "invoice_fenced",
            },
        ),
        (
            check(
                "no_open_chargeback",
                !facts.open_chargeback,
                json!(facts.open_chargeback),
            ),
            ChargeDecision::Hold {
                state: CycleState::Paused,
                reason: "open_dispute",
            },
        ),
        (
            check(
                "no_earlier_attempt_open",
                !facts.earlier_attempt_open,
                json!(facts.earlier_attempt_open),
            ),
            ChargeDecision::NotNow("earlier_attempt_open"),
        ),
        (
            check(
                "no_earlier_intent_open",
                !facts.earlier_intent_open,
                json!(facts.earlier_intent_open),
            ),
            ChargeDecision::NotNow("earlier_intent_open"),
        ),
        (
            check("not_paused", facts.pause.is_none(), json!(facts.pause)),
            ChargeDecision::NotNow("autopay_paused"),
        ),
        (
            check(
                "stripe_customer_known",
                facts.has_customer,
                json!(facts.has_customer),
            ),
            ChargeDecision::Hold {
                state: CycleState::Paused,
                reason: "no_stripe_customer",
            },
        ),
        (
            check(
                "payment_method_usable",
                usable.is_some(),
                json!(facts.method.as_ref().map(|(_, status)| status)),
            ),
            ChargeDecision::Hold {
                state: CycleState::MethodRequired,
                reason: "no_usable_payment_method",
            },
        ),
        (
            check(
                "amount_at_least_minimum",
                big_enough,
                json!(currency.minimum_charge_minor()),
            ),
            ChargeDecision::Hold {
                state: CycleState::Paused,
                reason: "amount_below_minimum",
            },
        ),
        (
            check(
                "amount_chargeable_in_currency",
                divisible,
                json!(currency.charge_step()),
            ),
            ChargeDecision::Hold {
                state: CycleState::Paused,
                reason: "amount_not_divisible",
            },
        ),
        (
            check("next_charge_due", due, json!(facts.next_attempt_at)),
            ChargeDecision::NotNow("not_due"),
        ),
        // Last, so that nothing is stopped for a person that would not have been charged anyway.
        (
            amount_within_limit,
            ChargeDecision::Hold {
                state: CycleState::Paused,
                reason: amount_reason,
            },
        ),
        (
            facts.limits.number(by_hand),
            ChargeDecision::Hold {
                state: CycleState::Paused,
                reason: TOO_MANY_CHARGES,
            },
        ),
    ];

    let failed = table
        .iter()
        .find(|(check, _)| check.ok == Some(false))
        .map(|(_, decision)| decision.clone());
    let decision = match (failed, usable) {
        (Some(decision), _) => decision,
        (None, Some((method, _))) => ChargeDecision::Charge {
            method: *method,
            amount: facts.open,
            step: facts.next_step,
            trigger: facts.next_trigger,
        },
        // unreachable by the table above, and harmless if it were not
        (None, None) => ChargeDecision::NotNow("no_usable_payment_method"),
    };
    (decision, table.into_iter().map(|(check, _)| check).collect())
}

/// A person wants it charged now: may it be? Everything counts but when it would have been due, and the firm's limits of
/// automatic charges.
pub fn decide_by_hand(facts: &ChargeFacts, now: DateTime<Utc>) -> (Result<(), &'static str>, Vec<Predicate>) {
    let asked = ChargeFacts {
        next_trigger: Trigger::Manual,
        ..facts.as_if_due(now)
    };
    let (decision, checks) = decide_charge(&asked, now);
    let charge = match decision {
        ChargeDecision::Charge { .. } => Ok(()),
        ChargeDecision::NotNow(reason)
        | ChargeDecision::Hold { reason, .. }
        | ChargeDecision::Cancel(reason) => Err(reason),
    };
    (charge, checks)
}

/// Looks again, in the transaction that sends an attempt, at everything that the decision to make it was based on: time
/// has passed, perhaps days. The reason it gives is why the attempt must be taken back, unsent (B-10, B-13).
pub fn decide_send(
    facts: &ChargeFacts,
    method: PaymentMethodId,
    amount: Money,
    as_of: DateTime<Utc>,
) -> (Result<(), &'static str>, Vec<Predicate>) {
    // Its own attempt is why the cycle does not wait any more.
    let (decision, checks) = decide_charge(&facts.as_if_due(as_of), as_of);
    let send = match decision {
        ChargeDecision::Charge { method: now, .. } if now != method => Err("payment_method_changed"),
        ChargeDecision::Charge { amount: now, .. } if now != amount => Err("open_balance_changed"),
        ChargeDecision::Charge { .. } => Ok(()),
        ChargeDecision::NotNow(reason)
        | ChargeDecision::Hold { reason, .. }
        | ChargeDecision::Cancel(reason) => Err(reason),
    };
    (send, checks)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::currency::Currency;

    fn now() -> DateTime<Utc> {
        "2026-03-01T03:00:00Z".parse().unwrap()
    }

    /// An invoice that is charged.
    pub(in super::super) fn chargeable() -> ChargeFacts {
        ChargeFacts {
            issued: true,
            open: Money::new(12_500, Currency::USD),
            opt_in: true,
            fenced_reason: None,
            client_autopay: true,
            method: Some((PaymentMethodId::new(), "active".into())),
            has_customer: true,
            pause: None,
            open_chargeback: false,
            earlier_attempt_open: false,
            earlier_intent_open: false,
            cycle: CycleState::RetryWait,
            next_attempt_at: Some(now()),
            next_step: 2,
            next_trigger: Trigger::Retry,
            limits: Limits {
                max_charge: Some(Money::new(12_500, Currency::USD)),
                per_day: Some(PerDay { most: 3, made: 2 }),
            },
        }
    }

    type Break = fn(&mut ChargeFacts);

    const WAIT: &str = "wait";
    const HOLD: &str = "hold";
    const CANCEL: &str = "cancel";

    /// Every condition in the order in which they decide: its name, how to break it alone, and what follows.
    fn conditions() -> Vec<(&'static str, Break, &'static str, &'static str)> {
        vec![
            (
                "cycle_chargeable",
                |f| f.cycle = CycleState::InFlight,
                WAIT,
                "cycle_not_waiting",
            ),
            (
                "invoice_issued",
                |f| f.issued = false,
                CANCEL,
                "invoice_not_issued",
            ),
            // zero is below the minimum too; the sign decides first
            (
                "open_balance_positive",
                |f| f.open = Money::new(0, Currency::USD),
                CANCEL,
                "nothing_open",
            ),
            (
                "invoice_autopay_opt_in",
                |f| f.opt_in = false,
                CANCEL,
                "not_opted_in",
            ),
            (
                "client_autopay_enabled",
                |f| f.client_autopay = false,
                CANCEL,
                "autopay_off",
            ),
            (
                "not_fenced",
                |f| f.fenced_reason = Some("chargeback".into()),
                HOLD,
                "invoice_fenced",
            ),
            (
                "no_open_chargeback",
                |f| f.open_chargeback = true,
                HOLD,
                "open_dispute",
            ),
            (
                "no_earlier_attempt_open",
                |f| f.earlier_attempt_open = true,
                WAIT,
                "earlier_attempt_open",
            ),
            (
                "no_earlier_intent_open",
                |f| f.earlier_intent_open = true,
                WAIT,
                "earlier_intent_open",
            ),
            (
                "not_paused",
                |f| f.pause = Some("firm_paused".into()),
                WAIT,
                "autopay_paused",
            ),
            (
                "stripe_customer_known",
                |f| f.has_customer = false,
                HOLD,
                "no_stripe_customer",
            ),
            (
                "payment_method_usable",
                |f| f.method = None,
                HOLD,
                "no_usable_payment_method",
            ),
            (
                "amount_at_least_minimum",
                |f| f.open = Money::new(49, Currency::USD),
                HOLD,
                "amount_below_minimum",
            ),
            (
                "amount_chargeable_in_currency",
                |f| f.open = Money::new(1_234_567, Currency::parse("ugx").unwrap()),
                HOLD,
                "amount_not_divisible",
            ),
            (
                "next_charge_due",
                |f| f.next_attempt_at = Some(now() + chrono::Duration::seconds(1)),
                WAIT,
                "not_due",
            ),
            (
                "amount_within_limit",
                |f| f.open = Money::new(12_501, Currency::USD),
                HOLD,
                AMOUNT_ABOVE_LIMIT,
            ),
            (
                "charges_within_limit",
                |f| f.limits.per_day = Some(PerDay { most: 3, made: 3 }),
                HOLD,
                TOO_MANY_CHARGES,
            ),
        ]
    }

    fn failed(checks: &[Predicate]) -> Vec<&'static str> {
        checks
            .iter()
            .filter(|c| c.ok == Some(false))
            .map(|c| c.name)
            .collect()
    }

    ///
    #[test]
    fn s4_what_is_charged_is_the_open_balance_to_the_method_of_now() {
        let facts = chargeable();
        let (decision, checks) = decide_charge(&facts, now());
        assert_eq!(
            decision,
            ChargeDecision::Charge {
                method: facts.method.unwrap().0,
                amount: Money::new(12_500, Currency::USD),
                step: 2,
                trigger: Trigger::Retry,
            }
        );
        assert_eq!(
            (decision.outcome(), decision.reason_code()),
            ("charge", "retry_due")
        );
        assert!(checks.iter().all(|c| c.ok == Some(true)), "{checks:?}");
    }

    /// R067.
    #[test]
    fn each_condition_alone_refuses_with_its_own_reason() {
        for (name, breaks, outcome, reason) in conditions() {
            let mut facts = chargeable();
            breaks(&mut facts);
            let (decision, checks) = decide_charge(&facts, now());
            assert_eq!(
                (decision.outcome(), decision.reason_code()),
                (outcome, reason),
                "{name}"
            );
            let expected = match name {
                "open_balance_positive" => vec![name, "amount_at_least_minimum"],
                // the limit is in dollars
                "amount_chargeable_in_currency" => vec![name, "amount_within_limit"],
                _ => vec![name],
            };
            assert_eq!(failed(&checks), expected);
        }
    }

    #[test]
    fn all_conditions_are_recorded_in_one_order_whatever_fails() {
        let names: Vec<_> = conditions().iter().map(|(name, ..)| *name).collect();
        for (_, breaks, ..) in conditions() {
            let mut facts = chargeable();
            breaks(&mut facts);
            let (_, checks) = decide_charge(&facts, now());
            assert_eq!(checks.iter().map(|c| c.name).collect::<Vec<_>>(), names);
            assert!(checks.iter().all(|c| c.ok.is_some()));
        }
    }

    #[test]
    fn a_limit_stops_what_cannot_be_compared_and_not_what_somebody_asked_for() {
        let mut facts = chargeable();
        facts.open = Money::new(100, Currency::parse("eur").unwrap());
        let (decision, checks) = decide_charge(&facts, now());
        assert_eq!(decision.reason_code(), LIMIT_IN_OTHER_CURRENCY);
        assert_eq!(failed(&checks), ["amount_within_limit"]);
        facts.limits.per_day = Some(PerDay { most: 1, made: 7 });
        for trigger in Trigger::ALL {
            facts.next_trigger = *trigger;
            let is_automatic = !matches!(trigger, Trigger::Manual | Trigger::Portal);
            assert_eq!(
                decide_charge(&facts, now()).0.outcome() == HOLD,
                is_automatic,
                "{trigger}"
            );
        }
        let unlimited = ChargeFacts {
            limits: Limits::default(),
            next_trigger: Trigger::Auto,
            ..facts
        };
        let (decision, checks) = decide_charge(&unlimited, now());
        assert_eq!(decision.outcome(), "charge");
        assert_eq!(checks.iter().filter(|c| c.ok.is_none()).count(), 2);
    }

    #[test]
    fn a_cycle_is_charged_only_while_it_waits_for_its_turn() {
        for state in CycleState::ALL {
            let facts = ChargeFacts {
                cycle: *state,
                ..chargeable()
            };
            let charged = decide_charge(&facts, now()).0.outcome() == "charge";
            assert_eq!(
                charged,
                matches!(state, CycleState::Scheduled | CycleState::RetryWait),
                "{state}"
            );
        }
    }

    #[test]
    fn a_method_that_is_not_active_waits_for_another_one() {
        for status in ["needs_update", "detached"] {
            let mut facts = chargeable();
            facts.method = facts.method.map(|(id, _)| (id, status.to_owned()));
            assert_eq!(
                decide_charge(&facts, now()).0,
                ChargeDecision::Hold {
                    state: CycleState::MethodRequired,
                    reason: "no_usable_payment_method"
                },
                "{status}"
            );
        }
    }

    #[test]
    fn as_of_decides_what_is_due() {
        let facts = ChargeFacts {
            next_attempt_at: Some(now() + chrono::Duration::days(3)),
            ..chargeable()
        };
        assert_eq!(decide_charge(&facts, now()).0.reason_code(), "not_due");
        assert_eq!(
            decide_charge(&facts, now() + chrono::Duration::days(3))
                .0
                .outcome(),
            "charge"
        );
        let never = ChargeFacts {
            next_attempt_at: None,
            ..chargeable()
        };
        assert_eq!(decide_charge(&never, now()).0.reason_code(), "not_due");
    }

    /// The facts as they are while an attempt for them is written down and not sent.
    fn in_flight() -> (ChargeFacts, PaymentMethodId, Money) {
        let facts = ChargeFacts {
            cycle: CycleState::InFlight,
            next_attempt_at: None,
            ..chargeable()
        };
        let method = facts.method.as_ref().unwrap().0;
        let open = facts.open;
        (facts, method, open)
    }

    #[test]
    fn b13_an_attempt_is_sent_only_while_all_that_it_was_decided_by_still_holds() {
        let (facts, method, amount) = in_flight();
        assert_eq!(decide_send(&facts, method, amount, now()).0, Ok(()));
        for (name, breaks, _, reason) in conditions() {
            let (mut facts, method, amount) = in_flight();
            breaks(&mut facts);
            let expected = match name {
                "cycle_chargeable" | "next_charge_due" => Ok(()),
                _ => Err(reason),
            };
            assert_eq!(decide_send(&facts, method, amount, now()).0, expected, "{name}");
        }
    }

    #[test]
    fn b10_an_attempt_is_taken_back_when_a_part_was_paid_or_the_card_replaced_meanwhile() {
        let (facts, method, amount) = in_flight();
        let paid_a_part = ChargeFacts {
            open: Money::new(500, Currency::USD),
            ..facts.clone()
        };
        assert_eq!(
            decide_send(&paid_a_part, method, amount, now()).0,
            Err("open_balance_changed")
        );
        let other_card = PaymentMethodId::new();
        assert_eq!(
            decide_send(&facts, other_card, amount, now()).0,
            Err("payment_method_changed")
        );
    }

    #[test]
    fn by_hand_everything_counts_but_the_day_and_the_firms_limits() {
        for (name, breaks, _, reason) in conditions() {
            let (mut facts, ..) = in_flight();
            breaks(&mut facts);
            let expected = match name {
                "cycle_chargeable" | "next_charge_due" | "amount_within_limit" | "charges_within_limit" => {
                    Ok(())
                }
                _ => Err(reason),
            };
            let (decision, checks) = decide_by_hand(&facts, now());
            assert_eq!(decision, expected, "{name}");
            assert_eq!(failed(&checks).is_empty(), expected.is_ok(), "{name}");
            assert_eq!(checks.len(), conditions().len());
        }
    }

    proptest! {
        #[test]
        fn the_first_condition_that_fails_decides(broken in prop::collection::vec(any::<bool>(), 14)) {
            let conditions = conditions();
            let mut facts = chargeable();
            // Backwards: where two conditions look at the same fact, the one that decides first is the one broken last.
            for (_, (_, breaks, ..)) in broken.iter().zip(&conditions).rev().filter(|(broken, _)| **broken) {
                breaks(&mut facts);
            }
            let (decision, checks) = decide_charge(&facts, now());
            let first = broken.iter().zip(&conditions).find(|(broken, _)| **broken);
            match first {
                None => prop_assert_eq!(decision.outcome(), "charge"),
                Some((_, (name, _, outcome, reason))) => {
                    prop_assert_eq!((decision.outcome(), decision.reason_code()), (*outcome, *reason));
                    prop_assert_eq!(failed(&checks)[0], *name);
                }
            }
        }
    }
}
