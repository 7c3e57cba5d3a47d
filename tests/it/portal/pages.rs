//! R207, R211: the pages of the real program: each answers for who may, holds what it should, has nothing inline; and what a form does
//! changes the rows and leaves its audit entry.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tests::world::{Login, World};

use super::{
    client::{Answer, Browser, between},
    logged_in, operator, two_firms,
};

/// What no page of ours has: script or style of its own, and what a reader with a screen reader misses.
fn faults(path: &str, page: &Answer) -> Vec<String> {
    let text = &page.text;
    let mut faults = Vec::new();
    let mut check = |ok: bool, what: &str| {
        if !ok {
            faults.push(format!("{path}: {what}"));
        }
    };
    check(page.status == 200, &format!("{} {text}", page.status));
    for inline in [
        "<script",
        "<style",
        " style=\"",
        " onclick=",
        " onload=",
        " onsubmit=",
        "javascript:",
    ] {
        check(!text.contains(inline), inline);
    }
    check(text.matches("<h1").count() == 1, "one h1");
    check(text.contains("<html lang=\"en\">"), "its language");
    check(text.contains("id=\"content\""), "where a skip leads");
    check(
        text.matches("<table").count() == text.matches("<caption").count(),
        "a caption for each table",
    );
    check(!text.contains("<th>"), "a scope for each header");
    let labels = text.matches("<label for=").count();
    let inputs = text.matches("<input id=").count() + text.matches("<select id=").count();
    check(labels == inputs, &format!("{labels} labels for {inputs} fields"));
    for svg in text.split("<svg").skip(1) {
        check(
            svg.contains("aria-hidden=\"true\"") || svg.contains("role=\"img\""),
            "a picture that is neither named nor hidden",
        );
    }
    let mut ids: Vec<&str> = text
        .split(" id=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    check(ids.len() == all, "each id once");
    faults
}

async fn look(browser: &mut Browser, pages: &[(&str, &[&str])]) {
    let mut all = Vec::new();
    for (path, holds) in pages {
        let page = browser.get(path).await;
        all.extend(faults(path, &page));
        for what in *holds {
            if !page.text.contains(what) {
                all.push(format!("{path}: no {what:?}"));
            }
        }
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

/// Rows that Stripe Billing would have made.
async fn subscribed(world: &World, invoices: usize) {
    let mut owner = PgConnection::connect(&world.database_url(Login::Owner))
        .await
        .unwrap();
    let acme = world
        .texts("select id::text from firms where external_id = 'acme'")
        .await
        .concat();
    let sql = format!(
        "select set_config('app.firm_id', '{acme}', false);
         insert into subscription_prices values ('price_pro', 'PRO', now()), ('price_ent', 'ENTERPRISE', now());
         update subscription_tiers set stripe_price_id = 'price_pro' where tier = 'PRO';
         update subscription_tiers set stripe_price_id = 'price_ent' where tier = 'ENTERPRISE';
         insert into platform_customers (firm_id, stripe_customer_id, billing_email, email_synced_at, created_at)
           values (app.firm(), 'cus_platform', 'billing@acme.example', now(), now());
         insert into platform_subscriptions (firm_id, id, stripe_subscription_id, stripe_item_id, stripe_price_id, tier, stripe_status,
             current_period_start, current_period_end, cancel_at_period_end, default_payment_method_id, card_brand, card_last4,
             card_exp_month, card_exp_year, created_at, fetched_at)
           values (app.firm(), gen_random_uuid(), 'sub_1', 'si_1', 'price_pro', 'PRO', 'active', '2026-05-01', '2026-06-01', false, 'pm_1', 'visa',
             '4242', 12, 2030, now(), now());
         insert into platform_invoices (firm_id, id, stripe_invoice_id, number, stripe_status, currency, amount_due_minor, amount_paid_minor,
             amount_remaining_minor, billing_reason, issued_at, pdf_url, created_at, fetched_at)
           select app.firm(), gen_random_uuid(), 'in_' || n, 'P-' || n, case when n = 1 then 'open' else 'paid' end, 'usd', 2900,
             case when n = 1 then 0 else 2900 end, case when n = 1 then 2900 else 0 end, 'subscription_cycle', now(),
             'https://stripe.example/pdf/' || n, now() - make_interval(days => n), now() from generate_series(1, {invoices}) as n"
    );
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut owner)
        .await
        .unwrap();
}

/// What the form with this action sends: what it hides, and these.
fn filled(page: &Answer, action: &str, fields: &[(&str, &str)]) -> Vec<(String, String)> {
    let (_, form) = page
        .text
        .split_once(&format!("action=\"{action}\""))
        .unwrap_or_else(|| panic!("no form {action} in {}", page.text));
    let form = form.split("</form>").next().unwrap();
    let mut sent: Vec<(String, String)> = form
        .split("<input type=\"hidden\"")
        .skip(1)
        .map(|field| {
            (
                between(field, "name=\"", "\""),
                between(field, "value=\"", "\"").replace("&#38;", "&"),
            )
        })
        .collect();
    sent.extend(
        fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    sent
}

async fn send(browser: &mut Browser, page: &Answer, action: &str, fields: &[(&str, &str)]) -> Answer {
    let sent = filled(page, action, fields);
    let sent: Vec<(&str, &str)> = sent
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    browser.submit(action, &sent).await
}

/// the six routes, served as HTML.
#[tokio::test]
async fn r207_the_pages_of_a_firm_hold_what_they_should_and_nothing_inline() {
    let world = two_firms().await;
    subscribed(&world, 12).await;
    let mut owner = logged_in(&world, "owner-acme").await;
    look(
        &mut owner,
        &[
            (
                "/billing/",
                &[
                    "Ageing",
                    "Collected against open",
                    "Dunning funnel",
                    "Why charges failed",
                    "The same as a table",
                ],
            ),
            (
                "/billing/invoices",
                &["zebra", "yak", "Paid", "Only with something open"],
            ),
            ("/billing/invoices?status=paid&client=zebra", &["zebra"]),
            (
                "/billing/invoices?status=written_off",
                &["No invoice is like this."],
            ),
            (
                "/billing/invoices/inv-zebra",
                &["Lines", "Attempts", "What happened", "Give money back"],
            ),
            ("/billing/engagements", &["eng-zebra", "Signed"]),
            (
                "/billing/engagements/eng-zebra",
                &["Terms", "Versions", "No period has been billed yet."],
            ),
            ("/billing/time", &["Only approved time is ever invoiced"]),
            ("/billing/credits", &["No client has credit.", "zebra"]),
            (
                "/billing/credits/zebra",
                &["Give credit", "This client has never had credit."],
            ),
            ("/billing/disputes", &["There are no disputes."]),
            (
                "/api/alerts/",
                &["What the words mean", "Payment failed", "Usage high", "Unread"],
            ),
            (
                "/api/billing/",
                &[
                    "Pro",
                    "29.00 USD / month",
                    "Renews on",
                    "1 Jun 2026",
                    "Active employees",
                    "P-1",
                    "PDF",
                ],
            ),
            (
                "/api/billing/upgrade/",
                &[
                    "Enterprise",
                    "Unlimited",
                    "99.00 USD / month",
                    "Upgrade to Enterprise",
                    "Stripe prorates by itself",
                    "365 days",
                ],
            ),
            (
                "/api/billing/payment-history/",
                &[
                    "Page 1 of 2, 12 in all",
                    "Total invoiced",
                    "348.00 USD",
                    "319.00 USD",
                    "29.00 USD",
                    "https://stripe.example/pdf/1",
                ],
            ),
            ("/api/billing/payment-history/?page=2", &["Page 2 of 2", "P-12"]),
            (
                "/api/billing/payment-history/?status=OPEN",
                &["Page 1 of 1, 1 in all"],
            ),
            (
                "/api/billing/settings/",
                &[
                    "Switch automatic renewal off",
                    "billing@acme.example",
                    "Visa ending 4242",
                    "Danger zone",
                    "Tax id",
                ],
            ),
            (
                "/billing/explain?id=inv-zebra",
                &["Verdict", "Where it is written"],
            ),
            (
                "/billing/break-glass",
                &["Nobody of the platform has looked into this firm."],
            ),
        ],
    )
    .await;
    let history = owner.get("/api/billing/payment-history/").await;
    assert_eq!(
        history.text.matches("<tr role=\"row\"><td").count(),
        10,
        "ten on a page"
    );
    let list = owner.get("/billing/invoices").await;
    assert!(
        list.text
            .contains("href=\"/billing/invoices\" aria-current=\"page\""),
        "{}",
        list.text
    );
    assert!(!list.text.contains("wolf"));
}

#[tokio::test]
async fn r004_a_portal_user_sees_their_own_pages_and_no_buttons_of_the_firm() {
    let world = two_firms().await;
    let mut ceo = logged_in(&world, "client-acme").await;
    look(
        &mut ceo,
        &[
            ("/billing/invoices", &["Invoice"]),
            ("/billing/invoices/inv-zebra", &["Lines", "What happened", "Paid"]),
            ("/billing/credits/zebra", &["Credit"]),
        ],
    )
    .await;
    let list = ceo.get("/billing/invoices").await.text;
    assert!(!list.contains("inv-yak") && !list.contains("Overview"), "{list}");
    let own = ceo.get("/billing/invoices/inv-zebra").await.text;
    for of_the_firm in [
        "Danger zone",
        "Give money back",
        "Explain this invoice",
        "Attempts",
    ] {
        assert!(!own.contains(of_the_firm), "{of_the_firm}");
    }
    for foreign in [
        "/billing/invoices/inv-yak",
        "/billing/credits/yak",
        "/billing/invoices/inv-wolf",
    ] {
        assert_eq!(ceo.get(foreign).await.status, 404, "{foreign}");
    }
    for shut in [
        "/billing/",
        "/api/billing/",
        "/billing/disputes",
        "/api/alerts/",
        "/billing/time",
        "/console/",
    ] {
        assert_eq!(ceo.get(shut).await.status, 403, "{shut}");
    }
    let home = ceo.get("/").await;
    assert_eq!(home.header("location"), "/billing/invoices");
}

#[tokio::test]
async fn r214_settings_ask_stripe_once_with_a_job_and_an_audit_entry() {
    let world = two_firms().await;
    subscribed(&world, 1).await;
    let mut admin = logged_in(&world, "admin-acme").await;
    let page = admin.get("/api/billing/settings/").await;
    let why_not = send(&mut admin, &page, "/api/billing/cancel", &[("reason", "")]).await;
    assert_eq!(why_not.status, 400, "a reason is asked for: {}", why_not.text);
    assert_eq!(world.count("select count(*) from platform_requests").await, 0);
    let done = send(&mut admin, &page, "/api/billing/auto-renewal", &[]).await;
    assert_eq!(
        (done.status, done.header("location")),
        (303, "/api/billing/settings/?done=asked"),
        "{}",
        done.text
    );
    let asked = "select kind || ' ' || auto_renewal || ' ' || requested_by from platform_requests";
    assert_eq!(world.texts(asked).await, ["auto_renewal false admin-acme"]);
    let audit =
        "select count(*) from audit_events where action = 'platform.asked' and actor_id = 'admin-acme'";
    assert_eq!(world.count(audit).await, 1);
    assert_eq!(
        world
            .count("select count(*) from jobs where kind = 'platform_request'")
            .await,
        1
    );
    let again = send(&mut admin, &page, "/api/billing/auto-renewal", &[]).await;
    assert_eq!(
        again.status, 303,
        "the same form sent twice is one request: {}",
        again.text
    );
    assert_eq!(world.count("select count(*) from platform_requests").await, 1);
    let link = send(&mut admin, &page, "/api/billing/payment-method", &[]).await;
    assert!(
        link.header("location")
            .starts_with("/api/billing/settings/?request="),
        "{}",
        link.header("location")
    );
    let shown = admin.get(link.header("location")).await;
    let told = [
        "The link to Stripe is being made.",
        "Stripe refused",
        "Go on to Stripe",
    ];
    assert!(
        told.iter().any(|what| shown.text.contains(what)),
        "{}",
        shown.text
    );
    let email = send(
        &mut admin,
        &page,
        "/api/billing/email",
        &[("email", "new@acme.example")],
    )
    .await;
    assert_eq!(email.status, 303, "{}", email.text);
    assert_eq!(
        world.texts("select billing_email from platform_customers").await,
        ["new@acme.example"]
    );
    let bad = admin
        .submit("/api/billing/auto-renewal", &[("on", "false")])
        .await;
    assert_eq!(bad.status, 403, "without its token a form does nothing");
}

#[tokio::test]
async fn r205_alerts_are_read_one_by_one_and_all_at_once() {
    let world = two_firms().await;
    for key in ["a", "b", "c"] {
        let raised = [
            "alert",
            "raise",
            "--firm-id",
            "acme",
            "--type",
            "USAGE_HIGH",
            "--severity",
            "warning",
            "--title",
            key,
            "--message",
            "nearly all is used",
            "--dedupe-key",
            key,
        ];
        world.json(&raised).await;
    }
    let mut admin = logged_in(&world, "admin-acme").await;
    let page = admin.get("/api/alerts/").await;
    let unread = "select count(*) from alerts where not is_read and alert_type = 'USAGE_HIGH'";
    assert!(page.text.contains("nearly all is used"), "{}", page.text);
    let id = world
        .texts("select id::text from alerts where dedupe_key = 'named:a'")
        .await
        .concat();
    let done = send(&mut admin, &page, &format!("/api/alerts/{id}/read"), &[]).await;
    assert_eq!(
        (done.status, done.header("location")),
        (303, "/api/alerts/?done=read")
    );
    assert_eq!(world.count(unread).await, 2);
    let page = admin.get("/api/alerts/?show=unread&type=USAGE_HIGH").await;
    assert!(!page.text.contains(&format!("/api/alerts/{id}/")), "it is read");
    let done = send(&mut admin, &page, "/api/alerts/read-all", &[]).await;
    assert_eq!(
        done.header("location"),
        "/api/alerts/?show=unread&type=USAGE_HIGH&done=all_read"
    );
    assert_eq!(world.count(unread).await, 0);
    let kept =
        "select count(*) from audit_events e join alerts a on a.firm_id = e.firm_id and a.id = e.subject_id
                 where e.action = 'alert.read' and e.actor_id = 'admin-acme' and a.alert_type = 'USAGE_HIGH'";
    assert_eq!(world.count(kept).await, 3, "each is on record");
    let page = admin.get(done.header("location")).await;
    assert!(
        page.text.contains("All alerts are marked as read.") && page.text.contains("No alert is like this."),
        "{}",
        page.text
    );
    let page = admin.get("/api/alerts/").await;
    send(&mut admin, &page, &format!("/api/alerts/{id}/resolve"), &[]).await;
    assert_eq!(
        world
            .texts("select resolved_by from alerts where is_resolved and dedupe_key = 'named:a'")
            .await,
        ["admin-acme"]
    );
}

#[tokio::test]
async fn r101_a_manager_approves_time_on_its_page_and_the_books_say_who() {
    let world = two_firms().await;
    let today = crate::acme::today(&world).await;
    let add = [
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
        "--external-id",
        "t-1",
    ];
    world.json(&add).await;
    let mut staff = logged_in(&world, "staff-acme").await;
    let page = staff.get("/billing/time").await;
    let id = world
        .texts("select id::text from time_entries where external_id = 't-1'")
        .await
        .concat();
    send(&mut staff, &page, &format!("/billing/time/{id}/submit"), &[]).await;
    let page = staff.get("/billing/time").await;
    assert!(
        page.text.contains("1 h 30 min") && !page.text.contains("/approve"),
        "{}",
        page.text
    );
    let mut manager = logged_in(&world, "manager-acme").await;
    let page = manager.get("/billing/time?state=submitted").await;
    let done = send(&mut manager, &page, &format!("/billing/time/{id}/approve"), &[]).await;
    assert_eq!(
        done.header("location"),
        "/billing/time?state=submitted&done=approved",
        "{}",
        done.text
    );
    assert_eq!(
        world
            .texts("select state || ' ' || approved_by from time_entries where external_id = 't-1'")
            .await,
        ["approved manager-acme"]
    );
    let page = manager.get(done.header("location")).await;
    assert!(page.text.contains("Nothing waits for approval."), "{}", page.text);
}

#[tokio::test]
async fn r113_a_credit_that_is_given_twice_by_a_double_click_is_given_once() {
    let world = two_firms().await;
    let mut admin = logged_in(&world, "admin-acme").await;
    let page = admin.get("/billing/credits/zebra").await;
    let fields = [
        ("amount", "12.50"),
        ("reason", "for the delay"),
        ("expires_on", ""),
    ];
    for _ in 0..2 {
        let done = send(&mut admin, &page, "/billing/credits/zebra/give", &fields).await;
        assert_eq!(
            (done.status, done.header("location")),
            (303, "/billing/credits/zebra?done=credit"),
            "{}",
            done.text
        );
    }
    assert_eq!(
        world
            .texts("select amount_minor || ' ' || issued_by from credit_lots")
            .await,
        ["1250 admin-acme"]
    );
    let page = admin.get("/billing/credits/zebra").await;
    assert!(
        page.text.contains("12.50 USD") && page.text.contains("for the delay"),
        "{}",
        page.text
    );
    world.assert_books_balance().await;
}

/// the operator console lives with the pages.
#[tokio::test]
async fn r207_the_console_shows_queues_and_asks_for_a_reason() {
    let world = two_firms().await;
    let mut alice = operator(&world, "alice").await;
    assert_eq!(alice.get("/").await.header("location"), "/console/");
    look(
        &mut alice,
        &[
            (
                "/console/",
                &[
                    "Queues",
                    "Oldest due",
                    "Workers alive",
                    "Charges",
                    "Show them live",
                ],
            ),
            ("/console/jobs?state=discarded", &["No job is like this."]),
            ("/console/jobs", &["Jobs"]),
            ("/console/events", &["Event"]),
            (
                "/console/schedules",
                &["Latest ticks", "generate_package_invoices"],
            ),
            ("/console/workers", &["Works"]),
            ("/console/findings", &["agree for every firm"]),
            (
                "/console/audit",
                &["Changes of the installation", "Login succeeded"],
            ),
            ("/console/break-glass", &["You have no open session."]),
            ("/console/explain", &["Explain"]),
        ],
    )
    .await;
    let live = alice.get("/console/?live=1").await;
    assert_eq!(live.header("refresh"), "5");
    let page = alice.get("/console/").await;
    assert_eq!(page.header("refresh"), "");
    let silent = send(
        &mut alice,
        &page,
        "/console/queues/invoices/pause",
        &[("reason", " ")],
    )
    .await;
    assert_eq!(silent.status, 400, "{}", silent.text);
    assert_eq!(world.count("select count(*) from queue_pauses").await, 0);
    let done = send(
        &mut alice,
        &page,
        "/console/queues/invoices/pause",
        &[("reason", "a look at the books")],
    )
    .await;
    assert_eq!(
        (done.status, done.header("location")),
        (303, "/console/?done=paused"),
        "{}",
        done.text
    );
    let kept = "select action || ' ' || reason || ' ' || changed_by from installation_changes where action like 'queue.%'";
    assert_eq!(
        world.texts(kept).await,
        ["queue.paused a look at the books alice"]
    );
    let page = alice.get("/console/").await;
    assert!(
        page.text.contains("by alice: a look at the books"),
        "{}",
        page.text
    );
    send(
        &mut alice,
        &page,
        "/console/queues/invoices/resume",
        &[("reason", "looked")],
    )
    .await;
    assert_eq!(world.count("select count(*) from queue_pauses").await, 0);
}

#[tokio::test]
async fn r092_break_glass_opens_on_a_page_shows_its_banner_on_both_sides_and_ends() {
    let world = two_firms().await;
    let mut alice = operator(&world, "alice").await;
    let acme = world
        .texts("select id::text from firms where external_id = 'acme'")
        .await
        .concat();
    let path = format!("/billing/invoices?firm={acme}");
    assert_eq!(alice.get(&path).await.status, 403);
    let page = alice.get("/console/break-glass").await;
    let fields = [("firm", "acme"), ("reason", "ticket 4711"), ("minutes", "60")];
    let done = send(&mut alice, &page, "/console/break-glass/open", &fields).await;
    assert_eq!(
        (done.status, done.header("location")),
        (303, "/console/break-glass?done=opened"),
        "{}",
        done.text
    );
    let seen = alice.get(&path).await;
    assert!(
        seen.text.contains("zebra") && seen.text.contains("Break-glass is open."),
        "{}",
        seen.text
    );
    assert!(
        seen.text.contains(&format!("/billing/disputes?firm={acme}")),
        "links keep the firm: {}",
        seen.text
    );
    let invoice = alice
        .get(&format!("/billing/invoices/inv-zebra?firm={acme}"))
        .await;
    assert!(!invoice.text.contains("Danger zone"), "to look is not to act");
    look(
        &mut alice,
        &[
            (&format!("/console/jobs?firm={acme}"), &["collect"]),
            (&format!("/console/audit?firm={acme}"), &["entry "]),
        ],
    )
    .await;
    let mut owner = logged_in(&world, "owner-acme").await;
    let told = owner.get("/billing/break-glass").await;
    for what in ["Break-glass is open.", "alice", "ticket 4711"] {
        assert!(told.text.contains(what), "{what}: {}", told.text);
    }
    let id = world
        .texts("select id::text from break_glass_sessions")
        .await
        .concat();
    let ended = send(
        &mut owner,
        &told,
        &format!("/console/break-glass/{id}/revoke"),
        &[("reason", "enough")],
    )
    .await;
    assert_eq!(
        ended.header("location"),
        "/billing/break-glass?done=revoked",
        "{}",
        ended.text
    );
    assert_eq!(alice.get(&path).await.status, 403);
    let told = owner.get("/billing/break-glass").await;
    let reviewed = send(
        &mut owner,
        &told,
        &format!("/billing/break-glass/{id}/review"),
        &[("note", "as agreed")],
    )
    .await;
    assert_eq!(reviewed.status, 303, "{}", reviewed.text);
    let said = "select string_agg(action, ' ' order by id) from audit_events where action in ('break_glass.activated', 'break_glass.revoked', 'break_glass.reviewed')";
    assert_eq!(
        world.texts(said).await,
        ["break_glass.activated break_glass.revoked break_glass.reviewed"]
    );
}

#[tokio::test]
async fn r207_a_payment_from_elsewhere_is_recorded_on_the_invoices_page() {
    let world = two_firms().await;
    let client = json!({"external_id": "gnu", "firm": "acme", "name": "gnu"});
    let today = crate::acme::today(&world).await;
    let engagement = json!({"external_id": "eng-gnu", "client": "gnu", "pricing_mode": "hourly", "currency": "usd", "hourly_rate": "100.00", "starts_on": today, "signed": true});
    let invoice = json!({"external_id": "inv-gnu", "client": "gnu", "engagement": "eng-gnu", "currency": "usd", "issue_date": today, "due_date": today, "lines": [{"kind": "hourly", "description_code": "hours", "amount": "50.00"}]});
    world
        .import(&json!({"clients": [client], "engagements": [engagement], "invoices": [invoice]}))
        .await;
    let mut admin = logged_in(&world, "admin-acme").await;
    let page = admin.get("/billing/invoices/inv-gnu").await;
    let action = between(&page.text, "action=\"/billing/invoices/", "/external-payments\"");
    let action = format!("/billing/invoices/{action}/external-payments");
    let done = send(
        &mut admin,
        &page,
        &action,
        &[("amount", "20.00"), ("reference", "wire 7"), ("received_on", "")],
    )
    .await;
    assert_eq!(
        (done.status, done.header("location")),
        (303, "/billing/invoices/inv-gnu?done=recorded"),
        "{}",
        done.text
    );
    let page = admin.get("/billing/invoices/inv-gnu").await;
    assert!(
        page.text.contains("30.00 USD") && page.text.contains("wire 7"),
        "{}",
        page.text
    );
    let void = send(
        &mut admin,
        &page,
        &action.replace("external-payments", "write-off"),
        &[("reason", "too small")],
    )
    .await;
    assert_eq!(void.status, 303, "{}", void.text);
    assert!(
        admin
            .get("/billing/invoices/inv-gnu")
            .await
            .text
            .contains("Written off")
    );
    world.assert_books_balance().await;
}
