//! `clients` of a document, with references to their stored cards.

use super::reader::{Fields, boolean, integer, text};

pub(super) const KEYS: &[&str] = &[
    "external_id",
    "firm",
    "name",
    "stripe_customer_id",
    "payment_methods",
    "autopay",
];
const METHOD_KEYS: &[&str] = &[
    "stripe_payment_method_id",
    "brand",
    "last4",
    "exp_month",
    "exp_year",
];
const AUTOPAY_KEYS: &[&str] = &["enabled", "payment_method"];

/// A firm's client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Where in the document.
    pub path: String,
    /// Its id there and in every later document.
    pub external_id: String,
    /// Its firm.
    pub firm: String,
    /// Its name.
    pub name: String,
    /// Its customer at Stripe; `None` leaves it as it is.
    pub stripe_customer_id: Option<String>,
    /// Cards that it has; others that we know of stay.
    pub payment_methods: Vec<CardReference>,
    /// Whether its invoices are collected by card; `None` leaves it as it is.
    pub autopay: Option<Autopay>,
}

/// A reference to a card that Stripe keeps, and what may be shown of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardReference {
    /// Where in the document.
    pub path: String,
    /// Its id at Stripe.
    pub stripe_id: String,
    /// `visa` …
    pub brand: Option<String>,
    /// The last four digits.
    pub last4: Option<String>,
    /// Last month that it is valid in.
    pub exp_month: Option<i32>,
    /// And of which year.
    pub exp_year: Option<i32>,
}

/// What is to become of automatic payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Autopay {
    /// Switched on, with this card.
    On {
        /// The card's id at Stripe.
        payment_method: String,
        /// Where the document says so.
        path: String,
    },
    /// Switched off.
    Off,
}

pub(super) fn read(fields: &Fields<'_>) -> Option<Client> {
    let external_id = fields.required("external_id", text);
    let firm = fields.required("firm", text);
    let name = fields.required("name", text);
    let stripe_customer_id = fields.optional("stripe_customer_id", text);
    let methods: Vec<Option<CardReference>> = fields
        .list("payment_methods", METHOD_KEYS)
        .iter()
        .map(|method| read_method(method.as_ref()?))
        .collect();
    let autopay = match fields.object("autopay", AUTOPAY_KEYS) {
        None => None,
        Some(None) => Some(None),
        Some(Some(autopay)) => read_autopay(&autopay).map(Some),
    };
    Some(Client {
        path: fields.path().to_owned(),
        external_id: external_id?,
        firm: firm?,
        name: name?,
        stripe_customer_id: stripe_customer_id?,
        payment_methods: methods.into_iter().collect::<Option<_>>()?,
        autopay: autopay?,
    })
}

/// The ids at Stripe of the cards that a client lists, even of one that is at fault elsewhere.
pub(super) fn listed_methods<'v>(fields: &Fields<'v>) -> Vec<(&'v str, String)> {
    fields.peek_list("payment_methods", "stripe_payment_method_id")
}

fn read_method(fields: &Fields<'_>) -> Option<CardReference> {
    let stripe_id = fields.required("stripe_payment_method_id", text);
    let brand = fields.optional("brand", text);
    let last4 = fields.optional("last4", |value| {
        let digits = text(value)?;
        let four = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit());
        // What is there instead may be a card number: it is not repeated.
        if four {
            Ok(digits)
        } else {
            Err("must be the last four digits, nothing else".to_owned())
        }
    });
    let exp_month = fields.optional("exp_month", integer(1..=12));
    let exp_year = fields.optional("exp_year", integer(2000..=2100));
    Some(CardReference {
        path: fields.path().to_owned(),
        stripe_id: stripe_id?,
        brand: brand?,
        last4: last4?,
        exp_month: exp_month?,
        exp_year: exp_year?,
    })
}

fn read_autopay(fields: &Fields<'_>) -> Option<Autopay> {
    let enabled = fields.required("enabled", boolean);
    let method = fields.optional("payment_method", text);
    match (enabled?, method?) {
        (true, Some(payment_method)) => Some(Autopay::On {
            payment_method,
            path: fields.at("payment_method"),
        }),
        (true, None) => {
            fields.fault(
                "payment_method",
                "is missing: automatic payment needs one of the client's payment methods",
            );
            None
        }
        (false, _) => Some(Autopay::Off),
    }
}
