//! The net under every story: what must hold whenever a world is at rest, whatever the story is about.

use std::collections::BTreeSet;

use shared::{
    domain::{
        audit_action::ACTIONS,
        explain::reasons,
        ledger::{Finding, Severity},
    },
    ids::FirmId,
    store::ledger,
};
use sqlx::PgPool;

use super::{
    World,
    error::{Error, Result, must},
};

impl World {
    /// The ledger of every firm against the facts, as `quittance ledger check` compares them, in one snapshot (P9).
    ///
    /// # Panics
    /// When they disagree; the message lists every difference.
    pub async fn assert_books_balance(&self) {
        let wrong = must("the ledger cannot be checked", errors(&self.db).await);
        assert!(wrong.is_empty(), "the ledger is wrong: {wrong:#?}");
    }

    /// Whatever was written into the audit log has a name that is on the list (R090).
    ///
    /// # Panics
    /// When something has not.
    pub async fn assert_audit_names(&self) {
        let written: BTreeSet<String> = self
            .texts("select distinct action from audit_events")
            .await
            .into_iter()
            .collect();
        let unknown: Vec<&String> = written
            .iter()
            .filter(|action| !ACTIONS.contains(&action.as_str()))
            .collect();
        assert!(
            unknown.is_empty(),
            "{unknown:?} is not on the list of shared/src/domain/audit_action.rs"
        );
    }

    /// Whatever was decided, and wherever a collection stands, the reason has a text and a remedy (P10).
    ///
    /// # Panics
    /// When one has not.
    pub async fn assert_reasons_have_texts(&self) {
        let written = self
            .texts(
                "select distinct reason_code from decisions
                 union select distinct state_reason from collection_cycles where state_reason is not null",
            )
            .await;
        let unknown: Vec<&String> = written
            .iter()
            .filter(|code| reasons::find(code).is_none())
            .collect();
        assert!(
            unknown.is_empty(),
            "{unknown:?} has no text in shared/src/domain/explain/reasons.rs"
        );
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
