//! Lists: newest first, cursors in both directions, `created` ranges.
use serde_json::{Value, json};

use super::error::ApiError;
use super::params::Params;
use super::table::{Row, Table};

const DEFAULT_LIMIT: usize = 10;
/// Stripe's own maximum.
const MAX_LIMIT: i64 = 100;
/// The parameters that every list takes.
pub const LIST_PARAMS: [&str; 4] = ["limit", "starting_after", "ending_before", "created"];

/// One page of a table: the rows and whether there are more in the direction of travel.
pub struct Page<'t, T> {
    /// Newest first.
    pub rows: Vec<&'t T>,
    /// `has_more` of the answer.
    pub has_more: bool,
}

impl<T> Page<'_, T> {
    /// The list object.
    pub fn render(&self, url: &str, render: impl Fn(&T) -> Value) -> Value {
        let data: Vec<Value> = self.rows.iter().map(|row| render(row)).collect();
        json!({ "object": "list", "url": url, "has_more": self.has_more, "data": data })
    }
}

/// The page that the parameters ask for, of the rows that `keep` keeps.
pub fn page<'t, T: Row>(
    table: &'t Table<T>,
    params: &Params,
    keep: impl Fn(&T) -> bool,
) -> Result<Page<'t, T>, ApiError> {
    let limit = match params.integer("limit")? {
        None => DEFAULT_LIMIT,
        Some(limit @ 1..=MAX_LIMIT) => usize::try_from(limit).unwrap_or(DEFAULT_LIMIT),
        Some(other) => {
            return Err(
                ApiError::invalid(format!("This value must be between 1 and 100 (it is {other})."))
                    .code("parameter_invalid_integer")
                    .param("limit"),
            );
        }
    };
    let created = CreatedRange::parse(params)?;
    let wanted = |row: &&'t T| created.contains(row.created()) && keep(row);
    let cursor = |name: &str| match params.text(name) {
        None => Ok(None),
        Some(id) => table
            .position(id)
            .map(Some)
            .ok_or_else(|| ApiError::missing("object", id).in_param(name)),
    };
    let (starting_after, ending_before) = (cursor("starting_after")?, cursor("ending_before")?);
    let mut rows: Vec<&T> = match (starting_after, ending_before) {
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid(
                "You may only specify one of these parameters: starting_after, ending_before.",
            ));
        }
        (from, None) => table.before(from).filter(wanted).take(limit + 1).collect(),
        (None, Some(to)) => table.after(to).filter(wanted).take(limit + 1).collect(),
    };
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    if ending_before.is_some() {
        rows.reverse();
    }
    Ok(Page { rows, has_more })
}

/// `created=…` or `created[gte|gt|lte|lt]=…`.
struct CreatedRange {
    from: i64,
    to: i64,
}

impl CreatedRange {
    fn parse(params: &Params) -> Result<Self, ApiError> {
        let bound = |name: &str| params.integer(name);
        let exact = bound("created")?;
        let after = bound("created[gt]")?.map(|at| at.saturating_add(1));
        let before = bound("created[lt]")?.map(|at| at.saturating_sub(1));
        Ok(Self {
            from: exact.or(bound("created[gte]")?).or(after).unwrap_or(i64::MIN),
            to: exact.or(bound("created[lte]")?).or(before).unwrap_or(i64::MAX),
        })
    }

    fn contains(&self, at: i64) -> bool {
        (self.from..=self.to).contains(&at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbered(String, i64);
    impl Row for Numbered {
        fn id(&self) -> &str {
            &self.0
        }
        fn created(&self) -> i64 {
            self.1
        }
    }

    fn five() -> Table<Numbered> {
        let mut table = Table::bounded(5);
        (0..7).for_each(|n| table.push(Numbered(format!("x{n}"), n)));
        table
    }

    fn ids(query: &str) -> (Vec<String>, bool) {
        let table = five();
        let page = page(&table, &Params::parse(query), |_| true).unwrap();
        (page.rows.iter().map(|row| row.0.clone()).collect(), page.has_more)
    }

    #[test]
    fn pages_run_both_ways() {
        assert_eq!(ids("limit=2"), (vec!["x6".into(), "x5".into()], true));
        assert_eq!(
            ids("limit=3&starting_after=x5"),
            (vec!["x4".into(), "x3".into(), "x2".into()], false)
        );
        assert_eq!(
            ids("limit=2&ending_before=x2"),
            (vec!["x4".into(), "x3".into()], true)
        );
    }

    #[test]
    fn created_bounds_are_inclusive_or_not_as_named() {
        assert_eq!(ids("created[gte]=5").0, ["x6", "x5"]);
        assert_eq!(ids("created[gt]=5").0, ["x6"]);
        assert_eq!(ids("created[lt]=3").0, ["x2"]);
        assert_eq!(ids("created=4").0, ["x4"]);
    }

    #[test]
    fn a_cursor_that_was_thrown_away_is_refused() {
        let table = five();
        assert!(page(&table, &Params::parse("starting_after=x1"), |_| true).is_err());
        assert!(page(&table, &Params::parse("limit=101"), |_| true).is_err());
    }
}
