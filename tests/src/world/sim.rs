//! The control interface of the simulator: what happens "at Stripe", and what Stripe's books say.

use std::{net::SocketAddr, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};

use super::error::{Error, Result, must};

/// How long a connection may wait for its next call. The simulator closes one after thirty seconds, which a story that is busy with
/// something else, such as a browser, does not see.
const IDLE: Duration = Duration::from_secs(10);

/// A client of one running `stripe-sim`.
#[derive(Clone, Debug)]
pub struct Sim {
    http: reqwest::Client,
    base: String,
}

impl Sim {
    /// The simulator at `base` (`http://host:port`).
    ///
    /// # Panics
    /// When TLS cannot be set up.
    #[must_use]
    pub fn new(base: String) -> Self {
        let http = reqwest::Client::builder().pool_idle_timeout(IDLE).build();
        Self {
            http: must("no client can be made", http.map_err(Error::from)),
            base,
        }
    }

    /// Its origin, for `STRIPE_API_BASE`.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The same as an address, for a gate in front of it.
    ///
    /// # Errors
    /// When the origin has none.
    pub(super) fn address(&self) -> Result<SocketAddr> {
        let address = self.base.trim_start_matches("http://").parse();
        address.map_err(|_| Error::Setup(format!("{} is no address", self.base)))
    }

    /// Any call of the control interface: `/_sim` and `path`.
    ///
    /// # Errors
    /// When it does not answer, or not with success.
    pub async fn call(&self, method: Method, path: &str, body: Value) -> Result<Value> {
        let what = format!("{method} /_sim{path}");
        let mut request = self.http.request(method, format!("{}/_sim{path}", self.base));
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            return Err(Error::Simulator {
                what,
                status: status.as_u16(),
                body: text,
            });
        }
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|_| Error::Shape { what, text })
    }

    /// `POST /_sim{path}`.
    ///
    /// # Errors
    /// As [`Sim::call`].
    pub async fn post(&self, path: &str, body: Value) -> Result<Value> {
        self.call(Method::POST, path, body).await
    }

    /// `GET /_sim{path}`.
    ///
    /// # Errors
    /// As [`Sim::call`].
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, Value::Null).await
    }

    /// A customer with one card. `script` says what the card does, charge by charge (`["insufficient_funds",
    /// "succeed"]`); empty means what its id says (`pm_card_visa…`), or success.
    ///
    /// # Errors
    /// As [`Sim::call`].
    pub async fn customer_with_card(&self, customer: &str, card: &str, script: &[&str]) -> Result<()> {
        self.post("/customers", json!({ "id": customer })).await?;
        let mut method = json!({ "id": card, "customer": customer });
        if !script.is_empty() {
            method["script"] = json!(script);
        }
        self.post("/payment_methods", method).await?;
        Ok(())
    }

    /// What a card does from now on, charge by charge.
    ///
    /// # Errors
    /// As [`Sim::call`].
    pub async fn script_card(&self, card: &str, script: &[&str]) -> Result<()> {
        self.post("/cards", json!({ "payment_method": card, "script": script }))
            .await?;
        Ok(())
    }

    /// Makes API calls go wrong: `{"method", "path", "nth"?, "times"?, "kind", "ms"?}`.
    ///
    /// # Errors
    /// As [`Sim::call`].
    pub async fn fault(&self, fault: Value) -> Result<()> {
        self.post("/faults", fault).await?;
        Ok(())
    }

    /// Calls go right again.
    ///
    /// # Errors
    /// As [`Sim::call`].
    pub async fn heal(&self) -> Result<()> {
        self.call(Method::DELETE, "/faults", Value::Null).await?;
        Ok(())
    }

    /// How many API calls wait to be released.
    ///
    /// # Errors
    /// As [`Sim::call`].
    pub async fn held(&self) -> Result<u64> {
        Ok(self.get("/faults").await?["holding"].as_u64().unwrap_or(0))
    }

    /// Lets every held call go.
    ///
    /// # Errors
    /// As [`Sim::call`].
    pub async fn release(&self) -> Result<()> {
        self.post("/release", Value::Null).await?;
        Ok(())
    }

    /// How events are delivered: `{"paused", "drop_next", "duplicate", "double", "shuffle", "delay_ms", …}`.
    ///
    /// # Errors
    /// As [`Sim::call`].
    pub async fn webhooks(&self, setting: Value) -> Result<()> {
        self.post("/webhooks", setting).await?;
        Ok(())
    }

    /// Keeps events back until [`Sim::resume_webhooks`].
    ///
    /// # Errors
    /// As [`Sim::call`].
    pub async fn pause_webhooks(&self) -> Result<()> {
        self.webhooks(json!({ "paused": true })).await
    }

    /// Delivers what was kept back, and goes on.
    ///
    /// # Errors
    /// As [`Sim::call`].
    pub async fn resume_webhooks(&self) -> Result<()> {
        self.webhooks(json!({ "paused": false })).await
    }

    /// What happens at Stripe besides: `POST /_sim{path}`, which must not be refused.
    ///
    /// # Panics
    /// When it is.
    pub async fn tell(&self, path: &str, order: Value) -> Value {
        must("the simulator does as told", self.post(path, order).await)
    }

    /// How many API calls wrote something, or tried to.
    ///
    /// # Panics
    /// When the simulator does not answer.
    pub async fn writes(&self) -> usize {
        let calls = must("the simulator tells its calls", self.requests().await);
        calls.iter().filter(|call| call["method"] != "GET").count()
    }

    /// The simulator's books: captured, refunded, disputed.
    ///
    /// # Errors
    /// As [`Sim::call`].
    pub async fn books(&self) -> Result<Value> {
        self.get("/books").await
    }

    /// Money captured in all, in minor units of a currency.
    ///
    /// # Errors
    /// As [`Sim::call`].
    pub async fn captured_minor(&self, currency: &str) -> Result<i64> {
        Ok(self.books().await?["captured_minor"][currency]
            .as_i64()
            .unwrap_or(0))
    }

    /// Every event that the simulator has made, in order.
    ///
    /// # Errors
    /// As [`Sim::call`].
    pub async fn events(&self) -> Result<Vec<Value>> {
        list(self.get("/events").await?)
    }

    /// How much is on its way to the ingress. While deliveries are paused, nothing is: it waits for the test.
    pub(super) async fn webhook_traffic(&self) -> Result<Traffic> {
        let report = self.get("/webhooks").await?;
        let number = |name: &str| report[name].as_u64().unwrap_or(0);
        let queued = if report["paused"] == true {
            0
        } else {
            number("queued")
        };
        Ok(Traffic {
            waiting: queued + number("in_flight"),
            newest: report["newest"].as_str().map(str::to_owned),
        })
    }

    /// Every API call that the simulator has received, in order.
    ///
    /// # Errors
    /// As [`Sim::call`].
    pub async fn requests(&self) -> Result<Vec<Value>> {
        list(self.get("/requests").await?)
    }
}

/// Webhooks at one moment.
pub(super) struct Traffic {
    /// Deliveries that will be made, or are being made.
    pub(super) waiting: u64,
    /// The event made last.
    pub(super) newest: Option<String>,
}

/// The array of a list answer, with or without an envelope.
fn list(answer: Value) -> Result<Vec<Value>> {
    let rows = match answer {
        Value::Object(mut fields) => fields.remove("data").unwrap_or_default(),
        other => other,
    };
    match rows {
        Value::Array(rows) => Ok(rows),
        other => Err(Error::Shape {
            what: "a list of the simulator".into(),
            text: other.to_string(),
        }),
    }
}
