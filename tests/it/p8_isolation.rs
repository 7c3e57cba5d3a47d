//! P8: no firm sees or changes another firm's rows. A sweep over every table that has firms' rows, as the catalogue has them:
//! a new table is swept without anybody's doing, and this test fails until it has rows of two firms.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use tests::world::{Login, World, WorldOptions};
use uuid::Uuid;

use crate::population::two_firms;

/// Inbox, queue and routes: an event is nobody's until it is read, and the relay takes jobs as they come. So their programs look
/// across firms while they have set none; with a firm set they are held to it like everybody.
const OF_NOBODY_AT_FIRST: [&str; 3] = ["stripe_events", "jobs", "stripe_routes"];

/// The group roles of programs. `quittance_operator` has a sweep of its own (r092_p8_…).
const ROLES: [&str; 4] = [
    "quittance_worker",
    "quittance_portal",
    "quittance_readonly",
    "quittance_ingress",
];

/// A table or view that has firms' rows.
#[derive(Clone, Debug)]
struct Table {
    name: String,
    /// The column that says whose a row is.
    key: &'static str,
    is_view: bool,
    /// Row-level security is on, also for the owner.
    is_forced: bool,
}

/// Every one that there is.
async fn tables(world: &World) -> Vec<Table> {
    let rows = sqlx::query(
        "select c.relname::text as name, c.relkind in ('v', 'm') as is_view, c.relrowsecurity and c.relforcerowsecurity as is_forced
           from pg_class c
          where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')
            and (c.relname = 'firms' or exists (select 1 from pg_attribute a
                   where a.attrelid = c.oid and a.attname = 'firm_id' and not a.attisdropped))
          order by 1",
    );
    let found = rows.fetch_all(&world.db).await.unwrap();
    let table = |row: &sqlx::postgres::PgRow| {
        let name: String = row.get("name");
        Table {
            key: if name == "firms" { "id" } else { "firm_id" },
            name,
            is_view: row.get("is_view"),
            is_forced: row.get("is_forced"),
        }
    };
    found.iter().map(table).collect()
}

/// A connection with the rights of a group role that no test logs in for.
async fn acting_as(world: &World, role: &str) -> PgConnection {
    let mut conn = world.db.acquire().await.unwrap().detach();
    conn.execute(AssertSqlSafe(format!("set role {role}")))
        .await
        .unwrap();
    conn
}

/// What a role can do that it should not, with `own` set or with no firm, to the rows of `other` (and, with no firm set, of anybody).
struct Sweep<'a> {
    world: &'a World,
    conn: &'a mut PgConnection,
    role: &'a str,
    own: Option<Uuid>,
    other: Uuid,
    found: Vec<String>,
}

impl Sweep<'_> {
    async fn run(mut self, tables: &[Table]) -> Vec<String> {
        for table in tables {
            if self.own.is_none()
                && self.role == "quittance_worker"
                && OF_NOBODY_AT_FIRST.contains(&table.name.as_str())
            {
                continue;
            }
            self.reads(table).await;
            if !table.is_view {
                self.writes(table).await;
            }
        }
        self.found
    }

    fn find(&mut self, table: &Table, what: &str) {
        let with = if self.own.is_some() { "one firm" } else { "no firm" };
        self.found
            .push(format!("{} with {with} set: {}: {what}", self.role, table.name));
    }

    async fn can(&mut self, table: &Table, what: &str) -> bool {
        let sql = format!(
            "select has_column_privilege('public.{}', '{}', '{what}')",
            table.name, table.key
        );
        sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_one(&mut *self.conn)
            .await
            .unwrap()
    }

    async fn reads(&mut self, table: &Table) {
        if !self.can(table, "select").await {
            return;
        }
        let (name, key) = (&table.name, table.key);
        let own = self.own.map_or_else(String::new, |own| own.to_string());
        let sql = format!(
            "select count(*) filter (where {key}::text = '{own}'), count(*) filter (where {key}::text <> '{own}') from {name}"
        );
        let mut tx = self.conn.begin().await.unwrap();
        set_firm(&mut tx, self.own).await;
        let (ours, others): (i64, i64) = sqlx::query_as(AssertSqlSafe(sql))
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        tx.rollback().await.unwrap();
        if others > 0 {
            self.find(table, &format!("{others} rows of other firms are seen"));
        }
        let there = match self.own {
            Some(own) => {
                let count = format!("select count(*) from {name} where {key} = '{own}'");
                self.world.count(&count).await
            }
            None => 0,
        };
        // A sweep that sees nothing at all would prove nothing.
        if ours != there {
            self.find(table, &format!("{ours} of the firm's own {there} rows are seen"));
        }
    }

    async fn writes(&mut self, table: &Table) {
        let (name, key, other) = (&table.name, table.key, self.other);
        let mut firms = vec![other];
        if self.own.is_none() {
            let all = format!("select distinct {key}::text from {name} where {key} is not null");
            firms = self
                .world
                .texts(&all)
                .await
                .iter()
                .map(|id| id.parse().unwrap())
                .collect();
        }
        for firm in firms {
            for write in [
                format!("update {name} set {key} = {key} where {key} = '{firm}'"),
                format!("delete from {name} where {key} = '{firm}'"),
            ] {
                match self.attempt(&write, None).await {
                    Attempt::Wrote(0) | Attempt::Refused => {}
                    Attempt::Wrote(rows) => self.find(table, &format!("{rows} rows are written by {write}")),
                    Attempt::GotPast(fault) => self.find(table, &format!("{write} gets as far as {fault}")),
                }
            }
            self.insert(table, firm).await;
        }
        if let Some(own) = self.own {
            let write = format!("update {name} set {key} = '{other}' where {key} = '{own}'");
            match self.attempt(&write, None).await {
                Attempt::Refused => {}
                Attempt::Wrote(rows) => self.find(table, &format!("{rows} own rows are given away")),
                Attempt::GotPast(fault) => self.find(table, &format!("{write} gets as far as {fault}")),
            }
        }
    }

    /// Inserts a copy of a row that a firm has: whatever the schema asks of rows it fulfils, but that there is one already.
    async fn insert(&mut self, table: &Table, firm: Uuid) {
        let (name, key) = (&table.name, table.key);
        let columns = format!(
            "select coalesce(string_agg(quote_ident(a.attname), ', ' order by a.attnum), '{key}') from pg_attribute a
              where a.attrelid = 'public.{name}'::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
                and has_column_privilege('{}', a.attrelid, a.attnum, 'insert')",
            self.role
        );
        let columns = self.world.texts(&columns).await.concat();
        let row = format!("select to_jsonb(t)::text from {name} t where {key} = '{firm}' limit 1");
        let row = self.world.texts(&row).await.concat();
        let insert = format!(
            "insert into {name} ({columns}) overriding system value select {columns} from jsonb_populate_record(null::{name}, $1::jsonb)"
        );
        match self.attempt(&insert, Some(&row)).await {
            Attempt::Refused => {}
            Attempt::Wrote(_) => self.find(table, "a row of another firm is inserted"),
            Attempt::GotPast(fault) => {
                self.find(
                    table,
                    &format!("inserting a row of another firm gets as far as {fault}"),
                );
            }
        }
    }

    /// Runs a statement under the firm that is set, and undoes it.
    async fn attempt(&mut self, sql: &str, row: Option<&str>) -> Attempt {
        let mut tx = self.conn.begin().await.unwrap();
        set_firm(&mut tx, self.own).await;
        let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
        if let Some(row) = row {
            query = query.bind(row);
        }
        let done = query.execute(&mut *tx).await;
        tx.rollback().await.unwrap();
        match done {
            Ok(done) => Attempt::Wrote(done.rows_affected()),
            Err(fault) => {
                let fault = fault.into_database_error().unwrap();
                match fault.code().unwrap().as_ref() {
                    // No privilege, or a policy; or a guard that looks before the policies do.
                    "42501" => Attempt::Refused,
                    code if code.starts_with("QT") => Attempt::Refused,
                    _ => Attempt::GotPast(fault.to_string()),
                }
            }
        }
    }
}

enum Attempt {
    /// So many rows.
    Wrote(u64),
    /// As it should be.
    Refused,
    /// Only something else stopped it, such as the row that is there already.
    GotPast(String),
}

async fn set_firm(conn: &mut PgConnection, firm: Option<Uuid>) {
    sqlx::query("select set_config('app.firm_id', $1, true)")
        .bind(firm.map_or_else(String::new, |firm| firm.to_string()))
        .execute(conn)
        .await
        .unwrap();
}

/// Everything that a role can do beyond its firm: with each firm set in turn, and with none.
async fn beyond(world: &World, conn: &mut PgConnection, role: &str, firms: [Uuid; 2]) -> Vec<String> {
    let tables = tables(world).await;
    let unprotected = tables.iter().filter(|table| !table.is_view && !table.is_forced);
    let mut found: Vec<String> = unprotected
        .map(|table| format!("{}: row-level security is not forced", table.name))
        .collect();
    let [north, south] = firms;
    for (own, other) in [(Some(north), south), (Some(south), north), (None, north)] {
        let sweep = Sweep {
            world,
            conn: &mut *conn,
            role,
            own,
            other,
            found: Vec::new(),
        };
        found.extend(sweep.run(&tables).await);
    }
    found
}

/// The tables of which a firm has no rows.
async fn empty(world: &World, firm: Uuid) -> Vec<String> {
    let mut empty = Vec::new();
    for table in tables(world).await {
        let (name, key) = (&table.name, table.key);
        let rows = format!("select count(*) from {name} where {key} = '{firm}'");
        if world.count(&rows).await == 0 {
            empty.push(table.name);
        }
    }
    empty
}

/// The sweep itself; then a schema with holes, to see that it finds each of them.
#[tokio::test]
async fn p8_no_role_sees_or_writes_a_row_of_another_firm_in_any_table() {
    let mut world = World::start(WorldOptions::default()).await;
    let firms = two_firms(&mut world).await;
    for firm in firms {
        let empty = empty(&world, firm).await;
        assert!(
            empty.is_empty(),
            "nothing is proved of tables without rows: {empty:?}"
        );
    }
    assert!(tables(&world).await.len() > 35);

    let mut worker = PgConnection::connect(&world.database_url(Login::Worker))
        .await
        .unwrap();
    let found = beyond(&world, &mut worker, ROLES[0], firms).await;
    assert!(found.is_empty(), "{found:#?}");
    for role in &ROLES[1..] {
        let mut conn = acting_as(&world, role).await;
        let found = beyond(&world, &mut conn, role, firms).await;
        assert!(found.is_empty(), "{found:#?}");
    }

    // A draft is given up by a function of the owner's: it too looks at whose it is.
    let [north, south] = firms;
    let mut tx = worker.begin().await.unwrap();
    set_firm(&mut tx, Some(north)).await;
    let refused = sqlx::query("select app.discard_draft($1, $2)")
        .bind(south)
        .bind(Uuid::nil())
        .execute(&mut *tx)
        .await
        .unwrap_err();
    assert_eq!(refused.into_database_error().unwrap().code().unwrap(), "QT013");
    tx.rollback().await.unwrap();

    for (hole, mended, tells) in [
        (
            "drop policy tenant on invoices",
            "create policy tenant on invoices using (firm_id = app.firm()) with check (firm_id = app.firm())",
            "invoices: 0 of the firm's own",
        ),
        (
            "alter table payments no force row level security",
            "alter table payments force row level security",
            "payments: row-level security is not forced",
        ),
        (
            "alter table payments disable row level security",
            "alter table payments enable row level security",
            "with one firm set: payments: …rows of other firms are seen",
        ),
        (
            "create policy hole on audit_unsealed using (true)",
            "drop policy hole on audit_unsealed",
            "audit_unsealed: …rows are written by delete from audit_unsealed",
        ),
        (
            "create policy hole on clients for insert with check (true)",
            "drop policy hole on clients",
            "clients: inserting a row of another firm gets as far as duplicate key",
        ),
        (
            "create policy hole on jobs using (app.firm() is null or true)",
            "drop policy hole on jobs",
            "with one firm set: jobs: ",
        ),
        (
            "create table young (firm_id uuid not null); insert into young select id from firms; grant all on young to quittance_worker",
            "drop table young",
            "with no firm set: young: 2 rows of other firms are seen",
        ),
    ] {
        world.db.execute(hole).await.unwrap();
        let found = beyond(&world, &mut worker, ROLES[0], firms).await;
        assert!(
            found
                .iter()
                .any(|found| tells.split('…').all(|part| found.contains(part))),
            "{hole} is not found by {tells:?}: {found:#?}"
        );
        world.db.execute(mended).await.unwrap();
    }
    let found = beyond(&world, &mut worker, ROLES[0], firms).await;
    assert!(found.is_empty(), "{found:#?}");
}
