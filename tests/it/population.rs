//! Two firms to whom everything has happened that can happen to a firm, so that every table has rows of both: for tests that go
//! over the whole schema. All of it comes about by commands and by what Stripe reports; names end with the firm's.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tests::world::{Login, World};
use uuid::Uuid;

use crate::{
    acme,
    cast::{self, Payer},
    platform,
};

/// Their names.
pub const FIRMS: [&str; 2] = ["north", "south"];

/// Clients of each with a card, and what it does. Each has an invoice of 100.00 dollars, `inv-NAME`.
const PAYERS: [(&str, &[&str]); 6] = [
    ("payer", &[]),
    ("loser", &[]),
    ("again", &[]),
    ("contested", &[]),
    (
        "broke",
        &["insufficient_funds", "insufficient_funds", "insufficient_funds"],
    ),
    ("dropped", &["insufficient_funds"]),
];

/// For a scheduler that looks at the clock once a second.
const TICKS_WITHIN: Duration = Duration::from_secs(20);

/// Has it all happen; the worker is gone afterwards, so that nothing changes any more. Returns the firms' ids.
pub async fn two_firms(world: &mut World) -> [Uuid; 2] {
    acme::bill_by_hand_only(world).await;
    let mut payers = Vec::new();
    for firm in FIRMS {
        for (name, script) in PAYERS {
            let payer = Payer::of(firm, &format!("{name}{firm}"));
            let card = world.sim.customer_with_card(&payer.customer, &payer.card, script);
            card.await.unwrap();
            payers.push(payer);
        }
    }
    world.import(&cast::document(&payers)).await;
    let today = acme::today(world).await;
    for firm in FIRMS {
        world.import(&house(firm, &today)).await;
    }
    world.settle().await;
    world.json(&["generate-package-invoices"]).await;
    for firm in FIRMS {
        destinations(world, firm).await;
        disputes(world, firm).await;
        // Before there is credit, which a new invoice would use up.
        engagements(world, firm).await;
        corrections(world, firm).await;
        break_glass(world, firm, Login::Operator.name()).await;
        portal(world, firm).await;
    }
    platform_billing(world).await;
    world.settle().await;
    // At noon: what expires does so from 02:00 of the firm's own day on, whenever this is run.
    acme::go_to(
        world,
        "date_trunc('day', app.now(), 'UTC') + interval '3 days 12 hours'",
    )
    .await;
    let expired = "select count(*) from credit_expiries";
    world.until(expired, 2, TICKS_WITHIN).await;
    world.settle().await;
    world.json(&["audit", "seal"]).await;
    // Nobody seals what comes last.
    assert_eq!(world.sigterm(0).await, 0);
    let mut ids = Vec::new();
    for firm in FIRMS {
        give(world, firm, "1.00", &[]).await;
        let off = [
            "platform",
            "auto-renewal",
            firm,
            "off",
            "--reason",
            "leaves",
            "--no-wait",
        ];
        world.json(&off).await;
        break_glass(world, firm, Login::Operator.name()).await;
        let id = format!("select id::text from firms where external_id = '{firm}'");
        let id = world.texts(&id).await.concat();
        difference(world, &id).await;
        ids.push(id.parse().unwrap());
    }
    [ids[0], ids[1]]
}

/// A firm's people, a client without a card, and what was agreed with it, worked for it and billed to it.
fn house(firm: &str, today: &str) -> Value {
    let named = |what: &str| format!("{what}-{firm}");
    let hour = |name: &str, engagement: &str, state: &str| {
        let mut hour = json!({
            "external_id": named(name), "engagement": engagement, "worker": "w1", "worked_on": today, "minutes": 60, "state": state,
        });
        if state == "approved" {
            hour["approved_by"] = json!(named("ada"));
        }
        hour
    };
    let terms = |name: &str, mode: &str, signed: bool| {
        json!({
            "external_id": named(name), "client": named("plain"), "pricing_mode": mode, "currency": "usd", "hourly_rate": "60",
            "starts_on": today, "signed": signed,
        })
    };
    let mut work = terms("work", "mixed", true);
    work["package_fee"] = json!("100.00");
    work["package_fee_schedule"] = json!("annual");
    work["period_anchor"] = json!("anniversary");
    let open = |name: &str| {
        json!({
            "external_id": named(name), "client": named("plain"), "engagement": named("work"), "currency": "usd",
            "issue_date": today, "due_date": "2099-12-31", "autopay_opt_in": false, "lines": [{"kind": "hourly", "amount": "50.00"}],
        })
    };
    let else_where = format!("eng-payer{firm}");
    json!({
        "clients": [{"external_id": named("plain"), "firm": firm, "name": "Plain"}],
        "users": [{"external_id": named("ada"), "firm": firm, "name": "Ada", "role": "admin"},
                  {"external_id": named("sam"), "firm": firm, "name": "Sam", "role": "staff"},
                  {"external_id": named("ceo"), "firm": firm, "name": "Ceo", "role": "client", "client": named("plain")}],
        "engagements": [work, terms("hours", "hourly", true), terms("draft", "hourly", false)],
        "time_entries": [hour("billed", &named("hours"), "approved"), hour("else", &else_where, "approved"),
                         hour("fresh", &named("hours"), "draft"), hour("refused", &named("hours"), "rejected")],
        "invoices": [open("open"), open("wired"), open("credited"), open("lent")],
    })
}

/// A webhook that is told of nothing that happens here, and a mailbox, for which there is no mail server.
async fn destinations(world: &World, firm: &str) {
    let (url, address) = (
        format!("https://{firm}.example.com/hook"),
        format!("alerts@{firm}.example.com"),
    );
    for place in [
        ["--webhook", &url, "--type", "POLICY_CHANGED"],
        ["--email", &address, "--min-severity", "info"],
    ] {
        let add = [
            "alert",
            "destination",
            "add",
            "--firm-id",
            firm,
            "--reason",
            "on-call",
        ];
        world.json(&[&add[..], &place].concat()).await;
    }
}

/// Gives the client without a card credit.
pub async fn give(world: &World, firm: &str, amount: &str, more: &[&str]) {
    let client = format!("plain-{firm}");
    let mut order = vec![
        "credit", "issue", &client, "--amount", amount, "--reason", "spring",
    ];
    order.extend(more);
    world.json(&order).await;
}

/// One dispute is lost and given up, one lost and billed again, one open.
async fn disputes(world: &World, firm: &str) {
    for (name, ends) in [
        ("loser", Some("--write-off")),
        ("again", Some("--rebill")),
        ("contested", None),
    ] {
        let payer = Payer::of(firm, &format!("{name}{firm}"));
        let order = json!({ "payment_intent": payer.intent(world).await, "kind": "chargeback" });
        let dispute = world.sim.post("/disputes", order).await.unwrap();
        let dispute = dispute["id"].as_str().unwrap();
        if ends.is_some() {
            let lose = json!({ "action": "lose" });
            world
                .sim
                .post(&format!("/disputes/{dispute}"), lose)
                .await
                .unwrap();
        }
        world.settle().await;
        if let Some(how) = ends {
            world
                .json(&["dispute", "resolve", dispute, how, "--reason", "small"])
                .await;
        }
    }
}

/// Each firm's own subscription: refused without a card, paid with one; what it uses, and a link to Stripe's page.
async fn platform_billing(world: &World) {
    platform::prices(world).await;
    for firm in FIRMS {
        platform::customer(world, firm, &[]).await;
        let unknown = ["platform", "subscribe", firm, "PRO", "--reason", "signed"];
        let no_card =
            json!({"method": "POST", "path": "/v1/subscriptions", "kind": "404", "nth": 1, "times": 1});
        world.sim.fault(no_card).await.unwrap();
        assert_eq!(world.cli(&unknown).await.code, 1);
        world.json(&unknown).await;
        world
            .json(&["platform", "usage", firm, "--report", "agents=3"])
            .await;
        let back = "https://app.example/";
        world
            .json(&["platform", "link", firm, "--return-url", back, "--reason", "card"])
            .await;
    }
}

/// Refunds to a card and to credit, money from elsewhere, more than was open; credit that comes back from a void, credit that
/// stays where it was applied, and credit that expires; a void that waits for Stripe.
async fn corrections(world: &World, firm: &str) {
    let named = |what: &str| format!("{what}-{firm}");
    let paid = format!("inv-payer{firm}");
    for to in ["card", "credit"] {
        let refund = [
            "invoice", "refund", &paid, "--amount", "1.00", "--to", to, "--reason", "unused",
        ];
        world.json(&refund).await;
    }
    let reference = named("transfer");
    let wire = [
        "invoice",
        "pay-external",
        &named("wired"),
        "--amount",
        "60.00",
        "--reference",
        &reference,
    ];
    world.json(&wire).await;
    for invoice in ["open", "credited"] {
        let apply = ["credit", "apply", &named(invoice), "--amount", "2.00"];
        world.json(&apply).await;
    }
    for invoice in [named("open"), format!("inv-dropped{firm}")] {
        world
            .json(&["invoice", "void", &invoice, "--reason", "made in error"])
            .await;
    }
    let tomorrow = "select ((app.now() at time zone 'UTC')::date + 1)::text";
    let tomorrow = world.texts(tomorrow).await.concat();
    give(world, firm, "3.00", &["--expires-on", &tomorrow]).await;
}

/// Terms that are renewed, and time and an amount on invoices.
async fn engagements(world: &World, firm: &str) {
    let hours = format!("hours-{firm}");
    let bill = ["invoice", "create", "--engagement", &hours, "--issue"];
    world.json(&bill).await;
    let draft = ["invoice", "create", "--engagement", &hours, "--amount", "5.00"];
    world.json(&draft).await;
    let end = [
        "engagement",
        "end",
        &hours,
        "--on",
        "2099-01-01",
        "--reason",
        "renewal",
    ];
    world.json(&end).await;
    world
        .json(&["engagement", "renew", &hours, "--ends-on", "2100-01-01"])
        .await;
}

/// A reconciliation that found something. Nothing of the above leaves a difference, so it is written down here.
pub async fn difference(world: &World, firm: &str) {
    let mut tx = world.db.begin().await.unwrap();
    for sql in [
        format!("select set_config('app.firm_id', '{firm}', true)"),
        format!(
            "with run as (
               insert into recon_runs (firm_id, id, since, until, objects, findings, run_at, cause)
               values ('{firm}', gen_random_uuid(), now(), now(), 0, 1, now(), 'test') returning firm_id, id)
             insert into recon_findings (firm_id, id, run_id, kind, layer, subject, ours, found_at, seen_at)
             select firm_id, gen_random_uuid(), id, 'amount_differs', 'L1', 'invented', '{{}}', now(), now() from run"
        ),
    ] {
        tx.execute(AssertSqlSafe(sql)).await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// A user who has logged in to the portal, a token, and a write under a key. No portal runs, so what one would write is written down.
async fn portal(world: &World, firm: &str) {
    let user = format!("ada-{firm}");
    let password = ["user", "password", &user, "--login", &user, "--stdin"];
    let done = world
        .command()
        .run_with_input(&password, "correct horse battery")
        .await;
    done.unwrap().success().unwrap();
    let token = [
        "user",
        "token",
        "create",
        "--firm-id",
        firm,
        "--role",
        "admin",
        "--name",
        "ci",
        "--expires-in",
        "1d",
    ];
    world.json(&token).await;
    let firm = format!("(select id from firms where external_id = '{firm}')");
    for sql in [
        format!(
            "insert into portal_sessions (id, firm_id, login_id, token_sha256, created_at, seen_at, expires_at)
             select gen_random_uuid(), firm_id, id, sha256(id::text::bytea), now(), now(), now() + interval '1 hour' from logins
              where firm_id = {firm}"
        ),
        format!(
            "insert into idempotency_keys values (gen_random_uuid(), {firm}, 'person:ada', 'key', sha256('x'), 200, '{{}}', now())"
        ),
    ] {
        world.db.execute(AssertSqlSafe(sql)).await.unwrap();
    }
}

/// Somebody looks into a firm under break-glass. Returns the session.
async fn break_glass(world: &World, firm: &str, operator: &str) {
    let open = [
        "break-glass",
        "open",
        "--firm-id",
        firm,
        "--reason",
        "ticket 17",
        "--expires-in",
        "24h",
        "--by",
        operator,
    ];
    let session = world.json(&open).await;
    let enter = format!("select app.break_glass('{}')", session["id"].as_str().unwrap());
    let mut conn = PgConnection::connect(&world.database_url(Login::Operator))
        .await
        .unwrap();
    conn.execute(AssertSqlSafe(enter)).await.unwrap();
}
