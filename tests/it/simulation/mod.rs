//! The whole service against the simulator, with a seed that decides what goes wrong; docs/SIMULATION.md is its page.
//!
//! The plan follows from the seed (`plan`), and so does the trouble of every call and event (the simulator's chaos). How the
//! processes interleave does not: a seed that fails is tried again, and fails again where the trouble and not the timing is
//! to blame.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests"
)]

mod faults;
pub mod invariants;
mod kills;
mod outages;
mod plan;
pub mod settings;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use serde_json::{Value, json};
use tests::world::{World, WorldOptions};
use tokio::time::Instant;

use self::{
    plan::{Draw, Plan},
    settings::{Budget, Figures},
};
use crate::{
    acme,
    cast::{self, AMOUNT_MINOR, Payer},
};

/// For work to be done, on a machine that may have two cores and many other things to do.
const PATIENCE: Duration = Duration::from_secs(180);

/// Long enough for the jobs before a strike; what takes longer is struck all the same.
const BEFORE_STRIKE: Duration = Duration::from_millis(1500);

/// Periods of the business clock until even the last retry has come, and the last thing to be looked up.
const PERIODS: [&str; 6] = ["2h", "3d", "4d", "7d", "2d", "7d"];

#[tokio::test]
async fn load_simulation_of_seeds_charges_nobody_twice_and_loses_nothing() {
    let budget = Budget::from_env();
    let (began, mut figures, mut runs, mut charges) = (Instant::now(), Figures::default(), 0, 0);
    while let Some(size) = budget.next(runs, began.elapsed(), charges) {
        let seed = budget.seed.wrapping_add(runs);
        let more = budget
            .charges
            .map_or(String::new(), |_| format!(" --charges {size}"));
        eprintln!("seed {seed}; replay with: tests/soak --seed {seed} --runs 1{more}");
        simulate(&Plan::of(seed, size), &mut figures).await;
        runs += 1;
        charges += size;
    }
    assert!(runs > 0, "the budget allows no run: nothing was shown");
    let last = budget.seed.wrapping_add(runs).wrapping_sub(1);
    figures.report(
        "simulation",
        json!({
            "seeds": format!("{} to {last}", budget.seed), "runs": runs, "charges": charges,
            "secs": began.elapsed().as_secs(),
        }),
    );
}

/// One run: invoices come in batches, and something strikes while each is worked on. Then everything is well again.
async fn simulate(plan: &Plan, figures: &mut Figures) {
    let mut world = World::start(WorldOptions {
        workers: 2,
        lease_secs: 5,
        stripe_timeout_secs: 1,
        webhook_concurrency: 4,
        ..WorldOptions::default()
    })
    .await;
    let chaos = json!({
        "seed": plan.seed, "calls": plan.calls, "events": plan.events, "every_customer": true, "slow_ms": 1500,
    });
    world.sim.post("/chaos", chaos).await.unwrap();
    let payers: Vec<Payer> = (0..plan.cards.len())
        .map(|n| Payer::of(&format!("firm{}", n % plan.firms), &format!("payer{n:05}")))
        .collect();
    let (mut draw, mut entered) = (Draw::new(!plan.seed), 0);
    for step in &plan.steps {
        let batch = entered..entered + step.enter;
        for (payer, card) in payers[batch.clone()].iter().zip(&plan.cards[batch.clone()]) {
            let at_stripe = world
                .sim
                .customer_with_card(&payer.customer, &payer.card, card.script);
            at_stripe.await.unwrap();
        }
        if !batch.is_empty() {
            world.import(&cast::document(&payers[batch])).await;
        }
        entered += step.enter;
        faults::work_goes_on(&world, step.after_jobs, BEFORE_STRIKE).await;
        faults::strike(&mut world, step.strike, &mut draw).await;
        figures.fault(step.strike.word(), 1);
    }
    world.add_worker().await;
    let given_up = close(&world, &payers, |n| {
        plan.cards[n].pays.then(|| plan.cards[n].script.len().max(1))
    })
    .await;
    let wrong = invariants::breaches(&mut world).await;
    assert!(wrong.is_empty(), "seed {}: {wrong:#?}", plan.seed);
    let paying: Vec<&Payer> = payers
        .iter()
        .zip(&plan.cards)
        .filter(|(payer, card)| card.pays && !given_up.contains(&payer.name))
        .map(|(payer, _)| payer)
        .collect();
    assert_eq!(
        world.sim.captured_minor("usd").await.unwrap(),
        i64::try_from(paying.len()).unwrap() * AMOUNT_MINOR
    );
    figures.count("retries_passed_over", given_up.len() as u64);
    invariants::count_harm(&world, paying.into_iter(), figures).await;
    count(&world, figures).await;
}

/// Nothing goes wrong any more, time passes, and everybody whose card pays has paid. `pays` says at which try a card does, if at
/// all. Returns those whose last try came too early for that, because the clock had gone past one of the days: a retry whose time
/// has passed is passed over.
async fn close(world: &World, payers: &[Payer], pays: impl Fn(usize) -> Option<usize>) -> HashSet<String> {
    world
        .sim
        .call(reqwest::Method::DELETE, "/chaos", Value::Null)
        .await
        .unwrap();
    world.sim.heal().await.unwrap();
    world.settle_within(PATIENCE).await;
    for period in PERIODS {
        // What nobody knows is looked up, and what shows no effect is believed only long after the call.
        acme::age_calls(world).await;
        world.advance(period).await;
        world.settle_within(PATIENCE).await;
    }
    let wanted: HashMap<String, (String, usize)> = payers
        .iter()
        .enumerate()
        .filter_map(|(n, payer)| Some((format!("inv-{}", payer.name), (payer.name.clone(), pays(n)?))))
        .collect();
    // With the tries that an issuer has answered, where each retry was made or had gone by when the one before it failed.
    let late: Vec<(String, String, Option<i64>)> = sqlx::query_as(
        "select i.external_id, format('%s %s %s', s.status, s.autopay_state, (
                  select string_agg(format('%s %s %s', a.trigger, a.step, a.state), ', ' order by y.seq, a.seq)
                    from collection_cycles y join payment_attempts a on a.cycle_id = y.id where y.invoice_id = i.id)),
                case when c.state = 'exhausted' and not exists (
                       select from generate_series(1, 3) as retry (step)
                        where not exists (select from payment_attempts a where a.cycle_id = c.id and a.step = retry.step)
                          and not exists (select from payment_attempts a where a.cycle_id = c.id and a.step < retry.step
                            and a.resolved_at >= c.first_failed_at + (array[3, 7, 14])[retry.step] * interval '1 day'))
                  then (select count(*) from payment_attempts a where a.cycle_id = c.id and a.state = 'declined') end
           from invoices i join invoice_status s on s.id = i.id left join collection_cycles c on c.id = s.cycle_id
          where i.external_id = any($1) and s.status <> 'paid' order by 1",
    )
    .bind(wanted.keys().cloned().collect::<Vec<_>>())
    .fetch_all(&world.db)
    .await
    .unwrap();
    let (given_up, late): (Vec<_>, Vec<_>) = late.into_iter().partition(|(invoice, _, tries)| {
        tries.is_some_and(|tries| usize::try_from(tries).is_ok_and(|tries| tries < wanted[invoice].1))
    });
    assert!(
        late.is_empty(),
        "their cards pay, and they have not paid: {late:#?}"
    );
    given_up
        .into_iter()
        .map(|(invoice, ..)| wanted[&invoice].0.clone())
        .collect()
}

/// Adds what this world has seen.
async fn count(world: &World, figures: &mut Figures) {
    for (what, sql) in [
        ("jobs", "select count(*) from jobs"),
        ("webhooks", "select count(*) from stripe_events"),
        ("attempts", "select count(*) from payment_attempts"),
        (
            "paid",
            "select count(*) from invoice_status where status = 'paid'",
        ),
        (
            "discarded_jobs",
            "select count(*) from jobs where state = 'discarded'",
        ),
    ] {
        figures.count(what, world.count(sql).await.unsigned_abs());
    }
    figures.count("requests", world.sim.requests().await.unwrap().len() as u64);
    let told = world.sim.get("/chaos").await.unwrap();
    for (kind, times) in told["struck"].as_object().unwrap() {
        figures.fault(kind, times.as_u64().unwrap_or(0));
    }
}
