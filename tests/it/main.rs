//! Stories through the real programs, named after what they prove.

mod acme;
mod backlog;
mod binary_facts;
mod cast;
mod charging;
mod clock;
mod commands;
mod crashes;
mod deliveries;
mod disputes;
mod documents;
mod drain;
mod event_shapes;
mod generation;
mod ladder;
mod p1_durability;
mod p2_exactly_once;
mod p4_redis_loss;
mod p5_dead_workers;
mod p6_schedules;
mod races;
mod refunds;
mod sdk;
mod stripe_sim;
mod too_late;
mod unknown_outcomes;
