//! In whose name something is done. A user of the firm is known by role; any other name is recorded as it was given, and may do only
//! what needs no role.

use crate::{
    domain::time::Person,
    ids::FirmId,
    store::{
        self, Tx,
        audit::Actor,
        users::{self, User},
    },
};

/// Somebody who acts.
#[derive(Clone, Debug)]
pub struct Acting {
    name: String,
    user: Option<User>,
}

impl Acting {
    /// Looks a name up among the users of the firm.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn find(tx: &mut Tx, firm: FirmId, name: &str) -> store::Result<Self> {
        let user = users::find(tx, firm, name).await?;
        Ok(Self {
            name: user
                .as_ref()
                .map_or_else(|| name.to_owned(), |user| user.label.clone()),
            user,
        })
    }

    /// What the books call this person.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The user, if it is one.
    #[must_use]
    pub fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// As decisions see this person.
    #[must_use]
    pub fn person(&self) -> Person<'_> {
        self.user.as_ref().map_or(
            Person {
                name: &self.name,
                role: None,
                client: None,
            },
            User::person,
        )
    }

    /// As the audit has it.
    #[must_use]
    pub fn actor(&self) -> Actor {
        match &self.user {
            Some(user) => Actor::User(user.label.clone()),
            None => Actor::Operator(self.name.clone()),
        }
    }
}
