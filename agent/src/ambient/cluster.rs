//! What the API server says about this node's pods and their namespaces, as the [state machine](super::state) takes it.

use std::collections::{BTreeMap, BTreeSet};

use meshwire::mesh::istio::ambient::PodInterception;
use meshwire::mesh::value::boolean;

use super::objects::{Metadata, Namespace, Pod, Version, annotation};
use super::settings::Settings;
use super::state::{Input, PodView, Redirection, Uid};
use crate::kubernetes::Change;
use crate::zds::Workload;

/// All pods of the node, and all namespaces.
#[derive(Debug)]
pub struct Cluster {
    settings: Settings,
    pods: BTreeMap<Uid, Pod>,
    namespaces: BTreeMap<String, Labels>,
    /// How far the list and the watch of pods have come
    pods_heard: Version,
    pods_listed: bool,
    namespaces_listed: bool,
    pods_confirmed: bool,
    namespaces_confirmed: bool,
}

/// A namespace's labels, and how recent they are.
#[derive(Debug, Default)]
struct Labels {
    version: Version,
    labels: BTreeMap<String, String>,
}

/// What is known of a pod by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Its UID
    Pod(Uid),
    /// The pod or its namespace is not known yet
    Unknown,
}

impl Cluster {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            pods: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            pods_heard: Version::default(),
            pods_listed: false,
            namespaces_listed: false,
            pods_confirmed: false,
            namespaces_confirmed: false,
        }
    }

    /// Whether the first lists are complete.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.pods_listed && self.namespaces_listed
    }

    /// The pod of this name, with this UID if one is given; a pod of the same name may have been there before.
    #[must_use]
    pub fn find(&self, namespace: &str, name: &str, uid: Option<&str>) -> Found {
        let is_it = |pod: &&Pod| {
            let metadata = &pod.metadata;
            let is_named = metadata.namespace == namespace && metadata.name == name;
            // Without a UID: not one that has ended.
            is_named && uid.map_or(!pod.is_terminal(), |uid| metadata.uid == uid)
        };
        let found = self.pods.values().find(is_it);
        match found.filter(|_| self.is_complete() && self.namespaces.contains_key(namespace)) {
            Some(pod) => Found::Pod(Uid::from(pod.metadata.uid.as_str())),
            None => Found::Unknown,
        }
    }

    /// What a pod's cgroup may be named after besides its UID: a static pod's is named after its configuration.
    #[must_use]
    pub fn config_hash(&self, uid: &Uid) -> Option<&str> {
        self.pods.get(uid)?.annotation(annotation::CONFIG_HASH)
    }

    /// Whether a change is the first of a pod, another one or its deletion, in the words of Istio's metric.
    #[must_use]
    pub fn kind(&self, change: &Change<Pod>) -> Option<&'static str> {
        match change {
            Change::Applied(pod) if self.pods.contains_key(&uid(pod)) => Some("update"),
            Change::Applied(_) => Some("add"),
            Change::Deleted(_) => Some("delete"),
            Change::Listed(_) | Change::Confirmed => None,
        }
    }

    /// Takes in a change of a pod.
    pub fn pods(&mut self, change: Change<Pod>) -> Vec<Input> {
        match change {
            Change::Listed(pods) => {
                let versions = pods.iter().map(|pod| pod.metadata.resource_version);
                self.pods_heard = versions.max().unwrap_or_default();
                self.pods = pods.into_iter().map(|pod| (uid(&pod), pod)).collect();
                (self.pods_listed, self.pods_confirmed) = (true, false);
                self.all()
            }
            Change::Applied(pod) => {
                self.pods_heard = self.pods_heard.max(pod.metadata.resource_version);
                self.applied(pod)
            }
            Change::Deleted(pod) => {
                self.pods_heard = self.pods_heard.max(pod.metadata.resource_version);
                let uid = uid(&pod);
                self.pods.remove(&uid);
                self.is_complete().then_some(Input::Deleted(uid)).into_iter().collect()
            }
            Change::Confirmed => {
                self.pods_confirmed = true;
                self.confirmation()
            }
        }
    }

    /// Takes in a pod that the API server was asked for. The watch goes on meanwhile: once it is past that version, it has
    /// brought that one or a later one, or the pod's deletion.
    pub fn answered(&mut self, pod: Pod) -> Vec<Input> {
        if pod.metadata.resource_version <= self.pods_heard && self.pods_heard != Version::default() {
            return Vec::new();
        }
        self.applied(pod)
    }

    /// A pod is new or has changed, unless an answer has shown a later version of it.
    fn applied(&mut self, pod: Pod) -> Vec<Input> {
        let uid = uid(&pod);
        let is_outdated = |known: &Pod| known.metadata.resource_version > pod.metadata.resource_version;
        if self.pods.get(&uid).is_some_and(is_outdated) {
            return Vec::new();
        }
        self.pods.insert(uid.clone(), pod);
        self.is_complete().then(|| self.view(&uid)).flatten().map(Input::Pod).into_iter().collect()
    }

    /// Takes in a change of a namespace, from the watch or as an answer.
    pub fn namespaces(&mut self, change: Change<Namespace>) -> Vec<Input> {
        match change {
            Change::Listed(namespaces) => {
                self.namespaces = namespaces.into_iter().map(named_labels).collect();
                self.namespaces_confirmed = false;
                let is_first = !std::mem::replace(&mut self.namespaces_listed, true);
                let mut inputs = if is_first { self.all() } else { self.views(None) };
                inputs.insert(0, Input::Unconfirmed);
                inputs
            }
            Change::Applied(namespace) => {
                let (name, now) = named_labels(namespace);
                let before = self.namespaces.entry(name.clone()).or_default();
                if before.version > now.version {
                    return Vec::new();
                }
                let is_same = before.labels == now.labels;
                *before = now;
                if is_same { Vec::new() } else { self.views(Some(&name)) }
            }
            // The pods of a namespace that is deleted are deleted one by one; until then its labels count.
            Change::Deleted(_) => Vec::new(),
            Change::Confirmed => {
                self.namespaces_confirmed = true;
                self.confirmation()
            }
        }
    }

    /// Whether pods have exactly the rules of Istio's native backend, from now on.
    pub fn set_native(&mut self, native: bool) -> Vec<Input> {
        self.settings.pod.native_nftables = native;
        self.views(None)
    }

    /// The complete list, once there is one.
    fn all(&self) -> Vec<Input> {
        if !self.is_complete() {
            return Vec::new();
        }
        let mut inputs = self.views(None);
        inputs.push(Input::Listed(self.pods.keys().cloned().collect()));
        inputs.extend(self.confirmation());
        inputs
    }

    fn confirmation(&self) -> Vec<Input> {
        let confirmed = match (self.is_complete() && self.pods_confirmed, self.namespaces_confirmed) {
            (false, _) => return Vec::new(),
            (true, false) => Input::PodsConfirmed,
            (true, true) => Input::Confirmed,
        };
        vec![confirmed]
    }

    /// All pods, or those of a namespace.
    fn views(&self, namespace: Option<&str>) -> Vec<Input> {
        if !self.is_complete() {
            return Vec::new();
        }
        let pods =
            self.pods.iter().filter(|(_, pod)| namespace.is_none_or(|name| pod.metadata.namespace == name));
        pods.filter_map(|(uid, _)| self.view(uid)).map(Input::Pod).collect()
    }

    fn view(&self, uid: &Uid) -> Option<PodView> {
        let pod = self.pods.get(uid)?;
        let redirection = match pod.annotation(annotation::REDIRECTION) {
            Some("enabled") => Some(Redirection::Enabled),
            Some("pending") => Some(Redirection::Pending),
            _ => None,
        };
        Some(PodView {
            uid: uid.clone(),
            workload: Workload {
                name: pod.metadata.name.clone(),
                namespace: pod.metadata.namespace.clone(),
                service_account: pod.spec.service_account_name.clone(),
            },
            addresses: self.of_the_mesh(pod.addresses()),
            member: self.is_member(pod).then(|| self.interception(pod)),
            own_network: !pod.spec.host_network,
            terminal: pod.is_terminal(),
            annotation: redirection,
        })
    }

    /// Addresses of the families that are on.
    pub(super) fn of_the_mesh(
        &self,
        addresses: impl Iterator<Item = std::net::IpAddr>,
    ) -> BTreeSet<std::net::IpAddr> {
        addresses.filter(|address| address.is_ipv4() || self.settings.pod.ipv6).collect()
    }

    fn is_member(&self, pod: &Pod) -> bool {
        let Settings { selectors, excluded_namespaces, system_namespace, .. } = &self.settings;
        let metadata = &pod.metadata;
        let none = Labels::default();
        let namespace = self.namespaces.get(&metadata.namespace).unwrap_or(&none);
        let is_ztunnel = metadata.namespace == *system_namespace
            && metadata.labels.get("app").is_some_and(|app| app == "ztunnel");
        !pod.spec.host_network
            && !is_ztunnel
            && pod.annotation(annotation::SIDECAR).is_none()
            && !excluded_namespaces.contains(&metadata.namespace)
            && selectors.iter().any(|selector| selector.matches(&metadata.labels, &namespace.labels))
    }

    /// The rules that the pod asks for. What cannot be used in its annotations counts as absent: a pod that its owner has
    /// annotated wrongly still belongs to the mesh.
    fn interception(&self, pod: &Pod) -> PodInterception {
        let switch = |name| pod.annotation(name).and_then(|value| boolean(value).ok());
        let interfaces = pod.annotation(annotation::VIRTUAL_INTERFACES).unwrap_or_default();
        PodInterception {
            dns: switch(annotation::DNS_CAPTURE).unwrap_or(self.settings.pod.dns),
            ingress: switch(annotation::BYPASS_INBOUND).unwrap_or(false),
            virtual_interfaces: interfaces.split(',').filter_map(|name| name.trim().parse().ok()).collect(),
            ..self.settings.pod.clone()
        }
    }
}

fn named_labels(namespace: Namespace) -> (String, Labels) {
    let Metadata { name, labels, resource_version: version, .. } = namespace.metadata;
    (name, Labels { version, labels })
}

fn uid(pod: &Pod) -> Uid {
    Uid::from(pod.metadata.uid.as_str())
}

#[cfg(test)]
mod tests {
    use super::super::objects::{Metadata, PodSpec, PodStatus};
    use super::*;

    fn settings() -> Settings {
        let variable = |name: &str| match name {
            "NODE_NAME" => Some("node".to_owned()),
            "EXCLUDE_NAMESPACES" => Some("kube-system".to_owned()),
            _ => None,
        };
        Settings::from_variables(variable).unwrap()
    }

    fn labels(text: &str) -> BTreeMap<String, String> {
        let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn namespace(name: &str, text: &str) -> Namespace {
        let metadata = Metadata { name: name.to_owned(), labels: labels(text), ..Metadata::default() };
        Namespace { metadata }
    }

    fn pod(namespace: &str, name: &str, text: &str) -> Pod {
        Pod {
            metadata: Metadata {
                name: name.to_owned(),
                namespace: namespace.to_owned(),
                uid: format!("uid-{name}"),
                labels: labels(text),
                ..Metadata::default()
            },
            spec: PodSpec { service_account_name: "sa".to_owned(), ..PodSpec::default() },
            status: PodStatus { pod_ip: "10.0.0.1".to_owned(), ..PodStatus::default() },
        }
    }

    fn version(number: u64) -> Version {
        serde_json::from_value(number.to_string().into()).unwrap()
    }

    const AMBIENT: &str = "istio.io/dataplane-mode=ambient";
    const NONE: &str = "istio.io/dataplane-mode=none";

    /// Whether the pod belongs to the mesh, in namespaces with the label and without.
    fn is_member(change: impl FnOnce(&mut Pod)) -> bool {
        let mut cluster = Cluster::new(settings());
        let names = [("in", AMBIENT), ("out", ""), ("kube-system", AMBIENT), ("istio-system", AMBIENT)];
        let namespaces = names.map(|(name, labels)| namespace(name, labels));
        assert!(
            cluster
                .namespaces(Change::Listed(namespaces.into()))
                .iter()
                .all(|input| matches!(input, Input::Unconfirmed))
        );
        let mut pod = pod("in", "p", "");
        change(&mut pod);
        let inputs = cluster.pods(Change::Listed(vec![pod]));
        let [Input::Pod(view), Input::Listed(_)] = &inputs[..] else { panic!("{inputs:?}") };
        view.member.is_some()
    }

    #[test]
    fn who_belongs_to_the_mesh() {
        let within = |name: &'static str| move |pod: &mut Pod| name.clone_into(&mut pod.metadata.namespace);
        assert!(is_member(|_| {}));
        assert!(!is_member(within("out")));
        assert!(!is_member(within("kube-system")));
        assert!(is_member(within("istio-system")));
        assert!(!is_member(|pod| pod.metadata.labels = labels(NONE)));
        assert!(is_member(|pod| {
            within("out")(pod);
            pod.metadata.labels = labels(AMBIENT);
        }));
        assert!(!is_member(|pod| {
            within("istio-system")(pod);
            pod.metadata.labels = labels("app=ztunnel");
        }));
        assert!(!is_member(|pod| pod.spec.host_network = true));
        assert!(!is_member(|pod| {
            pod.metadata.annotations.insert(annotation::SIDECAR, "{}".to_owned());
        }));
    }

    #[test]
    fn a_pods_own_settings() {
        let cluster = Cluster::new(settings());
        let mut pod = pod("in", "p", "");
        for (name, value) in [
            (annotation::DNS_CAPTURE, "true"),
            (annotation::BYPASS_INBOUND, "true"),
            (annotation::VIRTUAL_INTERFACES, "vm0, a/b,vm1"),
        ] {
            pod.metadata.annotations.insert(name, value.to_owned());
        }
        let interception = cluster.interception(&pod);
        assert!(interception.dns && interception.ingress);
        assert_eq!(interception.virtual_interfaces, ["vm0", "vm1"].map(|name| name.parse().unwrap()));
        pod.metadata.annotations.insert(annotation::DNS_CAPTURE, "maybe".to_owned());
        assert!(!cluster.interception(&pod).dns);
    }

    #[test]
    fn nothing_is_said_before_both_lists_are_there_and_both_are_confirmed() {
        let mut cluster = Cluster::new(settings());
        assert!(cluster.pods(Change::Listed(vec![pod("in", "p", "")])).is_empty());
        assert!(cluster.pods(Change::Applied(pod("in", "q", ""))).is_empty());
        assert!(cluster.pods(Change::Confirmed).is_empty());
        assert_eq!(cluster.find("in", "p", None), Found::Unknown);
        let inputs = cluster.namespaces(Change::Listed(vec![namespace("in", AMBIENT)]));
        let [Input::Unconfirmed, Input::Pod(_), Input::Pod(_), Input::Listed(uids), Input::PodsConfirmed] =
            &inputs[..]
        else {
            panic!("{inputs:?}")
        };
        assert_eq!(uids.len(), 2);
        assert!(matches!(cluster.namespaces(Change::Confirmed)[..], [Input::Confirmed]));
        // Which pods exist is certain without the namespaces.
        cluster.namespaces(Change::Listed(vec![namespace("in", AMBIENT)]));
        assert!(matches!(cluster.pods(Change::Confirmed)[..], [Input::PodsConfirmed]));
        assert!(matches!(cluster.namespaces(Change::Confirmed)[..], [Input::Confirmed]));
        // A list of one kind takes the certainty away, and its own bookmark brings it back.
        let inputs = cluster.pods(Change::Listed(vec![pod("in", "p", "")]));
        assert!(matches!(inputs[..], [Input::Pod(_), Input::Listed(_)]), "{inputs:?}");
        assert!(matches!(cluster.pods(Change::Confirmed)[..], [Input::Confirmed]));
        let inputs = cluster.namespaces(Change::Listed(vec![namespace("in", "")]));
        assert!(matches!(inputs[..], [Input::Unconfirmed, Input::Pod(_)]), "{inputs:?}");
    }

    #[test]
    fn a_namespaces_labels_decide_about_all_its_pods() {
        let mut cluster = Cluster::new(settings());
        cluster.namespaces(Change::Listed(vec![namespace("in", AMBIENT), namespace("out", "")]));
        cluster.pods(Change::Listed(vec![pod("in", "p", ""), pod("out", "q", "")]));
        let inputs = cluster.namespaces(Change::Applied(namespace("out", AMBIENT)));
        let [Input::Pod(view)] = &inputs[..] else { panic!("{inputs:?}") };
        assert_eq!((view.workload.name.as_str(), view.member.is_some()), ("q", true));
        assert!(cluster.namespaces(Change::Applied(namespace("out", AMBIENT))).is_empty(), "nothing changed");
        // Its pods go on to be what they are until they are deleted themselves.
        assert!(cluster.namespaces(Change::Deleted(namespace("out", ""))).is_empty());
        assert_eq!(cluster.find("out", "q", None), Found::Pod(Uid::from("uid-q")));
    }

    #[test]
    fn an_answer_that_the_watch_has_overtaken_says_nothing() {
        let mut cluster = Cluster::new(settings());
        cluster.namespaces(Change::Listed(vec![namespace("in", AMBIENT)]));
        let of_version = |version: u64, text: &str| {
            let mut pod = pod("in", "p", text);
            pod.metadata.resource_version = self::version(version);
            pod
        };
        let is_member = |inputs: &[Input]| match inputs {
            [Input::Pod(view)] => Some(view.member.is_some()),
            [] => None,
            other => panic!("{other:?}"),
        };
        cluster.pods(Change::Listed(vec![of_version(9, "")]));
        // A request was sent when it had no label, and the answer comes late.
        assert_eq!(is_member(&cluster.pods(Change::Applied(of_version(10, NONE)))), Some(false));
        assert_eq!(is_member(&cluster.pods(Change::Applied(of_version(11, "")))), Some(true));
        assert_eq!(is_member(&cluster.answered(of_version(10, NONE))), None);
        // The answer comes first, and the watch, which is slow, brings what was before.
        assert_eq!(is_member(&cluster.answered(of_version(13, ""))), Some(true));
        assert_eq!(is_member(&cluster.pods(Change::Applied(of_version(12, NONE)))), None);
        assert_eq!(is_member(&cluster.pods(Change::Applied(of_version(13, "")))), Some(true));
        // Its deletion was heard of.
        cluster.pods(Change::Deleted(of_version(14, "")));
        assert_eq!(is_member(&cluster.answered(of_version(13, ""))), None);
        assert_eq!(cluster.find("in", "p", None), Found::Unknown);
        // A list counts whatever came before: etcd may have been restored.
        cluster.pods(Change::Listed(vec![of_version(3, NONE)]));
        assert_eq!(is_member(&cluster.pods(Change::Applied(of_version(4, "")))), Some(true));
        let labelled = |version: u64, text| {
            let mut namespace = namespace("in", text);
            namespace.metadata.resource_version = self::version(version);
            Change::Applied(namespace)
        };
        assert_eq!(is_member(&cluster.namespaces(labelled(21, ""))), Some(false));
        assert_eq!(is_member(&cluster.namespaces(labelled(20, AMBIENT))), None);
        assert_eq!(is_member(&cluster.namespaces(labelled(22, AMBIENT))), Some(true));
    }

    #[test]
    fn pods_are_found_by_name_and_uid() {
        let mut cluster = Cluster::new(settings());
        cluster.namespaces(Change::Listed(vec![namespace("in", AMBIENT)]));
        let mut ended = pod("in", "p", "");
        "Succeeded".clone_into(&mut ended.status.phase);
        cluster.pods(Change::Listed(vec![ended.clone()]));
        assert_eq!(cluster.find("in", "p", None), Found::Unknown, "a StatefulSet's pod of before");
        let mut again = pod("in", "p", "");
        "again".clone_into(&mut again.metadata.uid);
        cluster.pods(Change::Applied(again));
        assert_eq!(cluster.find("in", "p", None), Found::Pod(Uid::from("again")));
        assert_eq!(cluster.find("in", "p", Some("uid-p")), Found::Pod(Uid::from("uid-p")));
        assert_eq!(cluster.find("in", "p", Some("third")), Found::Unknown);
        cluster.pods(Change::Deleted(ended));
        assert_eq!(cluster.find("in", "p", Some("uid-p")), Found::Unknown);
    }
}
