#!/bin/sh
# The family bridge
# Run in a fresh namespace.
ebtables-nft -A INPUT -p ip ! --ip-src 192.168.0.0/24 -j ACCEPT
ebtables-nft -A INPUT -p ip --ip-dst 10.0.0.1 --ip-proto tcp --ip-dport 22 -j ACCEPT
ebtables-nft -A INPUT -p ip --ip-proto udp ! --ip-sport 1024:65535 -j DROP
ebtables-nft -A INPUT -p ip --ip-proto icmp --ip-icmp-type echo-request -j DROP
ebtables-nft -A INPUT -p ip --ip-proto gre -j DROP
ebtables-nft -A INPUT -p ip --ip-tos 0x10 -j DROP
ebtables-nft -A INPUT -p ip6 --ip6-src dead::beef/64 -j ACCEPT
ebtables-nft -A INPUT -p ip6 --ip6-proto tcp --ip6-dport 22 -j ACCEPT
ebtables-nft -A INPUT -p ip6 ! --ip6-dst f00:ba:: -j ACCEPT
ebtables-nft -A INPUT --log-level crit --log-prefix foo
ebtables-nft -A INPUT --nflog-group 42 --nflog-threshold 100 --nflog-prefix foo
ebtables-nft -A INPUT -j mark --mark-set 1
ebtables-nft -A INPUT -j mark --mark-or 0xa --mark-target CONTINUE
ebtables-nft -A INPUT -j mark --mark-and 0x1 --mark-target RETURN
ebtables-nft -A INPUT -j mark --mark-xor 0x1 --mark-target DROP
ebtables-nft -A INPUT --mark 42 -j ACCEPT
ebtables-nft -A INPUT ! --mark 1/0xff -j ACCEPT
ebtables-nft -A INPUT --mark /0x2 -j ACCEPT
ebtables-nft -A INPUT --pkttype-type host -j ACCEPT
ebtables-nft -A INPUT ! --pkttype-type multicast -j ACCEPT
ebtables-nft -A INPUT --pkttype-type outgoing -j ACCEPT
ebtables-nft -A INPUT -p 802_1Q --vlan-id 42 -j ACCEPT
ebtables-nft -A INPUT -p 802_1Q ! --vlan-prio 1 -j ACCEPT
ebtables-nft -A INPUT -p 802_1Q --vlan-encap 0800 -j ACCEPT
ebtables-nft -t nat -A PREROUTING -j redirect --redirect-target RETURN
ebtables-nft -t nat -A POSTROUTING -j snat --to-source a:b:c:d:e:f
ebtables-nft -t nat -A PREROUTING -j dnat --to-dst de:ad:0:be:ee:ff --dnat-target CONTINUE
