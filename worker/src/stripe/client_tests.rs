//! The client against a server that misbehaves in every way that costs money somewhere.
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use shared::{
    config::Mode,
    currency::Currency,
    ids::{AttemptId, CycleId, RefundId},
    money::Money,
};
use tokio::{io::AsyncReadExt, net::TcpListener};

use super::{
    Client, CreateIntent, Error, IdempotencyKey, Limiter, List, NewRefund, Observer, Operation, Permit,
    Rates, StripeConfig,
    test_server::{
        Reply::{self, Answer, Cut, HangUp, Silence},
        Request, TestServer,
    },
};
use crate::deadline::{Deadline, Lease};

const KEY: &str = "sk_test_do_not_print";

/// Keeps what it is told.
#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Observer for Log {
    fn on_request(&self, operation: Operation, code: &str, _: Duration) {
        self.0
            .lock()
            .unwrap()
            .push(format!("{} {code}", operation.as_str()));
    }
}

impl Log {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

fn client_of(base: &reqwest::Url, timeout: Duration, log: Arc<Log>) -> Client {
    client_at_rate(base, timeout, log, 1000)
}

fn client_at_rate(base: &reqwest::Url, timeout: Duration, log: Arc<Log>, per_sec: u32) -> Client {
    let config = StripeConfig {
        secret_key: KEY.into(),
        api_base: Some(base.clone()),
        timeout,
    };
    let limiter = Limiter::local(Rates::of(Mode::Test, std::num::NonZeroU32::new(per_sec)));
    Client::new(&config, limiter, log).unwrap()
}

/// One that lasts longer than any test.
fn permit() -> Permit {
    Permit::under(&Lease::until(Deadline::after(Duration::from_secs(600))))
}

/// A server with this script, and a client of it.
async fn world(script: impl IntoIterator<Item = Reply>) -> (TestServer, Client, Arc<Log>) {
    let (server, log) = (TestServer::start(script).await, Arc::new(Log::default()));
    let client = client_of(&server.base, Duration::from_secs(10), log.clone());
    (server, client, log)
}

fn ok(body: &Value) -> Reply {
    Answer(200, vec![("request-id", "req_1")], body.to_string())
}

fn intent() -> Value {
    json!({ "id": "pi_1", "object": "payment_intent", "status": "succeeded", "amount": 1000, "amount_received": 1000,
            "currency": "usd", "created": 1_790_000_000, "livemode": false, "latest_charge": "ch_1" })
}

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

fn form(request: &Request) -> BTreeSet<&str> {
    request.body.split('&').filter(|pair| !pair.is_empty()).collect()
}

#[tokio::test]
async fn every_post_has_its_key_the_pinned_version_and_the_right_parameters() {
    let (server, client, log) = world([ok(&intent())]).await;
    let (cycle, attempt) = (CycleId::new(), AttemptId::new());
    let metadata = [("cycle_id", cycle.to_string())];
    let new = CreateIntent {
        amount: usd(1000),
        customer: "cus_1",
        metadata: &metadata,
    };
    client
        .create_payment_intent(&new, &IdempotencyKey::create(attempt))
        .await
        .unwrap();
    client
        .update_payment_intent_amount(
            "pi_1",
            usd(500),
            &IdempotencyKey::update(attempt, usd(500)),
            &permit(),
        )
        .await
        .unwrap();
    client
        .confirm_payment_intent("pi_1", "pm_1", &IdempotencyKey::confirm(attempt), &permit())
        .await
        .unwrap();
    client
        .cancel_payment_intent("pi_1", &IdempotencyKey::cancel(cycle, 1))
        .await
        .unwrap();

    let cycle_pair = format!("metadata[cycle_id]={cycle}");
    let no_redirects = "automatic_payment_methods[allow_redirects]=never";
    let expected = [
        (
            "/v1/payment_intents",
            format!("create:{attempt}"),
            vec![
                "amount=1000",
                "currency=usd",
                "customer=cus_1",
                "automatic_payment_methods[enabled]=true",
                no_redirects,
                &cycle_pair,
            ],
        ),
        (
            "/v1/payment_intents/pi_1",
            format!("update:{attempt}:500"),
            vec!["amount=500", "currency=usd"],
        ),
        (
            "/v1/payment_intents/pi_1/confirm",
            format!("confirm:{attempt}"),
            vec![
                "payment_method=pm_1",
                "off_session=true",
                "expand[0]=latest_charge.balance_transaction",
            ],
        ),
        (
            "/v1/payment_intents/pi_1/cancel",
            format!("cancel:{cycle}:1"),
            vec![],
        ),
    ];
    let requests = server.requests();
    assert_eq!(requests.len(), expected.len());
    for (request, (target, key, pairs)) in requests.iter().zip(expected) {
        assert_eq!(
            (request.method.as_str(), request.target.as_str()),
            ("POST", target)
        );
        assert_eq!(request.header("idempotency-key"), key);
        assert_eq!(request.header("stripe-version"), "2026-09-30.endive");
        assert_eq!(request.header("authorization"), format!("Bearer {KEY}"));
        assert_eq!(
            request.header("content-type"),
            "application/x-www-form-urlencoded"
        );
        assert_eq!(form(request), pairs.into_iter().collect(), "{target}");
    }
    assert_eq!(server.connections(), 1, "the connection is kept alive");
    assert_eq!(
        log.lines(),
        [
            "create_payment_intent 200",
            "update_payment_intent 200",
            "confirm_payment_intent 200",
            "cancel_payment_intent 200"
        ]
    );
}

#[tokio::test]
async fn post_without_a_key_is_never_sent() {
    let server = TestServer::start([ok(&intent())]).await;
    let config = StripeConfig {
        secret_key: KEY.into(),
        api_base: Some(server.base.clone()),
        timeout: Duration::from_secs(5),
    };
    let transport = super::transport::Transport::try_new(&config).unwrap();
    let request = stripe_core::payment_intent::ConfirmPaymentIntent::new("pi_1");
    let refused = transport.send(&request, None).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "a request that changes something is never sent without an idempotency key"
    );
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn reads_have_no_key_and_expand_what_they_need() {
    let (server, client, _) = world([ok(&intent())]).await;
    let read = client.payment_intent("pi_1").await.unwrap();
    assert_eq!(read.request_id.as_deref(), Some("req_1"));
    let requests = server.requests();
    assert_eq!(requests[0].method, "GET");
    assert_eq!(
        requests[0].target,
        "/v1/payment_intents/pi_1?expand[0]=latest_charge.balance_transaction"
    );
    assert!(!requests[0].headers.contains_key("idempotency-key"));
}

/// B-17.
#[tokio::test]
async fn refused_post_is_repeated_with_the_same_key() {
    let limited = Answer(
        429,
        vec![("retry-after", "0")],
        json!({ "error": { "code": "lock_timeout" } }).to_string(),
    );
    let (server, client, log) = world([limited, ok(&intent())]).await;
    let key = IdempotencyKey::confirm(AttemptId::new());
    client
        .confirm_payment_intent("pi_1", "pm_1", &key, &permit())
        .await
        .unwrap();
    let keys: Vec<_> = server
        .requests()
        .iter()
        .map(|request| request.header("idempotency-key").to_owned())
        .collect();
    assert_eq!(keys, [key.as_str(), key.as_str()]);
    assert_eq!(
        log.lines(),
        ["confirm_payment_intent 429", "confirm_payment_intent 200"]
    );
}

#[tokio::test]
async fn p3_what_comes_too_late_is_not_put_on_the_wire_even_where_the_connection_stands() {
    let ended = Deadline::after(Duration::ZERO);
    for late in [
        permit().by(ended),
        Permit::under(&Lease::until(ended)),
        Permit::under(&Lease::until(ended)).by(Deadline::after(Duration::from_secs(600))),
    ] {
        let (listener, log) = (
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            Arc::new(Log::default()),
        );
        let base = format!("http://{}", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let client = client_of(&base, Duration::from_secs(10), log.clone());
        let key = IdempotencyKey::confirm(AttemptId::new());
        let read_all = async {
            let mut bytes = Vec::new();
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_to_end(&mut bytes).await.unwrap();
            bytes
        };
        let (answer, written) = tokio::join!(
            client.confirm_payment_intent("pi_1", "pm_1", &key, &late),
            tokio::time::timeout(Duration::from_secs(10), read_all)
        );
        let error = answer.unwrap_err();
        assert!(matches!(error, Error::NotSent { .. }), "{error:?}");
        assert_eq!(
            written.expect("the connection was made, and was closed"),
            b"",
            "not even the head was written"
        );
        assert_eq!(log.lines(), ["confirm_payment_intent too_late"]);
    }
}

#[tokio::test]
async fn p3_a_repetition_or_a_turn_that_comes_too_late_is_not_taken() {
    // Stripe asks for a second's patience, which is too long.
    let limited = Answer(
        429,
        vec![("retry-after", "1")],
        json!({ "error": { "code": "lock_timeout" } }).to_string(),
    );
    let soon = || permit().by(Deadline::after(Duration::from_millis(500)));
    let (server, client, log) = world([limited, ok(&intent())]).await;
    let key = IdempotencyKey::confirm(AttemptId::new());
    let error = client
        .confirm_payment_intent("pi_1", "pm_1", &key, &soon())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotSent { .. }), "{error:?}");
    assert_eq!(server.requests().len(), 1);
    assert_eq!(
        log.lines(),
        ["confirm_payment_intent 429", "confirm_payment_intent too_late"]
    );

    // The next turn comes a second after this one.
    let (server, log) = (TestServer::start([ok(&intent())]).await, Arc::new(Log::default()));
    let client = client_at_rate(&server.base, Duration::from_secs(10), log.clone(), 1);
    client.payment_intent("pi_1").await.unwrap();
    let error = client
        .confirm_payment_intent("pi_1", "pm_1", &key, &soon())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotSent { .. }), "{error:?}");
    assert_eq!(server.requests().len(), 1, "the lookup, and nothing else");
    assert_eq!(
        log.lines(),
        ["retrieve_payment_intent 200", "confirm_payment_intent too_late"]
    );
}

#[tokio::test]
async fn outcome_that_nobody_knows_is_unknown_and_sent_once() {
    let html = Answer(
        502,
        vec![("request-id", "req_gw")],
        "<html>Bad Gateway</html>".into(),
    );
    let broken = Answer(
        500,
        vec![("request-id", "req_500"), ("stripe-should-retry", "true")],
        json!({ "error": { "type": "api_error" } }).to_string(),
    );
    let welcome = Answer(
        200,
        vec![("request-id", "req_html")],
        "<html>Welcome</html>".into(),
    );
    let bare = Answer(
        200,
        vec![("request-id", "req_bare")],
        json!({ "id": "pi_1" }).to_string(),
    );
    let busy = Answer(
        409,
        vec![("request-id", "req_busy")],
        json!({ "error": { "code": "idempotency_key_in_use", "type": "invalid_request_error" } }).to_string(),
    );
    for (reply, request_id) in [
        (html, Some("req_gw")),
        (broken, Some("req_500")),
        (welcome, Some("req_html")),
        (bare, Some("req_bare")),
        (busy, Some("req_busy")),
        (HangUp, None),
        (Cut(r#"{"id":"pi_1","#), Some("req_cut")),
    ] {
        let (server, client, _) = world([reply]).await;
        let key = IdempotencyKey::confirm(AttemptId::new());
        let error = client
            .confirm_payment_intent("pi_1", "pm_1", &key, &permit())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Unknown { .. }), "{error:?}");
        assert_eq!(error.request_id(), request_id, "{error}");
        assert_eq!(server.requests().len(), 1, "{error}");
    }
}

#[tokio::test]
async fn timeout_after_the_request_was_written_is_unknown() {
    let (server, log) = (TestServer::start([Silence]).await, Arc::new(Log::default()));
    let client = client_of(&server.base, Duration::from_millis(300), log.clone());
    let key = IdempotencyKey::confirm(AttemptId::new());
    let error = client
        .confirm_payment_intent("pi_1", "pm_1", &key, &permit())
        .await
        .unwrap_err();
    assert_eq!(
        error,
        Error::Unknown {
            reason: "no answer within the timeout".into(),
            request_id: None
        }
    );
    assert_eq!(
        (server.requests().len(), log.lines()),
        (1, vec!["confirm_payment_intent timed_out".to_owned()])
    );
}

#[tokio::test]
async fn refused_connection_is_not_sent_after_a_few_tries() {
    let server = TestServer::start([Silence]).await;
    let base = server.base.clone();
    drop(server);
    tokio::task::yield_now().await;
    let log = Arc::new(Log::default());
    let client = client_of(&base, Duration::from_secs(5), log.clone());
    let key = IdempotencyKey::create(AttemptId::new());
    let new = CreateIntent {
        amount: usd(1000),
        customer: "cus_1",
        metadata: &[],
    };
    let error = client.create_payment_intent(&new, &key).await.unwrap_err();
    assert!(
        matches!(&error, Error::NotSent { reason, .. } if reason.contains("refused")),
        "{error:?}"
    );
    assert_eq!(log.lines(), vec!["create_payment_intent not_sent"; 4]);
}

#[tokio::test]
async fn failed_read_is_read_again() {
    for first in [
        HangUp,
        Cut("{"),
        Answer(500, vec![], "oops".into()),
        Answer(200, vec![], "oops".into()),
    ] {
        let (server, client, _) = world([first, ok(&intent())]).await;
        assert_eq!(client.payment_intent("pi_1").await.unwrap().id, "pi_1");
        assert_eq!(server.requests().len(), 2);
    }
}

#[tokio::test]
async fn decline_is_an_answer_with_its_request_id() {
    let body = json!({ "error": { "type": "card_error", "code": "card_declined", "decline_code": "do_not_honor",
        "payment_intent": { "id": "pi_1", "status": "requires_payment_method", "amount": 1000, "currency": "usd",
            "created": 1, "client_secret": "pi_1_secret_do_not_print" } } });
    let (_server, client, _) = world([Answer(402, vec![("request-id", "req_402")], body.to_string())]).await;
    let error = client
        .confirm_payment_intent(
            "pi_1",
            "pm_1",
            &IdempotencyKey::confirm(AttemptId::new()),
            &permit(),
        )
        .await;
    let error = error.unwrap_err();
    let Error::Declined(decline) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(decline.request_id.as_deref(), Some("req_402"));
    assert_eq!(decline.intent.as_ref().unwrap().status, "requires_payment_method");
    assert!(!format!("{error} {error:?}").contains("do_not_print"));
}

#[tokio::test]
async fn redirect_is_not_followed_with_our_key() {
    let elsewhere = TestServer::start([ok(&intent())]).await;
    let target: &'static str = Box::leak(elsewhere.base.to_string().into_boxed_str());
    let (_server, client, _) = world([Answer(307, vec![("location", target)], String::new())]).await;
    let error = client
        .confirm_payment_intent(
            "pi_1",
            "pm_1",
            &IdempotencyKey::confirm(AttemptId::new()),
            &permit(),
        )
        .await;
    assert!(matches!(error, Err(Error::Unknown { .. })), "{error:?}");
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn object_of_the_other_mode_is_refused() {
    let mut live = intent();
    live["livemode"] = json!(true);
    let (_server, client, _) = world([ok(&live)]).await;
    let error = client.payment_intent("pi_1").await.unwrap_err();
    assert!(
        matches!(&error, Error::Invalid { code, .. } if code == "livemode_mismatch"),
        "{error:?}"
    );
}

#[tokio::test]
async fn id_that_would_lead_elsewhere_is_not_sent() {
    let (server, client, _) = world([ok(&intent())]).await;
    for id in [
        "",
        "pi_1/confirm",
        "../customers",
        "pi_1?expand=x",
        "pi 1",
        &"p".repeat(256),
    ] {
        let error = client.payment_intent(id).await.unwrap_err();
        assert!(
            matches!(&error, Error::Invalid { code, .. } if code == "malformed_id"),
            "{error:?}"
        );
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_refund_goes_out_with_the_key_and_the_metadata_of_its_row() {
    let made = json!({ "id": "re_1", "amount": 300, "currency": "usd", "charge": "ch_1", "created": 1, "status": "pending",
                       "metadata": { "q_refund": "0199", "number": 7 } });
    let (server, client, log) = world([ok(&made)]).await;
    let id = RefundId::new();
    let metadata = [("q_refund", id.to_string())];
    let new = NewRefund {
        charge: "ch_1",
        amount: usd(300),
        metadata: &metadata,
    };
    let refund = client
        .create_refund(&new, &IdempotencyKey::refund(id), &permit())
        .await
        .unwrap();
    assert_eq!((refund.id.as_str(), refund.status.as_str()), ("re_1", "pending"));
    // What is no text in the metadata is not ours.
    assert_eq!(
        refund.metadata.into_iter().collect::<Vec<_>>(),
        [("q_refund".into(), "0199".into())]
    );
    let request = server.requests().remove(0);
    assert_eq!(
        (request.method.as_str(), request.target.as_str()),
        ("POST", "/v1/refunds")
    );
    assert_eq!(request.header("idempotency-key"), format!("refund:{id}"));
    let named = format!("metadata[q_refund]={id}");
    assert_eq!(
        form(&request),
        ["charge=ch_1", "amount=300", &named].into_iter().collect()
    );
    assert_eq!(log.lines(), ["create_refund 200"]);
}

#[tokio::test]
async fn disputes_of_a_charge_come_with_all_their_movements() {
    let dispute = json!({ "id": "dp_1", "amount": 100, "currency": "usd", "charge": "ch_1", "created": 1, "status": "needs_response",
                          "balance_transactions": ["txn_1"] });
    let list = json!({ "object": "list", "has_more": false, "data": [dispute] });
    let movement =
        json!({ "id": "txn_1", "amount": -100, "fee": 1500, "net": -1600, "currency": "usd", "created": 1 });
    let (server, client, _) = world([ok(&list), ok(&movement)]).await;
    let disputes = client.disputes_of_charge("ch_1").await.unwrap();
    assert_eq!(disputes.len(), 1);
    assert_eq!(disputes[0].balance_transactions[0].id, "txn_1");
    let targets: Vec<_> = server
        .requests()
        .into_iter()
        .map(|request| request.target)
        .collect();
    assert_eq!(
        targets,
        [
            "/v1/disputes?charge=ch_1&limit=100",
            "/v1/balance_transactions/txn_1"
        ]
    );
}

#[tokio::test]
async fn all_pages_of_refunds_are_read() {
    let refund = |id: &str| json!({ "id": id, "amount": 100, "currency": "usd", "charge": "ch_1", "created": 1, "status": "succeeded" });
    let first = json!({ "object": "list", "has_more": true, "data": [refund("re_3"), refund("re_2")] });
    let last = json!({ "object": "list", "has_more": false, "data": [refund("re_1")] });
    let (server, client, _) = world([ok(&first), ok(&last)]).await;
    let refunds = client.refunds_of_charge("ch_1").await.unwrap();
    assert_eq!(
        refunds
            .iter()
            .map(|refund| refund.id.as_str())
            .collect::<Vec<_>>(),
        ["re_3", "re_2", "re_1"]
    );
    let targets: Vec<_> = server
        .requests()
        .into_iter()
        .map(|request| request.target)
        .collect();
    assert_eq!(
        targets,
        [
            "/v1/refunds?charge=ch_1&limit=100",
            "/v1/refunds?charge=ch_1&limit=100&starting_after=re_2"
        ]
    );
}

#[tokio::test]
async fn list_without_an_end_is_given_up() {
    let page =
        json!({ "has_more": true, "data": [{ "id": "re_1", "amount": 1, "currency": "usd", "created": 1 }] });
    let (server, client, _) = world([ok(&page)]).await;
    let error = client.refunds_of_charge("ch_1").await.unwrap_err();
    assert!(
        matches!(&error, Error::Invalid { code, .. } if code == "endless_list"),
        "{error:?}"
    );
    assert_eq!(
        server.requests().len(),
        2,
        "the second page ends where the first did"
    );
}

#[tokio::test]
async fn list_of_too_many_pages_is_not_kept() {
    let page = |n: usize| {
        ok(
            &json!({ "has_more": true, "data": [{ "id": format!("re_{n}"), "amount": 1, "currency": "usd", "created": 1 }] }),
        )
    };
    let (server, client, _) = world((0..102).map(page)).await;
    let error = client.refunds_of_charge("ch_1").await.unwrap_err();
    assert!(
        matches!(&error, Error::Invalid { code, .. } if code == "endless_list"),
        "{error:?}"
    );
    assert_eq!(server.requests().len(), 100);
}

#[tokio::test]
async fn pages_are_asked_for_one_by_one_and_an_error_costs_only_its_page() {
    let refund =
        |id: &str| json!({ "id": id, "amount": 1, "currency": "usd", "created": 1, "status": "succeeded" });
    let first = json!({ "has_more": true, "data": [refund("re_3"), refund("re_2")] });
    let last = json!({ "has_more": false, "data": [refund("re_1")] });
    let broken = Answer(
        400,
        vec![],
        json!({ "error": { "type": "invalid_request_error" } }).to_string(),
    );
    let (server, client, log) = world([ok(&first), broken, ok(&last)]).await;
    let at = |secs| chrono::DateTime::from_timestamp(secs, 999_000_000).unwrap();
    let list = List::refunds()
        .created_from(at(5))
        .created_before(at(9))
        .expand("data.balance_transaction");
    let mut pages = client.pages::<super::Refund>(list);
    assert!(server.requests().is_empty());
    assert_eq!(pages.next().await.unwrap().unwrap().len(), 2);
    assert!(pages.next().await.is_err());
    assert_eq!(pages.next().await.unwrap().unwrap()[0].id, "re_1");
    assert!(pages.next().await.unwrap().is_none());
    let asked = "/v1/refunds?created[gte]=5&created[lt]=9&expand[0]=data.balance_transaction&limit=100";
    let targets: Vec<_> = server
        .requests()
        .into_iter()
        .map(|request| request.target)
        .collect();
    assert_eq!(
        targets,
        [
            asked.to_owned(),
            format!("{asked}&starting_after=re_2"),
            format!("{asked}&starting_after=re_2")
        ]
    );
    assert_eq!(
        log.lines(),
        [
            "list_all_refunds 200",
            "list_all_refunds 400",
            "list_all_refunds 200"
        ]
    );
}

#[tokio::test]
async fn movements_of_a_dispute_that_are_only_ids_are_read_too() {
    let dispute: Value = serde_json::from_str(include_str!("fixtures/dispute.old.json")).unwrap();
    let movement = json!({ "id": "txn_1", "amount": -700, "fee": 1500, "net": -2200, "currency": "eur", "created": 1,
                           "reporting_category": "dispute", "source": "dp_old" });
    let (server, client, _) = world([ok(&dispute), ok(&movement)]).await;
    let dispute = client.dispute("dp_old").await.unwrap();
    assert_eq!(
        dispute
            .balance_transactions
            .iter()
            .map(|m| m.net)
            .collect::<Vec<_>>(),
        [-2200]
    );
    assert!(dispute.unread_balance_transactions.is_empty());
    assert_eq!(server.requests()[1].target, "/v1/balance_transactions/txn_1");
}

#[tokio::test]
async fn calls_may_run_in_any_task() {
    let (server, client, _) = world([ok(&intent())]).await;
    let client = Arc::new(client);
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.payment_intent("pi_1").await })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    assert_eq!(server.requests().len(), 8);
}

#[tokio::test]
async fn client_for_https_can_be_made() {
    let config = StripeConfig {
        secret_key: "sk_live_1".into(),
        api_base: None,
        timeout: Duration::from_secs(20),
    };
    let limiter = Limiter::local(Rates::of(Mode::Live, None));
    assert!(Client::new(&config, limiter, Arc::new(())).is_ok());
}
