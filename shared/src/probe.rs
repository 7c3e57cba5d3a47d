//! A probe's answer for people: `curl …/readyz?verbose` says the same as the JSON, one line per check, as Kubernetes' own servers do.

/// Whether a query asks for it: `verbose`, with or without a value.
#[must_use]
pub fn is_verbose(query: Option<&str>) -> bool {
    let parts = query.unwrap_or_default().split('&');
    parts
        .map(|part| part.split_once('=').map_or(part, |(name, _)| name))
        .any(|name| name == "verbose")
}

/// One check by its name: well, perhaps with something worth knowing, or why not.
pub type Named<'a> = (&'a str, Result<Option<&'a str>, &'a str>);

/// The checks of `probe` (`readyz`), line by line, and what comes of them.
#[must_use]
pub fn verbose<'a>(probe: &str, checks: impl IntoIterator<Item = Named<'a>>) -> String {
    let (mut text, mut healthy) = (String::new(), true);
    for (name, result) in checks {
        let line = match result {
            Ok(None) => format!("[+]{name} ok\n"),
            Ok(Some(told)) => format!("[+]{name} ok: {told}\n"),
            Err(why) => {
                healthy = false;
                format!("[-]{name} failed: {why}\n")
            }
        };
        text.push_str(&line);
    }
    let verdict = if healthy { "passed" } else { "failed" };
    text.push_str(&format!("{probe} check {verdict}\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbose_is_asked_for_by_its_name_alone() {
        for query in ["verbose", "verbose=1", "a=b&verbose"] {
            assert!(is_verbose(Some(query)), "{query}");
        }
        for query in [None, Some(""), Some("verbosely"), Some("a=verbose")] {
            assert!(!is_verbose(query), "{query:?}");
        }
    }

    #[test]
    fn every_check_has_its_line_and_one_that_fails_fails_the_probe() {
        let well = [("database", Ok(None)), ("queue_events", Ok(Some("paused")))];
        assert_eq!(
            verbose("readyz", well),
            "[+]database ok\n[+]queue_events ok: paused\nreadyz check passed\n"
        );
        let ill = [("database", Err("it does not answer")), ("draining", Ok(None))];
        assert_eq!(
            verbose("readyz", ill),
            "[-]database failed: it does not answer\n[+]draining ok\nreadyz check failed\n"
        );
    }
}
