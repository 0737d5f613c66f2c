//! The reference page is what the table of keys says, and what it says is what holds.

use super::*;

const BEGIN: &str = "<!-- keys of the aggregator: generated, UPDATE=1 cargo test -p naru-aggregator rewrites it -->\n";
const END: &str = "<!-- end -->\n";

fn documentation(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

/// Rows of one section and of those in it.
fn rows(prefix: &str, keys: &[Key], out: &mut String) {
    for key in keys {
        let Key { name, help, value } = key;
        let help = help.trim();
        match value {
            Value::Section(keys) => {
                out.push_str(&format!("| `{prefix}{name}` | | {help} |\n"));
                rows(&format!("{prefix}{name}."), keys, out);
            }
            Value::Default(value) => {
                out.push_str(&format!("| `{prefix}{name}` | `{value}` | {help} |\n"));
            }
            Value::Required => {
                out.push_str(&format!("| `{prefix}{name}` | needed | {help} |\n"));
            }
            Value::Unset => out.push_str(&format!("| `{prefix}{name}` | none | {help} |\n")),
        }
    }
}

#[test]
fn the_reference_is_generated_from_the_keys() {
    let path = documentation("configuration.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let mut table = "| key | default | |\n| --- | --- | --- |\n".to_owned();
    rows("", RawConfig::KEYS, &mut table);
    let expected = format!("{before}{BEGIN}{table}{END}{after}");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap() == expected,
        "docs/configuration.md is not what the keys say; UPDATE=1 rewrites it"
    );
}

/// What a section says when every default is written down.
fn written(indent: &str, keys: &[Key], only: &dyn Fn(&str) -> bool) -> String {
    let mut out = String::new();
    for Key { name, value, .. } in keys {
        match value {
            Value::Section(keys) if only(name) => {
                out.push_str(&format!("{indent}{name}:\n"));
                out.push_str(&written(&format!("{indent}  "), keys, only));
            }
            Value::Default(value) => out.push_str(&format!("{indent}{name}: {value:?}\n")),
            Value::Required if *name == "hosts" => {
                out.push_str(&format!("{indent}hosts: [http://a]\n"));
            }
            Value::Unset if *name == "token" => out.push_str(&format!("{indent}token: /t\n")),
            Value::Section(_) | Value::Required | Value::Unset => {}
        }
    }
    out.replace("\"false\"", "false").replace("\"true\"", "true")
}

#[test]
fn documented_defaults_are_what_holds() {
    let all = written("", RawConfig::KEYS, &|section| section != "tls");
    // The default address needs TLS, which has no default.
    let tls = "listen:\n  tls: {certificate: /c, key: /k}\n";
    let all = all.replace("listen:\n", tls);
    let none = format!("{tls}forwarders: {{token: /t}}\nelasticsearch: {{hosts: [http://a]}}\n");
    assert_eq!(parse(&all), parse(&none));
}

#[test]
fn the_documented_example_is_valid_and_shows_the_defaults() {
    let text = fs::read_to_string(documentation("examples/aggregator.yaml")).unwrap();
    let config = parse(&text);
    let is_key = |line: &str| {
        let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
        let rest = rest.strip_prefix("# ")?;
        let name: String =
            rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
        let known = !name.is_empty() && rest.starts_with(&format!("{name}:"));
        known.then(|| format!("{indent}{rest}\n"))
    };
    let mut shown = String::new();
    let mut defaults = 0;
    for line in text.lines() {
        match is_key(line) {
            Some(line) => {
                shown.push_str(&line);
                defaults += 1;
            }
            None => shown.push_str(&format!("{line}\n")),
        }
    }
    assert!(defaults > 10, "{shown}");
    assert_eq!(parse(&shown), config, "what is commented out is not the default");
    for Key { name, value, .. } in RawConfig::KEYS {
        let keys = if let Value::Section(keys) = value { *keys } else { &[] };
        for name in keys.iter().map(|key| key.name).chain([*name]) {
            assert!(text.contains(&format!("{name}:")), "the example does not show {name}");
        }
    }
}
