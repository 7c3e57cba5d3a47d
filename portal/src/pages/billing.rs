//! `/api/billing/`: a firm's own plan (R207): dashboard, comparison, payment history, settings.

use axum::{http::StatusCode, response::Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::{
    domain::platform::{Ask, Metric, Tier, Usage},
    ids::PlatformRequestId,
    store::platform::{
        ask::{ask, ask_for_email},
        customers,
        invoices::{self, PlatformInvoice},
        requests,
        subscriptions::{self, Subscription},
        tiers, usage,
    },
};
use uuid::Uuid;

use super::{
    PageProblem,
    form::form,
    page::{Asked, At, Page, chosen},
};
use crate::{
    app::App,
    auth::Caller,
    problem::Problem,
    request::{Act, Input},
    route::{BILLING, BILLING_ACTS, Route},
    view::{
        Badge, Block, Card, Cell, Empty, Facts, Field, Filter, Form, Pager, Table, Tone, column, note,
        numbers,
        text::{NONE, count, day_of, money, spoken},
        words,
    },
};

const HOME: &str = "/api/billing/";
const UPGRADE: &str = "/api/billing/upgrade/";
const HISTORY: &str = "/api/billing/payment-history/";
const SETTINGS: &str = "/api/billing/settings/";
/// Invoices on a page of the history (R207).
const PER_PAGE: i64 = 10;
/// Invoices on the dashboard.
const RECENT: i64 = 5;

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::page(HOME, BILLING, dashboard).does("Plan, renewal, usage, recent invoices"),
        Route::page(UPGRADE, BILLING, upgrade).does("What the tiers cost and allow"),
        Route::page(HISTORY, BILLING, history).does("What was invoiced and paid for the platform"),
        Route::page(SETTINGS, BILLING, settings)
            .does("Renewal, billing email, payment method, end of the subscription"),
        form(
            Route::form("/api/billing/change-tier", BILLING_ACTS, change_tier).does("Ask for another tier"),
            "asked",
        ),
        form(
            Route::form("/api/billing/auto-renewal", BILLING_ACTS, auto_renewal)
                .does("Ask that the subscription renews itself, or not"),
            "asked",
        ),
        form(
            Route::form("/api/billing/email", BILLING_ACTS, email).does("Give another billing address"),
            "asked",
        ),
        form(
            Route::form("/api/billing/payment-method", BILLING_ACTS, payment_method)
                .does("Ask for a link to Stripe's page for cards"),
            "link",
        ),
        form(
            Route::form("/api/billing/cancel", BILLING_ACTS, cancel).does("Ask that the subscription ends"),
            "asked",
        ),
    ]
}

fn tabs(at: &At, here: &str) -> Block {
    let tab = |href: &str, text: &str| (at.to(href), text.to_owned(), href == here);
    Block::Tabs(
        "Plan".to_owned(),
        vec![
            tab(HOME, "Dashboard"),
            tab(UPGRADE, "Compare and change"),
            tab(HISTORY, "Payment history"),
            tab(SETTINGS, "Settings"),
        ],
    )
}

fn price(tier: &Tier) -> String {
    if tier.monthly_cost_minor == 0 {
        "Free".to_owned()
    } else {
        format!("{} / month", money(tier.monthly_cost_minor, &tier.currency))
    }
}

/// The tier that the firm has: what it pays for, else what is free.
fn current_tier<'a>(tiers: &'a [Tier], subscription: Option<&Subscription>) -> Option<&'a Tier> {
    let name = subscription
        .filter(|subscription| subscription.is_active)
        .and_then(|subscription| subscription.tier.as_deref())
        .unwrap_or(usage::WITHOUT_SUBSCRIPTION);
    tiers.iter().find(|tier| tier.tier == name)
}

fn usage_name(metric: Metric) -> &'static str {
    match metric {
        Metric::Employees => "Active employees",
        Metric::Agents => "Agents",
        Metric::StorageGb => "Storage",
    }
}

fn usage_card(usage: &Usage) -> Card {
    let unit = if usage.metric == Metric::StorageGb {
        " GB"
    } else {
        ""
    };
    let (value, said) = match usage.limit {
        Some(limit) => (
            format!("{} of {}{unit}", count(usage.used), count(limit)),
            format!("{} % used", usage.percent().unwrap_or(0)),
        ),
        None => (format!("{}{unit}", count(usage.used)), "Unlimited".to_owned()),
    };
    let tone = match usage.percent() {
        Some(100..) => Tone::Bad,
        _ if usage.is_high() => Tone::Warn,
        _ => Tone::Plain,
    };
    let said = if usage.is_high() {
        format!("{said}: nearly all, a higher tier allows more")
    } else {
        said
    };
    Card::new(usage_name(usage.metric), value, said)
        .tone(tone)
        .percent(usage.percent())
}

fn renewal_card(subscription: Option<&Subscription>) -> Card {
    let Some(live) = subscription.filter(|subscription| !subscription.is_over()) else {
        return Card::new("Renewal", NONE, "Nothing renews: there is no subscription");
    };
    let day = day_of(live.current_period_end);
    if live.auto_renewal {
        Card::new("Renews on", day, "By itself, until it is switched off")
    } else {
        Card::new("Ends on", day, "It does not renew itself").tone(Tone::Warn)
    }
}

/// The card, and until when it is good.
fn card_parts(subscription: Option<&Subscription>) -> (String, String) {
    let card =
        subscription.and_then(|live| Some((live, live.card_brand.as_ref()?, live.card_last4.as_ref()?)));
    let Some((live, brand, last4)) = card else {
        return (NONE.to_owned(), String::new());
    };
    let until = live
        .card_exp_month
        .zip(live.card_exp_year)
        .map_or_else(String::new, |(month, year)| format!("Until {month:02}/{year}. "));
    (format!("{} ending {last4}", spoken(brand)), until)
}

fn invoice_cells(invoice: PlatformInvoice) -> Vec<Cell> {
    let out = |href: Option<String>, text: &str| {
        href.filter(|href| href.starts_with("https://"))
            .map(|href| Cell::Out {
                href,
                text: text.to_owned(),
            })
    };
    let pdf = out(invoice.pdf_url, "PDF").or_else(|| out(invoice.hosted_invoice_url, "View"));
    vec![
        Cell::two(
            invoice.number.unwrap_or_else(|| "Draft".to_owned()),
            invoice
                .billing_reason
                .map_or_else(String::new, |word| spoken(&word)),
        ),
        Cell::text(day_of(invoice.issued_at.or(Some(invoice.created_at)))),
        words::platform_invoice(&invoice.status).into(),
        Cell::text(money(invoice.amount_due_minor, &invoice.currency)),
        Cell::text(money(invoice.amount_paid_minor, &invoice.currency)),
        pdf.unwrap_or_else(|| Cell::text(NONE)),
    ]
}

fn invoice_table(title: &str, empty: Empty, rows: Vec<PlatformInvoice>) -> Table {
    let columns = [
        column("Invoice"),
        column("Date"),
        column("Status"),
        numbers("Amount"),
        numbers("Paid"),
        column("Document"),
    ];
    Table::new(title, &columns, empty).rows(rows, invoice_cells)
}

fn open_note(is_open: bool) -> Option<Block> {
    is_open.then(|| note(Tone::Busy, "A change is on its way to Stripe. This page shows it when Stripe has confirmed it; reload in a moment."))
}

async fn dashboard(at: At) -> Result<Response, PageProblem> {
    let firm = at.caller.firm()?;
    let mut tx = at.app.db.firm(firm).await?;
    let subscription = subscriptions::current(&mut tx, firm).await?;
    let tiers = tiers::list(&mut tx).await?;
    let usage = usage::of(&mut tx, firm).await?;
    let (recent, _) = invoices::list(&mut tx, firm, &invoices::Filter::default(), RECENT).await?;
    let is_open = requests::change_is_open(&mut tx, firm).await?;
    drop(tx);
    let subscription = subscription.as_ref();
    let tier = current_tier(&tiers, subscription);
    let status = subscription.map_or_else(
        || Badge::new("No subscription", Tone::Plain),
        |live| words::subscription(live.status.as_str()),
    );
    let (card, until) = card_parts(subscription);
    let cards = vec![
        Card::new(
            "Plan",
            tier.map_or(NONE, |tier| &tier.name),
            tier.map_or_else(String::new, price),
        )
        .href(at.to(UPGRADE)),
        renewal_card(subscription),
        Card::new(
            "Payment method",
            card,
            format!("{until}No card number is stored here"),
        )
        .href(at.to(SETTINGS)),
    ];
    let used = usage.iter().map(usage_card).collect();
    let mut page = at
        .page(HOME, "Plan")
        .await?
        .badge(status)
        .with(tabs(&at, HOME))
        .with_all(open_note(is_open));
    if let Some(live) = subscription.filter(|live| live.status.as_str() == "PAST_DUE") {
        let text = format!(
            "The last payment failed. Stripe tries again; give another card before {} to keep the plan.",
            day_of(live.current_period_end)
        );
        page = page.with(note(Tone::Bad, text));
    }
    let empty = Empty::new("No invoice yet.", "Stripe makes one when a paid plan begins.")
        .link(at.to(UPGRADE), "Compare plans");
    page.with(Block::Cards(cards))
        .with(Block::Cards(used))
        .with(Block::Table(
            invoice_table("Recent invoices", empty, recent).more(at.to(HISTORY), "All invoices and payments"),
        ))
        .answer()
}

/// What a tier allows, line by line.
fn comparison(tiers: &[Tier], current: Option<&Tier>) -> Table {
    let mut columns = vec![column("What you get")];
    for tier in tiers {
        let here = current.is_some_and(|current| current.tier == tier.tier);
        columns.push(column(if here {
            format!("{} (your plan)", tier.name)
        } else {
            tier.name.clone()
        }));
    }
    let limit = |limit: Option<i64>, unit: &str| {
        limit.map_or_else(
            || "Unlimited".to_owned(),
            |limit| format!("{}{unit}", count(limit)),
        )
    };
    let line = |name: &str, of: &dyn Fn(&Tier) -> String| {
        let mut cells = vec![Cell::text(name)];
        cells.extend(tiers.iter().map(|tier| Cell::text(of(tier))));
        cells
    };
    let mut lines = vec![
        line("Price", &price),
        line("Active employees", &|tier| limit(tier.max_employees, "")),
        line("Agents", &|tier| limit(tier.max_agents, "")),
        line("Storage", &|tier| limit(tier.max_storage_gb, " GB")),
        line("Data kept for", &|tier| format!("{} days", tier.retention_days)),
    ];
    let mut features: Vec<&String> = tiers
        .iter()
        .filter_map(|tier| tier.features.as_object())
        .flat_map(|features| features.keys())
        .collect();
    features.sort();
    features.dedup();
    for feature in features {
        let has = |tier: &Tier| match tier.features.get(feature) {
            Some(Value::Bool(true)) => "Yes".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => "No".to_owned(),
        };
        lines.push(line(&spoken(feature), &has));
    }
    Table::new(
        "What the plans cost and allow",
        &columns,
        Empty::new("There are no plans.", "Whoever runs the platform makes them."),
    )
    .rows(lines, |cells| cells)
}

const QUESTIONS: [(&str, &str); 4] = [
    (
        "When does a change take effect?",
        "At once. Stripe confirms it within moments, and this page and the limits follow.",
    ),
    (
        "What do I pay when I change in the middle of a month?",
        "Only the difference. Stripe prorates by itself: what you have paid for the old plan and not used is taken off what the new one costs, on the next invoice.",
    ),
    (
        "Can I go back to a smaller plan?",
        "At any time, in the same way. What was paid and not used becomes a credit on the next invoices. If you use more than the smaller plan allows, nothing is deleted, but you are told.",
    ),
    (
        "How do I pay, and who sees my card?",
        "By card, on Stripe's own page. Card numbers never reach this platform; it knows the brand, the last four digits and the expiry date.",
    ),
];

#[derive(Deserialize)]
struct Wanted {
    request: Option<Uuid>,
    page: Option<i64>,
    status: Option<String>,
}

async fn upgrade(at: At, Asked(wanted): Asked<Wanted>) -> Result<Response, PageProblem> {
    let firm = at.caller.firm()?;
    let mut tx = at.app.db.firm(firm).await?;
    let subscription = subscriptions::current(&mut tx, firm).await?;
    let tiers = tiers::list(&mut tx).await?;
    let is_open = requests::change_is_open(&mut tx, firm).await?;
    drop(tx);
    let live = subscription
        .as_ref()
        .filter(|subscription| !subscription.is_over());
    let current = current_tier(&tiers, live);
    let mut page = at
        .page(HOME, "Compare and change")
        .await?
        .intro("Change at any time; Stripe prorates by itself.")
        .with(tabs(&at, UPGRADE))
        .with_all(link_note(&at, wanted.request).await?)
        .with_all(open_note(is_open))
        .with(Block::Table(comparison(&tiers, current)));
    if at.acts() && !is_open {
        for tier in tiers
            .iter()
            .filter(|tier| current.is_none_or(|current| current.tier != tier.tier))
        {
            page = page.with_all(tier_block(tier, live.is_some(), current));
        }
    }
    page.with(Block::Questions("Questions".to_owned(), QUESTIONS.to_vec()))
        .answer()
}

/// How to get to a tier from here.
fn tier_block(tier: &Tier, has_subscription: bool, current: Option<&Tier>) -> Option<Block> {
    if tier.stripe_price_id.is_none() {
        let said = format!(
            "{} cannot be chosen here yet: it has no price at Stripe.",
            tier.name
        );
        return (tier.monthly_cost_minor > 0).then(|| note(Tone::Plain, said));
    }
    let goes_up = current.is_none_or(|current| tier.monthly_cost_minor > current.monthly_cost_minor);
    let (submit, intro) = if !has_subscription {
        (
            format!("Go to Stripe for {}", tier.name),
            "Stripe's page takes your card and begins the subscription.",
        )
    } else if goes_up {
        (
            format!("Upgrade to {}", tier.name),
            "From now on. The rest of this period is prorated on the next invoice.",
        )
    } else {
        (
            format!("Change to {}", tier.name),
            "From now on. What you have paid and not used becomes a credit.",
        )
    };
    let title = format!("{}: {}", tier.name, price(tier));
    let form = Form::new(
        format!("tier-{}", tier.tier.to_lowercase()),
        title,
        "/api/billing/change-tier",
        submit,
    )
    .intro(intro)
    .field(Field::hidden("tier", &tier.tier));
    Some(Block::Form(form))
}

/// The link that was asked for, once it is there.
async fn link_note(at: &At, request: Option<Uuid>) -> Result<Option<Block>, PageProblem> {
    let Some(id) = request else { return Ok(None) };
    let firm = at.caller.firm()?;
    let mut tx = at.app.db.firm(firm).await?;
    let Some(request) = requests::find(&mut tx, firm, PlatformRequestId(id)).await? else {
        return Ok(None);
    };
    let mut said = crate::view::blocks::Note {
        tone: Tone::Busy,
        text: "The link to Stripe is being made.".to_owned(),
        link: Some((at.back.clone(), "Look again".to_owned())),
    };
    if let Some(url) = request.url {
        said = crate::view::blocks::Note {
            tone: Tone::Good,
            text: "Stripe's page is ready; the link works once and for a short time.".to_owned(),
            link: Some((url, "Go on to Stripe".to_owned())),
        };
    } else if let Some(code) = request.failure_code {
        said = crate::view::blocks::Note {
            tone: Tone::Bad,
            text: format!(
                "Stripe refused: {}. Try again, or ask whoever runs the platform.",
                spoken(&code)
            ),
            link: None,
        };
    } else if request.state == "done" {
        said = crate::view::blocks::Note {
            tone: Tone::Plain,
            text: "That link is used or too old: ask for another one.".to_owned(),
            link: None,
        };
    }
    Ok(Some(Block::Note(said)))
}

const STATUSES: [(&str, &str); 6] = [
    ("", "All"),
    ("PAID", "Paid"),
    ("OPEN", "Open"),
    ("DRAFT", "Draft"),
    ("VOID", "Void"),
    ("UNCOLLECTIBLE", "Uncollectible"),
];

async fn history(at: At, Asked(wanted): Asked<Wanted>) -> Result<Response, PageProblem> {
    let firm = at.caller.firm()?;
    let status = chosen(&wanted.status);
    let number = wanted.page.unwrap_or(1).clamp(1, 10_000);
    let filter = invoices::Filter {
        status,
        offset: (number - 1) * PER_PAGE,
    };
    let mut tx = at.app.db.firm(firm).await?;
    let (rows, all) = invoices::list(&mut tx, firm, &filter, PER_PAGE).await?;
    let sums = invoices::summary(&mut tx, firm).await?;
    drop(tx);
    let mut cards = Vec::new();
    for sum in &sums {
        let currency = &sum.currency;
        let tone = if sum.outstanding_minor > 0 {
            Tone::Warn
        } else {
            Tone::Good
        };
        cards.push(Card::new(
            "Total invoiced",
            money(sum.total_minor, currency),
            "Without drafts and void ones",
        ));
        cards.push(Card::new("Paid", money(sum.paid_minor, currency), "").tone(Tone::Good));
        cards.push(
            Card::new(
                "Outstanding",
                money(sum.outstanding_minor, currency),
                "On open invoices",
            )
            .tone(tone),
        );
    }
    if cards.is_empty() {
        cards = ["Total invoiced", "Paid", "Outstanding"]
            .map(|label| Card::new(label, money(0, "usd"), ""))
            .to_vec();
    }
    let pages = (all + PER_PAGE - 1) / PER_PAGE;
    let link = |to: i64| at.with(HISTORY, &[("status", status), ("page", Some(&to.to_string()))]);
    let pager = Pager {
        text: format!("Page {number} of {}, {} in all", pages.max(1), count(all)),
        before: (number > 1).then(|| link(number - 1)),
        after: (number < pages).then(|| link(number + 1)),
    };
    let empty = match status {
        Some(_) => {
            Empty::new("No invoice has this status.", "Choose another one.").link(at.to(HISTORY), "Show all")
        }
        None => Empty::new("No invoice yet.", "Stripe makes one when a paid plan begins.")
            .link(at.to(UPGRADE), "Compare plans"),
    };
    let fields = vec![Field::choice("status", "Status", &STATUSES, status)];
    at.page(HOME, "Payment history")
        .await?
        .with(tabs(&at, HISTORY))
        .with(Block::Cards(cards))
        .with(Block::Filter(Filter {
            action: HISTORY.to_owned(),
            fields,
        }))
        .with(Block::Table(invoice_table("", empty, rows)))
        .with(Block::Pager(pager))
        .answer()
}

async fn settings(at: At, Asked(wanted): Asked<Wanted>) -> Result<Response, PageProblem> {
    let firm = at.caller.firm()?;
    let mut tx = at.app.db.firm(firm).await?;
    let subscription = subscriptions::current(&mut tx, firm).await?;
    let customer = customers::of(&mut tx, firm).await?;
    let is_open = requests::change_is_open(&mut tx, firm).await?;
    drop(tx);
    let live = subscription
        .as_ref()
        .filter(|subscription| !subscription.is_over());
    let email = customer
        .as_ref()
        .and_then(|customer| customer.billing_email.clone());
    let synced = customer.as_ref().is_some_and(|customer| customer.email_synced);
    let renews = live.map_or("There is no subscription", |live| {
        if live.auto_renewal {
            "On: renews by itself"
        } else {
            "Off: ends with the period"
        }
    });
    let email_said = match (&email, synced) {
        (Some(email), true) => Cell::two(email, "Stripe sends invoices and receipts there"),
        (Some(email), false) => Cell::two(email, "Not told to Stripe yet"),
        (None, _) => Cell::text("None yet"),
    };
    let (card, until) = card_parts(live);
    let facts = Facts {
        title: "As it is".to_owned(),
        rows: vec![
            ("Automatic renewal", Cell::text(renews)),
            ("Billing email", email_said),
            ("Payment method", Cell::two(card, until)),
            (
                "Tax id",
                Cell::two(
                    "Optional",
                    "Given on Stripe's page, together with the card and the address",
                ),
            ),
        ],
    };
    let mut page = at
        .page(HOME, "Settings")
        .await?
        .with(tabs(&at, SETTINGS))
        .with_all(link_note(&at, wanted.request).await?)
        .with_all(open_note(is_open))
        .with(Block::Facts(facts));
    if at.acts() {
        page = setting_forms(
            page,
            live,
            email,
            customer.is_some_and(|customer| customer.stripe_customer_id.is_some()),
            is_open,
        );
    } else {
        page = page.with(note(
            Tone::Plain,
            "You look at this firm's settings. Its owner and admins change them.",
        ));
    }
    page.answer()
}

fn setting_forms(
    mut page: Page,
    live: Option<&Subscription>,
    email: Option<String>,
    has_customer: bool,
    is_open: bool,
) -> Page {
    if let Some(live) = live.filter(|_| !is_open) {
        let (submit, on, intro) = if live.auto_renewal {
            (
                "Switch automatic renewal off",
                "false",
                "Without it the plan ends with the period that is paid for. You can switch it on again until then.",
            )
        } else {
            (
                "Switch automatic renewal on",
                "true",
                "With it the plan renews itself at the end of each period.",
            )
        };
        page = page.with(Block::Form(
            Form::new(
                "renewal",
                "Automatic renewal",
                "/api/billing/auto-renewal",
                submit,
            )
            .intro(intro)
            .field(Field::hidden("on", on)),
        ));
    }
    let field = Field::typed("email", "Billing email", "email")
        .value(email.unwrap_or_default())
        .required();
    page = page.with(Block::Form(
        Form::new("email", "Billing email", "/api/billing/email", "Save")
            .intro("Stripe sends invoices and receipts to this address.")
            .field(field),
    ));
    if has_customer {
        let form = Form::new(
            "card",
            "Payment method and tax id",
            "/api/billing/payment-method",
            "Go to Stripe's page",
        )
        .intro("Cards, billing address and tax id are kept by Stripe and changed on its own page.");
        page = page.with(Block::Form(form));
    } else {
        page = page.with(note(
            Tone::Plain,
            "A card is given on Stripe's page when a plan is chosen.",
        ));
    }
    if live.is_some() && !is_open {
        let form = Form::new("cancel", "Cancel the subscription", "/api/billing/cancel", "Cancel the subscription now")
            .intro("The plan ends at once and the firm falls back to the free tier. To end it with the period instead, switch automatic renewal off.")
            .field(Field::reason())
            .danger();
        page = page.with(Block::Danger(
            "Danger zone".to_owned(),
            "What is here cannot be taken back.".to_owned(),
            vec![form],
        ));
    }
    page
}

/// What was asked for, and the page that shows what becomes of it.
#[derive(Serialize)]
struct Answered {
    request: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    see: Option<String>,
}

async fn asked(
    app: &App,
    caller: &Caller,
    keyed: &crate::request::Keyed,
    wish: &Ask,
    reason: Option<&str>,
    see: Option<&str>,
) -> Result<Response, Problem> {
    let firm = caller.firm()?;
    let mut act = Act::begin(app, caller, keyed).await?;
    let (tx, by) = act.parts();
    let asked = match wish {
        Ask::BillingEmail => ask_for_email(tx, firm, reason.unwrap_or_default(), &by).await?,
        _ => ask(tx, firm, wish, reason, &by).await?,
    };
    let (request, _) = asked.map_err(|why| Problem::refused(why.code(), why.to_string()))?;
    let see = see.map(|page| format!("{page}?request={request}"));
    act.done(
        StatusCode::ACCEPTED,
        &Answered {
            request: request.0,
            see,
        },
    )
    .await
}

#[derive(Deserialize)]
struct ToTier {
    tier: String,
}

async fn change_tier(at: At, input: Input<ToTier>) -> Result<Response, Problem> {
    let firm = at.caller.firm()?;
    let mut tx = at.app.db.firm(firm).await?;
    let subscription = subscriptions::current(&mut tx, firm).await?;
    drop(tx);
    let tier = input.value.tier.clone();
    let (wish, see) = if subscription.is_some_and(|subscription| !subscription.is_over()) {
        (Ask::ChangeTier { tier }, None)
    } else {
        (
            Ask::CheckoutLink {
                tier,
                return_url: format!("{}{HOME}", at.app.url),
            },
            Some(UPGRADE),
        )
    };
    asked(&at.app, &at.caller, &input.keyed, &wish, None, see).await
}

#[derive(Deserialize)]
struct Renewal {
    on: bool,
}

async fn auto_renewal(at: At, input: Input<Renewal>) -> Result<Response, Problem> {
    let wish = Ask::AutoRenewal { on: input.value.on };
    asked(&at.app, &at.caller, &input.keyed, &wish, None, None).await
}

#[derive(Deserialize)]
struct Email {
    email: String,
}

async fn email(at: At, input: Input<Email>) -> Result<Response, Problem> {
    let email = input.value.email.trim();
    let is_address = email.len() <= 320
        && email
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    if !is_address || email.contains(char::is_whitespace) {
        return Err(Problem::invalid("email", "this is no address"));
    }
    asked(
        &at.app,
        &at.caller,
        &input.keyed,
        &Ask::BillingEmail,
        Some(email),
        None,
    )
    .await
}

#[derive(Deserialize)]
struct Empty_ {}

async fn payment_method(at: At, input: Input<Empty_>) -> Result<Response, Problem> {
    let wish = Ask::BillingLink {
        return_url: format!("{}{SETTINGS}", at.app.url),
    };
    asked(&at.app, &at.caller, &input.keyed, &wish, None, Some(SETTINGS)).await
}

#[derive(Deserialize)]
struct Why {
    reason: String,
}

async fn cancel(at: At, input: Input<Why>) -> Result<Response, Problem> {
    let reason = crate::request::said("reason", &input.value.reason)?;
    asked(
        &at.app,
        &at.caller,
        &input.keyed,
        &Ask::Cancel,
        Some(reason),
        None,
    )
    .await
}
