//! What people do in the portal, click by click; counted afterwards where it happened.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use tests::world::World;

use super::chromium::{Chromium, DESK, PHONE, Person, View};
use crate::{
    cast::{self, Payer},
    jobs_by_hand, platform,
    portal::{PASSWORD, client::totp, enrol, give_password, two_firms},
};

/// Somebody who has logged in.
async fn at_work<'a>(world: &World, chromium: &'a Chromium, who: &'a str, view: View) -> Person<'a> {
    give_password(world, who).await;
    let person = chromium.person(who, view);
    person.log_in(who, PASSWORD, "");
    person
}

/// What an invoice is called on paper.
async fn number_of(world: &World, invoice: &str) -> String {
    let sql = format!("select number from invoices where id = {invoice}");
    world.texts(&sql).await.concat()
}

#[tokio::test]
async fn r212_a_person_logs_in_and_out_and_a_wrong_password_says_so() {
    let world = two_firms().await;
    let Some(chromium) = Chromium::start(&world) else {
        return;
    };
    give_password(&world, "owner-acme").await;
    let owner = chromium.person("owner-acme", DESK);
    owner.visit("/billing/invoices?status=paid");
    owner.sees(&["Log in"]);
    owner.log_in("owner-acme", "a guess", "");
    owner.sees(&["Log in"]);
    let sessions = "select count(*) from portal_sessions";
    assert_eq!(world.count(sessions).await, 0);

    // The page that was asked for is where the login leads.
    owner.visit("/billing/invoices?status=paid");
    owner.fill("Name", "owner-acme");
    owner.fill("Password", PASSWORD);
    owner.press("Log in");
    assert_eq!(owner.address(), "/billing/invoices?status=paid");
    owner.sees(&["zebra", "owner of acme"]);
    owner.misses(&["wolf"]);
    assert_eq!(world.count(sessions).await, 1);
    owner.press("Log out");
    owner.sees(&["Log in"]);
    owner.visit("/billing/");
    owner.sees(&["Log in"]);
    owner.leave();
}

/// R210, A-24: with proration left to Stripe, and one change for one click.
#[tokio::test]
async fn r210_an_owner_upgrades_the_plan_and_stripe_has_one_subscription_with_the_new_price() {
    let world = two_firms().await;
    let Some(chromium) = Chromium::start(&world) else {
        return;
    };
    platform::prices(&world).await;
    platform::customer(&world, "acme", &[]).await;
    platform::subscribe(&world, "acme", "PRO").await;
    let owner = at_work(&world, &chromium, "owner-acme", DESK).await;
    owner.menu("Plan");
    owner.sees(&["Plan Active", "29.00 USD / month", "Renews on"]);
    owner.menu("Compare and change");
    owner.sees(&["Pro (your plan)", "Unlimited", "Stripe prorates by itself"]);
    owner.press("Upgrade to Enterprise");
    owner.sees(&["Asked for."]);
    world.settle().await;
    owner.menu("Dashboard");
    owner.sees(&["99.00 USD / month", "Unlimited"]);
    owner.misses(&["29.00 USD / month", "on its way to Stripe"]);
    owner.menu("Payment history");
    owner.sees(&["1 in all", "29.00 USD"]);
    owner.leave();

    assert_eq!(
        platform::standing(&world, "acme").await,
        "ACTIVE ENTERPRISE active"
    );
    let asked = "select kind || ' ' || state || ' ' || requested_by from platform_requests where kind = 'change_tier'";
    assert_eq!(world.texts(asked).await, ["change_tier done owner-acme"]);
    let enterprise = world
        .texts("select stripe_price_id from subscription_tiers where tier = 'ENTERPRISE'")
        .await
        .concat();
    let billing = world.sim.get("/billing").await.unwrap();
    let subscriptions = billing["subscriptions"].as_array().unwrap();
    assert_eq!(subscriptions.len(), 1, "{billing}");
    assert!(subscriptions[0].to_string().contains(&enterprise), "{billing}");
    assert_eq!(platform::assert_invoices_are_stripes(&world, "acme").await, 1);
}

/// R205: the failure happens while somebody is logged in; reading an alert neither ends it nor charges again.
#[tokio::test]
async fn r205_a_failed_payment_becomes_an_alert_that_is_read_on_its_page() {
    let world = two_firms().await;
    let Some(chromium) = Chromium::start(&world) else {
        return;
    };
    let admin = at_work(&world, &chromium, "admin-acme", DESK).await;
    admin.sees(&["0 unread"]);
    let gnu = Payer::of("acme", "gnu");
    cast::enter(&world, std::slice::from_ref(&gnu), &["insufficient_funds"]).await;
    world.settle().await;
    admin.reload();
    admin.menu("Alerts");
    admin.sees(&["Alerts 1 unread"]);
    let alert = admin.within("row", "Payment failed");
    alert.sees(&["Info", "unread"]);
    alert.press("Mark read");
    admin.sees(&["Marked as read."]);
    admin.misses(&["Alerts 1 unread"]);
    let number = number_of(&world, &gnu.invoice_sql()).await;
    admin.within("row", "Payment failed").follow(&number);
    admin.sees(&["Insufficient funds", "100.00 USD", "Next charge"]);
    admin.leave();

    let alerts = "select concat_ws(' ', alert_type, occurrences, is_read, is_resolved, read_by) from alerts";
    assert_eq!(world.texts(alerts).await, ["PAYMENT_FAILED 1 t f admin-acme"]);
    let attempts = format!(
        "select a.state from payment_attempts a join collection_cycles c on c.id = a.cycle_id where c.invoice_id = {}",
        gnu.invoice_sql()
    );
    assert_eq!(world.texts(&attempts).await, ["declined"]);
    let captured = 3 * cast::AMOUNT_MINOR;
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), captured);
}

/// R101, R207: from the hour that was worked to the money, by the hands of three people whose browsers run no script.
#[tokio::test]
async fn r101_time_is_handed_in_approved_and_invoiced_without_a_script() {
    let world = two_firms().await;
    let Some(chromium) = Chromium::start(&world) else {
        return;
    };
    let today = crate::acme::today(&world).await;
    let worked = [
        "time",
        "add",
        "--engagement",
        "eng-zebra",
        "--worker",
        "staff-acme",
        "--worked-on",
        &today,
        "--minutes",
        "90",
    ];
    world.json(&worked).await;
    let plain = View {
        javascript: false,
        ..DESK
    };
    let staff = at_work(&world, &chromium, "staff-acme", plain).await;
    let entry = staff.within("row", "eng-zebra");
    entry.sees(&["1 h 30 min", "Draft"]);
    entry.press("Hand in");
    staff.within("row", "eng-zebra").misses(&["Approve"]);
    staff.leave();

    let manager = at_work(
        &world,
        &chromium,
        "manager-acme",
        View {
            javascript: false,
            ..PHONE
        },
    )
    .await;
    manager.choose("State", "Waits for approval");
    manager.press("Show");
    manager.within("row", "eng-zebra").press("Approve");
    manager.sees(&["Approved.", "Nothing waits for approval."]);
    manager.leave();

    world
        .json(&["invoice", "create", "--engagement", "eng-zebra"])
        .await;
    let owner = at_work(&world, &chromium, "owner-acme", plain).await;
    owner.menu("Invoices");
    owner.choose("Status", "Draft");
    owner.press("Show");
    owner.within("row", "zebra").follow("Draft");
    owner.sees(&["225.00 USD", "approved by manager-acme"]);
    assert_eq!(
        world.sim.captured_minor("usd").await.unwrap(),
        3 * cast::AMOUNT_MINOR
    );
    owner.press("Issue the invoice");
    owner.sees(&["The invoice is issued."]);
    world.settle().await;
    owner.reload();
    owner.sees(&["Paid 225.00 USD", "by card", "Charge succeeded"]);
    owner.leave();

    let billed = "select concat_ws(' ', t.state, t.approved_by, s.status, s.paid_minor, s.open_minor) from time_entries t
                    join invoice_lines l on l.time_entry_id = t.id join invoice_status s on s.id = l.invoice_id";
    assert_eq!(world.texts(billed).await, ["approved manager-acme paid 22500 0"]);
    let captured = world.sim.captured_minor("usd").await.unwrap();
    assert_eq!(captured, 3 * cast::AMOUNT_MINOR + 22_500);
    world.assert_books_balance().await;
}

/// An operator who has logged in with a second factor and opened a session for Acme.
async fn looking_into_acme<'a>(world: &World, chromium: &'a Chromium) -> Person<'a> {
    let secret = enrol(world, "alice").await;
    let alice = chromium.person("alice", DESK);
    alice.log_in("alice", PASSWORD, &totp(&secret));
    alice.menu("Break-glass");
    alice.sees(&["You have no open session."]);
    alice.fill("Firm", "acme");
    alice.fill("Reason", "ticket 4711");
    alice.choose("For", "Half an hour");
    alice.press("Open the session");
    alice.within("row", "ticket 4711").follow("Look into this firm");
    alice.sees(&["Break-glass is open.", "alice may look into this firm"]);
    alice
}

/// R207, R211: on the console, with a reason for each; what had its effect has it once.
#[tokio::test]
async fn r207_an_operator_replays_an_event_and_retries_a_discarded_job() {
    let world = two_firms().await;
    let Some(chromium) = Chromium::start(&world) else {
        return;
    };
    let job = jobs_by_hand::hopeless(&world, "by-hand").await;
    let alice = looking_into_acme(&world, &chromium).await;
    alice.menu("Console");
    alice.menu("Jobs");
    alice.choose("State", "discarded");
    alice.press("Show");
    alice.within("row", &job).follow("expire_credit");
    alice.sees(&["Discarded", "does not parse"]);
    jobs_by_hand::mend(&world).await;
    alice.unfold("Run it again");
    alice.within("form", "Run again").fill("Reason", "payload mended");
    alice.press("Run again");
    alice.sees(&["The jobs run again now."]);
    world.settle().await;
    alice.reload();
    alice.sees(&["Completed"]);

    let event = world
        .texts(
            "select stripe_event_id from stripe_events e join firms f on f.id = e.firm_id
              where type = 'payment_intent.succeeded' and external_id = 'acme' order by 1 limit 1",
        )
        .await
        .concat();
    let before = world.state_text_of("acme").await;
    alice.menu("Events");
    alice.within("row", &event).follow("payment_intent.succeeded");
    alice.unfold("Apply it once more");
    alice.fill("Reason", "the client asked");
    alice.press("Apply once more");
    alice.sees(&["The event is being applied once more."]);
    world.settle().await;
    alice.reload();
    alice.sees(&["Applied"]);
    alice.leave();

    let ended = format!("select state from jobs where id = '{job}'");
    assert_eq!(world.texts(&ended).await, ["completed"]);
    let done = "select concat_ws(' ', action, actor_kind, actor_id, meta ->> 'reason') from audit_events
                 where action in ('job.retried', 'event.replayed') order by id";
    assert_eq!(
        world.texts(done).await,
        [
            "job.retried operator alice payload mended",
            "event.replayed operator alice the client asked"
        ]
    );
    let money = |state: &str| {
        let kept: Vec<String> = state
            .lines()
            .filter(|line| line.contains("payment"))
            .map(str::to_owned)
            .collect();
        kept
    };
    assert_eq!(money(&before), money(&world.state_text_of("acme").await));
    assert_eq!(
        world.sim.captured_minor("usd").await.unwrap(),
        3 * cast::AMOUNT_MINOR
    );
}

/// R092: neither side misses it, to look is not to act, and when it ends it ends.
#[tokio::test]
async fn r092_break_glass_is_seen_on_both_sides_and_ends_when_the_firm_says_so() {
    let world = two_firms().await;
    let Some(chromium) = Chromium::start(&world) else {
        return;
    };
    let alice = looking_into_acme(&world, &chromium).await;
    alice.menu("Invoices");
    let zebra = Payer::of("acme", "zebra");
    let number = number_of(&world, &zebra.invoice_sql()).await;
    alice.within("row", "zebra").follow(&number);
    alice.sees(&["Break-glass is open.", "What happened"]);
    alice.misses(&["Danger zone", "Give money back", "wolf"]);

    let owner = at_work(&world, &chromium, "owner-acme", PHONE).await;
    owner.sees(&[
        "Break-glass is open.",
        "alice may look into this firm",
        "ticket 4711",
    ]);
    let other = at_work(&world, &chromium, "owner-other", DESK).await;
    other.misses(&["Break-glass is open."]);
    other.leave();
    assert_eq!(owner.visit("/billing/break-glass"), 200);
    owner.unfold("End it now");
    owner.fill("Reason", "we have seen enough");
    owner.press("End it now");
    owner.sees(&["The break-glass session has ended.", "Revoked"]);
    owner.misses(&["Break-glass is open."]);

    assert_eq!(alice.visit(&alice.address()), 403, "it has ended");
    alice.misses(&["zebra"]);
    alice.visit("/console/break-glass");
    alice.sees(&["You have no open session."]);
    alice.leave();
    owner.unfold("Review");
    owner.fill("What you found", "as agreed");
    owner.press("Review");
    owner.sees(&["Reviewed by owner-acme"]);
    owner.leave();

    let said = "select string_agg(action || ' ' || actor_id, ', ' order by id) from audit_events
                 where action in ('break_glass.activated', 'break_glass.revoked', 'break_glass.reviewed')";
    assert_eq!(
        world.texts(said).await,
        ["break_glass.activated alice, break_glass.revoked owner-acme, break_glass.reviewed owner-acme"]
    );
    let looks =
        "select count(*) from audit_events where action = 'break_glass.accessed' and actor_id = 'alice'";
    assert!(world.count(looks).await >= 3);
}
