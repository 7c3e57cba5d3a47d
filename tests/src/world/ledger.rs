//! The net under every story: whatever it does, the ledger agrees with the facts (P9).

use shared::{
    domain::ledger::{Finding, Severity},
    ids::FirmId,
    store::ledger,
};
use sqlx::PgPool;

use super::{
    World,
    error::{Error, Result, must},
};

impl World {
    /// The ledger of every firm against the facts, as `quittance ledger check` compares them, in one snapshot.
    ///
    /// # Panics
    /// When they disagree; the message lists every difference.
    pub async fn assert_books_balance(&self) {
        let wrong = must("the ledger cannot be checked", errors(&self.db).await);
        assert!(wrong.is_empty(), "the ledger is wrong: {wrong:#?}");
    }
}

async fn errors(pool: &PgPool) -> Result<Vec<Finding>> {
    let mut tx = pool
        .begin_with("begin isolation level repeatable read, read only")
        .await?;
    // What tables of a few rows look like to the planner is worth compiling, and is not.
    sqlx::query("set local jit = off").execute(&mut *tx).await?;
    let firms: Vec<uuid::Uuid> = sqlx::query_scalar("select id from firms")
        .fetch_all(&mut *tx)
        .await?;
    let firms: Vec<FirmId> = firms.into_iter().map(FirmId).collect();
    let checked = ledger::check(&mut tx, &firms).await;
    let mut wrong = checked.map_err(|fault| Error::Setup(fault.to_string()))?.findings;
    wrong.retain(|finding| finding.severity == Severity::Error);
    Ok(wrong)
}
