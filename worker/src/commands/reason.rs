//! `--reason`: why a person does something, for the audit log. It must say something.

/// `--reason R`.
#[derive(Clone, Debug, clap::Args)]
pub struct Reason {
    /// Why, for the audit log.
    #[arg(long, value_name = "R", value_parser = said)]
    reason: String,
}

impl Reason {
    /// The reason, without the blanks around it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.reason
    }
}

/// `--reason R`, where it may be left out: then the log says that none was given.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct MaybeReason {
    /// Why, for the audit log.
    #[arg(long, value_name = "R", value_parser = said)]
    reason: Option<String>,
}

impl MaybeReason {
    /// The reason, where there is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

/// Text that is more than blanks.
pub fn said(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("it must say something"),
        text => Ok(text.to_owned()),
    }
}
