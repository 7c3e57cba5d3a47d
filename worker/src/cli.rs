//! The command line: one variant per command; its arguments live with the command.

use clap::{Parser, Subcommand};

use crate::{
    commands::{
        alert, audit, brakes, break_glass, charge, client, clock, credit, dispute, doctor, engagement,
        events, explain, generate, import, invoice, jobs, ledger, migrate, platform, queue, reconcile, time,
        user, worker,
    },
    output::{Exit, Failure, Format},
};

/// Quittance: invoices for packages of work, collected by card.
#[derive(Debug, Parser)]
#[command(
    name = "quittance",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 error, 2 usage, 3 findings, 4 refused by a guard, 5 partly failed, 75 try again.

Settings come from the environment: every command needs DATABASE_URL, those that ask Stripe STRIPE_SECRET_KEY too. `quittance worker --help`
lists what a worker reads."
)]
pub struct Cli {
    /// Write one JSON document to stdout instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// For whom the command writes.
    #[must_use]
    pub fn format(&self) -> Format {
        if self.json { Format::Json } else { Format::Human }
    }
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring the database to the schema of this build, and give logins their roles.
    Migrate(migrate::Args),
    /// Run the worker pool until SIGTERM; any number of them may run.
    #[command(
        after_help = worker::HELP
    )]
    Worker(worker::Args),
    /// Bring firms, clients, users, engagements, time and invoices in from a document.
    Import(import::Args),
    /// Issue the package invoices that are due, or show them (--dry-run).
    #[command(
        alias = "generate_package_invoices",
        after_help = "Examples:\n  quittance generate-package-invoices --dry-run\n  quittance generate-package-invoices --firm-id acme --as-of 2026-02-01"
    )]
    GeneratePackageInvoices(generate::Args),
    /// Charge every invoice whose next attempt is due, or show them (--dry-run).
    #[command(
        alias = "process_recurring_charges",
        after_help = "Examples:\n  quittance process-recurring-charges --dry-run\n  quittance process-recurring-charges --firm-id acme"
    )]
    ProcessRecurringCharges(charge::Args),
    /// Check every prerequisite and the usual reasons why nothing is charged, invoiced or delivered.
    #[command(after_help = "Examples:\n  quittance doctor\n  quittance doctor --json")]
    Doctor(doctor::Args),
    /// List invoices, show one, make one, end one, give back what was paid, or record what was paid by other means.
    Invoice(invoice::Args),
    /// Show, sign, renew or end the terms agreed with a client.
    Engagement(engagement::Args),
    /// Write time down, have it approved, or list it.
    Time(time::Args),
    /// Show a client, switch its automatic payment, or attach a card.
    Client(client::Args),
    /// Give credit, pay an invoice with it, or show what became of it.
    Credit(credit::Args),
    /// List disputes, show one, decide about a lost one, or collect what speaks for the charge.
    Dispute(dispute::Args),
    /// Check the books, or show journals and balances.
    Ledger(ledger::Args),
    /// Compare our books with Stripe's and with themselves; exit 3 when they differ.
    Reconcile(reconcile::Args),
    /// What happened, and whether that log is still the one that was written.
    Audit(audit::Args),
    /// Let somebody of the platform look into a firm, for a reason and a time, on the record.
    BreakGlass(break_glass::Args),
    /// What happened and why: verdict, chain of causes, every condition, what to do.
    #[command(after_help = "Examples:
  quittance explain PKG-0001-000042
  quittance explain ch_1 --json
  quittance explain globex
  quittance explain evt_1")]
    Explain(explain::ExplainArgs),
    /// Why something did not happen.
    WhyNot(explain::WhyNotArgs),
    /// The next charge of an invoice: when, how much, with which card.
    #[command(after_help = "Examples:\n  quittance next PKG-0001-000042")]
    Next(explain::NextArgs),
    /// Stop automatic charging, for everybody, a firm or a client.
    Pause(brakes::PauseArgs),
    /// Let automatic charging go on.
    Resume(brakes::ResumeArgs),
    /// List what a person should look at, mark it as read or over, or raise an alert.
    Alert(alert::Args),
    /// List the events that Stripe sent, show one, process some once more, or find those that never came.
    Events(events::Args),
    /// List jobs, show one, run some again, or give some up.
    Jobs(jobs::Args),
    /// What is in the queues; hold one back, or let it go on.
    Queue(queue::Args),
    /// Who may log in to the portal, and which other systems may use its API.
    User(user::Args),
    /// What a firm pays for the platform: tiers, its subscription, its invoices, its usage.
    Platform(platform::Args),
    /// Show or move the business clock (test mode only).
    Clock(clock::Args),
}

impl Command {
    /// Its name, for traces.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Command::Migrate(_) => "migrate",
            Command::Worker(_) => "worker",
            Command::Import(_) => "import",
            Command::GeneratePackageInvoices(_) => "generate-package-invoices",
            Command::ProcessRecurringCharges(_) => "process-recurring-charges",
            Command::Doctor(_) => "doctor",
            Command::Invoice(_) => "invoice",
            Command::Engagement(_) => "engagement",
            Command::Time(_) => "time",
            Command::Client(_) => "client",
            Command::Credit(_) => "credit",
            Command::Dispute(_) => "dispute",
            Command::Ledger(_) => "ledger",
            Command::Reconcile(_) => "reconcile",
            Command::Audit(_) => "audit",
            Command::BreakGlass(_) => "break-glass",
            Command::Explain(_) => "explain",
            Command::WhyNot(_) => "why-not",
            Command::Next(_) => "next",
            Command::Pause(_) => "pause",
            Command::Resume(_) => "resume",
            Command::Alert(_) => "alert",
            Command::Events(_) => "events",
            Command::Jobs(_) => "jobs",
            Command::Queue(_) => "queue",
            Command::User(_) => "user",
            Command::Platform(_) => "platform",
            Command::Clock(_) => "clock",
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// When the command fails; how it ends is in the failure.
    pub async fn run(self, format: Format) -> Result<Exit, Failure> {
        match self {
            Command::Migrate(args) => migrate::run(args, format).await,
            Command::Worker(args) => worker::run(args, format).await,
            Command::Import(args) => import::run(args, format).await,
            Command::GeneratePackageInvoices(args) => generate::run(args, format).await,
            Command::ProcessRecurringCharges(args) => charge::run(args, format).await,
            Command::Doctor(args) => doctor::run(args, format).await,
            Command::Invoice(args) => invoice::run(args, format).await,
            Command::Engagement(args) => engagement::run(args, format).await,
            Command::Time(args) => time::run(args, format).await,
            Command::Client(args) => client::run(args, format).await,
            Command::Credit(args) => credit::run(args, format).await,
            Command::Dispute(args) => dispute::run(args, format).await,
            Command::Ledger(args) => ledger::run(args, format).await,
            Command::Reconcile(args) => reconcile::run(args, format).await,
            Command::Audit(args) => audit::run(args, format).await,
            Command::BreakGlass(args) => break_glass::run(args, format).await,
            Command::Explain(args) => explain::explain(args, format).await,
            Command::WhyNot(args) => explain::why_not(args, format).await,
            Command::Next(args) => explain::next(args, format).await,
            Command::Pause(args) => brakes::pause(args, format).await,
            Command::Resume(args) => brakes::resume(args, format).await,
            Command::Alert(args) => alert::run(args, format).await,
            Command::Events(args) => events::run(args, format).await,
            Command::Jobs(args) => jobs::run(args, format).await,
            Command::Queue(args) => queue::run(args, format).await,
            Command::User(args) => user::run(args, format).await,
            Command::Platform(args) => platform::run(args, format).await,
            Command::Clock(args) => clock::run(args, format).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples_in_its_help() {
        fn check(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
                let path = format!("{path} {}", sub.get_name());
                if sub.has_subcommands() {
                    check(sub, &path);
                } else {
                    let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                    assert!(help.contains(path.trim()), "`{path}` has no example in its help");
                }
            }
        }
        check(&Cli::command(), "quittance");
    }
}
