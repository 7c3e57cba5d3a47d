//! A period's invoices: every engagement of ten firms is billed by one command. Beside it one set-based statement that writes as many
//! invoices, lines and audit rows into plain tables.

use std::time::{Duration, Instant};

use ::tests::world::{Login, World, WorldOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::{
    Outcome,
    meter::{self, Cpu},
    report::Report,
};

const FIRMS: u32 = 10;
/// For all of it, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(3_000);

/// Firms with clients that pay by hand, each with one package of this month.
fn fill(engagements: u32) -> String {
    let each = engagements / FIRMS;
    format!(
        "with firm as (
           insert into firms (id, external_id, name) select gen_random_uuid(), 'firm-' || n, 'Firm ' || n from generate_series(1, {FIRMS}) n
           returning id),
         client as (
           insert into clients (firm_id, id, external_id, name)
           select f.id, gen_random_uuid(), 'client-' || f.id || '-' || n, 'Client ' || n from firm f, generate_series(1, {each}) n
           returning firm_id, id, external_id)
         insert into engagements (firm_id, id, external_id, client_id, lineage_id, pricing_mode, currency, package_fee_minor, cadence,
                                  starts_on, status, signed_at)
         select c.firm_id, gen_random_uuid(), c.external_id || '-work', c.id, gen_random_uuid(), 'package', 'usd', 10000, 'monthly',
                date_trunc('month', app.now() at time zone 'UTC')::date, 'signed', app.now() from client c"
    )
}

/// The same amount of rows, with nothing but their keys.
fn plain(engagements: u32) -> String {
    format!(
        "with made as (
           insert into bench.invoices (engagement, starts, amount) select n, date '2030-01-01', 10000 from generate_series(1, {engagements}) n
           on conflict (engagement, starts) do nothing returning id, engagement, amount),
         line as (
           insert into bench.lines (invoice, description, amount) select id, 'package ' || engagement, amount from made)
         insert into bench.audit (invoice, action, detail)
         select id, 'invoice_created', jsonb_build_object('engagement', engagement, 'amount', amount) from made"
    )
}

const PLAIN_TABLES: &str = "
    create schema bench;
    create table bench.invoices (id bigserial primary key, engagement bigint not null, starts date not null, amount bigint not null,
                                 at timestamptz not null default now(), unique (engagement, starts));
    create table bench.lines (id bigserial primary key, invoice bigint not null references bench.invoices, description text not null,
                              amount bigint not null);
    create index on bench.lines (invoice);
    create table bench.audit (id bigserial primary key, invoice bigint not null, action text not null, detail jsonb not null,
                              at timestamptz not null default now())";

/// Measures one round.
pub async fn measure(report: &mut Report, quick: bool) -> Outcome {
    let engagements = if quick { 500 } else { 30_000 };
    let mut world = World::start(WorldOptions {
        workers: 0,
        ingress: false,
        ..WorldOptions::default()
    })
    .await;
    // Nothing but what is asked for.
    sqlx::raw_sql("update schedules set enabled = false")
        .execute(&world.db)
        .await?;
    sqlx::query(AssertSqlSafe(fill(engagements)))
        .execute(&world.db)
        .await?;
    sqlx::raw_sql("vacuum analyze").execute(&world.db).await?;
    world.add_worker().await;
    let pid = world.workers.first().ok_or("no worker")?.pid();

    let cpu = Cpu::of(pid)?;
    let first = billed(&world).await;
    let issued = world
        .count("select count(*) from invoices where doc_state = 'issued'")
        .await;
    if issued != i64::from(engagements) {
        return Err(format!("{issued} invoices of {engagements}").into());
    }
    let (program, postgres) = cpu.per_unit_since(pid, f64::from(engagements))?;
    let again = billed(&world).await;
    if world.count("select count(*) from invoices").await != issued {
        return Err("the second run made invoices".into());
    }
    let what = format!("{engagements} invoices");
    report.add(what.clone(), "s", first);
    report.add(format!("{what}, again: nothing to do"), "s", again);
    report.add(format!("{what}: CPU of the worker"), "µs each", program);
    report.add(format!("{what}: CPU of PostgreSQL"), "µs each", postgres);
    report.add(format!("{what}: resident"), "MB", meter::peak_resident_mb(pid)?);

    let mut owner = PgConnection::connect(&world.database_url(Login::Owner)).await?;
    sqlx::raw_sql(PLAIN_TABLES).execute(&mut owner).await?;
    let begun = Instant::now();
    sqlx::query(AssertSqlSafe(plain(engagements)))
        .execute(&mut owner)
        .await?;
    let set_based = begun.elapsed().as_secs_f64();
    report.add(
        format!("PostgreSQL alone, {what} in one statement"),
        "s",
        set_based,
    );
    report.add(format!("{what}, to one statement"), "×", first / set_based);
    Ok(())
}

/// Seconds of one run over all firms, the command with it.
async fn billed(world: &World) -> f64 {
    let begun = Instant::now();
    world.cli(&["generate-package-invoices", "--no-wait"]).await;
    let open = "select count(*) from jobs where kind like 'generate%' and state not in ('completed', 'discarded', 'canceled')";
    world.until(open, 0, PATIENCE).await;
    begun.elapsed().as_secs_f64()
}
