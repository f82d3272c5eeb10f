//! The `tojson` filter as transformers defines it: Python's `json.dumps(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
//! minijinja's own differs: it escapes HTML characters.

use std::fmt::Write;

use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

/// Fuel per 4 bytes of output: walking a value costs more than copying bytes.
const BYTES_PER_FUEL: usize = 4;
const MAX_DEPTH: usize = 100;

struct Style {
    ensure_ascii: bool,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
}

/// Positional or by name: ensure_ascii, indent, separators, sort_keys.
pub fn tojson(state: &State, value: Value, positional: Rest<Value>, options: Kwargs) -> Result<Value, Error> {
    if positional.len() > 4 {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let pick = |index: usize, name: &str| -> Result<Option<Value>, Error> {
        let chosen = match positional.get(index) {
            Some(value) => Some(value.clone()),
            None => options.get::<Option<Value>>(name)?,
        };
        Ok(chosen.filter(|v| !v.is_none() && !v.is_undefined()))
    };
    let ensure_ascii = pick(0, "ensure_ascii")?.is_some_and(|v| v.is_true());
    let sort_keys = pick(3, "sort_keys")?.is_some_and(|v| v.is_true());
    let indent = match pick(1, "indent")? {
        None => None,
        Some(v) => Some(match v.as_str() {
            Some(text) => text.to_string(),
            None => " ".repeat(i64::try_from(v)?.clamp(0, 64) as usize),
        }),
    };
    let (item_separator, key_separator) = match pick(2, "separators")? {
        None => (if indent.is_some() { "," } else { ", " }.to_string(), ": ".to_string()),
        Some(pair) => (pair.get_item_by_index(0)?.to_string(), pair.get_item_by_index(1)?.to_string()),
    };
    options.assert_all_used()?;
    let style = Style { ensure_ascii, indent, item_separator, key_separator, sort_keys };
    let mut out = String::new();
    dump(state, &style, &value, 0, &mut out)?;
    Ok(Value::from(out))
}

fn refuse(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

fn dump(state: &State, style: &Style, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(refuse("tojson: nested too deeply"));
    }
    let before = out.len();
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&number(value)?),
        ValueKind::String => quote(value.as_str().unwrap_or_default(), style.ensure_ascii, out),
        ValueKind::Seq | ValueKind::Iterable => {
            dump_items(state, style, value.try_iter()?.map(|item| (None, item)), ('[', ']'), depth, out)?;
            return Ok(());
        }
        ValueKind::Map => {
            let mut entries = Vec::new();
            for key in value.try_iter()? {
                let item = value.get_item(&key)?;
                entries.push((Some(key_text(&key)?), item));
            }
            if style.sort_keys {
                entries.sort_by(|a, b| a.0.cmp(&b.0));
            }
            dump_items(state, style, entries.into_iter(), ('{', '}'), depth, out)?;
            return Ok(());
        }
        other => return Err(refuse(format!("tojson: a value of type {other} is not JSON serializable"))),
    }
    state.consume_fuel(((out.len() - before) / BYTES_PER_FUEL) as u64 + 1)
}

fn dump_items(
    state: &State, style: &Style, items: impl Iterator<Item = (Option<String>, Value)>, brackets: (char, char), depth: usize, out: &mut String,
) -> Result<(), Error> {
    out.push(brackets.0);
    let mut any = false;
    for (key, item) in items {
        if any {
            out.push_str(&style.item_separator);
        }
        any = true;
        line_break(style, depth + 1, out);
        if let Some(key) = key {
            quote(&key, style.ensure_ascii, out);
            out.push_str(&style.key_separator);
        }
        dump(state, style, &item, depth + 1, out)?;
    }
    if any {
        line_break(style, depth, out);
    }
    out.push(brackets.1);
    state.consume_fuel(1)
}

fn line_break(style: &Style, depth: usize, out: &mut String) {
    if let Some(indent) = &style.indent {
        out.push('\n');
        for _ in 0..depth {
            out.push_str(indent);
        }
    }
}

fn key_text(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_string()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.to_string()),
        ValueKind::None => Ok("null".to_string()),
        ValueKind::Number => number(key),
        other => Err(refuse(format!("tojson: keys must be str, int, float, bool or None, not {other}"))),
    }
}

fn quote(text: &str, ensure_ascii: bool, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || (ensure_ascii && !(' '..='~').contains(&c)) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// An integer or a float as Python writes it.
pub fn number(value: &Value) -> Result<String, Error> {
    if value.is_integer() {
        return Ok(value.to_string());
    }
    let x = f64::try_from(value.clone())?;
    if x.is_nan() {
        return Ok("NaN".to_string());
    }
    if x.is_infinite() {
        return Ok(if x > 0.0 { "Infinity" } else { "-Infinity" }.to_string());
    }
    Ok(float_repr(x))
}

/// Python's repr: shortest digits that read back, with an exponent below 1e-4 and from 1e16 on.
fn float_repr(x: f64) -> String {
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if x != 0.0 && !(-4..16).contains(&exponent) {
        return format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    }
    let plain = x.to_string();
    if plain.contains('.') {
        plain
    } else {
        plain + ".0"
    }
}
