//! Compares what Stripe has with what we have, and our tables with each other. Reads only, at Stripe and in the database.
//!
//! All firms share one account at Stripe, so its lists are read once, page by page; each page is taken apart by firm, and each
//! firm's part is compared in a transaction of its own that can change nothing ([`theirs`]). Then what each firm has recorded,
//! page by page, and what was not seen at Stripe is asked for by its id ([`ours`]). Then our tables ([`internal`]) and the
//! deliveries ([`deliveries`]). What a finding may be repaired by is in [`repair`].
//!
//! Memory: one page, the findings (a thousand per firm at most), and eight bytes for each object seen.
mod deliveries;
mod internal;
mod ours;
pub mod repair;
mod seen;
pub mod tell;
mod theirs;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use shared::{
    domain::reconcile::{Finding, Kind, Layer, Side},
    ids::FirmId,
    store::{self, Db},
};
use uuid::Uuid;

use self::seen::Seen;
use crate::{
    queue::JobError,
    stripe::{self, Client},
};

/// How far back a run looks unless told: as long as Stripe keeps its events.
pub const LOOK_BACK: TimeDelta = TimeDelta::days(30);
/// How far back it looks at most for the sake of what is open: a quarter of everything is a fair price for one look, and what is
/// older is looked at by itself.
const LONGEST: TimeDelta = TimeDelta::days(90);
/// Older differences that are looked at by themselves, five calls each; with more, none that a run does not find is settled.
const MOST_OLDER: usize = 1000;
/// What is younger may still be on its way to us.
pub const SETTLING: TimeDelta = TimeDelta::minutes(5);
/// Findings kept of one firm: enough to see what is wrong, and no flood when the key is of another account.
const MOST_FINDINGS: usize = 1000;
/// Rows of ours read at a time.
const PAGE: i64 = 500;

/// Why a comparison could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Stripe.
    #[error(transparent)]
    Stripe(#[from] stripe::Error),
    /// An object of Stripe's says something that we cannot read.
    #[error("{0}")]
    Unreadable(String),
    /// Too much for one run.
    #[error("there are more than {} objects to compare: look back less far", seen::MOST)]
    TooMuch,
}

impl From<sqlx::Error> for Error {
    fn from(fault: sqlx::Error) -> Self {
        Self::Store(fault.into())
    }
}

impl From<Error> for JobError {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(fault) => fault.into(),
            Error::Stripe(fault) => fault.into(),
            Error::Unreadable(message) => JobError::fail(message),
            Error::TooMuch => JobError::fail(error.to_string()),
        }
    }
}

/// Objects made at Stripe in this time are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// From then on.
    pub since: DateTime<Utc>,
    /// Before then.
    pub until: DateTime<Utc>,
}

/// When the objects of open findings were made, by firm.
pub type Open = BTreeMap<FirmId, Vec<DateTime<Utc>>>;

impl Window {
    /// The usual window, and further back where an open finding is older, up to a limit.
    pub fn back_to(open: &Open, now: DateTime<Utc>) -> Self {
        let oldest = open.values().flatten().min();
        let usual = now - LOOK_BACK;
        Self {
            since: oldest.map_or(usual, |oldest| usual.min(*oldest).max(now - LONGEST)),
            until: now - SETTLING,
        }
    }

    /// The second that this moment lies in: Stripe counts no finer.
    fn second_of(at: DateTime<Utc>) -> Self {
        let since = at.trunc_subsecs(0);
        Self {
            since,
            until: since + TimeDelta::seconds(1),
        }
    }
}

/// What was found of one firm.
#[derive(Clone, Debug, Default)]
pub struct OfFirm {
    /// How many of Stripe's objects were this firm's.
    pub objects: u64,
    /// Every difference, once.
    pub findings: Vec<Finding>,
    /// Events of its that never came in, and whose news the comparison has seen otherwise.
    pub undelivered: u64,
    /// There were more.
    pub truncated: bool,
    ids: BTreeSet<Uuid>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// By firm.
    pub firms: BTreeMap<FirmId, OfFirm>,
    /// Of the account as a whole.
    pub account: Vec<Finding>,
    /// Objects at Stripe that belong to no firm that was asked for.
    pub not_ours: u64,
}

impl Survey {
    /// How many differences there are.
    pub fn count(&self) -> usize {
        let of_firms: usize = self.firms.values().map(|firm| firm.findings.len()).sum();
        of_firms + self.account.len()
    }
}

/// Compares everything of these firms, and what is older than the window where something of it is `open`.
///
/// # Errors
/// When the database or Stripe is away, or there is too much for one run.
pub async fn survey(
    db: &Db,
    stripe: &Client,
    firms: &[FirmId],
    window: Window,
    open: &Open,
) -> Result<Survey, Error> {
    let mut walk = Walk {
        db,
        stripe,
        window,
        survey: Survey::default(),
        seen: Seen::default(),
    };
    walk.survey.firms = firms.iter().map(|firm| (*firm, OfFirm::default())).collect();
    if walk.same_mode().await? {
        walk.read_lists().await?;
        for firm in firms {
            walk.open_cycles(*firm).await?;
            walk.recorded(*firm).await?;
        }
        walk.older(open).await?;
        walk.undelivered().await?;
        walk.endpoints().await?;
    }
    for firm in firms {
        walk.internal(*firm).await?;
    }
    for firm in walk.survey.firms.values_mut() {
        firm.findings.sort_by(|a, b| {
            (a.layer.as_str(), a.kind.as_str(), &a.subject).cmp(&(
                b.layer.as_str(),
                b.kind.as_str(),
                &b.subject,
            ))
        });
    }
    Ok(walk.survey)
}

/// A survey under way.
struct Walk<'a> {
    db: &'a Db,
    stripe: &'a Client,
    window: Window,
    survey: Survey,
    seen: Seen,
}

impl Walk<'_> {
    /// A key of the other mode sees another world: then nothing there is compared.
    async fn same_mode(&mut self) -> Result<bool, Error> {
        let ours = sqlx::query_scalar!("select livemode from installation")
            .fetch_one(self.db.pool())
            .await?;
        let theirs = self.stripe.mode().livemode();
        let same = ours.is_none_or(|ours| ours == theirs);
        if !same {
            let word = |livemode| if livemode { "live" } else { "test" };
            self.survey.account.push(Finding {
                kind: Kind::ModeMismatch,
                layer: Layer::Delivery,
                subject: "the key in STRIPE_SECRET_KEY".to_owned(),
                ours: ours.map(|ours| Side::of("database").state(word(ours))),
                stripe: Some(Side::of("key").state(word(theirs))),
                repair: None,
                object_at: None,
            });
        }
        Ok(same)
    }

    /// Looks again at what an earlier run found and the window does not reach: at the very second of each, as if that were the
    /// window.
    async fn older(&mut self, open: &Open) -> Result<(), Error> {
        let window = self.window;
        let mut seconds: BTreeMap<DateTime<Utc>, BTreeSet<FirmId>> = BTreeMap::new();
        for (firm, times) in open {
            for at in times.iter().map(|at| Window::second_of(*at).since) {
                if at < window.since {
                    seconds.entry(at).or_default().insert(*firm);
                }
            }
        }
        for (at, firms) in seconds.iter().take(MOST_OLDER) {
            self.window = Window::second_of(*at);
            self.read_lists().await?;
            for firm in firms {
                self.recorded(*firm).await?;
            }
        }
        self.window = window;
        for firm in seconds.values().skip(MOST_OLDER).flatten() {
            if let Some(of_firm) = self.survey.firms.get_mut(firm) {
                of_firm.truncated = true;
            }
        }
        Ok(())
    }

    /// Adds a finding, once, of a firm that was asked for.
    fn add(&mut self, firm: FirmId, finding: Finding) {
        let Some(of_firm) = self.survey.firms.get_mut(&firm) else {
            return;
        };
        if of_firm.findings.len() >= MOST_FINDINGS {
            of_firm.truncated = true;
        } else if of_firm.ids.insert(finding.id(firm)) {
            of_firm.findings.push(finding);
        }
    }

    fn add_all(&mut self, firm: FirmId, findings: Vec<Finding>) {
        for finding in findings {
            self.add(firm, finding);
        }
    }

    fn is_full(&self, firm: FirmId) -> bool {
        self.survey
            .firms
            .get(&firm)
            .is_none_or(|of_firm| of_firm.truncated)
    }
}
