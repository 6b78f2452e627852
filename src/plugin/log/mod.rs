//! The log lines: flat JSON that the CloudQuery CLI parses and counts, or text for people, on stdout.
//!
//! Owns the subscriber. What is logged is decided where it happens; what a line looks like, here.

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{EnvFilter, LevelFilter, ParseError};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Scope};
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::cli::{LogFormat, LogLevel};

/// The longest line in bytes, newline included: the CLI throws longer ones away, errors uncounted.
pub const MAX_LINE_BYTES: usize = 4096;

/// Crates whose inner life nobody asked for, by prefix of the target: they start at `warn`.
const CHATTER: [&str; 8] = [
    "aws", "h2", "hyper", "mio", "rustls", "tokio", "tonic", "tower",
];

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is not one, which no caller can bring about.
    #[error("cannot set the log level")]
    Filter(#[from] ParseError),
    /// Somebody else owns the process's log already.
    #[error("logging is already set up")]
    Taken(#[from] TryInitError),
}

/// Sets up logging for the process, once. `level` is refined by `RUST_LOG`, and a `RUST_LOG` that was meant for another
/// program is ignored with a warning; `module` stands in every JSON line; by custom it is `<name>-<kind>`.
pub fn init(level: LogLevel, format: LogFormat, module: &str) -> Result<(), LogError> {
    let refine = std::env::var("RUST_LOG").unwrap_or_default();
    let (filter, unreadable) = match filter(level, &refine) {
        Ok(filter) => (filter, None),
        Err(error) => (filter(level, "")?, Some(error)),
    };
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Json => registry.with(Json::new(module, || Stdout)).try_init()?,
        LogFormat::Text => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .with_ansi(false)
                    .with_writer(|| Stdout)
                    .log_internal_errors(false),
            )
            .try_init()?,
    }
    if let Some(error) = unreadable {
        tracing::warn!(error = %error, "RUST_LOG is ignored: it cannot be read");
    }
    Ok(())
}

fn filter(level: LogLevel, refine: &str) -> Result<EnvFilter, ParseError> {
    let level = match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let mut directives = level.to_string();
    for target in CHATTER {
        // A later directive replaces an earlier one for the same target.
        let _ = write!(directives, ",{target}={}", level.min(LevelFilter::WARN));
    }
    // The parser minds white space around a directive, such as the line break at the end of a mounted file.
    for directive in refine.split(',').map(str::trim).filter(|d| !d.is_empty()) {
        let _ = write!(directives, ",{directive}");
    }
    EnvFilter::try_new(directives)
}

/// Standard output for whole lines. A reader that went away is no reason to fail: `print!` would panic.
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut out = io::stdout().lock();
        if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
            // Nobody reads; there is no other place to say so.
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A layer that writes each event as one JSON line.
struct Json<W> {
    module: String,
    writer: W,
}

impl<W> Json<W> {
    fn new(module: &str, writer: W) -> Self {
        let module = module.to_owned();
        Self { module, writer }
    }
}

/// Fields in the order in which they came; a later value of the same name replaces the earlier.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn set(&mut self, name: &'static str, value: Value) {
        match self.0.iter_mut().find(|(have, _)| *have == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Ends early: nothing longer than a line is ever shown of it.
        let mut text = Head(String::new());
        if write!(text, "{value:?}").is_err() && text.0.is_empty() {
            return;
        }
        self.set(field.name(), text.0.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let mut text = Head(String::new());
        let _ = text.write_str(value);
        self.set(field.name(), text.0.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field.name(), value.into());
    }
}

/// Takes the first [`MAX_LINE_BYTES`] of what is written and then fails.
struct Head(String);

impl fmt::Write for Head {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_LINE_BYTES.saturating_sub(self.0.len());
        let end = text.floor_char_boundary(room);
        self.0.push_str(text.get(..end).unwrap_or_default());
        if end < text.len() {
            Err(fmt::Error)
        } else {
            Ok(())
        }
    }
}

impl<S, W, O> Layer<S> for Json<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn() -> O + 'static,
    O: Write,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context
            .event_scope(event)
            .into_iter()
            .flat_map(Scope::from_root)
        {
            if let Some(outer) = span.extensions().get::<Fields>() {
                for (name, value) in &outer.0 {
                    fields.set(name, value.clone());
                }
            }
        }
        event.record(&mut fields);
        let line = line(*event.metadata().level(), &self.module, fields.0);
        if (self.writer)().write_all(line.as_bytes()).is_err() {
            // As with stdout: there is nowhere to report it.
        }
    }
}

/// One line, newline included, of at most [`MAX_LINE_BYTES`].
fn line(level: Level, module: &str, mut fields: Vec<(&'static str, Value)>) -> String {
    let message = fields.iter().position(|(name, _)| *name == "message");
    let message = message.map_or(Value::from(""), |at| fields.remove(at).1);
    let own = [("message", message), ("module", Value::from(module))];

    let mut parts: Vec<(String, Value)> = own
        .into_iter()
        .chain(fields)
        .enumerate()
        .map(|(at, (name, value))| (key(name, at), value))
        .collect();
    let level = level.as_str().to_lowercase();
    loop {
        let line = render(&level, &parts);
        let Some(over) = line.len().checked_sub(MAX_LINE_BYTES + 1) else {
            return line;
        };
        if !shorten(&mut parts, over + 1) {
            // Only the fields of which there are very many are left; the last ones say least.
            parts.pop();
        }
    }
}

/// The line's own keys are not for fields: `level` and `message` are the CLI's, and it adds a `time` itself.
fn key(name: &str, at: usize) -> String {
    let own = at < 2;
    let taken = matches!(name, "level" | "message" | "module" | "time");
    let suffix = if taken && !own { "_" } else { "" };
    format!("{}{suffix}", name.trim_start_matches("r#"))
}

fn render(level: &str, parts: &[(String, Value)]) -> String {
    let mut line = format!("{{\"level\":\"{level}\"");
    for (name, value) in parts {
        let _ = write!(line, ",{}:{value}", Value::from(name.as_str()));
    }
    line.push_str("}\n");
    line
}

/// Takes at least `over` bytes, or all it can, from the longest text. False when no text is long enough to matter.
fn shorten(parts: &mut [(String, Value)], over: usize) -> bool {
    const MARK: &str = "…";
    const KEEP: usize = 64;
    let texts = parts.iter_mut().filter_map(|(_, value)| match value {
        Value::String(text) if text.len() > KEEP => Some(text),
        _ => None,
    });
    let Some(text) = texts.max_by_key(|text| text.len()) else {
        return false;
    };
    // Escapes take more of the line than of the text. Where they are unevenly spread the caller asks again.
    let written = Value::from(text.as_str()).to_string().len();
    let cut = (over * text.len()).div_ceil(written) + MARK.len();
    let room = text.len().saturating_sub(cut).max(KEEP - MARK.len());
    text.truncate(text.floor_char_boundary(room));
    text.push_str(MARK);
    true
}

#[cfg(test)]
mod tests;
