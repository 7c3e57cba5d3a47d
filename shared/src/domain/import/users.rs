//! `users` of a document: who works for a firm, and who looks for a client.

use super::reader::{Fields, boolean, parsed, text};
use crate::domain::people::Role;

pub(super) const KEYS: &[&str] = &[
    "external_id",
    "firm",
    "name",
    "role",
    "client",
    "can_view_billing",
];

/// Somebody of a firm, or of one of its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Where in the document.
    pub path: String,
    /// Its id there and in every later document.
    pub external_id: String,
    /// Its firm.
    pub firm: String,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The client that it sees; with role `client` only.
    pub client: Option<String>,
    /// Whether it sees that client's invoices.
    pub can_view_billing: bool,
}

pub(super) fn read(fields: &Fields<'_>) -> Option<User> {
    let external_id = fields.required("external_id", text);
    let firm = fields.required("firm", text);
    let name = fields.required("name", text);
    let role = fields.required("role", parsed::<Role>);
    let client = fields.optional("client", text);
    let can_view_billing = fields.or("can_view_billing", false, boolean);
    match (role, &client) {
        (Some(Role::Client), Some(None)) => {
            fields.fault("client", "is missing: a user with role client belongs to one");
            return None;
        }
        (Some(Role::Owner | Role::Admin | Role::Manager | Role::Staff), Some(Some(_))) => {
            fields.fault("client", "goes with role client only");
            return None;
        }
        (Some(Role::Client), Some(Some(_)) | None)
        | (Some(Role::Owner | Role::Admin | Role::Manager | Role::Staff), Some(None) | None)
        | (None, _) => {}
    }
    Some(User {
        path: fields.path().to_owned(),
        external_id: external_id?,
        firm: firm?,
        name: name?,
        role: role?,
        client: client?,
        can_view_billing: can_view_billing?,
    })
}
