//! What stands around every page: who is logged in, where they may go, and whether somebody of the platform is looking in.

use shared::{
    password,
    store::{self, break_glass, portal::lists},
};

use super::page::firm_named;
use crate::{
    app::App,
    auth::{Caller, Role},
    problem::Problem,
    view::text::{address, time},
};

/// A link of the navigation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where to.
    pub href: String,
    /// What it says.
    pub text: &'static str,
    /// Whether this is where we are.
    pub here: bool,
    /// What waits there.
    pub count: i64,
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
    /// Makes a form that is sent twice one request.
    pub once: String,
    /// The page to come back to.
    pub back: String,
    /// The firm that an operator has entered, which addresses name.
    pub firm: Option<String>,
    /// Where they may go.
    pub links: Vec<Link>,
    /// Who of the platform may look into this firm now: in a few words, and until when and why.
    pub banner: Option<(String, String)>,
}

const BILLING: &[Role] = &[Role::Owner, Role::Admin];
const FIRM: &[Role] = &[Role::Owner, Role::Admin, Role::Manager, Role::Staff];
const WITH_CLIENTS: &[Role] = &[Role::Owner, Role::Admin, Role::Client];

/// Every link, who of a firm sees it, and whether an operator who has entered a firm does.
const LINKS: [(&str, &str, &[Role], bool); 8] = [
    ("/billing/", "Overview", BILLING, true),
    ("/billing/invoices", "Invoices", WITH_CLIENTS, true),
    ("/billing/engagements", "Engagements", FIRM, true),
    ("/billing/time", "Time", FIRM, true),
    ("/billing/credits", "Credits", WITH_CLIENTS, true),
    ("/billing/disputes", "Disputes", BILLING, true),
    ("/api/alerts/", "Alerts", BILLING, true),
    ("/api/billing/", "Plan", BILLING, true),
];

impl Shell {
    /// For a page of a section.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn of(app: &App, caller: &Caller, section: &str, back: &str) -> Result<Self, Problem> {
        let firm = firm_named(caller);
        let is_operator = caller.role == Role::Operator;
        let unread = unread(app, caller).await?;
        let mut links = Vec::new();
        if is_operator {
            links.push(Link {
                href: address("/console/", &[("firm", firm.as_deref())]),
                text: "Console",
                here: section == "/console/",
                count: 0,
            });
        }
        for (href, text, roles, enters) in LINKS {
            if roles.contains(&caller.role) || (is_operator && enters && firm.is_some()) {
                let count = if href == "/api/alerts/" { unread } else { 0 };
                links.push(Link {
                    href: address(href, &[("firm", firm.as_deref())]),
                    text,
                    here: href == section,
                    count,
                });
            }
        }
        Ok(Self {
            name: caller.name.clone(),
            role: caller.role.to_string(),
            csrf: caller.csrf().to_owned(),
            once: password::random_word(),
            back: back.to_owned(),
            firm,
            links,
            banner: banner(app, caller).await?,
        })
    }
}

async fn unread(app: &App, caller: &Caller) -> Result<i64, Problem> {
    let (Some(firm), Role::Owner | Role::Admin | Role::Operator) = (caller.firm, caller.role) else {
        return Ok(0);
    };
    let mut tx = app.db.firm(firm).await?;
    Ok(lists::alert_counts(&mut tx, Some(firm)).await?.unread)
}

/// Break-glass is never silent: neither for who looks nor for who is looked at.
async fn banner(app: &App, caller: &Caller) -> Result<Option<(String, String)>, Problem> {
    // Between the firm and the platform: the firm's clients are told nothing of it.
    let Some(firm) = caller.firm.filter(|_| !caller.is_client()) else {
        return Ok(None);
    };
    let mut conn = app.db.pool().acquire().await.map_err(store::Error::from)?;
    let open = break_glass::all_open(&mut conn).await?;
    Ok(open
        .into_iter()
        .find(|session| session.firm == firm)
        .map(|session| {
            (
                "Break-glass is open.".to_owned(),
                format!(
                    "{} may look into this firm until {}: {}. Every access is recorded and reviewed.",
                    session.operator,
                    time(session.expires_at),
                    session.reason
                ),
            )
        }))
}
