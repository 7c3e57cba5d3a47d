//! The document as a whole.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    Client, Engagement, Fault, Firm, Invoice, TimeEntry, User, clients, engagements, firms, invoices,
    reader::{Faults, Fields, distinct},
    time_entries, users,
};

const KEYS: &[&str] = &[
    "firms",
    "clients",
    "users",
    "engagements",
    "time_entries",
    "invoices",
];

/// The items of a document that are in themselves right, and the names of all items, right or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// Tenants.
    pub firms: Vec<Firm>,
    /// Their clients.
    pub clients: Vec<Client>,
    /// Their people, and those of the clients.
    pub users: Vec<User>,
    /// Their terms.
    pub engagements: Vec<Engagement>,
    /// Time worked.
    pub time_entries: Vec<TimeEntry>,
    /// Invoices to be issued.
    pub invoices: Vec<Invoice>,
    pub(super) declared: Declared,
    pub(super) references: Vec<Reference>,
}

/// A place where one item names another, whether or not the item is right otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) to: Target,
    pub(super) name: String,
    pub(super) path: String,
}

/// What a reference leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Firm,
    Client,
    Engagement,
}

impl Target {
    /// The field that names one, and what people call it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Target::Firm => "firm",
            Target::Client => "client",
            Target::Engagement => "engagement",
        }
    }
}

/// What the items of a document call themselves: a reference to one of these is not dangling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) firms: BTreeSet<String>,
    pub(super) clients: BTreeSet<String>,
    pub(super) engagements: BTreeSet<String>,
}

/// Reads a document. The faults that it finds are those that need no look into the database; see
/// [`Document::check_references`] for the others.
#[must_use]
pub fn parse(text: &str) -> (Document, Vec<Fault>) {
    let faults = Faults::default();
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(fault) => {
            faults.add("$", format!("is no JSON: {fault}"));
            return (Document::default(), faults.into_vec());
        }
    };
    let document = Fields::open(&value, "$".to_owned(), KEYS, &faults)
        .map(|fields| read(&fields, &faults))
        .unwrap_or_default();
    (document, faults.into_vec())
}

fn read(fields: &Fields<'_>, faults: &Faults) -> Document {
    let list = |key, keys| -> Vec<Fields<'_>> { fields.list(key, keys).into_iter().flatten().collect() };
    let all_firms = list("firms", firms::KEYS);
    let all_clients = list("clients", clients::KEYS);
    let all_users = list("users", users::KEYS);
    let all_engagements = list("engagements", engagements::KEYS);
    let all_time = list("time_entries", time_entries::KEYS);
    let all_invoices = list("invoices", invoices::KEYS);
    let document = Document {
        firms: all_firms.iter().filter_map(firms::read).collect(),
        clients: all_clients.iter().filter_map(clients::read).collect(),
        users: all_users.iter().filter_map(users::read).collect(),
        engagements: all_engagements.iter().filter_map(engagements::read).collect(),
        time_entries: all_time.iter().filter_map(time_entries::read).collect(),
        invoices: all_invoices.iter().filter_map(invoices::read).collect(),
        declared: Declared {
            firms: names(&all_firms, "external_id", faults),
            clients: names(&all_clients, "external_id", faults),
            engagements: names(&all_engagements, "external_id", faults),
        },
        references: [
            references(&all_clients, Target::Firm),
            references(&all_users, Target::Firm),
            references(&all_users, Target::Client),
            references(&all_engagements, Target::Client),
            references(&all_time, Target::Engagement),
            references(&all_invoices, Target::Client),
            references(&all_invoices, Target::Engagement),
        ]
        .concat(),
    };
    distinct_users(&all_users, faults);
    names(&all_time, "external_id", faults);
    names(&all_invoices, "external_id", faults);
    names(&all_clients, "stripe_customer_id", faults);
    distinct(all_clients.iter().flat_map(clients::listed_methods), faults);
    document
}

/// What the items of a list call themselves, faulty ones too; one name twice is a fault.
fn names(items: &[Fields<'_>], key: &str, faults: &Faults) -> BTreeSet<String> {
    distinct(
        items
            .iter()
            .filter_map(|item| Some((item.peek(key)?, item.at(key)))),
        faults,
    )
}

/// Users are told apart within their firm: two firms may each have an `admin1`.
fn distinct_users(users: &[Fields<'_>], faults: &Faults) {
    let mut seen = BTreeSet::new();
    for user in users {
        if let (Some(firm), Some(id)) = (user.peek("firm"), user.peek("external_id"))
            && !seen.insert((firm, id))
        {
            faults.add(
                user.at("external_id"),
                format!("firm '{firm}' has a user '{id}' further up already"),
            );
        }
    }
}

fn references(items: &[Fields<'_>], to: Target) -> Vec<Reference> {
    let key = to.as_str();
    items
        .iter()
        .filter_map(|item| {
            Some(Reference {
                to,
                name: item.peek(key)?.to_owned(),
                path: item.at(key),
            })
        })
        .collect()
}
