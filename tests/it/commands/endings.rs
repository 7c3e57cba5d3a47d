//! How commands end that wait for workers: 75 where nobody does the work, or not in time, and 5 where one firm of several
//! fails. What they left enqueued is done all the same.

use serde_json::{Value, json};
use tests::world::{World, WorldOptions};

use crate::acme;

/// A worker, and nothing is billed but by the story.
async fn at_work() -> World {
    let world = World::start(WorldOptions::default()).await;
    acme::bill_by_hand_only(&world).await;
    world
}

/// An annual package that begins today, of a client that pays by card.
async fn sign(world: &World, firm: &str, client: &str) {
    acme::open_accounts(world, &[(client, &[])]).await;
    let mut document = acme::document(&[client]);
    document["firms"][0]["external_id"] = firm.into();
    document["clients"][0]["firm"] = firm.into();
    document["engagements"] = json!([{
        "external_id": format!("{client}-package"), "client": client, "pricing_mode": "package", "currency": "usd",
        "package_fee": "500.00", "package_fee_schedule": "annual", "period_anchor": "anniversary",
        "starts_on": acme::today(world).await, "signed": true,
    }]);
    world.import(&document).await;
}

/// As if somebody had paused a queue: its jobs are due, and wait.
async fn pause(world: &World, queue: &str) {
    let paused =
        format!("insert into queue_pauses values ('{queue}', now(), 'test', 'test') returning queue");
    assert_eq!(world.texts(&paused).await, [queue]);
}

async fn resume(world: &World) {
    assert_eq!(
        world
            .texts("delete from queue_pauses returning queue")
            .await
            .len(),
        1
    );
}

#[tokio::test]
async fn without_a_worker_a_run_ends_with_75_and_what_it_enqueued_is_done_once_one_comes() {
    let mut world = World::start(WorldOptions {
        workers: 0,
        ..WorldOptions::default()
    })
    .await;
    sign(&world, "acme", "globex").await;
    let run = world.cli(&["generate-package-invoices"]).await;
    assert_eq!((run.code, run.stdout.as_str()), (75, ""), "{run}");
    assert_eq!(
        run.stderr,
        "error: no worker is running: start `quittance worker`; the invoice runs stay enqueued and are done then\n"
    );
    let again = world.cli(&["generate-package-invoices", "--json"]).await;
    assert_eq!(again.code, 75, "{again}");
    assert_eq!(again.json().unwrap()["error"]["code"], "no_worker");

    acme::open_accounts(&world, &[("initech", &[])]).await;
    acme::bill(&world, &["initech"], "usd", "80.00").await;
    let run = world.cli(&["process-recurring-charges"]).await;
    assert_eq!((run.code, run.stdout.as_str()), (75, ""), "{run}");
    assert_eq!(
        run.stderr,
        "error: no worker is running: start `quittance worker`; the charges stay enqueued and are done then\n"
    );
    assert_eq!(world.count("select count(*) from payments").await, 0);

    world.add_worker().await;
    world.settle().await;
    let paid = "paid succeeded: auto 0 succeeded";
    acme::assert_outcomes(&world, &[("globex", paid), ("initech", paid)]).await;
    assert_eq!(world.sim.captured_minor("usd").await.unwrap(), 58_000);
    acme::assert_books_agree(&world).await;
}

#[tokio::test]
async fn when_the_waiting_time_is_up_a_run_ends_with_75_and_goes_on_by_itself() {
    let world = at_work().await;
    pause(&world, "invoices").await;
    sign(&world, "acme", "globex").await;
    let run = world
        .cli(&["generate-package-invoices", "--wait-secs", "1"])
        .await;
    assert_eq!((run.code, run.stdout.as_str()), (75, ""), "{run}");
    assert_eq!(
        run.stderr,
        "error: invoice runs not finished after 1 s; they stay enqueued and go on by themselves: see `quittance jobs list`\n"
    );
    // The charge that follows is made, and Stripe takes its time to answer.
    acme::hold_confirmations(&world, "hold_after", 1).await;
    resume(&world).await;
    world.until_held(1).await;
    let run = world
        .cli(&["process-recurring-charges", "--wait-secs", "1", "--json"])
        .await;
    assert_eq!(run.code, 0, "the charge under way is none of this run: {run}");
    assert_eq!(run.json().unwrap()["charged"], json!([]));
    world.sim.release().await.unwrap();
    world.settle().await;
    acme::assert_outcomes(&world, &[("globex", "paid succeeded: auto 0 succeeded")]).await;

    pause(&world, "charges").await;
    acme::open_accounts(&world, &[("initech", &[])]).await;
    acme::bill(&world, &["initech"], "usd", "80.00").await;
    let run = world
        .cli(&["process-recurring-charges", "--wait-secs", "1"])
        .await;
    assert_eq!((run.code, run.stdout.as_str()), (75, ""), "{run}");
    assert_eq!(
        run.stderr,
        "error: charges not finished after 1 s; they stay enqueued and go on by themselves: see `quittance jobs list`\n"
    );
    resume(&world).await;
    world.settle().await;
    acme::assert_outcomes(&world, &[("initech", "paid succeeded: auto 0 succeeded")]).await;
    assert_eq!(world.count("select count(*) from payments").await, 2);
    acme::assert_books_agree(&world).await;
}

/// Has the database refuse one firm's new rows of a table, to programs of this name.
async fn plant(world: &World, firm: &str, table: &str, program: &str) {
    let fault = format!(
        "create function public.planted() returns trigger language plpgsql as $$ begin
           if current_setting('application_name') = '{program}'
              and new.firm_id = (select id from firms where external_id = '{firm}') then
             raise exception 'a planted fault' using errcode = 'QT099';
           end if;
           return new;
         end $$;
         create trigger planted before insert on {table} for each row execute function public.planted()"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(fault))
        .execute(&world.db)
        .await
        .unwrap();
}

async fn uproot(world: &World) {
    sqlx::raw_sql("drop function public.planted cascade")
        .execute(&world.db)
        .await
        .unwrap();
}

fn firms(failed: &Value) -> Vec<String> {
    let failed = failed["failed"].as_array().unwrap();
    let line = |f: &Value| {
        format!(
            "{}: {}",
            f["firm"].as_str().unwrap(),
            f["message"].as_str().unwrap()
        )
    };
    failed.iter().map(line).collect()
}

#[tokio::test]
async fn a07_a_firm_that_cannot_be_planned_does_not_stop_the_others_and_the_run_ends_with_5() {
    let world = at_work().await;
    for (firm, client) in [("acme", "globex"), ("beta", "initech")] {
        sign(&world, firm, client).await;
    }
    let lost = "update firms set timezone = 'Mars/Olympus' where external_id = 'beta' returning external_id";
    assert_eq!(world.texts(lost).await, ["beta"]);
    let fault = "beta: database error: time zone \"Mars/Olympus\" not recognized";

    let plan = world
        .cli(&["generate-package-invoices", "--dry-run", "--json"])
        .await;
    assert_eq!(plan.code, 5, "{plan}");
    let plan = plan.json().unwrap();
    assert_eq!(plan["would_create"].as_array().unwrap().len(), 1, "{plan}");
    assert_eq!(firms(&plan), [fault]);
    let run = world.cli(&["generate-package-invoices"]).await;
    assert_eq!((run.code, run.stderr.as_str()), (5, ""), "{run}");
    assert!(
        run.stdout.starts_with("created 1 invoice(s), skipped 0, run "),
        "{run}"
    );
    assert!(run.stdout.ends_with(&format!("\nFAILED {fault}\n")), "{run}");
    // Asked for alone, it is all that was tried.
    let alone = world
        .cli(&["generate-package-invoices", "--firm-id", "beta", "--json"])
        .await;
    assert_eq!(alone.code, 1, "{alone}");
    assert_eq!(firms(&alone.json().unwrap()), [fault]);
    world.settle().await;
    acme::assert_outcomes(
        &world,
        &[("globex", "paid succeeded: auto 0 succeeded"), ("initech", "")],
    )
    .await;

    world
        .texts("update firms set timezone = 'UTC' returning external_id")
        .await;
    let healed = world.json(&["generate-package-invoices"]).await;
    assert_eq!(healed["created"].as_array().unwrap().len(), 1, "{healed}");
    assert_eq!(healed["failed"], json!([]));
}

/// R033.
#[tokio::test]
async fn a07_a_firm_whose_run_fails_does_not_stop_the_others_and_the_command_ends_with_5() {
    let world = at_work().await;
    for (firm, client) in [("acme", "globex"), ("beta", "initech")] {
        sign(&world, firm, client).await;
    }
    plant(&world, "beta", "invoices", "quittance-worker").await;
    let run = world.cli(&["generate-package-invoices", "--json"]).await;
    assert_eq!(run.code, 5, "{run}");
    let run = run.json().unwrap();
    assert_eq!(run["created"].as_array().unwrap().len(), 1, "{run}");
    assert_eq!(firms(&run), ["beta: a planted fault"]);
    // A person finds it in the list, and mends the cause.
    let job = world
        .json(&["jobs", "show", run["failed"][0]["job"].as_str().unwrap()])
        .await;
    assert_eq!(job["state"], "discarded", "{job}");
    uproot(&world).await;
    let healed = world.json(&["generate-package-invoices"]).await;
    assert_eq!(healed["created"].as_array().unwrap().len(), 1, "{healed}");
    world.settle().await;
    let paid = "paid succeeded: auto 0 succeeded";
    acme::assert_outcomes(&world, &[("globex", paid), ("initech", paid)]).await;
    acme::assert_books_agree(&world).await;
}

/// R063.
#[tokio::test]
async fn a07_a_firm_whose_charge_fails_does_not_stop_the_others_and_the_command_ends_with_5() {
    let world = at_work().await;
    for (firm, client) in [("acme", "globex"), ("beta", "initech")] {
        sign(&world, firm, client).await;
    }
    pause(&world, "charges").await;
    world.json(&["generate-package-invoices"]).await;
    // Their own jobs are lost, so that the command makes new ones and nobody is faster.
    let lost = "delete from jobs where kind = 'collect_invoice' returning kind";
    assert_eq!(world.texts(lost).await.len(), 2);
    resume(&world).await;
    plant(&world, "beta", "payment_attempts", "quittance-worker").await;
    let run = world.cli(&["process-recurring-charges"]).await;
    assert_eq!((run.code, run.stderr.as_str()), (5, ""), "{run}");
    assert!(run.stdout.starts_with("made 1 attempt(s), run "), "{run}");
    assert!(run.stdout.ends_with("\nFAILED beta: a planted fault\n"), "{run}");
    world.settle().await;
    let paid = "paid succeeded: auto 0 succeeded";
    acme::assert_outcomes(&world, &[("globex", paid), ("initech", "sent scheduled")]).await;

    uproot(&world).await;
    let healed = world.json(&["process-recurring-charges"]).await;
    assert_eq!(healed["charged"].as_array().unwrap().len(), 1, "{healed}");
    assert_eq!(healed["charged"][0]["state"], "succeeded");
    acme::assert_outcomes(&world, &[("globex", paid), ("initech", paid)]).await;
    acme::assert_books_agree(&world).await;
}
