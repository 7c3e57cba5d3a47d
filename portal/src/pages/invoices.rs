//! `/billing/invoices`: what clients owe: a list, and each invoice with its lines, attempts and what happened to it. A portal user
//! sees the invoices of their own client.

use axum::response::Response;
use serde::Deserialize;
use shared::store::invoices_read::{self, Filter as Which, InvoiceRow, InvoiceView, Line};

use super::{
    PageProblem,
    form::form,
    page::{Asked, At, ROWS, chosen},
};
use crate::{
    api::{find, invoices as api},
    problem::Problem,
    request::{Id, PageQuery},
    route::{BILLING_ACTS, BILLING_AND_CLIENTS, Route},
    view::{
        Block, Card, Cell, Empty, Facts, Field, Filter, Form, Step, Table, Tone, column, note, numbers,
        text::{self, NONE, day, maybe_day, maybe_time, money, spoken, time, typed, worked},
        words,
    },
};

const HERE: &str = "/billing/invoices";

/// The routes.
#[must_use]
pub fn routes() -> Vec<Route> {
    vec![
        Route::page(HERE, BILLING_AND_CLIENTS, list).does("Invoices of clients"),
        Route::page("/billing/invoices/{id}", BILLING_AND_CLIENTS, show)
            .does("One invoice with all that happened to it"),
        form(
            Route::form("/billing/invoices/{id}/issue", BILLING_ACTS, api::issue).does("Issue a draft"),
            "issued",
        ),
        form(
            Route::form("/billing/invoices/{id}/discard", BILLING_ACTS, api::discard).does("Give a draft up"),
            "discarded",
        ),
        form(
            Route::form("/billing/invoices/{id}/void", BILLING_ACTS, api::void).does("Take an invoice back"),
            "voided",
        ),
        form(
            Route::form("/billing/invoices/{id}/write-off", BILLING_ACTS, api::write_off)
                .does("Give up what is open"),
            "written_off",
        ),
        form(
            Route::form(
                "/billing/invoices/{id}/external-payments",
                BILLING_ACTS,
                api::pay_external,
            )
            .does("Record money that came by other means"),
            "recorded",
        ),
        form(
            Route::form("/billing/invoices/{id}/refunds", BILLING_ACTS, api::refund)
                .does("Give back what was paid"),
            "refunded",
        ),
        form(
            Route::form("/billing/invoices/{id}/credit", BILLING_ACTS, api::apply_credit)
                .does("Pay with the client's credit"),
            "credited",
        ),
    ]
}

#[derive(Deserialize)]
struct Wanted {
    status: Option<String>,
    client: Option<String>,
    open: Option<String>,
    cursor: Option<String>,
}

const STATUSES: [(&str, &str); 13] = [
    ("", "All"),
    ("draft", "Draft"),
    ("sent", "Sent"),
    ("partial", "Partial"),
    ("overdue", "Overdue"),
    ("processing", "Processing"),
    ("failed", "Failed"),
    ("paid", "Paid"),
    ("disputed", "Disputed"),
    ("charged_back", "Charged back"),
    ("refunded", "Refunded"),
    ("void", "Void"),
    ("written_off", "Written off"),
];

async fn list(at: At, Asked(wanted): Asked<Wanted>) -> Result<Response, PageProblem> {
    let firm = at.caller.firm()?;
    let query = PageQuery {
        limit: u16::try_from(ROWS).ok(),
        cursor: wanted.cursor.clone(),
    };
    let (status, client) = (chosen(&wanted.status), chosen(&wanted.client));
    let open_only = chosen(&wanted.open) == Some("true");
    let of = match (at.caller.client, client) {
        (Some(own), _) => Some(own),
        (None, Some(reference)) => Some(find::client(&at.app.db, &at.caller, reference).await?.1),
        (None, None) => None,
    };
    let after = match &wanted.cursor {
        Some(cursor) => Some(find::invoice(&at.app.db, &at.caller, cursor).await?.1),
        None => None,
    };
    let filter = Which {
        client: of,
        status,
        after,
        open_only,
        issued_only: at.caller.is_client(),
    };
    let mut tx = at.app.db.firm(firm).await?;
    let rows = invoices_read::list(&mut tx, firm, &filter, query.fetch()?).await?;
    drop(tx);
    let shown = query.page(rows, |row| row.id.to_string())?;
    let for_client = at.caller.is_client();
    let columns = if for_client {
        vec![
            column("Invoice"),
            column("Status"),
            column("Issued"),
            column("Due"),
            numbers("Total"),
            numbers("Open"),
        ]
    } else {
        vec![
            column("Invoice"),
            column("Client"),
            column("Status"),
            column("Issued"),
            column("Due"),
            column("Collection"),
            numbers("Total"),
            numbers("Open"),
        ]
    };
    let empty = if status.is_some() || client.is_some() || open_only {
        Empty::new("No invoice is like this.", "Choose another filter.")
            .link(at.to(HERE), "Show all invoices")
    } else if for_client {
        Empty::new(
            "There are no invoices yet.",
            "They appear here when they are issued.",
        )
    } else {
        Empty::new(
            "There are no invoices yet.",
            "They are made from engagements when a period ends, or from approved time.",
        )
        .link(at.to("/billing/engagements"), "Look at engagements")
    };
    let number = shown.data.len();
    let table = Table::new("", &columns, empty).rows(shown.data, |row| cells(&at, row, for_client));
    let mut fields = vec![Field::choice("status", "Status", &STATUSES, status)];
    if !for_client {
        fields.push(Field::line("client", "Client").value(client.unwrap_or_default()));
    }
    fields.push(Field::check("open", "Only with something open", open_only));
    let open = open_only.then_some("true");
    at.page(HERE, "Invoices")
        .await?
        .with(Block::Filter(Filter {
            action: HERE.to_owned(),
            fields,
        }))
        .with(Block::Table(table))
        .with(at.pager(
            HERE,
            &[("status", status), ("client", client), ("open", open)],
            (wanted.cursor.as_deref(), shown.next_cursor.as_deref()),
            number,
        ))
        .answer()
}

/// Where an invoice is looked at.
#[must_use]
pub fn href(at: &At, id: impl std::fmt::Display) -> String {
    at.to(&format!("{HERE}/{id}"))
}

fn cells(at: &At, row: InvoiceRow, for_client: bool) -> Vec<Cell> {
    let name = row.number.clone().unwrap_or_else(|| "Draft".to_owned());
    let mut cells = vec![Cell::link_two(
        href(at, row.id),
        name,
        row.external_id.filter(|_| !for_client).unwrap_or_default(),
    )];
    if !for_client {
        cells.push(Cell::link(
            at.with(HERE, &[("client", Some(&row.client))]),
            row.client.clone(),
        ));
    }
    cells.push(words::invoice(&row.status, row.being_voided).into());
    cells.push(Cell::text(maybe_day(row.issue_date)));
    cells.push(Cell::text(maybe_day(row.due_date)));
    if !for_client {
        let state = words::collecting(&row.autopay_state);
        cells.push(match row.next_charge_at {
            Some(next) => Cell::two(state, format!("next {}", time(next))),
            None => Cell::text(state),
        });
    }
    cells.push(Cell::text(money(row.total_minor, &row.currency)));
    cells.push(Cell::text(money(row.open_minor, &row.currency)));
    cells
}

async fn show(at: At, Id(id): Id) -> Result<Response, PageProblem> {
    let (firm, invoice) = find::invoice(&at.app.db, &at.caller, &id).await?;
    let mut tx = at.app.db.firm(firm).await?;
    let view = invoices_read::show(&mut tx, firm, invoice).await?;
    drop(tx);
    let mut view = view.ok_or_else(|| Problem::not_found(format!("there is no invoice {id:?}")))?;
    let for_client = at.caller.is_client();
    if for_client {
        view = view.for_client();
    }
    let name = view.number.clone().map_or_else(
        || "Draft invoice".to_owned(),
        |number| format!("Invoice {number}"),
    );
    let currency = view.currency.clone();
    let amount = |minor: i64| money(minor, &currency);
    let mut cards = vec![
        Card::new(
            "Total",
            amount(view.total_minor),
            if view.tax_minor > 0 {
                format!("with {} tax", amount(view.tax_minor))
            } else {
                String::new()
            },
        ),
        Card::new(
            "Paid",
            amount(view.paid_minor),
            if view.credited_minor > 0 {
                format!("and {} by credit", amount(view.credited_minor))
            } else {
                String::new()
            },
        ),
        Card::new(
            "Open",
            amount(view.open_minor),
            view.due_date
                .map_or_else(String::new, |on| format!("due {}", day(on))),
        )
        .tone(if view.open_minor > 0 {
            Tone::Warn
        } else {
            Tone::Good
        }),
    ];
    if view.refunded_minor > 0 {
        cards.push(Card::new("Given back", amount(view.refunded_minor), ""));
    }
    if view.charged_back_minor > 0 {
        cards.push(
            Card::new(
                "Charged back",
                amount(view.charged_back_minor),
                "Taken by lost disputes",
            )
            .tone(Tone::Bad),
        );
    }
    let mut page = at
        .page(HERE, name)
        .await?
        .badge(words::invoice(&view.status, view.being_voided))
        .up(at.to(HERE), "Invoices")
        .with(Block::Cards(cards));
    if let Some(reason) = view.fenced_reason.as_deref().filter(|_| !for_client) {
        page = page.with(note(
            Tone::Warn,
            format!(
                "Never charged automatically while it is fenced: {}.",
                spoken(reason)
            ),
        ));
    }
    page = page
        .with(Block::Facts(facts(&at, &view, for_client)))
        .with(Block::Table(lines(&view)));
    if !view.attempts.is_empty() && !for_client {
        page = page.with(Block::Table(attempts(&view)));
    }
    page = page.with(Block::Timeline("What happened".to_owned(), timeline(&view)));
    if at.acts() {
        page = page.with_all(actions(&view));
    }
    page.answer()
}

fn facts(at: &At, view: &InvoiceView, for_client: bool) -> Facts {
    let mut rows = vec![
        ("Issued", Cell::text(maybe_day(view.issue_date))),
        ("Due", Cell::text(maybe_day(view.due_date))),
        (
            "Period",
            Cell::text(view.period.as_ref().map_or(NONE.to_owned(), |period| {
                format!(
                    "{} to {}",
                    day(period.start),
                    day(period.end.pred_opt().unwrap_or(period.end))
                )
            })),
        ),
    ];
    if !for_client {
        rows.insert(
            0,
            (
                "Client",
                Cell::link(
                    at.to(&format!("/billing/credits/{}", text::encoded(&view.client))),
                    view.client.clone(),
                ),
            ),
        );
        if let Some(engagement) = &view.engagement {
            rows.push((
                "Engagement",
                Cell::link(
                    at.to(&format!("/billing/engagements/{}", text::encoded(engagement))),
                    engagement.clone(),
                ),
            ));
        }
        let why = view.autopay.reason.as_deref().map_or_else(String::new, spoken);
        let collection = Cell::two(words::collecting(&view.autopay.state), why);
        rows.push(("Collection by card", collection));
        rows.push(("Next charge", Cell::text(maybe_time(view.autopay.next_charge_at))));
        if let Some(until) = view.autopay.waits_until {
            rows.push(("Waits for the client until", Cell::text(time(until))));
        }
        rows.push((
            "Why?",
            Cell::link(
                at.with("/billing/explain", &[("id", Some(&view.id.to_string()))]),
                "Explain this invoice",
            ),
        ));
    }
    Facts {
        title: String::new(),
        rows,
    }
}

fn lines(view: &InvoiceView) -> Table {
    let columns = [
        column("What"),
        column("When and by whom"),
        numbers("Time"),
        numbers("Rate"),
        numbers("Amount"),
    ];
    let cells = |line: &Line| {
        let amount = Cell::text(money(line.amount_minor, &view.currency));
        match &line.time {
            Some(time) => vec![
                Cell::two(spoken(&line.description_code), time.time_entry.clone()),
                Cell::two(
                    day(time.worked_on),
                    format!(
                        "{}{}",
                        time.worker,
                        time.approved_by
                            .as_deref()
                            .map_or_else(String::new, |by| format!(", approved by {by}"))
                    ),
                ),
                Cell::text(worked(i64::from(time.minutes))),
                Cell::text(money(time.rate_minor, &view.currency)),
                amount,
            ],
            None => vec![
                Cell::two(spoken(&line.description_code), spoken(&line.kind)),
                Cell::text(NONE),
                Cell::text(NONE),
                Cell::text(NONE),
                amount,
            ],
        }
    };
    Table::new(
        "Lines",
        &columns,
        Empty::new("This invoice has no lines.", "Its tax is all that it asks for."),
    )
    .rows(&view.lines, cells)
}

fn attempts(view: &InvoiceView) -> Table {
    let columns = [
        column("Attempt"),
        column("When"),
        column("State"),
        column("Why it failed"),
        column("Card"),
        numbers("Amount"),
    ];
    Table::new("Attempts", &columns, Empty::default()).rows(&view.attempts, |attempt| {
        let why = attempt
            .decline_code
            .as_deref()
            .or(attempt.failure_code.as_deref())
            .map_or(NONE.to_owned(), spoken);
        let class = attempt.failure_class.as_deref().map_or_else(String::new, spoken);
        vec![
            Cell::two(
                if attempt.number == 0 {
                    "First".to_owned()
                } else {
                    format!("Retry {}", attempt.number)
                },
                spoken(&attempt.trigger),
            ),
            Cell::text(time(attempt.at)),
            words::collection(&attempt.state).into(),
            Cell::two(why, class),
            Cell::code(attempt.payment_method.clone()),
            Cell::text(money(attempt.amount_minor, &view.currency)),
        ]
    })
}

/// All that happened, the latest first.
fn timeline(view: &InvoiceView) -> Vec<Step> {
    let amount = |minor: i64| money(minor, &view.currency);
    let mut steps = Vec::new();
    if let Some(at) = view.issued_at {
        steps.push((at, "Issued".to_owned(), amount(view.total_minor), Tone::Plain));
    }
    for attempt in &view.attempts {
        let tone = words::collection(&attempt.state).tone;
        let why = attempt
            .decline_code
            .as_deref()
            .or(attempt.failure_code.as_deref())
            .map_or_else(String::new, |code| format!("{}, ", spoken(code)));
        steps.push((
            attempt.resolved_at.unwrap_or(attempt.at),
            format!("Charge {}", spoken(&attempt.state).to_lowercase()),
            format!("{why}{}", amount(attempt.amount_minor)),
            tone,
        ));
    }
    for payment in &view.payments {
        let how = match (&payment.reference, payment.method.as_str()) {
            (Some(reference), _) => format!(", {reference}"),
            (None, "stripe") => ", by card".to_owned(),
            (None, _) => String::new(),
        };
        steps.push((
            payment.received_at,
            "Paid".to_owned(),
            format!("{}{how}", amount(payment.amount_minor)),
            Tone::Good,
        ));
    }
    for refund in &view.refunds {
        steps.push((
            refund.at,
            format!(
                "Refund to {}: {}",
                refund.to,
                spoken(&refund.state).to_lowercase()
            ),
            [amount(refund.amount_minor), refund.reason.clone()]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(", "),
            Tone::Warn,
        ));
    }
    for dispute in &view.disputes {
        let reason = dispute
            .reason
            .as_deref()
            .map_or_else(String::new, |reason| format!(", {}", spoken(reason)));
        let until = dispute
            .respond_by
            .filter(|_| dispute.closed_at.is_none())
            .map_or_else(String::new, |by| format!(", evidence until {}", time(by)));
        steps.push((
            dispute.opened_at,
            format!("{} opened", spoken(&dispute.kind)),
            format!("{}{reason}{until}", amount(dispute.amount_minor)),
            Tone::Bad,
        ));
        if let (Some(at), Some(outcome)) = (dispute.closed_at, &dispute.outcome) {
            steps.push((
                at,
                format!(
                    "{} ended: {}",
                    spoken(&dispute.kind),
                    spoken(outcome).to_lowercase()
                ),
                String::new(),
                words::dispute(&dispute.status, Some(outcome)).tone,
            ));
        }
    }
    if steps.is_empty() {
        return vec![Step {
            at: NONE.to_owned(),
            what: "A draft".to_owned(),
            note: "Nothing has happened to it yet.".to_owned(),
            tone: Tone::Plain,
        }];
    }
    steps.sort_by_key(|step| std::cmp::Reverse(step.0));
    steps
        .into_iter()
        .map(|(at, what, note, tone)| Step {
            at: time(at),
            what,
            note,
            tone,
        })
        .collect()
}

/// What may be done to it, as it stands.
fn actions(view: &InvoiceView) -> Vec<Block> {
    let to = |what: &str| format!("{HERE}/{}/{what}", view.id);
    if view.status == "draft" {
        let issue = Form::new("issue", "Issue", to("issue"), "Issue the invoice")
            .intro("It gets its number and is collected as its terms say.");
        let discard = Form::new("discard", "Discard the draft", to("discard"), "Discard")
            .intro("It is gone, and its time is free to be invoiced.")
            .field(Field::reason())
            .danger();
        return vec![
            Block::Form(issue),
            Block::Danger("Danger zone".to_owned(), String::new(), vec![discard]),
        ];
    }
    let open = typed(view.open_minor, &view.currency);
    let mut forms = Vec::new();
    if view.open_minor > 0 {
        forms.push(
            Form::new("pay", "Record a payment from elsewhere", to("external-payments"), "Record the payment")
                .intro("Money that came by transfer, cheque or cash. What is more than is open becomes the client's credit.")
                .field(Field::line("amount", format!("Amount in {}", view.currency.to_uppercase())).value(open).required())
                .field(Field::line("reference", "Reference").hint("Names the money in your books; the same again is recorded once.").required())
                .field(Field::typed("received_on", "Received on", "date").hint("Today unless told.")),
        );
        forms.push(
            Form::new(
                "credit",
                "Pay with the client's credit",
                to("credit"),
                "Use credit",
            )
            .intro("As much as fits."),
        );
    }
    if view.paid_minor > view.refunded_minor {
        forms.push(
            Form::new("refund", "Give money back", to("refunds"), "Order the refund")
                .intro("A refund to the card is asked of Stripe; to credit it is at once.")
                .field(
                    Field::line("amount", format!("Amount in {}", view.currency.to_uppercase())).required(),
                )
                .field(Field::choice(
                    "to",
                    "To",
                    &[
                        ("card", "The card it came from"),
                        ("credit", "The client's credit"),
                    ],
                    None,
                ))
                .field(Field::reason()),
        );
    }
    let mut danger = Vec::new();
    if view.open_minor > 0 && !view.being_voided {
        danger.push(
            Form::new("void", "Void the invoice", to("void"), "Void")
                .intro("Takes it back. A charge under way is given up first; if money comes first, it stays.")
                .field(Field::reason())
                .danger(),
        );
        danger.push(
            Form::new(
                "write-off",
                "Write off what is open",
                to("write-off"),
                "Write off",
            )
            .intro("Gives up what is open; the books show a loss.")
            .field(Field::reason())
            .danger(),
        );
    }
    let mut blocks = Vec::new();
    if !forms.is_empty() {
        blocks.push(Block::Actions("Do something".to_owned(), forms));
    }
    if !danger.is_empty() {
        blocks.push(Block::Danger(
            "Danger zone".to_owned(),
            "What is here cannot be taken back.".to_owned(),
            danger,
        ));
    }
    blocks
}
