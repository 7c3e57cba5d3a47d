//! Errors as Stripe's API renders them.
use serde_json::{Map, Value, json};

/// An answer that is not a success: a status and the fields inside `{"error": {…}}`.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// What stands inside `error`.
    pub fields: Map<String, Value>,
}

impl ApiError {
    /// Any error, by status, Stripe's `type` and message.
    pub fn new(status: u16, kind: &str, message: impl Into<String>) -> Self {
        let mut fields = Map::new();
        fields.insert("type".into(), kind.into());
        fields.insert("message".into(), message.into().into());
        Self { status, fields }
    }

    /// 400 `invalid_request_error`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    /// The object is not there: 404 when the path names it, 400 when a parameter does (see [`Self::in_param`]).
    pub fn missing(what: &str, id: &str) -> Self {
        Self::new(404, "invalid_request_error", format!("No such {what}: '{id}'"))
            .code("resource_missing")
            .param("id")
    }

    /// Says that the fault lies in a parameter of the body.
    pub fn in_param(mut self, name: &str) -> Self {
        self.status = 400;
        self.param(name)
    }

    /// Sets `code` and the page that explains it.
    pub fn code(self, code: &str) -> Self {
        let page = format!("https://docs.stripe.com/error-codes#{}", code.replace('_', "-"));
        self.with("code", code).with("doc_url", page)
    }

    /// Sets `param`.
    pub fn param(self, name: &str) -> Self {
        self.with("param", name)
    }

    /// Sets any field.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.into(), value.into());
        self
    }

    /// The response body.
    pub fn body(&self, request_id: &str) -> Value {
        let mut fields = self.fields.clone();
        let log = format!("https://dashboard.stripe.com/test/logs/{request_id}");
        fields.insert("request_log_url".into(), log.into());
        json!({ "error": fields })
    }
}
