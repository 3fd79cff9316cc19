#!/bin/sh
# IPv6: the same as in the file of IPv4
# Run in a fresh namespace; OTHER is a chain that some rules jump to.
ip6tables-nft -t filter -A INPUT -s fd00::/8 -d ::1 -j ACCEPT
ip6tables-nft -t filter -A INPUT -p ipv6-icmp --icmpv6-type neighbor-solicitation -j ACCEPT
ip6tables-nft -t filter -A INPUT -p tcp --dport 22 -j ACCEPT
ip6tables-nft -t filter -A INPUT -m hl --hl-eq 255 -j ACCEPT
ip6tables-nft -t filter -A INPUT -m rt --rt-type 0 -j DROP
ip6tables-nft -t filter -A INPUT -m frag --fragmore -j DROP
ip6tables-nft -t filter -A INPUT -m hbh --hbh-len 5 -j DROP
ip6tables-nft -t filter -A INPUT -m mh --mh-type 1 -p mh -j ACCEPT
ip6tables-nft -t filter -A INPUT -m multiport -p tcp --dports 80,443 -j ACCEPT
ip6tables-nft -t filter -A INPUT -m addrtype --dst-type LOCAL -j ACCEPT
ip6tables-nft -t filter -A INPUT -j REJECT --reject-with icmp6-adm-prohibited
ip6tables-nft -t filter -A INPUT -p tcp -j REJECT --reject-with tcp-reset
ip6tables-nft -t nat -A PREROUTING -p tcp -j REDIRECT --to-ports 15006
ip6tables-nft -t nat -A PREROUTING -p tcp -j DNAT --to-destination [fd00::1]:80
ip6tables-nft -t nat -A POSTROUTING -j MASQUERADE --random-fully
