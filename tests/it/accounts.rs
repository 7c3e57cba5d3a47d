//! What must hold of the ledger whatever happened (P9), and what an account comes to.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use sqlx::AssertSqlSafe;
use tests::world::World;

/// Journals balance; what is open on every invoice is what the ledger says; credit is what its lots are worth; Stripe's
/// balance is what the ledger has on it.
pub async fn assert_sound(world: &World) {
    let faults = world
        .texts(
            "select 'journal ' || j.kind || ' ' || j.source_key || ' is off by ' || sum(p.amount_minor)
               from journals j join postings p on p.journal_id = j.id group by j.id, j.kind, j.source_key, p.currency
              having sum(p.amount_minor) <> 0
             union all
             select coalesce(i.number, i.external_id) || ' shows ' || s.open_minor || ' open, the ledger has ' || app.receivable(i.firm_id, i.id)
               from invoices i join invoice_status s on s.firm_id = i.firm_id and s.id = i.id
              where i.doc_state <> 'draft' and s.open_minor <> app.receivable(i.firm_id, i.id)
             union all
             select 'credit of ' || b.client_id || ' is ' || b.balance_minor || ', its lots are worth ' || coalesce(l.worth, 0)
               from credit_balances b left join (
                    select client_id, currency, sum(remaining_minor) as worth from credit_lot_balances group by client_id, currency) l
                 using (client_id, currency) where b.balance_minor <> coalesce(l.worth, 0)",
        )
        .await;
    assert!(faults.is_empty(), "{faults:#?}");
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

/// Compares the accounts that hold anything, in dollars.
pub async fn assert_balances(world: &World, wanted: &[(&str, i64)]) {
    assert_eq!(balances(world, "true").await, lines(wanted));
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
