//! What answers about single records say and do not say: jobs, payments, disputes, and who was told of an alert.
use serde_json::json;

use super::{
    tests::{day, disputed, generated, invoice, paid},
    *,
};

#[test]
fn p10_a_job_that_is_over_says_what_it_did_and_one_that_is_not_when_it_is_due() {
    for (state, due) in [
        ("completed", false),
        ("canceled", false),
        ("available", true),
        ("discarded", true),
    ] {
        let asked = JobFacts {
            state: state.into(),
            ..generated()
        };
        let Answer {
            verdict, remedies, ..
        } = job(&asked, &[]);
        assert_eq!(
            remedies == ["nothing: it is as it should be"],
            !due,
            "{remedies:?}"
        );
        assert!(verdict.starts_with(state), "{verdict}");
        assert_eq!(verdict.contains(", due "), due, "{verdict}");
    }
}

#[test]
fn p10_a_job_that_reports_nothing_says_nothing_of_it() {
    for (result, ends) in [
        (None, "generate_package_invoices"),
        (Some(json!({})), "generate_package_invoices"),
        (
            Some(json!({ "invoices": 2 })),
            "generate_package_invoices: invoices 2",
        ),
    ] {
        let asked = JobFacts {
            result,
            ..generated()
        };
        let verdict = job(&asked, &[]).verdict;
        assert!(verdict.ends_with(ends), "{verdict}");
    }
}

#[test]
fn p10_a_payment_without_an_attempt_says_by_whom_it_came() {
    for (method, why) in [
        ("external", "it was paid from elsewhere"),
        ("stripe", "the client paid, or somebody at Stripe's dashboard"),
    ] {
        let came = PaymentFacts {
            method: method.into(),
            ..paid()
        };
        let verdict = payment(&invoice(), &came).verdict;
        assert!(verdict.ends_with(why), "{verdict}");
    }
}

#[test]
fn p10_only_a_lost_dispute_that_nobody_has_decided_waits_for_a_person() {
    let lost = Some(("lost".to_owned(), day(30)));
    let won = Some(("won".to_owned(), day(30)));
    let decided = Some("written off by ann".to_owned());
    let facts = disputed();
    for (ended, resolution, code, since) in [
        (None, None, Some("open_dispute"), day(5)),
        (lost.clone(), None, Some("dispute_lost_needs_choice"), day(30)),
        (lost, decided.clone(), None, day(30)),
        (won.clone(), None, None, day(30)),
        (won, decided, None, day(30)),
    ] {
        let asked = DisputeFacts {
            ended,
            resolution,
            ..facts.disputes[0].clone()
        };
        let answer = dispute(&facts, &asked);
        assert_eq!(
            (answer.reason_code.as_deref(), answer.since),
            (code, Some(since)),
            "{asked:?}"
        );
    }
}

#[test]
fn p10_how_often_something_was_sent_is_told_where_once_was_not_enough() {
    let told = |attempts| {
        let facts = AlertFacts {
            deliveries: vec![DeliveryFacts {
                attempts,
                ..tests::raised().deliveries[0].clone()
            }],
            ..tests::raised()
        };
        let chain = alert(&facts).chain;
        chain
            .into_iter()
            .find(|link| link.what == "told")
            .map(|link| link.text)
            .unwrap_or_default()
    };
    assert!(told(2).contains(", sent 2 times"), "{}", told(2));
    assert!(!told(1).contains("sent"), "{}", told(1));
}

#[test]
fn p10_of_a_chain_that_is_cut_short_it_is_told_how_much_is_left_and_of_a_whole_one_nothing() {
    let answer = dispute(&disputed(), &disputed().disputes[0]);
    let links = answer.chain.len();
    assert!(to_text(&answer, links - 1).contains("… and 1 more: --depth"));
    for depth in [links, links + 1] {
        assert!(
            !to_text(&answer, depth).contains("more: --depth"),
            "{depth} of {links}"
        );
    }
}
