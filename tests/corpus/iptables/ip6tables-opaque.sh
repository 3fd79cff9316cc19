#!/bin/sh
# IPv6: the same as in the file of IPv4
# Run in a fresh namespace; OTHER is a chain that some rules jump to.
ip6tables-nft -t filter -A INPUT -p ipv6-icmp --icmpv6-type 1/3 -j ACCEPT
ip6tables-nft -t filter -A INPUT -m ipv6header --header hop --soft -j DROP
ip6tables-nft -t filter -A INPUT -m eui64 -j ACCEPT
ip6tables-nft -t mangle -A PREROUTING -p tcp -j TPROXY --on-ip ::1 --on-port 15006 --tproxy-mark 0x539
ip6tables-nft -t mangle -A PREROUTING -j HL --hl-set 64
ip6tables-nft -t mangle -A POSTROUTING -s fd00:1::/64 -j SNPT --src-pfx fd00:1::/64 --dst-pfx fd00:2::/64
