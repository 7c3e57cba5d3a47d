//! What stands around every page: who is logged in, where they may go, and whether somebody of the platform is looking in.

use crate::{
    app::App,
    auth::{Caller, Role},
    problem::Problem,
};
use shared::store::{self, break_glass};

/// A link of the navigation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where to.
    pub href: &'static str,
    /// What it says.
    pub text: &'static str,
    /// Whether this is where we are.
    pub here: bool,
}

/// What stands around a page.
#[derive(Clone, Debug)]
pub struct Shell {
    /// Who.
    pub name: String,
    /// What they are.
    pub role: String,
    /// The token that forms carry.
    pub csrf: String,
    /// Where they may go.
    pub links: Vec<Link>,
    /// Who of the platform may look into this firm now, until when and why.
    pub banner: Option<String>,
}

/// Every link, and who sees it.
const LINKS: [(&str, &str, &[Role]); 1] = [("/api/billing/", "Billing", &[Role::Owner, Role::Admin])];

impl Shell {
    /// For a page at `here`.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn of(app: &App, caller: &Caller, here: &str) -> Result<Self, Problem> {
        let links = LINKS
            .into_iter()
            .filter(|(_, _, roles)| roles.contains(&caller.role))
            .map(|(href, text, _)| Link {
                href,
                text,
                here: href == here,
            })
            .collect();
        Ok(Self {
            name: caller.name.clone(),
            role: caller.role.to_string(),
            csrf: caller.csrf().to_owned(),
            links,
            banner: banner(app, caller).await?,
        })
    }
}

/// Break-glass is never silent: neither for who looks nor for who is looked at.
async fn banner(app: &App, caller: &Caller) -> Result<Option<String>, Problem> {
    let Some(firm) = caller.firm else {
        return Ok(None);
    };
    let mut conn = app.db.pool().acquire().await.map_err(store::Error::from)?;
    let open = break_glass::all_open(&mut conn).await?;
    Ok(open.into_iter().find(|session| session.firm == firm).map(|session| {
        format!(
            "Break-glass: {} may look into this firm until {} UTC ({}). Every access is logged and reviewed.",
            session.operator,
            session.expires_at.format("%F %H:%M"),
            session.reason
        )
    }))
}
