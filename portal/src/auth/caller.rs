//! Whoever makes a request, once that is known.

use std::fmt;

use serde::Serialize;
use shared::{
    ids::{ClientId, FirmId, UserId},
    store::{
        access::{sessions::Session, tokens::Token},
        audit::Actor,
    },
};
use uuid::Uuid;

use crate::problem::Problem;

/// What a caller is (R004). The first five are users of a firm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Owns the firm.
    Owner,
    /// Runs its billing.
    Admin,
    /// Leads work.
    Manager,
    /// Does work.
    Staff,
    /// Belongs to one of the firm's clients.
    Client,
    /// A token of another system, which may raise alerts and nothing else.
    Alerts,
    /// One of the platform's own people: sees nothing of a firm without break-glass.
    Operator,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 7] = [
        Role::Owner,
        Role::Admin,
        Role::Manager,
        Role::Staff,
        Role::Client,
        Role::Alerts,
        Role::Operator,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Owner => "owner",
            Role::Admin => "admin",
            Role::Manager => "manager",
            Role::Staff => "staff",
            Role::Client => "client",
            Role::Alerts => "alerts",
            Role::Operator => "operator",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How somebody said who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// A cookie; what changes something also needs the session's CSRF token.
    Session {
        /// The session.
        id: Uuid,
        /// The token that its forms carry.
        csrf: String,
    },
    /// `Authorization: Bearer`.
    Token(Uuid),
}

/// Whoever makes a request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// How they said so.
    pub via: Via,
    /// What they are.
    pub role: Role,
    /// Whose rows this request sees: the user's own firm, or the one that an operator has entered by break-glass.
    pub firm: Option<FirmId>,
    /// The person's login; none for a system.
    pub login: Option<Uuid>,
    /// The user of the firm, where it is one.
    pub user: Option<UserId>,
    /// The one client that a portal user sees.
    pub client: Option<ClientId>,
    /// Whether a portal user may see what is billed.
    pub can_view_billing: bool,
    /// What the books call them.
    pub label: String,
    /// What people call them.
    pub name: String,
    /// The break-glass session by which an operator sees the firm.
    pub glass: Option<Uuid>,
}

impl Caller {
    /// A person in a browser; `None` for a role that is none of ours.
    pub fn of_session(session: Session, csrf: String) -> Option<Self> {
        Some(Self {
            via: Via::Session { id: session.id, csrf },
            role: Role::parse(&session.role)?,
            firm: session.firm,
            login: Some(session.login_id),
            user: session.user,
            client: session.client,
            can_view_billing: session.can_view_billing,
            label: session.label,
            name: session.name,
            glass: None,
        })
    }

    /// A script of a person, who is then the one who acts, or another system. What raises alerts is a system, whoever made it.
    pub fn of_token(token: Token) -> Option<Self> {
        let role = Role::parse(&token.role)?;
        let person = token.person.filter(|_| role != Role::Alerts);
        let (login, user, label, name) = match person {
            Some(person) => (Some(person.login), person.user, person.label, person.name),
            None => (None, None, format!("token:{}", token.name), token.name),
        };
        Some(Self {
            via: Via::Token(token.id),
            role,
            firm: token.firm,
            login,
            user,
            client: None,
            can_view_billing: true,
            label,
            name,
            glass: None,
        })
    }

    /// Whether it is one of a client's own users, who see what the client may.
    #[must_use]
    pub fn is_client(&self) -> bool {
        self.role == Role::Client
    }

    /// Refuses whoever is no person, for what two people must agree on: a system counts as nobody, as whoever holds its token may be
    /// the other one.
    ///
    /// # Errors
    /// When a token acts in nobody's name.
    pub fn check_is_person(&self) -> Result<(), Problem> {
        match self.login {
            Some(_) => Ok(()),
            None => Err(Problem::refused(
                "no_person",
                "this takes a person: log in, or use a token made in the name of one",
            )),
        }
    }

    /// As the audit has them.
    #[must_use]
    pub fn actor(&self) -> Actor {
        match self.role {
            Role::Operator => Actor::Operator(self.label.clone()),
            Role::Owner | Role::Admin | Role::Manager | Role::Staff | Role::Client | Role::Alerts => {
                Actor::User(self.label.clone())
            }
        }
    }

    /// Names them among all callers: what rates and idempotency keys go by.
    #[must_use]
    pub fn key(&self) -> String {
        match (&self.via, self.user) {
            (Via::Token(id), _) => format!("token:{id}"),
            (Via::Session { .. }, Some(user)) => format!("user:{user}"),
            (Via::Session { .. }, None) => format!("operator:{}", self.label),
        }
    }

    /// The CSRF token of the session; empty for a token, which needs none.
    #[must_use]
    pub fn csrf(&self) -> &str {
        match &self.via {
            Via::Session { csrf, .. } => csrf,
            Via::Token(_) => "",
        }
    }
}
