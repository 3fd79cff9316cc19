//! Log lines in Istio's form: time, level, scope, message and keys, separated by tabs, or one JSON object each.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::time::SystemTime;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Scope};
use tracing_subscriber::util::SubscriberInitExt;

/// The scope of the agent's own lines.
pub const AGENT: &str = "cni-agent";
/// The scope of the lines that the plugin sends.
pub const PLUGIN: &str = "cni-plugin";
/// The scope of everything else.
const DEFAULT: &str = "default";
/// The field in which the keys of a plugin's line are handed on, as JSON.
const KEYS: &str = "keys_json";

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Tabs
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Where lines go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// Standard output
    #[default]
    Stdout,
    /// Standard error
    Stderr,
}

/// What is logged, by scope. `None` is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    agent: Option<Level>,
    plugin: Option<Level>,
    default: Option<Level>,
}

/// A level or scope that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a log level: use debug, info, warn, error, fatal or none, with or without SCOPE: before it"
)]
pub struct LevelError(String);

impl Levels {
    /// The same level for all scopes.
    pub fn all(level: Option<Level>) -> Self {
        Self { agent: level, plugin: level, default: level }
    }

    /// Parses `info` or `cni-agent:debug,default:warn`. Scopes that this program lacks are ignored, as Istio does; `cni`
    /// counts as both of ours. Returns the scopes that had no effect or another one than their name says, too.
    ///
    /// # Errors
    /// A level is none.
    pub fn parse(text: &str) -> Result<(Self, Vec<String>), LevelError> {
        let mut levels = Self::all(Some(Level::INFO));
        let mut unusual = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (scope, level) = part.split_once(':').unwrap_or((DEFAULT, part));
            let level = parse_level(level).ok_or_else(|| LevelError(part.to_owned()))?;
            match scope {
                // A level without a scope is everything's.
                DEFAULT if !part.contains(':') => levels = Self::all(level),
                "all" => levels = Self::all(level),
                DEFAULT => levels.default = level,
                AGENT => levels.agent = level,
                PLUGIN => levels.plugin = level,
                "cni" => {
                    (levels.agent, levels.plugin) = (level, level);
                    unusual.push(scope.to_owned());
                }
                other => unusual.push(other.to_owned()),
            }
        }
        Ok((levels, unusual))
    }

    fn of(&self, scope: &str) -> Option<Level> {
        match scope {
            AGENT => self.agent,
            PLUGIN => self.plugin,
            _ => self.default,
        }
    }
}

/// A level by one of Istio's or Linkerd's names.
#[expect(clippy::option_option, reason = "`none` is a level, and it lets nothing through")]
fn parse_level(text: &str) -> Option<Option<Level>> {
    match text.to_ascii_lowercase().as_str() {
        "trace" => Some(Some(Level::TRACE)),
        "debug" => Some(Some(Level::DEBUG)),
        "info" => Some(Some(Level::INFO)),
        "warn" | "warning" => Some(Some(Level::WARN)),
        "error" | "fatal" => Some(Some(Level::ERROR)),
        "none" | "off" => Some(None),
        _ => None,
    }
}

/// Parses Linkerd's levels: `info`, or `linkerd_cni_repair_controller=info,warn`, of which the first that has no other
/// target counts.
///
/// # Errors
/// A level is none.
pub fn parse_directives(text: &str) -> Result<Levels, LevelError> {
    let (mut own, mut rest) = (None, None);
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (target, level) =
            part.split_once('=').map_or((None, part), |(target, level)| (Some(target), level));
        let level = parse_level(level).ok_or_else(|| LevelError(part.to_owned()))?;
        match target {
            None => rest = Some(level),
            Some("linkerd_cni_repair_controller") => own = Some(level),
            Some(_) => {}
        }
    }
    let default = rest.unwrap_or(Some(Level::WARN));
    let agent = own.unwrap_or(default);
    Ok(Levels { agent, plugin: agent, default })
}

/// Logs from now on. A second call has no effect.
pub fn start(levels: Levels, format: Format, output: Output) {
    // It fails only if it was called before.
    let _ = tracing_subscriber::registry().with(Lines { levels, format, output }).try_init();
}

struct Lines {
    levels: Levels,
    format: Format,
    output: Output,
}

/// The scope of a line or a span.
fn scope(metadata: &Metadata<'_>) -> &'static str {
    match metadata.target() {
        AGENT => AGENT,
        PLUGIN => PLUGIN,
        _ => DEFAULT,
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.levels.of(scope(metadata)).is_some_and(|most| *metadata.level() <= most)
    }

    /// A span's keys are kept for the lines inside it.
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let line = self.line_of(event, &context);
        // A log that cannot be written is no reason to stop.
        let _ = match self.output {
            Output::Stdout => io::stdout().lock().write_all(line.as_bytes()),
            Output::Stderr => io::stderr().lock().write_all(line.as_bytes()),
        };
    }
}

impl Lines {
    /// An event's line, with the keys of the spans around it, the outermost first.
    fn line_of<S: Subscriber + for<'a> LookupSpan<'a>>(
        &self,
        event: &Event<'_>,
        context: &Context<'_, S>,
    ) -> String {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(Scope::from_root) {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.keys.extend_from_slice(&outer.keys);
            }
        }
        event.record(&mut fields);
        line(self.format, SystemTime::now(), *event.metadata().level(), scope(event.metadata()), &fields)
    }
}

fn line(format: Format, time: SystemTime, level: Level, scope: &str, fields: &Fields) -> String {
    let time = humantime::format_rfc3339_micros(time).to_string();
    let level = level.as_str().to_ascii_lowercase();
    match format {
        Format::Text => {
            let mut line = format!("{time}\t{level}\t{scope}\t{}", fields.message);
            for (index, (key, value)) in fields.keys.iter().enumerate() {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let _ = write!(line, "{}{key}={text}", if index == 0 { "\t" } else { " " });
            }
            line.replace('\n', "\\n") + "\n"
        }
        Format::Json => {
            let mut object = Map::new();
            object.insert("level".into(), level.into());
            object.insert("time".into(), time.into());
            object.insert("scope".into(), scope.into());
            object.insert("msg".into(), fields.message.clone().into());
            for (key, value) in &fields.keys {
                object.entry(key.clone()).or_insert_with(|| value.clone());
            }
            Value::Object(object).to_string() + "\n"
        }
    }
}

#[derive(Debug, Default)]
struct Fields {
    message: String,
    keys: Vec<(String, Value)>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.keys.push((name.to_owned(), format!("{value:?}").into())),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            KEYS => {
                if let Ok(Value::Object(keys)) = serde_json::from_str(value) {
                    self.keys.extend(keys);
                }
            }
            name => self.keys.push((name.to_owned(), value.into())),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.keys.push((field.name().to_owned(), value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.keys.push((field.name().to_owned(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.keys.push((field.name().to_owned(), value.into()));
    }
}

/// Logs what the plugin has sent: a JSON array of strings, each of which is one of its lines. Returns how many of them had
/// a message, a level and a time; the others are dropped. `None` if it is not such an array.
pub fn relay(body: &[u8]) -> Option<usize> {
    let lines: Vec<String> = serde_json::from_slice(body).ok()?;
    let mut relayed = 0;
    for line in lines {
        let Ok(Value::Object(mut object)) = serde_json::from_str(&line) else { continue };
        let mut take = |key: &str| object.remove(key).and_then(|value| value.as_str().map(str::to_owned));
        let (Some(message), Some(level), Some(_)) = (take("msg"), take("level"), take("time")) else {
            continue;
        };
        let keys = Value::Object(object).to_string();
        match level.as_str() {
            "debug" => tracing::debug!(target: PLUGIN, keys_json = keys, "{message}"),
            "warn" => tracing::warn!(target: PLUGIN, keys_json = keys, "{message}"),
            "error" | "fatal" => tracing::error!(target: PLUGIN, keys_json = keys, "{message}"),
            _ => tracing::info!(target: PLUGIN, keys_json = keys, "{message}"),
        }
        relayed += 1;
    }
    Some(relayed)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn lines_have_istios_form() {
        let fields = Fields {
            message: "adding pod to the mesh".into(),
            keys: vec![("ns".into(), "a".into()), ("tries".into(), 2.into())],
        };
        let time = UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_001);
        assert_eq!(
            line(Format::Text, time, Level::INFO, AGENT, &fields),
            "2023-11-14T22:13:20.000001Z\tinfo\tcni-agent\tadding pod to the mesh\tns=a tries=2\n"
        );
        let json: Value =
            serde_json::from_str(&line(Format::Json, time, Level::WARN, AGENT, &fields)).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"level": "warn", "time": "2023-11-14T22:13:20.000001Z", "scope": "cni-agent",
                "msg": "adding pod to the mesh", "ns": "a", "tries": 2})
        );
    }

    /// Sends the lines that would be written.
    struct Sent(Lines, mpsc::Sender<String>);

    impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Sent {
        fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
            self.0.enabled(metadata, context)
        }

        fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
            self.0.on_new_span(attributes, id, context);
        }

        fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
            self.1.send(self.0.line_of(event, &context)).unwrap();
        }
    }

    /// What is not shown is not even made.
    #[test]
    fn a_line_has_the_keys_of_its_span() {
        let (sender, lines) = mpsc::channel();
        let (levels, _) = Levels::parse("default:debug,cni-agent:info").unwrap();
        let layer = Sent(Lines { levels, format: Format::Text, output: Output::Stderr }, sender);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let span = tracing::debug_span!(target: "nftwire", "transaction", messages = 3);
            span.in_scope(|| tracing::debug!(target: "nftwire", elapsed_us = 7, "done"));
            assert!(tracing::debug_span!(target: AGENT, "hidden").is_disabled());
            tracing::debug!(target: AGENT, "hidden");
        });
        let lines: Vec<_> = lines.into_iter().collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].ends_with("\tdebug\tdefault\tdone\tmessages=3 elapsed_us=7\n"), "{lines:?}");
    }

    #[test]
    fn levels() {
        let (levels, unusual) = Levels::parse("cni:debug,ambient:debug,default:none").unwrap();
        assert_eq!(
            (levels.agent, levels.plugin, levels.default),
            (Some(Level::DEBUG), Some(Level::DEBUG), None)
        );
        assert_eq!(unusual, ["cni", "ambient"]);
        assert_eq!(Levels::parse("all:debug").unwrap().0, Levels::all(Some(Level::DEBUG)));
        assert_eq!(Levels::parse("warn").unwrap().0, Levels::all(Some(Level::WARN)));
        assert_eq!(Levels::parse("").unwrap().0, Levels::all(Some(Level::INFO)));
        assert!(Levels::parse("cni-agent:loud").unwrap_err().to_string().contains("cni-agent:loud"));
        let levels = parse_directives("linkerd_cni_repair_controller=info,warn").unwrap();
        assert_eq!((levels.agent, levels.default), (Some(Level::INFO), Some(Level::WARN)));
        assert_eq!(parse_directives("debug").unwrap().agent, Some(Level::DEBUG));
    }

    #[test]
    fn what_the_plugin_sends_is_relayed() {
        let good = r#"{"level":"info","time":"2026-01-01T00:00:00.000000Z","msg":"m","pod":"p"}"#;
        let body = serde_json::to_vec(&[good, r#"{"msg":"m"}"#, "not JSON"]).unwrap();
        assert_eq!(relay(&body), Some(1));
        assert_eq!(relay(b"{}"), None);
    }
}
