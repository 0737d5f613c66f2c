//! Two that share what delivery can do: each gets half of the bytes while both have something. Pure.

/// Bytes that the second has had more than the first, since both had something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    ahead: i64,
}

/// What one may be ahead at most: an entry is that large, and more would only be made up for later.
const AHEAD_MAX_BYTES: i64 = 16 << 20;

impl Balance {
    /// Whether the second has had more: it is the first one's turn.
    #[must_use]
    pub fn is_ahead(&self) -> bool {
        self.ahead > 0
    }

    /// One of them has had so many bytes.
    pub fn took(&mut self, second: bool, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let ahead = if second {
            self.ahead.saturating_add(bytes)
        } else {
            self.ahead.saturating_sub(bytes)
        };
        self.ahead = ahead.clamp(-AHEAD_MAX_BYTES, AHEAD_MAX_BYTES);
    }

    /// One of them has nothing: what it did not use is gone.
    pub fn rest(&mut self) {
        self.ahead = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that each gets of 1,000 turns, when its entries have this size.
    fn shares(first: u64, second: u64) -> (u64, u64) {
        let mut balance = Balance::default();
        let (mut one, mut other) = (0, 0);
        for _ in 0..1000 {
            if balance.is_ahead() {
                balance.took(false, first);
                one += first;
            } else {
                balance.took(true, second);
                other += second;
            }
        }
        (one, other)
    }

    #[test]
    fn each_gets_half_of_the_bytes_whatever_the_size_of_its_entries() {
        for (first, second) in [(1, 1), (10_000, 1 << 20), (1 << 20, 10_000), (7, 3)] {
            let (one, other) = shares(first, second);
            assert!(one.abs_diff(other) <= first.max(second), "{one} and {other}");
        }
    }

    #[test]
    fn who_rests_has_no_claim() {
        let mut balance = Balance::default();
        balance.took(true, 5);
        assert!(balance.is_ahead());
        balance.rest();
        assert!(!balance.is_ahead());
        balance.took(true, u64::MAX);
        balance.took(false, AHEAD_MAX_BYTES as u64);
        assert!(!balance.is_ahead(), "bounded");
    }
}
