//! What every list takes: how many rows, and after which.

/// Enough for any screen; a script follows the cursor.
const MAX_LIMIT: i64 = 1000;

/// `--limit` and `--cursor`.
#[derive(Clone, Debug, clap::Args)]
pub struct ListArgs {
    /// How many rows at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=MAX_LIMIT), value_name = "N")]
    pub limit: i64,
    /// The `next_cursor` of the page before.
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
}

impl ListArgs {
    /// One row more than shown tells whether there is another page.
    #[must_use]
    pub fn fetch(&self) -> i64 {
        self.limit + 1
    }

    /// How many rows are shown.
    #[must_use]
    pub fn shown(&self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }
}

/// A text that says something: for reasons and notes.
///
/// # Errors
/// When it is empty.
pub fn said(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        Err("say something: it is kept for ever".to_owned())
    } else {
        Ok(text.to_owned())
    }
}
