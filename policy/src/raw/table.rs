//! A TOML document as tables whose fields are taken out one by one, each with its place. It finds
//! what is not TOML, unknown fields and wrong types; it does not know what a document is about.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml::value::Datetime;

use crate::problem::{Fault, Mistakes};
use crate::words::{did_you_mean, printable, quoted};

/// A value and the bytes of the text it was read from.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

/// A field of a table.
#[derive(Clone, Debug, Default)]
pub(crate) enum Field<T> {
    /// It is not there.
    #[default]
    Missing,
    /// It is there, and what is wrong with it has been said.
    Bad,
    /// It is there.
    Given(At<T>),
}

/// A size, with or without a unit.
#[derive(Clone, Debug)]
pub(crate) enum RawBytes {
    Number(i128),
    Text(String),
}

/// The tables of a text, as far as it can be read.
pub(crate) fn document<'t>(text: &'t str, mistakes: &mut Mistakes) -> Spanned<DeTable<'t>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        not_toml(error.message(), text.get(span.clone()).unwrap_or_default(), span, mistakes);
    }
    document
}

/// Says what the TOML parser says, in words that fit a policy where they are known.
fn not_toml(message: &str, found: &str, span: Range<usize>, mistakes: &mut Mistakes) {
    let message = message.trim();
    if message.starts_with("duplicate key") {
        let fault = format!("{} is given twice", quoted(found));
        mistakes.syntax(span, Fault::new(fault, "keep one of the two"));
    } else if message.starts_with("string values must be quoted") {
        let help = format!("write \"{}\"", found.chars().map(printable).collect::<String>());
        mistakes.syntax(span, Fault::new(format!("{} needs double quotes", quoted(found)), help));
    } else {
        let message = message.lines().collect::<Vec<_>>().join(", ");
        let help = if message.contains("array") && !message.contains("table") {
            "this is not TOML here: is a `]` or a comma missing, maybe on a line above?"
        } else {
            "this is not TOML here: see https://toml.io/en/v1.0.0"
        };
        let fault = Fault::new(message.as_str(), help);
        if message.starts_with("invalid ") {
            mistakes.syntax(span, fault);
        } else {
            mistakes.broken(span, fault);
        }
    }
}

/// A table whose fields are taken out one by one.
pub(crate) struct Table<'t, 'i, 'm> {
    table: &'t DeTable<'i>,
    mistakes: &'m mut Mistakes,
}

impl<'t, 'i, 'm> Table<'t, 'i, 'm> {
    /// Reports every field that is not known.
    pub(crate) fn new(
        table: &'t DeTable<'i>,
        what: &str,
        known: &[&str],
        mistakes: &'m mut Mistakes,
    ) -> Self {
        for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let word = key.get_ref();
            let message = format!("{what} has no field {}", quoted(word));
            mistakes.wrong(&key.span(), Fault::new(message, did_you_mean(word, known)));
        }
        Self { table, mistakes }
    }

    pub(crate) fn text(&mut self, name: &str, example: &str) -> Field<String> {
        self.field(
            name,
            &format!("a string, as in `{name} = \"{example}\"`"),
            |value| match value {
                DeValue::String(text) => Ok(text.to_string()),
                _ => Err(None),
            },
        )
    }

    pub(crate) fn number(&mut self, name: &str, example: u32) -> Field<i128> {
        self.field(name, &format!("a whole number, as in `{name} = {example}`"), integer)
    }

    pub(crate) fn flag(&mut self, name: &str, example: bool) -> Field<bool> {
        let wanted = format!("true or false, without quotes, as in `{name} = {example}`");
        self.field(name, &wanted, |value| match value {
            DeValue::Boolean(flag) => Ok(*flag),
            _ => Err(None),
        })
    }

    pub(crate) fn bytes(&mut self, name: &str) -> Field<RawBytes> {
        let wanted = format!("a size, as in `{name} = \"2GiB\"`, or a number of bytes");
        self.field(name, &wanted, |value| match value {
            DeValue::String(text) => Ok(RawBytes::Text(text.to_string())),
            other => integer(other).map(RawBytes::Number),
        })
    }

    pub(crate) fn texts(&mut self, name: &str, example: &str) -> Field<Vec<At<String>>> {
        let wanted = format!("a list of strings, as in `{name} = [\"{example}\"]`");
        let Some(value) = self.get(name) else {
            return Field::Missing;
        };
        let DeValue::Array(items) = value.get_ref() else {
            return self.wrong_type(name, value, &wanted);
        };
        let mut texts = Vec::new();
        let mut bad = false;
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(text) => {
                    texts.push(At { value: text.to_string(), span: item.span() });
                }
                _ => {
                    bad = true;
                    let _: Field<()> = self.wrong_type(name, item, &wanted);
                }
            }
        }
        // What is left still takes part in the checks, but an emptied list must not look like an
        // empty one.
        if bad && texts.is_empty() {
            return Field::Bad;
        }
        Field::Given(At { value: texts, span: value.span() })
    }

    /// A list of `[[tables]]`.
    pub(crate) fn tables<T>(
        &mut self,
        name: &str,
        header: &str,
        read: impl Fn(&DeTable<'_>, Range<usize>, &mut Mistakes) -> T,
    ) -> Field<Vec<T>> {
        self.list(name, &format!("a list of tables, each starting with `{header}`"), read)
    }

    /// A list of tables; `wanted` says how one writes it.
    pub(crate) fn list<T>(
        &mut self,
        name: &str,
        wanted: &str,
        read: impl Fn(&DeTable<'_>, Range<usize>, &mut Mistakes) -> T,
    ) -> Field<Vec<T>> {
        let Some(value) = self.get(name) else {
            return Field::Missing;
        };
        let DeValue::Array(items) = value.get_ref() else {
            return self.wrong_type(name, value, wanted);
        };
        let mut tables = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(table) => tables.push(read(table, item.span(), self.mistakes)),
                _ => {
                    let _: Field<()> = self.wrong_type(name, item, wanted);
                }
            }
        }
        if tables.is_empty() && !items.is_empty() {
            return Field::Bad;
        }
        Field::Given(At { value: tables, span: value.span() })
    }

    /// One `[table]`.
    pub(crate) fn table<T>(
        &mut self,
        name: &str,
        header: &str,
        read: impl Fn(&DeTable<'_>, Range<usize>, &mut Mistakes) -> T,
    ) -> Field<T> {
        let Some(value) = self.get(name) else {
            return Field::Missing;
        };
        let DeValue::Table(table) = value.get_ref() else {
            return self.wrong_type(name, value, &format!("one table that starts with `{header}`"));
        };
        Field::Given(At { value: read(table, value.span(), self.mistakes), span: value.span() })
    }

    /// A date and time, as TOML has it: it need not have a zone.
    pub(crate) fn time(&mut self, name: &str, example: &str) -> Field<Datetime> {
        let wanted = format!("a date and time without quotes, as in `{name} = {example}`");
        self.field(name, &wanted, |value| match value {
            DeValue::Datetime(time) => Ok(*time),
            _ => Err(None),
        })
    }

    fn field<T>(
        &mut self,
        name: &str,
        wanted: &str,
        take: impl Fn(&DeValue<'_>) -> Result<T, Option<Fault>>,
    ) -> Field<T> {
        let Some(value) = self.get(name) else {
            return Field::Missing;
        };
        match take(value.get_ref()) {
            Ok(taken) => Field::Given(At { value: taken, span: value.span() }),
            Err(Some(fault)) => {
                self.mistakes.wrong(&value.span(), fault);
                Field::Bad
            }
            Err(None) => self.wrong_type(name, value, wanted),
        }
    }

    fn get(&self, name: &str) -> Option<&'t Spanned<DeValue<'i>>> {
        self.table.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value)
    }

    fn wrong_type<T>(
        &mut self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        wanted: &str,
    ) -> Field<T> {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a single table",
        };
        let message = format!("`{name}` cannot be {found}");
        self.mistakes.wrong(&value.span(), Fault::new(message, format!("it is {wanted}")));
        Field::Bad
    }
}

fn integer(value: &DeValue<'_>) -> Result<i128, Option<Fault>> {
    let DeValue::Integer(number) = value else {
        return Err(None);
    };
    i128::from_str_radix(number.as_str(), number.radix()).map_err(|_| {
        Some(Fault::new("this number is too large", "the largest is 9223372036854775807"))
    })
}
