//! Stories through the real programs, named after what they prove.

mod clock;
mod documents;
mod stripe_sim;
