//! Users of a firm: who somebody is that a command names with `--by`.

use sqlx::PgConnection;
use uuid::Uuid;

use super::error::{Error, Result};
use crate::{
    domain::{people::Role, time::Person},
    ids::{ClientId, FirmId, UserId},
};

/// A user of a firm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// `external_id`, or the UUID where there is none: what the books call it.
    pub label: String,
    /// What it may do.
    pub role: Role,
    /// The client that a portal user belongs to.
    pub client: Option<ClientId>,
}

impl User {
    /// As decisions see it.
    #[must_use]
    pub fn person(&self) -> Person<'_> {
        Person {
            name: &self.label,
            role: Some(self.role),
            client: self.client,
        }
    }
}

/// A user of this firm, by UUID or `external_id`. `None` for a name that is no user's.
///
/// # Errors
/// When the database is away.
pub async fn find(conn: &mut PgConnection, firm: FirmId, reference: &str) -> Result<Option<User>> {
    let row = sqlx::query!(
        r#"select id, coalesce(external_id, id::text) as "label!", role, client_id from users
            where firm_id = $1 and (id = $2 or external_id = $3)
            order by id = $2 desc nulls last limit 1"#,
        firm.0,
        Uuid::try_parse(reference).ok(),
        reference
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        Ok(User {
            id: UserId(row.id),
            label: row.label,
            role: row.role.parse().map_err(Error::corrupt)?,
            client: row.client_id.map(ClientId),
        })
    })
    .transpose()
}
