//! A pod's specification as kubectl prints it, and the settings that its rules are made of.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nftwire::io_text;
#[cfg(feature = "tools")]
use saphyr::{LoadableYamlNode, Scalar, Yaml};
#[cfg(feature = "tools")]
use saphyr_parser::{Event, Parser};
use serde_json::Value;

use super::failure::{Failure, USAGE};
use super::flag::UsageError;
use super::log::Log;
use super::{in_one_line, istio_iptables, program, proxy_init};
use crate::diagnostic::{Explain, Explanation};
use crate::interception::Interception;
use crate::mesh::istio::ambient::PodInterception;
use crate::mesh::istio::sidecar::pod::{self, Decision, PodSidecar, decide};
use crate::mesh::linkerd;
use crate::mesh::pod::{Container, Pod};
use crate::network::RouteSocket;
use crate::pods::hex_digits;
use crate::text_file;

/// Bytes of a file: all pods of a large cluster.
const LIMIT: u64 = 256 << 20;

/// What is desired of the kernel, in the namespace that the thread is in.
pub(super) type Desired = Box<dyn Fn(&mut RouteSocket, Log) -> Result<Interception, Failure> + Send + Sync>;

/// A pod as kubectl prints it.
pub(super) struct PodSpec {
    /// `NAMESPACE/NAME`
    pub(super) name: String,
    /// What the names of its cgroups have, in hexadecimal digits: its UID, or its configuration's hash
    pub(super) uids: Vec<String>,
    pod: Pod,
    /// The words with which init containers are started
    words: BTreeMap<String, Vec<String>>,
    /// A file of its network namespace, where the node agent named it
    pub(super) netns: Option<PathBuf>,
    /// What the node agent says of a pod of the ambient mesh
    pub(super) ambient: Option<PodInterception>,
    /// Whether the node agent's plugin makes exactly the rules of Istio's native backend
    pub(super) native_nftables: bool,
}

/// What says what the rules are to be.
enum Source {
    Ambient(PodInterception),
    /// Of the init container of this name
    Arguments(&'static str),
    Annotations(Box<PodSidecar>),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ambient(_) => f.write_str("the settings of the ambient mesh"),
            Self::Arguments(container) => write!(f, "the arguments of {container}"),
            Self::Annotations(_) => f.write_str("its annotations"),
        }
    }
}

/// Why a specification does not say what the rules are to be.
#[derive(Debug, thiserror::Error)]
pub(super) enum PodSpecError {
    #[error("cannot read {file}: {}", io_text(error))]
    Read { file: String, error: io::Error },
    #[error("{file} is neither JSON nor YAML: {fault}")]
    Syntax { file: String, fault: String },
    #[error("{file} has no pod: it is of kind {kind}")]
    Kind { file: String, kind: String },
    #[error("{file} has {count} pods, and one is compared at a time")]
    Several { file: String, count: usize },
    #[error("pod {pod} is not intercepted by its own settings: {reason}")]
    NotIntercepted { pod: String, reason: String },
    #[error("pod {pod}: {fault}")]
    Annotation { pod: String, fault: String },
    #[error("pod {pod}: the arguments of {container}: {error}")]
    Arguments { pod: String, container: &'static str, error: ArgumentsError },
}

/// Arguments of a container that the command does not take.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArgumentsError {
    #[error("{}", in_one_line(&.0.to_string()))]
    Parse(clap::Error),
    #[error(transparent)]
    Value(#[from] UsageError),
}

impl From<clap::Error> for ArgumentsError {
    fn from(error: clap::Error) -> Self {
        Self::Parse(error)
    }
}

impl Explain for PodSpecError {
    fn explanation(&self) -> Explanation {
        match self {
            Self::Read { error, .. } => error.explanation(),
            Self::Several { .. } => {
                Explanation::default().help("--all-pods compares each of them with its network namespace on this node")
            }
            Self::NotIntercepted { .. } => Explanation::default()
                .help("rules of a node agent have the agent's settings: pass them, as in `meshwire verify ambient pod --dns`"),
            _ => Explanation::default(),
        }
    }
}

impl PodSpecError {
    fn failure(self) -> Failure {
        Failure::new(self, USAGE)
    }
}

/// All pods in a file, or on standard input for `-`.
pub(super) fn read(file: &str) -> Result<Vec<PodSpec>, Failure> {
    let failed = |error| PodSpecError::Read { file: file.to_owned(), error };
    let text = if file == "-" {
        let mut bytes = Vec::new();
        io::stdin().take(LIMIT).read_to_end(&mut bytes).map_err(failed)?;
        String::from_utf8_lossy(&bytes).into_owned()
    } else {
        text_file::read(Path::new(file), LIMIT).map_err(failed)?
    };
    let name = if file == "-" { "standard input" } else { file };
    let mut pods = Vec::new();
    for document in documents(name, &text).map_err(PodSpecError::failure)? {
        let items = match document["items"].as_array() {
            Some(items) => items.iter().collect(),
            None => vec![&document],
        };
        for item in items {
            pods.extend(PodSpec::new(item));
        }
        if pods.is_empty() {
            let kind = document["kind"].as_str().unwrap_or("unknown").to_owned();
            return Err(PodSpecError::Kind { file: name.to_owned(), kind }.failure());
        }
    }
    Ok(pods)
}

/// The only pod in a file.
pub(super) fn read_one(file: &str) -> Result<PodSpec, Failure> {
    let mut pods = read(file)?;
    match (pods.pop(), pods.len()) {
        (Some(pod), 0) => Ok(pod),
        (_, others) => Err(PodSpecError::Several { file: file.to_owned(), count: others + 1 }.failure()),
    }
}

/// JSON is not quite a part of YAML, and is read a hundred times as fast.
fn documents(file: &str, text: &str) -> Result<Vec<Value>, PodSpecError> {
    if text.trim_start().starts_with('{')
        && let Ok(value) = serde_json::from_str(text)
    {
        return Ok(vec![value]);
    }
    yaml(text).map_err(|fault| PodSpecError::Syntax { file: file.to_owned(), fault })
}

#[cfg(feature = "tools")]
fn yaml(text: &str) -> Result<Vec<Value>, String> {
    check_depth(text)?;
    let documents = Yaml::load_from_str(text).map_err(|error| error.to_string())?;
    Ok(documents.iter().map(json).collect())
}

/// Far more levels than a pod has. What has many thousands of them overflows the stack wherever it is read or dropped.
#[cfg(feature = "tools")]
const DEPTH: usize = 128;

/// Reads it once without keeping anything, to see how deep it is.
#[cfg(feature = "tools")]
fn check_depth(text: &str) -> Result<(), String> {
    let mut depth = 0_usize;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| error.to_string())?;
        match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
            Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH {
            return Err(format!("more than {DEPTH} levels inside each other in line {}", span.start.line()));
        }
    }
    Ok(())
}

/// What the specification of a pod consists of; kubectl writes neither tags nor anchors.
#[cfg(feature = "tools")]
fn json(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(Scalar::String(text)) => text.as_ref().into(),
        Yaml::Value(Scalar::Boolean(value)) => (*value).into(),
        Yaml::Value(Scalar::Integer(number)) => (*number).into(),
        Yaml::Value(Scalar::FloatingPoint(number)) => number.into_inner().into(),
        Yaml::Sequence(items) => items.iter().map(json).collect(),
        Yaml::Mapping(entries) => {
            entries.iter().filter_map(|(key, value)| Some((key.as_str()?.to_owned(), json(value)))).collect()
        }
        _ => Value::Null,
    }
}

/// Nothing calls it.
#[cfg(not(feature = "tools"))]
fn yaml(_text: &str) -> Result<Vec<Value>, String> {
    Ok(Vec::new())
}

impl PodSpec {
    /// A pod, or the template of what makes pods; none for anything else.
    pub(super) fn new(object: &Value) -> Option<Self> {
        let template = &object["spec"]["template"];
        let (metadata, spec) = match object["kind"].as_str() {
            Some("Pod") => (&object["metadata"], &object["spec"]),
            _ if template["spec"].is_object() => (&template["metadata"], &template["spec"]),
            _ => return None,
        };
        let (mut words, mut init_containers) = (BTreeMap::new(), Vec::new());
        for container in array(&spec["initContainers"]) {
            let read = read_container(container);
            let command = strings(&container["command"]);
            words.insert(read.name.clone(), [command, read.args.clone()].concat());
            init_containers.push(read);
        }
        let pod = Pod {
            labels: map(&metadata["labels"]),
            annotations: map(&metadata["annotations"]),
            host_network: spec["hostNetwork"] == true,
            init_containers,
            containers: array(&spec["containers"]).map(read_container).collect(),
        };
        let names = &object["metadata"];
        let part = |key: &str| names[key].as_str().unwrap_or("default").to_owned();
        let hash = pod.annotation("kubernetes.io/config.hash");
        let uids = names["uid"].as_str().into_iter().chain(hash).map(hex_digits).collect();
        let name = format!("{}/{}", part("namespace"), part("name"));
        Some(Self { name, uids, pod, words, netns: None, ambient: None, native_nftables: false })
    }

    /// What its rules are to be: by the ambient mesh that it belongs to, by its init container, or where it has none by its
    /// annotations.
    ///
    /// # Errors
    /// It has no settings of its own, or they cannot be used.
    pub(super) fn desired(&self) -> Result<Desired, Failure> {
        match self.source().map_err(PodSpecError::failure)? {
            Source::Ambient(settings) => Ok(Box::new(move |_, _| Ok(settings.interception()))),
            Source::Arguments(container) => self.by_arguments(container),
            Source::Annotations(settings) => Ok(Box::new(move |routes, log| {
                istio_iptables::with_addresses(&settings.sidecar, settings.dual_stack, routes, log)
            })),
        }
    }

    /// What says what its rules are to be, for people.
    pub(super) fn origin(&self) -> Option<String> {
        self.source().ok().map(|source| source.to_string())
    }

    fn source(&self) -> Result<Source, PodSpecError> {
        let not_intercepted =
            |reason: String| PodSpecError::NotIntercepted { pod: self.name.clone(), reason };
        if self.pod.host_network {
            return Err(not_intercepted("it has hostNetwork: true".to_owned()));
        }
        if let Some(settings) = &self.ambient {
            return Ok(Source::Ambient(settings.clone()));
        }
        for container in [pod::INIT, linkerd::pod::INIT] {
            if self.pod.init_container(container).is_some() {
                return Ok(Source::Arguments(container));
            }
        }
        let decision = decide(&self.pod)
            .map_err(|error| PodSpecError::Annotation { pod: self.name.clone(), fault: error.to_string() })?;
        match decision {
            Decision::Intercept(mut settings) => {
                settings.sidecar.native_nftables = self.native_nftables;
                Ok(Source::Annotations(settings))
            }
            Decision::Leave(_) if self.pod.init_container(pod::VALIDATION).is_some() => {
                Ok(Source::Arguments(pod::VALIDATION))
            }
            Decision::Leave(_) if self.pod.container(linkerd::pod::PROXY).is_some() => {
                Err(not_intercepted("Linkerd's CNI plugin has its settings on the node".to_owned()))
            }
            Decision::Leave(reason) => Err(not_intercepted(reason.to_string())),
        }
    }

    fn by_arguments(&self, container: &'static str) -> Result<Desired, Failure> {
        let words = self.words.get(container).cloned().unwrap_or_default();
        let environment =
            self.pod.init_container(container).map(|found| found.env.clone()).unwrap_or_default();
        let words = without_program(words);
        let desired = if container == linkerd::pod::INIT {
            proxy_init::desired_by(words, environment)
        } else {
            istio_iptables::desired_by(words, environment)
        };
        let pod = self.name.clone();
        desired.map_err(|error| PodSpecError::Arguments { pod, container, error }.failure())
    }
}

/// The words after the name of the program, and of the command where the program has several.
fn without_program(words: Vec<String>) -> Vec<String> {
    let is_name = |word: &String| {
        !word.starts_with('-') && program::is_program(word.rsplit('/').next().unwrap_or(word))
    };
    let names = words.iter().take_while(|word| is_name(word)).count();
    words.into_iter().skip(names).collect()
}

fn read_container(container: &Value) -> Container {
    let id = |key: &str| container["securityContext"][key].as_u64().and_then(|id| id.try_into().ok());
    let variables = array(&container["env"])
        .filter_map(|variable| Some((variable["name"].as_str()?.to_owned(), text(&variable["value"]))));
    Container {
        name: text(&container["name"]),
        args: strings(&container["args"]),
        env: variables.collect(),
        run_as_user: id("runAsUser"),
        run_as_group: id("runAsGroup"),
    }
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn strings(value: &Value) -> Vec<String> {
    array(value).map(text).collect()
}

fn map(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().into_iter().flatten();
    entries.map(|(name, value)| (name.clone(), text(value))).collect()
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned)
}
