//! Where everything is placed: a column for each depth of jumps, base chains on the left in the order of hooks.
//!
//! A jump that passes over columns runs through a lane of its own between their chains. In the gap between two columns
//! every target has a track, a vertical line that collects all that leads to it, so that lines cross but never lie on
//! each other: a row's line is at half the height of a row, a chain's at a whole one, and a lane's at neither.

use std::collections::BTreeMap;

use super::{Graph, Node, Row, amount};

/// The height of a row; chains are placed at multiples of it.
pub(super) const ROW: usize = 18;
/// The height of a lane where columns are folded: many hundreds lead on to later columns there.
pub(super) const LANE: usize = 3;
/// The width of a character of 12 pixels, in hundredths of a pixel: no usual monospaced font is wider.
const CHARACTER: usize = 725;
const MARGIN: usize = 24;
const TRACK: usize = 8;
/// How much room all the tracks of a gap take, at most: where there are many, they are closer.
const TRACKS: usize = 400;
/// The height of a chain's head.
pub(super) const HEAD: usize = 2 * ROW;
/// The height of a hook's heading, with the room above it.
const HEADING: usize = 3 * ROW;

/// Where everything is placed, in pixels.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) boxes: Vec<Box>,
    /// What is written above chains, the y coordinate of its line, and what explains it
    pub(super) headings: Vec<(String, usize, &'static str)>,
    pub(super) lines: Vec<Line>,
}

/// A chain.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Box {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// Everything that leads through one gap to one target.
#[derive(Debug)]
pub(super) struct Line {
    /// The chain to which it leads in the end
    pub(super) target: usize,
    /// Where it comes from, and whether from a `goto`
    pub(super) sources: Vec<(usize, usize, bool)>,
    /// The x coordinate of the track
    pub(super) track: usize,
    /// Where it ends
    pub(super) to: (usize, usize),
    /// Whether it ends at the chain, and not at a lane that leads on
    pub(super) arrives: bool,
}

/// A chain in its column, or the lane of a jump to a chain farther on.
#[derive(Clone, Copy, Debug)]
struct Item {
    chain: usize,
    lane: bool,
    /// Whether nothing but `goto` leads to it
    goto: bool,
    /// Where its top is to be
    wish: usize,
    /// Where its top is
    y: usize,
    /// How much room is kept above it, for a heading
    above: usize,
    /// How high a lane is
    height: usize,
}

impl Item {
    /// Where lines to it end.
    fn entry(&self, column: usize) -> usize {
        match (self.lane, column % 2) {
            (false, _) => self.y + ROW,
            (true, _) if self.height < ROW => self.y + self.height / 2,
            (true, 0) => self.y + 4,
            (true, _) => self.y + 14,
        }
    }
}

pub(super) fn layout(graph: &Graph, top: usize) -> Layout {
    let mut layout = Layout::default();
    let top = top.next_multiple_of(ROW);
    let last = graph.chains.iter().map(|chain| chain.column).max().unwrap_or(0);
    let mut columns = vec![first_column(graph, top)];
    for column in 1..=last {
        let next = next_column(graph, &columns[column - 1], column, top);
        columns.push(next);
    }
    layout.headings = headings(graph, &columns[0]);
    layout.boxes = vec![Box::default(); graph.chains.len()];
    let mut x = MARGIN;
    for (number, column) in columns.iter().enumerate() {
        let chains = || column.iter().filter(|item| !item.lane);
        let headings = if number == 0 { layout.headings.iter().map(heading_width).max() } else { None };
        let width =
            chains().map(|item| node_width(&graph.chains[item.chain])).max().max(headings).unwrap_or(0);
        let lanes = column.iter().filter(|item| item.lane).map(|item| item.y + ROW + MARGIN);
        layout.height = layout.height.max(lanes.max().unwrap_or(0));
        for item in chains() {
            let height = node_height(&graph.chains[item.chain]);
            layout.boxes[item.chain] = Box { x, y: item.y, width, height };
            layout.height = layout.height.max(item.y + height + MARGIN);
        }
        // Lanes lead on after the column.
        for line in layout.lines.iter_mut().filter(|line| !line.arrives && line.to.0 == x) {
            line.to.0 += width;
        }
        x += width;
        if let Some(next) = columns.get(number + 1) {
            x = connect(graph, (column, next), number, x, &mut layout.lines);
        }
    }
    layout.width = x + MARGIN;
    layout
}

pub(super) fn node_height(chain: &Node) -> usize {
    HEAD + chain.rows.len() * ROW
}

fn node_width(chain: &Node) -> usize {
    let of_row = |row: &Row| {
        let counted = row.counted.map_or(0, |counted| amount(counted).chars().count() + 3);
        characters(row.text.chars().count() + counted, 12)
    };
    let rows = chain.rows.iter().map(of_row).max().unwrap_or(0);
    let name = characters(chain.name.chars().count(), 13);
    let facts = characters(chain.facts.chars().count(), 11);
    rows.max(name).max(facts) + 24
}

fn heading_width((name, _, packets): &(String, usize, &str)) -> usize {
    characters(name.chars().count() + 2, 15) + characters(packets.chars().count(), 11)
}

/// The width of so many characters in a font of this size.
pub(super) fn characters(count: usize, size: usize) -> usize {
    (count * CHARACTER * size / 12).div_ceil(100)
}

/// Base chains in the order of their hooks, and after them the chains to which nothing leads.
fn first_column(graph: &Graph, top: usize) -> Vec<Item> {
    let mut column = Vec::new();
    let mut stage = None;
    for (chain, node) in graph.chains.iter().enumerate().filter(|(_, chain)| chain.column == 0) {
        let first = stage != Some(node.hook);
        stage = Some(node.hook);
        let above = match (first, column.is_empty()) {
            (true, true) => HEADING - ROW,
            (true, false) => HEADING,
            (false, _) => 0,
        };
        column.push(Item { chain, lane: false, goto: false, wish: 0, y: 0, above, height: 0 });
    }
    place(graph, &mut column, top);
    column
}

/// What is written above the first chain of each hook.
fn headings(graph: &Graph, column: &[Item]) -> Vec<(String, usize, &'static str)> {
    let first = column.iter().filter(|item| item.above > 0);
    let heading = |item: &Item| {
        let (name, packets) = match graph.chains[item.chain].hook {
            Some(hook) => hook.heading(),
            None => ("no hook".to_owned(), "nothing jumps to these chains"),
        };
        (name, item.y - ROW, packets)
    };
    first.map(heading).collect()
}

/// The chains of this column and the lanes of jumps that go on, each as near as possible to what leads to it.
fn next_column(graph: &Graph, previous: &[Item], column: usize, top: usize) -> Vec<Item> {
    let mut items: Vec<_> = sources(graph, previous, column - 1)
        .into_iter()
        .map(|(chain, sources)| {
            let lane = graph.chains[chain].column > column;
            let goto = sources.iter().all(|source| source.1);
            let mean = sources.iter().map(|source| source.0).sum::<usize>() / sources.len().max(1);
            let height = if graph.is_folded { LANE } else { ROW };
            Item { chain, lane, goto, wish: mean.saturating_sub(ROW), y: 0, above: 0, height }
        })
        .collect();
    items.sort_by_key(|item| (item.wish, item.chain));
    if graph.is_folded {
        // From the top on: far from what leads to it, but without room that is left empty.
        items.iter_mut().for_each(|item| item.wish = 0);
    }
    place(graph, &mut items, top);
    items
}

/// The heights of all that leads to a chain from a column, and whether by a `goto`, by the chain.
fn sources(graph: &Graph, column: &[Item], number: usize) -> BTreeMap<usize, Vec<(usize, bool)>> {
    let mut sources: BTreeMap<usize, Vec<_>> = BTreeMap::new();
    for item in column {
        if item.lane {
            sources.entry(item.chain).or_default().push((item.entry(number), item.goto));
            continue;
        }
        for (index, row) in graph.chains[item.chain].rows.iter().enumerate() {
            let y = item.y + HEAD + index * ROW + ROW / 2;
            // In a loop, which the kernel refuses, there may be a way back: it is left out.
            for jump in row.jumps.iter().filter(|jump| graph.chains[jump.chain].column > number) {
                sources.entry(jump.chain).or_default().push((y, jump.goto));
            }
        }
    }
    sources
}

/// Puts the items, in their order, where the squares of their distances to their wishes are least: those that would
/// overlap become a group at the mean of their wishes.
fn place(graph: &Graph, items: &mut [Item], top: usize) {
    let mut offset = 0;
    // Of each group: the sum of its wishes, without the room that those before it take, and how many it has.
    let mut groups: Vec<(i64, i64)> = Vec::new();
    let mut offsets = Vec::with_capacity(items.len());
    for item in &*items {
        offset += item.above;
        if !item.lane {
            offset = offset.next_multiple_of(ROW);
        }
        offsets.push(offset);
        groups.push((signed(item.wish) - signed(offset), 1));
        while let [.., (before, many), (sum, count)] = groups[..]
            && before * count >= sum * many
        {
            groups.pop();
            groups.pop();
            groups.push((before + sum, many + count));
        }
        offset += if item.lane { item.height } else { node_height(&graph.chains[item.chain]) + ROW };
    }
    let mut rest = items.iter_mut().zip(offsets);
    for (sum, count) in groups {
        let start = usize::try_from(sum / count).unwrap_or(0).max(top) / ROW * ROW;
        for (item, offset) in rest.by_ref().take(usize::try_from(count).unwrap_or(0)) {
            item.y = start + offset;
        }
    }
}

fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Draws the lines through the gap that begins at `x`; returns where it ends.
fn connect(
    graph: &Graph,
    (from, to): (&[Item], &[Item]),
    number: usize,
    x: usize,
    lines: &mut Vec<Line>,
) -> usize {
    let mut sources = sources(graph, from, number);
    let first = lines.len();
    let mut spans: Vec<_> = to
        .iter()
        .filter_map(|item| {
            let (sources, entry) = (sources.remove(&item.chain)?, item.entry(number + 1));
            let low = sources.iter().map(|source| source.0).min()?.min(entry);
            let high = sources.iter().map(|source| source.0).max()?.max(entry);
            Some((low, high, *item, sources))
        })
        .collect();
    // Of lines that lead up the upper ones, of lines that lead down the lower ones turn first: so they do not cross.
    spans.sort_by_key(|(low, high, item, _)| {
        let down = item.entry(number + 1) > low.midpoint(*high);
        (down, if down { usize::MAX - low } else { *low })
    });
    let mut tracks: Vec<Vec<(usize, usize)>> = Vec::new();
    for (low, high, item, sources) in spans {
        let room =
            |track: &Vec<_>| track.iter().all(|&(from, to)| high + ROW / 2 < from || to + ROW / 2 < low);
        let track = tracks.iter().position(room).unwrap_or(tracks.len());
        if track == tracks.len() {
            tracks.push(Vec::new());
        }
        tracks[track].push((low, high));
        let sources = sources.into_iter().map(|(y, goto)| (x, y, goto)).collect();
        let to = (0, item.entry(number + 1));
        lines.push(Line { target: item.chain, sources, track, to, arrives: !item.lane });
    }
    let room = (tracks.len() * TRACK).min(TRACKS);
    let end = x + 5 * TRACK + room;
    for line in &mut lines[first..] {
        line.to.0 = end;
        line.track = x + 2 * TRACK + line.track * room / tracks.len().max(1);
    }
    end
}
