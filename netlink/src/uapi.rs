//! Every number of the kernel's interface that this crate uses, under the kernel's own names.
//!
//! Sources: `include/uapi/linux/netfilter/nf_tables.h` unless a block says otherwise. A number keeps its meaning
//! for ever; a kernel that does not know an attribute yet ignores it or replies EINVAL or EOPNOTSUPP. The
//! attributes below are those of Linux 6.18; where one is newer than 5.12, the version is next to it.
#![allow(missing_docs, reason = "the names are the kernel's; its header documents them")]

// include/uapi/linux/netfilter/nfnetlink.h
pub const NFNL_SUBSYS_NFTABLES: u8 = 10;
pub const NFNL_SUBSYS_HOOK: u8 = 12; // 5.14
pub const NFNL_MSG_BATCH_BEGIN: u16 = 16;
pub const NFNL_MSG_BATCH_END: u16 = 17;
pub const NFNETLINK_V0: u8 = 0;
pub const NFNL_BATCH_GENID: u16 = 1;

// include/uapi/linux/netfilter.h
pub const NF_INET_PRE_ROUTING: u32 = 0;
pub const NF_INET_LOCAL_IN: u32 = 1;
pub const NF_INET_FORWARD: u32 = 2;
pub const NF_INET_LOCAL_OUT: u32 = 3;
pub const NF_INET_POST_ROUTING: u32 = 4;
pub const NF_INET_INGRESS: u32 = 5;
pub const NF_NETDEV_INGRESS: u32 = 0;
pub const NF_NETDEV_EGRESS: u32 = 1; // 5.16
pub const NF_DROP: i32 = 0;
pub const NF_ACCEPT: i32 = 1;
pub const NFPROTO_UNSPEC: u8 = 0;
pub const NFPROTO_INET: u8 = 1;
pub const NFPROTO_IPV4: u8 = 2;
pub const NFPROTO_ARP: u8 = 3;
pub const NFPROTO_NETDEV: u8 = 5;
pub const NFPROTO_BRIDGE: u8 = 7;
pub const NFPROTO_IPV6: u8 = 10;

// include/uapi/linux/netfilter/nfnetlink_hook.h, from 5.14 on
pub const NFNL_MSG_HOOK_GET: u8 = 0;
pub const NFNLA_HOOK_HOOKNUM: u16 = 1;
pub const NFNLA_HOOK_PRIORITY: u16 = 2;
pub const NFNLA_HOOK_DEV: u16 = 3;
pub const NFNLA_HOOK_FUNCTION_NAME: u16 = 4;
pub const NFNLA_HOOK_MODULE_NAME: u16 = 5;
pub const NFNLA_HOOK_CHAIN_INFO: u16 = 6;
pub const NFNLA_HOOK_INFO_DESC: u16 = 1;
pub const NFNLA_HOOK_INFO_TYPE: u16 = 2;
pub const NFNL_HOOK_TYPE_NFTABLES: u32 = 1;
pub const NFNLA_CHAIN_TABLE: u16 = 1;
pub const NFNLA_CHAIN_FAMILY: u16 = 2;
pub const NFNLA_CHAIN_NAME: u16 = 3;

// include/uapi/linux/netfilter/nf_nat.h
pub const NF_NAT_RANGE_MAP_IPS: u32 = 1;
pub const NF_NAT_RANGE_PROTO_SPECIFIED: u32 = 2;
pub const NF_NAT_RANGE_PROTO_RANDOM: u32 = 0x4;
pub const NF_NAT_RANGE_PERSISTENT: u32 = 0x8;
pub const NF_NAT_RANGE_PROTO_RANDOM_FULLY: u32 = 0x10;
pub const NF_NAT_RANGE_PROTO_OFFSET: u32 = 0x20;
pub const NF_NAT_RANGE_NETMAP: u32 = 0x40;

// enum nft_registers
pub const NFT_REG_VERDICT: u32 = 0;
pub const NFT_REG_1: u32 = 1;
pub const NFT_REG_4: u32 = 4;
pub const NFT_REG32_00: u32 = 8;
pub const NFT_REG32_15: u32 = 23;
/// Bytes in one of the registers NFT_REG_1 to NFT_REG_4.
pub const NFT_REG_SIZE: usize = 16;
/// Bytes in one of the registers NFT_REG32_00 to NFT_REG32_15.
pub const NFT_REG32_SIZE: usize = 4;

// enum nft_verdicts
pub const NFT_CONTINUE: i32 = -1;
pub const NFT_BREAK: i32 = -2;
pub const NFT_JUMP: i32 = -3;
pub const NFT_GOTO: i32 = -4;
pub const NFT_RETURN: i32 = -5;

// Limits
pub const NFT_NAME_MAXLEN: usize = 256;
pub const NFT_USERDATA_MAXLEN: usize = 256;
pub const NFT_DATA_VALUE_MAXLEN: usize = 64;
/// Expressions in one rule (`net/netfilter/nf_tables_api.c`).
pub const NFT_RULE_MAXEXPRS: usize = 128;
/// Jumps that may nest (`include/net/netfilter/nf_tables.h`).
pub const NFT_JUMP_STACK_SIZE: usize = 16;

// enum nft_table_flags, nft_chain_flags, nft_set_flags, nft_set_elem_flags, nft_lookup_flags
pub const NFT_TABLE_F_DORMANT: u32 = 0x1;
pub const NFT_TABLE_F_OWNER: u32 = 0x2;
pub const NFT_TABLE_F_PERSIST: u32 = 0x4; // 6.9
pub const NFT_CHAIN_BASE: u32 = 0x1;
pub const NFT_CHAIN_HW_OFFLOAD: u32 = 0x2;
pub const NFT_CHAIN_BINDING: u32 = 0x4;
pub const NFT_SET_ANONYMOUS: u32 = 0x1;
pub const NFT_SET_CONSTANT: u32 = 0x2;
pub const NFT_SET_INTERVAL: u32 = 0x4;
pub const NFT_SET_MAP: u32 = 0x8;
pub const NFT_SET_TIMEOUT: u32 = 0x10;
pub const NFT_SET_EVAL: u32 = 0x20;
pub const NFT_SET_OBJECT: u32 = 0x40;
pub const NFT_SET_CONCAT: u32 = 0x80;
pub const NFT_SET_EXPR: u32 = 0x100;
pub const NFT_SET_ELEM_INTERVAL_END: u32 = 0x1;
pub const NFT_SET_ELEM_CATCHALL: u32 = 0x2;
pub const NFT_LOOKUP_F_INV: u32 = 0x1;
pub const NFT_FLOWTABLE_HW_OFFLOAD: u32 = 0x1;
pub const NFT_FLOWTABLE_COUNTER: u32 = 0x2;

// enum nf_tables_msg_types
pub const NFT_MSG_NEWTABLE: u8 = 0;
pub const NFT_MSG_GETTABLE: u8 = 1;
pub const NFT_MSG_DELTABLE: u8 = 2;
pub const NFT_MSG_NEWCHAIN: u8 = 3;
pub const NFT_MSG_GETCHAIN: u8 = 4;
pub const NFT_MSG_DELCHAIN: u8 = 5;
pub const NFT_MSG_NEWRULE: u8 = 6;
pub const NFT_MSG_GETRULE: u8 = 7;
pub const NFT_MSG_DELRULE: u8 = 8;
pub const NFT_MSG_NEWSET: u8 = 9;
pub const NFT_MSG_GETSET: u8 = 10;
pub const NFT_MSG_DELSET: u8 = 11;
pub const NFT_MSG_NEWSETELEM: u8 = 12;
pub const NFT_MSG_GETSETELEM: u8 = 13;
pub const NFT_MSG_DELSETELEM: u8 = 14;
pub const NFT_MSG_NEWGEN: u8 = 15;
pub const NFT_MSG_GETGEN: u8 = 16;
pub const NFT_MSG_TRACE: u8 = 17;
pub const NFT_MSG_NEWOBJ: u8 = 18;
pub const NFT_MSG_GETOBJ: u8 = 19;
pub const NFT_MSG_DELOBJ: u8 = 20;
pub const NFT_MSG_GETOBJ_RESET: u8 = 21;
pub const NFT_MSG_NEWFLOWTABLE: u8 = 22;
pub const NFT_MSG_GETFLOWTABLE: u8 = 23;
pub const NFT_MSG_DELFLOWTABLE: u8 = 24;
pub const NFT_MSG_GETRULE_RESET: u8 = 25; // 6.2
pub const NFT_MSG_DESTROYTABLE: u8 = 26; // 6.3, and those up to 32
pub const NFT_MSG_DESTROYCHAIN: u8 = 27;
pub const NFT_MSG_DESTROYRULE: u8 = 28;
pub const NFT_MSG_DESTROYSET: u8 = 29;
pub const NFT_MSG_DESTROYSETELEM: u8 = 30;
pub const NFT_MSG_DESTROYOBJ: u8 = 31;
pub const NFT_MSG_DESTROYFLOWTABLE: u8 = 32;
pub const NFT_MSG_GETSETELEM_RESET: u8 = 33; // 6.5

// enum nft_list_attributes
pub const NFTA_LIST_ELEM: u16 = 1;

// enum nft_hook_attributes
pub const NFTA_HOOK_HOOKNUM: u16 = 1;
pub const NFTA_HOOK_PRIORITY: u16 = 2;
pub const NFTA_HOOK_DEV: u16 = 3;
pub const NFTA_HOOK_DEVS: u16 = 4;

// enum nft_devices_attributes
pub const NFTA_DEVICE_NAME: u16 = 1;
pub const NFTA_DEVICE_PREFIX: u16 = 2; // 6.17

// enum nft_table_attributes
pub const NFTA_TABLE_NAME: u16 = 1;
pub const NFTA_TABLE_FLAGS: u16 = 2;
pub const NFTA_TABLE_USE: u16 = 3;
pub const NFTA_TABLE_HANDLE: u16 = 4;
pub const NFTA_TABLE_USERDATA: u16 = 6;
pub const NFTA_TABLE_OWNER: u16 = 7;

// enum nft_chain_attributes
pub const NFTA_CHAIN_TABLE: u16 = 1;
pub const NFTA_CHAIN_HANDLE: u16 = 2;
pub const NFTA_CHAIN_NAME: u16 = 3;
pub const NFTA_CHAIN_HOOK: u16 = 4;
pub const NFTA_CHAIN_POLICY: u16 = 5;
pub const NFTA_CHAIN_USE: u16 = 6;
pub const NFTA_CHAIN_TYPE: u16 = 7;
pub const NFTA_CHAIN_COUNTERS: u16 = 8;
pub const NFTA_CHAIN_FLAGS: u16 = 10;
pub const NFTA_CHAIN_ID: u16 = 11;
pub const NFTA_CHAIN_USERDATA: u16 = 12;

// enum nft_rule_attributes
pub const NFTA_RULE_TABLE: u16 = 1;
pub const NFTA_RULE_CHAIN: u16 = 2;
pub const NFTA_RULE_HANDLE: u16 = 3;
pub const NFTA_RULE_EXPRESSIONS: u16 = 4;
pub const NFTA_RULE_COMPAT: u16 = 5;
pub const NFTA_RULE_POSITION: u16 = 6;
pub const NFTA_RULE_USERDATA: u16 = 7;
pub const NFTA_RULE_ID: u16 = 9;
pub const NFTA_RULE_POSITION_ID: u16 = 10;
pub const NFTA_RULE_CHAIN_ID: u16 = 11;

// enum nft_rule_compat_attributes
pub const NFTA_RULE_COMPAT_PROTO: u16 = 1;
pub const NFTA_RULE_COMPAT_FLAGS: u16 = 2;

// enum nft_set_desc_attributes
pub const NFTA_SET_DESC_SIZE: u16 = 1;
pub const NFTA_SET_DESC_CONCAT: u16 = 2;

// enum nft_set_field_attributes
pub const NFTA_SET_FIELD_LEN: u16 = 1;

// enum nft_set_attributes
pub const NFTA_SET_TABLE: u16 = 1;
pub const NFTA_SET_NAME: u16 = 2;
pub const NFTA_SET_FLAGS: u16 = 3;
pub const NFTA_SET_KEY_TYPE: u16 = 4;
pub const NFTA_SET_KEY_LEN: u16 = 5;
pub const NFTA_SET_DATA_TYPE: u16 = 6;
pub const NFTA_SET_DATA_LEN: u16 = 7;
pub const NFTA_SET_POLICY: u16 = 8;
pub const NFTA_SET_DESC: u16 = 9;
pub const NFTA_SET_ID: u16 = 10;
pub const NFTA_SET_TIMEOUT: u16 = 11;
pub const NFTA_SET_GC_INTERVAL: u16 = 12;
pub const NFTA_SET_USERDATA: u16 = 13;
pub const NFTA_SET_OBJ_TYPE: u16 = 15;
pub const NFTA_SET_HANDLE: u16 = 16;
pub const NFTA_SET_EXPR: u16 = 17;
pub const NFTA_SET_EXPRESSIONS: u16 = 18;

// enum nft_set_elem_attributes
pub const NFTA_SET_ELEM_KEY: u16 = 1;
pub const NFTA_SET_ELEM_DATA: u16 = 2;
pub const NFTA_SET_ELEM_FLAGS: u16 = 3;
pub const NFTA_SET_ELEM_TIMEOUT: u16 = 4;
pub const NFTA_SET_ELEM_EXPIRATION: u16 = 5;
pub const NFTA_SET_ELEM_USERDATA: u16 = 6;
pub const NFTA_SET_ELEM_EXPR: u16 = 7;
pub const NFTA_SET_ELEM_OBJREF: u16 = 9;
pub const NFTA_SET_ELEM_KEY_END: u16 = 10;
pub const NFTA_SET_ELEM_EXPRESSIONS: u16 = 11;

// enum nft_set_elem_list_attributes
pub const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
pub const NFTA_SET_ELEM_LIST_SET: u16 = 2;
pub const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
pub const NFTA_SET_ELEM_LIST_SET_ID: u16 = 4;

// enum nft_data_attributes
pub const NFTA_DATA_VALUE: u16 = 1;
pub const NFTA_DATA_VERDICT: u16 = 2;

// enum nft_verdict_attributes
pub const NFTA_VERDICT_CODE: u16 = 1;
pub const NFTA_VERDICT_CHAIN: u16 = 2;
pub const NFTA_VERDICT_CHAIN_ID: u16 = 3;

// enum nft_expr_attributes
pub const NFTA_EXPR_NAME: u16 = 1;
pub const NFTA_EXPR_DATA: u16 = 2;

// enum nft_immediate_attributes
pub const NFTA_IMMEDIATE_DREG: u16 = 1;
pub const NFTA_IMMEDIATE_DATA: u16 = 2;

// enum nft_bitwise_attributes
pub const NFTA_BITWISE_SREG: u16 = 1;
pub const NFTA_BITWISE_DREG: u16 = 2;
pub const NFTA_BITWISE_LEN: u16 = 3;
pub const NFTA_BITWISE_MASK: u16 = 4;
pub const NFTA_BITWISE_XOR: u16 = 5;
pub const NFTA_BITWISE_OP: u16 = 6;
pub const NFTA_BITWISE_DATA: u16 = 7;
pub const NFTA_BITWISE_SREG2: u16 = 8; // 6.13

// enum nft_cmp_attributes
pub const NFTA_CMP_SREG: u16 = 1;
pub const NFTA_CMP_OP: u16 = 2;
pub const NFTA_CMP_DATA: u16 = 3;

// enum nft_range_attributes
pub const NFTA_RANGE_SREG: u16 = 1;
pub const NFTA_RANGE_OP: u16 = 2;
pub const NFTA_RANGE_FROM_DATA: u16 = 3;
pub const NFTA_RANGE_TO_DATA: u16 = 4;

// enum nft_lookup_attributes
pub const NFTA_LOOKUP_SET: u16 = 1;
pub const NFTA_LOOKUP_SREG: u16 = 2;
pub const NFTA_LOOKUP_DREG: u16 = 3;
pub const NFTA_LOOKUP_SET_ID: u16 = 4;
pub const NFTA_LOOKUP_FLAGS: u16 = 5;

// enum nft_payload_attributes
pub const NFTA_PAYLOAD_DREG: u16 = 1;
pub const NFTA_PAYLOAD_BASE: u16 = 2;
pub const NFTA_PAYLOAD_OFFSET: u16 = 3;
pub const NFTA_PAYLOAD_LEN: u16 = 4;
pub const NFTA_PAYLOAD_SREG: u16 = 5;
pub const NFTA_PAYLOAD_CSUM_TYPE: u16 = 6;
pub const NFTA_PAYLOAD_CSUM_OFFSET: u16 = 7;
pub const NFTA_PAYLOAD_CSUM_FLAGS: u16 = 8;

// enum nft_meta_attributes
pub const NFTA_META_DREG: u16 = 1;
pub const NFTA_META_KEY: u16 = 2;
pub const NFTA_META_SREG: u16 = 3;

// enum nft_socket_attributes
pub const NFTA_SOCKET_KEY: u16 = 1;
pub const NFTA_SOCKET_DREG: u16 = 2;
pub const NFTA_SOCKET_LEVEL: u16 = 3;

// enum nft_ct_attributes
pub const NFTA_CT_DREG: u16 = 1;
pub const NFTA_CT_KEY: u16 = 2;
pub const NFTA_CT_DIRECTION: u16 = 3;
pub const NFTA_CT_SREG: u16 = 4;

// enum nft_counter_attributes
pub const NFTA_COUNTER_BYTES: u16 = 1;
pub const NFTA_COUNTER_PACKETS: u16 = 2;

// enum nft_nat_attributes
pub const NFTA_NAT_TYPE: u16 = 1;
pub const NFTA_NAT_FAMILY: u16 = 2;
pub const NFTA_NAT_REG_ADDR_MIN: u16 = 3;
pub const NFTA_NAT_REG_ADDR_MAX: u16 = 4;
pub const NFTA_NAT_REG_PROTO_MIN: u16 = 5;
pub const NFTA_NAT_REG_PROTO_MAX: u16 = 6;
pub const NFTA_NAT_FLAGS: u16 = 7;

// enum nft_tproxy_attributes
pub const NFTA_TPROXY_FAMILY: u16 = 1;
pub const NFTA_TPROXY_REG_ADDR: u16 = 2;
pub const NFTA_TPROXY_REG_PORT: u16 = 3;

// enum nft_masq_attributes
pub const NFTA_MASQ_FLAGS: u16 = 1;
pub const NFTA_MASQ_REG_PROTO_MIN: u16 = 2;
pub const NFTA_MASQ_REG_PROTO_MAX: u16 = 3;

// enum nft_redir_attributes
pub const NFTA_REDIR_REG_PROTO_MIN: u16 = 1;
pub const NFTA_REDIR_REG_PROTO_MAX: u16 = 2;
pub const NFTA_REDIR_FLAGS: u16 = 3;

// enum nft_gen_attributes
pub const NFTA_GEN_ID: u16 = 1;
pub const NFTA_GEN_PROC_PID: u16 = 2;
pub const NFTA_GEN_PROC_NAME: u16 = 3;

// enum nft_trace_attributes, enum nft_trace_types
pub const NFTA_TRACE_TABLE: u16 = 1;
pub const NFTA_TRACE_CHAIN: u16 = 2;
pub const NFTA_TRACE_RULE_HANDLE: u16 = 3;
pub const NFTA_TRACE_TYPE: u16 = 4;
pub const NFTA_TRACE_VERDICT: u16 = 5;
pub const NFTA_TRACE_ID: u16 = 6;
pub const NFTA_TRACE_LL_HEADER: u16 = 7;
pub const NFTA_TRACE_NETWORK_HEADER: u16 = 8;
pub const NFTA_TRACE_TRANSPORT_HEADER: u16 = 9;
pub const NFTA_TRACE_IIF: u16 = 10;
pub const NFTA_TRACE_OIF: u16 = 12;
pub const NFTA_TRACE_MARK: u16 = 14;
pub const NFTA_TRACE_POLICY: u16 = 16;
pub const NFT_TRACETYPE_POLICY: u32 = 1;
pub const NFT_TRACETYPE_RETURN: u32 = 2;
pub const NFT_TRACETYPE_RULE: u32 = 3;

// enum nfnetlink_groups (include/uapi/linux/netfilter/nfnetlink.h)
pub const NFNLGRP_NFTABLES: u32 = 7;
pub const NFNLGRP_NFTRACE: u32 = 9;

// enum nft_object_attributes
pub const NFTA_OBJ_TABLE: u16 = 1;
pub const NFTA_OBJ_NAME: u16 = 2;
pub const NFTA_OBJ_TYPE: u16 = 3;
pub const NFTA_OBJ_DATA: u16 = 4;
pub const NFTA_OBJ_USE: u16 = 5;
pub const NFTA_OBJ_HANDLE: u16 = 6;
pub const NFTA_OBJ_USERDATA: u16 = 8;

// enum nft_ct_helper_attributes
pub const NFTA_CT_HELPER_NAME: u16 = 1;
pub const NFTA_CT_HELPER_L3PROTO: u16 = 2;
pub const NFTA_CT_HELPER_L4PROTO: u16 = 3;

// enum nft_ct_timeout_timeout_attributes
pub const NFTA_CT_TIMEOUT_L3PROTO: u16 = 1;
pub const NFTA_CT_TIMEOUT_L4PROTO: u16 = 2;
pub const NFTA_CT_TIMEOUT_DATA: u16 = 3;

// enum nft_ct_expectation_attributes
pub const NFTA_CT_EXPECT_L3PROTO: u16 = 1;
pub const NFTA_CT_EXPECT_L4PROTO: u16 = 2;
pub const NFTA_CT_EXPECT_DPORT: u16 = 3;
pub const NFTA_CT_EXPECT_TIMEOUT: u16 = 4;
pub const NFTA_CT_EXPECT_SIZE: u16 = 5;

// enum nft_secmark_attributes
pub const NFTA_SECMARK_CTX: u16 = 1;

// enum nft_tunnel_key_attributes
pub const NFTA_TUNNEL_KEY_ID: u16 = 1;
pub const NFTA_TUNNEL_KEY_IP: u16 = 2;
pub const NFTA_TUNNEL_KEY_IP6: u16 = 3;
pub const NFTA_TUNNEL_KEY_FLAGS: u16 = 4;
pub const NFTA_TUNNEL_KEY_TOS: u16 = 5;
pub const NFTA_TUNNEL_KEY_TTL: u16 = 6;
pub const NFTA_TUNNEL_KEY_SPORT: u16 = 7;
pub const NFTA_TUNNEL_KEY_DPORT: u16 = 8;
pub const NFTA_TUNNEL_KEY_OPTS: u16 = 9;

// enum nft_tunnel_key_ip_attributes, and the same two of enum nft_tunnel_key_ip6_attributes
pub const NFTA_TUNNEL_KEY_IP_SRC: u16 = 1;
pub const NFTA_TUNNEL_KEY_IP_DST: u16 = 2;
pub const NFTA_TUNNEL_KEY_IP6_FLOWLABEL: u16 = 3;

// enum nft_tunnel_opts_attributes
pub const NFTA_TUNNEL_KEY_OPTS_VXLAN: u16 = 1;
pub const NFTA_TUNNEL_KEY_OPTS_ERSPAN: u16 = 2;
pub const NFTA_TUNNEL_KEY_OPTS_GENEVE: u16 = 3;

// enum nft_tunnel_opts_vxlan_attributes, _erspan_attributes, _geneve_attributes
pub const NFTA_TUNNEL_KEY_VXLAN_GBP: u16 = 1;
pub const NFTA_TUNNEL_KEY_ERSPAN_VERSION: u16 = 1;
pub const NFTA_TUNNEL_KEY_ERSPAN_V1_INDEX: u16 = 2;
pub const NFTA_TUNNEL_KEY_ERSPAN_V2_HWID: u16 = 3;
pub const NFTA_TUNNEL_KEY_ERSPAN_V2_DIR: u16 = 4;
pub const NFTA_TUNNEL_KEY_GENEVE_CLASS: u16 = 1;
pub const NFTA_TUNNEL_KEY_GENEVE_TYPE: u16 = 2;
pub const NFTA_TUNNEL_KEY_GENEVE_DATA: u16 = 3;

// enum nft_flowtable_attributes
pub const NFTA_FLOWTABLE_TABLE: u16 = 1;
pub const NFTA_FLOWTABLE_NAME: u16 = 2;
pub const NFTA_FLOWTABLE_HOOK: u16 = 3;
pub const NFTA_FLOWTABLE_USE: u16 = 4;
pub const NFTA_FLOWTABLE_HANDLE: u16 = 5;
pub const NFTA_FLOWTABLE_FLAGS: u16 = 7;

// enum nft_flowtable_hook_attributes
pub const NFTA_FLOWTABLE_HOOK_NUM: u16 = 1;
pub const NFTA_FLOWTABLE_HOOK_PRIORITY: u16 = 2;
pub const NFTA_FLOWTABLE_HOOK_DEVS: u16 = 3;

// enum nft_byteorder_attributes
pub const NFTA_BYTEORDER_SREG: u16 = 1;
pub const NFTA_BYTEORDER_DREG: u16 = 2;
pub const NFTA_BYTEORDER_OP: u16 = 3;
pub const NFTA_BYTEORDER_LEN: u16 = 4;
pub const NFTA_BYTEORDER_SIZE: u16 = 5;

// enum nft_connlimit_attributes
pub const NFTA_CONNLIMIT_COUNT: u16 = 1;
pub const NFTA_CONNLIMIT_FLAGS: u16 = 2;

// enum nft_dup_attributes
pub const NFTA_DUP_SREG_ADDR: u16 = 1;
pub const NFTA_DUP_SREG_DEV: u16 = 2;

// enum nft_dynset_attributes
pub const NFTA_DYNSET_SET_NAME: u16 = 1;
pub const NFTA_DYNSET_SET_ID: u16 = 2;
pub const NFTA_DYNSET_OP: u16 = 3;
pub const NFTA_DYNSET_SREG_KEY: u16 = 4;
pub const NFTA_DYNSET_SREG_DATA: u16 = 5;
pub const NFTA_DYNSET_TIMEOUT: u16 = 6;
pub const NFTA_DYNSET_EXPR: u16 = 7;
pub const NFTA_DYNSET_FLAGS: u16 = 9;
pub const NFTA_DYNSET_EXPRESSIONS: u16 = 10;

// enum nft_exthdr_attributes
pub const NFTA_EXTHDR_DREG: u16 = 1;
pub const NFTA_EXTHDR_TYPE: u16 = 2;
pub const NFTA_EXTHDR_OFFSET: u16 = 3;
pub const NFTA_EXTHDR_LEN: u16 = 4;
pub const NFTA_EXTHDR_FLAGS: u16 = 5;
pub const NFTA_EXTHDR_OP: u16 = 6;
pub const NFTA_EXTHDR_SREG: u16 = 7;

// enum nft_fib_attributes
pub const NFTA_FIB_DREG: u16 = 1;
pub const NFTA_FIB_RESULT: u16 = 2;
pub const NFTA_FIB_FLAGS: u16 = 3;

// enum nft_offload_attributes
pub const NFTA_FLOW_TABLE_NAME: u16 = 1;

// enum nft_fwd_attributes
pub const NFTA_FWD_SREG_DEV: u16 = 1;
pub const NFTA_FWD_SREG_ADDR: u16 = 2;
pub const NFTA_FWD_NFPROTO: u16 = 3;

// enum nft_hash_attributes
pub const NFTA_HASH_SREG: u16 = 1;
pub const NFTA_HASH_DREG: u16 = 2;
pub const NFTA_HASH_LEN: u16 = 3;
pub const NFTA_HASH_MODULUS: u16 = 4;
pub const NFTA_HASH_SEED: u16 = 5;
pub const NFTA_HASH_OFFSET: u16 = 6;
pub const NFTA_HASH_TYPE: u16 = 7;

// enum nft_inner_attributes (6.2)
pub const NFTA_INNER_NUM: u16 = 1;
pub const NFTA_INNER_TYPE: u16 = 2;
pub const NFTA_INNER_FLAGS: u16 = 3;
pub const NFTA_INNER_HDRSIZE: u16 = 4;
pub const NFTA_INNER_EXPR: u16 = 5;

// enum nft_last_attributes (5.14)
pub const NFTA_LAST_SET: u16 = 1;
pub const NFTA_LAST_MSECS: u16 = 2;

// enum nft_limit_attributes
pub const NFTA_LIMIT_RATE: u16 = 1;
pub const NFTA_LIMIT_UNIT: u16 = 2;
pub const NFTA_LIMIT_BURST: u16 = 3;
pub const NFTA_LIMIT_TYPE: u16 = 4;
pub const NFTA_LIMIT_FLAGS: u16 = 5;

// enum nft_log_attributes
pub const NFTA_LOG_GROUP: u16 = 1;
pub const NFTA_LOG_PREFIX: u16 = 2;
pub const NFTA_LOG_SNAPLEN: u16 = 3;
pub const NFTA_LOG_QTHRESHOLD: u16 = 4;
pub const NFTA_LOG_LEVEL: u16 = 5;
pub const NFTA_LOG_FLAGS: u16 = 6;

// enum nft_match_attributes (nf_tables_compat.h)
pub const NFTA_MATCH_NAME: u16 = 1;
pub const NFTA_MATCH_REV: u16 = 2;
pub const NFTA_MATCH_INFO: u16 = 3;

// enum nft_target_attributes (nf_tables_compat.h)
pub const NFTA_TARGET_NAME: u16 = 1;
pub const NFTA_TARGET_REV: u16 = 2;
pub const NFTA_TARGET_INFO: u16 = 3;

// enum nft_ng_attributes
pub const NFTA_NG_DREG: u16 = 1;
pub const NFTA_NG_MODULUS: u16 = 2;
pub const NFTA_NG_TYPE: u16 = 3;
pub const NFTA_NG_OFFSET: u16 = 4;

// enum nft_objref_attributes
pub const NFTA_OBJREF_IMM_TYPE: u16 = 1;
pub const NFTA_OBJREF_IMM_NAME: u16 = 2;
pub const NFTA_OBJREF_SET_SREG: u16 = 3;
pub const NFTA_OBJREF_SET_NAME: u16 = 4;
pub const NFTA_OBJREF_SET_ID: u16 = 5;

// enum nft_osf_attributes
pub const NFTA_OSF_DREG: u16 = 1;
pub const NFTA_OSF_TTL: u16 = 2;
pub const NFTA_OSF_FLAGS: u16 = 3;

// enum nft_queue_attributes
pub const NFTA_QUEUE_NUM: u16 = 1;
pub const NFTA_QUEUE_TOTAL: u16 = 2;
pub const NFTA_QUEUE_FLAGS: u16 = 3;
pub const NFTA_QUEUE_SREG_QNUM: u16 = 4;

// enum nft_quota_attributes
pub const NFTA_QUOTA_BYTES: u16 = 1;
pub const NFTA_QUOTA_FLAGS: u16 = 2;
pub const NFTA_QUOTA_CONSUMED: u16 = 4;

// enum nft_reject_attributes
pub const NFTA_REJECT_TYPE: u16 = 1;
pub const NFTA_REJECT_ICMP_CODE: u16 = 2;

// enum nft_rt_attributes
pub const NFTA_RT_DREG: u16 = 1;
pub const NFTA_RT_KEY: u16 = 2;

// enum nft_synproxy_attributes
pub const NFTA_SYNPROXY_MSS: u16 = 1;
pub const NFTA_SYNPROXY_WSCALE: u16 = 2;
pub const NFTA_SYNPROXY_FLAGS: u16 = 3;

// enum nft_tunnel_attributes
pub const NFTA_TUNNEL_KEY: u16 = 1;
pub const NFTA_TUNNEL_DREG: u16 = 2;
pub const NFTA_TUNNEL_MODE: u16 = 3;

// enum nft_xfrm_attributes
pub const NFTA_XFRM_DREG: u16 = 1;
pub const NFTA_XFRM_KEY: u16 = 2;
pub const NFTA_XFRM_DIR: u16 = 3;
pub const NFTA_XFRM_SPNUM: u16 = 4;

// Flags of single expressions: enum nft_bitwise_ops, nft_dynset_flags, nft_exthdr_flags, nft_fib_flags,
// nft_limit_flags, nft_connlimit_flags, nft_quota_flags, and NFT_QUEUE_FLAG_*
pub const NFT_BITWISE_MASK_XOR: u32 = 0;
pub const NFT_BITWISE_LSHIFT: u32 = 1;
pub const NFT_BITWISE_RSHIFT: u32 = 2;
pub const NFT_BITWISE_AND: u32 = 3; // 6.13
pub const NFT_BITWISE_OR: u32 = 4; // 6.13
pub const NFT_BITWISE_XOR: u32 = 5; // 6.13
pub const NFT_DYNSET_F_INV: u32 = 0x1;
pub const NFT_DYNSET_F_EXPR: u32 = 0x2;
pub const NFT_EXTHDR_F_PRESENT: u32 = 0x1;
pub const NFTA_FIB_F_SADDR: u32 = 0x1;
pub const NFTA_FIB_F_DADDR: u32 = 0x2;
pub const NFTA_FIB_F_MARK: u32 = 0x4;
pub const NFTA_FIB_F_IIF: u32 = 0x8;
pub const NFTA_FIB_F_OIF: u32 = 0x10;
pub const NFTA_FIB_F_PRESENT: u32 = 0x20;
pub const NFT_LIMIT_F_INV: u32 = 0x1;
pub const NFT_CONNLIMIT_F_INV: u32 = 0x1;
pub const NFT_QUOTA_F_INV: u32 = 0x1;
pub const NFT_QUOTA_F_DEPLETED: u32 = 0x2;
pub const NFT_QUEUE_FLAG_BYPASS: u16 = 0x1;
pub const NFT_QUEUE_FLAG_CPU_FANOUT: u16 = 0x2;

// include/uapi/linux/netfilter/nf_log.h: the flags of a log expression
pub const NF_LOG_TCPSEQ: u32 = 0x1;
pub const NF_LOG_TCPOPT: u32 = 0x2;
pub const NF_LOG_IPOPT: u32 = 0x4;
pub const NF_LOG_UID: u32 = 0x8;
pub const NF_LOG_MACDECODE: u32 = 0x20;
pub const NF_LOG_MASK: u32 = 0x2f;

// include/uapi/linux/netfilter/nf_synproxy.h
pub const NF_SYNPROXY_OPT_MSS: u32 = 0x1;
pub const NF_SYNPROXY_OPT_WSCALE: u32 = 0x2;
pub const NF_SYNPROXY_OPT_SACK_PERM: u32 = 0x4;
pub const NF_SYNPROXY_OPT_TIMESTAMP: u32 = 0x8;
pub const NF_SYNPROXY_OPT_ECN: u32 = 0x10;

// include/uapi/linux/if_ether.h
pub const ETH_P_IP: u16 = 0x0800;
pub const ETH_P_IPV6: u16 = 0x86dd;
