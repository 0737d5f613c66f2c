//! How long deleted files are held open that are not read, or not acknowledged.

use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::wrong::Wrong;

/// What the file says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHold {
    /// Bytes of deleted files on this node. Default: 1GiB.
    bytes: Option<Spanned<String>>,
    /// How long. Default: 15m.
    age: Option<Spanned<String>>,
    /// They are dropped while less of their disk is free, in percent. Default: 5.
    free_percent: Option<Spanned<u64>>,
}

/// Bounds for files that have no name left and that still hold what no aggregator has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Of all of them together.
    pub max_bytes: u64,
    /// Of each, since it was deleted or last acknowledged to its end.
    pub max_age: Duration,
    /// They are dropped while less of their disk is free.
    pub min_free_percent: u64,
}

impl Default for Hold {
    /// A node's disk loses 1 GiB for a quarter of an hour at most.
    fn default() -> Self {
        Self { max_bytes: 1 << 30, max_age: Duration::from_secs(15 * 60), min_free_percent: 5 }
    }
}

impl RawHold {
    pub(super) fn checked(self) -> Result<Hold, Wrong> {
        let mut hold = Hold::default();
        if let Some(bytes) = self.bytes {
            let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1), ("", 1)];
            hold.max_bytes = quantity(&bytes.value, &units).ok_or_else(|| {
                Wrong::new("bytes", &bytes, format!("{:?} is not like 1GiB", bytes.value))
            })?;
        }
        if let Some(age) = self.age {
            let seconds = quantity(&age.value, &[("s", 1), ("m", 60), ("h", 3600)]);
            hold.max_age = seconds.map(Duration::from_secs).ok_or_else(|| {
                Wrong::new("age", &age, format!("{:?} is not like 15m", age.value))
            })?;
        }
        if let Some(percent) = self.free_percent {
            hold.min_free_percent = percent.value;
            if percent.value > 100 {
                return Err(Wrong::new("free_percent", &percent, "is more than 100"));
            }
        }
        Ok(hold)
    }
}

/// A number with one of those units.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(unit)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        let raw = |text: &str| serde_saphyr::from_str::<RawHold>(text).unwrap().checked();
        assert_eq!(raw("{}").unwrap(), Hold::default());
        let expected =
            Hold { max_bytes: 512 << 20, max_age: Duration::from_secs(90), min_free_percent: 0 };
        assert_eq!(raw("{bytes: 512MiB, age: 90s, free_percent: 0}").unwrap(), expected);
        assert_eq!(raw("{bytes: 0}").unwrap().max_bytes, 0);
        for wrong in ["{bytes: 1GB}", "{bytes: 99999999999GiB}", "{age: 15}", "{free_percent: 101}"]
        {
            assert!(raw(wrong).is_err(), "{wrong}");
        }
    }
}
