//! Compares ledgers with the facts and with themselves (P9).
//!
//! Each comparison is one statement over whole firms, which returns differences only. They must see one state of the
//! database: call [`check`] in a snapshot ([`crate::store::Db::snapshot`]), or where nobody writes.
use sqlx::PgConnection;
use uuid::Uuid;

use super::show::balances;
use crate::{
    domain::{
        ledger::{Finding, Totals, money_adds_up, trial_balance},
        words::UnknownWord,
    },
    ids::FirmId,
    store::error::{Error, Result},
};

/// Differences shown of one comparison: enough to see what is wrong, and no flood when all of it is.
const MOST_FINDINGS: i64 = 1000;

/// What a check looked at, and what it found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Journals looked at.
    pub journals: i64,
    /// Postings looked at.
    pub postings: i64,
    /// Every difference.
    pub findings: Vec<Finding>,
}

/// Recomputes what the facts of these firms ask for, and compares. Changes nothing. A runtime role sees one firm at a time
/// and checks one at a time.
///
/// # Errors
/// When the database is away.
pub async fn check(conn: &mut PgConnection, firms: &[FirmId]) -> Result<Checked> {
    let firms: Vec<Uuid> = firms.iter().map(|firm| firm.0).collect();
    let mut findings = differences(conn, &firms).await?;
    findings.extend(facts(conn, &firms).await?);
    let balances = balances(conn, &firms).await?;
    findings.extend(money_adds_up(&totals(conn, &firms).await?, &balances));
    findings.extend(trial_balance(&balances));
    let size = sqlx::query!(
        r#"select (select count(*) from journals where firm_id = any($1)) as "journals!",
                  (select count(*) from postings where firm_id = any($1)) as "postings!""#,
        &firms
    )
    .fetch_one(conn)
    .await?;
    Ok(Checked {
        journals: size.journals,
        postings: size.postings,
        findings,
    })
}

/// Within the ledger, and between its balances and the facts.
async fn differences(conn: &mut PgConnection, firms: &[Uuid]) -> Result<Vec<Finding>> {
    let rows = sqlx::query_file!("src/store/ledger/checks.sql", firms, MOST_FINDINGS)
        .fetch_all(conn)
        .await?;
    let word = |unknown: UnknownWord| Error::Other(sqlx::Error::Decode(unknown.into()));
    rows.into_iter()
        .map(|row| {
            Ok(Finding {
                severity: row.severity.parse().map_err(word)?,
                check: row.check.parse().map_err(word)?,
                what: row.what,
                currency: row.currency,
                expected_minor: row.expected,
                found_minor: row.found,
            })
        })
        .collect()
}

/// Posting by posting.
async fn facts(conn: &mut PgConnection, firms: &[Uuid]) -> Result<Vec<Finding>> {
    use crate::domain::ledger::{Check, Severity};
    let rows = sqlx::query_file!("src/store/ledger/facts.sql", firms, MOST_FINDINGS)
        .fetch_all(conn)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| Finding {
            severity: Severity::Error,
            check: Check::FactsArePosted,
            what: format!("journal {} ({}), {}", row.key, row.kind, row.account),
            currency: row.currency,
            expected_minor: row.expected,
            found_minor: row.found,
        })
        .collect())
}

/// What the facts that moved money add up to, by currency.
async fn totals(conn: &mut PgConnection, firms: &[Uuid]) -> Result<Vec<Totals>> {
    let rows = sqlx::query!(
        r#"select currency as "currency!",
                  coalesce(sum(minor) filter (where kind = 'stripe'), 0)::bigint as "captured!",
                  coalesce(sum(minor) filter (where kind = 'external'), 0)::bigint as "external!",
                  coalesce(sum(minor) filter (where kind = 'processing'), 0)::bigint as "fees!",
                  coalesce(sum(minor) filter (where kind = 'refund'), 0)::bigint as "refunded!",
                  coalesce(sum(minor) filter (where kind = 'withdrawn'), 0)::bigint as "withdrawn!",
                  coalesce(sum(minor) filter (where kind = 'reinstated'), 0)::bigint as "reinstated!",
                  coalesce(sum(minor) filter (where kind = 'fee'), 0)::bigint as "dispute_fees!",
                  coalesce(sum(minor) filter (where kind = 'fee_refund'), 0)::bigint as "dispute_fees_returned!"
             from (select currency::text, method as kind, amount_minor as minor from payments where firm_id = any($1)
                   union all
                   select currency::text, 'processing', amount_minor from processor_fees where firm_id = any($1)
                   union all
                   select currency::text, 'refund', amount_minor from refunds
                    where firm_id = any($1) and destination = 'card' and state = 'succeeded'
                   union all
                   select currency::text, kind, amount_minor from dispute_movements where firm_id = any($1)) moved
            group by currency order by currency"#,
        &firms
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Totals {
            currency: row.currency,
            captured: row.captured,
            external: row.external,
            fees: row.fees,
            refunded: row.refunded,
            withdrawn: row.withdrawn,
            reinstated: row.reinstated,
            dispute_fees: row.dispute_fees,
            dispute_fees_returned: row.dispute_fees_returned,
        })
        .collect())
}
