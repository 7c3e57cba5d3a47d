//! A payment method, as far as an operator may see it.
use super::{Fields, ShapeError, StripeObject};

/// A stored card or another way to pay. Stripe keeps the number; we see what is printed on receipts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentMethod {
    /// `pm_…`, or `card_…` and `src_…` of older ones.
    pub id: String,
    /// `cus_…` it is attached to; none once it is detached.
    pub customer: Option<String>,
    /// `visa`, `mastercard`, …; none for what is no card.
    pub brand: Option<String>,
    /// The last four digits.
    pub last4: Option<String>,
    /// 1 to 12.
    pub exp_month: Option<i64>,
    /// Four digits.
    pub exp_year: Option<i64>,
    /// The same for the same card number, in whichever payment method it is stored.
    pub fingerprint: Option<String>,
}

impl StripeObject for PaymentMethod {
    const NAME: &'static str = "payment_method";

    fn read(method: &Fields<'_>) -> Result<Self, ShapeError> {
        let card = method.child("card");
        // A card object of the older API has the card's fields itself.
        let card = card.as_ref().unwrap_or(method);
        Ok(Self {
            id: method.text("id")?,
            customer: method.reference("customer"),
            brand: card.text_if_any("brand"),
            last4: card.text_if_any("last4"),
            exp_month: card.integer_if_any("exp_month")?,
            exp_year: card.integer_if_any("exp_year")?,
            fingerprint: card.text_if_any("fingerprint"),
        })
    }
}
