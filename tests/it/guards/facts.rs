//! Uniqueness, references, and what is only ever added to: broken the same way wherever they stand, so the statements are made
//! from the catalogue.

use sqlx::Row as _;
use tests::world::World;

use super::catalogue::{Guard, Kind, Proof};

/// Tables that have no rows when nothing runs, and a row for each.
pub const HOUSEKEEPING: &str = "insert into queue_pauses values ('events', now(), 'x', 'x') on conflict do nothing;
    insert into workers values ('w', 'h', 1, 'v', '{}', 1, now(), now()) on conflict do nothing;
    insert into job_runs values (gen_random_uuid(), 'w') on conflict do nothing;
    insert into schedule_occurrences (schedule, due_at, recorded_at) select name, now(), now() from schedules on conflict do nothing;
    insert into installation_changes (at, action, reason, changed_by, cause_id) values (now(), 'autopay.paused', 'x', 'x', 'x');
    insert into event_replays values (gen_random_uuid(), 'x', 'x', '{}', 1, now()) on conflict do nothing;
    insert into backfill_progress values ('x', now(), now()) on conflict do nothing;
    insert into login_throttle values ('x', 1, now()) on conflict do nothing;
    insert into backfill_passes values ('x', gen_random_uuid(), gen_random_uuid(), now(), now(), null, null, now());";

/// What has to be the case for a row that a guard looks at.
const FIRST: [(&str, &str); 6] = [
    (
        "payment_methods_firm_id_client_id_fkey",
        "update clients set autopay_enabled = false, autopay_payment_method_id = null;",
    ),
    (
        "alerts_firm_id_user_id_fkey",
        "update alerts set user_id = (select id from users u where u.firm_id = alerts.firm_id limit 1);",
    ),
    (
        "api_tokens_login_id_fkey",
        "update api_tokens set login_id = (select id from logins l where l.firm_id = api_tokens.firm_id limit 1);",
    ),
    (
        "one_open_attempt",
        "update payment_attempts set state = 'sent', resolved_at = null where state = 'declined' and seq = 1;",
    ),
    (
        "jobs_one_running_per_order_key",
        "update jobs set state = 'running', lease_owner = 'w', lease_until = now(), finished_at = null
          where id = (select id from jobs where order_key is not null limit 1);",
    ),
    (
        "one_step_once",
        "update payment_attempts set counts_toward_ladder = true where seq = 1;",
    ),
];

/// A statement for each guard of these kinds.
pub async fn proofs(world: &World, guards: &[Guard]) -> Vec<Proof> {
    let mut proofs = Vec::new();
    for guard in guards {
        let sql = match guard.kind {
            Kind::Unique => twice(world, guard).await,
            Kind::Reference => nowhere(world, guard).await,
            Kind::AppendOnly => match guard.name.split_once(' ') {
                Some(("no_truncate", _)) => format!("truncate {} cascade", guard.table),
                _ => format!("{HOUSEKEEPING} delete from {}", guard.table),
            },
            Kind::Exclusion => overlapping(&guard.name).to_owned(),
            Kind::Check | Kind::Raise => continue,
        };
        proofs.push(Proof {
            guard: guard.name.clone(),
            sql,
        });
    }
    proofs
}

/// Inserts a row once more, with other values in the columns of every other unique index.
async fn twice(world: &World, guard: &Guard) -> String {
    let (table, index) = (&guard.table, &guard.name);
    let own = format!(
        "select a.attname::text from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
          where i.indexrelid = '{index}'::regclass"
    );
    let own = world.texts(&own).await;
    let partial = format!(
        "select coalesce(pg_get_expr(indpred, indrelid), 'true') from pg_index where indexrelid = '{index}'::regclass"
    );
    let partial = world.texts(&partial).await.concat();
    let there = own.iter().map(|column| format!("{column} is not null"));
    let there = there.chain([partial]).collect::<Vec<_>>().join(" and ");
    let copy = copy(world, table, &own, None).await;
    format!(
        "{{off}}; {HOUSEKEEPING} {} {copy} where {there} limit 1",
        first(index)
    )
}

/// A statement that inserts a row of a table once more, but for a `where`: what `kept` names stays, what would be there twice
/// otherwise is new, and so is `lost`.
async fn copy(world: &World, table: &str, kept: &[String], lost: Option<&str>) -> String {
    let columns = format!(
        "select a.attname::text as name, format_type(a.atttypid, null) as type,
                exists (select 1 from pg_index i where i.indrelid = a.attrelid and i.indisunique and a.attnum = any (i.indkey)) as is_unique
           from pg_attribute a where a.attrelid = '{table}'::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
          order by a.attnum"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(columns))
        .fetch_all(&world.db)
        .await
        .unwrap();
    let mut names = Vec::new();
    let mut values = Vec::new();
    for row in &rows {
        let (name, kind): (String, String) = (row.get("name"), row.get("type"));
        // Kinds and methods are a few words: whatever else is new tells the rows apart. What is not there stays away.
        let is_new = row.get("is_unique")
            && !kept.contains(&name)
            && !["kind", "method", "metric"].contains(&name.as_str());
        values.push(if lost == Some(&name) {
            fresh(&kind).to_owned()
        } else if is_new {
            format!("case when {name} is not null then {} end", fresh(&kind))
        } else {
            name.clone()
        });
        names.push(name);
    }
    format!(
        "insert into {table} ({}) overriding system value select {} from {table}",
        names.join(", "),
        values.join(", ")
    )
}

fn first(guard: &str) -> &'static str {
    FIRST
        .iter()
        .find(|(name, _)| *name == guard)
        .map_or("", |(_, sql)| sql)
}

/// A value that no row has.
fn fresh(kind: &str) -> &'static str {
    match kind {
        "uuid" => "gen_random_uuid()",
        "text" => "gen_random_uuid()::text",
        "bytea" => "sha256(gen_random_uuid()::text::bytea)",
        "date" => "'2199-12-31'::date",
        "timestamp with time zone" => "'2199-12-31'::timestamptz",
        _ => "1000000",
    }
}

/// Lets a row refer to nothing. Our own triggers are away, those of the reference stay.
async fn nowhere(world: &World, guard: &Guard) -> String {
    let (table, name) = (&guard.table, &guard.name);
    let columns = format!(
        "select a.attname::text from pg_constraint c, unnest(c.conkey) with ordinality k(num, nth) join pg_attribute a on a.attnum = k.num
          where c.conname = '{name}' and c.conrelid = '{table}'::regclass and a.attrelid = c.conrelid order by k.nth"
    );
    let columns = world.texts(&columns).await;
    let last = columns.last().unwrap();
    let there = columns
        .iter()
        .map(|column| format!("{column} is not null"))
        .collect::<Vec<_>>()
        .join(" and ");
    // Of the firm alone: other references of the row, and rows that refer to it, hang on its firm too, so it is a new row.
    let change = if columns.len() == 1 {
        format!(
            "{} where {there} limit 1",
            copy(world, table, &[], Some(last)).await
        )
    } else {
        format!(
            "update {table} set {last} = gen_random_uuid() where ctid = (select ctid from {table} where {there} limit 1)"
        )
    };
    format!(
        "{HOUSEKEEPING} alter table {table} disable trigger user; alter table {table} no force row level security; {} {change}",
        first(name)
    )
}

/// What each of the two exclusions forbids.
fn overlapping(name: &str) -> &'static str {
    match name {
        "engagement_terms_overlap" => {
            "insert into engagements (firm_id, id, client_id, lineage_id, version, pricing_mode, currency, hourly_rate_minor, starts_on,
                                      status, signed_at)
             select firm_id, gen_random_uuid(), client_id, lineage_id, 99, 'hourly', currency, 1, starts_on, 'signed', now()
               from engagements where external_id = 'hours-north'"
        }
        "billing_periods_overlap" => {
            "insert into billing_periods (firm_id, engagement_id, period_start, period_end, invoice_id)
             select firm_id, engagement_id, period_start + 1, period_end, invoice_id from billing_periods where firm_id = app.firm()"
        }
        _ => "select 'there is no statement for this exclusion'",
    }
}
