//! What a command found: lines for people, or JSON for scripts.

use serde_json::Value;

/// How a result is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON value.
    Json,
}

/// The lines of an object, `name  value` each, or its JSON. Lists are for scripts only.
pub(crate) fn report(output: Output, found: &Value) -> String {
    match (output, found) {
        (Output::Text, Value::Object(fields)) => {
            let lines = fields.iter().filter(|(_, value)| !value.is_array()).map(|(name, value)| {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                format!("{name:<18} {value}\n")
            });
            lines.collect()
        }
        (Output::Json | Output::Text, found) => format!("{found}\n"),
    }
}
