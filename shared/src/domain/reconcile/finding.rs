//! A difference between two sides, its id, and the plan that several of them make.
use chrono::{DateTime, Utc};
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{domain::words::word_enum, ids::FirmId, money::Money};

word_enum!(
    /// What kind of difference it is.
    Kind, "finding kind":
    /// It happened at Stripe, and we have not recorded it.
    MissingHere = "missing_here",
    /// We recorded something that Stripe does not know.
    MissingThere = "missing_there",
    /// Both know it, with different amounts.
    AmountMismatch = "amount_mismatch",
    /// Both know it, in different currencies.
    CurrencyMismatch = "currency_mismatch",
    /// Both know it, and one is further than the other.
    StateMismatch = "state_mismatch",
    /// Money of a client of ours that belongs to no invoice.
    OrphanCharge = "orphan_charge",
    /// A second PaymentIntent collected an invoice that one has collected already.
    DuplicateCapture = "duplicate_capture",
    /// A refund that was made at Stripe and not recorded here.
    RefundOutside = "refund_outside",
    /// A dispute that nobody told us of.
    DisputeOutside = "dispute_outside",
    /// What Stripe kept is not what we booked.
    FeeMismatch = "fee_mismatch",
    /// Nobody knows how a charge ended, for too long.
    StaleUnknown = "stale_unknown",
    /// The ledger is not what the facts ask for.
    LedgerImbalance = "ledger_imbalance",
    /// A period that should have been billed by now.
    UnbilledPeriod = "unbilled_period",
    /// Time that a void invoice still holds.
    UnreleasedTime = "unreleased_time",
    /// An object of the other Stripe mode.
    ModeMismatch = "mode_mismatch",
    /// A job, a cycle or an event that stands still and should not.
    StuckWork = "stuck_work",
    /// An event that Stripe could not deliver and that we do not have.
    EventMissing = "event_missing",
    /// The webhook endpoints do not bring us what we need.
    EndpointUnfit = "endpoint_unfit",
);

word_enum!(
    /// What was compared with what.
    Layer, "layer":
    /// Our open collections with their PaymentIntents.
    Cycles = "L1",
    /// Charges, refunds and disputes, both ways.
    Stripe = "L2",
    /// Balance transactions with fees and movements of disputes.
    Balance = "L3",
    /// Our own tables with each other.
    Internal = "L4",
    /// Deliveries.
    Delivery = "L5",
);

word_enum!(
    /// What a repair shows to the reducers once more.
    Action, "repair":
    /// The PaymentIntent, to its collection cycle.
    ApplyIntent = "apply_payment_intent",
    /// The charge with its refunds.
    ApplyCharge = "apply_charge",
    /// The dispute with its movements.
    ApplyDispute = "apply_dispute",
    /// The outcome of the attempt that is open in a cycle.
    LookUp = "look_up_attempt",
);

impl Kind {
    /// What a person should do about it, where no repair does.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::MissingHere => "find out why it cannot be recorded: `quittance events list --state parked`",
            Self::MissingThere => {
                "look it up in Stripe's dashboard, in this account and this mode; correct by a new fact"
            }
            Self::AmountMismatch | Self::CurrencyMismatch => {
                "find out which side is right; ours is corrected by a new fact, never by a change"
            }
            Self::StateMismatch => {
                "look at both sides: neither may be rewritten, and the reducers refuse to go back"
            }
            Self::OrphanCharge => {
                "ask the client what it was for: refund it at Stripe, or record it with `quittance invoice pay-external` and the charge's id as reference"
            }
            Self::DuplicateCapture => "refund the second charge in Stripe's dashboard",
            Self::RefundOutside | Self::DisputeOutside => {
                "its payment is not recorded here: look at that first"
            }
            Self::FeeMismatch => "compare with Stripe's balance report",
            Self::StaleUnknown => {
                "`quittance invoice show` tells which call; Stripe's request log tells how it ended"
            }
            Self::LedgerImbalance => {
                "`quittance ledger check` names the journals; somebody changed rows by hand"
            }
            Self::UnbilledPeriod => "`quittance generate-package-invoices --dry-run`, then without --dry-run",
            Self::UnreleasedTime => "`quittance time show` names the invoice; a void did not finish",
            Self::ModeMismatch => "one database belongs to one mode: check the keys of every program",
            Self::StuckWork => {
                "`quittance jobs list --state discarded`, `quittance events list --state parked`, `quittance doctor`"
            }
            Self::EventMissing => "`quittance events backfill` brings it in",
            Self::EndpointUnfit => {
                "correct the endpoint in Stripe's dashboard; `quittance doctor` says what is needed"
            }
        }
    }
}

/// One side of a difference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Which row, or which object of Stripe's.
    pub id: String,
    /// In minor units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount_minor: Option<i64>,
    /// Lower-case code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Its status there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

impl Side {
    /// Of this id, and nothing else known.
    #[must_use]
    pub fn of(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            ..Self::default()
        }
    }

    /// With money.
    #[must_use]
    pub fn minor(self, amount_minor: i64, currency: &str) -> Self {
        Self {
            amount_minor: Some(amount_minor),
            currency: Some(currency.to_owned()),
            ..self
        }
    }

    /// With money.
    #[must_use]
    pub fn money(self, amount: Money) -> Self {
        self.minor(amount.minor(), amount.currency().as_str())
    }

    /// With a status.
    #[must_use]
    pub fn state(self, state: impl Into<String>) -> Self {
        Self {
            state: Some(state.into()),
            ..self
        }
    }
}

/// What can be shown to the reducers once more: facts are added, and nothing is rewritten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repair {
    /// What kind of object.
    pub action: Action,
    /// Which: Stripe's id, or our cycle.
    pub target: String,
}

/// A difference, with what both sides say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind.
    pub kind: Kind,
    /// What was compared.
    pub layer: Layer,
    /// What it is about, for people: `invoice PKG-0001-000001`.
    pub subject: String,
    /// What we have; nothing where we have nothing.
    pub ours: Option<Side>,
    /// What Stripe has, or what should be there; nothing where there is nothing.
    pub stripe: Option<Side>,
    /// What `--repair` would do about it.
    pub repair: Option<Repair>,
    /// When the object was made at Stripe: until it is settled, every run looks back as far.
    #[serde(skip)]
    pub object_at: Option<DateTime<Utc>>,
}

impl Finding {
    /// The same difference of the same firm has the same id, run after run; it is another one as soon as either side moves.
    #[must_use]
    pub fn id(&self, firm: FirmId) -> Uuid {
        id_of(firm, self)
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self.repair {
            Some(_) => "`--repair` reads it at Stripe again and records what it shows",
            None => self.kind.remedy(),
        }
    }
}

/// See [`Finding::id`].
#[must_use]
pub fn id_of(firm: FirmId, finding: &Finding) -> Uuid {
    let side = |side: &Option<Side>| {
        side.as_ref().map_or_else(
            || "-".to_owned(),
            |s| {
                let Side {
                    id,
                    amount_minor,
                    currency,
                    state,
                } = s;
                format!("{id}|{amount_minor:?}|{currency:?}|{state:?}")
            },
        )
    };
    let text = format!(
        "{firm}\n{}\n{}\n{}\n{}",
        finding.kind,
        finding.subject,
        side(&finding.ours),
        side(&finding.stripe)
    );
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(text)[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Identifies what a repair would do: SHA-256, in hex, over one line per finding that can be repaired, in sorted order. What
/// nobody can repair by command is not part of it.
#[must_use]
pub fn plan_hash<'a>(findings: impl IntoIterator<Item = (FirmId, &'a Finding)>) -> String {
    let mut lines: Vec<String> = findings
        .into_iter()
        .filter_map(|(firm, finding)| {
            let repair = finding.repair.as_ref()?;
            Some(format!(
                "{}|{}|{}\n",
                finding.id(firm),
                repair.action,
                repair.target
            ))
        })
        .collect();
    lines.sort_unstable();
    lines.dedup();
    hex::encode(Sha256::digest(lines.concat()))
}
