//! Clients of an import, their cards and their automatic payment: all may change, except the customer at Stripe.

use super::{Counts, Import};
use crate::{
    domain::{
        collection::Asked,
        import::{Autopay, CardReference, Client},
    },
    ids::{ClientId, FirmId, PaymentMethodId},
    store::{
        Result, autopay, cycles,
        error::one_row,
        payment_methods::{self, Card},
        routes,
    },
};

/// A client as it is in the database.
struct Stored {
    id: ClientId,
    name: String,
    customer: Option<String>,
    autopay: bool,
    method: Option<PaymentMethodId>,
}

impl Import<'_> {
    pub(super) async fn client(&mut self, client: &Client) -> Result<()> {
        let firm = self.firm_named(&client.firm)?;
        self.enter(firm).await?;
        let before = self.report.payment_methods;
        let (stored, fresh) = match self.find_client(firm, &client.external_id).await? {
            Some(stored) => (stored, false),
            None => (self.create_client(firm, client).await?, true),
        };
        self.clients.insert(client.external_id.clone(), (firm, stored.id));
        let mut touched = !fresh && self.update_client(firm, client, &stored).await?;
        for card in &client.payment_methods {
            self.card(firm, &stored, card).await?;
        }
        touched |= self.autopay(firm, client, &stored).await?;
        touched |= before.touched() != self.report.payment_methods.touched();
        match (fresh, touched) {
            (true, _) => self.report.clients.created += 1,
            (false, true) => self.report.clients.updated += 1,
            (false, false) => self.report.clients.unchanged += 1,
        }
        Ok(())
    }

    /// A client of the document, or one that the document refers to.
    pub(super) fn client_named(&self, name: &str) -> Result<(FirmId, ClientId)> {
        let inside = self.clients.get(name).copied();
        let outside = || {
            self.known
                .clients
                .get(name)
                .map(|client| (client.firm, client.id))
        };
        inside.or_else(outside).ok_or_else(|| super::dangling(name))
    }

    async fn find_client(&mut self, firm: FirmId, external_id: &str) -> Result<Option<Stored>> {
        let row = sqlx::query!(
            "select id, name, stripe_customer_id, autopay_enabled, autopay_payment_method_id
             from clients where firm_id = $1 and external_id = $2",
            firm.0,
            external_id
        )
        .fetch_optional(&mut **self.tx)
        .await?;
        Ok(row.map(|r| Stored {
            id: ClientId(r.id),
            name: r.name,
            customer: r.stripe_customer_id,
            autopay: r.autopay_enabled,
            method: r.autopay_payment_method_id.map(PaymentMethodId),
        }))
    }

    async fn create_client(&mut self, firm: FirmId, client: &Client) -> Result<Stored> {
        let id = ClientId::new();
        sqlx::query!(
            "insert into clients (firm_id, id, external_id, name, stripe_customer_id) values ($1, $2, $3, $4, $5)",
            firm.0,
            id.0,
            client.external_id,
            client.name,
            client.stripe_customer_id,
        )
        .execute(&mut **self.tx)
        .await?;
        self.route_customer(firm, id, client).await?;
        Ok(Stored {
            id,
            name: client.name.clone(),
            customer: client.stripe_customer_id.clone(),
            autopay: false,
            method: None,
        })
    }

    async fn update_client(&mut self, firm: FirmId, client: &Client, stored: &Stored) -> Result<bool> {
        let customer = match (&stored.customer, &client.stripe_customer_id) {
            (Some(stored), Some(wanted)) if stored != wanted => {
                let why = "a client keeps its customer at Stripe, which its cards and payments belong to";
                self.refuse(&client.path, &["stripe_customer_id".to_owned()], why);
                return Ok(false);
            }
            (stored, wanted) => wanted.as_ref().or(stored.as_ref()),
        };
        if stored.name == client.name && stored.customer.as_ref() == customer {
            return Ok(false);
        }
        autopay::lock_collection(self.tx, firm, stored.id).await?;
        let done = sqlx::query!(
            "update clients set name = $3, stripe_customer_id = $4 where firm_id = $1 and id = $2",
            firm.0,
            stored.id.0,
            client.name,
            customer,
        )
        .execute(&mut **self.tx)
        .await?;
        one_row("update client", done.rows_affected())?;
        self.route_customer(firm, stored.id, client).await?;
        if stored.customer.is_none() && customer.is_some() {
            let (by, asked) = (self.by, Asked::BySystem);
            cycles::review_paused(self.tx, firm, stored.id, asked, by.at, by.cause).await?;
        }
        Ok(true)
    }

    async fn route_customer(&mut self, firm: FirmId, id: ClientId, client: &Client) -> Result<()> {
        match &client.stripe_customer_id {
            Some(customer) => routes::record(self.tx, firm, "customer", customer, id.0).await,
            None => Ok(()),
        }
    }

    async fn card(&mut self, firm: FirmId, client: &Stored, card: &CardReference) -> Result<()> {
        let wanted = Card {
            brand: card.brand.as_deref(),
            last4: card.last4.as_deref(),
            exp_month: card.exp_month,
            exp_year: card.exp_year,
            fingerprint: None,
        };
        let Some(stored) = payment_methods::find(self.tx, firm, client.id, &card.stripe_id).await? else {
            payment_methods::attach(self.tx, firm, client.id, &card.stripe_id, &wanted, self.by).await?;
            self.report.payment_methods.created += 1;
            return Ok(());
        };
        if stored.looks_like(&wanted) {
            self.report.payment_methods.unchanged += 1;
            return Ok(());
        }
        autopay::lock_collection(self.tx, firm, client.id).await?;
        payment_methods::update(self.tx, firm, client.id, stored.id, &wanted, self.by).await?;
        if client.autopay && client.method == Some(stored.id) {
            cycles::method_updated(self.tx, firm, client.id, self.by.at, self.by.cause).await?;
        }
        self.report.payment_methods.updated += 1;
        Ok(())
    }

    /// Whether it changed.
    async fn autopay(&mut self, firm: FirmId, client: &Client, stored: &Stored) -> Result<bool> {
        match &client.autopay {
            None => Ok(false),
            Some(Autopay::Off) if !stored.autopay => Ok(false),
            Some(Autopay::Off) => {
                autopay::lock_collection(self.tx, firm, stored.id).await?;
                autopay::switch_off(self.tx, firm, stored.id, Some("import"), self.by).await?;
                Ok(true)
            }
            Some(Autopay::On { payment_method, .. }) => {
                let method = payment_methods::find(self.tx, firm, stored.id, payment_method).await?;
                let method = method.ok_or_else(|| super::dangling(payment_method))?.id;
                if stored.autopay && stored.method == Some(method) {
                    return Ok(false);
                }
                autopay::lock_collection(self.tx, firm, stored.id).await?;
                let cards = (stored.method, method);
                autopay::switch_on(self.tx, firm, stored.id, cards, Some("import"), self.by).await?;
                Ok(true)
            }
        }
    }
}

impl Counts {
    /// How many rows were written.
    fn touched(self) -> usize {
        self.created + self.updated
    }
}
