//! The schedules. A new one is a line here; what is in the database follows at start.

use shared::store::jobs::Queue;

/// What happens to ticks that were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// Each fires, in order.
    Each,
    /// Only the newest fires; the older ones are recorded as superseded by it.
    Latest,
}

impl CatchUp {
    /// As in the `catch_up` column.
    pub fn as_str(self) -> &'static str {
        match self {
            CatchUp::Each => "each",
            CatchUp::Latest => "latest",
        }
    }
}

/// Which jobs a tick enqueues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// One per tick.
    Single {
        /// Which handler.
        kind: &'static str,
        /// Its lane.
        queue: Queue,
    },
    /// One per firm and local date, at the firm's first tick at or after two o'clock in the morning.
    FirmsByLocalDate {
        /// Which handler.
        kind: &'static str,
        /// Its lane.
        queue: Queue,
        /// What its order key begins with: jobs of one firm with the same one run one at a time.
        order: &'static str,
    },
}

/// One schedule.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Its name, for ever.
    pub name: &'static str,
    /// Five fields, UTC.
    pub cron: &'static str,
    /// What happens to missed ticks.
    pub catch_up: CatchUp,
    /// What a tick does.
    pub plan: Plan,
}

impl Schedule {
    /// The kind of job it enqueues.
    pub fn job_kind(&self) -> &'static str {
        match self.plan {
            Plan::Single { kind, .. } | Plan::FirmsByLocalDate { kind, .. } => kind,
        }
    }
}

/// Kind of the job that generates one firm's invoices.
const GENERATE: &str = "generate_package_invoices";

/// Kind of the job that writes off one firm's expired credit.
const EXPIRE: &str = "expire_credit";

/// Kind of the job that tells one firm what its last day came to.
const REPORT: &str = "report_day";

/// Kind of the job that finds what is to be charged.
const CHARGE: &str = "process_recurring_charges";

/// Kind of the job that compares our books with Stripe's.
const RECONCILE: &str = "reconcile";

/// All of them.
pub const ALL: [Schedule; 9] = [
    Schedule {
        name: GENERATE,
        cron: "0 * * * *",
        catch_up: CatchUp::Each,
        plan: Plan::FirmsByLocalDate {
            kind: GENERATE,
            queue: Queue::Invoices,
            order: "generate",
        },
    },
    Schedule {
        name: CHARGE,
        cron: "0 3 * * *",
        catch_up: CatchUp::Latest,
        plan: Plan::Single {
            kind: CHARGE,
            queue: Queue::Maintenance,
        },
    },
    // Finds what fell due between the nightly runs, and what a nightly run could not finish.
    Schedule {
        name: "sweep_due_charges",
        cron: "*/10 * * * *",
        catch_up: CatchUp::Latest,
        plan: Plan::Single {
            kind: CHARGE,
            queue: Queue::Maintenance,
        },
    },
    // One run finds whatever has expired by then, so the newest of the missed ones is enough.
    Schedule {
        name: EXPIRE,
        cron: "15 * * * *",
        catch_up: CatchUp::Latest,
        plan: Plan::FirmsByLocalDate {
            kind: EXPIRE,
            queue: Queue::Maintenance,
            order: EXPIRE,
        },
    },
    // About the day before, so each day that was missed is told of.
    Schedule {
        name: REPORT,
        cron: "45 * * * *",
        catch_up: CatchUp::Each,
        plan: Plan::FirmsByLocalDate {
            kind: REPORT,
            queue: Queue::Maintenance,
            order: REPORT,
        },
    },
    Schedule {
        name: "seal_audit",
        cron: "*/10 * * * *",
        catch_up: CatchUp::Latest,
        plan: Plan::Single {
            kind: "seal_audit",
            queue: Queue::Maintenance,
        },
    },
    // After the night's charges have been told, and before anybody is at work.
    Schedule {
        name: "backfill_events",
        cron: "20 4 * * *",
        catch_up: CatchUp::Latest,
        plan: Plan::Single {
            kind: "backfill_events",
            queue: Queue::Maintenance,
        },
    },
    // Once a day for all firms: Stripe's lists are those of the account, and are read once.
    Schedule {
        name: RECONCILE,
        cron: "30 4 * * *",
        catch_up: CatchUp::Latest,
        plan: Plan::Single {
            kind: RECONCILE,
            queue: Queue::Maintenance,
        },
    },
    Schedule {
        name: "prune",
        cron: "30 * * * *",
        catch_up: CatchUp::Latest,
        plan: Plan::Single {
            kind: "prune",
            queue: Queue::Maintenance,
        },
    },
];
