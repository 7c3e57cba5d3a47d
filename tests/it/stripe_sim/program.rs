//! One running `stripe-sim`, and the calls that a test makes to it.
use std::process::{ExitStatus, Stdio};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::text;

/// An answer of the API.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body of a success.
    pub fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// Status and what stands inside `error`.
    pub fn refused(self) -> (u16, Value) {
        assert!(self.status >= 400, "{}", self.body);
        (self.status, self.body["error"].clone())
    }
}

/// A simulator that dies with the test.
pub struct Simulator {
    child: Child,
    base: String,
    http: reqwest::Client,
}

impl Simulator {
    /// A simulator that delivers nowhere.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// A simulator with these arguments.
    pub async fn with(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_stripe-sim"))
            .args(["--addr", "127.0.0.1:0"])
            .args(arguments)
            .env_remove("STRIPE_SECRET_KEY")
            .env_remove("STRIPE_WEBHOOK_SECRET")
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .await
            .unwrap();
        let base = line
            .trim()
            .strip_prefix("stripe-sim listening on ")
            .unwrap()
            .to_owned();
        Self {
            child,
            base,
            http: reqwest::Client::new(),
        }
    }

    /// A call to the API, ready to be sent or to be changed first.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}/v1{path}", self.base))
            .bearer_auth("sk_test_1")
    }

    /// Sends it.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.text().await.unwrap();
        Answer {
            status,
            headers,
            body: serde_json::from_str(&body).unwrap_or(Value::String(body)),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, form: &str) -> Answer {
        self.send(self.form(path, form)).await
    }

    pub async fn post_with_key(&self, path: &str, form: &str, key: &str) -> Answer {
        self.send(self.form(path, form).header("idempotency-key", key))
            .await
    }

    /// A POST, ready to be sent.
    pub fn form(&self, path: &str, form: &str) -> RequestBuilder {
        self.request(Method::POST, path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.to_owned())
    }

    /// A control call that succeeds.
    pub async fn control(&self, path: &str, body: Value) -> Value {
        let answer = self
            .http
            .post(format!("{}/_sim{path}", self.base))
            .json(&body)
            .send()
            .await
            .unwrap();
        let (status, body) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// A control call that is refused.
    pub async fn control_refused(&self, path: &str, body: Value) -> (u16, Value) {
        let answer = self
            .http
            .post(format!("{}/_sim{path}", self.base))
            .json(&body)
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        assert!(status >= 400, "{path} should be refused");
        (status, answer.json::<Value>().await.unwrap()["error"].clone())
    }

    /// Takes a webhook endpoint away.
    pub async fn remove_endpoint(&self, id: &str) {
        let url = format!("{}/_sim/webhook_endpoints/{id}", self.base);
        assert!(self.http.delete(url).send().await.unwrap().status().is_success());
    }

    /// What the control API shows.
    pub async fn look(&self, path: &str) -> Value {
        self.http
            .get(format!("{}/_sim{path}", self.base))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    /// Money captured in all.
    pub async fn captured(&self) -> i64 {
        self.look("/books").await["captured_minor"]["usd"]
            .as_i64()
            .unwrap_or(0)
    }

    /// Types of all events, oldest first.
    pub async fn event_types(&self) -> Vec<String> {
        let events = self.look("/events").await;
        events["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| text(event, "type").to_owned())
            .collect()
    }

    /// An unconfirmed intent of 20 dollars.
    pub async fn intent(&self) -> String {
        let intent = self
            .post("/payment_intents", "amount=2000&currency=usd&customer=cus_1")
            .await
            .ok();
        text(&intent, "id").to_owned()
    }

    /// A paid intent of 20 dollars: its id and its charge.
    pub async fn paid(&self) -> (String, String) {
        let form =
            "amount=2000&currency=usd&customer=cus_1&payment_method=pm_1&confirm=true&off_session=true";
        let intent = self.post("/payment_intents", form).await.ok();
        (
            text(&intent, "id").to_owned(),
            text(&intent, "latest_charge").to_owned(),
        )
    }

    /// Makes one kind of trouble for the next confirmation.
    pub async fn trouble_confirming(&self, kind: &str, ms: u64) {
        let fault =
            json!({ "method": "POST", "path": "/v1/payment_intents/*/confirm", "kind": kind, "ms": ms });
        self.control("/faults", fault).await;
    }

    /// Asks it to stop and waits until it has.
    pub async fn terminate(mut self) -> ExitStatus {
        let id = self.child.id().unwrap().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .await
                .unwrap()
                .success()
        );
        tokio::time::timeout(super::PATIENCE, self.child.wait())
            .await
            .unwrap()
            .unwrap()
    }
}

/// The path that confirms an intent.
pub fn confirm(intent: &str) -> String {
    format!("/payment_intents/{intent}/confirm")
}
