//! How long a story is: short in the gate, long by `NARU_LONG=1`.

/// Whether the long form of the stories was asked for.
#[must_use]
pub fn is_long() -> bool {
    std::env::var_os("NARU_LONG").is_some_and(|value| !value.is_empty() && value != "0")
}

/// What a story does in the gate, or with `NARU_LONG=1`.
#[must_use]
pub fn scaled<T>(gate: T, long: T) -> T {
    if is_long() { long } else { gate }
}
