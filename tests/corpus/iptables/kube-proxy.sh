#!/bin/sh
# kube-proxy in iptables mode (iptables-nft): a service with two endpoints, a NodePort, one without endpoints, session affinity. Fresh namespace.
ipt() { iptables-nft "$@"; }
for c in KUBE-EXTERNAL-SERVICES KUBE-FIREWALL KUBE-FORWARD KUBE-NODEPORTS KUBE-PROXY-FIREWALL KUBE-SERVICES; do ipt -N $c; done
for c in KUBE-MARK-MASQ KUBE-NODEPORTS KUBE-POSTROUTING KUBE-SERVICES KUBE-SVC-AAA KUBE-EXT-AAA KUBE-SEP-BBB KUBE-SEP-CCC; do ipt -t nat -N $c; done
ipt -A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
ipt -A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
ipt -A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
ipt -A INPUT -j KUBE-FIREWALL
ipt -A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
ipt -A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
ipt -A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
ipt -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
ipt -A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
ipt -A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
ipt -A KUBE-SERVICES -d 10.96.0.50/32 -p tcp -m comment --comment "ns/svc-none has no endpoints" -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable
ipt -t nat -A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
ipt -t nat -A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
ipt -t nat -A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
ipt -t nat -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
ipt -t nat -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
ipt -t nat -A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
ipt -t nat -A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
ipt -t nat -A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment "default/kubernetes:https cluster IP" -m tcp --dport 443 -j KUBE-SVC-AAA
ipt -t nat -A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
ipt -t nat -A KUBE-NODEPORTS -p tcp -m comment --comment "ns/svc:http" -m tcp --dport 30080 -j KUBE-EXT-AAA
ipt -t nat -A KUBE-EXT-AAA -m comment --comment "masquerade traffic for ns/svc:http external destinations" -j KUBE-MARK-MASQ
ipt -t nat -A KUBE-EXT-AAA -j KUBE-SVC-AAA
ipt -t nat -A KUBE-SVC-AAA ! -s 10.244.0.0/16 -d 10.96.0.1/32 -p tcp -m comment --comment "default/kubernetes:https cluster IP" -m tcp --dport 443 -j KUBE-MARK-MASQ
ipt -t nat -A KUBE-SVC-AAA -m comment --comment "ns/svc -> 10.244.0.5:80" -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-BBB
ipt -t nat -A KUBE-SVC-AAA -m comment --comment "ns/svc -> 10.244.0.6:80" -j KUBE-SEP-CCC
ipt -t nat -A KUBE-SEP-BBB -s 10.244.0.5/32 -m comment --comment "ns/svc" -j KUBE-MARK-MASQ
ipt -t nat -A KUBE-SEP-BBB -p tcp -m comment --comment "ns/svc" -m recent --name KUBE-SEP-BBB --set -m tcp -j DNAT --to-destination 10.244.0.5:80
ipt -t nat -A KUBE-SEP-CCC -s 10.244.0.6/32 -m comment --comment "ns/svc" -j KUBE-MARK-MASQ
ipt -t nat -A KUBE-SEP-CCC -p tcp -m comment --comment "ns/svc" -m tcp -j DNAT --to-destination 10.244.0.6:80
