//! Histories in the notation of Jepsen's `history.edn`: a map a line, so that checkers of others can read them.

use std::fmt::Write;

use super::{Function, Seen, Stage, Step, Value};

/// A history as text.
pub(crate) fn write(history: &[Step]) -> String {
    let mut text = String::new();
    for step in history {
        let key = step.key.map_or("nil".to_owned(), |key| format!("\"{key:032x}\""));
        let value = match &step.value {
            Value::Nothing => "nil".to_owned(),
            Value::Name(name) => quoted(name),
            Value::Seen(Seen { version, name, is_open }) => {
                format!("{{:version {version}, :name {}, :open {is_open}}}", quoted(name))
            }
        };
        let Step { process, stage, function, trace, time, .. } = step;
        let (stage, function) = (stage.word(), function.word());
        writeln!(
            text,
            "{{:process {process}, :type :{stage}, :f :{function}, :key {key}, :value {value}, :time {time}, \
             :trace \"{trace:032x}\"}}"
        )
        .unwrap();
    }
    text
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// The history in a text; `None` if it is none.
pub(crate) fn read(text: &str) -> Option<Vec<Step>> {
    let mut reader = Reader { rest: text };
    let mut steps = Vec::new();
    while !reader.is_at_end() {
        steps.push(step(&reader.term()?)?);
    }
    Some(steps)
}

/// What the notation can say, as far as histories need it.
#[derive(Debug, Clone, PartialEq)]
enum Term {
    Nil,
    Bool(bool),
    Number(u64),
    Keyword(String),
    Text(String),
    Map(Vec<(Term, Term)>),
}

impl Term {
    fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(pairs) = self else { return None };
        pairs.iter().find(|(name, _)| *name == Self::Keyword(key.to_owned())).map(|(_, value)| value)
    }

    fn number(&self) -> Option<u64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    fn id(&self) -> Option<u128> {
        if let Self::Text(text) = self { u128::from_str_radix(text, 16).ok() } else { None }
    }

    fn word(&self) -> Option<&str> {
        if let Self::Keyword(word) = self { Some(word) } else { None }
    }
}

fn step(term: &Term) -> Option<Step> {
    let (stage, function) = (term.get("type")?.word()?, term.get("f")?.word()?);
    let key = term.get("key")?;
    let value = match term.get("value")? {
        Term::Nil => Value::Nothing,
        Term::Text(name) => Value::Name(name.clone()),
        shown @ Term::Map(_) => match (shown.get("name")?, shown.get("open")?) {
            (Term::Text(name), Term::Bool(is_open)) => Value::Seen(Seen {
                version: shown.get("version")?.number()?,
                name: name.clone(),
                is_open: *is_open,
            }),
            _ => return None,
        },
        Term::Bool(_) | Term::Number(_) | Term::Keyword(_) => return None,
    };
    Some(Step {
        process: usize::try_from(term.get("process")?.number()?).ok()?,
        stage: Stage::ALL.into_iter().find(|known| known.word() == stage)?,
        function: Function::ALL.into_iter().find(|known| known.word() == function)?,
        key: if *key == Term::Nil { None } else { Some(key.id()?) },
        trace: term.get("trace")?.id()?,
        value,
        time: term.get("time")?.number()?,
    })
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    /// Commas are white space.
    fn is_at_end(&mut self) -> bool {
        self.rest = self.rest.trim_start_matches(|letter: char| letter.is_whitespace() || letter == ',');
        self.rest.is_empty()
    }

    fn term(&mut self) -> Option<Term> {
        if self.is_at_end() {
            return None;
        }
        if let Some(rest) = self.rest.strip_prefix('{') {
            self.rest = rest;
            let mut pairs = Vec::new();
            loop {
                if self.is_at_end() {
                    return None;
                }
                if let Some(rest) = self.rest.strip_prefix('}') {
                    self.rest = rest;
                    return Some(Term::Map(pairs));
                }
                pairs.push((self.term()?, self.term()?));
            }
        }
        if let Some(rest) = self.rest.strip_prefix('"') {
            self.rest = rest;
            return self.text();
        }
        let ends = |letter: char| letter.is_whitespace() || [',', '{', '}', '"'].contains(&letter);
        let (word, rest) = self.rest.split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        Some(match word {
            "nil" => Term::Nil,
            "true" => Term::Bool(true),
            "false" => Term::Bool(false),
            _ => match word.strip_prefix(':') {
                Some(name) => Term::Keyword(name.to_owned()),
                None => Term::Number(word.parse().ok()?),
            },
        })
    }

    /// The rest of a text whose first quote was read.
    fn text(&mut self) -> Option<Term> {
        let (mut text, mut letters) = (String::new(), self.rest.char_indices());
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.rest = self.rest.get(at + 1..)?;
                    return Some(Term::Text(text));
                }
                '\\' => match letters.next()?.1 {
                    'n' => text.push('\n'),
                    other => text.push(other),
                },
                other => text.push(other),
            }
        }
        None
    }
}
