//! Identifiers: one type per thing, so that a client's id cannot be passed where an invoice's is wanted.
//!
//! All are UUIDv7, made by us, so they sort by creation and index well.

/// Declares one identifier type.
macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, sqlx::Type)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(pub uuid::Uuid);

        impl $name {
            /// A fresh id.
            #[must_use]
            #[allow(clippy::new_without_default)] // a fresh id is not a default
            pub fn new() -> Self {
                Self(uuid::Uuid::now_v7())
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
        impl From<uuid::Uuid> for $name {
            fn from(id: uuid::Uuid) -> Self {
                Self(id)
            }
        }
    };
}

id_type!(
    /// A tenant.
    FirmId
);
id_type!(
    /// A firm's client.
    ClientId
);
id_type!(
    /// A reference to a stored card.
    PaymentMethodId
);
id_type!(
    /// The terms agreed with a client.
    EngagementId
);
id_type!(
    /// Somebody of a firm, or of one of its clients.
    UserId
);
id_type!(
    /// Time worked for an engagement.
    TimeEntryId
);
id_type!(
    /// An invoice.
    InvoiceId
);
id_type!(
    /// One effort to collect one invoice.
    CycleId
);
id_type!(
    /// One try to charge within a cycle.
    AttemptId
);
id_type!(
    /// Money that arrived.
    PaymentId
);
id_type!(
    /// Credit given to a client at one time.
    CreditLotId
);
id_type!(
    /// Money that goes back to a client.
    RefundId
);
id_type!(
    /// A job of the queue.
    JobId
);
id_type!(
    /// Something that a person should look at.
    AlertId
);
id_type!(
    /// A place that is told of alerts.
    DestinationId
);
id_type!(
    /// What one destination is told of one alert.
    DeliveryId
);
id_type!(
    /// A firm's subscription to the platform.
    SubscriptionId
);
id_type!(
    /// An invoice that a firm pays to the platform.
    PlatformInvoiceId
);
id_type!(
    /// Something that Stripe was asked to do for platform billing.
    PlatformRequestId
);
