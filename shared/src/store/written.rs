//! What a transaction has written, row by row and column by column: for dry runs, which really do a thing and undo it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::PgConnection;

use super::error::Result;
use crate::ids::FirmId;

/// A row that is new, or has changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Effect {
    /// Its table.
    pub table: String,
    /// Its primary key.
    pub key: Value,
    /// `None` where the row is new.
    pub before: Option<Map<String, Value>>,
    /// The changed columns; all of a new row that are not null.
    pub after: Map<String, Value>,
}

/// The rows that the transaction of `inside` has written, compared with how `outside`, which must see the same firm, finds
/// them. What was written and is as it was before is no effect.
///
/// # Errors
/// When the database is away.
pub async fn effects(inside: &mut PgConnection, outside: &mut PgConnection) -> Result<Vec<Effect>> {
    let written = sqlx::query!(
        r#"select relation as "relation!", key as "key!", after as "after!" from app.written_here()"#
    )
    .fetch_all(inside)
    .await?;
    let mut by_table: BTreeMap<String, Vec<(Value, Value)>> = BTreeMap::new();
    for row in written {
        by_table
            .entry(row.relation)
            .or_default()
            .push((row.key, row.after));
    }
    let mut effects = Vec::new();
    for (table, rows) in by_table {
        let keys = Value::Array(rows.iter().map(|(key, _)| key.clone()).collect());
        let known = sqlx::query!(
            r#"select key as "key!", row_now as "row_now!" from app.rows_by_key($1, $2)"#,
            table,
            keys
        )
        .fetch_all(&mut *outside)
        .await?;
        for (key, after) in rows {
            let before = known.iter().find(|row| row.key == key).map(|row| &row.row_now);
            effects.extend(effect(&table, key, before, after));
        }
    }
    Ok(effects)
}

fn effect(table: &str, key: Value, before: Option<&Value>, after: Value) -> Option<Effect> {
    let Value::Object(after) = after else { return None };
    let before = before.and_then(Value::as_object);
    let is_changed = |column: &str, value: &Value| match before {
        Some(before) => before.get(column) != Some(value),
        None => !value.is_null(),
    };
    let changed: Map<String, Value> = after
        .into_iter()
        .filter(|(column, value)| is_changed(column, value))
        .collect();
    if changed.is_empty() {
        return None;
    }
    let before = before.map(|before| {
        let old = |column: &String| Some((column.clone(), before.get(column)?.clone()));
        changed.keys().filter_map(old).collect()
    });
    Some(Effect {
        table: table.to_owned(),
        key,
        before,
        after: changed,
    })
}

/// The firm whose rows a transaction sees, if any.
///
/// # Errors
/// When the database is away.
pub async fn firm_in_sight(conn: &mut PgConnection) -> Result<Option<FirmId>> {
    Ok(sqlx::query_scalar!("select app.firm()")
        .fetch_one(conn)
        .await?
        .map(FirmId))
}

/// Checks now what would be checked at the commit, so that a dry run ends as the real one would.
///
/// # Errors
/// When a deferred constraint does not hold.
pub async fn check_as_at_commit(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!("set constraints all immediate")
        .execute(conn)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_new_row_a_changed_one_and_one_that_was_written_as_it_is() {
        let key = json!({ "id": 1 });
        let of = |before: Option<Value>, after: Value| effect("t", key.clone(), before.as_ref(), after);
        let new = of(None, json!({ "id": 1, "a": null })).unwrap();
        assert_eq!((new.before, Value::Object(new.after)), (None, json!({ "id": 1 })));
        let changed = of(
            Some(json!({ "id": 1, "a": 2, "b": null })),
            json!({ "id": 1, "a": 3, "b": null }),
        )
        .unwrap();
        assert_eq!(Value::Object(changed.before.unwrap()), json!({ "a": 2 }));
        assert_eq!(Value::Object(changed.after), json!({ "a": 3 }));
        assert_eq!(of(Some(json!({ "id": 1 })), json!({ "id": 1 })), None);
    }
}
