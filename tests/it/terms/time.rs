//! Time by command: from draft to approved or rejected, the rate frozen, nobody his own judge, and fast on an invoice.

use serde_json::{Value, json};

use super::{
    approved, audit, bare, engagement, firm, guard, hours, make_void, refusal, refused, with_engagements,
    work,
};

/// A draft of a day's work.
fn add<'a>(name: &'a str, worker: &'a str, minutes: &'a str) -> Vec<&'a str> {
    vec![
        "time",
        "add",
        "--engagement",
        "hours",
        "--worker",
        worker,
        "--worked-on",
        "2026-01-05",
        "--minutes",
        minutes,
        "--external-id",
        name,
    ]
}

/// R040, R041, A-13: every state by command, and the audit of it.
#[tokio::test]
async fn r040_r041_time_goes_from_draft_to_approved_or_rejected() {
    let world = bare().await;
    world.import(&with_engagements(&[hours("hours", None)])).await;
    let added = world.json(&add("t1", "sam", "90")).await;
    assert_eq!(
        (&added["state"], &added["invoiceable"], &added["rate_minor"]),
        (&json!("draft"), &json!(false), &Value::Null)
    );
    assert_eq!(
        world.json(&["time", "submit", "t1", "--by", "sam"]).await["state"],
        "submitted"
    );
    let ok = world.json(&["time", "approve", "t1", "--by", "max"]).await;
    assert_eq!(
        (&ok["state"], &ok["invoiceable"]),
        (&json!("approved"), &json!(true))
    );
    assert_eq!(
        (&ok["rate_minor"], &ok["amount_minor"], &ok["approved_by"]),
        (&json!(15_000), &json!(22_500), &json!("max"))
    );

    world.json(&add("t2", "sam", "30")).await;
    let no = world
        .json(&["time", "reject", "t2", "--by", "ada", "--reason", "travel"])
        .await;
    assert_eq!(
        (&no["state"], &no["amount_minor"]),
        (&json!("rejected"), &Value::Null)
    );
    for change in [
        &["time", "submit", "t2"][..],
        &["time", "approve", "t2", "--by", "ada"],
        &["time", "reject", "t1", "--by", "ada"],
        &["time", "submit", "t1"],
        &["time", "client-approve", "t2", "--by", "ceo"],
    ] {
        assert_eq!(refusal(&world, change).await, "wrong_state", "{change:?}");
    }
    assert_eq!(
        world.json(&["time", "edit", "t2", "--minutes", "25"]).await["state"],
        "draft"
    );
    assert_eq!(refusal(&world, &["time", "reopen", "t2"]).await, "wrong_state");
    // Submitting is not asked for: what a person approves is approved.
    assert_eq!(
        world.json(&["time", "approve", "t2", "--by", "admin1"]).await["approved_by"],
        "admin1"
    );

    let noted = audit(&world, "time_entry", "approved_by").await;
    assert_eq!(noted.len(), 4, "{noted:?}");
    assert_eq!(noted[0], "time.approved user max max");
    assert_eq!(noted[1].trim_end(), "time.rejected user ada");
    assert!(noted[2].starts_with("time.reopened operator"), "{noted:?}");
    assert_eq!(
        noted[3], "time.approved operator admin1 admin1",
        "a name that is no user is recorded as it is"
    );

    let listed = world
        .json(&["time", "list", "--state", "approved", "--engagement", "hours"])
        .await;
    let names: Vec<&Value> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["external_id"])
        .collect();
    assert_eq!(names, ["t2", "t1"]);
    let page = world.json(&["time", "list", "--limit", "1"]).await;
    let rest = world
        .json(&["time", "list", "--cursor", page["next_cursor"].as_str().unwrap()])
        .await;
    assert_eq!(rest["data"][0]["external_id"], "t1");
    assert_eq!(rest["data"].as_array().unwrap().len(), 1);

    for (bad, code) in [
        (["--worked-on", "2025-12-31", "--minutes", "10"], 4),
        (["--worked-on", "2027-01-01", "--minutes", "10"], 4),
        (["--worked-on", "2026-01-01", "--minutes", "0"], 2),
        (["--worked-on", "2026-01-01", "--minutes", "1441"], 2),
    ] {
        let args = [
            &["time", "add", "--engagement", "hours", "--worker", "sam"][..],
            &bad,
        ]
        .concat();
        assert_eq!(world.cli(&args).await.code, code, "{bad:?}");
    }
    assert_eq!(refusal(&world, &add("t1", "sam", "5")).await, "external_id_taken");
}

/// A-13, R003: by command with a sentence, by an import, and by the database.
#[tokio::test]
async fn a13_nobody_approves_their_own_time_unless_the_firm_allows_it() {
    let world = bare().await;
    world.import(&with_engagements(&[hours("hours", None)])).await;
    world.json(&add("t1", "ada", "90")).await;
    let (code, message) = refused(&world, &["time", "approve", "t1", "--by", "ada"]).await;
    assert_eq!(code, "self_approval");
    assert_eq!(
        message,
        "the firm lets nobody approve their own time: have somebody else approve it"
    );
    // By another of her ids it is still she.
    let ada = world
        .texts("select id::text from users where external_id = 'ada'")
        .await
        .concat();
    assert_eq!(
        refusal(&world, &["time", "approve", "t1", "--by", &ada]).await,
        "self_approval"
    );
    assert_eq!(
        refusal(&world, &["time", "approve", "t1", "--by", "ceo"]).await,
        "role_not_allowed"
    );
    let by = |who: &str| {
        format!(
            "update time_entries set state = 'approved', approved_by = '{who}', approved_at = now(), rate_minor = 1"
        )
    };
    assert_eq!(
        guard(&world, &by("ada")).await,
        "QT015 this firm lets nobody approve their own time"
    );
    assert_eq!(
        guard(&world, &by(&ada)).await,
        "QT015 this firm lets nobody approve their own time"
    );
    assert_eq!(
        guard(&world, &by("ceo")).await,
        "QT015 a client approves no time for the firm"
    );
    assert_eq!(guard(&world, &by("max")).await, "done");

    let mut own = approved("t2", "hours", "2026-01-06", 10);
    own["worker"] = json!("ada");
    let document = json!({ "time_entries": [own] });
    let import = world
        .command()
        .run_with_input(&["import", "-", "--json"], &document.to_string())
        .await
        .unwrap();
    assert_eq!(import.code, 4, "{import}");
    assert_eq!(
        import.json().unwrap()["error"]["details"][0]["path"],
        "$.time_entries[0].approved_by"
    );

    let mut relaxed = json!({ "firms": firm()["firms"] });
    relaxed["firms"][0]["allow_self_approval"] = json!(true);
    world.import(&relaxed).await;
    assert_eq!(
        world.json(&["time", "approve", "t1", "--by", "ada"]).await["state"],
        "approved"
    );
    world.import(&document).await;
}

/// the rate is that of the moment of approval, and stays.
#[tokio::test]
async fn a13_the_rate_is_frozen_at_approval() {
    let world = bare().await;
    let mut terms = hours("hours", None);
    terms["signed"] = json!(false);
    world.import(&with_engagements(&[terms.clone()])).await;
    world.json(&add("t1", "sam", "60")).await;
    world.json(&["time", "approve", "t1", "--by", "ada"]).await;
    terms["hourly_rate"] = json!("200.00");
    world.import(&json!({ "engagements": [terms] })).await;
    world.json(&add("t2", "sam", "60")).await;
    world.json(&["time", "approve", "t2", "--by", "ada"]).await;
    let rates = world
        .texts("select external_id || ' ' || rate_minor from time_entries order by 1")
        .await;
    assert_eq!(rates, ["t1 15000", "t2 20000"]);
    assert_eq!(
        guard(
            &world,
            "update time_entries set rate_minor = 1 where external_id = 't1'"
        )
        .await,
        "QT015 approved time must be reopened before editing"
    );
    assert_eq!(
        guard(
            &world,
            "update time_entries set minutes = 1 where external_id = 't1'"
        )
        .await,
        "QT015 approved time must be reopened before editing"
    );
    assert_eq!(
        guard(&world, "delete from time_entries where external_id = 't1'").await,
        "QT015 approved time must be reopened before it is deleted"
    );
    let reopened = world
        .json(&["time", "reopen", "t1", "--reason", "wrong day"])
        .await;
    assert_eq!(
        (
            &reopened["state"],
            &reopened["rate_minor"],
            &reopened["approved_by"]
        ),
        (&json!("draft"), &Value::Null, &Value::Null)
    );
    assert_eq!(
        world.json(&["time", "approve", "t1", "--by", "ada"]).await["rate_minor"],
        20_000
    );
    let package = json!({"pricing_mode": "package", "hourly_rate": null, "client": "initech"});
    world
        .import(&json!({ "engagements": [engagement("package", package)] }))
        .await;
    world
        .json(&[
            "time",
            "add",
            "--engagement",
            "package",
            "--worker",
            "sam",
            "--worked-on",
            "2026-01-05",
            "--minutes",
            "5",
            "--external-id",
            "t3",
        ])
        .await;
    assert_eq!(
        refusal(&world, &["time", "approve", "t3", "--by", "ada"]).await,
        "no_rate"
    );
}

/// R101, R111, R042: by command and by the database, whatever the state.
#[tokio::test]
async fn r101_r111_unapproved_time_cannot_be_invoiced() {
    let world = bare().await;
    world.import(&with_engagements(&[hours("hours", None)])).await;
    let create = ["invoice", "create", "--engagement", "hours", "--issue"];
    assert_eq!(refusal(&world, &create).await, "nothing_to_bill");
    world.json(&add("t1", "sam", "60")).await;
    world.json(&add("t2", "sam", "60")).await;
    world.json(&["time", "submit", "t2"]).await;
    world.json(&add("t3", "sam", "60")).await;
    world.json(&["time", "reject", "t3", "--by", "ada"]).await;
    let (code, message) = refused(&world, &create).await;
    assert_eq!(code, "nothing_to_bill");
    assert!(message.contains("of 2 the time waits for approval"), "{message}");
    for (entry, state) in [("t1", "draft"), ("t2", "submitted"), ("t3", "rejected")] {
        let told = guard(&world, &line_for(entry)).await;
        assert_eq!(told, format!("QT015 time entry is {state}, not invoiceable"));
    }
    assert_eq!(world.count("select count(*) from invoices").await, 0);
    world.json(&["time", "approve", "t2", "--by", "ada"]).await;
    let made = world.json(&create).await;
    assert_eq!(
        (&made["total_minor"], &made["status"]),
        (&json!(15_000), &json!("sent"))
    );
    assert_eq!(
        guard(&world, &line_for("t2")).await.split(' ').next(),
        Some("23505"),
        "one live line per entry"
    );
}

/// A line for a time entry, on a draft that is written with it.
fn line_for(entry: &str) -> String {
    format!(
        "do $$ declare draft uuid := gen_random_uuid(); begin
           insert into invoices (firm_id, id, client_id, engagement_id, source, currency, subtotal_minor)
             select firm_id, draft, client_id, id, 'hourly', currency, 15000 from engagements where external_id = 'hours';
           insert into invoice_lines (firm_id, id, invoice_id, line_no, kind, amount_minor, time_entry_id, quantity_minutes, rate_minor)
             select firm_id, gen_random_uuid(), draft, 1, 'hourly', 15000, id, minutes, rate_minor from time_entries
              where external_id = '{entry}';
         end $$"
    )
}

/// R043: off by default; where the firm asks for it, only what the client has approved too is invoiced.
#[tokio::test]
async fn r043_time_waits_for_the_client_where_the_firm_says_so() {
    let world = bare().await;
    let mut document = with_engagements(&[hours("hours", None)]);
    document["firms"][0]["require_client_approval"] = json!(true);
    world.import(&document).await;
    work(
        &world,
        &[
            approved("t1", "hours", "2026-01-05", 60),
            approved("t2", "hours", "2026-01-06", 30),
        ],
    )
    .await;
    let create = ["invoice", "create", "--engagement", "hours"];
    let (code, message) = refused(&world, &create).await;
    assert_eq!(code, "nothing_to_bill");
    assert!(
        message.contains("of 2 the time waits for the approval of the client"),
        "{message}"
    );
    let listed = world.json(&["time", "list"]).await;
    assert_eq!(listed["data"][0]["invoiceable"], false);
    assert_eq!(
        refusal(&world, &["time", "client-approve", "t1", "--by", "ada"]).await,
        "role_not_allowed"
    );
    let other = json!({"users": [{"external_id": "peter", "firm": "acme", "name": "Peter", "role": "client", "client": "initech"}]});
    world.import(&other).await;
    assert_eq!(
        refusal(&world, &["time", "client-approve", "t1", "--by", "peter"]).await,
        "other_client"
    );
    let ok = world.json(&["time", "client-approve", "t1", "--by", "ceo"]).await;
    assert_eq!(
        (&ok["state"], &ok["client_approved_by"], &ok["invoiceable"]),
        (&json!("approved"), &json!("ceo"), &json!(true))
    );
    assert_eq!(
        refusal(&world, &["time", "client-approve", "t1", "--by", "ceo"]).await,
        "client_approved_already"
    );
    let made = world.json(&create).await;
    assert_eq!(super::lines(&made), ["hourly 60 15000 t1"]);
    // An edit takes the client's word back as well.
    world
        .json(&["time", "client-approve", "t2", "--by", "somebody of theirs"])
        .await;
    let edited = world.json(&["time", "edit", "t2", "--minutes", "31"]).await;
    assert_eq!(
        (&edited["state"], &edited["client_approved_by"]),
        (&json!("draft"), &Value::Null)
    );
    let noted = audit(&world, "time_entry", "client_approved_by").await;
    assert!(
        noted.contains(&"time.client_approved user ceo ceo".to_owned()),
        "{noted:?}"
    );
}

/// B-16: on an invoice, draft or issued, time is fast; only a void (or giving the draft up) sets it free.
#[tokio::test]
async fn b16_time_on_an_invoice_is_fast_and_only_a_void_releases_it() {
    let world = bare().await;
    world.import(&with_engagements(&[hours("hours", None)])).await;
    work(&world, &[approved("t1", "hours", "2026-01-05", 60)]).await;
    let changes = [
        &["time", "edit", "t1", "--minutes", "5"][..],
        &["time", "reopen", "t1"],
        &["time", "reject", "t1", "--by", "ada"],
        &["time", "client-approve", "t1", "--by", "ceo"],
    ];
    let draft = world.json(&["invoice", "create", "--engagement", "hours"]).await;
    let draft = draft["id"].as_str().unwrap().to_owned();
    for change in changes {
        assert_eq!(refusal(&world, change).await, "on_invoice", "{change:?}");
    }
    assert_eq!(
        guard(&world, "update time_entries set state = 'draft', approved_by = null, approved_at = null, rate_minor = null").await,
        "QT015 time entry is on an invoice"
    );
    assert_eq!(
        guard(&world, "delete from time_entries").await,
        "QT015 time entry is on an invoice"
    );
    assert_eq!(
        guard(&world, "update invoice_lines set released_at = now()").await,
        "QT015 time is released only by a void"
    );
    // A draft may be given up: its time is free, and it is gone.
    world
        .json(&["invoice", "discard", &draft, "--reason", "wrong month"])
        .await;
    assert_eq!(world.count("select count(*) from invoices").await, 0);
    assert_eq!(
        world.json(&["time", "list"]).await["data"][0]["invoiceable"],
        true
    );

    let issued = world
        .json(&["invoice", "create", "--engagement", "hours", "--issue"])
        .await;
    let number = issued["number"].as_str().unwrap().to_owned();
    assert!(number.starts_with("HRS-"), "{number}");
    let (_, message) = refused(&world, changes[0]).await;
    assert_eq!(
        message,
        format!("the time is on invoice {number}: only a void of that invoice releases it")
    );
    assert_eq!(
        refusal(&world, &["invoice", "discard", &number, "--reason", "x"]).await,
        "no_draft"
    );
    assert_eq!(
        guard(&world, "select app.discard_draft(firm_id, id) from invoices").await,
        "done",
        "and discards nothing"
    );
    assert_eq!(
        world
            .count("select count(*) from invoice_lines where released_at is null")
            .await,
        1
    );
    make_void(&world, &number).await;
    assert_eq!(
        world
            .count("select count(*) from invoice_lines where released_at is not null")
            .await,
        1
    );
    let again = world
        .json(&["invoice", "create", "--engagement", "hours", "--issue"])
        .await;
    assert_eq!(again["total_minor"], 15_000, "billed again, on another invoice");
    assert_eq!(refusal(&world, changes[1]).await, "on_invoice");
    make_void(&world, again["number"].as_str().unwrap()).await;
    assert_eq!(world.json(changes[0]).await["state"], "draft");
    let noted = audit(&world, "time_entry", "none").await;
    let told: Vec<&str> = noted.iter().map(|row| row.split(' ').next().unwrap()).collect();
    assert_eq!(
        told,
        ["time.approved", "time.released", "time.released", "time.reopened"]
    );
}
