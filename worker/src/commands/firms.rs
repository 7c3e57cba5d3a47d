//! The firms that a command is about: one that was named, or all.

use serde::Serialize;
use shared::{
    ids::{FirmId, JobId},
    store::{self, Db, Tx},
};

use super::glass;
use crate::output::{Exit, Failure};

/// A firm and what people call it.
#[derive(Clone, Debug)]
pub struct FirmLabel {
    /// Its id.
    pub id: FirmId,
    /// `external_id`, or the UUID where there is none.
    pub label: String,
}

/// Rows of a list, `most` of them, firm by firm: each transaction sees one firm's rows alone. A filter may name a row of one
/// firm, which is then the `only` one; the page before ended in the firm `from`.
///
/// # Errors
/// When the database is away.
pub async fn firm_by_firm<T>(
    db: &Db,
    mut firms: Vec<FirmLabel>,
    (only, from): (Option<FirmId>, Option<FirmId>),
    most: i64,
    read: impl AsyncFn(&mut Tx, FirmId, i64) -> store::Result<Vec<T>>,
) -> Result<Vec<T>, Failure> {
    firms.retain(|firm| only.is_none_or(|only| only == firm.id));
    let earlier = |firm: &FirmLabel| from.is_some_and(|from| from != firm.id);
    let mut rows = Vec::new();
    for firm in firms.into_iter().skip_while(earlier) {
        let missing = most.saturating_sub(i64::try_from(rows.len()).unwrap_or(i64::MAX));
        if missing <= 0 {
            break;
        }
        let mut tx = db.firm(firm.id).await?;
        rows.extend(read(&mut tx, firm.id, missing).await?);
    }
    Ok(rows)
}

/// The firm of this name.
///
/// # Errors
/// When there is none, or the database is away.
pub async fn firm_named(db: &Db, reference: &str) -> Result<FirmId, Failure> {
    let found = sqlx::query!(
        r#"select firm_id as "firm_id!" from app.resolve($1) where kind = 'firm'"#,
        reference
    )
    .fetch_optional(db.pool())
    .await
    .map_err(store::Error::from)?;
    let firm = found.ok_or_else(|| Failure::not_found(format!("there is no firm {reference:?}")))?;
    Ok(FirmId(firm.firm_id))
}

/// The firm named, or all firms when none is; for commands that look at none of their rows.
///
/// # Errors
/// When there is no such firm, or the database is away.
pub async fn named_firms(db: &Db, named: Option<&str>) -> Result<Vec<FirmId>, Failure> {
    if let Some(reference) = named {
        return Ok(vec![firm_named(db, reference).await?]);
    }
    Ok(every_firm(db).await?)
}

/// All firms, in order of their numbers.
///
/// # Errors
/// When the database is away.
pub async fn every_firm(db: &Db) -> store::Result<Vec<FirmId>> {
    let ids = sqlx::query_scalar!(r#"select firm_id as "firm_id!" from app.firms()"#)
        .fetch_all(db.pool())
        .await?;
    Ok(ids.into_iter().map(FirmId).collect())
}

/// The firm named, or all firms when none is, to be looked into.
///
/// # Errors
/// When there is no such firm, or the database is away.
pub async fn chosen_firms(db: &Db, named: Option<&str>) -> Result<Vec<FirmLabel>, Failure> {
    let ids = named_firms(db, named).await?;
    glass::touch(db, &ids).await?;
    let mut firms = Vec::new();
    for id in ids {
        let mut tx = db.firm(id).await?;
        let label = sqlx::query_scalar!(
            r#"select coalesce(external_id, id::text) as "label!" from firms where id = $1"#,
            id.0
        )
        .fetch_one(&mut *tx)
        .await
        .map_err(store::Error::from)?;
        firms.push(FirmLabel { id, label });
    }
    Ok(firms)
}

/// A firm for which a command could not do what it did for the others.
#[derive(Clone, Debug, Serialize)]
pub struct FailedFirm {
    /// What people call it.
    pub firm: String,
    /// Its job, where it came that far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// Why.
    pub message: String,
}

impl FirmLabel {
    /// Takes a fault as this firm's own, so that it does not stop the others (A-07).
    ///
    /// # Errors
    /// When the database is away: that is nobody's own.
    pub fn failed(&self, fault: store::Error) -> Result<FailedFirm, Failure> {
        if fault.is_transient() {
            return Err(fault.into());
        }
        Ok(FailedFirm {
            firm: self.label.clone(),
            job: None,
            message: fault.to_string(),
        })
    }
}

/// What people call one of these firms.
pub fn label_of(firms: &[FirmLabel], id: Option<FirmId>) -> String {
    let known = firms.iter().find(|firm| Some(firm.id) == id);
    known.map_or_else(|| "unknown".to_owned(), |firm| firm.label.clone())
}

/// One line for each.
pub fn failed_text(failed: &[FailedFirm]) -> String {
    failed
        .iter()
        .map(|failed| format!("FAILED {}: {}\n", failed.firm, failed.message))
        .collect()
}

/// How a command ends that tried `all` things, of which so many failed.
pub fn exit_after(failed: usize, all: usize) -> Exit {
    match failed {
        0 => Exit::Done,
        some if some < all => Exit::PartlyFailed,
        _ => Exit::Error,
    }
}
