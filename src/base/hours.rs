//! Hours of the week, as people write them: `Mo-Fr 08:00-18:00`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

const DAYS: [&str; 7] = ["Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"];
/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// Why a text says no hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoursError(&'static str);

impl fmt::Display for HoursError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for HoursError {}

const FORM: HoursError =
    HoursError("expected days and times, as in \"Mo-Fr 08:00-18:00\", \"Sa,Su 10:00-24:00\" or \"22:00-06:00\"");

/// The same hours of some days. Those that end before they begin end on the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hours {
    /// Bit N: the Nth day of the week, Monday is 0.
    days: u8,
    /// The first minute of the day that is in.
    from: u16,
    /// The first one that is not.
    to: u16,
}

impl Hours {
    /// Whether minute `minute` of day `day` (Monday is 0) is in.
    #[must_use]
    pub fn hold(&self, day: u8, minute: u16) -> bool {
        let on = |day: u8| self.days & (1 << (day % 7)) != 0;
        if self.from < self.to {
            on(day) && (self.from..self.to).contains(&minute)
        } else {
            (on(day) && minute >= self.from) || (on(day + 6) && minute < self.to)
        }
    }
}

/// How many minutes from minute `minute` of day `day` on are in some of `hours`; none: that lasts for
/// a week, and so for ever. Zero: it is not in.
#[must_use]
pub fn minutes_left(hours: &[Hours], day: u8, minute: u16) -> Option<u16> {
    let week = 7 * DAY;
    (0..week).find(|step| {
        let at = u32::from(day % 7) * u32::from(DAY) + u32::from(minute) + u32::from(*step);
        let (days, minute) = (at / u32::from(DAY) % 7, at % u32::from(DAY));
        let (day, minute) = (u8::try_from(days).unwrap_or(0), u16::try_from(minute).unwrap_or(0));
        !hours.iter().any(|hours| hours.hold(day, minute))
    })
}

impl FromStr for Hours {
    type Err = HoursError;
    fn from_str(text: &str) -> Result<Self, HoursError> {
        let (days, times) = match text.split_once(' ') {
            Some((days, times)) => (parse_days(days)?, times),
            None => (0x7f, text),
        };
        let (from, to) = times.split_once('-').ok_or(FORM)?;
        let (from, to) = (parse_time(from)?, parse_time(to)?);
        if from == DAY {
            return Err(HoursError("a day's last beginning is 23:59"));
        }
        if from == to {
            return Err(HoursError("these hours end when they begin; write 00:00-24:00 for the whole day"));
        }
        Ok(Self { days, from, to })
    }
}

fn parse_days(text: &str) -> Result<u8, HoursError> {
    let index = |name: &str| DAYS.iter().position(|day| *day == name).ok_or(FORM);
    let mut days = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (index(first)?, index(last)?);
        // From Sa to Mo goes over the end of the week.
        let count = (last + 7 - first) % 7;
        days |= (0..=count).fold(0_u8, |days, step| days | 1 << ((first + step) % 7));
    }
    Ok(days)
}

fn parse_time(text: &str) -> Result<u16, HoursError> {
    let (hours, minutes) = text.split_once(':').ok_or(FORM)?;
    let two = |text: &str| -> Result<u16, HoursError> {
        if text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit()) {
            text.parse().map_err(|_bad| FORM)
        } else {
            Err(FORM)
        }
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    let minute = hours * 60 + minutes;
    if minutes < 60 && minute <= DAY { Ok(minute) } else { Err(FORM) }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days: Vec<&str> =
            (0..7).filter(|day| self.days & (1 << day) != 0).filter_map(|day| DAYS.get(day).copied()).collect();
        if days.len() < DAYS.len() {
            write!(f, "{} ", days.join(","))?;
        }
        let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        write!(f, "{}-{}", time(self.from), time(self.to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(text: &str) -> Hours {
        text.parse().unwrap()
    }

    #[test]
    fn hours_are_read_as_they_are_written() {
        for (text, shown) in [
            ("Mo-Fr 08:00-18:00", "Mo,Tu,We,Th,Fr 08:00-18:00"),
            ("Sa-Mo 00:00-24:00", "Mo,Sa,Su 00:00-24:00"),
            ("We,Fr 09:30-12:00", "We,Fr 09:30-12:00"),
            ("22:00-06:00", "22:00-06:00"),
        ] {
            assert_eq!(hours(text).to_string(), shown);
            assert_eq!(hours(shown), hours(text));
        }
        for bad in [
            "",
            "Mo",
            "Mo-Fr",
            "mo 08:00-18:00",
            "8:00-18:00",
            "08:00-24:01",
            "24:00-25:00",
            "08:60-09:00",
            "08:00-08:00",
            "Mo  08:00-09:00",
        ] {
            assert!(bad.parse::<Hours>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_open_and_for_how_long() {
        let week = [hours("Mo-Fr 08:00-18:00"), hours("Fr 22:00-06:00")];
        let left = |day, hour: u16, minute: u16| minutes_left(&week, day, hour * 60 + minute);
        assert_eq!(left(0, 7, 59), Some(0));
        assert_eq!(left(0, 8, 0), Some(600));
        assert_eq!(left(0, 17, 59), Some(1));
        assert_eq!(left(0, 18, 0), Some(0));
        // Friday night goes into Saturday and not beyond.
        assert_eq!(left(4, 23, 0), Some(7 * 60));
        assert_eq!(left(5, 5, 59), Some(1));
        assert_eq!(left(5, 23, 0), Some(0));
        assert_eq!(minutes_left(&[hours("00:00-24:00")], 6, 1439), None);
        assert_eq!(minutes_left(&[hours("Su 23:00-02:00")], 6, 23 * 60), Some(180));
    }
}
