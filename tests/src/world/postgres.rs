//! One database per world, cloned from a template that the real `quittance migrate` has migrated once.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    path::Path,
    process::Command,
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, postgres::PgPoolOptions};
use tokio::time::sleep;

use super::{
    error::{Error, Result, io},
    processes::sabotage,
};

/// The variable by which `tests/run` says where the private server is (superuser).
pub const SERVER_VARIABLE: &str = "QUITTANCE_TEST_POSTGRES";

/// SQLSTATE `object_in_use`: somebody is still connected; the last connection takes a moment to go.
const IN_USE: &str = "55006";

/// The logins that programs use, as they would be in production: nobody but `migrate` is the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// Owns the schema; `quittance migrate` only.
    Owner,
    /// `quittance-ingress`.
    Ingress,
    /// Workers and operator commands.
    Worker,
    /// `quittance-portal`.
    Portal,
    /// Looks, changes nothing.
    Readonly,
    /// A person of the platform: looks under break-glass.
    Operator,
    /// An autoscaler: asks for two numbers.
    Scaler,
}

impl Login {
    const ALL: [Login; 7] = [
        Login::Owner,
        Login::Ingress,
        Login::Worker,
        Login::Portal,
        Login::Readonly,
        Login::Operator,
        Login::Scaler,
    ];

    /// As in `session_user`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Login::Owner => "quittance_test_owner",
            Login::Ingress => "quittance_test_ingress",
            Login::Worker => "quittance_test_worker",
            Login::Portal => "quittance_test_portal",
            Login::Readonly => "quittance_test_readonly",
            Login::Operator => "quittance_test_operator",
            Login::Scaler => "quittance_test_scaler",
        }
    }
}

/// The private server, by its superuser URL.
#[derive(Clone, Debug)]
pub struct Server {
    /// `user:password`
    credentials: String,
    /// `host:port`
    authority: String,
}

/// A database of one world.
#[derive(Debug)]
pub struct Database {
    server: Server,
    name: String,
    /// Superuser connections: sees every firm.
    pub pool: PgPool,
}

impl Server {
    /// From the environment.
    ///
    /// # Errors
    /// When the variable is absent or no URL with a host and a port.
    pub fn from_env() -> Result<Self> {
        let text = std::env::var(SERVER_VARIABLE).map_err(|_| {
            Error::Setup(format!(
                "{SERVER_VARIABLE} is not set: run these tests with tests/run"
            ))
        })?;
        let parts = || {
            let (credentials, rest) = text.strip_prefix("postgres://")?.split_once('@')?;
            let authority = rest.split('/').next()?;
            authority
                .contains(':')
                .then(|| (credentials.to_owned(), authority.to_owned()))
        };
        let (credentials, authority) = parts().ok_or_else(|| {
            Error::Setup(format!(
                "{SERVER_VARIABLE} is no URL like postgres://user:password@host:port/db"
            ))
        })?;
        Ok(Self {
            credentials,
            authority,
        })
    }

    /// Host and port.
    ///
    /// # Errors
    /// When the host cannot be resolved.
    pub fn address(&self) -> Result<SocketAddr> {
        self.authority
            .to_socket_addrs()
            .map_err(io("resolving the test server"))?
            .next()
            .ok_or_else(|| Error::Setup("the test server has no address".into()))
    }

    fn superuser_url(&self, database: &str) -> String {
        format!("postgres://{}@{}/{database}", self.credentials, self.authority)
    }

    /// Clones the template (made on first use) into a database of its own.
    ///
    /// # Errors
    /// When the server is away or migrating the template fails.
    pub async fn create_database(&self, quittance: &Path, tablespace: Option<&str>) -> Result<Database> {
        let template = self.template(quittance).await?;
        let place = tablespace.map_or(String::new(), |name| format!(" tablespace {name}"));
        self.create("world", &format!("template {template}{place}")).await
    }

    /// An empty database without schema, for the tests of `migrate` itself.
    ///
    /// # Errors
    /// When the server is away.
    pub async fn create_empty_database(&self, quittance: &Path) -> Result<Database> {
        // The logins and roles come with the template.
        self.template(quittance).await?;
        self.create("empty", "").await
    }

    async fn create(&self, prefix: &str, like: &str) -> Result<Database> {
        let name = format!("{prefix}_{}_{:08x}", std::process::id(), rand::random::<u32>());
        let mut conn = PgConnection::connect(&self.superuser_url("postgres")).await?;
        unused(
            &mut conn,
            &format!("create database {name} owner {} {like}", Login::Owner.name()),
        )
        .await?;
        conn.close().await?;
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .connect(&self.superuser_url(&name))
            .await?;
        Ok(Database {
            server: self.clone(),
            name,
            pool,
        })
    }

    /// The name of the migrated template for the migrations as they are now; the first to ask makes it.
    async fn template(&self, quittance: &Path) -> Result<String> {
        let sabotage = sabotage().map_or(String::new(), |(_, name)| format!("_{name}"));
        let name = format!("quittance_template_{}{sabotage}", migrations_hash()?);
        let mut conn = PgConnection::connect(&self.superuser_url("postgres")).await?;
        sqlx::query("select pg_advisory_lock(hashtext($1))")
            .bind(&name)
            .execute(&mut conn)
            .await?;
        let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(&name)
            .fetch_one(&mut conn)
            .await?;
        if !exists {
            self.build_template(&mut conn, &name, quittance).await?;
        }
        conn.close().await?; // releases the lock
        Ok(name)
    }

    async fn build_template(&self, conn: &mut PgConnection, name: &str, quittance: &Path) -> Result<()> {
        for login in Login::ALL {
            let known: bool = sqlx::query_scalar("select exists (select from pg_roles where rolname = $1)")
                .bind(login.name())
                .fetch_one(&mut *conn)
                .await?;
            if !known {
                let rights = if login == Login::Owner { "createrole" } else { "" };
                let create = format!("create role {} login password 'quittance' {rights}", login.name());
                sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut *conn).await?;
            }
        }
        let building = format!("{name}_building");
        unused(conn, &format!("drop database if exists {building} with (force)")).await?;
        unused(
            conn,
            &format!("create database {building} owner {}", Login::Owner.name()),
        )
        .await?;
        let mut migrate = Command::new(quittance);
        migrate
            .env_clear()
            .env(
                "MIGRATION_DATABASE_URL",
                self.url_for(Login::Owner, self.address()?, &building),
            )
            .env(
                "DATABASE_URL",
                self.url_for(Login::Worker, self.address()?, &building),
            )
            .envs(sabotage())
            .arg("migrate");
        for (role, login) in [
            ("ingress", Login::Ingress),
            ("worker", Login::Worker),
            ("portal", Login::Portal),
            ("readonly", Login::Readonly),
            ("operator", Login::Operator),
            ("scaler", Login::Scaler),
        ] {
            migrate.arg("--grant").arg(format!("{role}={}", login.name()));
        }
        let output = migrate.output().map_err(|source| Error::Run {
            program: quittance.to_owned(),
            source,
        })?;
        if !output.status.success() {
            return Err(Error::Setup(format!(
                "quittance migrate ended with {}: {}{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )));
        }
        unused(conn, &format!("alter database {building} rename to {name}")).await
    }

    fn url_for(&self, login: Login, address: SocketAddr, database: &str) -> String {
        format!("postgres://{}:quittance@{address}/{database}", login.name())
    }
}

impl Database {
    /// The URL a program uses; `address` is the server's own or a gate in front of it.
    #[must_use]
    pub fn url(&self, login: Login, address: SocketAddr) -> String {
        self.server.url_for(login, address, &self.name)
    }
}

impl Database {
    /// Its name on the server.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The superuser in this database.
    pub(super) fn superuser_url(&self) -> String {
        self.server.superuser_url(&self.name)
    }

    /// The superuser beside it.
    pub(super) fn admin_url(&self) -> String {
        self.server.superuser_url("postgres")
    }

    /// Destroys it, whoever uses it.
    pub(super) async fn destroy(&self) -> Result<()> {
        let mut conn = PgConnection::connect(&self.admin_url()).await?;
        unused(&mut conn, &format!("drop database {} with (force)", self.name)).await
    }

    /// A database of its own with everything that is committed in this one, as a backup of this moment restored. What is not
    /// logged, such as who is alive, is in no backup.
    ///
    /// # Errors
    /// When the server is away, or dumping or restoring fails.
    pub async fn backup(&self) -> Result<Database> {
        let copy = self.server.create("copy", "template template0").await?;
        let restored = Command::new("sh")
            .args([
                "-c",
                "pg_dump --no-unlogged-table-data \"$0\" | psql -qX -v ON_ERROR_STOP=1 \"$1\" >/dev/null",
            ])
            .arg(self.server.superuser_url(&self.name))
            .arg(self.server.superuser_url(&copy.name))
            .output()
            .map_err(io("running pg_dump and psql"))?;
        if !restored.status.success() {
            let said = String::from_utf8_lossy(&restored.stderr).into_owned();
            return Err(Error::Setup(format!("a backup cannot be restored: {said}")));
        }
        Ok(copy)
    }
}

impl Drop for Database {
    /// Drops the database too; on a thread of its own, because a destructor cannot wait for a future.
    fn drop(&mut self) {
        let url = self.server.superuser_url("postgres");
        let drop_it = format!("drop database if exists {} with (force)", self.name);
        let removal = std::thread::spawn(move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(io("starting a runtime"))?;
            runtime.block_on(async {
                let mut conn = PgConnection::connect(&url).await?;
                unused(&mut conn, &drop_it).await
            })
        });
        match removal.join() {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => eprintln!("{} was not dropped: {fault}", self.name),
            Err(_) => eprintln!("{} was not dropped", self.name),
        }
    }
}

/// Runs a statement about a whole database, again while somebody is still leaving it.
async fn unused(conn: &mut PgConnection, statement: &str) -> Result<()> {
    let mut tries = 0;
    loop {
        match sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(&mut *conn)
            .await
        {
            Err(sqlx::Error::Database(fault)) if fault.code().as_deref() == Some(IN_USE) && tries < 100 => {
                tries += 1;
                sleep(Duration::from_millis(50)).await;
            }
            other => return other.map(drop).map_err(Error::from),
        }
    }
}

/// Names the schema: changes with any byte of any migration.
fn migrations_hash() -> Result<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .and_then(|entries| entries.map(|entry| entry.map(|e| e.path())).collect())
        .map_err(io(format!("reading {}", folder.display())))?;
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        hash.update(std::fs::read(&file).map_err(io(format!("reading {}", file.display())))?);
    }
    Ok(hex::encode(&hash.finalize()[..6]))
}
