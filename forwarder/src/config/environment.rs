//! What the environment adds to a configuration: values in its text, and the node's name.

use super::ConfigError;

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The node's name where nothing says it: the environment's, else the host's.
#[must_use]
pub fn default_node(environment: Environment<'_>) -> String {
    environment("NODE_NAME")
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}

/// Replaces `${NAME}` by the environment's value; `$$` is a dollar sign.
pub(super) fn expand(
    name: &str,
    text: &str,
    environment: Environment<'_>,
) -> Result<String, ConfigError> {
    let mut out = String::with_capacity(text.len());
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some((variable, after)) =
                after.strip_prefix('{').and_then(|inside| inside.split_once('}'))
            {
                let value = environment(variable).ok_or_else(|| {
                    ConfigError(format!(
                        "{name}:{}: the environment variable {variable:?} is not set",
                        index + 1
                    ))
                })?;
                out.push_str(&value);
                rest = after;
            } else {
                out.push('$');
                rest = after;
            }
        }
        out.push_str(rest);
    }
    Ok(out)
}
