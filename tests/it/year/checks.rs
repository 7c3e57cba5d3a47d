//! What must hold after every day, and what the year came to. All of it is read in the database and in the simulator's books.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tests::world::World;

use super::expected::Expected;
use crate::acme;

/// Every period that has, or had, an invoice.
const PERIODS: &str = "
    select format('%s %s..%s %s fee %s hours %s', e.external_id, b.period_start, b.period_end,
                  case when b.released_at is not null then 'released' when i.doc_state = 'void' then 'void' else 'live' end,
                  coalesce(sum(l.amount_minor) filter (where l.kind = 'package_fee'), 0), count(*) filter (where l.kind = 'hourly'))
      from billing_periods b join engagements e on e.id = b.engagement_id join invoices i on i.id = b.invoice_id
      join invoice_lines l on l.invoice_id = i.id
     group by e.external_id, b.engagement_id, b.period_start, b.period_end, b.generation, b.released_at, i.id, i.doc_state";

/// What waits, or has waited, for a person, and is on record for it.
const WAITS: &str = "
    select distinct e.external_id || ' ' || d.reason_code from decisions d join engagements e on e.id = d.subject_id
     where d.kind = 'generate_package' and d.outcome = 'skip'
       and d.reason_code in ('renewal_overlap_needs_choice', 'catch_up_needs_approval')";

/// What the facts and the ledger say, in the words of the simulator's books.
const MONEY: &str = "
    select 'captured_minor ' || currency || ' ' || sum(amount_minor) from payments where method = 'stripe' group by currency
    union all
    select 'refunded_minor ' || currency || ' ' || sum(amount_minor) from refunds
     where destination = 'card' and state = 'succeeded' group by currency
    union all
    select 'disputed_net_minor ' || currency || ' ' || sum(case when kind in ('withdrawn', 'fee') then -amount_minor else amount_minor end)
      from dispute_movements group by currency
    union all
    select 'balance_net_minor ' || currency || ' ' || sum(amount_minor) from postings where account = 'stripe_clearing' group by currency";

/// After every day: the books balance (P9), what Stripe captured, gave back and lost to disputes is what the ledger has, and no
/// period is billed twice or missed.
pub async fn after_the_day(world: &World, expected: &Expected, day: u32) {
    let (_, money, totals, periods, invoices, waits) = futures::join!(
        world.assert_books_balance(),
        world.texts(MONEY),
        world.sim.get("/books/totals"),
        world.texts(PERIODS),
        world.count("select count(*) from invoices"),
        world.texts(WAITS),
    );
    let ours: BTreeSet<String> = money.into_iter().filter(|row| is_money(row)).collect();
    assert_eq!(
        ours,
        of_totals(&totals.unwrap()),
        "day {day}: our money, and Stripe's"
    );

    let mut found: BTreeMap<String, u32> = BTreeMap::new();
    for row in periods {
        *found.entry(row).or_default() += 1;
    }
    let wanted = expected.periods();
    let differ = |one: &BTreeMap<String, u32>, other: &BTreeMap<String, u32>| -> Vec<String> {
        let rows = one.iter().filter(|(row, times)| other.get(*row) != Some(times));
        rows.map(|(row, times)| format!("{times} × {row}")).collect()
    };
    let (missing, unasked) = (differ(&wanted, &found), differ(&found, &wanted));
    assert!(
        missing.is_empty() && unasked.is_empty(),
        "day {day}: periods that should be there: {missing:#?}\nthat are there instead: {unasked:#?}"
    );
    assert_eq!(
        invoices,
        expected.invoices(),
        "day {day}: invoices of periods, and made by hand"
    );
    let waits: BTreeSet<String> = waits.into_iter().collect();
    assert_eq!(waits, expected.waits, "day {day}: what waits for a person");
}

/// The lines of [`MONEY`], as the simulator has them. Stripe takes a refund from the balance when it is made, and we book it when
/// it has arrived.
fn of_totals(totals: &Value) -> BTreeSet<String> {
    [
        "captured_minor",
        "refunded_minor",
        "disputed_net_minor",
        "balance_net_minor",
    ]
    .iter()
    .flat_map(|what| {
        let sums = totals[what].as_object().unwrap();
        sums.iter().map(move |(currency, minor)| {
            let on_its_way = match *what {
                "balance_net_minor" => totals["refunds_pending_minor"][currency].as_i64().unwrap_or(0),
                _ => 0,
            };
            format!("{what} {currency} {}", minor.as_i64().unwrap() + on_its_way)
        })
    })
    .filter(|row| is_money(row))
    .collect()
}

/// Nothing at all may be a row or none.
fn is_money(row: &str) -> bool {
    !row.ends_with(" 0")
}

/// At the end: every charge is a payment, once; nobody paid more than was owed without its being credit; every name of the audit
/// is known; and the commands that prove it say so.
pub async fn at_the_end(world: &World) {
    let clients = world.texts("select external_id from clients").await;
    let clients: Vec<&str> = clients.iter().map(String::as_str).collect();
    acme::assert_books_agree_but_for(world, &clients).await;
    let owed = world
        .texts("select id::text from invoice_status where open_minor < 0")
        .await;
    assert!(
        owed.is_empty(),
        "paid beyond what was open, and no credit for it: {owed:?}"
    );
    assert!(
        world.count("select count(*) from recon_runs").await > 0,
        "nothing was compared with Stripe's lists"
    );
    assert_eq!(
        world.texts("select kind from recon_findings").await,
        Vec::<String>::new(),
        "what differs from Stripe's lists"
    );
    world.assert_audit_names().await;
    assert_eq!(world.json(&["ledger", "check"]).await["ok"], true);
    assert_eq!(world.cli(&["audit", "verify"]).await.code, 0);
    let left = "select kind || ' ' || coalesce(last_error, '') from jobs where state = 'discarded'";
    assert_eq!(
        world.texts(left).await,
        Vec::<String>::new(),
        "jobs that a person must look at"
    );
    let parked = "select type || ' ' || coalesce(state_reason, '') from stripe_events where state not in ('applied', 'ignored')";
    assert_eq!(
        world.texts(parked).await,
        Vec::<String>::new(),
        "events that found nothing"
    );
}

/// What the year held, for people.
pub async fn tally(world: &World) -> String {
    let counts = [
        ("invoices", "select count(*) from invoices"),
        ("charges", "select count(*) from payments where method = 'stripe'"),
        (
            "declines",
            "select count(*) from payment_attempts where state = 'declined'",
        ),
        (
            "exhausted",
            "select count(*) from collection_cycles where state = 'exhausted'",
        ),
        ("refunds", "select count(*) from refunds"),
        ("disputes", "select count(*) from disputes"),
        ("credits", "select count(*) from credit_lots"),
        ("credit uses", "select count(*) from credit_applications"),
        ("voids", "select count(*) from invoices where doc_state = 'void'"),
        (
            "write-offs",
            "select count(*) from invoices where doc_state = 'written_off'",
        ),
        (
            "transfers",
            "select count(*) from payments where method = 'external'",
        ),
        ("renewals", "select count(*) from engagements where version > 1"),
        ("hours", "select count(*) from time_entries"),
        ("events", "select count(*) from stripe_events"),
        ("journals", "select count(*) from journals"),
    ];
    let mut told = Vec::new();
    for (what, sql) in counts {
        told.push(format!("{} {what}", world.count(sql).await));
    }
    told.join(", ")
}
