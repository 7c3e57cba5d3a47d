//! What brings us Stripe's news (L5): events that could not be delivered, and the endpoints themselves.

use shared::{
    domain::reconcile::{Finding, Kind, Layer, Side},
    store::reconcile as rows,
};

use super::{Error, Walk};
use crate::{
    commands::doctor::NEEDED_EVENTS,
    events::{self, Family},
    stripe::{self, EventRef, List, WebhookEndpoint},
};

impl Walk<'_> {
    /// Events of types that we do something about, which some endpoint did not take and which we do not have. What most of them
    /// told of has been compared by now, so they are counted; one about something that is not compared is a finding.
    pub(super) async fn undelivered(&mut self) -> Result<(), Error> {
        let list = List::events()
            .undelivered()
            .created_from(self.window.since)
            .created_before(self.window.until);
        let stripe = self.stripe;
        let mut pages = stripe.pages::<EventRef>(list);
        while let Some(page) = pages.next().await? {
            let ids: Vec<String> = page.iter().map(|event| event.id.clone()).collect();
            let mut conn = self.db.pool().acquire().await?;
            let received = rows::received_events(&mut conn, &ids).await?;
            drop(conn);
            let missing: Vec<(EventRef, Family)> = page
                .into_iter()
                .filter(|event| !received.contains(&event.id))
                .filter_map(|event| Some((events::family(&event.event_type)?, event)))
                .map(|(family, event)| (event, family))
                .collect();
            let about: Vec<Vec<String>> = missing.iter().map(|(event, _)| event.about.clone()).collect();
            let routes = self.routes(&about).await?;
            for (event, family) in missing {
                let route = event.about.iter().find_map(|id| routes.get(id));
                let Some(route) = route.filter(|route| route.scope == "client_billing") else {
                    continue;
                };
                match family {
                    Family::Intent | Family::Charge | Family::Dispute | Family::StripeInvoice => {
                        if let Some(of_firm) = self.survey.firms.get_mut(&route.firm) {
                            of_firm.undelivered += 1;
                        }
                    }
                    Family::PaymentMethod => self.add(route.firm, undelivered(&event)),
                    // Of platform billing, which looks at it by itself.
                    Family::Subscription => {}
                }
            }
        }
        Ok(())
    }

    /// The endpoints of the account, where our key may read them.
    pub(super) async fn endpoints(&mut self) -> Result<(), Error> {
        match self.stripe.webhook_endpoints().await {
            Ok(endpoints) => self.survey.account.extend(unfit(&endpoints)),
            Err(stripe::Error::Auth { .. }) => {}
            Err(fault) => return Err(fault.into()),
        }
        Ok(())
    }
}

fn undelivered(event: &EventRef) -> Finding {
    Finding {
        kind: Kind::EventMissing,
        layer: Layer::Delivery,
        subject: format!(
            "{} of {}",
            event.event_type,
            event.about.first().map_or("nothing", String::as_str)
        ),
        ours: None,
        stripe: Some(Side::of(&event.id).state("not delivered")),
        repair: None,
        object_at: Some(event.created),
    }
}

/// What the endpoints do not bring that we need.
fn unfit(endpoints: &[WebhookEndpoint]) -> Option<Finding> {
    let enabled: Vec<&WebhookEndpoint> = endpoints
        .iter()
        .filter(|endpoint| endpoint.status == "enabled")
        .collect();
    let sent = |event: &str| {
        enabled.iter().any(|endpoint| {
            endpoint
                .enabled_events
                .iter()
                .any(|sent| sent == "*" || sent == event)
        })
    };
    let missing: Vec<&str> = NEEDED_EVENTS
        .iter()
        .copied()
        .filter(|event| !sent(event))
        .collect();
    let state = if enabled.is_empty() {
        "none enabled".to_owned()
    } else if missing.is_empty() {
        return None;
    } else {
        format!("does not send {}", missing.join(", "))
    };
    let urls: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.url.as_str()).collect();
    Some(Finding {
        kind: Kind::EndpointUnfit,
        layer: Layer::Delivery,
        subject: "webhook endpoints".to_owned(),
        ours: Some(Side::of("needed").state("an endpoint that sends what we need")),
        stripe: Some(Side::of(urls.join(", ")).state(state)),
        repair: None,
        object_at: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(status: &str, events: &[&str]) -> WebhookEndpoint {
        WebhookEndpoint {
            url: "https://example.com/webhooks/stripe".into(),
            status: status.into(),
            enabled_events: events.iter().map(|event| (*event).to_owned()).collect(),
            api_version: None,
        }
    }

    #[test]
    fn endpoints_are_fit_if_together_they_send_what_is_needed() {
        assert_eq!(unfit(&[endpoint("enabled", &["*"])]), None);
        let (some, rest) = NEEDED_EVENTS.split_at(2);
        assert_eq!(
            unfit(&[endpoint("enabled", some), endpoint("enabled", rest)]),
            None
        );
        for endpoints in [
            vec![],
            vec![endpoint("disabled", &["*"])],
            vec![endpoint("enabled", some)],
        ] {
            assert_eq!(unfit(&endpoints).unwrap().kind, Kind::EndpointUnfit);
        }
    }
}
