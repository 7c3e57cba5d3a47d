//! The net under every story: what must hold whenever a world is at rest, whatever the story is about.

use std::collections::BTreeSet;

use shared::{
    domain::{audit_action::ACTIONS, explain::reasons, ledger::Severity},
    ids::FirmId,
    store::ledger,
};
use sqlx::{AssertSqlSafe, Postgres, Transaction};

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
        must("the ledger cannot be checked", self.now().await)
            .assert_books_balance()
            .await;
    }

    /// The database as it is now, and stays for whoever looks at it, whatever is written meanwhile.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn now(&self) -> Result<Moment> {
        let snapshot = "begin isolation level repeatable read, read only";
        let mut tx = self.db.begin_with(snapshot).await?;
        // What tables of a few rows look like to the planner is worth compiling, and is not. (And the first statement takes the snapshot.)
        sqlx::query("set local jit = off").execute(&mut *tx).await?;
        let firms: Vec<uuid::Uuid> = sqlx::query_scalar("select id from firms")
            .fetch_all(&mut *tx)
            .await?;
        let firms = firms.into_iter().map(FirmId).collect();
        Ok(Moment { tx, firms })
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

/// One moment of the database.
#[derive(Debug)]
pub struct Moment {
    tx: Transaction<'static, Postgres>,
    firms: Vec<FirmId>,
}

impl Moment {
    /// As [`World::assert_books_balance`], of this moment.
    ///
    /// # Panics
    /// When ledger and facts disagree; the message lists every difference.
    pub async fn assert_books_balance(&mut self) {
        let checked = ledger::check(&mut self.tx, &self.firms)
            .await
            .map_err(|fault| Error::Setup(fault.to_string()));
        let mut wrong = must("the ledger cannot be checked", checked).findings;
        wrong.retain(|finding| finding.severity == Severity::Error);
        assert!(wrong.is_empty(), "the ledger is wrong: {wrong:#?}");
    }

    /// One column of text.
    ///
    /// # Panics
    /// When the query fails.
    pub async fn texts(&mut self, sql: &str) -> Vec<String> {
        let rows = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()));
        must(sql, rows.fetch_all(&mut *self.tx).await.map_err(Error::from))
    }
}
