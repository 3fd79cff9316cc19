#!/bin/sh
# IPv4: extensions that nft has words for
# Run in a fresh namespace.
iptables-nft -A INPUT -p sctp -m sctp --dport 80 --chunk-types all INIT,COOKIE_ECHO -j ACCEPT
iptables-nft -A INPUT -p sctp -m sctp ! --chunk-types any DATA -j ACCEPT
iptables-nft -A INPUT -p sctp -m sctp --chunk-types all DATA:Be -j ACCEPT
iptables-nft -A INPUT -p dccp -m dccp --dccp-types REQUEST -j ACCEPT
iptables-nft -A INPUT -p dccp -m dccp ! --dccp-types REQUEST,DATA,INVALID -j ACCEPT
iptables-nft -A INPUT -p icmp -m icmp --icmp-type any -j ACCEPT
iptables-nft -A INPUT -p icmp -m icmp --icmp-type 255/0:255 -j ACCEPT
iptables-nft -A INPUT -p ipcomp -m ipcomp --ipcompspi 18 -j ACCEPT
iptables-nft -A INPUT -p ipcomp -m ipcomp ! --ipcompspi 3:4 -j ACCEPT
iptables-nft -A INPUT -p tcp -m multiport --dports 18140:18150 -j ACCEPT
iptables-nft -A INPUT -p tcp -m multiport --dports 22,18140:18150 -j ACCEPT
iptables-nft -A INPUT -p udp -m multiport ! --sports 53 -j ACCEPT
iptables-nft -A INPUT -m connlabel --label 40 -j ACCEPT
iptables-nft -A INPUT -m connlabel ! --label 41 --set -j ACCEPT
iptables-nft -A INPUT -m time --timestart 08:00 --timestop 18:00 -j ACCEPT
iptables-nft -A INPUT -m time --timestart 08:00 --timestop 18:00 --weekdays Mon,Tue -j ACCEPT
iptables-nft -A INPUT -m time --weekdays Sun --datestart 2020-01-29T00:00:00 --datestop 2021-01-29T00:00:00 -j ACCEPT
iptables-nft -A INPUT -m time --monthdays 1,2 -j ACCEPT
iptables-nft -A INPUT -m hashlimit --hashlimit-above 5/sec --hashlimit-mode srcip --hashlimit-name h1 -j DROP
iptables-nft -A INPUT -p tcp -m hashlimit --hashlimit-upto 40/min --hashlimit-burst 20 --hashlimit-mode srcip,dstport --hashlimit-name h2 -j ACCEPT
iptables-nft -A INPUT -m hashlimit --hashlimit-upto 7/day --hashlimit-mode dstip --hashlimit-htable-expire 2000 --hashlimit-name h3 -j ACCEPT
iptables-nft -A INPUT -m hashlimit --hashlimit-above 5/sec --hashlimit-name h4 -j DROP
iptables-nft -A INPUT -m addrtype --src-type LOCAL --dst-type LOCAL -j ACCEPT
iptables-nft -A INPUT -m conntrack --ctstate SNAT,DNAT -j ACCEPT
iptables-nft -A INPUT -p tcp --dport 42 -m conntrack --ctstate INVALID,UNTRACKED -j SYNPROXY --sack-perm --timestamp --wscale 9 --mss 1460
iptables-nft -A OUTPUT -m owner --uid-owner 1 --gid-owner 2 -j ACCEPT
iptables-nft -t nat -A PREROUTING -p tcp -j DNAT --to-destination 1.1.1.1:1000-2000
iptables-nft -t nat -A PREROUTING -p tcp -j DNAT --to-destination 1.1.1.1:1000-2000/1000
ip6tables-nft -t nat -A PREROUTING -p tcp -j DNAT --to-destination [dead::beef]:1000-2000/3000
ip6tables-nft -A INPUT -m ah -j DROP
ip6tables-nft -A INPUT -m ah --ahspi 500 -j DROP
ip6tables-nft -A INPUT -m ah ! --ahspi 3:4 -j DROP
ip6tables-nft -A INPUT -m ah ! --ahspi : -j DROP
ip6tables-nft -A INPUT -m frag --fragid 1:42 -j DROP
ip6tables-nft -A INPUT -m frag ! --fragid 1 --fragres --fragfirst -j DROP
ip6tables-nft -A INPUT -m frag --fragmore -j DROP
ip6tables-nft -A INPUT -m frag --fraglast -j DROP
ip6tables-nft -A INPUT -m frag --fraglen 42 -j DROP
ip6tables-nft -A INPUT -m hbh -j DROP
ip6tables-nft -A INPUT -m hbh --hbh-len 48 -j DROP
ip6tables-nft -A INPUT -m dst ! --dst-len 42 -j DROP
ip6tables-nft -A INPUT -m rt ! --rt-type 1 --rt-segsleft 12:23 -j DROP
ip6tables-nft -A INPUT -m rt --rt-segsleft :3 -j DROP
ip6tables-nft -A INPUT -p mobility-header -m mh --mh-type 4:123 -j ACCEPT
ip6tables-nft -A INPUT -p mobility-header -m mh ! --mh-type 4 -j ACCEPT
ip6tables-nft -A INPUT -p mobility-header -m mh -j ACCEPT
