//! Where values come from, and what is wrong with them.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A settings file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File(path) => write!(out, "{}", path.display()),
            Self::Environment(name) => out.write_str(name),
            Self::Flag(name) => out.write_str(name),
        }
    }
}

/// Something that was said and cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mistake {
    /// No key has this name.
    Unknown {
        /// The name.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// The key that was perhaps meant.
        meant: Option<&'static str>,
    },
    /// The key cannot hold this.
    Invalid {
        /// The key.
        key: String,
        /// What it was given; `***` for a secret.
        value: String,
        /// Where it stands.
        origin: Origin,
        /// What would be valid.
        valid: &'static str,
    },
    /// The file is not TOML, or cannot be read.
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { key, origin, meant } => {
                write!(out, "`{key}` (from {origin}) is not a setting")?;
                meant.map_or(Ok(()), |meant| write!(out, "; did you mean `{meant}`?"))
            }
            Self::Invalid { key, value, origin, valid } => {
                write!(out, "`{key}` is `{value}` (from {origin}), but must be {valid}")
            }
            Self::File { path, reason } => write!(out, "failed to read `{}`: {reason}", path.display()),
        }
    }
}

/// All that is wrong, at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Error(pub Vec<Mistake>);

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the settings are not valid")?;
        self.0.iter().try_for_each(|mistake| write!(out, "\n  {mistake}"))
    }
}

/// Variables with our prefix that are not settings of a node: those of the client commands.
const NOT_SETTINGS: [&str; 4] = ["PROGNET_URL", "PROGNET_TOKEN", "PROGNET_EMAIL", "PROGNET_PASSWORD"];
const PREFIX: &str = "PROGNET_";
/// A file is read from here if none is named, and it is there.
const USUAL_FILE: &str = "prognet.toml";

/// What was said, by key; a later source overrules an earlier one.
#[derive(Debug, Default)]
pub struct Sources {
    said: BTreeMap<String, (String, Origin)>,
    mistakes: Vec<Mistake>,
}

impl Sources {
    /// Takes in a settings file, or the usual one if it is there.
    #[must_use]
    pub fn file(mut self, named: Option<PathBuf>) -> Self {
        let is_named = named.is_some();
        let path = named.unwrap_or_else(|| PathBuf::from(USUAL_FILE));
        match std::fs::read_to_string(&path) {
            Err(error) if !is_named && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => self.mistakes.push(Mistake::File { path, reason: error.to_string() }),
            Ok(text) => match text.parse::<toml::Table>() {
                Ok(table) => self.table("", &table, &path),
                Err(error) => {
                    self.mistake(Mistake::File { path, reason: place_and_reason(&text, &error) });
                }
            },
        }
        self
    }

    fn table(&mut self, prefix: &str, table: &toml::Table, path: &Path) {
        for (name, value) in table {
            let key = format!("{prefix}{name}");
            let origin = Origin::File(path.to_owned());
            match value {
                toml::Value::Table(inner) if !inner.is_empty() || is_section(&key) => {
                    self.table(&format!("{key}."), inner, path);
                }
                toml::Value::String(text) => self.say(key, text.clone(), origin),
                toml::Value::Table(_)
                | toml::Value::Integer(_)
                | toml::Value::Float(_)
                | toml::Value::Boolean(_)
                | toml::Value::Datetime(_)
                | toml::Value::Array(_) => self.say(key, value.to_string(), origin),
            }
        }
    }

    /// Takes in the environment: `PROGNET_HTTP_LISTEN` is `http.listen`.
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let ours = variables.into_iter().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            (name.starts_with(PREFIX) && !NOT_SETTINGS.contains(&name.as_str())).then_some((name, value))
        });
        for (name, value) in ours {
            // An unknown one keeps its words, for the message.
            let key = key_of(&name).map_or_else(|| words_of(&name), str::to_owned);
            match value.into_string() {
                Ok(value) => self.say(key, value, Origin::Environment(name)),
                Err(value) => self.mistake(Mistake::Invalid {
                    key,
                    value: format!("{} bytes", value.len()),
                    origin: Origin::Environment(name),
                    valid: "UTF-8",
                }),
            }
        }
        self
    }

    /// Takes in a flag.
    #[must_use]
    pub fn flag(mut self, flag: &str, key: &str, value: Option<String>) -> Self {
        if let Some(value) = value {
            self.say(key.to_owned(), value, Origin::Flag(flag.to_owned()));
        }
        self
    }

    fn say(&mut self, key: String, value: String, origin: Origin) {
        self.said.insert(key, (value, origin));
    }

    /// What was said about a key.
    pub(crate) fn take(&mut self, key: &str) -> Option<(String, Origin)> {
        self.said.remove(key)
    }

    pub(crate) fn mistake(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    /// What is left was about no key.
    pub(crate) fn finish(self) -> Result<(), Error> {
        let Self { said, mut mistakes } = self;
        for (key, (_, origin)) in said {
            let meant = near(&key);
            mistakes.push(Mistake::Unknown { key, origin, meant });
        }
        if mistakes.is_empty() { Ok(()) } else { Err(Error(mistakes)) }
    }
}

/// Where TOML ends to be TOML; without the line itself, which may hold a secret.
fn place_and_reason(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map(|before| format!("line {}: ", before.matches('\n').count() + 1));
    format!("{}{}", line.unwrap_or_default(), error.message())
}

fn is_section(name: &str) -> bool {
    crate::Settings::keys().iter().any(|key| key.name.split_once('.').is_some_and(|(of, _)| of == name))
}

fn key_of(variable: &str) -> Option<&'static str> {
    crate::Settings::keys().iter().find(|key| key.variable() == variable).map(|key| key.name)
}

fn words_of(variable: &str) -> String {
    variable.strip_prefix(PREFIX).unwrap_or(variable).to_lowercase()
}

/// The key that was perhaps meant: not more than three slips away.
fn near(word: &str) -> Option<&'static str> {
    let word = word.replace('_', ".");
    let distances = crate::Settings::keys()
        .iter()
        .map(|key| (strsim::damerau_levenshtein(&key.name.replace('_', "."), &word), key.name));
    distances.min().filter(|(distance, _)| *distance <= 3).map(|(_, name)| name)
}
