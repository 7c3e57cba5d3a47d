mod context;
mod metrics;
mod queue;

fn main() {}
