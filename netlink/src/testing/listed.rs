//! Golden bytes of what listing reads of chains, sets, elements and rules, next to what loading writes.

use super::{assert_same_message, bytes, message, read};
use crate::expr::{Counter, Quota};
use crate::{
    BaseChain, Chain, ChainFlags, Compat, Data, Device, Element, ElementData, ElementList, Family, Hook,
    ObjectKind, Policy, Rule, Set, SetFlags, SetPolicy, Verdict,
};

#[track_caller]
fn same_chain(chain: &Chain<'_>, golden: &str) {
    let golden = bytes(golden);
    assert_eq!(Chain::decode(&read(&golden)).as_ref(), Ok(chain));
    assert_same_message(&message(|batch| batch.add_chain(chain)), &golden);
}

#[track_caller]
fn same_set(set: &Set<'_>, golden: &str) {
    let golden = bytes(golden);
    assert_eq!(Set::decode(&read(&golden)).as_ref(), Ok(set));
    assert_same_message(&message(|batch| batch.add_set(set)), &golden);
}

/// nft numbers the elements of a list, so only reading is compared.
#[track_caller]
fn same_elements(elements: &[Element<'_>], golden: &str) {
    let golden = bytes(golden);
    let list = ElementList::decode(&read(&golden)).unwrap();
    assert_eq!(list.elements().collect::<Result<Vec<_>, _>>().unwrap(), elements);
    let ours = message(|batch| batch.add_elements(&list, elements));
    let ours = ElementList::decode(&read(&ours)).unwrap();
    assert_eq!(ours.elements().collect::<Result<Vec<_>, _>>().unwrap(), elements);
}

fn filter(hook: u32, policy: Option<Policy>) -> Option<BaseChain<'static>> {
    Some(BaseChain { kind: "filter", hook: Hook::from_number(hook), priority: 0, policy })
}

#[test]
fn chain_at_a_device() {
    // table netdev t {
    // chain c { type filter hook ingress device lo priority 0; policy drop; comment "in"; }
    // }
    let nft = "
        60000000 030a 0104 00000000 00000000  05000000 # NEWCHAIN
          0600 0100 74000000                           # table \"t\"
          0600 0300 63000000                           # name \"c\"
          0b00 0700 66696c7465720000                   # type \"filter\"
          0800 0500 00000000                           # policy
          1c00 0480                                    # hook
            0800 0100 00000000                         # hooknum
            0800 0200 00000000                         # priority
            0700 0300 6c6f0000                         # dev \"lo\"
          0900 0c00 0003696e00000000                   # userdata
    ";
    let chain = Chain {
        base: filter(0, Some(Policy::Drop)),
        devices: vec![Device::Name("lo".into())],
        userdata: b"\0\x03in\0",
        ..Chain::new(Family::Netdev, "t", "c")
    };
    same_chain(&chain, nft);
}

#[test]
fn chain_at_two_devices() {
    // table netdev t {
    // chain c { type filter hook ingress devices = { lo, eth0 } priority 0; flags offload; }
    // }
    let nft = "
        64000000 030a 0104 00000000 00000000  05000000 # NEWCHAIN
          0600 0100 74000000                           # table \"t\"
          0600 0300 63000000                           # name \"c\"
          0b00 0700 66696c7465720000                   # type \"filter\"
          2c00 0480                                    # hook
            0800 0100 00000000                         # hooknum
            0800 0200 00000000                         # priority
            1800 0480                                  # devs
              0900 0100 6574683000000000               # name \"eth0\"
              0700 0100 6c6f0000                       # name \"lo\"
          0800 0a00 00000002                           # flags
    ";
    let chain = Chain {
        base: filter(0, None),
        devices: vec![Device::Name("eth0".into()), Device::Name("lo".into())],
        flags: ChainFlags::OFFLOAD,
        ..Chain::new(Family::Netdev, "t", "c")
    };
    same_chain(&chain, nft);
}

#[test]
fn chain_at_egress() {
    // table netdev t {
    // chain c { type filter hook egress device lo priority 0;
    // }
    // }
    let nft = "
        4c000000 030a 0104 00000000 00000000  05000000 # NEWCHAIN
          0600 0100 74000000                           # table \"t\"
          0600 0300 63000000                           # name \"c\"
          0b00 0700 66696c7465720000                   # type \"filter\"
          1c00 0480                                    # hook
            0800 0100 00000001                         # hooknum
            0800 0200 00000000                         # priority
            0700 0300 6c6f0000                         # dev \"lo\"
    ";
    let chain = Chain {
        base: filter(1, None),
        devices: vec![Device::Name("lo".into())],
        ..Chain::new(Family::Netdev, "t", "c")
    };
    same_chain(&chain, nft);
}

#[test]
fn chain_with_a_comment() {
    // table inet t {
    // chain c { comment "reg";
    // }
    // }
    let nft = "
        30000000 030a 0104 00000000 00000000  01000000 # NEWCHAIN
          0600 0100 74000000                           # table \"t\"
          0600 0300 63000000                           # name \"c\"
          0a00 0c00 0004726567000000                   # userdata
    ";
    let chain = Chain { userdata: b"\0\x04reg\0", ..Chain::new(Family::Inet, "t", "c") };
    same_chain(&chain, nft);
}

#[test]
fn set_that_counts() {
    // table inet t {
    // set s { type ipv4_addr; flags dynamic,timeout; timeout 1h; gc-interval 10s; size 100; policy memory;
    //     counter; comment "c"; }
    // }
    let nft = "
        90000000 090a 0104 00000000 00000000  01000000 # NEWSET
          0600 0100 74000000                           # table \"t\"
          0600 0200 73000000                           # name \"s\"
          0800 0300 00000030                           # flags
          0800 0400 00000007                           # key_type
          0800 0500 00000004                           # key_len
          0800 0a00 00000001                           # id
          0800 0800 00000001                           # policy
          0c00 0980                                    # desc
            0800 0100 00000064                         # size
          0c00 0b00 000000000036ee80                   # timeout
          0800 0c00 00002710                           # gc_interval
          0e00 0d00 000402000000070263000000           # userdata
          1400 1180                                    # expr
            0c00 0100 636f756e74657200                 # name \"counter\"
            0400 0280                                  # data counter
    ";
    let set = Set {
        id: 1,
        flags: SetFlags::TIMEOUT | SetFlags::EVAL,
        key_type: 7,
        size: 100,
        timeout: 3_600_000,
        gc_interval: 10_000,
        policy: SetPolicy::Memory,
        expressions: vec![Counter::default().into()],
        userdata: b"\0\x04\x02\0\0\0\x07\x02c\0",
        ..Set::new(Family::Inet, "t", "s", 4)
    };
    assert_eq!(Set::decode(&read(&bytes(nft))), Ok(set));
}

#[test]
fn set_with_two_expressions() {
    // table inet t {
    // set s { type ipv4_addr; size 10; counter quota 5 bytes; flags dynamic; }
    // }
    let nft = "
        a8000000 090a 0104 00000000 00000000  01000000 # NEWSET
          0600 0100 74000000                           # table \"t\"
          0600 0200 73000000                           # name \"s\"
          0800 0300 00000120                           # flags
          0800 0400 00000007                           # key_type
          0800 0500 00000004                           # key_len
          0800 0a00 00000001                           # id
          0c00 0980                                    # desc
            0800 0100 0000000a                         # size
          0a00 0d00 0004020000000000                   # userdata
          4c00 1280                                    # expressions
            1400 0180                                  # element
              0c00 0100 636f756e74657200               # name \"counter\"
              0400 0280                                # data counter
            3400 0180                                  # element
              0a00 0100 71756f7461000000               # name \"quota\"
              2400 0280                                # data quota
                0c00 0100 0000000000000005             # bytes
                0c00 0400 0000000000000000             # consumed
                0800 0200 00000000                     # flags
    ";
    let quota = Quota { bytes: 5, flags: 0, consumed: 0 };
    let set = Set {
        id: 1,
        flags: SetFlags::EVAL | SetFlags::EXPR,
        key_type: 7,
        size: 10,
        expressions: vec![Counter::default().into(), quota.into()],
        userdata: b"\0\x04\x02\0\0\0",
        ..Set::new(Family::Inet, "t", "s", 4)
    };
    assert_eq!(Set::decode(&read(&bytes(nft))), Ok(set));
}

#[test]
fn map_of_objects() {
    // table inet t {
    // counter k { }
    // map m { type inet_service : counter; elements = { 80 : "k" }; }
    // }
    let nft = "
        5c000000 090a 0104 00000000 00000000  01000000 # NEWSET
          0600 0100 74000000                           # table \"t\"
          0600 0200 6d000000                           # name \"m\"
          0800 0300 00000040                           # flags
          0800 0400 0000000d                           # key_type
          0800 0500 00000002                           # key_len
          0800 0f00 00000001                           # obj_type
          0800 0a00 00000001                           # id
          1000 0d00 000402000000060400000000           # userdata
    ";
    let map = Set {
        id: 1,
        flags: SetFlags::OBJECT,
        key_type: 13,
        object: Some(ObjectKind::Counter),
        userdata: b"\0\x04\x02\0\0\0\x06\x04\0\0\0\0",
        ..Set::new(Family::Inet, "t", "m", 2)
    };
    same_set(&map, nft);
}

#[test]
fn element_with_an_object() {
    // table inet t {
    // counter k { }
    // map m { type inet_service : counter; elements = { 80 : "k" }; }
    // }
    let nft = "
        48000000 0c0a 0104 00000000 00000000  01000000 # NEWSETELEM
          0600 0100 74000000                           # table \"t\"
          0600 0200 6d000000                           # set \"m\"
          0800 0400 00000001                           # set_id
          1c00 0380                                    # elements
            1800 0180                                  # element
              0c00 0180                                # key
                0600 0100 00500000                     # value
              0600 0900 6b000000                       # objref \"k\"
    ";
    same_elements(&[Element { object: Some("k".into()), ..Element::new(Data::be16(80)) }], nft);
}

#[test]
fn elements_with_a_timeout_and_an_open_end() {
    // table inet t {
    // set s { type inet_service; flags interval,timeout; counter; elements = { 80-90 timeout 1h comment
    //     "web", 1000-65535 }; }
    // }
    let nft = "
        a4000000 0c0a 0104 00000000 00000000  01000000 # NEWSETELEM
          0600 0100 74000000                           # table \"t\"
          0600 0200 73000000                           # set \"s\"
          0800 0400 00000001                           # set_id
          7800 0380                                    # elements
            1800 0180                                  # element
              0800 0300 00000001                       # flags
              0c00 0180                                # key
                0600 0100 00000000                     # value
            2800 0280                                  # element
              0c00 0400 000000000036ee80               # timeout
              0c00 0180                                # key
                0600 0100 00500000                     # value
              0a00 0600 0004776562000000               # userdata
            1800 0380                                  # element
              0800 0300 00000001                       # flags
              0c00 0180                                # key
                0600 0100 005b0000                     # value
            1c00 0480                                  # element
              0c00 0180                                # key
                0600 0100 03e80000                     # value
              0a00 0600 0104010000000000               # userdata
    ";
    let end = |port| Element { interval_end: true, ..Element::new(Data::be16(port)) };
    let web = Element { timeout: 3_600_000, userdata: b"\0\x04web\0", ..Element::new(Data::be16(80)) };
    let open = Element { userdata: b"\x01\x04\x01\0\0\0", ..Element::new(Data::be16(1000)) };
    same_elements(&[end(0), web, end(91), open], nft);
}

#[test]
fn element_for_all_others() {
    // table inet t {
    // map s { type ipv4_addr : verdict; elements = { 1.2.3.4 : accept, * : drop }; }
    // }
    let nft = "
        6c000000 0c0a 0104 00000000 00000000  01000000 # NEWSETELEM
          0600 0100 74000000                           # table \"t\"
          0600 0200 73000000                           # set \"s\"
          0800 0400 00000001                           # set_id
          4000 0380                                    # elements
            2000 0180                                  # element
              0c00 0180                                # key
                0800 0100 01020304                     # value
              1000 0280                                # data
                0c00 0280                              # verdict
                  0800 0100 00000001                   # code
            1c00 0280                                  # element
              0800 0300 00000002                       # flags
              1000 0280                                # data
                0c00 0280                              # verdict
                  0800 0100 00000000                   # code
    ";
    let verdict = |verdict| Some(ElementData::Verdict(verdict));
    let one = Element { data: verdict(Verdict::Accept), ..Element::new(Data::new(&[1, 2, 3, 4])) };
    let others = Element { catch_all: true, data: verdict(Verdict::Drop), ..Element::default() };
    same_elements(&[one, others], nft);
}

#[test]
fn rule_of_xtables() {
    // iptables-nft -A INPUT -p tcp -j REJECT, without its expressions
    let iptables = "
        3c000000 060a 010c 00000000 00000000  02000000 # NEWRULE
          0600 0100 74000000                           # table
          0600 0200 63000000                           # chain
          0400 0480                                    # expressions
          1400 0580                                    # compat
            0800 0100 00000006                         # proto
            0800 0200 00000000                         # flags
    ";
    let golden = bytes(iptables);
    let message = read(&golden);
    let rule = Rule::decode(&message).unwrap();
    assert_eq!(rule.compat, Some(Compat { protocol: 6, flags: 0 }));
    let ours = super::message(|batch| batch.add_rule(&rule, crate::Position::Append, &[]));
    assert_same_message(&ours, &golden);
}
