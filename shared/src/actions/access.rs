//! Who gets into the portal: passwords, second factors and tokens are set here, on record.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use uuid::Uuid;

use super::{Fault, Result, on_record};
use crate::{
    ids::FirmId,
    password,
    store::{
        self, Tx,
        access::{
            logins::{self, NewLogin, Owner},
            sessions,
            tokens::{self, NewToken},
        },
        audit::By,
    },
};

/// Longest life of a token: whoever still needs it then makes another one.
pub const LONGEST: TimeDelta = TimeDelta::days(366);

/// Roles that a token of a firm may have.
pub const TOKEN_ROLES: [&str; 5] = ["owner", "admin", "manager", "staff", "alerts"];

/// Lets a user of a firm, or an operator, log in with this password; whoever was logged in by that login is not any more. An operator
/// who is new, or whose second factor is to be another one, gets one. The transaction sees the user's firm, or none.
///
/// # Errors
/// When the name is somebody else's, or the database is away.
pub async fn set_password(tx: &mut Tx, new: &NewLogin<'_>, by: &By<'_>) -> Result<Uuid> {
    let login = logins::put(tx, new).await.map_err(|fault| match fault {
        store::Error::Conflict { .. } => Fault::refused(
            "login_taken",
            format!("somebody else logs in as {:?}: choose another name", new.name),
        ),
        other => other.into(),
    })?;
    sessions::end_all(tx, login).await?;
    let meta = json!({ "login": login, "second_factor": new.totp_secret.is_some() });
    on_record(
        tx,
        firm_of(new.of),
        ("login.password_set", "login", login),
        None,
        meta,
        by,
    )
    .await?;
    Ok(login)
}

fn firm_of(owner: Owner) -> Option<FirmId> {
    match owner {
        Owner::User(firm, _) => Some(firm),
        Owner::Operator => None,
    }
}

/// Shuts a login, and ends its sessions.
///
/// # Errors
/// When there is none of this name that is open, or the database is away.
pub async fn disable(tx: &mut Tx, firm: Option<FirmId>, name: &str, by: &By<'_>) -> Result<Uuid> {
    let login = logins::disable(tx, name).await?;
    let login =
        login.ok_or_else(|| Fault::NotFound(format!("there is no login {name:?} that opens anything")))?;
    sessions::end_all(tx, login).await?;
    on_record(tx, firm, ("login.disabled", "login", login), None, json!({}), by).await?;
    Ok(login)
}

/// A token to be made.
#[derive(Clone, Copy, Debug)]
pub struct TokenOrder<'a> {
    /// Of a firm, which the transaction must see, or of the platform.
    pub firm: Option<FirmId>,
    /// The login of the person in whose name it acts, and whom it does not outlive; none for a system.
    pub login: Option<Uuid>,
    /// What to call it.
    pub name: &'a str,
    /// What it may do: one of [`TOKEN_ROLES`], or `operator` for the platform's.
    pub role: &'a str,
    /// Until when it is good (real time).
    pub expires_at: DateTime<Utc>,
}

/// Makes a token. What is returned beside its id is shown once and kept nowhere.
///
/// # Errors
/// When the role does not go with it, or the database is away.
pub async fn create_token(tx: &mut Tx, order: &TokenOrder<'_>, by: &By<'_>) -> Result<(Uuid, String)> {
    let fits = match order.firm {
        Some(_) => TOKEN_ROLES.contains(&order.role),
        None => order.role == "operator",
    };
    if !fits {
        return Err(Fault::invalid(
            "role",
            format!(
                "a token of a firm has one of the roles {}; one of the platform is an operator's",
                TOKEN_ROLES.join(", ")
            ),
        ));
    }
    if order.expires_at <= tx.real_now() {
        return Err(Fault::invalid(
            "expires-in",
            "a token is good for a while at least",
        ));
    }
    if order.expires_at > tx.real_now() + LONGEST {
        return Err(Fault::refused("too_long", "a token is good for a year at most"));
    }
    let word = format!("qt_{}", password::random_word());
    let id = Uuid::now_v7();
    let new = NewToken {
        id,
        firm: order.firm,
        name: order.name,
        role: order.role,
        login: order.login,
        token_sha256: &password::fingerprint(&word),
        created_by: by.actor.name(),
        expires_at: order.expires_at,
    };
    tokens::insert(tx, &new).await?;
    let meta = json!({ "role": order.role, "expires_at": order.expires_at, "login": order.login });
    on_record(tx, order.firm, ("token.created", "token", id), None, meta, by).await?;
    Ok((id, word))
}

/// Ends a token.
///
/// # Errors
/// When there is none of this id that is good, or the database is away.
pub async fn revoke_token(tx: &mut Tx, firm: Option<FirmId>, id: Uuid, by: &By<'_>) -> Result<()> {
    if !tokens::revoke(tx, id, by.actor.name()).await? {
        return Err(Fault::NotFound(format!("there is no token {id} that is good")));
    }
    on_record(tx, firm, ("token.revoked", "token", id), None, json!({}), by).await
}
