//! What only the database can answer about terms and their collection: which days overlap, which jobs a sweep makes, which
//! step an attempt uses up, what a card's update does. Needs `QUITTANCE_TEST_POSTGRES` (superuser of a private server); skips without it.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::time::Duration;

use chrono::TimeDelta;
use shared::{
    currency::Currency,
    domain::collection::{AttemptState, CycleState, Trigger, decide_charge},
    ids::{AttemptId, ClientId, CycleId, FirmId, InvoiceId, JobId, PaymentMethodId},
    money::Money,
    store::{
        Db, Error, Tx,
        audit::Cause,
        cycles::{self, AttemptOutcome, NewAttempt},
        migrations,
        payment_methods::{self, Card},
        payments,
    },
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool, postgres::PgPoolOptions};
use uuid::Uuid;

const CARD: &str = "pm_1";

/// A database of its own with one firm, one client, one card and one issued invoice that is being collected.
struct Town {
    server: String,
    name: String,
    /// Superuser: sees every firm.
    all: PgPool,
    /// As the worker is: row-level security holds.
    db: Db,
    firm: FirmId,
    client: ClientId,
    method: PaymentMethodId,
    invoice: InvoiceId,
    cycle: CycleId,
}

impl Town {
    /// `None` where there is no server to test with.
    async fn settle() -> Option<Self> {
        let Ok(server) = std::env::var("QUITTANCE_TEST_POSTGRES") else {
            println!("skipped: QUITTANCE_TEST_POSTGRES is not set");
            return None;
        };
        let name = format!("collection_{}", Uuid::now_v7().simple());
        let mut conn = PgConnection::connect(&server).await.unwrap();
        let create = format!("create database {name}");
        conn.execute(AssertSqlSafe(create)).await.unwrap();
        let url = match server.rsplit_once('/') {
            Some((base, _)) if base.contains("//") && base.contains('@') => format!("{base}/{name}"),
            _ => format!("{server}/{name}"),
        };
        let all = PgPool::connect(&url).await.unwrap();
        migrations::apply(&mut all.acquire().await.unwrap())
            .await
            .unwrap();
        let worker = PgPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(30))
            .after_connect(|conn, _| {
                Box::pin(async move { conn.execute("set role quittance_worker").await.map(drop) })
            })
            .connect(&url)
            .await
            .unwrap();
        let mut town = Self {
            server,
            name,
            all,
            db: Db::from_pool(worker),
            firm: FirmId(Uuid::now_v7()),
            client: ClientId::new(),
            method: PaymentMethodId::new(),
            invoice: InvoiceId::new(),
            cycle: CycleId::new(),
        };
        town.build().await;
        Some(town)
    }

    async fn build(&mut self) {
        let (firm, client, method, invoice) = (self.firm.0, self.client.0, self.method.0, self.invoice.0);
        self.run(format!(
            "insert into firms (id, name) values ('{firm}', 'F');
             insert into clients (firm_id, id, name, stripe_customer_id) values ('{firm}', '{client}', 'C', 'cus_1');
             insert into payment_methods (firm_id, id, client_id, stripe_payment_method_id, last4, exp_year)
               values ('{firm}', '{method}', '{client}', '{CARD}', '4242', 2026);
             update clients set autopay_enabled = true, autopay_payment_method_id = '{method}';
             insert into users (firm_id, id, name, role) values ('{firm}', '{method}', 'U', 'owner');
             insert into invoices (firm_id, id, client_id, engagement_override, engagement_override_reason, engagement_override_by,
                                   source, currency, subtotal_minor, autopay_opt_in)
               values ('{firm}', '{invoice}', '{client}', true, 'test', '{method}', 'manual', 'usd', 12500, true);
             insert into invoice_lines (firm_id, id, invoice_id, line_no, kind, amount_minor)
               values ('{firm}', gen_random_uuid(), '{invoice}', 1, 'adjustment', 12500);
             update invoices set doc_state = 'issued', number = 'T-1', issue_date = '2026-03-01', due_date = '2026-03-31',
                                 issued_at = now()"
        ))
        .await;
        self.cycle = self.start().await.unwrap();
    }

    /// Starts a collection cycle, if there is to be one.
    async fn start(&self) -> Option<CycleId> {
        let mut tx = self.tx().await;
        let now = tx.now();
        let cycle = cycles::start_if_autopay(&mut tx, self.firm, self.invoice, now, &cause()).await;
        tx.commit().await.unwrap();
        cycle.unwrap()
    }

    async fn run(&self, statements: String) {
        sqlx::raw_sql(AssertSqlSafe(statements))
            .execute(&self.all)
            .await
            .unwrap();
    }

    async fn tx(&self) -> Tx {
        self.db.firm(self.firm).await.unwrap()
    }

    async fn number(&self, query: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
            .fetch_one(&self.all)
            .await
            .unwrap()
    }

    /// Writes the attempt of a step down.
    async fn attempt(&self, step: u32, seq: i32) -> AttemptId {
        let id = AttemptId::new();
        let new = NewAttempt {
            id,
            cycle: self.cycle,
            seq,
            step,
            trigger: Trigger::Retry,
            method: self.method,
            amount: Money::new(12_500, Currency::USD),
            idempotency_key: format!("confirm:{id}"),
        };
        let mut tx = self.tx().await;
        let now = tx.now();
        cycles::insert_attempt(&mut tx, self.firm, now, &new)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        self.run("update collection_cycles set state = 'in_flight', next_attempt_at = null".into())
            .await;
        id
    }

    async fn send(&self, attempt: AttemptId) {
        let mut tx = self.tx().await;
        cycles::mark_sent(&mut tx, self.firm, attempt).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn end(&self, attempt: AttemptId, state: AttemptState, class: &str) {
        let outcome = AttemptOutcome {
            class: Some(class),
            ..AttemptOutcome::default()
        };
        let mut tx = self.tx().await;
        let now = tx.now();
        cycles::update_attempt(&mut tx, self.firm, attempt, state, &outcome, now)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    /// What a sweep enqueues: charges, lookups.
    async fn sweep(&self, run: &str) -> (Vec<JobId>, u64) {
        let mut tx = self.db.plain().await.unwrap();
        let later = tx.now() + TimeDelta::hours(1);
        let now = tx.now();
        let charges = cycles::enqueue_due(&mut tx, None, now, run, 100).await.unwrap();
        let lookups = cycles::enqueue_lookups(&mut tx, later, run, 100).await.unwrap();
        tx.commit().await.unwrap();
        (charges, lookups)
    }

    async fn update_card(&self, exp_year: i32) -> payment_methods::Updated {
        let card = Card {
            exp_year: Some(exp_year),
            ..Card::default()
        };
        let mut tx = self.tx().await;
        let now = tx.now();
        let updated = payment_methods::updated_by_network(&mut tx, self.firm, CARD, &card, now).await;
        tx.commit().await.unwrap();
        updated.unwrap().unwrap()
    }

    async fn refuse_card(&self, attempt: AttemptId) -> bool {
        let mut tx = self.tx().await;
        let usable = cycles::method_refused(&mut tx, self.firm, attempt).await.unwrap();
        tx.commit().await.unwrap();
        usable
    }

    async fn leave(self) {
        self.db.pool().close().await;
        self.all.close().await;
        let mut conn = PgConnection::connect(&self.server).await.unwrap();
        let drop = format!("drop database {} with (force)", self.name);
        conn.execute(AssertSqlSafe(drop)).await.unwrap();
    }
}

fn cause() -> Cause {
    Cause::command(Uuid::now_v7())
}

#[tokio::test]
async fn a_sweep_makes_a_job_only_where_none_is_unfinished() {
    let Some(town) = Town::settle().await else { return };
    let count = "select count(*) from jobs";
    // the job of the issuing transaction
    let (first, _) = town.sweep("run-1").await;
    assert_eq!((first.len(), town.number(count).await), (1, 1));

    town.run("update jobs set state = 'discarded', finished_at = now()".into())
        .await;
    let (second, _) = town.sweep("run-2").await;
    assert_ne!(first, second);
    // its own job backs off: neither a new sweep nor the one after it adds another
    town.run(
        "update jobs set state = 'retryable', run_at = now() + interval '1 hour' where state = 'available'"
            .into(),
    )
    .await;
    for run in ["run-3", "run-4"] {
        assert_eq!(town.sweep(run).await.0, second);
    }
    assert_eq!(town.number(count).await, 2);
    town.leave().await;
}

#[tokio::test]
async fn a_paused_firm_does_not_fill_the_sweep() {
    let Some(town) = Town::settle().await else { return };
    town.run(
        "delete from jobs; update firms set autopay_paused_at = now(), autopay_paused_reason = 'test'".into(),
    )
    .await;
    assert_eq!(town.sweep("run-1").await.0, []);
    town.run("update firms set autopay_paused_at = null, autopay_paused_reason = null".into())
        .await;
    assert_eq!(town.sweep("run-2").await.0.len(), 1);
    town.leave().await;
}

#[tokio::test]
async fn an_open_attempt_without_an_unfinished_job_is_looked_after_once() {
    let Some(town) = Town::settle().await else { return };
    town.run("delete from jobs".into()).await;
    let attempt = town.attempt(0, 1).await;
    // written down, and its job is gone: nothing else would ever send it
    assert_eq!(town.sweep("run-1").await.1, 1);
    for state in ["sent", "processing", "action_required", "unknown"] {
        town.run(format!(
            "update payment_attempts set state = '{state}', sent_at = now()"
        ))
        .await;
        assert_eq!(
            town.sweep("run-2").await.1,
            0,
            "{state}: the first one is still there"
        );
    }
    town.run("update jobs set state = 'discarded', finished_at = now()".into())
        .await;
    assert_eq!(town.sweep("run-3").await.1, 1);
    town.end(attempt, AttemptState::Declined, "soft").await;
    town.run("delete from jobs".into()).await;
    assert_eq!(town.sweep("run-4").await.1, 0);
    town.leave().await;
}

#[tokio::test]
async fn a14_what_had_no_effect_or_was_our_fault_uses_up_no_step() {
    let Some(town) = Town::settle().await else { return };
    let ends = [
        (AttemptState::Technical, "technical"),
        (AttemptState::Declined, "bug"),
    ];
    for ((state, class), seq) in ends.into_iter().zip(1..) {
        let attempt = town.attempt(1, seq).await;
        town.end(attempt, state, class).await;
    }
    let attempt = town.attempt(1, 3).await;
    let mut tx = town.tx().await;
    let now = tx.now();
    let cycle = cycles::lock(&mut tx, town.firm, town.cycle)
        .await
        .unwrap()
        .unwrap();
    let open = cycle.open_attempt().unwrap().clone();
    cycles::take_back(&mut tx, town.firm, &cycle, &open, now, "autopay_paused", &cause())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(open.id, attempt);

    let mut tx = town.tx().await;
    let facts = cycles::charge_facts(&mut tx, town.firm, town.cycle)
        .await
        .unwrap();
    assert_eq!(
        (facts.cycle, facts.next_step, facts.next_trigger),
        (CycleState::Scheduled, 1, Trigger::Retry)
    );
    assert_eq!(decide_charge(&facts, now).0.outcome(), "charge");
    drop(tx);
    // made in earnest, and then never again
    let attempt = town.attempt(1, 4).await;
    town.end(attempt, AttemptState::Declined, "soft").await;
    assert_eq!(
        town.number("select count(*) from payment_attempts where counts_toward_ladder")
            .await,
        1
    );
    town.leave().await;
}

#[tokio::test]
async fn b15_the_database_stamps_an_attempt_by_the_real_clock_and_nobody_changes_it() {
    let Some(town) = Town::settle().await else { return };
    town.run("update clock set offset_ms = 30 * 86400000::bigint".into())
        .await;
    let attempt = town.attempt(0, 1).await;
    let stamped = "select count(*) from payment_attempts where real_sent_at between clock_timestamp() - interval '1 minute'
                     and clock_timestamp() and sent_at - real_sent_at between interval '29 days' and interval '31 days'";
    assert_eq!(town.number(stamped).await, 0, "not sent yet");
    town.send(attempt).await;
    assert_eq!(town.number(stamped).await, 1);
    let mut tx = town.tx().await;
    let business = tx.now();
    assert!(tx.real_now() < business - TimeDelta::days(29));
    let cycle = cycles::lock(&mut tx, town.firm, town.cycle)
        .await
        .unwrap()
        .unwrap();
    let sent_at = cycle.open_attempt().unwrap().real_sent_at.unwrap();
    assert!(sent_at < business - TimeDelta::days(29), "{sent_at}");
    let refused = sqlx::query("update payment_attempts set real_sent_at = now()")
        .execute(&mut *tx)
        .await;
    assert!(
        matches!(refused.map_err(Error::from), Err(Error::Refused { code, .. }) if code == "QT010"),
        "it is history"
    );
    drop(tx);
    // One that was sent before the column was there has its business time for it.
    town.run(
        "set session_replication_role = replica; update payment_attempts set real_sent_at = null;
         set session_replication_role = origin"
            .into(),
    )
    .await;
    let mut tx = town.tx().await;
    let cycle = cycles::lock(&mut tx, town.firm, town.cycle)
        .await
        .unwrap()
        .unwrap();
    let sent_at = cycle.open_attempt().unwrap().real_sent_at.unwrap();
    assert!(sent_at > business - TimeDelta::days(1), "{sent_at}");
    drop(tx);
    town.leave().await;
}

#[tokio::test]
async fn a16_days_that_would_be_agreed_or_billed_twice_are_refused_in_one_sentence() {
    let Some(town) = Town::settle().await else { return };
    let (lineage, engagement, invoice) = (Uuid::now_v7(), Uuid::now_v7(), town.invoice.0);
    let terms = |id: Uuid, version: i32, starts_on: &str, ends_on: &str| {
        format!(
            "insert into engagements (firm_id, id, client_id, lineage_id, version, pricing_mode, currency, package_fee_minor,
                                      cadence, starts_on, ends_on, status, signed_at)
             select firm_id, '{id}', id, '{lineage}', {version}, 'package', 'usd', 10000, 'monthly', '{starts_on}', '{ends_on}',
                    'signed', now() from clients"
        )
    };
    let period = |start: &str, end: &str| {
        format!(
            "insert into billing_periods (firm_id, engagement_id, period_start, period_end, invoice_id)
             select id, '{engagement}', '{start}', '{end}', '{invoice}' from firms"
        )
    };
    town.run(terms(engagement, 1, "2026-01-01", "2026-07-01")).await;
    town.run(terms(Uuid::now_v7(), 2, "2026-07-01", "2027-01-01"))
        .await;
    town.run(period("2026-01-01", "2026-02-01")).await;
    for (statement, sentence) in [
        (
            terms(Uuid::now_v7(), 3, "2026-12-31", "2027-06-01"),
            "these days are in the terms of another signed version of the engagement already: end that one first",
        ),
        (
            period("2026-01-31", "2026-03-01"),
            "some of these days of the engagement are billed already",
        ),
    ] {
        let mut tx = town.tx().await;
        let refused = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *tx).await;
        let refused = Error::from(refused.unwrap_err());
        assert!(
            matches!(&refused, Error::Refused { code, .. } if code == "23P01"),
            "{refused:?}"
        );
        assert_eq!(refused.to_string(), sentence);
    }
    town.leave().await;
}

#[tokio::test]
async fn b01_no_charge_beside_an_attempt_of_an_earlier_cycle_that_may_yet_succeed() {
    let Some(town) = Town::settle().await else { return };
    let attempt = town.attempt(0, 1).await;
    town.send(attempt).await;
    let mut tx = town.tx().await;
    let now = tx.now();
    cycles::cancel_live_cycles(&mut tx, town.firm, town.client, now, "autopay_disabled", &cause())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(town.start().await, None, "not while that one may succeed");
    // one that an earlier build began all the same
    let second = CycleId::new();
    town.run(format!(
        "insert into collection_cycles (firm_id, id, invoice_id, seq, amount_minor, currency, state, next_attempt_at, policy)
         select firm_id, '{second}', invoice_id, 2, amount_minor, currency, 'scheduled', now(), policy from collection_cycles"
    ))
    .await;
    let decide = async || {
        let mut tx = town.tx().await;
        let facts = cycles::charge_facts(&mut tx, town.firm, second).await.unwrap();
        decide_charge(&facts, tx.now()).0.reason_code()
    };
    assert_eq!(decide().await, "earlier_attempt_open");
    town.end(attempt, AttemptState::Declined, "soft").await;
    assert_eq!(decide().await, "due", "it had no PaymentIntent");
    let first = format!("update collection_cycles set {{}} where id = '{}'", town.cycle);
    town.run(first.replace("{}", "stripe_payment_intent_id = 'pi_1'"))
        .await;
    assert_eq!(decide().await, "earlier_intent_open");
    town.run(first.replace("{}", "intent_closed_at = now()")).await;
    assert_eq!(decide().await, "due");
    town.leave().await;
}

#[tokio::test]
async fn b24_a_card_update_that_is_told_twice_makes_the_card_usable_once() {
    let Some(town) = Town::settle().await else { return };
    let attempt = town.attempt(0, 1).await;
    town.send(attempt).await;
    assert!(!town.refuse_card(attempt).await);
    assert!(town.update_card(2031).await.is_new);
    assert_eq!(
        town.number("select count(*) from payment_methods where status = 'active'")
            .await,
        1
    );

    town.end(attempt, AttemptState::Declined, "hard").await;
    let again = town.attempt(1, 2).await;
    town.send(again).await;
    assert!(!town.refuse_card(again).await, "refused as it is now");
    assert!(!town.update_card(2031).await.is_new);
    assert_eq!(
        town.number("select count(*) from payment_methods where status = 'needs_update'")
            .await,
        1
    );
    town.leave().await;
}

#[tokio::test]
async fn a_card_that_was_updated_while_it_was_being_refused_stays_usable() {
    let Some(town) = Town::settle().await else { return };
    let attempt = town.attempt(0, 1).await;
    town.send(attempt).await;
    town.update_card(2031).await;
    assert!(town.refuse_card(attempt).await);
    assert_eq!(
        town.number("select count(*) from payment_methods where status = 'active'")
            .await,
        1
    );
    town.leave().await;
}

#[tokio::test]
async fn a_fence_keeps_its_reason_and_is_lifted_only_for_it() {
    let Some(town) = Town::settle().await else { return };
    let mut tx = town.tx().await;
    for reason in ["asked_by_client", "chargeback"] {
        payments::fence_invoice(&mut tx, town.firm, town.invoice, reason)
            .await
            .unwrap();
    }
    assert!(
        !payments::lift_fence(&mut tx, town.firm, town.invoice, "chargeback")
            .await
            .unwrap()
    );
    assert!(
        payments::lift_fence(&mut tx, town.firm, town.invoice, "asked_by_client")
            .await
            .unwrap()
    );
    drop(tx);
    town.leave().await;
}
