//! The table of `classify`, row by row.
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Class, Error,
    classify::{Again, Failed, answer, misshapen, no_answer, out_of_turn},
    objects::ShapeError,
    operation::Effect::{self, Reads, Writes},
    permit::TooLate,
    transport::{Response, SendError},
};

fn response(status: u16, body: impl ToString) -> Response {
    Response {
        status,
        request_id: Some("req_1".into()),
        retry_after: None,
        should_retry: None,
        replayed: false,
        body: Bytes::from(body.to_string()),
    }
}

fn stripe_error(status: u16, error: Value) -> Response {
    response(status, json!({ "error": error }))
}

fn failed(effect: Effect, response: &Response) -> Failed {
    answer(effect, response).unwrap_err()
}

/// The variant's name: what a reader of the table looks for.
fn variant(error: &Error) -> &'static str {
    match error {
        Error::Declined(_) => "declined",
        Error::Unknown { .. } => "unknown",
        Error::NotSent { .. } => "not sent",
        Error::Unavailable { .. } => "unavailable",
        Error::NotFound { .. } => "not found",
        Error::UnexpectedState { .. } => "unexpected state",
        Error::Invalid { .. } => "invalid",
        Error::Auth { .. } => "auth",
    }
}

/// B-17.
#[test]
fn answers_of_stripe_and_of_what_is_in_between() {
    let invalid = json!({ "type": "invalid_request_error", "code": "parameter_missing", "param": "amount", "message": "Missing" });
    let in_use =
        json!({ "type": "invalid_request_error", "code": "idempotency_key_in_use", "message": "busy" });
    let reused =
        json!({ "type": "idempotency_error", "message": "Keys for idempotent requests can only be used …" });
    let state =
        json!({ "type": "invalid_request_error", "code": "payment_intent_unexpected_state", "message": "…" });
    let locked = json!({ "type": "invalid_request_error", "code": "lock_timeout", "message": "…" });
    let broken = json!({ "type": "api_error", "message": "Sorry" });
    let missing = json!({ "type": "invalid_request_error", "code": "resource_missing", "message": "No such payment_intent: 'pi_1'" });
    let card = json!({ "type": "card_error", "code": "card_declined", "decline_code": "lost_card" });
    let (never, later) = (Again::Never, Again::AfterBackoff);
    let table = [
        (stripe_error(400, invalid), ("invalid", never), ("invalid", never)),
        (stripe_error(400, reused), ("invalid", never), ("invalid", never)),
        (
            stripe_error(400, state),
            ("unexpected state", never),
            ("unexpected state", never),
        ),
        (
            stripe_error(400, card.clone()),
            ("declined", never),
            ("declined", never),
        ),
        (stripe_error(402, card), ("declined", never), ("declined", never)),
        (
            stripe_error(401, json!({ "type": "invalid_request_error" })),
            ("auth", never),
            ("auth", never),
        ),
        (
            stripe_error(403, json!({ "code": "more_permissions_required" })),
            ("auth", never),
            ("auth", never),
        ),
        (
            stripe_error(404, missing),
            ("not found", never),
            ("not found", never),
        ),
        (
            stripe_error(409, in_use),
            ("unknown", never),
            ("unavailable", later),
        ),
        (
            stripe_error(424, broken.clone()),
            ("unknown", never),
            ("unavailable", later),
        ),
        (
            stripe_error(429, locked),
            ("not sent", later),
            ("unavailable", later),
        ),
        (
            stripe_error(500, broken.clone()),
            ("unknown", never),
            ("unavailable", later),
        ),
        (
            stripe_error(503, broken),
            ("unknown", never),
            ("unavailable", later),
        ),
        (
            response(502, "<html>Bad Gateway</html>"),
            ("unknown", never),
            ("unavailable", later),
        ),
        (
            response(404, "<html>Not here</html>"),
            ("unknown", never),
            ("unavailable", later),
        ),
        (response(301, ""), ("unknown", never), ("unavailable", later)),
        (
            response(200, "<html>Welcome</html>"),
            ("unknown", never),
            ("unavailable", later),
        ),
        (
            response(200, r#"{"id":"pi_1","am"#),
            ("unknown", never),
            ("unavailable", later),
        ),
    ];
    for (response, after_post, after_get) in table {
        for (effect, expected) in [(Writes, after_post), (Reads, after_get)] {
            let failed = failed(effect, &response);
            assert_eq!(
                (variant(&failed.error), failed.again),
                expected,
                "{effect:?} {}",
                response.status
            );
            assert_eq!(
                failed.error.request_id(),
                Some("req_1"),
                "{effect:?} {}",
                response.status
            );
        }
    }
    assert_eq!(
        answer(Writes, &response(200, r#"{"id":"pi_1"}"#)).unwrap()["id"],
        "pi_1"
    );
}

#[test]
fn no_answer_at_all() {
    let lost = || SendError::Lost {
        reason: "connection reset".into(),
        request_id: None,
    };
    for (failure, after_post, after_get) in [
        (
            SendError::NotSent("refused".into()),
            ("not sent", Again::AfterBackoff),
            ("unavailable", Again::AfterBackoff),
        ),
        (
            SendError::TimedOut,
            ("unknown", Again::Never),
            ("unavailable", Again::AfterBackoff),
        ),
        (
            lost(),
            ("unknown", Again::Never),
            ("unavailable", Again::AfterBackoff),
        ),
    ] {
        let again = match &failure {
            SendError::NotSent(reason) => SendError::NotSent(reason.clone()),
            SendError::TimedOut => SendError::TimedOut,
            SendError::Lost { .. } => lost(),
            SendError::Refused(reason) => SendError::Refused(reason.clone()),
            SendError::TooLate(late) => SendError::TooLate(*late),
        };
        let (post, get) = (no_answer(Writes, failure), no_answer(Reads, again));
        assert_eq!((variant(&post.error), post.again), after_post);
        assert_eq!((variant(&get.error), get.again), after_get);
    }
    let late = no_answer(Writes, SendError::TooLate(TooLate::Deadline));
    assert_eq!((variant(&late.error), late.again), ("not sent", Again::Never));
    let refused = no_answer(Writes, SendError::Refused("no key".into()));
    assert_eq!(
        (variant(&refused.error), refused.again),
        ("invalid", Again::Never)
    );
}

#[test]
fn stripes_wishes_about_repetition_are_kept() {
    let mut limited = stripe_error(429, json!({ "code": "rate_limit" }));
    limited.retry_after = Some(Duration::from_secs(3));
    let failed_write = failed(Writes, &limited);
    assert_eq!(failed_write.again, Again::After(Duration::from_secs(3)));
    assert_eq!(failed_write.error.class(), Class::Snooze(Duration::from_secs(3)));
    limited.should_retry = Some(false);
    assert_eq!(failed(Writes, &limited).again, Again::Never);

    let mut broken = stripe_error(500, json!({ "type": "api_error" }));
    broken.should_retry = Some(false);
    assert_eq!(failed(Reads, &broken).again, Again::Never);
    // A wish to repeat does not make an unknown outcome known.
    broken.should_retry = Some(true);
    assert_eq!(
        (failed(Reads, &broken).again, failed(Writes, &broken).again),
        (Again::AfterBackoff, Again::Never)
    );
}

#[test]
fn decline_carries_codes_and_the_intent() {
    let intent: Value = serde_json::from_str(include_str!("fixtures/payment_intent.new.json")).unwrap();
    let failed = failed(
        Writes,
        &stripe_error(
            402,
            json!({
                "type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds", "charge": "ch_new",
                "advice_code": "try_again_later", "payment_intent": intent, "message": "Your card has insufficient funds.",
                "payment_method": { "id": "pm_1", "billing_details": { "email": "a@example.com" } }
            }),
        ),
    );
    let Error::Declined(decline) = &failed.error else {
        panic!("{:?}", failed.error)
    };
    assert_eq!(decline.error.decline_code.as_deref(), Some("insufficient_funds"));
    assert_eq!(
        (
            decline.error.charge.as_deref(),
            decline.error.payment_method.as_deref()
        ),
        (Some("ch_new"), Some("pm_1"))
    );
    assert_eq!(decline.intent.as_ref().unwrap().status, "requires_payment_method");
    assert_eq!(
        failed.error.to_string(),
        "Stripe declined the charge: card_declined (insufficient_funds) [req_1]"
    );
    assert_eq!(failed.error.class(), Class::Fail);
}

#[test]
fn unexpected_state_carries_the_intent_and_survives_one_that_cannot_be_read() {
    let error = |intent: Value| {
        let body = json!({ "code": "payment_intent_unexpected_state", "payment_intent": intent });
        failed(Writes, &stripe_error(400, body)).error
    };
    let whole = json!({ "id": "pi_1", "status": "succeeded", "amount": 1, "currency": "usd", "created": 1 });
    let Error::UnexpectedState {
        intent: Some(intent), ..
    } = error(whole)
    else {
        panic!("no intent")
    };
    assert_eq!(intent.status, "succeeded");
    assert!(matches!(
        error(json!({ "id": "pi_1" })),
        Error::UnexpectedState { intent: None, .. }
    ));
}

#[test]
fn success_without_a_needed_field_happened_all_the_same() {
    let fault = ShapeError {
        path: "payment_intent.amount".into(),
        problem: "missing",
    };
    let post = misshapen(Writes, &fault, Some("req_1".into()));
    assert_eq!(
        post.to_string(),
        "the outcome at Stripe is unknown: the answer cannot be read: payment_intent.amount is missing [req_1]"
    );
    let Error::Invalid { code, param, .. } = misshapen(Reads, &fault, None) else {
        panic!("not invalid")
    };
    assert_eq!(
        (code.as_str(), param.as_deref()),
        ("missing_field", Some("payment_intent.amount"))
    );
}

#[test]
fn waiting_for_a_turn_costs_no_attempt_and_doubt_is_never_a_failure() {
    let wait = Duration::from_secs(4);
    let out = out_of_turn(Writes, wait);
    assert_eq!(
        (out.error.class(), out.again),
        (Class::Snooze(wait), Again::Never)
    );
    let unsure = no_answer(Writes, SendError::TimedOut).error;
    assert!(
        matches!(unsure.class(), Class::Snooze(_)),
        "an unknown outcome is looked up however often it takes"
    );
    let offline = no_answer(Writes, SendError::NotSent("refused".into())).error;
    assert_eq!(offline.class(), Class::Retry);
}

#[test]
fn nothing_secret_is_printed() {
    let intent: Value = serde_json::from_str(include_str!("fixtures/payment_intent.new.json")).unwrap();
    let quoted =
        "Invalid API Key provided: sk_test_abc\tand\nclient_secret pi_1_secret_abc at a very long length";
    for status in [400, 401, 402, 404, 409, 429, 500] {
        for code in ["payment_intent_unexpected_state", "card_declined"] {
            let body = json!({ "code": code, "payment_intent": intent, "message": quoted });
            let response = stripe_error(status, body);
            let error = failed(Writes, &response).error;
            let printed = format!("{error} {error:?} {response:?}");
            for secret in ["sk_test_abc", "secret_abc", "a@example.com"] {
                assert!(!printed.contains(secret), "HTTP {status}: {printed}");
            }
        }
    }
    let long = "x".repeat(5000);
    let error = failed(
        Writes,
        &stripe_error(400, json!({ "code": "x", "message": long })),
    )
    .error;
    assert!(error.to_string().len() < 500);
}
