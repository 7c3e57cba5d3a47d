//! The guards that a database has, by its own catalogue.

use sqlx::Row as _;
use tests::world::World;

/// What kind of guard, and so how it is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A check of a table or a domain.
    Check,
    /// A unique index, a primary key among them.
    Unique,
    /// An exclusion constraint.
    Exclusion,
    /// A foreign key.
    Reference,
    /// A trigger that lets nothing be changed, or truncated.
    AppendOnly,
    /// Something that a function raises.
    Raise,
}

/// A guard.
#[derive(Clone, Debug)]
pub struct Guard {
    pub kind: Kind,
    /// Of a constraint its own; `append_only on TABLE`; or `FUNCTION: SENTENCE` with `%` for what differs.
    pub name: String,
    /// Where it stands; empty for domains and functions.
    pub table: String,
}

/// All of them.
pub async fn guards(world: &World) -> Vec<Guard> {
    let sql = r"
        select 'check' as kind, conname::text as name, case when conrelid = 0 then '' else conrelid::regclass::text end as relation
          from pg_constraint where contype = 'c' and connamespace in ('public'::regnamespace, 'app'::regnamespace)
        union all
        select 'exclusion', conname, conrelid::regclass::text from pg_constraint where contype = 'x' and connamespace = 'public'::regnamespace
        union all
        select 'reference', conname, conrelid::regclass::text from pg_constraint where contype = 'f' and connamespace = 'public'::regnamespace
        union all
        select 'unique', indexrelid::regclass::text, indrelid::regclass::text from pg_index join pg_class c on c.oid = indrelid
         where indisunique and c.relnamespace = 'public'::regnamespace and c.relname <> '_sqlx_migrations'
        union all
        select 'append_only', tgname || ' on ' || tgrelid::regclass, tgrelid::regclass::text from pg_trigger
         where tgfoid = 'app.append_only'::regproc and not tgisinternal
        union all
        select distinct 'raise', proname || ': ' || said[1], '' from pg_proc,
               regexp_matches(prosrc, 'raise exception ''((?:[^'']|'''')*)''[^;]*errcode = ''QT[0-9]+''', 'g') said
         where pronamespace = 'app'::regnamespace and proname <> 'append_only'
        order by 1, 2";
    let rows = sqlx::query(sql).fetch_all(&world.db).await.unwrap();
    let guard = |row: &sqlx::postgres::PgRow| Guard {
        kind: match row.get("kind") {
            "check" => Kind::Check,
            "exclusion" => Kind::Exclusion,
            "reference" => Kind::Reference,
            "unique" => Kind::Unique,
            "append_only" => Kind::AppendOnly,
            _ => Kind::Raise,
        },
        name: row.get("name"),
        table: row.get("relation"),
    };
    let found: Vec<Guard> = rows.iter().map(guard).collect();
    // A raise that is written otherwise would be missed above.
    let written = "select coalesce(sum((length(prosrc) - length(replace(prosrc, 'raise exception', ''))) / length('raise exception')), 0)
                     from pg_proc where pronamespace = 'app'::regnamespace";
    let read = r"select count(*) from pg_proc,
                   regexp_matches(prosrc, 'raise exception ''((?:[^'']|'''')*)''[^;]*errcode = ''QT[0-9]+''', 'g')
                  where pronamespace = 'app'::regnamespace";
    assert_eq!(
        world.count(read).await,
        world.count(written).await,
        "a guard raises without an errcode of ours"
    );
    found
}

/// What is unique by fewer columns is unique by more: the narrower index always refuses first. The wider ones are there for
/// references to point at.
const IMPLIED: [(&str, &str); 3] = [
    ("alert_destinations_firm_id_id_key", "alert_destinations_pkey"),
    ("alerts_firm_id_id_key", "alerts_pkey"),
    ("payment_methods_firm_id_client_id_id_key", "payment_methods_pkey"),
];

/// A statement that breaks one guard, and no other that would be asked before it.
#[derive(Clone, Debug)]
pub struct Proof {
    pub guard: String,
    pub sql: String,
}

impl Proof {
    /// Whether what stopped the statement is this guard.
    pub fn is_met_by(&self, said: &str) -> bool {
        match self.guard.split_once(": ") {
            Some((_, sentence)) => said
                .strip_prefix("QT")
                .and_then(|rest| rest.split_once(' '))
                .is_some_and(|(_, said)| is_like(said, sentence)),
            None => match self.guard.split_once(" on ") {
                // A truncate reaches the tables that refer to this one too, and any of them may be the first to refuse.
                Some((_, table)) => {
                    said == format!("QT010 {table} is append-only")
                        || self.sql.starts_with("truncate")
                            && said.starts_with("QT010")
                            && said.ends_with("append-only")
                }
                None => said == self.guard || IMPLIED.contains(&(self.guard.as_str(), said)),
            },
        }
    }
}

/// Whether a message is this sentence with something for every `%`.
fn is_like(message: &str, sentence: &str) -> bool {
    let mut rest = message;
    let mut parts = sentence.split('%');
    let Some(first) = parts.next() else { return false };
    let Some(after) = rest.strip_prefix(first) else {
        return false;
    };
    rest = after;
    for part in parts {
        if part.is_empty() {
            continue;
        }
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.is_empty() || sentence.ends_with('%')
}
