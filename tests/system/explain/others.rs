//! What other programs' rules look like, for `explain`: those of CNIs, which a pod on the node's network or a node itself meets.
//! Chains, marks and their order are those of the programs; addresses and ports are those of the tests' pod, whose `eth1` takes
//! the place of a workload's device.

/// For IPv4 and IPv6, by the words that differ: the pod's address and its peer's, an address elsewhere, the network, multicast,
/// loopback, ICMP.
fn both(rules: fn(&Words) -> String) -> [String; 2] {
    [
        rules(&Words {
            pod: "10.0.0.2",
            peer: "10.0.0.1",
            elsewhere: "10.1.0.1",
            net: "10.0.0.0/24",
            multicast: "224.0.0.0/4",
            loopback: "127.0.0.1",
            icmp: "icmp",
            any: "0.0.0.0",
        }),
        rules(&Words {
            pod: "fd00::2",
            peer: "fd00::1",
            elsewhere: "fd01::1",
            net: "fd00::/64",
            multicast: "ff00::/8",
            loopback: "::1",
            icmp: "ipv6-icmp",
            any: "::",
        }),
    ]
}

struct Words {
    pod: &'static str,
    peer: &'static str,
    elsewhere: &'static str,
    net: &'static str,
    multicast: &'static str,
    loopback: &'static str,
    icmp: &'static str,
    any: &'static str,
}

impl Words {
    /// As the port of an address is written.
    fn endpoint(&self, port: u16) -> String {
        if self.peer.contains(':') {
            format!("[{}]:{port}", self.peer)
        } else {
            format!("{}:{port}", self.peer)
        }
    }
}

/// Calico's (felix): bits of the mark say what policies found; endpoints of workloads and of the host, fail-safe ports, floating
/// IPs, NAT for what leaves the pool.
pub(super) fn calico() -> [String; 2] {
    both(|Words { elsewhere, peer, net, icmp, .. }| {
        format!(
            "*raw\n:cali-PREROUTING - [0:0]\n:cali-OUTPUT - [0:0]\n:cali-from-host-endpoint - [0:0]\n:cali-to-host-endpoint - [0:0]\n\
             -A PREROUTING -m comment --comment \"cali:6gwbT8clXdHdC1b1\" -j cali-PREROUTING\n\
             -A OUTPUT -m comment --comment \"cali:tVnHkvAo15HuiPy0\" -j cali-OUTPUT\n\
             -A cali-PREROUTING -j MARK --set-xmark 0x0/0xf0000\n\
             -A cali-PREROUTING -i eth1 -j MARK --set-xmark 0x40000/0x40000\n\
             -A cali-PREROUTING -m mark --mark 0x40000/0x40000 -m rpfilter --validmark --invert -j DROP\n\
             -A cali-PREROUTING -m mark --mark 0x0/0x40000 -j cali-from-host-endpoint\n\
             -A cali-PREROUTING -m mark --mark 0x10000/0x10000 -j ACCEPT\n\
             -A cali-OUTPUT -j MARK --set-xmark 0x0/0xf0000\n\
             -A cali-OUTPUT -j cali-to-host-endpoint\n\
             -A cali-OUTPUT -m mark --mark 0x10000/0x10000 -j ACCEPT\n\
             COMMIT\n\
             *mangle\n:cali-PREROUTING - [0:0]\n:cali-POSTROUTING - [0:0]\n\
             -A PREROUTING -j cali-PREROUTING\n\
             -A POSTROUTING -j cali-POSTROUTING\n\
             -A cali-PREROUTING -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
             -A cali-PREROUTING -m mark --mark 0x10000/0x10000 -j ACCEPT\n\
             -A cali-POSTROUTING -m mark --mark 0x10000/0x10000 -j RETURN\n\
             -A cali-POSTROUTING -j MARK --set-xmark 0x0/0xf0000\n\
             -A cali-POSTROUTING -m conntrack --ctstate DNAT -j MARK --set-xmark 0x80000/0x80000\n\
             COMMIT\n\
             *nat\n:cali-PREROUTING - [0:0]\n:cali-OUTPUT - [0:0]\n:cali-POSTROUTING - [0:0]\n:cali-fip-dnat - [0:0]\n:cali-nat-outgoing - [0:0]\n\
             -A PREROUTING -j cali-PREROUTING\n-A OUTPUT -j cali-OUTPUT\n-A POSTROUTING -j cali-POSTROUTING\n\
             -A cali-PREROUTING -j cali-fip-dnat\n-A cali-OUTPUT -j cali-fip-dnat\n-A cali-POSTROUTING -j cali-nat-outgoing\n\
             -A cali-fip-dnat -d {elsewhere} -j DNAT --to-destination {peer}\n\
             -A cali-nat-outgoing -s {net} ! -d {net} -j MASQUERADE --random-fully\n\
             COMMIT\n\
             *filter\n:cali-INPUT - [0:0]\n:cali-OUTPUT - [0:0]\n:cali-wl-to-host - [0:0]\n:cali-from-wl-dispatch - [0:0]\n\
             :cali-fw-eth1 - [0:0]\n:cali-pi-web - [0:0]\n:cali-from-host-endpoint - [0:0]\n:cali-to-host-endpoint - [0:0]\n\
             :cali-th-eth0 - [0:0]\n:cali-fh-eth0 - [0:0]\n:cali-failsafe-in - [0:0]\n:cali-failsafe-out - [0:0]\n\
             -A INPUT -m comment --comment \"cali:Cz_u1IQiXIMmKD4c\" -j cali-INPUT\n\
             -A OUTPUT -m comment --comment \"cali:tVnHkvAo15HuiPy0\" -j cali-OUTPUT\n\
             -A cali-INPUT -i eth1 -g cali-wl-to-host\n\
             -A cali-INPUT -m mark --mark 0x10000/0x10000 -j ACCEPT\n\
             -A cali-INPUT -j MARK --set-xmark 0x0/0xf0000\n\
             -A cali-INPUT -j cali-from-host-endpoint\n\
             -A cali-INPUT -m comment --comment \"Host endpoint policy accepted packet.\" -m mark --mark 0x10000/0x10000 -j ACCEPT\n\
             -A cali-wl-to-host -p {icmp} -j ACCEPT\n\
             -A cali-wl-to-host -j cali-from-wl-dispatch\n\
             -A cali-wl-to-host -m comment --comment \"Configured DefaultEndpointToHostAction\" -j ACCEPT\n\
             -A cali-from-wl-dispatch -i eth1 -g cali-fw-eth1\n\
             -A cali-from-wl-dispatch -m comment --comment \"Unknown interface\" -j DROP\n\
             -A cali-fw-eth1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
             -A cali-fw-eth1 -m conntrack --ctstate INVALID -j DROP\n\
             -A cali-fw-eth1 -j MARK --set-xmark 0x0/0x10000\n\
             -A cali-fw-eth1 -p udp -m comment --comment \"Drop VXLAN encapped packets\" -m multiport --dports 4789 -j DROP\n\
             -A cali-fw-eth1 -p 4 -m comment --comment \"Drop IPinIP encapped packets\" -j DROP\n\
             -A cali-fw-eth1 -m comment --comment \"Start of policies\" -j MARK --set-xmark 0x0/0x20000\n\
             -A cali-fw-eth1 -m mark --mark 0x0/0x20000 -j cali-pi-web\n\
             -A cali-fw-eth1 -m comment --comment \"Return if policy accepted\" -m mark --mark 0x10000/0x10000 -j RETURN\n\
             -A cali-fw-eth1 -m comment --comment \"Drop if no policies passed packet\" -m mark --mark 0x0/0x20000 -j DROP\n\
             -A cali-pi-web -p tcp -m multiport --dports 80,8080:8090 -j MARK --set-xmark 0x10000/0x10000\n\
             -A cali-pi-web -m mark --mark 0x10000/0x10000 -j RETURN\n\
             -A cali-pi-web -p tcp -m tcp --dport 9999 -j MARK --set-xmark 0x20000/0x20000\n\
             -A cali-from-host-endpoint -i eth0 -g cali-fh-eth0\n\
             -A cali-fh-eth0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
             -A cali-fh-eth0 -j cali-failsafe-in\n\
             -A cali-fh-eth0 -p tcp -m multiport --dports 15000:15010 -j DROP\n\
             -A cali-failsafe-in -p tcp -m multiport --dports 15008 -j ACCEPT\n\
             -A cali-OUTPUT -m mark --mark 0x10000/0x10000 -j ACCEPT\n\
             -A cali-OUTPUT -o eth1 -j RETURN\n\
             -A cali-OUTPUT -j MARK --set-xmark 0x0/0xf0000\n\
             -A cali-OUTPUT -m conntrack ! --ctstate DNAT -j cali-to-host-endpoint\n\
             -A cali-OUTPUT -m comment --comment \"Host endpoint policy accepted packet.\" -m mark --mark 0x10000/0x10000 -j ACCEPT\n\
             -A cali-to-host-endpoint -o eth0 -g cali-th-eth0\n\
             -A cali-th-eth0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
             -A cali-th-eth0 -m conntrack --ctstate INVALID -j DROP\n\
             -A cali-th-eth0 -p {icmp} -j ACCEPT\n\
             -A cali-th-eth0 -j cali-failsafe-out\n\
             -A cali-th-eth0 -j MARK --set-xmark 0x0/0x10000\n\
             -A cali-th-eth0 -p tcp ! --dport 81 -j MARK --set-xmark 0x10000/0x10000\n\
             -A cali-th-eth0 -m mark --mark 0x10000/0x10000 -j RETURN\n\
             -A cali-th-eth0 -m comment --comment \"Drop if no policies passed packet\" -j DROP\n\
             -A cali-failsafe-out -p udp -m multiport --dports 53 -j ACCEPT\n\
             -A cali-failsafe-out -p tcp -m multiport --dports 443,8080 -j ACCEPT\n\
             COMMIT\n"
        )
    })
}

/// flannel's, and those of the plugin portmap, which comes with it.
pub(super) fn flannel() -> [String; 2] {
    both(|words| {
        let Words { net, multicast, loopback, .. } = words;
        let endpoint = words.endpoint(80);
        format!(
            "*nat\n:FLANNEL-POSTRTG - [0:0]\n:CNI-HOSTPORT-DNAT - [0:0]\n:CNI-HOSTPORT-SETMARK - [0:0]\n:CNI-HOSTPORT-MASQ - [0:0]\n\
             :CNI-DN-48a3a1b7a4e0e4f2a53f1 - [0:0]\n\
             -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT\n\
             -A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT\n\
             -A POSTROUTING -m comment --comment \"CNI portfwd requiring masquerade\" -j CNI-HOSTPORT-MASQ\n\
             -A POSTROUTING -m comment --comment \"flanneld masq\" -j FLANNEL-POSTRTG\n\
             -A CNI-HOSTPORT-DNAT -p tcp -m comment --comment \"dnat name: \\\"cbr0\\\" id: \\\"9bca8d63\\\"\" -m multiport --dports 9999,15053 -j CNI-DN-48a3a1b7a4e0e4f2a53f1\n\
             -A CNI-DN-48a3a1b7a4e0e4f2a53f1 -s {net} -p tcp -m tcp --dport 9999 -j CNI-HOSTPORT-SETMARK\n\
             -A CNI-DN-48a3a1b7a4e0e4f2a53f1 -s {loopback} -p tcp -m tcp --dport 9999 -j CNI-HOSTPORT-SETMARK\n\
             -A CNI-DN-48a3a1b7a4e0e4f2a53f1 -p tcp -m tcp --dport 9999 -j DNAT --to-destination {endpoint}\n\
             -A CNI-HOSTPORT-SETMARK -m comment --comment \"CNI portfwd masquerade mark\" -j MARK --set-xmark 0x2000/0x2000\n\
             -A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE\n\
             -A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment \"flanneld masq\" -j RETURN\n\
             -A FLANNEL-POSTRTG -s {net} -d {net} -m comment --comment \"flanneld masq\" -j RETURN\n\
             -A FLANNEL-POSTRTG -s {net} ! -d {multicast} -m comment --comment \"flanneld masq\" -j MASQUERADE --random-fully\n\
             -A FLANNEL-POSTRTG ! -s {net} -d {net} -m comment --comment \"flanneld masq\" -j MASQUERADE --random-fully\n\
             COMMIT\n\
             *filter\n:FLANNEL-FWD - [0:0]\n\
             -A FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD\n\
             -A FLANNEL-FWD -s {net} -m comment --comment \"flanneld forward\" -j ACCEPT\n\
             -A FLANNEL-FWD -d {net} -m comment --comment \"flanneld forward\" -j ACCEPT\n\
             COMMIT\n"
        )
    })
}

/// Cilium's: its programs and its proxy know each other's packets by marks, what is theirs is not tracked, and what its proxy
/// is to have goes there by TPROXY; here by the device, in the place of a program's mark.
pub(super) fn cilium() -> [String; 2] {
    both(|Words { pod, net, any, .. }| {
        format!(
            "*raw\n:CILIUM_OUTPUT_raw - [0:0]\n:CILIUM_PRE_raw - [0:0]\n\
             -A PREROUTING -m comment --comment \"cilium-feeder: CILIUM_PRE_raw\" -j CILIUM_PRE_raw\n\
             -A OUTPUT -m comment --comment \"cilium-feeder: CILIUM_OUTPUT_raw\" -j CILIUM_OUTPUT_raw\n\
             -A CILIUM_PRE_raw -m mark --mark 0x200/0xf00 -m comment --comment \"cilium: NOTRACK for proxy traffic\" -j CT --notrack\n\
             -A CILIUM_OUTPUT_raw -o lxc+ -m mark --mark 0xa00/0xfffffeff -j CT --notrack\n\
             -A CILIUM_OUTPUT_raw -m mark --mark 0x800/0xe00 -m comment --comment \"cilium: NOTRACK for L7 proxy upstream traffic\" -j CT --notrack\n\
             COMMIT\n\
             *mangle\n:CILIUM_POST_mangle - [0:0]\n:CILIUM_PRE_mangle - [0:0]\n\
             -A PREROUTING -m comment --comment \"cilium-feeder: CILIUM_PRE_mangle\" -j CILIUM_PRE_mangle\n\
             -A POSTROUTING -m comment --comment \"cilium-feeder: CILIUM_POST_mangle\" -j CILIUM_POST_mangle\n\
             -A CILIUM_PRE_mangle -i eth1 -p tcp -m tcp --dport 80 -j MARK --set-xmark 0x3920200/0xffffffff\n\
             -A CILIUM_PRE_mangle ! -i lo -m socket --transparent --nowildcard -m mark ! --mark 0xe00/0xf00 -m comment --comment \"cilium: any->pod redirect proxied traffic to host proxy\" -j MARK --set-xmark 0x200/0xffffffff\n\
             -A CILIUM_PRE_mangle -p tcp -m mark --mark 0x3920200 -m comment --comment \"cilium: TPROXY to host cilium-http-ingress proxy\" -j TPROXY --on-port 15006 --on-ip {any} --tproxy-mark 0x200/0xffffffff\n\
             COMMIT\n\
             *nat\n:CILIUM_OUTPUT_nat - [0:0]\n:CILIUM_POST_nat - [0:0]\n:CILIUM_PRE_nat - [0:0]\n\
             -A PREROUTING -m comment --comment \"cilium-feeder: CILIUM_PRE_nat\" -j CILIUM_PRE_nat\n\
             -A OUTPUT -m comment --comment \"cilium-feeder: CILIUM_OUTPUT_nat\" -j CILIUM_OUTPUT_nat\n\
             -A POSTROUTING -m comment --comment \"cilium-feeder: CILIUM_POST_nat\" -j CILIUM_POST_nat\n\
             -A CILIUM_POST_nat -s {net} ! -d {net} ! -o cilium_+ -m comment --comment \"cilium masquerade non-cluster\" -j MASQUERADE\n\
             -A CILIUM_POST_nat -m mark --mark 0xa00/0xe00 -m comment --comment \"exclude proxy return traffic from masquerade\" -j ACCEPT\n\
             -A CILIUM_POST_nat -m mark --mark 0xf00/0xf00 -o eth1 -m conntrack --ctstate DNAT -m comment --comment \"hairpin traffic\" -j SNAT --to-source {pod}\n\
             COMMIT\n\
             *filter\n:CILIUM_FORWARD - [0:0]\n:CILIUM_INPUT - [0:0]\n:CILIUM_OUTPUT - [0:0]\n\
             -A INPUT -m comment --comment \"cilium-feeder: CILIUM_INPUT\" -j CILIUM_INPUT\n\
             -A FORWARD -m comment --comment \"cilium-feeder: CILIUM_FORWARD\" -j CILIUM_FORWARD\n\
             -A OUTPUT -m comment --comment \"cilium-feeder: CILIUM_OUTPUT\" -j CILIUM_OUTPUT\n\
             -A INPUT -i eth1 -p tcp -m tcp --dport 81 -j REJECT --reject-with tcp-reset\n\
             -A CILIUM_FORWARD -o cilium_host -j ACCEPT\n-A CILIUM_FORWARD -i lxc+ -j ACCEPT\n\
             -A CILIUM_INPUT -m mark --mark 0x200/0xf00 -m comment --comment \"cilium: ACCEPT for proxy traffic\" -j ACCEPT\n\
             -A CILIUM_OUTPUT -m mark --mark 0xa00/0xe00 -m comment --comment \"cilium: ACCEPT for proxy traffic\" -j ACCEPT\n\
             -A CILIUM_OUTPUT -m mark --mark 0x800/0xe00 -m comment --comment \"cilium: ACCEPT for l7 proxy upstream traffic\" -j ACCEPT\n\
             -A CILIUM_OUTPUT -m mark ! --mark 0xe00/0xf00 -m mark ! --mark 0xd00/0xf00 -m mark ! --mark 0xa00/0xe00 -m mark ! --mark 0x800/0xe00 -m mark ! --mark 0xf00/0xf00 -m comment --comment \"cilium: host->any mark as from host\" -j MARK --set-xmark 0xc00/0xf00\n\
             -A OUTPUT ! -o lo -p tcp -m mark --mark 0xc00/0xf00 -m tcp --dport 8080 -j DROP\n\
             COMMIT\n"
        )
    })
}

/// Calico's and flannel's in their mode nftables, each with tables of its own.
pub(super) const NFTABLES: &str = "
    table ip flannel-ipv4 {
        comment \"rules for flannel-ipv4\"
        chain postrtg {
            comment \"chain to manage traffic masquerading by flannel\"
            type nat hook postrouting priority srcnat; policy accept;
            meta mark & 0x4000 == 0x4000 return
            ip saddr 10.0.0.0/24 ip daddr 10.0.0.0/24 return
            ip saddr 10.0.0.0/24 ip daddr != 224.0.0.0/4 masquerade fully-random
            ip saddr != 10.0.0.0/24 ip daddr 10.0.0.0/24 masquerade fully-random
        }
        chain forward {
            type filter hook forward priority filter; policy accept;
            ip saddr 10.0.0.0/24 accept
            ip daddr 10.0.0.0/24 accept
        }
    }
    table ip calico {
        set cali40s-frontend {
            type ipv4_addr
            elements = { 10.0.0.1, 10.0.0.7 }
        }
        set cali40all-ipam-pools {
            type ipv4_addr
            flags interval
            elements = { 10.0.0.0/24, 10.245.0.0/16 }
        }
        set cali40np-named-http {
            type ipv4_addr . inet_proto . inet_service
            elements = { 10.0.0.2 . tcp . 80, 10.0.0.2 . tcp . 9999, 10.0.0.1 . tcp . 80, 10.0.0.1 . tcp . 8080, 10.0.0.1 . udp . 53 }
        }
        map cali-from-wl-dispatch {
            type ifname : verdict
            elements = { \"eth1\" : goto filter-cali-fw-eth1 }
        }
        map cali-to-wl-dispatch {
            type ifname : verdict
            elements = { \"eth0\" : goto filter-cali-tw-eth0 }
        }
        chain raw-PREROUTING {
            type filter hook prerouting priority raw; policy accept;
            counter meta mark set meta mark & 0xfff0ffff
            iifname \"eth1\" counter meta mark set meta mark | 0x40000
            meta mark & 0x40000 == 0x40000 fib saddr . mark oif 0 counter drop
        }
        chain filter-INPUT {
            type filter hook input priority filter; policy accept;
            counter jump filter-cali-INPUT
        }
        chain filter-OUTPUT {
            type filter hook output priority filter; policy accept;
            counter jump filter-cali-OUTPUT
        }
        chain nat-PREROUTING {
            type nat hook prerouting priority dstnat; policy accept;
            counter jump nat-cali-fip-dnat
        }
        chain nat-OUTPUT {
            type nat hook output priority -100; policy accept;
            counter jump nat-cali-fip-dnat
        }
        chain nat-POSTROUTING {
            type nat hook postrouting priority srcnat; policy accept;
            ip saddr @cali40all-ipam-pools ip daddr != @cali40all-ipam-pools counter masquerade fully-random
        }
        chain nat-cali-fip-dnat {
            ip daddr 10.1.0.1 tcp dport != { 80, 15008 } counter dnat to 10.0.0.1
        }
        chain filter-cali-INPUT {
            iifname \"eth1\" counter goto filter-cali-wl-to-host
            meta mark & 0x10000 == 0x10000 counter accept
            counter meta mark set meta mark & 0xfff0ffff
        }
        chain filter-cali-wl-to-host {
            meta l4proto icmp counter accept
            iifname vmap @cali-from-wl-dispatch
            counter drop comment \"Unknown interface\"
        }
        chain filter-cali-fw-eth1 {
            ct state established,related counter accept
            ct state invalid counter drop
            counter meta mark set meta mark & 0xfffeffff
            udp dport 4789 counter drop
            meta l4proto 4 counter drop
            counter meta mark set meta mark & 0xfffdffff
            meta mark & 0x20000 == 0 counter jump filter-cali-pi-web
            meta mark & 0x10000 == 0x10000 counter accept
            meta mark & 0x20000 == 0 counter drop
        }
        chain filter-cali-pi-web {
            meta l4proto tcp tcp dport { 80, 8080-8090 } counter meta mark set meta mark | 0x10000
            meta mark & 0x10000 == 0x10000 counter return
        }
        chain filter-cali-OUTPUT {
            ct status & dnat == dnat counter return
            oifname vmap @cali-to-wl-dispatch
        }
        chain filter-cali-tw-eth0 {
            ct state established,related counter accept
            ip daddr . meta l4proto . th dport @cali40np-named-http counter meta mark set meta mark | 0x10000
            ip daddr @cali40s-frontend meta l4proto tcp tcp dport { 443 } counter meta mark set meta mark | 0x10000
            meta mark & 0x10000 == 0x10000 counter return
            meta l4proto { tcp, udp } counter reject
        }
    }";
