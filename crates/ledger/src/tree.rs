//! The right edge of a growing tree: all that is needed to append and to know the root.

use crate::hash::{self, Hash};

/// The roots of the perfect subtrees that make up a tree, largest first: one per set bit of the size.
// INVARIANT: `edge.len()` is the number of set bits in `size`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Frontier {
    size: u64,
    edge: Vec<Hash>,
}

/// A frontier whose number of hashes does not fit its size.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a frontier has one hash per set bit of its size")]
pub struct InvalidFrontier;

impl Frontier {
    /// A frontier as it was written down.
    ///
    /// # Errors
    /// [`InvalidFrontier`].
    pub fn from_parts(size: u64, edge: Vec<Hash>) -> Result<Self, InvalidFrontier> {
        if usize::try_from(size.count_ones()).is_ok_and(|ones| ones == edge.len()) {
            Ok(Self { size, edge })
        } else {
            Err(InvalidFrontier)
        }
    }

    /// Leaves so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The subtree roots, largest first.
    #[must_use]
    pub fn edge(&self) -> &[Hash] {
        &self.edge
    }

    /// Appends a leaf by its hash. Amortised one node hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut right = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.edge.pop() {
                right = hash::node(&left, &right);
            }
        }
        self.edge.push(right);
        self.size += 1;
    }

    /// The root of the tree so far.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut subtrees = self.edge.iter().rev();
        match subtrees.next() {
            None => hash::empty_root(),
            Some(last) => subtrees.fold(*last, |right, left| hash::node(left, &right)),
        }
    }
}

/// The root over leaf hashes, by the recursive definition of RFC 6962 §2.1; for proofs over small trees and tests.
#[must_use]
pub fn root_of(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::default();
    leaves.iter().for_each(|leaf| frontier.push(*leaf));
    frontier.root()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn unhex(text: &str) -> Vec<u8> {
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        text.as_bytes().chunks_exact(2).map(pair).collect()
    }

    /// The inputs of the Certificate Transparency reference tests.
    pub(crate) fn reference_leaves() -> Vec<Hash> {
        let inputs =
            ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        inputs.iter().map(|input| hash::leaf(&unhex(input))).collect()
    }

    #[test]
    fn roots_of_the_reference_inputs() {
        let leaves = reference_leaves();
        for (size, root) in [
            (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
            (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
            (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
            (4, "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
            (7, "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
            (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
        ] {
            assert_eq!(root_of(&leaves[..size]).to_vec(), unhex(root), "size {size}");
        }
    }

    /// RFC 6962 §2.1 written down as it stands, against the frontier.
    fn mth(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => hash::empty_root(),
            [one] => *one,
            many => {
                let split = many.len().next_power_of_two() / 2;
                hash::node(&mth(&many[..split]), &mth(&many[split..]))
            }
        }
    }

    #[test]
    fn the_frontier_agrees_with_the_definition() {
        let leaves: Vec<Hash> = (0_u32..300).map(|at| hash::leaf(&at.to_be_bytes())).collect();
        let mut frontier = Frontier::default();
        for (size, leaf) in leaves.iter().enumerate() {
            assert_eq!(frontier.root(), mth(&leaves[..size]));
            assert_eq!(Frontier::from_parts(frontier.size(), frontier.edge().to_vec()).as_ref(), Ok(&frontier));
            frontier.push(*leaf);
        }
        assert_eq!(Frontier::from_parts(3, vec![[0; 32]]), Err(InvalidFrontier));
    }
}
