//! An answer of the API on its way out, and what becomes of it.
use std::time::Duration;

use super::error::ApiError;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    pub request_id: String,
    /// Set on a replay: the request that was executed.
    pub original_request: Option<String>,
    /// Extra headers of this answer.
    pub headers: Vec<(&'static str, String)>,
    /// A gateway's page is HTML.
    pub html: bool,
}

/// How an answer goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// As it should.
    Whole,
    /// Half, silence, the other half.
    Trickle(Duration),
    /// Half, then the connection breaks.
    Truncated,
    /// Not at all: the connection breaks.
    Dropped,
}

impl Answer {
    /// An answer with nothing special about it.
    pub fn new(status: u16, body: String, request_id: &str) -> Self {
        Self {
            status,
            body,
            request_id: request_id.to_owned(),
            original_request: None,
            headers: Vec::new(),
            html: false,
        }
    }

    /// An error of the API.
    pub fn error(error: &ApiError, request_id: &str) -> Self {
        Self::new(error.status, error.body(request_id).to_string(), request_id)
    }

    /// The page of a gateway that reached nobody.
    pub fn bad_gateway(request_id: &str) -> Self {
        let page = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
                    <center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n";
        Self {
            html: true,
            ..Self::new(502, page.to_owned(), request_id)
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}
