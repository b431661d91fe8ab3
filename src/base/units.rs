//! Sizes and times as people write them: `512M`, `10m`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// Why a text is not a size or a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitError(&'static str);

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for UnitError {}

/// A number of bytes. Written as a whole number with an optional `K`, `M`, `G` or `T` (powers of 1024).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let shift = match text.get(digits.len()..).unwrap_or_default() {
            "" | "B" => 0,
            "K" | "KiB" => 10,
            "M" | "MiB" => 20,
            "G" | "GiB" => 30,
            "T" | "TiB" => 40,
            _ => return Err(UnitError("a size is a number with K, M, G or T, as in \"512M\"")),
        };
        let number: u64 =
            digits.parse().map_err(|_bad| UnitError("a size starts with a whole number, as in \"512M\""))?;
        number.checked_mul(1 << shift).map(Self).ok_or(UnitError("a size is less than 16 EiB"))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")] {
            if self.0 >= 1 << shift && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// Processor time, as a number of processors. Written as a number with at most three decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cores(u32);

impl Cores {
    /// The least that the kernel takes: 1 ms in every 100 (cpu.cfs_quota_us, cpu.max).
    const LEAST: u32 = 10;
    /// More processors than a machine has.
    const MOST: u32 = 8_192_000;

    /// So many thousandths of a processor.
    #[must_use]
    pub const fn from_thousandths(thousandths: u32) -> Self {
        Self(thousandths)
    }

    /// How many thousandths of a processor.
    #[must_use]
    pub const fn thousandths(self) -> u32 {
        self.0
    }
}

impl FromStr for Cores {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        const FORM: UnitError = UnitError("a number of processors has at most three decimals, as in 0.5");
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        if part.is_empty() || part.len() > 3 || !part.bytes().all(|b| b.is_ascii_digit()) {
            return Err(FORM);
        }
        let whole: u32 = whole.parse().map_err(|_bad| FORM)?;
        let part: u32 = format!("{part:0<3}").parse().map_err(|_bad| FORM)?;
        let thousandths = whole.checked_mul(1000).and_then(|whole| whole.checked_add(part)).ok_or(FORM)?;
        if (Self::LEAST..=Self::MOST).contains(&thousandths) {
            Ok(Self(thousandths))
        } else {
            Err(UnitError("a number of processors is 0.01 to 8192"))
        }
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = format!("{:03}", self.0 % 1000);
        let part = part.trim_end_matches('0');
        write!(f, "{}.{}", self.0 / 1000, if part.is_empty() { "0" } else { part })
    }
}

/// A length of time. Written as numbers with `ms`, `s`, `m`, `h` or `d`, as in `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        const FORM: UnitError = UnitError("a time is a number with ms, s, m, h or d, as in \"10m\" or \"1h30m\"");
        let mut total = Duration::ZERO;
        let mut rest = text;
        while !rest.is_empty() {
            let unit_at = rest.find(|c: char| !c.is_ascii_digit()).ok_or(FORM)?;
            let (number, tail) = rest.split_at(unit_at);
            let number: u64 = number.parse().map_err(|_bad| FORM)?;
            let next = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(next);
            let millis = match unit {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(FORM),
            };
            let part = number.checked_mul(millis).map(Duration::from_millis).ok_or(FORM)?;
            total = total.checked_add(part).ok_or(FORM)?;
            rest = tail;
        }
        if text.is_empty() { Err(FORM) } else { Ok(Self(total)) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut millis = self.0.as_millis();
        if millis == 0 {
            return f.write_str("0s");
        }
        for (size, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")] {
            if millis >= size {
                write!(f, "{}{unit}", millis / size)?;
                millis %= size;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_back_as_they_are_written() {
        for text in ["0", "512M", "2G", "1536K", "7"] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
        }
        for bad in ["", "M", "1.5G", "-1", "9X", "18446744073709551615K"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn processors_read_back_as_they_are_written() {
        for text in ["0.5", "1.0", "0.01", "16.125"] {
            assert_eq!(text.parse::<Cores>().unwrap().to_string(), text);
        }
        assert_eq!("2".parse::<Cores>().unwrap(), Cores::from_thousandths(2000));
        for bad in ["", "0", "0.001", "0.0005", "-1", "1.", "1e3", "inf", "9000", "1.2.3", "99999999999"] {
            assert!(bad.parse::<Cores>().is_err(), "{bad}");
        }
    }

    #[test]
    fn times_read_back_as_they_are_written() {
        for text in ["10m", "1h30m", "25s", "500ms", "2d"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for bad in ["", "10", "m", "1y", "10 m", "99999999999999999999s"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }
}
