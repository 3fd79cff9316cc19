//! Which rules of a chain are the desired ones already.

use std::collections::HashSet;
use std::convert::Infallible;

use similar::Algorithm;
use similar::algorithms::{DiffHook, diff_slices};

use super::fingerprint::Fingerprint;

/// Comparing two lists takes at most the product of their lengths; beyond this, the first rules that fit are taken.
const EXACT: usize = 1 << 26;

/// Pairs of equal rules, current and desired, ascending in both: as many as can stay where they are.
pub(super) fn matching(current: &[Fingerprint], desired: &[Fingerprint]) -> Vec<(usize, usize)> {
    // Mostly nothing has changed. What is equal at both ends is a part of some longest pairing.
    let start = current.iter().zip(desired).take_while(|(one, other)| one == other).count();
    let (current_rest, desired_rest) = (&current[start..], &desired[start..]);
    let ends = current_rest.iter().rev().zip(desired_rest.iter().rev());
    let end = ends.take_while(|(one, other)| one == other).count();
    let middle =
        between(&current_rest[..current_rest.len() - end], &desired_rest[..desired_rest.len() - end]);
    let middle = middle.into_iter().map(|(old, new)| (start + old, start + new));
    let last = (current.len() - end..current.len()).zip(desired.len() - end..);
    (0..start).map(|index| (index, index)).chain(middle).chain(last).collect()
}

fn between(current: &[Fingerprint], desired: &[Fingerprint]) -> Vec<(usize, usize)> {
    if current.is_empty() || desired.is_empty() {
        return Vec::new();
    }
    // What only one side has cannot be paired; a chain that others filled is of little else.
    let common = |these: &[Fingerprint], others: &[Fingerprint]| -> Vec<usize> {
        let others: HashSet<_> = others.iter().collect();
        (0..these.len()).filter(|&index| others.contains(&these[index])).collect()
    };
    let (old, new) = (common(current, desired), common(desired, current));
    if old.len().saturating_mul(new.len()) > EXACT {
        return first_fit(current, desired, &old, &new);
    }
    let prints = |indices: &[usize], of: &'_ [Fingerprint]| -> Vec<u64> {
        // Numbers compare faster than bytes; each number is one fingerprint.
        let mut known: Vec<&Fingerprint> = current.iter().collect();
        known.sort_unstable();
        known.dedup();
        let number = |print: &Fingerprint| known.binary_search(&print).map_or(0, |index| index as u64);
        indices.iter().map(|&index| number(&of[index])).collect()
    };
    let mut equal = Equal(Vec::new());
    let Ok(()) = diff_slices(Algorithm::Myers, &mut equal, &prints(&old, current), &prints(&new, desired));
    equal.0.into_iter().map(|(there, wanted)| (old[there], new[wanted])).collect()
}

/// Takes what is equal, as pairs, and nothing of what else makes a difference.
struct Equal(Vec<(usize, usize)>);

impl DiffHook for Equal {
    type Error = Infallible;

    fn equal(&mut self, old_index: usize, new_index: usize, len: usize) -> Result<(), Infallible> {
        self.0.extend((0..len).map(|offset| (old_index + offset, new_index + offset)));
        Ok(())
    }
}

fn first_fit(
    current: &[Fingerprint],
    desired: &[Fingerprint],
    old: &[usize],
    new: &[usize],
) -> Vec<(usize, usize)> {
    let mut old = old.iter();
    let mut pairs = Vec::new();
    for &wanted in new {
        let mut rest = old.clone();
        if let Some(&found) = rest.find(|&&there| current[there] == desired[wanted]) {
            pairs.push((found, wanted));
            old = rest;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prints(text: &str) -> Vec<Fingerprint> {
        text.bytes().map(|byte| vec![byte]).collect()
    }

    fn pairs(current: &str, desired: &str) -> Vec<(usize, usize)> {
        matching(&prints(current), &prints(desired))
    }

    #[test]
    fn equal_rules_are_paired_in_order() {
        assert_eq!(pairs("abc", "abc"), [(0, 0), (1, 1), (2, 2)]);
        assert_eq!(pairs("axc", "abc"), [(0, 0), (2, 2)]);
        assert_eq!(pairs("xxaxxb", "ab"), [(2, 0), (5, 1)]);
        assert_eq!(pairs("ab", "xayb"), [(0, 1), (1, 3)]);
        assert_eq!(pairs("ba", "ab").len(), 1);
        assert_eq!(pairs("", "ab"), []);
        assert_eq!(pairs("xyz", "ab"), []);
        assert_eq!(pairs("axyb", "ab"), [(0, 0), (3, 1)]);
        assert_eq!(pairs("ab", "axyb"), [(0, 0), (1, 3)]);
        // What is equal at both ends overlaps.
        assert_eq!(pairs("aaa", "aa"), [(0, 0), (1, 1)]);
        assert_eq!(pairs("aa", "aaa"), [(0, 0), (1, 1)]);
        assert_eq!(pairs("abcdef", "abxdyf"), [(0, 0), (1, 1), (3, 3), (5, 5)]);
    }

    #[test]
    fn long_lists_take_what_fits_first() {
        let (current, desired) = (prints("xaxbxab"), prints("abb"));
        let all = |prints: &[Fingerprint]| (0..prints.len()).collect::<Vec<_>>();
        let pairs = first_fit(&current, &desired, &all(&current), &all(&desired));
        assert_eq!(pairs, [(1, 0), (3, 1), (6, 2)]);
    }
}
