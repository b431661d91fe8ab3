//! When a connection ends by the clock: after its time, or outside of its tenant's hours; and what
//! those inside are told before.

use std::time::{Duration, Instant};

use jiff::{Timestamp, Zoned};

use crate::base::hours::minutes_left;
use crate::config::settings::{OpenHours, Tenant};
use crate::sys::zone;

use super::ssh::End;

/// How long before the end those inside are told.
const WARNING: Duration = Duration::from_secs(5 * 60);
/// The second time.
const LAST_WARNING: Duration = Duration::from_secs(60);
/// How often the hours are looked at, whatever was found: clocks are set, and summer begins.
const LOOK: Duration = Duration::from_secs(20);

/// How soon whoever comes when the end is near is told.
const SOON: Duration = Duration::from_secs(1);

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Due {
    /// Tell everybody.
    Warn(String),
    /// It is over.
    End(End),
}

/// Of one connection.
#[derive(Debug)]
pub(super) struct Clock {
    over: Option<Instant>,
    hours: Option<OpenHours>,
    /// How long was left when those inside were told last.
    warned: Duration,
    look: Instant,
}

impl Clock {
    /// For a connection of `tenant`'s that begins now.
    pub(super) fn new(tenant: &Tenant, now: Instant) -> Self {
        let over = tenant.max_session_time.and_then(|time| now.checked_add(time));
        Self { over, hours: tenant.open.clone(), warned: Duration::MAX, look: now }
    }

    /// When to ask again; none: never.
    pub(super) fn next(&self) -> Option<Instant> {
        (self.over.is_some() || self.hours.is_some()).then_some(self.look)
    }

    /// What is due at `now`. Nobody is told anything where `anybody` is false; whoever comes is told then.
    pub(super) fn due(&mut self, now: Instant, anybody: bool) -> Option<Due> {
        if self.next().is_none_or(|next| now < next) {
            return None;
        }
        let until_over = self.over.map(|over| (over.saturating_duration_since(now), End::Time));
        let until_closed = match self.hours.as_ref().map(open_for) {
            None => None,
            Some(Err(why)) => return Some(Due::End(End::Failed(why))),
            Some(Ok(left)) => left.map(|left| (left, End::Hours)),
        };
        let first = [until_over, until_closed].into_iter().flatten().min_by_key(|(left, _)| *left);
        let Some((left, end)) = first else {
            self.look = now + LOOK;
            return None;
        };
        if left.is_zero() {
            return Some(Due::End(end));
        }
        let warn = if left <= LAST_WARNING { LAST_WARNING } else { WARNING };
        let next = if left > WARNING {
            left - WARNING
        } else if left > LAST_WARNING {
            left - LAST_WARNING
        } else {
            left
        };
        self.look = now + next.min(LOOK);
        if left > WARNING {
            self.warned = Duration::MAX;
        }
        if left > warn || self.warned <= warn {
            return None;
        }
        if !anybody {
            self.look = now + left.min(SOON);
            return None;
        }
        self.warned = warn;
        Some(Due::Warn(warning(left, &end)))
    }
}

/// Whether `tenant` may be inside now.
pub(super) fn is_open(tenant: &Tenant) -> Result<bool, String> {
    match &tenant.open {
        None => Ok(true),
        Some(hours) => Ok(open_for(hours)? != Some(Duration::ZERO)),
    }
}

/// How long it is open yet; none: always.
fn open_for(hours: &OpenHours) -> Result<Option<Duration>, String> {
    let zone = match &hours.zone {
        None => zone::system(),
        Some(name) => zone::named(name),
    }
    .map_err(|why| format!("time_zone: {why}"))?;
    Ok(left_at(hours, &Timestamp::now().to_zoned(zone)))
}

fn left_at(hours: &OpenHours, now: &Zoned) -> Option<Duration> {
    let day = u8::try_from(now.weekday().to_monday_zero_offset()).unwrap_or(0);
    let part = |number: i8| u16::try_from(number).unwrap_or(0);
    let minutes = minutes_left(&hours.hours, day, part(now.hour()) * 60 + part(now.minute()))?;
    let left = Duration::from_secs(u64::from(minutes) * 60);
    Some(left.saturating_sub(Duration::from_secs(u64::from(part(now.second())))))
}

fn warning(left: Duration, end: &End) -> String {
    let minutes = left.as_secs().div_ceil(60);
    let minutes = if minutes == 1 { "1 minute".to_owned() } else { format!("{minutes} minutes") };
    let why = match end {
        End::Hours => "this account closes",
        End::Time => "the time of this connection is over",
        End::Closed
        | End::Grace
        | End::Tries
        | End::GaveUp(_)
        | End::Crashed
        | End::OutOfTurn(_)
        | End::Wrong(_)
        | End::Told
        | End::Full
        | End::Failed(_) => "this connection ends",
    };
    format!("cellblock: {why} in {minutes}; save your work")
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    fn clock(over: Duration, now: Instant) -> Clock {
        Clock { over: Some(now + over), hours: None, warned: Duration::MAX, look: now }
    }

    /// The due things of a clock that is asked whenever it wants to be.
    fn run(clock: &mut Clock, mut now: Instant) -> Vec<(u64, Due)> {
        let (start, mut all) = (now, Vec::new());
        for _ in 0..1000 {
            if let Some(due) = clock.due(now, true) {
                let ended = matches!(due, Due::End(_));
                all.push((now.duration_since(start).as_secs(), due));
                if ended {
                    return all;
                }
            }
            now = clock.next().unwrap().max(now);
        }
        panic!("no end: {all:?}");
    }

    #[test]
    fn those_inside_are_told_twice_and_then_it_ends() {
        let now = Instant::now();
        let all = run(&mut clock(Duration::from_secs(3600), now), now);
        let times: Vec<u64> = all.iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [3300, 3540, 3600]);
        assert_eq!(all.last().map(|(_, due)| due.clone()), Some(Due::End(End::Time)));
        assert_eq!(
            warning(Duration::from_secs(300), &End::Hours),
            "cellblock: this account closes in 5 minutes; save your work"
        );
        // Where nobody is, nobody is told.
        let mut empty = clock(Duration::from_secs(30), now);
        assert_eq!(empty.due(now, false), None);
        assert_eq!(empty.next(), Some(now + SOON));
        // Whoever comes late is told at once, and once.
        let all = run(&mut clock(Duration::from_secs(30), now), now);
        assert_eq!(all.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 30]);
    }

    #[test]
    fn hours_are_those_of_the_zone() {
        let hours = OpenHours { hours: vec!["Mo-Fr 08:00-18:00".parse().unwrap()], zone: None };
        let at = |text: &str| left_at(&hours, &text.parse::<Timestamp>().unwrap().to_zoned(TimeZone::UTC));
        assert_eq!(at("2026-11-23T07:59:59Z"), Some(Duration::ZERO));
        assert_eq!(at("2026-11-23T17:59:30Z"), Some(Duration::from_secs(30)));
        assert_eq!(at("2026-11-22T12:00:00Z"), Some(Duration::ZERO));
    }
}
