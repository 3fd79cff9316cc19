#!/bin/sh
# Linkerd proxy-init in iptables-nft mode, both families: outbound 4140, inbound 4143, proxy uid 2102, some ports skipped. Fresh namespace.
for ipt in iptables-nft ip6tables-nft; do
  lo=127.0.0.1/32; [ $ipt = ip6tables-nft ] && lo=::1/128
  $ipt -t nat -N PROXY_INIT_REDIRECT
  $ipt -t nat -A PROXY_INIT_REDIRECT -p tcp --match multiport --dports 4190,4191,4567,4568 -j RETURN -m comment --comment "proxy-init/ignore-port-4190,4191,4567,4568"
  $ipt -t nat -A PROXY_INIT_REDIRECT -p tcp -j REDIRECT --to-port 4143 -m comment --comment "proxy-init/redirect-all-incoming-to-proxy-port"
  $ipt -t nat -A PREROUTING -j PROXY_INIT_REDIRECT -m comment --comment "proxy-init/install-proxy-init-prerouting"
  $ipt -t nat -N PROXY_INIT_OUTPUT
  $ipt -t nat -A PROXY_INIT_OUTPUT -m owner --uid-owner 2102 -j RETURN -m comment --comment "proxy-init/ignore-proxy-user-id"
  $ipt -t nat -A PROXY_INIT_OUTPUT -m owner --gid-owner 2102 -j RETURN -m comment --comment "proxy-init/ignore-proxy-group-id"
  $ipt -t nat -A PROXY_INIT_OUTPUT -o lo -j RETURN -m comment --comment "proxy-init/ignore-loopback"
  $ipt -t nat -A PROXY_INIT_OUTPUT -p tcp --match multiport --dports 4567,4568,5432:5434 -j RETURN -m comment --comment "proxy-init/ignore-port-4567,4568,5432:5434"
  $ipt -t nat -A PROXY_INIT_OUTPUT -p tcp -j REDIRECT --to-port 4140 -m comment --comment "proxy-init/redirect-all-outgoing-to-proxy-port"
  $ipt -t nat -A OUTPUT -j PROXY_INIT_OUTPUT -m comment --comment "proxy-init/install-proxy-init-output"
done
