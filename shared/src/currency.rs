//! Currencies as Stripe charges them.
