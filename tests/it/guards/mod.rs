//! Every guard of the schema (checks, uniqueness, exclusions, references, and whatever a trigger raises): that it refuses, that
//! the command which would run into it refuses first with a clear sentence, and that docs/GUARDS.md has it.
//!
//! What guards there are is read from the catalogue of a migrated database: one that is new fails these tests until it is proved
//! and described.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod catalogue;
mod checks;
mod commands;
mod document;
mod facts;
mod raises;

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, Executor as _};
use tests::world::{World, WorldOptions};

use self::catalogue::{Guard, guards};
use crate::population::two_firms;

/// What stopped a statement: the name of a constraint, or what was raised (`QT010 payments is append-only`).
async fn refusal(world: &World, sql: &str) -> String {
    let mut tx = world.db.begin().await.unwrap();
    let north = "select set_config('app.firm_id', id::text, true) from firms where external_id = 'north'";
    tx.execute(north).await.unwrap();
    let sql = format!("{sql}; set constraints all immediate")
        .replace("{off}", "set local session_replication_role = replica")
        .replace("{on}", "set local session_replication_role = origin");
    let done = tx.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await;
    tx.rollback().await.unwrap();
    match done {
        Ok(_) => "done".to_owned(),
        Err(fault) => {
            let fault = fault.into_database_error().unwrap();
            match fault.constraint() {
                Some(constraint) => constraint.to_owned(),
                None => format!("{} {}", fault.code().unwrap_or_default(), fault.message()),
            }
        }
    }
}

/// Those of `wanted` that are not among `there`.
fn missing(wanted: &BTreeSet<String>, there: &BTreeSet<String>) -> Vec<String> {
    wanted.difference(there).cloned().collect()
}

/// The database's side: whatever stands in its catalogue refuses a statement that breaks it, triggers out of the way where they
/// would be first.
#[tokio::test]
async fn every_guard_of_the_schema_refuses_and_is_described() {
    let mut world = World::start(WorldOptions::default()).await;
    two_firms(&mut world).await;
    let there = guards(&world).await;
    let names = |guards: &[Guard]| guards.iter().map(|guard| guard.name.clone()).collect();
    let all: BTreeSet<String> = names(&there);
    assert!(all.len() > 280, "{}", all.len());

    let mut faults = Vec::new();
    let mut proved = BTreeSet::new();
    for proof in facts::proofs(&world, &there)
        .await
        .into_iter()
        .chain(checks::proofs(&there))
        .chain(raises::proofs())
    {
        let said = refusal(&world, &proof.sql).await;
        if proof.is_met_by(&said) {
            proved.insert(proof.guard);
        } else {
            faults.push(format!("{}: {}\n    says {said}", proof.guard, proof.sql));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(missing(&all, &proved), [""; 0], "there is no proof for these");
    assert_eq!(missing(&proved, &all), [""; 0], "these are proved and not there");
    let described = document::guards();
    assert_eq!(
        missing(&all, &described),
        [""; 0],
        "docs/GUARDS.md does not have these"
    );
    assert_eq!(
        missing(&described, &all),
        [""; 0],
        "docs/GUARDS.md has these, the schema does not"
    );

    // All of this notices what is new.
    for (sql, name) in [
        (
            "alter table clients add constraint fresh check (name <> 'x')",
            "fresh",
        ),
        ("create unique index fresh_key on clients (name, id)", "fresh_key"),
        (
            "create function app.fresh_guard() returns trigger language plpgsql as
               $$ begin raise exception 'not on my watch' using errcode = 'QT099'; end $$",
            "fresh_guard: not on my watch",
        ),
        (
            "create trigger append_only before update on users for each row execute function app.append_only()",
            "append_only on users",
        ),
    ] {
        world.db.execute(sql).await.unwrap();
        let now: BTreeSet<String> = names(&guards(&world).await);
        assert!(missing(&now, &proved).contains(&name.to_owned()), "{name}");
        assert!(missing(&now, &described).contains(&name.to_owned()), "{name}");
    }
}
