//! Figures of all rounds, and the table of their medians.

use std::{collections::BTreeMap, fs, io::Write as _, path::Path};

use serde_json::json;

use crate::Outcome;

/// What was measured, by line of the table, in the order in which the lines came up.
#[derive(Debug, Default)]
pub struct Report {
    lines: Vec<(String, &'static str)>,
    figures: BTreeMap<String, Vec<f64>>,
}

impl Report {
    /// One figure of one round; `unit` is what stands behind it.
    pub fn add(&mut self, line: impl Into<String>, unit: &'static str, figure: f64) {
        let line = line.into();
        if !self.figures.contains_key(&line) {
            self.lines.push((line.clone(), unit));
        }
        eprintln!("  {line}: {figure:.2} {unit}");
        self.figures.entry(line).or_default().push(figure);
    }

    /// Medians, with the least and the most beside them, as a table that Markdown renders.
    pub fn print(&self) {
        let mut out = std::io::stdout().lock();
        let mut text = String::from("| what | median | least to most | unit |\n|---|---|---|---|\n");
        for (line, unit) in &self.lines {
            let (least, median, most) = spread(&self.figures[line]);
            text.push_str(&format!(
                "| {line} | {} | {} to {} | {unit} |\n",
                short(median),
                short(least),
                short(most)
            ));
        }
        drop(out.write_all(text.as_bytes())); // a reader that went away
    }

    /// Every figure, for programs.
    pub fn write(&self, path: &Path) -> Outcome {
        let lines: Vec<_> = self
            .lines
            .iter()
            .map(|(line, unit)| json!({ "what": line, "unit": unit, "figures": self.figures[line] }))
            .collect();
        fs::write(path, serde_json::to_string_pretty(&lines)?)?;
        Ok(())
    }
}

/// The least, the median and the most. There is at least one.
fn spread(figures: &[f64]) -> (f64, f64, f64) {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1])
}

/// Three digits that mean something.
fn short(figure: f64) -> String {
    match figure.abs() {
        large if large >= 100.0 => format!("{figure:.0}"),
        middle if middle >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}
