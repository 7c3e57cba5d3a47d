//! What the simulator signs, judged by Stripe's own libraries.
use serde_json::json;

use super::listener::Listener;
use super::program::Simulator;
use super::text;
use crate::sdk::Sdk;

const SECRETS: [&str; 2] = ["whsec_one", "whsec_two"];

#[tokio::test]
async fn stripes_libraries_take_what_the_simulator_signs_and_nothing_else() {
    let sdks = Sdk::all();
    if sdks.is_empty() {
        return;
    }
    let listener = Listener::answering(&[]).await;
    let endpoint = ["--webhook-url", &listener.url];
    let secrets = SECRETS.map(|secret| ["--webhook-secret", secret]).concat();
    let sim = Simulator::with(&[&endpoint[..], &secrets].concat()).await;
    sim.paid().await;
    let object = json!({ "id": "prod_1", "object": "product", "name": "Größe \u{1F4A1} \\ \"x\"\n" });
    sim.control("/events", json!({ "type": "product.updated", "object": object }))
        .await;
    let good = listener.wait_for(4).await;
    let last = text(&good[3].event, "id");
    for signature in ["bad", "stale", "missing"] {
        let path = format!("/events/{last}/deliver");
        sim.control(&path, json!({ "signature": signature })).await;
    }
    let all = listener.wait_for(7).await;

    let mut deliveries: Vec<(&str, &str)> = all
        .iter()
        .map(|delivery| (delivery.raw.as_str(), delivery.signature.as_str()))
        .collect();
    // One's signature does not do for another's body.
    deliveries.push((&all[0].raw, &all[1].signature));
    let mut wanted: Vec<Option<String>> = good
        .iter()
        .map(|delivery| Some(text(&delivery.event, "id").to_owned()))
        .collect();
    wanted.resize(deliveries.len(), None);
    for sdk in sdks {
        for secret in SECRETS {
            assert_eq!(sdk.verify(secret, &deliveries), wanted, "{} {secret}", sdk.name);
        }
        let strangers = sdk.verify("whsec_other", &deliveries);
        assert!(strangers.iter().all(Option::is_none), "{}", sdk.name);
    }
}
