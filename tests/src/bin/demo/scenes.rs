//! The story: seven customers, two weeks. Each scene does one thing, and says what the books must show after it.

use std::time::Duration;

use ::tests::world::{Cli, Error, Result, Sim};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    document::Document,
    narrate, say,
    snapshot::{self, Books},
};

/// How long the programs may take to bring the books to where a scene ends.
const SCENE_LIMIT: Duration = Duration::from_secs(60);

/// What each card does, charge by charge; a card that is not listed pays.
const CARDS: [(&str, &[&str]); 3] = [
    (
        "initech",
        &["insufficient_funds", "insufficient_funds", "succeed"],
    ),
    (
        "umbrella",
        &[
            "insufficient_funds",
            "insufficient_funds",
            "insufficient_funds",
            "insufficient_funds",
        ],
    ),
    ("hooli", &["lost_card"]),
];

/// Something that the outside world does.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// The firm's engagements are imported and billed.
    Bill,
    /// Cardholders of these clients go to their banks.
    Dispute(&'static [&'static str]),
    /// Nothing but time passes.
    Wait,
    /// The card network replaces this client's card.
    ReplaceCard(&'static str),
    /// The banks decide: `win` or `lose`.
    Decide(&'static [(&'static str, &'static str)]),
}

/// What an invoice must show: client, status, state of its autopay, tries so far.
type Expected = (&'static str, &'static str, &'static str, usize);

struct Scene {
    day: u32,
    title: &'static str,
    act: Act,
    expected: &'static [Expected],
}

const SCENES: [Scene; 6] = [
    Scene {
        day: 0,
        title: "the retainers are billed, and every card on file is charged",
        act: Act::Bill,
        expected: &[
            ("globex", "paid", "succeeded", 1),
            ("initech", "failed", "retry_wait", 1),
            ("umbrella", "failed", "retry_wait", 1),
            ("hooli", "failed", "method_required", 1),
            ("stark", "paid", "succeeded", 1),
            ("wayne", "paid", "succeeded", 1),
            ("soylent", "sent", "none", 0),
        ],
    },
    Scene {
        day: 1,
        title: "two cardholders dispute what they paid",
        act: Act::Dispute(&["stark", "wayne"]),
        expected: &[
            ("stark", "disputed", "succeeded", 1),
            ("wayne", "disputed", "succeeded", 1),
        ],
    },
    Scene {
        day: 3,
        title: "the first retries",
        act: Act::Wait,
        expected: &[
            ("initech", "failed", "retry_wait", 2),
            ("umbrella", "failed", "retry_wait", 2),
        ],
    },
    Scene {
        day: 5,
        title: "the card network reports a new card for the lost one",
        act: Act::ReplaceCard("hooli"),
        expected: &[("hooli", "paid", "succeeded", 2)],
    },
    Scene {
        day: 7,
        title: "the second retries, and the banks have decided",
        act: Act::Decide(&[("stark", "lose"), ("wayne", "win")]),
        expected: &[
            ("initech", "paid", "succeeded", 3),
            ("umbrella", "failed", "retry_wait", 3),
            ("stark", "charged_back", "succeeded", 1),
            ("wayne", "paid", "succeeded", 1),
        ],
    },
    Scene {
        day: 14,
        title: "the last retry",
        act: Act::Wait,
        expected: &[("umbrella", "failed", "exhausted", 4)],
    },
];

/// Plays all scenes and returns the books as they are in the end.
pub(crate) async fn play(cli: &Cli, sim: &Sim, document: &Document) -> Result<Books> {
    open_accounts(sim, document).await?;
    let clients = document.clients();
    let mut books = Books::new();
    let mut day = 0;
    for scene in SCENES {
        if scene.day > day {
            // From the moment it is now, so that what fell due a day after some event is due for certain.
            cli.json(&["clock", "advance", &format!("{}d", scene.day - day)])
                .await?;
            day = scene.day;
        }
        let today = snapshot::now(cli).await?;
        say(&format!("\nDay {day}, {}: {}", narrate::day(today), scene.title));
        act(cli, sim, document, &books, scene.act).await?;
        let after = reach(cli, document, scene.expected).await?;
        for (id, client) in &clients {
            let Some(invoice) = after.get(id) else { continue };
            for sentence in narrate::changes(&client.name, books.get(id), invoice) {
                say(&format!("  · {sentence}"));
            }
        }
        books = after;
    }
    Ok(books)
}

/// At Stripe: the customers and their cards, as the sample names them.
async fn open_accounts(sim: &Sim, document: &Document) -> Result<()> {
    for (id, client) in document.clients() {
        let script = CARDS
            .iter()
            .find(|(sample_id, _)| document.id(sample_id) == id)
            .map_or(&[][..], |(_, script)| script);
        if let (Some(customer), Some(card)) = (client.customer, client.card) {
            sim.customer_with_card(&customer, &card, script).await?;
        }
    }
    Ok(())
}

async fn act(cli: &Cli, sim: &Sim, document: &Document, books: &Books, act: Act) -> Result<()> {
    match act {
        Act::Bill => {
            say("  $ quittance import sample.json");
            cli.run_with_input(&["import", "-"], &document.json().to_string())
                .await?
                .success()?;
            say("  $ quittance generate-package-invoices");
            cli.json(&["generate-package-invoices"]).await?;
        }
        Act::Wait => {
            say("  $ quittance process-recurring-charges");
            cli.json(&["process-recurring-charges"]).await?;
        }
        Act::Dispute(clients) => {
            for client in clients {
                let intent = intent_of(books, &document.id(client))?;
                sim.post(
                    "/disputes",
                    json!({ "payment_intent": intent, "kind": "chargeback" }),
                )
                .await?;
            }
        }
        Act::ReplaceCard(client) => {
            let card = document
                .clients()
                .remove(&document.id(client))
                .and_then(|client| client.card);
            let path = format!("/payment_methods/{}/update", card.unwrap_or_default());
            let new = json!({ "exp_month": 6, "exp_year": 2036, "last4": "1111", "script": ["succeed"] });
            sim.post(&path, new).await?;
        }
        Act::Decide(decisions) => {
            for (client, action) in decisions {
                let dispute = books
                    .get(&document.id(client))
                    .and_then(|invoice| invoice.disputes.first())
                    .ok_or_else(|| Error::Setup(format!("{client} has no dispute")))?;
                sim.post(&format!("/disputes/{}", dispute.id), json!({ "action": action }))
                    .await?;
            }
            say("  $ quittance process-recurring-charges");
            cli.json(&["process-recurring-charges"]).await?;
        }
    }
    Ok(())
}

fn intent_of(books: &Books, client: &str) -> Result<String> {
    books
        .get(client)
        .and_then(|invoice| invoice.attempts.last()?.stripe_payment_intent_id.clone())
        .ok_or_else(|| Error::Setup(format!("{client} has paid nothing that could be disputed")))
}

/// Waits until the books show what the scene ends with.
async fn reach(cli: &Cli, document: &Document, expected: &[Expected]) -> Result<Books> {
    let deadline = Instant::now() + SCENE_LIMIT;
    loop {
        let books = snapshot::take(cli, &document.id("acme")).await?;
        let missing = expected
            .iter()
            .filter_map(|expected| difference(document, &books, expected))
            .collect::<Vec<_>>();
        if missing.is_empty() {
            return Ok(books);
        }
        if Instant::now() >= deadline {
            return Err(Error::Late(format!(
                "the books are not where they should be after {SCENE_LIMIT:?}:\n  {}",
                missing.join("\n  ")
            )));
        }
        sleep(Duration::from_millis(300)).await;
    }
}

fn difference(document: &Document, books: &Books, expected: &Expected) -> Option<String> {
    let (client, status, autopay, tries) = *expected;
    let Some(invoice) = books.get(&document.id(client)) else {
        return Some(format!("{client}: no invoice"));
    };
    let same =
        invoice.status == status && invoice.autopay.state == autopay && invoice.attempts.len() == tries;
    (!same).then(|| {
        format!(
            "{client}: expected {status}, autopay {autopay}, {tries} tries; found {}, {}, {}",
            invoice.status,
            invoice.autopay.state,
            invoice.attempts.len()
        )
    })
}
