//! The exception: an invoice without an engagement, which only an owner or admin may have made, and which the audit tells of.

use serde_json::{Value, json};

use super::{assert_reconciled, audit, bare, engagement, firm, guard, refusal, refused, with_engagements};

/// `invoice create` for a client, with more arguments.
fn without_engagement<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [
        &["invoice", "create", "--client", "globex", "--amount", "250.00"],
        more,
    ]
    .concat()
}

/// R100, R020, R021: by command with a sentence, and by the database.
#[tokio::test]
async fn r100_invoice_requires_engagement_by_default() {
    let world = bare().await;
    world.import(&firm()).await;
    for more in [
        &[][..],
        &["--override-by", "ada"],
        &["--override-reason", "workshop"],
    ] {
        let (code, message) = refused(&world, &without_engagement(more)).await;
        assert_eq!(code, "engagement_required", "{more:?}");
        assert!(message.contains("--engagement"), "{message}");
    }
    assert_eq!(
        refusal(&world, &["invoice", "create", "--amount", "1.00"]).await,
        "engagement_required"
    );
    for columns in [
        ("engagement_override", "false"),
        (
            "engagement_override, engagement_override_reason",
            "true, 'workshop'",
        ),
    ] {
        let told = guard(&world, &insert(columns)).await;
        assert!(told.starts_with("23514 ") || told.starts_with("QT019 "), "{told}");
    }
    // With an engagement or without: an invoice is somebody's.
    let nobodys = "insert into invoices (firm_id, id, engagement_id, source, currency)
                   select firm_id, gen_random_uuid(), id, 'manual', 'usd' from engagements";
    let terms = json!({ "engagements": [engagement("retainer", json!({}))] });
    world.import(&terms).await;
    assert!(guard(&world, nobodys).await.starts_with("23502 "));
    assert_eq!(world.count("select count(*) from invoices").await, 0);
}

/// A draft for Globex without an engagement.
fn insert((columns, values): (&str, &str)) -> String {
    format!(
        "insert into invoices (firm_id, id, client_id, source, currency, {columns})
         select c.firm_id, gen_random_uuid(), c.id, 'manual', 'usd', {values} from clients c where c.external_id = 'globex'"
    )
}

/// R021, A-14, R003: the role is checked by the command and by the database; the audit has who and why.
#[tokio::test]
async fn a14_r021_only_an_owner_or_admin_overrides_the_engagement() {
    let world = bare().await;
    world.import(&firm()).await;
    let by = |who: &'static str| without_engagement(&["--override-by", who, "--override-reason", "workshop"]);
    for who in ["max", "sam", "ceo", "a stranger"] {
        let (code, message) = refused(&world, &by(who)).await;
        assert_eq!(code, "override_needs_admin", "{who}");
        assert!(
            message.contains("only an owner or admin of the firm"),
            "{message}"
        );
    }
    for who in ["max", "sam", "ceo"] {
        let user =
            format!("true, 'workshop', (select u.id::text from users u where u.external_id = '{who}')");
        let told = guard(
            &world,
            &insert((
                "engagement_override, engagement_override_reason, engagement_override_by",
                &user,
            )),
        )
        .await;
        assert_eq!(
            told, "QT019 only an owner or admin of the firm may bill without an engagement",
            "{who}"
        );
    }
    let named = "true, 'workshop', 'ada'";
    let told = guard(
        &world,
        &insert((
            "engagement_override, engagement_override_reason, engagement_override_by",
            named,
        )),
    )
    .await;
    assert!(told.starts_with("QT019 "), "by the id of the row only: {told}");
    let unsaid = world
        .cli(&without_engagement(&[
            "--override-by",
            "ada",
            "--override-reason",
            " ",
        ]))
        .await;
    assert_eq!(unsaid.code, 2, "{unsaid}");
    assert_eq!(world.count("select count(*) from invoices").await, 0);

    for who in ["ada", "olga"] {
        let made = world.json(&[&by(who)[..], &["--issue"]].concat()).await;
        assert_eq!(
            (&made["engagement"], &made["total_minor"]),
            (&Value::Null, &json!(25_000))
        );
        assert_eq!(made["status"], "sent");
    }
    let noted = audit(&world, "invoice", "reason").await;
    let used: Vec<&String> = noted
        .iter()
        .filter(|row| row.starts_with("invoice.override_used"))
        .collect();
    assert_eq!(
        used,
        [
            "invoice.override_used user ada workshop",
            "invoice.override_used user olga workshop"
        ]
    );
    let kept = world
        .texts("select concat_ws(' ', u.external_id, i.engagement_override_reason, i.number) from invoices i join users u on u.id::text = i.engagement_override_by order by 1")
        .await;
    assert_eq!(
        kept,
        ["ada workshop MAN-0001-000001", "olga workshop MAN-0001-000002"]
    );
    assert_reconciled(&world).await;
    // An admin of another firm is nobody here.
    let other = json!({
        "firms": [{"external_id": "other", "name": "Other", "timezone": "UTC", "currency": "usd"}],
        "users": [{"external_id": "eve", "firm": "other", "name": "Eve", "role": "owner"}],
    });
    world.import(&other).await;
    assert_eq!(refusal(&world, &by("eve")).await, "override_needs_admin");
    let eve = format!(
        "true, 'workshop', '{}'",
        world
            .texts("select id::text from users where external_id = 'eve'")
            .await
            .concat()
    );
    let told = guard(
        &world,
        &insert((
            "engagement_override, engagement_override_reason, engagement_override_by",
            &eve,
        )),
    )
    .await;
    assert!(told.starts_with("QT019 "), "{told}");
}

/// R020, R022: an amount on an engagement needs no override; a project may be named; the currency is the engagement's, or
/// the firm's unless told.
#[tokio::test]
async fn r022_an_invoice_may_name_a_project() {
    let world = bare().await;
    let euro = json!({"currency": "eur", "package_fee": "10.00", "hourly_rate": "10.00"});
    world
        .import(&with_engagements(&[engagement("retainer", euro)]))
        .await;
    let project = "0199a1b2-0000-7000-8000-00000000beef";
    let on_engagement = [
        "invoice",
        "create",
        "--engagement",
        "retainer",
        "--amount",
        "12.50",
        "--project",
        project,
        "--issue",
    ];
    let made = world.json(&on_engagement).await;
    assert_eq!(
        (&made["currency"], &made["total_minor"]),
        (&json!("eur"), &json!(1_250))
    );
    assert_eq!(made["lines"][0]["kind"], "adjustment");
    assert_eq!(
        world.texts("select project_id::text from invoices").await,
        [project]
    );
    let by_ada = ["--override-by", "ada", "--override-reason", "workshop"];
    let made = world.json(&without_engagement(&by_ada)).await;
    assert_eq!(
        (&made["currency"], &made["status"]),
        (&json!("usd"), &json!("draft"))
    );
    let made = world
        .json(&without_engagement(
            &[&by_ada[..], &["--currency", "gbp"]].concat(),
        ))
        .await;
    assert_eq!(made["currency"], "gbp");
    for wrong in [["--amount", "0"], ["--amount", "1.005"], ["--currency", "xxx"]] {
        let mut args = vec!["invoice", "create", "--client", "globex"];
        args.extend(by_ada);
        args.extend(wrong);
        if wrong[0] != "--amount" {
            args.extend(["--amount", "1.00"]);
        }
        assert_eq!(world.cli(&args).await.code, 2, "{wrong:?}");
    }
    let both = [
        "invoice",
        "create",
        "--engagement",
        "retainer",
        "--client",
        "globex",
        "--amount",
        "1.00",
    ];
    assert_eq!(world.cli(&both).await.code, 2);
    assert_reconciled(&world).await;
}

/// tax is an amount that somebody says, on top of the lines; it is charged with them, and owed to somebody else.
#[tokio::test]
async fn a12_tax_is_what_somebody_says_and_is_charged_and_booked_apart() {
    let world = bare().await;
    let mut document = with_engagements(&[engagement("retainer", json!({}))]);
    document["firms"][0]["payment_terms_days"] = json!(14);
    let line = json!({"kind": "package_fee", "description_code": "retainer", "amount": "100.00"});
    document["invoices"] = json!([{
        "external_id": "legacy", "client": "globex", "engagement": "retainer", "currency": "usd", "issue_date": "2026-01-01",
        "due_date": "2026-01-31", "tax": "19.00", "lines": [line],
    }]);
    world.import(&document).await;
    let again = world.import(&document).await;
    assert_eq!(again["invoices"]["unchanged"], 1, "{again}");
    let legacy = world.json(&["invoice", "show", "legacy"]).await;
    assert_eq!(
        (
            &legacy["subtotal_minor"],
            &legacy["tax_minor"],
            &legacy["open_minor"]
        ),
        (&json!(10_000), &json!(1_900), &json!(11_900))
    );
    document["invoices"][0]["tax"] = json!("0.00");
    let changed = world
        .command()
        .run_with_input(&["import", "-"], &document.to_string())
        .await
        .unwrap();
    assert_eq!(changed.code, 4, "{changed}");
    assert!(changed.to_string().contains("tax"), "{changed}");

    let order = [
        "invoice",
        "create",
        "--engagement",
        "retainer",
        "--amount",
        "250.00",
    ];
    for (tax, told) in [
        ("--tax=-1.00", "must not be less than zero"),
        ("--tax=1.001", "too many decimals"),
    ] {
        let output = world.cli(&[&order[..], &[tax]].concat()).await;
        assert_eq!(output.code, 2, "{output}");
        assert!(output.stderr.contains(told), "{output}");
    }
    let made = world
        .json(&[&order[..], &["--tax", "47.50", "--issue"]].concat())
        .await;
    assert_eq!(
        (&made["total_minor"], &made["tax_minor"]),
        (&json!(29_750), &json!(4_750))
    );
    let days = "select due_date - issue_date from invoices where source = 'manual'";
    assert_eq!(world.count(days).await, 14);
    let owed = "select -sum(amount_minor) from postings where account = 'tax_payable'";
    assert_eq!(world.count(owed).await, 1_900 + 4_750);
    let number = made["number"].as_str().unwrap();
    let text = world
        .cli(&["invoice", "show", number])
        .await
        .success()
        .unwrap()
        .stdout;
    assert!(text.contains("tax in it") && text.contains("47.50 USD"), "{text}");
    assert_reconciled(&world).await;
}
