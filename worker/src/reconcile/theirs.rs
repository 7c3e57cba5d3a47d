//! Stripe's lists, page by page, compared with what each firm has of them (L2 and L3).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use shared::{
    currency::Currency,
    domain::{
        dispute::{self, Txn},
        reconcile::{
            self as compare, ChargeHere, ChargeThere, DisputeThere, FeeThere, Finding, Kind, Layer,
            RefundThere, Side,
        },
    },
    ids::{ClientId, FirmId},
    store::{
        reconcile::{self as rows, ChargeKey, DisputeKey, FeeKey, RefundKey},
        routes::{self, Route},
    },
};
use uuid::Uuid;

use super::{Error, Walk};
use crate::stripe::{BalanceTransaction, Charge, Dispute, List, PaymentIntent, Refund};

/// The reporting category of what a charge did to the balance.
const OF_CHARGE: &str = "charge";

/// Our own references on Stripe's objects.
type Metadata = BTreeMap<String, String>;

/// The id that one of our references names, on an object that is for client billing.
fn named(metadata: &Metadata, name: &str) -> Option<Uuid> {
    if metadata.get("q_scope").map(String::as_str) != Some("client_billing") {
        return None;
    }
    metadata.get(name)?.parse().ok()
}

/// Objects by the firm that they belong to, each with where its first known id leads.
type ByFirm<T> = BTreeMap<FirmId, Vec<(T, Option<Route>)>>;

impl Walk<'_> {
    /// Reads every list of the window.
    pub(super) async fn read_lists(&mut self) -> Result<(), Error> {
        let stripe = self.stripe;
        let (since, until) = (self.window.since, self.window.until);
        let bounded = |list: List| list.created_from(since).created_before(until);
        let mut pages = stripe.pages::<PaymentIntent>(bounded(List::payment_intents()));
        while let Some(page) = pages.next().await? {
            self.intents(page).await?;
        }
        let mut pages = stripe.pages::<Charge>(bounded(List::charges()));
        while let Some(page) = pages.next().await? {
            self.charges(page).await?;
        }
        let mut pages = stripe.pages::<Refund>(bounded(List::refunds()));
        while let Some(page) = pages.next().await? {
            self.refunds(page).await?;
        }
        let mut pages = stripe.pages::<Dispute>(bounded(List::disputes()));
        while let Some(page) = pages.next().await? {
            self.disputes(page).await?;
        }
        let mut pages = stripe.pages::<BalanceTransaction>(bounded(List::balance_transactions()));
        while let Some(page) = pages.next().await? {
            self.balance_transactions(page).await?;
        }
        Ok(())
    }

    /// Compares PaymentIntents with cycles that have ended: those that have not are compared one by one (L1).
    async fn intents(&mut self, intents: Vec<PaymentIntent>) -> Result<(), Error> {
        let by_firm = self
            .by_firm(
                intents,
                |intent: &PaymentIntent| vec![Some(intent.id.clone())],
                |_| None,
            )
            .await?;
        for (firm, intents) in by_firm {
            let ids: Vec<String> = intents.iter().map(|(intent, _)| intent.id.clone()).collect();
            let mut tx = self.db.snapshot(firm).await?;
            let closed = rows::closed_cycles(&mut tx, firm, &ids).await?;
            tx.rollback().await?;
            for (intent, _) in intents {
                let here = closed.get(&intent.id);
                let found = here.and_then(|here| {
                    compare::closed_intent(&intent.id, &intent.status, intent.created, here)
                });
                self.add_all(firm, found.into_iter().collect());
            }
        }
        Ok(())
    }

    /// Compares charges that brought money; the others only tell that they are there.
    pub(super) async fn charges(&mut self, charges: Vec<Charge>) -> Result<(), Error> {
        self.note(charges.iter().map(|charge| &charge.id))?;
        let paid = charges
            .into_iter()
            .filter(|charge| charge.status == "succeeded" && charge.amount_captured > 0)
            .collect();
        let by_firm = self
            .by_firm(
                paid,
                |charge: &Charge| {
                    vec![
                        Some(charge.id.clone()),
                        charge.payment_intent.clone(),
                        charge.customer.clone(),
                    ]
                },
                |charge| named(&charge.metadata, "q_firm").map(FirmId),
            )
            .await?;
        let livemode = self.stripe.mode().livemode();
        for (firm, charges) in by_firm {
            let keys: Vec<ChargeKey> = charges
                .iter()
                .map(|(charge, _)| ChargeKey {
                    charge: charge.id.clone(),
                    intent: charge.payment_intent.clone(),
                    cycle: named(&charge.metadata, "q_cycle"),
                    invoice: named(&charge.metadata, "q_invoice"),
                })
                .collect();
            let mut tx = self.db.snapshot(firm).await?;
            let here = rows::charges(&mut tx, firm, &keys).await?;
            let mut findings = Vec::new();
            for ((charge, route), here) in charges.into_iter().zip(here) {
                if charge.livemode.is_some_and(|mode| mode != livemode) {
                    findings.push(of_the_other_mode(&charge));
                    continue;
                }
                let here = match here {
                    Some(here) => here,
                    None => ChargeHere::OfClient {
                        subject: match route.filter(|route| route.kind == "customer") {
                            Some(route) => {
                                rows::client_subject(&mut tx, firm, ClientId(route.our_id)).await?
                            }
                            None => "no client of ours".to_owned(),
                        },
                    },
                };
                let there = ChargeThere {
                    id: charge.id,
                    intent: charge.payment_intent,
                    amount_minor: charge.amount_captured,
                    refunded_minor: charge.amount_refunded,
                    currency: charge.currency,
                    at: charge.created,
                };
                findings.extend(compare::charge(&there, here));
            }
            tx.rollback().await?;
            self.add_all(firm, findings);
        }
        Ok(())
    }

    /// Compares refunds whose payment is recorded; without it the charge itself is the finding.
    pub(super) async fn refunds(&mut self, refunds: Vec<Refund>) -> Result<(), Error> {
        self.note(refunds.iter().map(|refund| &refund.id))?;
        let by_firm = self
            .by_firm(
                refunds,
                |refund: &Refund| {
                    vec![
                        Some(refund.id.clone()),
                        refund.charge.clone(),
                        refund.payment_intent.clone(),
                    ]
                },
                |refund| named(&refund.metadata, "q_firm").map(FirmId),
            )
            .await?;
        for (firm, refunds) in by_firm {
            let refunds: Vec<RefundThere> = refunds
                .into_iter()
                .filter_map(|(refund, _)| {
                    let ordered = named(&refund.metadata, "q_refund");
                    let there = RefundThere {
                        charge: refund.charge?,
                        id: refund.id,
                        ordered,
                        amount_minor: refund.amount,
                        currency: refund.currency,
                        status: refund.status,
                        at: refund.created,
                    };
                    Some(there)
                })
                .collect();
            let keys: Vec<RefundKey> = refunds
                .iter()
                .map(|refund| RefundKey {
                    refund: refund.id.clone(),
                    charge: refund.charge.clone(),
                    ordered: refund.ordered,
                })
                .collect();
            let mut tx = self.db.snapshot(firm).await?;
            let here = rows::refunds(&mut tx, firm, &keys).await?;
            tx.rollback().await?;
            for (there, here) in refunds.iter().zip(here) {
                self.add_all(
                    firm,
                    here.map(|here| compare::refund(there, here)).unwrap_or_default(),
                );
            }
        }
        Ok(())
    }

    /// Compares disputes whose payment is recorded, with their movements.
    pub(super) async fn disputes(&mut self, disputes: Vec<Dispute>) -> Result<(), Error> {
        self.note(disputes.iter().map(|dispute| &dispute.id))?;
        let by_firm = self
            .by_firm(
                disputes,
                |dispute: &Dispute| {
                    vec![
                        Some(dispute.id.clone()),
                        Some(dispute.charge.clone()),
                        dispute.payment_intent.clone(),
                    ]
                },
                |_| None,
            )
            .await?;
        for (firm, disputes) in by_firm {
            let mut there = Vec::with_capacity(disputes.len());
            for (dispute, _) in disputes {
                // A list of an old version names the movements and does not show them.
                let dispute = if dispute.unread_balance_transactions.is_empty() {
                    dispute
                } else {
                    self.stripe.dispute(&dispute.id).await?
                };
                there.push((seen_dispute(&dispute)?, dispute.charge));
            }
            let keys: Vec<DisputeKey> = there
                .iter()
                .map(|(dispute, charge)| DisputeKey {
                    dispute: dispute.id.clone(),
                    charge: charge.clone(),
                    txns: dispute
                        .movements
                        .iter()
                        .map(|movement| movement.txn_id.clone())
                        .collect(),
                })
                .collect();
            let mut tx = self.db.snapshot(firm).await?;
            let here = rows::disputes(&mut tx, firm, &keys).await?;
            tx.rollback().await?;
            for ((there, _), here) in there.iter().zip(here) {
                self.add_all(
                    firm,
                    here.map(|here| compare::dispute(there, &here))
                        .unwrap_or_default(),
                );
            }
        }
        Ok(())
    }

    /// Compares what Stripe kept of each charge. What disputes did to the balance is compared with the disputes.
    pub(super) async fn balance_transactions(&mut self, txns: Vec<BalanceTransaction>) -> Result<(), Error> {
        self.note(txns.iter().map(|txn| &txn.id))?;
        let of_charges = txns
            .into_iter()
            .filter(|txn| txn.reporting_category.as_deref() == Some(OF_CHARGE))
            .collect();
        let by_firm = self
            .by_firm(
                of_charges,
                |txn: &BalanceTransaction| vec![txn.source.clone()],
                |_| None,
            )
            .await?;
        for (firm, txns) in by_firm {
            let keys: Vec<FeeKey> = txns
                .iter()
                .map(|(txn, _)| FeeKey {
                    txn: txn.id.clone(),
                    charge: txn.source.clone().unwrap_or_default(),
                })
                .collect();
            let mut tx = self.db.snapshot(firm).await?;
            let here = rows::fees(&mut tx, firm, &keys).await?;
            tx.rollback().await?;
            for ((txn, _), here) in txns.into_iter().zip(here) {
                let there = FeeThere {
                    txn: txn.id,
                    fee_minor: txn.fee,
                    currency: txn.currency,
                    at: txn.created,
                };
                self.add_all(
                    firm,
                    here.map(|here| compare::fee(&there, here)).unwrap_or_default(),
                );
            }
        }
        Ok(())
    }

    fn note<'i>(&mut self, ids: impl Iterator<Item = &'i String>) -> Result<(), Error> {
        for id in ids {
            if !self.seen.add(id) {
                return Err(Error::TooMuch);
            }
        }
        Ok(())
    }

    /// Takes objects apart by firm: by the first of their ids that leads somewhere, else by what they say themselves. Those of
    /// firms that were not asked for, and of nobody, are counted.
    async fn by_firm<T>(
        &mut self,
        objects: Vec<T>,
        ids: impl Fn(&T) -> Vec<Option<String>>,
        says: impl Fn(&T) -> Option<FirmId>,
    ) -> Result<ByFirm<T>, Error> {
        let known_by: Vec<Vec<String>> = objects
            .iter()
            .map(|object| ids(object).into_iter().flatten().collect())
            .collect();
        let routes = self.routes(&known_by).await?;
        let mut by_firm: ByFirm<T> = BTreeMap::new();
        for (object, known_by) in objects.into_iter().zip(known_by) {
            let route = known_by.iter().find_map(|id| routes.get(id)).cloned();
            let firm = match &route {
                Some(route) => (route.scope == "client_billing").then_some(route.firm),
                None => says(&object),
            };
            match firm.and_then(|firm| Some((firm, self.survey.firms.get_mut(&firm)?))) {
                Some((firm, of_firm)) => {
                    of_firm.objects += 1;
                    by_firm.entry(firm).or_default().push((object, route));
                }
                None => self.survey.not_ours += 1,
            }
        }
        Ok(by_firm)
    }

    /// Where ids lead, over all firms: the one look that is not of one firm.
    pub(super) async fn routes(&self, known_by: &[Vec<String>]) -> Result<HashMap<String, Route>, Error> {
        let ids: BTreeSet<&String> = known_by.iter().flatten().collect();
        let ids: Vec<String> = ids.into_iter().cloned().collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let mut conn = self.db.pool().acquire().await?;
        Ok(routes::find_all(&mut conn, &ids).await?)
    }
}

fn of_the_other_mode(charge: &Charge) -> Finding {
    Finding {
        kind: Kind::ModeMismatch,
        layer: Layer::Stripe,
        subject: "a charge of the other mode".to_owned(),
        ours: None,
        stripe: Some(Side::of(&charge.id).minor(charge.amount_captured, &charge.currency)),
        repair: None,
        object_at: Some(charge.created),
    }
}

fn seen_dispute(dispute: &Dispute) -> Result<DisputeThere, Error> {
    let txns = dispute
        .balance_transactions
        .iter()
        .map(|txn| {
            Ok(Txn {
                id: txn.id.clone(),
                amount_minor: txn.amount,
                fee_minor: txn.fee,
                currency: Currency::parse(&txn.currency)
                    .map_err(|fault| Error::Unreadable(fault.to_string()))?,
                created: txn.created,
            })
        })
        .collect::<Result<Vec<Txn>, Error>>()?;
    Ok(DisputeThere {
        id: dispute.id.clone(),
        amount_minor: dispute.amount,
        currency: dispute.currency.clone(),
        status: dispute.status.clone(),
        took_money: txns.iter().any(|txn| txn.amount_minor < 0),
        movements: dispute::movements(&txns),
        at: dispute.created,
    })
}
