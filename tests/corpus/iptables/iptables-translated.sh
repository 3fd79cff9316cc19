#!/bin/sh
# IPv4: matches and targets that nft lists as nft syntax (natively or through the xtables translation)
# Run in a fresh namespace; OTHER is a chain that some rules jump to.
iptables-nft -t filter -N OTHER
iptables-nft -t filter -A INPUT -j ACCEPT
iptables-nft -t filter -P FORWARD DROP
iptables-nft -t filter -A INPUT -p tcp --dport 22 -j ACCEPT
iptables-nft -t filter -A INPUT -p tcp ! --dport 22 -j DROP
iptables-nft -t filter -A INPUT -p tcp --sport 1024:65535 --dport 80:90 -j ACCEPT
iptables-nft -t filter -A INPUT -p udp --dport 53 -j ACCEPT
iptables-nft -t filter -A INPUT -p udp -m udp --sport 53 -j RETURN
iptables-nft -t filter -A INPUT -p tcp --tcp-flags SYN,RST,ACK,FIN SYN -j DROP
iptables-nft -t filter -A INPUT -p tcp --syn -j ACCEPT
iptables-nft -t filter -A INPUT -p tcp ! --syn -m conntrack --ctstate NEW -j DROP
iptables-nft -t filter -A INPUT -p tcp --tcp-option 5 -j DROP
iptables-nft -t filter -A INPUT -p icmp -j ACCEPT
iptables-nft -t filter -A INPUT -p icmp --icmp-type echo-request -j ACCEPT
iptables-nft -t filter -A INPUT -p 47 -j ACCEPT
iptables-nft -t filter -A INPUT ! -p tcp -j DROP
iptables-nft -t filter -A INPUT -p sctp --dport 3868 -j ACCEPT
iptables-nft -t filter -A INPUT -p esp -m esp --espspi 500 -j ACCEPT
iptables-nft -t filter -A INPUT -p ah -m ah --ahspi 500 -j ACCEPT
iptables-nft -t filter -A INPUT -p dccp --dport 5 -j ACCEPT
iptables-nft -t filter -A INPUT -s 10.0.0.1 -d 10.0.0.0/8 -j ACCEPT
iptables-nft -t filter -A INPUT ! -s 192.168.0.0/255.255.0.0 -j DROP
iptables-nft -t filter -A INPUT -s 10.0.0.0/13 -j DROP
iptables-nft -t filter -A INPUT -s 10.0.1.0/255.0.255.0 -j DROP
iptables-nft -t filter -A INPUT -i lo -j ACCEPT
iptables-nft -t filter -A INPUT ! -i eth0 -j ACCEPT
iptables-nft -t filter -A INPUT -i eth+ -j ACCEPT
iptables-nft -t filter -A FORWARD -i eth0 -o eth1 -j ACCEPT
iptables-nft -t filter -A OUTPUT ! -o docker+ -j ACCEPT
iptables-nft -t filter -A INPUT -f -j DROP
iptables-nft -t filter -A INPUT ! -f -j ACCEPT
iptables-nft -t filter -A INPUT -g OTHER
iptables-nft -t filter -A INPUT -j OTHER
iptables-nft -t filter -A INPUT
iptables-nft -t filter -A INPUT -c 5 300 -j ACCEPT
iptables-nft -t filter -A INPUT -m comment --comment "hello world" -j ACCEPT
iptables-nft -t filter -A INPUT -m mark --mark 0x1 -j ACCEPT
iptables-nft -t filter -A INPUT -m mark ! --mark 0x10/0xff -j ACCEPT
iptables-nft -t filter -A INPUT -m connmark --mark 0x111 -j ACCEPT
iptables-nft -t filter -A INPUT -m connmark ! --mark 0x111/0xfff -j ACCEPT
iptables-nft -t filter -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables-nft -t filter -A INPUT -m conntrack --ctstate INVALID -j DROP
iptables-nft -t filter -A INPUT -m conntrack ! --ctstate NEW --ctdir ORIGINAL -j DROP
iptables-nft -t filter -A INPUT -m conntrack --ctstate DNAT -j ACCEPT
iptables-nft -t filter -A INPUT -m state --state ESTABLISHED -j ACCEPT
iptables-nft -t filter -A INPUT -p tcp -m multiport --dports 22,80,443 -j ACCEPT
iptables-nft -t filter -A INPUT -p tcp -m multiport --sports 1:100,200 -j ACCEPT
iptables-nft -t filter -A INPUT -p udp -m multiport ! --ports 53,123 -j DROP
iptables-nft -t filter -A INPUT -m addrtype --dst-type LOCAL -j ACCEPT
iptables-nft -t filter -A INPUT -m addrtype ! --src-type LOCAL --limit-iface-in -j DROP
iptables-nft -t filter -A OUTPUT -m owner --uid-owner 1337 -j RETURN
iptables-nft -t filter -A OUTPUT -m owner ! --gid-owner 1337 -j RETURN
iptables-nft -t filter -A OUTPUT -m owner --uid-owner 1000-2000 -j RETURN
iptables-nft -t filter -A INPUT -m limit --limit 5/min --limit-burst 10 -j ACCEPT
iptables-nft -t filter -A INPUT -m hashlimit --hashlimit-name h --hashlimit-above 5/sec --hashlimit-mode srcip -j DROP
iptables-nft -t filter -A INPUT -m statistic --mode random --probability 0.5 -j ACCEPT
iptables-nft -t filter -A INPUT -m statistic --mode nth --every 3 --packet 0 -j ACCEPT
iptables-nft -t filter -A INPUT -m length --length 100:200 -j ACCEPT
iptables-nft -t filter -A INPUT -m ttl --ttl-eq 64 -j ACCEPT
iptables-nft -t filter -A INPUT -m ttl --ttl-lt 5 -j DROP
iptables-nft -t filter -A INPUT -m dscp --dscp-class EF -j ACCEPT
iptables-nft -t filter -A INPUT -m mac --mac-source 00:11:22:33:44:55 -j ACCEPT
iptables-nft -t filter -A INPUT -m iprange --src-range 10.0.0.1-10.0.0.9 -j ACCEPT
iptables-nft -t filter -A INPUT -m pkttype --pkt-type broadcast -j DROP
iptables-nft -t filter -A INPUT -m time --timestart 08:00 --timestop 18:00 -j ACCEPT
iptables-nft -t filter -A INPUT -p tcp -m tcpmss --mss 500:1400 -j ACCEPT
iptables-nft -t filter -A INPUT -m connbytes --connbytes 1000: --connbytes-dir both --connbytes-mode bytes -j DROP
iptables-nft -t filter -A INPUT -m helper --helper ftp -j ACCEPT
iptables-nft -t filter -A INPUT -m policy --dir in --pol none -j ACCEPT
iptables-nft -t filter -A INPUT -m realm --realm 5 -j ACCEPT
iptables-nft -t filter -A INPUT -m cpu --cpu 0 -j ACCEPT
iptables-nft -t filter -A INPUT -m quota --quota 10000 -j ACCEPT
iptables-nft -t filter -A INPUT -m cgroup --cgroup 5 -j ACCEPT
iptables-nft -t filter -A INPUT -m devgroup --src-group 0 -j ACCEPT
iptables-nft -t raw -A PREROUTING -m rpfilter --invert -j DROP
iptables-nft -t filter -A INPUT -m ecn --ecn-ip-ect 0 -j ACCEPT
iptables-nft -t filter -A INPUT -j REJECT
iptables-nft -t filter -A INPUT -j REJECT --reject-with icmp-host-prohibited
iptables-nft -t filter -A INPUT -p tcp -j REJECT --reject-with tcp-reset
iptables-nft -t filter -A INPUT -j LOG
iptables-nft -t filter -A INPUT -j LOG --log-prefix "drop: " --log-level debug --log-uid
iptables-nft -t filter -A INPUT -j NFLOG --nflog-group 5 --nflog-prefix "x"
iptables-nft -t filter -A INPUT -j AUDIT --type drop
iptables-nft -t mangle -A PREROUTING -j MARK --set-mark 0x539
iptables-nft -t mangle -A PREROUTING -j MARK --set-xmark 0x10/0xff
iptables-nft -t mangle -A PREROUTING -j MARK --or-mark 0x4000
iptables-nft -t mangle -A PREROUTING -j MARK --and-mark 0xff
iptables-nft -t mangle -A PREROUTING -j MARK --xor-mark 0x1
iptables-nft -t mangle -A PREROUTING -j CONNMARK --set-mark 0x111
iptables-nft -t mangle -A PREROUTING -j CONNMARK --save-mark
iptables-nft -t mangle -A OUTPUT -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff
iptables-nft -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
iptables-nft -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1400
iptables-nft -t mangle -A PREROUTING -j DSCP --set-dscp 10
iptables-nft -t mangle -A POSTROUTING -j CLASSIFY --set-class 1:20
iptables-nft -t mangle -A PREROUTING -j TEE --gateway 10.0.0.1
iptables-nft -t raw -A PREROUTING -j NOTRACK
iptables-nft -t raw -A PREROUTING -j CT --notrack
iptables-nft -t raw -A PREROUTING -j TRACE
iptables-nft -t nat -A PREROUTING -p tcp -j REDIRECT --to-ports 15006
iptables-nft -t nat -A PREROUTING -p tcp -j REDIRECT --to-ports 80-90 --random
iptables-nft -t nat -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.0.0.1:8080
iptables-nft -t nat -A PREROUTING -j DNAT --to-destination 10.0.0.1-10.0.0.9 --persistent
iptables-nft -t nat -A POSTROUTING -j MASQUERADE
iptables-nft -t nat -A POSTROUTING -p tcp -j MASQUERADE --to-ports 1024-2048 --random-fully
iptables-nft -t nat -A POSTROUTING -s 10.0.0.0/8 -o eth0 -j SNAT --to-source 192.0.2.1
iptables-nft -t nat -A POSTROUTING -j SNAT --to-source 192.0.2.1-192.0.2.5 --random
iptables-nft -t nat -A INPUT -j SNAT --to-source 10.0.0.1
iptables-nft -t security -A INPUT -j ACCEPT
