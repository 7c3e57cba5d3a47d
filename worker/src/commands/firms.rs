//! The firms that a command is about: one that was named, or all.

use shared::{
    ids::FirmId,
    store::{self, Db},
};

use crate::output::Failure;

/// A firm and what people call it.
#[derive(Clone, Debug)]
pub struct FirmLabel {
    /// Its id.
    pub id: FirmId,
    /// `external_id`, or the UUID where there is none.
    pub label: String,
}

/// The firm named, or all firms when none is.
///
/// # Errors
/// When there is no such firm, or the database is away.
pub async fn chosen_firms(db: &Db, named: Option<&str>) -> Result<Vec<FirmLabel>, Failure> {
    let ids: Vec<FirmId> = match named {
        Some(reference) => {
            let found = sqlx::query!(
                r#"select firm_id as "firm_id!" from app.resolve($1) where kind = 'firm'"#,
                reference
            )
            .fetch_optional(db.pool())
            .await
            .map_err(store::Error::from)?;
            let firm = found.ok_or_else(|| Failure::not_found(format!("there is no firm {reference:?}")))?;
            vec![FirmId(firm.firm_id)]
        }
        None => sqlx::query_scalar!(r#"select firm_id as "firm_id!" from app.firms()"#)
            .fetch_all(db.pool())
            .await
            .map_err(store::Error::from)?
            .into_iter()
            .map(FirmId)
            .collect(),
    };
    let mut firms = Vec::new();
    for id in ids {
        let mut tx = db.firm(id).await?;
        let label = store::generation::firm_context(&mut tx, id).await?.label;
        firms.push(FirmLabel { id, label });
    }
    Ok(firms)
}
