//! What the stories stand on: the test world, the simulator, who asks the portal, and receivers of what the programs send out.

pub mod browser;
pub mod receivers;
pub mod stripe_sim;
pub mod world;
