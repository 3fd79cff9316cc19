//! What is known of this node's pods, for `meshwire verify|list|doctor --pod` in the agent's container: where their network
//! namespaces are, and what their rules are to be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;

use hyper::StatusCode;
use meshwire::mesh::istio::Interface;
use meshwire::mesh::istio::ambient::PodInterception;
use meshwire::pods;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::ambient::netns::{Netns, path_id};
use crate::ambient::scan::{Wanted, scan};
use crate::ambient::state::Uid;
use crate::ambient::{Members, Query};
use crate::http::Reply;
use crate::kubernetes::{ApiError, Client, Collection, Pod};

/// Finds pods of this node.
#[derive(Clone, Debug)]
pub(super) struct Pods {
    pub(super) client: Client,
    /// Where the host's /proc is mounted
    pub(super) proc: PathBuf,
    /// The node's name; empty where it is not set
    pub(super) node: String,
    /// Whether the plugin makes exactly the rules of Istio's native backend
    pub(super) native_nftables: bool,
    /// Where the ambient half is asked, if there is one
    pub(super) queries: Option<mpsc::Sender<Query>>,
}

impl Pods {
    /// The reply about all pods, where the rest of the path is empty, or about one, where it is `/NAMESPACE/NAME`.
    pub(super) async fn reply(&self, rest: &str) -> Reply {
        let reply = match rest.strip_prefix('/') {
            Some(pod) => self.one(pod).await,
            None if rest.is_empty() => self.all().await,
            None => Err(Reply::status(StatusCode::NOT_FOUND)),
        };
        reply.map_or_else(|failed| failed, |body| Reply::json(&body))
    }

    async fn one(&self, pod: &str) -> Result<Value, Reply> {
        let Some((namespace, name)) = pods::namespace_and_name(pod) else {
            return Err(Reply::failed(StatusCode::BAD_REQUEST, format!("{pod:?} is not NAMESPACE/NAME")));
        };
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        let pod: Pod = self.client.get(&path).await.map_err(|error| match error.code() {
            Some(404) => Reply::failed(StatusCode::NOT_FOUND, format!("there is no pod {namespace}/{name}")),
            _ => bad_gateway(&error),
        })?;
        let failed = |error| Reply::failed(StatusCode::NOT_FOUND, format!("pod {namespace}/{name}: {error}"));
        let pods = [pod];
        let found = find(&self.proc, &pods).await.map_err(failed)?;
        if found.is_empty() {
            return Err(failed(
                "none of its processes is on this node, in a network namespace with its address".to_owned(),
            ));
        }
        let members = self.members().await?;
        let [pod] = &pods;
        Ok(self.object(pod, &found, &members))
    }

    async fn all(&self) -> Result<Value, Reply> {
        if self.node.is_empty() {
            return Err(Reply::failed(
                StatusCode::NOT_FOUND,
                "which node this is is unknown: NODE_NAME is not set",
            ));
        }
        let collection = Collection::pods(format!("spec.nodeName={}", self.node), "");
        let pods: Vec<Pod> = self.client.list(&collection).await.map_err(|error| bad_gateway(&error))?;
        let found =
            find(&self.proc, &pods).await.map_err(|error| Reply::failed(StatusCode::NOT_FOUND, error))?;
        let members = self.members().await?;
        let objects: Vec<_> = pods.iter().map(|pod| self.object(pod, &found, &members)).collect();
        Ok(json!({ "pods": objects }))
    }

    /// What the ambient half says; nothing where it does not run.
    async fn members(&self) -> Result<Members, Reply> {
        let Some(queries) = &self.queries else { return Ok(Members::new()) };
        let (query, answer) = oneshot::channel();
        let answer = match queries.send(query).await {
            Ok(()) => answer.await.ok().flatten(),
            Err(_) => None,
        };
        answer.ok_or_else(|| {
            let reason = "the node agent does not yet know all pods of this node";
            Reply::failed(StatusCode::SERVICE_UNAVAILABLE, reason)
        })
    }

    fn object(&self, pod: &Pod, found: &BTreeMap<Uid, Netns>, members: &Members) -> Value {
        let metadata = &pod.metadata;
        let uid: Uid = metadata.uid.as_str().into();
        json!({
            "namespace": metadata.namespace,
            "name": metadata.name,
            "uid": metadata.uid,
            "netns": found.get(&uid).map(|netns| &netns.path),
            "native_nftables": self.native_nftables,
            "ambient": members.get(&uid).map(ambient),
            "pod": pod.interception(),
        })
    }
}

/// The settings of a pod of the mesh.
fn ambient(settings: &PodInterception) -> Value {
    let PodInterception { ipv6, dns, ingress, virtual_interfaces, probe_v4, probe_v6, native_nftables } =
        settings;
    json!({
        "ipv6": ipv6,
        "dns": dns,
        "ingress": ingress,
        "virtual_interfaces": virtual_interfaces.iter().map(Interface::to_string).collect::<Vec<_>>(),
        "probe_ipv4": probe_v4,
        "probe_ipv6": probe_v6,
        "native_nftables": native_nftables,
    })
}

fn bad_gateway(error: &ApiError) -> Reply {
    Reply::failed(StatusCode::BAD_GATEWAY, error.to_string())
}

/// Looks for their network namespaces on a thread that ends: it visits them.
async fn find(proc: &Path, pods: &[Pod]) -> Result<BTreeMap<Uid, Netns>, String> {
    let path = proc.join("1/ns/net");
    let host = path_id(&path).map_err(|error| {
        format!(
            "cannot read {}: {error}; the chart mounts the host's /proc with repairPods or ambient mode",
            path.display()
        )
    })?;
    let wanted: Vec<_> = pods.iter().filter(|pod| !pod.host_network()).map(Wanted::running).collect();
    let (sender, receiver) = oneshot::channel();
    let proc = proc.to_owned();
    let work = move || drop(sender.send(scan(&proc, host, &wanted)));
    thread::Builder::new().name("find".to_owned()).spawn(work).map_err(|error| error.to_string())?;
    receiver.await.map_err(|_| "looking for its network namespace failed".to_owned())
}
