//! Carries out what a plan holds: by command, by import, at the simulator. What came of it is told to the model.
//!
//! Who is meant where a plan only has a number: of all that are fit for it on that day, in an order that does not depend on ids.

use serde_json::{Value, json};
use tests::world::World;

use super::{
    expected::Expected,
    plan::{Act, Entry, FIRMS, Firm, Plan, Terms, eve},
};

/// The reason for everything.
const REASON: [&str; 2] = ["--reason", "the plan says so"];

/// Invoices that something may be done to; columns `id`, `firm`, `engagement`, `starts`, `open`, `paid`, `left`, `intent`, `number`.
/// `left` is what of card payments was neither given back nor disputed.
const INVOICES: &str = "
    select x.* from (
      select i.id::text, i.number, f.external_id as firm, c.external_id as client, e.external_id as engagement, i.doc_state,
             coalesce(b.period_start::text, '') as starts, s.open_minor as open, s.paid_minor as paid, s.autopay_state as collection,
             i.issue_date, i.total_minor, y.stripe_payment_intent_id as intent, i.rebills_dispute_id,
             (select coalesce(sum(p.amount_minor), 0) from payments p where p.invoice_id = i.id and p.method = 'stripe')
             - (select coalesce(sum(r.amount_minor), 0) from refunds r join payments p on p.id = r.payment_id
                 where p.invoice_id = i.id and r.state not in ('failed', 'canceled'))
             - (select coalesce(sum(k.amount_minor), 0) from credit_lots k join payments p on p.id = k.payment_id
                 where p.invoice_id = i.id) as left,
             exists (select from disputes d join payments p on p.id = d.payment_id where p.invoice_id = i.id) as disputed,
             exists (select from refunds r join payments p on p.id = r.payment_id
                      where p.invoice_id = i.id and r.state not in ('failed', 'canceled')) as refunded,
             (select count(*) from payments p where p.invoice_id = i.id) as payments
        from invoices i join invoice_status s on s.id = i.id join firms f on f.id = i.firm_id join clients c on c.id = i.client_id
        left join engagements e on e.id = i.engagement_id
        left join billing_periods b on b.invoice_id = i.id
        left join collection_cycles y on y.id = s.cycle_id) x";

/// Nobody can say how a charge that is under way ends.
const AT_REST: &str = "x.doc_state = 'issued' and x.collection not in ('in_flight', 'unknown')";

/// A year that is being lived through.
pub struct Driver<'a> {
    pub world: &'a World,
    pub expected: Expected,
}

impl Driver<'_> {
    /// Firms, people, clients with a card each, and the terms of the beginning.
    pub async fn set_up(&self, plan: &Plan) {
        let clients = plan.terms.iter().map(|terms| (terms.client, terms.firm));
        let clients: std::collections::BTreeMap<usize, usize> = clients.collect();
        for client in clients.keys() {
            let (customer, card) = (customer(*client), format!("pm_{client:02}"));
            self.world
                .sim
                .customer_with_card(&customer, &card, &[])
                .await
                .unwrap();
        }
        let people = ["ann", "bob"];
        let document = json!({
            "firms": FIRMS.iter().map(|firm| json!({
                "external_id": firm.name, "name": firm.name, "timezone": firm.zone, "currency": firm.currency,
            })).collect::<Value>(),
            "users": FIRMS.iter().flat_map(|firm| people.map(|who| json!({
                "external_id": format!("{who}-{}", firm.name), "firm": firm.name, "name": who, "role": "admin",
            }))).collect::<Value>(),
            "clients": clients.iter().map(|(client, firm)| json!({
                "external_id": format!("c{client:02}"), "firm": FIRMS[*firm].name, "name": format!("Client {client}"),
                "stripe_customer_id": customer(*client),
                "payment_methods": [{ "stripe_payment_method_id": format!("pm_{client:02}") }],
                "autopay": if pays_by_transfer(*client) { json!({ "enabled": false }) } else {
                    json!({ "enabled": true, "payment_method": format!("pm_{client:02}") })
                },
            })).collect::<Value>(),
            "engagements": plan.terms.iter().map(engagement).collect::<Value>(),
        });
        self.world.import(&document).await;
    }

    /// One act.
    pub async fn carry_out(&mut self, day: u32, act: &Act) {
        match act {
            Act::Import(entries) => self.import(entries).await,
            Act::Work(entry) => self.work(entry).await,
            Act::Approve(entry) => {
                self.command(&["time", "approve", entry, "--by", "ann"]).await;
                self.expected.approve(entry);
            }
            Act::Invoice { engagement } => {
                if self.expected.invoice(engagement) {
                    self.command(&["invoice", "create", "--engagement", engagement, "--issue"])
                        .await;
                }
            }
            Act::Renew { old, terms } => self.renew(old, terms).await,
            Act::Sign(engagement) => {
                self.command(&["engagement", "sign", engagement]).await;
                self.expected.sign(engagement);
            }
            Act::End { engagement, on } => {
                let end = ["engagement", "end", engagement, "--on", &on.to_string()];
                self.command(&[&end[..], &REASON].concat()).await;
                self.expected.end(engagement, *on);
            }
            Act::CatchUp { firm } => {
                let run = [
                    "generate-package-invoices",
                    "--firm-id",
                    FIRMS[*firm].name,
                    "--catch-up",
                ];
                self.command(&run).await;
                self.expected.catch_up(*firm, day);
            }
            Act::Script { .. }
            | Act::SlowRefunds { .. }
            | Act::NewCard(_)
            | Act::PayByHand(_)
            | Act::EndProcessing { .. }
            | Act::Autopay { .. }
            | Act::Webhooks { .. } => self.by_the_client(day, act).await,
            Act::Refund { .. }
            | Act::MoveRefund { .. }
            | Act::Void { .. }
            | Act::WriteOff(_)
            | Act::PayExternal { .. }
            | Act::Credit { .. } => self.of_the_firm(day, act).await,
            Act::Dispute { .. } | Act::MoveDispute { .. } | Act::Resolve { .. } => {
                self.by_the_bank(act).await
            }
        }
    }

    async fn import(&mut self, entries: &[Entry]) {
        let rows = entries.iter().map(|entry| {
            let mut row = json!({
                "external_id": entry.name, "engagement": entry.engagement, "worker": "carol",
                "worked_on": entry.worked_on, "minutes": entry.minutes, "state": entry.state,
            });
            if entry.state == "approved" {
                row["approved_by"] = "bob".into();
            }
            row
        });
        self.world
            .import(&json!({ "time_entries": rows.collect::<Value>() }))
            .await;
        for entry in entries {
            self.expected.work(entry);
        }
    }

    async fn work(&mut self, entry: &Entry) {
        let (on, minutes) = (entry.worked_on.to_string(), entry.minutes.to_string());
        let what = [
            "--engagement",
            &entry.engagement,
            "--worker",
            "carol",
            "--worked-on",
            &on,
        ];
        let add = [
            &["time", "add"][..],
            &what,
            &["--minutes", &minutes, "--external-id", &entry.name],
        ]
        .concat();
        self.command(&add).await;
        self.command(&["time", "submit", &entry.name, "--by", "carol"])
            .await;
        self.command(&["time", "approve", &entry.name, "--by", "bob"])
            .await;
        self.expected.work(entry);
    }

    async fn renew(&mut self, old: &str, terms: &Terms) {
        let ends_on = terms.ends_on.unwrap().to_string();
        let fee = decimal(terms.fee, &FIRMS[terms.firm]);
        let mut renew = vec![
            "engagement",
            "renew",
            old,
            "--ends-on",
            &ends_on,
            "--external-id",
            &terms.name,
        ];
        if terms.mode != super::plan::Mode::Hourly {
            renew.extend(["--package-fee", &fee]);
            renew.extend(["--proration", if terms.daily { "daily" } else { "full_fee" }]);
        }
        self.command(&renew).await;
        self.expected.renew(old, terms);
    }

    async fn by_the_client(&self, day: u32, act: &Act) {
        let sim = &self.world.sim;
        match act {
            Act::Script { client, script } => {
                let script = json!({ "customer": customer(*client), "script": script });
                sim.post("/cards", script).await.unwrap();
            }
            Act::SlowRefunds { client, outcome } => {
                let slow = json!({ "payment_method": format!("pm_{client:02}"), "refunds": outcome });
                sim.post("/cards", slow).await.unwrap();
            }
            Act::NewCard(pick) => {
                let waiting = "select distinct c.external_id from clients c join invoices i on i.client_id = c.id
                                 join collection_cycles y on y.invoice_id = i.id where y.state = 'method_required' order by 1";
                let Some(client) = picked(&self.world.texts(waiting).await, *pick).cloned() else {
                    return;
                };
                let card = format!("pm_{client}_{day}");
                let customer = format!("cus_{}", &client[1..]);
                sim.post("/cards", json!({ "customer": customer, "script": [] }))
                    .await
                    .unwrap();
                sim.customer_with_card(&customer, &card, &[]).await.unwrap();
                self.command(&["client", "payment-method", "add", &client, &card])
                    .await;
                self.command(&["client", "autopay", "on", &client, "--payment-method", &card])
                    .await;
            }
            Act::PayByHand(pick) => {
                let fit = "x.doc_state = 'issued' and x.open > 0 and x.intent is not null
                           and x.collection in ('retry_wait', 'method_required', 'action_required')";
                let Some(invoice) = self.pick(fit, *pick).await else {
                    return;
                };
                let path = format!("/payment_intents/{}/pay", text(&invoice, "intent"));
                sim.post(&path, json!({ "outcome": "succeed" })).await.unwrap();
            }
            Act::EndProcessing { pick, outcome } => {
                let processing = "select y.stripe_payment_intent_id from payment_attempts a join collection_cycles y on y.id = a.cycle_id
                                    join invoices i on i.id = y.invoice_id join clients c on c.id = i.client_id
                                   where a.state = 'processing' order by c.external_id, i.total_minor";
                let Some(intent) = picked(&self.world.texts(processing).await, *pick).cloned() else {
                    return;
                };
                let path = format!("/payment_intents/{intent}/settle");
                sim.post(&path, json!({ "outcome": outcome })).await.unwrap();
            }
            Act::Autopay { client, on } => {
                let name = format!("c{client:02}");
                let good = format!(
                    "select m.stripe_payment_method_id from payment_methods m join clients c on c.id = m.client_id
                      where c.external_id = '{name}' and m.status = 'active' order by 1 desc"
                );
                let cards = self.world.texts(&good).await;
                let switch = match (on, cards.first()) {
                    (true, Some(card)) => vec!["on", &name, "--payment-method", card],
                    (true, None) => return,
                    (false, _) => vec!["off", &name],
                };
                self.command(&[&["client", "autopay"], &switch[..], &REASON].concat())
                    .await;
            }
            Act::Webhooks {
                duplicate,
                double,
                shuffle,
            } => {
                let setting =
                    json!({ "duplicate": duplicate, "double": double, "shuffle": shuffle, "seed": day });
                sim.webhooks(setting).await.unwrap();
            }
            other => panic!("{other:?} is nothing that a client does"),
        }
    }

    async fn of_the_firm(&mut self, day: u32, act: &Act) {
        match act {
            Act::Refund { pick, to, tenths } => {
                let fit = "x.doc_state in ('issued', 'written_off') and x.left > 0 and not x.disputed";
                let Some(invoice) = self.pick(fit, *pick).await else {
                    return;
                };
                let amount = part(&invoice, "left", *tenths);
                let refund = [
                    "invoice",
                    "refund",
                    text(&invoice, "id"),
                    "--amount",
                    &amount,
                    "--to",
                    to,
                    "--no-wait",
                ];
                self.command(&[&refund[..], &REASON].concat()).await;
            }
            Act::MoveRefund { pick, status } => {
                let pending = "select r.stripe_refund_id from refunds r join payments p on p.id = r.payment_id
                                 join invoices i on i.id = p.invoice_id join clients c on c.id = i.client_id
                                where r.state = 'pending' order by c.external_id, i.issue_date, r.created_at, r.amount_minor";
                let Some(refund) = picked(&self.world.texts(pending).await, *pick).cloned() else {
                    return;
                };
                let path = format!("/refunds/{refund}");
                self.world
                    .sim
                    .post(&path, json!({ "status": status }))
                    .await
                    .unwrap();
            }
            Act::Void { pick, reissue } => self.void(*pick, *reissue).await,
            Act::WriteOff(pick) => {
                let fit = format!("{AT_REST} and x.open > 0 and not x.disputed");
                let Some(invoice) = self.pick(&fit, *pick).await else {
                    return;
                };
                let write_off = ["invoice", "write-off", text(&invoice, "id"), "--no-wait"];
                self.command(&[&write_off[..], &REASON].concat()).await;
            }
            Act::PayExternal { pick, tenths } => {
                let fit = format!("{AT_REST} and x.open > 0");
                let Some(invoice) = self.pick(&fit, *pick).await else {
                    return;
                };
                let (amount, reference) = (part(&invoice, "open", *tenths), format!("transfer of day {day}"));
                let pay = [
                    "invoice",
                    "pay-external",
                    text(&invoice, "id"),
                    "--amount",
                    &amount,
                ];
                self.command(&[&pay[..], &["--reference", &reference]].concat())
                    .await;
            }
            Act::Credit {
                client,
                units,
                source,
                expires_on,
            } => {
                let firm = &FIRMS[client % FIRMS.len()];
                let (client, amount) = (format!("c{client:02}"), decimal(units * 100, firm));
                let expires = expires_on.map(|day| day.to_string());
                let mut issue = vec![
                    "credit", "issue", &client, "--amount", &amount, "--source", source,
                ];
                issue.extend(["--by", "ann", "--approved-by", "bob"]);
                issue.extend(expires.iter().flat_map(|day| ["--expires-on", day.as_str()]));
                issue.extend(REASON);
                self.command(&issue).await;
            }
            other => panic!("{other:?} is nothing that a firm does to an invoice"),
        }
    }

    async fn void(&mut self, pick: u64, reissue: bool) {
        let fit = format!("{AT_REST} and x.payments = 0 and x.starts <> '' and x.rebills_dispute_id is null");
        let Some(invoice) = self.pick(&fit, pick).await else {
            return;
        };
        let id = text(&invoice, "id");
        self.command(&[&["invoice", "void", id][..], &REASON].concat())
            .await;
        let (engagement, start) = (
            text(&invoice, "engagement"),
            text(&invoice, "starts").parse().unwrap(),
        );
        self.expected.voided(engagement, start);
        if reissue {
            self.command(&[&["invoice", "reissue", id][..], &REASON].concat())
                .await;
            self.expected.reissued(engagement, start);
        }
    }

    async fn by_the_bank(&mut self, act: &Act) {
        const DISPUTES: &str = "
            select d.stripe_dispute_id || ' ' || d.stripe_status from disputes d join payments p on p.id = d.payment_id
              join invoices i on i.id = p.invoice_id join clients c on c.id = i.client_id";
        const ORDER: &str = "order by c.external_id, i.issue_date, d.opened_at, d.amount_minor";
        match act {
            Act::Dispute {
                pick,
                kind,
                reason,
                tenths,
            } => {
                let fit = "x.left > 0 and not x.disputed and not x.refunded and x.payments = 1 and x.intent is not null";
                let Some(invoice) = self.pick(fit, *pick).await else {
                    return;
                };
                let amount = (invoice["left"].as_i64().unwrap() * tenths / 10).max(1);
                let dispute = json!({
                    "payment_intent": invoice["intent"], "kind": kind, "reason": reason, "amount": amount,
                });
                self.world.sim.post("/disputes", dispute).await.unwrap();
            }
            Act::MoveDispute { pick, action } => {
                let open = format!("{DISPUTES} where d.outcome is null {ORDER}");
                let rows = self.world.texts(&open).await;
                let Some((id, status)) = picked(&rows, *pick).and_then(|row| row.split_once(' ')) else {
                    return;
                };
                let order = json!({ "action": possible(status, action) });
                self.world
                    .sim
                    .post(&format!("/disputes/{id}"), order)
                    .await
                    .unwrap();
            }
            Act::Resolve { pick, choice } => {
                let undecided = format!(
                    "{DISPUTES} where d.outcome = 'lost'
                       and not exists (select from dispute_resolutions r where r.dispute_id = d.id) {ORDER}"
                );
                let rows = self.world.texts(&undecided).await;
                let Some((id, _)) = picked(&rows, *pick).and_then(|row| row.split_once(' ')) else {
                    return;
                };
                let resolve = [&["dispute", "resolve", id, choice][..], &REASON].concat();
                let resolved = self.command(&resolve).await;
                self.expected.by_hand += i64::from(resolved["invoice"].is_string());
            }
            other => panic!("{other:?} is nothing that a bank does"),
        }
    }

    /// A command that must do what it is told.
    async fn command(&self, args: &[&str]) -> Value {
        self.world.json(args).await
    }

    /// One of the invoices that are fit.
    async fn pick(&self, fit: &str, pick: u64) -> Option<Value> {
        let sql = format!(
            "select to_jsonb(x)::text from ({INVOICES}) x where {fit}
              order by x.client, x.engagement, x.starts, x.issue_date, x.total_minor, x.open"
        );
        let rows = self.world.texts(&sql).await;
        picked(&rows, pick).map(|row| serde_json::from_str(row).unwrap())
    }
}

fn picked<T>(rows: &[T], pick: u64) -> Option<&T> {
    let place = pick.checked_rem(rows.len() as u64)?;
    rows.get(usize::try_from(place).ok()?)
}

/// What a bank can do about a dispute that stands there, nearest to what the plan says.
fn possible<'a>(status: &str, action: &'a str) -> &'a str {
    let inquiry = status.starts_with("warning_");
    match action {
        "under_review" if status.ends_with("needs_response") => "under_review",
        "escalate" | "lose" if inquiry => "escalate",
        _ if inquiry => "close_inquiry",
        "win" | "withdraw" => action,
        _ => "lose",
    }
}

/// In the beginning, a few do; or they do not pay at all.
fn pays_by_transfer(client: usize) -> bool {
    client % 13 == 12
}

fn customer(client: usize) -> String {
    format!("cus_{client:02}")
}

fn text<'a>(row: &'a Value, column: &str) -> &'a str {
    row[column].as_str().unwrap_or_default()
}

/// So many tenths of a column, in the firm's currency, as a command takes it.
fn part(row: &Value, column: &str, tenths: i64) -> String {
    let firm = FIRMS.iter().find(|firm| row["firm"] == firm.name).unwrap();
    decimal((row[column].as_i64().unwrap() * tenths / 10).max(1), firm)
}

/// Minor units as an amount.
fn decimal(minor: i64, firm: &Firm) -> String {
    let one = 10_i64.pow(firm.digits);
    match firm.digits {
        0 => minor.to_string(),
        _ => format!("{}.{:02}", minor / one, minor % one),
    }
}

/// Terms as a document has them.
fn engagement(terms: &Terms) -> Value {
    let firm = &FIRMS[terms.firm];
    let mut row = json!({
        "external_id": terms.name, "client": format!("c{:02}", terms.client), "currency": firm.currency,
        "pricing_mode": format!("{:?}", terms.mode).to_lowercase(), "starts_on": terms.starts_on, "signed": true,
        "period_anchor": if terms.anniversary { "anniversary" } else { "calendar" },
    });
    if let Some(ends_on) = first_end(terms) {
        row["ends_on"] = json!(ends_on);
    }
    if terms.mode != super::plan::Mode::Package {
        row["hourly_rate"] = decimal(terms.rate, firm).into();
    }
    match (terms.mode, terms.cadence) {
        (super::plan::Mode::Hourly, Some(cadence)) => row["hourly_schedule"] = cadence.into(),
        (super::plan::Mode::Hourly, None) => {}
        (_, cadence) => {
            row["package_fee"] = decimal(terms.fee, firm).into();
            row["package_fee_schedule"] = json!(cadence);
            row["proration"] = if terms.daily { "daily" } else { "full_fee" }.into();
        }
    }
    row
}

/// The end that was agreed in the beginning.
fn first_end(terms: &Terms) -> Option<chrono::NaiveDate> {
    terms.ends_on.filter(|end| *end > eve())
}
