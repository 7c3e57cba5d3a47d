//! `quittance migrate`: brings the schema up and gives logins their roles; the only command that connects as the owner.

use std::{str::FromStr, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use shared::{
    config,
    store::{
        self,
        migrations::{self, SchemaState},
        roles::{self, Granted, Role},
    },
};
use sqlx::{Connection, PgConnection, migrate::MigrateError, postgres::PgConnectOptions};

use crate::output::{Exit, Failure, Format};

/// Roles are rows of the whole cluster: whoever migrates another database of it at the same moment can make a grant fail.
const CATALOG_TRIES: u32 = 20;
const CATALOG_PAUSE: Duration = Duration::from_millis(150);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Arguments of `migrate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quittance migrate
  quittance migrate --grant ingress=hooks --grant worker=billing
  quittance migrate --check          # exit 3 when the schema is behind

Connects as MIGRATION_DATABASE_URL (DATABASE_URL unless set). A login in DATABASE_URL that is not the owner
becomes a worker by itself.")]
pub struct Args {
    /// Change nothing; exit 3 when the schema is behind.
    #[arg(long, conflicts_with = "grant")]
    check: bool,
    /// Give a login its role: ingress, worker, portal or readonly, of a program; operator, of a person of the platform;
    /// scaler, of an autoscaler.
    #[arg(long, value_name = "ROLE=LOGIN")]
    grant: Vec<Grant>,
}

/// One `--grant`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Grant {
    role: Role,
    login: String,
}

impl FromStr for Grant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((role, login)) if !login.is_empty() => Ok(Self {
                role: role.parse()?,
                login: login.to_owned(),
            }),
            Some(_) | None => Err("give it as ROLE=LOGIN, for example worker=billing".to_owned()),
        }
    }
}

/// The result of `migrate`.
#[derive(Debug, Serialize)]
struct Report {
    state: &'static str,
    version: i64,
    applied: usize,
    missing: usize,
    granted: Vec<GrantedRow>,
}

#[derive(Debug, Serialize)]
struct GrantedRow {
    role: &'static str,
    login: String,
}

/// Runs `migrate`.
///
/// # Errors
/// When a variable is missing, the database is away, a migration fails or a login does not exist.
pub async fn run(args: Args, out: Format) -> Result<Exit, Failure> {
    let owner = match config::secret("MIGRATION_DATABASE_URL")? {
        Some(_) => config::database_url("MIGRATION_DATABASE_URL")?,
        None => config::database_url("DATABASE_URL")?,
    };
    let options = connect_options("MIGRATION_DATABASE_URL", &owner)?;
    if args.check {
        return check(&options, out).await;
    }
    let mut grants = args.grant;
    grants.extend(implied_grant(&options, &grants)?);

    let mut tries = 1;
    let report = loop {
        // A fresh connection each time: one that failed may still hold the migration lock.
        match migrate(&options, &grants).await {
            Err(Stopped::Catalog(_)) if tries < CATALOG_TRIES => {
                tries += 1;
                tokio::time::sleep(CATALOG_PAUSE).await;
            }
            Err(Stopped::Catalog(failure) | Stopped::For(failure)) => return Err(failure),
            Ok(report) => break report,
        }
    };
    out.show(&report, describe)?;
    Ok(Exit::Done)
}

/// Why one try ended.
enum Stopped {
    /// Another database of the cluster was writing the same roles: the same again will do.
    Catalog(Failure),
    /// It will not.
    For(Failure),
}

impl From<store::Error> for Stopped {
    fn from(error: store::Error) -> Self {
        let catalog = match &error {
            store::Error::Other(sqlx::Error::Database(db)) => {
                is_catalog_collision(&db.message().to_lowercase())
            }
            store::Error::Conflict { constraint } => constraint.starts_with("pg_auth"),
            _ => false,
        };
        let failure = Failure::from(error);
        if catalog {
            Stopped::Catalog(failure)
        } else {
            Stopped::For(failure)
        }
    }
}

impl From<MigrateError> for Stopped {
    fn from(error: MigrateError) -> Self {
        let catalog = is_catalog_collision(&error.to_string().to_lowercase());
        let failure = Failure::new("migration_failed", format!("migration failed: {error}"));
        if catalog {
            Stopped::Catalog(failure)
        } else {
            Stopped::For(failure)
        }
    }
}

/// Postgres has no SQLSTATE of its own for it.
fn is_catalog_collision(message: &str) -> bool {
    message.contains("tuple concurrently") || message.contains("pg_auth")
}

async fn migrate(options: &PgConnectOptions, grants: &[Grant]) -> Result<Report, Stopped> {
    let mut conn = connect(options).await?;
    let (applied, state) = match migrations::check(&mut conn).await? {
        SchemaState::Current => (0, "current"),
        SchemaState::Ahead { .. } => (0, "ahead"),
        SchemaState::Behind { missing, .. } => {
            migrations::apply(&mut conn).await?;
            (missing, "current")
        }
    };
    if state == "current" {
        roles::show_version_to_all(&mut conn).await?;
    }
    let mut granted = Vec::new();
    for grant in grants {
        match roles::grant(&mut conn, grant.role, &grant.login).await? {
            Granted::Now | Granted::Already => {
                granted.push(GrantedRow {
                    role: grant.role.as_str(),
                    login: grant.login.clone(),
                });
            }
            Granted::NoSuchLogin => {
                return Err(Stopped::For(Failure::not_found(format!(
                    "there is no login {:?} to give the role {} to: create it first",
                    grant.login,
                    grant.role.as_str()
                ))));
            }
        }
    }
    let version = version_of(migrations::check(&mut conn).await?);
    conn.close().await.map_err(store::Error::from)?;
    Ok(Report {
        state,
        version,
        applied,
        missing: 0,
        granted,
    })
}

async fn check(options: &PgConnectOptions, out: Format) -> Result<Exit, Failure> {
    let mut conn = connect(options).await?;
    let schema = migrations::check(&mut conn).await?;
    let (state, missing, exit) = match schema {
        SchemaState::Current => ("current", 0, Exit::Done),
        SchemaState::Ahead { .. } => ("ahead", 0, Exit::Done),
        SchemaState::Behind { missing, .. } => ("behind", missing, Exit::Findings),
    };
    let report = Report {
        state,
        version: version_of(schema),
        applied: 0,
        missing,
        granted: Vec::new(),
    };
    out.show(&report, describe)?;
    Ok(exit)
}

fn version_of(state: SchemaState) -> i64 {
    match state {
        SchemaState::Current => migrations::expected_version(),
        SchemaState::Behind { have, .. } | SchemaState::Ahead { have, .. } => have,
    }
}

fn describe(report: &Report) -> String {
    let mut text = match (report.state, report.applied) {
        ("behind", _) => format!(
            "schema version {}, {} migration(s) missing: run `quittance migrate`\n",
            report.version, report.missing
        ),
        ("ahead", _) => format!(
            "schema version {} is newer than this build knows ({}); nothing to do\n",
            report.version,
            migrations::expected_version()
        ),
        (_, 0) => format!("schema version {}, nothing to do\n", report.version),
        (_, applied) => format!(
            "schema version {}, {applied} migration(s) applied\n",
            report.version
        ),
    };
    for row in &report.granted {
        text.push_str(&format!("login {} runs as {}\n", row.login, row.role));
    }
    text
}

/// The login of `DATABASE_URL`, if it is another than the owner and was not given a role by name.
fn implied_grant(owner: &PgConnectOptions, named: &[Grant]) -> Result<Option<Grant>, Failure> {
    if config::secret("DATABASE_URL")?.is_none() {
        return Ok(None);
    }
    let runtime = connect_options("DATABASE_URL", &config::database_url("DATABASE_URL")?)?;
    let login = runtime.get_username();
    if login == owner.get_username() || named.iter().any(|grant| grant.login == login) {
        return Ok(None);
    }
    Ok(Some(Grant {
        role: Role::Worker,
        login: login.to_owned(),
    }))
}

/// The fault of a URL is not repeated: it may quote the password.
fn connect_options(name: &'static str, url: &SecretString) -> Result<PgConnectOptions, Failure> {
    PgConnectOptions::from_str(url.expose_secret())
        .map(|options| options.application_name("quittance-migrate"))
        .map_err(|_| {
            config::Error::Malformed {
                name,
                fault: "it is no usable Postgres URL".to_owned(),
            }
            .into()
        })
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, store::Error> {
    match tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(options)).await {
        Ok(conn) => Ok(conn?),
        Err(_) => Err(store::Error::Unavailable(sqlx::Error::PoolTimedOut)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_names_a_role_and_a_login() {
        assert_eq!(
            "worker=billing".parse(),
            Ok(Grant {
                role: Role::Worker,
                login: "billing".into()
            })
        );
        assert!("worker=".parse::<Grant>().is_err());
        assert!("billing".parse::<Grant>().is_err());
        assert!(
            "owner=billing"
                .parse::<Grant>()
                .is_err_and(|fault| fault.contains("unknown role"))
        );
    }

    #[test]
    fn a_schema_that_is_behind_says_how_many_migrations_are_missing() {
        let report = Report {
            state: "behind",
            version: 3,
            applied: 0,
            missing: 5,
            granted: Vec::new(),
        };
        assert_eq!(
            describe(&report),
            "schema version 3, 5 migration(s) missing: run `quittance migrate`\n"
        );
    }
}
