//! docs/GUARDS.md, as these tests read it.

use std::{collections::BTreeSet, fs, path::Path};

/// A row of a table: the guards in its first cell, and the rest of it.
#[derive(Clone, Debug)]
pub struct Row {
    pub guards: Vec<String>,
    pub rest: String,
}

/// Every row that describes guards.
pub fn rows() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/GUARDS.md");
    let text = fs::read_to_string(&path).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("| `"));
    lines
        .map(|line| {
            // The first backtick is gone with the prefix.
            let (first, rest) = line.split_once(" | ").unwrap();
            let guards = first.split('`').step_by(2).filter(|name| !name.is_empty());
            Row {
                guards: guards.map(str::to_owned).collect(),
                rest: rest.to_owned(),
            }
        })
        .collect()
}

/// Every guard that it describes.
pub fn guards() -> BTreeSet<String> {
    rows().into_iter().flat_map(|row| row.guards).collect()
}
