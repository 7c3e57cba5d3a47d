//! The audit log: what it tells (R090), how it is asked (R091), and that nobody rewrites it unnoticed (R093, P7).
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use shared::{
    domain::{
        audit_action::ACTIONS,
        audit_chain::{Fault, Head},
    },
    ids::FirmId,
    store::{Db, audit_chain},
};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, postgres::PgPoolOptions};
use tests::world::{Login, World, WorldOptions};

use crate::acme;

const AMOUNT: &str = "1000.00";

/// A schedule is looked at once a second, and its job runs at once.
const TICKS_WITHIN: Duration = Duration::from_secs(20);

/// One invoice that is paid, one that is declined, one that is charged back and lost.
async fn live(world: &World) {
    let cards: [(&str, &[&str]); 3] = [
        ("zebra", &[]),
        ("yak", &["insufficient_funds", "..."]),
        ("xerus", &[]),
    ];
    acme::open_accounts(world, &cards).await;
    acme::bill(world, &["zebra", "yak", "xerus"], "usd", AMOUNT).await;
    world.settle().await;
    let intent = acme::intent(world, "xerus").await.0;
    let order = json!({ "payment_intent": intent, "kind": "chargeback" });
    let dispute = world.sim.post("/disputes", order).await.unwrap();
    world.settle().await;
    let path = format!("/disputes/{}", dispute["id"].as_str().unwrap());
    world.sim.post(&path, json!({ "action": "lose" })).await.unwrap();
    world.settle().await;
}

async fn firm(world: &World) -> FirmId {
    let firm = sqlx::query_scalar("select id from firms where external_id = 'acme'");
    FirmId(firm.fetch_one(&world.db).await.unwrap())
}

async fn rows(world: &World, args: &[&str]) -> Vec<Value> {
    let mut page = world.json(&[&["audit", "list"], args].concat()).await;
    let Value::Array(rows) = page["data"].take() else {
        panic!("no list")
    };
    rows
}

fn actions(rows: &[Value]) -> BTreeSet<&str> {
    rows.iter().map(|row| row["action"].as_str().unwrap()).collect()
}

/// R090, A-21, R002: each turn of money is in the log, with its cause, and with ids, amounts and codes alone.
#[tokio::test]
async fn r090_every_turn_of_billing_is_in_the_log_with_its_cause_and_no_personal_data() {
    let world = World::start(WorldOptions::default()).await;
    live(&world).await;
    let told = rows(&world, &["--limit", "1000"]).await;
    let wanted = [
        "invoice.issued",
        "payment.attempted",
        "payment.succeeded",
        "payment.failed",
        "retry.scheduled",
        "dispute.opened",
        "chargeback.received",
        "dispute.resolved",
    ];
    let told_of = actions(&told);
    for action in wanted {
        assert!(told_of.contains(action), "{action} is not among {told_of:?}");
    }
    for row in &told {
        assert!(
            ["event", "job", "command"].contains(&row["cause_kind"].as_str().unwrap()),
            "{row}"
        );
        assert!(!row["cause_id"].as_str().unwrap().is_empty(), "{row}");
        for name in ["zebra", "yak", "xerus"] {
            assert!(!row["meta"].to_string().contains(name), "{row} names a client");
        }
    }
}

/// No word is written that is not on the list: `settle` sees what stories write, this sees all that the sources say.
#[test]
fn r090_every_action_that_the_sources_write_is_on_the_list() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let stripes = fs::read_to_string(root.join("worker/src/events/mod.rs")).unwrap();
    let nouns: BTreeSet<&str> = ACTIONS
        .iter()
        .filter_map(|a| Some(a.split_once('.')?.0))
        .collect();
    let mut seen = 0;
    let mut folders = vec![
        root.join("worker/src"),
        root.join("shared/src"),
        root.join("migrations"),
    ];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            // Names of fields in log lines look like actions, and are none.
            if path.ends_with("telemetry/json.rs") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            for word in text.split(['"', '\'']) {
                let is_word =
                    |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '_');
                let Some((noun, happened)) = word.split_once('.') else {
                    continue;
                };
                if is_word(noun)
                    && is_word(happened)
                    && nouns.contains(noun)
                    && !stripes.contains(&format!("\"{word}\""))
                {
                    seen += 1;
                    assert!(
                        ACTIONS.contains(&word),
                        "{}: {word} is on no list",
                        path.display()
                    );
                }
            }
        }
    }
    assert!(seen > ACTIONS.len(), "only {seen} found");
}

#[tokio::test]
async fn r091_audit_list_shows_billing_of_the_last_seven_days_newest_first() {
    let world = World::start(WorldOptions::default()).await;
    live(&world).await;
    world.advance("8d").await;
    world.settle().await;
    world
        .json(&[
            "client",
            "autopay",
            "off",
            "zebra",
            "--reason",
            "pays by transfer",
        ])
        .await;

    let week = rows(&world, &[]).await;
    assert!(
        !actions(&week).contains("invoice.issued"),
        "that was eight days ago"
    );
    assert!(actions(&week).contains("autopay.disabled"));
    assert!(week.iter().all(|row| row["category"] == "billing"));
    let order: Vec<(&str, i64)> = week
        .iter()
        .map(|row| (row["at"].as_str().unwrap(), row["id"].as_i64().unwrap()))
        .collect();
    assert!(order.is_sorted_by(|a, b| a > b), "{order:?}");
    assert_eq!(week[0]["action"], "autopay.disabled");
    assert_eq!(week[0]["actor_kind"], "operator");

    let month = rows(&world, &["--since", "30d", "--limit", "1000"]).await;
    assert!(actions(&month).contains("invoice.issued"));
    // Page by page the same, each row once.
    let mut paged = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut args = vec!["audit", "list", "--since", "30d", "--limit", "4"];
        args.extend(cursor.iter().flat_map(|cursor| ["--cursor", cursor.as_str()]));
        let page = world.json(&args).await;
        paged.extend(page["data"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(paged, month);

    // About one invoice, by any id that leads to it; of one category; of one firm.
    let (intent, _) = acme::intent(&world, "xerus").await;
    let about = rows(&world, &["--since", "30d", "--subject", "xerus-1"]).await;
    assert!(actions(&about).contains("chargeback.received") && !actions(&about).contains("autopay.disabled"));
    let by_intent = rows(&world, &["--since", "30d", "--subject", &intent]).await;
    assert_eq!(by_intent, about);
    assert_eq!(
        rows(&world, &["--category", "break_glass"]).await,
        [] as [Value; 0]
    );
    assert_eq!(rows(&world, &["--firm-id", "acme"]).await, week);
    let text = world.cli(&["audit", "list"]).await;
    assert!(text.stdout.contains("autopay.disabled"), "{text}");
    for (wrong, code) in [
        (&["--since", "yesterday"][..], 2),
        (&["--category", "gossip"], 2),
        (&["--cursor", "x"], 2),
        (&["--subject", "nothing"], 1),
        (&["--firm-id", "nobody"], 1),
    ] {
        let refused = world.cli(&[&["audit", "list"], wrong].concat()).await;
        assert_eq!(refused.code, code, "{refused}");
    }
}

/// P7, R093: no program can change the log, nor say when it wrote.
#[tokio::test]
async fn r093_no_program_changes_the_log_or_makes_up_when_it_wrote() {
    let world = World::start(WorldOptions::default()).await;
    live(&world).await;
    world.json(&["audit", "seal"]).await;
    let worker = PgPool::connect(&world.database_url(Login::Worker)).await.unwrap();
    let firm = firm(&world).await;
    for forbidden in [
        "update audit_events set meta = '{}'",
        "delete from audit_events",
        "truncate audit_events",
        "update audit_blocks set hash = prev_hash",
        "delete from audit_blocks",
        "truncate audit_blocks",
        "insert into audit_events (firm_id, at, action, actor_kind, subject_kind, cause_kind, cause_id, recorded_at)
         select app.firm(), now(), 'x.y', 'system', 'x', 'x', 'x', now() - interval '1 year'",
        "insert into audit_events (firm_id, id, at, action, actor_kind, subject_kind, cause_kind, cause_id) overriding system value
         select app.firm(), 1, now(), 'x.y', 'system', 'x', 'x', 'x'",
    ] {
        let mut tx = worker.begin().await.unwrap();
        enter(&mut tx, firm).await;
        let refused = sqlx::raw_sql(forbidden).execute(&mut *tx).await.unwrap_err();
        let code = refused.as_database_error().unwrap().code().unwrap().into_owned();
        assert!(["42501", "QT010"].contains(&code.as_str()), "{forbidden}: {refused}");
    }
    assert_eq!(world.json(&["audit", "verify"]).await["ok"], true);
}

async fn enter(conn: &mut PgConnection, firm: FirmId) {
    sqlx::query("select set_config('app.firm_id', $1, true)")
        .bind(firm.to_string())
        .execute(conn)
        .await
        .unwrap();
}

/// The job seals what is new, and nothing when nothing is.
#[tokio::test]
async fn r093_the_log_is_sealed_in_the_background_and_a_quiet_firm_costs_no_block() {
    let world = World::start(WorldOptions::default()).await;
    live(&world).await;
    world.advance("11m").await;
    world
        .until("select count(*) from audit_unsealed", 0, TICKS_WITHIN)
        .await;
    world.settle().await;
    let blocks = world.count("select count(*) from audit_blocks").await;
    assert!(blocks > 0);
    let verified = world.json(&["audit", "verify"]).await;
    assert_eq!(verified["findings"], json!([]));
    let chain = &verified["firms"][0];
    assert_eq!(
        chain["sealed"],
        world.count("select count(*) from audit_events").await
    );
    assert_eq!((&chain["firm"], &chain["seq"]), (&json!("acme"), &json!(blocks)));

    // An hour in which nothing happens: the job runs, and there is nothing to seal.
    world.advance("1h").await;
    let idle = "select least(count(*), 1) from jobs where kind = 'seal_audit' and state = 'completed' and result ->> 'blocks' = '0'";
    world.until(idle, 1, TICKS_WITHIN).await;
    world.json(&["audit", "seal"]).await;
    assert_eq!(world.count("select count(*) from audit_blocks").await, blocks);
}

/// A backlog (the rows from before there was a chain, a day without workers) takes several blocks, and is no finding.
#[tokio::test]
async fn r093_a_backlog_is_sealed_in_several_blocks_and_its_age_is_no_finding() {
    let world = World::start(WorldOptions {
        workers: 0,
        ingress: false,
        ..WorldOptions::default()
    })
    .await;
    world.import(&acme::document(&["zebra"])).await;
    let old = "insert into audit_events (firm_id, at, recorded_at, action, actor_kind, subject_kind, cause_kind, cause_id)
               select f.id, t.at, t.at, 'payment.succeeded', 'system', 'invoice', 'job', n::text
                 from firms f, generate_series(1, 2500) n, lateral (select app.now() - n * interval '1 minute' as at) t
                where set_config('app.firm_id', f.id::text, true) <> '' returning id::text";
    assert_eq!(world.texts(old).await.len(), 2_500);
    world.json(&["audit", "seal"]).await;
    let blocks = world
        .texts("select cardinality(row_ids) || ' ' || complete from audit_blocks order by seq")
        .await;
    assert_eq!(blocks.len(), 3, "{blocks:?}");
    assert_eq!(&blocks[..2], ["1000 false", "1000 false"]);
    assert!(blocks[2].ends_with(" true"), "{blocks:?}");
    let verified = world.json(&["audit", "verify"]).await;
    assert_eq!(verified["findings"], json!([]));
    assert_eq!(
        verified["firms"][0]["sealed"],
        world.count("select count(*) from audit_events").await
    );
}

/// What somebody with the keys to the database did to the log, and what tells of it.
struct Forgery {
    did: &'static str,
    sql: &'static str,
    fault: Fault,
    /// Whether it is in a block, which is then named.
    in_block: bool,
}

const FORGERIES: [Forgery; 10] = [
    Forgery {
        did: "changed an amount",
        sql: r#"update audit_events set meta = meta || '{"amount_minor": 1}' where action = 'payment.succeeded'"#,
        fault: Fault::Changed,
        in_block: true,
    },
    Forgery {
        did: "named somebody else",
        sql: "update audit_events set actor_kind = 'operator', actor_id = 'bob' where action = 'dispute.opened'",
        fault: Fault::Changed,
        in_block: true,
    },
    Forgery {
        did: "removed a row",
        sql: "delete from audit_events where action = 'payment.failed'",
        fault: Fault::Missing,
        in_block: true,
    },
    Forgery {
        did: "removed a row before it was sealed",
        sql: "with added as (insert into audit_unsealed select firm_id, max(id) + 1 from audit_events group by firm_id returning id)
              select from added",
        fault: Fault::Missing,
        in_block: false,
    },
    Forgery {
        did: "put a row in behind the chain's back",
        sql: "insert into audit_events (firm_id, at, action, actor_kind, subject_kind, cause_kind, cause_id)
              select firm_id, min(at), 'payment.succeeded', 'system', 'invoice', 'job', 'x' from audit_events group by firm_id",
        fault: Fault::Added,
        in_block: false,
    },
    Forgery {
        did: "moved a row to another time",
        sql: "update audit_events set at = at - interval '1 year' where action = 'invoice.issued'",
        fault: Fault::Changed,
        in_block: true,
    },
    Forgery {
        did: "dropped a block",
        sql: "delete from audit_blocks where seq = 2",
        fault: Fault::Broken,
        in_block: true,
    },
    Forgery {
        did: "changed a block's hash",
        sql: "update audit_blocks set hash = sha256('x') where seq = 1",
        fault: Fault::Changed,
        in_block: true,
    },
    Forgery {
        did: "left a row out of its block",
        sql: "update audit_blocks set row_ids = row_ids[2:] where seq = 2",
        fault: Fault::Added,
        in_block: false,
    },
    Forgery {
        did: "took a row into two blocks",
        sql: "update audit_blocks set row_ids = row_ids || (select max(id) from audit_events) where seq = 1",
        fault: Fault::Added,
        in_block: false,
    },
];

/// A-21.
#[tokio::test]
async fn r093_the_chain_tells_of_every_way_to_tamper_with_the_log() {
    let world = World::start(WorldOptions::default()).await;
    let firm = three_blocks(&world).await;
    let mut unnoticed = Vec::new();
    for forgery in &FORGERIES {
        let mut tx = world.db.begin().await.unwrap();
        // As a superuser can: no trigger.
        sqlx::raw_sql("set local session_replication_role = replica")
            .execute(&mut *tx)
            .await
            .unwrap();
        assert_eq!(faults(&mut tx, firm, &[]).await, []);
        let done = sqlx::raw_sql(AssertSqlSafe(forgery.sql))
            .execute(&mut *tx)
            .await
            .unwrap();
        assert!(done.rows_affected() > 0, "nobody {}", forgery.did);
        let found = faults(&mut tx, firm, &[]).await;
        let wanted = |(fault, block): &(Fault, Option<i64>)| {
            *fault == forgery.fault && block.is_some() == forgery.in_block
        };
        if !found.iter().any(wanted) {
            unnoticed.push(format!("somebody {}: {found:?}", forgery.did));
        }
        tx.rollback().await.unwrap();
    }
    assert!(unnoticed.is_empty(), "{unnoticed:#?}");
}

/// A row that is put in through the front door and claims to be old: the chain takes it, and says what it is.
#[tokio::test]
async fn r093_a_back_dated_row_is_told_from_one_that_was_written_in_time() {
    let world = World::start(WorldOptions::default()).await;
    let firm = three_blocks(&world).await;
    let back_dated = "insert into audit_events (firm_id, at, action, actor_kind, subject_kind, cause_kind, cause_id)
                      select id, app.now() - interval '3 days', 'payment.succeeded', 'system', 'invoice', 'job', 'x' from firms
                       where set_config('app.firm_id', id::text, true) <> '' returning action";
    world.texts(back_dated).await;
    world.json(&["audit", "seal"]).await;
    let verified = world.cli(&["audit", "verify", "--json"]).await;
    assert_eq!(verified.code, 3, "{verified}");
    let finding = &verified.json().unwrap()["findings"][0];
    assert_eq!(
        (&finding["fault"], &finding["block"]),
        (&json!("back_dated"), &json!(4))
    );
    // Whoever makes up both times is told by the blocks before.
    let mut tx = world.db.begin().await.unwrap();
    sqlx::raw_sql("set local session_replication_role = replica; update audit_events set recorded_at = at where cause_id = 'x'")
        .execute(&mut *tx)
        .await
        .unwrap();
    assert!(
        faults(&mut tx, firm, &[])
            .await
            .contains(&(Fault::BackDated, Some(4)))
    );
}

/// Who can write every table computes a whole new chain: the exported head alone tells.
#[tokio::test]
async fn r093_an_operator_who_rewrites_the_whole_chain_is_caught_by_an_exported_head() {
    let world = World::start(WorldOptions::default()).await;
    let firm = three_blocks(&world).await;
    let exported = world.json(&["audit", "head"]).await;
    assert_eq!(exported["data"][0]["seq"], 3);
    let file = std::env::temp_dir().join(format!("quittance-heads-{firm}.json"));
    fs::write(&file, exported.to_string()).unwrap();
    let path = file.to_str().unwrap();
    // The chain goes on, and the head stays good.
    world.json(&["client", "autopay", "off", "zebra"]).await;
    world.json(&["audit", "seal"]).await;
    let with_head = ["audit", "verify", "--head", path];
    assert_eq!(world.json(&with_head).await["ok"], true);

    sqlx::raw_sql(
        "set session_replication_role = replica;
         update audit_events set meta = meta || '{\"amount_minor\": 1}' where action = 'payment.succeeded';
         insert into audit_unsealed select firm_id, unnest(row_ids) from audit_blocks;
         delete from audit_blocks;
         set session_replication_role = default",
    )
    .execute(&world.db)
    .await
    .unwrap();
    world.json(&["audit", "seal"]).await;
    assert_eq!(
        world.json(&["audit", "verify"]).await["ok"],
        true,
        "by itself the new chain is as good as the old one"
    );
    let caught = world.cli(&["audit", "verify", "--head", path, "--json"]).await;
    assert_eq!(caught.code, 3, "{caught}");
    assert_eq!(caught.json().unwrap()["findings"][0]["fault"], "rewritten");
    let text = world.cli(&with_head).await;
    assert!(
        text.stdout
            .starts_with("THE AUDIT LOG WAS TAMPERED WITH in 1 place(s)"),
        "{text}"
    );

    fs::write(&file, "{}").unwrap();
    assert_eq!(world.cli(&with_head).await.code, 1);
    fs::remove_file(&file).unwrap();
    assert_eq!(world.cli(&with_head).await.code, 1);
}

/// Three blocks of what happened to Acme.
async fn three_blocks(world: &World) -> FirmId {
    acme::open_accounts(world, &[("zebra", &[]), ("yak", &["insufficient_funds", "..."])]).await;
    acme::bill(world, &["zebra"], "usd", AMOUNT).await;
    world.settle().await;
    world.json(&["audit", "seal"]).await;
    acme::bill(world, &["yak"], "usd", AMOUNT).await;
    world.settle().await;
    world.json(&["audit", "seal"]).await;
    let intent = acme::intent(world, "zebra").await.0;
    let order = json!({ "payment_intent": intent, "kind": "chargeback" });
    world.sim.post("/disputes", order).await.unwrap();
    world.settle().await;
    world.json(&["audit", "seal"]).await;
    assert_eq!(world.count("select max(seq) from audit_blocks").await, 3);
    firm(world).await
}

async fn faults(conn: &mut PgConnection, firm: FirmId, exported: &[Head]) -> Vec<(Fault, Option<i64>)> {
    let verified = audit_chain::verify(conn, firm, exported).await.unwrap();
    verified.findings.iter().map(|f| (f.fault, f.block)).collect()
}

/// Writers, and transactions of each: some are undone, all overlap.
const WRITERS: u64 = 32;
const TRANSACTIONS: u64 = 25;

/// 32 writers commit, undo and overlap while three sealers compete: every committed row is in one block, no other is in any.
#[tokio::test]
async fn load_r093_32_writers_while_sealing_lose_nothing_and_nothing_is_sealed_twice() {
    let world = World::start(WorldOptions {
        workers: 0,
        ingress: false,
        ..WorldOptions::default()
    })
    .await;
    world.import(&acme::document(&["zebra"])).await;
    let firm = firm(&world).await;
    let options = PgPoolOptions::new()
        .max_connections(40)
        .acquire_timeout(Duration::from_secs(60));
    let pool = options.connect(&world.database_url(Login::Worker)).await.unwrap();
    let db = Db::from_pool(pool);
    let before = world.count("select count(*) from audit_events").await;

    let writers = stream::iter(0..WRITERS).for_each_concurrent(None, |writer| {
        let db = &db;
        async move {
            for n in 0..TRANSACTIONS {
                write(db, firm, writer, n).await;
            }
        }
    });
    let (done, is_done) = tokio::sync::watch::channel(false);
    let sealers = stream::iter(0..3).for_each_concurrent(None, |_| {
        let (db, is_done) = (&db, is_done.clone());
        async move {
            loop {
                let last = *is_done.borrow();
                seal(db, firm).await;
                if last {
                    return;
                }
            }
        }
    });
    tokio::join!(
        async {
            writers.await;
            done.send(true).unwrap();
        },
        sealers
    );

    let kept = (0..WRITERS)
        .flat_map(|writer| (0..TRANSACTIONS).map(move |n| (writer, n)))
        .filter(|(writer, n)| !is_undone(*writer, *n))
        .map(|(writer, n)| i64::try_from(rows_of(writer, n)).unwrap())
        .sum::<i64>();
    assert_eq!(
        world.count("select count(*) from audit_events").await,
        before + kept
    );
    assert_eq!(world.count("select count(*) from audit_unsealed").await, 0);
    let sealed = "select count(*) from (select unnest(row_ids) as id from audit_blocks) s";
    assert_eq!(world.count(sealed).await, before + kept);
    assert!(
        world.count("select count(*) from audit_blocks").await > 3,
        "they did not compete"
    );
    // It was a race: rows of later blocks have lower ids than rows of earlier ones.
    let overtaken = "select count(*) from audit_blocks a join audit_blocks b on b.seq = a.seq + 1
                      where (select min(x) from unnest(b.row_ids) x) < (select max(x) from unnest(a.row_ids) x)";
    assert!(world.count(overtaken).await > 0);
    let verified = world.json(&["audit", "verify"]).await;
    assert_eq!(verified["findings"], json!([]));
    assert_eq!(verified["firms"][0]["sealed"], before + kept);
}

fn rows_of(writer: u64, n: u64) -> u64 {
    1 + (writer + n) % 4
}

fn is_undone(writer: u64, n: u64) -> bool {
    (writer + 3 * n).is_multiple_of(5)
}

/// One transaction that stays open for some milliseconds between its rows, so that others commit around it.
async fn write(db: &Db, firm: FirmId, writer: u64, n: u64) {
    let mut tx = db.firm(firm).await.unwrap();
    for row in 0..rows_of(writer, n) {
        sqlx::query(
            "insert into audit_events (firm_id, at, action, actor_kind, subject_kind, cause_kind, cause_id)
             select $1, app.now(), 'payment.succeeded', 'system', 'invoice', 'job', $2 from pg_sleep($3 / 1000.0)",
        )
        .bind(firm.0)
        .bind(format!("{writer}:{n}:{row}"))
        .bind(i32::try_from((writer * 7 + n * 3 + row) % 6).unwrap())
        .execute(&mut *tx)
        .await
        .unwrap();
    }
    if is_undone(writer, n) {
        tx.rollback().await.unwrap();
    } else {
        tx.commit().await.unwrap();
    }
}

async fn seal(db: &Db, firm: FirmId) {
    let mut tx = db.firm(firm).await.unwrap();
    let now = tx.now();
    audit_chain::seal(&mut tx, firm, now).await.unwrap();
    tx.commit().await.unwrap();
}
