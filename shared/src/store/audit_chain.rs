//! Seals a firm's audit log in blocks, and reads the chain for whoever verifies it.
//!
//! A row waits in `audit_unsealed` from its own transaction on, so what can be seen there is committed: a block takes finished
//! rows only, and what commits later is taken by a later block, whatever its id.
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::error::{Error, Result};
use crate::{
    domain::audit_chain::{Block, Finding, GENESIS, Hash, Head, Row, Verifier, block_hash},
    ids::FirmId,
};

/// Rows of one block: one short transaction.
pub const BLOCK_ROWS: i64 = 1000;

/// Blocks read at a time when a chain is verified.
const BLOCKS_AT_A_TIME: i64 = 16;

/// Stray rows shown: enough to see what is wrong.
const MOST_STRAYS: i64 = 1000;

/// A block that was sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The end of the chain from now on.
    pub head: Head,
    /// Rows that it took.
    pub rows: usize,
    /// Whether it took all that were committed.
    pub complete: bool,
}

/// Firms with something to seal.
///
/// # Errors
/// When the database is away.
pub async fn firms_to_seal(conn: &mut PgConnection) -> Result<Vec<FirmId>> {
    let firms = sqlx::query_scalar!(r#"select firm_id as "firm!" from app.firms_to_seal()"#)
        .fetch_all(conn)
        .await?;
    Ok(firms.into_iter().map(FirmId).collect())
}

/// Seals the next block of a firm; `None` when nothing is new. One at a time per firm: a second one waits for the first.
///
/// # Errors
/// When the database is away.
pub async fn seal(conn: &mut PgConnection, firm: FirmId, now: DateTime<Utc>) -> Result<Option<Sealed>> {
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended('audit chain:' || $1::text, 0))",
        firm.to_string()
    )
    .execute(&mut *conn)
    .await?;
    let mut ids = sqlx::query_scalar!(
        "select u.id from audit_unsealed u join audit_events e on e.firm_id = u.firm_id and e.id = u.id
          where u.firm_id = $1 order by u.id limit $2",
        firm.0,
        BLOCK_ROWS + 1
    )
    .fetch_all(&mut *conn)
    .await?;
    if ids.is_empty() {
        return Ok(None);
    }
    let most = usize::try_from(BLOCK_ROWS).unwrap_or(usize::MAX);
    let complete = ids.len() <= most;
    ids.truncate(most);
    let rows = rows(conn, firm, &ids).await?;
    let last = head(conn, firm).await?;
    let recorded_at = sqlx::query_scalar!(r#"select clock_timestamp() as "at!""#)
        .fetch_one(&mut *conn)
        .await?;
    let block = Block {
        seq: last.seq + 1,
        row_ids: ids,
        prev_hash: last.hash,
        sealed_at: now,
        recorded_at,
        complete,
    };
    let hash = block_hash(firm.0, &block, &rows);
    sqlx::query!(
        "insert into audit_blocks (firm_id, seq, row_ids, prev_hash, hash, sealed_at, recorded_at, complete)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        firm.0,
        block.seq,
        &block.row_ids,
        &block.prev_hash[..],
        &hash[..],
        block.sealed_at,
        block.recorded_at,
        block.complete,
    )
    .execute(&mut *conn)
    .await?;
    let taken = sqlx::query!(
        "delete from audit_unsealed where firm_id = $1 and id = any($2)",
        firm.0,
        &block.row_ids
    )
    .execute(conn)
    .await?;
    let expected = u64::try_from(block.row_ids.len()).unwrap_or(u64::MAX);
    if taken.rows_affected() != expected {
        return Err(Error::Lost {
            what: "seal audit rows",
            changed: taken.rows_affected(),
        });
    }
    Ok(Some(Sealed {
        head: Head { seq: block.seq, hash },
        rows: block.row_ids.len(),
        complete,
    }))
}

/// The end of a firm's chain; number 0 before its first block.
///
/// # Errors
/// When the database is away.
pub async fn head(conn: &mut PgConnection, firm: FirmId) -> Result<Head> {
    let last = sqlx::query!(
        "select seq, hash from audit_blocks where firm_id = $1 order by seq desc limit 1",
        firm.0
    )
    .fetch_optional(conn)
    .await?;
    match last {
        None => Ok(Head {
            seq: 0,
            hash: GENESIS,
        }),
        Some(last) => Ok(Head {
            seq: last.seq,
            hash: hash_of(last.hash)?,
        }),
    }
}

/// What became of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its end.
    pub head: Head,
    /// Rows in its blocks.
    pub sealed: u64,
    /// Rows that wait to be sealed.
    pub unsealed: i64,
    /// Everything that is wrong.
    pub findings: Vec<Finding>,
}

/// Follows a firm's chain from its first block, and looks for rows beside it. Call it in a snapshot
/// ([`crate::store::Db::snapshot`]): rows are sealed meanwhile.
///
/// # Errors
/// When the database is away.
pub async fn verify(conn: &mut PgConnection, firm: FirmId, exported: &[Head]) -> Result<Verified> {
    let mut verifier = Verifier::new(firm.0, exported);
    let mut after = 0;
    loop {
        let blocks = blocks(conn, firm, after).await?;
        let Some((last, _)) = blocks.last() else { break };
        after = last.seq;
        for (block, hash) in &blocks {
            let rows = rows(conn, firm, &block.row_ids).await?;
            verifier.take(block, *hash, &rows);
        }
    }
    for id in removed(conn, firm).await? {
        verifier.removed(id);
    }
    for id in outside(conn, firm).await? {
        verifier.outside(id);
    }
    let unsealed = sqlx::query_scalar!(
        r#"select count(*) as "rows!" from audit_unsealed where firm_id = $1"#,
        firm.0
    )
    .fetch_one(conn)
    .await?;
    let (head, sealed, findings) = verifier.end();
    Ok(Verified {
        head,
        sealed,
        unsealed,
        findings,
    })
}

async fn blocks(conn: &mut PgConnection, firm: FirmId, after: i64) -> Result<Vec<(Block, Hash)>> {
    let rows = sqlx::query!(
        "select seq, row_ids, prev_hash, hash, sealed_at, recorded_at, complete from audit_blocks
          where firm_id = $1 and seq > $2 order by seq limit $3",
        firm.0,
        after,
        BLOCKS_AT_A_TIME
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let block = Block {
                seq: row.seq,
                row_ids: row.row_ids,
                prev_hash: hash_of(row.prev_hash)?,
                sealed_at: row.sealed_at,
                recorded_at: row.recorded_at,
                complete: row.complete,
            };
            Ok((block, hash_of(row.hash)?))
        })
        .collect()
}

/// Those of these rows that are there, in the order of their ids.
async fn rows(conn: &mut PgConnection, firm: FirmId, ids: &[i64]) -> Result<Vec<Row>> {
    Ok(sqlx::query_as!(
        Row,
        r#"select id, at, recorded_at, category, action, severity, actor_kind, actor_id, subject_kind, subject_id, cause_kind, cause_id,
                  meta::text as "meta!"
             from audit_events where firm_id = $1 and id = any($2) order by id"#,
        firm.0,
        ids
    )
    .fetch_all(conn)
    .await?)
}

/// Rows that wait to be sealed and are gone.
async fn removed(conn: &mut PgConnection, firm: FirmId) -> Result<Vec<i64>> {
    Ok(sqlx::query_scalar!(
        "select u.id from audit_unsealed u
          where u.firm_id = $1 and not exists (select 1 from audit_events e where e.firm_id = u.firm_id and e.id = u.id)
          order by u.id limit $2",
        firm.0,
        MOST_STRAYS
    )
    .fetch_all(conn)
    .await?)
}

/// Rows that are in no block and wait for none, and rows that are in two, or in one and wait for another.
async fn outside(conn: &mut PgConnection, firm: FirmId) -> Result<Vec<i64>> {
    Ok(sqlx::query_scalar!(
        r#"with explained as (select unnest(row_ids) as id from audit_blocks where firm_id = $1
                              union all
                              select id from audit_unsealed where firm_id = $1)
           select id as "id!" from (
             select e.id from audit_events e
              where e.firm_id = $1 and not exists (select 1 from explained x where x.id = e.id)
             union
             select id from explained group by id having count(*) > 1) stray
           order by 1 limit $2"#,
        firm.0,
        MOST_STRAYS
    )
    .fetch_all(conn)
    .await?)
}

/// The schema keeps the length; one that was changed all the same is no hash.
fn hash_of(bytes: Vec<u8>) -> Result<Hash> {
    Hash::try_from(bytes).map_err(|bytes| {
        let fault = format!("a hash of {} bytes", bytes.len());
        Error::Other(sqlx::Error::Decode(fault.into()))
    })
}
