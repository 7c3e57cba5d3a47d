//! What must have been billed by a day: a small model of its own, with its own calendar, that knows the plan's terms and time and
//! nothing of the product.
//!
//! A fee is due on the first day of its period; hours alone when their period is over. More than one period in arrears waits for a
//! person, and so does a period that another version has charged. A void keeps its period, a reissue frees it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Datelike as _, Days, NaiveDate, TimeDelta, Timelike as _};

use super::plan::{Entry, FIRMS, Mode, Terms, at};

/// What became of a period's invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Live,
    Void,
    Released,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Void => "void",
            Self::Released => "released",
        }
    }
}

/// A period with an invoice.
#[derive(Clone, Debug)]
struct Billed {
    start: NaiveDate,
    end: NaiveDate,
    state: State,
    fee: i64,
    /// What was worked, by place.
    hours: Vec<usize>,
}

/// Time worked on a version.
#[derive(Clone, Debug)]
struct Hours {
    name: String,
    worked_on: NaiveDate,
    approved: bool,
    invoiced: bool,
}

/// One version of an engagement.
#[derive(Clone, Debug)]
struct Version {
    terms: Terms,
    lineage: String,
    signed: bool,
    billed: Vec<Billed>,
    hours: Vec<Hours>,
}

/// A period as the calendar has it.
#[derive(Clone, Copy, Debug)]
struct Period {
    start: NaiveDate,
    end: NaiveDate,
    full: (NaiveDate, NaiveDate),
}

/// The model.
#[derive(Clone, Debug)]
pub struct Expected {
    versions: Vec<Version>,
    /// The last local date of each firm that has had its run.
    ran: [Option<NaiveDate>; FIRMS.len()],
    /// `engagement reason` of everything that ever had to wait for a person.
    pub waits: BTreeSet<String>,
    /// Invoices that a person made.
    pub by_hand: i64,
}

impl Expected {
    pub fn new(terms: &[Terms]) -> Self {
        let mut model = Self {
            versions: Vec::new(),
            ran: Default::default(),
            waits: BTreeSet::new(),
            by_hand: 0,
        };
        for terms in terms {
            model.add(terms.clone(), terms.name.clone(), true);
        }
        model
    }

    fn add(&mut self, terms: Terms, lineage: String, signed: bool) {
        self.versions.push(Version {
            terms,
            lineage,
            signed,
            billed: Vec::new(),
            hours: Vec::new(),
        });
    }

    fn version(&mut self, name: &str) -> &mut Version {
        let version = self
            .versions
            .iter_mut()
            .find(|version| version.terms.name == name);
        version.unwrap_or_else(|| panic!("no engagement {name}"))
    }

    /// A day passes: every firm has its run of each local date that has come to two o'clock by a full hour.
    pub fn step(&mut self, day: u32) {
        let mut hour = at(day - 1)
            .with_minute(0)
            .and_then(|hour| hour.with_second(0))
            .unwrap();
        hour += TimeDelta::hours(1);
        while hour <= at(day) {
            for (firm, of) in FIRMS.iter().enumerate() {
                let local = of.local(hour);
                if local.hour() >= 2 && self.ran[firm] != Some(local.date()) {
                    self.ran[firm] = Some(local.date());
                    self.run(firm, local.date(), false);
                }
            }
            hour += TimeDelta::hours(1);
        }
    }

    /// A person has one firm catch up, as of its date on this day.
    pub fn catch_up(&mut self, firm: usize, day: u32) {
        self.run(firm, FIRMS[firm].local(at(day)).date(), true);
    }

    fn run(&mut self, firm: usize, today: NaiveDate, approved: bool) {
        let mut order: Vec<usize> = (0..self.versions.len())
            .filter(|place| self.versions[*place].terms.firm == firm && self.versions[*place].signed)
            .collect();
        order.sort_by_key(|place| self.versions[*place].terms.starts_on);
        for place in order {
            let version = &self.versions[place];
            let others: Vec<(NaiveDate, NaiveDate)> = self
                .versions
                .iter()
                .enumerate()
                .filter(|(other, row)| *other != place && row.lineage == version.lineage)
                .flat_map(|(_, row)| row.taken())
                .collect();
            let (bills, waits) = match (version.terms.mode, version.terms.cadence) {
                (Mode::Package | Mode::Mixed, _) => version.due_fees(today, approved, &others),
                (Mode::Hourly, Some(_)) => version.due_hours(today, approved),
                (Mode::Hourly, None) => (Vec::new(), BTreeSet::new()),
            };
            let name = version.terms.name.clone();
            self.waits
                .extend(waits.into_iter().map(|reason| format!("{name} {reason}")));
            let version = &mut self.versions[place];
            for bill in bills {
                for place in &bill.hours {
                    version.hours[*place].invoiced = true;
                }
                version.billed.push(bill);
            }
        }
    }

    pub fn work(&mut self, entry: &Entry) {
        self.version(&entry.engagement).hours.push(Hours {
            name: entry.name.clone(),
            worked_on: entry.worked_on,
            approved: entry.state == "approved",
            invoiced: false,
        });
    }

    pub fn approve(&mut self, name: &str) {
        let all = self
            .versions
            .iter_mut()
            .flat_map(|version| version.hours.iter_mut());
        for hours in all.filter(|hours| hours.name == name) {
            hours.approved = true;
        }
    }

    /// Whether an engagement has time to invoice; it is invoiced by this.
    pub fn invoice(&mut self, engagement: &str) -> bool {
        let open = |hours: &&mut Hours| hours.approved && !hours.invoiced;
        let mut any = false;
        for hours in self.version(engagement).hours.iter_mut().filter(open) {
            hours.invoiced = true;
            any = true;
        }
        self.by_hand += i64::from(any);
        any
    }

    pub fn renew(&mut self, old: &str, terms: &Terms) {
        let lineage = self.version(old).lineage.clone();
        self.add(terms.clone(), lineage, false);
    }

    pub fn sign(&mut self, name: &str) {
        self.version(name).signed = true;
    }

    pub fn end(&mut self, name: &str, on: NaiveDate) {
        self.version(name).terms.ends_on = Some(on);
    }

    /// The invoice of a period is void: its time can be invoiced again, its period cannot.
    pub fn voided(&mut self, engagement: &str, start: NaiveDate) {
        let version = self.version(engagement);
        let released = version.change(start, State::Live, State::Void);
        for place in released {
            version.hours[place].invoiced = false;
        }
    }

    /// The period of a void invoice can be billed again.
    pub fn reissued(&mut self, engagement: &str, start: NaiveDate) {
        self.version(engagement)
            .change(start, State::Void, State::Released);
    }

    /// Every period that has, or had, an invoice, as [`super::checks`] reads it from the database; with how often it is there.
    pub fn periods(&self) -> BTreeMap<String, u32> {
        let mut rows = BTreeMap::new();
        for version in &self.versions {
            for billed in &version.billed {
                let row = format!(
                    "{} {}..{} {} fee {} hours {}",
                    version.terms.name,
                    billed.start,
                    billed.end,
                    billed.state.word(),
                    billed.fee,
                    billed.hours.len()
                );
                *rows.entry(row).or_default() += 1;
            }
        }
        rows
    }

    /// How many invoices there are.
    pub fn invoices(&self) -> i64 {
        let periods: usize = self.versions.iter().map(|version| version.billed.len()).sum();
        self.by_hand + i64::try_from(periods).unwrap_or(0)
    }
}

fn overlap(one: (NaiveDate, NaiveDate), other: (NaiveDate, NaiveDate)) -> bool {
    one.0 < other.1 && other.0 < one.1
}

impl Version {
    /// The days that are billed and not given free.
    fn taken(&self) -> impl Iterator<Item = (NaiveDate, NaiveDate)> {
        let kept = self
            .billed
            .iter()
            .filter(|billed| billed.state != State::Released);
        kept.map(|billed| (billed.start, billed.end))
    }

    fn is_taken(&self, period: &Period) -> bool {
        self.taken().any(|days| overlap(days, (period.start, period.end)))
    }

    fn change(&mut self, start: NaiveDate, from: State, to: State) -> Vec<usize> {
        let billed = self
            .billed
            .iter_mut()
            .find(|billed| billed.start == start && billed.state == from);
        let billed =
            billed.unwrap_or_else(|| panic!("{} has no {from:?} invoice of {start}", self.terms.name));
        billed.state = to;
        billed.hours.clone()
    }

    fn due_fees(
        &self,
        today: NaiveDate,
        approved: bool,
        others: &[(NaiveDate, NaiveDate)],
    ) -> (Vec<Billed>, BTreeSet<&'static str>) {
        let charges = |period: &Period| {
            if self.terms.daily {
                (period.start, period.end)
            } else {
                period.full
            }
        };
        let due: Vec<Period> = self.periods(|period| period.start <= today);
        let due = due.into_iter().filter(|period| !self.is_taken(period));
        let (charged, due): (Vec<Period>, Vec<Period>) =
            due.partition(|period| others.iter().any(|days| overlap(*days, charges(period))));
        let mut waits = BTreeSet::new();
        if !charged.is_empty() {
            waits.insert("renewal_overlap_needs_choice");
        }
        if !approved && due.iter().filter(|period| period.end <= today).count() > 1 {
            waits.insert("catch_up_needs_approval");
            return (Vec::new(), waits);
        }
        let mut used = BTreeSet::new();
        let bills = due.iter().map(|period| {
            let hours = self.hours_before(period.end, &mut used);
            self.bill(period, self.fee(period), hours)
        });
        (bills.collect(), waits)
    }

    fn due_hours(&self, today: NaiveDate, approved: bool) -> (Vec<Billed>, BTreeSet<&'static str>) {
        let over = self.periods(|period| period.end <= today);
        let mut used = BTreeSet::new();
        let (mut bills, mut behind) = (Vec::new(), 0);
        for (place, period) in over.iter().enumerate() {
            if self.is_taken(period) {
                continue;
            }
            let hours = self.hours_before(period.end, &mut used);
            if !hours.is_empty() {
                behind += usize::from(place + 1 < over.len());
                bills.push(self.bill(period, 0, hours));
            }
        }
        if !approved && behind > 1 {
            return (Vec::new(), BTreeSet::from(["catch_up_needs_approval"]));
        }
        (bills, BTreeSet::new())
    }

    fn bill(&self, period: &Period, fee: i64, hours: Vec<usize>) -> Billed {
        Billed {
            start: period.start,
            end: period.end,
            state: State::Live,
            fee,
            hours,
        }
    }

    /// Approved time from before a day that no invoice has, and none of this run.
    fn hours_before(&self, end: NaiveDate, used: &mut BTreeSet<usize>) -> Vec<usize> {
        let fit = |place: &usize| {
            let hours = &self.hours[*place];
            hours.approved && !hours.invoiced && hours.worked_on < end
        };
        let found: Vec<usize> = (0..self.hours.len())
            .filter(fit)
            .filter(|place| !used.contains(place))
            .collect();
        used.extend(&found);
        found
    }

    /// The fee of a period, or its share by days, rounded half to even.
    fn fee(&self, period: &Period) -> i64 {
        let days = (period.end - period.start).num_days();
        let of = (period.full.1 - period.full.0).num_days();
        if !self.terms.daily || days == of {
            return self.terms.fee;
        }
        let (whole, rest) = (
            (self.terms.fee * days).div_euclid(of),
            (self.terms.fee * days).rem_euclid(of),
        );
        whole + i64::from(rest * 2 > of || (rest * 2 == of && whole % 2 == 1))
    }

    /// The periods from the first one for as long as `wanted`.
    fn periods(&self, wanted: impl Fn(&Period) -> bool) -> Vec<Period> {
        let terms = &self.terms;
        let months = match terms.cadence {
            Some("monthly") => 1,
            Some("quarterly") => 3,
            Some("annual") => 12,
            _ => 0,
        };
        let mut found = Vec::new();
        for number in 0.. {
            let full = if months == 0 {
                (
                    terms.starts_on,
                    terms.ends_on.unwrap_or(terms.starts_on + Days::new(1)),
                )
            } else if terms.anniversary {
                let nth = |n: i32| add_months(terms.starts_on, n * months);
                (nth(number), nth(number + 1))
            } else {
                let month = terms.starts_on.month0().cast_signed() / months * months;
                let first = NaiveDate::from_ymd_opt(terms.starts_on.year(), 1, 1).unwrap();
                let nth = |n: i32| add_months(first, month + n * months);
                (nth(number), nth(number + 1))
            };
            let period = Period {
                start: full.0.max(terms.starts_on),
                end: terms.ends_on.map_or(full.1, |end| full.1.min(end)),
                full,
            };
            if period.start >= period.end || !wanted(&period) || (months == 0 && number > 0) {
                break;
            }
            found.push(period);
        }
        found
    }
}

/// The same day some months later, or the last one of that month where it is shorter.
fn add_months(date: NaiveDate, months: i32) -> NaiveDate {
    let month = date.year() * 12 + date.month0().cast_signed() + months;
    let (year, month) = (month.div_euclid(12), month.rem_euclid(12).cast_unsigned() + 1);
    let day = |day| NaiveDate::from_ymd_opt(year, month, day);
    (28..=date.day().max(28))
        .rev()
        .find_map(|last| day(date.day().min(last)))
        .unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(mode: Mode, cadence: &'static str, starts_on: &str, ends_on: Option<&str>) -> Terms {
        Terms {
            name: "work".into(),
            firm: 0,
            client: 0,
            mode,
            cadence: Some(cadence),
            anniversary: true,
            daily: false,
            fee: 1_000,
            rate: 100,
            starts_on: starts_on.parse().unwrap(),
            ends_on: ends_on.map(|end| end.parse().unwrap()),
        }
    }

    fn rows(model: &Expected) -> Vec<String> {
        model.periods().into_keys().collect()
    }

    #[test]
    fn a_month_that_begins_on_the_31st_comes_back_to_it_and_the_last_one_is_shared_by_days() {
        let mut month = terms(Mode::Package, "monthly", "2028-01-31", Some("2028-04-10"));
        (month.daily, month.fee) = (true, 3_000);
        let mut model = Expected::new(&[month]);
        model.run(0, "2028-04-20".parse().unwrap(), true);
        assert_eq!(
            rows(&model),
            [
                "work 2028-01-31..2028-02-29 live fee 3000 hours 0",
                "work 2028-02-29..2028-03-31 live fee 3000 hours 0",
                "work 2028-03-31..2028-04-10 live fee 1000 hours 0",
            ]
        );
    }

    #[test]
    fn more_than_one_period_in_arrears_waits_and_a_void_keeps_its_period_until_it_is_reissued() {
        let today = "2028-03-05".parse().unwrap();
        let mut model = Expected::new(&[terms(Mode::Package, "monthly", "2028-01-01", None)]);
        model.run(0, today, false);
        assert_eq!(rows(&model), Vec::<String>::new());
        assert_eq!(
            Vec::from_iter(model.waits.clone()),
            ["work catch_up_needs_approval"]
        );
        model.run(0, today, true);
        assert_eq!(rows(&model).len(), 3);
        let march = "2028-03-01".parse().unwrap();
        model.voided("work", march);
        model.run(0, today, false);
        assert_eq!(model.invoices(), 3);
        model.reissued("work", march);
        model.run(0, today, false);
        assert_eq!(model.invoices(), 4);
        assert_eq!(
            rows(&model)[2..],
            [
                "work 2028-03-01..2028-04-01 live fee 1000 hours 0",
                "work 2028-03-01..2028-04-01 released fee 1000 hours 0",
            ]
        );
    }

    #[test]
    fn hours_go_with_the_first_period_that_is_over_and_a_period_without_any_has_no_invoice() {
        let mut model = Expected::new(&[terms(Mode::Hourly, "monthly", "2028-01-01", None)]);
        for (name, worked_on, state) in [
            ("one", "2028-01-05", "approved"),
            ("two", "2028-02-01", "approved"),
            ("three", "2028-01-06", "submitted"),
        ] {
            model.work(&Entry {
                name: name.into(),
                engagement: "work".into(),
                worked_on: worked_on.parse().unwrap(),
                minutes: 60,
                state,
            });
        }
        model.run(0, "2028-02-01".parse().unwrap(), false);
        assert_eq!(rows(&model), ["work 2028-01-01..2028-02-01 live fee 0 hours 1"]);
        model.approve("three");
        model.run(0, "2028-03-01".parse().unwrap(), false);
        model.run(0, "2028-04-01".parse().unwrap(), false);
        assert_eq!(
            rows(&model),
            [
                "work 2028-01-01..2028-02-01 live fee 0 hours 1",
                "work 2028-02-01..2028-03-01 live fee 0 hours 2",
            ]
        );
    }
}
