//! What is told: the same words by every channel, and nothing that a client wrote or that says who a client is.

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::Edge;

/// Longest subject of a mail, in characters; the whole title is in its text.
const SUBJECT_CHARS: usize = 120;

/// One delivery, as a webhook carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// The alert; none in a test.
    pub id: Option<Uuid>,
    /// This delivery: the same whenever it is sent again.
    pub delivery: Uuid,
    /// What about the alert is told.
    pub event: Edge,
    /// The alert's type; `TEST` in a test.
    #[serde(rename = "type")]
    pub kind: String,
    /// How much it matters.
    pub severity: String,
    /// A few words.
    pub title: String,
    /// What happened and what comes next.
    pub message: String,
    /// Whose; none for the platform's own.
    pub firm: Option<String>,
    /// Names what is wrong; none in a test.
    pub dedupe_key: Option<String>,
    /// When it opened, opened again or got worse.
    pub occurred_at: DateTime<Utc>,
    /// Where to look, if that is known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Notice {
    /// A mail's subject: one line.
    #[must_use]
    pub fn subject(&self) -> String {
        let title = one_line(&self.title);
        let subject = format!("[{}] {}: {title}", self.severity, self.kind);
        match subject.char_indices().nth(SUBJECT_CHARS) {
            Some((end, _)) => format!("{}…", subject.get(..end).unwrap_or_default()),
            None => subject,
        }
    }

    /// A mail's text.
    #[must_use]
    pub fn text(&self) -> String {
        let firm = self.firm.as_deref().unwrap_or("the platform");
        let mut text = format!(
            "{}\n\n{}\n\nfirm: {firm}\ntype: {}\nseverity: {}\n{}: {}\n",
            one_line(&self.title),
            self.message.trim(),
            self.kind,
            self.severity,
            self.event,
            self.occurred_at.format("%F %T UTC"),
        );
        if let Some(id) = self.id {
            text.push_str(&format!("alert: {id}\n"));
        }
        if let Some(key) = &self.dedupe_key {
            text.push_str(&format!("about: {}\n", one_line(key)));
        }
        if let Some(url) = &self.url {
            text.push_str(&format!("\n{url}\n"));
        }
        text
    }
}

/// Words of other systems may come in several lines.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(title: &str) -> Notice {
        Notice {
            id: Some(Uuid::nil()),
            delivery: Uuid::max(),
            event: Edge::Opened,
            kind: "PAYMENT_FAILED".into(),
            severity: "warning".into(),
            title: title.into(),
            message: "PKG-1: insufficient_funds.".into(),
            firm: Some("acme".into()),
            dedupe_key: Some("payment_failed:1".into()),
            occurred_at: DateTime::UNIX_EPOCH,
            url: None,
        }
    }

    #[test]
    fn a_subject_is_one_line_of_bounded_length_whatever_the_title() {
        assert_eq!(
            notice("A charge failed").subject(),
            "[warning] PAYMENT_FAILED: A charge failed"
        );
        let hostile = notice("x\r\nBcc: everybody@example.com");
        assert_eq!(
            hostile.subject(),
            "[warning] PAYMENT_FAILED: x Bcc: everybody@example.com"
        );
        let long = notice(&"ü".repeat(500)).subject();
        assert_eq!(long.chars().count(), SUBJECT_CHARS + 1);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn a_mail_says_what_a_webhook_says() {
        let notice = Notice {
            url: Some("https://portal.example.com/api/alerts/".into()),
            ..notice("A charge failed")
        };
        let text = notice.text();
        let json = serde_json::to_value(&notice).unwrap();
        for name in [
            "id",
            "type",
            "severity",
            "title",
            "message",
            "firm",
            "dedupe_key",
            "url",
        ] {
            let said = json[name].as_str().unwrap();
            assert!(text.contains(said), "{name}: {said}\n{text}");
        }
        assert_eq!(json["event"], "opened");
        assert_eq!(json["delivery"], Uuid::max().to_string());
        assert!(text.contains("opened: 1970-01-01 00:00:00 UTC"), "{text}");
    }
}
