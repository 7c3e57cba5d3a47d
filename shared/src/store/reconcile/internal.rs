//! Our own tables beside each other, beyond the ledger.

use sqlx::PgConnection;

use crate::{
    domain::{
        reconcile::{Finding, Layer, Side},
        words::UnknownWord,
    },
    ids::FirmId,
    store::error::{Error, Result},
};

/// What of ours does not fit together, or stands still; `most` of it.
///
/// # Errors
/// When the database is away.
pub async fn internal(conn: &mut PgConnection, firm: FirmId, most: i64) -> Result<Vec<Finding>> {
    let rows = sqlx::query_file!("src/store/reconcile/internal.sql", firm.0, most)
        .fetch_all(conn)
        .await?;
    let word = |unknown: UnknownWord| Error::Other(sqlx::Error::Decode(unknown.into()));
    rows.into_iter()
        .map(|row| {
            Ok(Finding {
                kind: row.kind.parse().map_err(word)?,
                layer: Layer::Internal,
                subject: row.subject,
                ours: Some(Side::of(row.id).state(row.state)),
                stripe: Some(Side::of("expected").state(row.wanted)),
                repair: None,
                object_at: None,
            })
        })
        .collect()
}
