//! `quittance platform`: what a firm pays for the platform. Whatever needs Stripe is asked for and waited for: a worker does it.

use serde::Serialize;
use serde_json::json;
use shared::{
    domain::platform::{Ask, Metric, Tier, Usage},
    ids::{FirmId, PlatformRequestId},
    store::{
        self, Db, Tx,
        audit::{self, By, Cause},
        platform::{
            ask,
            customers::{self, PlatformCustomer},
            invoices::{self, Filter, PlatformInvoice, Summary},
            requests::{self, Request},
            subscriptions::{self, Subscription},
            tiers::{self, PriceSet},
            usage,
        },
    },
};
use uuid::Uuid;

use super::{
    firms::{chosen_firms, firm_named},
    open_db, operator,
    reason::Reason,
    wait::{WaitArgs, wait_for},
};
use crate::output::{Exit, Failure, Format, table};

/// What is waited for, in messages.
const REQUESTS: &str = "what was asked of Stripe";

/// Arguments of `platform`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// The tiers: what they cost and allow.
    #[command(after_help = "Examples:\n  quittance platform tiers\n  quittance platform tiers --json")]
    Tiers,
    /// Set the Stripe price that new subscriptions to a tier are made with; who has an earlier price keeps it, and the tier.
    #[command(
        after_help = "Examples:\n  quittance platform set-price PRO price_123 --reason 'prices of 2027'"
    )]
    SetPrice {
        /// FREE, PRO, ENTERPRISE.
        tier: String,
        /// `price_…`, a monthly price at Stripe.
        price: String,
        #[command(flatten)]
        reason: Reason,
    },
    /// A firm as a customer of the platform.
    #[command(subcommand)]
    Customer(Customer),
    /// Subscribe a firm to a tier, with the card that Stripe has of it.
    #[command(after_help = "Examples:\n  quittance platform subscribe acme PRO --reason 'signed on 1 March'")]
    Subscribe(OfTier),
    /// Change a firm's tier; Stripe prorates what was paid on the next invoice.
    #[command(
        after_help = "Examples:\n  quittance platform change-tier acme ENTERPRISE --reason 'more than fifty people'"
    )]
    ChangeTier(OfTier),
    /// Let a firm's subscription renew itself, or not.
    #[command(after_help = "Examples:\n  quittance platform auto-renewal acme off --reason 'leaves in May'")]
    AutoRenewal {
        /// UUID or external_id of the firm.
        firm: String,
        /// Whether it renews itself.
        #[arg(value_parser = ["on", "off"])]
        switch: String,
        #[command(flatten)]
        asked: Asked,
    },
    /// End a firm's subscription: at the end of what is paid, or at once.
    #[command(
        after_help = "Examples:\n  quittance platform cancel acme --reason 'closed down'\n  quittance platform cancel acme --now --reason fraud"
    )]
    Cancel {
        /// UUID or external_id of the firm.
        firm: String,
        /// At once; nothing is given back.
        #[arg(long)]
        now: bool,
        #[command(flatten)]
        asked: Asked,
    },
    /// A link to Stripe's page where a firm looks after its card, or subscribes with a new one. It works for a short time.
    #[command(
        after_help = "Examples:\n  quittance platform link acme --return-url https://app.example/api/billing/ --reason 'new card'\n  quittance platform link acme --checkout PRO --return-url https://app.example/ --reason 'first subscription'"
    )]
    Link {
        /// UUID or external_id of the firm.
        firm: String,
        /// Where the page leads back to.
        #[arg(long, value_name = "URL")]
        return_url: String,
        /// A page that subscribes to this tier.
        #[arg(long, value_name = "TIER")]
        checkout: Option<String>,
        #[command(flatten)]
        asked: Asked,
    },
    /// A firm's subscription.
    #[command(
        after_help = "Examples:\n  quittance platform show acme\n  quittance platform show acme --json"
    )]
    Show {
        /// UUID or external_id of the firm.
        firm: String,
    },
    /// A firm's invoices of the platform, the newest first.
    #[command(
        after_help = "Examples:\n  quittance platform invoices acme\n  quittance platform invoices acme --status OPEN"
    )]
    Invoices {
        /// UUID or external_id of the firm.
        firm: String,
        /// Only with this status.
        #[arg(long, value_parser = ["DRAFT", "OPEN", "PAID", "VOID", "UNCOLLECTIBLE"])]
        status: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=1000))]
        limit: i64,
        /// After so many.
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
        offset: i64,
    },
    /// What a firm uses of what its tier allows; or tell it.
    #[command(
        after_help = "Examples:\n  quittance platform usage acme\n  quittance platform usage acme --report agents=41"
    )]
    Usage {
        /// UUID or external_id of the firm.
        firm: String,
        /// What was counted: employees, agents or storage_gb.
        #[arg(long, value_name = "METRIC=N", value_parser = count)]
        report: Vec<(Metric, i64)>,
    },
}

#[derive(Debug, clap::Subcommand)]
enum Customer {
    /// Make a firm a customer at Stripe.
    #[command(
        after_help = "Examples:\n  quittance platform customer create acme --email billing@acme.example --reason 'signed on 1 March'"
    )]
    Create {
        /// UUID or external_id of the firm.
        firm: String,
        /// Where Stripe sends invoices and receipts.
        #[arg(long, value_name = "ADDRESS")]
        email: Option<String>,
        #[command(flatten)]
        asked: Asked,
    },
    /// Send invoices and receipts to another address.
    #[command(
        after_help = "Examples:\n  quittance platform customer email acme accounts@acme.example --reason 'new accountant'"
    )]
    Email {
        /// UUID or external_id of the firm.
        firm: String,
        /// The address.
        address: String,
        #[command(flatten)]
        asked: Asked,
    },
}

#[derive(Debug, clap::Args)]
struct OfTier {
    /// UUID or external_id of the firm.
    firm: String,
    /// FREE, PRO, ENTERPRISE.
    tier: String,
    #[command(flatten)]
    asked: Asked,
}

/// Why, and how long to wait.
#[derive(Debug, clap::Args)]
struct Asked {
    #[command(flatten)]
    reason: Reason,
    #[command(flatten)]
    wait: WaitArgs,
}

/// `agents=41`.
fn count(text: &str) -> Result<(Metric, i64), String> {
    let (metric, used) = text
        .split_once('=')
        .ok_or("write METRIC=N, such as agents=41".to_owned())?;
    let metric: Metric = metric.parse().map_err(|fault| format!("{fault}"))?;
    match used.parse::<i64>() {
        Ok(used) if used >= 0 => Ok((metric, used)),
        Ok(_) | Err(_) => Err(format!("{used:?} is no count")),
    }
}

/// Runs `platform`.
///
/// # Errors
/// When there is no such firm, what is asked may not be, Stripe refuses it, or the database is away.
pub async fn run(args: Args, out: Format) -> Result<Exit, Failure> {
    let db = open_db().await?;
    match args.command {
        Command::Tiers => {
            let mut conn = db.pool().acquire().await.map_err(store::Error::from)?;
            show_tiers(&tiers::list(&mut conn).await?, out)?;
            Ok(Exit::Done)
        }
        Command::SetPrice { tier, price, reason } => set_price(&db, &tier, &price, reason.text(), out).await,
        Command::Customer(Customer::Create { firm, email, asked }) => {
            create_customer(&db, &firm, email.as_deref(), &asked, out).await
        }
        Command::Customer(Customer::Email { firm, address, asked }) => {
            let firm = firm_named(&db, &firm).await?;
            set_email(&db, firm, &address).await?;
            request(&db, firm, &Ask::BillingEmail, &asked, out).await
        }
        Command::Subscribe(OfTier { firm, tier, asked }) => {
            let firm = firm_named(&db, &firm).await?;
            request(&db, firm, &Ask::Subscribe { tier }, &asked, out).await
        }
        Command::ChangeTier(OfTier { firm, tier, asked }) => {
            let firm = firm_named(&db, &firm).await?;
            request(&db, firm, &Ask::ChangeTier { tier }, &asked, out).await
        }
        Command::AutoRenewal { firm, switch, asked } => {
            let firm = firm_named(&db, &firm).await?;
            request(&db, firm, &Ask::AutoRenewal { on: switch == "on" }, &asked, out).await
        }
        Command::Cancel { firm, now, asked } => {
            let firm = firm_named(&db, &firm).await?;
            let ask = if now {
                Ask::Cancel
            } else {
                Ask::AutoRenewal { on: false }
            };
            request(&db, firm, &ask, &asked, out).await
        }
        Command::Link {
            firm,
            return_url,
            checkout,
            asked,
        } => {
            let firm = firm_named(&db, &firm).await?;
            let ask = match checkout {
                Some(tier) => Ask::CheckoutLink { tier, return_url },
                None => Ask::BillingLink { return_url },
            };
            request(&db, firm, &ask, &asked, out).await
        }
        Command::Show { firm } => show(&db, &firm, out).await,
        Command::Invoices {
            firm,
            status,
            limit,
            offset,
        } => {
            let filter = Filter {
                status: status.as_deref(),
                offset,
            };
            show_invoices(&db, &firm, &filter, limit, out).await
        }
        Command::Usage { firm, report } => show_usage(&db, &firm, &report, out).await,
    }
}

/// A firm to be looked into.
async fn looked_into(db: &Db, named: &str) -> Result<(FirmId, String), Failure> {
    let firm = chosen_firms(db, Some(named)).await?.into_iter().next();
    let firm = firm.ok_or_else(|| Failure::not_found(format!("there is no firm {named:?}")))?;
    Ok((firm.id, firm.label))
}

/// In whose name and why: what all rows of this run have in common.
async fn acting<T>(
    db: &Db,
    firm: FirmId,
    act: impl AsyncFnOnce(&mut Tx, &By<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
    let mut tx = db.firm(firm).await?;
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    let done = act(&mut tx, &by).await?;
    tx.commit().await?;
    Ok(done)
}

/// What became of a request.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    request: Request,
    subscription: Option<Subscription>,
}

/// Asks, waits for the worker, and tells what became of it.
async fn request(db: &Db, firm: FirmId, ask: &Ask, asked: &Asked, out: Format) -> Result<Exit, Failure> {
    let reason = asked.reason.text();
    let (id, job) = acting(db, firm, async |tx, by| {
        match ask::ask(tx, firm, ask, Some(reason), by).await? {
            Ok(made) => Ok(made),
            Err(why) => Err(Failure::refused(why.code(), why.to_string())),
        }
    })
    .await?;
    if !asked.wait.no_wait {
        wait_for(db, &[job], asked.wait, out, REQUESTS).await?;
    }
    tell(db, firm, id, out).await
}

async fn tell(db: &Db, firm: FirmId, id: PlatformRequestId, out: Format) -> Result<Exit, Failure> {
    let mut tx = db.firm(firm).await?;
    let request = requests::find(&mut tx, firm, id).await?;
    let request = request.ok_or_else(|| Failure::new("internal", "the request just made cannot be read"))?;
    if let Some(code) = &request.failure_code {
        return Err(Failure::new(
            "refused_by_stripe",
            format!("Stripe refused it: {code}"),
        ));
    }
    let subscription = subscriptions::current(&mut tx, firm).await?;
    drop(tx);
    out.show(
        &Shown {
            request,
            subscription,
        },
        |shown| {
            let mut text = format!("{} {}\n", shown.request.kind, shown.request.state);
            if let Some(url) = &shown.request.url {
                text.push_str(&format!("{url}\n"));
            }
            text + &describe_subscription(shown.subscription.as_ref())
        },
    )?;
    Ok(Exit::Done)
}

async fn create_customer(
    db: &Db,
    named: &str,
    email: Option<&str>,
    asked: &Asked,
    out: Format,
) -> Result<Exit, Failure> {
    let firm = firm_named(db, named).await?;
    if let Some(email) = email {
        set_email(db, firm, email).await?;
    }
    request(db, firm, &Ask::Customer, asked, out).await
}

async fn set_email(db: &Db, firm: FirmId, email: &str) -> Result<(), Failure> {
    let looks_like_one = email
        .split_once('@')
        .is_some_and(|(who, whence)| !who.is_empty() && !whence.is_empty());
    if !looks_like_one {
        return Err(Failure::usage("that is no e-mail address"));
    }
    acting(db, firm, async |tx, by| {
        Ok(customers::set_email(tx, firm, email, by.at).await?)
    })
    .await
}

async fn set_price(db: &Db, tier: &str, price: &str, reason: &str, out: Format) -> Result<Exit, Failure> {
    let (actor, cause) = (operator(), Cause::command(Uuid::now_v7()));
    let mut tx = db.plain().await?;
    let by = By {
        actor: &actor,
        cause: &cause,
        at: tx.now(),
    };
    match tiers::set_price(&mut tx, tier, price, by.at).await? {
        PriceSet::Set { was } => {
            let meta =
                json!({"setting": "tier_price", "tier": tier, "price": price, "was": was, "reason": reason});
            audit::record_for_every_firm(&mut tx, &by, "config.changed", &meta).await?;
        }
        PriceSet::Same => {}
        PriceSet::OfAnotherTier(owner) => {
            let message =
                format!("{price} is the price of {owner}: a subscription with it could not be told apart");
            return Err(Failure::refused("price_of_another_tier", message));
        }
        PriceSet::NoSuchTier => return Err(Failure::not_found(format!("there is no tier {tier:?}"))),
    }
    let all = tiers::list(&mut tx).await?;
    tx.commit().await?;
    show_tiers(&all, out)?;
    Ok(Exit::Done)
}

fn show_tiers(all: &[Tier], out: Format) -> Result<(), Failure> {
    let limit = |limit: Option<i64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    out.show(&json!({ "data": all }), |_| {
        let rows: Vec<Vec<String>> = all
            .iter()
            .map(|tier| {
                vec![
                    tier.tier.clone(),
                    tier.monthly_cost_minor.to_string(),
                    tier.currency.clone(),
                    limit(tier.max_employees),
                    limit(tier.max_agents),
                    limit(tier.max_storage_gb),
                    tier.retention_days.to_string(),
                    tier.stripe_price_id.clone().unwrap_or_else(|| "-".to_owned()),
                ]
            })
            .collect();
        table(
            &[
                "TIER",
                ">MINOR/MONTH",
                "CCY",
                ">EMPLOYEES",
                ">AGENTS",
                ">GB",
                ">DAYS",
                "PRICE",
            ],
            &rows,
        )
    })
}

/// A firm's platform billing at one glance.
#[derive(Debug, Serialize)]
struct Account {
    firm: String,
    customer: Option<PlatformCustomer>,
    subscription: Option<Subscription>,
    usage: Vec<Usage>,
}

async fn show(db: &Db, named: &str, out: Format) -> Result<Exit, Failure> {
    let (firm, label) = looked_into(db, named).await?;
    let mut tx = db.firm(firm).await?;
    let account = Account {
        firm: label,
        customer: customers::of(&mut tx, firm).await?,
        subscription: subscriptions::current(&mut tx, firm).await?,
        usage: usage::of(&mut tx, firm).await?,
    };
    drop(tx);
    out.show(&account, |account| {
        let customer = account.customer.as_ref();
        let id = customer.and_then(|customer| customer.stripe_customer_id.as_deref());
        format!(
            "customer: {}\n{}{}",
            id.unwrap_or("none"),
            describe_subscription(account.subscription.as_ref()),
            describe_usage(&account.usage)
        )
    })?;
    Ok(Exit::Done)
}

fn describe_subscription(subscription: Option<&Subscription>) -> String {
    let Some(one) = subscription else {
        return "subscription: none\n".to_owned();
    };
    let until = one
        .current_period_end
        .map_or_else(|| "-".to_owned(), |end| end.format("%F").to_string());
    let renewal = match (one.is_over(), one.auto_renewal) {
        (true, _) => "over",
        (false, true) => "renews itself",
        (false, false) => "ends then",
    };
    format!(
        "subscription: {} {} ({}), period until {until}, {renewal}\n",
        one.tier.as_deref().unwrap_or("of no tier"),
        one.status,
        one.stripe_status
    )
}

fn describe_usage(usage: &[Usage]) -> String {
    let rows: Vec<Vec<String>> = usage
        .iter()
        .map(|usage| {
            let limit = usage
                .limit
                .map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
            let percent = usage
                .percent()
                .map_or_else(|| "-".to_owned(), |percent| format!("{percent} %"));
            vec![usage.metric.to_string(), usage.used.to_string(), limit, percent]
        })
        .collect();
    table(&["METRIC", ">USED", ">LIMIT", ">SHARE"], &rows)
}

/// A page of invoices with their sums.
#[derive(Debug, Serialize)]
struct InvoicePage {
    data: Vec<PlatformInvoice>,
    total: i64,
    summary: Vec<Summary>,
}

async fn show_invoices(
    db: &Db,
    named: &str,
    filter: &Filter<'_>,
    most: i64,
    out: Format,
) -> Result<Exit, Failure> {
    let (firm, _) = looked_into(db, named).await?;
    let mut tx = db.firm(firm).await?;
    let (data, total) = invoices::list(&mut tx, firm, filter, most).await?;
    let summary = invoices::summary(&mut tx, firm).await?;
    drop(tx);
    out.show(&InvoicePage { data, total, summary }, |page| {
        let rows: Vec<Vec<String>> = page
            .data
            .iter()
            .map(|invoice| {
                vec![
                    invoice
                        .number
                        .clone()
                        .unwrap_or_else(|| invoice.stripe_invoice_id.clone()),
                    invoice.status.clone(),
                    invoice.amount_due_minor.to_string(),
                    invoice.amount_paid_minor.to_string(),
                    invoice.currency.clone(),
                    invoice.created_at.format("%F").to_string(),
                ]
            })
            .collect();
        let mut text = table(&["INVOICE", "STATUS", ">DUE", ">PAID", "CCY", "CREATED"], &rows);
        for sum in &page.summary {
            text.push_str(&format!(
                "{}: invoiced {}, paid {}, outstanding {}\n",
                sum.currency, sum.total_minor, sum.paid_minor, sum.outstanding_minor
            ));
        }
        text
    })?;
    Ok(Exit::Done)
}

async fn show_usage(db: &Db, named: &str, report: &[(Metric, i64)], out: Format) -> Result<Exit, Failure> {
    let (firm, _) = looked_into(db, named).await?;
    let usage = acting(db, firm, async |tx, by| {
        for counted in report {
            usage::report(tx, firm, *counted, by.actor.name(), by.at).await?;
            let meta = json!({"metric": counted.0, "used": counted.1});
            let entry = by.entry("platform.usage_reported", "firm", firm.0, meta);
            audit::record(tx, firm, by.at, &entry).await?;
        }
        if !report.is_empty() {
            usage::tell(tx, firm, by.at, by.cause).await?;
        }
        Ok(usage::of(tx, firm).await?)
    })
    .await?;
    out.show(&json!({ "data": usage }), |_| describe_usage(&usage))?;
    Ok(Exit::Done)
}
