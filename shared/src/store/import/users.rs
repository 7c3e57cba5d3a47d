//! Users of an import: everything about them may change, and each change to what they may do is in the audit.

use serde_json::json;
use uuid::Uuid;

use super::{Import, changed};
use crate::{
    domain::import::User,
    ids::{FirmId, UserId},
    store::{Result, audit, error::one_row},
};

impl Import<'_> {
    pub(super) async fn user(&mut self, user: &User) -> Result<()> {
        let firm = self.firm_named(&user.firm)?;
        self.enter(firm).await?;
        let client = match &user.client {
            Some(name) => Some(self.client_named(name)?.1.0),
            None => None,
        };
        let row = sqlx::query!(
            "select id, name, role, client_id, can_view_billing from users where firm_id = $1 and external_id = $2 for update",
            firm.0,
            user.external_id
        )
        .fetch_optional(&mut **self.tx)
        .await?;
        let Some(row) = row else {
            let id = UserId::new();
            self.insert_user(firm, id, client, user).await?;
            self.report.users.created += 1;
            return self.audit_user(firm, id, user, &["role".to_owned()]).await;
        };
        let fields = changed(&[
            ("name", row.name == user.name),
            ("role", row.role == user.role.as_str()),
            ("client", row.client_id == client),
            ("can_view_billing", row.can_view_billing == user.can_view_billing),
        ]);
        if fields.is_empty() {
            self.report.users.unchanged += 1;
            return Ok(());
        }
        let done = sqlx::query!(
            "update users set name = $3, role = $4, client_id = $5, can_view_billing = $6 where firm_id = $1 and id = $2",
            firm.0,
            row.id,
            user.name,
            user.role.as_str(),
            client,
            user.can_view_billing,
        )
        .execute(&mut **self.tx)
        .await?;
        one_row("update user", done.rows_affected())?;
        self.report.users.updated += 1;
        self.audit_user(firm, UserId(row.id), user, &fields).await
    }

    async fn insert_user(
        &mut self,
        firm: FirmId,
        id: UserId,
        client: Option<Uuid>,
        user: &User,
    ) -> Result<()> {
        sqlx::query!(
            "insert into users (firm_id, id, external_id, name, role, client_id, can_view_billing)
             values ($1, $2, $3, $4, $5, $6, $7)",
            firm.0,
            id.0,
            user.external_id,
            user.name,
            user.role.as_str(),
            client,
            user.can_view_billing,
        )
        .execute(&mut **self.tx)
        .await?;
        Ok(())
    }

    async fn audit_user(&mut self, firm: FirmId, id: UserId, user: &User, fields: &[String]) -> Result<()> {
        let meta = json!({ "fields": fields, "role": user.role, "can_view_billing": user.can_view_billing });
        let entry = self.by.entry("config.changed", "user", id.0, meta);
        audit::record(self.tx, firm, self.by.at, &entry).await
    }
}
