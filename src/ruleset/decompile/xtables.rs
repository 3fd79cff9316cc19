//! Matches and targets of xtables, which iptables-nft loads.

use nftwire::expr::{Match, Target};

use super::{Decompiler, Statement};

impl Decompiler<'_> {
    pub(super) fn xtables_match(&mut self, xt: &Match<'_>) {
        self.push(Statement::Comment(format!("xt match {}", xt.name).into()));
    }

    pub(super) fn xtables_target(&mut self, xt: &Target<'_>) {
        self.push(Statement::Comment(format!("xt target {}", xt.name).into()));
    }
}
