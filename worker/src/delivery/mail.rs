//! A mail: plain text, with an id made of the delivery's, so that one that is sent again is the same mail.

use std::time::Duration;

use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
    transport::smtp::{
        authentication::Credentials,
        client::{Tls as LettreTls, TlsParameters},
    },
};
use secrecy::ExposeSecret as _;
use shared::{
    config,
    domain::delivery::Notice,
    failpoint::{self, Effect},
};

use super::{NotTold, Smtp, Tls, Told};

/// The longest wait for one answer of the mail server.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The longest that one mail may take: a server gives a handful of answers.
const WHOLE: Duration = Duration::from_secs(45);

/// The way to the mail server.
#[derive(Debug)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Mailer {
    /// Sets it up; connects to nothing yet.
    ///
    /// # Errors
    /// When a setting is of no use.
    pub fn new(smtp: &Smtp) -> Result<Self, config::Error> {
        let from = smtp.from.parse().map_err(|_| config::Error::Malformed {
            name: "SMTP_FROM",
            fault: "give an address, such as alerts@example.com".into(),
        })?;
        let tls = || {
            TlsParameters::new(smtp.host.clone()).map_err(|fault| config::Error::Malformed {
                name: "SMTP_HOST",
                fault: format!(
                    "TLS to it cannot be set up (are the system's CA certificates installed?): {fault}"
                ),
            })
        };
        let tls = match smtp.tls {
            Tls::Starttls => LettreTls::Required(tls()?),
            Tls::FromTheStart => LettreTls::Wrapper(tls()?),
            Tls::None => LettreTls::None,
        };
        // Dangerous is what it calls a builder that is told everything; TLS is what was asked for.
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.host)
            .port(smtp.port)
            .tls(tls)
            .timeout(Some(TIMEOUT));
        if let Some((user, password)) = &smtp.login {
            let password = password.expose_secret().to_owned();
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        Ok(Self {
            transport: builder.build(),
            from,
        })
    }

    /// Sends it, once.
    pub(super) async fn send(&self, to: &str, notice: &Notice) -> Result<Told, NotTold> {
        let message = self.message(to, notice)?;
        let sending = tokio::time::timeout(WHOLE, self.transport.send(message));
        match failpoint::around(Effect::Tell, sending).await {
            Ok(Ok(_)) => Ok(Told::Taken),
            Ok(Err(error)) => Err(judge(&error)),
            Err(_) => Err(NotTold::Later(format!(
                "the mail server took longer than {} s",
                WHOLE.as_secs()
            ))),
        }
    }

    fn message(&self, to: &str, notice: &Notice) -> Result<Message, NotTold> {
        let never = |fault: String| NotTold::Never(format!("it cannot be written as a mail: {fault}"));
        let to: Mailbox = to.parse().map_err(|_| {
            NotTold::Never("its address is no mailbox: remove the destination and add it again".into())
        })?;
        Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(notice.subject())
            .message_id(Some(format!(
                "<{}@{}>",
                notice.delivery,
                self.from.email.domain()
            )))
            .date(notice.occurred_at.into())
            .header(ContentType::TEXT_PLAIN)
            .body(notice.text())
            .map_err(|fault| never(fault.to_string()))
    }
}

/// The server's own words may name a mailbox, so only its code is told.
fn judge(error: &lettre::transport::smtp::Error) -> NotTold {
    match error.status() {
        Some(code) if error.is_permanent() => NotTold::Never(format!(
            "the mail server refuses it with {code}: look at the address, and at SMTP_FROM, SMTP_USER and SMTP_PASSWORD"
        )),
        Some(code) => NotTold::Later(format!("the mail server answers {code}")),
        None if error.is_timeout() => NotTold::Later(format!(
            "no answer of the mail server within {} s",
            TIMEOUT.as_secs()
        )),
        None => NotTold::Later(format!("the mail server cannot be talked to: {error}")),
    }
}
