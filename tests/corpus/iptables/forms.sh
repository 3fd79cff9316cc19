#!/bin/sh
# Matches and targets in other forms: inverted, as ranges, with masks. Fresh namespace.
i() { iptables-nft "$@"; }
i -A INPUT -m connbytes ! --connbytes 10:20 --connbytes-dir original --connbytes-mode packets -j ACCEPT
i -A INPUT -m connbytes --connbytes 10:20 --connbytes-dir reply --connbytes-mode avgpkt -j ACCEPT
i -A INPUT -m connbytes --connbytes 7:7 --connbytes-dir both --connbytes-mode packets -j ACCEPT
i -A INPUT -m connbytes ! --connbytes 100: --connbytes-dir both --connbytes-mode bytes -j ACCEPT
i -A INPUT -m helper ! --helper sip -j ACCEPT
i -A INPUT -p tcp ! --tcp-option 8 -j ACCEPT
i -A INPUT -p sctp --sport 5:9 ! --dport 10 -j ACCEPT
i -A INPUT -p sctp -m sctp --chunk-types any INIT -j ACCEPT
i -A INPUT -p dccp ! --sport 5:9 -j ACCEPT
i -A INPUT -p dccp --dccp-types REQUEST -j ACCEPT
i -A INPUT -p esp -m esp ! --espspi 5:9 -j ACCEPT
i -A INPUT -p ah -m ah ! --ahspi 5:9 -j ACCEPT
i -A INPUT -p tcp -m tcpmss ! --mss 500 -j ACCEPT
i -A INPUT -p udp -m multiport --ports 53,1000:2000 -j ACCEPT
i -A INPUT -m length ! --length 5:9 -j ACCEPT
i -A INPUT -m dscp ! --dscp 0x0a -j ACCEPT
i -A INPUT -m iprange ! --src-range 10.0.0.1-10.0.0.9 --dst-range 10.1.0.1-10.1.0.9 -j ACCEPT
i -A INPUT -m mac ! --mac-source 00:11:22:33:44:55 -j ACCEPT
i -A INPUT -m pkttype ! --pkt-type multicast -j ACCEPT
i -A INPUT -m pkttype --pkt-type unicast -j ACCEPT
i -A INPUT -m cpu ! --cpu 1 -j ACCEPT
i -A INPUT -m cgroup ! --cgroup 5 -j ACCEPT
i -A INPUT -m devgroup ! --src-group 5 -j ACCEPT
i -A INPUT -m devgroup --src-group 5/0xff -j ACCEPT
i -A OUTPUT -m devgroup --dst-group 0x10 -j ACCEPT
i -A INPUT -m realm ! --realm 7 -j ACCEPT
i -A INPUT -m realm --realm 7/0xff -j ACCEPT
i -A INPUT -m policy --dir in --pol ipsec -j ACCEPT
i -A INPUT -m policy --dir in --pol ipsec --strict --proto esp -j ACCEPT
i -A OUTPUT -m policy --dir out --pol none -j ACCEPT
i -A INPUT -m quota ! --quota 5000 -j ACCEPT
i -t raw -A PREROUTING -m rpfilter -j ACCEPT
i -t raw -A PREROUTING -m rpfilter --loose --validmark -j ACCEPT
i -t raw -A PREROUTING -m rpfilter --loose --validmark --invert -j ACCEPT
i -t raw -A PREROUTING -m rpfilter --accept-local -j ACCEPT
i -A INPUT -m ecn --ecn-ip-ect 2 -j ACCEPT
i -A INPUT -p tcp -m ecn --ecn-tcp-cwr -j ACCEPT
i -A INPUT -m conntrack --ctorigsrc 10.0.0.1 ! --ctrepldst 10.0.0.2 -j ACCEPT
i -A INPUT -m conntrack --ctorigsrc 10.0.0.0/8 -j ACCEPT
i -A INPUT -m conntrack --ctproto tcp --ctreplsrcport 80:90 ! --ctrepldstport 5 -j ACCEPT
i -A INPUT -m conntrack --ctorigsrcport 80:90 -j ACCEPT
i -A INPUT -m conntrack --ctstatus ASSURED,CONFIRMED --ctexpire 5 -j ACCEPT
i -A INPUT -j AUDIT --type accept
i -A INPUT -j NFQUEUE --queue-num 3 --queue-bypass
i -A INPUT -j NFQUEUE --queue-balance 0:3 --queue-cpu-fanout
i -A INPUT -j NFQUEUE --queue-balance 0:3 --queue-cpu-fanout --queue-bypass
i -t mangle -A PREROUTING -j TEE --gateway 10.0.0.1 --oif eth0
i -t mangle -A PREROUTING -j DSCP --set-dscp-class EF
i -t mangle -A POSTROUTING -j CLASSIFY --set-class a:0
i -t mangle -A PREROUTING -j CONNMARK --set-xmark 0x1/0xff
i -t mangle -A PREROUTING -j CONNMARK --set-mark 0x1/0xff
i -t mangle -A PREROUTING -j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff
i -t raw -A PREROUTING -j CT --zone 5
i -t raw -A PREROUTING -p tcp -m tcp --dport 21 -j CT --helper ftp
ip6tables-nft -A INPUT -m dscp --dscp 5 -j ACCEPT
ip6tables-nft -A INPUT -m iprange --src-range fd00::1-fd00::9 -j ACCEPT
ip6tables-nft -A INPUT -m conntrack --ctorigdst fd00::1 --ctorigdstport 80 -j ACCEPT
ip6tables-nft -A INPUT -m ah --ahspi 5 -j ACCEPT
ip6tables-nft -t mangle -A PREROUTING -j DSCP --set-dscp 3
ip6tables-nft -t mangle -A PREROUTING -j TEE --gateway fd00::1
i -A INPUT -m policy --dir in --pol ipsec --proto esp -j ACCEPT
i -A INPUT -m policy --dir in --pol ipsec --reqid 5 -j ACCEPT
i -A INPUT -m ecn ! --ecn-ip-ect 3 -j ACCEPT
i -A INPUT -p tcp -m ecn ! --ecn-tcp-ece --ecn-ip-ect 1 -j ACCEPT
i -A INPUT -m devgroup ! --src-group 5/0xff -j ACCEPT
i -A INPUT -m realm ! --realm 7/0xff -j ACCEPT
i -A INPUT -m conntrack ! --ctexpire 5:9 -j ACCEPT
ip6tables-nft -A INPUT -m conntrack --ctorigsrc fd00::/64 -j ACCEPT
ip6tables-nft -A INPUT -m ah --ahlen 5 -j ACCEPT
