//! What the stories stand on: the test world, the simulator, and receivers of what the programs send out.

pub mod receivers;
pub mod stripe_sim;
pub mod world;
