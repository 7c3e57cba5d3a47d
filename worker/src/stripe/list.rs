//! Reading a list of Stripe's page by page, whichever list it is.
//!
//! Lists run from the newest object to the oldest, a hundred at a time, and a page begins after the last object of the one
//! before. So what comes into being while somebody reads appears at the top, where he has been already: it shifts nothing
//! and is not seen. Who must not miss it reads again from where he began, or bounds the list by `created` and reads the rest
//! later. A cursor that is gone (an event after thirty days) is an error like any other: begin again.
//!
//! ```text
//! let mut pages = client.pages::<Charge>(List::charges().created_from(since));
//! while let Some(charges) = pages.next().await? { … }
//! ```
use std::marker::PhantomData;

use chrono::{DateTime, Utc};
use serde::Serialize;
use stripe_client_core::{RequestBuilder, StripeMethod, StripeRequest};

use super::{
    Operation,
    client::{Call, Client},
    error::Error,
    objects::{Fields, Page, ShapeError, StripeObject},
};

/// Rows read per request: Stripe's maximum.
const PAGE_SIZE: u8 = 100;
/// Pages read of a list that is kept whole in memory. Ten thousand refunds or disputes of one charge are a fault, not a charge.
const MAX_PAGES_KEPT: usize = 100;

/// A list, and which of its objects are wanted.
#[derive(Clone, Debug)]
pub struct List {
    operation: Operation,
    path: &'static str,
    query: Query,
}

/// The parameters as they go over the wire.
#[derive(Clone, Debug, Default, Serialize)]
struct Query {
    #[serde(skip_serializing_if = "Option::is_none")]
    charge: Option<String>,
    #[serde(skip_serializing_if = "Created::is_open")]
    created: Created,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_success: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    expand: Vec<String>,
    limit: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    starting_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    types: Vec<String>,
}

/// A range of time, in seconds since 1970, as Stripe counts.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Created {
    #[serde(skip_serializing_if = "Option::is_none")]
    gte: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lt: Option<i64>,
}

impl Created {
    fn is_open(&self) -> bool {
        self.gte.is_none() && self.lt.is_none()
    }
}

impl List {
    /// `GET /v1/events`: the last thirty days.
    #[must_use]
    pub fn events() -> Self {
        Self::of(Operation::ListEvents, "/events")
    }

    /// `GET /v1/payment_intents`
    #[must_use]
    pub fn payment_intents() -> Self {
        Self::of(Operation::ListPaymentIntents, "/payment_intents")
    }

    /// `GET /v1/charges`
    #[must_use]
    pub fn charges() -> Self {
        Self::of(Operation::ListCharges, "/charges")
    }

    /// `GET /v1/refunds`
    #[must_use]
    pub fn refunds() -> Self {
        Self::of(Operation::ListAllRefunds, "/refunds")
    }

    /// `GET /v1/refunds` of one charge (`ch_…`).
    #[must_use]
    pub fn refunds_of_charge(charge: &str) -> Self {
        Self::of(Operation::ListRefunds, "/refunds").with(|query| query.charge = Some(charge.to_owned()))
    }

    /// `GET /v1/disputes`
    #[must_use]
    pub fn disputes() -> Self {
        Self::of(Operation::ListAllDisputes, "/disputes")
    }

    /// `GET /v1/disputes` of one charge (`ch_…`).
    #[must_use]
    pub fn disputes_of_charge(charge: &str) -> Self {
        Self::of(Operation::ListDisputes, "/disputes").with(|query| query.charge = Some(charge.to_owned()))
    }

    /// `GET /v1/subscriptions` of one customer (`cus_…`), also those that are over.
    #[must_use]
    pub fn subscriptions_of(customer: &str) -> Self {
        Self::of(Operation::ListSubscriptions, "/subscriptions").with(|query| {
            query.customer = Some(customer.to_owned());
            query.status = Some("all");
        })
    }

    /// `GET /v1/balance_transactions`
    #[must_use]
    pub fn balance_transactions() -> Self {
        Self::of(Operation::ListBalanceTransactions, "/balance_transactions")
    }

    /// Only events of these types (twenty at most, says Stripe).
    #[must_use]
    pub fn of_types(self, names: &[&str]) -> Self {
        self.with(|query| query.types = names.iter().map(|name| (*name).to_owned()).collect())
    }

    /// Only events that some webhook endpoint has not taken, or not yet.
    #[must_use]
    pub fn undelivered(self) -> Self {
        self.with(|query| query.delivery_success = Some(false))
    }

    /// Created at this time or later. Stripe counts whole seconds; the one that `at` lies in is wanted whole.
    #[must_use]
    pub fn created_from(self, at: DateTime<Utc>) -> Self {
        self.with(|query| query.created.gte = Some(at.timestamp()))
    }

    /// Created before the second that `at` lies in, so that a list from `at` on goes on where this one ends.
    #[must_use]
    pub fn created_before(self, at: DateTime<Utc>) -> Self {
        self.with(|query| query.created.lt = Some(at.timestamp()))
    }

    /// With what this leads to in place of its id: `data.balance_transaction`.
    #[must_use]
    pub fn expand(self, path: &str) -> Self {
        self.with(|query| query.expand.push(path.to_owned()))
    }

    fn of(operation: Operation, path: &'static str) -> Self {
        let query = Query {
            limit: PAGE_SIZE,
            ..Query::default()
        };
        Self {
            operation,
            path,
            query,
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Query)) -> Self {
        change(&mut self.query);
        self
    }
}

impl StripeRequest for List {
    type Output = ();

    fn build(&self) -> RequestBuilder {
        RequestBuilder::new(StripeMethod::Get, self.path).query(&self.query)
    }
}

/// The pages of a list, read one by one as they are asked for.
pub struct Pages<'c, T> {
    client: &'c Client,
    list: List,
    has_more: bool,
    of: PhantomData<fn() -> T>,
}

impl Client {
    /// Reads a list page by page; asks Stripe for nothing yet.
    #[must_use]
    pub fn pages<T: StripeObject>(&self, list: List) -> Pages<'_, T> {
        Pages {
            client: self,
            list,
            has_more: true,
            of: PhantomData,
        }
    }
}

impl<T: StripeObject> Pages<'_, T> {
    /// The next page, in Stripe's order (newest first); none after the last one. A page may be empty: the list was.
    ///
    /// After an error the same page may be asked for again.
    ///
    /// # Errors
    /// See [`Error`]; a list that does not move on is [`Error::Invalid`].
    pub async fn next(&mut self) -> Call<Option<Vec<T>>> {
        if !self.has_more {
            return Ok(None);
        }
        let page: Page<Listed<T>> = self.client.read(self.list.operation, &self.list).await?;
        let last = page.data.last().map(|listed| listed.id.clone());
        if last.is_some() && last == self.list.query.starting_after {
            return Err(self.endless("ends where it began"));
        }
        self.has_more = page.has_more && last.is_some();
        self.list.query.starting_after = last.or(self.list.query.starting_after.take());
        Ok(Some(page.data.into_iter().map(|listed| listed.object).collect()))
    }

    /// Everything that is left, where it is known to be little.
    ///
    /// # Errors
    /// See [`Error`]; more than a hundred pages are [`Error::Invalid`].
    pub async fn collect(mut self) -> Call<Vec<T>> {
        let mut objects = Vec::new();
        for _ in 0..MAX_PAGES_KEPT {
            match self.next().await? {
                Some(page) => objects.extend(page),
                None => return Ok(objects),
            }
        }
        if self.has_more {
            return Err(self.endless("has too many pages"));
        }
        Ok(objects)
    }

    fn endless(&self, how: &str) -> Error {
        Error::Invalid {
            code: "endless_list".to_owned(),
            param: None,
            message: format!("{} {how}", self.list.operation.as_str()),
            request_id: None,
        }
    }
}

/// An object of a list, and the id that the next page starts after.
struct Listed<T> {
    id: String,
    object: T,
}

impl<T: StripeObject> StripeObject for Listed<T> {
    const NAME: &'static str = T::NAME;

    fn read(fields: &Fields<'_>) -> Result<Self, ShapeError> {
        Ok(Self {
            id: fields.text("id")?,
            object: T::read(fields)?,
        })
    }
}
