//! Group commit: many share one transaction, each is answered for itself, and 2xx means durable.

use futures::future::join_all;
use serde_json::json;
use sqlx::postgres::PgListener;

use crate::{
    client::Answer,
    house::{Database, Ingress, event},
};

/// Delivers them all at once while inserts are blocked, so that they wait together.
async fn deliver_together(database: &Database, ingress: &Ingress, ids: &[String]) -> Vec<Answer> {
    let block = database.block_inserts().await;
    let addr = ingress.addr;
    let deliveries: Vec<_> = ids.iter().map(|id| event(id)).collect();
    let answers = tokio::spawn(async move {
        join_all(deliveries.iter().map(|body| crate::house::deliver(addr, body))).await
    });
    database.until_blocked(1).await;
    let all = u64::try_from(ids.len()).unwrap();
    crate::house::until("all deliveries to wait", async || {
        ingress.metric("quittance_webhook_waiting").await == Some(all)
    })
    .await;
    block.rollback().await.unwrap();
    answers.await.unwrap()
}

#[tokio::test]
async fn p1_concurrent_deliveries_share_a_commit_and_all_are_stored() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    let ids: Vec<_> = (0..100).map(|n| format!("evt_{n}")).collect();
    let answers = deliver_together(&database, &ingress, &ids).await;
    assert!(answers.iter().all(Answer::is_new), "{answers:?}");
    assert_eq!(database.stored().await, 100);
    let commits = ingress
        .metric("quittance_webhook_batch_events_count")
        .await
        .unwrap();
    assert!(
        commits < 20,
        "{commits} commits for 100 events that waited together"
    );
}

#[tokio::test]
async fn s6_one_event_delivered_64_times_at_once_is_one_row_one_job_and_63_duplicates() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    let answers = deliver_together(&database, &ingress, &vec!["evt_1".to_owned(); 64]).await;
    assert_eq!(answers.iter().filter(|a| a.is_new()).count(), 1);
    assert_eq!(answers.iter().filter(|a| a.is_duplicate()).count(), 63);
    assert_eq!(database.stored().await, 1);
}

#[tokio::test]
async fn s6_two_ingresses_and_overlapping_batches_store_each_event_once() {
    let Some(database) = Database::create().await else {
        return;
    };
    let (one, two) = (Ingress::start(&database).await, Ingress::start(&database).await);
    let forwards: Vec<_> = (0..60).map(|n| event(&format!("evt_{n}"))).collect();
    let (by_one, by_two) = futures::join!(
        join_all(forwards.iter().map(|body| one.deliver(body))),
        join_all(forwards.iter().rev().map(|body| two.deliver(body))),
    );
    let rounds: Vec<_> = by_one.into_iter().chain(by_two).collect();
    assert_eq!(rounds.iter().filter(|a| a.is_new()).count(), 60);
    assert_eq!(rounds.iter().filter(|a| a.is_duplicate()).count(), 60);
    assert_eq!(database.stored().await, 60);
}

const POISON: &str = "
    create function public.refuse() returns trigger language plpgsql as
    $$ begin if new.stripe_event_id like 'evt_poison%' then raise exception 'poison'; end if; return new; end $$;";

#[tokio::test]
async fn one_poisonous_row_does_not_fail_its_batch() {
    let Some(database) = Database::create().await else {
        return;
    };
    database.run(POISON).await;
    database
        .run("create trigger refuse before insert on stripe_events for each row execute function refuse()")
        .await;
    let ingress = Ingress::start(&database).await;
    let ids: Vec<_> = (0..50)
        .map(|n| {
            if n == 17 || n == 40 {
                format!("evt_poison_{n}")
            } else {
                format!("evt_{n}")
            }
        })
        .collect();
    let answers = deliver_together(&database, &ingress, &ids).await;
    for (id, answer) in ids.iter().zip(&answers) {
        if id.starts_with("evt_poison") {
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (500, "not_stored"),
                "{id}"
            );
            ingress.until_logged(id).await; // the refused event is named
        } else {
            assert!(answer.is_new(), "{id}: {answer:?}");
        }
    }
    assert_eq!(database.stored().await, 48);
}

#[tokio::test]
async fn b04_p1_a_commit_that_fails_at_its_very_end_is_not_acknowledged_and_its_redelivery_is_not_swallowed()
{
    let Some(database) = Database::create().await else {
        return;
    };
    database.run(POISON).await;
    // Deferred: every statement succeeds, and only the commit fails.
    database
        .run(
            "create constraint trigger refuse after insert on stripe_events deferrable initially deferred
              for each row execute function refuse()",
        )
        .await;
    let ingress = Ingress::start(&database).await;
    let ids = ["evt_1".to_owned(), "evt_poison".to_owned(), "evt_2".to_owned()];
    let answers = deliver_together(&database, &ingress, &ids).await;
    assert_eq!(
        answers.iter().map(|a| a.status).collect::<Vec<_>>(),
        [200, 500, 200]
    );
    assert_eq!(database.stored().await, 2);

    database.run("drop trigger refuse on stripe_events").await;
    assert!(
        ingress.deliver(&event("evt_poison")).await.is_new(),
        "the first, failed delivery left no trace"
    );
    assert_eq!(database.stored().await, 3);
}

#[tokio::test]
async fn p1_the_commit_is_synchronous_even_where_the_login_says_otherwise() {
    let Some(database) = Database::create().await else {
        return;
    };
    database
        .run(
            "create table seen_at_commit (setting text);
             create function public.look() returns trigger language plpgsql security definer as
             $$ begin insert into public.seen_at_commit values (current_setting('synchronous_commit')); return null; end $$;
             create constraint trigger look after insert on stripe_events deferrable initially deferred
               for each row execute function look();
             do $$ begin execute format('alter database %I set synchronous_commit = off', current_database()); end $$",
        )
        .await;
    let ingress = Ingress::start(&database).await;
    assert!(ingress.deliver(&event("evt_1")).await.is_new());
    let seen: Vec<String> = sqlx::query_scalar("select setting from seen_at_commit")
        .fetch_all(&database.pool)
        .await
        .unwrap();
    assert_eq!(seen, ["on"]);
}

#[tokio::test]
async fn b04_an_event_whose_processing_failed_keeps_its_job_when_it_is_delivered_again() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    assert!(ingress.deliver(&event("evt_1")).await.is_new());
    database
        .run("update jobs set state = 'retryable', attempt = 3, last_error = 'failed'")
        .await;
    assert!(ingress.deliver(&event("evt_1")).await.is_duplicate());
    assert_eq!(
        database
            .count("select count(*) from jobs where state = 'retryable' and attempt = 3")
            .await,
        1
    );
    assert_eq!(database.stored().await, 1);
}

#[tokio::test]
async fn the_relay_is_nudged_for_what_is_new_and_not_for_duplicates() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    let mut listener = PgListener::connect_with(&database.pool).await.unwrap();
    listener.listen(shared::store::jobs::NUDGE_CHANNEL).await.unwrap();
    for id in ["evt_1", "evt_1", "evt_2"] {
        assert_eq!(ingress.deliver(&event(id)).await.status, 200);
    }
    database.run("notify quittance_jobs, 'end'").await;
    let mut payloads = Vec::new();
    while payloads.last().map(String::as_str) != Some("end") {
        payloads.push(listener.recv().await.unwrap().payload().to_owned());
    }
    assert_eq!(payloads, ["", "", "end"]);
}

#[tokio::test]
async fn jobs_of_one_batch_are_queued_in_the_order_in_which_stripe_made_their_events() {
    let Some(database) = Database::create().await else {
        return;
    };
    let ingress = Ingress::start(&database).await;
    let block = database.block_inserts().await;
    let made = |id: &str, created: i64| {
        json!({"id": id, "type": "x", "created": created})
            .to_string()
            .into_bytes()
    };
    let bodies = [
        made("evt_c", 1_700_000_001),
        made("evt_a", 1_700_000_003),
        made("evt_b", 1_700_000_002),
    ];
    let addr = ingress.addr;
    // Two that occupy the committers, so that the others wait and share a batch.
    let first = tokio::spawn(async move { crate::house::deliver(addr, &event("evt_y")).await });
    database.until_blocked(1).await;
    let second = tokio::spawn(async move { crate::house::deliver(addr, &event("evt_z")).await });
    database.until_blocked(2).await;
    let rest =
        tokio::spawn(
            async move { join_all(bodies.iter().map(|body| crate::house::deliver(addr, body))).await },
        );
    crate::house::until("five to wait", async || {
        ingress.metric("quittance_webhook_waiting").await == Some(5)
    })
    .await;
    block.rollback().await.unwrap();
    assert!(first.await.unwrap().is_new() && second.await.unwrap().is_new());
    assert!(rest.await.unwrap().iter().all(Answer::is_new));
    let order: Vec<String> = sqlx::query_scalar(
        "select dedupe_key from jobs where dedupe_key in ('evt_a', 'evt_b', 'evt_c') order by seq",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    assert_eq!(order, ["evt_c", "evt_b", "evt_a"]);
}
