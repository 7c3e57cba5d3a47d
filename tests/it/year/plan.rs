//! What a generated year holds: firms, clients, terms, and what happens on which day. A seed gives the same year for ever, but for
//! the calendar of a later leap year once 2028 has begun.
//!
//! What is done to an invoice cannot name it, as nobody knows beforehand which there will be: such an act carries a number, by
//! which whoever carries it out picks one of those that are fit for it on that day.

use ::tests::world::wall_clock_secs;
use chrono::{DateTime, Days, NaiveDate, TimeDelta, Weekday};

/// Days of the year that is lived through, a leap year.
pub const DAYS: u32 = 366;

/// Clients of all firms together.
const CLIENTS: u64 = 40;

/// The day before the first one: New Year of 2028 or, as a clock moves forward only, of the first leap year that has not begun.
pub fn eve() -> NaiveDate {
    eve_after(DateTime::from_timestamp(wall_clock_secs(), 0).map_or(NaiveDate::MAX, |now| now.date_naive()))
}

fn eve_after(today: NaiveDate) -> NaiveDate {
    let new_years = (2028..)
        .step_by(4)
        .filter_map(|year| NaiveDate::from_ymd_opt(year, 1, 1));
    let mut leap = new_years.filter(|day| day.leap_year() && *day > today);
    leap.next().unwrap_or(NaiveDate::MAX)
}

/// A firm with its calendar.
#[derive(Clone, Copy, Debug)]
pub struct Firm {
    /// Its name everywhere.
    pub name: &'static str,
    /// As the product is told.
    pub zone: &'static str,
    /// Minutes ahead of UTC, in winter.
    ahead: i64,
    /// Whether it keeps the daylight-saving time of the United States.
    summer_time: bool,
    /// Its currency, and how many digits that has behind the point.
    pub currency: &'static str,
    pub digits: u32,
    /// What a fee is a multiple of, in minor units.
    unit: i64,
}

/// The furthest ahead that there is; one whose clock changes; one that is off by a quarter of an hour and has no cents.
pub const FIRMS: [Firm; 3] = [
    Firm {
        name: "kiritimati",
        zone: "Pacific/Kiritimati",
        ahead: 14 * 60,
        summer_time: false,
        currency: "aud",
        digits: 2,
        unit: 1_000,
    },
    Firm {
        name: "newyork",
        zone: "America/New_York",
        ahead: -5 * 60,
        summer_time: true,
        currency: "usd",
        digits: 2,
        unit: 777,
    },
    Firm {
        name: "kathmandu",
        zone: "Asia/Kathmandu",
        ahead: 5 * 60 + 45,
        summer_time: false,
        currency: "jpy",
        digits: 0,
        unit: 1_003,
    },
];

/// The time of the year's steps: an hour at which New York has begun its run of the day in summer and not yet in winter. Each day
/// is a little later than the one before, so that a retry that is due in three days is due when the third day is looked at.
pub fn at(day: u32) -> chrono::DateTime<chrono::Utc> {
    let base = eve()
        .and_hms_opt(6, 5, 0)
        .map_or(NaiveDate::MIN.into(), |time| time);
    base.and_utc() + TimeDelta::days(day.into()) + TimeDelta::seconds(10 * i64::from(day))
}

impl Firm {
    /// The firm's date and hour at a full hour of UTC. Its own arithmetic: the product has it from a library.
    pub fn local(&self, utc: chrono::DateTime<chrono::Utc>) -> chrono::NaiveDateTime {
        let summer = TimeDelta::hours(i64::from(self.summer_time && is_summer(utc)));
        (utc + TimeDelta::minutes(self.ahead) + summer).naive_utc()
    }
}

/// From the second Sunday of March, 07:00 UTC, until the first Sunday of November, 06:00 UTC, as in New York.
fn is_summer(utc: chrono::DateTime<chrono::Utc>) -> bool {
    let change = |month, nth, hour| {
        NaiveDate::from_weekday_of_month_opt(chrono::Datelike::year(&utc), month, Weekday::Sun, nth)
            .and_then(|day| day.and_hms_opt(hour, 0, 0))
            .is_some_and(|change| change.and_utc() <= utc)
    };
    change(3, 2, 7) && !change(11, 1, 6)
}

/// What is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Package,
    Mixed,
    Hourly,
}

/// Terms, as one version of an engagement has them.
#[derive(Clone, Debug)]
pub struct Terms {
    pub name: String,
    pub firm: usize,
    pub client: usize,
    pub mode: Mode,
    /// `monthly`, `quarterly`, `annual`, `one_time`; hours alone may have none.
    pub cadence: Option<&'static str>,
    pub anniversary: bool,
    pub daily: bool,
    /// The fee of a period and the rate of an hour, in minor units.
    pub fee: i64,
    pub rate: i64,
    pub starts_on: NaiveDate,
    pub ends_on: Option<NaiveDate>,
}

/// Time worked.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    pub engagement: String,
    pub worked_on: NaiveDate,
    pub minutes: i64,
    /// `approved`, `submitted`, `rejected`, `draft`.
    pub state: &'static str,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Act {
    /// Time comes in.
    Import(Vec<Entry>),
    /// Time is written down, handed in and approved, command by command.
    Work(Entry),
    /// Time that was handed in is approved.
    Approve(String),
    /// Hours without a cadence are invoiced, if there are any.
    Invoice {
        engagement: String,
    },
    /// The next version of an engagement is written.
    Renew {
        old: String,
        terms: Terms,
    },
    /// It is signed.
    Sign(String),
    /// An engagement ends earlier.
    End {
        engagement: String,
        on: NaiveDate,
    },
    /// A person lets a firm bill what is long overdue.
    CatchUp {
        firm: usize,
    },
    /// What a client's card does from now on.
    Script {
        client: usize,
        script: Vec<&'static str>,
    },
    /// What becomes of refunds to a client's card.
    SlowRefunds {
        client: usize,
        outcome: &'static str,
    },
    /// One of those whose card is no good any more gives another one.
    NewCard(u64),
    /// One of those who must, or may, pays by hand.
    PayByHand(u64),
    /// A bank ends a payment that it was processing.
    EndProcessing {
        pick: u64,
        outcome: &'static str,
    },
    /// Money goes back: so many tenths of what was paid.
    Refund {
        pick: u64,
        to: &'static str,
        tenths: i64,
    },
    /// A refund that was on its way arrives, or does not.
    MoveRefund {
        pick: u64,
        status: &'static str,
    },
    Void {
        pick: u64,
        reissue: bool,
    },
    WriteOff(u64),
    /// Money from elsewhere: so many tenths of what is open.
    PayExternal {
        pick: u64,
        tenths: i64,
    },
    Credit {
        client: usize,
        units: i64,
        source: &'static str,
        expires_on: Option<NaiveDate>,
    },
    Dispute {
        pick: u64,
        kind: &'static str,
        reason: &'static str,
        tenths: i64,
    },
    MoveDispute {
        pick: u64,
        action: &'static str,
    },
    Resolve {
        pick: u64,
        choice: &'static str,
    },
    Autopay {
        client: usize,
        on: bool,
    },
    /// How webhooks are delivered from now on.
    Webhooks {
        duplicate: u64,
        double: bool,
        shuffle: bool,
    },
}

/// A year.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is signed in the beginning.
    pub terms: Vec<Terms>,
    /// What happens, by day; none on day 0.
    pub days: Vec<Vec<Act>>,
}

/// Numbers that look random and follow from a seed: SplitMix64, which stays what it is.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `from` until `to`, which is not included.
    pub fn number(&mut self, from: i64, to: i64) -> i64 {
        let span = u64::try_from(to - from).unwrap_or(1).max(1);
        from + i64::try_from(self.roll() % span).unwrap_or(0)
    }

    /// So many times in a hundred.
    pub fn chance(&mut self, percent: i64) -> bool {
        self.number(0, 100) < percent
    }

    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        let place = self.roll() % of.len() as u64;
        of[usize::try_from(place).unwrap_or(0)]
    }
}

/// Mode, cadence, anniversary, by days.
type Shape = (Mode, Option<&'static str>, bool, bool);

/// Every mode with every cadence that it can have; months are what most clients have.
const SHAPES: [Shape; 16] = [
    (Mode::Package, Some("monthly"), false, false),
    (Mode::Package, Some("monthly"), true, false),
    (Mode::Package, Some("quarterly"), false, false),
    (Mode::Package, Some("quarterly"), true, false),
    (Mode::Package, Some("annual"), false, true),
    (Mode::Package, Some("annual"), true, false),
    (Mode::Package, Some("one_time"), true, false),
    (Mode::Package, Some("monthly"), false, true),
    (Mode::Mixed, Some("monthly"), true, false),
    (Mode::Mixed, Some("quarterly"), false, true),
    (Mode::Mixed, Some("annual"), true, false),
    (Mode::Mixed, Some("one_time"), false, false),
    (Mode::Hourly, Some("monthly"), false, false),
    (Mode::Hourly, Some("quarterly"), true, false),
    (Mode::Hourly, Some("annual"), false, false),
    (Mode::Hourly, None, false, false),
];

/// Declines after which a card may do better, and those after which it will not.
const SOFT: [&str; 4] = [
    "insufficient_funds",
    "do_not_honor",
    "processing_error",
    "generic_decline",
];
const HARD: [&str; 4] = ["lost_card", "stolen_card", "expired_card", "pickup_card"];

/// The year of a seed.
pub fn plan(seed: u64) -> Plan {
    let mut year = Year {
        dice: Dice::new(seed),
        days: vec![Vec::new(); DAYS as usize + 1],
        worked: 0,
    };
    let terms = year.terms();
    for terms in &terms {
        let versions = year.course(terms);
        year.work(&versions);
    }
    for day in 1..=DAYS {
        year.everyday(day);
    }
    Plan {
        terms,
        days: year.days,
    }
}

struct Year {
    dice: Dice,
    days: Vec<Vec<Act>>,
    worked: u32,
}

impl Year {
    /// An act on a day; what would come after the year does not come.
    fn on(&mut self, day: u32, act: Act) {
        if let Some(acts) = self.days.get_mut(day as usize) {
            acts.push(act);
        }
    }

    fn terms(&mut self) -> Vec<Terms> {
        let mut all = Vec::new();
        for n in 0..CLIENTS {
            let client = usize::try_from(n).unwrap_or(0);
            let shape = SHAPES[client % SHAPES.len()];
            all.push(self.engagement(client, "work", shape));
            // Some have their hours apart.
            if client % 7 == 3 {
                all.push(self.engagement(client, "hours", SHAPES[15]));
            }
        }
        // One is found months late: a person must say that all of it is billed.
        all[0].starts_on = eve() - Days::new(150);
        all[0].ends_on = None;
        let day = self.day(20, 60);
        self.on(day, Act::CatchUp { firm: all[0].firm });
        all
    }

    fn engagement(&mut self, client: usize, kind: &str, shape: Shape) -> Terms {
        let (mode, cadence, anniversary, daily) = shape;
        let firm = client % FIRMS.len();
        let starts = if self.dice.chance(60) { (-25, 60) } else { (0, 240) };
        let starts_on = eve() + TimeDelta::days(self.dice.number(starts.0, starts.1));
        let length = self.dice.number(70, 250);
        let repeats = cadence == Some("monthly") || (cadence == Some("quarterly") && length > 200);
        let ends_on = (repeats && self.dice.chance(60)).then(|| starts_on + TimeDelta::days(length));
        Terms {
            name: format!("c{client:02}-{kind}"),
            firm,
            client,
            mode,
            cadence,
            anniversary,
            daily,
            fee: FIRMS[firm].unit * self.dice.number(3, 90),
            rate: FIRMS[firm].unit * self.dice.number(5, 25),
            starts_on,
            ends_on,
        }
    }

    fn day(&mut self, from: i64, to: i64) -> u32 {
        u32::try_from(self.dice.number(from, to)).unwrap_or(0)
    }

    /// What becomes of an engagement in the year: all its versions, each with the day after which it is signed.
    fn course(&mut self, first: &Terms) -> Vec<(Terms, u32)> {
        let mut versions = vec![(first.clone(), 0)];
        while let Some((old, _)) = versions.last().cloned() {
            let Some(ends_on) = old.ends_on else {
                if versions.len() == 1 && first.client != 0 && self.dice.chance(15) {
                    self.end_early(&mut versions[0].0);
                }
                break;
            };
            let last = day_of(ends_on);
            if last < 10 || last > i64::from(DAYS) - 20 || versions.len() > 2 || !self.dice.chance(70) {
                break;
            }
            let mut new = old.clone();
            new.name = format!("{}-v{}", first.name, versions.len() + 1);
            new.starts_on = ends_on;
            new.ends_on = Some(ends_on + TimeDelta::days(self.dice.number(60, 300)));
            new.fee += FIRMS[new.firm].unit;
            new.daily = old.daily || (old.mode != Mode::Hourly && self.dice.chance(40));
            let written = self.day(last - 9, last);
            // Some sign when it has begun already.
            let signed = written + self.day(0, 12);
            let act = Act::Renew {
                old: old.name.clone(),
                terms: new.clone(),
            };
            self.on(written, act);
            self.on(signed, Act::Sign(new.name.clone()));
            versions.push((new, signed));
        }
        versions
    }

    fn end_early(&mut self, terms: &mut Terms) {
        let day = self.day(60, 300);
        let on = eve() + TimeDelta::days(i64::from(day) + self.dice.number(0, 25));
        if on > terms.starts_on {
            let engagement = terms.name.clone();
            self.on(day, Act::End { engagement, on });
            terms.ends_on = Some(on);
        }
    }

    /// The time that is worked on an engagement, whichever version it has by then.
    fn work(&mut self, versions: &[(Terms, u32)]) {
        if versions[0].0.mode == Mode::Package {
            return;
        }
        let mut day = self.day(2, 8);
        while day <= DAYS {
            let worked_on = eve() + TimeDelta::days(i64::from(day) - self.dice.number(1, 7));
            let of = versions.iter().find(|(terms, signed)| {
                *signed < day
                    && terms.starts_on <= worked_on
                    && terms.ends_on.is_none_or(|end| worked_on < end)
            });
            if let Some((terms, _)) = of {
                let name = terms.name.clone();
                self.worked_on(day, &name, worked_on);
            }
            day += self.day(4, 16);
        }
        for (terms, signed) in versions.iter().filter(|(terms, _)| terms.cadence.is_none()) {
            let mut day = *signed + self.day(15, 45);
            while day <= DAYS {
                let engagement = terms.name.clone();
                self.on(day, Act::Invoice { engagement });
                day += self.day(20, 50);
            }
        }
    }

    fn worked_on(&mut self, day: u32, engagement: &str, worked_on: NaiveDate) {
        self.worked += 1;
        let state = match self.dice.number(0, 100) {
            0..=83 => "approved",
            84..=92 => "submitted",
            93..=96 => "rejected",
            _ => "draft",
        };
        let entry = Entry {
            name: format!("t{:04}", self.worked),
            engagement: engagement.to_owned(),
            worked_on,
            minutes: self.dice.number(7, 400),
            state,
        };
        if state == "approved" && self.dice.chance(4) {
            return self.on(day, Act::Work(entry));
        }
        // Time is imported once a week, and dated as it was worked.
        let day = day.div_ceil(7) * 7;
        if state == "submitted" && self.dice.chance(80) {
            let later = day + self.day(1, 40);
            self.on(later, Act::Approve(entry.name.clone()));
        }
        let imported = self.days.get_mut(day as usize).map(|acts| {
            acts.iter_mut().find_map(|act| match act {
                Act::Import(entries) => Some(entries),
                _ => None,
            })
        });
        match imported {
            Some(Some(entries)) => entries.push(entry),
            Some(None) => self.on(day, Act::Import(vec![entry])),
            None => {}
        }
    }

    /// What happens to cards, invoices and money.
    fn everyday(&mut self, day: u32) {
        for (percent, act) in EVERYDAY {
            if self.dice.chance(percent) {
                let act = act(&mut self.dice, day);
                self.on(day, act);
            }
        }
    }
}

/// An act as the dice have it.
type Throw = fn(&mut Dice, u32) -> Act;

/// What happens on any day, and how many times in a hundred days.
const EVERYDAY: [(i64, Throw); 18] = [
    (25, script),
    (3, slow_refunds),
    (12, |dice, _| Act::NewCard(dice.roll())),
    (7, |dice, _| Act::PayByHand(dice.roll())),
    (20, end_processing),
    (10, refund),
    (4, refund_to_credit),
    (15, move_refund),
    (6, void),
    (3, |dice, _| Act::WriteOff(dice.roll())),
    (5, pay_external),
    (5, credit),
    (6, dispute),
    (15, move_dispute),
    (6, resolve),
    (3, autopay),
    (3, autopay),
    (4, webhooks),
];
/// How many days after the eve.
fn day_of(date: NaiveDate) -> i64 {
    (date - eve()).num_days()
}

fn client(dice: &mut Dice) -> usize {
    usize::try_from(dice.roll() % CLIENTS).unwrap_or(0)
}

fn script(dice: &mut Dice, _: u32) -> Act {
    let mut script: Vec<&'static str> = (0..dice.number(0, 6)).map(|_| dice.one(&SOFT)).collect();
    match dice.number(0, 10) {
        0..=1 => script.push(dice.one(&HARD)),
        2 => script.push("authenticate"),
        3 => script.push("processing"),
        _ => script.push("succeed"),
    }
    Act::Script {
        client: client(dice),
        script,
    }
}

fn slow_refunds(dice: &mut Dice, _: u32) -> Act {
    Act::SlowRefunds {
        client: client(dice),
        outcome: dice.one(&["pending", "pending", "failed", "succeeded"]),
    }
}

fn end_processing(dice: &mut Dice, _: u32) -> Act {
    Act::EndProcessing {
        pick: dice.roll(),
        outcome: dice.one(&["succeed", "succeed", "insufficient_funds"]),
    }
}

fn refund(dice: &mut Dice, _: u32) -> Act {
    Act::Refund {
        pick: dice.roll(),
        to: "card",
        tenths: dice.one(&[10, 10, 3, 5, 7]),
    }
}

fn refund_to_credit(dice: &mut Dice, _: u32) -> Act {
    Act::Refund {
        pick: dice.roll(),
        to: "credit",
        tenths: dice.one(&[10, 2, 4]),
    }
}

fn move_refund(dice: &mut Dice, _: u32) -> Act {
    Act::MoveRefund {
        pick: dice.roll(),
        status: dice.one(&["succeeded", "succeeded", "failed"]),
    }
}

fn void(dice: &mut Dice, _: u32) -> Act {
    Act::Void {
        pick: dice.roll(),
        reissue: dice.chance(50),
    }
}

fn pay_external(dice: &mut Dice, _: u32) -> Act {
    Act::PayExternal {
        pick: dice.roll(),
        tenths: dice.one(&[10, 10, 4, 12]),
    }
}

fn credit(dice: &mut Dice, day: u32) -> Act {
    let expires = day + u32::try_from(dice.number(20, 90)).unwrap_or(0);
    Act::Credit {
        client: client(dice),
        units: dice.number(1, 60),
        source: dice.one(&["goodwill", "correction", "promotional"]),
        expires_on: dice.chance(40).then(|| eve() + Days::new(expires.into())),
    }
}

fn dispute(dice: &mut Dice, _: u32) -> Act {
    Act::Dispute {
        pick: dice.roll(),
        kind: dice.one(&["chargeback", "chargeback", "inquiry"]),
        reason: dice.one(&["fraudulent", "product_not_received", "general"]),
        tenths: dice.one(&[10, 10, 6]),
    }
}

fn move_dispute(dice: &mut Dice, _: u32) -> Act {
    Act::MoveDispute {
        pick: dice.roll(),
        action: dice.one(&[
            "win",
            "lose",
            "lose",
            "under_review",
            "withdraw",
            "escalate",
            "close_inquiry",
        ]),
    }
}

fn resolve(dice: &mut Dice, _: u32) -> Act {
    Act::Resolve {
        pick: dice.roll(),
        choice: dice.one(&["--rebill", "--write-off"]),
    }
}

fn autopay(dice: &mut Dice, _: u32) -> Act {
    Act::Autopay {
        client: client(dice),
        on: dice.chance(60),
    }
}

fn webhooks(dice: &mut Dice, _: u32) -> Act {
    Act::Webhooks {
        duplicate: dice.one(&[0, 0, 1, 2]),
        double: dice.chance(30),
        shuffle: dice.chance(40),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_gives_the_same_year_for_ever() {
        let text = |seed| format!("{:?}", plan(seed));
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
        assert_eq!(Dice::new(1).roll(), 10_451_216_379_200_822_465);
    }

    #[test]
    fn every_year_has_every_mode_with_every_cadence_and_every_kind_of_act() {
        for seed in 1..=20 {
            let plan = plan(seed);
            let shapes: BTreeSet<String> = plan
                .terms
                .iter()
                .map(|terms| format!("{:?} {:?}", terms.mode, terms.cadence))
                .collect();
            assert_eq!(shapes.len(), 12, "{shapes:?}");
            let acts: BTreeSet<String> = plan
                .days
                .iter()
                .flatten()
                .map(|act| {
                    format!("{act:?}")
                        .split([' ', '('])
                        .next()
                        .unwrap_or_default()
                        .to_owned()
                })
                .collect();
            assert_eq!(acts.len(), 24, "seed {seed}: {acts:?}");
        }
    }

    #[test]
    fn a_year_begins_on_a_day_to_come_in_whatever_year_it_is_run() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        for (today, eve) in [
            ("2026-11-26", "2028-01-01"),
            ("2027-12-31", "2028-01-01"),
            ("2028-01-01", "2032-01-01"),
            ("2031-06-30", "2032-01-01"),
            ("2099-01-01", "2104-01-01"),
        ] {
            assert_eq!(eve_after(day(today)), day(eve), "{today}");
        }
    }

    #[test]
    fn new_york_changes_its_clock_in_march_and_november() {
        let hour = |text: &str| {
            let utc: chrono::DateTime<chrono::Utc> = text.parse().unwrap();
            FIRMS[1].local(utc).to_string()
        };
        assert_eq!(hour("2028-03-12T06:00:00Z"), "2028-03-12 01:00:00");
        assert_eq!(hour("2028-03-12T07:00:00Z"), "2028-03-12 03:00:00");
        assert_eq!(hour("2028-11-05T05:00:00Z"), "2028-11-05 01:00:00");
        assert_eq!(hour("2028-11-05T06:00:00Z"), "2028-11-05 01:00:00");
        assert_eq!(hour("2028-11-05T07:00:00Z"), "2028-11-05 02:00:00");
    }
}
