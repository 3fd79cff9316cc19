#!/bin/sh
# Docker Engine with the iptables backend (iptables-nft): one published port, user network br-1, ICC on. Run in a fresh namespace.
ipt() { iptables-nft -w "$@"; }
for c in DOCKER DOCKER-BRIDGE DOCKER-CT DOCKER-FORWARD DOCKER-ISOLATION-STAGE-1 DOCKER-ISOLATION-STAGE-2 DOCKER-USER; do ipt -N $c; done
ipt -t nat -N DOCKER
ipt -P FORWARD DROP
ipt -A FORWARD -j DOCKER-USER
ipt -A FORWARD -j DOCKER-FORWARD
ipt -A DOCKER-FORWARD -j DOCKER-CT
ipt -A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
ipt -A DOCKER-FORWARD -j DOCKER-BRIDGE
ipt -A DOCKER-FORWARD -i docker0 -j ACCEPT
ipt -A DOCKER-FORWARD -i br-1 -j ACCEPT
ipt -A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
ipt -A DOCKER-CT -o br-1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
ipt -A DOCKER-BRIDGE -o docker0 -j DOCKER
ipt -A DOCKER-BRIDGE -o br-1 -j DOCKER
ipt -A DOCKER -d 172.18.0.2/32 ! -i br-1 -o br-1 -p tcp -m tcp --dport 80 -j ACCEPT
ipt -A DOCKER ! -i docker0 -o docker0 -j DROP
ipt -A DOCKER ! -i br-1 -o br-1 -j DROP
ipt -A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
ipt -A DOCKER-ISOLATION-STAGE-1 -i br-1 ! -o br-1 -j DOCKER-ISOLATION-STAGE-2
ipt -A DOCKER-ISOLATION-STAGE-2 -o br-1 -j DROP
ipt -A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
ipt -A DOCKER-USER -j RETURN
ipt -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
ipt -t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
ipt -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
ipt -t nat -A POSTROUTING -s 172.18.0.0/16 ! -o br-1 -j MASQUERADE
ipt -t nat -A POSTROUTING -s 172.18.0.2/32 -d 172.18.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE
ipt -t nat -A DOCKER -i docker0 -j RETURN
ipt -t nat -A DOCKER ! -i br-1 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.18.0.2:80
ipt -t raw -A PREROUTING -d 172.18.0.2/32 ! -i br-1 -j DROP
