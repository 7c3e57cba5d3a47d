//! The life of a time entry: draft, submitted, approved or rejected; and who may move it on.
//!
//! "Invoiced" is no state but a fact: a live line of an invoice. While there is one, nothing about the entry changes; a void
//! releases it. The database refuses the same things; this is where a person is told why, and what to do.
use std::fmt;

use super::{people::Role, words::word_enum};
use crate::ids::ClientId;

word_enum!(
    /// Whether time may be invoiced.
    TimeState, "state":
    /// Being written.
    Draft = "draft",
    /// Waits for approval.
    Submitted = "submitted",
    /// May be invoiced.
    Approved = "approved",
    /// Will not be, unless it is edited.
    Rejected = "rejected",
);

/// What somebody wants to do to a time entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Change what was worked: it has to be approved anew.
    Edit,
    /// Hand it in.
    Submit,
    /// Say that it may be invoiced.
    Approve,
    /// Say that it may not.
    Reject,
    /// Have the client say that it may be invoiced.
    ClientApprove,
    /// Take it back to a draft.
    Reopen,
}

/// A time entry as a decision sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Where it stands.
    pub state: TimeState,
    /// The invoice that has it on a live line.
    pub invoice: Option<&'a str>,
    /// Whether the client has approved it.
    pub client_approved: bool,
}

/// Somebody who acts: a user of the firm, or a name that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person<'a> {
    /// what the books call them.
    pub name: &'a str,
    /// Their role, for a user of the firm.
    pub role: Option<Role>,
    /// The client that a portal user belongs to.
    pub client: Option<ClientId>,
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A live line has it.
    OnInvoice {
        /// Of this invoice.
        invoice: String,
    },
    /// It stands elsewhere.
    WrongState {
        /// Where it stands.
        state: TimeState,
        /// What was wanted.
        change: Change,
    },
    /// The client has said so before.
    ClientApprovedAlready,
    /// Approver and worker are one, and the firm does not allow that.
    SelfApproval,
    /// The role does not allow it.
    Role {
        /// Who.
        name: String,
        /// Their role.
        role: Role,
        /// What was wanted.
        change: Change,
    },
    /// A portal user of another client.
    OtherClient {
        /// Who.
        name: String,
    },
    /// There is no rate to freeze.
    NoRate,
}

/// Where a change leads, unless the entry does not allow it.
///
/// # Errors
/// With the reason why not.
pub fn after(entry: &Entry<'_>, change: Change) -> Result<TimeState, Refusal> {
    use TimeState::{Approved, Draft, Rejected, Submitted};
    if let Some(invoice) = entry.invoice {
        return Err(Refusal::OnInvoice {
            invoice: invoice.to_owned(),
        });
    }
    match (change, entry.state) {
        (Change::Edit, Draft | Submitted | Approved | Rejected)
        | (Change::Reopen, Submitted | Approved | Rejected) => Ok(Draft),
        (Change::Submit, Draft) => Ok(Submitted),
        (Change::Approve, Draft | Submitted) => Ok(Approved),
        (Change::Reject, Draft | Submitted) => Ok(Rejected),
        (Change::ClientApprove, Submitted | Approved) if entry.client_approved => {
            Err(Refusal::ClientApprovedAlready)
        }
        (Change::ClientApprove, state @ (Submitted | Approved)) => Ok(state),
        (Change::Reopen, Draft)
        | (Change::Submit | Change::Approve | Change::Reject, Approved | Rejected)
        | (Change::Submit, Submitted)
        | (Change::ClientApprove, Draft | Rejected) => Err(Refusal::WrongState {
            state: entry.state,
            change,
        }),
    }
}

/// Whether somebody may approve or reject time of `worker` for the firm.
///
/// # Errors
/// With the reason why not.
pub fn may_judge(
    by: &Person<'_>,
    worker: &str,
    change: Change,
    allow_self_approval: bool,
) -> Result<(), Refusal> {
    if let Some(role) = by.role.filter(|role| !role.may_approve_time()) {
        return Err(Refusal::Role {
            name: by.name.to_owned(),
            role,
            change,
        });
    }
    if change == Change::Approve && by.name == worker && !allow_self_approval {
        return Err(Refusal::SelfApproval);
    }
    Ok(())
}

/// Whether somebody may approve time for the client who pays for it.
///
/// # Errors
/// With the reason why not.
pub fn may_approve_for_client(by: &Person<'_>, client: ClientId) -> Result<(), Refusal> {
    match by.role {
        None => Ok(()),
        Some(Role::Client) if by.client == Some(client) => Ok(()),
        Some(Role::Client) => Err(Refusal::OtherClient {
            name: by.name.to_owned(),
        }),
        Some(role) => Err(Refusal::Role {
            name: by.name.to_owned(),
            role,
            change: Change::ClientApprove,
        }),
    }
}

impl Refusal {
    /// The word for scripts.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::OnInvoice { .. } => "on_invoice",
            Self::WrongState { .. } => "wrong_state",
            Self::ClientApprovedAlready => "client_approved_already",
            Self::SelfApproval => "self_approval",
            Self::Role { .. } => "role_not_allowed",
            Self::OtherClient { .. } => "other_client",
            Self::NoRate => "no_rate",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnInvoice { invoice } => write!(
                f,
                "the time is on invoice {invoice}: only a void of that invoice releases it"
            ),
            Self::WrongState { state, change } => write!(f, "the time is {state}: {}", change.takes()),
            Self::ClientApprovedAlready => f.write_str("the client has approved this time already"),
            Self::SelfApproval => {
                f.write_str("the firm lets nobody approve their own time: have somebody else approve it")
            }
            Self::Role { name, role, change } => write!(
                f,
                "{name} is a user with role {role}, which may not {}",
                change.verb()
            ),
            Self::OtherClient { name } => {
                write!(
                    f,
                    "{name} is a user of another client than the one who pays for this time"
                )
            }
            Self::NoRate => {
                f.write_str("the engagement has no hourly rate, so time on it cannot be approved")
            }
        }
    }
}

impl Change {
    const fn verb(self) -> &'static str {
        match self {
            Self::Edit => "edit time",
            Self::Submit => "submit time",
            Self::Approve => "approve time",
            Self::Reject => "reject time",
            Self::ClientApprove => "approve time for a client",
            Self::Reopen => "reopen time",
        }
    }

    /// What would be right instead.
    const fn takes(self) -> &'static str {
        match self {
            Self::Edit => "any time that is on no invoice can be edited",
            Self::Submit => "only a draft is submitted; edit or reopen it first",
            Self::Approve => "only a draft or submitted time is approved; edit or reopen it first",
            Self::Reject => "only a draft or submitted time is rejected; reopen it first",
            Self::ClientApprove => "a client approves time that is submitted or approved",
            Self::Reopen => "there is nothing to reopen",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHANGES: [Change; 6] = [
        Change::Edit,
        Change::Submit,
        Change::Approve,
        Change::Reject,
        Change::ClientApprove,
        Change::Reopen,
    ];

    fn entry(state: TimeState) -> Entry<'static> {
        Entry {
            state,
            invoice: None,
            client_approved: false,
        }
    }

    fn person(name: &str, role: Option<Role>) -> Person<'_> {
        Person {
            name,
            role,
            client: None,
        }
    }

    #[test]
    fn a13_every_change_from_every_state() {
        let mut table = String::new();
        for state in TimeState::ALL {
            for change in CHANGES {
                let to = match after(&entry(*state), change) {
                    Ok(to) => to.to_string(),
                    Err(refusal) => refusal.code().to_owned(),
                };
                table.push_str(&format!("{state} {change:?} {to}\n"));
            }
        }
        insta::assert_snapshot!(table, @r"
        draft Edit draft
        draft Submit submitted
        draft Approve approved
        draft Reject rejected
        draft ClientApprove wrong_state
        draft Reopen wrong_state
        submitted Edit draft
        submitted Submit wrong_state
        submitted Approve approved
        submitted Reject rejected
        submitted ClientApprove submitted
        submitted Reopen draft
        approved Edit draft
        approved Submit wrong_state
        approved Approve wrong_state
        approved Reject wrong_state
        approved ClientApprove approved
        approved Reopen draft
        rejected Edit draft
        rejected Submit wrong_state
        rejected Approve wrong_state
        rejected Reject wrong_state
        rejected ClientApprove wrong_state
        rejected Reopen draft
        ");
    }

    #[test]
    fn a13_a_client_approves_the_same_time_once() {
        for state in [TimeState::Submitted, TimeState::Approved] {
            let approved = Entry {
                client_approved: true,
                ..entry(state)
            };
            let again = after(&approved, Change::ClientApprove);
            assert_eq!(again, Err(Refusal::ClientApprovedAlready));
        }
    }

    #[test]
    fn a_refusal_says_what_the_role_may_not_do_and_what_would_be_right_instead() {
        let expected = [
            ("edit time", "any time that is on no invoice can be edited"),
            (
                "submit time",
                "only a draft is submitted; edit or reopen it first",
            ),
            (
                "approve time",
                "only a draft or submitted time is approved; edit or reopen it first",
            ),
            (
                "reject time",
                "only a draft or submitted time is rejected; reopen it first",
            ),
            (
                "approve time for a client",
                "a client approves time that is submitted or approved",
            ),
            ("reopen time", "there is nothing to reopen"),
        ];
        for (change, (verb, takes)) in CHANGES.into_iter().zip(expected) {
            let role = Refusal::Role {
                name: "ceo".to_owned(),
                role: Role::Client,
                change,
            };
            assert_eq!(
                role.to_string(),
                format!("ceo is a user with role client, which may not {verb}")
            );
            let state = Refusal::WrongState {
                state: TimeState::Rejected,
                change,
            };
            assert_eq!(state.to_string(), format!("the time is rejected: {takes}"));
        }
    }

    #[test]
    fn b16_nothing_about_time_on_an_invoice_changes() {
        for state in TimeState::ALL {
            for change in CHANGES {
                let billed = Entry {
                    invoice: Some("PKG-0001-000001"),
                    ..entry(*state)
                };
                let refusal = after(&billed, change).unwrap_err();
                assert_eq!(refusal.code(), "on_invoice");
            }
        }
    }

    #[test]
    fn a13_nobody_approves_his_own_time_unless_the_firm_allows_it() {
        let ada = person("ada", Some(Role::Owner));
        let judge = |by: &Person<'_>, change, allowed| may_judge(by, "ada", change, allowed);
        assert_eq!(judge(&ada, Change::Approve, false), Err(Refusal::SelfApproval));
        assert_eq!(judge(&ada, Change::Approve, true), Ok(()));
        assert_eq!(judge(&ada, Change::Reject, false), Ok(()));
        assert_eq!(judge(&person("bob", None), Change::Approve, false), Ok(()));
        // A name that is no user's is still a name.
        assert_eq!(
            judge(&person("ada", None), Change::Approve, false),
            Err(Refusal::SelfApproval)
        );
    }

    #[test]
    fn r003_staff_and_admins_approve_time_and_a_client_for_itself_only() {
        let (ours, theirs) = (ClientId::new(), ClientId::new());
        for role in Role::ALL {
            let by = person("ada", Some(*role));
            let for_firm = may_judge(&by, "w1", Change::Approve, false);
            assert_eq!(for_firm.is_ok(), *role != Role::Client, "{role}");
            assert!(
                may_approve_for_client(&by, ours).is_err(),
                "{role} belongs to no client"
            );
        }
        let portal = Person {
            client: Some(ours),
            ..person("ceo", Some(Role::Client))
        };
        assert_eq!(may_approve_for_client(&portal, ours), Ok(()));
        let refusal = may_approve_for_client(&portal, theirs).unwrap_err();
        assert_eq!(refusal.code(), "other_client");
        assert_eq!(may_approve_for_client(&person("someone", None), theirs), Ok(()));
    }

    proptest! {
        /// R041, R042: whatever is done in whatever order, time is approved only where the last thing done to it was an
        /// approval (by the firm, or by the client after it).
        #[test]
        fn r041_time_is_approved_only_right_after_an_approval(changes in prop::collection::vec(prop::sample::select(&CHANGES[..]), 0..40)) {
            let mut state = TimeState::Draft;
            let mut approved = false;
            for change in changes {
                if let Ok(next) = after(&entry(state), change) {
                    approved = match change {
                        Change::Approve => true,
                        Change::ClientApprove => approved,
                        Change::Edit | Change::Submit | Change::Reject | Change::Reopen => false,
                    };
                    state = next;
                }
                prop_assert_eq!(state == TimeState::Approved, approved);
            }
        }
    }
}
