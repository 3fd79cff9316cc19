//! `list hooks`: what packets pass in the kernel, whoever put it there.

use std::fmt::Write as _;

use nftwire::{Error, Family, Hook, HookFunction, Socket, uapi};

use super::failure;
use crate::nft::parse::source::{Fault, Span};
use crate::nft::parse::syntax::Name;

/// The families that are shown where none is said.
const ALL: &[Family] = &[Family::Ipv4, Family::Ipv6, Family::Bridge, Family::Arp];

/// The hooks of a family after those of a device, by their numbers and names.
fn hooks(family: Family) -> &'static [(u32, &'static str)] {
    match family {
        Family::Netdev => &[(uapi::NF_NETDEV_EGRESS, "egress")],
        Family::Arp => &[(0, "input"), (1, "output")],
        _ => &[
            (uapi::NF_INET_PRE_ROUTING, "prerouting"),
            (uapi::NF_INET_LOCAL_IN, "input"),
            (uapi::NF_INET_FORWARD, "forward"),
            (uapi::NF_INET_LOCAL_OUT, "output"),
            (uapi::NF_INET_POST_ROUTING, "postrouting"),
        ],
    }
}

/// The functions at the hooks of a family, or of all, in nft's words; with a device, what is at its ingress comes first,
/// since it sees the packets of every family.
pub(super) fn list(
    socket: &mut Socket,
    family: Option<Family>,
    device: Option<&Name>,
    span: Span,
) -> Result<String, Fault> {
    let families = match &family {
        None => ALL,
        Some(Family::Inet) => &[Family::Ipv4, Family::Ipv6],
        Some(Family::Netdev) if device.is_none() => {
            return Err(Fault::new(span, "hooks of the family netdev are a device's: add `device NAME`"));
        }
        Some(family) => std::slice::from_ref(family),
    };
    let mut reader = Hooks { socket, device, span };
    let mut shown = String::new();
    for &family in families {
        let mut listed = String::new();
        if device.is_some() {
            let is_shown = |function: &HookFunction<'_>| {
                // A bridge's and a router's chains at a device see no ARP packets.
                family != Family::Arp || function.chain.is_some_and(|chain| chain.family == Family::Netdev)
            };
            let ingress = (uapi::NF_NETDEV_INGRESS, "ingress");
            listed.push_str(&reader.hook(Family::Netdev, ingress, is_shown)?);
        }
        for &hook in hooks(family) {
            listed.push_str(&reader.hook(family, hook, |_| true)?);
        }
        if !listed.is_empty() {
            shown.push_str(&format!("family {family} {{\n{listed}}}\n"));
        }
    }
    Ok(shown)
}

struct Hooks<'a> {
    socket: &'a mut Socket,
    device: Option<&'a Name>,
    span: Span,
}

impl Hooks<'_> {
    /// A hook with its functions; nothing where it has none.
    fn hook(
        &mut self,
        family: Family,
        (number, name): (u32, &str),
        is_shown: impl Fn(&HookFunction<'_>) -> bool,
    ) -> Result<String, Fault> {
        let mut lines = String::new();
        let device = self.device.map(|device| (&*device.text).into());
        let read = self.socket.hook_functions(family, Hook::from_number(number), device, |function| {
            if is_shown(&function) {
                line(&mut lines, &function);
            }
            Ok(())
        });
        match read {
            Err(error) if !is_absent(&error) => Err(self.fault(&error)),
            _ if lines.is_empty() => Ok(lines),
            _ => Ok(format!("\thook {name} {{\n{lines}\t}}\n")),
        }
    }

    fn fault(&self, error: &Error) -> Fault {
        /// The kernel does not know the request.
        const EINVAL: i32 = 22;
        const ENODEV: i32 = 19;
        match (error, self.device) {
            (Error::Refused(refusal), _) if refusal.errno == EINVAL => Fault::new(
                self.span,
                "this kernel does not list hooks: it is older than 5.14, or lacks CONFIG_NETFILTER_NETLINK_HOOK",
            ),
            (Error::Refused(refusal), Some(device)) if refusal.errno == ENODEV => failure(device.span, error),
            _ => failure(self.span, error),
        }
    }
}

/// Whether the kernel says that it has no such family or hook, so that nothing can be there.
fn is_absent(error: &Error) -> bool {
    /// EPROTONOSUPPORT and EOPNOTSUPP
    const ABSENT: [i32; 2] = [93, 95];
    matches!(error, Error::Refused(refusal) if ABSENT.contains(&refusal.errno))
}

fn line(out: &mut String, function: &HookFunction<'_>) {
    let sign = match function.priority {
        i32::MIN..0 => '-',
        0 => ' ',
        1.. => '+',
    };
    // Writing to a string does not fail.
    let _ = write!(out, "\t\t{sign}{:010}", function.priority.unsigned_abs());
    match (&function.chain, function.function) {
        (Some(chain), _) => {
            let _ = write!(out, " chain {} {} {}", chain.family, chain.table, chain.name);
        }
        (None, Some(name)) => {
            let _ = write!(out, " {name}");
        }
        (None, None) => {}
    }
    if let Some(module) = function.module {
        let _ = write!(out, " [{module}]");
    }
    out.push('\n');
}
