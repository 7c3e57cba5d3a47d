//! One run per firm and local date. The hourly tick asks each firm's clock: from two in the morning on, the run of
//! that date is enqueued; its key makes every later tick of the date, and every second scheduler, harmless.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use chrono_tz::Tz;
use serde_json::json;
use shared::{
    ids::FirmId,
    store::jobs::{NewJob, Queue},
};

/// After the day's change and after every daylight-saving change of that night.
const NOT_BEFORE: NaiveTime = match NaiveTime::from_hms_opt(2, 0, 0) {
    Some(time) => time,
    None => NaiveTime::MIN,
};

/// The firm's date at `tick`, when its run may begin.
pub fn local_date_at(tick: DateTime<Utc>, timezone: Tz) -> Option<NaiveDate> {
    let local = tick.with_timezone(&timezone).naive_local();
    (local.time() >= NOT_BEFORE).then(|| local.date())
}

/// The job of one firm for one date. `order` begins its order key.
pub fn job(
    (kind, queue, order): (&'static str, Queue, &str),
    firm: FirmId,
    as_of: NaiveDate,
    run_at: DateTime<Utc>,
) -> NewJob {
    NewJob::new(
        queue,
        kind,
        format!("{firm}:{as_of}"),
        json!({ "firm_id": firm, "as_of": as_of }),
        run_at,
    )
    .firm(firm)
    .in_order_of(format!("{order}:{firm}"))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn nothing_before_two_local() {
        assert_eq!(
            local_date_at(at("2026-03-01T00:00:00Z"), chrono_tz::Europe::Berlin),
            None
        );
        assert_eq!(
            local_date_at(at("2026-03-01T01:00:00Z"), chrono_tz::Europe::Berlin),
            NaiveDate::from_ymd_opt(2026, 3, 1)
        );
    }

    /// B-07.
    #[test]
    fn every_date_has_its_run_in_every_zone_whatever_its_clock_does() {
        for zone in [
            chrono_tz::Europe::Berlin,
            chrono_tz::Pacific::Kiritimati,
            chrono_tz::America::Juneau,
            chrono_tz::Asia::Kathmandu,
            chrono_tz::Australia::Lord_Howe,
        ] {
            let mut dates = Vec::new();
            for hour in 0..24 * 366 {
                if let Some(date) = local_date_at(at("2026-01-01T00:00:00Z") + TimeDelta::hours(hour), zone)
                    && dates.last() != Some(&date)
                {
                    dates.push(date);
                }
            }
            for pair in dates.windows(2) {
                assert_eq!(pair[1], pair[0] + TimeDelta::days(1), "{zone}");
            }
            assert!(dates.len() >= 366, "{zone}: {}", dates.len());
        }
    }
}
