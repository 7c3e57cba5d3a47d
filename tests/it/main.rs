//! Stories through the real programs, named after what they prove.

mod acme;
mod cast;
mod charging;
mod clock;
mod commands;
mod crashes;
mod disputes;
mod documents;
mod generation;
mod ladder;
mod p2_exactly_once;
mod races;
mod refunds;
mod stripe_sim;
mod unknown_outcomes;
