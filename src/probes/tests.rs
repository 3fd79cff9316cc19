use super::change::Held;
use super::*;
use crate::mesh::istio::ambient::PROBES_V4;

fn uid(text: &str) -> PodUid<'_> {
    PodUid::new(text).unwrap()
}

#[test]
fn uids_are_words_that_a_comment_can_hold() {
    let longest = "u".repeat(127);
    for good in ["d9f0f8f6-8f2b-4c39-a2c6-6f6cbb3a1d52", "a", "A_b.c:d/e", &longest] {
        assert_eq!(PodUid::new(good).map(PodUid::as_str), Ok(good));
    }
    let too_long = "u".repeat(128);
    for bad in ["", " ", "a b", "a\"", "a\\", "a\n", "\u{e9}", &too_long] {
        assert_eq!(PodUid::new(bad), Err(PodUidError), "{bad:?}");
    }
}

#[test]
fn an_error_says_what_helps() {
    for (set, ipv6) in [(PROBES_V4, false), (PROBES_V6, true)] {
        let error = ProbesError::NoSet { set };
        assert_eq!(error.to_string(), format!("the set {set} of inet istio-ambient-nat does not exist"));
        assert_eq!(error.explanation().remedy, Some(Remedy::MakeProbeSets { ipv6 }));
    }
}

/// What `sync` would do: removed, added, and the counts of added, changed and removed.
fn differences(
    held: &[(&str, Option<&str>)],
    desired: &[(&str, &str)],
) -> (Vec<String>, Vec<String>, [usize; 3]) {
    let probes = held.iter().map(|(address, pod_uid)| Probe {
        address: address.parse().unwrap(),
        pod_uid: pod_uid.map(Into::into),
    });
    let held = Held::of(probes.collect());
    let desired: Vec<_> = desired.iter().map(|(address, pod)| (address.parse().unwrap(), uid(pod))).collect();
    let Differences { gone, come, counts } = Differences::new(&held, &desired);
    (
        gone.iter().map(ToString::to_string).collect(),
        come.iter().map(|(address, pod)| format!("{address} {pod}")).collect(),
        [counts.added, counts.changed, counts.removed],
    )
}

#[test]
fn only_differences_are_sent() {
    let nothing = (vec![], vec![], [0, 0, 0]);
    assert_eq!(differences(&[], &[]), nothing);
    let held = [("10.0.0.1", Some("a")), ("10.0.0.3", Some("b")), ("fd00::1", Some("a"))];
    assert_eq!(differences(&held, &[("10.0.0.1", "a"), ("10.0.0.3", "b"), ("fd00::1", "a")]), nothing);
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        differences(&held, &[("10.0.0.0", "c"), ("10.0.0.1", "a"), ("10.0.0.3", "c"), ("fd00::2", "a")]),
        (words(&["10.0.0.3", "fd00::1"]), words(&["10.0.0.0 c", "10.0.0.3 c", "fd00::2 a"]), [2, 1, 1])
    );
    assert_eq!(differences(&held, &[]), (words(&["10.0.0.1", "10.0.0.3", "fd00::1"]), vec![], [0, 0, 3]));
    // What others put there without saying whose it is becomes the pod's.
    assert_eq!(
        differences(&[("10.0.0.1", None)], &[("10.0.0.1", "a")]),
        (words(&["10.0.0.1"]), words(&["10.0.0.1 a"]), [0, 1, 0])
    );
}
