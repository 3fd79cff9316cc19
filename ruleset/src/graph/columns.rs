//! Which column a chain is in.

use std::collections::HashSet;

use nftwire::uapi::NFT_JUMP_STACK_SIZE as DEPTH;

use super::layout::{LANE, ROW, node_height};
use super::{Node, targets};

/// No column is folded that is not higher than that, in pixels.
const LEAST: usize = 2000;
/// How wide a column is, roughly, with the lines next to it, in pixels: what makes a large picture about as high as wide.
const WIDTH: usize = 700;

/// Puts each chain to the right of those that lead to it, and what would make a column much higher than the picture is wide
/// farther to the right; returns whether there is any such.
pub(super) fn set(chains: &mut [Node]) -> bool {
    let depths = depths(chains);
    let targets: Vec<Vec<usize>> = (0..chains.len()).map(|chain| forward(chains, &depths, chain)).collect();
    let mut callers = vec![Vec::new(); chains.len()];
    for (chain, targets) in targets.iter().enumerate() {
        targets.iter().for_each(|target| callers[*target].push(chain));
    }
    let total: usize = chains.iter().map(|chain| node_height(chain) + ROW).sum();
    let mut columns =
        Columns { limit: LEAST.max((total * WIDTH).isqrt()), heights: Vec::new(), is_folded: false };
    let mut missing: Vec<_> = callers.iter().map(Vec::len).collect();
    // In the order in which a reader follows the rules: what a chain leads to comes right after it.
    let mut ready: Vec<_> = (0..chains.len()).rev().filter(|chain| missing[*chain] == 0).collect();
    while let Some(chain) = ready.pop() {
        let of_callers = callers[chain].iter().map(|caller| chains[*caller].column);
        let of_callers = of_callers.fold(None, |range: Option<(usize, usize)>, column| {
            Some(range.map_or((column, column), |(least, most)| (least.min(column), most.max(column))))
        });
        chains[chain].column = columns.find(node_height(&chains[chain]) + ROW, of_callers);
        for &target in targets[chain].iter().rev() {
            missing[target] -= 1;
            if missing[target] == 0 {
                ready.push(target);
            }
        }
    }
    columns.is_folded
}

/// What a chain leads to, each once and in the order of its rules; not what leads back, nor to a hook.
fn forward(chains: &[Node], depths: &[usize], chain: usize) -> Vec<usize> {
    let mut seen = HashSet::new();
    let all = targets(&chains[chain]).map(|jump| jump.chain);
    all.filter(|target| depths[*target] > depths[chain] && seen.insert(*target)).collect()
}

/// How many jumps lead to each chain, at most. In a loop, which the kernel refuses, it is as deep as the kernel follows jumps.
fn depths(chains: &[Node]) -> Vec<usize> {
    let mut depths = vec![0; chains.len()];
    for _ in 0..DEPTH {
        let mut changed = false;
        for index in 0..chains.len() {
            let depth = (depths[index] + 1).min(DEPTH);
            for target in targets(&chains[index]).map(|jump| jump.chain) {
                if depths[target] < depth && chains[target].hook.is_none() {
                    depths[target] = depth;
                    changed = true;
                }
            }
        }
        if !changed {
            break;
        }
    }
    depths
}

struct Columns {
    /// How high a column may get
    limit: usize,
    heights: Vec<usize>,
    is_folded: bool,
}

impl Columns {
    /// The column of a chain of this height: after those of its callers, from the first to the last; the first one has
    /// the hooks, in their order, however many.
    fn find(&mut self, height: usize, callers: Option<(usize, usize)>) -> usize {
        let Some((first, last)) = callers else { return 0 };
        let has_room = |column: &usize| {
            self.heights.get(*column).is_none_or(|filled| *filled == 0 || filled + height <= self.limit)
        };
        let column = (last + 1..).find(has_room).unwrap_or(last + 1);
        self.is_folded |= column > last + 1;
        self.heights.resize(self.heights.len().max(column + 1), 0);
        self.heights[column] += height;
        // A lane leads through those between.
        self.heights[first + 1..column].iter_mut().for_each(|filled| *filled += LANE);
        column
    }
}
