//! What must hold of the ledger whatever happened (P9), and what an account comes to.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use sqlx::AssertSqlSafe;
use tests::world::World;

/// The books are what the facts make of them (`ledger check`), and Stripe's balance is what the ledger has on it.
pub async fn assert_sound(world: &World) {
    let check = world.cli(&["ledger", "check"]).await;
    assert_eq!(check.code, 0, "{check}");
    let books = world.sim.books().await.unwrap();
    let captured = books["captured_minor"]["usd"].as_i64().unwrap_or(0);
    let refunded = books["refunded_minor"]["usd"].as_i64().unwrap_or(0);
    let disputed = books["disputed_net_minor"]["usd"].as_i64().unwrap_or(0);
    // Fees of charges are booked by balance transactions of their own.
    let clearing = world
        .count(
            "select coalesce(sum(p.amount_minor), 0) from postings p join journals j on j.id = p.journal_id
              where p.account = 'stripe_clearing' and p.currency = 'usd' and j.kind <> 'processor_fee'",
        )
        .await;
    assert_eq!(clearing, captured - refunded + disputed, "Stripe's balance");
}

/// Compares the accounts that hold anything, in dollars; what Stripe kept of payments is left out.
pub async fn assert_balances(world: &World, wanted: &[(&str, i64)]) {
    assert_eq!(balances(world, "j.kind <> 'processor_fee'").await, lines(wanted));
}

/// The accounts that hold anything for journals `j` of which `condition` holds: `account amount`.
pub async fn balances(world: &World, condition: &str) -> Vec<String> {
    world
        .texts(&format!(
            "select p.account || ' ' || sum(p.amount_minor) from postings p join journals j on j.id = p.journal_id
              where {condition} group by p.account having sum(p.amount_minor) <> 0 order by p.account"
        ))
        .await
}

/// As [`balances`] gives them.
pub fn lines(wanted: &[(&str, i64)]) -> Vec<String> {
    wanted
        .iter()
        .map(|(account, minor)| format!("{account} {minor}"))
        .collect()
}

/// Changes rows of the only firm behind the programs' back; what the database says where it refuses.
pub async fn run(world: &World, sql: &str) -> Result<(), String> {
    let mut tx = world.db.begin().await.unwrap();
    sqlx::query("select set_config('app.firm_id', (select id::text from firms), true)")
        .execute(&mut *tx)
        .await
        .unwrap();
    let done = sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&mut *tx).await;
    done.map_err(|fault| fault.to_string())?;
    tx.commit().await.map_err(|fault| fault.to_string())
}
