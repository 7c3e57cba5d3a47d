//! An event as far as it says what it is about: for whoever looks which of them came in.
use chrono::{DateTime, Utc};

use super::{Fields, ShapeError, StripeObject};

/// An event, and the ids by which what it is about may be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRef {
    /// `evt_…`
    pub id: String,
    /// Such as `charge.refunded`.
    pub event_type: String,
    /// When it happened.
    pub created: DateTime<Utc>,
    /// The object itself, its PaymentIntent, its charge: those that it names.
    pub about: Vec<String>,
}

impl StripeObject for EventRef {
    const NAME: &'static str = "event";

    fn read(event: &Fields<'_>) -> Result<Self, ShapeError> {
        let object = event.child("data").and_then(|data| data.child("object"));
        let about = object.map(|object| {
            let named = [
                object.text_if_any("id"),
                object.reference("payment_intent"),
                object.reference("charge"),
            ];
            named.into_iter().flatten().collect()
        });
        Ok(Self {
            id: event.text("id")?,
            event_type: event.text("type")?,
            created: event.time("created")?,
            about: about.unwrap_or_default(),
        })
    }
}
