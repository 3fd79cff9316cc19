#!/bin/sh
# IPv4: what nft 1.0.6 lists as `xt match X` or `xt target X`, or as text that it cannot load again
# Run in a fresh namespace; OTHER is a chain that some rules jump to.
iptables-nft -t filter -A INPUT -p icmp --icmp-type 3/4 -j ACCEPT
iptables-nft -t filter -A INPUT -m conntrack --ctorigdst 10.0.0.1 --ctorigdstport 80 -j ACCEPT
iptables-nft -t filter -A OUTPUT -m owner --socket-exists -j RETURN
iptables-nft -t filter -A INPUT -m recent --name r --set -j ACCEPT
iptables-nft -t filter -A INPUT -m recent --name r --rcheck --seconds 60 --reap -j ACCEPT
iptables-nft -t filter -A INPUT -m string --string GET --algo bm -j DROP
iptables-nft -t filter -A INPUT -m tos --tos 0x10/0x3f -j ACCEPT
iptables-nft -t filter -A INPUT -m connlimit --connlimit-above 10 -j DROP
iptables-nft -t filter -A INPUT -m physdev --physdev-in eth0 -j ACCEPT
iptables-nft -t filter -A INPUT -m u32 --u32 "6&0xFF=1" -j ACCEPT
iptables-nft -t filter -A INPUT -m bpf --bytecode "1,6 0 0 65535" -j ACCEPT
iptables-nft -t filter -A INPUT -m socket -j ACCEPT
iptables-nft -t mangle -A PREROUTING -p tcp -m socket --transparent -j MARK --set-mark 1
iptables-nft -t filter -A INPUT -j NFQUEUE --queue-num 3
iptables-nft -t mangle -A PREROUTING -p tcp -j TPROXY --on-port 15006 --tproxy-mark 0x539/0xffffffff
iptables-nft -t mangle -A PREROUTING -j TTL --ttl-set 64
iptables-nft -t mangle -A PREROUTING -j TOS --set-tos 0x10
iptables-nft -t mangle -A POSTROUTING -p udp --dport 68 -j CHECKSUM --checksum-fill
iptables-nft -t mangle -A PREROUTING -j HMARK --hmark-tuple src --hmark-mod 10 --hmark-rnd 5
iptables-nft -t raw -A PREROUTING -p udp --dport 53 -j CT --zone 1
iptables-nft -t raw -A PREROUTING -p tcp --dport 21 -j CT --helper ftp
iptables-nft -t nat -A PREROUTING -j NETMAP --to 10.1.0.0/16
iptables-nft -t filter -A INPUT -p tcp -m osf --genre Linux -j ACCEPT
