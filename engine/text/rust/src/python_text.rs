//! Python's idea of blanks. Rust's `trim` leaves the four information separators U+001C..U+001F in place, Python's `strip` removes them.

use minijinja::value::{from_args, StringInput, Value};
use minijinja::{Error, ErrorKind, State};

pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The `trim` filter.
pub fn trim(value: StringInput<'_>, chars: Option<String>) -> Value {
    let text = value.as_str();
    Value::from(match chars {
        Some(chars) => text.trim_matches(|c| chars.contains(c)),
        None => text.trim_matches(is_space),
    })
}

/// Methods of Python values: those of pycompat, with the ones that depend on blanks and line ends done as Python does them.
pub fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        if args.is_empty() {
            match name {
                "strip" => return Ok(Value::from(text.trim_matches(is_space))),
                "lstrip" => return Ok(Value::from(text.trim_start_matches(is_space))),
                "rstrip" => return Ok(Value::from(text.trim_end_matches(is_space))),
                "split" => return Ok(text.split(is_space).filter(|part| !part.is_empty()).map(Value::from).collect()),
                "title" => return Ok(Value::from(title(text))),
                "isspace" => return Ok(Value::from(!text.is_empty() && text.chars().all(is_space))),
                _ => {}
            }
        }
        match name {
            "splitlines" => {
                let (keep_ends,): (Option<bool>,) = from_args(args)?;
                return Ok(split_lines(text, keep_ends.unwrap_or(false)).into_iter().map(Value::from).collect());
            }
            "removeprefix" => {
                let (affix,): (&str,) = from_args(args)?;
                return Ok(Value::from(text.strip_prefix(affix).unwrap_or(text)));
            }
            "removesuffix" => {
                let (affix,): (&str,) = from_args(args)?;
                return Ok(Value::from(text.strip_suffix(affix).unwrap_or(text)));
            }
            "rsplit" => {
                let (separator, limit): (&str, Option<i64>) = from_args(args)?;
                if separator.is_empty() {
                    return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
                }
                let pieces = limit.filter(|n| *n >= 0).map_or(usize::MAX, |n| n as usize + 1);
                let mut parts: Vec<Value> = text.rsplitn(pieces, separator).map(Value::from).collect();
                parts.reverse();
                return Ok(Value::from(parts));
            }
            _ => {}
        }
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

/// A letter after anything that has no case starts a word: "they're 3rd" becomes "They'Re 3Rd".
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        let georgian = ('\u{10d0}'..='\u{10ff}').contains(&c);
        if inside {
            out.extend(c.to_lowercase());
        } else if georgian {
            out.push(c); // has an upper case, but is its own title case
        } else {
            let mut upper = c.to_uppercase();
            out.extend(upper.next());
            out.extend(upper.flat_map(char::to_lowercase));
        }
        inside = c.is_lowercase() || c.is_uppercase();
    }
    out
}

fn split_lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if !matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}') {
            continue;
        }
        let mut end = at + c.len_utf8();
        if c == '\r' && matches!(chars.peek(), Some((_, '\n'))) {
            chars.next();
            end += 1;
        }
        lines.push(&text[start..if keep_ends { end } else { at }]);
        start = end;
    }
    if start < text.len() {
        lines.push(&text[start..]);
    }
    lines
}
