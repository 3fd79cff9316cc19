use std::collections::HashMap;

use serde_json::{Value, json};

use super::*;

/// Returns the result of the plugins before, and fails where it is to.
struct Echo {
    fails: bool,
}

impl Plugin for Echo {
    fn add(&self, invocation: &Invocation) -> Result<String, CniError> {
        if self.fails {
            return Err(CniError::internal(&io::Error::other("it failed")));
        }
        let previous = Previous::of_config(&invocation.config, invocation.version);
        let previous = previous.map_err(|error| CniError::internal(&error))?;
        match previous {
            Some(previous) => {
                previous.in_version(invocation.version).map_err(|error| CniError::internal(&error))
            }
            None => Ok(empty(invocation.version)),
        }
    }
}

const ALL_VARIABLES: [(&str, &str); 5] = [
    ("CNI_CONTAINERID", "c-1"),
    ("CNI_NETNS", "/var/run/netns/none"),
    ("CNI_IFNAME", "eth0"),
    ("CNI_PATH", "/opt/cni/bin"),
    ("CNI_ARGS", ""),
];

fn call(command: &str, changes: &[(&str, &str)], config: &str) -> Outcome {
    let mut variables: HashMap<_, _> = ALL_VARIABLES.into_iter().collect();
    variables.insert("CNI_COMMAND", command);
    variables.extend(changes.iter().copied());
    let variable = |name: &str| variables.get(name).map(|value| (*value).to_owned());
    dispatch(&Echo { fails: false }, variable, || Ok(config.as_bytes().to_vec()))
}

#[track_caller]
fn done(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Done(text) => text,
        other => panic!("{other:?}"),
    }
}

/// The error, as a runtime decodes it.
#[track_caller]
fn failed(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Failed(text) => serde_json::from_str(text).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn config(version: &str) -> String {
    format!(r#"{{"name": "k8s-pod-network", "cniVersion": "{version}", "type": "istio-cni"}}"#)
}

#[test]
fn every_verb_in_every_version() {
    for version in Version::ALL {
        let (config, name) = (config(version.as_str()), version.as_str());
        assert_eq!(done(&call("ADD", &[], &config)), empty(version));
        assert_eq!(done(&call("DEL", &[], &config)), "");
        assert_eq!(done(&call("DEL", &[("CNI_NETNS", "")], &config)), "");
        for (verb, since) in
            [("CHECK", Version::V0_4_0), ("GC", Version::V1_1_0), ("STATUS", Version::V1_1_0)]
        {
            let outcome = call(verb, &[], &config);
            if version >= since {
                assert_eq!(done(&outcome), "", "{verb} {name}");
            } else {
                let fault = format!("config version does not allow {verb}");
                assert_eq!(failed(&outcome), json!({"cniVersion": "1.1.0", "code": 1, "msg": fault}));
            }
        }
    }
}

#[test]
fn version_needs_no_configuration() {
    let text = call("VERSION", &[("CNI_PATH", ""), ("CNI_CONTAINERID", "")], "not JSON");
    let expected = concat!(
        r#"{"cniVersion":"1.1.0","#,
        r#""supportedVersions":["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}"#,
        "\n"
    );
    assert_eq!(done(&text), expected);
    assert!(matches!(call("", &[], ""), Outcome::About));
}

#[test]
fn status_and_gc_need_neither_container_nor_namespace() {
    let nothing = [("CNI_CONTAINERID", ""), ("CNI_NETNS", ""), ("CNI_IFNAME", "")];
    for verb in ["STATUS", "GC"] {
        assert_eq!(done(&call(verb, &nothing, &config("1.1.0"))), "");
    }
}

#[test]
fn bad_input() {
    let good = config("1.0.0");
    let (empty_name, odd_name) = (r#"{"cniVersion":"1.0.0","name":""}"#, r#"{"name":"a/b"}"#);
    let supported = r#"plugin supports ["0.1.0" "0.2.0" "0.3.0" "0.3.1" "0.4.0" "1.0.0" "1.1.0"]"#;
    let unsupported = format!("config is \"0.9.9\", {supported}");
    for (command, changes, config, code, message, details) in [
        ("ADD", vec![("CNI_NETNS", "")], &*good, 4, "required env variables [CNI_NETNS] missing", ""),
        (
            "CHECK",
            vec![("CNI_NETNS", ""), ("CNI_CONTAINERID", "")],
            &good,
            4,
            "required env variables [CNI_CONTAINERID,CNI_NETNS] missing",
            "",
        ),
        ("DEL", vec![("CNI_IFNAME", "")], &good, 4, "required env variables [CNI_IFNAME] missing", ""),
        ("STATUS", vec![("CNI_PATH", "")], &good, 4, "required env variables [CNI_PATH] missing", ""),
        ("ADD", vec![("CNI_CONTAINERID", "-x")], &good, 4, "invalid characters in containerID", "-x"),
        ("ADD", vec![("CNI_CONTAINERID", "a/b")], &good, 4, "invalid characters in containerID", "a/b"),
        ("ADD", vec![("CNI_IFNAME", "..")], &good, 4, "interface name is . or ..", ""),
        (
            "ADD",
            vec![("CNI_IFNAME", "a b")],
            &good,
            4,
            "interface name contains / or : or whitespace characters",
            "",
        ),
        (
            "ADD",
            vec![("CNI_IFNAME", "abcdefghijklmnop")],
            &good,
            4,
            "interface name is too long",
            "interface name should be less than 16 characters",
        ),
        ("REMOVE", vec![], &good, 4, "unknown CNI_COMMAND: REMOVE", ""),
        ("ADD", vec![], empty_name, 7, "missing network name", ""),
        ("ADD", vec![], "{}", 7, "missing network name", ""),
        ("ADD", vec![], odd_name, 7, "invalid characters found in network name", "a/b"),
        ("ADD", vec![], r#"{"name":"n","cniVersion":"0.9.9"}"#, 1, "incompatible CNI versions", &unsupported),
        (
            "CHECK",
            vec![],
            r#"{"name":"n","cniVersion":"1.2.0"}"#,
            1,
            "plugin version does not allow CHECK",
            "",
        ),
        (
            "ADD",
            vec![("CNI_NETNS", "/proc/thread-self/ns/net")],
            &good,
            8,
            "plugin's netns and netns from CNI_NETNS should not be the same",
            "",
        ),
    ] {
        let error = failed(&call(command, &changes, config));
        let found = (error["code"].as_u64(), error["msg"].as_str());
        assert_eq!(found, (Some(code), Some(message)), "{command} {changes:?} {config}");
        assert_eq!(error["details"].as_str().unwrap_or_default(), details);
        assert!(error["cniVersion"].is_string());
    }
    for config in ["", "[]", "{", "null", r#"{"name": 5}"#] {
        let error = failed(&call("ADD", &[], config));
        assert_eq!(error["code"], 6, "{config}: {error}");
    }
    for version in ["1.x", "1.2.3.4", "-1.0.0"] {
        let config = format!(r#"{{"name":"n","cniVersion":"{version}"}}"#);
        assert_eq!(failed(&call("CHECK", &[], &config))["code"], 6, "{version}");
        assert_eq!(failed(&call("ADD", &[], &config))["code"], 1, "{version}");
    }
}

#[test]
fn the_plugins_own_errors_and_those_of_reading() {
    let variable = |name: &str| match name {
        "CNI_COMMAND" => Some("ADD".to_owned()),
        name => ALL_VARIABLES.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()),
    };
    let read = || Ok(config("0.4.0").into_bytes());
    let error = failed(&dispatch(&Echo { fails: true }, variable, read));
    assert_eq!(error, json!({"cniVersion": "0.4.0", "code": 999, "msg": "it failed"}));
    let error = failed(&dispatch(&Echo { fails: true }, variable, || Err(io::Error::other("gone"))));
    assert_eq!(error, json!({"cniVersion": "1.1.0", "code": 5, "msg": "error reading from stdin: gone"}));
}

#[test]
fn the_own_namespace_is_allowed_where_that_is_asked_for() {
    let own = ("CNI_NETNS", "/proc/thread-self/ns/net");
    for yes in ["1", "true", "TRUE", "True"] {
        done(&call("ADD", &[own, ("CNI_NETNS_OVERRIDE", yes)], &config("1.0.0")));
    }
    for no in ["0", "false", "yes"] {
        assert_eq!(failed(&call("DEL", &[own, ("CNI_NETNS_OVERRIDE", no)], &config("1.0.0")))["code"], 8);
    }
}

/// What comes out for a result, printed in a version.
fn printed(previous: &str, version: Version) -> Outcome {
    let config = format!(
        r#"{{"name":"n","cniVersion":"{}","type":"istio-cni","prevResult":{previous}}}"#,
        version.as_str()
    );
    call("ADD", &[], &config)
}

const OLDEST: &str = r#"{"cniVersion":"0.2.0","zeta":1,"ip4":{"ip":"10.0.0.5/24","gateway":"10.0.0.1","routes":[{"dst":"0.0.0.0/0","gw":"10.0.0.1"}]},"ip6":{"ip":"fd00::5/64","routes":[{"dst":"::/0"}]},"dns":{"nameservers":["10.0.0.2"]},"alpha":{"z":1,"a":2.50}}"#;
const OLDER: &str = r#"{"cniVersion":"0.4.0","zeta":1,"interfaces":[{"name":"eth0","mac":"00:11:22:33:44:55","sandbox":"/n"}],"ips":[{"version":"4","interface":0,"address":"10.0.0.5/24","gateway":"10.0.0.1"},{"version":"6","address":"fd00::5/64"}],"routes":[{"dst":"0.0.0.0/0","gw":"10.0.0.1"},{"dst":"::/0"}],"dns":{"nameservers":["10.0.0.2"]},"alpha":{"z":1,"a":2.50}}"#;
const LATEST: &str = r#"{"cniVersion":"1.1.0","zeta":1,"interfaces":[{"name":"eth0","mac":"00:11:22:33:44:55","sandbox":"/n"}],"ips":[{"interface":0,"address":"10.0.0.5/24","gateway":"10.0.0.1"},{"address":"fd00::5/64"}],"routes":[{"dst":"0.0.0.0/0","gw":"10.0.0.1"},{"dst":"::/0"}],"dns":{"nameservers":["10.0.0.2"]},"alpha":{"z":1,"a":2.50}}"#;

/// A result with another version in it.
fn of(result: &str, version: Version) -> String {
    let object: Value = serde_json::from_str(result).unwrap();
    result.replacen(object["cniVersion"].as_str().unwrap(), version.as_str(), 1)
}

#[test]
fn in_the_same_form_it_comes_out_as_it_went_in() {
    use Version::{V0_1_0, V0_2_0, V0_3_0, V0_3_1, V0_4_0, V1_0_0, V1_1_0};
    for (result, versions) in
        [(OLDEST, &[V0_1_0, V0_2_0][..]), (OLDER, &[V0_3_0, V0_3_1, V0_4_0]), (LATEST, &[V1_0_0, V1_1_0])]
    {
        for &from in versions {
            for &to in versions {
                let outcome = printed(&of(result, from), to);
                assert_eq!(done(&outcome), of(result, to), "{from:?} {to:?}");
            }
        }
    }
}

#[test]
fn between_the_forms_only_what_differs_changes() {
    use Version::{V0_2_0, V0_3_1, V0_4_0, V1_0_0, V1_1_0};
    assert_eq!(done(&printed(OLDER, V1_1_0)), LATEST);
    assert_eq!(done(&printed(LATEST, V0_4_0)), OLDER);
    let from_oldest = done(&printed(OLDEST, V0_3_1)).to_owned();
    let expected = r#"{"cniVersion":"0.3.1","zeta":1,"ips":[{"version":"4","address":"10.0.0.5/24","gateway":"10.0.0.1"},{"version":"6","address":"fd00::5/64"}],"routes":[{"dst":"0.0.0.0/0","gw":"10.0.0.1"},{"dst":"::/0"}],"dns":{"nameservers":["10.0.0.2"]},"alpha":{"z":1,"a":2.50}}"#;
    assert_eq!(from_oldest, expected);
    assert_eq!(
        done(&printed(OLDEST, V1_0_0)),
        expected.replace("0.3.1", "1.0.0").replace(r#""version":"4","#, "").replace(r#""version":"6","#, "")
    );
    for result in [OLDER, LATEST] {
        assert_eq!(done(&printed(result, V0_2_0)), OLDEST);
    }
}

#[test]
fn no_address_cannot_be_said_in_the_oldest_versions() {
    let none = r#"{"cniVersion":"1.0.0","interfaces":[{"name":"eth0"}]}"#;
    let error = failed(&printed(none, Version::V0_2_0));
    assert_eq!(error["code"], 999);
    assert!(error["msg"].as_str().unwrap().contains("no address"), "{error}");
    assert_eq!(done(&printed(none, Version::V0_3_1)), none.replace("1.0.0", "0.3.1"));
}

#[test]
fn an_invalid_previous_result() {
    for (previous, fault) in [
        (r#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.5"}]}"#, "\"10.0.0.5\" is not an address"),
        (r#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.5/24","gateway":"x"}]}"#, "\"x\" is not"),
        (r#"{"cniVersion":"1.0.0","ips":5}"#, "prevResult"),
        (r#"{"cniVersion":"1.0.0","ips":[{}]}"#, "missing field `address`"),
        (r#"{"cniVersion":"2.0.0"}"#, "cniVersion \"2.0.0\" is not supported"),
        (r#"{"cniVersion":"0.2.0","ip4":{"ip":"no"}}"#, "\"no\" is not an address"),
        ("[]", "an object"),
        ("\"x\"", "an object"),
    ] {
        let error = failed(&printed(previous, Version::V1_0_0));
        assert_eq!(error["code"], 999, "{previous}");
        assert!(error["msg"].as_str().unwrap().contains(fault), "{previous}: {error}");
    }
}

#[test]
fn an_unknown_object_is_an_empty_result() {
    assert_eq!(done(&printed("null", Version::V1_0_0)), r#"{"cniVersion":"1.0.0"}"#);
    assert_eq!(done(&printed("null", Version::V0_4_0)), r#"{"cniVersion":"0.4.0","dns":{}}"#);
    // Without a version of its own it has the configuration's.
    assert_eq!(
        done(&printed(r#"{"ips":[{"address":"10.0.0.5/24"}]}"#, Version::V1_0_0)),
        r#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.5/24"}]}"#
    );
}
