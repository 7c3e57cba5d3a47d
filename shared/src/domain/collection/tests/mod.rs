//! The reducer, tried against a small model of the rows it changes and of Stripe.
mod books;
mod lifecycle;
mod orders;
mod single;
