//! Explains what happened, to a reader who sees it for the first time.

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::time::Instant;

use nftwire::{Commit, Error, Expr, Socket};

use super::play::{Course, Onward};
use super::stage::Users;
use super::{APP, APP_PORT, FLAGS, OUTSIDE, POD, PROXY};
use nft_ruleset::nft::print::hook_name;
use nft_ruleset::{Chain, Ruleset, Table};

/// Everything that there is to report.
pub(super) struct Report {
    pub(super) users: Users,
    pub(super) ruleset: Ruleset,
    pub(super) commit: Commit,
    pub(super) outbound: Course,
    pub(super) inbound: Course,
    pub(super) packets: Packets,
    pub(super) started: Instant,
}

/// How many packets the rules of each chain have counted, in their order, by the chain's table and name.
type Packets = HashMap<(String, String), Vec<u64>>;

/// Reads from the kernel what the rules have counted.
pub(super) fn packets(nft: &mut Socket, ruleset: &Ruleset) -> Result<Packets, Error> {
    let mut packets = Packets::new();
    for table in &ruleset.tables {
        nft.rules(table.family, Some((&table.name).into()), |rule| {
            let mut count = 0;
            for expression in rule.expressions() {
                if let Expr::Counter(counter) = expression? {
                    count = counter.packets;
                }
            }
            packets.entry((rule.table.to_string(), rule.chain.to_string())).or_default().push(count);
            Ok(())
        })?;
    }
    Ok(packets)
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write_stage(f)?;
        self.write_commit(f)?;
        writeln!(f, "\nOut: the app calls the outside")?;
        write_course(f, &self.outbound, "the app", "the outside")?;
        writeln!(f, "\nIn: the outside calls the app")?;
        write_course(f, &self.inbound, "the outside", "the app")?;
        if self.users == Users::One {
            writeln!(
                f,
                "\nThere is a single uid here, so the rules cannot distinguish the proxy from the app: the proxy answers by \
                 itself\nand never dials on. As root both have a uid of their own: sudo meshwire demo"
            )?;
        }
        self.write_ruleset(f)?;
        writeln!(f, "\nAll of it took {} ms, and ends here.", self.started.elapsed().as_millis())
    }
}

impl Report {
    fn write_stage(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [app, proxy] = match self.users {
            Users::Own => [format!(", uid {}", APP.0), format!(", uid {}", PROXY.0)],
            Users::One => [String::new(), String::new()],
        };
        writeln!(f, "A pod and the outside, in network namespaces that end with this command:\n")?;
        let wire = format!("  outside {OUTSIDE} ───── {POD} pod ");
        writeln!(f, "{wire}┬ app    (port {APP_PORT}{app})")?;
        writeln!(f, "{:indent$}└ proxy  (ports 15001 and 15006{proxy})", "", indent = wire.chars().count())
    }

    fn write_commit(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ruleset = &self.ruleset;
        let (tables, chains, rules) = (ruleset.tables.len(), ruleset.chain_count(), ruleset.rule_count());
        let milliseconds = self.commit.elapsed.as_secs_f64() * 1000.0;
        writeln!(f, "\nIntercepted, as by istio-iptables {FLAGS}:")?;
        writeln!(
            f,
            "  {tables} table, {chains} chains, {rules} rules; {} bytes, one commit, {milliseconds:.2} ms",
            self.commit.bytes
        )
    }

    fn write_ruleset(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nThe rules, and how many packets each has seen (of a connection, only the first comes by):"
        )?;
        for table in &self.ruleset.tables {
            writeln!(f, "\n  table {table}")?;
            table.chains.iter().try_for_each(|chain| self.write_chain(f, table, chain))?;
        }
        Ok(())
    }

    fn write_chain(&self, f: &mut Formatter<'_>, table: &Table, chain: &Chain) -> fmt::Result {
        match &chain.base {
            Some(base) => {
                let (kind, hook) = (base.kind.name(), hook_name(table.family, base.hook));
                writeln!(f, "  chain {} ({kind}, hook {hook}, priority {})", chain.name, base.priority)?;
            }
            None => writeln!(f, "  chain {}", chain.name)?,
        }
        let packets = self.packets.get(&(table.name.to_string(), chain.name.to_string()));
        for (index, rule) in chain.rules.iter().enumerate() {
            match packets.and_then(|packets| packets.get(index)) {
                Some(0) | None => writeln!(f, "       {rule}")?,
                Some(count) => writeln!(f, "  {count:>3}  {rule}")?,
            }
        }
        Ok(())
    }
}

fn write_course(f: &mut Formatter<'_>, course: &Course, client: &str, server: &str) -> fmt::Result {
    let Course { client: from, destination, arrived, original, onward, answer } = course;
    let mut line = |what: &str, text: fmt::Arguments<'_>| writeln!(f, "  {what:22}{text}");
    line(&format!("{client} connects"), format_args!("{from} → {destination}"))?;
    line("it arrives at", format_args!("{arrived}, the proxy"))?;
    line(
        "original destination",
        format_args!("{original}, as the kernel reports it to the proxy (SO_ORIGINAL_DST)"),
    )?;
    if let Some(Onward { client, server: to }) = onward {
        line("the proxy dials on", format_args!("{client} → {to}, {server}"))?;
    }
    line(&format!("{client} gets"), format_args!("\"{answer}\""))
}
