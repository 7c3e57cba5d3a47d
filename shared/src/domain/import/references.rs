//! Whether what a document refers to exists, in the document or in the database, and belongs to whom it should.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Autopay, Client, Document, Fault, Invoice, TimeEntry, User,
    document::{Declared, Reference, Target},
    reader::Faults,
};
use crate::{
    currency::Currency,
    domain::time::TimeState,
    ids::{ClientId, EngagementId, FirmId},
};

/// Ids of a document that only the database can explain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mentioned {
    /// Firms that clients and users refer to.
    pub firms: BTreeSet<String>,
    /// Clients that users, engagements and invoices refer to.
    pub clients: BTreeSet<String>,
    /// Engagements that time and invoices refer to.
    pub engagements: BTreeSet<String>,
    /// Stripe ids of cards: may exist already, and then with whom?
    pub methods: BTreeSet<String>,
    /// Stripe ids of customers: likewise.
    pub customers: BTreeSet<String>,
}

/// What the database says to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// By reference.
    pub firms: BTreeMap<String, FirmId>,
    /// By reference.
    pub clients: BTreeMap<String, KnownClient>,
    /// By reference.
    pub engagements: BTreeMap<String, KnownEngagement>,
    /// By Stripe id.
    pub methods: BTreeMap<String, KnownMethod>,
    /// By Stripe id.
    pub customers: BTreeMap<String, KnownClient>,
    /// References that fit items of several firms.
    pub ambiguous: BTreeSet<String>,
}

/// A client in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownClient {
    /// Its firm.
    pub firm: FirmId,
    /// What documents call the firm.
    pub firm_external_id: Option<String>,
    /// Its id.
    pub id: ClientId,
    /// What documents call it.
    pub external_id: Option<String>,
    /// Whether Stripe knows it.
    pub has_customer: bool,
}

/// An engagement in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownEngagement {
    /// Its id.
    pub id: EngagementId,
    /// Its client.
    pub client: KnownClient,
    /// The currency of all its amounts.
    pub currency: Currency,
    /// Whether time on it has a price.
    pub has_hourly_rate: bool,
}

/// A card in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownMethod {
    /// Whose.
    pub client: KnownClient,
    /// Whether it may be charged.
    pub usable: bool,
}

impl Declared {
    fn of(&self, target: Target) -> &BTreeSet<String> {
        match target {
            Target::Firm => &self.firms,
            Target::Client => &self.clients,
            Target::Engagement => &self.engagements,
        }
    }
}

impl Document {
    /// What to look up in the database before [`Document::check_references`].
    #[must_use]
    pub fn mentioned(&self) -> Mentioned {
        let outside = |target: Target| -> BTreeSet<String> {
            let references = self.references.iter().filter(|reference| reference.to == target);
            references
                .map(|r| r.name.clone())
                .filter(|name| !self.declared.of(target).contains(name))
                .collect()
        };
        let listed = self
            .clients
            .iter()
            .flat_map(|c| &c.payment_methods)
            .map(|m| &m.stripe_id);
        let chosen = self.clients.iter().filter_map(|c| match &c.autopay {
            Some(Autopay::On { payment_method, .. }) => Some(payment_method),
            Some(Autopay::Off) | None => None,
        });
        Mentioned {
            firms: outside(Target::Firm),
            clients: outside(Target::Client),
            engagements: outside(Target::Engagement),
            methods: listed.chain(chosen).cloned().collect(),
            customers: self
                .clients
                .iter()
                .filter_map(|c| c.stripe_customer_id.clone())
                .collect(),
        }
    }

    /// The faults that need what the database knows.
    #[must_use]
    pub fn check_references(&self, known: &Known) -> Vec<Fault> {
        let check = Check {
            document: self,
            known,
            faults: Faults::default(),
        };
        for reference in &self.references {
            check.exists(reference);
        }
        for client in &self.clients {
            check.client(client);
        }
        for user in &self.users {
            check.user(user);
        }
        for entry in &self.time_entries {
            check.time_entry(entry);
        }
        for invoice in &self.invoices {
            check.invoice(invoice);
        }
        check.faults.into_vec()
    }
}

struct Check<'a> {
    document: &'a Document,
    known: &'a Known,
    faults: Faults,
}

impl Check<'_> {
    fn exists(&self, reference: &Reference) {
        let (target, name) = (reference.to, &reference.name);
        let in_database = match target {
            Target::Firm => self.known.firms.contains_key(name),
            Target::Client => self.known.clients.contains_key(name),
            Target::Engagement => self.known.engagements.contains_key(name),
        };
        if in_database || self.document.declared.of(target).contains(name) {
            return;
        }
        let kind = target.as_str();
        let fault = if self.known.ambiguous.contains(name) {
            format!("several firms have a {kind} '{name}': use its own id")
        } else {
            format!("there is no {kind} '{name}', neither in the document nor in the database")
        };
        self.faults.add(&reference.path, fault);
    }

    fn client(&self, client: &Client) {
        if let Some(owner) = client
            .stripe_customer_id
            .as_ref()
            .and_then(|id| self.known.customers.get(id))
            && !self.is_same(client, owner)
        {
            self.faults.add(
                format!("{}.stripe_customer_id", client.path),
                "belongs to another client",
            );
        }
        for method in &client.payment_methods {
            if self
                .known
                .methods
                .get(&method.stripe_id)
                .is_some_and(|found| !self.is_same(client, &found.client))
            {
                self.faults.add(
                    format!("{}.stripe_payment_method_id", method.path),
                    "belongs to another client",
                );
            }
        }
        if let Some(Autopay::On { payment_method, path }) = &client.autopay {
            self.autopay(client, payment_method, path);
        }
    }

    /// Automatic payment needs a card of this very client that may be charged, and a customer to charge it for.
    fn autopay(&self, client: &Client, method: &str, path: &str) {
        let listed = client.payment_methods.iter().any(|m| m.stripe_id == method);
        let stored = self
            .known
            .methods
            .get(method)
            .filter(|found| self.is_same(client, &found.client));
        match (listed, stored) {
            (false, None) => {
                self.faults
                    .add(path, format!("'{method}' is no payment method of this client"));
            }
            (false, Some(found)) if !found.usable => {
                self.faults.add(
                    path,
                    format!("'{method}' cannot be charged any more: give another one"),
                );
            }
            (true, _) | (false, Some(_)) => {}
        }
        let customer =
            client.stripe_customer_id.is_some() || stored.is_some_and(|found| found.client.has_customer);
        if !customer {
            self.faults.add(
                format!("{}.stripe_customer_id", client.path),
                "is missing: automatic payment needs it",
            );
        }
    }

    /// A portal user and its client are of one firm.
    fn user(&self, user: &User) {
        let Some(reference) = &user.client else { return };
        let inside = self.document.clients.iter().find(|c| c.external_id == *reference);
        let theirs = match (inside, self.known.clients.get(reference)) {
            (Some(client), _) => {
                let firms = [&client.firm, &user.firm].map(|name| self.known.firms.get(name));
                client.firm == user.firm || matches!(firms, [Some(left), Some(right)] if left == right)
            }
            (None, Some(found)) => self.is_of(&user.firm, found),
            (None, None) => return, // dangling or at fault itself
        };
        if !theirs {
            self.faults.add(
                format!("{}.client", user.path),
                format!("'{reference}' is not a client of firm '{}'", user.firm),
            );
        }
    }

    fn time_entry(&self, entry: &TimeEntry) {
        let declared = &self.document.declared.engagements;
        let inside = self
            .document
            .engagements
            .iter()
            .find(|e| e.external_id == entry.engagement);
        let priced = match (inside, declared.contains(&entry.engagement)) {
            (Some(engagement), _) => engagement.hourly_rate.is_some(),
            (None, true) => return, // it is at fault itself
            (None, false) => self
                .known
                .engagements
                .get(&entry.engagement)
                .is_none_or(|e| e.has_hourly_rate),
        };
        if entry.state == TimeState::Approved && !priced {
            self.faults.add(
                format!("{}.engagement", entry.path),
                "has no hourly_rate, so time on it cannot be approved",
            );
        }
    }

    fn invoice(&self, invoice: &Invoice) {
        let inside = self
            .document
            .engagements
            .iter()
            .find(|e| e.external_id == invoice.engagement);
        let (theirs, currency) = match (inside, self.known.engagements.get(&invoice.engagement)) {
            (Some(engagement), _) => (
                self.are_one(&invoice.client, &engagement.client),
                engagement.currency,
            ),
            (None, Some(found)) => (self.names(&invoice.client, &found.client), found.currency),
            (None, None) => return, // dangling or at fault itself
        };
        if !theirs {
            self.faults.add(
                format!("{}.engagement", invoice.path),
                format!(
                    "'{}' is not an engagement of client '{}'",
                    invoice.engagement, invoice.client
                ),
            );
        }
        // One currency per engagement and per invoice.
        if invoice.total.currency() != currency {
            self.faults.add(
                format!("{}.currency", invoice.path),
                format!("'{}' is billed in {currency}", invoice.engagement),
            );
        }
    }

    /// Whether an item of the document is a client in the database.
    fn is_same(&self, client: &Client, found: &KnownClient) -> bool {
        self.is_of(&client.firm, found) && found.external_id.as_ref() == Some(&client.external_id)
    }

    /// Whether a client in the database belongs to a firm that the document names.
    fn is_of(&self, firm: &str, found: &KnownClient) -> bool {
        found.firm_external_id.as_deref() == Some(firm) || self.known.firms.get(firm) == Some(&found.firm)
    }

    /// Whether a reference means a client in the database.
    fn names(&self, reference: &str, found: &KnownClient) -> bool {
        match self.document.clients.iter().find(|c| c.external_id == reference) {
            Some(client) => self.is_same(client, found),
            None => self
                .known
                .clients
                .get(reference)
                .is_none_or(|known| known.id == found.id),
        }
    }

    /// Whether two references mean one client.
    fn are_one(&self, left: &str, right: &str) -> bool {
        left == right
            || match (self.known.clients.get(left), self.known.clients.get(right)) {
                (Some(left), Some(right)) => left.id == right.id,
                (Some(found), None) => self.names(right, found),
                (None, Some(found)) => self.names(left, found),
                (None, None) => false,
            }
    }
}
