//! `credit`: what it refuses before the database does, and that the database would.

use serde_json::json;
use sqlx::AssertSqlSafe;
use tests::world::World;

use super::{bare, document, with};

/// Ends a command that must be refused: exit code and what it says.
async fn ends(world: &World, args: &[&str]) -> (i32, String) {
    let mut args = args.to_vec();
    args.push("--json");
    let output = world.cli(&args).await;
    let code = output.json().unwrap()["error"]["code"]
        .as_str()
        .unwrap()
        .to_owned();
    (output.code, code)
}

/// The SQLSTATE, or the constraint, with which the database refuses a statement of Acme's.
async fn database_refuses(world: &World, sql: &str) -> String {
    let mut tx = world.db.begin().await.unwrap();
    sqlx::query("select set_config('app.firm_id', id::text, true) from firms where external_id = 'acme'")
        .execute(&mut *tx)
        .await
        .unwrap();
    let refused = sqlx::query(AssertSqlSafe(sql.to_owned()))
        .execute(&mut *tx)
        .await
        .unwrap_err();
    let fault = refused.into_database_error().unwrap();
    fault
        .constraint()
        .map_or_else(|| fault.code().unwrap().into_owned(), str::to_owned)
}

/// A statement that inserts a lot for Globex with these columns.
fn lot(columns: &str, values: &str) -> String {
    format!(
        "insert into credit_lots (firm_id, id, client_id, currency, amount_minor, issued_at, cause, {columns})
         select firm_id, gen_random_uuid(), id, 'usd', 500, app.now(), 'test', {values} from clients where external_id = 'globex'"
    )
}

/// R050: goodwill and corrections have a second person, by the command and by the table.
#[tokio::test]
async fn r050_credit_that_needs_four_eyes_is_refused_by_the_command_and_by_the_database() {
    let world = bare().await;
    world.import(&document()).await;
    let issue = [
        "credit", "issue", "globex", "--amount", "5.00", "--reason", "sorry",
    ];
    for source in ["goodwill", "correction"] {
        let with = |more: &[&'static str]| [&issue[..], &["--source", source][..], more].concat();
        for more in [&[][..], &["--by", "ann", "--approved-by", "ann"]] {
            assert_eq!(
                ends(&world, &with(more)).await,
                (4, "needs_four_eyes".to_owned()),
                "{more:?}"
            );
        }
        let given = world.json(&with(&["--by", "ann", "--approved-by", "bob"])).await;
        assert_eq!(
            (&given["source"], &given["amount_minor"]),
            (&json!(source), &json!(500))
        );
        for values in [
            "'sorry', 'ann', 'ann'",
            "'sorry', 'ann', null",
            "'', 'ann', 'bob'",
        ] {
            let sql = lot(
                "source, reason, issued_by, approved_by",
                &format!("'{source}', {values}"),
            );
            assert_eq!(
                database_refuses(&world, &sql).await,
                "credit_needs_four_eyes",
                "{values}"
            );
        }
    }
    assert_eq!(
        ends(&world, &[&issue[..6], &[" "]].concat()).await,
        (2, "usage".to_owned())
    );
    let shown = world.json(&["credit", "balance", "cus_1"]).await;
    assert_eq!(
        shown,
        json!({"client": "globex", "balances": [{"currency": "usd", "minor": 1000}]})
    );
    let told =
        "select actor_id || ' ' || (meta ->> 'approved_by') from audit_events where action = 'credit.issued'";
    assert_eq!(world.texts(told).await, ["ann bob", "ann bob"]);
}

/// R050: a person is one person by every name that they have, for the command and for the table; and whoever belongs to a
/// client decides nothing about its credit.
#[tokio::test]
async fn r050_four_eyes_are_two_people_and_none_of_them_is_a_client() {
    let world = bare().await;
    let user = |id: &str, role: &str| json!({"external_id": id, "firm": "acme", "name": id, "role": role});
    let mut portal = user("ceo", "client");
    portal["client"] = json!("globex");
    let users = json!([user("ann", "admin"), user("bob", "staff"), portal]);
    world.import(&with(&[("/users", users)])).await;
    let ids = world
        .texts("select id::text from users where external_id in ('ann', 'ceo') order by external_id")
        .await;
    let (ann, ceo) = (ids[0].as_str(), ids[1].as_str());
    let shouted = ann.to_uppercase();
    for source in ["goodwill", "correction"] {
        let order = |by, approved_by| {
            vec![
                "credit",
                "issue",
                "globex",
                "--amount",
                "5",
                "--reason",
                "sorry",
                "--source",
                source,
                "--by",
                by,
                "--approved-by",
                approved_by,
            ]
        };
        for (by, approved_by, code) in [
            ("ann", "ann", "needs_four_eyes"),
            ("ann", ann, "needs_four_eyes"),
            (ann, "ann", "needs_four_eyes"),
            (ann, &shouted, "needs_four_eyes"),
            (" ann ", "ann", "needs_four_eyes"),
            ("carol", "carol", "needs_four_eyes"),
            ("ann", "ceo", "role_not_allowed"),
            ("ann", ceo, "role_not_allowed"),
            (ceo, "ann", "role_not_allowed"),
        ] {
            assert_eq!(
                ends(&world, &order(by, approved_by)).await,
                (4, code.to_owned()),
                "{by} {approved_by}"
            );
        }
        for (by, approved_by) in [
            ("ann", ann),
            (ann, "ann"),
            (ann, &shouted),
            ("ann", "ceo"),
            (ceo, "ann"),
        ] {
            let values = format!("'{source}', 'sorry', '{by}', '{approved_by}'");
            let sql = lot("source, reason, issued_by, approved_by", &values);
            assert_eq!(
                database_refuses(&world, &sql).await,
                "QT017",
                "{by} {approved_by}"
            );
        }
    }
    // Nor does a client give what needs nobody's approval.
    let promotion = ["credit", "issue", "globex", "--amount", "5", "--reason", "spring"];
    let by_client = [&promotion[..], &["--by", "ceo"]].concat();
    assert_eq!(ends(&world, &by_client).await, (4, "role_not_allowed".to_owned()));
    let sql = lot("source, issued_by", "'promotional', 'ceo'");
    assert_eq!(database_refuses(&world, &sql).await, "QT017");
    assert_eq!(world.count("select count(*) from credit_lots").await, 0);

    let said = world
        .cli(
            &[
                &promotion[..],
                &["--source", "goodwill", "--by", "ann", "--approved-by", ann],
            ]
            .concat(),
        )
        .await;
    assert_eq!(
        said.stderr,
        "error: whoever gives credit cannot approve it: name another person with --approved-by\n"
    );
    // What the books have is who it was, not how they were called.
    world
        .json(
            &[
                &promotion[..],
                &["--source", "goodwill", "--by", ann, "--approved-by", "bob"],
            ]
            .concat(),
        )
        .await;
    let people = world
        .texts("select issued_by || ' ' || approved_by from credit_lots")
        .await;
    assert_eq!(people, ["ann bob"]);
    let told = "select concat_ws(' ', actor_kind, actor_id, meta ->> 'approved_by') from audit_events where action = 'credit.issued'";
    assert_eq!(world.texts(told).await, ["user ann bob"]);
}

#[tokio::test]
async fn credit_that_is_malformed_expired_or_for_nobody_is_not_given() {
    let world = bare().await;
    world.import(&document()).await;
    let issue = |client, amount, more: &[&'static str]| {
        [
            &["credit", "issue", client, "--reason", "r", "--amount", amount][..],
            more,
        ]
        .concat()
    };
    for amount in ["-5", "0", "5.001", "five", "1e3"] {
        let order = issue("globex", amount, &[]);
        assert_eq!(ends(&world, &order).await, (2, "usage".to_owned()), "{amount}");
    }
    assert_eq!(
        ends(&world, &issue("globex", "5", &["--currency", "xyz"]))
            .await
            .0,
        2
    );
    assert_eq!(
        ends(&world, &issue("globex", "5", &["--source", "overpayment"]))
            .await
            .0,
        2
    );
    assert_eq!(
        ends(&world, &issue("nobody", "5", &[])).await,
        (1, "not_found".to_owned())
    );
    let expired = issue("globex", "5", &["--expires-on", "2020-01-01"]);
    assert_eq!(ends(&world, &expired).await, (4, "already_expired".to_owned()));
    assert_eq!(world.count("select count(*) from credit_lots").await, 0);
    let none = world.json(&["credit", "balance", "globex"]).await;
    assert_eq!(none, json!({"client": "globex", "balances": []}));
    let none = world.json(&["credit", "list", "globex"]).await;
    assert_eq!(none, json!({"data": [], "next_cursor": null}));
    assert_eq!(
        ends(&world, &["credit", "list", "globex", "--cursor", "x"])
            .await
            .0,
        2
    );
}

/// A-17, B-12: never more than is open, never more than there is, by the command and by the database.
#[tokio::test]
async fn a17_b12_too_much_credit_is_refused_by_the_command_and_by_the_database() {
    let world = bare().await;
    world
        .import(&with(&[("/invoices/0/autopay_opt_in", json!(false))]))
        .await;
    assert_eq!(
        ends(&world, &["credit", "apply", "legacy-1"]).await,
        (4, "no_credit".to_owned())
    );
    world
        .json(&["credit", "issue", "globex", "--amount", "300", "--reason", "r"])
        .await;
    let exactly = |amount| ["credit", "apply", "legacy-1", "--amount", amount];
    assert_eq!(
        ends(&world, &exactly("250.01")).await,
        (4, "above_open_balance".to_owned())
    );
    assert_eq!(ends(&world, &exactly("0")).await, (2, "usage".to_owned()));
    world
        .json(&[
            "credit",
            "issue",
            "globex",
            "--currency",
            "eur",
            "--amount",
            "10",
            "--reason",
            "r",
        ])
        .await;
    let apply = |minor: i64, currency: &str| {
        format!(
            "insert into credit_applications (firm_id, id, lot_id, invoice_id, seq, amount_minor, applied_at, cause)
             select l.firm_id, gen_random_uuid(), l.id, i.id, 9, {minor}, app.now(), 'test' from credit_lots l, invoices i
              where l.currency = '{currency}' and i.external_id = 'legacy-1'"
        )
    };
    for (minor, currency) in [(25_001, "usd"), (30_001, "usd"), (1, "eur")] {
        assert_eq!(
            database_refuses(&world, &apply(minor, currency)).await,
            "QT017",
            "{minor} {currency}"
        );
    }
    world.json(&exactly("200.00")).await;
    assert_eq!(
        ends(&world, &exactly("50.01")).await,
        (4, "above_open_balance".to_owned())
    );
    world.json(&exactly("50")).await;
    assert_eq!(ends(&world, &exactly("1")).await, (4, "nothing_open".to_owned()));
    assert_eq!(
        ends(&world, &["credit", "apply", "nothing"]).await,
        (1, "not_found".to_owned())
    );
    assert_eq!(
        world
            .count("select sum(amount_minor) from credit_applications")
            .await,
        25_000
    );
    let applied = "select count(*) from audit_events where action = 'credit.applied'";
    assert_eq!(world.count(applied).await, 2);
    // Nobody writes a balance or a posting by hand, and no lot is made up for a payment.
    let forged = lot("source, payment_id", "'overpayment', gen_random_uuid()");
    assert_eq!(database_refuses(&world, &forged).await, "QT017");
    let forged = lot("source, refund_id", "'refund_to_credit', gen_random_uuid()");
    assert_eq!(database_refuses(&world, &forged).await, "QT017");
}
