//! What the stories stand on: the test world. The simulator joins it here.

pub mod stripe_sim;
pub mod world;
