//! What a destination of alerts is told, and which destinations there may be. Who sends it is the worker's business
//! (`worker/src/delivery`).

mod address;
mod notice;
mod target;

pub use address::{Network, NoNetwork, Reach};
pub use notice::Notice;
pub use target::{BadTarget, Target};

use super::words::word_enum;

word_enum!(
    /// How a destination is told.
    Channel, "kind of destination":
    /// An HTTP request with a signature.
    Webhook = "webhook",
    /// A mail.
    Email = "email",
);

word_enum!(
    /// What about an alert is told. That it is counted up is not.
    Edge, "edge":
    /// It is new.
    Opened = "opened",
    /// An earlier one of the same key was over; this is the next.
    Reopened = "reopened",
    /// It matters more than before.
    Worsened = "worsened",
    /// Nothing: somebody tries whether a destination hears.
    Test = "test",
);

word_enum!(
    /// What became of a delivery.
    DeliveryState, "state":
    /// It has not arrived, and is tried (again).
    Waiting = "waiting",
    /// It has arrived.
    Delivered = "delivered",
    /// It was given up.
    Failed = "failed",
    /// Its destination was taken away or wants no more.
    Dropped = "dropped",
);
