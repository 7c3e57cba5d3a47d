//! The stories: short, and together they run every handler. A step waits for nothing but [`Stage::rest`], so that it may be
//! interrupted anywhere.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use futures::future::BoxFuture;
use serde_json::json;
use tests::receivers::Hook;

use super::stage::Stage;
use crate::{acme, acme::Autopay, platform};

/// Clients with cards that do this, charge by charge, and an invoice of a thousand dollars each.
async fn bill(stage: &Stage, cards: &[(&str, &[&str])]) {
    let clients: Vec<&str> = cards.iter().map(|(client, _)| *client).collect();
    acme::open_accounts(&stage.world, cards).await;
    acme::bill(&stage.world, &clients, "usd", "1000.00").await;
    stage.rest().await;
}

/// The invoice is charged at once, the card pays, and Stripe tells so.
pub fn paid(stage: &Stage) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        bill(stage, &[("globex", &[])]).await;
    })
}

/// Two declines; the third try succeeds.
pub fn recovered(stage: &Stage) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        bill(
            stage,
            &[("globex", &["insufficient_funds", "insufficient_funds"])],
        )
        .await;
        stage.advance("3d").await;
        stage.rest().await;
        stage.advance("4d").await;
        stage.rest().await;
    })
}

/// The card pays, the answer breaks off, and no webhook comes: the payment is looked up. The webhooks come later.
pub fn looked_up(stage: &Stage) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        stage.world.sim.pause_webhooks().await.unwrap();
        let lost = json!({ "path": "/v1/payment_intents/*/confirm", "kind": "reset_after" });
        stage.world.sim.fault(lost).await.unwrap();
        bill(stage, &[("globex", &[])]).await;
        stage.world.sim.resume_webhooks().await.unwrap();
        stage.rest().await;
    })
}

/// The bank wants the client to authenticate; the client gives another card instead, which pays.
pub fn authenticated(stage: &Stage) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        bill(stage, &[("globex", &["authenticate"])]).await;
        acme::replace_card(&stage.world, "globex", "pm_globex_2", &[]).await;
        stage.rest().await;
    })
}

/// The card is lost, and the client does nothing for two weeks.
pub fn given_up(stage: &Stage) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        bill(stage, &[("globex", &["lost_card"])]).await;
        stage.advance("15d").await;
        stage.rest().await;
    })
}

/// The card is lost. Another one is asked for as the portal does it, by a job that names it, and pays.
pub fn card_named(stage: &Stage) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        bill(stage, &[("globex", &["lost_card"])]).await;
        let card = stage
            .world
            .sim
            .customer_with_card("cus_globex", "pm_globex_2", &[]);
        card.await.unwrap();
        let order = "insert into jobs (id, firm_id, queue, kind, dedupe_key, payload, run_at, created_at)
                     select '00000000-0000-4000-8000-00000000000a', firm_id, 'maintenance', 'attach_card', 'by the portal',
                            jsonb_build_object('client_id', id, 'payment_method', 'pm_globex_2', 'charge_it', true, 'asked_by', 'ada'),
                            app.now(), app.now() from clients where external_id = 'globex'";
        sqlx::query(order).execute(&stage.world.db).await.unwrap();
        stage.rest().await;
    })
}

/// A part of what was paid goes back to the card, by command; another part from the dashboard.
pub fn refunded(stage: &Stage) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        bill(stage, &[("globex", &[])]).await;
        let order = [
            "invoice",
            "refund",
            "globex-1",
            "--amount",
            "300",
            "--to",
            "card",
            "--reason",
            "unused",
            "--no-wait",
        ];
        stage.world.json(&order).await;
        stage.rest().await;
        let intent = acme::intent(&stage.world, "globex").await.0;
        let order = json!({ "payment_intent": intent, "amount": 5_000 });
        stage.world.sim.post("/refunds", order).await.unwrap();
        stage.rest().await;
    })
}

/// One client's chargeback is won, another's is lost.
pub fn disputed(stage: &Stage) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        bill(stage, &[("won", &[]), ("lost", &[])]).await;
        for (client, action) in [("won", "win"), ("lost", "lose")] {
            let intent = acme::intent(&stage.world, client).await.0;
            let order = json!({ "payment_intent": intent, "kind": "chargeback" });
            let dispute = stage.world.sim.post("/disputes", order).await.unwrap();
            stage.rest().await;
            let path = format!("/disputes/{}", dispute["id"].as_str().unwrap());
            for action in ["under_review", action] {
                stage
                    .world
                    .sim
                    .post(&path, json!({ "action": action }))
                    .await
                    .unwrap();
            }
            stage.rest().await;
        }
    })
}

/// One invoice is voided while its payment is being processed, which then fails; another while a retry waits; of a third,
/// automatic payment is switched off.
pub fn voided(stage: &Stage) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let poor = ["insufficient_funds"];
        bill(
            stage,
            &[("bank", &["processing"]), ("waits", &poor), ("off", &poor)],
        )
        .await;
        for invoice in ["bank-1", "waits-1"] {
            let void = [
                "invoice",
                "void",
                invoice,
                "--reason",
                "billed twice",
                "--no-wait",
            ];
            stage.world.json(&void).await;
        }
        acme::switch_autopay(&stage.world, "off", Autopay::Off).await;
        stage.rest().await;
        acme::end_processing(&stage.world, "bank", "insufficient_funds").await;
        stage.rest().await;
        stage.advance("11m").await;
        stage.rest().await;
    })
}

/// Credit pays a part of a generated invoice, the card pays the rest.
pub fn generated(stage: &Stage) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let world = &stage.world;
        acme::open_accounts(world, &[("globex", &[])]).await;
        let mut document = acme::document(&["globex"]);
        document["engagements"] = json!([{
            "external_id": "globex-work", "client": "globex", "pricing_mode": "package", "currency": "usd", "package_fee": "500.00",
            "package_fee_schedule": "monthly", "starts_on": acme::today(world).await, "signed": true,
        }]);
        world.import(&document).await;
        world
            .json(&[
                "credit", "issue", "globex", "--amount", "120", "--reason", "spring",
            ])
            .await;
        world.json(&["generate-package-invoices", "--no-wait"]).await;
        stage.rest().await;
    })
}

/// Credit is given until the next day, and nobody uses it.
pub fn credit_expired(stage: &Stage) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let world = &stage.world;
        world.import(&acme::document(&["globex"])).await;
        let tomorrow = world
            .texts("select ((app.now() at time zone 'UTC')::date + 1)::text")
            .await;
        world
            .json(&[
                "credit",
                "issue",
                "globex",
                "--amount",
                "120",
                "--reason",
                "spring",
                "--expires-on",
                &tomorrow[0],
            ])
            .await;
        stage.advance("15h").await;
        stage.rest().await;
    })
}

/// A firm becomes a customer of the platform and subscribes; its card is declined, and half a day later somebody looks again.
pub fn subscribed(stage: &Stage) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let world = &stage.world;
        platform::prices(world).await;
        platform::firms(world, &["acme"]).await;
        let create = [
            "platform",
            "customer",
            "create",
            "acme",
            "--reason",
            "signed",
            "--no-wait",
        ];
        world.json(&create).await;
        stage.rest().await;
        let customer = "select stripe_customer_id from platform_customers";
        let customer = world.texts(customer).await.concat();
        let card =
            json!({ "id": "pm_of_acme", "customer": customer, "script": ["insufficient_funds", "..."] });
        world.sim.tell("/payment_methods", card).await;
        let pays = json!({ "payment_method": "pm_of_acme" });
        world.sim.tell(&format!("/customers/{customer}/card"), pays).await;
        let subscribe = [
            "platform",
            "subscribe",
            "acme",
            "PRO",
            "--reason",
            "signed",
            "--no-wait",
        ];
        world.json(&subscribe).await;
        stage.rest().await;
        stage.advance("13h").await;
        stage.rest().await;
    })
}

/// Somebody of the platform looks into the firm for an hour.
pub fn glass_expired(stage: &Stage) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let world = &stage.world;
        world.import(&acme::document(&["globex"])).await;
        world
            .json(&[
                "break-glass",
                "open",
                "--firm-id",
                "acme",
                "--reason",
                "ticket 17",
                "--expires-in",
                "30m",
                "--by",
                "alice",
            ])
            .await;
        stage.advance("31m").await;
        stage.rest().await;
    })
}

/// An alert is told by webhook: at least once, and always as the same delivery.
pub fn alert_told(stage: &Stage) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let world = &stage.world;
        let hook = Hook::start().await.unwrap();
        world.import(&acme::document(&["globex"])).await;
        let add = [
            "alert",
            "destination",
            "add",
            "--firm-id",
            "acme",
            "--webhook",
            hook.url(),
            "--reason",
            "on-call",
        ];
        world.json(&add).await;
        world
            .json(&[
                "alert",
                "raise",
                "--firm-id",
                "acme",
                "--type",
                "AGENT_OFFLINE",
                "--severity",
                "critical",
                "--title",
                "Agent offline",
                "--message",
                "No sign of life.",
                "--dedupe-key",
                "agent:1",
            ])
            .await;
        stage.rest().await;
        let posted = hook.posted();
        assert!(!posted.is_empty() && posted.len() <= 2, "{posted:?}");
        assert!(
            posted.iter().all(|post| post.delivery == posted[0].delivery),
            "{posted:?}"
        );
        let told = world
            .texts("select concat_ws(' ', edge, state) from alert_deliveries")
            .await;
        assert_eq!(told, ["opened delivered"]);
    })
}

/// A paid invoice; over a week later every schedule has caught up, and what is old is gone.
pub fn a_week_later(stage: &Stage) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        bill(stage, &[("globex", &[])]).await;
        stage.advance("8d").await;
        stage.rest().await;
        let verified = stage.world.cli(&["audit", "verify"]).await;
        assert_eq!(verified.code, 0, "{verified}");
    })
}
