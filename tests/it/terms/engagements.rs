//! Engagements by command: shown, signed, renewed and ended; what is signed is frozen, what is billed stays.

use serde_json::{Value, json};

use super::{
    approved, audit, bare, engagement, guard, hours, refusal, refused, with_a_worker, with_engagements, work,
};

fn codes(skipped: &Value) -> Vec<String> {
    let word = |skip: &Value, key: &str| skip[key].as_str().unwrap().to_owned();
    skipped
        .as_array()
        .unwrap()
        .iter()
        .map(|skip| format!("{} {}", word(skip, "engagement"), word(skip, "reason_code")))
        .collect()
}

/// R010, R011, R012, A-05: terms have one of three modes, and what goes with it: a fee with its cadence, a rate, days. By import
/// with a sentence, and by the database.
#[tokio::test]
async fn r010_r011_r012_terms_have_a_mode_and_what_goes_with_it() {
    let world = bare().await;
    let modes = [
        engagement("mixed", json!({})),
        engagement(
            "package",
            json!({"pricing_mode": "package", "hourly_rate": null, "package_fee_schedule": "quarterly"}),
        ),
        hours("hours", None),
    ];
    world.import(&with_engagements(&modes)).await;
    let fault = |changed: Value| {
        let document = json!({ "engagements": [engagement("odd", changed)] });
        let command = world.command();
        async move {
            let args = ["import", "-", "--json"];
            let output = command
                .run_with_input(&args, &document.to_string())
                .await
                .unwrap();
            assert_eq!(output.code, 1, "{output}");
            let told = &output.json().unwrap()["error"]["details"][0];
            let text = |key: &str| told[key].as_str().unwrap().to_owned();
            text("path").replace("$.engagements[0].", "") + ": " + &text("message")
        }
    };
    for (changed, told) in [
        (
            json!({"pricing_mode": "fixed"}),
            "pricing_mode: unknown pricing_mode 'fixed': use package, hourly or mixed",
        ),
        (json!({"package_fee": null}), "package_fee: is missing"),
        (
            json!({"package_fee_schedule": null}),
            "package_fee_schedule: is missing",
        ),
        (
            json!({"package_fee_schedule": "weekly"}),
            "package_fee_schedule: unknown cadence 'weekly': use monthly, quarterly, annual or one_time",
        ),
        (json!({"hourly_rate": null}), "hourly_rate: is missing"),
        (json!({"starts_on": null}), "starts_on: is missing"),
        (
            json!({"ends_on": "2026-01-01"}),
            "ends_on: 2026-01-01 must be after starts_on 2026-01-01: it is the first day after the engagement",
        ),
    ] {
        assert_eq!(fault(changed).await, told);
    }
    for values in [
        "'fixed', 1, 'monthly', null, '2026-01-01', null",
        "'package', null, 'monthly', null, '2026-01-01', null",
        "'package', 0, 'monthly', null, '2026-01-01', null",
        "'package', 1, null, null, '2026-01-01', null",
        "'mixed', 1, 'monthly', null, '2026-01-01', null",
        "'package', 1, 'monthly', null, '2026-01-01', '2026-01-01'",
    ] {
        let told = guard(
            &world,
            &format!(
                "insert into engagements (firm_id, id, client_id, lineage_id, version, currency, status, pricing_mode, package_fee_minor, cadence,
                                          hourly_rate_minor, starts_on, ends_on)
                 select firm_id, gen_random_uuid(), id, gen_random_uuid(), 1, 'usd', 'draft', {values} from clients where external_id = 'globex'"
            ),
        )
        .await;
        assert!(told.starts_with("23514 "), "{values}: {told}");
    }
}

/// R014, A-15: what is signed stays as it was signed, whatever writes to it.
#[tokio::test]
async fn r014_a15_signing_freezes_an_engagement() {
    let world = bare().await;
    world
        .import(&with_engagements(&[engagement(
            "retainer",
            json!({"signed": false}),
        )]))
        .await;
    let shown = world.json(&["engagement", "show", "retainer"]).await;
    assert_eq!(
        (&shown["status"], &shown["signed_at"]),
        (&json!("draft"), &Value::Null)
    );
    assert_eq!(shown["package_fee_minor"], 100_000);
    assert_eq!(shown["package_fee_schedule"], "monthly");
    assert_eq!(shown["hourly_rate_minor"], 15_000);
    let signed = world.json(&["engagement", "sign", "retainer"]).await;
    assert_eq!(
        (&signed["status"], &signed["changed"]),
        (&json!("signed"), &json!(true))
    );
    let again = world.json(&["engagement", "sign", "retainer"]).await;
    assert_eq!(
        (&again["changed"], &again["signed_at"]),
        (&json!(false), &signed["signed_at"])
    );
    let noted = audit(&world, "engagement", "none").await;
    assert_eq!(noted.len(), 1, "signed once: {noted:?}");
    assert!(noted[0].starts_with("engagement.signed operator"), "{noted:?}");

    let immutable = "QT011 a signed engagement is immutable";
    for change in [
        "package_fee_minor = 1",
        "hourly_rate_minor = 1",
        "cadence = 'annual'",
        "starts_on = '2025-01-01'",
        "signed_at = null",
        "client_id = (select id from clients where external_id = 'initech')",
    ] {
        assert_eq!(
            guard(&world, &format!("update engagements set {change}")).await,
            immutable,
            "{change}"
        );
    }
    assert_eq!(
        guard(&world, "update engagements set ends_on = '2028-01-01'").await,
        "QT011 a signed engagement may only be shortened"
    );
    assert_eq!(
        guard(&world, "update engagements set ends_on = '2026-06-01'").await,
        "done"
    );
}

/// A-15, by command and by guard.
#[tokio::test]
async fn a15_an_end_comes_nearer_only_and_rewrites_nothing_that_is_billed() {
    let world = with_a_worker().await;
    world
        .import(&with_engagements(&[
            engagement("retainer", json!({})),
            engagement("sketch", json!({"signed": false, "client": "initech"})),
        ]))
        .await;
    let as_of = ["generate-package-invoices", "--as-of", "2026-02-10"];
    assert_eq!(world.json(&as_of).await["created"].as_array().unwrap().len(), 2);
    let before = world.state_text_of("acme").await;

    let end = |on: &'static str| ["engagement", "end", "retainer", "--on", on, "--reason", "notice"];
    assert_eq!(refusal(&world, &end("2027-01-01")).await, "only_shorter");
    assert_eq!(refusal(&world, &end("2026-01-01")).await, "end_before_start");
    let draft = [
        "engagement",
        "end",
        "sketch",
        "--on",
        "2026-05-01",
        "--reason",
        "notice",
    ];
    assert_eq!(refusal(&world, &draft).await, "not_signed");
    let unsaid = world
        .cli(&[
            "engagement",
            "end",
            "retainer",
            "--on",
            "2026-05-01",
            "--reason",
            " ",
        ])
        .await;
    assert_eq!(unsaid.code, 2, "{unsaid}");
    assert_eq!(
        world.state_text_of("acme").await,
        before,
        "a refusal changes nothing"
    );

    let ended = world.json(&end("2026-02-15")).await;
    assert_eq!(ended["ends_on"], "2026-02-15");
    let warnings = ended["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{ended}");
    assert_eq!(warnings[0]["code"], "billed_beyond_end");
    assert!(
        warnings[0]["message"]
            .as_str()
            .unwrap()
            .contains("2026-02-01 until 2026-03-01")
    );
    let invoices = |text: &str| {
        let kept = |line: &&str| !line.starts_with("engagements ");
        text.lines().filter(kept).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        invoices(&world.state_text_of("acme").await),
        invoices(&before),
        "what was billed stays as it is"
    );
    let run = world
        .json(&["generate-package-invoices", "--dry-run", "--as-of", "2026-03-10"])
        .await;
    assert_eq!(run["would_create"], json!([]));
    assert!(
        codes(&run["skipped"]).contains(&"retainer ended".to_owned()),
        "{run}"
    );
    let noted = audit(&world, "engagement", "reason").await;
    assert!(
        noted.last().unwrap().starts_with("engagement.ended operator"),
        "{noted:?}"
    );
    assert!(noted.last().unwrap().ends_with(" notice"), "{noted:?}");
}

/// R015, R116, A-16: a new version, draft until it is signed; nothing of the old one moves.
#[tokio::test]
async fn r015_r116_renewal_is_a_new_version_and_touches_no_old_invoice_or_payment() {
    let world = with_a_worker().await;
    world
        .import(&with_engagements(&[engagement("retainer", json!({}))]))
        .await;
    let as_of = |day: &'static str| ["generate-package-invoices", "--as-of", day];
    let run = world.json(&as_of("2026-12-01")).await;
    assert_eq!(run["created"], json!([]), "a year in arrears waits: {run}");
    world
        .json(&[&as_of("2026-12-01")[..], &["--catch-up"]].concat())
        .await;
    assert_eq!(world.count("select count(*) from invoices").await, 12);
    world
        .texts(
            "insert into payments (firm_id, id, client_id, invoice_id, method, external_ref, amount_minor, currency, received_at,
                                   recorded_at, cause)
             select firm_id, gen_random_uuid(), client_id, id, 'external', number, 40000, currency, app.now(), app.now(), 'test'
               from invoices where set_config('app.firm_id', firm_id::text, true) <> '' returning external_ref",
        )
        .await;
    let rows = "select concat_ws('|', i::text, (select string_agg(l::text, ';' order by l.line_no) from invoice_lines l where l.invoice_id = i.id),
                       (select string_agg(p::text, ';') from payments p where p.invoice_id = i.id),
                       (select string_agg(p::text, ';') from journals j join postings p on p.journal_id = j.id where j.invoice_id = i.id))
                  from invoices i where issue_date < '2100-01-01' and id in (select invoice_id from billing_periods where period_start < '2027-01-01')
                 order by i.id";
    let before = world.texts(rows).await;
    assert_eq!(before.len(), 12);

    let renew = [
        "engagement",
        "renew",
        "retainer",
        "--ends-on",
        "2028-01-01",
        "--package-fee",
        "1200.00",
    ];
    let text = world.cli(&renew).await.success().unwrap().stdout;
    assert!(
        text.contains("It is a draft: nothing is billed for it until it is signed."),
        "{text}"
    );
    let next = world.json(&["engagement", "show", "retainer-v2"]).await;
    assert_eq!(next["version"], 2);
    assert_eq!(next["renews"], "retainer");
    assert_eq!(next["status"], "draft");
    assert_eq!(
        (&next["starts_on"], &next["ends_on"]),
        (&json!("2027-01-01"), &json!("2028-01-01"))
    );
    assert_eq!(
        (&next["package_fee_minor"], &next["hourly_rate_minor"]),
        (&json!(120_000), &json!(15_000))
    );
    assert_eq!(next["versions"].as_array().unwrap().len(), 2);

    let run = world.json(&as_of("2027-01-01")).await;
    assert_eq!(run["created"], json!([]), "a draft bills nothing: {run}");
    assert!(
        codes(&run["skipped"]).contains(&"retainer-v2 not_signed".to_owned()),
        "{run}"
    );
    world.json(&["engagement", "sign", "retainer-v2"]).await;
    let run = world.json(&as_of("2027-01-01")).await;
    assert_eq!(run["created"].as_array().unwrap().len(), 1, "{run}");
    let total = world
        .texts("select max(total_minor)::text from invoices i join engagements e on e.id = i.engagement_id where e.external_id = 'retainer-v2'")
        .await;
    assert_eq!(total, ["120000"], "the new terms");
    assert_eq!(
        world.texts(rows).await,
        before,
        "old invoices, lines, payments and postings are as they were"
    );
    let noted = audit(&world, "engagement", "version").await;
    assert!(
        noted
            .iter()
            .any(|row| row.starts_with("engagement.renewed operator") && row.ends_with(" 2")),
        "{noted:?}"
    );

    let third = world
        .json(&["engagement", "renew", "retainer-v2", "--ends-on", "2029-01-01"])
        .await;
    assert_eq!(
        (&third["external_id"], &third["version"]),
        (&json!("retainer-v3"), &json!(3))
    );
}

/// A-16, S16: by command with a sentence, and by the exclusion constraint.
#[tokio::test]
async fn a16_versions_that_would_bill_the_same_days_are_refused() {
    let world = bare().await;
    world
        .import(&with_engagements(&[
            engagement("retainer", json!({})),
            engagement("open", json!({"client": "initech", "ends_on": null})),
            engagement(
                "package",
                json!({"client": "initech", "pricing_mode": "package", "hourly_rate": null}),
            ),
            hours("hours", None),
        ]))
        .await;
    let renew = |id: &'static str, more: &[&'static str]| {
        [&["engagement", "renew", id, "--ends-on", "2028-01-01"], more].concat()
    };
    let (code, message) = refused(&world, &renew("retainer", &["--starts-on", "2026-12-31"])).await;
    assert_eq!(code, "terms_overlap");
    assert_eq!(
        message,
        "2026-12-31 until 2028-01-01 overlaps retainer, which is signed for 2026-01-01 until 2027-01-01: both would bill \
         the same days; end that one earlier or choose other days"
    );
    assert_eq!(refusal(&world, &renew("open", &[])).await, "no_end");
    assert_eq!(
        refusal(&world, &renew("open", &["--starts-on", "2027-01-01"])).await,
        "terms_overlap"
    );
    assert_eq!(
        refusal(&world, &renew("retainer", &["--starts-on", "2028-01-01"])).await,
        "end_before_start"
    );
    assert_eq!(
        refusal(&world, &renew("package", &["--hourly-rate", "1.00"])).await,
        "not_in_terms"
    );
    assert_eq!(
        refusal(&world, &renew("hours", &["--package-fee", "1.00"])).await,
        "not_in_terms"
    );
    assert_eq!(
        world.cli(&renew("hours", &["--hourly-rate", "1.005"])).await.code,
        2
    );
    assert_eq!(world.count("select count(*) from engagements").await, 4);

    // Two drafts for the same year are allowed, and one of them can be signed.
    world.json(&renew("retainer", &[])).await;
    world.json(&renew("retainer", &[])).await;
    assert_eq!(refusal(&world, &renew("retainer-v2", &[])).await, "not_signed");
    world.json(&["engagement", "sign", "retainer-v3"]).await;
    assert_eq!(
        refusal(&world, &["engagement", "sign", "retainer-v2"]).await,
        "terms_overlap"
    );
    let told = guard(
        &world,
        "update engagements set status = 'signed', signed_at = now() where external_id = 'retainer-v2'",
    )
    .await;
    assert!(
        told.starts_with("23P01 ") && told.contains("engagement_terms_overlap"),
        "{told}"
    );
    let taken = renew(
        "retainer",
        &[
            "--external-id",
            "hours",
            "--starts-on",
            "2025-01-01",
            "--ends-on",
            "2026-01-01",
        ],
    );
    assert_eq!(world.cli(&taken).await.code, 2, "an option twice");
    let taken = [
        "engagement",
        "renew",
        "retainer",
        "--ends-on",
        "2026-01-01",
        "--starts-on",
        "2025-01-01",
        "--external-id",
        "hours",
    ];
    assert_eq!(refusal(&world, &taken).await, "external_id_taken");
}

/// S16, A-16, B-21: a renewal in the middle of a calendar month. The old version has billed the month; the new one is parked
/// until a person chooses, or billed by days where its terms say so.
#[tokio::test]
async fn s16_b21_a_renewal_in_the_middle_of_a_month_bills_no_month_twice() {
    for (proration, outcome) in [("full_fee", "renewal_overlap_needs_choice"), ("daily", "54839")] {
        let world = with_a_worker().await;
        let fee = json!({"pricing_mode": "package", "hourly_rate": null, "ends_on": "2026-03-15"});
        world
            .import(&with_engagements(&[engagement("retainer", fee)]))
            .await;
        let as_of = ["generate-package-invoices", "--as-of", "2026-03-14", "--catch-up"];
        world.json(&as_of).await;
        let renewed = world
            .json(&[
                "engagement",
                "renew",
                "retainer",
                "--ends-on",
                "2027-03-15",
                "--proration",
                proration,
            ])
            .await;
        let warned = renewed["warnings"].as_array().unwrap().len();
        assert_eq!(warned, usize::from(proration == "full_fee"), "{renewed}");
        world.json(&["engagement", "sign", "retainer-v2"]).await;
        let run = world
            .json(&["generate-package-invoices", "--dry-run", "--as-of", "2026-03-15"])
            .await;
        let found = match run["would_create"].as_array().unwrap().first() {
            Some(bill) => bill["total_minor"].to_string(),
            None => {
                let skipped = codes(&run["skipped"]);
                let reason = skipped.iter().find_map(|skip| skip.strip_prefix("retainer-v2 "));
                reason.unwrap_or("nothing").to_owned()
            }
        };
        assert_eq!(found, outcome, "{run}");
    }
}

#[tokio::test]
async fn r016_an_invoice_leads_back_to_the_terms_it_was_made_by() {
    let world = with_a_worker().await;
    world
        .import(&with_engagements(&[engagement("retainer", json!({}))]))
        .await;
    work(&world, &[approved("t1", "retainer", "2026-01-05", 90)]).await;
    world
        .json(&["generate-package-invoices", "--as-of", "2026-01-20"])
        .await;
    let number = world.texts("select number from invoices").await.concat();
    let invoice = world.json(&["invoice", "show", &number]).await;
    assert_eq!(invoice["engagement"], "retainer");
    let line = &invoice["lines"][1];
    assert_eq!(
        (&line["time_entry"], &line["worker"]),
        (&json!("t1"), &json!("sam"))
    );
    assert_eq!(
        (&line["minutes"], &line["rate_minor"], &line["approved_by"]),
        (&json!(90), &json!(15_000), &json!("ada"))
    );
    let text = world
        .cli(&["invoice", "show", &number])
        .await
        .success()
        .unwrap()
        .stdout;
    assert!(
        text.contains("t1 of 2026-01-05: 90 min by sam at 150.00 USD, approved by ada"),
        "{text}"
    );
    let shown = world.json(&["engagement", "show", "retainer"]).await;
    assert_eq!(shown["periods"][0]["invoice"], number.as_str());
    assert_eq!(
        shown["time"],
        json!([{"state": "invoiced", "entries": 1, "minutes": 90}])
    );
    let text = world
        .cli(&["engagement", "show", "retainer"])
        .await
        .success()
        .unwrap()
        .stdout;
    assert!(
        text.contains("2026-01-01") && text.contains(&number) && text.contains("billed"),
        "{text}"
    );
    let missing = world.cli(&["engagement", "show", "nothing"]).await;
    assert_eq!(missing.code, 1, "{missing}");
}
