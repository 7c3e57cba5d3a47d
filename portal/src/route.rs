//! One route of the table: how it is reached, who may, what it takes and what it answers. The router, the OpenAPI document and the
//! test of all permissions are made of this, so that none can miss one.

use axum::{
    handler::Handler,
    http::{Method, StatusCode},
    routing::{MethodFilter, MethodRouter, on},
};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{app::App, auth::Role};

/// What a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A page for people: answers in HTML, and leads to the login where nobody is logged in.
    Page,
    /// Part of the JSON API.
    Api,
    /// A file of the pages, or the description of the API: for anybody.
    File,
}

/// Whose rows a route works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A firm's: the caller's own, or the one that an operator has a break-glass session for.
    Firm,
    /// The platform's own; no row of a firm is seen.
    Platform,
    /// A firm's where the caller has one or names one; else the platform's own.
    Either,
    /// None.
    None,
}

/// Who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody, logged in or not.
    Anybody,
    /// These.
    Roles(&'static [Role]),
}

/// Everybody in a firm who bills: R211.
pub const BILLING: &[Role] = &[Role::Owner, Role::Admin, Role::Operator];
/// The same, without the platform's people: what they may look at they may not do.
pub const BILLING_ACTS: &[Role] = &[Role::Owner, Role::Admin];
/// The firm's people.
pub const FIRM: &[Role] = &[
    Role::Owner,
    Role::Admin,
    Role::Manager,
    Role::Staff,
    Role::Operator,
];
/// The same, acting.
pub const FIRM_ACTS: &[Role] = &[Role::Owner, Role::Admin, Role::Manager, Role::Staff];
/// Who judges time.
pub const MANAGERS: &[Role] = &[Role::Owner, Role::Admin, Role::Manager];
/// Who bills, and the client who pays.
pub const BILLING_AND_CLIENTS: &[Role] = &[Role::Owner, Role::Admin, Role::Client, Role::Operator];
/// Everybody who can log in.
pub const PEOPLE: &[Role] = &[
    Role::Owner,
    Role::Admin,
    Role::Manager,
    Role::Staff,
    Role::Client,
    Role::Operator,
];
/// The platform's people.
pub const OPERATORS: &[Role] = &[Role::Operator];

/// A schema and all that it refers to, by name.
pub type Schemas = Vec<(String, Value)>;

/// A shape of JSON.
#[derive(Clone, Copy)]
pub struct Shape {
    /// The schema itself.
    pub schema: fn() -> Value,
    /// What it refers to.
    pub parts: fn(&mut Schemas),
    /// Its name.
    pub name: fn() -> String,
}

impl Shape {
    /// The shape of a type.
    pub const fn of<T: ToSchema>() -> Self {
        Self {
            schema: || serde_json::to_value(T::schema()).unwrap_or_default(),
            parts: |all| {
                let mut parts = Vec::new();
                T::schemas(&mut parts);
                for (name, schema) in parts {
                    all.push((name, serde_json::to_value(schema).unwrap_or_default()));
                }
            },
            name: || T::name().into_owned(),
        }
    }
}

impl Shape {
    /// The shape of a page of these. A generic type has one name for all that it is of, so that of a page is made here.
    pub const fn page_of<T: ToSchema>() -> Self {
        Self {
            schema: || {
                json!({
                    "type": "object",
                    "required": ["data", "next_cursor"],
                    "properties": {
                        "data": {"type": "array", "items": {"$ref": format!("#/components/schemas/{}", T::name())}},
                        "next_cursor": {"type": ["string", "null"], "description": "Where the next page begins; none where this is the last."},
                    },
                })
            },
            parts: |all| {
                let shape = Self::of::<T>();
                (shape.parts)(all);
                all.push(((shape.name)(), (shape.schema)()));
            },
            name: || format!("PageOf{}", T::name()),
        }
    }
}

/// One route.
#[derive(Clone)]
pub struct Route {
    /// How.
    pub method: Method,
    /// Where, as axum writes it: `/api/v1/invoices/{id}`.
    pub path: &'static str,
    /// What for.
    pub kind: Kind,
    /// Whose rows.
    pub scope: Scope,
    /// Who.
    pub access: Access,
    /// Whether it takes somebody who is logged in: a token does not open doors for itself.
    pub sessions_only: bool,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// What it takes in the query.
    pub query: Option<Shape>,
    /// Whether it is a list of pages.
    pub paged: bool,
    /// What it takes as body.
    pub body: Option<Shape>,
    /// What it answers.
    pub answer: Option<(StatusCode, Shape)>,
    /// What answers.
    pub handler: MethodRouter<App>,
}

impl Route {
    fn new<H, T>(
        kind: Kind,
        method: Method,
        path: &'static str,
        access: Access,
        scope: Scope,
        handler: H,
    ) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        Self {
            method,
            path,
            kind,
            scope,
            access,
            sessions_only: kind == Kind::Page,
            summary: "",
            query: None,
            paged: false,
            body: None,
            answer: None,
            handler: on(filter, handler),
        }
    }

    /// Looks at rows of a firm: JSON.
    pub fn get<H: Handler<T, App>, T: 'static>(
        path: &'static str,
        roles: &'static [Role],
        handler: H,
    ) -> Self {
        let access = Access::Roles(roles);
        Self::new(Kind::Api, Method::GET, path, access, Scope::Firm, handler)
    }

    /// Changes rows of a firm: JSON.
    pub fn post<H: Handler<T, App>, T: 'static>(
        path: &'static str,
        roles: &'static [Role],
        handler: H,
    ) -> Self {
        let access = Access::Roles(roles);
        Self::new(Kind::Api, Method::POST, path, access, Scope::Firm, handler)
    }

    /// A page about rows of a firm.
    pub fn page<H: Handler<T, App>, T: 'static>(
        path: &'static str,
        roles: &'static [Role],
        handler: H,
    ) -> Self {
        let access = Access::Roles(roles);
        Self::new(Kind::Page, Method::GET, path, access, Scope::Firm, handler)
    }

    /// A form of such a page; it carries `csrf`.
    pub fn form<H: Handler<T, App>, T: 'static>(
        path: &'static str,
        roles: &'static [Role],
        handler: H,
    ) -> Self {
        let access = Access::Roles(roles);
        Self::new(Kind::Page, Method::POST, path, access, Scope::Firm, handler)
    }

    /// For anybody.
    pub fn open<H: Handler<T, App>, T: 'static>(
        kind: Kind,
        method: Method,
        path: &'static str,
        handler: H,
    ) -> Self {
        Self::new(kind, method, path, Access::Anybody, Scope::None, handler)
    }

    /// Not for tokens, whatever their role.
    #[must_use]
    pub fn for_sessions(mut self) -> Self {
        self.sessions_only = true;
        self
    }

    /// Whose rows.
    #[must_use]
    pub fn on(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// What it does.
    #[must_use]
    pub fn does(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    /// What it takes in the query.
    #[must_use]
    pub fn query<T: ToSchema>(mut self) -> Self {
        self.query = Some(Shape::of::<T>());
        self
    }

    /// A list, page by page.
    #[must_use]
    pub fn paged(mut self) -> Self {
        self.paged = true;
        self
    }

    /// What it takes as body.
    #[must_use]
    pub fn takes<T: ToSchema>(mut self) -> Self {
        self.body = Some(Shape::of::<T>());
        self
    }

    /// What it answers, with 200.
    #[must_use]
    pub fn answers<T: ToSchema>(self) -> Self {
        self.answers_with::<T>(StatusCode::OK)
    }

    /// Answers with a page of these.
    #[must_use]
    pub fn answers_page<T: ToSchema>(mut self) -> Self {
        self.answer = Some((StatusCode::OK, Shape::page_of::<T>()));
        self
    }

    /// What it answers, with another status.
    #[must_use]
    pub fn answers_with<T: ToSchema>(mut self, status: StatusCode) -> Self {
        self.answer = Some((status, Shape::of::<T>()));
        self
    }

    /// Whether it changes something.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.method != Method::GET
    }
}

/// The table as JSON, for the test of all permissions.
#[must_use]
pub fn describe(table: &[Route]) -> Value {
    let routes: Vec<Value> = table
        .iter()
        .map(|route| {
            let roles = match route.access {
                Access::Anybody => json!("anybody"),
                Access::Roles(roles) => json!(roles),
            };
            let kind = match route.kind {
                Kind::Page => "page",
                Kind::Api => "api",
                Kind::File => "file",
            };
            let scope = match route.scope {
                Scope::Firm => "firm",
                Scope::Platform => "platform",
                Scope::Either => "either",
                Scope::None => "none",
            };
            json!({"method": route.method.as_str(), "path": route.path, "kind": kind, "scope": scope, "roles": roles, "sessions_only": route.sessions_only, "does": route.summary})
        })
        .collect();
    json!(routes)
}
