//! Plays a story: once to see which points it passes, then once for each of them, or for a sample.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::{collections::BTreeMap, fs, sync::Arc, time::Instant};

use futures::{StreamExt as _, future::BoxFuture, stream};
use tokio::task::spawn_blocking;

use super::stage::Stage;

/// A story.
pub type Story = fn(&Stage) -> BoxFuture<'_, ()>;

/// How many points of each story are played: a number, or `all`. Or which one: `collect_invoice.commit.1.before@2`.
const VARIABLE: &str = "QUITTANCE_CRASH_POINTS";
/// Unless that says otherwise.
const SAMPLE: usize = 3;
/// Plays at a time. They mostly wait.
const AT_A_TIME: usize = 2;

/// Loops that look again and again, as often as time allows: their points are played the first few times that they are passed.
const LOOPS: [&str; 5] = ["relay", "scheduler", "rescue", "lane", "process"];
const FIRST_FEW: usize = 2;

/// Of so many plays one may not pass its point: how often two jobs get into each other's way, and are put back, is chance.
const MOST_NOT_PASSED: usize = 20;

/// How a play with a crash ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// As the undisturbed one.
    Same,
    /// So too, but it did not pass its point.
    NotPassed,
    /// Otherwise.
    Fault(String),
}

impl End {
    fn fault(&self) -> Option<&str> {
        match self {
            Self::Fault(fault) => Some(fault),
            Self::Same | Self::NotPassed => None,
        }
    }
}

/// A point, and the how-manieth time it is passed.
type Moment = (String, usize);

/// Crashes a story at its points; each time it must end as it does undisturbed. It must run these handlers and have these
/// effects.
pub async fn crash_at_every_point_of(name: &'static str, story: Story, must_pass: &[&str]) {
    let started = Instant::now();
    let (passed, undisturbed) = record(name, story).await;
    for part in must_pass {
        let names = |point: &String| point.split('.').any(|word| word == *part);
        assert!(passed.iter().any(names), "{name} does not pass {part}");
    }
    let moments = moments(&passed);
    let wanted = chosen(name, &moments);
    let played = stream::iter(wanted.iter().cloned())
        .map(|moment| {
            let undisturbed = Arc::clone(&undisturbed);
            async move {
                let here = moment.clone();
                let played = spawn_blocking(move || alone(crash(here, story, undisturbed))).await;
                match played.unwrap_or_else(|panicked| End::Fault(panicked.to_string())) {
                    End::Fault(fault) => End::Fault(format!("{}@{}: {fault}", moment.0, moment.1)),
                    end => end,
                }
            }
        })
        .buffer_unordered(AT_A_TIME)
        .collect::<Vec<End>>()
        .await;
    let faults: Vec<&str> = played.iter().filter_map(End::fault).collect();
    let not_passed = played.iter().filter(|end| **end == End::NotPassed).count();
    eprintln!(
        "{name}: {} points passed, {} moments, {} played, {not_passed} not passed again, {} faults, {} s",
        passed.len(),
        moments.len(),
        played.len(),
        faults.len(),
        started.elapsed().as_secs()
    );
    assert!(faults.is_empty(), "{name}\n{}", faults.join("\n"));
    // One that was asked for by name must be passed; of many, chance may take one or a few away.
    let tolerated = if played.len() == 1 {
        0
    } else {
        1 + played.len() / MOST_NOT_PASSED
    };
    assert!(
        not_passed <= tolerated,
        "{name}: {not_passed} were not passed again"
    );
    assert!(not_passed < played.len(), "{name}: nothing crashed");
}

/// On a thread of its own: a world that goes waits until its database is dropped, and that waits for whoever is just connecting.
fn alone<T>(play: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(play)
}

/// Plays undisturbed: the points in the order in which they were passed, and the end.
async fn record(name: &str, story: Story) -> (Vec<String>, Arc<String>) {
    let file = std::env::temp_dir().join(format!("quittance-points-{name}-{}", std::process::id()));
    let stage = Stage::set(&format!("record={}", file.display())).await;
    story(&stage).await;
    assert_eq!(stage.crashes(), 0, "the undisturbed play was disturbed");
    let ends = stage.ends().await;
    drop(stage);
    let passed = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    (passed.lines().map(str::to_owned).collect(), Arc::new(ends))
}

/// Every point with every time that it was passed, in the order of the story.
fn moments(passed: &[String]) -> Vec<Moment> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    let mut moments = Vec::new();
    for point in passed {
        let nth = times.entry(point).or_default();
        *nth += 1;
        let (who, _) = point.split_once('.').unwrap();
        if *nth <= FIRST_FEW || !LOOPS.contains(&who) {
            moments.push((point.clone(), *nth));
        }
    }
    moments
}

/// All, or a sample: evenly spread over the story. It is the same one wherever the processes come in the same order.
fn chosen(name: &str, moments: &[Moment]) -> Vec<Moment> {
    let setting = std::env::var(VARIABLE).unwrap_or_default();
    let many = match setting.as_str() {
        "" => SAMPLE,
        "all" => return moments.to_vec(),
        one if one.contains('@') => {
            let (point, nth) = one.split_once('@').unwrap();
            return vec![(point.to_owned(), nth.parse().unwrap())];
        }
        number => number
            .parse()
            .unwrap_or_else(|_| panic!("{VARIABLE} is neither a number, nor all, nor POINT@N: {number}")),
    };
    let shift = name.bytes().map(usize::from).sum::<usize>();
    let stride = moments.len().div_ceil(many.max(1)).max(1);
    moments
        .iter()
        .skip(shift % stride)
        .step_by(stride)
        .cloned()
        .collect()
}

/// Plays with a crash.
async fn crash((point, nth): Moment, story: Story, undisturbed: Arc<String>) -> End {
    let stage = Stage::set(&format!("{point}=abort@{nth}")).await;
    story(&stage).await;
    let crashes = stage.crashes();
    let ends = stage.ends().await;
    let (who, _) = point.split_once('.').unwrap();
    if ends != *undisturbed {
        End::Fault(difference(&undisturbed, &ends))
    } else if crashes == 0 && !LOOPS.contains(&who) {
        End::NotPassed
    } else {
        End::Same
    }
}

/// Lines that only one of them has.
fn difference(undisturbed: &str, crashed: &str) -> String {
    let only = |mark: char, of: &str, other: &str| -> String {
        let mut others: Vec<&str> = other.lines().collect();
        of.lines()
            .filter(|line| match others.iter().position(|found| found == line) {
                Some(at) => {
                    others.swap_remove(at);
                    false
                }
                None => true,
            })
            .map(|line| format!("\n  {mark} {line}"))
            .collect()
    };
    only('-', undisturbed, crashed) + &only('+', crashed, undisturbed)
}
