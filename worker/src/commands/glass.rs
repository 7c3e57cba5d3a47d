//! Break-glass is never silent: a command that touches a firm with an open session says so on standard error, and what the
//! person of that session does is written into the firm's audit log.

use std::sync::{Mutex, PoisonError};

use clap::CommandFactory;
use serde_json::{Value, json};
use shared::{
    ids::FirmId,
    store::{
        self, Db,
        audit::{self, Actor, By, Cause},
        break_glass::{self, Open, SUBJECT},
    },
};
use uuid::Uuid;

use super::operator;
use crate::{cli::Cli, output::Failure};

/// Sessions that this run has told of: once is enough, however often it looks a firm up.
static TOLD: Mutex<Vec<Uuid>> = Mutex::new(Vec::new());

/// To be called with every firm that a command finds its way to.
///
/// # Errors
/// When the database is away: an access that cannot be logged does not happen.
pub async fn touch(db: &Db, firms: &[FirmId]) -> Result<(), Failure> {
    let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
    let open = break_glass::all_open(&mut conn).await?;
    drop(conn);
    for session in open.iter().filter(|session| firms.contains(&session.firm)) {
        if !is_first(session.id) {
            continue;
        }
        show_banner(session);
        if is_operator(&session.operator) {
            record_access(db, session, json!({ "command": command_words() })).await?;
        }
    }
    Ok(())
}

/// Writes an access of a session into the audit log, before anything is shown.
///
/// # Errors
/// When the database is away.
pub async fn record_access(db: &Db, session: &Open, meta: Value) -> Result<(), Failure> {
    let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
    let mut tx = db.firm(session.firm).await?;
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    let entry = by.entry("break_glass.accessed", SUBJECT, session.id, meta);
    audit::record(&mut tx, session.firm, by.at, &entry).await?;
    Ok(tx.commit().await?)
}

fn is_first(session: Uuid) -> bool {
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    let first = !told.contains(&session);
    if first {
        told.push(session);
    }
    first
}

fn is_operator(name: &str) -> bool {
    matches!(operator(), Actor::Operator(me) if me == name)
}

/// For whoever types, whatever they asked for: logs can be filtered, this cannot.
fn show_banner(session: &Open) {
    eprintln!("{}", banner(session));
}

fn banner(session: &Open) -> String {
    format!(
        "*** BREAK-GLASS: {} may look into firm {} until {} UTC ({}). Every access is logged and reviewed. Session {}",
        session.operator,
        session.firm,
        session.expires_at.format("%F %H:%M"),
        session.reason,
        session.id
    )
}

/// Which command runs, without its arguments: they may name people.
fn command_words() -> String {
    let mut command = Cli::command();
    let mut words = Vec::new();
    for argument in std::env::args().skip(1) {
        match command.find_subcommand(&argument).cloned() {
            Some(found) => {
                words.push(found.get_name().to_owned());
                command = found;
            }
            None if argument.starts_with('-') && words.is_empty() => {}
            None => break,
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r092_the_banner_names_who_which_firm_until_when_and_why() {
        let session = Open {
            firm: FirmId(Uuid::nil()),
            id: Uuid::nil(),
            operator: "alice".into(),
            reason: "ticket 17".into(),
            expires_at: chrono::DateTime::from_timestamp(1_770_000_000, 0).unwrap(),
        };
        assert_eq!(
            banner(&session),
            "*** BREAK-GLASS: alice may look into firm 00000000-0000-0000-0000-000000000000 until 2026-02-02 02:40 UTC (ticket 17). \
             Every access is logged and reviewed. Session 00000000-0000-0000-0000-000000000000"
        );
    }
}
