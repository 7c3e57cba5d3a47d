//! Telling destinations of alerts: one message by one channel. Opens no transaction and knows no table; which message, when and how
//! often is the job's business (`worker/src/jobs/deliver_alert.rs`).

mod mail;
mod settings;
mod webhook;

pub use mail::Mailer;
pub use settings::{Settings, Smtp, Tls, allowed_networks};

use shared::{
    config::Mode,
    domain::delivery::{Channel, Notice, Reach, Target},
};

/// What a destination answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It has the message.
    Taken,
    /// It wants no more of them, ever.
    Gone,
}

/// Why a destination was not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotTold {
    /// It may be told later.
    Later(String),
    /// It will never be, as long as nobody changes something.
    Never(String),
}

/// The ways out.
#[derive(Debug)]
pub struct Deliverer {
    settings: Settings,
    mailer: Option<Mailer>,
}

impl Deliverer {
    /// With these settings; connects to nothing yet.
    ///
    /// # Errors
    /// When the mail server's settings are of no use.
    pub fn new(settings: Settings) -> Result<Self, shared::config::Error> {
        let mailer = settings.smtp.as_ref().map(Mailer::new).transpose()?;
        Ok(Self { settings, mailer })
    }

    /// Tells nobody: for a command that runs a handler by itself, which may be any but that of deliveries.
    #[must_use]
    pub fn silent() -> Self {
        Self {
            settings: Settings {
                reach: Reach {
                    mode: Mode::Live,
                    allowed: Vec::new(),
                },
                smtp: None,
                portal_url: None,
                most_per_hour: 0,
            },
            mailer: None,
        }
    }

    /// What has to be set before this channel works.
    #[must_use]
    pub fn is_missing(&self, channel: Channel) -> Option<&'static str> {
        match channel {
            Channel::Email if self.mailer.is_none() => Some(settings::NO_SMTP),
            Channel::Email | Channel::Webhook => None,
        }
    }

    /// New messages to one destination within an hour.
    #[must_use]
    pub fn most_per_hour(&self) -> i64 {
        self.settings.most_per_hour
    }

    /// Sends one message, once.
    ///
    /// # Errors
    /// When it did not arrive, as far as anybody knows.
    pub async fn tell(
        &self,
        target: &Target,
        secret: Option<&str>,
        mut notice: Notice,
    ) -> Result<Told, NotTold> {
        notice.url = self
            .settings
            .portal_url
            .as_ref()
            .filter(|_| notice.id.is_some())
            .map(|portal| format!("{portal}/api/alerts/"));
        match (target.channel, secret, &self.mailer) {
            (Channel::Webhook, Some(secret), _) => {
                webhook::post(&self.settings.reach, &target.text, secret, &notice).await
            }
            (Channel::Webhook, None, _) => Err(NotTold::Never(
                "it has no secret to be signed with: remove the destination and add it again".into(),
            )),
            (Channel::Email, _, Some(mailer)) => mailer.send(&target.text, &notice).await,
            (Channel::Email, _, None) => Err(NotTold::Later(settings::NO_SMTP.into())),
        }
    }
}
