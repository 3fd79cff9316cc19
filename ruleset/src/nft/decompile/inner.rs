//! What is read inside a tunnel's packet.

use nftwire::Expr;
use nftwire::expr::{Access, PayloadAction};

use super::context::{Context, TRANSPORT};
use super::{Decompiler, Expression, Loaded, Selector, Statement, raw, register};
use crate::model::selector::{Inner, InnerPart, Tunnel};

impl Decompiler<'_> {
    /// Loads from inside a tunnel's packet.
    pub(super) fn load_inner(&mut self, inner: &nftwire::expr::Inner<'_>) {
        let Some(tunnel) = Tunnel::from_number(inner.kind.number()) else {
            return self.unknown_load("inner", &format!("of the tunnel {}", inner.kind.number()));
        };
        let (dreg, part, len) = match &*inner.expression {
            Expr::Payload(payload) => match (payload.action, raw(payload)) {
                (PayloadAction::Load(dreg), Some(raw)) => (dreg, InnerPart::Raw(raw), payload.len),
                _ => return self.unknown_load("inner payload", &format!("of {}", tunnel.name())),
            },
            Expr::Meta(meta) => match meta.access {
                Access::Load(dreg) => {
                    (dreg, InnerPart::Meta(meta.key), register::len(Selector::Meta(meta.key)))
                }
                Access::Store(_) => return self.unknown_load("inner meta", &format!("of {}", tunnel.name())),
            },
            other => return self.unknown_load("inner", &format!("{} of {}", other.name(), tunnel.name())),
        };
        let selector = Selector::Inner(Inner { tunnel, part });
        self.registers.put(dreg, Loaded::new(selector.into(), len));
    }

    /// Runs with the context of the packet that the expression is read from; the expression then has no tunnel.
    pub(super) fn at<T>(
        &mut self,
        expression: &mut Expression,
        run: impl FnOnce(&mut Self, &mut Expression) -> T,
    ) -> T {
        let Some(tunnel) = tunnel_of(expression) else { return run(self, expression) };
        if !matches!(tunnel, Tunnel::Vxlan | Tunnel::Geneve) {
            // Its name says which protocol is outside.
            self.release(TRANSPORT);
        }
        let known = self.inner.take().filter(|(known, _)| *known == tunnel);
        let inside = known.map_or_else(|| Context::inside(tunnel), |(_, context)| context);
        self.inner = Some((tunnel, std::mem::replace(&mut self.context, inside)));
        self.tunnel = Some(tunnel);
        each_selector(expression, &mut |selector| {
            if let Selector::Inner(inner) = *selector {
                *selector = inner.part.selector();
            }
        });
        let result = run(self, expression);
        self.tunnel = None;
        if let Some((_, outside)) = self.inner.take() {
            self.inner = Some((tunnel, std::mem::replace(&mut self.context, outside)));
        }
        result
    }

    /// What is read, with the tunnel in whose packet it is.
    pub(super) fn in_tunnel(&self, expression: &mut Expression) {
        let Some(tunnel) = self.tunnel else { return };
        each_selector(expression, &mut |selector| {
            if let Some(part) = InnerPart::from_selector(*selector) {
                *selector = Selector::Inner(Inner { tunnel, part });
            }
        });
    }

    pub(super) fn statement_in_tunnel(&self, statement: &mut Statement) {
        match statement {
            Statement::Match { left, .. } => self.in_tunnel(left),
            Statement::VerdictMap(Expression::Map(map)) => self.in_tunnel(&mut map.key),
            _ => {}
        }
    }
}

/// The tunnel inside which all of an expression is read.
fn tunnel_of(expression: &Expression) -> Option<Tunnel> {
    match expression {
        Expression::Selector(Selector::Inner(inner)) => Some(inner.tunnel),
        Expression::Binary(binary) => tunnel_of(&binary.left),
        Expression::Concat(parts) => {
            let first = tunnel_of(parts.first()?)?;
            parts.iter().all(|part| tunnel_of(part) == Some(first)).then_some(first)
        }
        Expression::Map(map) => tunnel_of(&map.key),
        _ => None,
    }
}

fn each_selector(expression: &mut Expression, each: &mut impl FnMut(&mut Selector)) {
    match expression {
        Expression::Selector(selector) => each(selector),
        Expression::Binary(binary) => {
            each_selector(&mut binary.left, each);
            each_selector(&mut binary.right, each);
        }
        Expression::Concat(parts) => parts.iter_mut().for_each(|part| each_selector(part, each)),
        Expression::Map(map) => {
            each_selector(&mut map.key, each);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use nftwire::expr::{
        Bitwise, Byteorder, ByteorderOp, Cmp, CmpOp, InnerKind, Meta, MetaKey, Payload, PayloadBase,
    };
    use nftwire::{Data, Family, Register};

    use super::super::Sets;
    use super::*;

    fn payload(base: PayloadBase, offset: u32, len: u32) -> Expr<'static> {
        Payload { base, offset, len, action: PayloadAction::Load(Register::R1) }.into()
    }

    fn meta(key: MetaKey) -> Expr<'static> {
        Meta { key, access: Access::Load(Register::R1) }.into()
    }

    fn inside(kind: u32, expression: Expr<'static>) -> Expr<'static> {
        let kind = InnerKind::from_number(kind);
        nftwire::expr::Inner { kind, flags: 0xf, header_size: 8, expression: Box::new(expression) }.into()
    }

    fn is(bytes: &[u8]) -> Expr<'static> {
        Cmp { sreg: Register::R1, op: CmpOp::Eq, data: Data::new(bytes) }.into()
    }

    fn shown(expressions: &[Expr<'_>]) -> String {
        let sets = Sets::new();
        let mut decompiler = Decompiler::new(Family::Ipv4, &sets);
        expressions.iter().for_each(|expression| decompiler.expression(expression));
        let statements: Vec<_> = decompiler.statements.iter().map(ToString::to_string).collect();
        statements.join(" ")
    }

    /// The expressions of nft 1.1.7, and what it lists.
    #[test]
    fn tunnels() {
        let udp = [meta(MetaKey::L4Proto), is(&[17]), payload(PayloadBase::Transport, 2, 2), is(&[18, 181])];
        let in_vxlan = |rest: &[Expr<'static>]| shown(&[&udp, rest].concat());
        let ip = [inside(1, meta(MetaKey::Protocol)), is(&[8, 0])];
        let tcp = [inside(1, meta(MetaKey::L4Proto)), is(&[6])];
        let vni = [inside(1, payload(PayloadBase::Tunnel, 4, 3)), is(&[0, 0, 10])];
        assert_eq!(in_vxlan(&vni), "udp dport 4789 vxlan vni 10");
        let source = [inside(1, payload(PayloadBase::Network, 12, 4)), is(&[1, 2, 3, 4])];
        assert_eq!(in_vxlan(&[ip.clone(), source.clone()].concat()), "udp dport 4789 vxlan ip saddr 1.2.3.4");
        let network = [inside(1, payload(PayloadBase::Network, 12, 3)), is(&[1, 1, 1])];
        assert_eq!(in_vxlan(&[ip, network].concat()), "udp dport 4789 vxlan ip saddr 1.1.1.0/24");
        let port = [inside(1, payload(PayloadBase::Transport, 2, 2)), is(&[0, 80])];
        assert_eq!(in_vxlan(&[tcp, port].concat()), "udp dport 4789 vxlan tcp dport 80");
        // What comes before it stays what it was.
        let outer = [payload(PayloadBase::Network, 12, 4), is(&[9, 9, 9, 9])];
        assert_eq!(in_vxlan(&[&outer[..], &vni].concat()), "udp dport 4789 ip saddr 9.9.9.9 vxlan vni 10");
        let gre = [meta(MetaKey::L4Proto), is(&[47]), inside(3, meta(MetaKey::Protocol)), is(&[8, 0])];
        let source = [inside(3, payload(PayloadBase::Network, 12, 4)), is(&[1, 2, 3, 4])];
        assert_eq!(shown(&[&gre[..], &source].concat()), "gre ip saddr 1.2.3.4");
    }

    /// The register does not keep what was in it before.
    #[test]
    fn an_unknown_tunnel_leaves_no_match() {
        let port = [meta(MetaKey::L4Proto), is(&[17]), payload(PayloadBase::Transport, 2, 2), is(&[0, 1])];
        let unknown = [inside(77, payload(PayloadBase::Network, 12, 4)), is(&[0, 2])];
        let text = shown(&[&port[..], &unknown].concat());
        assert!(text.starts_with("udp dport 1 /* ") && !text.contains("udp dport 2"), "{text}");
    }

    /// A constant has the byte order of what it is applied to: `ip dscp << 8 | 0x10`, `tcp dport | 0x100`,
    /// `ip saddr & 0xff`, as nft 1.1.7 compiles them.
    #[test]
    fn constants_of_converted_values() {
        let set_mark: Expr<'_> = Meta { key: MetaKey::Mark, access: Access::Store(Register::R1) }.into();
        let or = |number: u32| Expr::from(bitwise(4, &(!number).to_ne_bytes(), &number.to_ne_bytes()));
        let swap = |len: u32, size: u32| {
            Expr::from(Byteorder { sreg: Register::R1, dreg: Register::R1, op: ByteorderOp::Ntoh, len, size })
        };
        let dscp = [payload(PayloadBase::Network, 1, 1), or(0x10), set_mark.clone()];
        assert_eq!(shown(&dscp), "meta mark set @nh,8,8 | 16");
        let tcp = [meta(MetaKey::L4Proto), is(&[6]), payload(PayloadBase::Transport, 2, 2)];
        let port = [&tcp[..], &[swap(2, 2), or(0x100), set_mark.clone()]].concat();
        assert_eq!(shown(&port), "meta mark set tcp dport | 256");
        let mark = [meta(MetaKey::Mark), or(0x100), set_mark];
        assert_eq!(shown(&mark), "meta mark set meta mark | 0x00000100");
    }

    fn bitwise(len: u32, mask: &[u8], xor: &[u8]) -> Bitwise {
        let operation = nftwire::expr::Operation::MaskXor { mask: Data::new(mask), xor: Data::new(xor) };
        Bitwise { sreg: Register::R1, dreg: Register::R1, len, operation }
    }
}
