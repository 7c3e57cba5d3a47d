//! `quittance user`: who may log in to the portal, and which other systems may use its API.
//!
//! A password comes from standard input and a token is shown once: neither is ever an argument, which others on the machine would see.

use std::io::Read as _;

use chrono::{TimeDelta, Utc};
use serde::Serialize;
use shared::{
    actions::access::{self, TokenOrder},
    clock::real_now,
    ids::{FirmId, UserId},
    password,
    store::{
        self, Db, Tx,
        access::{
            logins::{self, LoginRow, NewLogin, Owner},
            tokens::{self, TokenRow},
        },
        audit::{Actor, By, Cause},
    },
};
use uuid::Uuid;

use super::{
    clock::parse_duration,
    find::find,
    firms::firm_named,
    list_args::{ListArgs, said},
    open_db, operator,
};
use crate::output::{Exit, Failure, Format, Page};

/// Longest password that is read, with its newline.
const MOST_BYTES: u64 = 4096;

/// Arguments of `user`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Let a user of a firm log in to the portal with the password on standard input, or give them another one.
    #[command(after_help = "Examples:
  quittance user password ada --login ada@example.com --stdin < password
  pwgen -s 20 1 | tee /dev/tty | quittance user password ceo --login ceo@example.com --stdin

Whoever was logged in as this user is not any more.")]
    Password {
        /// The user: UUID or external_id.
        id: String,
        /// What is typed to log in; the same name is nobody else's.
        #[arg(long, value_name = "NAME", value_parser = said)]
        login: String,
        /// Read the password from standard input.
        #[arg(long, required = true)]
        stdin: bool,
    },
    /// Let a person of the platform log in to the operator console, or give them another password or second factor.
    #[command(after_help = "Examples:
  quittance user operator alice --stdin < password

Shows the secret of the second factor, once: put it into an authenticator. An operator sees nothing of a firm without
`quittance break-glass open --by NAME`.")]
    Operator {
        /// What is typed to log in, and what break-glass sessions call them.
        #[arg(value_parser = said)]
        name: String,
        /// Read the password from standard input.
        #[arg(long, required = true)]
        stdin: bool,
    },
    /// Shut a login; its sessions end.
    #[command(
        after_help = "Examples:\n  quittance user disable ada@example.com --firm-id acme\n  quittance user disable alice"
    )]
    Disable {
        /// What is typed to log in.
        name: String,
        /// Whose; an operator's unless told.
        #[arg(long, value_name = "ID")]
        firm_id: Option<String>,
    },
    /// Logins of a firm, or of the platform.
    #[command(after_help = "Examples:\n  quittance user list --firm-id acme\n  quittance user list --json")]
    List {
        /// Whose; the platform's own unless told.
        #[arg(long, value_name = "ID")]
        firm_id: Option<String>,
    },
    /// Tokens by which other systems use the API.
    Token(TokenArgs),
}

#[derive(Debug, clap::Args)]
struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, clap::Subcommand)]
enum TokenCommand {
    /// Make one; it is shown once.
    #[command(after_help = "Examples:
  quittance user token create --firm-id acme --role alerts --name 'agent monitor' --expires-in 90d
  quittance user token create --firm-id acme --role staff --login ada@example.com --name 'time sheet' --expires-in 30d
  quittance user token create --role operator --name 'night watch' --expires-in 30d --json

Roles of a firm's token: owner, admin, manager, staff, alerts (raises alerts, nothing else). One of the platform is an operator's.")]
    Create {
        /// Whose; the platform's own unless told.
        #[arg(long, value_name = "ID")]
        firm_id: Option<String>,
        /// What it may do.
        #[arg(long, value_parser = ["owner", "admin", "manager", "staff", "alerts", "operator"])]
        role: String,
        /// The login of the person in whose name it acts: it may do no more than they, and ends with their login. A token without
        /// is a system's, which is nobody where the rules ask for a person.
        #[arg(long, value_name = "NAME", value_parser = said)]
        login: Option<String>,
        /// What to call it.
        #[arg(long, value_parser = said)]
        name: String,
        /// For how long it is good, a year at most.
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        expires_in: TimeDelta,
    },
    /// Tokens, the newest first.
    #[command(after_help = "Examples:\n  quittance user token list --firm-id acme")]
    List {
        /// Whose; the platform's own unless told.
        #[arg(long, value_name = "ID")]
        firm_id: Option<String>,
        #[command(flatten)]
        page: ListArgs,
    },
    /// End one.
    #[command(
        after_help = "Examples:\n  quittance user token revoke 01a1fda9-ea24-774d-b6db-b813fe0e38c4 --firm-id acme"
    )]
    Revoke {
        /// Its UUID.
        id: Uuid,
        /// Whose; the platform's own unless told.
        #[arg(long, value_name = "ID")]
        firm_id: Option<String>,
    },
}

/// A login that was set.
#[derive(Debug, Serialize)]
struct Set {
    login: Uuid,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    totp_secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    totp_uri: Option<String>,
}

/// A token that was made.
#[derive(Debug, Serialize)]
struct Made {
    id: Uuid,
    token: String,
}

/// Something that ended.
#[derive(Debug, Serialize)]
struct Ended {
    id: Uuid,
}

/// Runs `user`.
///
/// # Errors
/// When there is no such user, firm, login or token, the password is too short, or the database is away.
pub async fn run(args: Args, out: Format) -> Result<Exit, Failure> {
    let db = open_db().await?;
    match args.command {
        Command::Password { id, login, stdin: _ } => {
            let found = find(&db, "user", &["user"], &id).await?;
            let owner = Owner::User(found.firm, UserId(found.id));
            let set = set_password(&db, owner, &login).await?;
            out.show(&set, |set| format!("{} may log in\n", set.name))?;
        }
        Command::Operator { name, stdin: _ } => {
            let set = set_password(&db, Owner::Operator, &name).await?;
            out.show(&set, |set| {
                format!(
                    "{} may log in; second factor, shown once:\n{}\n{}\n",
                    set.name,
                    set.totp_secret.as_deref().unwrap_or_default(),
                    set.totp_uri.as_deref().unwrap_or_default()
                )
            })?;
        }
        Command::Disable { name, firm_id } => {
            let firm = named(&db, firm_id.as_deref()).await?;
            let mut act = Act::begin(&db, firm).await?;
            let (tx, by) = act.parts();
            let id = access::disable(tx, firm, &name, &by).await?;
            act.tx.commit().await?;
            out.show(&Ended { id }, |_| format!("{name} opens nothing any more\n"))?;
        }
        Command::List { firm_id } => {
            let firm = named(&db, firm_id.as_deref()).await?;
            let mut tx = begin(&db, firm).await?;
            let page = Page {
                data: logins::list(&mut tx).await?,
                next_cursor: None,
            };
            out.show(&page, describe_logins)?;
        }
        Command::Token(args) => token(&db, args.command, out).await?,
    }
    Ok(Exit::Done)
}

async fn token(db: &Db, command: TokenCommand, out: Format) -> Result<(), Failure> {
    match command {
        TokenCommand::Create {
            firm_id,
            role,
            login,
            name,
            expires_in,
        } => {
            let firm = named(db, firm_id.as_deref()).await?;
            let mut act = Act::begin(db, firm).await?;
            let login = match &login {
                Some(name) => Some(logins::id_of(&mut act.tx, name).await?.ok_or_else(|| {
                    Failure::not_found(format!("there is no login {name:?} that opens anything"))
                })?),
                None => None,
            };
            let order = TokenOrder {
                firm,
                login,
                name: &name,
                role: &role,
                expires_at: real_now() + expires_in,
            };
            let (tx, by) = act.parts();
            let (id, token) = access::create_token(tx, &order, &by).await?;
            act.tx.commit().await?;
            out.show(&Made { id, token }, |made| {
                format!("token {}, shown once:\n{}\n", made.id, made.token)
            })
        }
        TokenCommand::List { firm_id, page } => {
            let firm = named(db, firm_id.as_deref()).await?;
            let after = page
                .cursor
                .as_deref()
                .map(str::parse)
                .transpose()
                .map_err(|_| Failure::usage("--cursor is none of ours: give a next_cursor"))?;
            let mut tx = begin(db, firm).await?;
            let rows = tokens::list(&mut tx, after, page.fetch()).await?;
            out.show(
                &Page::of(rows, page.shown(), |row| row.id.to_string()),
                describe_tokens,
            )
        }
        TokenCommand::Revoke { id, firm_id } => {
            let firm = named(db, firm_id.as_deref()).await?;
            let mut act = Act::begin(db, firm).await?;
            let (tx, by) = act.parts();
            access::revoke_token(tx, firm, id, &by).await?;
            act.tx.commit().await?;
            out.show(&Ended { id }, |ended| {
                format!("token {} opens nothing any more\n", ended.id)
            })
        }
    }
}

/// Who acts, why, and the transaction in which it happens.
struct Act {
    tx: Tx,
    actor: Actor,
    cause: Cause,
}

impl Act {
    async fn begin(db: &Db, firm: Option<FirmId>) -> Result<Self, Failure> {
        Ok(Self {
            tx: begin(db, firm).await?,
            actor: operator(),
            cause: Cause::command(Uuid::now_v7()),
        })
    }

    /// The transaction, and in whose name it changes something.
    fn parts(&mut self) -> (&mut Tx, By<'_>) {
        let at = self.tx.now();
        let by = By {
            actor: &self.actor,
            cause: &self.cause,
            at,
        };
        (&mut self.tx, by)
    }
}

async fn begin(db: &Db, firm: Option<FirmId>) -> store::Result<Tx> {
    match firm {
        Some(firm) => db.firm(firm).await,
        None => db.plain().await,
    }
}

async fn named(db: &Db, firm: Option<&str>) -> Result<Option<FirmId>, Failure> {
    match firm {
        Some(reference) => Ok(Some(firm_named(db, reference).await?)),
        None => Ok(None),
    }
}

async fn set_password(db: &Db, owner: Owner, name: &str) -> Result<Set, Failure> {
    let typed = read_password()?;
    let hash = password::hash(&typed).map_err(|fault| Failure::usage(fault.to_string()))?;
    let secret = (owner == Owner::Operator).then(password::random_secret);
    let firm = match owner {
        Owner::User(firm, _) => Some(firm),
        Owner::Operator => None,
    };
    let mut act = Act::begin(db, firm).await?;
    let new = NewLogin {
        of: owner,
        name,
        password_hash: &hash,
        totp_secret: secret.as_ref().map(<[u8; 20]>::as_slice),
    };
    let (tx, by) = act.parts();
    let login = access::set_password(tx, &new, &by).await?;
    act.tx.commit().await?;
    let totp_secret = secret.map(|secret| password::base32(&secret));
    Ok(Set {
        login,
        name: name.to_lowercase(),
        totp_uri: totp_secret.as_ref().map(|secret| {
            format!(
                "otpauth://totp/Quittance:{}?secret={secret}&issuer=Quittance",
                uri_word(name)
            )
        }),
        totp_secret,
    })
}

/// The first line of standard input.
fn read_password() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .take(MOST_BYTES)
        .read_to_string(&mut text)
        .map_err(|fault| Failure::usage(format!("the password on standard input cannot be read: {fault}")))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// What an URI takes as it is.
fn uri_word(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

fn describe_logins(page: &Page<LoginRow>) -> String {
    page.to_text(
        &["LOGIN", "USER", "ROLE", "CODE", "PASSWORD SET", "DISABLED"],
        |row| {
            vec![
                row.name.clone(),
                row.user.clone().unwrap_or_default(),
                row.role.clone(),
                if row.second_factor { "yes" } else { "no" }.to_owned(),
                row.password_set_at.format("%F %T").to_string(),
                row.disabled_at
                    .map_or_else(String::new, |at| at.format("%F %T").to_string()),
            ]
        },
    )
}

fn describe_tokens(page: &Page<TokenRow>) -> String {
    page.to_text(
        &[
            "TOKEN", "NAME", "ROLE", "FOR", "MADE BY", "UNTIL", "USED", "REVOKED",
        ],
        |row| {
            let time = |at: Option<chrono::DateTime<Utc>>| {
                at.map_or_else(String::new, |at| at.format("%F %T").to_string())
            };
            vec![
                row.id.to_string(),
                row.name.clone(),
                row.role.clone(),
                row.acts_for.clone().unwrap_or_default(),
                row.created_by.clone(),
                row.expires_at.format("%F").to_string(),
                time(row.used_at),
                time(row.revoked_at),
            ]
        },
    )
}
