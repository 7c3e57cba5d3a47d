//! What a probe answers: its checks as JSON, or for people: `curl …/readyz?verbose` says the same, one line per check, as Kubernetes'
//! own servers do.

use serde_json::{Map, Value, json};

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

/// One check that was made: well, perhaps with something worth knowing, or why not.
pub type Check = (String, Result<Option<String>, String>);

/// Each check by its name.
#[must_use]
pub fn json(checks: &[Check]) -> Map<String, Value> {
    let shown = |result: &Result<Option<String>, String>| match result {
        Ok(None) => json!({ "ok": true }),
        Ok(Some(told)) => json!({ "ok": true, "message": told }),
        Err(why) => json!({ "ok": false, "message": why }),
    };
    checks
        .iter()
        .map(|(name, result)| (name.clone(), shown(result)))
        .collect()
}

/// The same as [`verbose`], of checks that were made.
#[must_use]
pub fn lines(probe: &str, checks: &[Check]) -> String {
    let named = checks.iter().map(|(name, result)| -> Named<'_> {
        (
            name,
            result.as_ref().map(Option::as_deref).map_err(String::as_str),
        )
    });
    verbose(probe, named)
}

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

    #[test]
    fn the_json_and_the_lines_say_the_same_of_a_check() {
        let checks: [Check; 3] = [
            ("schema".to_owned(), Ok(None)),
            ("queue_events".to_owned(), Ok(Some("paused".to_owned()))),
            ("database".to_owned(), Err("away".to_owned())),
        ];
        assert_eq!(
            Value::Object(json(&checks)),
            json!({
                "schema": {"ok": true},
                "queue_events": {"ok": true, "message": "paused"},
                "database": {"ok": false, "message": "away"},
            })
        );
        assert_eq!(
            lines("readyz", &checks),
            "[+]schema ok\n[+]queue_events ok: paused\n[-]database failed: away\nreadyz check failed\n"
        );
    }
}
