//! Where a pod's network namespace is, for `meshwire verify|list|doctor --pod` in the agent's container.

use std::path::{Path, PathBuf};
use std::thread;

use hyper::StatusCode;
use serde_json::json;
use tokio::sync::oneshot;

use crate::ambient::netns::{Netns, path_id};
use crate::ambient::scan::{Wanted, scan};
use crate::http::Reply;
use crate::kubernetes::{Client, Pod};

/// Finds pods of this node.
#[derive(Clone, Debug)]
pub(super) struct Pods {
    client: Client,
    proc: PathBuf,
}

impl Pods {
    pub(super) fn new(client: Client, proc: PathBuf) -> Self {
        Self { client, proc }
    }

    /// `NAMESPACE/NAME`: the pod's UID, and a file of its network namespace in this container.
    pub(super) async fn reply(&self, pod: &str) -> Reply {
        let Some((namespace, name)) =
            pod.split_once('/').filter(|(namespace, name)| is_name(namespace) && is_name(name))
        else {
            return Reply::failed(StatusCode::BAD_REQUEST, format!("{pod:?} is not NAMESPACE/NAME"));
        };
        let pod: Pod = match self.client.get(&format!("/api/v1/namespaces/{namespace}/pods/{name}")).await {
            Ok(pod) => pod,
            Err(error) if error.code() == Some(404) => {
                return Reply::failed(StatusCode::NOT_FOUND, format!("there is no pod {namespace}/{name}"));
            }
            Err(error) => return Reply::failed(StatusCode::BAD_GATEWAY, error.to_string()),
        };
        let uid = pod.metadata.uid.clone();
        match find(&self.proc, &pod).await {
            Ok(netns) => {
                Reply::json(&json!({ "namespace": namespace, "name": name, "uid": uid, "netns": netns.path }))
            }
            Err(error) => Reply::failed(StatusCode::NOT_FOUND, format!("pod {namespace}/{name}: {error}")),
        }
    }
}

/// A DNS subdomain (RFC 1123), as all names of pods and namespaces are.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    (1..=253).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('.')
}

/// Looks for it on a thread that ends: it visits namespaces.
async fn find(proc: &Path, pod: &Pod) -> Result<Netns, String> {
    let path = proc.join("1/ns/net");
    let host = path_id(&path).map_err(|error| {
        format!(
            "cannot read {}: {error}; the chart mounts the host's /proc with repairPods or ambient mode",
            path.display()
        )
    })?;
    let wanted = Wanted::running(pod);
    let (sender, receiver) = oneshot::channel();
    let (proc, uid) = (proc.to_owned(), wanted.uid.clone());
    let work = move || drop(sender.send(scan(&proc, host, &[wanted]).remove(&uid)));
    thread::Builder::new().name("find".to_owned()).spawn(work).map_err(|error| error.to_string())?;
    let found = receiver.await.ok().flatten();
    found.ok_or_else(|| {
        "none of its processes is on this node, in a network namespace with its address".to_owned()
    })
}
