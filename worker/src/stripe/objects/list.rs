//! One page of a list.
use super::{Fields, ShapeError, StripeObject};

/// Some of a list's objects, and whether there are more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The objects, in Stripe's order.
    pub data: Vec<T>,
    /// Whether another page follows.
    pub has_more: bool,
}

impl<T: StripeObject> StripeObject for Page<T> {
    const NAME: &'static str = "list";

    fn read(list: &Fields<'_>) -> Result<Self, ShapeError> {
        let entries = list.get("data").and_then(serde_json::Value::as_array);
        let entries = entries.ok_or_else(|| list.wrong("data", "not an array"))?;
        Ok(Self {
            data: entries.iter().map(T::parse).collect::<Result<_, _>>()?,
            has_more: list.flag_if_any("has_more").unwrap_or(false),
        })
    }
}
