//! Crashes at every point (P2, P3, P5): a story is played once undisturbed, which records every point it passes
//! (`shared::failpoint`), and then again and again, each time with the process aborted at one of them and started again. It must
//! end in the same state as the undisturbed one, and Stripe must have been made to act as often.
//!
//! Without further ado a sample of the points is played; `tests/crash-points` plays all of them. See
//! `docs/decisions/0023-crash-points.md`.

mod choke_points;
mod play;
mod stage;
mod stories;

use play::crash_at_every_point_of;

macro_rules! crashes {
    ($($test:ident: $story:ident [$($part:literal),*];)*) => {
        $(
            #[tokio::test]
            async fn $test() {
                crash_at_every_point_of(stringify!($story), stories::$story, &[$($part),*]).await;
            }
        )*

        /// Per story, the handlers that it must be seen to run and the effects that it must be seen to have.
        const MUST_PASS: &[&[&str]] = &[$(&[$($part),*]),*];
    };
}

crashes! {
    p3_crash_points_of_an_invoice_that_is_paid: paid
        ["collect_invoice", "process_stripe_event", "commit", "note", "claim", "settle", "stripe", "turn", "gate", "stamp", "push",
         "sweep", "ack"];
    p3_crash_points_of_a_decline_and_its_retry: recovered ["collect_invoice", "process_recurring_charges"];
    p3_crash_points_of_an_answer_that_is_lost: looked_up ["reconcile_payment"];
    p3_crash_points_of_a_payment_that_must_be_authenticated: authenticated ["collect_invoice"];
    p2_crash_points_of_a_client_who_never_acts: given_up ["review_cycle"];
    p3_crash_points_of_a_card_that_the_portal_names: card_named ["attach_card"];
    p3_crash_points_of_a_refund: refunded ["refund_payment"];
    p2_crash_points_of_disputes: disputed ["process_stripe_event"];
    p2_crash_points_of_a_void_during_a_charge: voided ["cancel_payment_intent"];
    p2_crash_points_of_billing_and_credit: generated ["generate_package_invoices"];
    p2_crash_points_of_credit_that_expires: credit_expired ["expire_credit"];
    p3_crash_points_of_a_firms_own_subscription: subscribed ["platform_request", "refresh_subscription"];
    p2_crash_points_of_an_alert_that_is_told: alert_told ["deliver_alert", "tell"];
    p2_crash_points_of_break_glass: glass_expired ["expire_break_glass"];
    p6_crash_points_of_a_week_of_schedules: a_week_later ["backfill_events", "reconcile", "prune", "seal_audit", "process_recurring_charges", "expire_credit", "report_day"];
}
