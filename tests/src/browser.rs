//! A browser, or a script with a token: what it holds, and what it sends.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Client, Method, RequestBuilder, Response, redirect::Policy};
use serde_json::{Value, json};

use crate::world::{World, wall_clock_secs};

/// Somebody who asks the portal.
pub struct Browser {
    base: String,
    http: Client,
    cookies: BTreeMap<String, String>,
    token: Option<String>,
    /// What writes of the session carry.
    pub csrf: String,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// As it came.
    pub text: String,
    /// Its headers.
    pub headers: reqwest::header::HeaderMap,
}

impl Answer {
    /// As JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|fault| panic!("{fault}: {}", self.text))
    }

    /// The code of a problem.
    pub fn code(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{}",
            self.text
        );
        self.json()["code"].as_str().unwrap().to_owned()
    }

    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Browser {
    /// One that knows nothing yet.
    pub fn at(world: &World) -> Self {
        Self {
            base: world.portal_base(),
            http: Client::builder().redirect(Policy::none()).build().unwrap(),
            cookies: BTreeMap::new(),
            token: None,
            csrf: String::new(),
        }
    }

    /// A script.
    pub fn with_token(world: &World, token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            ..Self::at(world)
        }
    }

    /// The token that it was made with.
    pub fn token(&self) -> &str {
        self.token.as_deref().unwrap()
    }

    /// The cookie of this name.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.get(name).map(String::as_str)
    }

    /// A request with all that a browser or a script sends by itself.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if !self.cookies.is_empty() {
            let all: Vec<String> = self.cookies.iter().map(|(k, v)| format!("{k}={v}")).collect();
            request = request.header("cookie", all.join("; "));
        }
        request
    }

    /// Sends, keeps cookies, reads.
    pub async fn send(&mut self, request: RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        self.keep_cookies(&response);
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        }
    }

    fn keep_cookies(&mut self, response: &Response) {
        for value in response.headers().get_all("set-cookie") {
            let line = value.to_str().unwrap();
            for wanted in ["Secure", "HttpOnly", "Path=/", "SameSite="] {
                assert!(line.contains(wanted), "{line}");
            }
            let (name, rest) = line.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// Looks at something.
    pub async fn get(&mut self, path: &str) -> Answer {
        let request = self.request(Method::GET, path);
        self.send(request).await
    }

    /// As [`Browser::get`], whatever becomes of it: the status of an answer that was read to its end.
    pub async fn try_get(&mut self, path: &str) -> Result<u16, reqwest::Error> {
        let response = self.request(Method::GET, path).send().await?;
        read(response).await
    }

    /// As [`Browser::post`], whatever becomes of it.
    pub async fn try_post(&mut self, path: &str, body: &Value) -> Result<u16, reqwest::Error> {
        let request = self.request(Method::POST, path).json(body);
        read(request.send().await?).await
    }

    /// Writes, with the session's CSRF token.
    pub async fn post(&mut self, path: &str, body: &Value) -> Answer {
        let request = self
            .request(Method::POST, path)
            .header("x-csrf-token", &self.csrf)
            .json(body);
        self.send(request).await
    }

    /// The same under a key.
    pub async fn post_keyed(&mut self, path: &str, key: &str, body: &Value) -> Answer {
        let request = self
            .request(Method::POST, path)
            .header("x-csrf-token", &self.csrf)
            .header("idempotency-key", key)
            .json(body);
        self.send(request).await
    }

    /// Logs in by the form; the status of the answer.
    pub async fn log_in(&mut self, name: &str, password: &str, code: &str) -> u16 {
        let answer = self.try_log_in(name, password, code).await;
        if answer.status == 303 {
            let session = self.get("/api/v1/session").await;
            assert_eq!(session.status, 200, "{}", session.text);
            self.csrf = session.json()["csrf_token"].as_str().unwrap().to_owned();
        }
        answer.status
    }

    /// Logs in by the form, and shows the answer.
    pub async fn try_log_in(&mut self, name: &str, password: &str, code: &str) -> Answer {
        let form = self.get("/login").await;
        let csrf = between(&form.text, "name=\"csrf\" value=\"", "\"");
        let fields = [
            ("csrf", csrf.as_str()),
            ("name", name),
            ("password", password),
            ("code", code),
            ("next", "/"),
        ];
        self.submit("/login", &fields).await
    }

    /// Submits a form.
    pub async fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        let request = self
            .request(Method::POST, path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.join("&"));
        self.send(request).await
    }

    /// Writes with `{}`.
    pub async fn post_nothing(&mut self, path: &str) -> Answer {
        self.post(path, &json!({})).await
    }
}

async fn read(response: Response) -> Result<u16, reqwest::Error> {
    let status = response.status().as_u16();
    response.bytes().await?;
    Ok(status)
}

/// What stands between two texts.
pub fn between(text: &str, before: &str, after: &str) -> String {
    let (_, rest) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("{before} in {text}"));
    rest.split_once(after).unwrap().0.to_owned()
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// The code that an authenticator shows now, computed apart from the product (RFC 6238).
pub fn totp(secret: &str) -> String {
    let mut bits = String::new();
    for letter in secret.chars() {
        let value = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".find(letter).unwrap();
        bits.push_str(&format!("{value:05b}"));
    }
    let key: Vec<u8> = bits
        .as_bytes()
        .chunks_exact(8)
        .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
        .collect();
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(&key).unwrap();
    mac.update(&(wall_clock_secs() / 30).to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let at = usize::from(digest[19] & 15);
    let number = u32::from_be_bytes(digest[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}
