//! What ADD is for either mesh: where its settings come from, and why a pod must not be started.

use std::fmt;

use meshwire::mesh::istio::sidecar::pod::AnnotationError as SidecarAnnotationError;
use meshwire::mesh::linkerd::pod::AnnotationError as LinkerdAnnotationError;
use serde::de::DeserializeOwned;

use crate::istio::{EventError, IstioConfigError};
use crate::kubernetes::{ApiError, Client, Fault, KubeconfigError, PodName, PodNameError};
use crate::linkerd::LinkerdConfigError;
use crate::program::ProgramError;
use crate::protocol::{Arguments, ArgumentsError, Invocation, Previous, ResultError, empty};

/// Why a pod must not be started. The runtime shows the text, and nothing else, so that it says what to do, too.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// The configuration of istio-cni
    #[error(transparent)]
    IstioConfig(#[from] IstioConfigError),
    /// The configuration of linkerd-cni
    #[error(transparent)]
    LinkerdConfig(#[from] LinkerdConfigError),
    /// The result of the plugins before
    #[error(transparent)]
    Result(#[from] ResultError),
    /// What the runtime says of the pod
    #[error(transparent)]
    Arguments(#[from] ArgumentsError),
    /// What the runtime says of the pod is not a pod's name
    #[error(transparent)]
    Name(#[from] PodNameError),
    /// The kubeconfig
    #[error("failed to createNewK8sClient: {error}; {agent}")]
    Kubeconfig {
        /// What is wrong
        error: Box<KubeconfigError>,
        /// Who writes it
        agent: Agent,
    },
    /// The API server does not give the pod, or its namespace
    #[error("cannot get {object}: {error}; {help}")]
    Api {
        /// `pod NAMESPACE/NAME`, or `namespace NAME`
        object: String,
        /// What it says
        error: Box<ApiError>,
        /// What to do
        help: String,
    },
    /// An annotation of a pod of Istio's
    #[error("pod {pod}: {error}")]
    SidecarAnnotation {
        /// The pod
        pod: PodName,
        /// What is wrong with it
        error: SidecarAnnotationError,
    },
    /// An annotation of a pod of Linkerd's, or of its namespace
    #[error("pod {pod}: {error}")]
    LinkerdAnnotation {
        /// The pod
        pod: PodName,
        /// What is wrong with it
        error: LinkerdAnnotationError,
    },
    /// The rules
    #[error("cannot intercept the traffic of pod {pod}: {error}")]
    Program {
        /// The pod
        pod: PodName,
        /// What failed
        error: Box<ProgramError>,
    },
    /// The node agent did not add the pod to the mesh
    #[error("istio-cni cmdAdd failed to contact node Istio CNI agent: {error}; {agent}")]
    Event {
        /// What failed
        error: EventError,
        /// Which agent
        agent: Agent,
    },
}

/// The pod on each node that installs the plugin and writes its kubeconfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// The beginning of its pods' names
    pub(crate) pods: &'static str,
    /// Their label k8s-app
    pub(crate) label: &'static str,
    /// The role that its chart gives it
    pub(crate) role: &'static str,
    /// Its namespace, where the configuration has it
    pub(crate) namespace: Option<String>,
}

impl Agent {
    /// Whether the pod is one of its own. It passes whatever the state of the kubeconfig, because only the agent renews that.
    pub(crate) fn is(&self, pod: &Arguments) -> bool {
        pod.pod_name.starts_with(self.pods) && self.namespace.as_ref() == Some(&pod.pod_namespace)
    }

    fn help(&self, fault: &Fault, kubeconfig: &std::path::Path) -> String {
        let file = kubeconfig.display();
        match fault {
            Fault::Unauthorized(_) => format!("the token in {file} is not valid, and {self}"),
            Fault::Forbidden(_) => {
                format!("its service account needs `get` on it (ClusterRole {} of the chart)", self.role)
            }
            Fault::NotFound(_) => "it was deleted while its sandbox was made".to_owned(),
            Fault::Certificate { .. } => format!("the certificate authority is the one in {file}"),
            _ => format!("the address of the API server is the one in {file}"),
        }
    }
}

/// Where to look for it.
impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pods, label, .. } = self;
        let namespace = self.namespace.as_ref().map_or_else(|| "-A".to_owned(), |name| format!("-n {name}"));
        write!(
            f,
            "the pod {pods}* has to run on this node to write it (kubectl get pods {namespace} -o wide -l k8s-app={label})"
        )
    }
}

/// What both meshes take from the runtime.
pub(crate) struct Given {
    pub(crate) arguments: Arguments,
    pub(crate) previous: Option<Previous>,
    /// What to print, which must be available before anything is changed
    pub(crate) result: String,
}

impl Given {
    pub(crate) fn new(invocation: &Invocation) -> Result<Self, AddError> {
        let previous = Previous::of_config(&invocation.config, invocation.version)?;
        let result = match &previous {
            Some(previous) => previous.in_version(invocation.version)?,
            None => empty(invocation.version),
        };
        Ok(Self { arguments: Arguments::parse(&invocation.arguments)?, previous, result })
    }

    /// The pod, if the runtime says that there is one.
    pub(crate) fn pod(&self) -> Result<Option<PodName>, AddError> {
        let (namespace, name) = (&self.arguments.pod_namespace, &self.arguments.pod_name);
        match name.is_empty() || namespace.is_empty() {
            true => Ok(None),
            false => Ok(Some(PodName::new(namespace, name)?)),
        }
    }
}

/// GET of one object.
pub(crate) fn get<T: DeserializeOwned>(
    client: &mut Client,
    agent: &Agent,
    agent_replies: impl Fn() -> bool,
    path: &str,
    object: &str,
) -> Result<T, AddError> {
    client.get(path, agent_replies).map_err(|error| {
        let help = agent.help(&error.fault, client.kubeconfig());
        AddError::Api { object: object.to_owned(), error: Box::new(error), help }
    })
}
