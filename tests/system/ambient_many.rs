//! Many pods at the same time, again and again, by the library as a node agent calls it: nothing fails, and nothing is left
//! behind in the process.

use std::fmt::Debug;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use meshwire::apply::ApplyError;
use meshwire::mesh::istio::ambient::PodInterception;
use meshwire::netns::{self, in_each, inside};

use crate::harness::{Namespace, link, privileged, say};

const PODS: usize = 50;
/// How many of them are deleted in each round while they are worked in.
const DELETED: usize = 2;
/// How many rounds, where it is not the usual number.
const ROUNDS: &str = "MESHWIRE_ROUNDS";

/// A pod on a link to its node: the node's end goes when the pod's namespace does.
struct Linked {
    namespace: Namespace,
    link: String,
}

impl Linked {
    fn new(node: &Namespace, number: usize) -> Self {
        let (namespace, link) = (Namespace::new(), format!("pod{number}"));
        node.run(|| link::veth_pair(&link, &namespace));
        Self { namespace, link }
    }
}

/// In a process of its own, so that what others have open does not count.
#[test]
fn rounds_of_many_pods_leave_nothing_behind() {
    if !privileged() {
        return;
    }
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "ambient_many::thousand_rounds"]).env(ROUNDS, "10");
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "minutes: `cargo test --release --test system -- --ignored --exact ambient_many::thousand_rounds --nocapture`"]
fn thousand_rounds() {
    if !privileged() {
        return;
    }
    let rounds = env::var(ROUNDS).map_or(1000, |rounds| rounds.parse().unwrap());
    let (_, threads) = open();
    let node = Namespace::new();
    let mut pods: Vec<_> = (0..PODS).map(|number| Linked::new(&node, number)).collect();
    let mut created = PODS;
    round(&mut pods, &node, &mut created, 0);
    // What set the links up reads its socket on a thread, which ends, and closes it, a moment after the work.
    wait_until(&threads, || open().1);
    let before = open();
    let started = Instant::now();
    for number in 1..=rounds {
        round(&mut pods, &node, &mut created, number);
    }
    let took = started.elapsed();
    // A thread that was waited for is still listed for a moment, and the kernel deletes namespaces in a work queue.
    wait_until(&before, open);
    wait_until(&links_to(&pods), || links(&node));
    drop(pods);
    wait_until(&links_to(&[]), || links(&node));
    say(&format!(
        "{rounds} rounds of {PODS} applies and {PODS} removals in {took:.1?} ({:.1?} a round); {} namespaces deleted \
         meanwhile; {} descriptors and {} threads before and after",
        took / u32::try_from(rounds).unwrap(),
        created - PODS,
        before.0,
        before.1,
    ));
}

/// Applies in all pods at once, deletes some meanwhile, and removes in all pods at once.
fn round(pods: &mut Vec<Linked>, node: &Namespace, created: &mut usize, number: usize) {
    let odd = number % 2 == 1;
    let settings = PodInterception { ipv6: odd, dns: number % 3 == 1, ..PodInterception::default() };
    let namespaces: Vec<_> = pods.iter().map(|pod| of(&pod.namespace)).collect();
    thread::scope(|scope| {
        let doomed = pods.drain(..DELETED).collect::<Vec<_>>();
        scope.spawn(move || {
            thread::sleep(Duration::from_micros(u64::try_from(number % 50 * 200).unwrap()));
            drop(doomed);
        });
        in_all(&namespaces, |nft, routes| settings.apply(nft, routes));
    });
    in_all(&namespaces, PodInterception::remove);
    for _ in 0..DELETED {
        pods.push(Linked::new(node, *created));
        *created += 1;
    }
}

fn of(namespace: &Namespace) -> netns::Namespace {
    let fd: OwnedFd = namespace.as_fd().try_clone_to_owned().unwrap();
    fd.into()
}

type Work<T> = Result<T, ApplyError>;

fn in_all<T: Send>(
    namespaces: &[netns::Namespace],
    work: impl Fn(&mut nftwire::Socket, &mut meshwire::network::RouteSocket) -> Work<T> + Sync,
) {
    let outcomes = in_each(namespaces, |namespace| inside(namespace, &work));
    for outcome in outcomes {
        outcome.unwrap_or_else(|error| panic!("{error}"));
    }
}

/// How many descriptors and threads the process has.
fn open() -> (usize, usize) {
    let count = |folder| fs::read_dir(folder).unwrap().count();
    (count("/proc/self/fd"), count("/proc/self/task"))
}

/// The links of the node.
fn links(node: &Namespace) -> Vec<String> {
    let mut names = node.run(|| {
        let interfaces = nix::net::if_::if_nameindex().unwrap();
        let names = interfaces.iter().map(|interface| interface.name().to_string_lossy().into_owned());
        names.collect::<Vec<_>>()
    });
    names.sort_unstable();
    names
}

/// The links that a node with these pods has.
fn links_to(pods: &[Linked]) -> Vec<String> {
    let mut names: Vec<_> = pods.iter().map(|pod| pod.link.clone()).collect();
    names.push("lo".to_owned());
    names.sort_unstable();
    names
}

fn wait_until<T: PartialEq + Debug>(desired: &T, look: impl Fn() -> T) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let found = look();
        if found == *desired {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?} and not {desired:?}");
        thread::sleep(Duration::from_millis(20));
    }
}
