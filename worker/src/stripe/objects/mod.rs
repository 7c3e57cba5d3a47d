//! What we read of Stripe's objects: narrow structs that accept old and new API versions.
//!
//! Events arrive in the version of the endpoint, some of them years old, and Stripe adds and removes fields; so each
//! reader takes only what is needed, wherever that version keeps it, ignores the rest, and names the path of a needed
//! field that is not there. Statuses and currencies stay the strings Stripe sent: what is not ours may hold any, and an
//! unknown one must not stop an event from being read.
mod charge;
mod dispute;
mod event_ref;
mod fields;
mod invoice;
mod list;
mod payment_intent;
mod payment_method;
mod refund;
mod subscription;

#[cfg(test)]
mod tests;

pub use charge::{Charge, ChargeRef};
pub use dispute::{BalanceTransaction, Dispute};
pub use event_ref::EventRef;
pub use fields::{Fields, ShapeError};
pub use invoice::Invoice;
pub use list::Page;
pub use payment_intent::{PaymentError, PaymentIntent};
pub use payment_method::PaymentMethod;
pub use refund::Refund;
pub use subscription::{Made, SessionPage, Subscription};

use serde_json::Value;

/// One of Stripe's objects, as far as we read it.
pub trait StripeObject: Sized {
    /// Stripe's word for it, the first segment of the paths in errors.
    const NAME: &'static str;

    /// Reads it from its fields.
    ///
    /// # Errors
    /// When a needed field is missing or of another type.
    fn read(fields: &Fields<'_>) -> Result<Self, ShapeError>;

    /// Reads it from an answer, or from `data.object` of an event.
    ///
    /// # Errors
    /// When it is no object, or a needed field is missing or of another type.
    fn parse(value: &Value) -> Result<Self, ShapeError> {
        Self::read(&Fields::of(Self::NAME, value)?)
    }
}

/// An object as it came: for what is kept, or read by somebody else.
#[derive(Clone, Debug, PartialEq)]
pub struct Raw(pub Value);

impl StripeObject for Raw {
    const NAME: &'static str = "object";

    fn read(object: &Fields<'_>) -> Result<Self, ShapeError> {
        Ok(Self(object.whole()))
    }
}
