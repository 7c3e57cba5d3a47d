//! What all pages share: who asks for which page, the page itself as a list of blocks, and lists page by page.

use askama::Template;
use axum::{extract::FromRequestParts, http::request::Parts, response::Response};
use serde::de::DeserializeOwned;

use super::{PageProblem, Shell, render};
use crate::{
    app::App,
    auth::{Caller, Role},
    problem::Problem,
    request::Params,
    view::{Badge, Block, Cell, Input, Pager, text::address, words},
};

/// Rows of a list on one page.
pub const ROWS: usize = 25;

/// Who asks for which page.
pub struct At {
    /// What handlers use.
    pub app: App,
    /// Who asks.
    pub caller: Caller,
    /// This page, as an address to come back to.
    pub back: String,
    done: Option<&'static str>,
}

impl FromRequestParts<App> for At {
    type Rejection = PageProblem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, PageProblem> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let (mut query, mut done) = (Vec::new(), None);
        for pair in parts
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            match pair.strip_prefix("done=") {
                Some(key) => done = words::done(key),
                None => query.push(pair),
            }
        }
        let mut back = parts.uri.path().to_owned();
        if !query.is_empty() {
            back.push('?');
            back.push_str(&query.join("&"));
        }
        Ok(Self {
            app: app.clone(),
            caller,
            back,
            done,
        })
    }
}

impl At {
    /// An address under which the caller sees the same firm: an operator's names it.
    #[must_use]
    pub fn to(&self, path: &str) -> String {
        self.with(path, &[])
    }

    /// The same, with a query.
    #[must_use]
    pub fn with(&self, path: &str, query: &[(&str, Option<&str>)]) -> String {
        let firm = firm_named(&self.caller);
        let mut query = query.to_vec();
        query.push(("firm", firm.as_deref()));
        address(path, &query)
    }

    /// Whether the caller changes what belongs to the firm. The platform's people look.
    #[must_use]
    pub fn acts(&self) -> bool {
        matches!(self.caller.role, Role::Owner | Role::Admin)
    }

    /// A page of a section.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn page(&self, section: &str, title: impl Into<String>) -> Result<Page, Problem> {
        let shell = Shell::of(&self.app, &self.caller, section, &self.back).await?;
        Ok(Page {
            shell,
            title: title.into(),
            badge: None,
            intro: String::new(),
            up: None,
            said: self.done,
            blocks: Vec::new(),
        })
    }

    /// Where in a list, with the address of the next page.
    #[must_use]
    pub fn pager(
        &self,
        path: &str,
        query: &[(&str, Option<&str>)],
        (cursor, next): (Option<&str>, Option<&str>),
        rows: usize,
    ) -> Block {
        let first = self.with(path, query);
        let after = next.map(|next| {
            let mut query = query.to_vec();
            query.push(("cursor", Some(next)));
            self.with(path, &query)
        });
        let text = match (cursor, &after) {
            (None, None) => format!("{rows} shown, that is all"),
            (None, Some(_)) => format!("The first {rows}"),
            (Some(_), Some(_)) => format!("{rows} more"),
            (Some(_), None) => format!("The last {rows}"),
        };
        Block::Pager(Pager {
            text,
            before: cursor.map(|_| first),
            after,
        })
    }
}

/// The firm that an operator has entered, as addresses name it.
#[must_use]
pub fn firm_named(caller: &Caller) -> Option<String> {
    match caller.role {
        Role::Operator => caller.firm.map(|firm| firm.to_string()),
        Role::Owner | Role::Admin | Role::Manager | Role::Staff | Role::Client | Role::Alerts => None,
    }
}

/// A query, with faults shown as pages.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Asked<T> {
    type Rejection = PageProblem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, PageProblem> {
        let Params(value) = Params::<T>::from_request_parts(parts, app).await?;
        Ok(Self(value))
    }
}

/// What was chosen in a filter; a browser sends an empty value for nothing.
#[must_use]
pub fn chosen(value: &Option<String>) -> Option<&str> {
    value.as_deref().map(str::trim).filter(|value| !value.is_empty())
}

/// A page.
#[derive(Template)]
#[template(path = "page.html")]
pub struct Page {
    shell: Shell,
    title: String,
    badge: Option<Badge>,
    intro: String,
    up: Option<(String, String)>,
    said: Option<&'static str>,
    blocks: Vec<Block>,
}

impl Page {
    /// With a badge beside its title.
    #[must_use]
    pub fn badge(mut self, badge: Badge) -> Self {
        self.badge = Some(badge);
        self
    }

    /// With a sentence under its title.
    #[must_use]
    pub fn intro(mut self, intro: impl Into<String>) -> Self {
        self.intro = intro.into();
        self
    }

    /// With a link to the list that it belongs to.
    #[must_use]
    pub fn up(mut self, href: impl Into<String>, text: impl Into<String>) -> Self {
        self.up = Some((href.into(), text.into()));
        self
    }

    /// With one more block.
    #[must_use]
    pub fn with(mut self, block: Block) -> Self {
        self.blocks.push(block);
        self
    }

    /// With more blocks.
    #[must_use]
    pub fn with_all(mut self, blocks: impl IntoIterator<Item = Block>) -> Self {
        self.blocks.extend(blocks);
        self
    }

    /// The answer.
    ///
    /// # Errors
    /// A bug of ours.
    pub fn answer(self) -> Result<Response, PageProblem> {
        render(&self)
    }
}
