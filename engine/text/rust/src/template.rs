//! A chat template, rendered as transformers' `render_jinja_template` does.

use std::fmt;

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, Local, NaiveDateTime};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior};

use crate::{python_json, python_text};

const NAME: &str = "chat_template";
/// The variable that carries the clock to strftime_now. Not a name a template can write.
const CLOCK: &str = "strftime_now clock";

pub enum Failure {
    /// The template itself failed, raise_exception included (then the message is its text).
    Template(String),
    /// Out of fuel, or more output than allowed.
    Limit(String),
}

#[derive(Debug)]
struct Raised(String);
impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Raised {}

pub struct Template {
    environment: Environment<'static>,
    max_output_bytes: usize,
}

impl Template {
    pub fn new(source: &str, fuel: u64, max_output_bytes: usize) -> Result<Self, String> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(false).build();
        environment.set_syntax(syntax.map_err(|e| e.to_string())?);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_fuel(Some(fuel));
        environment.set_unknown_method_callback(python_text::method);
        environment.set_formatter(|out, state, value| match value.kind() {
            ValueKind::Number => out.write_str(&python_json::number(value)?).map_err(Error::from),
            _ => minijinja::escape_formatter(out, state, value),
        });
        environment.add_filter("tojson", python_json::tojson);
        environment.add_filter("trim", python_text::trim);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_template_owned(NAME, plain_generation_blocks(source)).map_err(|e| describe(&e))?;
        Ok(Template { environment, max_output_bytes })
    }

    pub fn render(&self, variables: &str, local_seconds: i64) -> Result<String, Failure> {
        let parsed: serde_json::Value = serde_json::from_str(variables).map_err(|e| Failure::Template(format!("variables: {e}")))?;
        let serde_json::Value::Object(mut context) = parsed else {
            return Err(Failure::Template("variables: not a JSON object".to_string()));
        };
        context.insert(CLOCK.to_string(), local_seconds.into());
        let template = self.environment.get_template(NAME).map_err(|e| Failure::Template(describe(&e)))?;
        let mut output = Limited { bytes: Vec::new(), limit: self.max_output_bytes, exceeded: false };
        let outcome = template.render_captured_to(Value::from(Serde(&context)), &mut output).map(|_| ());
        if output.exceeded {
            return Err(Failure::Limit(format!("the chat template wrote more than {} bytes", self.max_output_bytes)));
        }
        match outcome {
            Ok(()) => String::from_utf8(output.bytes).map_err(|e| Failure::Template(e.to_string())),
            Err(e) if e.kind() == ErrorKind::OutOfFuel => Err(Failure::Limit(format!("the chat template took too many steps: {}", describe(&e)))),
            Err(e) => Err(Failure::Template(raised(&e).unwrap_or_else(|| describe(&e)))),
        }
    }
}

/// Collects the output up to a limit.
struct Limited {
    bytes: Vec<u8>,
    limit: usize,
    exceeded: bool,
}

impl std::io::Write for Limited {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        if data.len() > self.limit - self.bytes.len() {
            self.exceeded = true;
            return Err(std::io::Error::other("output limit"));
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Raised(message)))
}

fn raised(error: &Error) -> Option<String> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(e) = cause {
        if let Some(Raised(message)) = e.downcast_ref::<Raised>() {
            return Some(message.clone());
        }
        cause = e.source();
    }
    None
}

/// "undefined value: ... (line 3)"
fn describe(error: &Error) -> String {
    let mut text = error.kind().to_string();
    if let Some(detail) = error.detail() {
        text = format!("{text}: {detail}");
    }
    if let Some(line) = error.line() {
        text = format!("{text} (line {line})");
    }
    text
}

fn strftime_now(state: &State, format: String) -> Result<String, Error> {
    let fixed = state.lookup(CLOCK).and_then(|v| i64::try_from(v).ok()).filter(|seconds| *seconds >= 0);
    let now: NaiveDateTime = match fixed.and_then(|seconds| DateTime::from_timestamp(seconds, 0)) {
        Some(moment) => moment.naive_utc(),
        None => Local::now().naive_local(),
    };
    let items: Vec<Item> = StrftimeItems::new(&format).collect();
    let mut text = String::new();
    if items.contains(&Item::Error) || fmt::write(&mut text, format_args!("{}", now.format_with_items(items.iter()))).is_err() {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("strftime_now: cannot format {format:?}")));
    }
    Ok(text)
}

/// `{% generation %}` marks the assistant's words for training masks; for the text it is a plain block. minijinja has no such tag, so it
/// becomes an `if` that is always taken, with the tag's own blank control kept.
fn plain_generation_blocks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(open) = rest.find("{%") {
        let (before, tag) = rest.split_at(open);
        out.push_str(before);
        let Some(close) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let inside = &tag[2..close];
        let word = inside.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
        match word {
            "generation" => out.push_str(&format!("{{%{}%}}", inside.replacen("generation", "if true", 1))),
            "endgeneration" => out.push_str(&format!("{{%{}%}}", inside.replacen("endgeneration", "endif", 1))),
            _ => {
                // Only the opening is copied: a "%}" inside a string must not hide the next tag.
                out.push_str("{%");
                rest = &tag[2..];
                continue;
            }
        }
        rest = &tag[close + 2..];
    }
    out.push_str(rest);
    out
}
