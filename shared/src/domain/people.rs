//! Who may do what in a firm. Names that belong to no user of the firm may still stand in its books (an import names
//! approvers whom nobody declared), but where a role is required only a known user will do.
use super::words::word_enum;

word_enum!(
    /// What a user is to the firm.
    Role, "role":
    /// Owns it.
    Owner = "owner",
    /// Runs its billing: the firm's master admin.
    Admin = "admin",
    /// Leads work.
    Manager = "manager",
    /// Does work.
    Staff = "staff",
    /// Belongs to one of the firm's clients and sees that client only.
    Client = "client",
);

impl Role {
    /// Whether it may approve or reject time for the firm.
    #[must_use]
    pub const fn may_approve_time(self) -> bool {
        match self {
            Self::Owner | Self::Admin | Self::Manager | Self::Staff => true,
            Self::Client => false,
        }
    }

    /// Whether it may say where the firm's alerts go.
    #[must_use]
    pub const fn may_name_destinations(self) -> bool {
        self.may_override()
    }

    /// Whether it may have an invoice made without an engagement.
    #[must_use]
    pub const fn may_override(self) -> bool {
        match self {
            Self::Owner | Self::Admin => true,
            Self::Manager | Self::Staff | Self::Client => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a14_who_runs_the_billing_may_override_and_nobody_else() {
        for role in Role::ALL {
            let runs_it = matches!(role, Role::Owner | Role::Admin);
            assert_eq!(role.may_override(), runs_it, "{role}");
        }
    }
}
