//! What may be asked of Stripe for a firm, and why not. Whoever asks is told at once, before a job is made of it.
use std::fmt;

/// Something to be done at Stripe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Make the firm a customer.
    Customer,
    /// Send invoices and receipts to another address.
    BillingEmail,
    /// Subscribe to a tier with the card that the customer has.
    Subscribe {
        /// Which.
        tier: String,
    },
    /// Change to another tier; Stripe prorates what was paid.
    ChangeTier {
        /// Which.
        tier: String,
    },
    /// Let it renew itself, or not.
    AutoRenewal {
        /// On or off.
        on: bool,
    },
    /// End it at once.
    Cancel,
    /// A link to Stripe's page where the firm looks after its card and its address.
    BillingLink {
        /// Where the page leads back to.
        return_url: String,
    },
    /// A link to Stripe's page where the firm gives a card and subscribes.
    CheckoutLink {
        /// To which tier.
        tier: String,
        /// Where the page leads back to.
        return_url: String,
    },
}

impl Ask {
    /// The word in the table.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::BillingEmail => "billing_email",
            Self::Subscribe { .. } => "subscribe",
            Self::ChangeTier { .. } => "change_tier",
            Self::AutoRenewal { .. } => "auto_renewal",
            Self::Cancel => "cancel",
            Self::BillingLink { .. } => "billing_link",
            Self::CheckoutLink { .. } => "checkout_link",
        }
    }

    /// The tier that it names.
    #[must_use]
    pub fn tier(&self) -> Option<&str> {
        match self {
            Self::Subscribe { tier } | Self::ChangeTier { tier } | Self::CheckoutLink { tier, .. } => {
                Some(tier)
            }
            Self::Customer
            | Self::BillingEmail
            | Self::AutoRenewal { .. }
            | Self::Cancel
            | Self::BillingLink { .. } => None,
        }
    }

    /// Whether it changes what the firm pays, so that two at a time would mislead each other. A link changes nothing.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        match self {
            Self::Customer
            | Self::Subscribe { .. }
            | Self::ChangeTier { .. }
            | Self::AutoRenewal { .. }
            | Self::Cancel => true,
            Self::BillingEmail | Self::BillingLink { .. } | Self::CheckoutLink { .. } => false,
        }
    }
}

/// What decides whether something may be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AskFacts {
    /// The firm has a customer at Stripe.
    pub has_customer: bool,
    /// An earlier change is on its way.
    pub change_is_open: bool,
    /// The tier that was named, if there is such a one, and whether it has a price at Stripe.
    pub tier: Option<TierFacts>,
    /// The subscription that is not over, if any.
    pub subscription: Option<LiveFacts>,
}

/// Of the tier that was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierFacts {
    /// It has a price.
    pub has_price: bool,
}

/// Of the subscription that is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveFacts {
    /// Its tier.
    pub tier: Option<String>,
    /// It renews itself.
    pub auto_renewal: bool,
}

/// Why something is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAsked {
    /// The firm is a customer already.
    CustomerExists,
    /// The firm is no customer yet.
    NoCustomer,
    /// An earlier change is on its way.
    ChangeIsOpen,
    /// There is no such tier.
    NoSuchTier,
    /// The tier has no price at Stripe.
    TierWithoutPrice,
    /// The firm has a subscription.
    AlreadySubscribed,
    /// The firm has none.
    NotSubscribed,
    /// It is of this tier.
    SameTier,
    /// It is so already.
    SameRenewal,
}

impl NotAsked {
    /// For scripts.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::CustomerExists => "customer_exists",
            Self::NoCustomer => "no_platform_customer",
            Self::ChangeIsOpen => "change_is_open",
            Self::NoSuchTier => "no_such_tier",
            Self::TierWithoutPrice => "tier_without_price",
            Self::AlreadySubscribed => "already_subscribed",
            Self::NotSubscribed => "not_subscribed",
            Self::SameTier => "same_tier",
            Self::SameRenewal => "same_renewal",
        }
    }
}

impl fmt::Display for NotAsked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CustomerExists => "the firm is a customer of the platform already",
            Self::NoCustomer => "the firm is no customer of the platform yet",
            Self::ChangeIsOpen => "an earlier change is on its way to Stripe: wait for its end",
            Self::NoSuchTier => "there is no such tier",
            Self::TierWithoutPrice => {
                "the tier has no price at Stripe yet: an operator sets it with `quittance platform set-price`"
            }
            Self::AlreadySubscribed => "the firm has a subscription: change its tier instead",
            Self::NotSubscribed => "the firm has no subscription",
            Self::SameTier => "the subscription is of this tier already",
            Self::SameRenewal => "the subscription's renewal is set so already",
        })
    }
}

/// Whether something may be asked.
///
/// # Errors
/// Why it may not.
pub fn decide_ask(ask: &Ask, facts: &AskFacts) -> Result<(), NotAsked> {
    if ask.is_change() && facts.change_is_open {
        return Err(NotAsked::ChangeIsOpen);
    }
    if ask.tier().is_some() {
        match facts.tier {
            None => return Err(NotAsked::NoSuchTier),
            Some(TierFacts { has_price: false }) => return Err(NotAsked::TierWithoutPrice),
            Some(TierFacts { has_price: true }) => {}
        }
    }
    match (ask, &facts.subscription) {
        (Ask::Customer, _) if facts.has_customer => Err(NotAsked::CustomerExists),
        (Ask::BillingLink { .. }, _) if !facts.has_customer => Err(NotAsked::NoCustomer),
        (Ask::Subscribe { .. } | Ask::CheckoutLink { .. }, Some(_)) => Err(NotAsked::AlreadySubscribed),
        (Ask::ChangeTier { .. } | Ask::AutoRenewal { .. } | Ask::Cancel, None) => {
            Err(NotAsked::NotSubscribed)
        }
        (Ask::ChangeTier { tier }, Some(live)) if live.tier.as_deref() == Some(tier) => {
            Err(NotAsked::SameTier)
        }
        (Ask::AutoRenewal { on }, Some(live)) if live.auto_renewal == *on => Err(NotAsked::SameRenewal),
        (
            Ask::Customer
            | Ask::BillingEmail
            | Ask::Subscribe { .. }
            | Ask::ChangeTier { .. }
            | Ask::AutoRenewal { .. }
            | Ask::Cancel
            | Ask::BillingLink { .. }
            | Ask::CheckoutLink { .. },
            _,
        ) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r214_each_thing_that_is_asked_has_the_word_of_its_table() {
        let tier = || "PRO".to_owned();
        let return_url = || "https://firm.example/".to_owned();
        let asked = [
            (Ask::Customer, "customer"),
            (Ask::BillingEmail, "billing_email"),
            (Ask::Subscribe { tier: tier() }, "subscribe"),
            (Ask::ChangeTier { tier: tier() }, "change_tier"),
            (Ask::AutoRenewal { on: true }, "auto_renewal"),
            (Ask::Cancel, "cancel"),
            (
                Ask::BillingLink {
                    return_url: return_url(),
                },
                "billing_link",
            ),
            (
                Ask::CheckoutLink {
                    tier: tier(),
                    return_url: return_url(),
                },
                "checkout_link",
            ),
        ];
        for (ask, word) in asked {
            assert_eq!(ask.kind(), word);
        }
        let told = NotAsked::TierWithoutPrice.to_string();
        assert!(told.contains("quittance platform set-price"), "{told}");
    }

    #[test]
    fn r214_what_is_asked_is_refused_for_one_reason_each() {
        let subscribe = || Ask::Subscribe { tier: "PRO".into() };
        let change = || Ask::ChangeTier { tier: "PRO".into() };
        let priced = AskFacts {
            has_customer: true,
            tier: Some(TierFacts { has_price: true }),
            ..AskFacts::default()
        };
        let live = |tier: &str, auto_renewal| AskFacts {
            subscription: Some(LiveFacts {
                tier: Some(tier.into()),
                auto_renewal,
            }),
            ..priced.clone()
        };
        let open = AskFacts {
            change_is_open: true,
            ..live("FREE", true)
        };
        let link = || Ask::BillingLink {
            return_url: "https://x.example".into(),
        };
        for (ask, facts, said) in [
            (subscribe(), priced.clone(), Ok(())),
            (subscribe(), AskFacts::default(), Err(NotAsked::NoSuchTier)),
            (
                subscribe(),
                AskFacts {
                    tier: Some(TierFacts { has_price: false }),
                    ..priced.clone()
                },
                Err(NotAsked::TierWithoutPrice),
            ),
            (subscribe(), live("FREE", true), Err(NotAsked::AlreadySubscribed)),
            (change(), priced.clone(), Err(NotAsked::NotSubscribed)),
            (change(), live("PRO", true), Err(NotAsked::SameTier)),
            (change(), live("FREE", true), Ok(())),
            (change(), open.clone(), Err(NotAsked::ChangeIsOpen)),
            (link(), open.clone(), Ok(())),
            (link(), AskFacts::default(), Err(NotAsked::NoCustomer)),
            (
                Ask::AutoRenewal { on: true },
                live("PRO", true),
                Err(NotAsked::SameRenewal),
            ),
            (Ask::AutoRenewal { on: false }, live("PRO", true), Ok(())),
            (Ask::Cancel, priced.clone(), Err(NotAsked::NotSubscribed)),
            (Ask::Cancel, live("PRO", false), Ok(())),
            (Ask::Customer, priced.clone(), Err(NotAsked::CustomerExists)),
            (Ask::Customer, AskFacts::default(), Ok(())),
        ] {
            assert_eq!(decide_ask(&ask, &facts), said, "{ask:?} {facts:?}");
        }
    }
}
