//! ZDS, by which a node's agent hands the network namespaces of pods to ztunnel.
//!
//! The agent is the server, on a Unix socket of type SOCK_SEQPACKET; one protobuf message is one packet. The two sides
//! work in lock step: ztunnel says hello, then each request waits for its acknowledgement. Whatever does not fit that
//! (a late, missing, undecodable or surplus packet) closes the connection, and ztunnel connects anew: requests have no
//! numbers, so a late acknowledgement could otherwise count for the next request.
//!
//! Source: istio/ztunnel 62d826530e5c, `proto/zds.proto` and `src/inpod/{protocol,packet,workloadmanager}.rs`.

mod connection;
mod message;
mod server;

pub use connection::ConnectionError;
pub use message::{Ack, DecodeError, MAX_PACKET, Request, TooLong, Workload};
pub use server::{Command, ConnectionId, Event, Listener, serve};
