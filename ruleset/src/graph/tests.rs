use nftwire::Hook;

use super::layout::{HEAD, ROW, layout};
use super::*;
use crate::{ChainKind, Policy};

fn chain(name: &str, hook: Option<(Hook, i32)>, verdicts: Vec<Verdict>) -> Chain {
    let base = |(hook, priority)| BaseChain { kind: ChainKind::Filter, hook, priority, policy: Policy::Drop };
    let rule = |verdict| Rule { statements: vec![Statement::Verdict(verdict)], ..Rule::default() };
    Chain {
        name: name.into(),
        base: hook.map(base),
        rules: verdicts.into_iter().map(rule).collect(),
        ..Chain::default()
    }
}

fn jump(name: &str) -> Verdict {
    Verdict::Jump(name.into())
}

fn goto(name: &str) -> Verdict {
    Verdict::Goto(name.into())
}

fn graph(chains: Vec<Chain>) -> Graph {
    let table = Table { chains, ..Table::new(Family::Inet, "mesh") };
    Graph::new(&Ruleset { tables: vec![table] }, Options::default(), false)
}

/// Hooks in the wrong order, jumps over columns, many targets, and a chain to which nothing leads.
fn tangled() -> Graph {
    let mut chains = vec![
        chain("out", Some((Hook::LocalOut, 0)), vec![jump("a"), jump("deep"), goto("c39")]),
        chain("late", Some((Hook::PreRouting, 10)), (0..40).map(|n| jump(&format!("c{n}"))).collect()),
        chain("early", Some((Hook::PreRouting, -10)), vec![jump("a"), jump("b")]),
        chain("a", None, vec![jump("b"), jump("deep")]),
        chain("b", None, vec![goto("deep"), jump("c0")]),
        chain("deep", None, vec![Verdict::Accept]),
        chain("lost", None, vec![jump("deep")]),
    ];
    chains.extend((0..40).map(|n| chain(&format!("c{n}"), None, vec![jump("deep"), Verdict::Return])));
    graph(chains)
}

#[test]
fn base_chains_are_in_the_order_in_which_packets_traverse_them() {
    let graph = tangled();
    let names: Vec<_> = graph.chains.iter().take(4).map(|chain| &*chain.name).collect();
    assert_eq!(names, ["early", "late", "out", "a"]);
    let layout = layout(&graph, 100);
    assert!(layout.boxes[..3].is_sorted_by(|above, below| above.y + above.height < below.y));
    let headings: Vec<_> = layout.headings.iter().map(|heading| &*heading.0).collect();
    assert_eq!(headings, ["prerouting", "output", "no hook"]);
}

#[test]
fn nothing_lies_on_anything_else() {
    let layout = layout(&tangled(), 100);
    for (index, one) in layout.boxes.iter().enumerate() {
        assert!(one.y >= 100 && one.x + one.width < layout.width && one.y + one.height < layout.height);
        for other in &layout.boxes[..index] {
            let apart = one.x + one.width < other.x || other.x + other.width < one.x;
            assert!(apart || one.y + one.height < other.y || other.y + other.height < one.y);
        }
    }
    for line in &layout.lines {
        let ((end, y), track) = (line.to, line.track);
        let through = layout.boxes.iter().filter(|one| one.x < end && track < one.x + one.width);
        assert_eq!(through.filter(|one| one.y < y && y < one.y + one.height).count(), 0, "{line:?}");
        assert!(line.sources.iter().all(|source| source.0 < track));
        assert!(y < layout.height && end < layout.width);
    }
    for (index, one) in layout.lines.iter().enumerate() {
        for other in layout.lines[..index].iter().filter(|other| other.track == one.track) {
            assert!(span(one).1 < span(other).0 || span(other).1 < span(one).0, "{one:?} {other:?}");
        }
    }
}

fn span(line: &layout::Line) -> (usize, usize) {
    let heights = || line.sources.iter().map(|source| source.1).chain([line.to.1]);
    (heights().min().unwrap(), heights().max().unwrap())
}

#[test]
fn every_jump_leads_from_its_rule_to_its_chain() {
    let graph = tangled();
    let layout = layout(&graph, 100);
    for (target, place) in layout.boxes.iter().enumerate() {
        let called = graph.chains.iter().flat_map(targets).any(|jump| jump.chain == target);
        let arriving: Vec<_> =
            layout.lines.iter().filter(|line| line.arrives && line.target == target).collect();
        assert_eq!(arriving.len(), usize::from(called));
        assert!(arriving.iter().all(|line| line.to == (place.x, place.y + ROW)));
    }
    for (chain, place) in graph.chains.iter().zip(&layout.boxes) {
        for (number, row) in chain.rows.iter().enumerate() {
            let from = (place.x + place.width, place.y + HEAD + number * ROW + ROW / 2);
            let starts =
                |line: &&layout::Line| line.sources.iter().any(|source| (source.0, source.1) == from);
            let leaving: Vec<_> = layout.lines.iter().filter(starts).map(|line| line.target).collect();
            let mut desired: Vec<_> = row.jumps.iter().map(|jump| jump.chain).collect();
            desired.sort_unstable();
            assert_eq!(leaving.len(), desired.len());
            assert!(leaving.iter().all(|target| desired.contains(target)));
        }
    }
}

#[test]
fn a_loop_is_drawn_without_the_arrow_back() {
    let loops = graph(vec![
        chain("in", Some((Hook::LocalIn, 0)), vec![jump("a")]),
        chain("a", None, vec![jump("b"), jump("a")]),
        chain("b", None, vec![jump("a"), jump("in")]),
    ]);
    assert!(loops.svg().ends_with("</svg>\n"));
    assert!(loops.dot().contains("chain2:row0:e -> chain1:head:w"));
}

#[test]
fn long_chains_are_cut_unless_all_is_asked_for() {
    let table = Table {
        chains: vec![chain("long", Some((Hook::LocalIn, 0)), vec![Verdict::Accept; 150])],
        ..Table::new(Family::Ipv4, "t")
    };
    let ruleset = Ruleset { tables: vec![table] };
    assert!(Graph::new(&ruleset, Options::default(), false).svg().contains("… 120 more"));
    let all = Graph::new(&ruleset, Options::default(), true).svg();
    assert!(!all.contains(" more<") && all.matches(">accept<").count() >= 150);
}

#[test]
fn the_beginning_and_the_end_of_a_long_chain_are_drawn() {
    let mut verdicts: Vec<_> = (0..100).map(|number| jump(&format!("c{number}"))).collect();
    verdicts.push(Verdict::Drop);
    let mut chains = vec![chain("long", Some((Hook::LocalIn, 0)), verdicts)];
    chains.extend((0..100).map(|number| chain(&format!("c{number}"), None, vec![jump("shared")])));
    chains.push(chain("shared", None, vec![Verdict::Accept]));
    chains.extend((0..40).map(|number| chain(&format!("unused{number}"), None, vec![jump("c50")])));
    let table = Table { chains, ..Table::new(Family::Inet, "mesh") };
    let ruleset = Ruleset { tables: vec![table] };
    let graph = Graph::new(&ruleset, Options::default(), false);
    let texts: Vec<_> = graph.chains[0].rows.iter().map(|row| row.text.as_str()).collect();
    assert_eq!(texts[19..22], ["jump c19", "… 71 more, to 70 chains that are not drawn", "jump c91"]);
    assert_eq!(texts[30..], ["drop", "policy drop"]);
    // A chain to which another rule leads, which is drawn, is drawn itself.
    assert_eq!(graph.chains[0].rows[20].jumps.len(), 1);
    assert_eq!(graph.chains.len(), 1 + 29 + 1 + 1 + 30);
    assert_eq!(graph.notes, ["80 of 142 chains are not drawn: no rule that is drawn leads to them"]);
    let svg = graph.svg();
    assert!(svg.contains("chains 62 of 142, rules 91 of 242") && svg.contains("80 of 142 chains"), "{svg}");
    assert!(graph.dot().contains("80 of 142 chains"));
    let all = Graph::new(&ruleset, Options::default(), true);
    assert!(all.chains.len() == 142 && all.notes.is_empty() && all.svg().contains("chains 142, rules 242"));
}

/// As kube-proxy has it: services, their endpoints, and a chain to which all of them lead.
fn services(count: usize) -> Table {
    let mut chains = vec![
        chain("input", Some((Hook::PreRouting, 0)), vec![jump("services")]),
        chain("services", None, (0..count).map(|n| jump(&format!("service{n}"))).collect()),
        chain("mark", None, vec![Verdict::Return]),
    ];
    for service in 0..count {
        let endpoint = |number| format!("endpoint{service}.{number}");
        let verdicts = std::iter::once("mark".to_owned()).chain((0..3).map(endpoint));
        chains.push(chain(&format!("service{service}"), None, verdicts.map(|name| jump(&name)).collect()));
        chains
            .extend((0..3).map(|number| chain(&endpoint(number), None, vec![jump("mark"), Verdict::Accept])));
    }
    Table { chains, ..Table::new(Family::Ipv4, "nat") }
}

#[test]
fn a_large_picture_begins_at_its_top_and_is_not_a_strip() {
    for (count, all) in [(10, false), (300, false), (300, true)] {
        let graph = Graph::new(&Ruleset { tables: vec![services(count)] }, Options::default(), all);
        let layout = layout(&graph, 100);
        assert!(layout.boxes[0].y < 200, "{count}: {:?}", layout.boxes[0]);
        assert!(layout.height < 2 * layout.width + 2000, "{count}: {} {}", layout.width, layout.height);
        // Of no 1,000 pixels below each other none has a chain.
        let mut tops: Vec<_> = layout.boxes.iter().map(|one| (one.y, one.y + one.height)).collect();
        tops.sort_unstable();
        let mut covered = 0;
        for (top, bottom) in tops {
            assert!(top < covered + 1000, "{count}: nothing from {covered} to {top}");
            covered = covered.max(bottom);
        }
        // Nor in a column: what leads on to others is narrow.
        for column in layout.boxes.iter().map(|one| one.x).collect::<BTreeSet<_>>() {
            let chains = || layout.boxes.iter().filter(|one| one.x == column);
            let (top, bottom) =
                (chains().map(|one| one.y).min(), chains().map(|one| one.y + one.height).max());
            let height: usize = chains().map(|one| one.height + ROW).sum();
            let span = bottom.unwrap() - top.unwrap();
            assert!(span < 2 * height + 500, "{count}: {height} of {span} at {column}");
        }
        let area: usize = layout.boxes.iter().map(|one| one.width * one.height).sum();
        assert!(
            area * 12 > layout.width * layout.height,
            "{count}: {area} of {} by {}",
            layout.width,
            layout.height
        );
    }
}

#[test]
fn text_is_escaped() {
    assert_eq!(escaped("<a href=\"&\">\u{1}"), "&lt;a href=&quot;&amp;&quot;&gt;\u{fffd}");
}

#[test]
fn a_long_rule_takes_several_lines_and_leads_on_from_the_last() {
    let long = (1..=40).fold(Rule::new(), |rule, uid| rule.skuid(crate::Op::Ne, uid)).counter().jump("next");
    let mut base = chain("in", Some((Hook::LocalIn, 0)), vec![Verdict::Accept]);
    base.rules.insert(0, long);
    let graph = graph(vec![base, chain("next", None, vec![Verdict::Drop])]);
    let rows = &graph.chains[0].rows;
    let lines: Vec<_> = rows.iter().take_while(|row| row.text != "accept").collect();
    assert!(lines.len() > 5 && lines.iter().all(|row| row.text.chars().count() <= text::LINE));
    let joined = lines.iter().map(|row| row.text.trim()).collect::<Vec<_>>().join(" ");
    assert_eq!(joined, lines[0].full);
    assert!(joined.contains("meta skuid != 17") && joined.ends_with("counter jump next"));
    let leads: Vec<_> = lines.iter().map(|row| row.jumps.len()).collect();
    assert!(
        leads.split_last().is_some_and(|(last, others)| *last == 1 && others.iter().all(|leads| *leads == 0))
    );
    let counted = lines.iter().filter(|row| row.counted.is_some()).count();
    assert_eq!((counted, lines[0].counted), (1, Some((0, 0))));
    assert!(graph.svg().contains("chains 2, rules 3"));
}

#[test]
fn amounts_take_three_digits() {
    assert_eq!(amount((0, 0)), "0");
    assert_eq!(amount((3, 180)), "3 pkt, 180 B");
    assert_eq!(amount((1234, 56_789_000)), "1.2k pkt, 56 MB");
    assert_eq!(amount((u64::MAX, u64::MAX)), "18E pkt, 18 EB");
}
