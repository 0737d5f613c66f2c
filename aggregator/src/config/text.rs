//! What stands in a text: variables of the environment, sizes, durations. Pure.

use std::time::Duration;

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A variable that is not set, and the line that asks for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) line: usize,
    pub(super) variable: String,
}

/// Replaces `${NAME}` by the environment's value; `$$` is a dollar sign. A line of comment stays as it is.
pub(super) fn expand(text: &str, environment: Environment<'_>) -> Result<String, Missing> {
    let mut out = String::with_capacity(text.len());
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if line.trim_start().starts_with('#') {
            out.push_str(line);
            continue;
        }
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let variable = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
            rest = match (after.strip_prefix('$'), variable) {
                (Some(after), _) => {
                    out.push('$');
                    after
                }
                (None, Some((variable, after))) => {
                    let missing = || Missing { line: index + 1, variable: variable.to_owned() };
                    out.push_str(&environment(variable).ok_or_else(missing)?);
                    after
                }
                (None, None) => {
                    out.push('$');
                    after
                }
            };
        }
        out.push_str(rest);
    }
    Ok(out)
}

/// `20GiB`, `8MiB`, `64KiB`, `1GB`, or plain bytes.
pub(super) fn bytes(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 8] = [
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("TB", 1_000_000_000_000),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("KB", 1_000),
    ];
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| text.strip_suffix(name).map(|number| (number, *unit)))
        .unwrap_or((text, 1));
    whole(number.trim_end())?.checked_mul(unit)
}

/// `500ms`, `60s`, `5m`, `1h`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| text.strip_suffix(name).map(|number| (number, *unit)))?;
    whole(number.trim_end())?.checked_mul(unit).map(Duration::from_millis)
}

/// Digits and nothing else.
pub(super) fn whole(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let check = |text: &str, expected| assert_eq!(bytes(text), expected, "{text:?}");
        check("20GiB", Some(20 << 30));
        check("8 MiB", Some(8 << 20));
        check("64KiB", Some(65_536));
        check("1GB", Some(1_000_000_000));
        check("123", Some(123));
        check("1.5GiB", None);
        check("-1", None);
        check("+1", None);
        check("20G", None);
        check("20gib", None);
        check("GiB", None);
        check("", None);
        check("99999999TiB", None);
    }

    #[test]
    fn durations_have_units() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(duration(text), expected.map(Duration::from_millis), "{text:?}");
        };
        check("500ms", Some(500));
        check("60s", Some(60_000));
        check("5m", Some(300_000));
        check("1h", Some(3_600_000));
        check("60", None);
        check("s", None);
        check("1m30s", None);
    }

    #[test]
    fn the_environment_fills_in() {
        let environment = |name: &str| (name == "A").then(|| "value".to_owned());
        let check = |text: &str, expected: Result<&str, (usize, &str)>| {
            let expected = expected
                .map(str::to_owned)
                .map_err(|(line, variable)| Missing { line, variable: variable.to_owned() });
            assert_eq!(expand(text, &environment), expected);
        };
        check("a: ${A}\nb: x${A}y$\n", Ok("a: value\nb: xvaluey$\n"));
        check("a: $${A} $5\n", Ok("a: ${A} $5\n"));
        check("a: b\nc: ${B}\n", Err((2, "B")));
        check("  # ${B}\n", Ok("  # ${B}\n"));
    }
}
