//! Lists and single things: every row once, any id in any of its forms.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{bare, document};

#[tokio::test]
async fn following_the_cursor_shows_every_row_once() {
    let world = bare().await;
    let mut many = document();
    let invoice = many["invoices"][0].clone();
    let copies = (1..=7).map(|n| {
        let mut copy = invoice.clone();
        copy["external_id"] = json!(format!("legacy-{n}"));
        copy
    });
    many["invoices"] = Value::Array(copies.collect());
    world.import(&many).await;
    for list in [["invoice", "list"], ["jobs", "list"]] {
        let mut seen = BTreeSet::new();
        let mut cursor = None;
        let mut pages = 0;
        loop {
            let mut args = [&list[..], &["--limit", "3"]].concat();
            let after: Option<String> = cursor.take();
            if let Some(after) = &after {
                args.extend(["--cursor", after]);
            }
            let page = world.json(&args).await;
            for row in page["data"].as_array().unwrap() {
                assert!(
                    seen.insert(row["id"].to_string()),
                    "{list:?} shows {} twice",
                    row["id"]
                );
            }
            pages += 1;
            match page["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => break,
            }
        }
        assert_eq!((seen.len(), pages), (7, 3), "{list:?}");
    }
}

/// R026.
#[tokio::test]
async fn an_invoice_is_found_by_any_of_its_names() {
    let world = bare().await;
    world.import(&document()).await;
    let by_name = world.json(&["invoice", "show", "legacy-1"]).await;
    for id in [&by_name["id"], &by_name["number"]] {
        assert_eq!(
            world.json(&["invoice", "show", id.as_str().unwrap()]).await,
            by_name
        );
    }
    assert_eq!(by_name["number"], "INV-0001-000001");
    assert_eq!(by_name["status"], "overdue");
    assert_eq!(by_name["firm"], "acme");
    assert_eq!(by_name["client"], "globex");
    assert_eq!(by_name["engagement"], "retainer");
    assert_eq!(by_name["open_minor"], 25_000);
    assert_eq!(by_name["period"], Value::Null);
    assert_eq!(by_name["autopay"]["state"], "scheduled");
    assert_eq!(by_name["lines"][0]["amount_minor"], 25_000);
}

#[tokio::test]
async fn filters_leave_out_what_they_say() {
    let world = bare().await;
    world.import(&document()).await;
    let count = async |args: &[&str]| world.json(args).await["data"].as_array().unwrap().len();
    assert_eq!(
        count(&[
            "invoice",
            "list",
            "--status",
            "overdue",
            "--client",
            "cus_1",
            "--firm-id",
            "acme"
        ])
        .await,
        1
    );
    assert_eq!(count(&["invoice", "list", "--status", "paid"]).await, 0);
    assert_eq!(
        count(&[
            "jobs",
            "list",
            "--queue",
            "charges",
            "--kind",
            "collect_invoice",
            "--state",
            "available"
        ])
        .await,
        1
    );
    assert_eq!(count(&["jobs", "list", "--queue", "events"]).await, 0);
    assert_eq!(count(&["events", "list", "--state", "pending"]).await, 0);
}

#[tokio::test]
async fn what_is_not_there_is_an_error_that_repeats_the_name() {
    let world = bare().await;
    for (args, message) in [
        (["invoice", "show", "nope"], "there is no invoice \"nope\""),
        (["events", "show", "evt_nope"], "there is no event \"evt_nope\""),
        (["invoice", "list", "--firm-id=nope"], "there is no firm \"nope\""),
        (
            ["invoice", "list", "--client=nope"],
            "there is no client \"nope\"",
        ),
    ] {
        let missing = world.cli(&args).await;
        assert_eq!(missing.code, 1, "{missing}");
        assert_eq!(missing.stderr, format!("error: {message}\n"));
        assert_eq!(missing.stdout, "");
    }
    let wrong = world.cli(&["jobs", "list", "--state", "lost", "--json"]).await;
    assert_eq!(wrong.code, 2, "{wrong}");
    assert_eq!(wrong.json().unwrap()["error"]["code"], "usage");
}
