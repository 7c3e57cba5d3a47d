//! Charts as numbers: where each bar begins and ends. The templates only write them down. Each has a table of the same figures.

use super::text;

/// Width of a chart of columns in its own units.
pub const WIDTH: i64 = 720;
/// Height of it.
pub const HEIGHT: i64 = 240;
const LEFT: i64 = 84;
const BOTTOM: i64 = 28;
const TOP: i64 = 12;
/// Lines across, beside the base line.
const LINES: i64 = 4;

/// A part of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rect {
    /// From the left.
    pub x: i64,
    /// From the top.
    pub y: i64,
    /// Width.
    pub w: i64,
    /// Height.
    pub h: i64,
    /// The series: `s0`, `s1`.
    pub class: &'static str,
    /// What it says when it is pointed at.
    pub title: String,
}

/// A line across, and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// From the top.
    pub y: i64,
    /// Its value.
    pub label: String,
}

/// The name under a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its middle.
    pub x: i64,
    /// The name.
    pub text: String,
}

/// Columns over time, each of two parts, one on the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Names the chart in the page.
    pub id: &'static str,
    /// The heading.
    pub title: String,
    /// The chart in one sentence.
    pub summary: String,
    /// What the parts are.
    pub series: [&'static str; 2],
    /// The header over the names of the columns.
    pub first: &'static str,
    /// The parts.
    pub rects: Vec<Rect>,
    /// The lines across.
    pub ticks: Vec<Tick>,
    /// The names.
    pub labels: Vec<Label>,
    /// The same as a table: name and figures.
    pub rows: Vec<(String, [String; 2])>,
}

/// A column: its name and its two parts.
pub type Column = (String, [i64; 2]);

impl Columns {
    /// Works out where everything stands. `shown` says a figure.
    #[must_use]
    pub fn new(
        (id, title): (&'static str, &str),
        summary: String,
        (first, series): (&'static str, [&'static str; 2]),
        columns: &[Column],
        shown: impl Fn(i64) -> String,
    ) -> Self {
        let top = nice(
            columns
                .iter()
                .map(|(_, parts)| parts[0].max(0) + parts[1].max(0))
                .max()
                .unwrap_or(0),
        );
        let high = HEIGHT - TOP - BOTTOM;
        let scaled = |value: i64| {
            i64::try_from(i128::from(value.max(0)) * i128::from(high) / i128::from(top)).unwrap_or(high)
        };
        let slot = (WIDTH - LEFT) / i64::try_from(columns.len().max(1)).unwrap_or(1);
        let (mut rects, mut labels) = (Vec::new(), Vec::new());
        for (nth, (name, parts)) in columns.iter().enumerate() {
            let x = LEFT + slot * i64::try_from(nth).unwrap_or(0);
            let mut y = TOP + high;
            for (part, class) in parts.iter().zip(["s0", "s1"]) {
                let h = scaled(*part);
                y -= h;
                if h > 0 {
                    let what = series[usize::from(class == "s1")];
                    rects.push(Rect {
                        x: x + slot / 6,
                        y,
                        w: slot * 2 / 3,
                        h,
                        class,
                        title: format!("{name}: {what} {}", shown(*part)),
                    });
                }
            }
            labels.push(Label {
                x: x + slot / 2,
                text: name.clone(),
            });
        }
        let ticks = (0..=LINES)
            .map(|nth| Tick {
                y: TOP + high - high * nth / LINES,
                label: short(top / LINES * nth, &shown),
            })
            .collect();
        let rows = columns
            .iter()
            .map(|(name, parts)| (name.clone(), parts.map(&shown)))
            .collect();
        Self {
            id,
            title: title.to_owned(),
            summary,
            series,
            first,
            rects,
            ticks,
            labels,
            rows,
        }
    }
}

/// A figure beside a line: without what is after the point, and without its currency.
fn short(value: i64, shown: impl Fn(i64) -> String) -> String {
    let text = shown(value);
    let number = text.split(' ').next().unwrap_or_default();
    number.split('.').next().unwrap_or_default().to_owned()
}

/// The next round number that four lines divide.
#[must_use]
pub fn nice(most: i64) -> i64 {
    let mut step = 1_i64;
    loop {
        for factor in [4, 8, 12, 20, 40] {
            match step.checked_mul(factor) {
                Some(round) if round >= most => return round,
                Some(_) => {}
                None => return most.max(1),
            }
        }
        step = step.saturating_mul(10);
    }
}

/// A bar in a row of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// What it is.
    pub label: String,
    /// How long, in percent of the longest.
    pub percent: i64,
    /// The figures, as many as there are headers.
    pub figures: Vec<String>,
}

/// Rows of a table, each with a bar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bars {
    /// The heading.
    pub title: String,
    /// In one sentence.
    pub summary: String,
    /// The header over the names.
    pub first: &'static str,
    /// The headers of the figures.
    pub heads: Vec<&'static str>,
    /// The rows.
    pub rows: Vec<Bar>,
    /// What is said where there are none.
    pub empty: super::Empty,
    /// It has the whole width on a desk.
    pub alone: bool,
}

/// A share in percent, rounded down; at least one where there is anything.
#[must_use]
pub fn percent(part: i64, whole: i64) -> i64 {
    if part <= 0 || whole <= 0 {
        return 0;
    }
    i64::try_from(i128::from(part) * 100 / i128::from(whole))
        .unwrap_or(100)
        .clamp(1, 100)
}

impl Bars {
    /// Bars against the longest of them.
    #[must_use]
    pub fn new(
        (title, summary): (&str, String),
        (first, heads): (&'static str, &[&'static str]),
        rows: Vec<(String, i64, Vec<String>)>,
        empty: super::Empty,
    ) -> Self {
        let longest = rows.iter().map(|(_, value, _)| *value).max().unwrap_or(0);
        let rows = if longest > 0 { rows } else { Vec::new() };
        Self {
            title: title.to_owned(),
            summary,
            first,
            heads: heads.to_vec(),
            rows: rows
                .into_iter()
                .map(|(label, value, figures)| Bar {
                    label,
                    percent: percent(value, longest),
                    figures,
                })
                .collect(),
            empty,
            alone: false,
        }
    }

    /// With the whole width.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }
}

/// A share in words: `12 of 30 (40 %)`.
#[must_use]
pub fn of(part: i64, whole: i64) -> String {
    format!(
        "{} of {} ({} %)",
        text::count(part),
        text::count(whole),
        percent(part, whole)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(parts: &[[i64; 2]]) -> Columns {
        let columns: Vec<Column> = parts
            .iter()
            .enumerate()
            .map(|(nth, parts)| (format!("m{nth}"), *parts))
            .collect();
        Columns::new(
            ("c", "C"),
            String::new(),
            ("Month", ["in", "open"]),
            &columns,
            |value| value.to_string(),
        )
    }

    #[test]
    fn parts_stand_on_each_other_and_within_the_picture() {
        let chart = columns(&[[30, 10], [0, 40], [0, 0]]);
        assert_eq!(chart.rects.len(), 3, "nothing is drawn for nothing");
        let [low, on_top, alone] = &chart.rects[..] else {
            panic!()
        };
        assert_eq!(on_top.y + on_top.h, low.y);
        assert_eq!(
            (alone.y, alone.h),
            (on_top.y, low.h + on_top.h),
            "40 is as high as 30 and 10"
        );
        assert!(
            chart
                .rects
                .iter()
                .all(|r| r.y >= TOP && r.y + r.h <= HEIGHT - BOTTOM && r.x >= LEFT && r.x + r.w <= WIDTH)
        );
        assert_eq!(
            chart.ticks.last().map(|tick| (tick.y, tick.label.as_str())),
            Some((TOP, "40"))
        );
        assert_eq!(chart.rows[0], ("m0".into(), ["30".into(), "10".into()]));
    }

    #[test]
    fn nothing_and_the_largest_numbers_are_drawn_too() {
        assert!(columns(&[]).rects.is_empty());
        assert!(columns(&[[0, 0]]).rects.is_empty());
        assert_eq!(columns(&[[i64::MAX / 2, 0]]).rects.len(), 1);
        assert_eq!(
            (nice(0), nice(5), nice(12), nice(13), nice(81)),
            (4, 8, 12, 20, 120)
        );
    }

    #[test]
    fn bars_are_measured_against_the_longest() {
        let rows = vec![
            ("a".to_owned(), 50, vec![]),
            ("b".to_owned(), 1, vec![]),
            ("c".to_owned(), 0, vec![]),
        ];
        let bars = Bars::new(
            ("T", String::new()),
            ("x", &[]),
            rows,
            super::super::Empty::default(),
        );
        assert_eq!(
            bars.rows.iter().map(|bar| bar.percent).collect::<Vec<_>>(),
            [100, 2, 0]
        );
        assert_eq!(percent(1, 1_000), 1, "what is there is seen");
    }
}
